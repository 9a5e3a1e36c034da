"""Noise at a point: dense formulas, matrix-free products and enumeration of batches say the same."""

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pytest
import torch
from cases import CASES, Monkey, centred, normal, quadratic_both, random_factorization, rotation
from torch import Tensor

from escape import (
    FullBatch,
    GaussianNoise,
    GeneralizedLinear,
    IsotropicNoise,
    Landscape,
    MiniBatch,
    QuadraticSaddle,
    TwoSlopeWell,
)
from escape.landscapes.sampling import standardized_normal
from escape.noise_geometry import batch_kurtosis, noise_geometry, noise_match, spectra
from escape.noise_geometry import products as products_module
from escape.noise_geometry.number import combine
from escape.noise_geometry.products import Products

F64 = torch.float64
RATIOS = ("participation", "john", "hessian_trace", "hessian_norm", "noise_curvature", "cosine", "zhu", "noise_scale")
# Too large, or without noise at the place looked at (the samples of Wu, Ma and E's pair agree on one side).
LEFT_OUT = ("digits", "no noise", "without noise", "Wu-Ma-E pair")
small_cases = pytest.mark.parametrize(
    "case", [case for case in CASES if not any(word in case.name for word in LEFT_OUT)], ids=lambda c: c.name
)


@dataclass(frozen=True, eq=False)
class LeastSquares(GeneralizedLinear):
    """½ (z_iᵀx − y_i)²."""

    samples: Tensor  # (n, d + 1)

    @property
    def dimension(self):
        return self.samples.shape[1] - 1

    def common_loss(self, x):
        return 0 * x.sum()

    def score_loss(self, score, target):
        return 0.5 * (score - target[0]) ** 2


@dataclass(frozen=True, eq=False)
class Engineered(Landscape):
    """A common function tilted by rows ξ_i of covariance c I: f_i = f + ξ_iᵀx."""

    samples: Tensor
    affine = True

    def sample_loss(self, x, tilt):
        return torch.cos(x).sum() + x[0] * x[-1] ** 2 + tilt @ x


@dataclass(frozen=True, eq=False)
class Coordinates(Landscape):
    """f_i = f + s z_i x_{i mod d}: a large space with an escape direction of two, and tilts that sum to zero."""

    samples: Tensor  # (n, d)
    affine = True

    def sample_loss(self, x, tilt):
        return 0.5 * (x @ x) - 0.75 * x[:2] @ x[:2] + 0.5 * x[-1] ** 2 + tilt @ x


def least_squares(n, d, seed=0):
    return LeastSquares(torch.cat([normal(n, d, seed=seed), normal(n, 1, seed=seed + 1)], dim=1))


def place(case):
    landscape = case.make(F64)
    if case.points:
        return landscape, torch.tensor(case.points[1], dtype=F64)
    location = landscape.critical_points()[0].location
    return landscape, location + 0.3 * normal(len(location), seed=8)


def dense(landscape, x):
    """C, H and g by the landscape's own dense methods, in numpy."""
    return landscape.gradient_covariance(x).numpy(), landscape.hessian(x).numpy(), landscape.gradient(x).numpy()


def expected(c, h, g):
    """All numbers, from their definitions."""
    d, trace = len(c), np.trace(c)
    john = ((c / (trace / d) - np.eye(d)) ** 2).sum() / d
    return {
        "trace": trace,
        "participation": trace**2 / (d * np.trace(c @ c)),
        "john": john,
        "hessian_trace": np.trace(h),
        "hessian_norm": np.linalg.norm(h),
        "noise_curvature": np.trace(c @ h),
        "cosine": np.trace(c @ h) / np.linalg.norm(c) / np.linalg.norm(h),
        "zhu": d * np.trace(h @ c) / (np.trace(h) * trace) if np.trace(h) else np.nan,
        "simple_noise_scale": trace / (g @ g),
        "noise_scale": np.trace(h @ c) / (g @ h @ g),
    }


