"""Power sums over blocks of chains, as `simulate(…, reduce=True)` leaves them, in the place of all values.

`PowerSums` answers the same questions as `FullValues`, so that an estimate is written once for both.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from escape.estimate.base import check_values, group_starts
from escape.estimate.values import FullValues

FEWEST_BLOCKS = 8  # with fewer groups the window's end is found by chance, and the jackknife's error is rough
_ROUNDED = 1e-15  # of the mean square: a variance below it is lost in the difference of two sums
_SMALLEST = 1e-290  # below this a mean fourth power has lost digits to underflow


@dataclass(frozen=True, eq=False)
class PowerSums:
    """Sums over the chains of each block, of x at every recorded step: arrays (t, b) of b blocks.

    Means, standard errors and shares follow from them as from the values themselves, to rounding: a variance is the
    difference of two sums, so a standard error has an absolute error of about 1e-8 of the root mean square of what is
    averaged. It is never less than 3e-8 of that over the root of the number of chains, not of equal chains either.

    Parameters
    ----------
    count : ndarray
        Chains of the block.
    sum, sum_of_magnitudes, sum_of_squares, sum_of_fourth_powers : ndarray
        Sums of x, |x|, x^2 and x^4.
    sum_of_lagged_products : ndarray
        Sum of x_t^2 times x^2 at the recorded step before; at the first, the sum of x^4.
    sum_of_log_squares, sum_of_squared_log_squares : ndarray
        Sums of ln x^2 and of (ln x^2)^2.
    largest_magnitude : ndarray
        Largest |x|.

    Raises
    ------
    ValueError
        If an array is not real and of the shape (t, b) of the others, or a block holds no chain, or not the same number
        at every step.
    """

    count: NDArray
    sum: NDArray
    sum_of_magnitudes: NDArray
    sum_of_squares: NDArray
    sum_of_fourth_powers: NDArray
    sum_of_lagged_products: NDArray
    sum_of_log_squares: NDArray
    sum_of_squared_log_squares: NDArray
    largest_magnitude: NDArray
    rounding = 1e-13

    def __post_init__(self):
        shape = np.shape(self.count)
        for field in fields(self):
            array = check_values(getattr(self, field.name), field.name)
            if array.shape != shape:
                raise ValueError(f"{field.name} has shape {array.shape} and count {shape}; they must agree")
            object.__setattr__(self, field.name, array)
        if not ((self.count >= 1) & (self.count == self.count[:1])).all():
            raise ValueError(
                "count must be the same at every step, and at least 1; of a sweep, take one point by sweep_point"
            )

    @cached_property
    def chains(self) -> int:
        """Number of chains c in all blocks."""
        return int(self.count[0].sum())

    @property
    def steps(self) -> int:
        """Number of recorded steps t."""
        return len(self.count)

    def between(self, first: int, stop: int) -> PowerSums:
        """Return the same at the recorded steps first .. stop - 1 alone."""
        return PowerSums(**{field.name: getattr(self, field.name)[first:stop] for field in fields(self)})

    @property
    def finite(self) -> NDArray:
        """Whether the squares of all chains are finite (t,)."""
        return np.isfinite(self.sum_of_squares).all(axis=1)

    @property
    def mean_square(self) -> tuple[NDArray, NDArray]:
        """Mean of x^2 and its standard error, (t,) each."""
        mean, error = self._mean_and_error(self.sum_of_squares, self.sum_of_fourth_powers)
        return mean, np.where((mean > 0) & (self.fourth < _SMALLEST), np.nan, error)

    @property
    def mean(self) -> tuple[NDArray, NDArray]:
        """Mean of x and its standard error, (t,) each."""
        return self._mean_and_error(self.sum, self.sum_of_squares)

    @property
    def mean_log_square(self) -> tuple[NDArray, NDArray]:
        """Mean of ln x^2 and its standard error, (t,) each."""
        mean, error = self._mean_and_error(self.sum_of_log_squares, self.sum_of_squared_log_squares)
        return np.where(np.isposinf(mean), np.nan, mean), error

    def log_squares(self) -> tuple[NDArray, NDArray, NDArray]:
        """Return the mean of ln x^2 over each block (t, b), the blocks' sizes (b,), and the mean (t,) of its square."""
        mean = np.where(np.isposinf(self.sum_of_log_squares), np.nan, self.sum_of_log_squares / self.count)
        return mean, self.count[0], self.sum_of_squared_log_squares.sum(axis=1) / self.chains

    @property
    def zero_reason(self) -> str:
        """The reason against logarithms where chains are exactly zero, else empty."""
        zeros = np.isneginf(self.sum_of_log_squares).any(axis=1)
        since = f"first at recorded step {zeros.argmax()}"
        return f"some of {self.chains} chains exactly zero, {since}" if zeros.any() else ""

    @property
    def square_share(self) -> NDArray:
        """Largest share (t,) of the sum of x^2; zeros hold 1/c each."""
        with np.errstate(over="ignore"):
            return self._share(self.largest_magnitude**2, self.sum_of_squares)

    @property
    def magnitude_share(self) -> NDArray:
        """Largest share (t,) of the sum of |x|."""
        return self._share(self.largest_magnitude, self.sum_of_magnitudes)

    @property
    def effective(self) -> NDArray:
        """(sum x^2)^2 / sum x^4 (t,)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            square, fourth = self.sum_of_squares.sum(axis=1), self.sum_of_fourth_powers.sum(axis=1)
            count = np.where(self.fourth < _SMALLEST, np.nan, square**2 / fourth)
        return np.where((self.largest_magnitude == 0).all(axis=1), float(self.chains), count)

    @property
    def fourth(self) -> NDArray:
        """Mean of x^4 (t,)."""
        return self.sum_of_fourth_powers.sum(axis=1) / self.chains

    def spread(self, factor: float) -> NDArray:
        """Return the variance (t - 1,) over chains of y^2 - factor * x^2, from a recorded step x to the next, y."""
        mean, product = self.mean_square[0], self.sum_of_lagged_products[1:].sum(axis=1) / self.chains
        whole = self.fourth[1:] - 2 * factor * product + factor**2 * self.fourth[:-1]
        return whole - (mean[1:] - factor * mean[:-1]) ** 2

    def grouped(self, groups: int) -> tuple[NDArray, NDArray]:
        """Return the sums (t, g) of x^2 over groups of neighbouring blocks, and their numbers of chains (g,)."""
        blocks = self.count.shape[1]
        starts = group_starts(blocks, min(groups, blocks))
        return np.add.reduceat(self.sum_of_squares, starts, axis=1), np.add.reduceat(self.count[0], starts)

    def finite_reason(self, squared: bool = True) -> str:
        """Return the reason against means over chains of which some are not finite; else empty."""
        bad = ~np.isfinite(self.sum_of_squares if squared else self.sum_of_magnitudes).all(axis=1)
        return f"some of {self.chains} chains not finite from recorded step {bad.argmax()}" if bad.any() else ""

    def group_reason(self, groups: int) -> str:
        """Return the reason against an interval from so few groups; else empty."""
        if groups >= FEWEST_BLOCKS:
            return ""
        held = f"{groups} group{'' if groups == 1 else 's'} of blocks"
        return f"{held}, where the jackknife needs {FEWEST_BLOCKS}: run with a smaller block, or more chains"

    def _mean_and_error(self, sums: NDArray, squares: NDArray) -> tuple[NDArray, NDArray]:
        with np.errstate(invalid="ignore", over="ignore"):
            mean, square = sums.sum(axis=1) / self.chains, squares.sum(axis=1) / self.chains
            if self.chains < 2:
                return mean, np.full_like(mean, np.nan)
            variance = square - mean**2
            # What rounding leaves may be all of a small spread: an interval of no width would be none.
            return mean, np.sqrt(np.maximum(variance, _ROUNDED * square) / (self.chains - 1))

    def _share(self, largest: NDArray, sums: NDArray) -> NDArray:
        top = largest.max(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(top == 0, 1 / self.chains, top / sums.sum(axis=1))


def streamed(data: Any) -> PowerSums:
    """Power sums out of a reduced observable of a simulation.

    Parameters
    ----------
    data : DataArray, dims statistic, step, block
        An observable of `simulate(…, reduce=True)`. The estimates of squares and means take it as it is, too.

    Returns
    -------
    PowerSums
        Its sums, by the names in the coordinate `statistic`.

    Raises
    ------
    ValueError
        When dimensions or statistics are not those of a reduced observable, or a block holds no chain.
    """
    dims = tuple(getattr(data, "dims", ()))
    if sorted(dims) != ["block", "statistic", "step"] or "statistic" not in data.coords:
        raise ValueError(f"power sums must have the dimensions statistic, step and block, got {', '.join(dims)}")
    held = {str(name): i for i, name in enumerate(data.coords["statistic"].values)}
    missing = [field.name for field in fields(PowerSums) if field.name not in held]
    if missing:
        raise ValueError(f"power sums without {', '.join(missing)}; keep every statistic of simulate(…, reduce=True)")
    array = data.transpose("statistic", "step", "block").values
    return PowerSums(**{field.name: array[held[field.name]] for field in fields(PowerSums)})


def read_values(values: Any) -> FullValues | PowerSums:
    """Return what an estimate was given, whichever it is, checked."""
    if isinstance(values, PowerSums):
        return values
    if "statistic" in tuple(getattr(values, "dims", ())):
        return streamed(values)
    return FullValues(check_values(values))
