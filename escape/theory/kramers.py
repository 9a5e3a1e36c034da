"""Escape from a minimum over a barrier at low temperature, and its correction for a finite learning rate.

Additive isotropic Gaussian noise. Curvatures are signed Hessian eigenvalues along the path, so a saddle's is
negative. Exact numbers in one dimension come from `GaussianChain`.
"""

import numpy as np

from escape.theory._checks import nonnegative, positive, real, unstable


def temperature(lr, noise):
    """Temperature of SGD, T = lr noise^2 / 2.

    The matching diffusion is dx = -grad f dt + sqrt(2 T) dW with time t = lr * steps.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    noise : float or array
        Standard deviation of the batch gradient in each direction.

    Returns
    -------
    float or array
        T, in units of the loss.

    Raises
    ------
    ValueError
        If `lr` is not above zero or `noise` is negative.

    Notes
    -----
    Defined where the noise is isotropic; leading order in lr * curvature.

    Source: derived.
    """
    return positive("lr", lr) * nonnegative("noise", noise) ** 2 / 2


def eyring_kramers(
    barrier, temperature, minimum_curvature, saddle_curvature, far_curvature=None, bath_ratio=1.0, to="minimum", lr=None
):
    """Mean time from a minimum to the next one through one saddle.

    2 pi / sqrt(h_min) * (1 / sqrt(k_near) + 1 / sqrt(k_far)) / 2 * sqrt(bath_ratio) * exp(barrier / T)
    with k = -curvature on either side of the saddle; on a smooth saddle this is
    2 pi / |h_saddle| * sqrt(|det H_saddle| / det H_min) * exp(barrier / T). To the saddle itself only the near side
    counts, and half of it: 2 pi / sqrt(h_min) / (2 sqrt(k_near)).

    Parameters
    ----------
    barrier : float or array
        f(saddle) - f(minimum), above zero.
    temperature : float or array
        T, as `temperature` gives it.
    minimum_curvature : float or array
        Positive curvature of the minimum along the path.
    saddle_curvature : float or array
        Negative curvature of the saddle along the path, on the minimum's side.
    far_curvature : float or array, optional
        Negative curvature beyond the saddle if the two sides differ.
    bath_ratio : float or array
        Product of the saddle's positive eigenvalues over that of the minimum's others; 1 in one dimension.
    to : {"minimum", "saddle"}
        Where the clock stops.
    lr : float or array, optional
        Learning rate to turn the time into steps.

    Returns
    -------
    float or array
        Time in units of lr * steps, or in steps if `lr` is given. For several saddles see
        `combined_escape_time`.

    Raises
    ------
    ValueError
        If an argument has the wrong sign or `to` is neither of the two.

    Notes
    -----
    barrier >> T and lr * curvature << 1. The relative error is O(T) from a smooth well to the next minimum, and
    O(sqrt T) to the saddle itself or where third derivatives differ between the saddle's sides. A chain must jump over
    the point where its clock stops: to the saddle itself it takes longer by 1 + 0.66 sqrt(lr |saddle_curvature|).

    Source: Kramers (1940), Physica 7, 284; Bovier, Eckhoff, Gayrard and Klein (2004), J. Eur. Math. Soc. 6, 399;
    the two-sided form is derived by Laplace's method from the exact double integral.
    """
    if to not in ("minimum", "saddle"):
        raise ValueError(f"to is {to!r}: it must be 'minimum' or 'saddle'")
    near = 0.5 / np.sqrt(-unstable(saddle_curvature))
    far = near if far_curvature is None else 0.5 / np.sqrt(-unstable(far_curvature))
    width = near + far if to == "minimum" else near
    attempt = 2 * np.pi * width * np.sqrt(positive("bath_ratio", bath_ratio))
    attempt = attempt / np.sqrt(positive("minimum_curvature", minimum_curvature))
    time = attempt * np.exp(positive("barrier", barrier) / positive("temperature", temperature))
    return time if lr is None else time / positive("lr", lr)


def combined_escape_time(*times):
    """Mean time to leave a minimum through the first of several saddles, from the mean times through each alone.

    1 / sum_i (1 / time_i): escapes are independent and memoryless, so their rates add.

    Parameters
    ----------
    *times : float or array
        Mean times through each saddle, as `eyring_kramers` gives them; `inf` for a closed one.

    Returns
    -------
    float or array
        Mean time, in the unit of the times; the chance to leave through saddle i is this over time_i.

    Raises
    ------
    ValueError
        If no time is given or one is not above zero.

    Notes
    -----
    Barriers >> T, as in `eyring_kramers`: a chain is back in equilibrium before it leaves.

    Source: Bovier, Eckhoff, Gayrard and Klein (2004), J. Eur. Math. Soc. 6, 399.
    """
    if not times:
        raise ValueError("times is empty: give the mean time through each saddle")
    times = [np.asarray(time, dtype=float) for time in times]
    if not all((time > 0).all() for time in times):
        raise ValueError(f"times are {times!r}: each must be above zero")
    rate = sum(1 / time for time in times)
    with np.errstate(divide="ignore"):
        return (1 / rate)[()]


def finite_lr_correction(lr, temperature, minimum_curvature, saddle_curvature, force_integral):
    """Mean escape time of the chain over that of its diffusion, smooth wells in one dimension.

    [1 - lr (h_min - |h_saddle|) / 4] exp(lr^2 I / (12 T)), I = int f'^2 f''' dx from minimum to saddle.

    Parameters
    ----------
    lr : float or array
        Learning rate.
    temperature : float or array
        T, held fixed as lr changes.
    minimum_curvature, saddle_curvature : float or array
        Positive curvature at the minimum, negative at the saddle.
    force_integral : float or array
        I = -2 int f''^2 df from minimum to saddle, so never above zero; -1/4 for x^4/4 - x^2/2.

    Returns
    -------
    float or array
        Ratio, without unit; multiplies `eyring_kramers`.

    Raises
    ------
    ValueError
        If an argument has the wrong sign or is not finite.

    Notes
    -----
    Leading orders: the prefactor to O(lr), the exponent to O(lr^2). The barrier itself is unchanged at O(lr).
    Additive Gaussian noise; fails at kinks of f'. On x^4/4 - x^2/2 at T = 0.025 it is 0.1% too high at lr = 0.05,
    0.6% at 0.1 and 2.8% at 0.2. The clock stops far beyond the saddle, as in the next minimum.

    Source: derived.
    """
    slope = positive("minimum_curvature", minimum_curvature) + unstable(saddle_curvature)
    exponent = positive("lr", lr) ** 2 * real("force_integral", force_integral)
    return (1 - lr * slope / 4) * np.exp(exponent / (12 * positive("temperature", temperature)))