# Exact numbers.


@small_cases
def test_every_number_is_its_definition(case):
    landscape, x = place(case)
    c, h, g = dense(landscape, x)
    got = noise_geometry(landscape, x, directions=normal(len(x), 2, seed=9))
    for name, value in expected(c, h, g).items():
        found = getattr(got, name)
        if found.reason:
            assert name == "zhu", f"{name} is {found}"
            assert abs(np.trace(h)) < 1e-12
            continue
        assert found.exact
        assert found.value == pytest.approx(value, rel=1e-9, abs=1e-12 * (1 + abs(value))), name
    values = np.linalg.eigvalsh(c)[::-1][:5]
    assert np.allclose(got.eigenvalues, values, rtol=1e-10, atol=1e-12 * values[0])
    assert got.john.value == pytest.approx(1 / got.participation.value - 1, abs=1e-12)
    assert 1 / len(x) - 1e-12 <= got.participation.value <= 1 + 1e-12
    assert got.rank == np.linalg.matrix_rank(c, hermitian=True, tol=1e-12 * values[0]) <= got.rank_bound
    assert len(got.escape) == min(5, int((np.linalg.eigvalsh(h) < -1e-12).sum()))
    for one in got.along:
        v = one.direction
        second = float(((landscape.sample_gradients(x).numpy() @ v) ** 2).mean())
        numbers = v @ h @ v, v @ g, v @ c @ v, len(v) * (v @ c @ v) / np.trace(c), second
        assert np.allclose(one[2:], numbers, rtol=1e-10, atol=1e-12 * np.abs(h).max()), one.name
    for j, one in enumerate(got.escape):
        assert one.curvature == pytest.approx(np.linalg.eigvalsh(h)[j], abs=1e-10)


@pytest.mark.parametrize("held", [1 << 25, 0], ids=["gradients held", "gradients computed again"])
@pytest.mark.parametrize("make", [lambda: random_factorization(F64, n=4), lambda: least_squares(30, 7)])
def test_slices_and_the_gram_matrix_change_nothing(make, held, monkeypatch):
    landscape = make()
    x = normal(landscape.dimension, seed=3)
    monkeypatch.setattr(products_module, "_HELD", held)
    monkeypatch.setattr(products_module, "_SLICE", 12)
    got, wanted = noise_geometry(landscape, x), expected(*dense(landscape, x))
    for name, value in wanted.items():
        assert getattr(got, name).value == pytest.approx(value, rel=1e-10), name


def test_hessian_products_are_differences_of_gradients():
    for landscape in (random_factorization(F64), quadratic_both(F64), Engineered(centred(9, 4))):
        d = landscape.dimension or 4
        x, v, step = normal(d, seed=1), normal(d, seed=2), 1e-5
        difference = (landscape.gradient(x + step * v) - landscape.gradient(x - step * v)) / (2 * step)
        got = Products(landscape, x).hessian_product(v[:, None])[:, 0]
        assert torch.allclose(got, difference, rtol=0, atol=1e-8), f"off by {float((got - difference).abs().max()):.2g}"


def test_known_covariances():
    got = noise_geometry(QuadraticSaddle.additive([-1.0, 0.5, 2.0], [0.1, 0.2, 0.4], n=50), torch.zeros(3))
    trace = 0.01 + 0.04 + 0.16
    assert got.trace.value == pytest.approx(trace, rel=1e-12)
    assert got.participation.value == pytest.approx(trace**2 / 3 / (1e-4 + 16e-4 + 256e-4), rel=1e-12)
    assert got.noise_curvature.value == pytest.approx(-0.01 + 0.02 + 0.32, rel=1e-12)
    assert got.zhu.value == pytest.approx(3 * 0.33 / (1.5 * trace), rel=1e-12)
    assert (got.escape[0].noise, got.escape[0].relative) == pytest.approx((0.01, 0.03 / trace), rel=1e-12)
    assert "zero" in got.simple_noise_scale.reason
    assert np.isnan(got.noise_scale.value)


