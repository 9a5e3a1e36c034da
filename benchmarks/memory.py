"""Peak memory: a million chains in a hundred dimensions, and whether more steps need more of it.

Every case is a process of its own, `python -m benchmarks.memory CASE`, which prints its peak.
"""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.race import ROOT, Settings

_LIMIT, _FLAT = 4e9, 1.1
_IDLE = {"chains": 1, "d": 2, "steps": 1}
_WIDE = {"chains": 1_000_000, "d": 100, "steps": 50}
_LONG = [{"chains": 8192, "d": 10, "steps": steps} for steps in (100, 1000, 10_000)]
_RECORDS = 10


def measure(settings: Settings) -> dict:
    """Peaks of all cases, and the two targets."""
    shrink = 100 if settings.quick else 1
    wide = {**_WIDE, "chains": _WIDE["chains"] // shrink}
    long = [{**case, "chains": case["chains"] // (8 if shrink > 1 else 1)} for case in _LONG]
    long = long[:2] if settings.quick else long
    cases = [_peak(case, settings) for case in (_IDLE, wide, *long)]
    peaks = [case.get("peak") for case in cases]
    known = all(peaks)
    growth = peaks[-1] / peaks[-2] if known else None
    return {
        "says": "Peak memory of a process; squares streamed at eleven records, none kept per chain",
        "cases": cases,
        "targets": [
            {"says": f"peak of {wide['chains']:,} chains at d = {wide['d']}, in bytes", "value": peaks[1],
             "at_most": _LIMIT, "reached": None if not peaks[1] else peaks[1] < _LIMIT},
            {"says": f"peak of {long[-1]['steps']:,} steps over that of {long[-2]['steps']:,}", "value": growth,
             "at_most": _FLAT, "reached": None if growth is None else growth <= _FLAT},
        ],
    }  # fmt: skip


def _peak(case: dict, settings: Settings) -> dict:
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        result = {**case, "reason": said[-1] if said else f"ended with code {done.returncode}"}
    else:
        result = {**case, **json.loads(done.stdout.splitlines()[-1])}
    settings.say(f"  {result}")
    return result


def _run(case: dict) -> None:
    import torch

    from escape import GradientDescent, MiniBatch, QuadraticSaddle, SquaredDistance, simulate

    d = case["d"]
    curvatures = [-0.005] + [0.5] * (d - 1)
    landscape = QuadraticSaddle.additive(curvatures, noise=1.0, n=1000, dtype=torch.float32)
    origin = torch.zeros(d)
    simulate(
        landscape, MiniBatch(32), GradientDescent(0.1), origin, steps=case["steps"], chains=case["chains"],
        observe={"square": SquaredDistance(origin)}, every=max(1, case["steps"] // _RECORDS), reduce=True,
    )  # fmt: skip


def _high_water() -> int:
    """Largest resident size of this process, in bytes."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) * 1024
    # On Linux this one may remember the parent's size; elsewhere there is no better.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    began = time.perf_counter()
    _run(json.loads(sys.argv[1]))
    print(json.dumps({"peak": _high_water(), "seconds": time.perf_counter() - began}))
