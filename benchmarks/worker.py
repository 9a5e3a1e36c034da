"""One contender in a process of its own: `python -m benchmarks.worker JOB CONTENDER`, JSON lines in and out.

It sets up, is held against the right answer, sizes its rounds, says that it is ready, and then runs one round for every
line that it is given: {"seed": k} -> {"seconds": …, "chain_steps": …}.
"""

import json
import os
import sys
import time
import warnings

import click
import numpy as np

from benchmarks.contenders import CONTENDERS
from benchmarks.jobs import problem_of
from benchmarks.problems import Passage


@click.command()
@click.argument("job")
@click.argument("contender")
@click.option("--device", default="cpu")
@click.option("--seconds", default=1.0, help="Length of a round.")
@click.option("--quick", is_flag=True)
def main(job, contender, device, seconds, quick):
    """Answer on the standard output that the process was started with; whatever else is printed goes elsewhere."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def say(**message):
        channel.write(json.dumps(message) + "\n")

    missing = CONTENDERS[contender].missing()
    if missing:
        say(status="not installed", reason=", ".join(missing))
        return
    try:
        problem = problem_of(job, quick)
        made = CONTENDERS[contender].make(problem, device)
        checked = _checked(made, problem)
        if not checked.pop("right"):
            say(status="WRONG", **checked)
            return
        steps, repeats = _sized(made, problem, seconds)
    except Exception as error:  # whatever stops one contender must not stop the others
        say(status="failed", reason=f"{type(error).__name__}: {error}".splitlines()[0])
        return
    sizes = {"chains": made.chains, "steps": steps, "repeats": repeats}
    say(status="ok", variant=made.variant, notes=made.notes, **sizes, **checked)
    for line in sys.stdin:
        seed = json.loads(line)["seed"]
        done, began = 0, time.perf_counter()
        for repeat in range(repeats):
            done += problem.chain_steps(made.run(steps, seed + 1000 * repeat), steps)
        say(seconds=time.perf_counter() - began, chain_steps=done)


def _checked(made, problem) -> dict:
    if getattr(made, "unchecked", False):
        return {"right": True}
    result = made.run(problem.check_steps, seed=1)
    verdict = problem.verdict(result, problem.check_steps, made.replacement)
    said = {"right": verdict.right, "worst": verdict.worst, "statistics": verdict.statistics}
    if isinstance(problem, Passage):
        said["mean_exit_step"] = [float(result.mean()), float(result.std(ddof=1) / len(result) ** 0.5)]
        said["quantiles"] = [float(quantile) for quantile in np.quantile(result, [0.01, 0.99])]
    return said


def _sized(made, problem, seconds: float) -> tuple[int, int]:
    """Steps of a run and runs in a round, so that a round takes about `seconds`; both are warmed up on the way."""
    steps = problem.check_steps
    elapsed = _timed(made, steps)
    if isinstance(problem, Passage):
        return steps, max(1, round(seconds / elapsed))
    for _ in range(2):
        steps = max(1, min(problem.most_steps, round(steps * seconds / elapsed)))
        # Once for whoever compiles for a number of steps.
        made.run(steps, seed=2)
        elapsed = _timed(made, steps)
        if 0.7 * seconds < elapsed < 1.5 * seconds:
            break
    return steps, max(1, round(seconds / elapsed))


def _timed(made, steps: int) -> float:
    began = time.perf_counter()
    made.run(steps, seed=3)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.worker")