def test_tilts_of_isotropic_covariance_make_isotropic_noise_anywhere():
    d = 6
    landscape = Engineered(0.3 * standardized_normal(50, d, seed=4))
    for x in normal(3, d, seed=5):
        got = noise_geometry(landscape, x)
        assert got.participation.value == pytest.approx(1, abs=1e-13)
        assert got.john.value == pytest.approx(0, abs=1e-13)
        assert got.zhu.value == pytest.approx(1, abs=1e-10)
        assert [one.relative for one in got.along] == pytest.approx([1] * len(got.along), abs=1e-12)


def test_no_more_samples_than_dimensions_cannot_be_isotropic():
    got = noise_geometry(Engineered(centred(4, 6, seed=6)), normal(6))
    assert (got.rank, got.rank_bound) == (3, 3)
    assert got.participation.value <= 3 / 6 + 1e-12, "a rank r bounds the participation ratio by r/d"
    one = noise_geometry(Engineered(centred(2, 6, seed=7)), normal(6))
    assert one.participation.value == pytest.approx(1 / 6, rel=1e-12)


@pytest.mark.parametrize("n", [5, 40])
def test_wus_alignment_is_that_of_the_residuals(n):
    landscape = least_squares(n, 8)
    x = normal(8, seed=2)
    z, c = landscape.samples[:, :8].numpy(), landscape.gradient_covariance(x).numpy()
    g = z.T @ z / n
    wanted = np.trace(c @ g) / (2 * float(landscape.loss(x)) * (g**2).sum())
    assert noise_geometry(landscape, x, square_loss=True).wu.value == pytest.approx(wanted, rel=1e-10)
    assert "not declared" in noise_geometry(landscape, x).wu.reason
    assert "negative" in noise_geometry(random_factorization(F64), normal(5), square_loss=True).wu.reason
    exact = LeastSquares(torch.cat([landscape.samples[:, :8], (landscape.samples[:, :8] @ x)[:, None]], dim=1))
    assert "residual is zero" in noise_geometry(exact, x + 0.0, square_loss=True).wu.reason


def test_scaling_rotating_and_moving_change_only_what_they_must():
    landscape, x, turn = random_factorization(F64), normal(5, seed=1), rotation(5, seed=2)
    here = noise_geometry(landscape, x)
    turned = noise_geometry(type(landscape)(landscape.data @ turn.T), turn @ x)
    for name in (*RATIOS, "trace", "simple_noise_scale"):
        assert getattr(turned, name).value == pytest.approx(getattr(here, name).value, rel=1e-9), name
    for one, other in zip(here.along, turned.along, strict=True):
        assert other[2:3] + other[4:] == pytest.approx(one[2:3] + one[4:], rel=1e-9)
        assert abs(other.direction @ (turn.numpy() @ one.direction)) == pytest.approx(1, abs=1e-9)
    tilts = centred(20, 4)
    first, moved = (noise_geometry(QuadraticSaddle(torch.ones(20, 4, dtype=F64), tilts), x) for x in normal(2, 4))
    scaled = noise_geometry(QuadraticSaddle(torch.ones(20, 4, dtype=F64), 3 * tilts), normal(4))
    for name in ("participation", "john", "cosine", "zhu"):
        assert getattr(first, name).value == pytest.approx(getattr(moved, name).value, rel=1e-12)
        assert getattr(first, name).value == pytest.approx(getattr(scaled, name).value, rel=1e-12)
    assert scaled.trace.value == pytest.approx(9 * first.trace.value, rel=1e-12)


def test_single_precision_is_computed_in_double():
    landscape = random_factorization(torch.float32)
    x = 0.3 * normal(5).float()
    got, wanted = noise_geometry(landscape, x), noise_geometry(landscape.to(dtype=F64), x.double())
    assert got.participation == wanted.participation
    assert got.escape[0].noise == wanted.escape[0].noise


