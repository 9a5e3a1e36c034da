"""Which of several escape directions a chain takes, and what the chains look like that have taken none yet.

Additive noise on a quadratic; the picture is that of `exits`, x_t = a^t Z with a Gaussian Z. Time is in steps.
"""

import numpy as np
from scipy.special import gammaln

from escape.theory._checks import positive, real
from escape.theory.exits import inside_probability
from escape.theory.momentum import growth_rate, kick_std, start_projection
from escape.theory.saddle import mean_square

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(120)


def _directions(lr, curvatures, noises, radii, start, how):
    """ln a, ln(radius / s) and |w start| / s of every direction, each (k,)."""
    curvatures, noises, radii = real("curvatures", curvatures), positive("noises", noises), positive("radii", radii)
    start = np.zeros(curvatures.shape) if start is None else real("start", start)
    if not curvatures.shape == noises.shape == radii.shape == start.shape or curvatures.ndim != 1:
        raise ValueError(
            f"curvatures {curvatures.shape}, noises {noises.shape}, radii {radii.shape}, start {start.shape}: "
            "all must be (k,), one entry for each escape direction"
        )
    if (np.abs(start) >= radii).any():
        raise ValueError(f"start is {start!r}: it must lie inside the radii {radii!r}")
    scale = kick_std(lr, curvatures, noises, **how)
    share = start_projection(lr, curvatures, **how)
    return growth_rate(lr, curvatures, **how) / 2, np.log(radii / scale), share * np.abs(start) / scale


def box_exit_probabilities(lr, curvatures, noises, radii, start=None, *, momentum=0.0, nesterov=False):
    """Probability of leaving a box through each of several escape directions.

    P_i = -int S_i'(t) prod_{j != i} S_j(t) dt, S_j(t) = P(|Z_j| < radius_j a_j^-t) in continuous time.

    Parameters
    ----------
    lr : float
        Learning rate.
    curvatures, noises, radii : (k,) array
        Negative curvature, noise of the batch gradient and half the width of the box along each direction.
    start : (k,) array, optional
        Signed distances from the saddle, inside the box; the saddle by default.
    momentum, nesterov
        As in `growth_factor`; the start is at rest.

    Returns
    -------
    (k,) array
        Probabilities, which sum to 1; good to 1e-12 absolutely.

    Raises
    ------
    ValueError
        If an argument is out of its range or the arrays differ in length.

    Notes
    -----
    Radii well above the kicks, Gaussian noise that is uncorrelated between the directions. A chain found outside along
    several directions at once left by the one along which it is out for longest, of largest ln(|x_i| / radius_i) / ln
    a_i. Opposite faces of one direction share its probability evenly from the saddle, and as `exit_side_probability`
    from elsewhere.

    Source: derived.
    """
    how = {"momentum": momentum, "nesterov": nesterov}
    log, reach, offset = _directions(lr, curvatures, noises, radii, start, how)
    # the trapezoid rule on analytic, decaying integrands: error e^-49 at this spacing
    spacing = 0.1 / (log.max() * (1 + offset.max()))
    begin, end = ((reach - np.log(offset + 9)) / log).min(), ((reach + np.log(1e18)) / log).min()
    time = begin + spacing * np.arange(int((end - begin) / spacing) + 2)
    level = reach[:, None] - log[:, None] * time
    inside = inside_probability(level, offset[:, None], 1)
    distance = np.exp(level)
    density = np.exp(-((distance - offset[:, None]) ** 2) / 2) + np.exp(-((distance + offset[:, None]) ** 2) / 2)
    leaving = log[:, None] * distance * density / np.sqrt(2 * np.pi)
    others = [np.prod(np.delete(inside, i, 0), 0) for i in range(len(log))]
    return spacing * np.sum(leaving * others, 1)


