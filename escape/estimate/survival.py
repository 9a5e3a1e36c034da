"""Survival curves of escape times with censoring, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escape.estimate.base import Estimate, binomial_ends, check_level, judged, lonely, quantile
from escape.estimate.records import CENSORED, DIVERGED, EXITED, check_horizon, read

FEWEST = 5  # exits before the horizon below which a restricted mean's interval falls short of its level


@dataclass(frozen=True, eq=False)
class Survival:
    """Kaplan-Meier curve S(t) = P(tau > t) of the escape step tau, with a confidence band; call it to evaluate S.

    Attributes
    ----------
    steps : ndarray, shape (k,)
        Steps at which at least one chain left or was lost from view.
    probability, low, high : ndarray, shape (k,)
        S from each of these steps up to the next, and the ends of its interval, for each step separately.
    at_risk, exits : ndarray, shape (k,)
        Chains still there just before each step, and how many of them left at it.
    chains, exited, censored, diverged : int
        Number of chains in all, and by the way they ended.
    level : float
        Confidence of the band.
    reliable : bool
        False when chains diverged: they are censored where they did, though it may not be by chance that they did.
    reason : str
        Why not reliable, in one line.
    """

    steps: NDArray
    probability: NDArray
    low: NDArray
    high: NDArray
    at_risk: NDArray
    exits: NDArray
    chains: int
    exited: int
    censored: int
    diverged: int
    level: float
    reliable: bool
    reason: str

    def __call__(self, t: ArrayLike) -> NDArray:
        """Return S(t) = P(tau > t), right-continuous; NaN past the last step unless every chain has left by then."""
        t = np.asarray(t)
        value = np.append(1.0, self.probability)[np.searchsorted(self.steps, t, side="right")]
        return np.where((t > self.steps[-1]) & (value > 0), np.nan, value)


def survival(data: Any, status: ArrayLike | None = None, level: float = 0.95) -> Survival:
    """Kaplan-Meier estimate of the survival curve of the escape step, with censored chains counted as long as seen.

    S(t) = prod_{s <= t} (1 - d_s / r_s), where d_s of the r_s chains there before step s left at s. The interval is the
    binomial one of Clopper and Pearson for as many chains as would give Greenwood's variance in a plain count,
    n(t) = (1 - S) / (S sum_{s <= t} d_s / (r_s (r_s - d_s))): all chains as long as none was lost, so that it is exact
    then. Its lower end takes n(t) times the share still there of those there after the last exit, since a curve stays
    flat, and knows less, where chains are lost. Where S is 1 or 0 n(t) has its limits, r_t and r_t / S(t-).

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation with `exit_step` and `status`, or exit steps: the first step at which a chain had left, and for one
        that never did the number of steps it ran.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged. Without it all have exited.
    level : float
        Confidence of the band at each step separately.

    Returns
    -------
    Survival
        Steps in steps, callable.

    Raises
    ------
    ValueError
        When exit steps are not whole and from 0 on, a status is unknown, shapes disagree, or `level` not in (0, 1).

    Notes
    -----
    Without losses it holds at least its level everywhere, and more than it where few have left, or few are left.
    Source: Kaplan and Meier 1958, Journal of the American Statistical Association 53:457; band: Dorey and Korn 1987,
    Statistics in Medicine 6:679.
    """
    level, records = check_level(level), read(data, status)
    steps, where = np.unique(records.step, return_inverse=True)
    exits = np.bincount(where, weights=records.left).astype(np.int64)
    at_risk = records.chains - np.append(0, np.bincount(where).cumsum()[:-1])
    curve = np.cumprod(1 - exits / at_risk)
    low, high = _band(curve, at_risk, exits, level)
    return Survival(
        steps=steps,
        probability=curve,
        low=low,
        high=high,
        at_risk=at_risk,
        exits=exits,
        chains=records.chains,
        exited=records.count(EXITED),
        censored=records.count(CENSORED),
        diverged=records.count(DIVERGED),
        level=level,
        reliable=not records.divergence,
        reason=records.divergence,
    )


def _band(curve: NDArray, at_risk: NDArray, exits: NDArray, level: float) -> tuple[NDArray, NDArray]:
    """Return the ends (k,), (k,) of the binomial interval of a survival curve (k,) with losses."""
    stay, before = (at_risk - exits).astype(float), np.append(1.0, curve[:-1])
    greenwood = np.cumsum(exits / (at_risk * np.maximum(stay, 1)))
    inside = (curve > 0) & (greenwood > 0)
    size = np.divide(1 - curve, curve * greenwood, out=at_risk / before, where=inside)
    last = np.maximum.accumulate(np.where(exits > 0, np.arange(len(exits)), -1))
    lower = np.where(inside, size * stay / np.maximum(stay[last], 1), size)
    low, high = binomial_ends(curve, lower, level)[0], binomial_ends(curve, size, level)[1]
    # S never rises, so an upper bound holds from its step on.
    return low, np.where(curve > 0, high, np.minimum.accumulate(high))


def exit_quantile(data: Any, q: float, status: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Step by which a fraction q of all chains has left, from the survival curve.

    The first t with S(t) <= 1 - q; its interval holds the steps t at which the band of S(t) contains 1 - q.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps.
    q : float
        The fraction, in (0, 1); one half is the median.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged.
    level : float
        Confidence of the interval.

    Returns
    -------
    Estimate
        In steps. Infinite and unreliable when the curve never falls to 1 - q in the time seen; `high` is infinite when
        its upper band never does. Unreliable when chains diverged.

    Raises
    ------
    ValueError
        When q or `level` is not in (0, 1), or the exit steps are not valid.

    Notes
    -----
    Both ends lie on steps, and the band jumps from one to the next, so the interval covers more than it says where
    one step takes a large share of the exits; no interval of whole steps can avoid that.
    Source: Brookmeyer and Crowley 1982, Biometrics 38:29.
    """
    if not 0 < q < 1:
        raise ValueError(f"q is {q!r}; it must lie strictly between 0 and 1")
    curve = survival(data, status, level)

    def first_below(band: NDArray) -> float:
        below = band <= 1 - q + 1e-12
        return float(curve.steps[below.argmax()]) if below.any() else np.inf

    value = first_below(curve.probability)
    low = first_below(curve.low)
    # Before the first step of the curve the band is that of no exit among all chains, from step 0 on.
    if curve.steps[0] > 0 and ((1 - curve.level) / 2) ** (1 / curve.chains) <= 1 - q:
        low = 0.0
    least, last = curve.probability[-1], curve.steps[-1]
    never = f"{least:.3g} of the chains are still there at step {last}: the curve never falls to {1 - q:.3g}"
    reasons = [never if value == np.inf else "", curve.reason]
    return judged(value, low, first_below(curve.high), reasons)


