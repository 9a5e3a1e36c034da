"""Successive saddles of batch GD: the octopus of Du et al. by its own gradient, and the limits of the ratio."""

import numpy as np
import pytest

from escape import theory

L, GAMMA, TAU = 1.0, 1.0, np.e


def octopus_exits(lr, starts):
    """Steps at which batch GD on the octopus in two dimensions passes |x_1| = tau and |x_2| = tau; (m,), (m,)."""
    x, y = np.array(starts, dtype=float)
    first, second = np.zeros(len(x)), np.zeros(len(x))
    for step in range(1, 4000):
        slow, between = x <= TAU, (x > TAU) & (x <= 2 * TAU)
        a, b = x - TAU, x - 2 * TAU
        g1 = -2 * GAMMA * x - (14 * L - 10 * GAMMA) / TAU * a**2 + 2 * (5 * L - 3 * GAMMA) / TAU**2 * a**3
        g2 = -GAMMA - (L + GAMMA) * (10 * (b / TAU) ** 3 + 15 * (b / TAU) ** 4 + 6 * (b / TAU) ** 5)
        g2_slope = -30 * (L + GAMMA) / TAU * ((b / TAU) ** 2 + 2 * (b / TAU) ** 3 + (b / TAU) ** 4)
        along = np.where(slow, -2 * GAMMA * x, np.where(between, g1 + g2_slope * y**2, 2 * L * (x - 4 * TAU)))
        across = 2 * y * np.where(slow, L, np.where(between, g2, -GAMMA))
        x, y = x - lr * along, np.where(second > 0, y, y - lr * across)
        first = np.where((first == 0) & (x >= TAU), step, first)
        second = np.where((second == 0) & (y >= TAU), step, second)
    assert (second > 0).all()
    return first, second


def test_ratio_of_the_octopus():
    lr = 1 / (4 * L)
    ratio = theory.successive_exit_ratio(lr, 2 * L, -2 * GAMMA)
    assert abs(ratio - 2.7095) < 1e-4, f"{ratio}, known 2.7095"
    starts = 10.0 ** -np.arange(1.0, 31.0)
    first, second = octopus_exits(lr, (starts, np.full(30, 0.5)))
    slope = np.polyfit(first, second, 1)[0]
    assert abs(slope / ratio - 1) < 2e-3, f"second exit against first: slope {slope}, ratio {ratio}"
    # a stable direction is passed at its curvature to the last digit, and the ceilings move a slope by 1 / 150 at most
    assert abs(second[-1] / first[-1] / ratio - 1) < 0.05, "the ratio itself is a limit, slower than the slope"


def test_limits_of_the_ratio():
    small = theory.successive_exit_ratio(1e-6, 2 * 3.0, -2 * 0.5)
    assert abs(small - (3.0 + 0.5) / 0.5) < 1e-4, f"lr -> 0: {small}, (L + gamma) / gamma = 7"
    assert theory.successive_exit_ratio(0.5, 2.0, -1.0) == np.inf, "one step puts the coordinate on the saddle"
    over = theory.successive_exit_ratio(0.75, 2.0, -1.0)
    assert abs(over - (1 + np.log(2) / np.log(1.75))) < 1e-12, "overshoot shrinks by |1 - lr h|"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [((0.1, -1.0, -1.0), "stable_curvature is"), ((0.1, 1.0, 1.0), "curvature is"), ((0.5, 4.0, -1.0), "below 2")],
)
def test_bad_input_is_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        theory.successive_exit_ratio(*arguments)
