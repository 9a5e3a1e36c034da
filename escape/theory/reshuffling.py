"""Random reshuffling: an epoch goes through a fresh permutation of the n terms, `batch_size` at a time.

Batches of one epoch exclude each other, so their noises are anticorrelated and nearly cancel over the epoch. Time is in
steps unless epochs are said; an epoch has k = n / batch_size steps.
"""

from itertools import combinations
from math import comb

import numpy as np

from escape.theory._batches import checked_hessians
from escape.theory._checks import nonnegative, positive, real, unstable, whole
from escape.theory._packed import congruence, pairs
from escape.theory.exits import mean_exit_step
from escape.theory.multiplicative import SecondMoment

_PRODUCTS = 200_000  # matrix products beyond which the sum over permutations is refused


def _steps(n, batch_size):
    """Steps of an epoch."""
    n, batch_size = whole("n", n, 2), whole("batch_size", batch_size, 1)
    if n % batch_size:
        raise ValueError(f"batch_size is {batch_size}: it must divide n = {n}, or the last batch is another one")
    return n, n // batch_size


def _scalars(lr, curvature, sample_noise):
    product = float(positive("lr", lr)) * float(real("curvature", curvature))
    return 1 - product, float(lr) * float(nonnegative("sample_noise", sample_noise))


def reshuffling_epoch_variance(lr, curvature, sample_noise, n, batch_size=1):
    """Variance of the noise that one epoch of reshuffling adds along one direction.

    (lr sample_noise)^2 k / (n - 1) sum_j (w_j - w)^2 with w_j = a^j, j = 0 .. k - 1, w their mean, a = 1 - lr h.

    Parameters
    ----------
    lr, curvature : float
        Learning rate, curvature of either sign, the same for all terms.
    sample_noise : float
        Standard deviation of the gradient of one term (divisor n).
    n : int
        Terms.
    batch_size : int
        Terms in a step; divides n.

    Returns
    -------
    float
        Square distance; infinite where it exceeds the floats. About (lr h k)^2 / 12 times what independent batches add
        where lr |h| k is small.

    Raises
    ------
    ValueError
        If `batch_size` does not divide `n`, or an argument is out of its range.

    Notes
    -----
    Exact: two terms of a permutation have covariance -C / (n - 1), and so have two batches.

    Source: derived.
    """
    a, kick = _scalars(lr, curvature, sample_noise)
    n, k = _steps(n, batch_size)
    with np.errstate(over="ignore"):
        # w_j - 1 rather than w_j: what matters is the spread about the mean, small where lr h k is
        power = np.expm1(np.arange(k) * np.log1p(a - 1)) if a > 0 else a ** np.arange(k) - 1
        spread = ((power - power.mean()) ** 2).sum() if np.isfinite(power).all() else np.inf
        return float(kick**2 * k / (n - 1) * spread) if kick else 0.0


def reshuffling_mean_square(epochs, lr, curvature, sample_noise, n, batch_size=1, start=0.0):
    """Second moment at the end of epochs of reshuffling, along one direction with additive noise.

    q^m x0^2 + v (q^m - 1) / (q - 1), q = a^{2k}, v of `reshuffling_epoch_variance`, after m epochs.

    Parameters
    ----------
    epochs : int or array
        m, at least 0.
    lr, curvature, sample_noise, n, batch_size
        As in `reshuffling_epoch_variance`.
    start : float
        x0, distance from the critical point.

    Returns
    -------
    float or array
        Square distance.

    Raises
    ------
    ValueError
        As `reshuffling_epoch_variance`, or if `epochs` is negative.

    Notes
    -----
    Exact for tilts that sum to zero and equal curvatures, stable and unstable alike. About a minimum it tends to
    v / (1 - q), far below `stationary_variance`; inside an epoch it is larger.

    Source: derived.
    """
    a, _ = _scalars(lr, curvature, sample_noise)
    epochs, (n, k) = nonnegative("epochs", epochs), _steps(n, batch_size)
    added = reshuffling_epoch_variance(lr, curvature, sample_noise, n, batch_size)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        log = 2 * k * np.log(np.abs(a))
        grown = np.expm1(epochs * log) / np.expm1(log) if log else epochs
        kept = np.where(epochs == 0, 1.0, np.exp(epochs * log))
    return (kept * real("start", start) ** 2 + added * np.where(epochs == 0, 0.0, grown))[()]


