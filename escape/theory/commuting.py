"""Growth of mini-batch SGD along one direction shared by all Hessians: x' = (1 - lr h_B) x.

h_B is the mean curvature of the batch. Moments, almost sure growth and the chance of escape, by enumeration of
all batches of the distinct curvatures. Time is in steps.
"""

import numpy as np
from scipy import optimize
from scipy.special import exprel, logsumexp

from escape.theory._batches import checked_curvatures, log_factors
from escape.theory._checks import positive, real
from escape.theory.sampling import kappa


def mean_square_rate(curvatures, lr, batch_size, replacement=False):
    """Growth factor rho of E x_t^2 per step.

    rho = E (1 - lr h_B)^2 = (1 - lr h)^2 + lr^2 kappa var(h), var with divisor n.

    Parameters
    ----------
    curvatures : (n,) array
        Second derivatives h_i of the terms along the direction.
    lr : float
        Learning rate.
    batch_size : int
        Terms in a batch.
    replacement : bool
        Whether a batch may hold a term twice.

    Returns
    -------
    float
        rho, per step; never below (1 - lr h)^2, the rate of batch GD.

    Raises
    ------
    ValueError
        If `curvatures` is not (n,), `lr` is not above zero or the batch does not fit.

    Notes
    -----
    Exact for independent batches.

    Source: derived.
    """
    curvatures, lr = checked_curvatures(curvatures), float(positive("lr", lr))
    factor = kappa(batch_size, len(curvatures), replacement)
    return float((1 - lr * curvatures.mean()) ** 2 + lr**2 * factor * curvatures.var())


def lyapunov_exponent(curvatures, lr, batch_size, replacement=False):
    """Almost sure growth rate gamma = lim ln|x_t| / t = E ln|1 - lr h_B|.

    Parameters
    ----------
    curvatures, lr, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    float
        gamma per step; minus infinity if one batch maps to zero. Every chain collapses onto the critical point
        where it is negative, whatever the mean square does; 2 gamma <= ln rho.

    Raises
    ------
    ValueError
        As `mean_square_rate`, or if there are over 10^6 distinct batches.

    Notes
    -----
    Exact, by enumeration, for independent batches and curvatures of one shared direction.

    Source: law of large numbers; Furstenberg and Kesten (1960), Ann. Math. Statist. 31, 457, in general.
    """
    return _mean_log(*log_factors(curvatures, lr, batch_size, replacement))


def _mean_log(log, weight):
    """gamma; a batch that maps to zero makes it minus infinity even where its probability underflows."""
    return float(np.exp(weight) @ log) if np.isfinite(log).all() else -np.inf


def moment_function(p, curvatures, lr, batch_size, replacement=False):
    """Growth rate of the p-th moment, L(p) = ln E |1 - lr h_B|^p.

    Parameters
    ----------
    p : float or array
        Order; L(0) = 0, L'(0) = gamma, L(2) = ln rho.
    curvatures, lr, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    float or array
        L(p) per step, convex in p.

    Raises
    ------
    ValueError
        As `lyapunov_exponent`, or if `p` is not finite.

    Notes
    -----
    Exact, by enumeration.

    Source: derived; moment Lyapunov function of a product of independent factors.
    """
    log, weight = log_factors(curvatures, lr, batch_size, replacement)
    p = real("p", p)[..., None]
    with np.errstate(invalid="ignore"):
        power = np.where(p == 0, 0.0, p * log)  # 0^0 = 1: the zeroth moment counts batches that map to zero too
    with np.errstate(divide="ignore"):
        return logsumexp(power + weight, axis=-1)[()]


def escape_exponent(curvatures, lr, batch_size, replacement=False):
    """Exponent alpha of the probability of ever escaping a saddle that collapses, L(alpha) = 0.

    P(max_t |x_t| >= radius) ~ c (|x_0| / radius)^alpha where gamma < 0.

    Parameters
    ----------
    curvatures, lr, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    float
        alpha above 0; infinite if no batch expands. With additive noise besides, it is also the tail exponent of
        the stationary law.

    Raises
    ------
    ValueError
        As `lyapunov_exponent`, or if gamma is not negative.

    Notes
    -----
    Exact exponent for independent batches, as radius / |x_0| grows; c is bounded by `escape_probability_bounds`.

    Source: Cramer-Lundberg; for the stationary tail Kesten (1973), Acta Math. 131, 207.
    """
    log, weight = log_factors(curvatures, lr, batch_size, replacement)
    live = np.isfinite(log)
    kept, share, lost = log[live], np.exp(weight[live]), np.exp(weight[~live]).sum()
    gamma = share @ kept if lost == 0 else -np.inf
    if gamma >= 0:
        raise ValueError(f"gamma is {gamma:.4g}: the exponent exists where it is negative, elsewhere all chains escape")
    if log.max() <= 0:
        return np.inf

    def growth(p):
        # of the sign of L(p); (e^L(p) - 1) / p tends to gamma, where L(p) itself would be rounding
        if p * log.max() > 1:
            return logsumexp(p * log + weight)
        return share @ (kept * exprel(p * kept)) - (lost / p if lost else 0.0)

    high = 1.0
    while growth(high) <= 0:
        high *= 2
    low = high / 2
    while growth(low) >= 0:
        low /= 2
    return float(optimize.brentq(growth, low, high, xtol=1e-300, rtol=1e-14))


def escape_probability_bounds(radius, start, curvatures, lr, batch_size, replacement=False):
    """Bounds of the probability of ever reaching the radius, of a saddle that collapses.

    (start / (radius F))^alpha < P(max_t |x_t| >= radius) <= (start / radius)^alpha, F = max_B |1 - lr h_B|.

    Parameters
    ----------
    radius : float or array
        Radius.
    start : float or array
        |x_0|, not above the radius.
    curvatures, lr, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    float or array, float or array
        Lower and upper bound; both zero if no batch expands and `start` is inside.

    Raises
    ------
    ValueError
        As `escape_exponent`, or if `start` is beyond `radius`.

    Notes
    -----
    Hold for every radius, with independent batches. |x_t|^alpha is a martingale that ends in zero or between radius
    and F radius, so (start / radius)^alpha is exactly E[(|x_exit| / radius)^alpha; escape].

    Source: Lundberg's inequality; lower bound by the same martingale, derived.
    """
    radius, start = positive("radius", radius), positive("start", start)
    if (start > radius).any():
        raise ValueError(f"start is {start!r}: it must not be beyond the radius {radius!r}")
    alpha = escape_exponent(curvatures, lr, batch_size, replacement)
    if alpha == np.inf:
        reached = np.where(start < radius, 0.0, 1.0)[()]
        return reached, reached
    overshoot = np.exp(log_factors(curvatures, lr, batch_size, replacement)[0].max())
    high = (start / radius) ** alpha
    return np.where(start < radius, high / overshoot**alpha, 1.0)[()], high[()]
