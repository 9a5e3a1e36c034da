"""Escape from a quadratic saddle by alpha-stable noise: the kick of the saddle is stable too. Time is in steps.

One direction is x' = a x + lr * scale * S with a = 1 - lr * curvature > 1 and E exp(i t S) = exp(-|t|^alpha). As
a^-t x_t tends to a stable variable Z, the first step with |x| >= radius is about ceil(ln(radius / |Z|) / ln a).
"""

import numpy as np
from scipy import special, stats

from escape.theory._checks import nonnegative, positive, unstable

_NEAR = 0.1  # argument below which the stable law is integrated here, to all digits of a small probability
_FAR = 100.0  # argument above which its tail is summed: `scipy.stats` returns one far out
_LAST = 40.0  # exponent beyond which exp(-t^alpha) does not count


def _alpha(alpha):
    """Stability index as an array, in (0, 2]."""
    array = positive("alpha", alpha)
    if (array > 2).any():
        raise ValueError(f"alpha is {alpha!r}: in (0, 2]")
    return array


def _log_growth(lr, curvature):
    return np.log1p(-positive("lr", lr) * unstable(curvature))


def stable_kick_scale(lr, curvature, alpha, scale):
    """Scale of the effective initial kick of a saddle under symmetric stable noise.

    Z = lim a^-t x_t = lr scale sum_t a^-t S_t is stable of the same index, with s = lr scale / (a^alpha - 1)^(1/alpha).

    Parameters
    ----------
    lr, curvature : float or array
        Learning rate and negative curvature.
    alpha : float or array
        Stability index, in (0, 2]; E exp(i t S) = exp(-|t|^alpha).
    scale : float or array
        Scale of the gradient noise along the direction.

    Returns
    -------
    float or array
        s, a distance: E exp(i t Z) = exp(-|s t|^alpha). At alpha = 2 the variance is 2 s^2.

    Raises
    ------
    ValueError
        If `lr` or `scale` is not above zero, `curvature` is not negative or `alpha` is outside (0, 2].

    Notes
    -----
    Exact: scales of independent stable variables add as alpha-th powers.

    Source: derived; Samorodnitsky and Taqqu (1994), Stable Non-Gaussian Random Processes, property 1.2.1.
    """
    alpha, log = _alpha(alpha), _log_growth(lr, curvature)
    return (lr * positive("scale", scale) / np.expm1(alpha * log) ** (1 / alpha))[()]


def stable_saddle_exit_step(lr, curvature, alpha, scale, radius, directions=1):
    """Mean first step outside the radius from a saddle under isotropic stable noise, E tau.

    [ln(radius / s) - gamma_E (1/alpha - 1) - (psi(k/2) - psi(1/2)) / 2] / ln a + 1/2, s of `stable_kick_scale`.

    Parameters
    ----------
    lr, curvature, alpha, scale
        As in `stable_kick_scale`.
    radius : float or array
        Exit radius.
    directions : int
        k equal unstable directions; the exit is from a ball.

    Returns
    -------
    float or array
        Steps.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Notes
    -----
    Regime radius >> s: the noise still to come at the exit turns the law by a relative (s / radius)^alpha or so. At
    alpha = 2 it is `mean_exit_step` of noise sqrt(2) scale. E ln|S| = gamma_E (1/alpha - 1) for one direction, and an
    isotropic stable vector is a Gaussian one times the root of a positive stable variable.

    Source: derived; E ln|S| as in Zolotarev (1986), One-dimensional Stable Distributions, section 3.6.
    """
    kick, log = stable_kick_scale(lr, curvature, alpha, scale), _log_growth(lr, curvature)
    half = positive("directions", directions) / 2
    log_distance = np.euler_gamma * (1 / _alpha(alpha) - 1) + (special.digamma(half) - special.digamma(0.5)) / 2
    return ((np.log(positive("radius", radius) / kick) - log_distance) / log + 0.5)[()]


