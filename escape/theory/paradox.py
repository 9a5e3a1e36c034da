"""Learning rates at which the mean square of SGD explodes while every chain collapses onto the critical point."""

from itertools import pairwise

import numpy as np
from scipy import optimize

from escape.theory._batches import batch_law, checked_curvatures
from escape.theory.sampling import kappa


def paradox_windows(curvatures, batch_size=1, replacement=False):
    """All intervals of the learning rate with gamma < 0 < ln rho.

    There E x_t^2 grows exponentially while every chain converges to the critical point.

    Parameters
    ----------
    curvatures, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    (m, 2) array
        Lower and upper ends in ascending order; (0, 2) if there is none.

    Raises
    ------
    ValueError
        As `lyapunov_exponent`.

    Notes
    -----
    gamma is concave in lr between its poles at 1 / h_B, where it is minus infinity, so each piece has at most two
    roots and none is missed. ln rho > 0 for every lr if the mean curvature is not positive, and otherwise above
    2 h / (h^2 + kappa var(h)).

    Source: derived; the window of two curvatures is due to Ziyin, Li, Simon and Ueda (2022), arXiv 2107.11774.
    """
    curvatures = checked_curvatures(curvatures)
    mean, weight = batch_law(curvatures, batch_size, replacement)
    spread = kappa(batch_size, len(curvatures), replacement) * curvatures.var()
    if spread == 0:
        return np.empty((0, 2))  # no noise: gamma is half of ln rho
    average = curvatures.mean()
    floor = 2 * max(average, 0.0) / (average**2 + spread)
    windows = _collapsing(mean, np.exp(weight))
    kept = [(max(low, floor), high) for low, high in windows if high > floor * (1 + 1e-9)]
    return np.array(kept, dtype=float).reshape(-1, 2)


def paradox_window(curvatures, batch_size=1, replacement=False):
    """Lowest interval of the learning rate with gamma < 0 < ln rho.

    Parameters
    ----------
    curvatures, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    (float, float)
        Ends of the interval, (nan, nan) if there is none. `paradox_windows` has all of them.

    Raises
    ------
    ValueError
        As `lyapunov_exponent`.

    Notes
    -----
    For h in {1, -(1 + a)} at batch size 1 it is (a / (1 + a), (a + sqrt(a^2 + 8 a + 8)) / (2 (1 + a))).

    Source: see `paradox_windows`.
    """
    windows = paradox_windows(curvatures, batch_size, replacement)
    return (float(windows[0, 0]), float(windows[0, 1])) if len(windows) else (np.nan, np.nan)


def _collapsing(mean, probability):
    """Intervals of lr with gamma < 0, pieces that meet at a pole joined."""

    def gamma(lr):
        with np.errstate(divide="ignore"):
            return probability @ np.log(np.abs(1 - lr * mean))

    def slope(lr):
        with np.errstate(divide="ignore"):
            return -probability @ (mean / (1 - lr * mean))

    poles = np.unique(1 / mean[mean > 0])
    # beyond 2 / |h_B| every factor exceeds 1; a batch of curvature 0 has factor 1 at every lr
    last = max([2 / np.abs(mean[mean != 0]).min() * (1 + 1e-9), *(2 * poles[-1:])])
    edges = np.concatenate([[0.0], poles, [last]])
    merged = []
    for left, right in pairwise(edges):
        for low, high in _negative_parts(gamma, slope, left, right, left == 0, right == last):
            if merged and low <= merged[-1][1]:
                merged[-1][1] = high
            else:
                merged.append([low, high])
    return merged


def _negative_parts(gamma, slope, left, right, from_zero, to_end):
    """Parts of one piece between poles where the concave function gamma is negative.

    gamma is 0 at lr = 0 and minus infinity at a pole; past the last pole it ends positive.
    """
    width = right - left
    low = 0.0 if from_zero else max(left + 1e-13 * width, np.nextafter(left, right))
    high = right if to_end else min(right - 1e-13 * width, np.nextafter(right, left))
    if to_end:
        # concave and positive at the end: one root at most, and none without a pole on the left
        return [(left, _root(gamma, low, high))] if not from_zero and gamma(low) < 0 else []
    if slope(low) <= 0:
        return [(left, right)]
    top = high if slope(high) >= 0 else optimize.brentq(slope, low, high, xtol=1e-300, rtol=1e-14)
    if gamma(top) <= 0:
        return [(left, right)]
    # a pole of tiny probability may be too narrow for floats, and then there is no root to find beside it
    rising = [] if from_zero or gamma(low) >= 0 else [(left, _root(gamma, low, top))]
    falling = [] if gamma(high) >= 0 else [(_root(gamma, top, high), right)]
    return rising + falling


def _root(gamma, low, high):
    return optimize.brentq(gamma, low, high, xtol=1e-300, rtol=1e-14)
