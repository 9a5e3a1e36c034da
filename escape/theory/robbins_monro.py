"""Decreasing learning rates, lr_t = c / (t + t0)^p, on one direction of a quadratic. Time is in steps."""

import numpy as np
from scipy import special

from escape.theory._checks import nonnegative, positive, real

_SUMMED = 20_000  # terms of a slow series that are added before its tail is taken by a zeta function


def power_law_lr(step, scale, offset=1.0, power=1.0):
    """Learning rate at a step, lr_t = scale / (t + offset)^power.

    Parameters
    ----------
    step : int or array
        t, at least 0.
    scale, offset : float
        c and t0, above zero.
    power : float
        p, not negative; 0 is a constant learning rate.

    Returns
    -------
    float or array
        Learning rate.

    Raises
    ------
    ValueError
        If a number is out of range or not finite.

    Notes
    -----
    A definition.

    Source: Robbins and Monro (1951), Ann. Math. Stat. 22, 400.
    """
    time = nonnegative("step", step) + positive("offset", offset)
    return positive("scale", scale) / time ** nonnegative("power", power)


def power_law_sums(scale, offset=1.0, power=1.0):
    """Sums over all steps of the learning rate and of its square.

    c zeta(p, t0) and c^2 zeta(2 p, t0), Hurwitz's zeta: the first is infinite for p <= 1, the second for p <= 1/2.

    Parameters
    ----------
    scale, offset, power : float
        As in `power_law_lr`.

    Returns
    -------
    (float, float)
        The two sums, infinite where they diverge.

    Raises
    ------
    ValueError
        If a number is out of range or not finite.

    Notes
    -----
    Exact. Convergence to a minimum from anywhere asks for an infinite first and a finite second sum, 1/2 < p <= 1. A
    finite first sum stops every chain short, start times at least exp(-first * h) away to leading order; where there is
    no force the second sum is the variance gathered, per unit of noise.

    Source: Robbins and Monro (1951), Ann. Math. Stat. 22, 400; derived.
    """
    positive("scale", scale), positive("offset", offset), nonnegative("power", power)
    first, second = (special.zeta(m * power, offset) if m * power > 1 else np.inf for m in (1, 2))
    return float(scale * first), float(scale**2 * second)


def decay_mean_square_limit(step, curvature, noise, start=0.0, *, scale, offset=1.0):
    """Second moment E x_t^2 at late steps under lr_t = c / (t + t0).

    With u = t + t0 and h the curvature: (c noise)^2 / ((2 c h - 1) u) for 2 c h > 1; (c noise)^2 ln(u) / u at
    2 c h = 1; K u^(-2 c h) - (c noise)^2 / ((1 - 2 c h) u) for 2 c h < 1, where, with the gamma function G,
    K = (G(t0) / G(t0-ch))^2 x0^2 + (c noise)^2 sum_{s>=0} (G(t0+s) / G(t0+s+1-ch))^2.
    At a saddle, h < 0, this is polynomial growth in place of an exponential one.

    Parameters
    ----------
    step : float or array
        t, above zero.
    curvature : float
        h of any sign.
    noise, start : float
        Standard deviation of the batch gradient along the direction, and x0.
    scale, offset : float
        c and t0.

    Returns
    -------
    float or array
        Square distance.

    Raises
    ------
    ValueError
        If a number is out of range, or 2 c h < 1 with offset not above c h, where a first step overshoots.

    Notes
    -----
    Relative error: for 2 c h > 1, O(1 / u) and a constant times u^(1-2ch) from the start; at 2 c h = 1 a constant over
    ln u, which is slow; for 2 c h < 1, O(1 / u). Near 2 c h = 1 use `mean_square_schedule`. Escape from a saddle asks
    K u^(2 c |h|) = R^2: a power of R / noise.

    Source: Chung (1954), Ann. Math. Stat. 25, 463, for 2 c h > 1; the constant K derived.
    """
    late, product = (
        positive("step", step) + positive("offset", offset),
        positive("scale", scale) * real("curvature", curvature),
    )
    for name, value in (("curvature", curvature), ("scale", scale), ("offset", offset), ("start", start)):
        if np.ndim(value):
            raise ValueError(f"{name} is {value!r}: it must be one number")
    spread = (scale * float(nonnegative("noise", noise))) ** 2
    if 2 * product == 1:
        return spread * np.log(late) / late
    noisy = spread / ((2 * product - 1) * late)
    if 2 * product > 1:
        return noisy
    lasting = _memory(float(product), offset) * real("start", start) ** 2 + spread * _gathered(product, offset)
    return lasting * late ** (-2 * product) + noisy


def _memory(product, offset):
    """(G(t0) / G(t0 - c h))^2, the weight of the start."""
    if offset <= product:
        raise ValueError(f"offset is {offset!r}: it must be above scale * curvature = {product:g}")
    return np.exp(2 * (special.gammaln(offset) - special.gammaln(offset - product)))


def _gathered(product, offset):
    """Sum over s of (G(t0+s) / G(t0+s+1-ch))^2: a head term by term, and a tail by Hurwitz's zeta.

    G(z) / G(z + d) = (z + (d-1)/2)^(-d) (1 + O(z^-2)), so that the tail is a zeta function to 10^-8 of itself.
    """
    gap = 1 - product
    head = offset + np.arange(_SUMMED)
    terms = np.exp(2 * (special.gammaln(head) - special.gammaln(head + gap)))
    return terms.sum() + special.zeta(2 * gap, offset + _SUMMED + (gap - 1) / 2)
