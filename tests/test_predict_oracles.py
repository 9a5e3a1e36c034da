"""What theory says of the surrogates of the mini-batch and of reshuffled epochs, and what it refuses to say."""

import math

import numpy as np
import pytest
import torch
from cases import random_factorization

from escape import (
    DiagonalNoise,
    DoubleWell,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    HessianNoise,
    IsotropicNoise,
    Langevin,
    LeadingNoise,
    MiniBatch,
    QuadraticSaddle,
    Reshuffled,
    StableNoise,
    predict,
    theory,
)
from escape.linear_part import linear_rates
from escape.method import method_of

F64 = torch.float64
PLAIN = GradientDescent(0.1)
SURROGATES = (DiagonalNoise(2), LeadingNoise(2), HessianNoise(2), IsotropicNoise(2))


def at(landscape, oracle, optimizer=PLAIN, number=0, **options):
    return predict(landscape, oracle, optimizer, landscape.critical_points()[number], **options)


def saddle(n=20):
    return QuadraticSaddle.additive([-1.0, 0.5], [0.05, 0.1], n=n)


@pytest.mark.parametrize(
    ("landscape", "oracle", "optimizer", "said"),
    [
        (saddle(), Reshuffled(2), HeavyBall(0.1, 0.5), "reshuffling under momentum"),
        (saddle(), Reshuffled(3), PLAIN, "batches of 3, which do not divide n = 20"),
        (saddle(), StableNoise(1.5, 0.01), HeavyBall(0.1, 0.5), "theory starts on the saddle, and without momentum"),
    ],
)
def test_no_exit_law_and_why(landscape, oracle, optimizer, said):
    found = at(landscape, oracle, optimizer, radius=1.0)
    assert found.mean_exit_step is None
    assert any(said in caveat for caveat in found.caveats), found.caveats
    assert found.chains_leave == "all"


def test_reshuffling_samples_of_differing_curvature_has_no_exit_law():
    rows = torch.tensor([[-1.2], [-0.8], [-1.1], [-0.9]], dtype=F64)
    tilts = torch.tensor([[0.1], [-0.1], [0.05], [-0.05]], dtype=F64)
    found = at(QuadraticSaddle(rows, tilts), Reshuffled(1), radius=1.0)
    assert found.mean_exit_step is None
    assert any("differ in curvature" in caveat for caveat in found.caveats)
    assert found.kick_std is None


def test_stable_noise_starts_on_the_saddle():
    landscape = saddle()
    off = landscape.critical_points()[0].location + 0.1
    assert at(landscape, StableNoise(1.5, 0.01), radius=1.0, start=off).mean_exit_step is None
    far = landscape.critical_points()[0].location + 3.0
    assert at(landscape, StableNoise(1.5, 0.01), radius=1.0, start=far).mean_exit_step == 0.0


def test_the_kick_of_stable_noise_is_a_scale_where_theory_has_one():
    assert at(saddle(), StableNoise(1.5, 0.01), HeavyBall(0.1, 0.5)).kick_std is None
    assert at(saddle(), StableNoise(1.5, 0.01), Langevin(0.1, 1e-4)).kick_std is None
    expected = theory.kick_std(0.1, -1.0, math.sqrt(2) * 0.01)
    assert at(saddle(), StableNoise(2.0, 0.01)).kick_std == pytest.approx(expected, rel=1e-12)
    silent = QuadraticSaddle.multiplicative([-1.0, 0.5], 0.3, n=20)
    assert at(silent, StableNoise(1.5, batch_size=2)).kick_std == 0.0


def test_stable_noise_of_alpha_2_along_equal_escape_directions():
    landscape = QuadraticSaddle.additive([-1.0, -1.0, 0.5], 0.05, n=20)
    found = at(landscape, StableNoise(2.0, 0.01), radius=1.0)
    expected = theory.mean_exit_step(0.1, -1.0, math.sqrt(2) * 0.01, 1.0, directions=2)
    assert found.mean_exit_step == pytest.approx(expected, rel=1e-12)
    assert found.law == "linear saddle, additive noise, 2 equal directions"


