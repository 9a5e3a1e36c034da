"""Exit of batch GD from a quadratic critical point: no noise but that of rounding. Time is in steps."""

import numpy as np

from escape.theory._checks import positive, real, unstable
from escape.theory.saddle import _log_factor


def gd_exit_step(lr, curvature, radius, start):
    """First step at which batch GD on the quadratic is outside, |a^t start| >= radius.

    ceil(ln(radius / |start|) / ln |a|).

    Parameters
    ----------
    lr, curvature, radius : float or array
        Learning rate, curvature, exit radius. A positive curvature leaves only by overshoot, lr * curvature > 2.
    start : float or array
        Signed distance from the saddle.

    Returns
    -------
    float or array
        Steps: a whole number, 0 if outside already, `inf` if GD never leaves (from the saddle, or |a| <= 1).

    Raises
    ------
    ValueError
        If `lr` or `radius` is not above zero or a number is not finite.

    Notes
    -----
    Exact in exact arithmetic, with ties decided by a^t in floats. In a rotated basis rounding kicks even a
    start on the saddle: see `rounding_exit_step`.

    Source: derived.
    """
    log = _log_factor(lr, curvature)
    radius, distance = positive("radius", radius), np.abs(real("start", start))
    factor = np.abs(1 - lr * np.asarray(curvature, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        step = np.where(log > 0, np.ceil((np.log(radius) - np.log(distance)) / log), np.inf)
        step = np.where(distance >= radius, 0.0, np.maximum(step, 1.0))
        # the quotient of logs can miss an exact tie by one unit in the last place, so ask the power itself
        early = np.isfinite(step) & (step > 1) & (factor ** (step - 1) * distance >= radius)
        late = np.isfinite(step) & (factor**step * distance < radius)
    return (step - early + late)[()]


def rounding_exit_step(lr, curvature, radius, unit_roundoff=2.0**-53):
    """Step at which rounding alone carries batch GD off a saddle, to leading order.

    ln(radius / u) / ln a: as if the start were off by one unit of rounding u.

    Parameters
    ----------
    lr, curvature, radius : float or array
        Learning rate, negative curvature, exit radius.
    unit_roundoff : float
        u, 2^-53 for float64 and 2^-24 for float32, times the size of the coordinates.

    Returns
    -------
    float or array
        Steps.

    Raises
    ------
    ValueError
        If `lr`, `radius` or `unit_roundoff` is not above zero or `curvature` is not negative.

    Notes
    -----
    An order of magnitude: the true kick is u times a few, up or down, which moves the answer by a few 1 / ln a.
    It assumes a basis in which the saddle's coordinates are inexact; on axis-aligned problems the unstable
    coordinate stays exactly zero and GD never leaves. At a saddle away from the origin GD may also stand still: where
    lr |g| is under half a unit in the last place of x, a step changes nothing.

    Source: derived.
    """
    log = np.log1p(-positive("lr", lr) * unstable(curvature))
    return np.log(positive("radius", radius) / positive("unit_roundoff", unit_roundoff)) / log


def successive_exit_ratio(lr, stable_curvature, unstable_curvature):
    """Ratio of the steps at which batch GD leaves one saddle of a chain and the next, T_{k+1} / T_k at late k.

    1 + |ln|1 - lr h|| / ln(1 + lr L): the direction along which saddle k + 1 is left is a stable one of curvature h up
    to step T_k, shrinks all this time, and must grow back at curvature -L.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    stable_curvature : float or array
        h > 0, curvature along later escape directions before their turn comes; lr * h < 2.
    unstable_curvature : float or array
        -L < 0, curvature along the escape direction of each saddle.

    Returns
    -------
    float or array
        Ratio above 1, `inf` at lr * h = 1; exit steps grow as its powers, exponentially in the number of saddles.

    Raises
    ------
    ValueError
        If a sign is wrong or lr * h is 2 or more: GD would not come near any of these saddles.

    Notes
    -----
    The exact slope of T_{k+1} as a function of T_k. The ratio itself tends to it: the start and the passage between
    two saddles add a number of steps that does not grow with k. All ends where a coordinate underflows to zero. On the
    octopus of Du et al., h = 2 L' and L = 2 gamma; lr -> 0 gives their (L' + gamma) / gamma.

    Source: Du, Jin, Lee, Jordan, Poczos and Singh (2017), arXiv 1705.10412; derived at finite lr.
    """
    product = positive("lr", lr) * positive("stable_curvature", stable_curvature)
    if (product >= 2).any():
        raise ValueError(f"lr * stable_curvature is {product!r}: it must be below 2")
    with np.errstate(divide="ignore"):
        shrink = -np.log(np.abs(1 - product))
    return (1 + shrink / np.log1p(-lr * unstable(unstable_curvature)))[()]
