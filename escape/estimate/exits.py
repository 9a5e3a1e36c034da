"""Mean and variance of the escape step, with every censored chain accounted for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from escape.estimate.base import Estimate, check_level, judged, log_interval, lonely, quantile
from escape.estimate.memory import exponentiality, memory_reason
from escape.estimate.records import CENSORED, EXITED, Records, read
from escape.estimate.survival import restricted_mean_exit_step, skewed_interval

FEWEST = 10  # chains below which the interval of a mean is too short
ENOUGH = 200  # chains from which the interval of a variance covers as it should
INSTEAD = "a mean without memory has no interval here, use restricted_mean_exit_step or survival"


def mean_exit_step(data: Any, status: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Mean escape step, or where some chain never left, a lower bound that says so.

    The plain mean with Student's interval corrected for skewness when every chain left. With k chains censored from
    step h on, the value is the restricted mean E min(tau, h), its lower limit bounds the mean, and the upper limit is
    infinite: a mean over the escaped alone would be low by as much as the slow chains are slow.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged.
    level : float
        Confidence of the interval.

    Returns
    -------
    Estimate
        In steps. Unreliable when any chain was censored or diverged, or of fewer than 10 chains. Equal exit steps,
        as of a run without noise, give an interval of no width.

    Raises
    ------
    ValueError
        When the exit steps, a status or the level are not valid.

    Notes
    -----
    Of 95% intervals from 10 exits on, 94% to 95% cover the mean of exits without memory and of a saddle; of 2 to 9
    exits, 91% to 94%.
    See `restricted_mean_exit_step` and, for exits without memory, `exponential_mean_exit_step`.
    Source: Hall 1992, Journal of the Royal Statistical Society B 54:221 (removal of skewness).
    """
    level, records = check_level(level), read(data, status)
    if records.left.all():
        value = float(records.step.mean())
        low, high = skewed_interval(records.step, level)
        few = f"{records.chains} chains: the interval is too short, give {FEWEST}"
        short = few if 1 < records.chains < FEWEST else ""
        return judged(value, max(low, 0.0), high, [lonely(records.chains), short])
    bound = restricted_mean_exit_step(records.step, status=records.status, level=level)
    return judged(bound.value, bound.low, np.inf, [_bound_reason(records), bound.reason])


def _bound_reason(records: Records) -> str:
    """Return the reason that censored chains make the restricted mean no more than a lower bound."""
    censored, h = records.count(CENSORED), records.horizon
    bound = f"this is the restricted mean E min(tau, {h}), a lower bound"
    return f"{censored} of {records.chains} chains censored at step {h}: {bound}" if censored else bound


