"""Rate at which the mean square grows, from an affine recursion of the mean over chains."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escape.estimate.base import check_level, quantile
from escape.estimate.bootstrap import bca_limits, resample
from escape.estimate.moments import share_reason
from escape.estimate.recursion import (
    Means,
    drift_reason,
    error_weights,
    factors,
    leave_out,
    log_factor,
    longest_growth,
)
from escape.estimate.streamed import PowerSums, read_values

FEWEST = 5  # recorded steps in a window to be believed
MOST_GROUPS = 1024  # groups of chains that the bootstrap draws from
FEWEST_RESAMPLES = 100


class GrowthRate(NamedTuple):
    """An `Estimate` of a growth rate, with the steps it was taken from.

    Attributes
    ----------
    value, low, high : float
        Rate of the mean square per step and the ends of its confidence interval.
    reliable : bool
        Whether value and interval mean what they say.
    reason : str
        Why not, in one line; empty when reliable.
    window : tuple of int
        First and last step used.
    """

    value: float
    low: float
    high: float
    reliable: bool
    reason: str
    window: tuple[int, int]


def growth_rate(
    values: ArrayLike | PowerSums,
    step: ArrayLike,
    window: tuple[int, int] | None = None,
    level: float = 0.95,
    groups: int = 32,
    interval: Literal["jackknife", "bootstrap"] = "jackknife",
    resamples: int = 2000,
    seed: int = 0,
) -> GrowthRate:
    """Rate at which the mean square over chains grows, per step.

    At a linear saddle with additive noise E x_{t+k}^2 = r E x_t^2 + b exactly, with r = a^{2k}; b makes the slope of
    ln E x_t^2 wrong at first. Here m_{t+k}, the mean of x_{t+k}^2, is regressed on m_t and a constant, and the rate is
    ln(r)/k. The errors m_{t+k} - r m_t - b have mean zero given the past, whatever the noise, so r is consistent; they
    are weighted by their variance, modelled as p + q mean(x^2) + s mean(x^4) with p, q, s >= 0 fitted to the chains.
    The interval is the Student one of a jackknife that leaves out one group of neighbouring chains at a time, or the
    bias-corrected, accelerated one of a bootstrap that draws chains with replacement. Both hold window and weights.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains, NaN once diverged; or an observable of `simulate(…, reduce=True)`.
    step : array_like, shape (t,)
        The recorded steps, evenly spaced and increasing.
    window : (int, int), optional
        First and last step to use. By default it begins once the mean square has grown by three standard errors from
        its least, and ends before it saturates: where the growth over the next doubling falls five standard errors (and
        a thousandth) short of the fit to all before, and then back to a tenth of the mean square there. After such a
        break the search starts anew, at ten times the mean square, and the longest growth is kept. The window also ends
        before the first value that is not finite, or whose fourth power is not.
    level : float
        Confidence of the interval.
    groups : int
        Groups of chains of the jackknife; at most the number of chains is used, and of power sums, whose groups are of
        neighbouring blocks, at most the number of blocks.
    interval : "jackknife" or "bootstrap"
        Both cover alike; the bootstrap is asymmetric where the tail of the squares is heavy, and slower.
    resamples, seed : int
        Of the bootstrap: how often chains are drawn, and the seed of the draws. They are drawn one by one, or in 1024
        groups of neighbours where there are more; of power sums by blocks. The same call gives the same interval.

    Returns
    -------
    GrowthRate
        Per step. Unreliable when the window spans fewer than 5 recorded steps or growth under a factor e, when one
        chain holds over 5% of the sum in it, or when its two halves disagree; from power sums, when there are under
        8 groups, and without an interval when there is one. Identical chains give an interval of no width.

    Raises
    ------
    ValueError
        When a shape, a level, the spacing of `step`, `groups`, `window`, `interval`, `resamples` or `seed` is not
        allowed.

    Notes
    -----
    Source: the recursion is exact algebra for a linear chain; weights for martingale errors as in Wei 1985, "Asymptotic
    properties of least-squares estimates in stochastic regression models", Annals of Statistics 13:1498.
    """
    level, whole = check_level(level), read_values(values)
    step = check_step(step, whole.steps)
    if int(groups) != groups or groups < 2:
        raise ValueError(f"groups is {groups!r}; it must be a whole number of at least 2")
    _check_interval(interval, resamples, seed)
    usable = whole.finite & np.isfinite(whole.fourth)  # the weights need fourth powers
    count = len(usable) if usable.all() else int(usable.argmin())
    means = leave_out(whole.between(0, count), int(groups)) if count else None
    if window is not None:
        first, last = _check_window(window, step, count)
    elif count >= 3 and means.mean[:, 0].any():
        first, last = longest_growth(means)
    else:
        reason = f"{count} recorded steps with every chain finite, and not all zero, where 3 are needed"
        return GrowthRate(np.nan, np.nan, np.nan, False, reason, (int(step[0]), int(step[max(count - 1, 0)])))
    draws = (int(resamples), int(seed)) if interval == "bootstrap" else None
    return _judge(means.between(first, last + 1), step[first : last + 1], level, draws)


def _judge(part: Means, step: NDArray, level: float, draws: tuple[int, int] | None) -> GrowthRate:
    """Fit the rate in the window and say what speaks against it; `draws` are resamples and seed of a bootstrap."""
    chains, spacing = part.held.chains, step[1] - step[0]
    weights = error_weights(part)
    rates = log_factor(factors(part.mean, weights)) / spacing
    value, error = float(rates[0]), float(part.error(rates))
    width = quantile(level, len(part.sizes)) * error
    low, high = value - width, value + width
    if draws is not None and len(part.sizes) > 1:
        low, high = _bootstrap(part, weights, spacing, level, *draws)
    grown = part.mean[-1, 0] / part.mean[0, 0] if part.mean[0, 0] else np.inf
    reasons = [
        part.held.group_reason(len(part.sizes)),
        f"the window holds {len(step)} recorded steps, fewer than {FEWEST}" if len(step) < FEWEST else "",
        f"the mean square grows by a factor {grown:.3g} in the window, under e" if not grown >= np.e else "",
        "" if value * (step[-1] - step[0]) >= 1 else f"the rate {value:.3g} makes a factor under e of the window",
        share_reason(part.held.square_share, chains, "step", step),
        drift_reason(part, weights, spacing),
    ]
    reason = "; ".join(text for text in reasons if text)
    return GrowthRate(value, low, high, not reason, reason, (int(step[0]), int(step[-1])))


def _bootstrap(
    part: Means, weights: NDArray, spacing: float, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the limits of the rate by drawing chains, or groups of them, with replacement."""
    means = leave_out(part.held, MOST_GROUPS)
    rates = log_factor(factors(means.mean, weights)) / spacing
    drawn = resample(
        *part.held.grouped(MOST_GROUPS), resamples, seed, lambda mean: log_factor(factors(mean, weights)) / spacing
    )
    return bca_limits(float(rates[0]), drawn, rates[1:], level)


