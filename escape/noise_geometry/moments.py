"""Moments of a batch mean in closed form, and moments of draws with their standard errors."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def batch_kurtosis(values: ArrayLike, batch_size: int, replacement: bool = False) -> float:
    """Excess kurtosis of the mean of a random batch drawn from a finite population.

    With m_2, m_4 the central moments of the population (divisor n): with replacement (m_4/m_2² − 3)/b, since cumulants
    add. Without, for the sum S of the batch about its mean, with Σ a_i = 0, A = Σ a_i², B = Σ a_i⁴ and
    p_j = b(b−1)…(b−j+1)/(n(n−1)…(n−j+1)), the chance that j given samples are all in the batch,

        E S² = (p_1 − p_2) A,   E S⁴ = (p_1 − 7p_2 + 12p_3 − 6p_4) B + 3 (p_2 − 2p_3 + p_4) A².

    Parameters
    ----------
    values : array_like (n,)
        The population: one number a sample, such as its gradient along a direction.
    batch_size : int
        b ≥ 1; at most n without replacement.
    replacement : bool
        Whether an index may come twice in one batch.

    Returns
    -------
    float
        E(S⁴)/E(S²)² − 3; NaN where the mean does not vary: values all equal, or a batch of all without replacement.

    Raises
    ------
    ValueError
        When the values are not finite real numbers (n,), or the batch size is not whole or out of range.

    Notes
    -----
    Exact for any population. Source: derived, from power sums of distinct indices; known in another form as Fisher's
    k-statistics of finite populations.
    """
    a = np.asarray(values)
    if a.ndim != 1 or not len(a) or a.dtype.kind not in "fiub" or not np.isfinite(a).all():
        raise ValueError(f"values has shape {a.shape} and dtype {a.dtype}; give finite real numbers (n,)")
    n, b = len(a), batch_size
    if isinstance(b, bool) or not isinstance(b, int | np.integer) or b < 1 or (b > n and not replacement):
        raise ValueError(f"batch_size is {b!r}; give a whole number from 1" + ("" if replacement else f" to n = {n}"))
    a = a.astype(float) - a.mean()
    largest = float(np.abs(a).max())
    if largest <= 4 * np.finfo(float).eps * float(np.abs(values).max()) or (b == n and not replacement):
        return math.nan
    a = a / largest
    second, fourth = float((a**2).sum()), float((a**4).sum())
    if replacement:
        return (n * fourth / second**2 - 3) / b
    # Those left out sum to minus those drawn: the smaller of the two batches has the smaller cancellations.
    p = [_all_drawn(n, min(b, n - b), j) for j in range(1, 5)]
    variance = (p[0] - p[1]) * second
    moment = (p[0] - 7 * p[1] + 12 * p[2] - 6 * p[3]) * fourth + 3 * (p[1] - 2 * p[2] + p[3]) * second**2
    return moment / variance**2 - 3


def _all_drawn(n: int, b: int, j: int) -> float:
    """Chance that j given samples of n are all in a batch of b distinct ones."""
    return math.prod((b - i) / (n - i) for i in range(j)) if b >= j else 0.0


def sample_kurtosis(u: NDArray) -> tuple[float, float]:
    """Excess kurtosis of centred values, and its standard error by the delta method and to second order."""
    u = u / (u**2).mean() ** 0.5
    skew, fourth = (u**3).mean(), (u**4).mean()
    influence = u**4 - fourth - 2 * fourth * (u**2 - 1) - 4 * skew * u
    return float(fourth - 3), float(np.hypot(influence.std() / len(u) ** 0.5, 8 * (1 + fourth) / len(u)))


def covariance_distance(u: Tensor, pushed: Tensor, size: float) -> tuple[float, float]:
    """Unbiased estimate of |E uuᵀ − S|²_F/|S|²_F and its standard error; `pushed` holds Su, `size` is |S|²_F.

    The mean over pairs of h = (uᵀw)² − uᵀSu − wᵀSw + |S|²_F, with Var = 4 Var E(h|u)/m + 2 Var h/(m(m − 1)) nearly.
    """
    m = len(u)
    forms = (u * pushed).sum(1)
    h = ((u @ u.T) ** 2 - forms[:, None] - forms + size) / size
    h.fill_diagonal_(0.0)
    pairs = m * (m - 1)
    value = float(h.sum()) / pairs
    spread = max(float((h * h).sum()) / pairs - value**2, 0.0)
    rows = h.sum(1) / (m - 1)
    first = max(float(((rows - value) ** 2).mean()) - spread / (m - 1), 0.0)
    return value, (4 * first / m + 2 * spread / pairs) ** 0.5
