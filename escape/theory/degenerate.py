"""Exit from degenerate saddles, where the force starts with a power: f = -c |x|^n / n, n > 2.

No exponential growth and no logarithm: batch GD needs a power of its distance, and noise a power of the temperature.
`two_sided` is that landscape; the other is f = -c x |x|^(n-1) / n, whose force c |x|^(n-1) always points to the right,
as along an axis of the monkey saddle (n = 3): chains come down from the left and leave on the right alone.
Time is in steps.
"""

import numpy as np
from scipy import integrate, special

from escape.theory._checks import nonnegative, positive, real

_MEAN = 0.5825971579390106  # mean overshoot of a far level by a Gaussian random walk, -zeta(1/2) / sqrt(2 pi)
_SQUARE = 0.25 + _MEAN**2  # and its mean square
_FAR = 12.0  # in noise units: upstream of -12 noise moves the entrance by less than 1e-7 of the mean time


def _degree(degree):
    """Degree n as a float, above 2."""
    if np.ndim(degree) or not (np.isfinite(degree) and degree > 2):
        raise ValueError(f"degree is {degree!r}: it must be one number above 2; at 2 see `mean_exit_step`")
    return float(degree)


def degenerate_gd_exit_step(lr, degree, radius, start, coefficient=1.0):
    """First step at which batch GD on -c |x|^n / n is outside, |x| >= radius.

    Ceiling of (|x0|^(2-n) - R^(2-n)) / ((n-2) k) + (n-1)/2 ln(R/|x0|)
    - k (n-1) (2n-3) / (12 (n-2)) (R^(n-2) - |x0|^(n-2)), with k = lr * c.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    degree : float
        n, above 2.
    radius, start : float or array
        R and x0, distances from the saddle.
    coefficient : float or array
        c; the force is c |x|^(n-1) away from the saddle.

    Returns
    -------
    float or array
        Steps: a whole number, 0 if outside already, `inf` from the saddle itself.

    Raises
    ------
    ValueError
        If `degree` is not above 2, `lr`, `radius` or `coefficient` not above zero, or a number not finite.

    Notes
    -----
    The first term is the flow's, the others are what Euler's map takes longer. The error before the ceiling is
    O((k R^(n-2))^2): one start in 30 is off by one step at k R^(n-2) = 0.3, one in 300 at 0.1.

    Source: derived, from the flow that Euler's map follows to third order in k.
    """
    n, scale = _degree(degree), positive("lr", lr) * positive("coefficient", coefficient)
    radius, distance = positive("radius", radius), np.abs(real("start", start))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        flow = (distance ** (2 - n) - radius ** (2 - n)) / ((n - 2) * scale)
        late = (n - 1) / 2 * np.log(radius / distance)
        late = late - scale * (n - 1) * (2 * n - 3) / (12 * (n - 2)) * (radius ** (n - 2) - distance ** (n - 2))
        step = np.where(distance > 0, np.maximum(np.ceil(flow + late), 1.0), np.inf)
    return np.where(distance >= radius, 0.0, step)[()]


def degenerate_exit_constant(degree, two_sided=True, entrance=False):
    """Mean time in which noise leaves a degenerate saddle for infinity, in units D^(-(n-2)/n) c^(-2/n).

    A = n^(2/n-2) pi Gamma(1/n) / (sin(2 pi / n) Gamma(1-1/n)) from the saddle of -c |x|^n / n;
    A + B with B = (n^(1/n-1) Gamma(1/n))^2 from the saddle of the one-sided landscape, 2 A + B from minus infinity.

    Parameters
    ----------
    degree : float
        n, above 2.
    two_sided : bool
        Whether both sides fall away.
    entrance : bool
        Start at minus infinity instead of the saddle; one-sided landscape only.

    Returns
    -------
    float
        The constant: 1.1619 at n = 4, 1.6587 at n = 3; for the one-sided n = 3, 3.3174 and from infinity 4.9761.

    Raises
    ------
    ValueError
        If `degree` is not above 2, or an entrance is asked for where both sides fall away.

    Notes
    -----
    Limit lr -> 0 at fixed D = lr * noise^2 / 2, radius to infinity; a finite radius R subtracts
    R^(2-n) / ((n-2) c) from the time, up to a factor 1 + O(D / (c R^n)). `degenerate_mean_exit_step` has both.

    Source: derived, from the double integral of the mean first passage time of the diffusion.
    """
    n = _degree(degree)
    if entrance and two_sided:
        raise ValueError("entrance is True: only the one-sided landscape (two_sided=False) is entered from infinity")
    gamma = special.gamma(1 / n)
    down = n ** (2 / n - 2) * np.pi / np.sin(2 * np.pi / n) * gamma / special.gamma(1 - 1 / n)
    across = 0.0 if two_sided else (n ** (1 / n - 1) * gamma) ** 2
    return float(down * (2 if entrance else 1) + across)


