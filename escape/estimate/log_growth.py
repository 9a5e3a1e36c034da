"""Rate at which the mean of ln x^2 grows: that of a typical chain, twice the Lyapunov exponent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from escape.estimate.base import check_level, group_starts, jackknife_error, quantile
from escape.estimate.growth import FEWEST, GrowthRate, check_step
from escape.estimate.streamed import PowerSums, read_values
from escape.estimate.values import FullValues

SEGMENTS = 32  # parts of the run between which a window begins and ends
REJECTION = 1e-3  # false-alarm rate of the search for a change of the rate, over all places in a window
TOLERANCE = 1e-3  # and the part of the rate by which it must change, so that an exact trajectory is not cut
RETREAT = 4.0  # the change of the mean logarithm that a window keeps from a change of the rate
MOST_UNITS = 1024  # groups of chains, above which more would not make the interval better
FEWEST_UNITS = 8  # chains, or blocks of power sums, for an interval to be believed
_UNDERFLOW = 2 * np.log(np.finfo(float).smallest_subnormal)  # ln x^2 of the least number above 0
_DEEP = 6.0  # standard deviations over chains within which the least of them is looked for


class Logs(NamedTuple):
    """Means of ln x^2 over each of u units, chains or groups of them, at t recorded steps."""

    unit: NDArray  # (t, u)
    sizes: NDArray  # (u,), in chains
    mean: NDArray  # (t,), over all chains
    deviation: NDArray  # (t,), over chains

    def gain(self, first: NDArray | int, last: NDArray | int) -> tuple[NDArray, NDArray]:
        """Return the growth of the mean from one recorded step to another, and of the mean without each unit."""
        whole, total = self.mean[last] - self.mean[first], self.sizes.sum()
        if len(self.sizes) < 2:
            return whole, np.asarray(whole)[..., None]
        parts = self.sizes * (self.unit[last] - self.unit[first])
        return whole, (total * np.asarray(whole)[..., None] - parts) / (total - self.sizes)


def log_growth_rate(
    values: ArrayLike | PowerSums,
    step: ArrayLike,
    window: tuple[int, int] | None = None,
    level: float = 0.95,
) -> GrowthRate:
    """Rate at which the mean of ln x^2 over chains grows, per step: twice the Lyapunov exponent.

    (mean ln x_T^2 - mean ln x_S^2) / (T - S) between the first and last step of a window. Chains are independent, so
    the interval is the Student one of the increments ln x_T^2 - ln x_S^2 over chains (over 1024 groups of neighbours
    where there are more), however a chain's steps depend on one another; from power sums, over blocks, by their sizes.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x, or |x|, at t recorded steps of c chains.
    step : array_like, shape (t,)
        The recorded steps, evenly spaced and increasing.
    window : (int, int), optional
        First and last step to use. By default, of the run from the first step at which no chain is zero to the last
        before one is zero again or not finite, the stretch at one rate (changes are sought between 32 parts, false
        alarms 1e-3) in which the mean logarithm goes furthest, less its first change by 4, which may hide a transient,
        and its last where the rate changes after it. Where nothing is left the whole is used, and said not to be
        reliable. Of noise that is purely multiplicative, from a given start, give the whole run.
    level : float
        Confidence of the interval.

    Returns
    -------
    GrowthRate
        Per step; negative where typical chains collapse, even where the mean square grows. Unreliable when the window
        spans fewer than 5 recorded steps or was not found, there are under 8 chains (blocks), the rate changes within
        it, or chains became zero that were too large to underflow: a batch that maps to zero makes the mean minus
        infinity.

    Raises
    ------
    ValueError
        When a shape, a level, the spacing of `step` or the window is not allowed, or the window holds a chain at zero
        or not finite.

    Notes
    -----
    Logarithms have light upper tails, so this holds where the mean square is frozen. With multiplicative noise along
    one direction and from a given start it is exact from the first step; in more dimensions, with momentum and with
    additive noise only after a transient. Once chains leave or reach a boundary ln x^2 no longer grows: stop before.

    Source: Furstenberg and Kesten 1960, Annals of Mathematical Statistics 31:457; the interval is elementary.
    """
    level, held = check_level(level), read_values(values)
    step = check_step(step, held.steps)
    logs = _logs(held)
    begin, stop = _stretch(logs.mean)
    reasons = [_zero_reason(logs, step, begin, stop)]
    if window is not None:
        first, last = _check_window(window, step, begin, stop)
    elif stop - begin < 2:
        reason = f"{stop - begin} recorded steps in a row with every chain finite and not zero, where 2 are needed"
        return GrowthRate(np.nan, np.nan, np.nan, False, reason, (int(step[0]), int(step[-1])))
    else:
        first, last = _steady(logs, begin, stop)
        if (first, last) == (begin, stop - 1):
            reasons.append(f"at no one rate does the mean logarithm go beyond {RETREAT:g} of its start: give a window")
    return _judge(logs, step, first, last, level, reasons)


def _logs(held: FullValues | PowerSums) -> Logs:
    """Return the logarithms by units: chains, groups of many chains, or blocks where only sums are held."""
    unit, sizes, square = held.log_squares()
    with np.errstate(invalid="ignore"):
        if len(sizes) > MOST_UNITS:
            starts = group_starts(len(sizes), MOST_UNITS)
            sums, sizes = np.add.reduceat(unit * sizes, starts, axis=1), np.add.reduceat(sizes, starts)
            unit = sums / sizes
        mean = unit @ sizes / sizes.sum()
        return Logs(unit, sizes, mean, np.sqrt(np.maximum(square - mean**2, 0)))


def _stretch(mean: NDArray) -> tuple[int, int]:
    """Return the first recorded step at which the mean is finite, and the first after it at which it no longer is."""
    usable = np.isfinite(mean)
    begin = int(usable.argmax()) if usable.any() else len(mean)
    lost = ~usable[begin:]
    return begin, begin + int(lost.argmax()) if lost.any() else len(mean)


def _zero_reason(logs: Logs, step: NDArray, begin: int, stop: int) -> str:
    """Return the reason against chains that became zero though none was near underflow; else empty."""
    if stop == len(step) or stop == begin or not np.isneginf(logs.mean[stop]):
        return ""
    if logs.mean[stop - 1] - _DEEP * logs.deviation[stop - 1] < _UNDERFLOW:
        return ""
    return f"chains became exactly zero at step {step[stop]}, too large to underflow: the mean is minus infinity there"


def _steady(logs: Logs, begin: int, stop: int) -> tuple[int, int]:
    """Return the first and last index of the window: of the stretches at one rate the one that goes furthest.

    A change hides below the error of the search, and its bias with it, several standard errors: the change of RETREAT
    that is kept from either end lessens what is left of a transient that dies as 1/x^2 by a factor of 50.
    """
    last = stop - 1
    edges = np.unique(np.linspace(begin, last, min(SEGMENTS, last - begin) + 1).round().astype(int))
    search = _Search(logs, edges)
    best, window = -1.0, (begin, last)
    for end in range(1, len(edges)):
        start = next(i for i in range(end) if search.steady(i, end))  # at worst the part just before
        first, until = _retreated(logs, int(edges[start]), int(edges[end]), 1), int(edges[end])
        if until < last and first is not None:
            until = _retreated(logs, until, first, -1)
        if first is None or until is None:
            continue
        gain = abs(logs.mean[until] - logs.mean[first])
        if gain > best:
            best, window = gain, (first, until)
    return window


def _retreated(logs: Logs, edge: int, far: int, sign: int) -> int | None:
    """Return the first index on the way to `far` at which the mean logarithm has changed enough; None if never."""
    way = np.arange(edge, far + sign, sign)
    enough = np.abs(logs.mean[way] - logs.mean[edge]) >= RETREAT
    found = int(way[enough.argmax()]) if enough.any() else None
    return None if found is None or abs(far - found) < FEWEST - 1 else found


class _Search:
    """Whether the rate changes between two of a few recorded steps."""

    def __init__(self, logs: Logs, edges: NDArray):
        self.edges, self.mean = edges, logs.mean[edges]
        units = len(logs.sizes)
        self.covariance = np.cov(logs.unit[edges], aweights=logs.sizes) / units if units > 1 else None
        places = np.arange(1, max(len(edges), 2))
        self.limits = stats.t.isf(REJECTION / 2 / places, max(units - 1, 1))

    def steady(self, i: int, j: int) -> bool:
        """Return whether no change of the rate shows at an edge m between i and j.

        The rates before and after differ by (L_j - L_m)/(j - m) - (L_m - L_i)/(m - i), L the mean logarithms, whose
        variance follows from the covariance of L at the three edges.
        """
        if j < i + 2 or self.covariance is None:
            return True
        m, edges = slice(i + 1, j), self.edges
        after, before = 1.0 / (edges[j] - edges[m]), 1.0 / (edges[m] - edges[i])
        both = before + after
        gap = before * self.mean[i] - both * self.mean[m] + after * self.mean[j]
        c = self.covariance
        variance = before**2 * c[i, i] + both**2 * c.diagonal()[m] + after**2 * c[j, j]
        variance += 2 * (before * after * c[i, j] - before * both * c[i, m] - after * both * c[j, m])
        overall = abs(self.mean[j] - self.mean[i]) / (edges[j] - edges[i])
        room = self.limits[j - i - 2] * np.sqrt(np.maximum(variance, 0)) + TOLERANCE * overall + 1e-12
        return not (np.abs(gap) > room).any()


def _judge(logs: Logs, step: NDArray, first: int, last: int, level: float, reasons: list[str]) -> GrowthRate:
    """Take the rate in the window and say what speaks against it."""
    span, units = float(step[last] - step[first]), len(logs.sizes)
    whole, without = logs.gain(first, last)
    width = quantile(level, units) * float(jackknife_error(whole, without, logs.sizes)) / span
    edges = np.unique(np.linspace(first, last, min(SEGMENTS, last - first) + 1).round().astype(int))
    count = last - first + 1
    reasons = [
        "" if units >= FEWEST_UNITS else f"{units} chains, or blocks of them, where {FEWEST_UNITS} are needed",
        f"the window holds {count} recorded steps, fewer than {FEWEST}" if count < FEWEST else "",
        "" if _Search(logs, edges).steady(0, len(edges) - 1) else "the rate changes within the window",
        *reasons,
    ]
    reason, value = "; ".join(text for text in reasons if text), float(whole) / span
    return GrowthRate(value, value - width, value + width, not reason, reason, (int(step[first]), int(step[last])))


def _check_window(window: Any, step: NDArray, begin: int, stop: int) -> tuple[int, int]:
    """Return the first and last index of the recorded steps in a window given in steps."""
    try:
        low, high = (float(edge) for edge in window)
    except (TypeError, ValueError):
        raise ValueError(f"window is {window!r}; it must be a pair (first step, last step)") from None
    inside = np.flatnonzero((step >= low) & (step <= high))
    if len(inside) < 2:
        raise ValueError(f"window {window!r} holds {len(inside)} recorded steps; it needs 2 of {step[0]}..{step[-1]}")
    if inside[0] < begin or inside[-1] >= stop:
        usable = f"{step[begin]}..{step[stop - 1]}" if begin < stop else "none"
        raise ValueError(f"window {window!r} has chains that are zero or not finite; usable steps are {usable}")
    return int(inside[0]), int(inside[-1])
