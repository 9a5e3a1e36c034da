"""Growing mode of one direction of a quadratic, without momentum, under heavy ball and under Nesterov's momentum.

One direction is x_{t+1} = (1 + b + c) x_t - b x_{t-1} + lr * noise * xi_t with c = -lr * curvature, at rest at the
start; b = momentum for heavy ball, momentum * (1 + c) for Nesterov, whose gradient and its noise are taken at the
point looked ahead to; without momentum b = 0. Its modes grow by the roots of z^2 - (1 + b + c) z + b = 0, on an
escape direction z+ > 1 > z- >= 0. Averaged momentum, m = momentum * m + (1 - momentum) * g, is heavy ball with
lr * (1 - momentum) in the place of lr.
"""

import numpy as np
from scipy.special import exprel

from escape.theory._checks import nonnegative, positive, real, unstable


def _coefficients(lr, curvature, momentum, nesterov):
    """b and c of the recursion, all arguments checked."""
    c, b = -positive("lr", lr) * real("curvature", curvature), nonnegative("momentum", momentum)
    if (b >= 1).any():
        raise ValueError(f"momentum is {momentum!r}: it must lie in [0, 1)")
    return (b * (1 + c) if nesterov else b), c


def _unstable_modes(lr, curvature, momentum, nesterov):
    """b, z+ - 1 and z+ - z- of an escape direction."""
    b, c = _coefficients(lr, unstable(curvature), momentum, nesterov)
    half = 1 - b - c
    # without momentum the root is 1 + c to the last digit
    apart = np.where(b == 0, 1 + c, np.sqrt(half**2 + 4 * c))
    above = np.where(half > 0, 2 * c / np.maximum(half + apart, c), (apart - half) / 2)
    return b, np.where(b == 0, c, above), apart


def growth_factor(lr, curvature, *, momentum=0.0, nesterov=False):
    """Factor of the mean per step, a = 1 - lr * curvature; with momentum z+, at late steps.

    z+- = [p +- sqrt(p^2 - 4 b)] / 2 with p = 1 + b - lr * curvature; b = momentum for heavy ball and
    momentum * (1 - lr * curvature) for Nesterov.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    curvature : float or array
        Signed Hessian eigenvalue; above 1 results where it is negative.
    momentum : float or array
        In [0, 1).
    nesterov : bool
        Whether the gradient is taken at the point looked ahead to.

    Returns
    -------
    float or array
        a or z+, per step; on a direction of positive curvature the root of larger modulus, `nan` where the roots are
        complex and the mean oscillates.

    Raises
    ------
    ValueError
        If `lr` is not above zero, `momentum` is not in [0, 1) or `curvature` is not finite.

    Notes
    -----
    Exact on a quadratic, for batch GD and for the mean of mini-batch SGD; with momentum once z-^t has died out.
    Above 1 by lr * |curvature| / (1 - momentum) where that is well below 1 - momentum, and by sqrt(lr * |curvature|)
    where it is well above.

    Source: derived; the method is Polyak (1964), USSR Comput. Math. Math. Phys. 4 (5), 1.
    """
    b, c = _coefficients(lr, curvature, momentum, nesterov)
    trace, square = 1.0 + b + c, (1 - b - c) ** 2 + 4 * c
    with np.errstate(invalid="ignore"):
        root = (trace + np.copysign(np.sqrt(square), trace)) / 2
    return np.where(b == 0, 1.0 + c, root)[()]


def transient_factor(lr, curvature, *, momentum, nesterov=False):
    """Factor per step of the mode that dies out on an escape direction, z- = b / z+.

    Parameters
    ----------
    lr, curvature, momentum, nesterov
        As in `growth_factor`, with negative curvature.

    Returns
    -------
    float or array
        z-, in [0, 1): momentum needs some 1 / (1 - z-) steps to gather. 0 without momentum.

    Raises
    ------
    ValueError
        If `lr` is not above zero, `curvature` is not negative or `momentum` is not in [0, 1).

    Notes
    -----
    Exact on a quadratic.

    Source: derived.
    """
    b, above, _ = _unstable_modes(lr, curvature, momentum, nesterov)
    return (b / (1 + above))[()]


def start_projection(lr, curvature, *, momentum=0.0, nesterov=False):
    """Share of a start at rest that goes into the growing mode, w = lim z+^-t E x_t / x0.

    w = z+ (1 - z-) / (z+ - z-).

    Parameters
    ----------
    lr, curvature, momentum, nesterov
        As in `growth_factor`, with negative curvature.

    Returns
    -------
    float or array
        w, in (1/2, 1]; 1 without momentum.

    Raises
    ------
    ValueError
        If `lr` is not above zero, `curvature` is not negative or `momentum` is not in [0, 1).

    Notes
    -----
    Exact on a quadratic. The rest of the start dies out as z-^t.

    Source: derived.
    """
    b, above, apart = _unstable_modes(lr, curvature, momentum, nesterov)
    return ((1 + above - b) / apart)[()]


