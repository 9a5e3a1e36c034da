"""The one verb: many chains of one optimizer, under one oracle, on one landscape, into one Dataset."""

import json
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from escape.block import EXITED, BlockResult, Run, run_block
from escape.checked import checked_run
from escape.landscapes.base import Landscape
from escape.observables import Observable
from escape.optimizers import Optimizer
from escape.oracles import Oracle
from escape.progress import Progress
from escape.provenance import environment, spec_of
from escape.store import Store


def simulate(
    landscape: Landscape,
    oracle: Oracle,
    optimizer: Optimizer,
    start: Tensor | Callable,
    *,
    steps: int,
    chains: int,
    observe: dict[str, Observable] | None = None,
    every: int = 1,
    until: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    block: int | None = None,
    executor: Executor | int | None = None,
    store: Store | str | Path | None = None,
    progress: bool | str | Callable[[int, int], None] | None = None,
    compile: bool | str = "auto",
) -> xr.Dataset:
    """Run many independent chains and record what is asked of them.

    The result is a function of the arguments, the dtype and the device type alone: the same to the bit for any number
    of threads, any executor, any `every`, with or without progress, and the first chains of a longer or a wider run
    are those of a shorter or a narrower one. Runs that share a seed share their random numbers.

    Parameters
    ----------
    landscape : Landscape
        What is descended; dtype and device of the run are those of its samples.
    oracle : Oracle
        How the gradient is seen.
    optimizer : Optimizer
        How a chain moves.
    start : (d,) or (chains, d) tensor, or callable (chains, generator) -> (chains, d)
        Where chains start.
    steps, chains : int
        How many of each.
    observe : dict of str to callable, optional
        Observables by name, each (c, d) -> (c,).
    every : int
        Observables are recorded at steps 0, every, 2 every, …
    until : callable, optional
        An exit, (c, d) -> (c,) bool, looked at after every step. A chain for which it holds is frozen there.
    seed : int
        Seed of the run, non-negative.
    block : int, optional
        Chains per block, part of what the result depends on; chosen from the dimension if omitted.
    executor : Executor or int, optional
        Who runs the blocks: a `concurrent.futures.Executor`, or a number of threads; all cores if omitted.
    store : Store, str or Path, optional
        Folder of results. A run that is there is read instead of simulated; one that is not is kept there.
    progress : bool, str or callable, optional
        True or a label shows progress on standard error; a callable is told (done, total) chain-steps.
    compile : bool or "auto"
        Fuse a step by torch.compile. "auto" does not, on any device so far: eager steps are the reference.

    Returns
    -------
    xarray.Dataset
        Dimensions `step` (recorded steps), `chain` and `coordinate`; one variable (step, chain) per observable;
        `exit_step` (chain), the first step t with until(x_t), or the number of steps run where that never held, or the
        step at which a chain went non-finite; `status` (chain), 0 censored, 1 exited, 2 diverged; `final`
        (chain, coordinate), where each chain ended. Attributes hold the spec as JSON and the environment.

    Raises
    ------
    ValueError, TypeError
        Before the first step, for arguments that make no run.

    Warns
    -----
    UserWarning
        If `until` already holds at the start.
    """
    run = checked_run(landscape, oracle, optimizer, start, steps, chains, observe, every, until, seed, block, compile)
    _check_executor(executor)
    _warn_of_early_exits(run)
    spec = spec_of(run, need_key=store is not None)
    if store is not None:
        store = store if isinstance(store, Store) else Store(store)
        found = store.find(spec)
        if found is not None:
            return found
        store.check()
    began = time.perf_counter()
    results = _run_blocks(run, executor, progress)
    data = _dataset(run, results)
    _warn_of_drawn_exits(run, data)
    data.attrs = {"spec": json.dumps(spec), **environment(run), "wall_seconds": time.perf_counter() - began}
    if store is not None:
        store.save(spec, data)
    return data


