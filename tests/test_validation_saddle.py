"""Simulated saddles against exact theory, in standard errors, each at a fixed seed.

Each test states its false-alarm rate: the chance that a right program would have failed on a seed taken at random.
"""

import functools
import math

import numpy as np
import pytest
import torch

from escape import (
    Above,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    MiniBatch,
    NormalStart,
    Projection,
    QuadraticSaddle,
    SquaredDistance,
    SquaredProjection,
    estimate,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
F64, F32 = torch.float64, torch.float32
LR, CURVATURE, NOISE, RADIUS = 0.1, -1.0, 0.01, 1.0  # NOISE is that of the batch gradient
CHAINS = 100_000
LINE = torch.zeros(1, dtype=F64)

ORACLES = {
    "Gaussian noise": GaussianNoise(4),
    "batches without replacement": MiniBatch(4),
    "batches with replacement": MiniBatch(4, replacement=True),
}


def line(oracle, noise=NOISE):
    """A saddle in one dimension whose batch gradient has the noise asked for under this oracle."""
    kappa = theory.kappa(oracle.batch_size, 1000, oracle.replacement)
    return QuadraticSaddle.additive([CURVATURE], noise / math.sqrt(kappa), n=1000)


@functools.cache
def exits(name):
    oracle = ORACLES[name]
    until = Above(SquaredDistance(LINE), RADIUS**2)
    data = simulate(line(oracle), oracle, GradientDescent(LR), LINE, steps=600, chains=CHAINS, until=until, seed=21)
    assert (data.status.values == 1).all()
    return data


# Exit from the saddle.


@pytest.mark.parametrize("name", ORACLES)
def test_mean_and_variance_of_the_exit_step(name, within):
    step = exits(name).exit_step.values.astype(float)
    variance = step.var(ddof=1)
    fourth = ((step - step.mean()) ** 4).mean()
    # False alarms: 0.3% each.
    within("mean exit step", step.mean(), 71.454, math.sqrt(variance / CHAINS), 3)
    within("variance of the exit step", variance, 135.89, math.sqrt((fourth - variance**2) / CHAINS), 3)
    # The same numbers from theory, to the digits written here.
    assert abs(theory.mean_exit_step(LR, CURVATURE, NOISE, RADIUS) - 71.454) < 5e-4
    assert abs(theory.exit_step_variance(LR, CURVATURE) - 135.89) < 5e-3


@pytest.mark.parametrize("name", ORACLES)
def test_law_of_the_exit_step(name):
    data = exits(name)
    result = estimate.ks_distance(data, lambda t: theory.survival(t, LR, CURVATURE, NOISE, RADIUS))
    # False alarms: at most 0.1%; the law is one of whole steps, where the test errs to the safe side.
    assert result.p_value > 1e-3, (
        f"distance {result.distance:.5f} from 2Φ(−R a^−t / s): p = {result.p_value:.2g} < 1e-3"
    )
    # The closed form itself, by another route.
    t = np.arange(20, 200, 20)
    s = LR * NOISE / math.sqrt(1.1**2 - 1)
    closed = [1 - math.erfc(RADIUS * 1.1 ** -float(k) / s / math.sqrt(2)) for k in t]
    assert np.abs(theory.survival(t, LR, CURVATURE, NOISE, RADIUS) - closed).max() < 1e-12


def test_a_wrong_law_would_be_noticed():
    """The test of the law has power: a fiftieth more noise is found out."""
    data = exits("Gaussian noise")
    result = estimate.ks_distance(data, lambda t: theory.survival(t, LR, CURVATURE, 1.02 * NOISE, RADIUS))
    assert result.p_value < 1e-3, f"2% more noise goes unnoticed: p = {result.p_value:.2g}"


# Second moments.


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_mean_square_at_every_step(batch_size, replacement, within):
    curvatures, noise, n, start = (-1.0, 0.5), 0.3, 128, (0.002, 0.01)
    landscape = QuadraticSaddle.additive(curvatures, noise, n=n)
    axes = torch.eye(2, dtype=F64)
    observe = {f"x{i}": Projection(torch.zeros(2, dtype=F64), axes[i]) for i in range(2)}
    data = simulate(
        landscape, MiniBatch(batch_size, replacement), GradientDescent(LR), torch.tensor(start, dtype=F64),
        steps=60, chains=8192, observe=observe, seed=batch_size,
    )  # fmt: skip
    sigma = noise * math.sqrt(theory.kappa(batch_size, n, replacement))
    for i in range(2):
        x = data[f"x{i}"].values
        expected = theory.mean_square(data.step.values, LR, curvatures[i], sigma, start[i])
        # False alarms: 60 steps, correlated, at 4 standard errors: below 0.4% for each curvature.
        error = estimate.mean_square_standard_error(x)
        assert error[0] < 1e-15
        within(f"E x_t² along curvature {curvatures[i]}, step", (x**2).mean(1)[1:], expected[1:], error[1:], 4)
        assert abs((x[0] ** 2).mean() - expected[0]) < 1e-15


# Growth rate.


def test_growth_rate_intervals_cover():
    repeats, each = 300, 512
    oracle = GaussianNoise(4, replacement=True)
    data = simulate(
        line(oracle, 0.1), oracle, GradientDescent(LR), LINE, steps=80, every=4, chains=repeats * each,
        observe={"x": Projection(LINE, torch.ones(1))}, seed=5,
    )  # fmt: skip
    values = data.x.values.reshape(-1, repeats, each)
    truth = theory.growth_rate(LR, CURVATURE)
    assert abs(truth - 2 * math.log1p(LR)) < 1e-15
    found = [estimate.growth_rate(values[:, i], data.step.values) for i in range(repeats)]
    covered = np.mean([rate.low <= truth <= rate.high for rate in found])
    # 300 repeats at 95% cover 92 to 98% but for 1.3% of seeds.
    assert 0.92 <= covered <= 0.98, f"95% intervals cover 2 ln(1 + ηλ) in {covered:.1%} of {repeats} repeats"
    # Over four seeds 2 of 1200 were called unreliable; at that rate more than 3 of 300 are in 0.2% of seeds.
    doubted = [rate.reason for rate in found if not rate.reliable]
    assert len(doubted) <= 3, f"{len(doubted)} of {repeats} are called unreliable, the first for: {doubted[0]}"


# Batch gradient descent: no noise but a start off the saddle, or rounding.


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("start", [(0.0, 0.0), (0.0, 1.0)], ids=["saddle", "stable manifold"])
def test_batch_descent_never_leaves_an_exact_saddle(dtype, start):
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=dtype)
    landscape = QuadraticSaddle(torch.tensor([[-1.0, 0.5]], dtype=dtype).expand(4, 2), signs / 8)
    data = simulate(
        landscape, FullBatch(), GradientDescent(LR), torch.tensor(start, dtype=dtype),
        steps=1000, chains=1, block=1, until=Above(SquaredProjection(torch.zeros(2), torch.tensor([1.0, 0.0])), 1e-30),
    )  # fmt: skip
    assert int(data.status[0]) == 0, f"left at step {int(data.exit_step[0])}"
    assert float(data.final[0, 0]) == 0.0
    noisy = simulate(
        landscape, MiniBatch(1), GradientDescent(LR), torch.tensor(start, dtype=dtype),
        steps=1000, chains=8, block=8, until=Above(SquaredProjection(torch.zeros(2), torch.tensor([1.0, 0.0])), 1.0),
    )  # fmt: skip
    assert (noisy.status.values == 1).all(), "SGD leaves the same saddle"


