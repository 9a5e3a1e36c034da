"""How a batch is drawn and how large it should be, as far as second moments see it."""

from typing import NamedTuple

import numpy as np

from escape.theory._checks import positive, real, whole


def kappa(batch_size, n, replacement=False):
    """Factor by which a batch mean shrinks the covariance of one term's gradient.

    Cov(g_B) = kappa C with C = (1/n) sum_i (g_i - g)(g_i - g)^T, divisor n:
    kappa = 1/b with replacement, (n - b) / (b (n - 1)) for a fresh batch of distinct terms.

    Parameters
    ----------
    batch_size : int
        b, terms in a batch.
    n : int
        Terms of the whole sum.
    replacement : bool
        Whether one batch may hold a term twice.

    Returns
    -------
    float
        kappa, without unit; 0 for the full batch of distinct terms, and for n = 1.

    Raises
    ------
    ValueError
        If `batch_size` or `n` is not a whole number above zero, or if a batch of distinct terms
        is to be larger than `n`.

    Notes
    -----
    Exact for every n and b. Batches are independent from step to step: a permutation shared by an
    epoch (reshuffling) is correlated in time and has no such factor.

    Source: sampling from a finite population; e.g. Cochran, Sampling Techniques.
    """
    batch_size, n = whole("batch_size", batch_size, 1), whole("n", n, 1)
    if not replacement and batch_size > n:
        raise ValueError(f"batch_size is {batch_size}: without replacement it is at most n = {n}")
    if n == 1:
        return 0.0
    if replacement:
        return 1.0 / batch_size
    return (n - batch_size) / (batch_size * (n - 1))


def _shrinking(batch_size, n, replacement):
    """Variance of a batch mean over that of one term, also for infinitely many terms."""
    return 1.0 / whole("batch_size", batch_size, 1) if n is None else kappa(batch_size, n, replacement)


class NoiseScales(NamedTuple):
    """Batch sizes at which noise takes as much as the gradient gives; see `noise_scales`."""

    simple: float
    curved: float
    largest_lr: float


def _moments(gradient, covariance, hessian):
    """|g|^2, g^T H g, Tr C and Tr(H C), all arguments checked."""
    g, c, h = real("gradient", gradient), real("covariance", covariance), real("hessian", hessian)
    if g.ndim != 1 or not c.shape == h.shape == (len(g), len(g)):
        raise ValueError(f"gradient {g.shape}, covariance {c.shape}, hessian {h.shape}: must be (d,), (d, d), (d, d)")
    return g @ g, g @ h @ g, np.trace(c), np.sum(h * c)


def noise_scales(gradient, covariance, hessian):
    """Critical batch sizes at one point.

    simple = Tr C / |g|^2, curved = Tr(H C) / (g^T H g), largest_lr = |g|^2 / (g^T H g).

    Parameters
    ----------
    gradient : (d,) array
        g.
    covariance : (d, d) array
        C of one term's gradient.
    hessian : (d, d) array
        H.

    Returns
    -------
    NoiseScales
        `(simple, curved, largest_lr)`, floats: batch sizes, and the best learning rate of the whole gradient.

    Raises
    ------
    ValueError
        If shapes disagree, g is zero or g^T H g is not above zero: then no step length is best.

    Notes
    -----
    At the best learning rate of each batch size b = 1 / kappa, largest_lr / (1 + curved / b), one step on the quadratic
    gains 1 / (1 + curved / b) of what the whole gradient would: nearly all for b >> curved, and in proportion to b
    below. At a fixed learning rate, gradient and noise are of the same size at b = simple; the two scales are
    equal where H is proportional to the identity.

    Source: McCandlish, Kaplan, Amodei et al. (2018), arXiv 1812.06162; derived.
    """
    square, bent, trace, felt = _moments(gradient, covariance, hessian)
    if not (square > 0 and bent > 0):
        raise ValueError(f"|g|^2 is {square:.3g} and g^T H g is {bent:.3g}: both must be above zero")
    return NoiseScales(float(trace / square), float(felt / bent), float(square / bent))


def one_step_decrease(lr, gradient, covariance, hessian, batch_size, n=None, replacement=False):
    """Mean decrease of a quadratic by one step, E f(x) - f(x - lr g_B).

    lr |g|^2 - lr^2 (g^T H g + kappa Tr(H C)) / 2.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    gradient, covariance, hessian : array
        As in `noise_scales`, of any sign.
    batch_size : int
        b.
    n : int, optional
        Terms of the whole sum; infinitely many if omitted.
    replacement : bool
        Whether one batch may hold a term twice.

    Returns
    -------
    float or array
        Loss.

    Raises
    ------
    ValueError
        If shapes disagree, `lr` is not above zero or the batch cannot be drawn.

    Notes
    -----
    Exact on a quadratic for every noise law, elsewhere to second order in lr.

    Source: derived.
    """
    lr, (square, bent, _, felt) = positive("lr", lr), _moments(gradient, covariance, hessian)
    return (lr * square - lr**2 * (bent + _shrinking(batch_size, n, replacement) * felt) / 2)[()]


def best_lr(gradient, covariance, hessian, batch_size, n=None, replacement=False):
    """Learning rate of the largest mean decrease in one step on a quadratic.

    |g|^2 / (g^T H g + kappa Tr(H C)) = largest_lr / (1 + kappa curved), with `noise_scales`.

    Parameters
    ----------
    gradient, covariance, hessian, batch_size, n, replacement : array, array, array, int, int, bool
        As in `one_step_decrease`.

    Returns
    -------
    float
        Learning rate; `inf` where the mean loss falls for ever as lr grows.

    Raises
    ------
    ValueError
        As `one_step_decrease`.

    Notes
    -----
    Exact on a quadratic. Greedy: later steps may want another.

    Source: McCandlish et al. (2018), arXiv 1812.06162; derived.
    """
    square, bent, _, felt = _moments(gradient, covariance, hessian)
    total = bent + _shrinking(batch_size, n, replacement) * felt
    return float(square / total) if total > 0 else np.inf
