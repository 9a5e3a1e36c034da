"""Exit law of SGD at a quadratic saddle with additive noise.

After a few steps x_t = a^t Z with Z ~ N(start, s^2), so the first step with |x| >= radius is
tau = ceil(ln(radius / |Z|) / ln a): batch GD from a random start. Momentum changes nothing but the three numbers
that enter: a is its z+, s its kick, and of a start at rest the share `start_projection` counts. Valid for radius >> s
(see `regime`); time is in steps and tau lives on the whole numbers.
"""

import numpy as np
from scipy import special, stats

from escape.theory._checks import nonnegative, positive, real
from escape.theory.momentum import growth_rate, kick_std, start_projection


def _scaled(lr, curvature, noise, radius, start, directions, **momentum):
    """Logarithm ln a, radius / s and |w start| / s, all arguments checked."""
    scale = kick_std(lr, curvature, positive("noise", noise), **momentum)
    positive("directions", directions)
    if (np.abs(real("start", start)) >= positive("radius", radius)).any():
        raise ValueError(f"start is {start!r}: it must lie inside the radius {radius!r}")
    share = start_projection(lr, curvature, **momentum)
    return growth_rate(lr, curvature, **momentum) / 2, radius / scale, share * np.abs(start) / scale


def inside_probability(reach, offset, directions):
    """P(|offset e + N| < e^reach) for N standard Gaussian in k directions, e any unit vector."""
    square = np.exp(2 * reach)
    centred = special.gammainc(directions / 2, square / 2)
    body = np.where(offset == 0, centred, special.chndtr(square, directions, offset**2))
    # a ball this small is its volume times the density at its centre; the square itself may underflow
    tail = directions * (reach - np.log(2) / 2) - special.gammaln(directions / 2 + 1) - offset**2 / 2
    return np.where(square * (1 + offset**2) < 1e-17, np.exp(tail), body)[()]


def log_distance_quantile(q, offset, directions):
    """Logarithm of the distance |offset e + N| that is exceeded with probability q, checked to be inside (0, 1)."""
    q = real("q", q)
    if (q <= 0).any() or (q >= 1).any():
        raise ValueError(f"q is {q!r}: it must lie strictly between 0 and 1")
    centred = 2 * special.gammainccinv(directions / 2, q)
    square = np.where(offset == 0, centred, stats.ncx2.isf(q, directions, offset**2))
    return np.log(square) / 2


def survival(step, lr, curvature, noise, radius, start=0.0, directions=1, *, momentum=0.0, nesterov=False):
    """Probability that the chain is still inside after a step, P(tau > t).

    P(|Z| < radius a^-t) with Z ~ N(start, s^2) in `directions` equal directions: a (noncentral) chi law.

    Parameters
    ----------
    step : int or array
        t, at least 0.
    lr, curvature, noise, radius : float or array
        Learning rate, negative curvature, noise along each direction, exit radius.
    start : float or array
        Signed distance from the saddle (any direction if there are several).
    directions : int
        k unstable directions of the same curvature with isotropic noise; the exit is from a ball.
    momentum, nesterov
        As in `growth_factor`; the start is at rest.

    Returns
    -------
    float or array
        Probability, with full relative accuracy in the late tail.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `start` is not inside `radius`.

    Notes
    -----
    Gaussian noise, any `lr`: exact but for an error below (s / radius)^2, as the noise still to come at the exit has
    mean zero. With momentum that error is larger by 1 + 2 (1 - z+^-2) (b + b^2 + .. + b^t), t the step of exit and b as
    in `growth_factor`. Other noise: in the limit lr * |curvature| -> 0, with momentum z+ -> 1.

    Source: law of log|N(0,1)|, Day (1995), Stochastic Process. Appl. 60, 287; lattice form derived.
    """
    how = {"momentum": momentum, "nesterov": nesterov}
    log, ratio, offset = _scaled(lr, curvature, noise, radius, start, directions, **how)
    return inside_probability(np.log(ratio) - nonnegative("step", step) * log, offset, directions)


def _mean_log_square(offset, directions):
    """E ln |offset e + N|^2 for N standard Gaussian in k directions: a Poisson mixture of digammas."""
    half = offset**2 / 2
    if half > 1e6:
        # f(m) + f''/2 and so on for f = ln|x|^2, whose Laplacian is 2 (k - 2)/|x|^2
        return np.log(2 * half) + (directions - 2) / (2 * half)
    spread = 12 * np.sqrt(half) + 40
    count = np.arange(max(0, int(half - spread)), int(half + spread) + 1)
    weight = stats.poisson.pmf(count, half)
    return np.log(2) + np.dot(weight, special.digamma(directions / 2 + count)) / weight.sum()


