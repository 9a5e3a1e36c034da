"""Second moments of SGD along the directions of a quadratic saddle whose gradient noise is additive.

One direction is x' = a x + lr * noise * xi with a = 1 - lr * curvature and xi of mean 0, variance 1.
`curvature` is the signed Hessian eigenvalue (negative where the saddle lets go) and `noise` the standard
deviation of the batch gradient along the direction. Momentum, heavy ball's or Nesterov's, is that of `momentum`, the
module. Time is in steps.
"""

import numpy as np
from scipy.special import exprel

from escape.theory._checks import nonnegative, positive, real
from escape.theory.momentum import growth_rate, kick_std, law_error, mean_square_recursion


def _log_factor(lr, curvature):
    """Logarithm ln |a|, accurate for small lr * curvature; a = 0 is taken as e^-1000, whose square is 0 in floats."""
    product = positive("lr", lr) * real("curvature", curvature)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(product < 1, np.log1p(-product), np.log(np.abs(1 - product)))
    return np.maximum(log, -1e3)


def mean_square(step, lr, curvature, noise, start=0.0, *, momentum=0.0, nesterov=False):
    """Second moment E x_t^2 along one direction.

    E x_t^2 = a^{2t} x0^2 + (lr noise)^2 (a^{2t} - 1) / (a^2 - 1); the fraction is t at a^2 = 1. With momentum the
    linear recursion of E x^2, E x v, E v^2, v the last displacement, 0 at the start.

    Parameters
    ----------
    step : int or array
        t, at least 0; whole numbers with momentum.
    lr, curvature, noise : float or array
        Learning rate, curvature of any sign, noise of the batch gradient along the direction.
    start : float or array
        x0, signed distance from the saddle.
    momentum, nesterov
        As in `growth_factor`.

    Returns
    -------
    float or array
        Square distance; broadcasts the arguments; `inf` where it exceeds the floats.

    Raises
    ------
    ValueError
        If `step` or `noise` is negative, `lr` is not above zero, `momentum` is not in [0, 1) or a number is not finite.

    Notes
    -----
    Exact for every noise law of mean zero and constant variance, stable and unstable alike.

    Source: derived.
    """
    if np.any(momentum):
        return mean_square_recursion(step, lr, curvature, noise, start, momentum, nesterov)
    step, log = nonnegative("step", step), _log_factor(lr, curvature)
    start, kick = real("start", start) ** 2, (lr * nonnegative("noise", noise)) ** 2
    # (a^2t - 1)/(a^2 - 1) through (e^y - 1)/y has no special case at a = 1 and loses no digits near it
    with np.errstate(over="ignore", invalid="ignore"):
        grown, kicks = np.exp(2 * step * log) * start, step * exprel(2 * step * log) / exprel(2 * log) * kick
    return np.where(start == 0, 0.0, grown) + np.where(kick == 0, 0.0, kicks)


def total_mean_square(step, lr, curvatures, noises, start=None, *, momentum=0.0, nesterov=False):
    """Second moment E |x_t|^2 of the distance from a saddle, summed over its directions.

    sum_i E x_{t,i}^2, each term as `mean_square` gives it.

    Parameters
    ----------
    step : int or (t,) array
        Steps.
    lr : float
        Learning rate.
    curvatures, noises : (d,) array
        Hessian eigenvalues, and the noise of the batch gradient along each eigenvector.
    start : (d,) array, optional
        Coordinates along the eigenvectors; the saddle by default.
    momentum, nesterov
        As in `growth_factor`.

    Returns
    -------
    float or (t,) array
        Square distance.

    Raises
    ------
    ValueError
        If the three arrays differ in length, or for the reasons of `mean_square`.

    Notes
    -----
    Exact; correlations between directions do not enter. The stable directions hold a floor of noise that can
    hide an escape, or look like one: measure the projection on the unstable direction beside it.

    Source: derived.
    """
    curvatures, noises = np.atleast_1d(curvatures), np.atleast_1d(noises)
    start = np.zeros(len(curvatures)) if start is None else np.atleast_1d(start)
    if not curvatures.shape == noises.shape == start.shape or curvatures.ndim != 1:
        raise ValueError(
            f"curvatures {curvatures.shape}, noises {noises.shape}, start {start.shape}: all three must be (d,)"
        )
    step = np.asarray(step)[..., None]
    return mean_square(step, lr, curvatures, noises, start, momentum=momentum, nesterov=nesterov).sum(-1)


