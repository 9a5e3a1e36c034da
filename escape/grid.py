"""The points of a sweep: every combination of the values of a grid, each a run that was checked before any begins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from numbers import Integral, Real

import numpy as np
from torch import Tensor

from escape.checked import checked_run
from escape.run import Run

# What the result holds under these names, and so cannot be the name of an axis or of an observable.
RESERVED = {
    "step", "chain", "coordinate", "statistic", "block", "exit_step", "status", "final", "chains", "dimension", "seed",
    "spec", "value", "low", "high", "relative_half_width", "reached", "reason",
}  # fmt: skip
_NEEDED, _OPTIONAL = ("landscape", "oracle", "optimizer", "start"), ("until", "observe")


@dataclass(frozen=True, eq=False)
class Grid:
    """Names, and for each its values and what they are called: numbers by themselves, all else by a string."""

    values: dict[str, list]
    labels: dict[str, list]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each name."""
        return tuple(len(values) for values in self.values.values())

    @property
    def indices(self) -> list[tuple[int, ...]]:
        """Index of every point, the last name running fastest."""
        return list(itertools.product(*map(range, self.shape)))

    def chosen(self, index: tuple[int, ...]) -> dict:
        """Return the values by name at a point."""
        return {name: values[i] for (name, values), i in zip(self.values.items(), index, strict=True)}

    def place(self, index: tuple[int, ...]) -> str:
        """Return what a point is called, lr=0.1, batch_size=32."""
        return ", ".join(f"{name}={labels[i]}" for (name, labels), i in zip(self.labels.items(), index, strict=True))


def label_of(value) -> object:
    """Return what a value is called on its axis: a number itself, anything else a string on one line."""
    if isinstance(value, Tensor | np.generic | np.ndarray) and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, Real) and not isinstance(value, bool):
        return value
    return " ".join(str(getattr(value, "__name__", value)).split())


def checked_grid(grid: Mapping) -> Grid:
    """Return the grid of `sweep`, checked.

    Raises
    ------
    ValueError, TypeError
        One line on the first axis that is none.
    """
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError(f"grid must name at least one list of values, such as {{'lr': [0.1, 0.2]}}, got {grid!r}")
    values, labels = {}, {}
    for name, axis in grid.items():
        if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
            raise ValueError(f"the grid's name {name!r} must be a Python name that the result does not use otherwise")
        try:
            held = None if isinstance(axis, str | bytes) else list(axis)
        except TypeError:
            held = None
        if held is None:
            raise TypeError(f"{name} must be a list of values, or a dict of them by label, got {axis!r}")
        if not held:
            raise ValueError(f"{name} has no values; give one at least")
        called = [label_of(label) for label in held]
        if isinstance(axis, Mapping):
            held = list(axis.values())
        if not all(isinstance(label, Real) for label in called):
            called = [str(label) for label in called]
        twice = next((label for i, label in enumerate(called) if label in called[:i]), None)
        if twice is not None:
            raise ValueError(f"{name} holds {twice!r} twice; give every value once, or a dict of values by label")
        # A number reaches the point as Python's own, whoever made the list.
        values[name] = [label_of(value) if isinstance(label_of(value), Real) else value for value in held]
        labels[name] = called
    return Grid(values, labels)


def checked_points(point: Callable[..., Mapping], grid: Grid, seed: int, common: bool, shared: Mapping) -> list[Run]:
    """Return the run of every point of a grid, in the order of its indices, all with the same block.

    Parameters
    ----------
    point : callable
        As in `sweep`.
    grid : Grid
        The grid.
    seed : int
        Seed of the sweep.
    common : bool
        Whether every point has this seed and common random numbers.
    shared : mapping
        What `checked_run` takes for all points; `block` may be None, `observe` and `until` are what a point has that
        gives none.

    Raises
    ------
    ValueError, TypeError
        One line on the first point that makes no run, naming it.
    """
    if not callable(point):
        raise TypeError(f"point must be a callable of {', '.join(grid.values)}, got {type(point).__name__}")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    runs: list[Run] = []
    for index in grid.indices:
        try:
            given = _given(point(**grid.chosen(index)))
            own = seed if common else point_seed(seed, index)
            run = checked_run(**{**shared, **given, "seed": own, "common": common})
            _check_names(run, runs[0] if runs else run, grid)
        except (ValueError, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"at {grid.place(index)}: {' '.join(str(error).split())}") from error
        runs.append(run)
    # One block for all: else chains of one number would not share their random numbers.
    block = min(run.block for run in runs)
    return [replaced(run, block=block) for run in runs]


def point_seed(seed: int, index: tuple[int, ...]) -> int:
    """Return the seed of a point, in [0, 2⁶³): it does not change when values are added at the end of an axis."""
    return int(np.random.SeedSequence(seed, spawn_key=index).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _given(made) -> dict:
    """What a point gives, its names checked."""
    if not isinstance(made, Mapping):
        raise TypeError(f"point must return a dict of what simulate takes, got {type(made).__name__}")
    allowed = (*_NEEDED, *_OPTIONAL)
    unknown = [name for name in made if name not in allowed]
    if unknown:
        raise ValueError(f"point gave {unknown[0]!r}; it gives {', '.join(allowed)}; all else is an argument of sweep")
    missing = [name for name in _NEEDED if name not in made]
    if missing:
        raise ValueError(f"point gave no {missing[0]}")
    return dict(made)


def _check_names(run: Run, first: Run, grid: Grid) -> None:
    """Observables are the same everywhere, and named apart from all else."""
    taken = [name for name in run.observe if name in RESERVED or name in grid.values]
    if taken:
        raise ValueError(f"observable {taken[0]!r} has the name of another part of the result; choose another name")
    if set(run.observe) != set(first.observe):
        names = [", ".join(each.observe) or "nothing" for each in (run, first)]
        raise ValueError(f"{names[0]} is observed, but {names[1]} at the first point; observe the same everywhere")
