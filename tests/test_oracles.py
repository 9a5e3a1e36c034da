"""What a batch does to the gradient: enumerated, counted, and drawn; and the Gaussians in its place."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from cases import CASES, Monkey, centred, normal, quadratic_both, random_factorization
from scipy import stats

from escape import (
    DoubleWell,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    IsotropicNoise,
    MiniBatch,
    QuadraticSaddle,
    RankOneFactorization,
    TwoSlopeWell,
    simulate,
    theory,
)
from escape.draws import distinct_indices
from escape.landscapes.scored import Scored

F64 = torch.float64
RARE = 1e-5  # false-alarm rate of each test by chi-square


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def few(name):
    """Landscapes of n = 5 samples, affine and not."""
    return {
        "quadratic": lambda: QuadraticSaddle(normal(5, 2, seed=1), centred(5, 2, seed=2)),
        "factorization": lambda: random_factorization(F64, n=5, d=2),
        "well": lambda: DoubleWell(centred(5, 2, seed=3), torch.ones(1, dtype=F64)),
        "monkey": lambda: Monkey(centred(5, 2, seed=4)),
    }[name]()


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("name", ["quadratic", "factorization", "well", "monkey"])
def test_all_batches_together_have_the_mean_and_covariance_said(name, replacement):
    landscape, b = few(name), 2
    batches = list(product(range(5), repeat=b) if replacement else combinations(range(5), b))
    x = torch.tensor([0.7, -0.4], dtype=F64)
    index = torch.tensor(batches)
    draws = landscape.gradient(x.expand(len(batches), -1), index)
    mean = draws.mean(0)
    covariance = (draws - mean).T @ (draws - mean) / len(batches)
    oracle = MiniBatch(b, replacement)
    assert float((mean - landscape.gradient(x)).abs().max()) < 1e-14, "a batch gradient must be unbiased"
    for kappa in (oracle.covariance_factor(landscape), theory.kappa(b, 5, replacement)):
        expected = kappa * landscape.gradient_covariance(x)
        error = float((covariance - expected).abs().max())
        assert error < 1e-13, f"covariance over all {len(batches)} batches is off by {error:.3g} from κ C, κ = {kappa}"


@pytest.mark.parametrize("replacement", [False, True])
def test_covariance_factor_is_that_of_theory(replacement):
    for n in (2, 3, 10, 1000):
        landscape = Monkey(centred(n, 2))
        for b in (1, 2, n // 2 + 1, n):
            got, expected = MiniBatch(b, replacement).covariance_factor(landscape), theory.kappa(b, n, replacement)
            assert got == pytest.approx(expected, rel=1e-15), f"b = {b}, n = {n}: {got}, theory {expected}"
    assert MiniBatch(1).covariance_factor(Monkey(torch.zeros(1, 2))) == 0.0


def test_batches_with_replacement_are_uniform_pairs():
    landscape = Monkey(centred(5, 2))
    draw = MiniBatch(2, replacement=True).draw(landscape, 10, 10_000, generator(3))
    assert draw.shape == (10, 10_000, 2)
    counts = np.bincount((draw[..., 0] * 5 + draw[..., 1]).flatten().numpy(), minlength=25)
    p = stats.chisquare(counts).pvalue
    assert p > RARE, f"ordered pairs counted {counts}: p = {p:.2g}, allowed {RARE}"


def test_batches_of_neighbouring_steps_and_chains_are_independent():
    draw = MiniBatch(1).draw(Monkey(centred(5, 2)), 2, 50_000, generator(4))[..., 0].numpy()
    for what, a, b in (("steps", draw[0], draw[1]), ("chains", draw[0, ::2], draw[0, 1::2])):
        counts = np.bincount(a * 5 + b, minlength=25)
        p = stats.chisquare(counts).pvalue
        assert p > RARE, f"pairs of neighbouring {what} counted {counts}: p = {p:.2g}, allowed {RARE}"


# Gaussians in place of batches.


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: quadratic_both(F64),
        lambda: TwoSlopeWell.noisy(2.0, 1.0, 0.25, 0.3, [1.0, 2.0], n=40, scaled_noise=True),
        lambda: random_factorization(F64, n=40, d=3),
    ],
    ids=["quadratic, affine", "two-slope, affine", "factorization, not affine"],
)
@pytest.mark.parametrize("kind", [GaussianNoise, IsotropicNoise])
def test_noise_has_the_covariance_of_the_batch(make, kind, replacement, within):
    landscape, draws = make(), 100_000
    x = torch.tensor([0.7, -0.4, 0.2], dtype=F64)
    oracle = kind(4, replacement)
    draw = oracle.draw(landscape, 1, draws, generator(5))[0]
    got = oracle.gradient(landscape, x.expand(draws, -1), draw).numpy()
    expected = theory.kappa(4, 40, replacement) * landscape.gradient_covariance(x).numpy()
    if kind is IsotropicNoise:
        expected = np.trace(expected) / 3 * np.eye(3)
    variance = np.diag(expected)
    # Gaussian entries: the standard error of a mean is √(C_ii/m), of a covariance √((C_ii C_jj + C_ij²)/m). False
    # alarms of 12 entries at 5 standard errors: 7e-6.
    within("mean", got.mean(0), landscape.gradient(x).numpy(), np.sqrt(variance / draws), 5)
    error = np.sqrt((np.outer(variance, variance) + expected**2) / draws)
    within("covariance", np.cov(got.T), expected, error, 5)


def test_noise_depends_on_the_place():
    landscape = random_factorization(F64, n=40, d=3)
    x = torch.stack([0.1 * torch.ones(3, dtype=F64), torch.ones(3, dtype=F64)])
    noise = landscape.noise_trace(x)
    expected = torch.stack([landscape.gradient_covariance(point).trace() for point in x])
    assert torch.allclose(noise, expected, rtol=1e-12)
    assert float(noise[1]) > 10 * float(noise[0])


def test_the_general_path_gives_the_same_noise():
    """A generalised linear landscape weighs rows by matrix products; the base class by its lifted gradients."""
    landscape = random_factorization(F64, n=40, d=3)
    x, weights = normal(5, 3, seed=1), normal(5, 40, seed=2)
    general = super(Scored, landscape)
    assert torch.allclose(landscape.weighted_gradient(x, weights), general.weighted_gradient(x, weights), rtol=1e-12)
    assert torch.allclose(landscape.noise_trace(x), general.noise_trace(x), rtol=1e-12)
    for b in (2, 3, 39):  # few rows are gathered, many are picked out of all scores
        index = torch.randint(40, (5, b), generator=generator(3))
        assert torch.allclose(landscape.gradient(x, index), general._batch_gradient(x, index), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_how_samples_lie_in_memory_changes_nothing(dtype):
    rows = centred(50, 3).to(dtype)
    across = rows.T.contiguous().T
    assert not across.is_contiguous()
    x, index = normal(6, 3, seed=1).to(dtype), torch.randint(50, (6, 8), generator=generator(1))
    for make in (lambda rows: QuadraticSaddle(torch.ones_like(rows), rows), lambda rows: RankOneFactorization(rows)):
        for batch in (index, index[:, :1]):
            assert torch.equal(make(rows).gradient(x, batch), make(across).gradient(x, batch))


# The whole sample is no noise.


@pytest.mark.parametrize("case", [case for case in CASES if "digits" not in case.name], ids=lambda case: case.name)
def test_a_batch_of_all_is_the_full_batch(case):
    landscape = case.make(F64)
    d = 2 if landscape.dimension is None else landscape.dimension
    x = 0.3 * normal(6, d, seed=6)
    full = FullBatch().gradient(landscape, x, None)
    oracle = MiniBatch(landscape.n)
    assert oracle.draw(landscape, 1, 6, generator()) is None
    every = distinct_indices(6, landscape.n, landscape.n, generator(7))
    for got in (oracle.gradient(landscape, x, None), landscape.gradient(x, every)):
        error = float((got - full).abs().max())
        assert error < 1e-13 * max(1.0, float(full.abs().max())), f"off from the full batch by {error:.3g}"
    for noise in (GaussianNoise(landscape.n), IsotropicNoise(landscape.n)):
        if landscape.dimension is not None:
            draw = noise.draw(landscape, 1, 6, generator())[0]
            error = float((noise.gradient(landscape, x, draw) - full).abs().max())
            assert error < 1e-13 * max(1.0, float(full.abs().max())), f"{noise}: noise of a full batch is {error:.3g}"


def test_a_run_with_batches_of_all_is_the_run_of_the_full_batch():
    landscape, start = DoubleWell.gaussian(0.3, [1.0], n=20), torch.tensor([0.3, 0.5])
    ends = [
        simulate(landscape, oracle, GradientDescent(0.1), start, steps=100, chains=2).final.values
        for oracle in (FullBatch(), MiniBatch(20))
    ]
    assert np.abs(ends[0] - ends[1]).max() < 1e-14


# What makes no oracle is refused.


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "2", None])
@pytest.mark.parametrize("kind", [MiniBatch, GaussianNoise, IsotropicNoise])
def test_batch_size_must_be_a_positive_integer(kind, batch_size):
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        kind(batch_size)


@pytest.mark.parametrize("kind", [MiniBatch, GaussianNoise, IsotropicNoise])
def test_a_batch_of_distinct_samples_is_at_most_all_of_them(kind):
    landscape = DoubleWell.gaussian(0.3, n=20)
    with pytest.raises(ValueError, match="batch_size 21 is larger than the landscape's n = 20"):
        kind(21).check(landscape)
    kind(20).check(landscape)
    kind(21, replacement=True).check(landscape)


def test_isotropic_noise_needs_a_dimension():
    with pytest.raises(ValueError, match="needs the landscape's dimension"):
        IsotropicNoise(2).check(Monkey(centred(5, 2)))
