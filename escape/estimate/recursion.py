"""The affine recursion m_{t+k} = r m_t + b of mean squares: its fit, its weights, and the window in which it holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from escape.estimate.base import jackknife_error
from escape.estimate.streamed import PowerSums
from escape.estimate.values import FullValues

DISCERNIBLE = 3.0  # standard errors by which the mean square must have grown where the window begins
BREAK = 5.0  # standard errors by which the growth must have fallen where it is said to saturate
TOLERANCE = 1e-3  # and the fraction of itself, so that an exact trajectory is not cut at its first curvature
RETREAT = 10.0  # the factor in the mean square that the window keeps from a break on either side


class Means(NamedTuple):
    """Mean squares: all chains in the first column, then each group of chains left out."""

    held: FullValues | PowerSums  # what they are the means of, at t recorded steps
    mean: NDArray  # (t, 1 + g)
    sizes: NDArray  # (g,)

    def between(self, first: int, stop: int) -> Means:
        """Return the same at the recorded steps first .. stop - 1 alone."""
        return Means(self.held.between(first, stop), self.mean[first:stop], self.sizes)

    def error(self, statistic: NDArray) -> NDArray:
        """Return the jackknife standard error (...) of a statistic (..., 1 + g)."""
        return jackknife_error(statistic[..., 0], statistic[..., 1:], self.sizes)


def leave_out(held: FullValues | PowerSums, groups: int) -> Means:
    """Average the squares over all chains, and over all but each group."""
    sums, sizes = held.grouped(groups)
    total = sums.sum(axis=1, keepdims=True)
    left_out = (total - sums) / (held.chains - sizes) if len(sizes) > 1 else total / held.chains
    return Means(held, np.concatenate([total / held.chains, left_out], axis=1), sizes)


def _sums(mean: NDArray, weights: NDArray) -> NDArray:
    """Return the running weighted sums (5, t, 1 + g), from none, of 1, x, y, xx, xy over pairs (m_t, m_{t+k})."""
    x, y, w = mean[:-1], mean[1:], weights[:, None]
    terms = np.stack([np.broadcast_to(w, x.shape), w * x, w * y, w * x * x, w * x * y])
    return np.concatenate([np.zeros_like(terms[:, :1]), terms.cumsum(axis=1)], axis=1)


def _solve(sums: NDArray) -> tuple[NDArray, NDArray]:
    """Return slope and constant of the weighted line through pairs with these sums."""
    w, x, y, xx, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (xy - x * y / w) / (xx - x * x / w)
        return slope, (y - slope * x) / w


def factors(mean: NDArray, weights: NDArray) -> NDArray:
    """Return the factor r (1 + g,) of m_{t+k} = r m_t + b by weighted least squares."""
    x, y, w = mean[:-1], mean[1:], weights[:, None] / weights.sum()
    x, y = x - (w * x).sum(axis=0), y - (w * y).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (w * x * y).sum(axis=0) / (w * x * x).sum(axis=0)


def log_factor(factor: NDArray) -> NDArray:
    """Return the logarithm, NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(factor > 0, np.log(factor), np.nan)


def _plain_weights(mean: NDArray) -> NDArray:
    """Return 1/(m_t + least positive m), the weights of additive noise up to a bounded factor, finite at m = 0."""
    least = mean[mean > 0].min()
    return least / (mean[:-1] + least)  # of any scale; this one cannot overflow


def error_weights(part: Means) -> NDArray:
    """Return the inverse of the modelled variance (t - 1,) of the recursion's errors."""
    mean = part.mean[:, 0]
    factor = factors(part.mean, _plain_weights(mean))[0]
    spread, fourth = part.held.spread(factor), part.held.fourth
    # Below what rounding alone leaves there is no spread to model.
    floor = part.held.rounding * (fourth[1:] + fourth[:-1])
    if not np.isfinite(factor) or not (floor > 0).all() or not (spread > floor).all():
        return _plain_weights(mean)
    # In units of the measured spread, so that late steps with their large squares do not alone decide p and q.
    design = np.stack([np.ones(len(spread)), mean[:-1], fourth[:-1]], axis=1) / spread[:, None]
    scale = design.max(axis=0)
    scale[scale == 0] = 1
    powers, _ = optimize.nnls(design / scale, np.ones(len(spread)))
    model = (design * (powers / scale)).sum(axis=1) * spread
    model += floor
    return model.min() / model


