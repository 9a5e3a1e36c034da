"""Adam and RMSprop along one direction of a quadratic: the exact path without noise, and the SGD they amount to in it.

Both divide the gradient by the root of a moving average v of its square, coordinate by coordinate. Time is in steps.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy import integrate

from escape.theory._checks import nonnegative, positive, real, unstable, whole
from escape.theory.momentum import growth_factor

_LONGEST = 10_000_000  # steps after which a noise-free path is given up


class Equivalent(NamedTuple):
    """The plain SGD that an adaptive method amounts to: its curvature and its noise, at the same learning rate."""

    curvature: float
    noise: float


def _fraction(name, value):
    """One number in [0, 1) as a float."""
    if np.ndim(value) or not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}: it must be one number in [0, 1)")
    return float(value)


def _stepper(lr, curvature, start, beta1, beta2, eps, bias_correction):
    """Checked arguments as a generator of the positions after each step."""
    positive("lr", lr), nonnegative("eps", eps)
    beta1, beta2 = _fraction("beta1", beta1), _fraction("beta2", beta2)
    x, curvature = np.array(real("start", start), dtype=float), real("curvature", curvature)

    def path(x):
        mean, square, step = np.zeros_like(x), np.zeros_like(x), 0
        while True:
            step += 1
            gradient = curvature * x
            mean = beta1 * mean + (1 - beta1) * gradient
            square = beta2 * square + (1 - beta2) * gradient**2
            forgotten = (1 - beta1**step, 1 - beta2**step) if bias_correction else (1.0, 1.0)
            scale = np.sqrt(square / forgotten[1]) + eps
            # where no gradient has ever been seen there is no step, with eps = 0 as with any other
            x = x - lr * np.divide(mean / forgotten[0], scale, out=np.zeros_like(scale), where=scale > 0)
            yield x

    return path(np.broadcast_to(x, np.broadcast_shapes(x.shape, curvature.shape)))


def adam_path(steps, lr, curvature, start, beta1=0.9, beta2=0.999, eps=1e-8, bias_correction=True):
    """Positions of Adam without noise, x_0 .. x_steps, along one direction of a quadratic.

    g = h x, m <- b1 m + (1-b1) g, v <- b2 v + (1-b2) g^2, x <- x - lr m^ / (sqrt(v^) + eps), with
    m^ = m / (1-b1^t) and v^ = v / (1-b2^t).

    Parameters
    ----------
    steps : int
        Last step.
    lr : float
        Learning rate, in units of x: it is about the size of a step.
    curvature : float or array
        h of any sign.
    start : float or array
        x0.
    beta1, beta2 : float
        Memory of the mean and of the square, in [0, 1); beta1 = 0 without bias correction is RMSprop.
    eps : float
        Added to the root, in units of the gradient.
    bias_correction : bool
        Whether the two averages are divided by the weight that they have gathered, as in Adam.

    Returns
    -------
    (steps + 1, ...) array
        Positions; further axes are those of `curvature` and `start` together.

    Raises
    ------
    ValueError
        If `steps` is not a whole number, `lr` is not above zero, `eps` is negative or a beta outside [0, 1).

    Notes
    -----
    Exact. With eps = 0, x scales with lr, and depends on the start only through start / lr and on the sign of h.

    Source: Kingma and Ba (2015), arXiv 1412.6980, algorithm 1.
    """
    path = _stepper(lr, curvature, start, beta1, beta2, eps, bias_correction)
    shape = np.broadcast_shapes(np.shape(curvature), np.shape(start))
    first = np.broadcast_to(np.asarray(start, dtype=float), shape)
    return np.stack([first, *(next(path) for _ in range(whole("steps", steps)))])


def adam_exit_step(lr, curvature, radius, start, beta1=0.9, beta2=0.999, eps=1e-8, bias_correction=True):
    """First step at which Adam without noise is outside, |x| >= radius.

    By the recursion of `adam_path`. From |x0| << lr at eps = 0 the answer does not depend on x0: the first step is lr
    whatever the gradient, and as long as t << 1 / (1-b2) the path approaches a straight line, x = sqrt(3) lr t.

    Parameters
    ----------
    lr, radius : float
        Learning rate and exit radius.
    curvature : float
        Negative curvature.
    start : float or array
        Signed distance from the saddle.
    beta1, beta2, eps, bias_correction : float, float, float, bool
        As in `adam_path`.

    Returns
    -------
    float or array
        Steps, 0 if outside already, `inf` from the saddle itself.

    Raises
    ------
    ValueError
        As `adam_path`, if `curvature` is not negative, or if the exit is more than 10^7 steps away.

    Notes
    -----
    Exact. Scale invariance needs eps far below lr * |curvature|, the gradient after one step: with eps at a hundredth
    of it starts down to 1e-12 of the radius leave within 4% of the same step, although their own gradient is far below
    eps.

    Source: derived; the recursion as for `adam_path`.
    """
    unstable(curvature), positive("radius", radius)
    path = _stepper(lr, curvature, start, beta1, beta2, eps, bias_correction)
    distance = np.abs(np.asarray(start, dtype=float))
    found = np.where(distance >= radius, 0.0, np.inf)
    moving = (distance > 0) & (distance < radius)
    step = 0
    while moving.any():
        step += 1
        if step > _LONGEST:
            raise ValueError(f"no exit within {_LONGEST} steps: raise lr = {lr!r} or lower radius = {radius!r}")
        outside = moving & (np.abs(next(path)) >= radius)
        found[outside] = step
        moving &= ~outside
    return found[()]


def adaptive_equivalent(curvature, noise, beta2=0.999):
    """Curvature and noise of the plain SGD that RMSprop amounts to where noise dominates the gradient.

    curvature * F / noise and sqrt(G), with F = E d/dy (y / sqrt(v)) and G = E y^2 / v over standard normal gradients y,
    v = (1-b2) sum_k b2^k y_{t-k}^2: F = 1 - 5/8 (1-b2) and G = 1 - (1-b2) to first order.

    Parameters
    ----------
    curvature : float or array
        h of any sign.
    noise : float or array
        Standard deviation of the batch gradient along the coordinate, above zero.
    beta2 : float
        Memory of the square, in [0, 1).

    Returns
    -------
    Equivalent
        `(curvature, noise)`, curvature in units of 1 / x: with the same `lr` they go wherever plain SGD's go.
        The noise is close to 1 along every coordinate, whatever it was.

    Raises
    ------
    ValueError
        If `noise` is not above zero, `beta2` outside [0, 1) or a number is not finite.

    Notes
    -----
    Gaussian noise, |curvature * x| << noise, lr |curvature| / noise << 1, eps << noise, and v settled: bias-corrected,
    or after a few 1 / (1-b2) steps. At a saddle this holds within |x| << noise / |curvature|; from there on the path
    is that of `adam_path`. Adam takes the same equivalent into heavy ball, with lr (1-b1) for lr and b1 for the
    momentum, to order 1-b2. Correlated coordinates keep their correlation: only the diagonal is made equal.

    Source: derived; 1 / sqrt(v) = int e^(-s v) s^(-1/2) ds / sqrt(pi) turns both averages into single integrals.
    """
    beta2, curvature, noise = _fraction("beta2", beta2), real("curvature", curvature), positive("noise", noise)
    drift, spread = _averages(beta2)
    return Equivalent((curvature * drift / noise)[()], (np.full_like(curvature * noise, np.sqrt(spread)))[()])


@functools.cache
def _averages(beta2):
    """F and G, by quadrature in u = ln s."""
    count = 1 if beta2 == 0 else int(np.ceil(np.log(1e-17) / np.log(beta2))) + 1
    weights = (1 - beta2) * beta2 ** np.arange(count)

    def transform(log, power):
        s = np.exp(log)
        return s**power * (1 + 2 * s * weights[0]) ** -1.0 * np.exp(-np.log1p(2 * s * weights).sum() / 2)

    # of E e^(-s v) one factor (1 + 2 s w_0)^(-1/2) is in the sum, the other ones come from y or y^2 in front
    limits = {"a": -60, "b": 60, "limit": 400, "epsabs": 1e-12, "epsrel": 1e-11, "points": (-3, 0, 3)}
    drift = integrate.quad(transform, args=(0.5,), **limits)[0] / np.sqrt(np.pi)
    return drift, integrate.quad(transform, args=(1.0,), **limits)[0]


def adaptive_growth_factor(lr, curvature, noise, beta1=0.0, beta2=0.999):
    """Growth factor per step of Adam or RMSprop off a saddle where noise dominates the gradient.

    z + sqrt(z^2 - b1) with z = (1 + b1 + (1-b1) lr L) / 2, and L = F |curvature| / noise as `adaptive_equivalent`
    gives it; 1 + lr L without momentum.

    Parameters
    ----------
    lr, curvature, noise : float or array
        Learning rate, negative curvature, noise of the batch gradient along the coordinate.
    beta1, beta2 : float
        Memory of the mean and of the square, in [0, 1).

    Returns
    -------
    float or array
        Factor per step, above 1.

    Raises
    ------
    ValueError
        If `lr` or `noise` is not above zero, `curvature` is not negative, or a beta is outside [0, 1).

    Notes
    -----
    As `adaptive_equivalent`; of the mean E x_t. Relative errors of the exponent O(lr L), and O((curvature x / noise)^2)
    as the gradient is felt in v, with momentum O(1-b2) besides.

    Source: derived.
    """
    beta1 = _fraction("beta1", beta1)
    effective = adaptive_equivalent(unstable(curvature), noise, beta2).curvature
    return growth_factor(positive("lr", lr) * (1 - beta1), effective, momentum=beta1)