# Estimated numbers.


@small_cases
def test_products_alone_find_what_matrices_do(case):
    """With n ≤ dense < d, C is exact by the Gram matrix; at dense = 0 nothing is held, and d ≤ 5 known vectors do."""
    landscape, x = place(case)
    wanted = noise_geometry(landscape, x)
    got = noise_geometry(landscape, x, dense=0, probes=8)
    for name in RATIOS:
        a, b = getattr(got, name), getattr(wanted, name)
        assert bool(a.reason) == bool(b.reason), name
        if not b.reason:
            assert not a.exact
            assert abs(a.value - b.value) <= 5 * a.error + 1e-8 * (1 + abs(b.value)), f"{name}: {a}, exactly {b}"
    assert (got.lowest, got.highest) == pytest.approx((wanted.lowest, wanted.highest), abs=1e-8)
    assert len(got.escape) == len(wanted.escape)
    for one, other in zip(got.along, wanted.along, strict=True):
        assert one.name == other.name
        assert one.curvature == pytest.approx(other.curvature, abs=1e-8)
    assert got.notes


@pytest.fixture(scope="module")
def estimates():
    """A landscape of d = 30 and n = 40 whose traces are estimated from 200 seeds, and the exact ones."""
    landscape = least_squares(40, 30)
    x = normal(30, seed=2)
    wanted = noise_geometry(landscape, x)
    found = Products(landscape, x)
    notes = []
    noise = spectra.noise_spectrum(found, 2, 0, 0, notes)
    with torch.no_grad():
        runs = [spectra.traces(found, noise, None, noise.directions, 16, seed, False) for seed in range(200)]
    return wanted, runs


@pytest.mark.parametrize("part", ["noise_square", "noise_curvature", "curvature", "curvature_square"])
def test_estimated_traces_are_unbiased_and_their_errors_true(part, estimates, within):
    wanted, runs = estimates
    exact = {
        "noise_square": wanted.trace.value**2 / (30 * wanted.participation.value),
        "noise_curvature": wanted.noise_curvature.value,
        "curvature": wanted.hessian_trace.value,
        "curvature_square": wanted.hessian_norm.value**2,
    }[part]
    parts = [getattr(run, part) for run in runs]
    values = np.array([one.value for one in parts])
    # False alarms: 6e-5 each of the mean at 4 standard errors.
    within(part, values.mean(), exact, values.std(ddof=1) / np.sqrt(200), 4)
    said = np.sqrt(np.mean([one.probes.var(ddof=1) / 16 for one in parts]))
    # The spread over 200 seeds has a relative error of 5% for normal values; heavier tails are below 10%.
    assert values.std(ddof=1) / said == pytest.approx(1, abs=0.4)


def test_errors_of_ratios_cover(estimates, within):
    """The jackknife over probes: (estimate − exact)/error of 200 seeds, with Student's tails of 15 degrees."""
    wanted, runs = estimates
    found = [combine(lambda c2, hc, h2: hc / (c2 * h2) ** 0.5, *run[:2], run.curvature_square) for run in runs]
    z = np.array([(one.value - wanted.cosine.value) / one.error for one in found])
    # Mean square 15/13 for Student's law, with standard error √(2/200) times about 1.3: ±5 of these.
    within("mean square of z", np.mean(z**2), 15 / 13, 0.13, 5)


def test_equal_escape_directions_are_all_found():
    landscape = QuadraticSaddle.additive([-1.0, -1.0, -0.5, *np.linspace(0.5, 2, 20)], 0.1, n=60)
    for threshold in (2000, 0):
        got = noise_geometry(landscape, torch.zeros(23), dense=threshold, probes=4)
        assert [one.curvature for one in got.escape] == pytest.approx([-1, -1, -0.5], abs=1e-8)
        assert any("arbitrary" in note for note in got.notes)


