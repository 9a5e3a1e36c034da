"""Stationary law of SGD with constant learning rate about a minimum: covariance, dissipation, shift of the mean.

Heavy ball is x' = x - lr g_B + momentum (x - x_before); plain SGD has momentum 0. Time is in steps.
"""

import numpy as np

from escape.theory._checks import nonnegative, positive, real


def _momentum(momentum):
    """Momentum as an array in [0, 1)."""
    array = nonnegative("momentum", momentum)
    if (array >= 1).any():
        raise ValueError(f"momentum is {momentum!r}: it must be below 1")
    return array


def _symmetric(name, value, d=None):
    """Symmetric (d, d) array."""
    array = real(name, value)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or (d is not None and len(array) != d):
        raise ValueError(f"{name} has shape {array.shape}: it must be ({'d' if d is None else d}, {d or 'd'})")
    if not np.allclose(array, array.T, rtol=1e-10, atol=1e-12 * np.abs(array).max(initial=0.0)):
        raise ValueError(f"{name} is not symmetric")
    return array


def _settles(product, momentum, what):
    """Refuse directions without a stationary law; `product` is lr times the curvature."""
    if ((product <= 0) | (product >= 2 * (1 + momentum))).any():
        raise ValueError(
            f"lr times {what} is {product!r}: there is a stationary law only above 0 and below 2 (1 + momentum)"
        )


def stationary_variance(lr, curvature, noise, momentum=0.0):
    """Stationary variance along one direction, E x^2.

    S = lr noise^2 (1 + momentum) / (h (1 - momentum) (2 (1 + momentum) - lr h)), h the curvature.

    Parameters
    ----------
    lr, curvature, noise : float or array
        Learning rate, positive curvature, standard deviation of the batch gradient.
    momentum : float or array
        Of heavy ball, in [0, 1).

    Returns
    -------
    float or array
        Square distance.

    Raises
    ------
    ValueError
        If lr * curvature is not between 0 and 2 (1 + momentum), or an argument is out of its range.

    Notes
    -----
    Exact for every noise law of mean zero and constant variance. The mean is at the minimum.

    Source: Liu, Ziyin and Ueda (2021), ICML, arXiv 2012.03636; without momentum an AR(1) variance.
    """
    momentum = _momentum(momentum)
    product = positive("lr", lr) * real("curvature", curvature)
    _settles(product, momentum, "curvature")
    energy = (lr * nonnegative("noise", noise)) ** 2
    return (energy * (1 + momentum) / ((1 - momentum) * product * (2 * (1 + momentum) - product)))[()]


def stationary_covariance(hessian, covariance, lr, momentum=0.0):
    """Stationary covariance about a quadratic minimum with additive noise.

    S = A S A + lr^2 C with A = I - lr H, C the covariance of the batch gradient. In the eigenbasis of H, heavy ball has
    S_ij = lr^2 C_ij / [(1 - m) (u + v - u v / (1 + m)) + m (u - v)^2 / (1 - m^2)], u, v = lr h_i, lr h_j.

    Parameters
    ----------
    hessian : (d, d) array
        H, positive definite.
    covariance : (d, d) array
        C of the batch gradient, kappa times that of one term.
    lr : float
        Learning rate.
    momentum : float
        m of heavy ball, in [0, 1).

    Returns
    -------
    (d, d) array
        E x x^T, square distance.

    Raises
    ------
    ValueError
        If shapes differ, a matrix is not symmetric, or lr times an eigenvalue of H is not between 0 and
        2 (1 + momentum).

    Notes
    -----
    Exact for every noise law of mean zero whose covariance is the same everywhere. The limit lr -> 0 is
    H S + S H = lr C, the continuous law of Mandt, Hoffman and Blei (2017), arXiv 1704.04289.

    Source: discrete Lyapunov equation; the sum over two damped oscillators is derived.
    """
    hessian, lr, m = _symmetric("hessian", hessian), float(positive("lr", lr)), float(_momentum(momentum))
    covariance = _symmetric("covariance", covariance, len(hessian))
    values, vectors = np.linalg.eigh(hessian)
    _settles(lr * values, m, "an eigenvalue of the hessian")
    u, v = lr * values[:, None], lr * values
    forgetting = (1 - m) * (u + v - u * v / (1 + m)) + m * (u - v) ** 2 / (1 - m * m)
    inside = vectors.T @ covariance @ vectors
    return vectors @ (lr * lr * inside / forgetting) @ vectors.T


