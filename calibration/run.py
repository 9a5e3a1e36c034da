"""Repeat cases, in parts that worker processes share; how many there are changes nothing in the result."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

from calibration import exits, laws, moments, products, simulated
from calibration.case import Case, Tally

CASES: list[Case] = sorted(
    [*moments.CASES, *exits.CASES, *laws.CASES, *products.CASES, *simulated.CASES], key=lambda case: case.estimator
)
PART = 100  # repeats of a part
WORKERS = 2


def part(place: int, seed: int, number: int, repeats: int) -> Tally:
    """Run one part of a case, told by its place in the list."""
    return CASES[place].run(seed, number, repeats)


def run(
    seed: int, share: float = 1.0, wanted: str = "", workers: int = WORKERS, said: Callable[[int, int], None] = print
) -> dict[str, Tally]:
    """Run the cases whose name holds `wanted`, each with a share of its repeats, and return the counts by name."""
    jobs = []
    for place, case in enumerate(CASES):
        if wanted in case.name:
            parts = max(round(case.repeats * share / PART), 1)
            jobs += [(place, seed, number, PART) for number in range(parts)]
    found: dict[str, Tally] = {}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # for the workers to come: their threads would fight over the cores
    # A forked copy of a process that has started torch's threads can hang; a spawned one cannot.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        places = {pool.submit(part, *job): job[0] for job in jobs}
        for done, future in enumerate(as_completed(places), 1):
            name = CASES[places[future]].name
            found[name] = found[name] + future.result() if name in found else future.result()
            said(done, len(jobs))
    return {case.name: found[case.name] for case in CASES if case.name in found}