def look_ahead_factor(lr, curvature, *, momentum):
    """How far Nesterov's point of the gradient is ahead of the iterate in the growing mode, 1 + momentum (1 - 1/z+).

    The point looked ahead to is y_t = x_t + momentum (x_t - x_{t-1}), and x_t ~ z+^t Z. Where chains are watched at y,
    as `torch.optim.SGD(nesterov=True)` shows its parameters, kick and share of the start are larger by this factor:
    take radius / factor for the radius.

    Parameters
    ----------
    lr, curvature : float or array
        Learning rate and negative curvature.
    momentum : float or array
        In [0, 1).

    Returns
    -------
    float or array
        Factor, at least 1.

    Raises
    ------
    ValueError
        If `lr` is not above zero, `curvature` is not negative or `momentum` is not in [0, 1).

    Notes
    -----
    Exact on a quadratic at late steps; with `start_projection`, also from a start at rest, where both points agree.

    Source: derived; the two points are those of Sutskever, Martens, Dahl and Hinton (2013), Proc. 30th Int. Conf.
    Machine Learning, 1139.
    """
    _, above, _ = _unstable_modes(lr, curvature, momentum, True)
    return (1 + momentum * (above / (1 + above)))[()]


def kick_std(lr, curvature, noise, *, momentum=0.0, nesterov=False):
    """Standard deviation s of the effective initial kick Z = lim a^-t x_t.

    s = lr * noise / sqrt(a^2 - 1): all later noise, pulled back to step 0. With momentum
    s = lr * noise / sqrt(z+^2 - 1) * z+ / (z+ - z-).

    Parameters
    ----------
    lr, curvature, noise : float or array
        Learning rate, negative curvature, noise of the batch gradient along the direction.
    momentum, nesterov
        As in `growth_factor`.

    Returns
    -------
    float or array
        s, a distance.

    Raises
    ------
    ValueError
        If `lr` is not above zero, `curvature` is not negative, `noise` is negative or `momentum` is not in [0, 1).

    Notes
    -----
    The variance is exact for every noise law. Z is Gaussian for Gaussian noise, and for any other in the
    limit z+ -> 1, where it sums many small kicks.

    Source: derived; the idea is that of Kifer (1981), Israel J. Math. 40, 74.
    """
    _, above, apart = _unstable_modes(lr, curvature, momentum, nesterov)
    one = lr * nonnegative("noise", noise) / np.sqrt(above * (2 + above))
    return (one * ((1 + above) / apart))[()]


def growth_rate(lr, curvature, *, momentum=0.0, nesterov=False):
    """Exponential growth rate of E x_t^2, 2 ln a per step; with momentum 2 ln z+.

    Parameters
    ----------
    lr, curvature : float or array
        Learning rate and negative curvature.
    momentum, nesterov
        As in `growth_factor`.

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
    The limit of `local_growth_rate` at late steps; from the saddle itself the first 1 / (2 ln a) steps grow
    linearly, with momentum faster, and have no such rate.

    Source: derived.
    """
    return 2 * np.log1p(_unstable_modes(lr, curvature, momentum, nesterov)[1])[()]


def law_error(ratio, lr, curvature, momentum, nesterov):
    """Bound on the error of the exit law at radius / s = ratio, in units of (s / radius)^2: 1 without momentum.

    E x_t^2 falls short of z+^2t s^2 by s^2 and, through what the noise has in common in both modes, by
    2 s^2 (1 - z+^-2) (b + b^2 + .. + b^t), t the step of exit.
    """
    b, above, _ = _unstable_modes(lr, curvature, momentum, nesterov)
    steps = np.maximum(np.log(ratio), 0) / np.log1p(above)
    log = np.log(np.maximum(b, 1e-300))
    return 1 + 2 * (1 - (1 + above) ** -2) * b * steps * exprel(steps * log) / exprel(log)


def mean_square_recursion(step, lr, curvature, noise, start, momentum, nesterov):
    """E x_t^2 with momentum, the power of the linear map of E x^2, E x v, E v^2 and 1; v is the last displacement.

    Arguments, shape and errors are those of `saddle.mean_square`; `step` whole numbers.
    """
    step = nonnegative("step", step)
    if (step % 1).any():
        raise ValueError(f"step is {step!r}: with momentum it must be whole numbers")
    b, c = _coefficients(lr, curvature, momentum, nesterov)
    kick, square = (np.asarray(lr) * nonnegative("noise", noise)) ** 2, real("start", start) ** 2
    b, c, kick, square = np.broadcast_arrays(b, c, kick, square)
    # v' = b v + c x + noise, x' = x + v': no term is negative on an escape direction, so that no digits are lost
    zero, up = np.zeros_like(c), 1 + c
    rows = [up**2, 2 * up * b, b**2, kick], [up * c, (up + c) * b, b**2, kick], [c**2, 2 * b * c, b**2, kick]
    power = np.stack([np.stack(row, -1) for row in (*rows, [zero, zero, zero, zero + 1])], -2)
    # powers of the map over its spectral radius stay bounded
    spread = np.sqrt((1 - b - c) ** 2 + 4 * c + 0j)
    log = 2 * np.log(np.maximum(np.abs(1 + b + c + spread), np.abs(1 + b + c - spread)) / 2).clip(min=0)
    power = power * np.exp(-log)[..., None, None]
    moments = np.stack([square, zero, zero, zero + 1], -1)
    moments = np.broadcast_to(moments, (*np.broadcast_shapes(step.shape, c.shape), 4))
    left = step.astype(np.int64)
    while left.any():
        moments = np.where((left % 2 == 1)[..., None], (power @ moments[..., None])[..., 0], moments)
        left, power = left // 2, power @ power
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(moments[..., 0] == 0, 0.0, moments[..., 0] * np.exp(step * log))[()]
