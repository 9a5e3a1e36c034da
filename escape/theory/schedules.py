"""One direction of a quadratic saddle with additive noise, under learning rates that change from step to step.

x_{t+1} = (1 - lr_t * curvature) x_t - lr_t * noise_t * xi_t. A smaller batch later on is a noise that changes, too.
Time is in steps; lr_t is that of step t, which leads from x_t to x_{t+1}.
"""

import numpy as np
from scipy.special import gammaln, ndtr

from escape.theory._checks import nonnegative, positive, real, unstable
from escape.theory.exits import log_distance_quantile


def _rates(lrs, noise):
    """Learning rates and noises, both (t,)."""
    lrs = positive("lrs", lrs)
    if lrs.ndim != 1 or not len(lrs):
        raise ValueError(f"lrs has shape {lrs.shape}: it must be (t,), one learning rate for each step")
    noise = nonnegative("noise", noise)
    if noise.shape not in ((), lrs.shape):
        raise ValueError(f"noise has shape {noise.shape}: it must be one number, or {lrs.shape} as lrs")
    return lrs, np.broadcast_to(noise, lrs.shape)


def mean_square_schedule(lrs, curvature, noise, start=0.0):
    """Second moment E x_t^2 along one direction, at every step of a schedule.

    E x_{t+1}^2 = (1 - lr_t * curvature)^2 E x_t^2 + (lr_t * noise_t)^2.

    Parameters
    ----------
    lrs : (t,) array
        Learning rates.
    curvature : float
        Signed Hessian eigenvalue.
    noise : float or (t,) array
        Noise of the batch gradient along the direction.
    start : float
        x0, signed distance from the saddle.

    Returns
    -------
    (t + 1,) array
        Square distance at steps 0 .. t; `inf` where it exceeds the floats.

    Raises
    ------
    ValueError
        If a learning rate is not above zero, a noise is negative, shapes differ or a number is not finite.

    Notes
    -----
    Exact for every noise law of mean zero, any sign of curvature.

    Source: derived.
    """
    lrs, noise = _rates(lrs, noise)
    squares, kicks = (1 - lrs * float(real("curvature", curvature))) ** 2, (lrs * noise) ** 2
    moments = [float(real("start", start)) ** 2]
    for square, kick in zip(squares.tolist(), kicks.tolist(), strict=True):
        moments.append(square * moments[-1] + kick)
    return np.array(moments)


def survival_schedule(lrs, curvature, noise, radius, start=0.0):
    """Probability that the chain is still inside, P(tau > t), at every step of a schedule.

    P(|x_t| < radius) of the free chain, x_t ~ N(A_t start, (A_t s_t)^2) with A_t = prod (1 - lr_k * curvature) and
    s_t^2 = sum (lr_k * noise_k / A_{k+1})^2, both over k < t.

    Parameters
    ----------
    lrs : (t,) array
        Learning rates.
    curvature : float
        Negative curvature.
    noise : float or (t,) array
        Noise of the batch gradient along the direction.
    radius, start : float
        Exit radius, and signed distance from the saddle inside it.

    Returns
    -------
    (t + 1,) array
        Probability at steps 0 .. t.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `start` is not inside `radius`.

    Notes
    -----
    Gaussian noise: above the true probability by that of a chain that left and came back, of order (s / radius)^2
    where many steps are small beside s, and far less otherwise. Other noise: if besides no single kick makes up much
    of s_t, as under warm-up or decay from a large learning rate it may.

    Source: derived.
    """
    lrs, noise = _rates(lrs, noise)
    if abs(float(real("start", start))) >= float(positive("radius", radius)):
        raise ValueError(f"start is {start!r}: it must lie inside the radius {radius!r}")
    log = np.cumsum(np.log1p(-lrs * float(unstable(curvature))))
    kick = np.sqrt(np.cumsum((lrs * noise * np.exp(-log)) ** 2))
    # without noise so far the law is a point, which any tiny spread decides rightly
    kick = np.maximum(kick, 1e-150)
    offset, reach = abs(float(start)) / kick, np.log(radius) - log - np.log(kick)
    far = np.exp(reach)
    # late on the difference of the two would be one of rounding
    tail = np.exp(reach - np.minimum(offset, 1e3) ** 2 / 2) * np.sqrt(2 / np.pi)
    return np.concatenate([[1.0], np.where(far < 1e-5, tail, ndtr(far - offset) - ndtr(-far - offset))])


def mean_exit_step_schedule(lrs, curvature, noise, radius, start=0.0):
    """Mean of the exit step, or of the schedule's length T where that comes first, E min(tau, T).

    sum of P(tau > t) over t < T.

    Parameters
    ----------
    lrs, curvature, noise, radius, start
        As in `survival_schedule`.

    Returns
    -------
    float
        Steps.

    Raises
    ------
    ValueError
        As `survival_schedule`.

    Notes
    -----
    Under lr_t = c / (t + t0) with c |curvature| <= 1 the mean exit step itself is infinite: this one grows with T.

    Source: derived.
    """
    return float(survival_schedule(lrs, curvature, noise, radius, start)[:-1].sum())


