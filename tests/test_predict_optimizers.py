"""Predictions for optimizers beyond plain descent, each against a simulation; and what theory does not know, refused.

False alarms: 6e-5 for each comparison with a simulation, in four standard errors.
"""

import math

import numpy as np
import pytest
import torch

from escape import (
    SAM,
    Above,
    Adam,
    DoubleWell,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    Langevin,
    MiniBatch,
    Nesterov,
    PerturbedGradientDescent,
    QuadraticSaddle,
    Reshuffled,
    RMSProp,
    SignDescent,
    SquaredDistance,
    SquaredProjection,
    StepDecay,
    predict,
    simulate,
    theory,
)
from escape.method import method_of

F64 = torch.float64
CHAINS = 20_000
SADDLE = QuadraticSaddle.additive([-1.0, 0.5, 2.0], 0.02, n=500)
POINT = SADDLE.critical_points()[0]


def exits(landscape, oracle, optimizer, radius=1.0, seed=1, start=None, steps=2000):
    point = landscape.critical_points()[0]
    data = simulate(
        landscape, oracle, optimizer, point.location if start is None else start, steps=steps, chains=CHAINS,
        until=Above(SquaredProjection(point, point.unstable), radius**2), seed=seed,
    )  # fmt: skip
    assert (data.status.values == 1).all()
    return data.exit_step.values.astype(float)


def assert_predicted(found, steps, within):
    error = steps.std(ddof=1) / math.sqrt(len(steps))
    within("mean exit step", steps.mean(), found.mean_exit_step, error, 4)
    if found.exit_step_std is not None:
        away = (steps - steps.mean()) ** 2
        within("variance", steps.var(), found.exit_step_std**2, away.std() / math.sqrt(len(steps)), 4)


@pytest.mark.parametrize("start", [0.0, 0.004])
@pytest.mark.parametrize("lr", [0.1, 0.01])
def test_nesterov(lr, start, within):
    optimizer = Nesterov(lr, 0.9)
    begin = POINT.location + start * POINT.unstable[:, 0]
    found = predict(SADDLE, GaussianNoise(4), optimizer, POINT, radius=1.0, start=begin)
    assert found.law == "linear saddle, additive noise"
    assert found.growth_factor == theory.growth_factor(lr, -1.0, momentum=0.9, nesterov=True)
    assert found.log_rate == pytest.approx(2 * math.log(found.growth_factor), rel=1e-12)
    assert_predicted(found, exits(SADDLE, GaussianNoise(4), optimizer, start=begin), within)
    heavy = predict(SADDLE, GaussianNoise(4), HeavyBall(lr, 0.9), POINT, radius=1.0, start=begin)
    assert heavy.mean_exit_step != pytest.approx(found.mean_exit_step, rel=1e-3)


def test_nesterov_without_noise():
    begin = POINT.location + 1e-4 * POINT.unstable[:, 0]
    found = predict(SADDLE, FullBatch(), Nesterov(0.03, 0.9), POINT, radius=1.0, start=begin)
    steps = exits(SADDLE, FullBatch(), Nesterov(0.03, 0.9), start=begin)
    assert (steps == found.mean_exit_step).all()


def test_nesterov_seen_from_near_the_radius_is_not_predicted():
    begin = POINT.location + 0.95 * POINT.unstable[:, 0]
    found = predict(SADDLE, GaussianNoise(4), Nesterov(0.1, 0.9), POINT, radius=1.0, start=begin)
    assert found.mean_exit_step is None
    assert any("one look ahead of the radius" in text for text in found.caveats)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_where_nesterov_swings_out(momentum):
    """At a curvature of lr h = 2 (1 + β)/(1 + 2 β); batch descent from off the point leaves above it alone."""
    limit = 2 * (1 + momentum) / (1 + 2 * momentum)
    for factor, leaves in ((0.95, "none"), (1.05, "all")):
        bowl = QuadraticSaddle.multiplicative([0.3, factor * limit / 0.1], 0.0, n=4)
        point = bowl.critical_points()[0]
        start = torch.tensor([0.0, 1e-3], dtype=F64)
        found = predict(bowl, FullBatch(), Nesterov(0.1, momentum), point, start=start)
        assert found.chains_leave == leaves
        data = simulate(bowl, FullBatch(), Nesterov(0.1, momentum), start, steps=400, chains=1, block=1)
        assert (float(np.abs(data.final.values).max()) > 1) == (leaves == "all")
        modes = [np.roots([1, -(1 + momentum) * a, momentum * a]) for a in 1 - 0.1 * point.eigenvalues.numpy()]
        assert found.log_rate == pytest.approx(2 * math.log(np.abs(modes).max()), abs=1e-12)


