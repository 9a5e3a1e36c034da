"""Distances between laws of the escape step, and proportions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from escape.estimate.base import Estimate, check_level, judged
from escape.estimate.records import Records, check_horizon, read

EXACT_CHAINS = 1000  # up to here the exact two-sample law is quick


class KSResult(NamedTuple):
    """Kolmogorov-Smirnov distance and its p-value.

    Attributes
    ----------
    distance : float
        Largest difference of the two distribution functions.
    p_value : float
        Chance of a distance as large if the laws agree; an upper bound of it, since escape steps are whole numbers.
    """

    distance: float
    p_value: float


def ks_distance(
    data: Any,
    law: Callable[[NDArray], ArrayLike],
    status: ArrayLike | None = None,
    horizon: int | None = None,
) -> KSResult:
    """Largest difference between the observed law of the escape step and a predicted one, over whole steps.

    max_t |F_c(t) - F(t)|, with F_c(t) the fraction of chains that left by step t. The p-value is that of a continuous
    law; for one on whole steps it is an upper bound, so a small one can be believed, and a test by it errs to the safe
    side.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps.
    law : callable
        Takes steps (k,) and returns P(tau <= t) or P(tau > t), (k,): the one that rises and the one that falls.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged.
    horizon : int, optional
        Compare only steps up to it, with all later exits lumped. Needed where a chain was censored.

    Returns
    -------
    KSResult
        Distance and p-value.

    Raises
    ------
    ValueError
        When a chain was lost from view before the horizon, or before it left with none given; when the law is not
        monotone within [0, 1]; when the exit steps are not valid.

    Notes
    -----
    Source: Noether 1963, Metrika 7:115 (conservative for discrete laws); exact law of the distance from scipy.
    """
    records = read(data, status)
    cut = _check_cut(records, horizon)
    left = np.sort(records.step[records.left & (records.step <= cut)])
    # Between exits F_c is flat and F rises: the largest difference is at an exit, or just before the next.
    steps = np.unique(np.concatenate([[0, cut], left, left - 1])).astype(np.int64)
    steps = steps[steps >= 0]
    observed = np.searchsorted(left, steps, side="right") / records.chains
    distance = float(np.abs(observed - _rising(law, steps)).max())
    return KSResult(distance, float(stats.kstwo.sf(distance, records.chains)))


def _check_cut(records: Records, horizon: int | None) -> float:
    """Return the last step to compare at, having made sure that every chain is known up to there."""
    lost = records.step[~records.left]
    if horizon is None:
        if len(lost):
            text = f"{len(lost)} of {records.chains} chains never left, from step {lost.min()} on"
            raise ValueError(f"{text}; give a horizon of at most {lost.min()} to compare up to there")
        return float(records.step.max())
    check_horizon(horizon)
    if len(lost) and lost.min() < horizon:
        text = f"{(lost < horizon).sum()} of {records.chains} chains were lost from view before step {horizon}"
        raise ValueError(f"{text}; the horizon can be {lost.min()} at most")
    return horizon


def _rising(law: Callable[[NDArray], ArrayLike], steps: NDArray) -> NDArray:
    """Return P(tau <= t) at the steps, from a law that gives it or P(tau > t)."""
    value = np.asarray(law(steps), dtype=float)
    if value.shape != steps.shape or not ((value >= -1e-9) & (value <= 1 + 1e-9)).all():
        raise ValueError(f"the law gave shape {value.shape} for steps {steps.shape}; one probability a step is needed")
    change = np.diff(value)
    rises, falls = bool((change > 1e-12).any()), bool((change < -1e-12).any())
    if rises == falls:
        shape = "goes up and down" if rises else f"is {value[0]:g} at every step compared"
        raise ValueError(f"the law {shape}; it must be P(tau <= t), rising, or P(tau > t), falling")
    return value if rises else 1 - value


def ks_two_sample(
    exit_a: Any,
    exit_b: Any,
    status_a: ArrayLike | None = None,
    status_b: ArrayLike | None = None,
    horizon: int | None = None,
) -> KSResult:
    """Largest difference between two observed laws of the escape step.

    max_t |F_a(t) - F_b(t)|. Ties make the p-value an upper bound, as for `ks_distance`.

    Parameters
    ----------
    exit_a, exit_b : Dataset or array_like, shape (c,)
        Simulations, or exit steps, from independent seeds.
    status_a, status_b : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged.
    horizon : int, optional
        Compare only steps up to it, with all later exits lumped. Needed where a chain was censored.

    Returns
    -------
    KSResult
        Distance and p-value.

    Raises
    ------
    ValueError
        When a chain was lost from view before the horizon, or before it left with none given, or the exit steps are not
        valid.

    Notes
    -----
    Source: Hodges 1958, Arkiv foer Matematik 3:469; computed by scipy.
    """
    sides = []
    for records in (read(exit_a, status_a), read(exit_b, status_b)):
        cut = _check_cut(records, horizon)
        # Anything that stayed up to the horizon is later than it, whenever it left.
        late = (records.step > cut) | ~records.left
        sides.append(np.where(late, np.int64(cut) + 1, records.step))
    method = "exact" if max(map(len, sides)) <= EXACT_CHAINS else "asymp"
    result = stats.ks_2samp(*sides, method=method)
    return KSResult(float(result.statistic), float(result.pvalue))


def proportion(count: int, total: int, level: float = 0.95) -> Estimate:
    """Fraction of chains, such as of those that left through one side, with the exact binomial interval.

    count/total between the probabilities at which so many, or so few, have the chance (1 - level)/2. Clopper and
    Pearson's interval, not Wilson's, because it holds its level for every true fraction, near 0 and 1 too: a claim
    rejected by it is a false alarm at most as often as stated. The price is some width.

    Parameters
    ----------
    count, total : int
        Chains with the property, of all chains.
    level : float
        Confidence of the interval, at least.

    Returns
    -------
    Estimate
        Within [0, 1], always reliable.

    Raises
    ------
    ValueError
        When the counts are not whole numbers with 0 <= count <= total and total > 0, or `level` is not in (0, 1).

    Notes
    -----
    Source: Clopper and Pearson 1934, Biometrika 26:404.
    """
    level = check_level(level)
    if int(count) != count or int(total) != total or not 0 <= count <= total or total < 1:
        raise ValueError(f"count is {count!r} of {total!r}; they must be whole, 0 <= count <= total and total > 0")
    test = stats.binomtest(int(count), int(total))
    low, high = test.proportion_ci(confidence_level=level, method="exact")
    return judged(count / total, float(low), float(high), [])
