"""The exact chain against direct linear algebra, simulation and the diffusion; Kramers against the exact chain."""

import numpy as np
import pytest
from scipy.integrate import cumulative_simpson, simpson

from escape import theory


def quartic(x):
    return x**4 / 4 - x**2 / 2


def double_well(lr, temperature, low=-2.2, high=2.2):
    return theory.GaussianChain(lambda x: x - lr * (x**3 - x), np.sqrt(2 * lr * temperature), low, high)


def diffusion_time(f, temperature, start, end, low, nodes=400_001):
    """Mean passage time of dx = -f' dt + sqrt(2 T) dW: (1/T) int e^{f/T} int_low^y e^{-f/T}, by Simpson."""
    x = np.linspace(low, end, nodes)
    x[np.argmin(np.abs(x - start))] = start
    inner = cumulative_simpson(np.exp(-f(x) / temperature), x=x, initial=0)
    keep = x >= start
    return simpson(np.exp(f(x[keep]) / temperature) * inner[keep], x=x[keep]) / temperature


def two_slope(x, left=1.0, right=2.0):
    y = np.where(x < 0, left, right) * x
    return (y**2 - 1) ** 2 / 4


def two_slope_force(x, left=1.0, right=2.0):
    k = np.where(x < 0, left, right)
    return k * (k * x) * ((k * x) ** 2 - 1)


def test_uniform_grid_chain_is_the_same_chain():
    # second route: midpoint rule on a fine uniform grid, which converges exponentially on the whole line
    chain = theory.GaussianChain(lambda x: 0.9 * x + 0.02 * np.sin(x), lambda x: 0.2 + 0.05 * np.cos(x), -3.0, 3.0)
    h = 0.005
    grid = np.arange(-3 + h / 2, 3, h)
    mean, std = chain._step(grid)
    step = np.exp(-(((grid - mean[:, None]) / std[:, None]) ** 2) / 2) / np.sqrt(2 * np.pi) / std[:, None] * h
    law = np.linalg.matrix_power(step, 400)[600]
    law /= law.sum()
    cell = np.abs(grid) < 0.5
    got = chain.stationary().occupation(-0.5, 0.5)
    want = law[cell].sum()
    assert abs(got - want) < 1e-5, f"stationary occupation {got}, matrix power {want} (grid error h^2)"
    over_time = chain.occupation_over_time(30, grid[500], -0.5, 0.5)
    for t in (0, 1, 2, 10, 30):
        want = np.linalg.matrix_power(step, t)[500] @ cell
        assert abs(over_time[t] - want) < 1e-5, f"occupation at {t}: {over_time[t]}, matrix power {want}"
    assert abs(chain.occupation_over_time(400, 0.7, -0.5, 0.5)[-1] - got) < 1e-9, "late occupation is not stationary"


def test_stationary_law_of_a_linear_well():
    chain = theory.GaussianChain(lambda x: 0.9 * x, 0.1, -3.0, 3.0)
    law = chain.stationary()
    variance = (law.weights * law.density) @ law.nodes**2
    assert abs(variance / (0.01 / (1 - 0.81)) - 1) < 1e-10, f"variance {variance}, want {0.01 / 0.19}"
    halves = law.occupation(-np.inf, 0), law.occupation(0, np.inf)
    assert np.allclose(halves, 0.5, atol=1e-12), f"a symmetric well is occupied {halves} on its sides"


@pytest.mark.parametrize("start", [0.0, 0.3])
def test_survival_sums_to_the_mean_and_matches_a_simulation(start):
    chain = theory.GaussianChain(lambda x: 1.1 * x, 0.05, -1.0, 1.0)
    alive = chain.exit_survival(600, start, -1.0, 1.0)
    mean = chain.mean_exit_step(start, -1.0, 1.0)
    assert abs(alive.sum() / mean - 1) < 1e-10, f"sum of survival {alive.sum()}, Fredholm {mean}"
    rng = np.random.default_rng(11)
    x, step = np.full(100_000, start), np.zeros(100_000)
    while (inside := np.abs(x) < 1).any():
        step[inside] += 1
        x[inside] = 1.1 * x[inside] + 0.05 * rng.standard_normal(inside.sum())
    error = step.std() / np.sqrt(len(step))
    assert abs(step.mean() - mean) < 4 * error, f"simulated {step.mean()} +- {error}, exact {mean}"