def test_a_large_space_takes_no_matrix(monkeypatch):
    """d = 20000 with n = 50: a matrix of d × d numbers would be 3.2 GB, and nothing here has more than 64 d."""
    d, n = 20_000, 50
    landscape = Coordinates(centred(n, d, seed=1))
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for one in out if isinstance(out, tuple | list) else (out,):
                if isinstance(one, Tensor):
                    largest = max(largest, one.numel())
            return out

    with Watch():
        got = noise_geometry(landscape, torch.zeros(d), k=2, probes=4)
    assert 0 < largest <= 64 * d, f"a tensor of {largest} numbers, {largest / d:.0f} d"
    assert (got.lowest, got.highest) == pytest.approx((-0.5, 2), abs=1e-8)
    assert len(got.escape) == 2
    assert got.rank == got.rank_bound == n - 1
    rows = landscape.samples.numpy()
    gram = rows @ rows.T / n
    assert got.trace.value == pytest.approx(np.trace(gram), rel=1e-12)
    assert got.participation.value == pytest.approx(np.trace(gram) ** 2 / d / (gram**2).sum(), rel=1e-12)
    assert [one.exact for one in (got.participation, got.noise_curvature, got.cosine)] == [True, True, False]
    curvature = np.array([-0.5, -0.5, *np.ones(d - 3), 2.0])
    assert got.noise_curvature.value == pytest.approx(float((rows**2 @ curvature).mean()), rel=1e-12)
    assert abs(got.hessian_trace.value - curvature.sum()) <= 5 * got.hessian_trace.error + 1e-9 * d


# Nothing to measure.


def test_without_noise_ratios_are_undefined_with_a_reason():
    for x in ([0.4], [0.0]):
        got = noise_geometry(TwoSlopeWell(2.0, 1.0, 0.25).to(dtype=F64), torch.tensor(x))
        assert (got.trace.value, got.rank) == (0, 0)
        for name in ("participation", "john", "cosine", "zhu"):
            found = getattr(got, name)
            assert np.isnan(found.value)
            assert "no noise" in found.reason
        assert all(np.isnan(one.relative) for one in got.along)
        assert "not defined: there is no noise" in str(got)


