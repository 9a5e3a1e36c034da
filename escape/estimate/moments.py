"""Mean squares over chains, step by step, and whether a few chains decide them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escape.estimate.base import (
    SHARE_LIMIT,
    Estimate,
    check_level,
    check_values,
    judged,
    log_interval,
    lonely,
    mean_error,
    quantile,
)


def squares(values: ArrayLike) -> NDArray:
    """Return the squares (t, c); a value too large to square becomes infinite, which the callers report."""
    with np.errstate(over="ignore", invalid="ignore"):
        return check_values(values) ** 2


def shares(square: NDArray) -> NDArray:
    """Return the largest share (t,) of the sum of `square` (t, c); equal chains, zeros too, hold 1/c each."""
    top = square.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Divided by the largest first, the sum cannot overflow.
        share = 1 / (square / top[:, None]).sum(axis=1)
    return np.where(top == 0, 1 / square.shape[1], share)


def share_reason(share: NDArray, chains: int, where: str = "recorded step", labels: NDArray | None = None) -> str:
    """Return the reason against means that one chain decides, with the worst share and where it began; else empty.

    Chains that are all equal hold 1/c each: nobody dominates, however few they are.
    """
    bad = (share > SHARE_LIMIT) & (share * chains > 1 + 1e-9)
    if not bad.any():
        return ""
    labels = np.arange(len(share)) if labels is None else labels
    worst, since = share[bad].max(), labels[bad][0]
    return f"one chain holds up to {worst:.1%} of the sum of squares, over {SHARE_LIMIT:.0%} from {where} {since}"


def finite_reason(square: NDArray) -> str:
    """Return the reason against means over chains of which some are not finite; else empty."""
    bad = ~np.isfinite(square)
    if not bad.any():
        return ""
    chains, since = bad.any(axis=0), bad.any(axis=1).argmax()
    return f"{chains.sum()} of {len(chains)} chains not finite from recorded step {since}"


def mean_square(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean square over chains at each recorded step, with its interval.

    m_t = (1/c) sum_i x_{t,i}^2, between m_t exp(-z e_t / m_t) and m_t exp(+z e_t / m_t), where e_t is the standard
    error of the mean and z the Student quantile. A mean square is positive and its error is a factor, so the interval
    is symmetric in ln m_t; it never reaches below zero.

    Parameters
    ----------
    values : array_like, shape (t, c)
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
        When `values` is not real and of shape (t, c), or `level` not in (0, 1).

    Notes
    -----
    Source: the delta method; the share is the inverse participation ratio of random-energy freezing (Derrida 1981,
    Physical Review B 24:2613).
    """
    level, square = check_level(level), squares(values)
    chains = square.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, error = square.mean(axis=1), mean_error(square)
        error = np.where(np.isfinite(mean), error, np.nan)
        mean = np.where(np.isfinite(mean), mean, np.nan)
    low, high = log_interval(mean, error, quantile(level, chains))
    return judged(mean, low, high, [finite_reason(square), share_reason(shares(square), chains), lonely(chains)])


def mean_square_standard_error(values: ArrayLike) -> NDArray:
    """Standard error of the mean square over chains at each recorded step.

    e_t = sqrt(sum_i (x_{t,i}^2 - m_t)^2 / (c (c - 1))).

    Parameters
    ----------
    values : array_like, shape (t, c)
        x at t recorded steps of c chains.

    Returns
    -------
    ndarray, shape (t,)
        In the units of x squared; NaN where a chain is not finite, and everywhere for a single chain.

    Raises
    ------
    ValueError
        When `values` is not real and of shape (t, c).

    Notes
    -----
    Source: elementary; with heavy tails it is itself decided by few chains, see `largest_share`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return mean_error(squares(values))


def mean_log_square(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of the logarithm of the square over chains: the growth of a typical chain.

    (1/c) sum_i ln x_{t,i}^2 with the Student interval. It lies below ln of the mean square (Jensen), far below where
    rare chains carry the mean; chains can collapse on to a saddle, this falling, while the mean square grows.

    Parameters
    ----------
    values : array_like, shape (t, c)
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
        When `values` is not real and of shape (t, c), or `level` not in (0, 1).

    Notes
    -----
    Source: elementary; the Lyapunov exponent is half its slope (Furstenberg and Kesten 1960, Annals of Mathematical
    Statistics 31:457).
    """
    level, array = check_level(level), check_values(values)
    chains = array.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = 2 * np.log(np.abs(array))  # not ln of the square, which under- and overflows twice as soon
        logs[np.isposinf(logs)] = np.nan
        mean, width = logs.mean(axis=1), quantile(level, chains) * mean_error(logs)
    zeros = np.isneginf(logs)
    width[np.isneginf(mean)] = 0.0
    since = zeros.any(axis=1).argmax()
    collapsed = f"{zeros.any(axis=0).sum()} of {chains} chains exactly zero, first at recorded step {since}"
    reasons = [finite_reason(array), collapsed if zeros.any() else "", lonely(chains)]
    return judged(mean, mean - width, mean + width, reasons)


def largest_share(values: ArrayLike) -> NDArray:
    """Largest share of the sum of squares that one chain holds, at each recorded step.

    max_i x_i^2 / sum_i x_i^2: 1/c for equal chains, about 2 ln(c)/c for Gaussian ones, of order 1 once a mean over c
    chains no longer follows a heavy tail.

    Parameters
    ----------
    values : array_like, shape (t, c)
        x at t recorded steps of c chains.

    Returns
    -------
    ndarray, shape (t,)
        Between 1/c and 1; 1/c where all chains are zero, NaN where a chain is not finite.

    Raises
    ------
    ValueError
        When `values` is not real and of shape (t, c).

    Notes
    -----
    Source: Derrida 1981, Physical Review B 24:2613 (freezing in the random-energy model).
    """
    return shares(squares(values))


def effective_chains(values: ArrayLike) -> NDArray:
    """Number of chains that carry the mean square, at each recorded step.

    (sum_i x_i^2)^2 / sum_i x_i^4: c for equal chains, about c/3 for Gaussian ones, near 1 when one chain holds the sum.

    Parameters
    ----------
    values : array_like, shape (t, c)
        x at t recorded steps of c chains.

    Returns
    -------
    ndarray, shape (t,)
        Between 1 and c; c where all chains are zero, NaN where a chain is not finite.

    Raises
    ------
    ValueError
        When `values` is not real and of shape (t, c).

    Notes
    -----
    Source: Kish 1965, "Survey Sampling" (effective sample size of weights).
    """
    square = squares(values)
    top = square.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = square / top[:, None]
        count = relative.sum(axis=1) ** 2 / (relative**2).sum(axis=1)
    return np.where(top == 0, float(square.shape[1]), count)