def test_starts_keep_their_shape_and_outside_is_zero():
    chain = theory.GaussianChain(lambda x: 1.1 * x, 0.05, -2.0, 2.0)
    times = chain.mean_exit_step(np.array([[0.0, 0.5], [1.0, -1.5]]), -1.0, 1.0)
    assert times.shape == (2, 2), f"a (2, 2) array of starts gave {times}"
    assert ((times == 0) == [[False, False], [True, True]]).all(), f"only starts outside take no step: {times}"
    alive = chain.exit_survival(3, [0.0, 1.2], -1.0, 1.0)
    assert alive.shape == (4, 2), f"two starts and three steps gave {alive}"
    assert alive[0].tolist() == [1, 0], f"only the start inside is alive at step 0: {alive}"
    assert (alive[:, 1] == 0).all(), f"a start outside has exited for good: {alive}"


def test_breakpoint_restores_accuracy_at_a_jump():
    # s jumps at 0.107: with an edge there the answer is converged, without it is visibly not
    def std(x):
        return np.where(x < 0.107, 0.05, 0.1)

    chain = theory.GaussianChain(lambda x: 0.97 * x, std, -1.0, 1.0, breakpoints=(0.107,))
    value, error = (f(0.0, -0.5, 0.5) for f in (chain.mean_exit_step, chain.mean_exit_step_error))
    assert error < 1e-9 * value, f"with the breakpoint: {value} +- {error}"
    blind = theory.GaussianChain(lambda x: 0.97 * x, std, -1.0, 1.0)
    assert blind.mean_exit_step_error(0.0, -0.5, 0.5) > 1e-5 * value, "the jump should be felt without a breakpoint"
    x, step, rng = np.zeros(20_000), np.zeros(20_000), np.random.default_rng(3)
    while (inside := np.abs(x) < 0.5).any():
        step[inside] += 1
        x[inside] = 0.97 * x[inside] + std(x[inside]) * rng.standard_normal(inside.sum())
    noise = step.std() / np.sqrt(len(step))
    assert abs(step.mean() - value) < 4 * noise, f"simulated {step.mean()} +- {noise}, exact {value}"


@pytest.mark.parametrize(("temperature", "known"), [(0.1, 66.27), (0.05, 729.67), (0.025, 102108.0)])
def test_diffusion_of_the_double_well(temperature, known):
    got = diffusion_time(quartic, temperature, -1.0, 1.0, -3.0)
    assert abs(got / known - 1) < 1e-4, f"T = {temperature}: quadrature {got}, known {known}"


@pytest.mark.parametrize(("lr", "known"), [(0.01, 0.9974), (0.05, 0.9842), (0.1, 0.9616), (0.2, 0.8941), (0.4, 0.6063)])
def test_finite_lr_of_the_double_well(lr, known):
    chain = double_well(lr, 0.025)
    ratio = lr * chain.mean_exit_step(-1.0, exit_high=1.0) / diffusion_time(quartic, 0.025, -1.0, 1.0, -3.0)
    assert abs(ratio - known) < 1e-4, f"lr {lr}: chain over diffusion {ratio}, known {known}"
    correction = theory.finite_lr_correction(lr, 0.025, 2.0, -1.0, -0.25)
    # next order of the prefactor is lr^2 times an order-one constant; of the exponent, lr^3 / T
    assert abs(correction - ratio) < 0.7 * lr**2 + lr**3 / 0.2, f"lr {lr}: correction {correction}, exact {ratio}"
    if lr <= 0.1:
        assert abs(correction - ratio) < 0.25 * (1 - ratio), f"lr {lr}: correction explains too little of {ratio}"


def test_known_drift_of_kramers_with_temperature():
    # -18% and -4% at T = .1 and .025: the error falls as T
    errors = [
        theory.eyring_kramers(0.25, t, 2.0, -1.0) / diffusion_time(quartic, t, -1.0, 1.0, -3.0) - 1
        for t in (0.1, 0.025, 0.0125)
    ]
    assert np.allclose(errors[:2], [-0.183, -0.0416], atol=2e-3), f"Kramers against the diffusion: {errors}"
    assert 1.8 < errors[1] / errors[2] < 2.4, f"the error should halve with T: {errors}"


def test_kramers_to_the_saddle_is_half():
    half = theory.eyring_kramers(0.25, 0.02, 2.0, -1.0, to="saddle")
    exact = diffusion_time(quartic, 0.02, -1.0, 0.0, -3.0)
    assert abs(half / exact - 1) < 0.06, f"to the saddle: Kramers {half}, diffusion {exact}"
    assert half == theory.eyring_kramers(0.25, 0.02, 2.0, -1.0) / 2, "a smooth saddle splits evenly"


