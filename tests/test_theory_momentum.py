"""Momentum at a saddle with additive noise: closed forms against paths summed by hand and exact covariances."""

import numpy as np
import pytest
from scipy import special

from escape import theory

KINDS = [(0.5, False), (0.9, False), (0.99, False), (0.5, True), (0.9, True), (0.99, True)]
UNSTABLE = [-1e-6, -0.01, -1.0, -30.0]


def path(steps, lr, curvature, momentum, nesterov, x0=0.0, impulse=0.0):
    """Batch descent with momentum from rest, as it is written in an optimizer; `impulse` is added to step 1."""
    last, x, xs = x0, x0, [x0]
    for t in range(steps):
        ahead = x + momentum * (x - last)
        at = ahead if nesterov else x
        last, x = x, ahead - lr * curvature * at + (impulse if t == 0 else 0.0)
        xs.append(x)
    return np.array(xs)


def mean_squares(steps, lr, curvature, noise, start, momentum, nesterov):
    """E x_t^2 as the square of the path without noise and the sum of those of all kicks."""
    free = path(steps, lr, curvature, momentum, nesterov, x0=start)
    answer = path(steps, lr, curvature, momentum, nesterov, impulse=lr * noise)
    return free**2 + np.cumsum(answer**2)


@pytest.mark.parametrize(("momentum", "nesterov"), KINDS)
@pytest.mark.parametrize("curvature", [*UNSTABLE, 0.0, 0.7, 8.0, 30.0])  # complex roots, and overshoot at 30
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_mean_square_is_the_sum_over_all_kicks(momentum, nesterov, curvature, start):
    want = mean_squares(80, 0.1, curvature, 0.2, start, momentum, nesterov)
    got = theory.mean_square(np.arange(81), 0.1, curvature, 0.2, start, momentum=momentum, nesterov=nesterov)
    assert got[0] == start**2
    worst = np.max(np.abs(got - want)[1:] / want[1:])
    assert worst < 1e-11, f"E x_t^2 off the sum over kicks by {worst:.2g}"


@pytest.mark.parametrize("momentum", [0.3, 0.9, 0.99])
def test_stationary_variance_of_a_stable_direction(momentum):
    got = theory.mean_square(10**6, 0.1, 0.7, 0.2, 5.0, momentum=momentum)
    want = 0.1 * 0.2**2 * (1 + momentum) / (0.7 * (1 - momentum) * (2 * (1 + momentum) - 0.1 * 0.7))
    assert abs(got / want - 1) < 1e-10, f"stationary variance {got}, closed form {want}"


def test_mean_square_broadcasts_and_leaves_the_floats_quietly():
    momentum, step = np.array([0.0, 0.5, 0.9]), np.array([[0], [7], [100_000]])
    got = theory.mean_square(step, 0.1, -1.0, 0.2, 0.1, momentum=momentum)
    assert got.shape == (3, 3)
    assert (got[2] == np.inf).all(), f"beyond the floats: {got[2]}"
    for i, beta in enumerate(momentum):
        assert got[1, i] == pytest.approx(mean_squares(7, 0.1, -1.0, 0.2, 0.1, beta, False)[-1], rel=1e-13)
    assert got[1, 0] == pytest.approx(theory.mean_square(7, 0.1, -1.0, 0.2, 0.1), rel=1e-13), "no momentum"
    assert theory.mean_square(100_000, 0.1, -1.0, 0.0, momentum=0.9) == 0, "nothing grows to nothing"
    curvatures, noises = np.array([-1.0, 2.0]), np.array([0.1, 0.3])
    total = theory.total_mean_square([3, 9], 0.1, curvatures, noises, [0.1, 0.2], momentum=0.9, nesterov=True)
    parts = [
        theory.mean_square([3, 9], 0.1, h, c, x, momentum=0.9, nesterov=True)
        for h, c, x in zip(curvatures, noises, (0.1, 0.2), strict=True)
    ]
    assert np.allclose(total, np.sum(parts, 0), rtol=1e-14), "sum over directions"


@pytest.mark.parametrize(("momentum", "nesterov"), KINDS)
@pytest.mark.parametrize("curvature", UNSTABLE)
def test_modes_are_the_roots(momentum, nesterov, curvature):
    grown = 1 - 0.1 * curvature
    b = momentum * grown if nesterov else momentum
    small, large = np.sort(np.roots([1, -(b + grown), b]))
    how = {"momentum": momentum, "nesterov": nesterov}
    got = theory.growth_factor(0.1, curvature, **how), theory.transient_factor(0.1, curvature, **how)
    assert np.allclose(got, (large, small), rtol=1e-9), f"z+ and z- {got}, roots {large}, {small}"
    # at low growth the digits of z+ - 1 count: expm1 of the rate against the equation it solves
    g = np.expm1(theory.growth_rate(0.1, curvature, **how) / 2)
    residual = g**2 + (2 - b - grown) * g + 0.1 * curvature
    assert abs(residual) < 1e-13 * (g**2 + abs(2 - b - grown) * g), f"z+ - 1 = {g} solves to {residual}"