@pytest.mark.parametrize("oracle", [FullBatch(), MiniBatch(4), GaussianNoise(8)], ids=lambda o: type(o).__name__)
def test_langevin(oracle, within):
    lr, temperature = 0.1, 1e-5
    found = predict(SADDLE, oracle, Langevin(lr, temperature), POINT, radius=1.0)
    batches = 0.0 if isinstance(oracle, FullBatch) else 0.02 * math.sqrt(theory.kappa(oracle.batch_size, 500))
    noise = math.hypot(batches, math.sqrt(2 * temperature / lr))
    assert found.noise == pytest.approx(noise, rel=1e-9)
    assert found.kick_std == pytest.approx(theory.kick_std(lr, -1.0, noise), rel=1e-9)
    assert (found.noise_type, found.chains_leave) == ("I", "all")
    assert found.caveats == (), "the noise of the method does not vanish at the point"
    assert_predicted(found, exits(SADDLE, oracle, Langevin(lr, temperature), seed=2), within)


def test_langevin_where_batches_are_silent(within):
    """Two escape directions alike, at a point of type II: the kicks of the method are isotropic."""
    landscape = QuadraticSaddle.multiplicative([-1.0, -1.0, 1.0], 0.01, n=50)
    assert landscape.critical_points()[0].noise == "II"
    found = predict(landscape, MiniBatch(4), Langevin(0.1, 1e-5), landscape.critical_points()[0], radius=1.0)
    assert (found.noise_type, found.law) == ("I", "linear saddle, additive noise, 2 equal directions")
    assert_predicted(found, exits(landscape, MiniBatch(4), Langevin(0.1, 1e-5), seed=3), within)


def test_langevin_kicks_along_competing_directions():
    landscape = QuadraticSaddle.additive([-1.0, -0.9, 1.0], 0.02, n=50)
    found = predict(landscape, FullBatch(), Langevin(0.1, 1e-5), landscape.critical_points()[0], radius=1.0)
    assert found.mean_exit_step is None
    assert any("2 escape directions compete" in text for text in found.caveats)


def test_noise_of_the_method_has_the_size_of_the_directions():
    felt = method_of(Langevin(0.1, 1e-3)).seen(MiniBatch(4))
    directions = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype=F64)
    own = felt.noise_covariance(SADDLE, POINT.location, directions)
    own -= MiniBatch(4).noise_covariance(SADDLE, POINT.location, directions)
    assert torch.allclose(own, 2e-3 / 0.1 * directions.T @ directions, rtol=1e-12)
    variances = [felt.noise_variance(SADDLE, POINT.location, v) for v in directions.T]
    variances = [
        v - MiniBatch(4).noise_variance(SADDLE, POINT.location, u) for v, u in zip(variances, directions.T, strict=True)
    ]
    assert variances == pytest.approx([0.08, 0.04], rel=1e-12)