@pytest.mark.parametrize("reverse", [False, True])
def test_kramers_of_two_slopes(reverse):
    # f = (y^2 - 1)^2 / 4, y = x or 2 x: minima of curvature 2 and 8, saddle -1 and -4, barrier 1/4 on both sides
    near, far, left, right = (4.0, 1.0, 2.0, 1.0) if reverse else (1.0, 4.0, 1.0, 2.0)
    errors = []
    for t in (0.02, 0.01):
        exact = diffusion_time(lambda x: two_slope(x, left, right), t, -1 / left, 1 / right, -3 / left)
        errors.append(theory.eyring_kramers(0.25, t, 2 * near, -near, -far) / exact - 1)
    assert abs(errors[1]) < 0.02, f"two-slope Kramers errors {errors}"
    assert 1.8 < errors[0] / errors[1] < 2.4, f"the errors should halve with T: {errors}"


def test_kramers_against_the_chain_of_two_slopes():
    lr, t = 0.002, 0.02
    chain = theory.GaussianChain(lambda x: x - lr * two_slope_force(x), np.sqrt(2 * lr * t), -1.9, 1.0, (0.0,))
    exact = chain.mean_exit_step(-1.0, exit_high=0.5)
    diffusion = diffusion_time(two_slope, t, -1.0, 0.5, -3.0) / lr
    kramers = theory.eyring_kramers(0.25, t, 2.0, -1.0, -4.0, lr=lr)
    assert abs(exact / diffusion - 1) < 3e-3, f"chain {exact} steps, diffusion {diffusion}"
    assert abs(kramers / exact - 1) < 0.05, f"chain {exact} steps, Kramers {kramers}"


def test_chain_at_low_temperature_beyond_plain_double_precision():
    # e^50 steps: subtraction of 1 - P would leave no digit
    lr, t = 0.1, 0.005
    exact = lr * double_well(lr, t).mean_exit_step(-1.0, exit_high=1.0)
    theoretical = theory.eyring_kramers(0.25, t, 2.0, -1.0) * theory.finite_lr_correction(lr, t, 2.0, -1.0, -0.25)
    # Kramers misses 1.7 T at leading order, the correction 0.6 lr^2
    assert abs(theoretical / exact - 1) < 0.015, f"time {exact:.6g}, Kramers with correction {theoretical:.6g}"
    split = double_well(lr, t).stationary().occupation(-np.inf, 0.0)
    assert abs(split - 0.5) < 1e-9, f"the symmetric well is split {split}"


def test_temperature_and_bath():
    assert theory.temperature(0.1, 2.0) == pytest.approx(0.2), "lr noise^2 / 2"
    ratio = theory.eyring_kramers(0.25, 0.02, 2.0, -1.0, bath_ratio=9.0) / theory.eyring_kramers(0.25, 0.02, 2.0, -1.0)
    assert abs(ratio - 3) < 1e-12, f"a bath ratio of 9 must triple the time, got {ratio}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.GaussianChain(lambda x: x, 0.0, -1, 1), "std"),
        (lambda: theory.GaussianChain(lambda x: x, 0.1, 1, -1), "low"),
        (lambda: theory.GaussianChain(lambda x: x, 0.1, -1, 1).mean_exit_step(0.0), "exit"),
        (lambda: theory.GaussianChain(lambda x: x, 0.1, -1, 1).mean_exit_step(0.0, exit_high=2.0), "inside"),
        (lambda: theory.GaussianChain(lambda x: x, 0.1, -1, 1).mean_exit_step(0.0, exit_high=0.5), "widen"),
        (lambda: theory.GaussianChain(lambda x: x, 0.1, -1, 1).exit_survival(500, 0.0, exit_high=0.5), "widen"),
        (lambda: theory.GaussianChain(lambda x: x, 0.1, -1, 1).occupation_over_time(500, 0.0, 0, 1), "widen"),
        (lambda: theory.GaussianChain(lambda x: x, 0.1, -1, 1).stationary(), "leaves"),
        (lambda: theory.GaussianChain(lambda x: np.sign(x), 0.01, -2, 2, (0.0,)).stationary(), "parts"),
        (lambda: theory.GaussianChain(lambda x: x, 1e-7, -1, 1).stationary(), "narrow"),
        (lambda: theory.eyring_kramers(0.25, 0.02, 2.0, 1.0), "curvature"),
        (lambda: theory.eyring_kramers(0.25, 0.02, 2.0, -1.0, to="top"), "to is"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