def test_growth_at_the_two_ends():
    weak = theory.growth_factor(1e-6, -1.0, momentum=0.9) - 1
    assert abs(weak / 1e-5 - 1) < 1e-3, f"z+ - 1 = {weak}, leading order lr lam / (1 - momentum)"
    strong = theory.growth_factor(1e-4, -1.0, momentum=1 - 1e-6) - 1
    assert abs(strong / 1e-2 - 1) < 0.01, f"z+ - 1 = {strong}, leading order sqrt(lr lam)"
    complex_pair, real_pair = theory.growth_factor(0.1, np.array([1.0, 60.0]), momentum=0.9)
    assert np.isnan(complex_pair), "an oscillation has no factor"
    late = path(400, 0.1, 60.0, 0.9, False, x0=1.0)[-2:]
    assert abs(real_pair / (late[1] / late[0]) - 1) < 1e-12, f"overshoot {real_pair}"
    assert real_pair < -1


@pytest.mark.parametrize(("momentum", "nesterov"), KINDS)
@pytest.mark.parametrize("curvature", UNSTABLE[1:])
def test_kick_and_start_are_limits_of_exact_moments(momentum, nesterov, curvature):
    how = {"momentum": momentum, "nesterov": nesterov}
    growth = theory.growth_factor(0.1, curvature, **how)
    steps = int(20 / np.log(growth)) + 10
    share = path(steps, 0.1, curvature, momentum, nesterov, x0=1.0)[-1] / growth**steps
    assert abs(theory.start_projection(0.1, curvature, **how) / share - 1) < 1e-10, f"w: descent says {share}"
    kick = np.sqrt(mean_squares(steps, 0.1, curvature, 0.2, 0.0, momentum, nesterov)[-1]) / growth**steps
    assert abs(theory.kick_std(0.1, curvature, 0.2, **how) / kick - 1) < 1e-10, f"s: all kicks say {kick}"


def test_without_momentum_nothing_changes():
    for name, arguments in [
        ("growth_factor", ()), ("kick_std", (0.01,)), ("growth_rate", ()), ("exit_tail_rate", ()),
        ("mean_exit_step", (0.01, 1.0, 0.003)), ("exit_step_variance", ()), ("exit_side_probability", (0.01, 0.001)),
    ]:  # fmt: skip
        function = getattr(theory, name)
        plain = function(0.1, -1.0, *arguments)
        for nesterov in (False, True):
            assert function(0.1, -1.0, *arguments, momentum=0.0, nesterov=nesterov) == plain, name
            # continuous in the momentum: nothing is special about the branch at 0
            near = function(0.1, -1.0, *arguments, momentum=1e-12, nesterov=nesterov)
            assert abs(near / plain - 1) < 1e-10, f"{name} jumps from {plain} to {near}"
    assert theory.start_projection(0.1, -1.0) == 1
    assert theory.transient_factor(0.1, -1.0, momentum=0.0) == 0


def test_averaged_momentum_is_a_smaller_learning_rate():
    x, average, xs = 1.0, 0.0, []
    for _ in range(300):
        average = 0.9 * average + 0.1 * -x
        x -= 0.1 * average
        xs.append(x)
    got = theory.growth_factor(0.1 * (1 - 0.9), -1.0, momentum=0.9)
    assert abs(xs[-1] / xs[-2] / got - 1) < 1e-12, f"iterated {xs[-1] / xs[-2]}, z+ at lr (1 - momentum) {got}"


@pytest.mark.parametrize(("momentum", "nesterov"), KINDS)
@pytest.mark.parametrize("start_over_s", [0.0, 0.7])
def test_law_against_the_exact_free_chain(momentum, nesterov, start_over_s):
    # outside and back again is far rarer than (s / radius)^2, so that P(|x_t| < radius) is P(tau > t) to that order
    how, ratio = {"momentum": momentum, "nesterov": nesterov}, 100.0
    s = theory.kick_std(0.1, -1.0, 0.01, **how)
    start, radius = start_over_s * s, ratio * s
    std = np.sqrt(mean_squares(200, 0.1, -1.0, 0.01, 0.0, momentum, nesterov)[1:])
    mean = path(200, 0.1, -1.0, momentum, nesterov, x0=start)[1:]
    exact = special.ndtr((radius - mean) / std) - special.ndtr((-radius - mean) / std)
    law = theory.survival(np.arange(1, 201), 0.1, -1.0, 0.01, radius, start, **how)
    b = momentum * (1.1 if nesterov else 1)
    growth = theory.growth_factor(0.1, -1.0, **how)
    leave = np.log(ratio) / np.log(growth)
    allowed = (1 + 2 * (1 - growth**-2) * (b - b ** (leave + 1)) / (1 - b)) / ratio**2
    worst = np.abs(exact - law).max()
    assert worst < allowed < 0.005, f"law off the free chain by {worst:.2e}, allowed {allowed:.2e}"
    side = theory.exit_side_probability(0.1, -1.0, 0.01, start, **how)
    assert abs(side - special.ndtr(mean[-1] / std[-1])) < 1e-10, f"side {side}, exact late law"