def local_growth_rate(step, lr, curvature, noise, start=0.0):
    """Logarithmic slope d ln E x_t^2 / dt at a step.

    2 ln|a| a^{2t} (x0^2 + (lr noise)^2 / (a^2 - 1)) / E x_t^2.

    Parameters
    ----------
    step, lr, curvature, noise, start : float or array
        As in `mean_square`.

    Returns
    -------
    float or array
        Slope per step; `inf` at step 0 from the saddle itself, `nan` if there is also no noise.

    Raises
    ------
    ValueError
        As `mean_square`.

    Notes
    -----
    Exact derivative of the continuous interpolation of `mean_square` without momentum, any sign of curvature.

    Source: derived.
    """
    step, log = nonnegative("step", step), _log_factor(lr, curvature)
    start2, kick2 = real("start", start) ** 2, (lr * nonnegative("noise", noise)) ** 2 / exprel(2 * log)
    # numerator and denominator are both divided by a^2t where it grows: neither can overflow
    decay = np.exp(2 * step * np.minimum(log, 0))
    moment = decay * start2 + kick2 * step * exprel(-2 * step * np.abs(log))
    with np.errstate(divide="ignore", invalid="ignore"):
        return decay * (2 * log * start2 + kick2) / moment


def growth_window(lr, curvature, noise, radius, *, momentum=0.0, nesterov=False):
    """Steps between which E x_t^2 from the saddle is a clean exponential.

    From ceil(2 / ln a), where the linear start has died out (ceil(3.2 / ln z+) with momentum), to the last step with
    a^t s <= radius / 10, before the landscape bends or a stopped chain is missed.

    Parameters
    ----------
    lr, curvature, noise : float
        Learning rate, negative curvature, noise of the batch gradient along the direction.
    radius : float
        Distance at which the quadratic picture or the run ends.
    momentum, nesterov
        As in `growth_factor`.

    Returns
    -------
    (int, int)
        First and last step, both inside.

    Raises
    ------
    ValueError
        If an argument is out of range or the window is empty (noise too strong for this radius).

    Notes
    -----
    A rule for fits, not a theorem: at the first step the local slope is at most 2% above 2 ln a. Momentum needs
    longer where it is strong: the start is then cubic in t rather than linear.

    Source: derived.
    """
    scale = kick_std(lr, curvature, positive("noise", noise), momentum=momentum, nesterov=nesterov)
    log, wait = growth_rate(lr, curvature, momentum=momentum, nesterov=nesterov) / 2, 3.2 if momentum else 2.0
    ratio = float(positive("radius", radius) / scale)
    first, last = int(np.ceil(wait / log)), int(np.floor(np.log(ratio / 10) / log))
    if last <= first:
        raise ValueError(
            f"no clean exponential window: radius/s = {ratio:.3g}, and it must exceed {10 * np.exp(wait):.0f} "
            "by a step or more"
        )
    return first, last


def regime(lr, curvature, noise, radius, *, momentum=0.0, nesterov=False):
    """Reasons to distrust the exit law of the additive saddle for these numbers, in words.

    Parameters
    ----------
    lr, curvature, noise, radius : float
        Learning rate, curvature, noise of the batch gradient along the direction, exit radius.
    momentum, nesterov
        As in `growth_factor`.

    Returns
    -------
    tuple of str
        One caveat each; empty if all is well.

    Raises
    ------
    ValueError
        If `lr` or `radius` is not above zero, `noise` is negative, `momentum` is not in [0, 1) or a number is not
        finite.

    Notes
    -----
    The limits are where the law's error reaches about 0.1% (radius / s = 15, more with momentum) and where a kick of
    non-Gaussian noise is no longer a sum of many (growth by 0.3 a step, which is lr * |curvature| without momentum).

    Source: derived, and checked against the exact chain.
    """
    positive("lr", lr), positive("radius", radius), nonnegative("noise", noise)
    if real("curvature", curvature) >= 0:
        return (f"curvature {curvature:g} is not negative: no exponential escape along this direction",)
    if noise == 0:
        return ("no noise along this direction: a chain on the saddle stays there",)
    how = {"momentum": momentum, "nesterov": nesterov}
    caveats, ratio = [], radius / kick_std(lr, curvature, noise, **how)
    growth = np.expm1(growth_rate(lr, curvature, **how) / 2)
    least = 15 * np.sqrt(law_error(ratio, lr, curvature, **how))
    if ratio < least:
        caveats.append(f"radius/s = {ratio:.3g} is below {least:.3g}: noise alone carries the chain out")
    if growth > 0.3:
        name = "growth per step" if momentum else "lr*|curvature|"
        caveats.append(f"{name} = {growth:.3g} is above 0.3: the law needs Gaussian batch noise")
    return tuple(caveats)
