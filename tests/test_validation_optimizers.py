"""Every optimizer that theory knows, in the engine at a saddle or in a well, each from a seed of its own."""

import math

import numpy as np
import pytest
import torch

from escape import (
    Above,
    Adam,
    Cosine,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    InverseTime,
    Langevin,
    MiniBatch,
    Nesterov,
    PerturbedGradientDescent,
    Projection,
    QuadraticSaddle,
    SquaredProjection,
    StepDecay,
    WarmUp,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
LR, CURVATURE, NOISE, RADIUS, MOMENTUM = 0.1, -1.0, 0.01, 1.0, 0.9
CHAINS = 20_000
F64 = torch.float64


def line(curvature=CURVATURE, noise=NOISE, oracle=None, d=1):
    """One direction of a curvature, and d − 1 stable ones, whose batch gradient has this noise under the oracle."""
    kappa = theory.kappa(oracle.batch_size, 1000, oracle.replacement) if oracle else 1.0
    return QuadraticSaddle.additive([curvature] + [0.5] * (d - 1), noise / math.sqrt(kappa), n=1000)


def run(seed, optimizer, oracle=None, start=0.0, steps=900, until=True, d=1, chains=CHAINS, radius=RADIUS, **more):
    """Chains along the first direction; without an oracle, batch descent."""
    axis, point = torch.eye(d, dtype=F64)[0], torch.zeros(d, dtype=F64)
    landscape = more.pop("landscape", None) or line(oracle=oracle, d=d)
    return simulate(
        landscape, oracle or FullBatch(), optimizer, point + start * axis, steps=steps, chains=chains, seed=seed,
        until=Above(SquaredProjection(point, axis[:, None]), radius**2) if until else None,
        observe=None if until else {"x": Projection(point, axis)}, every=1 if until else steps // 3, **more,
    )  # fmt: skip


def exit_steps(data):
    assert (data.status.values == 1).all(), "the law is that of chains that all leave"
    return data.exit_step.values.astype(float)


def mean_error(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def variance_error(values):
    away = (values - values.mean()) ** 2
    return away.mean(), away.std() / math.sqrt(len(values))


def beside(measured, predicted):
    return measured[0], predicted, measured[1]


# Momentum.

MOMENTA = {
    "heavy ball": (HeavyBall(LR, MOMENTUM), {"momentum": MOMENTUM}, 1.0),
    "Nesterov": (
        Nesterov(LR, MOMENTUM),
        {"momentum": MOMENTUM, "nesterov": True},
        float(theory.look_ahead_factor(LR, CURVATURE, momentum=MOMENTUM)),
    ),
}
EACH = pytest.mark.parametrize(("name", "number"), [("heavy ball", 0), ("Nesterov", 1)])


@EACH
def test_growth_factor_without_noise(name, number):
    """To rounding: batch descent grows by z+ a step, from the share of a start at rest that grows."""
    optimizer, how, ahead = MOMENTA[name]
    x = run(0, optimizer, start=1e-3, steps=300, until=False, chains=1).x.values[:, 0]
    growth = theory.growth_factor(LR, CURVATURE, **how)
    assert abs((x[3] / x[2]) ** (1 / 100) / growth - 1) < 1e-13
    expected = 1e-3 * theory.start_projection(LR, CURVATURE, **how) * ahead * growth**300
    assert abs(x[3] / expected - 1) < 1e-11


@EACH
def test_growth_factor_of_the_mean(name, number, compare):
    optimizer, how, _ = MOMENTA[name]
    x = run(701 + number, optimizer, MiniBatch(4), start=0.03, steps=60, until=False).x.values
    ratio = x[3].mean() / x[2].mean()
    error = (x[3] - ratio * x[2]).std() / x[2].mean() / math.sqrt(CHAINS)
    growth = ratio ** (1 / 20)
    predicted = theory.growth_factor(LR, CURVATURE, **how)
    compare(theory.growth_factor, f"engine, {name}", growth, predicted, growth * error / ratio / 20)


@EACH
def test_mean_exit_step(name, number, compare):
    optimizer, how, ahead = MOMENTA[name]
    steps = exit_steps(run(703 + number, optimizer, GaussianNoise(4)))
    predicted = theory.mean_exit_step(LR, CURVATURE, NOISE, RADIUS / ahead, **how)
    compare(theory.mean_exit_step, f"engine, {name}", *beside(mean_error(steps), predicted))
    predicted = theory.exit_step_variance(LR, CURVATURE, **how)
    compare(theory.exit_step_variance, f"engine, {name}", *beside(variance_error(steps), predicted))
    start = 1.5 * theory.kick_std(LR, CURVATURE, NOISE, **how)
    at = math.floor(theory.exit_quantile(0.5, LR, CURVATURE, NOISE, RADIUS / ahead, start, **how))
    off = exit_steps(run(705 + number, optimizer, GaussianNoise(4), start=start))
    predicted = theory.survival(at, LR, CURVATURE, NOISE, RADIUS / ahead, start, **how)
    error = math.sqrt(predicted * (1 - predicted) / CHAINS)
    compare(theory.survival, f"engine, {name}, off the saddle", np.mean(off > at), predicted, error)


def test_look_ahead_factor(compare):
    """The kick at the point of the gradient over that of the iterate, which is told by the point and its memory."""
    x = run(707, Nesterov(LR, MOMENTUM), MiniBatch(4), steps=150, until=False).x.values[-1]
    how = MOMENTA["Nesterov"][1]
    unit = theory.growth_factor(LR, CURVATURE, **how) ** 150 * theory.kick_std(LR, CURVATURE, NOISE, **how)
    variance, error = variance_error(x / unit)
    measured, error = math.sqrt(variance), error / (2 * math.sqrt(variance))
    compare(theory.look_ahead_factor, "kick", measured, MOMENTA["Nesterov"][2], error)
    assert MOMENTA["Nesterov"][2] > 1 + 20 * error, "the factor is too near to one for this test to tell"


# Adam.


def test_without_noise_adam_leaves_at_the_same_step_from_anywhere():
    """Descent does not: it needs a step for every factor of a."""
    lr, starts = 1e-3, np.array([1e-3, 1e-8, 1e-12])
    three = {"start": torch.from_numpy(starts)[:, None], "chains": 3, "block": 3}
    assert (theory.adam_exit_step(lr, CURVATURE, RADIUS, starts, eps=0) == 626).all()
    assert (exit_steps(run(0, Adam(lr, eps=0), **three)) == 626).all()
    # eps counts beside the gradient after one step, lr |h|, and not beside that at the start.
    assert (exit_steps(run(0, Adam(lr, eps=1e-5), **three)) == 626).all()
    coarse = exit_steps(run(0, Adam(lr, eps=1e-2), **three))
    assert (coarse == theory.adam_exit_step(lr, CURVATURE, RADIUS, starts, eps=1e-2)).all()
    assert (np.diff(coarse) > 10).all()
    plain = theory.gd_exit_step(lr, CURVATURE, RADIUS, starts)
    assert (plain == np.ceil(-np.log(starts) / math.log1p(lr))).all()
    assert exit_steps(run(0, GradientDescent(lr), start=starts[0], chains=1, block=1, steps=7000)) == plain[0] == 6912


@pytest.mark.parametrize(("beta1", "beta2", "seed"), [(0.0, 0.8, 711), (0.9, 0.995, 712)])
def test_adam_in_noise_grows_as_its_plain_equivalent(beta1, beta2, seed, compare):
    """Between two steps, of chains whose gradient is far below its noise; v is settled by the first of them."""
    lr, noise, oracle = 0.005, 5.0, GaussianNoise(4)
    data = run(
        seed, Adam(lr, beta1, beta2, eps=0), oracle, start=0.15, steps=900, until=False, chains=4096,
        landscape=line(noise=noise, oracle=oracle),
    )  # fmt: skip
    early, late = data.x.values[1], data.x.values[3]
    ratio = late.mean() / early.mean()
    error = (late - ratio * early).std() / late.mean() / math.sqrt(len(late)) / 600
    predicted = math.log(theory.adaptive_growth_factor(lr, CURVATURE, noise, beta1, beta2))
    measured = math.log(ratio) / 600
    compare(theory.adaptive_growth_factor, f"engine, log growth, beta1 = {beta1}", measured, predicted, error)


# Kicks.


def test_perturbed_descent(compare):
    """One kick, in the first step, where the gradient vanishes; d = 5."""
    d, kick = 5, 0.01
    optimizer = PerturbedGradientDescent(LR, kick, threshold=1e-6, interval=10**6)
    steps = exit_steps(run(721, optimizer, d=d))
    args = LR, CURVATURE, kick, d, RADIUS
    predicted = theory.perturbed_mean_exit_step(*args)
    compare(theory.perturbed_mean_exit_step, "engine", *beside(mean_error(steps), predicted))
    predicted = theory.perturbed_exit_step_variance(*args)
    compare(theory.perturbed_exit_step_variance, "engine", *beside(variance_error(steps), predicted))
    other = exit_steps(run(722, optimizer, d=d))
    predicted = theory.perturbed_survival(55, *args)
    error = math.sqrt(predicted * (1 - predicted) / CHAINS)
    compare(theory.perturbed_survival, "engine", np.mean(other > 55), predicted, error)


@pytest.mark.parametrize(("oracle", "seed"), [(None, 731), (MiniBatch(4), 732)])
def test_langevin(oracle, seed, compare):
    """In a well and at a saddle, where the noise of batches comes on top."""
    temperature = 1e-5
    noise = math.hypot(theory.langevin_noise(LR, temperature), NOISE if oracle else 0.0)
    well = line(1.0, oracle=oracle)
    x = run(seed, Langevin(LR, temperature), oracle, steps=150, until=False, landscape=well).x.values[-1]
    predicted = theory.stationary_variance(LR, 1.0, noise)
    compare(theory.stationary_variance, f"Langevin, {oracle}", *beside(variance_error(x), predicted))
    x = run(seed + 2, Langevin(LR, temperature), oracle, start=0.01, steps=30, until=False).x.values[-1]
    predicted = theory.mean_square(30, LR, CURVATURE, noise, 0.01)
    compare(theory.mean_square, f"Langevin, {oracle}", *beside(mean_error(x**2), predicted))
    steps = exit_steps(run(seed + 4, Langevin(LR, temperature), oracle))
    predicted = theory.mean_exit_step(LR, CURVATURE, noise, RADIUS)
    compare(theory.mean_exit_step, f"Langevin, {oracle}", *beside(mean_error(steps), predicted))


# Schedules.

SCHEDULES = {
    "step decay": StepDecay(0.2, 20, 0.5),
    "cosine": Cosine(0.15, 90, 0.02),
    "warm-up": WarmUp(0.1, 40, 0.05),
    "inverse time": InverseTime(2.0, 10.0),
}


@pytest.mark.parametrize(("name", "seed"), [(name, 741 + i) for i, name in enumerate(SCHEDULES)])
def test_mean_square_under_a_schedule(name, seed, compare):
    lrs = np.array([SCHEDULES[name](t) for t in range(60)])
    x = run(seed, GradientDescent(SCHEDULES[name]), MiniBatch(4), start=0.004, steps=60, until=False).x.values[-1]
    predicted = theory.mean_square_schedule(lrs, CURVATURE, NOISE, 0.004)[-1]
    compare(theory.mean_square_schedule, f"engine, {name}", *beside(mean_error(x**2), predicted))


@pytest.mark.parametrize(("name", "seed"), [(name, 751 + i) for i, name in enumerate(SCHEDULES)])
def test_mean_exit_step_under_a_schedule(name, seed, compare):
    lrs = np.array([SCHEDULES[name](t) for t in range(120)])
    data = run(seed, GradientDescent(SCHEDULES[name]), GaussianNoise(4), steps=120)
    assert (data.exit_step.values[data.status.values == 0] == 120).all()
    predicted = theory.mean_exit_step_schedule(lrs, CURVATURE, NOISE, RADIUS)
    measured = mean_error(data.exit_step.values.astype(float))
    compare(theory.mean_exit_step_schedule, f"engine, {name}", *beside(measured, predicted))


def test_growth_under_inverse_time_is_a_power(compare):
    """mu = c |h| = 1: E x² grows as t², and chains leave at a step that is a power of the radius."""
    schedule = InverseTime(1.0, 1.0)
    early = run(761, GradientDescent(schedule), MiniBatch(4), steps=30, until=False).x.values[-1] ** 2
    late = run(762, GradientDescent(schedule), MiniBatch(4), steps=300, until=False).x.values[-1] ** 2
    slope = math.log(late.mean() / early.mean()) / math.log(301 / 31)
    parts = [values.std() / values.mean() / math.sqrt(CHAINS) for values in (early, late)]
    exact = [theory.mean_square_schedule([schedule(t) for t in range(n)], CURVATURE, NOISE)[-1] for n in (30, 300)]
    local = math.log(exact[1] / exact[0]) / math.log(301 / 31)
    predicted = theory.decay_growth_exponent(1.0, CURVATURE)
    # Between these steps the exponent is within 2% of its limit; the rest is known exactly.
    assert abs(local - predicted) < 0.02 * predicted
    error = math.hypot(*parts) / math.log(301 / 31)
    compare(theory.decay_growth_exponent, "engine", slope - local + predicted, predicted, error)
    at = math.ceil(theory.decay_exit_quantile(0.3, 1.0, 1.0, CURVATURE, NOISE, RADIUS))
    share = theory.survival_schedule([schedule(t) for t in range(at)], CURVATURE, NOISE, RADIUS)[-1]
    left = run(763, GradientDescent(schedule), GaussianNoise(4), steps=at).status.values == 1
    compare(theory.decay_exit_quantile, "engine", left.mean(), 1 - share, math.sqrt(share * (1 - share) / CHAINS))
    assert abs(1 - share - 0.3) < 0.01
