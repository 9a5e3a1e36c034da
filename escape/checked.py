"""Arguments of a run, checked before its first step: what was got, what is allowed, what to do."""

import warnings
from numbers import Integral

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.changes import forget_if_changed
from escape.landscapes.critical_point import CriticalPoint
from escape.mapped import not_finite
from escape.optimizers import Optimizer, check_lr
from escape.oracles import Oracle
from escape.run import Run
from escape.streams import block_generator

# Numbers that the chains of one block may carry from step to step.
_CARRIED = 1 << 27


def checked_run(
    landscape,
    oracle,
    optimizer,
    start,
    steps,
    chains,
    observe,
    every,
    until,
    seed,
    block,
    compiled,
    reduce=False,
    common=False,
) -> Run:
    """Return the run that the arguments of `simulate` describe.

    Raises
    ------
    ValueError, TypeError
        One line on the first argument that makes no run.
    """
    for name, value, kind in (
        ("landscape", landscape, Landscape),
        ("oracle", oracle, Oracle),
        ("optimizer", optimizer, Optimizer),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be an instance of {kind.__name__}, got {type(value).__name__}")
    for name, value, least in (
        ("steps", steps, 0),
        ("chains", chains, 1),
        ("every", every, 1),
        ("seed", seed, 0),
        ("block", 1 if block is None else block, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    steps, chains, every, seed = int(steps), int(chains), int(every), int(seed)
    if compiled not in (True, False, "auto"):
        raise ValueError(f"compile must be True, False or 'auto', got {compiled!r}")
    for name, value in (("reduce", reduce), ("common_random_numbers", common)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {value!r}")
    forget_if_changed(landscape)
    _check_samples(landscape)
    oracle.check(landscape)
    optimizer.check(landscape, oracle)
    if callable(getattr(optimizer, "lr", None)):
        for t in range(steps):
            _check_scheduled(float(optimizer.lr(t)), t)
    start = _checked_start(landscape, start, chains)
    x = _probe(landscape, start)
    observe = dict(observe or {})
    for name, function in observe.items():
        _check_function(f"observable {name!r}", function, x)
        if name in ("exit_step", "status", "final", "step", "chain", "coordinate", "statistic", "block"):
            raise ValueError(f"observable {name!r} has the name of another part of the result; choose another name")
    if until is not None:
        _check_function("until", until, x, boolean=True)
    return Run(
        landscape, oracle, optimizer, start, steps, chains, observe, every, until, seed,
        _block(block, x.shape[1], oracle.carried_size(landscape), oracle.draw_size(landscape)), reduce, common,
        compiled is True or (compiled == "auto" and landscape.samples.device.type == "cuda"),
    )  # fmt: skip


def _check_scheduled(lr: float, t: int) -> None:
    try:
        check_lr(lr)
    except ValueError as error:
        said = f"the schedule's lr at step {t}: {error}; let it end above 0, or later than the run does"
        raise ValueError(said) from error


def default_block(dimension: int, numbers: int = 0) -> int:
    """Chains per block where none is given: 4096, or as many as have 200,000 numbers, but 128 at least.

    More would be faster for very cheap landscapes; but a block is always begun whole, however few chains are asked for.
    Fewer where an oracle draws many numbers for each chain and step, or has it carry them: 2²⁴ in all, or those of one
    chain.
    """
    block = 4096
    while block > 128 and block * dimension > 200_000:
        block //= 2
    while block > 1 and block * numbers > 1 << 24:
        block //= 2
    return block


def _block(block: int | None, dimension: int, carried: int, drawn: int) -> int:
    block = int(block or default_block(dimension, max(carried, drawn)))
    if block * carried > _CARRIED:
        most = _CARRIED // carried
        said = f"take block={most} at most" if most else "the sample is too large"
        raise ValueError(f"the oracle has {block} chains of a block carry {carried} numbers each: {said}")
    return block


def _check_samples(landscape: Landscape) -> None:
    samples = landscape.samples
    if samples.ndim != 2 or not samples.is_floating_point():
        raise ValueError(f"samples must be a floating (n, k) tensor, got {samples.dtype} {tuple(samples.shape)}")
    bad, first = not_finite(samples)
    if bad:
        raise ValueError(
            f"samples hold non-finite numbers in {bad} of {len(samples)} rows, first in row {first}; clean or drop them"
        )


def _checked_start(landscape: Landscape, start, chains: int):
    if callable(start):
        return start
    if isinstance(start, CriticalPoint):
        raise TypeError("start is a critical point: give its location, start=point.location")
    samples = landscape.samples
    start = torch.as_tensor(start, dtype=samples.dtype, device=samples.device)
    if start.ndim not in (1, 2) or (start.ndim == 2 and start.shape[0] != chains):
        raise ValueError(f"start must be (d,) or (chains, d) with chains = {chains}, got {tuple(start.shape)}")
    if not bool(torch.isfinite(start).all()):
        raise ValueError("start holds non-finite numbers")
    return start


def _probe(landscape: Landscape, start) -> Tensor:
    """One or two starting points, (c, d), at which the landscape has a gradient."""
    samples = landscape.samples
    if callable(start):
        generator = block_generator(0, 0, samples.device)
        x = start(2, generator)
        if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[0] != 2:
            raise ValueError("start(chains, generator) must return a (chains, d) tensor")
        x = x.to(samples)
    else:
        x = start[None].expand(2, -1) if start.ndim == 1 else start[:2]
    d = landscape.dimension
    if d is not None and x.shape[1] != d:
        raise ValueError(f"start has dimension {x.shape[1]}, but the landscape has dimension {d}")
    try:
        gradient = landscape.gradient(x, torch.zeros(len(x), 1, dtype=torch.int64, device=samples.device))
    except (RuntimeError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the landscape has no gradient at a start of dimension {x.shape[1]}: {reason}") from error
    if gradient.shape != x.shape:
        raise ValueError(f"the gradient at a start {tuple(x.shape)} came as {tuple(gradient.shape)}")
    return x


def _check_function(name: str, function, x: Tensor, boolean: bool = False) -> None:
    if not callable(function):
        raise TypeError(f"{name} must be a callable of points (c, d), got {type(function).__name__}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = function(x)
        except (RuntimeError, IndexError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{name} fails on points {tuple(x.shape)}: {reason}") from error
    if not isinstance(value, Tensor) or value.shape != x.shape[:1] or (boolean and value.dtype != torch.bool):
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must map (c, d) to (c,){' bool' if boolean else ''}, got {got}")
