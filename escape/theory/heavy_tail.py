"""Growth and power-law tails of least squares on fresh isotropic Gaussian data, x' = (I - lr X^T X / b) x.

The factor |x'| / |x| has one law whatever the direction of x, so that its moments settle every question:
|x'|^2 / |x|^2 = (1 - u s)^2 + u^2 s q with u = lr curvature / b and independent s ~ chi^2_b, q ~ chi^2_{d-1}: s is the
squared length of X x / |x|, and X^T carries it back with a part along x and a Gaussian one across. Time is in steps.
"""

import numpy as np
from scipy import optimize
from scipy.special import exprel, gammaln, logsumexp

from escape.theory._checks import positive, real, whole

_QUARTERS = {1: 24, 2: 12}  # panels towards the point where a step lands on zero, on a line and in a plane
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


def _panels(edges):
    """Gauss nodes and weights on consecutive intervals."""
    half = np.diff(edges) / 2
    return (edges[:-1, None] + half[:, None] * (1 + _NODES)).ravel(), (half[:, None] * _WEIGHTS).ravel()


def _graded(high, width, quarters):
    """Gauss nodes and weights on (0, high): panels shrink fourfold towards 0, none wider than `width`."""
    width = min(width, high)
    far = np.linspace(width, high, int(np.ceil((high - width) / width)) + 1)
    return _panels(np.concatenate([[0.0], width * 0.25 ** np.arange(quarters, 0, -1), far]))


def _chi_log_density(r, degrees):
    """Log density of the root of a chi-square variable."""
    return (degrees - 1) * np.log(r) - r * r / 2 - (degrees / 2 - 1) * np.log(2) - gammaln(degrees / 2)


def _factor_law(order, product, batch_size, dimension):
    """ln(|x'| / |x|) and log weights on nodes fit for moments up to `order`; `product` is lr * curvature.

    A step lands on zero where s = 1 / u and q = 0: panels shrink towards that corner, against any power or logarithm.
    """
    root, quarters = np.sqrt(product / batch_size), _QUARTERS[min(dimension, 2)]
    # a moment of high order sits where s is near 1 / u + 2 order
    reach = 13.0 + np.sqrt(2 * order + batch_size + dimension + (1 / root**2 if order else 0.0))
    # away is 1 / sqrt(u) - r, kept beside r = sqrt(s) for its digits near zero
    below, below_weight = _graded(1 / root, 0.5, quarters)
    above, above_weight = _graded(max(reach - 1 / root, 0.5), 0.5, quarters)
    away, weight = np.concatenate([below, -above]), np.concatenate([below_weight, above_weight])
    r = np.maximum(1 / root - away, 1e-300)
    log_weight = np.log(weight) + _chi_log_density(r, batch_size)
    far = r < reach
    r, away, log_weight = r[far], away[far], log_weight[far]
    along = np.log(np.abs(root * away) * (1 + root * r))
    if dimension == 1:
        return along, log_weight
    v, across_weight = _graded(13.0 + np.sqrt(2 * order + dimension), 1.0, quarters)
    across_weight = np.log(across_weight) + _chi_log_density(v, dimension - 1)
    across = np.log(root**2 * r)[:, None] + np.log(v)
    log = np.logaddexp(2 * along[:, None], 2 * across) / 2
    return log.ravel(), (log_weight[:, None] + across_weight).ravel()


def _checked(lr, batch_size, dimension, curvature):
    product = float(positive("lr", lr)) * float(positive("curvature", curvature))
    return product, whole("batch_size", batch_size, 1), whole("dimension", dimension, 1)


def regression_moment_function(p, lr, batch_size, dimension=1, curvature=1.0):
    """Growth rate of the p-th moment without label noise, L(p) = ln E (|x'| / |x|)^p.

    Parameters
    ----------
    p : float
        Order, at least 0; L(0) = 0, L'(0) = gamma.
    lr : float
        Learning rate.
    batch_size : int
        b, new terms in a step.
    dimension : int
        d.
    curvature : float
        Variance of each input, A = curvature I.

    Returns
    -------
    float
        L(p) per step: ln E |x_t|^p / |x_0|^p = t L(p).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Quadrature to about 10 digits; exact for every t. L(2) = ln(1 - 2 a + a^2 (1 + (d + 1) / b)), a = lr curvature.

    Source: derived; isotropy as in Gurbuzbalaban, Simsekli and Zhu (2021), ICML, arXiv 2006.04740.
    """
    product, batch_size, dimension = _checked(lr, batch_size, dimension, curvature)
    p = float(real("p", p))
    if p < 0:
        raise ValueError(f"p is {p!r}: it must not be negative")
    return _growth(p, product, batch_size, dimension)


