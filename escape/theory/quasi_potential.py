"""Exponents of rare escape at small learning rate: of true mini-batches, and of their Gaussian surrogate.

ln(mean exit step) ~ (batch_size / lr) * int_a^b q(x) dx as lr -> 0: the two differ at leading order.
"""

import numpy as np

from escape.theory._checks import positive, real, whole

_NODES = 8  # Gauss-Legendre nodes a panel
_PANELS = 64
_DOUBLINGS = 200  # of a bracket; 2^200 of its first guess
_BISECTIONS = 60
_NEWTON = 8


def quasi_potential(gradients):
    """Slope q of the mini-batch quasi-potential: the root of (1/n) sum_i exp(-q g_i) = 1 that is not zero.

    Parameters
    ----------
    gradients : (..., n) array
        Per-sample gradients g_i, one row for each point.

    Returns
    -------
    (...) array or float
        q, of the sign of the mean gradient and in units of 1 / gradient; 0 where the mean vanishes, inf (-inf) where
        all g_i >= 0 (<= 0) and some do not vanish: no batch steps uphill, and a shell of such points wider than one
        step is crossed by no chain.

    Raises
    ------
    ValueError
        If gradients are not finite or have no samples.

    Notes
    -----
    Batches drawn with replacement, or small beside n: ln E exp(-q b g_B) = b ln((1/n) sum_i exp(-q g_i)). Without
    replacement, at b of the order of n, the law of a batch is narrower and the true exponent larger; b <= n / 100
    keeps the difference to about 1%.

    Source: Freidlin and Wentzell, Random Perturbations of Dynamical Systems, chapter 5, for x' = x - lr g_B(x).
    """
    gradients = real("gradients", gradients)
    if gradients.ndim < 1 or gradients.shape[-1] < 1:
        raise ValueError(f"gradients have shape {gradients.shape}: it must be (..., n) with n at least 1")
    flat = gradients.reshape(-1, gradients.shape[-1])
    mean = flat.mean(1)
    sign = np.where(mean < 0, -1.0, 1.0)
    scale = np.abs(flat).max(1)
    scaled = flat * (sign / np.where(scale > 0, scale, 1.0))[:, None]
    root = np.zeros(len(flat))
    one_sided = (scaled >= 0).all(1)
    root[one_sided & (scale > 0)] = np.inf
    level = np.abs(mean) <= 1e-15 * scale
    open_rows = ~one_sided & ~level
    root[open_rows] = _positive_root(scaled[open_rows]) / scale[open_rows]
    return (sign * np.where(level, 0.0, root)).reshape(gradients.shape[:-1])[()]


def _positive_root(g):
    """q > 0 with mean exp(-q g) = 1 for rows of mean > 0 and some g < 0, |g| <= 1: bracket, bisect, then Newton."""

    def log_mean(q):
        power = -q[:, None] * g
        top = power.max(1)
        weight = np.exp(power - top[:, None])
        total = weight.sum(1)
        return top + np.log(total / g.shape[1]), -(weight * g).sum(1) / total

    high = 2 * g.mean(1) / (g * g).mean(1)
    for _ in range(_DOUBLINGS):
        below = log_mean(high)[0] <= 0
        if not below.any():
            break
        high = np.where(below, 2 * high, high)
    # convex with value 0 at q = 0: at the minimum the slope changes sign, so bisection on it gives a lower end
    low, top = np.zeros_like(high), high.copy()
    for _ in range(_BISECTIONS):
        middle = (low + top) / 2
        uphill = log_mean(middle)[1] > 0
        low, top = np.where(uphill, low, middle), np.where(uphill, middle, top)
    low = top
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = log_mean(middle)[0] > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    q = high  # Newton from above on a convex function falls to the root
    for _ in range(_NEWTON):
        value, slope = log_mean(q)
        q = q - value / slope
    return q


def gaussian_quasi_potential(gradients):
    """Slope of the quasi-potential of the Gaussian surrogate, q = 2 gbar / C with C = (1/n) sum_i (g_i - gbar)^2.

    Parameters
    ----------
    gradients : (..., n) array
        Per-sample gradients, one row for each point.

    Returns
    -------
    (...) array or float
        q; 0 where the mean vanishes, inf or -inf where only C does.

    Raises
    ------
    ValueError
        If gradients are not finite or have no samples.

    Notes
    -----
    Agrees with `quasi_potential` only where |gbar| is far below the standard deviation of g_i.

    Source: derived; leading order of `quasi_potential` in gbar.
    """
    gradients = real("gradients", gradients)
    if gradients.ndim < 1 or gradients.shape[-1] < 1:
        raise ValueError(f"gradients have shape {gradients.shape}: it must be (..., n) with n at least 1")
    mean, variance = gradients.mean(-1), gradients.var(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean == 0, 0.0, 2 * mean / variance)[()]


def escape_log_time(gradients, start, end, lr, batch_size, gaussian=False, breakpoints=()):
    """Exponent of the mean exit step, (batch_size / lr) * int_start^end max(q, 0) dx along the way uphill.

    Parameters
    ----------
    gradients : callable
        Per-sample gradients: points (q,) -> (q, n).
    start, end : float
        Minimum, and barrier or exit; either may be the larger one.
    lr : float or array
        Learning rate.
    batch_size : int
        b, with replacement.
    gaussian : bool
        Whether for the Gaussian surrogate of the same covariance.
    breakpoints : sequence of float
        Points where gradients have a kink or a jump.

    Returns
    -------
    float or array
        ln(mean exit step) up to a prefactor that does not grow exponentially in 1 / lr; inf where a point on the way is
        one that no batch climbs from.

    Raises
    ------
    ValueError
        If start and end are equal, or `lr` or `batch_size` is out of range.

    Notes
    -----
    Leading order as lr -> 0; differences of it between two lr are far better than its value. Gauss-Legendre on 64
    panels: 10 digits where q is smooth.

    Source: derived; see `quasi_potential`.
    """
    lr, batch_size = positive("lr", lr), whole("batch_size", batch_size, 1)
    start, end = float(real("start", start)), float(real("end", end))
    if start == end:
        raise ValueError(f"start and end are both {start}: there is no way between them")
    low, high = min(start, end), max(start, end)
    edges = np.unique([*np.linspace(low, high, _PANELS + 1), *(p for p in breakpoints if low < p < high)])
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    size = np.diff(edges)
    x = (edges[:-1, None] + size[:, None] * (node + 1) / 2).ravel()
    slope = (gaussian_quasi_potential if gaussian else quasi_potential)(gradients(x))
    uphill = np.maximum(np.sign(end - start) * slope, 0.0)
    return (batch_size / lr * ((size[:, None] * weight / 2).ravel() @ uphill))[()]
