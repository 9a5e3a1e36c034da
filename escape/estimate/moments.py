"""Means and mean squares over chains, step by step, and whether a few chains decide them.

"Power sums" below are an observable of `simulate(…, reduce=True)` as it stands in the result, or a `PowerSums`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escape.estimate.base import SHARE_LIMIT, Estimate, check_level, judged, log_interval, lonely, quantile
from escape.estimate.streamed import PowerSums, read_values


def share_reason(
    share: NDArray, chains: int, where: str = "recorded step", labels: NDArray | None = None, parts: str = "squares"
) -> str:
    """Return the reason against means that one chain decides, with the worst share and where it began; else empty.

    Chains that are all equal hold 1/c each: nobody dominates, however few they are.
    """
    bad = (share > SHARE_LIMIT) & (share * chains > 1 + 1e-9)
    if not bad.any():
        return ""
    labels = np.arange(len(share)) if labels is None else labels
    worst, since = share[bad].max(), labels[bad][0]
    return f"one chain holds up to {worst:.1%} of the sum of {parts}, over {SHARE_LIMIT:.0%} from {where} {since}"


def mean(values: ArrayLike | PowerSums, level: float = 0.95) -> Estimate:
    """Mean over chains at each recorded step, with its interval: of a loss, say, or of a squared distance.

    m_t = (1/c) sum_i x_{t,i} with the Student interval.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains. Steps at which a chain is NaN have no value.
    level : float
        Confidence of the interval at each step separately.

    Returns
    -------
    Estimate
        Arrays (t,) in the units of x. Unreliable where one chain holds over 5% of the sum of |x| at any step, or is not
        finite.

    Raises
    ------
    ValueError
        When `values` is neither real and of shape (t, c) nor power sums, or `level` not in (0, 1).

    Notes
    -----
    Source: elementary; the share as for `mean_square`.
    """
    level, held = check_level(level), read_values(values)
    chains, (value, error) = held.chains, held.mean
    finite = np.isfinite(value)
    value, width = np.where(finite, value, np.nan), np.where(finite, quantile(level, chains) * error, np.nan)
    share = share_reason(held.magnitude_share, chains, parts="magnitudes")
    reasons = [held.finite_reason(squared=False), share, lonely(chains)]
    return judged(value, value - width, value + width, reasons)


def mean_square(values: ArrayLike | PowerSums, level: float = 0.95) -> Estimate:
    """Mean square over chains at each recorded step, with its interval.

    m_t = (1/c) sum_i x_{t,i}^2, between m_t exp(-z e_t / m_t) and m_t exp(+z e_t / m_t), where e_t is the standard
    error of the mean and z the Student quantile. A mean square is positive and its error is a factor, so the interval
    is symmetric in ln m_t; it never reaches below zero.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains. A chain that diverged is NaN; its steps then have no value, because a mean
        over the chains that are left would be another quantity.
    level : float
        Confidence of the interval at each step separately.

    Returns
    -------
    Estimate
        Arrays (t,) in the units of x squared. Unreliable where one chain holds over 5% of the sum at any step (the
        mean of a heavy tail is then decided by the luck of one chain), or where a chain is not finite.

    Raises
    ------
    ValueError
        When `values` is neither real and of shape (t, c) nor power sums, or `level` not in (0, 1).

    Notes
    -----
    Source: the delta method; the share is the inverse participation ratio of random-energy freezing (Derrida 1981,
    Physical Review B 24:2613).
    """
    level, held = check_level(level), read_values(values)
    chains, (mean, error) = held.chains, held.mean_square
    finite = np.isfinite(mean)
    mean, error = np.where(finite, mean, np.nan), np.where(finite, error, np.nan)
    low, high = log_interval(mean, error, quantile(level, chains))
    reasons = [held.finite_reason(), share_reason(held.square_share, chains), lonely(chains)]
    return judged(mean, low, high, reasons)


def mean_square_standard_error(values: ArrayLike | PowerSums) -> NDArray:
    """Standard error of the mean square over chains at each recorded step.

    e_t = sqrt(sum_i (x_{t,i}^2 - m_t)^2 / (c (c - 1))).

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains.

    Returns
    -------
    ndarray, shape (t,)
        In the units of x squared; NaN where a chain is not finite, and everywhere for a single chain.

    Raises
    ------
    ValueError
        When `values` is neither real and of shape (t, c) nor power sums.

    Notes
    -----
    Source: elementary; with heavy tails it is itself decided by few chains, see `largest_share`.
    """
    return read_values(values).mean_square[1]


def mean_log_square(values: ArrayLike | PowerSums, level: float = 0.95) -> Estimate:
    """Mean of the logarithm of the square over chains: the growth of a typical chain.

    (1/c) sum_i ln x_{t,i}^2 with the Student interval. It lies below ln of the mean square (Jensen), far below where
    rare chains carry the mean; chains can collapse on to a saddle, this falling, while the mean square grows.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains.
    level : float
        Confidence of the interval at each step separately.

    Returns
    -------
    Estimate
        Arrays (t,). Unreliable where a chain is exactly zero (minus infinity) or not finite (NaN).

    Raises
    ------
    ValueError
        When `values` is neither real and of shape (t, c) nor power sums, or `level` not in (0, 1).

    Notes
    -----
    Source: elementary; the Lyapunov exponent is half its slope (Furstenberg and Kesten 1960, Annals of Mathematical
    Statistics 31:457).
    """
    level, held = check_level(level), read_values(values)
    chains, (mean, error) = held.chains, held.mean_log_square
    width = np.where(np.isneginf(mean), 0.0, quantile(level, chains) * error)
    reasons = [held.finite_reason(squared=False), held.zero_reason, lonely(chains)]
    return judged(mean, mean - width, mean + width, reasons)


def largest_share(values: ArrayLike | PowerSums) -> NDArray:
    """Largest share of the sum of squares that one chain holds, at each recorded step.

    max_i x_i^2 / sum_i x_i^2: 1/c for equal chains, about 2 ln(c)/c for Gaussian ones, of order 1 once a mean over c
    chains no longer follows a heavy tail.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains.

    Returns
    -------
    ndarray, shape (t,)
        Between 1/c and 1; 1/c where all chains are zero, NaN where a chain is not finite.

    Raises
    ------
    ValueError
        When `values` is neither real and of shape (t, c) nor power sums.

    Notes
    -----
    Source: Derrida 1981, Physical Review B 24:2613 (freezing in the random-energy model).
    """
    return read_values(values).square_share


def effective_chains(values: ArrayLike | PowerSums) -> NDArray:
    """Number of chains that carry the mean square, at each recorded step.

    (sum_i x_i^2)^2 / sum_i x_i^4: c for equal chains, about c/3 for Gaussian ones, near 1 when one chain holds the sum.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains.

    Returns
    -------
    ndarray, shape (t,)
        Between 1 and c; c where all chains are zero, NaN where a chain is not finite.

    Raises
    ------
    ValueError
        When `values` is neither real and of shape (t, c) nor power sums.

    Notes
    -----
    Source: Kish 1965, "Survey Sampling" (effective sample size of weights).
    """
    return read_values(values).effective
