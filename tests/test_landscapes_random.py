"""Random landscapes: normalisation, closed forms against automatic differentiation, means over disorder, errors."""

import math

import numpy as np
import pytest
import torch
from torch.func import hessian, vmap

from escape import (
    FeatureField,
    GradientDescent,
    MiniBatch,
    RandomField,
    SphericalPSpin,
    SpikedTensor,
    SquaredDistance,
    simulate,
    theory,
)
from escape.named.random import RANDOM

F64 = torch.float64
MADE = {
    "p-spin 2": lambda: SphericalPSpin.gaussian(5, 2, n=20),
    "p-spin 3": lambda: SphericalPSpin.gaussian(5, 3, n=20),
    "p-spin 4": lambda: SphericalPSpin.gaussian(3, 4, n=20),
    "spiked": lambda: SpikedTensor.gaussian(4, 3, n=20),
    "field": lambda: RandomField.gaussian(3, n=20, features=30),
    "features": lambda: FeatureField.gaussian(3, n=20),
}


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("name", MADE)
def test_closed_hessians_are_those_of_the_loss(name):
    landscape = MADE[name]()
    x = normal(landscape.dimension, seed=1)
    direct = hessian(lambda x: vmap(landscape.sample_loss, (None, 0))(x, landscape.samples).mean())(x)
    error = float((landscape.hessian(x) - direct).abs().max())
    assert error < 1e-12 * max(1.0, float(direct.abs().max())), f"Hessian off by {error}"


def test_p_spin_is_the_sum_over_spins():
    landscape = SphericalPSpin.gaussian(3, 3, n=6, seed=2)
    s = landscape.retract(normal(1, 3, seed=3))[0]
    couplings = landscape.couplings[4].reshape(3, 3, 3)
    direct = -sum(couplings[i, j, k] * s[i] * s[j] * s[k] for i in range(3) for j in range(3) for k in range(3)) / 3
    got = landscape.sample_loss(s, landscape.couplings[4])
    assert abs(float(got - direct)) < 1e-13, f"{got}, by the sum {direct}"
    assert abs(float(got - landscape.sample_loss(1.7 * s, landscape.couplings[4]))) < 1e-13, "constant along s"
    assert torch.allclose(couplings, couplings.permute(2, 0, 1), atol=1e-15)


def test_p_spin_energy_has_variance_n(within):
    """Covariance N (s·t/N)^p over disorder: 4000 draws of disorder, 2 comparisons at 4 errors, false alarms 1e-4."""
    n, p = 4, 3
    s, t = SphericalPSpin.gaussian(n, p, n=2, noise=0.0).retract(normal(2, n, seed=4))
    energies = []
    for seed in range(4000):
        landscape = SphericalPSpin.gaussian(n, p, noise=0.0, n=1, seed=seed)
        energies.append([float(landscape.sample_loss(x, landscape.couplings[0])) for x in (s, t)])
    a, b = np.array(energies).T
    for what, product, expected in (("variance", a * a, n), ("covariance", a * b, n * float(s @ t / n) ** p)):
        within(what, product.mean(), expected, product.std() / math.sqrt(len(product)), 4)


def test_the_mean_of_the_disorders_does_not_depend_on_the_noise():
    quiet, loud = (SphericalPSpin.gaussian(4, 3, noise=noise, n=30, seed=5) for noise in (0.0, 3.0))
    assert torch.allclose(quiet.mean_sample, loud.mean_sample, atol=1e-13)
    assert float(quiet.noise_trace(normal(1, 4))[0]) < 1e-24
    spread = (loud.couplings - loud.mean_sample)[:, 0]
    assert abs(float(spread.std(correction=0)) - 3) < 1e-12, "J_111 is its own symmetric part"