def degenerate_mean_exit_step(lr, degree, noise, radius, start=0.0, coefficient=1.0, two_sided=True):
    """Mean step at which noise and drift carry a chain out of a degenerate saddle.

    T / lr + C + o(1): T = (1/D) int_x0^R dy e^(-F(y)/D) int^y dz e^(F(z)/D), F = -f, D = lr * noise^2 / 2, is the
    diffusion's mean first passage time, and C is the chain's delay: its modified diffusion, and crossing in jumps.

    Parameters
    ----------
    lr : float
        Learning rate.
    degree : float
        n, above 2.
    noise : float
        Standard deviation of the batch gradient, above zero.
    radius : float
        Exit at |x| >= radius, or at x >= radius alone for the one-sided landscape.
    start : float
        x0, inside.
    coefficient : float
        c; the force has size c |x|^(n-1).
    two_sided : bool
        Whether f = -c |x|^n / n, or the one-sided -c x |x|^(n-1) / n.

    Returns
    -------
    float
        Steps.

    Raises
    ------
    ValueError
        If `degree` is not above 2, a positive argument is not above zero, or `start` is outside.

    Notes
    -----
    One step must be short, lr c R^(n-2) < 0.3 and R above a few lr * noise; the error is then below half a step, and
    vanishes like lr where drift carries the chain over the radius, like sqrt(lr) where noise does. Gaussian noise; any
    other to leading order. From far upstream of a one-sided saddle GD must not overshoot it: lr c |x0|^(n-2) < 1.

    Source: derived: the double integral solved as a differential equation; modified diffusion of the Euler-Maruyama
    chain to first order in lr, and mean overshoot of a Gaussian random walk from Spitzer's identity.
    """
    n = _degree(degree)
    for name, value in (("lr", lr), ("noise", noise), ("radius", radius), ("coefficient", coefficient)):
        positive(name, value)
    start = abs(float(real("start", start))) if two_sided else float(real("start", start))
    if start >= radius:
        raise ValueError(f"start is {start!r}: it must lie inside the radius {radius!r}")
    spread = lr * noise**2 / 2
    length = (spread / coefficient) ** (1 / n)
    flow, delay, slope = _passage(n, start / length, radius / length, two_sided)
    drift_per_std = coefficient * radius ** (n - 1) / noise
    step, bend = lr * noise / length, 1 - (radius / length) ** (n - 1) * slope
    # the time goes on beyond the radius as T + slope * z + bend * z^2 / 2, where the chain lands with overshoot z
    crossing = step * _overshoot(drift_per_std) * slope + step**2 * _SQUARE * bend / 2
    return float((flow + crossing) * length**2 / (spread * lr) + delay)


def _passage(n, start, radius, two_sided):
    """Time T, delay of the chain in steps but for the crossing, and dT/dR; in units where D = c = 1.

    With g(y) = e^(-F(y)) int^y e^F and j(y) = e^(-F(y)) int^y b' e^F, T = int g and the first order in lr of the
    modified diffusion, drift b - lr (b b' + D b'') / 2 and coefficient D (1 - lr b'), comes by parts to
    (int (j + b' g) + [b g]) / 4 steps between start and radius.
    """

    def change(y, state):
        g, j, _, _ = state
        force, steepness = abs(y) ** (n - 1), np.sign(y) * (n - 1) * abs(y) ** (n - 2)
        return [1 - force * g, steepness - force * j, g, (j + steepness * g) / 4]

    state, low = np.zeros(4), 0.0
    if not two_sided:
        low = min(-_FAR, 1.5 * start)
        # far upstream both follow the force: an error here is forgotten within a short way
        state[:2] = abs(low) ** (1 - n), -(n - 1) / abs(low)
    precise = {"method": "LSODA", "rtol": 1e-11, "atol": 1e-13}
    if start > low:
        state = integrate.solve_ivp(change, (low, start), state, **precise).y[:, -1]
    state[2:] = 0.0
    first = abs(start) ** (n - 1) * state[0]
    state = integrate.solve_ivp(change, (start, radius), state, **precise).y[:, -1]
    return state[2], state[3] + (radius ** (n - 1) * state[0] - first) / 4, state[0]


def _overshoot(drift):
    """Mean overshoot of a far level by a walk of steps N(drift, 1), drift > 0."""
    if nonnegative("drift", drift) < 0.05:
        return _MEAN + drift / 4 + 0.041467 * drift**2  # the sum below would be long; error drift^3 / 1000
    count = np.arange(1.0, np.ceil(80 / drift**2) + 2)
    root = np.sqrt(count)
    density = np.exp(-((drift * root) ** 2) / 2) / np.sqrt(2 * np.pi)
    return (drift**2 + 1) / (2 * drift) - np.sum(density / root - drift * special.ndtr(-drift * root))
