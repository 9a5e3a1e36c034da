"""A number that knows whether it is exact, how far it may be off, or why there is none."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Number(NamedTuple):
    """A number, its standard error, and why there is none where it is not defined.

    Attributes
    ----------
    value : float
        NaN where it is not defined.
    error : float
        Standard error over random probes; 0 where exact.
    exact : bool
        Whether it is exact up to rounding, or estimated with random probes.
    reason : str
        Why it is not defined; empty otherwise.
    """

    value: float
    error: float = 0.0
    exact: bool = True
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"not defined: {self.reason}"
        return f"{self.value:.6g}" + ("" if self.exact else f" ± {self.error:.2g}")


def undefined(reason: str) -> Number:
    """Return NaN with the reason."""
    return Number(float("nan"), 0.0, True, reason)


class Part(NamedTuple):
    """What a number is made of: an exact part, and one value a random probe (m,) whose mean is the rest, or None."""

    fixed: float
    probes: NDArray | None = None

    @property
    def value(self) -> float:
        """The estimate."""
        return self.fixed if self.probes is None else self.fixed + float(self.probes.mean())

    def without_each(self) -> float | NDArray:
        """The estimate without one probe, for each of them, (m,)."""
        if self.probes is None:
            return self.fixed
        m = len(self.probes)
        return self.fixed + (self.probes.sum() - self.probes) / (m - 1)


def combine(function: Callable[..., float], *parts: Part) -> Number:
    """Return a smooth function of parts that share their probes, its standard error by the jackknife over probes."""
    value = float(function(*(part.value for part in parts)))
    sizes = {len(part.probes) for part in parts if part.probes is not None}
    if not sizes:
        return Number(value)
    (m,) = sizes
    with np.errstate(all="ignore"):
        others = np.broadcast_to(function(*(part.without_each() for part in parts)), (m,))
        error = float(np.sqrt((m - 1) / m * ((others - others.mean()) ** 2).sum()))
    return Number(value, error, False)
