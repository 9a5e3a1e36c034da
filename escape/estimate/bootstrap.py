"""The bootstrap: groups of chains drawn with replacement, and the limits read off what comes out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AT_ONCE = 256  # resamples held at a time


def resample(
    sums: NDArray, sizes: NDArray, resamples: int, seed: int, statistic: Callable[[NDArray], NDArray]
) -> NDArray:
    """Return a statistic (resamples,) of means over groups drawn with replacement.

    `sums` (t, g) are sums over the chains of each of g groups, `sizes` (g,) their numbers of chains; `statistic` takes
    means (t, r) of r resamples and returns (r,).
    """
    rng, groups = np.random.default_rng(seed), len(sizes)
    found = []
    for start in range(0, resamples, AT_ONCE):
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=min(AT_ONCE, resamples - start))
        found.append(statistic(sums @ drawn.T / (drawn @ sizes)))
    return np.concatenate(found)


def bca_limits(value: float, resampled: NDArray, left_out: NDArray, level: float) -> tuple[float, float]:
    """Return the bias-corrected, accelerated limits of `value` from its resamples (r,).

    The ends are the quantiles Phi(z0 + (z0 + z) / (1 - a (z0 + z))) of the resamples, z = -+ Phi^{-1}((1 + level) / 2):
    Phi(z0) is the fraction of resamples below the value, and a the skewness of the values `left_out` (g,), each without
    one group, over six. NaN where the resamples lie all on one side, or some have no value.

    Source: Efron 1987, Journal of the American Statistical Association 82:171.
    """
    if np.ptp(resampled) == 0:
        return value, value
    below = (resampled < value).mean() + (resampled == value).mean() / 2
    if not np.isfinite(resampled).all() or not 0 < below < 1:
        return np.nan, np.nan
    away = left_out.mean() - left_out
    spread = (away**2).sum()
    acceleration = (away**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    bias = stats.norm.ppf(below)
    shifted = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(resampled, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)
