"""Whether groups of chains leave at the same rate: the log-rank test, with ties and censored chains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from escape.estimate.records import read

APART = 3.0  # standard errors by which two curves must differ both ways for their crossing not to be chance
FEWEST_EXITS = 5  # of the least group, in proportion to its chains, below which chi^2 is not the law of the statistic
FEWEST = 5  # exits expected, and chains still there, of a group where its curve is near enough to normal


class LogRankResult(NamedTuple):
    """Log-rank statistic of k groups of chains and its p-value.

    Attributes
    ----------
    statistic : float
        Squared distance of observed from expected exits in their standard errors, chi^2 with k - 1 degrees.
    p_value : float
        Chance of a statistic as large if all groups have one survival curve.
    observed, expected : ndarray, shape (k,)
        Exits of each group, and those expected of it if every chain at risk were as likely to leave as any other.
    reliable : bool
        Whether the p-value answers the question whether the curves agree.
    reason : str
        Why not, in one line.
    """

    statistic: float
    p_value: float
    observed: NDArray
    expected: NDArray
    reliable: bool
    reason: str


def log_rank(data_a: Any, data_b: Any, *others: Any, status: Sequence[ArrayLike | None] | None = None) -> LogRankResult:
    """Test whether two groups of chains, or more, have the same survival curve of the escape step.

    At each step s with exits, d_s of the r_s chains there leave; r_js of them are of group j. With
    O_j = sum_s d_js, E_j = sum_s d_s r_js / r_s and V_jl = sum_s d_s (r_s - d_s)/(r_s - 1) (r_js / r_s)
    (delta_jl - r_ls / r_s), the statistic is (O - E)' V^+ (O - E).

    Parameters
    ----------
    data_a, data_b, *others : Dataset or array_like, shape (c_j,)
        Simulations, or exit steps, from independent seeds.
    status : sequence of array_like, shape (c_j,), optional
        With exit steps, one for each group, None where all left: 0 censored, 1 exited, 2 diverged; the diverged count
        as censored.

    Returns
    -------
    LogRankResult
        Unreliable when two curves cross, more than 3 standard errors apart either way: their differences then cancel,
        and a large p-value means nothing; when fewer than 5 of all exits would be those of the least group by its
        number of chains, with p-value 1 where no step has anything to compare; and when chains diverged.

    Raises
    ------
    ValueError
        When exit steps or a status are not valid, or there are not as many status arrays as groups.

    Notes
    -----
    Has its greatest power where one rate is a multiple of the other at all steps. For curves that cross compare with
    `ks_two_sample`. Two groups give what scipy.stats.logrank gives two-sided.
    Source: Mantel 1966, Cancer Chemotherapy Reports 50:163; Peto and Peto 1972, Journal of the Royal Statistical
    Society A 135:185.
    """
    samples = [data_a, data_b, *others]
    status = [None] * len(samples) if status is None else list(status)
    if len(status) != len(samples):
        raise ValueError(
            f"got {len(status)} status arrays for {len(samples)} groups; give one each, None where all left"
        )
    groups = [read(*pair) for pair in zip(samples, status, strict=True)]
    steps = np.unique(np.concatenate([records.step[records.left] for records in groups]))
    left = np.stack([_at(records.step[records.left], steps) for records in groups])
    at_risk = np.stack([len(g.step) - np.searchsorted(np.sort(g.step), steps) for g in groups]).astype(float)
    exits, there = left.sum(axis=0), at_risk.sum(axis=0)
    share = at_risk / there
    observed, expected = left.sum(axis=1), (exits * share).sum(axis=1)
    spread = exits * (there - exits) / np.maximum(there - 1, 1)
    variance = np.diag((spread * share).sum(axis=1)) - (spread * share) @ share.T
    # One group follows from the others; a variance of zero has nothing to compare.
    gap = (observed - expected)[1:]
    statistic = float(gap @ np.linalg.pinv(variance[1:, 1:], hermitian=True) @ gap)
    crossing = [f"{i + 1} and {j + 1}" for i, j in combinations(range(len(groups)), 2) if _cross(left, at_risk, i, j)]
    # By the numbers of chains: E_j is small where the few of a group happen to leave early; a flag by it would pick.
    fewest = exits.sum() * min(len(g.step) for g in groups) / sum(len(g.step) for g in groups)
    diverged = sum(bool(records.divergence) for records in groups)
    reasons = [
        f"the survival curves of groups {', '.join(crossing)} cross: their differences cancel" if crossing else "",
        f"only {exits.sum()} exits in all, {fewest:.2g} for the least group" if fewest < FEWEST_EXITS else "",
        f"chains diverged in {diverged} of {len(groups)} groups" if diverged else "",
    ]
    reason = "; ".join(text for text in reasons if text)
    p_value = float(stats.chi2.sf(statistic, len(groups) - 1))
    return LogRankResult(statistic, p_value, observed, expected, not reason, reason)


def _at(step: NDArray, steps: NDArray) -> NDArray:
    """Return how many are at each of the steps, all of them among these."""
    return np.bincount(np.searchsorted(steps, step), minlength=len(steps))


def _cross(left: NDArray, at_risk: NDArray, i: int, j: int) -> bool:
    """Whether the survival curves of groups i and j differ by APART pointwise standard errors both ways."""
    pair = [i, j]
    both = (at_risk[pair] > 0).all(axis=0)
    exits, there = left[pair][:, both], at_risk[pair][:, both]
    curve = np.cumprod(1 - exits / there, axis=1)
    # The errors are those of two samples of one law: a curve's own error vanishes where all, or none, of few left.
    rate = exits.sum(axis=0) / there.sum(axis=0)
    stay = np.maximum(1 - rate, 1e-300)
    error = np.cumprod(1 - rate) * np.sqrt(np.cumsum(rate / stay * (1 / there).sum(axis=0)))
    normal = (np.minimum(np.cumsum(rate * there, axis=1), there * (1 - rate)) >= FEWEST).all(axis=0)
    apart = np.divide(curve[0] - curve[1], error, out=np.zeros_like(error), where=normal & (error > 0))
    return bool(apart.max(initial=0) > APART and apart.min(initial=0) < -APART)