def stable_saddle_exit_variance(lr, curvature, alpha, directions=1):
    """Variance of the first step outside, from a saddle under isotropic stable noise.

    [pi^2 / (6 alpha^2) - pi^2 / 24 + psi'(k/2) / 4] / ln^2 a + 1/12; for k = 1 the bracket is
    pi^2 (1 / (6 alpha^2) + 1 / 12).

    Parameters
    ----------
    lr, curvature, alpha, directions
        As in `stable_saddle_exit_step`.

    Returns
    -------
    float or array
        Square steps; depends on neither scale nor radius as long as radius >> s. The law has all moments, whatever the
        tail of the noise.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Notes
    -----
    Regime of `stable_saddle_exit_step`; at alpha = 2 it is `exit_step_variance`.

    Source: derived; Var ln|S| as in Zolotarev (1986), section 3.6.
    """
    half = positive("directions", directions) / 2
    spread = np.pi**2 / (6 * _alpha(alpha) ** 2) - np.pi**2 / 24 + special.polygamma(1, half) / 4
    return (spread / _log_growth(lr, curvature) ** 2 + 1 / 12)[()]


def stable_saddle_survival(step, lr, curvature, alpha, scale, radius):
    """Probability that a chain from a saddle is still inside after a step, P(tau > t), under symmetric stable noise.

    P(|S| < radius a^-t / s), S symmetric stable of scale one; ~ (2 / pi) Gamma(1 + 1/alpha) (radius / s) a^-t late.

    Parameters
    ----------
    step : int or array
        t, at least 0.
    lr, curvature, alpha, scale, radius
        As in `stable_saddle_exit_step`, one direction.

    Returns
    -------
    float or array
        Probability.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Notes
    -----
    Regime of `stable_saddle_exit_step`.

    Source: derived; the law of S by `scipy.stats.levy_stable`, after Nolan (1997), Stochastic Models 13, 759, and where
    that is small by the representation of Chambers, Mallows and Stuck (1976), J. Amer. Statist. Assoc. 71, 340.
    """
    kick, log = stable_kick_scale(lr, curvature, alpha, scale), _log_growth(lr, curvature)
    reach = positive("radius", radius) / kick * np.exp(-nonnegative("step", step) * log)
    return np.vectorize(_inside, otypes=[float])(reach, _alpha(alpha))[()]


def _inside(reach, alpha):
    """P(|S| < reach) for one number, with full relative accuracy where it is small."""
    if reach >= _FAR:
        # the power series of the tail, convergent below alpha = 1 and asymptotic above
        k = np.arange(1, 61 if alpha < 1 else 9)
        size = np.exp(special.gammaln(alpha * k) - special.gammaln(k + 1) - alpha * k * np.log(reach))
        return float(1 + 2 / np.pi * ((-1.0) ** k * size * np.sin(np.pi * alpha * k / 2)).sum())
    if reach >= _NEAR:
        return float(2 * stats.levy_stable.cdf(reach, alpha, 0.0) - 1)
    if alpha < 0.9:
        # S = sin(aU) / cos(U)^{1/a} (cos((1 - a)U) / E)^{(1 - a)/a}, U uniform and E exponential; given U, by E
        u, weight = _panels(reach * 1e-30, np.pi / 2)
        power = np.log(np.sin(alpha * u) / reach) - np.log(np.cos(u)) / alpha
        return float(2 / np.pi * weight @ np.exp(-np.cos((1 - alpha) * u) * np.exp(power * alpha / (1 - alpha))))
    t, weight = _panels(1e-17, _LAST ** (1 / alpha))
    return float(2 / np.pi * weight @ (np.sin(reach * t) / t * np.exp(-(t**alpha))))


def _panels(low, high):
    """Gauss-Legendre nodes and weights on panels of geometric width; below `low` the integrand must not matter."""
    edges = np.geomspace(low, high, 1 + int(4 * np.log(high / low)))
    node, weight = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + node)).ravel(), (half * weight).ravel()
