"""Batch descent that is helped over a saddle by noise of its own: one random kick, or a kick at every step.

With one kick, x0 = start + kick_radius * U along the escape direction, U one coordinate of a uniform point in the unit
ball or on the unit sphere of R^d, and then x_t = a^t x0 with a = 1 - lr * curvature. Time is in steps.
"""

import numpy as np
from scipy import special

from escape.theory._checks import nonnegative, positive, real, unstable, whole

_MOST = 200_000  # terms of a sum over steps


def langevin_noise(lr, temperature):
    """Noise of a batch gradient that kicks as Langevin dynamics do, x' = x - lr * g + sqrt(2 T lr) xi.

    sqrt(2 T / lr): with it in the place of `noise`, all that is said of SGD holds of Langevin dynamics.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    temperature : float or array
        T, in units of the loss.

    Returns
    -------
    float or array
        Standard deviation along each direction.

    Raises
    ------
    ValueError
        If `lr` is not above zero or `temperature` is negative.

    Notes
    -----
    Exact. On top of the noise of a mini-batch, add the squares. The inverse of `temperature`, the function.

    Source: Welling and Teh (2011), Proc. 28th Int. Conf. Machine Learning, 681.
    """
    return np.sqrt(2 * nonnegative("temperature", temperature) / positive("lr", lr))


def _checked(lr, curvature, kick_radius, dimension, radius, start, shape):
    """ln a, kick_radius, radius, |start|, and the second parameter of the Beta(1/2, .) law of U^2."""
    if shape not in ("ball", "sphere"):
        raise ValueError(f"shape is {shape!r}: it must be 'ball' or 'sphere'")
    dimension = whole("dimension", dimension, 2 if shape == "sphere" else 1)
    log, kick = np.log1p(-positive("lr", lr) * unstable(curvature)), positive("kick_radius", kick_radius)
    radius, start = positive("radius", radius), np.abs(real("start", start))
    if (start >= radius).any():
        raise ValueError(f"start is {start!r}: it must lie inside the radius {radius!r}")
    return log, kick, radius, start, (dimension + (1 if shape == "ball" else -1)) / 2


def _inside(distance, kick, start, second):
    """P(|start + kick U| < distance)."""
    ends = [np.clip((side * distance - start) / kick, -1, 1) for side in (-1, 1)]
    low, high = (np.sign(end) * special.betainc(0.5, second, end**2) / 2 for end in ends)
    return high - low


def perturbed_survival(step, lr, curvature, kick_radius, dimension, radius, start=0.0, *, shape="ball"):
    """Probability that batch GD after one random kick is still inside, P(tau > t).

    P(|start + r U| < radius a^-t); U^2 is Beta(1/2, (d + 1)/2) for the ball, Beta(1/2, (d - 1)/2) for the sphere.

    Parameters
    ----------
    step : int or array
        t, at least 0; the kick comes before step 1.
    lr, curvature : float or array
        Learning rate and negative curvature.
    kick_radius : float or array
        r, of the ball or sphere.
    dimension : int
        d, that of the space in which the kick is drawn; at least 2 for the sphere.
    radius, start : float or array
        Exit radius along the escape direction, and signed distance from the saddle before the kick, inside it.
    shape : {"ball", "sphere"}
        Where the kick is uniform.

    Returns
    -------
    float or array
        Probability.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Exact on a quadratic with one escape direction. Large d is a Gaussian kick of standard deviation r / sqrt(d).

    Source: derived; the algorithm is that of Jin, Ge, Netrapalli, Kakade and Jordan (2017), arXiv 1703.00887.
    """
    log, kick, radius, start, second = _checked(lr, curvature, kick_radius, dimension, radius, start, shape)
    return _inside(radius * np.exp(-nonnegative("step", step) * log), kick, start, second)[()]


def _moments(log, kick, radius, start, second):
    """Mean and variance of the exit step: sums over the steps at which P(tau > t) is neither 0 nor 1, and its tail."""
    sure = max(0, int(np.log(radius / (kick + start)) / log))
    # P(tau > t) is a multiple of a^-t to 12 digits once radius a^-t is below a millionth of the kick
    end = np.log(radius / max(start - kick, 1e-6 * kick)) / log
    stride = 1 + int(max(0.0, end - sure) / _MOST)
    log, sure = stride * log, sure // stride
    step = np.arange(sure, int(end / stride) + 3)
    alive = _inside(radius * np.exp(-step * log), kick, start, second)
    rest, ratio = alive[-1], np.exp(-log)
    rest = 0.0 if start > kick else rest
    # of the exit step less `sure`, for a variance without cancellation
    late = step - sure
    tail = ratio / (1 - ratio)
    mean = alive.sum() + rest * tail
    square = np.sum((2 * late + 1) * alive) + rest * tail * (2 * late[-1] + 1 + 2 / (1 - ratio))
    # a stride of m steps: rounding up adds 1/2 and 1/12 in its own units, whatever they are
    return stride * (sure + mean - 0.5) + 0.5, stride**2 * (square - mean**2 - 1 / 12) + 1 / 12


def perturbed_mean_exit_step(lr, curvature, kick_radius, dimension, radius, start=0.0, *, shape="ball"):
    """Mean exit step of batch GD after one random kick, E tau.

    Sum of `perturbed_survival` over steps. From the saddle [ln(radius / r) - (psi(1/2) - psi((d + 2)/2)) / 2] / ln a
    + 1/2 for the ball, with d/2 in the place of (d + 2)/2 for the sphere: the dimension enters as (ln d) / 2.

    Parameters
    ----------
    lr, curvature, kick_radius, dimension, radius, start, shape
        As in `perturbed_survival`.

    Returns
    -------
    float or array
        Steps.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Exact on a quadratic, the rounding up to whole steps included, which the closed form takes for 1/2 on average.

    Source: derived.
    """
    checked = _checked(lr, curvature, kick_radius, dimension, radius, start, shape)
    return np.vectorize(lambda *numbers: _moments(*numbers)[0], otypes=[float])(*checked)[()]


def perturbed_exit_step_variance(lr, curvature, kick_radius, dimension, radius, start=0.0, *, shape="ball"):
    """Variance of the exit step of batch GD after one random kick.

    From the saddle [psi'(1/2) - psi'((d + 2)/2)] / (4 ln^2 a) + 1/12 for the ball, d/2 for the sphere.

    Parameters
    ----------
    lr, curvature, kick_radius, dimension, radius, start, shape
        As in `perturbed_survival`.

    Returns
    -------
    float or array
        Square steps.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    A sum over steps, exact as `perturbed_mean_exit_step`.

    Source: derived.
    """
    checked = _checked(lr, curvature, kick_radius, dimension, radius, start, shape)
    return np.vectorize(lambda *numbers: _moments(*numbers)[1], otypes=[float])(*checked)[()]