def exit_quantile_schedule(q, lrs, curvature, noise, radius, start=0.0):
    """First step by which a fraction q of the chains is outside.

    First t with P(tau > t) <= 1 - q.

    Parameters
    ----------
    q : float or array
        Fraction, strictly between 0 and 1.
    lrs, curvature, noise, radius, start
        As in `survival_schedule`.

    Returns
    -------
    float or array
        Whole steps, `inf` where the schedule ends before.

    Raises
    ------
    ValueError
        If `q` is not inside (0, 1), or as `survival_schedule`.

    Notes
    -----
    Validity as for `survival_schedule`.

    Source: derived.
    """
    q = real("q", q)
    if (q <= 0).any() or (q >= 1).any():
        raise ValueError(f"q is {q!r}: it must lie strictly between 0 and 1")
    outside = 1 - survival_schedule(lrs, curvature, noise, radius, start)
    step = np.searchsorted(outside, q).astype(float)
    return np.where(step < len(outside), step, np.inf)[()]


def _decay(scale, offset, curvature):
    """mu = scale * |curvature| and the offset t0, checked."""
    return float(-positive("scale", scale) * unstable(curvature)), float(positive("offset", offset))


def decay_growth_exponent(scale, curvature):
    """Exponent of the growth of E x_t^2 under lr_t = scale / (t + offset).

    E x_t^2 ~ K t^(2 mu), mu = scale * |curvature|: a power of t, not an exponential.

    Parameters
    ----------
    scale : float or array
        c, learning rate times steps.
    curvature : float or array
        Negative curvature.

    Returns
    -------
    float or array
        2 mu, whatever the offset.

    Raises
    ------
    ValueError
        If `scale` is not above zero or `curvature` is not negative.

    Notes
    -----
    For t well above the offset. An exit takes (radius / s)^(1 / mu) steps in order of magnitude, see
    `decay_exit_quantile`, and P(tau > t) falls as t^-mu: for mu <= 1 the mean exit step is infinite.

    Source: derived.
    """
    return -2 * positive("scale", scale) * unstable(curvature)


def decay_kick_std(scale, offset, curvature, noise):
    """Standard deviation s of the effective initial kick Z = lim x_t / A_t under lr_t = scale / (t + offset).

    s^2 = (scale * noise)^2 [G(t0 + mu) / G(t0)]^2 sum_t [G(t0 + t) / G(t0 + t + mu + 1)]^2 over t >= 0, G the gamma
    function, t0 = offset and mu = scale * |curvature|.

    Parameters
    ----------
    scale, offset : float
        c and t0, above zero; the first learning rate is c / t0.
    curvature : float
        Negative curvature.
    noise : float
        Noise of the batch gradient along the direction.

    Returns
    -------
    float
        s, a distance.

    Raises
    ------
    ValueError
        If `scale` or `offset` is not above zero, `curvature` is not negative or `noise` is negative.

    Notes
    -----
    Exact for every noise law, to some 12 digits. Z is Gaussian for Gaussian noise; for other noise if the offset is
    large, so that no single kick counts for much.

    Source: derived.
    """
    mu, offset = _decay(scale, offset, curvature)
    last = 20_000 + int(10 * (offset + mu))
    step = offset + np.arange(last)
    total = np.sum(np.exp(-2 * np.cumsum(np.log1p(mu / step))) / step**2)
    # G(x) / G(x + mu + 1) = (x + mu / 2)^-(mu + 1) but for terms that fall as its square: the rest is an integral
    rest = (offset + last - 0.5 + mu / 2) ** (-1 - 2 * mu) / (1 + 2 * mu)
    rest *= np.exp(2 * (gammaln(offset + mu) - gammaln(offset)))
    return float(scale * nonnegative("noise", noise) * np.sqrt(total + rest))


def decay_exit_quantile(q, scale, offset, curvature, noise, radius, start=0.0):
    """Step by which a fraction q of the chains is outside under lr_t = scale / (t + offset).

    t = [G(t0 + mu) / G(t0) * radius / z]^(1 / mu) - t0 - (mu - 1) / 2 with z the (1 - q) quantile of |Z|,
    Z ~ N(start, s^2); z = 0.67449 s for the median from the saddle.

    Parameters
    ----------
    q : float or array
        Fraction, strictly between 0 and 1.
    scale, offset, curvature, noise : float
        As in `decay_kick_std`.
    radius, start : float
        Exit radius, and signed distance from the saddle inside it.

    Returns
    -------
    float or array
        Steps, continuous; the quantile of the whole-numbered exit step is its ceiling.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `start` is not inside `radius`.

    Notes
    -----
    The step at which A_t = G(t0 + t + mu) G(t0) / (G(t0 + mu) G(t0 + t)) reaches radius / z, but for an error of order
    mu^2 / t. Gaussian noise; radius >> s, and well above the noise of a step all along.

    Source: derived.
    """
    mu, offset = _decay(scale, offset, curvature)
    kick = decay_kick_std(scale, offset, curvature, positive("noise", noise))
    if abs(float(real("start", start))) >= float(positive("radius", radius)):
        raise ValueError(f"start is {start!r}: it must lie inside the radius {radius!r}")
    reach = np.log(radius / kick) - log_distance_quantile(q, abs(float(start)) / kick, 1)
    step = np.exp((gammaln(offset + mu) - gammaln(offset) + reach) / mu)
    return (step - offset - (mu - 1) / 2)[()]
