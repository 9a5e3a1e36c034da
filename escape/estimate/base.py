"""What every estimate is made of: the result type, checks of input, intervals from a standard error, the jackknife."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

FAR = 400  # power of two, either way, beyond which squares are scaled before they are summed
SHARE_LIMIT = 0.05  # above this share of the sum, one chain decides the mean


class Estimate(NamedTuple):
    """A number, or an array of them, with its interval and whether to believe it.

    Attributes
    ----------
    value, low, high : float or ndarray
        The estimate and the ends of its confidence interval.
    reliable : bool
        Whether value and interval mean what they say.
    reason : str
        Why not, in one line; empty when reliable.
    """

    value: float | NDArray
    low: float | NDArray
    high: float | NDArray
    reliable: bool
    reason: str


def judged(value, low, high, reasons: list[str]) -> Estimate:
    """Return the estimate, reliable when `reasons` holds nothing but empty strings."""
    reason = "; ".join(text for text in reasons if text)
    return Estimate(value, low, high, not reason, reason)


def check_level(level: float) -> float:
    """Return the confidence level, a number strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level!r}; it must lie strictly between 0 and 1, for example 0.95")
    return float(level)


def check_values(values: ArrayLike, name: str = "values") -> NDArray:
    """Return recorded values as a float array (t, c): t recorded steps, c chains, neither of them empty."""
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; it must be (steps, chains) with at least one of each")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {array.dtype}; it must be real numbers")
    return array.astype(np.float64, copy=False)


def quantile(level: float, chains: int) -> float:
    """Return the two-sided Student quantile for a mean over `chains` chains, NaN for a single one."""
    return float(stats.t.ppf((1 + level) / 2, chains - 1)) if chains > 1 else float("nan")


def mean_error(values: NDArray) -> NDArray:
    """Return the standard error of the mean over the last axis, NaN for a single chain."""
    chains = values.shape[-1]
    if chains < 2:
        return np.full(values.shape[:-1], np.nan)
    # By a power of two, which rounds nothing, so that their squares neither under- nor overflow.
    power = np.frexp(np.abs(values).max(axis=-1, keepdims=True))[1]
    if np.abs(power).max() > FAR:
        values = np.ldexp(values, -power)
        return np.ldexp(values.std(axis=-1, ddof=1) / np.sqrt(chains), power[..., 0])
    return values.std(axis=-1, ddof=1) / np.sqrt(chains)


def lonely(chains: int) -> str:
    """Return the reason against an interval from one chain, empty for more."""
    return "" if chains > 1 else "1 chain gives no interval"


def log_interval(value, error, width: float) -> tuple:
    """Return value * exp(-+ width * error / value), the interval of a positive quantity; a zero stays zero."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.exp(np.where(np.equal(error, 0), 0.0, width * np.divide(error, value)))
        return value / factor, value * factor


def binomial_ends(share: NDArray, size: NDArray, level: float) -> tuple[NDArray, NDArray]:
    """Return the ends of Clopper and Pearson's interval of a share of `size` chains, neither need be whole.

    Source: Clopper and Pearson 1934, Biometrika 26:404; as an effective number: Korn and Graubard 1998, Survey
    Methodology 24:193.
    """
    tail, none, every = (1 - level) / 2, share <= 0, share >= 1
    count, rest = np.where(none, 1.0, size * share), np.where(every, 1.0, size * (1 - share))
    low = np.where(none, 0.0, special.betaincinv(count, np.where(every, 0.0, rest) + 1, tail))
    high = np.where(every, 1.0, special.betainccinv(np.where(none, 0.0, count) + 1, rest, tail))
    return low, high


def group_starts(chains: int, groups: int) -> NDArray:
    """Return where each of `groups` runs of neighbouring chains begins; their sizes differ by one at most."""
    return np.arange(groups) * chains // groups


def jackknife_error(whole: NDArray, left_out: NDArray, sizes: NDArray) -> NDArray:
    """Return the standard error of `whole` (...) from its values `left_out` (..., g), each without a group of chains.

    With n chains, group j of size m_j and h_j = n / m_j, the pseudo-values p_j = h_j * whole - (h_j - 1) * left_out_j
    give the variance (1/g) * sum_j (p_j - p)^2 / (h_j - 1) about p, their mean weighted by 1 / h_j.

    Source: Busing, Meijer and van der Leeden 1999, "Delete-m jackknife for unequal m", Statistics and Computing 9:3.
    """
    if len(sizes) < 2:
        return np.full(np.shape(whole), np.nan)
    ratio = sizes.sum() / sizes
    pseudo = ratio * np.asarray(whole)[..., None] - (ratio - 1) * left_out
    centre = (pseudo / ratio).sum(axis=-1, keepdims=True)
    return np.sqrt(((pseudo - centre) ** 2 / (ratio - 1)).mean(axis=-1))
