"""What rules for the learning rate keep constant as the batch grows."""

from typing import NamedTuple

import numpy as np

from escape.theory._checks import nonnegative, positive, unstable
from escape.theory.exits import mean_exit_step
from escape.theory.saddle import kick_std
from escape.theory.sampling import _shrinking

_POWERS = {"fixed": 0.0, "sqrt": 0.5, "linear": 1.0}


class Factor(NamedTuple):
    """Factor by which a quantity changes: exactly, and to leading order in lr * curvature."""

    exact: float
    leading: float


def _power(rule):
    """Power of k in the learning rate."""
    if rule not in _POWERS:
        raise ValueError(f"rule is {rule!r}: it must be one of {', '.join(map(repr, _POWERS))}")
    return _POWERS[rule]


def batch_scaling(rule, k, lr, batch_size, n=None, replacement=False, *, minimum, saddle, noise, radius):
    """Factors by which everything changes when the batch grows k-fold and the learning rate follows a rule.

    b -> k b with lr -> lr ("fixed"), k^(1/2) lr ("sqrt") or k lr ("linear"); q = 0, 1/2, 1 the rule's power.

    Parameters
    ----------
    rule : {"fixed", "sqrt", "linear"}
        What the learning rate does.
    k : float
        Factor of the batch, above zero; k * batch_size is a whole number.
    lr : float
        Learning rate before.
    batch_size : int
        b before.
    n : int, optional
        Terms of the whole sum; infinitely many if omitted.
    replacement : bool
        Whether one batch may hold a term twice.
    minimum, saddle : float
        Curvature of a minimum, above zero, and of an escape direction, below.
    noise : float
        Standard deviation of the batch gradient along the escape direction, before.
    radius : float
        Distance of exit from the saddle, from a start upon it.

    Returns
    -------
    dict of str to Factor
        `(exact, leading)`, new over old; leading powers of k in brackets.
        "gradient_variance" kappa (-1); "update_covariance" lr^2 kappa (2q-1); "drift_per_step" lr (q);
        "drift_per_epoch" lr / b (q-1); "temperature" lr kappa / 2 (q-1);
        "stationary_variance" lr kappa / (h (2 - lr h)) (q-1), infinite if the new lr is unstable;
        "saddle_kick_variance" lr kappa / (L (2 + lr L)) (q-1);
        "saddle_exit_steps" (-q) and "saddle_exit_epochs" (1-q), exact as far as `mean_exit_step` is, leading but for a
        logarithm of k; "stability" lr h / 2 (q).

    Raises
    ------
    ValueError
        If the rule is unknown, the new batch is no whole number or too large, the old lr is unstable at the minimum, a
        sign is wrong, or a batch has no noise left.

    Notes
    -----
    The leading powers are the popular rules: sqrt keeps the covariance of one update, linear keeps drift per epoch,
    temperature and exit epochs, as long as lr h << 1 and b << n. Exact columns hold for additive noise of fresh
    batches; those of exits for Gaussian noise and a radius far above the kick.

    Source: derived; the rules are Krizhevsky (2014), arXiv 1404.5997, and Goyal et al. (2017), arXiv 1706.02677.
    """
    power, k, lr = _power(rule), float(positive("k", k)), float(positive("lr", lr))
    minimum, saddle, noise = float(positive("minimum", minimum)), float(unstable(saddle)), positive("noise", noise)
    larger = round(k * batch_size)
    if abs(larger - k * batch_size) > 1e-9 * k * batch_size:
        raise ValueError(f"k * batch_size is {k * batch_size!r}: the new batch must be a whole number")
    if lr * minimum >= 2:
        raise ValueError(f"lr * minimum is {lr * minimum!r}: below 2 the old learning rate has a stationary law")
    old, new = (_shrinking(size, n, replacement) for size in (batch_size, larger))
    if not (old > 0 and new > 0):
        raise ValueError(f"batches {batch_size} and {larger} of n = {n}: both must leave noise, so keep them below n")
    noisier, rate = new / old, k**power
    after = rate * lr
    held = after * minimum < 2
    kicks = [float(kick_std(eta, saddle, 1.0)) ** 2 for eta in (lr, after)]
    steps = [float(mean_exit_step(eta, saddle, s, radius)) for eta, s in ((lr, noise), (after, noise * noisier**0.5))]
    exact = {
        "gradient_variance": (noisier, -1),
        "update_covariance": (rate**2 * noisier, 2 * power - 1),
        "drift_per_step": (rate, power),
        "drift_per_epoch": (rate / k, power - 1),
        "temperature": (rate * noisier, power - 1),
        "stationary_variance": (
            rate * noisier * (2 - lr * minimum) / (2 - after * minimum) if held else np.inf,
            power - 1,
        ),
        "saddle_kick_variance": (noisier * kicks[1] / kicks[0], power - 1),
        "saddle_exit_steps": (steps[1] / steps[0], -power),
        "saddle_exit_epochs": (k * steps[1] / steps[0], 1 - power),
        "stability": (rate, power),
    }
    return {name: Factor(float(value), float(k**leading)) for name, (value, leading) in exact.items()}


