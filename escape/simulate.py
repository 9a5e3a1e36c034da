"""The one verb: many chains of one optimizer, under one oracle, on one landscape, into one Dataset."""

import functools
import json
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from escape.block import run_block
from escape.checked import checked_run
from escape.execute import Task, check_executor, run_blocks, said_on_interruption
from escape.landscapes.base import Landscape
from escape.noise_geometry.record import ATTRIBUTE, as_json, measured_match
from escape.observables import Observable
from escape.optimizers import Optimizer
from escape.oracles import Oracle
from escape.parts import Parts
from escape.progress import show_passes
from escape.provenance import environment, spec_of
from escape.results import Gathering, shard_blocks
from escape.run import EXITED, Run
from escape.store import Store
from escape.streams import block_generator

# Between the seed of a run and that of the draws by which its noise is matched.
_MATCH_SEED = 1 << 31


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
    reduce: bool = False,
    common_random_numbers: bool = False,
    executor: Executor | int | None = None,
    store: Store | str | Path | None = None,
    shard: tuple[int, int] | None = None,
    progress: bool | str | Callable[[int, int], None] | None = None,
    compile: bool | str = "auto",
    match: bool = False,
) -> xr.Dataset:
    """Run many independent chains and record what is asked of them.

    The result is a function of the arguments, the dtype and the device type alone: the same to the bit for any number
    of threads, any executor, any shards put together, any `every`, with or without progress, after any interruption;
    and the first chains of a longer or a wider run are those of a shorter or a narrower one.

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
    reduce : bool
        Keep of every observable, instead of its value for each chain, power sums over the chains of each block, in
        double precision (`escape.STATISTICS`): memory then does not grow with chains times recorded steps.
    common_random_numbers : bool
        Whether chain k has the same random numbers at every step in all runs of one seed, wherever chains leave. By
        default random numbers are drawn only for chains that have not left, which is faster.
    executor : Executor or int, optional
        Who runs the blocks: a `concurrent.futures.Executor` (threads, processes, Dask's `Client.get_executor()`, …), or
        a number of threads; all cores if omitted.
    store : Store, str or Path, optional
        Folder of results. A run that is there is read instead of simulated; one that is not is kept there, block by
        block as they finish: after an interruption of any kind, the same call goes on from the blocks that are there.
    shard : (i, n), optional
        Run only the i-th of n parts, i from 1 on, say each in a job of its own; `merge` puts them together.
    progress : bool, str or callable, optional
        True or a label shows progress on standard error; a callable is told (done, total) chain-steps.
    compile : bool or "auto"
        Run chunks of steps as one graph made by torch.compile. "auto": on a GPU, where launching one small operation
        after the other would take longer than running them; not on a CPU, where eager steps are the reference.
    match : bool
        Whether to measure at the mean start, and to keep in the result, how the oracle's noise matches that of the
        mini-batch it stands for: mean, covariance and fourth moment; read it by `recorded_match`. No part of what the
        result depends on: a stored run that has none is given it.

    Returns
    -------
    xarray.Dataset
        Dimensions `step` (recorded steps), `chain` and `coordinate`; one variable (step, chain) per observable;
        `exit_step` (chain), the first step t with until(x_t), or the number of steps run where that never held, or the
        step at which a chain went non-finite; `status` (chain), 0 censored, 1 exited, 2 diverged; `final`
        (chain, coordinate), where each chain ended. With `reduce`, observables are (statistic, step, block). Attributes
        hold the spec as JSON, the environment, and `utilisation`: chain-steps until a chain left over those computed.

    Raises
    ------
    ValueError, TypeError
        Before the first step, for arguments that make no run.
    OSError
        If the store cannot be written, naming the file; what was kept before stays.
    KeyboardInterrupt
        On Ctrl-C, within about a second, saying what is kept and how to go on.
    WorkerLost
        If workers of the executor died.

    Warns
    -----
    UserWarning
        If `until` already holds at the start.
    """
    with show_passes(progress):
        run = checked_run(
            landscape, oracle, optimizer, start, steps, chains, observe, every, until, seed, block, compile, reduce,
            common_random_numbers,
        )  # fmt: skip
    return run_checked(run, executor=executor, store=store, shard=shard, progress=progress, match=match)


def run_checked(
    run: Run,
    *,
    executor: Executor | int | None = None,
    store: Store | str | Path | None = None,
    shard: tuple[int, int] | None = None,
    progress: bool | str | Callable[[int, int], None] | None = None,
    job: Callable | None = None,
    match: bool = False,
) -> xr.Dataset:
    """Run what `checked_run` made of the arguments of `simulate`; the rest as there.

    Parameters
    ----------
    job : callable, optional
        What is sent to an executor for each block, (number) -> BlockResult, in place of the run itself.
    """
    check_executor(executor)
    if not isinstance(match, bool):
        raise ValueError(f"match must be True or False, got {match!r}")
    numbers = range(run.blocks) if shard is None else shard_blocks(shard, run.blocks)
    _warn_of_early_exits(run)
    spec = spec_of(run, need_key=store is not None)
    part = {} if shard is None else {"shard": "{}/{}".format(*shard)}
    parts = None
    if store is not None:
        store = store if isinstance(store, Store) else Store(store)
        found = store.find(spec, **part)
        if found is not None:
            if match and ATTRIBUTE not in found.attrs:
                found.attrs[ATTRIBUTE] = _match(run)
                store.save(spec, found, **part)
            return found
        store.check(spec, **part)
        parts = Parts(store.parts(spec, **part), run)
    matched = {ATTRIBUTE: _match(run)} if match else {}
    began = time.perf_counter()
    gathering = Gathering(run, numbers)
    job = job or functools.partial(run_block, run)
    tasks = [Task(run, number, job, parts) for number in numbers]
    run_blocks(tasks, lambda task, result: gathering.take(task.number, result), executor, progress)
    data = gathering.dataset()
    _warn_of_drawn_exits(run, data)
    seconds = time.perf_counter() - began
    data.attrs |= {"spec": json.dumps(spec), **part, **matched, **environment(run), "wall_seconds": seconds}
    if store is not None:
        with said_on_interruption(parts):
            store.save(spec, data, **part)
        parts.discard()
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
    common_random_numbers: bool = False,
    compile: bool | str = "auto",
) -> xr.Dataset:
    """Return the whole path of one chain of a run, by simulating its block again.

    Parameters
    ----------
    chain : int
        Which chain, 0 ≤ chain < chains.
    landscape, oracle, optimizer, start, steps, chains, until, seed, block, common_random_numbers, compile
        As they were given to `simulate`.

    Returns
    -------
    xarray.Dataset
        `x` (step, coordinate) up to the step at which the chain left, with scalar `exit_step` and `status`.
    """
    run = checked_run(
        landscape, oracle, optimizer, start, steps, chains, {}, 1, until, seed, block, compile, False,
        common_random_numbers,
    )  # fmt: skip
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


def _match(run: Run) -> str:
    """Match of the run's oracle with its mini-batch, as JSON: at the start, or the mean start of the first block."""
    starts = run.starts(0, block_generator(run.seed, 0, run.landscape.samples.device))[: run.wanted(0)]
    mean = run.landscape.retract(starts.mean(0, keepdim=True))[0]
    x = mean if bool(torch.isfinite(mean).all()) else starts[0]
    # Draws of their own: those of the run's first block begin with its seed.
    return as_json(measured_match(run.landscape, run.oracle, x, seed=run.seed + _MATCH_SEED))


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
            stacklevel=5,
        )