def test_one_direction_is_all_of_one_dimension():
    landscape = DoubleWell.gaussian(0.6, n=20)
    number = [point.index for point in landscape.critical_points()].index(0)
    found = at(landscape, LeadingNoise(2), number=number)
    assert (found.chains_leave, found.leaving) == ("in the end", "Gaussian noise crosses any barrier")
    bowl = at(QuadraticSaddle.additive([0.5, 1.0], [0.2, 0.1], n=20), LeadingNoise(2))
    assert (bowl.chains_leave, bowl.leaving) == (None, "noise along one direction alone may or may not reach a way out")


def test_stable_noise_has_no_second_moment_to_grow():
    found = at(saddle(), StableNoise(1.5, 0.01), radius=1.0)
    assert found.noise == math.inf
    assert found.kick_std == theory.stable_kick_scale(0.1, -1.0, 1.5, 0.01), "a scale, as there is no deviation"
    assert found.log_rate is None
    assert found.mean_square_grows is None
    assert found.lyapunov_exponent == pytest.approx(math.log(1.1), rel=1e-12)
    assert any("no variance" in caveat for caveat in found.caveats)
    minimum = at(QuadraticSaddle.additive([0.5], 0.1, n=20), StableNoise(1.5, 0.01), radius=1.0)
    assert minimum.stationary_std is None
    assert minimum.mean_exit_step is None
    assert minimum.leaving == "a large jump crosses any barrier"


def test_competing_directions_of_stable_noise():
    close, apart = (QuadraticSaddle.additive([-1.0, h], 0.1, n=20) for h in (-0.9, -0.2))
    oracle = StableNoise(1.5, 1e-6)
    assert any("compete" in caveat for caveat in at(close, oracle, radius=1.0).caveats)
    found = at(apart, oracle, radius=1.0)
    assert found.mean_exit_step == pytest.approx(theory.stable_saddle_exit_step(0.1, -1.0, 1.5, 1e-6, 1.0), rel=1e-9)


def test_single_jumps_are_a_caveat():
    found = at(saddle(), StableNoise(1.0, 0.1), radius=1.0)
    assert any("single jumps" in caveat for caveat in found.caveats)
    small = at(saddle(), StableNoise(1.0, 1e-5), radius=1.0)  # (s/R)^alpha of 1e-5
    assert small.mean_exit_step is not None
    assert not any("single jumps" in caveat for caveat in small.caveats)


@pytest.mark.parametrize("oracle", SURROGATES, ids=lambda oracle: type(oracle).__name__)
def test_one_dimension_has_one_gaussian_noise(oracle):
    landscape = DoubleWell.gaussian(0.6, n=20)
    number = [point.index for point in landscape.critical_points()].index(0)
    options = {"number": number, "radius": 0.5}
    expected = at(landscape, GaussianNoise(2), **options).mean_exit_step
    assert at(landscape, oracle, **options).mean_exit_step == pytest.approx(expected, rel=1e-9)


def test_frozen_noise_in_one_dimension_is_that_of_its_point():
    rows = torch.tensor([[0.8], [1.2], [0.9], [1.1]], dtype=F64)
    landscape = QuadraticSaddle(rows, torch.tensor([[0.1], [-0.1], [0.05], [-0.05]], dtype=F64))
    here = torch.tensor([0.3], dtype=F64)
    std = math.sqrt(MiniBatch(1).noise_variance(landscape, here, torch.ones(1, dtype=F64)))
    additive = QuadraticSaddle.additive([1.0], std, n=10)
    expected = at(additive, GaussianNoise(1), radius=0.1).mean_exit_step
    for oracle in (LeadingNoise(1, at=here), HessianNoise(1, at=here), StableNoise(2.0, std / math.sqrt(2))):
        assert at(landscape, oracle, radius=0.1).mean_exit_step == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("oracle", [Reshuffled(2), StableNoise(1.5, batch_size=2)])