def test_batch_descent_never_leaves_the_saddle_of_an_additive_landscape():
    """Tilts that are centred in floating point: what is left of their mean must not be a force at the saddle."""
    data = simulate(
        QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=1000), FullBatch(), GradientDescent(LR),
        torch.zeros(2, dtype=F64), steps=1000, chains=1, block=1, until=Above(SquaredDistance(torch.zeros(2)), 1.0),
    )  # fmt: skip
    assert int(data.status[0]) == 0, f"batch descent left an exact saddle at step {int(data.exit_step[0])}"


@pytest.mark.parametrize(("dtype", "unit"), [(F64, 2.0**-53), (F32, 2.0**-24)], ids=["float64", "float32"])
@pytest.mark.parametrize("angle", [0.2, 0.6, 1.1])
def test_in_a_rotated_basis_rounding_leaves(dtype, unit, angle):
    """From a point on the stable manifold, whose coordinates are no longer exact."""
    c, s = math.cos(angle), math.sin(angle)
    basis = torch.tensor([[c, -s], [s, c]], dtype=F64)
    landscape = QuadraticSaddle.additive([-1.0, 0.5], 0.0, n=4, basis=basis, dtype=dtype)
    unstable = landscape.critical_points()[0].unstable[:, 0]
    data = simulate(
        landscape, FullBatch(), GradientDescent(LR), landscape.basis[:, 1].clone(),
        steps=1000, chains=1, block=1, until=Above(SquaredProjection(torch.zeros(2), unstable), RADIUS**2),
    )  # fmt: skip
    got, expected = int(data.exit_step[0]), theory.rounding_exit_step(LR, CURVATURE, RADIUS, unit)
    assert abs(expected - math.log(RADIUS / unit) / math.log(1.1)) < 1e-9
    assert int(data.status[0]) == 1
    # An order of magnitude of the kick is 24 steps: the formula is asked to hold within a factor 1.3.
    assert 1 / 1.3 < got / expected < 1.3, f"left at step {got}, ln(R/u)/ln a = {expected:.1f}"