def test_noise_is_tangent_and_of_type_one():
    landscape = SphericalPSpin.gaussian(5, 3, n=40, seed=6)
    points = landscape.critical_points()
    assert len(points) >= 10
    for point in points:
        assert float((landscape.sample_gradients(point.location) @ point.location).abs().max()) < 1e-12
        assert point.noise == "I"
        assert point.gauge == 1
    assert {point.kind for point in points} == {"minimum", "saddle", "maximum"}
    root = landscape.sample_root
    covariance = torch.cov(landscape.couplings.T, correction=0)
    assert torch.allclose(root @ root.T, covariance, atol=1e-12)
    assert root.shape[1] < 40


def test_order_two_by_eigenvectors():
    landscape = SphericalPSpin.gaussian(5, 2, n=20, seed=7)
    matrix = landscape.mean_sample.reshape(5, 5)
    values = torch.linalg.eigvalsh(matrix).flip(0)
    points = landscape.critical_points()
    assert [point.index for point in points] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert points[0].kind == "minimum"
    energies = landscape.loss(torch.stack([point.location for point in points]))
    assert torch.allclose(energies[::2], -math.sqrt(5) * values, atol=1e-12)
    assert torch.allclose(points[2].eigenvalues[0], 2 / math.sqrt(5) * (values[1] - values[0]), atol=1e-12)


def test_spike_is_planted_with_its_strength():
    plain = SphericalPSpin.gaussian(6, 3, noise=0.5, n=20, seed=8)
    spiked = SpikedTensor.gaussian(6, 3, signal=1.7, noise=0.5, n=20, seed=8)
    x = plain.retract(normal(3, 6, seed=9))
    gap = plain.loss(x) - spiked.loss(x)
    expected = 6 / math.sqrt(3) * 1.7 * spiked.overlap(x) ** 3
    assert torch.allclose(gap, expected, atol=1e-12), f"signal {gap}, expected {expected}"
    assert abs(float(spiked.spike.norm()) - 1) < 1e-15


def test_spiked_matrix_spectrum_in_its_own_units():
    landscape = SpikedTensor.gaussian(6, 2, signal=2.5, n=20, seed=10)
    matrix = landscape.mean_sample.reshape(6, 6) * math.sqrt(2 / 6)
    l = torch.linalg.eigvalsh(matrix).flip(0)  # noqa: E741
    second = landscape.critical_points()[2].eigenvalues
    expected = torch.cat([l[1] - l[:1], torch.zeros(1, dtype=F64), l[1] - l[2:]])
    assert torch.allclose(second, math.sqrt(2) * expected, atol=1e-12), f"{second}, expected √2 times {expected}"


def test_a_strong_spike_is_found_by_the_minimum():
    """θ = 6 at N = 300: overlap² 1 − 1/36, fluctuations of order 1/√N."""
    landscape = SpikedTensor.gaussian(300, 2, signal=6.0, noise=0.0, n=1, seed=11)
    matrix = landscape.mean_sample.reshape(300, 300) * math.sqrt(2 / 300)
    values, vectors = torch.linalg.eigh(matrix)
    overlap = float(landscape.spike @ vectors[:, -1]) ** 2
    assert abs(overlap - theory.spiked_overlap(6.0)) < 0.01, overlap
    assert abs(float(values[-1]) - theory.spiked_top_eigenvalue(6.0)) < 0.3


def test_chains_stay_on_the_sphere():
    landscape = SphericalPSpin.gaussian(4, 3, n=20, seed=12)
    start = landscape.critical_points()[0].location
    data = simulate(
        landscape, MiniBatch(4), GradientDescent(0.05), start, steps=50, chains=16,
        observe={"r2": SquaredDistance(torch.zeros(4, dtype=F64))}, seed=1,
    )  # fmt: skip
    assert float(abs(data.r2 - 4).max()) < 1e-12
    moved = simulate(
        landscape, MiniBatch(4), GradientDescent(0.05), start, steps=50, chains=16,
        observe={"d2": SquaredDistance(start)}, seed=1,
    )  # fmt: skip
    assert float(moved.d2[-1].min()) > 1e-4, "the noise moves every chain"