def test_no_exact_chain_without_independent_gaussian_steps(oracle):
    landscape = DoubleWell.gaussian(0.6, n=20)
    number = [point.index for point in landscape.critical_points()].index(0)
    found = at(landscape, oracle, number=number, radius=0.5)
    assert found.mean_exit_step is None
    assert any("no exact chain" in caveat for caveat in found.caveats)


def test_fluctuations_of_reshuffled_epochs_are_not_those_of_fresh_batches():
    landscape = QuadraticSaddle.additive([0.5, 2.0], 0.1, n=20)
    assert at(landscape, Reshuffled(2)).stationary_std is None
    assert at(landscape, MiniBatch(2)).stationary_std is not None


@pytest.mark.parametrize("oracle", SURROGATES, ids=lambda oracle: type(oracle).__name__)
def test_where_noise_vanishes_surrogates_vanish_too(oracle):
    landscape = QuadraticSaddle.multiplicative([-1.0, 0.5], 0.3, n=20)
    found = at(landscape, oracle, radius=1.0)
    assert found.noise_type == "II"
    assert found.mean_exit_step is None


def test_noise_of_another_place_or_of_a_scale_does_not_vanish():
    landscape = QuadraticSaddle.multiplicative([-1.0, 0.5], 0.3, n=20)
    there = torch.tensor([0.1, 0.1], dtype=F64)
    for oracle in (LeadingNoise(2, at=there), HessianNoise(2, at=there), StableNoise(1.5, 0.01)):
        found = at(landscape, oracle, radius=10.0)
        assert found.noise_type == "I"
        assert found.mean_exit_step is not None
        assert found.lyapunov_exponent == pytest.approx(math.log(1.1), rel=1e-12)


def test_noise_along_another_direction_alone_is_of_type_two():
    covariance = torch.diag(torch.tensor([0.01, 0.04], dtype=F64))
    landscape = QuadraticSaddle.additive([-1.0, 0.5], covariance, n=20)
    found = at(landscape, LeadingNoise(2), radius=1.0)
    assert found.noise_type == "II"
    assert found.chains_leave is None
    assert at(landscape, DiagonalNoise(2), radius=1.0).noise_type == "I"


def test_rates_of_reshuffled_epochs():
    """Against the exact recursion, and for one direction and batches of one against the product of all factors."""
    rows = torch.tensor([[-1.0, 0.4], [1.6, 1.2], [-2.4, 0.9], [0.2, 1.5]], dtype=F64)
    landscape = QuadraticSaddle(rows, torch.zeros_like(rows))
    point, method = landscape.critical_points()[0], method_of(GradientDescent(0.3))
    found = linear_rates(landscape, Reshuffled(2), method, point)
    hessians = np.stack([np.diag(row) for row in rows.numpy()])
    assert found.log_rate == pytest.approx(theory.reshuffling_second_moment(hessians, 0.3, 2).log_rate / 2, rel=1e-10)
    line = QuadraticSaddle(rows[:, :1], torch.zeros_like(rows[:, :1]))
    found = linear_rates(line, Reshuffled(1), method, line.critical_points()[0])
    exact = float(np.log(np.abs(1 - 0.3 * rows[:, 0].numpy())).mean())
    assert found.lyapunov_exponent == pytest.approx(exact, rel=1e-10)
    assert found.log_rate == pytest.approx(2 * exact, rel=1e-10)
    assert found.differ
    straddling = linear_rates(landscape, Reshuffled(3), method, point)
    assert straddling.log_rate is None
    assert "b divides n" in straddling.caveats[0]


@pytest.mark.parametrize(
    "oracle",
    [DiagonalNoise(4), HessianNoise(4), IsotropicNoise(4), LeadingNoise(4), StableNoise(2.0, batch_size=4)],
    ids=str,
)
def test_what_stands_for_a_batch_is_known_to_theory(oracle):
    """Where curvatures differ none of these has the batch's rates, and it is said for which reason."""
    landscape = random_factorization(torch.float64, n=40, d=3)
    found = predict(landscape, oracle, GradientDescent(0.05), landscape.critical_points()[0])
    said = " ".join(found.caveats)
    assert "in another way than a batch's" in said
    assert "does not know" not in said