@pytest.mark.parametrize("lr", [0.3, 0.1, 0.01])
def test_batch_descent_leaves_when_it_should(lr):
    log = np.random.default_rng(1).uniform(-12, -0.01, 400)
    starts = 10.0**log * np.random.default_rng(2).choice([-1, 1], 400)
    data = simulate(
        QuadraticSaddle.multiplicative([CURVATURE], 0.0, n=4), FullBatch(), GradientDescent(lr),
        torch.from_numpy(starts)[:, None], steps=4000, chains=400, block=400, until=Above(SquaredDistance(LINE), 1.0),
    )  # fmt: skip
    exact = theory.gd_exit_step(lr, CURVATURE, RADIUS, starts)
    wrong = np.flatnonzero(data.exit_step.values != exact)
    assert not len(wrong), (
        f"{len(wrong)} of 400 starts; from {starts[wrong[0]]:.17g} left at {int(data.exit_step[wrong[0]])}, "
        f"exact {exact[wrong[0]]:g}"
    )
    assert np.array_equal(exact, np.ceil(np.log(RADIUS / np.abs(starts)) / np.log1p(lr)))


def test_descent_from_a_random_start_leaves_as_sgd_from_the_saddle():
    """The whole effect of additive noise is one random start, N(0, s²)."""
    s = float(theory.kick_std(LR, CURVATURE, NOISE))
    assert abs(s - LR * NOISE / math.sqrt(0.21)) < 1e-15
    until = Above(SquaredDistance(LINE), RADIUS**2)
    descent = simulate(
        QuadraticSaddle.multiplicative([CURVATURE], 0.0, n=4), FullBatch(), GradientDescent(LR),
        NormalStart(LINE, s), steps=600, chains=CHAINS, until=until, seed=22,
    )  # fmt: skip
    result = estimate.ks_two_sample(descent, exits("batches without replacement"))
    # False alarms: at most 0.1%.
    assert result.p_value > 1e-3, f"the two laws differ by {result.distance:.5f}: p = {result.p_value:.2g} < 1e-3"
    assert (descent.status.values == 1).all()