def longest_growth(means: Means) -> tuple[int, int]:
    """Return the first and last index of the longest growth, in ln m, at one rate.

    The search starts where growth is discernible and starts anew at each break, since a fall of the rate is saturation
    when nothing grows after it, and the end of a transient (of momentum, of decaying directions) when something does.
    """
    mean = means.mean[:, 0]
    begin = _onset(means)
    if begin is None:
        return 0, len(mean) - 1
    best, window, first = -np.inf, (0, 0), begin
    while begin < len(mean) - 2:
        stop = _break(means.between(begin, len(mean)))
        last = len(mean) - 1
        if stop is not None:
            below = np.flatnonzero(mean[begin : begin + stop + 1] <= mean[begin + stop] / RETREAT)
            last = begin + (int(below[-1]) if len(below) else 0)
        gain = np.log(mean[last] / mean[first])
        if first < last and gain > best:
            best, window = gain, (first, last)
        if stop is None:
            break
        begin += stop
        clear = mean[begin:] >= RETREAT * mean[begin]
        if not clear.any():
            break
        first = begin + int(clear.argmax())
    first = max(min(window[0], len(mean) - 3), 0)
    return first, max(window[1], first + 2)  # three points to fit, however short; the judge says so


def _onset(means: Means) -> int | None:
    """Return the first index at which the mean square has grown discernibly from its least, None if it never has."""
    mean = means.mean
    least = int(mean[:-2, 0].argmin())
    grown = mean - mean[least]
    seen = (grown[:, 0] > 0) & ~(grown[:, 0] < DISCERNIBLE * means.error(grown))
    seen[: least + 1] = False
    return int(seen.argmax()) if seen[:-2].any() else None


def _break(part: Means) -> int | None:
    """Return the index from which the growth falls short of the fit to all before it, None if it never does.

    After each index e the pairs up to the next doubling are compared with the line through the pairs before e: their
    mean shortfall, in units of m_t, is a drop of r. The same for each group left out gives its standard error.
    """
    mean = part.mean
    sums = _sums(mean, _plain_weights(mean[:, 0]))
    edges = np.arange(3, len(mean) - 1)
    if not len(edges):
        return None
    slope, constant = _solve(sums[:, edges])
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = np.ceil(np.log(2) / np.log(np.maximum(slope[:, 0], 1 + 1e-9)))
    ends = np.minimum(edges + np.nan_to_num(ahead, nan=1.0), len(mean) - 1).astype(int)
    w, x, y, _, _ = sums[:, ends] - sums[:, edges]
    with np.errstate(invalid="ignore", over="ignore"):  # mean squares equal to rounding have no slope
        drop = slope + (constant * w - y) / x
        error = np.nan_to_num(part.error(drop))
    room = TOLERANCE * np.abs(slope[:, 0] - 1)
    broken = drop[:, 0] > BREAK * error + room
    return int(edges[broken.argmax()]) if broken.any() else None


def drift_reason(part: Means, weights: NDArray, spacing: float) -> str:
    """Return a reason when the rates of the two halves in ln m of the window differ beyond chance; else empty."""
    mean = part.mean[:, 0]
    half = int(np.searchsorted(np.maximum.accumulate(mean), np.sqrt(max(mean[0], mean[mean > 0].min()) * mean[-1])))
    if not 2 <= half <= len(mean) - 3:
        return ""
    early = log_factor(factors(part.mean[: half + 1], weights[:half])) / spacing
    late = log_factor(factors(part.mean[half:], weights[half:])) / spacing
    gap, error = late - early, part.error(late - early)
    if not abs(gap[0]) > BREAK * error + 10 * TOLERANCE * abs(late[0]):
        return ""
    return f"the rate goes from {early[0]:.4g} to {late[0]:.4g} within the window"