def weak_exit_probability(lr, curvatures, noises, radii, *, momentum=0.0, nesterov=False):
    """Probability of leaving a box through the weaker of two escape directions, to leading order in the noise.

    2^((q + 1)/2) G((q + 1)/2) / pi * (radius_1 / s_1) (s_2 / radius_2)^q with q = ln a_1 / ln a_2, G the gamma
    function: it falls as noise^(q - 1), a power and not an exponential of 1 / noise.

    Parameters
    ----------
    lr : float
        Learning rate.
    curvatures, noises, radii : (2,) array
        Of the direction of faster growth first, then of the weaker one.
    momentum, nesterov
        As in `growth_factor`.

    Returns
    -------
    float
        Probability; above 1 where it makes no sense as one.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the first direction does not grow faster.

    Notes
    -----
    From the saddle; the result must be well below 1, and q not far above 2. Otherwise `box_exit_probabilities`.

    Source: exponent as in Bakhtin and Chen (2019), arXiv 1911.06437; constant derived.
    """
    how = {"momentum": momentum, "nesterov": nesterov}
    log, reach, _ = _directions(lr, curvatures, noises, radii, None, how)
    if len(log) != 2 or log[0] <= log[1]:
        raise ValueError(f"curvatures is {curvatures!r}: it must be two, the more negative first")
    q = log[0] / log[1]
    constant = (q + 1) / 2 * np.log(2) + gammaln((q + 1) / 2) - np.log(np.pi)
    return float(np.exp(constant + reach[0] - q * reach[1]))


def survivor_mean_square(step, lr, curvature, noise, radius, start=0.0, *, momentum=0.0, nesterov=False):
    """Second moment of the chains that have not left yet, E[x_t^2 | tau > t].

    The second moment of N(m, v) restricted to (-radius, radius), m and v the mean and variance of the free x_t;
    radius^2 / 3 at late steps, whatever the growth rate.

    Parameters
    ----------
    step : int or array
        t, at least 0.
    lr, curvature, noise, radius, start : float or array
        Learning rate, negative curvature, noise of the batch gradient along the direction, exit radius, and signed
        distance from the saddle inside it.
    momentum, nesterov
        As in `growth_factor`; the start is at rest.

    Returns
    -------
    float or array
        Square distance; `start` squared where there is no noise yet, at step 0.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `start` is not inside `radius`.

    Notes
    -----
    Gaussian noise, radius >> s. An average over chains that are still inside stops growing: a fit of a growth rate to
    it measures the radius, not the saddle.

    Source: derived; the limit is the uniform quasi-stationary law.
    """
    how = {"momentum": momentum, "nesterov": nesterov}
    kick_std(lr, curvature, positive("noise", noise), **how)
    if (np.abs(real("start", start)) >= positive("radius", radius)).any():
        raise ValueError(f"start is {start!r}: it must lie inside the radius {radius!r}")
    variance = mean_square(step, lr, curvature, noise, **how)
    centre = np.sqrt(mean_square(step, lr, curvature, 0.0, start, **how))
    variance, centre, radius = np.broadcast_arrays(variance, centre, np.asarray(radius, dtype=float))
    # once both overflow the law inside is flat, but for a tilt that is as small as radius / s
    late = ~(np.isfinite(variance) & np.isfinite(centre)) | (variance > 1e30 * radius**2)
    variance, centre = np.where(late, 1.0, variance), np.where(late, 0.0, centre)
    nearest = np.minimum(centre, radius)
    # beyond this width the density has fallen by e^-40 from its largest value inside
    outside = centre - nearest
    width = 80 * variance / (outside + np.sqrt(outside**2 + 80 * variance) + (variance == 0))
    low, high = np.maximum(nearest - width, -radius), np.minimum(nearest + width, radius)
    x = (low + high)[..., None] / 2 + (high - low)[..., None] / 2 * _NODES
    spread = np.where(variance > 0, variance, 1.0)[..., None]
    weight = _WEIGHTS * np.exp(((nearest - centre)[..., None] ** 2 - (x - centre[..., None]) ** 2) / (2 * spread))
    return np.where(late, radius**2 / 3, (weight * x**2).sum(-1) / weight.sum(-1))[()]