def mean_exit_step(lr, curvature, noise, radius, start=0.0, directions=1, *, momentum=0.0, nesterov=False):
    """Mean first step outside the radius, E tau.

    [ln(radius / s) - (psi(k/2) + ln 2) / 2] / ln a + 1/2 from the saddle; for k = 1 the bracket is
    ln(radius / s) + (gamma_E + ln 2) / 2. In general [ln radius - E ln|Z|] / ln a + 1/2.

    Parameters
    ----------
    lr, curvature, noise, radius, start : float or array
        As in `survival`.
    directions : int
        k equal unstable directions.
    momentum, nesterov
        As in `survival`.

    Returns
    -------
    float or array
        Steps.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `start` is not inside `radius`.

    Notes
    -----
    The 1/2 is the mean of rounding up to a whole step. It needs ln|Z| spread over more than ln a: with
    |start| / s far above 1 / ln a the exit is deterministic, and `gd_exit_step` is right instead.

    Source: derived; the leading term is Kifer (1981), Israel J. Math. 40, 74.
    """
    how = {"momentum": momentum, "nesterov": nesterov}
    log, ratio, offset = _scaled(lr, curvature, noise, radius, start, directions, **how)
    mean_log_square = np.vectorize(_mean_log_square, otypes=[float])(offset, directions)
    return ((np.log(ratio) - mean_log_square / 2) / log + 0.5)[()]


def exit_step_variance(lr, curvature, directions=1, *, momentum=0.0, nesterov=False):
    """Variance of the first step outside, from the saddle itself.

    psi'(k/2) / (4 ln^2 a) + 1/12, which is pi^2 / (8 ln^2 a) + 1/12 for one direction.

    Parameters
    ----------
    lr, curvature : float or array
        Learning rate and negative curvature.
    directions : int
        k equal unstable directions.
    momentum, nesterov
        As in `survival`.

    Returns
    -------
    float or array
        Square steps.

    Raises
    ------
    ValueError
        If `lr` or `directions` is not above zero, `curvature` is not negative or `momentum` is not in [0, 1).

    Notes
    -----
    Depends on neither noise nor radius as long as radius >> s.

    Source: derived.
    """
    log = growth_rate(lr, curvature, momentum=momentum, nesterov=nesterov) / 2
    return special.polygamma(1, positive("directions", directions) / 2) / (4 * log**2) + 1 / 12


def exit_quantile(q, lr, curvature, noise, radius, start=0.0, directions=1, *, momentum=0.0, nesterov=False):
    """Step by which a fraction q of the chains is outside, before rounding up to the lattice.

    ln(radius / z) / ln a with z the (1 - q) quantile of |Z|; the median from the saddle is
    ln(radius / (0.67449 s)) / ln a.

    Parameters
    ----------
    q : float or array
        Fraction, strictly between 0 and 1.
    lr, curvature, noise, radius, start, directions, momentum, nesterov
        As in `survival`.

    Returns
    -------
    float or array
        Steps, continuous: `survival` at this time is 1 - q. The quantile of the whole-numbered exit step is
        its ceiling. Below 0 where the law puts more than q outside at once.

    Raises
    ------
    ValueError
        If `q` is not inside (0, 1), or for the reasons of `survival`.

    Notes
    -----
    Validity as for `survival`.

    Source: derived.
    """
    how = {"momentum": momentum, "nesterov": nesterov}
    log, ratio, offset = _scaled(lr, curvature, noise, radius, start, directions, **how)
    return ((np.log(ratio) - log_distance_quantile(q, offset, directions)) / log)[()]


def exit_tail_rate(lr, curvature, *, momentum=0.0, nesterov=False):
    """Rate of the exponential tail of the exit law, P(tau > t) ~ exp(-t ln a).

    ln a per step for one unstable direction; k equal directions have k ln a.

    Parameters
    ----------
    lr, curvature : float or array
        Learning rate and negative curvature.
    momentum, nesterov
        As in `survival`.

    Returns
    -------
    float or array
        Rate per step.

    Raises
    ------
    ValueError
        If `lr` is not above zero, `curvature` is not negative or `momentum` is not in [0, 1).

    Notes
    -----
    The amplitude from the saddle is sqrt(2 / pi) radius / s. Only the tail is exponential, the law is not.

    Source: derived.
    """
    return growth_rate(lr, curvature, momentum=momentum, nesterov=nesterov) / 2


def exit_side_probability(lr, curvature, noise, start, *, momentum=0.0, nesterov=False):
    """Probability of leaving through the positive side, Phi(start / s); with momentum Phi(w start / s).

    Parameters
    ----------
    lr, curvature, noise : float or array
        Learning rate, negative curvature, noise of the batch gradient along the direction.
    start : float or array
        Signed distance from the saddle.
    momentum, nesterov
        As in `survival`.

    Returns
    -------
    float or array
        Probability.

    Raises
    ------
    ValueError
        If `lr` or `noise` is not above zero, `curvature` is not negative, `momentum` is not in [0, 1) or `start` is not
        finite.

    Notes
    -----
    Exact for Gaussian noise in the limit radius >> s.

    Source: derived.
    """
    how = {"momentum": momentum, "nesterov": nesterov}
    start = real("start", start) * start_projection(lr, curvature, **how)
    return special.ndtr(start / kick_std(lr, curvature, positive("noise", noise), **how))