def _check_interval(interval: str, resamples: int, seed: int) -> None:
    """Refuse an unknown kind of interval, and draws that are no whole numbers."""
    if interval not in ("jackknife", "bootstrap"):
        raise ValueError(f'interval is {interval!r}; it must be "jackknife" or "bootstrap"')
    if int(resamples) != resamples or resamples < FEWEST_RESAMPLES:
        raise ValueError(f"resamples is {resamples!r}; it must be a whole number of at least {FEWEST_RESAMPLES}")
    if int(seed) != seed or seed < 0:
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 on")


def check_step(step: ArrayLike, rows: int) -> NDArray:
    """Return the recorded steps (t,), evenly spaced and increasing."""
    step = np.asarray(step)
    if step.shape != (rows,) or rows < 2 or step.dtype.kind not in "fiu":
        raise ValueError(f"step has shape {step.shape} for {rows} rows; there must be one step a row, and at least 2")
    gaps = np.diff(step.astype(np.float64))
    if not (gaps[0] > 0 and (gaps == gaps[0]).all()):
        raise ValueError(f"step is spaced by {gaps.min():g} to {gaps.max():g}; it must increase evenly")
    return step


def _check_window(window: tuple[int, int], step: NDArray, count: int) -> tuple[int, int]:
    """Return the first and last index of the recorded steps that a window given in steps holds."""
    try:
        low, high = (float(edge) for edge in window)
    except (TypeError, ValueError):
        raise ValueError(f"window is {window!r}; it must be a pair (first step, last step)") from None
    inside = np.flatnonzero((step >= low) & (step <= high))
    if len(inside) < 3:
        raise ValueError(f"window {window!r} holds {len(inside)} recorded steps; it needs 3 of {step[0]}..{step[-1]}")
    if inside[-1] >= count:
        lost = "values that are not finite, or whose fourth power is not"
        raise ValueError(f"window {window!r} has {lost}; it must end before step {step[count]}")
    return int(inside[0]), int(inside[-1])