def _growth(p, product, batch_size, dimension):
    if p == 0:
        return 0.0
    log, weight = _factor_law(p, product, batch_size, dimension)
    return float(logsumexp(p * log + weight))


def _exponent(product, batch_size, dimension):
    log, weight = _factor_law(0.0, product, batch_size, dimension)
    return float(np.exp(weight) @ log)


def regression_lyapunov_exponent(lr, batch_size, dimension=1, curvature=1.0):
    """Almost sure growth rate without label noise, gamma = E ln(|x'| / |x|).

    Parameters
    ----------
    lr, batch_size, dimension, curvature
        As in `regression_moment_function`.

    Returns
    -------
    float
        gamma per step: each chain tends to the true weights where it is negative, and leaves where it is positive.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Quadrature to about 10 digits.

    Source: derived; Furstenberg and Kesten (1960), Ann. Math. Statist. 31, 457, in general.
    """
    return _exponent(*_checked(lr, batch_size, dimension, curvature))


def regression_collapse_lr(batch_size, dimension=1, curvature=1.0):
    """Learning rate at which gamma changes sign: chains settle below it, each of them leaves above it.

    Parameters
    ----------
    batch_size, dimension, curvature
        As in `regression_moment_function`.

    Returns
    -------
    float
        Learning rate, above the mean-square threshold `regression_threshold_lr`; between the two the stationary law
        with label noise has an infinite variance.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Quadrature to about 10 digits; 2.42125 for d = b = 1.

    Source: derived.
    """
    one, batch_size, dimension = _checked(1.0, batch_size, dimension, curvature)
    low = 2 * batch_size / (batch_size + dimension + 1)  # gamma < 0 here, as 2 gamma < L(2) = 0
    high = 2 * low
    while _exponent(high, batch_size, dimension) <= 0:
        low, high = high, 2 * high
    root = optimize.brentq(_exponent, low, high, args=(batch_size, dimension), rtol=1e-12, xtol=1e-300)
    return float(root / one)


def regression_tail_exponent(lr, batch_size, dimension=1, curvature=1.0):
    """Exponent alpha of the tail of the stationary law with label noise, P(|x| > r) ~ c r^-alpha.

    E (|x'| / |x|)^alpha = 1 with alpha above 0.

    Parameters
    ----------
    lr, batch_size, dimension, curvature
        As in `regression_moment_function`.

    Returns
    -------
    float
        alpha: moments below it are finite. 2 at `regression_threshold_lr`.

    Raises
    ------
    ValueError
        If `lr` is not below `regression_collapse_lr`, where there is no stationary law.

    Notes
    -----
    Exact exponent as r grows, whatever the label noise. The continuous limit 2 b / (lr curvature) - b for d = 1 agrees
    at alpha = 2 only.

    Source: Kesten (1973), Acta Math. 131, 207; isotropic data Gurbuzbalaban, Simsekli and Zhu (2021), ICML,
    arXiv 2006.04740.
    """
    numbers = _checked(lr, batch_size, dimension, curvature)
    log, weight = _factor_law(1.0, *numbers)
    share = np.exp(weight)
    gamma = float(share @ log)
    if gamma >= 0:
        raise ValueError(f"gamma is {gamma:.4g}: a stationary law needs it negative; take a smaller lr")

    def growth(p):
        # of the sign of L(p); (e^L(p) - 1) / p tends to gamma, where L(p) itself would be the error of quadrature
        return _growth(p, *numbers) if p > 1 else share @ (log * exprel(p * log))

    high = 1.0
    while growth(high) <= 0:
        high *= 2
    low = high / 2
    while growth(low) >= 0:
        low /= 2
    return float(optimize.brentq(growth, low, high, xtol=1e-300, rtol=1e-12))
