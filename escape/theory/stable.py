"""Exit from a minimum by alpha-stable noise: one large jump, whatever the height of the barrier. Time is in steps."""

import numpy as np
from scipy import special

from escape.theory._checks import positive


def _alpha(alpha):
    """Stability index as an array, in (0, 2)."""
    array = positive("alpha", alpha)
    if (array >= 2).any():
        raise ValueError(f"alpha is {alpha!r}: in (0, 2); at 2 the noise is Gaussian, see `eyring_kramers`")
    return array


def stable_tail_constant(alpha):
    """Tail of a symmetric stable variable with E exp(i t S) = exp(-|t|^alpha): P(S > x) ~ c / x^alpha.

    c = Gamma(alpha) sin(pi alpha / 2) / pi.

    Parameters
    ----------
    alpha : float or array
        Stability index, in (0, 2).

    Returns
    -------
    float or array
        c; 1 / pi for Cauchy's law, alpha = 1.

    Raises
    ------
    ValueError
        If `alpha` is outside (0, 2).

    Notes
    -----
    Relative error of the tail O(x^-alpha), O(x^-2) at alpha = 1.

    Source: Samorodnitsky and Taqqu (1994), Stable Non-Gaussian Random Processes, property 1.2.15.
    """
    alpha = _alpha(alpha)
    return (special.gamma(alpha) * np.sin(np.pi * alpha / 2) / np.pi)[()]


def stable_mean_exit_step(lr, alpha, noise, left, right):
    """Mean exit step of x' = x - lr f'(x) + noise lr^(1/alpha) S from (-left, right) around a minimum at zero.

    1 / (lr c noise^alpha (left^-alpha + right^-alpha)), c as `stable_tail_constant`: jumps of the size that leave come
    at this rate.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    alpha : float or array
        Stability index, in (0, 2); E exp(i t S) = exp(-|t|^alpha).
    noise : float or array
        Scale of the noise per unit of time lr * steps, above zero. SGD whose gradient noise has scale sigma has
        noise = sigma lr^(1 - 1/alpha).
    left, right : float or array
        Distances from the minimum to the two ends; `inf` for a side that is closed.

    Returns
    -------
    float or array
        Steps; `inf` if both sides are closed.

    Raises
    ------
    ValueError
        If a number is not above zero or `alpha` is outside (0, 2).

    Notes
    -----
    Limit noise -> 0, whatever the shape of f between the ends, as long as all paths in it run to the minimum. It asks
    that a chain returns before the next large jump comes, noise^alpha << width^alpha * curvature, and
    lr * curvature << 1. The true mean is shorter by a number of relaxation times 1 / (lr * curvature) that does not
    grow as noise falls: in a symmetric quadratic well 0.6 at alpha = 1, 1.2 at 1.2 and 3.6 at 1.5. Gradients of finite
    sums are bounded at each x, so at most a range of widths looks like this.

    Source: Imkeller and Pavlyukevich (2006), Stoch. Proc. Appl. 116, 611; checked against the integral equation of the
    chain.
    """
    lr, noise, alpha = positive("lr", lr), positive("noise", noise), _alpha(alpha)
    sides = [np.asarray(value, dtype=float) for value in (left, right)]
    if not all((side > 0).all() for side in sides):
        raise ValueError(f"left, right are {left!r}, {right!r}: distances, so above zero")
    with np.errstate(divide="ignore"):
        open_sides = sum(side**-alpha for side in sides)
        return (1 / (lr * stable_tail_constant(alpha) * noise**alpha * open_sides))[()]
