"""Reading escape times: from a whole simulation, or from the exit steps and how each chain ended."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CENSORED, EXITED, DIVERGED = 0, 1, 2  # values of status


class Records(NamedTuple):
    """Escape times of c chains, checked.

    `step` (c,) is the exit step of a chain that left, else the number of steps for which it is known to have stayed.
    """

    step: NDArray  # (c,), int64
    status: NDArray  # (c,), CENSORED, EXITED or DIVERGED

    @property
    def left(self) -> NDArray:
        """Which chains left (c,); all others are censored, the diverged too."""
        return self.status == EXITED

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(self.step)

    def count(self, status: int) -> int:
        """Return how many chains ended with this status."""
        return int((self.status == status).sum())

    @property
    def horizon(self) -> int:
        """Least follow-up of the censored chains; where none is censored, the greatest follow-up of all."""
        censored = self.status == CENSORED
        return int(self.step[censored].min() if censored.any() else self.step.max())

    @property
    def divergence(self) -> str:
        """The reason against a law in which some chains diverged, else empty."""
        count = self.count(DIVERGED)
        return f"{count} of {self.chains} chains diverged" if count else ""


def read(data: Any, status: ArrayLike | None = None) -> Records:
    """Return the escape times in `data`: a mapping with "exit_step" and "status", or exit steps (c,) with their status.

    Exit steps without a status are taken as exits, every one.
    """
    if hasattr(data, "keys"):
        if status is not None:
            raise ValueError("got a simulation and a status; give a simulation alone, or exit steps with their status")
        missing = [name for name in ("exit_step", "status") if name not in data]
        if missing:
            raise ValueError(f"the simulation has no {' and no '.join(missing)}; run it with an exit (until=...)")
        data, status = data["exit_step"], data["status"]
    step = np.asarray(data)
    if step.ndim != 1 or not len(step):
        raise ValueError(f"exit_step has shape {step.shape}; it must be (chains,), with at least one chain")
    status = np.full(len(step), EXITED) if status is None else np.asarray(status)
    if status.shape != step.shape:
        raise ValueError(f"status has shape {status.shape} and exit_step {step.shape}; they must agree")
    if not np.isin(status, (CENSORED, EXITED, DIVERGED)).all():
        raise ValueError(f"status holds {np.unique(status)}; it must be 0 (censored), 1 (exited) or 2 (diverged)")
    return Records(_whole(step), status.astype(np.int8))


def _whole(step: NDArray) -> NDArray:
    """Return exit steps as integers, refusing what is negative, fractional or not finite."""
    if step.dtype.kind not in "fiu":
        raise ValueError(f"exit_step has dtype {step.dtype}; it must be whole numbers of steps")
    wrong = ~np.isfinite(step) | (step < 0)
    wrong |= ~wrong & (np.where(wrong, 0, step) % 1 != 0)
    if wrong.any():
        raise ValueError(f"exit_step holds {step[wrong][0]}; it must be whole numbers of steps, from 0 on")
    return step.astype(np.int64)


def check_horizon(horizon: float) -> float:
    """Return the horizon, a finite number of steps from 0 on."""
    if not 0 <= horizon < np.inf:
        raise ValueError(f"horizon is {horizon!r}; it must be a finite number of steps, from 0 on")
    return horizon