def largest_stable_scaling(rule, lr, curvature):
    """Factor of the batch at which a rule drives the learning rate to the edge of stability, lr * curvature = 2.

    (2 / (lr h))^(1/q): infinite for "fixed", squared for "sqrt" (q = 1/2), itself for "linear" (q = 1).

    Parameters
    ----------
    rule : {"fixed", "sqrt", "linear"}
        What the learning rate does.
    lr, curvature : float or array
        Learning rate before, and the largest curvature, above zero.

    Returns
    -------
    float or array
        k; below 1 if lr is unstable already.

    Raises
    ------
    ValueError
        If the rule is unknown or a number is not above zero.

    Notes
    -----
    Exact for the mean, E x_t, and for additive noise; noise that grows with x is unstable earlier.

    Source: derived.
    """
    power = _power(rule)
    room = 2 / (positive("lr", lr) * positive("curvature", curvature))
    return np.full_like(room, np.inf)[()] if power == 0 else (room ** (1 / power))[()]


def svag_coefficients(ell):
    """Weights of two independent batch gradients whose sum has the same mean and `ell` times the covariance.

    (1 + r) / 2 and (1 - r) / 2 with r = sqrt(2 ell - 1).

    Parameters
    ----------
    ell : float
        At least 1; steps of lr / ell are taken in place of lr.

    Returns
    -------
    (float, float)
        Weights; 1 and 0 at ell = 1.

    Raises
    ------
    ValueError
        If `ell` is below 1.

    Notes
    -----
    Exact. With lr / ell the drift and the covariance of ell steps are those of one step of SGD; as ell grows the chain
    tends to the diffusion of that learning rate.

    Source: Li, Malladi and Arora (2021), arXiv 2102.12470; algebra checked.
    """
    if np.ndim(ell) or not (np.isfinite(ell) and ell >= 1):
        raise ValueError(f"ell is {ell!r}: it must be one number, at least 1")
    root = float(np.sqrt(2 * ell - 1))
    return (1 + root) / 2, (1 - root) / 2


class AdamSettings(NamedTuple):
    """Settings of Adam."""

    lr: float
    beta1: float
    beta2: float
    eps: float


def adam_scaling(k, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Settings of Adam for a batch k times as large that keep its path in distribution, at k times the speed in steps.

    lr sqrt(k), 1 - k (1 - b1), 1 - k (1 - b2), eps / sqrt(k).

    Parameters
    ----------
    k : float
        Factor of the batch, above zero.
    lr, beta1, beta2, eps : float
        Settings before.

    Returns
    -------
    AdamSettings
        `(lr, beta1, beta2, eps)` after; one step does what k steps did.

    Raises
    ------
    ValueError
        If a number is out of range, or k so large that a beta would fall below zero.

    Notes
    -----
    To leading order in lr, 1-b1 and 1-b2 together, and where noise dominates the gradient: v then falls as 1 / k.

    Source: Malladi, Lyu, Panigrahi and Arora (2022), arXiv 2205.10287; checked by simulation.
    """
    k, lr, eps = (float(check(*pair)) for check, pair in (
        (positive, ("k", k)), (positive, ("lr", lr)), (nonnegative, ("eps", eps))
    ))  # fmt: skip
    after = [1 - k * (1 - beta) for beta in (beta1, beta2)]
    if not (0 <= min(beta1, beta2) <= max(beta1, beta2) < 1 and min(after) >= 0):
        raise ValueError(f"beta1, beta2 are {beta1!r}, {beta2!r}: in [0, 1), and k = {k:g} times 1 - beta at most 1")
    return AdamSettings(lr * k**0.5, *after, eps / k**0.5)
