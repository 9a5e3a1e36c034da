"""Learning rates up to which SGD is linearly stable at a minimum that all terms share, f_i(x) = x^T H_i x / 2.

Descent needs lr * lambda_max(H) < 2; the mean square of SGD needs more, as the Hessians of the terms differ.
"""

import numpy as np
from scipy import linalg

from escape.theory._batches import checked_hessians
from escape.theory._checks import real
from escape.theory._packed import congruence, pairs
from escape.theory.sampling import kappa

_ZERO = 1e-12  # eigenvalue, relative to the largest, below which a direction is flat


def gd_threshold_lr(hessian):
    """Learning rate beyond which batch gradient descent leaves a minimum, 2 / lambda_max(H).

    Parameters
    ----------
    hessian : (d, d) array
        H, symmetric.

    Returns
    -------
    float
        Learning rate: 0 if H has a negative eigenvalue, infinite if H is zero.

    Raises
    ------
    ValueError
        If `hessian` is not a symmetric matrix.

    Notes
    -----
    Exact on a quadratic. It is also the threshold of E x_t for SGD with independent batches.

    Source: classical.
    """
    values = np.linalg.eigvalsh(checked_hessians(real("hessian", hessian)[None])[0])
    return _limit(values[-1], values)


def _limit(top, values):
    """2 / top, unless H has a negative eigenvalue or there is nothing to resist."""
    if values[0] < -_ZERO * np.abs(values).max():
        return 0.0
    return float(2 / top) if top > 0 else np.inf


def _top(noisy, mean):
    """Largest v with noisy = v mean on the range of `mean`, infinite if `noisy` acts outside of it; both symmetric."""
    values, vectors = np.linalg.eigh(mean)
    flat = values <= _ZERO * max(values[-1], 0.0)
    size = np.abs(noisy).max()
    if np.abs(noisy @ vectors[:, flat]).max(initial=0.0) > 1e-9 * size:
        return np.inf, None
    if flat.all():
        return 0.0, None
    root = vectors[:, ~flat] / np.sqrt(values[~flat])
    values, inner = linalg.eigh(root.T @ noisy @ root)
    return values[-1], root @ inner[:, -1]


def mean_square_threshold_lr(hessians, batch_size, replacement=False):
    """Learning rate beyond which E |x_t|^2 of mini-batch SGD grows exponentially.

    2 / lambda_max(C^+ D) on symmetric matrices M, with C M = (H M + M H) / 2 and
    D M = (1 - kappa) H M H + kappa / n sum_i H_i M H_i.

    Parameters
    ----------
    hessians : (n, d, d) array
        H_i, symmetric.
    batch_size : int
        Terms in a batch, drawn afresh each step.
    replacement : bool
        Whether a batch may hold a term twice.

    Returns
    -------
    float
        Learning rate at which `second_moment` has rho = 1; at most `gd_threshold_lr` of H. 0 if no learning rate is
        stable: H has a negative eigenvalue, or a flat direction in which the terms are curved.

    Raises
    ------
    ValueError
        If `hessians` are not symmetric (n, d, d) or the batch does not fit.

    Notes
    -----
    Exact for independent batches. The map of the second moment is I - 2 lr C + lr^2 D, self-adjoint, and its largest
    eigenvalue is its spectral radius. Chains may collapse beyond it (`paradox_window`).

    Source: Mulayoff and Michaeli (2024), ICML, arXiv 2306.07850; behaviour at flat directions derived.
    """
    hessians = checked_hessians(hessians)
    n, d = hessians.shape[:2]
    factor = kappa(batch_size, n, replacement)
    row, column, _ = pairs(d)
    mean, eye = hessians.mean(0), np.eye(d)[row, column]
    terms, straight = hessians[:, row, column], mean[row, column]
    spread = terms - straight
    noisy = congruence(np.outer(straight, straight) + factor / n * spread.T @ spread, d)
    # (H M I + I M H) / 2, by the polarisation of S M S
    drift = congruence((np.outer(straight, eye) + np.outer(eye, straight)) / 2, d)
    return _limit(_top(noisy, drift)[0], np.linalg.eigvalsh(mean))


def monotone_threshold_lr(hessians, batch_size, replacement=False):
    """Learning rate up to which E |x_t|^2 of mini-batch SGD never grows, not even in one step.

    The largest lr with (I - lr H)^2 + lr^2 kappa V <= I, V = (1/n) sum_i H_i^2 - H^2: 2 / lambda_max(H^+ (H^2 + kappa
    V)).

    Parameters
    ----------
    hessians, batch_size, replacement
        As in `mean_square_threshold_lr`.

    Returns
    -------
    float
        Learning rate, sufficient for stability: at most `mean_square_threshold_lr`. 0 as there.

    Raises
    ------
    ValueError
        As `mean_square_threshold_lr`.

    Notes
    -----
    Exact for what it says. It equals `mean_square_threshold_lr` in one dimension and where the Hessians commute.

    Source: Wu, Ma and E (2018), NeurIPS 31, the condition of their general theorem.
    """
    mean, variance = _variance(hessians, batch_size, replacement)
    return _limit(_top(mean @ mean + variance, mean)[0], np.linalg.eigvalsh(mean))


def nonuniformity_threshold_lr(hessians, batch_size, replacement=False):
    """Learning rate 1 / (sqrt(kappa) s) that the spread of the Hessians allows at most.

    s^2 = lambda_max((1/n) sum_i H_i^2 - H^2), the non-uniformity of the minimum.

    Parameters
    ----------
    hessians, batch_size, replacement
        As in `mean_square_threshold_lr`.

    Returns
    -------
    float
        Learning rate; infinite without noise. Never below `monotone_threshold_lr`.

    Raises
    ------
    ValueError
        As `mean_square_threshold_lr`.

    Notes
    -----
    Beyond it E |x|^2 grows in one step from the worst place, where a step's noise alone is as long as x was. That
    forbids stability where the Hessians commute; where they do not, E |x_t|^2 may still settle in the long run, so it
    is no upper bound of `mean_square_threshold_lr`.

    Source: Wu, Ma and E (2018), NeurIPS 31; the limitation to commuting Hessians is derived.
    """
    _, variance = _variance(hessians, batch_size, replacement)
    top = np.linalg.eigvalsh(variance)[-1]
    return float(1 / np.sqrt(top)) if top > 0 else np.inf


def _variance(hessians, batch_size, replacement):
    """H, and kappa times the mean square of the terms' Hessians about it."""
    hessians = checked_hessians(hessians)
    n = len(hessians)
    mean = hessians.mean(0)
    spread = hessians - mean
    return mean, kappa(batch_size, n, replacement) * np.einsum("nij,njk->ik", spread, spread) / n