def test_field_has_the_covariance_it_says(within):
    """A² exp(−r²/(2ℓ²)) over 3000 draws; 3 comparisons at 4 errors, false alarms 2e-4."""
    length, amplitude = 1.3, 0.7
    x = torch.tensor([[0.2, -0.1], [1.0, 0.5]], dtype=F64)
    r2 = float((x[1] - x[0]).square().sum())
    values = []
    for seed in range(3000):
        field = RandomField.gaussian(2, 0.0, length, amplitude, 1.0, features=20, n=4, seed=seed)
        values.append(np.array([float(field.sample_loss(p, field.tilts[0]) - 0.5 * p @ p) for p in x]))
    a, b = np.array(values).T
    for what, product, expected in (
        ("mean", a, 0.0),
        ("variance", a * a, amplitude**2),
        ("covariance", a * b, amplitude**2 * math.exp(-r2 / (2 * length**2))),
    ):
        within(what, product.mean(), expected, product.std() / math.sqrt(len(a)), 4)


def test_both_noises_have_one_mean_field():
    tilted = RandomField.gaussian(3, 0.2, features=40, n=20, seed=13)
    drawn = FeatureField.gaussian(3, n=40, seed=13)
    x = normal(5, 3, seed=14)
    assert torch.allclose(tilted.loss(x), drawn.loss(x), atol=1e-12)
    assert torch.allclose(tilted.gradient(x), drawn.gradient(x), atol=1e-12)
    assert torch.allclose(tilted.noise_trace(x), torch.full((5,), 3 * 0.04, dtype=F64))
    trace = float(drawn.noise_trace(x).mean())
    assert 0.3 * 40 * 3 < trace < 3 * 40 * 3, f"{trace}, about A² n d/ℓ² = 120"


def test_field_points_are_points_of_a_bowl():
    """Euler characteristic: minima − saddles + maxima = 1 where the search found all."""
    field = RandomField.gaussian(2, features=60, stiffness=1.0, n=40, seed=15)
    by_index = np.bincount([point.index for point in field.critical_points()], minlength=3)
    assert by_index[0] - by_index[1] + by_index[2] == 1, by_index
    assert by_index[0] >= 1
    assert all(point.noise == "I" for point in field.critical_points())


@pytest.mark.parametrize("name", RANDOM)
def test_named_ones_declare_a_saddle(name):
    points = RANDOM[name]().critical_points()
    assert any(point.index and point.kind == "saddle" for point in points), [point.kind for point in points]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SphericalPSpin(torch.zeros(2, 10), 2), "for a whole N"),
        (lambda: SphericalPSpin(torch.zeros(9), 2), "couplings must be"),
        (lambda: SphericalPSpin(torch.zeros(2, 9), 1), "order p must be at least 2"),
        (lambda: SphericalPSpin.gaussian(1), "at least 2, got 1 and 3"),
        (lambda: SphericalPSpin.gaussian(4, n=3), "even number"),
        (lambda: SphericalPSpin.gaussian(4, noise=-1.0), "must be ≥ 0"),
        (lambda: SphericalPSpin.gaussian(4, law="gaussian"), "n > d"),
        (lambda: SphericalPSpin.gaussian(100, 4), "take fewer"),
        (lambda: SpikedTensor.gaussian(4, signal=-1.0), "signal is a strength"),
        (lambda: RandomField.gaussian(2, stiffness=0.0), "must be positive"),
        (lambda: RandomField.gaussian(2, length=0.0), "must be positive"),
        (lambda: RandomField.gaussian(0), "must be positive"),
        (lambda: RandomField(torch.zeros(4, 2), torch.zeros(3, 1), torch.zeros(3), 1.0, 1.0), "frequencies"),
        (lambda: FeatureField(torch.zeros(4, 1), 1.0, 1.0), r"features must be \(n, d \+ 1\)"),
        (lambda: FeatureField.gaussian(2, amplitude=-1.0), "must be positive"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
