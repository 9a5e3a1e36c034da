"""Mean and variance of the escape step, with every censored chain accounted for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from escape.estimate.base import Estimate, check_level, judged, log_interval, lonely, mean_error, quantile
from escape.estimate.records import CENSORED, EXITED, Records, read
from escape.estimate.survival import restricted_mean_exit_step

REJECTION = 1e-3  # false-alarm rate of the check that exits have no memory
FEWEST_EXITS = 5  # below this many the check has no power, and its normal limit has not set in


def mean_exit_step(data: Any, status: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Mean escape step, or where some chain never left, a lower bound that says so.

    The plain mean with its Student interval when every chain left. With k chains censored from step h on, the value is
    the restricted mean E min(tau, h), its lower limit bounds the mean, and the upper limit is infinite: a mean over
    the escaped alone would be low by as much as the slow chains are slow.

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
        In steps. Unreliable when any chain was censored or diverged, or there is only one.

    Raises
    ------
    ValueError
        When the exit steps, a status or the level are not valid.

    Notes
    -----
    Source: elementary; see `restricted_mean_exit_step` and, for exits without memory, `exponential_mean_exit_step`.
    """
    level, records = check_level(level), read(data, status)
    if records.left.all():
        value = float(records.step.mean())
        width = quantile(level, records.chains) * float(mean_error(records.step))
        return judged(value, value - width, value + width, [lonely(records.chains)])
    bound = restricted_mean_exit_step(records.step, status=records.status, level=level)
    return judged(bound.value, bound.low, np.inf, [_bound_reason(records), bound.reason])


def _bound_reason(records: Records) -> str:
    """Return the reason that censored chains make the restricted mean no more than a lower bound."""
    censored, h = records.count(CENSORED), records.horizon
    bound = f"this is the restricted mean E min(tau, {h}), a lower bound"
    return f"{censored} of {records.chains} chains censored at step {h}: {bound}" if censored else bound


def exit_step_variance(data: Any, status: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Variance of the escape step over chains, or where some chain never left, a lower bound that says so.

    s^2 = sum_i (tau_i - mean)^2 / (c - 1), within s^2 exp(-+ z e / s^2), where e^2 = (m_4 - (c-3)/(c-1) s^4) / c and
    m_4 is the fourth central moment. With censoring: of min(tau, h), h the least step at which a chain was lost from
    view; cutting a variable can only lessen its variance.

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
        In steps squared. Unreliable when any chain was censored or diverged (then `high` is infinite), or fewer than 4
        chains are given.

    Raises
    ------
    ValueError
        When the exit steps, a status or the level are not valid.

    Notes
    -----
    Source: Mood, Graybill and Boes 1974, "Introduction to the Theory of Statistics", section VI.2 (variance of s^2).
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
    ]
    if chains < 4:
        return judged(float(step.var(ddof=1)) if chains > 1 else np.nan, np.nan, np.nan, reasons)
    value = step.var(ddof=1)
    fourth = ((step - step.mean()) ** 4).mean()
    error = np.sqrt(max(fourth - (chains - 3) / (chains - 1) * value**2, 0.0) / chains) if value else 0.0
    low, high = log_interval(value, error, quantile(level, chains))
    return judged(float(value), float(low), float(high) if complete else np.inf, reasons)


def exponential_mean_exit_step(data: Any, status: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Mean escape step of exits without memory, such as from a minimum: total steps at risk over number of exits.

    With T steps at risk in all and D exits the mean is T/D, within 2T / chi2_{2D+2}((1+level)/2) and 2T /
    chi2_{2D}((1-level)/2). No exit: the value is infinite, above T / ln(1/(1-level)) (T/3.0 at 95%).

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
        In steps. Valid only for exits without memory: not for a saddle, whose law is that of ln|N|, and not before a
        start has been forgotten. Unreliable when a trend of the exit rate in time shows (false alarms 1e-3; not
        sought with fewer than 5 exits), a chain left at step 0 or diverged, or none left.

    Raises
    ------
    ValueError
        When the exit steps, a status or the level are not valid, or no chain ran a step.

    Notes
    -----
    Source: Epstein and Sobel 1953, Journal of the American Statistical Association 48:486. The law on whole steps is
    geometric, for which T/D is the same and the interval errs to the wide side.
    """
    level, records = check_level(level), read(data, status)
    total, exits = float(records.step.sum()), records.count(EXITED)
    if total == 0:
        raise ValueError("no chain ran a step; a mean escape step needs time at risk")
    if not exits:
        low = total / -np.log(1 - level)
        return judged(np.inf, low, np.inf, [f"no chain left in {total:.0f} steps at risk", records.divergence])
    low = 2 * total / stats.chi2.ppf((1 + level) / 2, 2 * exits + 2)
    high = 2 * total / stats.chi2.ppf((1 - level) / 2, 2 * exits)
    return judged(total / exits, float(low), float(high), [_memory_reason(records), records.divergence])


def _memory_reason(records: Records) -> str:
    """Return the reason against exits without memory: a trend of the exit rate, or exits at the start; else empty.

    Under a constant chance p = D/T of leaving at each step, q = 1 - p, the exits weighted by q^(t-1) have mean
    sum_i (1 - q^T_i) given the steps at risk, and the variance below; an early excess is positive, a late one negative.
    """
    at_start = int((records.left & (records.step == 0)).sum())
    if at_start:
        return f"{at_start} of {records.chains} chains had left at step 0: the exit has a memory of the start"
    exits, step = records.count(EXITED), records.step.astype(float)
    p = exits / step.sum()
    if exits < FEWEST_EXITS or p >= 1:
        return ""
    stay = np.log1p(-p)
    reach = -np.expm1(step * stay)
    excess = np.exp((step[records.left] - 1) * stay).sum() - reach.sum()
    spread = (-np.expm1(2 * step * stay)).sum() / (p * (2 - p)) - (reach.sum() / p) ** 2 / step.sum()
    variance = p * (1 - p) * spread
    # All chains seen for one step only, or so: there is no time for a trend.
    if not variance > 1e-9 * exits:
        return ""
    score = excess / np.sqrt(variance)
    if abs(score) < stats.norm.isf(REJECTION / 2):
        return ""
    trend = "falls" if score > 0 else "rises"
    return f"the exit rate {trend} with time ({abs(score):.1f} standard errors): the exits have a memory"