def test_a_flat_place_has_no_directions():
    for threshold in (2000, 0):
        got = noise_geometry(Monkey(0.1 * centred(40, 2)), torch.zeros(2), dense=threshold)
        assert got.along == ()
        assert "Hessian is zero" in got.cosine.reason
        assert "gradient is zero" in got.noise_scale.reason
        assert got.hessian_norm.value == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(2)}, r"x has shape \(2,\).*\(3,\)"),
        ({"x": torch.zeros(1, 3)}, r"x has shape \(1, 3\)"),
        ({"x": torch.tensor([0.0, np.nan, 0.0])}, "x is not finite"),
        ({"directions": torch.zeros(3)}, "a direction is zero"),
        ({"directions": torch.ones(2, 3)}, r"directions has shape \(2, 3\)"),
        ({"k": 0}, "k is 0"),
        ({"probes": 1}, "probes is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"dense": 2.5}, "dense is 2.5"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    landscape = quadratic_both(F64)
    with pytest.raises(ValueError, match=message):
        noise_geometry(landscape, **{"x": torch.zeros(3), **arguments})


def test_the_table_says_what_is_estimated():
    landscape, x = random_factorization(F64), 0.3 * normal(5)
    assert "±" not in str(noise_geometry(landscape, x))
    text = str(noise_geometry(landscape, x, dense=0, k=1))
    for part in ("Tr C ", "±", "escape 1", "sharpest", "note: ", "Lanczos"):
        assert part in text, part


# The fourth moment of a batch.


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_kurtosis_is_that_of_all_batches(n, replacement):
    values = normal(n, seed=n).numpy() ** 3 + 2
    for b in range(1, 5 if replacement else n):
        batches = product(range(n), repeat=b) if replacement else combinations(range(n), b)
        means = values[np.array(list(batches))].mean(1)
        u = means - means.mean()
        wanted = (u**4).mean() / (u**2).mean() ** 2 - 3
        assert batch_kurtosis(values, b, replacement) == pytest.approx(wanted, rel=1e-10), f"b = {b}"


def test_kurtosis_of_large_batches_keeps_its_digits():
    """Batch and rest have the same law but for the sign; exact fractions for n = 2000."""
    from fractions import Fraction
    from math import perm

    values = np.arange(2000.0) ** 2
    a = [Fraction(int(v)) for v in values]
    mean = sum(a) / 2000
    second, fourth = sum((v - mean) ** 2 for v in a), sum((v - mean) ** 4 for v in a)
    for b in (3, 1000, 1998):
        p = [Fraction(perm(b, j), perm(2000, j)) for j in range(1, 5)]
        top = (p[0] - 7 * p[1] + 12 * p[2] - 6 * p[3]) * fourth + 3 * (p[1] - 2 * p[2] + p[3]) * second**2
        wanted = float(top / ((p[0] - p[1]) * second) ** 2 - 3)
        assert batch_kurtosis(values, b) == pytest.approx(wanted, rel=1e-6, abs=1e-12), f"b = {b}"


def test_kurtosis_is_undefined_without_variance():
    assert np.isnan(batch_kurtosis([0.1] * 7, 2))
    assert np.isnan(batch_kurtosis([1.0, 2.0], 2))
    assert batch_kurtosis([1.0, -1.0], 1) == pytest.approx(-2)
    for values, b in (([1.0, np.nan], 1), ([[1.0]], 1), ([1.0, 2.0], 3), ([1.0, 2.0], 0), ([1.0, 2.0], 1.5)):
        with pytest.raises(ValueError, match="give"):
            batch_kurtosis(values, b)


# Oracles beside the mini-batch.


@dataclass(frozen=True)
class Biased(MiniBatch):
    """A mini-batch whose gradient is always a little too far to one side."""

    def gradient(self, landscape, x, draw):
        return super().gradient(landscape, x, draw) + 0.05


@pytest.fixture(scope="module")
def skewed():
    """Tilts of heavy tails, and curvatures that differ."""
    tilts = centred(200, 3, seed=11) ** 3 * torch.tensor([0.2, 0.5, 0.1], dtype=F64)
    curvatures = torch.tensor([-1.0, 0.5, 2.0], dtype=F64) + 0.2 * centred(200, 3, seed=12)
    return QuadraticSaddle(curvatures, tilts - tilts.mean(0))


X = torch.tensor([0.3, -0.2, 0.1], dtype=F64)


@pytest.mark.parametrize("replacement", [False, True])
def test_the_batch_matches_itself_and_surrogates_where_they_should(skewed, replacement):
    oracles = [kind(4, replacement) for kind in (MiniBatch, GaussianNoise, IsotropicNoise)]
    match = noise_match(skewed, oracles, X, directions=torch.eye(3), draws=20_000, seed=21)
    batch, gaussian, isotropic = oracles
    # A row differs beyond 5 standard errors: 6e-7 each, 1e-5 for all that must match.
    assert len(match.of(batch)) == 6 * 3 + 2
    assert not [row for row in match.of(batch) if row.differs], str(match)
    assert not [row for row in match.of(gaussian) if row.differs and row.quantity != "kurtosis"], str(match)
    assert all(row.differs for row in match.of(gaussian, quantity="kurtosis") if row.expected > 1), str(match)
    assert any(row.expected > 1 for row in match.of(gaussian, quantity="kurtosis"))
    assert not match.of(isotropic, "all", "trace")[0].differs
    assert match.of(isotropic, "all", "distance")[0].differs
    assert all(row.differs for row in match.of(isotropic, "given 2", "variance"))
    kappa, c = batch.covariance_factor(skewed), skewed.gradient_covariance(X)
    assert match.of(batch, "given 2", "variance")[0].expected == pytest.approx(kappa * float(c[1, 1]), rel=1e-12)
    shape = kappa * float(c.trace()) / 3 * torch.eye(3, dtype=F64) - kappa * c
    wanted = float((shape**2).sum() / (kappa * c).square().sum())
    row = match.of(isotropic, "all", "distance")[0]
    assert abs(row.measured - wanted) < 5 * row.error, f"{row}, exactly {wanted}"
    assert "differs" in str(match)
    assert "escape" in str(match)


def test_z_scores_are_standard_normal(skewed, within):
    """Batches of 16 against themselves, 40 seeds of 1000 draws: mean 0, mean square 1 of each quantity."""
    rows = [
        row for seed in range(40) for row in noise_match(skewed, [MiniBatch(16)], X, draws=1000, seed=100 + seed).rows
    ]
    for direction, quantity in (("escape", "mean"), ("escape", "variance"), ("all", "trace")):
        z = np.array([row.z for row in rows if row[1:3] == (direction, quantity)])
        assert len(z) == 40
        # False alarms at 4.5 standard errors: 7e-6 each.
        within(quantity, z.mean(), 0, 1 / np.sqrt(40), 4.5)
        within(f"square of {quantity}", np.mean(z**2), 1, np.sqrt(2 / 40), 4.5)
    # The distance is unbiased, its law skewed: its z is none of a normal law.
    distances = np.array([row.measured for row in rows if row.quantity == "distance"])
    errors = np.array([row.error for row in rows if row.quantity == "distance"])
    within("distance", distances.mean(), 0, distances.std(ddof=1) / np.sqrt(40), 4.5)
    ratio = np.sqrt(np.mean(errors**2)) / distances.std(ddof=1)
    assert 0.6 < ratio < 2, f"said errors of the distance are {ratio:.2f} of the true one"


def test_a_bias_and_a_missing_noise_are_seen(skewed):
    match = noise_match(skewed, [Biased(4), FullBatch()], X, directions=torch.ones(3), batch_size=4, draws=5000)
    assert match.of(direction="given 1", quantity="mean")[0].differs
    rows = {row.quantity: row for row in match.of(FullBatch(), "given 1")}
    assert (rows["mean"].z, rows["variance"].z) == (0, -np.inf)
    assert np.isnan(rows["kurtosis"].measured)
    assert match.of(FullBatch(), "all", "trace")[0].differs


def test_the_whole_sample_has_no_noise_to_match(skewed):
    match = noise_match(skewed, [MiniBatch(200), GaussianNoise(200)], X, draws=200)
    assert not [row for row in match.rows if row.differs]
    assert all(np.isnan(row.expected) for row in match.of(quantity="kurtosis"))


def test_two_values_leave_no_error_of_first_order():
    """Signs ±s of one sample have excess kurtosis −2, and so have draws of them to second order."""
    tilts = torch.tensor([[0.3], [-0.3]], dtype=F64)
    match = noise_match(QuadraticSaddle(-torch.ones(2, 1, dtype=F64), tilts), [MiniBatch(1)], torch.zeros(1))
    (row,) = match.of(direction="escape", quantity="kurtosis")
    assert (row.expected, row.measured) == pytest.approx((-2, -2), abs=1e-2)
    assert not [row for row in match.rows if row.differs], str(match)


def test_oracles_that_cannot_be_judged_are_refused(skewed):
    with pytest.raises(ValueError, match="has no batch_size; give"):
        noise_match(skewed, [FullBatch()], X)
    with pytest.raises(ValueError, match="batch_size 201 is larger"):
        noise_match(skewed, [MiniBatch(201)], X)
    with pytest.raises(ValueError, match="draws is 3"):
        noise_match(skewed, [MiniBatch(2)], X, draws=3)
    with pytest.raises(ValueError, match="one oracle; give a sequence"):
        noise_match(skewed, MiniBatch(2), X)
