"""A race: contenders of one job, each in a process of its own, take turns; a ratio is then of one and the same run."""

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.jobs import JOBS, Target
from benchmarks.problems import ALLOWED

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Settings:
    """How long and on what everything is measured."""

    device: str = "cpu"
    rounds: int = 5
    seconds: float = 1.0
    quick: bool = False
    say: Callable[[str], None] = print


class Worker:
    """A contender's process."""

    def __init__(self, job: str, contender: str, settings: Settings):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker
        command = [sys.executable, "-m", "benchmarks.worker", job, contender, "--device", settings.device]
        command += ["--seconds", str(settings.seconds)] + ["--quick"] * settings.quick
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, cwd=ROOT
        )
        self.ready = self._answer()

    def round(self, seed: int) -> dict:
        """Run one round."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"seed": seed}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Let the process end."""
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        return {"status": "failed", "reason": said[-1] if said else f"ended with code {self._process.wait()}"}


def race(name: str, settings: Settings) -> dict:
    """Run one job.

    Returns
    -------
    dict
        `contenders`, each with its status, its check and, if it was right, its rates and the ratio to it; `targets`.
    """
    job = JOBS[name]
    names = job.contenders if settings.device == "cpu" else job.cuda
    workers, entries = {}, {}
    try:
        for contender in names:
            worker = workers[contender] = Worker(name, contender, settings)
            entries[contender] = {**worker.ready, "rates": []}
            settings.say(f"  {contender}: {worker.ready['status']} {worker.ready.get('reason', '')}".rstrip())
        for number in range(settings.rounds):
            for contender, entry in entries.items():
                if entry["status"] != "ok":
                    continue
                answer = workers[contender].round(seed=10 + number)
                if "seconds" in answer:
                    entry["rates"].append(answer["chain_steps"] / answer["seconds"])
                else:
                    entry.update(answer, rates=[])
    finally:
        for worker in workers.values():
            worker.close()
    first = names[0]
    for entry in entries.values():
        if entry["rates"]:
            entry["rate"] = _middle(entry["rates"])
            if entries[first]["rates"]:
                entry["ratio"] = _middle(np.divide(entries[first]["rates"], entry["rates"]))
    targets = [_reached(target, entries) for target in job.targets if {target.of, *target.over} <= set(names)]
    if job.most_moved is not None:
        targets += [_moved(entries[first], job.most_moved), _apart(entries)]
    return {"says": job.says, "first": first, "contenders": entries, "targets": targets}


def _middle(values) -> list[float]:
    """Median, least and largest."""
    return [float(np.median(values)), float(np.min(values)), float(np.max(values))]


def _reached(target: Target, entries: dict) -> dict:
    """A target beside what was measured, against the fastest of those that were right."""
    over = [name for name in target.over if entries[name]["rates"]]
    said = {"of": target.of, "over": list(target.over), "at_least": target.at_least}
    if not over or not entries[target.of]["rates"]:
        return {**said, "best": None, "ratio": None, "reached": None}
    best = max(over, key=lambda name: entries[name]["rate"][0])
    ratio = _middle(np.divide(entries[target.of]["rates"], entries[best]["rates"]))
    reached = None if target.at_least is None else ratio[0] >= target.at_least
    return {**said, "best": best, "ratio": ratio, "reached": reached}


def _apart(entries: dict) -> dict:
    """How far mean exit steps lie from one another, over all pairs of contenders."""
    means = [entry["mean_exit_step"] for entry in entries.values() if "mean_exit_step" in entry]
    pairs = itertools.combinations(means, 2)
    worst = max((abs(a - b) / np.hypot(p, q) for (a, p), (b, q) in pairs), default=None)
    return {"says": "mean exit steps of any two contenders apart, in standard errors",
            "value": None if worst is None else float(worst), "at_most": ALLOWED,
            "reached": None if worst is None else bool(worst <= ALLOWED)}  # fmt: skip


def _moved(entry: dict, at_most: float) -> dict:
    share = entry.get("notes", {}).get("utilisation")
    moved = None if not share else 1 / share
    return {"says": "chain-steps moved per chain-step needed", "value": moved, "at_most": at_most,
            "reached": None if moved is None else moved <= at_most}  # fmt: skip