def exit_step_variance(data: Any, status: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Variance of the escape step over chains, or where some chain never left, a lower bound that says so.

    s^2 = sum_i (tau_i - mean)^2 / (c - 1), within s^2 exp(-+ z e / s^2), where e^2 = (m_4 - (c-3)/(c-1) m_2^2) / c and
    m_2 and m_4 are the second and fourth central moments, widened to the interval of a mean of squares corrected for
    skewness. With censoring: of min(tau, h), h the least step at which a chain was lost from view; cutting a variable
    can only lessen its variance.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged.
    level : float
        Confidence of the interval.

    Returns
    -------
    Estimate
        In steps squared. Unreliable when any chain was censored or diverged (then `high` is infinite), or fewer than
        200 chains are given: of 20, nine 95% intervals in ten cover, of 100 (a saddle) 92%. Of fewer than 4 there is no
        interval.

    Raises
    ------
    ValueError
        When the exit steps, a status or the level are not valid.

    Notes
    -----
    Source: Mood, Graybill and Boes 1974, "Introduction to the Theory of Statistics", section VI.2 (variance of s^2);
    Hall 1992, Journal of the Royal Statistical Society B 54:221 (skewness).
    """
    level, records = check_level(level), read(data, status)
    chains, complete = records.chains, bool(records.left.all())
    cut = int(records.step.max() if complete else records.step[~records.left].min())
    step = np.minimum(records.step, cut).astype(float)
    lost = f"{chains - records.count(EXITED)} of {chains} chains censored or diverged, from step {cut} on"
    reasons = [
        "" if complete else f"{lost}: this is the variance of min(tau, {cut}), a lower bound",
        records.divergence,
        "" if chains > 3 else f"{chains} chains give no interval; 4 are needed",
        f"{chains} chains: the interval is too short, give {ENOUGH}" if 3 < chains < ENOUGH else "",
    ]
    if chains < 4:
        return judged(float(step.var(ddof=1)) if chains > 1 else np.nan, np.nan, np.nan, reasons)
    value = step.var(ddof=1)
    moments = [((step - step.mean()) ** power).mean() for power in (2, 4)]  # both of 1/c, or two equal steps have none
    error = np.sqrt(max(moments[1] - (chains - 3) / (chains - 1) * moments[0] ** 2, 0.0) / chains)
    low, high = log_interval(value, error, quantile(level, chains))
    # Skewness matters for many values of few; the other end where all are at nearly one distance from the mean.
    least, most = skewed_interval((step - step.mean()) ** 2 * chains / (chains - 1), level)
    low, high = min(float(low), max(least, 0.0)), max(float(high), most)
    return judged(float(value), low, high if complete else np.inf, reasons)


def exponential_mean_exit_step(data: Any, status: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Mean escape step of exits without memory, such as from a minimum: total steps at risk over number of exits.

    With T steps at risk in all and D exits the mean is T/D. On whole steps each step at risk is a trial of chance
    p = 1/mean, so the interval is 1/p for p between the (1-level)/2 quantile of Beta(D, T-D+1) and the (1+level)/2
    quantile of Beta(D', T-D): D' = D where all chains left, and D + 1 where the horizon ended the trials. For p -> 0
    its ends are 2T / chi2_{2D'}((1+level)/2) and 2T / chi2_{2D}((1-level)/2). No exit: the value is infinite, above
    1/(1 - (1-level)^(1/T)) (T/3.0 at 95%).

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps. Censored chains add their steps at risk, so the mean can exceed the horizon.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged.
    level : float
        Confidence of the interval.

    Returns
    -------
    Estimate
        In steps. No interval (NaN) where `exponentiality` finds a memory, at p <= 1e-3: a saddle, whose law is that of
        ln|N|, a start not yet forgotten, a chain that left at step 0. The value then is no mean escape step, only the
        steps at risk per exit. Unreliable, with an interval, when that could not be tested (fewer than 5 exits), a
        chain diverged, or none left.

    Raises
    ------
    ValueError
        When the exit steps, a status or the level are not valid, or no chain ran a step.

    Notes
    -----
    Exact where all chains left; with a horizon it holds its level for every mean, and covers a little more.
    Source: Epstein and Sobel 1953, Journal of the American Statistical Association 48:486 (continuous time); on whole
    steps Clopper and Pearson 1934, Biometrika 26:404.
    """
    level, records = check_level(level), read(data, status)
    total, exits = float(records.step.sum()), records.count(EXITED)
    if total == 0:
        raise ValueError("no chain ran a step; a mean escape step needs time at risk")
    if not exits:
        low = -1 / np.expm1(np.log1p(-level) / total)
        return judged(np.inf, low, np.inf, [f"no chain left in {total:.0f} steps at risk", records.divergence])
    test = exponentiality(records.step, records.status)
    memory = memory_reason(records, test)
    if memory:
        return judged(total / exits, np.nan, np.nan, [f"{memory}; {INSTEAD}", records.divergence])
    untested = f"{test.reason}; the interval supposes none" if test.reason else ""
    low, high = _trial_interval(total, exits, level, bool(records.left.all()))
    return judged(total / exits, low, high, [untested, records.divergence])


def _trial_interval(total: float, exits: int, level: float, complete: bool) -> tuple[float, float]:
    """Return the interval of the mean number of trials per exit; complete where the last exit ended the trials."""
    stays = total - exits
    high = 1 / special.betaincinv(exits, stays + 1, (1 - level) / 2)
    low = 1 / special.betaincinv(exits + (not complete), stays, (1 + level) / 2) if stays else 1.0
    return float(low), float(high)