def test_langevin_over_a_barrier_in_one_dimension(within):
    """The exact chain of Gaussian steps, with and without noise of the oracle on top."""
    landscape = DoubleWell.gaussian(0.25, [], n=20)
    well = landscape.critical_points()[0]
    for oracle, seed in ((FullBatch(), 4), (GaussianNoise(10), 5)):
        optimizer = Langevin(0.1, 0.12)
        found = predict(landscape, oracle, optimizer, well, radius=1.0)
        assert found.law == "exact chain in one dimension"
        assert found.stationary_std is not None
        data = simulate(
            landscape, oracle, optimizer, well.location, steps=20_000, chains=2000,
            until=Above(SquaredDistance(well.location), 1.0), seed=seed,
        )  # fmt: skip
        assert (data.status.values == 1).all()
        assert_predicted(found, data.exit_step.values.astype(float), within)
    refused = predict(landscape, MiniBatch(4), Langevin(0.1, 0.12), well, radius=1.0)
    assert refused.mean_exit_step is None
    assert any("together are not Gaussian" in text for text in refused.caveats)


def test_langevin_with_reshuffling(within):
    """Kicks of both kinds are independent of each other, and their variances add."""
    oracle, optimizer = Reshuffled(25), Langevin(0.1, 1e-6)
    found = predict(SADDLE, oracle, optimizer, POINT, radius=1.0)
    plain = predict(SADDLE, oracle, GradientDescent(0.1), POINT, radius=1.0)
    own = theory.kick_std(0.1, -1.0, theory.langevin_noise(0.1, 1e-6))
    assert found.kick_std == pytest.approx(math.hypot(plain.kick_std, own), rel=1e-9)
    assert_predicted(found, exits(SADDLE, oracle, optimizer, seed=6), within)


def test_perturbed_descent(within):
    optimizer = PerturbedGradientDescent(0.1, 0.01, threshold=1e-3, interval=500)
    found = predict(SADDLE, FullBatch(), optimizer, POINT, radius=1.0)
    assert found.law == "linear saddle, one kick uniform in a ball"
    assert (found.chains_leave, found.leaving) == ("all", "a kick takes every chain off it")
    assert found.mean_exit_step == theory.perturbed_mean_exit_step(0.1, -1.0, 0.01, 3, 1.0)
    assert_predicted(found, exits(SADDLE, FullBatch(), optimizer, seed=7), within)
    begin = POINT.location + 5e-4 * POINT.unstable[:, 0]
    off = predict(SADDLE, FullBatch(), optimizer, POINT, radius=1.0, start=begin)
    assert_predicted(off, exits(SADDLE, FullBatch(), optimizer, seed=8, start=begin), within)
    far = PerturbedGradientDescent(0.1, 0.01, threshold=math.inf, interval=500)
    begin = POINT.location + 5e-3 * POINT.unstable[:, 0]
    off = predict(SADDLE, FullBatch(), far, POINT, radius=1.0, start=begin)
    assert off.exit_step_std == math.sqrt(theory.perturbed_exit_step_variance(0.1, -1.0, 0.01, 3, 1.0, 5e-3))
    assert abs(off.exit_step_std - found.exit_step_std) > 0.4
    assert_predicted(off, exits(SADDLE, FullBatch(), far, seed=9, start=begin), within)


def test_perturbed_descent_is_kicked_again_below_the_threshold_alone():
    """After 41 steps 0.3% are where the gradient is below 1e-3, and all within the radius."""
    optimizer = PerturbedGradientDescent(0.1, 0.01, threshold=1e-3, interval=40)
    found = predict(SADDLE, FullBatch(), optimizer, POINT, radius=1.0)
    again = theory.perturbed_survival(41, 0.1, -1.0, 0.01, 3, 1e-3)
    assert 0.001 < again < 0.01
    assert found.mean_exit_step == theory.perturbed_mean_exit_step(0.1, -1.0, 0.01, 3, 1.0)


