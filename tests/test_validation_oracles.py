"""The ladder of oracles at a saddle: what `predict` and theory say of each, against simulation."""

import functools
import math

import numpy as np
import pytest
import torch
from cases import rotation

from escape import (
    Above,
    DiagonalNoise,
    GaussianNoise,
    GradientDescent,
    HessianNoise,
    IsotropicNoise,
    LeadingNoise,
    MiniBatch,
    Projection,
    QuadraticSaddle,
    Reshuffled,
    SquaredDistance,
    SquaredProjection,
    StableNoise,
    predict,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
F64 = torch.float64
LR, CHAINS = 0.1, 10_000
# One escape direction that is no coordinate axis, and a noise that is diagonal in neither.
COVARIANCE = [[0.04, 0.03, 0.0], [0.03, 0.09, -0.02], [0.0, -0.02, 0.02]]
SADDLE = QuadraticSaddle.additive([-1.0, 0.5, 2.0], torch.tensor(COVARIANCE), n=100, basis=rotation(3, 4))
POINT = SADDLE.critical_points()[0]
AWAY = POINT.location + 0.3
RADIUS = 2.0

ORACLES = {
    "mini-batch": MiniBatch(8),
    "Gaussian": GaussianNoise(8),
    "diagonal": DiagonalNoise(8),
    "leading": LeadingNoise(8),
    "leading, frozen": LeadingNoise(8, at=AWAY),
    "isotropic": IsotropicNoise(8),
    "Hessian": HessianNoise(8),
    "Hessian, frozen": HessianNoise(8, True, at=AWAY),
    "stable, alpha 2": StableNoise(2.0, batch_size=8),
}


@pytest.mark.parametrize("name", ORACLES)
def test_predicted_exit_of_every_gaussian_surrogate(name, compare):
    oracle, v = ORACLES[name], POINT.directions[:, 0]
    found = predict(SADDLE, oracle, GradientDescent(LR), POINT, radius=RADIUS)
    assert found.noise_type == "I"
    assert found.law == "linear saddle, additive noise"
    until = Above(SquaredProjection(POINT.location, v), RADIUS**2)
    seed = 300 + list(ORACLES).index(name)
    data = simulate(
        SADDLE, oracle, GradientDescent(LR), POINT.location, steps=500, chains=CHAINS, until=until, seed=seed
    )
    assert (data.status.values == 1).all()
    step = data.exit_step.values.astype(float)
    error = step.std() / math.sqrt(CHAINS)
    # The law's own error, of the order of (s / radius)², is below a tenth of a standard error.
    assert 20 < RADIUS / found.kick_std < 500
    compare(theory.mean_exit_step, f"{name} noise, predicted", step.mean(), found.mean_exit_step, error)


def test_the_surrogates_predict_different_exits():
    """So that none of the comparisons above could have been made with the numbers of another."""
    means = {
        predict(SADDLE, oracle, GradientDescent(LR), POINT, radius=RADIUS).mean_exit_step
        for name, oracle in ORACLES.items()
        if name in ("mini-batch", "diagonal", "leading", "isotropic", "Hessian")
    }
    gaps = np.diff(sorted(means))
    # A standard error of a mean is 0.12 steps.
    assert len(means) == 5
    assert gaps.min() > 0.2, f"means {sorted(means)}"


# Random reshuffling, through the engine.

EPOCHS = QuadraticSaddle.additive([-0.5], 0.3, n=60)
LINE = torch.zeros(1, dtype=F64)


def test_moments_of_reshuffled_epochs(compare):
    k = 20
    for curvature, epochs, start, seed in ((-0.5, 1, 0.0, 320), (0.8, 3, 0.1, 321)):
        landscape = QuadraticSaddle.additive([curvature], 0.3, n=60)
        data = simulate(
            landscape, Reshuffled(3), GradientDescent(LR), LINE + start, steps=k * epochs, chains=20_000, seed=seed
        )
        square = data.final.values[:, 0] ** 2
        error = square.std() / math.sqrt(len(square))
        if start:
            exact = theory.reshuffling_mean_square(epochs, LR, curvature, 0.3, 60, 3, start)
            compare(theory.reshuffling_mean_square, f"engine, {epochs} epochs", square.mean(), exact, error)
        else:
            exact = theory.reshuffling_epoch_variance(LR, curvature, 0.3, 60, 3)
            compare(theory.reshuffling_epoch_variance, "engine", square.mean(), exact, error)


def test_exit_under_reshuffling_is_predicted(compare):
    landscape, point = EPOCHS, EPOCHS.critical_points()[0]
    optimizer, radius = GradientDescent(LR), 5.0
    found = predict(landscape, Reshuffled(3), optimizer, point, radius=radius)
    assert found.law == "linear saddle, additive noise, reshuffled"
    kick = theory.reshuffling_kick_std(LR, -0.5, 0.3, 60, 3)
    assert found.kick_std == pytest.approx(kick, rel=1e-12)
    exact = theory.reshuffling_mean_exit_step(LR, -0.5, 0.3, radius, 60, 3)
    assert found.mean_exit_step == pytest.approx(exact, rel=1e-12)
    until = Above(SquaredDistance(LINE), radius**2)
    data = simulate(landscape, Reshuffled(3), optimizer, LINE, steps=600, chains=CHAINS, until=until, seed=322)
    step = data.exit_step.values.astype(float)
    assert (data.status.values == 1).all()
    compare(theory.reshuffling_mean_exit_step, "engine", step.mean(), exact, step.std() / math.sqrt(CHAINS))
    # Fresh batches leave sooner, by some thirty standard errors.
    assert predict(landscape, MiniBatch(3), optimizer, point, radius=radius).mean_exit_step < exact - 3


# Stable noise.

STABLE = QuadraticSaddle.additive([-1.0], 0.1, n=10)
RATIO = 1e5  # radius over the scale of the kick: the law's error is of the order of RATIO^-alpha


def scale_of(alpha):
    return 1 / (RATIO * float(theory.stable_kick_scale(LR, -1.0, alpha, 1.0)))


@functools.cache
def stable_exits(alpha):
    until = Above(SquaredDistance(LINE), 1.0)
    oracle, seed = StableNoise(alpha, scale_of(alpha)), 330 + int(10 * alpha)
    data = simulate(STABLE, oracle, GradientDescent(LR), LINE, steps=800, chains=CHAINS, until=until, seed=seed)
    assert (data.status.values == 1).all()
    return data.exit_step.values.astype(float)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 1.9])