def replay(
    landscape: Landscape,
    oracle: Oracle,
    optimizer: Optimizer,
    start: Tensor | Callable,
    *,
    chain: int,
    steps: int,
    chains: int,
    until: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    block: int | None = None,
    compile: bool | str = "auto",
) -> xr.Dataset:
    """Return the whole path of one chain of a run, by simulating its block again.

    Parameters
    ----------
    chain : int
        Which chain, 0 ≤ chain < chains.
    landscape, oracle, optimizer, start, steps, chains, until, seed, block, compile
        As they were given to `simulate`.

    Returns
    -------
    xarray.Dataset
        `x` (step, coordinate) up to the step at which the chain left, with scalar `exit_step` and `status`.
    """
    run = checked_run(landscape, oracle, optimizer, start, steps, chains, {}, 1, until, seed, block, compile)
    if not 0 <= chain < chains:
        raise ValueError(f"chain {chain} is not in the run, which has chains 0 to {chains - 1}")
    number, inside = divmod(chain, run.block)
    threads = torch.get_num_threads()
    try:
        result = run_block(run, number, follow=inside)
    finally:
        torch.set_num_threads(threads)
    exit_step = int(result.exit_step[inside])
    path = result.path[: exit_step + 1]
    return xr.Dataset(
        {
            "x": (("step", "coordinate"), path, {"long_name": "position"}),
            "exit_step": ((), exit_step),
            "status": ((), result.status[inside]),
        },
        {"step": np.arange(len(path)), "chain": chain},
    )


def _run_blocks(run: Run, executor, progress) -> list[BlockResult]:
    """All blocks in order, on own threads or on somebody's executor; torch's thread count is put back after."""
    threads = torch.get_num_threads()
    own = executor is None or isinstance(executor, int)
    workers = min(run.blocks, _cores() if executor is None else executor) if own else 0
    stop = threading.Event()
    with Progress(run.blocks * run.block * run.steps, progress) as shown:
        pool = ThreadPoolExecutor(workers) if own else executor
        try:
            # Only threads of our own share memory with the bar; elsewhere a block counts when it is back.
            extra = (shown.advance, stop) if own else ()
            futures = {pool.submit(run_block, run, number, *extra): number for number in range(run.blocks)}
            for future in as_completed(futures):
                future.result()
                if not own:
                    shown.advance(run.block * run.steps)
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise
        finally:
            if own:
                pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(threads)


def _check_executor(executor) -> None:
    workers = executor is None or hasattr(executor, "submit")
    if not workers and (isinstance(executor, bool) or not isinstance(executor, int) or executor < 1):
        raise ValueError(f"executor must be an Executor or a number of threads of at least 1, got {executor!r}")


def _warn_of_early_exits(run: Run) -> None:
    """Say so where the exit holds already at a start that is given, before the first step."""
    if run.until is None or callable(run.start):
        return
    held = run.until(run.start if run.start.ndim == 2 else run.start[None])
    _warn_of_passed(run, int(held.sum()) * (1 if run.start.ndim == 2 else run.chains))


def _warn_of_drawn_exits(run: Run, data: xr.Dataset) -> None:
    """Say so where the exit held already at every start that was drawn; some of them may well lie beyond it."""
    already = int(((data.exit_step == 0) & (data.status == EXITED)).sum())
    if callable(run.start) and already == run.chains:
        _warn_of_passed(run, already)


def _warn_of_passed(run: Run, already: int) -> None:
    if already:
        threshold = getattr(run.until, "threshold", None)
        what = "the exit condition" if threshold is None else f"threshold {threshold:g}"
        warnings.warn(
            f"{what} is already passed at the start by {already} of {run.chains} chains: they exit at step 0",
            stacklevel=4,
        )


def _dataset(run: Run, results: list[BlockResult]) -> xr.Dataset:
    """Blocks side by side, with the coordinates and the meanings of the flags."""
    variables = {
        name: (("step", "chain"), np.concatenate([result.records[name] for result in results], axis=1))
        for name in run.observe
    }
    status = np.concatenate([result.status for result in results])
    flags = {"flag_values": np.array([0, 1, 2], dtype=np.int8), "flag_meanings": "censored exited diverged"}
    exit_step = np.concatenate([result.exit_step for result in results])
    variables["exit_step"] = ("chain", exit_step, {"long_name": "step at which the chain left or was last seen"})
    variables["status"] = ("chain", status, flags)
    variables["final"] = (("chain", "coordinate"), np.concatenate([result.final for result in results]))
    return xr.Dataset(variables, {"step": run.recorded, "chain": np.arange(run.chains)})


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