@pytest.mark.parametrize("oracle", [MiniBatch(4), GaussianNoise(4), Reshuffled(4)], ids=lambda o: type(o).__name__)
def test_kicks_beside_noise_have_no_law(oracle):
    """At minima of either type and at a saddle: the fluctuations and the kick are not those of the noise alone."""
    optimizer = PerturbedGradientDescent(0.1, 0.5, math.inf, 10)
    noisy = QuadraticSaddle.additive([0.5, 2.0], 0.01, n=20)
    silent = QuadraticSaddle.multiplicative([0.5, 2.0], 0.01, n=20)
    for landscape in (noisy, silent):
        found = predict(landscape, oracle, optimizer, landscape.critical_points()[0], radius=1.0)
        assert found.stationary_std is None
        assert (found.chains_leave, found.leaving) == (None, "it hangs on the kicks")
        assert found.mean_exit_step is None
        data = simulate(landscape, oracle, optimizer, torch.zeros(2, dtype=F64), steps=200, chains=200)
        assert float(data.final.values[:, 0].std()) > 0.1, "what noise alone makes is below 0.01"
    found = predict(SADDLE, oracle, optimizer, POINT, radius=1.0)
    assert (found.chains_leave, found.leaving) == ("all", "a kick takes every chain off it")
    assert (found.kick_std, found.mean_exit_step) == (None, None)
    assert found.caveats == ("kicks on top of noisy gradients: no law of the exit step",)


def test_nesterov_at_a_minimum_has_no_law_of_fluctuations():
    landscape = QuadraticSaddle.additive([0.5, 2.0], 0.1, n=20)
    point = landscape.critical_points()[0]
    assert predict(landscape, MiniBatch(4), Nesterov(0.1, 0.5), point).stationary_std is None
    assert predict(landscape, MiniBatch(4), HeavyBall(0.1, 0.5), point).stationary_std is not None


def test_perturbed_descent_has_a_law_of_one_kick_alone():
    def said(optimizer, oracle=None, landscape=SADDLE, **more):
        point = landscape.critical_points()[0]
        found = predict(landscape, oracle or FullBatch(), optimizer, point, radius=1.0, **more)
        assert found.mean_exit_step is None
        return " ".join(found.caveats)

    assert "may be kicked again" in said(PerturbedGradientDescent(0.1, 0.01, 0.1, 5))
    assert "may be kicked again" in said(PerturbedGradientDescent(0.1, 0.01, math.inf, 30))
    assert "noisy gradients" in said(PerturbedGradientDescent(0.1, 0.01, math.inf, 500), MiniBatch(4))
    start = POINT.location + 0.1 * POINT.unstable[:, 0]
    assert "no kick there" in said(PerturbedGradientDescent(0.1, 0.01, 1e-3, 500), start=start)
    assert "spread start" in said(PerturbedGradientDescent(0.1, 0.01, 1e-3, 500), start_std=0.1)
    two = QuadraticSaddle.additive([-1.0, -0.5, 1.0], 0.02, n=50)
    assert "2 escape directions" in said(PerturbedGradientDescent(0.1, 0.01, 1e-3, 500), landscape=two)
    # With a long enough wait a kick by the clock is one kick as well.
    assert predict(
        SADDLE, FullBatch(), PerturbedGradientDescent(0.1, 0.01, math.inf, 500), POINT, radius=1.0
    ).mean_exit_step == theory.perturbed_mean_exit_step(0.1, -1.0, 0.01, 3, 1.0)


@pytest.mark.parametrize(
    ("optimizer", "instead"),
    [
        (Adam(0.1), "without noise take theory.adam_exit_step"),
        (RMSProp(0.1), "theory.adam_exit_step with beta1=0"),
        (SignDescent(0.1), "simulate"),
        (SAM(0.1, 0.1), "simulate"),
        (GradientDescent(StepDecay(0.1, 10)), "theory.mean_square_schedule"),
        (Nesterov(StepDecay(0.1, 10), 0.9), "theory.mean_square_schedule"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_theory_does_not_cover_is_refused_in_one_line(optimizer, instead):
    with pytest.raises(ValueError, match=instead) as caught:
        predict(SADDLE, MiniBatch(4), optimizer, POINT, radius=1.0)
    assert "\n" not in str(caught.value)


def test_a_prediction_checks_the_optimizer():
    with pytest.raises(ValueError, match="sees noise instead: give FullBatch"):
        predict(SADDLE, MiniBatch(4), PerturbedGradientDescent(0.1, 0.01, 0.1, 5), POINT)
