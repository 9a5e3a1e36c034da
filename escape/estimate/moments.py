"""Means and mean squares over chains, step by step, and whether a few chains decide them.

"Power sums" below are an observable of `simulate(…, reduce=True)` as it stands in the result, or a `PowerSums`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escape.estimate.base import SHARE_LIMIT, Estimate, check_level, judged, lonely, quantile
from escape.estimate.streamed import PowerSums, read_values
from escape.estimate.values import FullValues

WEIGHT_LIMIT = 0.5  # standard errors by which a single chain may move a mean whose interval is to be believed
FEWEST_LOGS = 40  # chains below which the skewness of logarithms makes Student's interval too short
NORMAL_PART = 1 / 10  # of the freezing step: up to here the error of a mean square is near enough to normal


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


def mean_square(
    values: ArrayLike | PowerSums,
    level: float = 0.95,
    freezing_step: float | None = None,
    step: ArrayLike | None = None,
) -> Estimate:
    """Mean square over chains at each recorded step, with its interval.

    m_t = (1/c) sum_i x_{t,i}^2, between m_t / (1 + u_t)^2 and m_t / (1 - u_t)^2, where u_t = z e_t / (2 m_t), e_t is
    the standard error of the mean and z the Student quantile. The interval is the normal one of m_t^(-1/2), the power
    that undoes the skewness that the Student ratio of Gaussian chains has; it never reaches below zero, and has no
    upper end where u_t >= 1.

    Parameters
    ----------
    values : array_like, shape (t, c), or power sums
        x at t recorded steps of c chains. A chain that diverged is NaN; its steps then have no value, because a mean
        over the chains that are left would be another quantity.
    level : float
        Confidence of the interval at each step separately.
    freezing_step : float, optional
        t*, as `theory.freezing_step` gives it for c chains under multiplicative noise; infinite without any.
    step : array_like, shape (t,), optional
        The recorded steps, which t* is held against; 0, 1, 2, ... by default.

    Returns
    -------
    Estimate
        Arrays (t,) in the units of x squared. Unreliable where one chain holds over 5% of the sum at any step (the
        mean of a heavy tail is then decided by the luck of one chain), where a chain is not finite, and at any step
        past t*/10, or without `freezing_step` where one chain weighs over half a standard error. The reason says from
        where on: up to there the same estimate of the steps before may be believed.

    Raises
    ------
    ValueError
        When `values` is neither real and of shape (t, c) nor power sums, `level` not in (0, 1), `freezing_step` not
        above 0, or `step` not (t,).

    Notes
    -----
    Of a heavy tail the interval is too narrow long before the mean fails: of factors near normal, the skewness of the
    mean of c squares is about c^(3 t/t* - 1/2), of order one from t*/6 on (coverage measured for 100 to 10,000 chains:
    93% to 95% at t*/10, 88% to 92% at t*/4, about 75% at t*/2). Nor can the chains alone say so cleanly: a sample that
    misses its largest chains is low and looks harmless. Where multiplicative noise is strong, give `freezing_step`.

    Source: interval derived, from the second-order expansion of Student's ratio (Hall 1992, "The Bootstrap and
    Edgeworth Expansion", section 2.6); the share is the inverse participation ratio of random-energy freezing (Derrida
    1981, Physical Review B 24:2613); a chain's weight tests for the normal law as in O'Brien 1980, Journal of Applied
    Probability 17:539.
    """
    level, held = check_level(level), read_values(values)
    chains, (mean, error) = held.chains, held.mean_square
    finite = np.isfinite(mean)
    mean, error = np.where(finite, mean, np.nan), np.where(finite, error, np.nan)
    low, high = _inverse_root_interval(mean, error, quantile(level, chains))
    reasons = [
        held.finite_reason(),
        share_reason(held.square_share, chains),
        # What theory says of the tail is better than what the sample says, whose luck it shares.
        _weight_reason(held) if freezing_step is None else "",
        _freezing_reason(freezing_step, step, held.steps),
        "fourth powers too small to hold: no interval there" if chains > 1 and np.isnan(error[finite]).any() else "",
        lonely(chains),
    ]
    return judged(mean, low, high, reasons)


def _inverse_root_interval(mean: NDArray, error: NDArray, width: float) -> tuple[NDArray, NDArray]:
    """Return the interval of a mean square that is symmetric for its power -1/2; a zero stays zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.where(error == 0, 0.0, width * error / (2 * mean))
        # 1 - u vanishes where the error is as large as the mean: nothing is then known from above.
        return mean / (1 + half) ** 2, np.where(half >= 1, np.inf, mean / (1 - np.minimum(half, 1)) ** 2)


def _weight_reason(held: FullValues | PowerSums) -> str:
    """Return the reason against a normal law of the mean that one chain moves by much of its error; else empty."""
    share = held.square_share
    weight = share * np.sqrt(held.effective)  # max x^2 / sqrt(sum x^4)
    heavy = (weight > WEIGHT_LIMIT) & (share * held.chains > 1 + 1e-9)
    if not heavy.any():
        return ""
    since = f"over {WEIGHT_LIMIT:g} from recorded step {heavy.argmax()}"
    worst = f"{weight[heavy].max():.2g} standard errors of the mean"
    return f"one chain weighs up to {worst}, {since}: too heavy a tail for the interval"


def _freezing_reason(freezing_step: float | None, step: ArrayLike | None, rows: int) -> str:
    """Return the reason against steps past the freezing step, or past the part of it that is near normal."""
    step = np.arange(rows) if step is None else np.asarray(step)
    if step.shape != (rows,) or step.dtype.kind not in "fiu":
        raise ValueError(f"step has shape {step.shape} for {rows} rows; there must be one step a row")
    if freezing_step is None:
        return ""
    if not freezing_step > 0:
        raise ValueError(f"freezing_step is {freezing_step!r}; it must be a number of steps above 0")
    narrow, frozen = step > NORMAL_PART * freezing_step, step > freezing_step
    said = []
    if narrow.any():
        said.append(f"the interval is too narrow from step {step[narrow][0]} on, past a tenth of the freezing step")
    if frozen.any():
        said.append(f"the mean falls short from step {step[frozen][0]} on, past the freezing step {freezing_step:.4g}")
    return "; ".join(said)


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
        Arrays (t,). Unreliable where a chain is exactly zero (minus infinity) or not finite (NaN), and of fewer than 40
        chains (of 20 Gaussian ones a 95% interval covers 92% to 93%).

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
    few = f"{chains} chains, where {FEWEST_LOGS} are needed for logarithms, which are skewed"
    short = few if 1 < chains < FEWEST_LOGS else ""
    reasons = [held.finite_reason(squared=False), held.zero_reason, short, lonely(chains)]
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
