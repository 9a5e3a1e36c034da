"""Least squares on fresh Gaussian data: SGD whose noise is additive and multiplicative at once, solved exactly.

Each term is (x . theta - y)^2 / 2 with x ~ N(0, A) and y = x . theta* + label noise; a batch is `batch_size` new terms,
so there is no finite sum and no kappa but 1 / batch_size. Positions are theta - theta*, time is in steps.
"""

import numpy as np
from scipy import optimize

from escape.theory._checks import nonnegative, positive, whole
from escape.theory.stationary import _momentum, _symmetric


def _gap(product, batch_size, momentum):
    """2 (1 - m) - a ((1 - m) / (1 + m) + 1 / b) for a = lr times each eigenvalue: what damps it, less its own noise."""
    return 2 * (1 - momentum) - product * ((1 - momentum) / (1 + momentum) + 1 / batch_size)


def _spectrum(covariance):
    values, vectors = np.linalg.eigh(_symmetric("covariance", covariance))
    if values[0] <= 0:
        raise ValueError(f"covariance has the eigenvalue {values[0]:.4g}: the inputs must vary in every direction")
    return values, vectors


def regression_stationary_covariance(covariance, label_noise, lr, batch_size, momentum=0.0):
    """Stationary covariance of the weights about the true ones.

    In the eigenbasis of A, with a = lr times the eigenvalues, m the momentum and b the batch size,
    S = (lr / b) label_noise^2 / (1 - k / b) / G, G = 2 (1 - m) - a ((1 - m) / (1 + m) + 1 / b), k = sum a / G.

    Parameters
    ----------
    covariance : (d, d) array
        A, covariance of the inputs, which is the Hessian.
    label_noise : float
        Standard deviation of the labels about their mean.
    lr : float
        Learning rate.
    batch_size : int
        New terms in a step.
    momentum : float
        Of heavy ball, in [0, 1).

    Returns
    -------
    (d, d) array
        E (theta - theta*) (theta - theta*)^T; commutes with A.

    Raises
    ------
    ValueError
        If `lr` is not below `regression_threshold_lr`, or an argument is out of its range.

    Notes
    -----
    Exact. The noise has covariance (A S A + Tr(A S) A + label_noise^2 A) / b at stationarity; the law itself has
    power-law tails, whose exponent is `regression_tail_exponent` for isotropic inputs.

    Source: Ziyin, Liu, Mori and Ueda (2022), ICLR, arXiv 2102.05375, Thm 2; re-derived.
    """
    values, vectors = _spectrum(covariance)
    lr, m = float(positive("lr", lr)), float(_momentum(momentum))
    batch_size, energy = whole("batch_size", batch_size, 1), float(nonnegative("label_noise", label_noise)) ** 2
    limit = regression_threshold_lr(covariance, batch_size, m)
    if lr >= limit:
        raise ValueError(f"lr is {lr!r}: there is a stationary covariance only below the threshold {limit:.6g}")
    gap = _gap(lr * values, batch_size, m)
    share = (lr * values / gap).sum() / batch_size
    return (vectors * (lr / batch_size * energy / (1 - share) / gap)) @ vectors.T


def regression_threshold_lr(covariance, batch_size, momentum=0.0):
    """Learning rate at which the mean square stops settling.

    The root of sum a / G = b, with a, G as in `regression_stationary_covariance`; 2 b / (b + d + 1) for A = I.

    Parameters
    ----------
    covariance, batch_size, momentum
        As in `regression_stationary_covariance`.

    Returns
    -------
    float
        Learning rate; below it E |theta - theta*|^2 stays bounded, above it grows exponentially.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Exact. Each chain may still settle above it, up to `regression_collapse_lr`.

    Source: derived. A direction's noise is a sum of what its squared impulse response keeps of earlier noise, a
    positive linear recursion, so it settles exactly where the sums of its kernel do.
    """
    values, _ = _spectrum(covariance)
    m, b = float(_momentum(momentum)), whole("batch_size", batch_size, 1)
    # In units where the stiffest direction's own gap closes at 1; the sum is infinite there and 0 at 0.
    scale = 2 * (1 - m) / (values[-1] * ((1 - m) / (1 + m) + 1 / b))

    def excess(unit):
        # multiplied by the smallest gap, which removes the pole
        gap = _gap(unit * scale * values, b, m)
        return (unit * scale * values * (gap[-1] / gap if gap[-1] > 0 else (gap == gap[-1]))).sum() - b * gap[-1]

    return float(scale * optimize.brentq(excess, 0.0, 1.0, xtol=1e-300, rtol=1e-14))
