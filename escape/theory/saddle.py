"""Second moments of SGD along the directions of a quadratic saddle whose gradient noise is additive.

One direction is x' = a x + lr * noise * xi with a = 1 - lr * curvature and xi of mean 0, variance 1.
`curvature` is the signed Hessian eigenvalue (negative where the saddle lets go) and `noise` the standard
deviation of the batch gradient along the direction. Time is in steps.
"""

import numpy as np
from scipy.special import exprel

from escape.theory._checks import nonnegative, positive, real, unstable


def _log_factor(lr, curvature):
    """Logarithm ln |a|, accurate for small lr * curvature; a = 0 is taken as e^-1000, whose square is 0 in floats."""
    product = positive("lr", lr) * real("curvature", curvature)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(product < 1, np.log1p(-product), np.log(np.abs(1 - product)))
    return np.maximum(log, -1e3)


def growth_factor(lr, curvature):
    """Factor of the mean per step, a = 1 - lr * curvature.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    curvature : float or array
        Signed Hessian eigenvalue; above 1 results where it is negative.

    Returns
    -------
    float or array
        a, per step.

    Raises
    ------
    ValueError
        If `lr` is not above zero or `curvature` is not finite.

    Notes
    -----
    Exact on a quadratic, for batch GD and for the mean of mini-batch SGD.

    Source: derived.
    """
    return 1.0 - positive("lr", lr) * real("curvature", curvature)


def kick_std(lr, curvature, noise):
    """Standard deviation s of the effective initial kick Z = lim a^-t x_t.

    s = lr * noise / sqrt(a^2 - 1): all later noise, pulled back to step 0.

    Parameters
    ----------
    lr, curvature, noise : float or array
        Learning rate, negative curvature, noise of the batch gradient along the direction.

    Returns
    -------
    float or array
        s, a distance.

    Raises
    ------
    ValueError
        If `lr` is not above zero, `curvature` is not negative or `noise` is negative.

    Notes
    -----
    The variance is exact for every noise law. Z is Gaussian for Gaussian noise, and for any other in the
    limit lr * |curvature| -> 0, where it sums many small kicks.

    Source: derived; the idea is that of Kifer (1981), Israel J. Math. 40, 74.
    """
    product = -positive("lr", lr) * unstable(curvature)
    return lr * nonnegative("noise", noise) / np.sqrt(product * (2 + product))


def mean_square(step, lr, curvature, noise, start=0.0):
    """Second moment E x_t^2 along one direction.

    E x_t^2 = a^{2t} x0^2 + (lr noise)^2 (a^{2t} - 1) / (a^2 - 1); the fraction is t at a^2 = 1.

    Parameters
    ----------
    step : int or array
        t, at least 0.
    lr, curvature, noise : float or array
        Learning rate, curvature of any sign, noise of the batch gradient along the direction.
    start : float or array
        x0, signed distance from the saddle.

    Returns
    -------
    float or array
        Square distance; broadcasts the arguments; `inf` where it exceeds the floats.

    Raises
    ------
    ValueError
        If `step` or `noise` is negative, `lr` is not above zero, or a number is not finite.

    Notes
    -----
    Exact for every noise law of mean zero and constant variance, stable and unstable alike.

    Source: derived.
    """
    step, log = nonnegative("step", step), _log_factor(lr, curvature)
    # (a^2t - 1)/(a^2 - 1) through (e^y - 1)/y has no special case at a = 1 and loses no digits near it
    with np.errstate(over="ignore"):
        kicks = step * exprel(2 * step * log) / exprel(2 * log)
        return np.exp(2 * step * log) * real("start", start) ** 2 + (lr * nonnegative("noise", noise)) ** 2 * kicks


def total_mean_square(step, lr, curvatures, noises, start=None):
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
    return mean_square(np.asarray(step)[..., None], lr, curvatures, noises, start).sum(-1)


def growth_rate(lr, curvature):
    """Exponential growth rate of E x_t^2, 2 ln a per step.

    Parameters
    ----------
    lr, curvature : float or array
        Learning rate and negative curvature.

    Returns
    -------
    float or array
        Rate per step.

    Raises
    ------
    ValueError
        If `lr` is not above zero or `curvature` is not negative.

    Notes
    -----
    The limit of `local_growth_rate` at late steps; from the saddle itself the first 1 / (2 ln a) steps grow
    linearly and have no such rate.

    Source: derived.
    """
    return 2 * np.log1p(-positive("lr", lr) * unstable(curvature))


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
    Exact derivative of the continuous interpolation of `mean_square`, any sign of curvature.

    Source: derived.
    """
    step, log = nonnegative("step", step), _log_factor(lr, curvature)
    start2, kick2 = real("start", start) ** 2, (lr * nonnegative("noise", noise)) ** 2 / exprel(2 * log)
    # numerator and denominator are both divided by a^2t where it grows: neither can overflow
    decay = np.exp(2 * step * np.minimum(log, 0))
    moment = decay * start2 + kick2 * step * exprel(-2 * step * np.abs(log))
    with np.errstate(divide="ignore", invalid="ignore"):
        return decay * (2 * log * start2 + kick2) / moment


def growth_window(lr, curvature, noise, radius):
    """Steps between which E x_t^2 from the saddle is a clean exponential.

    From ceil(2 / ln a), where the linear start has died out, to the last step with a^t s <= radius / 10,
    before the landscape bends or a stopped chain is missed.

    Parameters
    ----------
    lr, curvature, noise : float
        Learning rate, negative curvature, noise of the batch gradient along the direction.
    radius : float
        Distance at which the quadratic picture or the run ends.

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
    A rule for fits, not a theorem: at the first step the local slope is 2% above 2 ln a.

    Source: derived.
    """
    scale, log = kick_std(lr, curvature, positive("noise", noise)), np.log1p(-lr * curvature)
    ratio = float(positive("radius", radius) / scale)
    first, last = int(np.ceil(2 / log)), int(np.floor(np.log(ratio / 10) / log))
    if last <= first:
        raise ValueError(
            f"no clean exponential window: radius/s = {ratio:.3g}, and it must exceed 10 e^2 = 74 by a step or more"
        )
    return first, last


def regime(lr, curvature, noise, radius):
    """Reasons to distrust the exit law of the additive saddle for these numbers, in words.

    Parameters
    ----------
    lr, curvature, noise, radius : float
        Learning rate, curvature, noise of the batch gradient along the direction, exit radius.

    Returns
    -------
    tuple of str
        One caveat each; empty if all is well.

    Raises
    ------
    ValueError
        If `lr` or `radius` is not above zero, `noise` is negative, or a number is not finite.

    Notes
    -----
    The limits are where the law's error reaches about 0.1% (radius / s = 15) and where a kick of non-Gaussian
    noise is no longer a sum of many (lr * |curvature| = 0.3).

    Source: derived, and checked against the exact chain.
    """
    positive("lr", lr), positive("radius", radius), nonnegative("noise", noise)
    if real("curvature", curvature) >= 0:
        return (f"curvature {curvature:g} is not negative: no exponential escape along this direction",)
    if noise == 0:
        return ("no noise along this direction: a chain on the saddle stays there",)
    caveats, ratio = [], radius / kick_std(lr, curvature, noise)
    if ratio < 15:
        caveats.append(f"radius/s = {ratio:.3g} is below 15: noise alone carries the chain out")
    if -lr * curvature > 0.3:
        caveats.append(f"lr*|curvature| = {-lr * curvature:.3g} is above 0.3: the law needs Gaussian batch noise")
    return tuple(caveats)