def test_exit_under_stable_noise(alpha, compare):
    step, scale, point = stable_exits(alpha), scale_of(alpha), STABLE.critical_points()[0]
    mean = theory.stable_saddle_exit_step(LR, -1.0, alpha, scale, 1.0)
    variance = theory.stable_saddle_exit_variance(LR, -1.0, alpha)
    found = predict(STABLE, StableNoise(alpha, scale), GradientDescent(LR), point, radius=1.0)
    assert found.mean_exit_step == pytest.approx(mean, rel=1e-12)
    assert found.exit_step_std == pytest.approx(math.sqrt(variance), rel=1e-12)
    assert found.noise == math.inf
    compare(theory.stable_saddle_exit_step, f"alpha {alpha}", step.mean(), mean, step.std() / math.sqrt(CHAINS))
    fourth = ((step - step.mean()) ** 4).mean()
    error = math.sqrt((fourth - step.var() ** 2) / CHAINS)
    compare(theory.stable_saddle_exit_variance, f"alpha {alpha}", step.var(), variance, error)


@pytest.mark.parametrize("share", [0.9, 0.05])
def test_survival_under_stable_noise(share, compare):
    """At a step of many chains inside, and of few; each from an index of its own."""
    alpha = 1.5 if share > 0.5 else 1.0
    step = stable_exits(alpha)
    at = int(np.quantile(step, 1 - share))
    exact = theory.stable_saddle_survival(at, LR, -1.0, alpha, scale_of(alpha), 1.0)
    error = math.sqrt(exact * (1 - exact) / CHAINS)
    compare(theory.stable_saddle_survival, f"alpha {alpha}, share {share}", (step > at).mean(), exact, error)


@pytest.mark.parametrize("alpha", [0.7, 1.6])
def test_kick_scale_under_stable_noise(alpha, compare):
    """From E cos(t Z) = exp(−(st)^α) at t = 1/s."""
    oracle, seed = StableNoise(alpha, 0.3), 350 + int(10 * alpha)
    observe = {"x": Projection(LINE, torch.ones(1, dtype=F64))}
    data = simulate(
        STABLE, oracle, GradientDescent(LR), LINE, steps=160, chains=20_000, observe=observe, every=160, seed=seed
    )
    exact = theory.stable_kick_scale(LR, -1.0, alpha, 0.3)
    value = np.cos(data.x.values[-1] * (1 + LR) ** -160.0 / exact)
    found = (-math.log(value.mean())) ** (1 / alpha) * exact
    slope = exact / (alpha * math.exp(-1))
    compare(theory.stable_kick_scale, f"alpha {alpha}", found, exact, slope * value.std() / math.sqrt(len(value)))


def test_exit_from_two_equal_directions_under_stable_noise(compare):
    alpha, origin = 1.4, torch.zeros(2, dtype=F64)
    landscape = QuadraticSaddle.additive([-1.0, -1.0], 0.1, n=10)
    scale = scale_of(alpha)
    until = Above(SquaredDistance(origin), 1.0)
    oracle = StableNoise(alpha, scale)
    data = simulate(landscape, oracle, GradientDescent(LR), origin, steps=800, chains=CHAINS, until=until, seed=360)
    step = data.exit_step.values.astype(float)
    found = predict(landscape, oracle, GradientDescent(LR), landscape.critical_points()[0], radius=1.0)
    assert found.law == "linear saddle, stable noise, 2 equal directions"
    error = step.std() / math.sqrt(CHAINS)
    compare(theory.stable_saddle_exit_step, "two directions", step.mean(), found.mean_exit_step, error)
    fourth = ((step - step.mean()) ** 4).mean()
    error = math.sqrt((fourth - step.var() ** 2) / CHAINS)
    compare(theory.stable_saddle_exit_variance, "two directions", step.var(), found.exit_step_std**2, error)
