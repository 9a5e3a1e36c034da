"""The plane against products of one-dimensional chains, closed forms and a second grid."""

import numpy as np
import pytest

from escape import theory


def test_product_of_two_lines_leaves_a_box():
    plane = theory.GaussianPlane(lambda x: x * [1.05, 0.9], 0.1, (-1, -0.4), (1, 0.4))
    first = theory.GaussianChain(lambda x: 1.05 * x, 0.1, -1, 1).exit_survival(2000, 0.1, -1, 1)
    second = theory.GaussianChain(lambda x: 0.9 * x, 0.1, -0.4, 0.4).exit_survival(2000, 0.05, -0.4, 0.4)
    got, error = plane.mean_exit_step((0.1, 0.05)), plane.mean_exit_step_error((0.1, 0.05))
    want = (first * second).sum()
    assert abs(got - want) < error, f"mean exit step {got} +- {error}, product {want}"
    assert error < 1e-3 * want, f"three digits: {got} +- {error}"


def well(resolution=4.0):
    def drift(x):
        return np.stack([x[:, 0] - 0.1 * (x[:, 0] ** 3 - x[:, 0]), 0.8 * x[:, 1]], axis=1)

    return theory.GaussianPlane(drift, (0.14, 0.2), (-2.4, -1.9), (2.4, 1.9), resolution)


def line():
    return theory.GaussianChain(lambda x: x - 0.1 * (x**3 - x), 0.14, -2.6, 2.6)


def test_bystander_changes_nothing():
    plane, starts = well(), np.array([[-0.2, 0.1], [0.3, -0.2], [1.2, 0.0], [-1.2, 0.0]])
    got = plane.committor(starts, lambda x: x[:, 0] > 0.8, lambda x: x[:, 0] < -0.8)
    want = line().committor(starts[:, 0], -0.8, 0.8)
    assert np.allclose(got, want, atol=1e-3), f"committor {got}, line {want}"
    assert got[2:].tolist() == [1, 0]
    got, want = plane.mean_exit_step((-1.0, 0.2), lambda x: x[:, 0] < 0.03), line().mean_exit_step(-1.0, exit_high=0.03)
    assert abs(got / want - 1) < 1e-3, f"mean exit step {got}, line {want}"
    assert plane.mean_exit_step((0.5, 0.2), lambda x: x[:, 0] < 0.03) == 0
    got, want = plane.stationary().occupation(lambda x: x[:, 0] < 0.33), line().stationary().occupation(-np.inf, 0.33)
    assert abs(got / want - 1) < 1e-3, f"occupation {got}, line {want}"


def test_law_of_a_round_well():
    plane = theory.GaussianPlane(lambda x: 0.9 * x, 0.1, (-1.6, -1.6), (1.6, 1.6))
    for radius in (0.15, 0.3):
        got = plane.stationary().occupation(lambda x, r=radius: (x**2).sum(1) < r * r)
        want = -np.expm1(-(radius**2) * 0.19 / 0.02)
        assert abs(got / want - 1) < 1e-3, f"disc of {radius}: {got}, closed form {want}"


def test_disc_is_left_as_a_free_walk_leaves_it():
    plane = theory.GaussianPlane(lambda x: x, 0.1, (-1.2, -1.2), (1.2, 1.2))

    def disc(x):
        return (x**2).sum(1) < 0.64

    got, error = plane.mean_exit_step((0.1, 0.0), disc), plane.mean_exit_step_error((0.1, 0.0), disc)
    assert error < 1e-3 * got, f"three digits: {got} +- {error}"
    # |x|^2 - 2 s^2 t is a martingale, and the walk overshoots by 0.5826 s on average, up to (s / radius)^2
    want = ((0.8 + 0.0583) ** 2 - 0.01) / 0.02
    assert abs(got / want - 1) < 0.02, f"mean exit step {got}, shifted boundary {want}"
    turned = plane.mean_exit_step((0.0, -0.1), disc)
    assert abs(turned / got - 1) < 1e-4, f"a round set from two sides: {got}, {turned}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.GaussianPlane(lambda x: x, 0.1, (1, 1), (0, 2)), "low"),
        (lambda: theory.GaussianPlane(lambda x: x, 0.0, (0, 0), (1, 1)), "std"),
        (lambda: theory.GaussianPlane(lambda x: x, 0.1, (0, 0), (1, 1), 1.0), "resolution"),
        (lambda: theory.GaussianPlane(lambda x: x[:, 0], 0.1, (0, 0), (1, 1)).mean_exit_step((0.5, 0.5)), "drift"),
        (lambda: theory.GaussianPlane(lambda x: x, 1e-3, (0, 0), (9, 9)).mean_exit_step((0.5, 0.5)), "narrow"),
        (lambda: theory.GaussianPlane(lambda x: x, 0.1, (0, 0), (1, 1)).stationary(), "widen"),
        (
            lambda: theory.GaussianPlane(lambda x: x, 0.1, (0, 0), (1, 1)).mean_exit_step(
                (0.5, 0.5), lambda x: x[:, 0] < 0.7
            ),
            "widen",
        ),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