def reshuffling_kick_std(lr, curvature, sample_noise, n, batch_size=1):
    """Standard deviation of the effective initial kick of a saddle under reshuffling.

    s^2 = v / (a^{2k} - 1), which is (lr sample_noise)^2 / (n - 1) [k / (a^2 - 1) - tanh(k ln(a) / 2) / (a - 1)^2].

    Parameters
    ----------
    lr : float
        Learning rate.
    curvature : float
        Negative curvature, the same for all terms.
    sample_noise, n, batch_size
        As in `reshuffling_epoch_variance`.

    Returns
    -------
    float
        s, a distance; below `kick_std` of independent batches by a factor of about lr |curvature| k / sqrt(12) where
        that is small, and equal to it (but for n / (n - 1)) where it is large.

    Raises
    ------
    ValueError
        As `reshuffling_epoch_variance`, or if `curvature` is not negative.

    Notes
    -----
    Exact variance of lim a^{-t} x_t for every noise law; Gaussian where lr |curvature| is small and k large.

    Source: derived.
    """
    unstable(curvature)
    a, kick = _scalars(lr, curvature, sample_noise)
    n, k = _steps(n, batch_size)
    # weights scaled by a^-k, so that long epochs do not overflow
    power = np.expm1(-np.arange(1, k + 1) * np.log1p(a - 1))
    spread = ((power - power.mean()) ** 2).sum() / -np.expm1(-2 * k * np.log1p(a - 1))
    return float(kick * np.sqrt(k / (n - 1) * spread))


def reshuffling_mean_exit_step(lr, curvature, sample_noise, radius, n, batch_size=1):
    """Mean exit step from a saddle under reshuffling, `mean_exit_step` with the kick of reshuffling.

    E tau = [ln(radius / s) + (gamma_E + ln 2) / 2] / ln a + 1/2, s of `reshuffling_kick_std`.

    Parameters
    ----------
    lr, curvature, sample_noise, n, batch_size
        As in `reshuffling_kick_std`.
    radius : float
        Exit radius.

    Returns
    -------
    float
        Steps from the saddle; later than with independent batches by ln of the ratio of the two kicks, over ln a.

    Raises
    ------
    ValueError
        As `reshuffling_kick_std`, or if the full batch is taken, which never leaves.

    Notes
    -----
    Regime of `mean_exit_step`, with the kicks inside an epoch, of the size of `kick_std` of independent batches, far
    below the radius. A kick of excess kurtosis K, about -0.1 for tens of terms, adds K / (12 ln a) steps.

    Source: derived.
    """
    kick = reshuffling_kick_std(lr, curvature, sample_noise, n, batch_size)
    if kick == 0:
        raise ValueError("an epoch adds no noise: the chain never leaves the saddle; take smaller batches, or noise")
    a, _ = _scalars(lr, curvature, sample_noise)
    return float(mean_exit_step(lr, curvature, kick * np.sqrt(a * a - 1) / lr, radius))


def reshuffling_second_moment(hessians, lr, batch_size=1):
    """Exact recursion of mean and second moment over epochs of reshuffling, f_i(x) = x^T H_i x / 2.

    The means, over all permutations, of P and P (x) P, P = A_k ... A_1 the product of the batches of an epoch,
    A_B = I - lr H_B.

    Parameters
    ----------
    hessians : (n, d, d) array
        H_i, symmetric.
    lr : float
        Learning rate.
    batch_size : int
        Terms in a step; divides n.

    Returns
    -------
    SecondMoment
        Its step is an epoch: `rate` is the growth of E |x|^2 in an epoch, rate**(1 / k) in a step. For d = 1 and
        batches of one the product is the same in every order, and nothing is random.

    Raises
    ------
    ValueError
        If `hessians` are not symmetric (n, d, d), `batch_size` does not divide n, or there are too many subsets:
        n up to 12 always works.

    Notes
    -----
    Exact. Jensen's inequality against batch descent does not hold here: the mean is not that of descent, and
    E |x|^2 can grow slower than descent's or shrink where that grows.

    Source: derived; sums over orders of a subset come from those of its smaller subsets.
    """
    hessians, lr = checked_hessians(hessians), float(positive("lr", lr))
    d = hessians.shape[1]
    n, k = _steps(len(hessians), batch_size)
    count = sum(comb(n, j * batch_size) * comb(j * batch_size, batch_size) for j in range(1, k + 1))
    if count > _PRODUCTS:
        raise ValueError(f"n = {n} terms in batches of {batch_size} need {count} matrix products: take fewer terms")
    row, column, _ = pairs(d)
    size = len(row)
    steps = {}
    for batch in combinations(range(n), batch_size):
        step = np.eye(d) - lr * hessians[list(batch)].mean(0)
        packed = step[row, column]
        steps[frozenset(batch)] = step, congruence(np.outer(packed, packed), d)
    done = {frozenset(): (np.eye(d), np.eye(size))}
    for j in range(1, k + 1):
        done = {
            subset: _averaged(subset, steps, done, batch_size)
            for subset in map(frozenset, combinations(range(n), j * batch_size))
        }
    mean, operator = done[frozenset(range(n))]
    return SecondMoment(mean, (operator + operator.T) / 2, np.zeros((d, d, d)), np.zeros((d, d)))


def _averaged(subset, steps, done, batch_size):
    """Mean over the last batch of a subset, each after the mean of what was before it."""
    total = [0.0, 0.0]
    last = list(map(frozenset, combinations(sorted(subset), batch_size)))
    for batch in last:
        for which in (0, 1):
            total[which] = total[which] + steps[batch][which] @ done[subset - batch][which]
    return total[0] / len(last), total[1] / len(last)