def restricted_mean_exit_step(
    data: Any, horizon: float | None = None, status: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Mean of the escape step cut at a horizon, E min(tau, h): what can be known without seeing every chain leave.

    The integral of S from 0 to h. Its variance is (n/(n-1)) sum_s A_s^2 d_s / (r_s (r_s - d_s)), with A_s the integral
    of S from s to h; without censoring before h the two are the plain mean and variance of the mean.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps.
    horizon : float, optional
        h in steps. By default the least step at which a chain was censored, or where none was, the last follow-up.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged.
    level : float
        Confidence of the interval: Student's, corrected for skewness where no chain is lost before the horizon.

    Returns
    -------
    Estimate
        In steps. Unreliable when fewer than 5 chains left before the horizon, chains diverged, or there is only one. Of
        none left it runs from h (alpha/2)^(1/r), r the chains seen up to h, to h.

    Raises
    ------
    ValueError
        When the horizon lies past the last step seen while chains are still there, or another argument is not valid.

    Notes
    -----
    Source: Irwin 1949, Journal of Hygiene 47:188; variance: Klein and Moeschberger 2003, "Survival Analysis", section
    4.5; skewness: Hall 1992, Journal of the Royal Statistical Society B 54:221.
    """
    curve, records = survival(data, status, level), read(data, status)
    horizon = records.horizon if horizon is None else check_horizon(horizon)
    if horizon > curve.steps[-1] and curve.probability[-1] > 0:
        last = f"chains are still there at the last step seen, {curve.steps[-1]}"
        raise ValueError(f"horizon is {horizon!r}, but {last}; it can be no later")
    value, error = _restricted(curve, horizon)
    exits = int(curve.exits[curve.steps < horizon].sum())
    if not exits and curve.chains > 1:
        # Nobody left before it: of the r there up to it, all stay with the chance S^r.
        stay = int((records.step >= horizon).sum())
        low, high = horizon * ((1 - curve.level) / 2) ** (1 / stay) if stay else 0.0, horizon
    elif (records.left | (records.step >= horizon)).all():
        low, high = skewed_interval(np.minimum(records.step, horizon), curve.level)
    else:
        error *= np.sqrt(curve.chains / (curve.chains - 1)) if curve.chains > 1 else np.nan
        width = quantile(curve.level, curve.chains) * error
        low, high = value - width, value + width
    reasons = [_few_left(exits, horizon), curve.reason, lonely(curve.chains)]
    low, high = np.clip([low, high], 0, horizon)
    return judged(value, float(low), float(high), reasons)


def _few_left(exits: int, horizon: float) -> str:
    """Return the reason against an interval made from hardly any exits."""
    if not exits:
        return f"no chain left before step {horizon}"
    return f"only {exits} chains left before step {horizon}: the interval is too short" if exits < FEWEST else ""


def skewed_interval(values: NDArray, level: float) -> tuple[float, float]:
    """Return the interval (low, high) of a mean over independent values (c,) of a skewed law, NaN for a single one.

    With skewness g, s the standard deviation and x = q / sqrt(c), q Student's quantile, the ends are
    mean - s k(x) and mean - s k(-x), k(x) = (3/g) ((1 + g (x - g/(6c)))^(1/3) - 1), real roots also below 0; k(x) = x
    for g = 0.
    """
    chains = len(values)
    if chains < 2:
        return np.nan, np.nan
    mean, spread = values.mean(), values.std(ddof=1)
    if spread == 0:
        return float(mean), float(mean)
    skew = float((((values - mean) / values.std()) ** 3).mean())
    ends = np.array([1, -1]) * quantile(level, chains) / np.sqrt(chains)
    if abs(skew) > 1e-6:
        ends = 3 / skew * (np.cbrt(1 + skew * (ends - skew / (6 * chains))) - 1)
    low, high = mean - spread * ends
    return float(low), float(high)


def _restricted(curve: Survival, horizon: float) -> tuple[float, float]:
    """Return the integral of S from 0 to the horizon and the root of Greenwood's variance of it."""
    before = curve.steps < horizon
    steps, exits, at_risk = curve.steps[before], curve.exits[before], curve.at_risk[before]
    areas = curve.probability[before] * np.diff(np.append(steps, horizon))
    tails = areas[::-1].cumsum()[::-1]
    # Where all that were there left, nothing is left under the curve.
    stayed = np.maximum(at_risk - exits, 1)
    variance = (tails**2 * exits / (at_risk.astype(float) * stayed)).sum()
    start = steps[0] if len(steps) else horizon
    return float(start + areas.sum()), float(np.sqrt(variance))