def stationary_work(step_mean_square, lr, momentum=0.0):
    """First fluctuation-dissipation relation: E x . grad f(x) from the mean square of one step.

    E x . grad f = (1 + momentum) E |x_{t+1} - x_t|^2 / (2 lr); without momentum (lr / 2) E |g_B|^2, g_B the batch
    gradient, its mean included.

    Parameters
    ----------
    step_mean_square : float or array
        E |x_{t+1} - x_t|^2, square distance.
    lr : float or array
        Learning rate.
    momentum : float or array
        Of heavy ball, in [0, 1).

    Returns
    -------
    float or array
        E x . grad f(x), x from any fixed origin; a difference of loss.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Exact at stationarity, for every loss with finite second moments, noise law and learning rate: it says that
    E |x|^2 no longer changes. A chain that fails it has not settled.

    Source: Yaida (2019), ICLR, arXiv 1810.00004; the form with momentum is derived.
    """
    energy = nonnegative("step_mean_square", step_mean_square)
    return ((1 + _momentum(momentum)) * energy / (2 * positive("lr", lr)))[()]


def stationary_gradient_square(hessian, gradient_second_moment, lr):
    """Second fluctuation-dissipation relation: E |grad f|^2 from the second moment of the batch gradient.

    E |grad f|^2 = (lr / 2) Tr(H E g_B g_B^T), g_B the batch gradient, its mean included.

    Parameters
    ----------
    hessian : (d, d) array
        H.
    gradient_second_moment : (d, d) array
        E g_B g_B^T at stationarity.
    lr : float
        Learning rate.

    Returns
    -------
    float
        E |grad f|^2.

    Raises
    ------
    ValueError
        If shapes differ or a matrix is not symmetric.

    Notes
    -----
    Exact on a quadratic, for any noise, additive or not; elsewhere O(lr^2) is missing: it says that E f no longer
    changes. Without momentum only.

    Source: Yaida (2019), ICLR, arXiv 1810.00004.
    """
    hessian = _symmetric("hessian", hessian)
    moment = _symmetric("gradient_second_moment", gradient_second_moment, len(hessian))
    return float(positive("lr", lr) / 2 * (hessian * moment).sum())


def stationary_shift(hessian, third, covariance, lr, momentum=0.0):
    """Shift of the stationary mean off the minimum that a skew loss causes, E x - x*.

    -H^-1 (third : S) / 2, with (third : S)_i = sum_jk third_ijk S_jk and S the stationary covariance; in one dimension
    -f''' S / (2 f'').

    Parameters
    ----------
    hessian : (d, d) array
        H at the minimum, positive definite.
    third : (d, d, d) array
        Third derivatives there.
    covariance : (d, d) array
        Covariance of the batch gradient there.
    lr : float
        Learning rate.
    momentum : float
        Of heavy ball, in [0, 1).

    Returns
    -------
    (d,) array
        E x - x*, a distance: of first order in lr, as is the variance, so that no average over time removes it.

    Raises
    ------
    ValueError
        As `stationary_covariance`, or if `third` is not (d, d, d).

    Notes
    -----
    Leading order in lr, the error being O(lr^2): it needs the third derivative to change little over the width
    sqrt(S). Zero for a quadratic, exactly. The noise may depend on x; only its covariance at the minimum enters.

    Source: Dieuleveut, Durmus and Bach (2020), Ann. Statist. 48, 1348.
    """
    spread = stationary_covariance(hessian, covariance, lr, momentum)
    third, d = real("third", third), len(spread)
    if third.shape != (d, d, d):
        raise ValueError(f"third has shape {third.shape}: it must be ({d}, {d}, {d}), as the hessian is ({d}, {d})")
    return -np.linalg.solve(np.asarray(hessian, dtype=float), np.tensordot(third, spread, 2)) / 2
