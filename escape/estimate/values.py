"""What estimates of squares ask of the values of all chains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from escape.estimate.base import group_starts, lonely, mean_error


@dataclass(frozen=True, eq=False)
class FullValues:
    """Values x (t, c) of c chains at t recorded steps, in double precision."""

    values: NDArray
    rounding = 1e-28  # relative to mean fourth powers: a variance of squares below it may be rounding

    @property
    def chains(self) -> int:
        """Number of chains c."""
        return self.values.shape[1]

    @property
    def steps(self) -> int:
        """Number of recorded steps t."""
        return len(self.values)

    def between(self, first: int, stop: int) -> FullValues:
        """Return the same at the recorded steps first .. stop - 1 alone."""
        return FullValues(self.values[first:stop])

    @cached_property
    def square(self) -> NDArray:
        """x^2 (t, c); a value too large to square becomes infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.values**2

    @property
    def finite(self) -> NDArray:
        """Whether the squares of all chains are finite (t,)."""
        return np.isfinite(self.square).all(axis=1)

    @property
    def mean_square(self) -> tuple[NDArray, NDArray]:
        """Mean of x^2 and its standard error, (t,) each."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.square.mean(axis=1), mean_error(self.square)

    @property
    def mean(self) -> tuple[NDArray, NDArray]:
        """Mean of x and its standard error, (t,) each."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.values.mean(axis=1), mean_error(self.values)

    @cached_property
    def _logs(self) -> NDArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = 2 * np.log(np.abs(self.values))  # not ln of the square, which under- and overflows twice as soon
        logs[np.isposinf(logs)] = np.nan
        return logs

    @property
    def mean_log_square(self) -> tuple[NDArray, NDArray]:
        """Mean of ln x^2 and its standard error, (t,) each."""
        with np.errstate(invalid="ignore"):
            return self._logs.mean(axis=1), mean_error(self._logs)

    def log_squares(self) -> tuple[NDArray, NDArray, NDArray]:
        """Return ln x^2 of every chain (t, c), how many chains each is of (c,), and the mean (t,) of its square."""
        with np.errstate(invalid="ignore"):
            return self._logs, np.ones(self.chains), (self._logs**2).mean(axis=1)

    @property
    def zero_reason(self) -> str:
        """The reason against logarithms where chains are exactly zero, else empty."""
        zeros = np.isneginf(self._logs)
        if not zeros.any():
            return ""
        chains, since = zeros.any(axis=0).sum(), zeros.any(axis=1).argmax()
        return f"{chains} of {self.chains} chains exactly zero, first at recorded step {since}"

    @property
    def square_share(self) -> NDArray:
        """Largest share (t,) of the sum of x^2; equal chains, zeros too, hold 1/c each."""
        return _largest_share(self.square)

    @property
    def magnitude_share(self) -> NDArray:
        """Largest share (t,) of the sum of |x|."""
        return _largest_share(np.abs(self.values))

    @property
    def effective(self) -> NDArray:
        """(sum x^2)^2 / sum x^4 (t,)."""
        top = self.square.max(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = self.square / top[:, None]
            count = relative.sum(axis=1) ** 2 / (relative**2).sum(axis=1)
        return np.where(top == 0, float(self.chains), count)

    @property
    def fourth(self) -> NDArray:
        """Mean of x^4 (t,); infinite where it is too large."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (self.square**2).mean(axis=1)

    def spread(self, factor: float) -> NDArray:
        """Return the variance (t - 1,) over chains of y^2 - factor * x^2, from a recorded step x to the next, y."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (self.square[1:] - factor * self.square[:-1]).var(axis=1)

    def grouped(self, groups: int) -> tuple[NDArray, NDArray]:
        """Return the sums (t, g) of x^2 over groups of neighbouring chains, and their sizes (g,)."""
        starts = group_starts(self.chains, min(groups, self.chains))
        return np.add.reduceat(self.square, starts, axis=1), np.diff(np.append(starts, self.chains))

    def finite_reason(self, squared: bool = True) -> str:
        """Return the reason against means over chains of which some are not finite; else empty."""
        bad = ~np.isfinite(self.square if squared else self.values)
        if not bad.any():
            return ""
        return f"{bad.any(axis=0).sum()} of {self.chains} chains not finite from recorded step {bad.any(1).argmax()}"

    def group_reason(self, groups: int) -> str:
        """Return the reason against an interval from so few groups; else empty."""
        return lonely(self.chains)


def _largest_share(parts: NDArray) -> NDArray:
    """Return the largest share (t,) of the sum of `parts` (t, c), none negative; equal chains, zeros too, hold 1/c."""
    top = parts.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Divided by the largest first, the sum cannot overflow.
        share = 1 / (parts / top[:, None]).sum(axis=1)
    return np.where(top == 0, 1 / parts.shape[1], share)