@pytest.mark.parametrize(("momentum", "nesterov"), KINDS)
def test_moments_quantiles_and_survival_are_one_law(momentum, nesterov):
    how = {"momentum": momentum, "nesterov": nesterov}
    alive = theory.survival(np.arange(2000), 0.01, -1.0, 0.001, 1.0, **how)
    mean, second = alive.sum(), np.sum((2 * np.arange(2000) + 1) * alive)
    assert theory.mean_exit_step(0.01, -1.0, 0.001, 1.0, **how) == pytest.approx(mean, rel=1e-6)
    assert theory.exit_step_variance(0.01, -1.0, **how) == pytest.approx(second - mean**2, rel=1e-6)
    at = theory.exit_quantile([0.01, 0.5, 0.99], 0.01, -1.0, 0.001, 1.0, 0.002, **how)
    back = theory.survival(at, 0.01, -1.0, 0.001, 1.0, 0.002, **how)
    assert np.allclose(back, [0.99, 0.5, 0.01], rtol=1e-9), f"survival at the quantiles {back}"
    tail = np.log(theory.survival(1500, 0.01, -1.0, 0.001, 1.0, **how))
    tail -= np.log(theory.survival(1501, 0.01, -1.0, 0.001, 1.0, **how))
    assert theory.exit_tail_rate(0.01, -1.0, **how) == pytest.approx(tail, rel=1e-9)


def test_known_value():
    # z+ = 1.30623..., by hand from the quadratic z^2 - 2 z + 0.9
    growth = 1 + np.sqrt(0.1)
    assert theory.growth_factor(0.1, -1.0, momentum=0.9) == pytest.approx(growth, rel=1e-14)
    s = 0.1 * 0.01 * growth / (2 * np.sqrt(0.1) * np.sqrt(growth**2 - 1))
    want = (np.log(1 / s) + (np.euler_gamma + np.log(2)) / 2) / np.log(growth) + 0.5
    assert theory.mean_exit_step(0.1, -1.0, 0.01, 1.0, momentum=0.9) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("lr", [1e-3, 0.01, 0.1])
def test_growth_window_is_clean_at_its_first_step(lr, momentum, nesterov):
    how = {"momentum": momentum, "nesterov": nesterov}
    first, last = theory.growth_window(lr, -1.0, 1e-4, 1.0, **how)
    squares = theory.mean_square([first, first + 1], lr, -1.0, 1e-4, **how)
    slope = np.log(squares[1] / squares[0]) / theory.growth_rate(lr, -1.0, **how)
    assert 0.99 < slope < 1.025, f"slope at the window's first step is {slope} of 2 ln z+"
    reach = theory.kick_std(lr, -1.0, 1e-4, **how) * theory.growth_factor(lr, -1.0, **how) ** last
    assert reach <= 0.1 < reach * theory.growth_factor(lr, -1.0, **how), f"{reach} at step {last}"


def test_regime_speaks_of_growth_per_step():
    assert theory.regime(0.1, -1.0, 0.01, 1.0, momentum=0.5) == ()
    assert "growth per step = 0.316" in theory.regime(0.1, -1.0, 0.01, 1.0, momentum=0.9)[0]
    # 15 sqrt(1 + 2 (1 - 1.06466^-2) (.9 + .. + .9^32)), by hand
    assert "below 26.2" in theory.regime(0.01, -1.0, 1.0, 1.0, momentum=0.9)[0]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.growth_factor(0.1, -1.0, momentum=1.0), "momentum"),
        (lambda: theory.growth_factor(0.1, -1.0, momentum=-0.1), "momentum"),
        (lambda: theory.transient_factor(0.1, 1.0, momentum=0.5), "curvature"),
        (lambda: theory.start_projection(0.0, -1.0, momentum=0.5), "lr"),
        (lambda: theory.mean_square(1.5, 0.1, -1.0, 0.1, momentum=0.5), "whole"),
        (lambda: theory.mean_square(-1, 0.1, -1.0, 0.1, momentum=0.5), "step"),
        (lambda: theory.survival(1, 0.1, -1.0, 0.1, 1.0, momentum=2.0), "momentum"),
        (lambda: theory.growth_window(0.1, -1.0, 0.1, 1.0, momentum=0.9), "no clean exponential window"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("lr", [0.001, 0.1, 0.5])
def test_look_ahead_factor_is_that_of_the_late_path(lr, momentum):
    x = path(4000 if lr < 0.01 else 300, lr, -1.0, momentum, True, x0=1.0)
    ahead = x[-1] + momentum * (x[-1] - x[-2])
    factor = theory.look_ahead_factor(lr, -1.0, momentum=momentum)
    assert ahead / x[-1] == pytest.approx(factor, rel=1e-12)
    assert factor == 1 if momentum == 0 else factor > 1
    with pytest.raises(ValueError, match="negative"):
        theory.look_ahead_factor(lr, 1.0, momentum=momentum)
