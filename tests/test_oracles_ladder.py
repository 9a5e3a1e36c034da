"""Surrogates of the mini-batch: mean, covariance and fourth moment of each against enumeration, and their limits."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
import torch
from cases import CASES, Monkey, centred, normal, quadratic_both, random_factorization, rotation
from torch import Tensor

from escape import (
    DiagonalNoise,
    DoubleWell,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HessianNoise,
    IsotropicNoise,
    Landscape,
    LeadingNoise,
    MiniBatch,
    Oja,
    Oracle,
    QuadraticSaddle,
    Reshuffled,
    StableNoise,
    simulate,
    theory,
)
from escape.draws import positive_stable
from escape.noise_geometry import batch_kurtosis
from escape.oracles.shaped import Rooted
from escape.streams import block_generator

F64 = torch.float64
DRAWS = 40_000
HERE = torch.tensor([0.7, -0.4, 0.2], dtype=F64)
THERE = torch.tensor([-0.3, 0.5, 0.6], dtype=F64)


@dataclass(frozen=True, eq=False)
class Cubes(Landscape):
    """f_i = (z_iᵀx)³/6 + |x|⁴/8: nothing known of the samples' role, one curvature for every place."""

    samples: Tensor

    @property
    def dimension(self):
        return self.samples.shape[1]

    def sample_loss(self, x, sample):
        return (sample @ x) ** 3 / 6 + (x @ x) ** 2 / 8


TILTS = 0.3 * centred(40, 3, seed=6) * torch.tensor([1.0, 0.7, 0.4], dtype=F64)
LANDSCAPES = {
    "affine": lambda: quadratic_both(F64, rotation(3, 7)),
    "generic": lambda: Cubes(normal(40, 3, seed=1) * torch.tensor([1.0, 0.7, 0.4], dtype=F64)),
    "generalized linear": lambda: random_factorization(F64, n=40, d=3),
    "sphere": lambda: Oja.gaussian([1.0, 0.5, 0.1], n=40, basis=rotation(3, 8)),
    "constant noise, bent": lambda: DoubleWell(TILTS, torch.tensor([1.0, 2.0], dtype=F64)),
}
over_landscapes = pytest.mark.parametrize("name", LANDSCAPES)


def enumerated(landscape, x):
    """C(x) and H(x) by numpy, from autograd of every term by itself."""
    x = x.clone().requires_grad_()
    losses = [landscape.sample_loss(x, sample) for sample in landscape.samples]
    rows = np.stack([torch.autograd.grad(loss, x, retain_graph=True)[0].numpy() for loss in losses])
    hessian = torch.autograd.functional.hessian(
        lambda y: sum(landscape.sample_loss(y, sample) for sample in landscape.samples) / landscape.n, x.detach()
    )
    return np.cov(rows.T, bias=True), hessian.numpy(), rows


def leading(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return values[-1] * np.outer(vectors[:, -1], vectors[:, -1])


def magnitude(matrix):
    """|H| as the root of H², by its Jordan form: independent of the eigenvectors of H."""
    values, vectors = np.linalg.eigh(matrix @ matrix)
    return vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T


def expected_of(oracle, landscape, x):
    """Exact covariance of an oracle, from enumeration."""
    at = x if getattr(oracle, "at", None) is None else oracle.at
    covariance, hessian, _ = enumerated(landscape, at)
    kappa, d = theory.kappa(4, landscape.n, getattr(oracle, "replacement", False)), len(x)
    bend = magnitude(hessian)
    shapes = {
        Reshuffled: covariance,
        DiagonalNoise: np.diag(np.diag(covariance)),
        LeadingNoise: leading(covariance),
        HessianNoise: np.trace(covariance) * bend / np.trace(bend),
        IsotropicNoise: np.trace(covariance) * np.eye(d) / d,
        StableNoise: np.trace(covariance) * np.eye(d) / d,
    }
    return kappa * shapes[type(oracle)]


ORACLES = {
    "reshuffled": Reshuffled(4),
    "diagonal": DiagonalNoise(4),
    "diagonal, with replacement": DiagonalNoise(4, replacement=True),
    "leading": LeadingNoise(4),
    "leading, frozen": LeadingNoise(4, at=THERE),
    "Hessian": HessianNoise(4),
    "Hessian, with replacement": HessianNoise(4, True),
    "Hessian, frozen": HessianNoise(4, at=THERE),
    "stable, alpha 2": StableNoise(2.0, batch_size=4),
}


def drawn(oracle, landscape, x, draws=DRAWS, seed=5):
    generator = block_generator(seed, 0)
    draw = oracle.draw(landscape, 1, draws, generator)
    seen = oracle.gradient(landscape, x.expand(draws, -1), draw[0])
    return (seen - landscape.gradient(x)).numpy()


# The law of one draw.


@pytest.mark.parametrize("kind", ORACLES)
@over_landscapes
def test_mean_covariance_and_fourth_moment(name, kind, within):
    landscape, oracle = LANDSCAPES[name](), ORACLES[kind]
    u, expected = drawn(oracle, landscape, HERE), expected_of(oracle, landscape, HERE)
    v = np.array([0.6, 0.48, 0.64])
    variance, spread = np.diag(expected), v @ expected @ v
    square, fourth, eighth = np.outer(variance, variance) + 2 * expected**2, 3 * spread**2, 105 * spread**4
    if isinstance(oracle, Reshuffled):  # whose first batch is any of those without replacement, and not Gaussian
        _, _, rows = enumerated(landscape, HERE)
        batches = rows[np.array(list(combinations(range(40), 4)))].mean(1) - rows.mean(0)
        square, fourth, eighth = (
            (batches**2).T @ batches**2 / len(batches),
            *(((batches @ v) ** k).mean() for k in (4, 8)),
        )
        assert fourth == pytest.approx((3 + batch_kurtosis(rows @ v, 4)) * spread**2, rel=1e-10)
    floor = 1e-13 * np.trace(expected)
    # Exact standard errors. 13 comparisons at 5 of them: 8e-6 false alarms for each oracle, but for skewness.
    within("mean", u.mean(0), 0.0, np.sqrt((variance + floor) / DRAWS), 5)
    within("covariance", u.T @ u / DRAWS, expected, np.sqrt((square - expected**2 + floor**2) / DRAWS), 5)
    within("fourth moment", ((u @ v) ** 4).mean(), fourth, math.sqrt((eighth - fourth**2) / DRAWS), 5)


@pytest.mark.parametrize("kind", ORACLES)
@over_landscapes
def test_the_covariance_said_is_the_exact_one(name, kind):
    """To rounding, along any directions; the variance along one of them is its diagonal."""
    landscape, oracle = LANDSCAPES[name](), ORACLES[kind]
    expected = expected_of(oracle, landscape, HERE)
    directions = normal(3, 2, seed=9)
    got = oracle.noise_covariance(landscape, HERE, directions).numpy()
    assert np.abs(got - directions.numpy().T @ expected @ directions.numpy()).max() < 1e-11 * np.trace(expected)
    v = np.array([0.6, 0.48, 0.64])
    assert oracle.noise_variance(landscape, HERE, torch.from_numpy(v)) == pytest.approx(v @ expected @ v, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("case", [case for case in CASES if "digits" not in case.name], ids=lambda case: case.name)
def test_what_is_known_at_many_points_is_what_is_known_at_one(case, dtype):
    landscape = case.make(dtype)
    d = landscape.dimension or 2
    x = (0.5 * normal(3, d, seed=1)).to(dtype)
    one = torch.stack([landscape.gradient_covariance(point) for point in x]).double()
    bend = torch.stack([landscape.hessian(point) for point in x]).double()
    rounding = 1e-11 if dtype == F64 else 2e-4
    # A covariance is a difference of mean squares: its rounding is that of the squares.
    size = one.abs().max() + 1e-30 + torch.stack([landscape.gradient(point).double() ** 2 for point in x]).max()
    for what, got, exact, scale in (
        ("covariances", landscape.gradient_covariances(x), one, size),
        ("diagonal", landscape.noise_diagonal(x), one.diagonal(dim1=1, dim2=2), size),
        ("Hessians", landscape.hessians_at(x), bend, bend.abs().max() + 1e-30),
    ):
        assert got.dtype == dtype
        error = float((got.double() - exact).abs().max() / scale)
        assert error < rounding, f"{what} are off by {error:.3g} of the largest, {rounding:g} allowed"
    if landscape.constant_hessian:
        assert float((bend - bend[0]).abs().max()) <= rounding * float(bend.abs().max())


# Eigenvectors: neither their sign nor the choice among equals matters.


def test_equal_largest_eigenvalues_share_their_variance(within):
    landscape = QuadraticSaddle.additive([-1.0, 0.5, 2.0], [0.2, 0.2, 0.1], n=50, basis=rotation(3, 4))
    basis, kappa = rotation(3, 4).numpy(), theory.kappa(4, 50, False)
    expected = kappa * 0.2**2 / 2 * (basis[:, :2] @ basis[:, :2].T)
    got = LeadingNoise(4).noise_covariance(landscape, HERE, torch.eye(3, dtype=F64)).numpy()
    assert np.abs(got - expected).max() < 1e-12
    u = drawn(LeadingNoise(4), landscape, HERE)
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / DRAWS)
    within("covariance", u.T @ u / DRAWS, expected, error, 5)


def test_nearly_equal_largest_eigenvalues_do_not_share():
    landscape = QuadraticSaddle.additive([-1.0, 0.5, 2.0], [0.2, 0.198, 0.1], n=50)
    got = LeadingNoise(4).noise_covariance(landscape, HERE, torch.eye(3, dtype=F64)).numpy()
    expected = theory.kappa(4, 50, False) * 0.2**2 * np.diag([1.0, 0.0, 0.0])
    assert np.abs(got - expected).max() < 1e-12


@pytest.mark.parametrize("kind", [LeadingNoise, HessianNoise])
def test_other_eigenvectors_are_the_same_noise(kind, monkeypatch):
    """With every eigenvector turned around, and equal ones mixed, the same normals give the same noise."""
    landscape, x = LANDSCAPES["generalized linear"](), normal(20, 3, seed=2)
    draw = kind(4).draw(landscape, 1, 20, block_generator(0, 0))[0]
    before = kind(4).gradient(landscape, x, draw)
    eigh = torch.linalg.eigh
    signs = torch.tensor([-1.0, 1.0, -1.0], dtype=F64)
    monkeypatch.setattr(torch.linalg, "eigh", lambda a: (eigh(a)[0], eigh(a)[1] * signs))
    assert torch.allclose(kind(4).gradient(landscape, x, draw), before, rtol=0, atol=1e-13)


def test_a_flat_place_has_no_shape_and_so_isotropic_noise():
    landscape = Monkey(0.1 * centred(40, 2))
    flat = type("Flat", (Monkey,), {"dimension": 2})(landscape.samples)
    origin = torch.zeros(2, dtype=F64)
    got = HessianNoise(4).noise_covariance(flat, origin, torch.eye(2, dtype=F64))
    expected = theory.kappa(4, 40, False) * float(flat.noise_trace(origin[None])) / 2 * torch.eye(2, dtype=F64)
    assert torch.allclose(got, expected, rtol=1e-12)


def test_frozen_noise_is_the_same_wherever_a_chain_is():
    landscape = LANDSCAPES["generalized linear"]()
    for kind in (LeadingNoise, HessianNoise):
        frozen, moving = kind(4, at=THERE), kind(4)
        for x in (HERE, THERE, 3 * HERE):
            assert frozen.noise_variance(landscape, x, HERE) == moving.noise_variance(landscape, THERE, HERE)
        assert moving.noise_variance(landscape, HERE, HERE) != moving.noise_variance(landscape, THERE, HERE)
        assert frozen.additive(landscape)
        assert not moving.additive(landscape)


def test_two_points_make_two_oracles():
    assert LeadingNoise(4, at=HERE) != LeadingNoise(4, at=THERE)
    assert LeadingNoise(4, at=[0.7, -0.4, 0.2]).at.dtype == F64
    landscape = LANDSCAPES["generic"]()
    one, other = (LeadingNoise(4, at=at).noise_variance(landscape, HERE, HERE) for at in (HERE, THERE))
    assert one != other


def test_a_point_stays_where_it_was_given():
    at = HERE.clone()
    oracle, landscape = LeadingNoise(4, at=at), LANDSCAPES["generic"]()
    before = oracle.noise_variance(landscape, HERE, HERE)
    at += 1
    assert torch.equal(oracle.at, HERE)
    assert oracle.noise_variance(LANDSCAPES["generic"](), HERE, HERE) == before


def test_oracles_of_one_name_keep_noises_of_their_own():
    """The kept root is that of a type and a point, not of whatever has the same name."""

    def leading(factor):
        @dataclass(frozen=True, eq=False)
        class Mine(LeadingNoise):
            def _roots(self, landscape, x):
                return factor * super()._roots(landscape, x)

        return Mine(4, at=HERE)

    landscape = LANDSCAPES["generic"]()
    one, two, again = (leading(factor).noise_variance(landscape, HERE, HERE) for factor in (1.0, 2.0, 1.0))
    assert two == pytest.approx(4 * one, rel=1e-12)
    assert one == again
    kept = len(landscape.kept_noise)
    for _ in range(3):
        LeadingNoise(4, at=HERE.clone()).noise_variance(landscape, HERE, HERE)
    assert len(landscape.kept_noise) == kept + 1


@pytest.mark.parametrize("kind", [LeadingNoise, HessianNoise])
def test_one_spectrum_for_one_point_however_many_draws(kind, monkeypatch):
    landscape, draw = LANDSCAPES["generic"](), normal(500, 3, seed=3)
    each = kind(4).gradient(landscape, HERE.expand(500, 3).contiguous(), draw)
    eigh, taken = torch.linalg.eigh, []
    monkeypatch.setattr(torch.linalg, "eigh", lambda a: (taken.append(len(a)), eigh(a))[1])
    assert torch.allclose(kind(4).gradient(landscape, HERE.expand(500, 3), draw), each, rtol=0, atol=1e-14)
    assert taken == [1]


def test_an_oracle_of_a_root_says_its_root():
    class Rootless(Rooted):
        at = None

    with pytest.raises(TypeError, match="_roots"):
        Rootless(4)


def test_what_is_kept_goes_when_the_landscape_changes():
    samples = normal(40, 3, seed=1)
    landscape, oracle = Cubes(samples), HessianNoise(4, at=THERE)
    run = {"steps": 3, "chains": 4, "block": 4, "executor": 1}
    simulate(landscape, oracle, GradientDescent(0.01), HERE, **run)
    samples *= 2
    again = simulate(landscape, oracle, GradientDescent(0.01), HERE, **run)
    fresh = simulate(Cubes(samples.clone()), oracle, GradientDescent(0.01), HERE, **run)
    assert np.array_equal(again.final.values, fresh.final.values)


# Stable noise.


@pytest.mark.parametrize("index", [0.25, 0.5, 0.9])
def test_positive_stable_draws_have_their_laplace_transform(index, within):
    a = positive_stable((200_000,), index, block_generator(1, 0)).numpy()
    assert (a > 0).all()
    for u in (0.1, 1.0, 5.0):
        value = np.exp(-u * a)
        within(f"E exp(−{u} A)", value.mean(), math.exp(-(u**index)), value.std() / math.sqrt(len(a)), 5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("scale", [{"scale": 0.3}, {"batch_size": 4}], ids=["scale", "batch"])
def test_stable_noise_has_its_characteristic_function_in_every_direction(alpha, scale, within):
    landscape, oracle = LANDSCAPES["generalized linear"](), StableNoise(alpha, **scale)
    trace = np.trace(enumerated(landscape, HERE)[0])
    sigma = 0.3 if "scale" in scale else math.sqrt(theory.kappa(4, 40, False) * trace / 6)
    assert oracle.noise_scale(landscape, HERE) == pytest.approx(sigma, rel=1e-12)
    u = drawn(oracle, landscape, HERE)
    for v in ([1.0, 0.0, 0.0], [0.6, 0.48, 0.64], [0.0, -0.8, 0.6]):
        for t in (0.3 / sigma, 1.0 / sigma, 2.0 / sigma):
            value = np.cos(t * (u @ np.array(v)))
            # Two routes to the error: Var cos = (1 + φ(2t))/2 − φ(t)². 24 comparisons, 5 standard errors: 1e-5.
            expected = math.exp(-((sigma * t) ** alpha))
            variance = (1 + math.exp(-((2 * sigma * t) ** alpha))) / 2 - expected**2
            within(f"E cos at t = {t:.3g}", value.mean(), expected, math.sqrt(variance / DRAWS), 5)
    odd = np.sin(u[:, 0] / sigma)
    within("E sin", odd.mean(), 0.0, odd.std() / math.sqrt(DRAWS), 5)


def test_stable_noise_of_alpha_2_is_isotropic_noise_draw_by_draw():
    for landscape in (LANDSCAPES["generalized linear"](), DoubleWell.gaussian(0.3, [1.0, 2.0], n=40)):
        runs = [
            simulate(landscape, oracle, GradientDescent(0.01), HERE, steps=20, chains=8, block=8, seed=3).final.values
            for oracle in (StableNoise(2.0, batch_size=4), IsotropicNoise(4))
        ]
        assert np.abs(runs[0] - runs[1]).max() < 1e-14


def test_one_jump_carries_all_coordinates():
    """The coordinates of one draw share its length, and those of two steps or chains do not."""
    draw = StableNoise(0.5, 1.0).draw(LANDSCAPES["generic"](), 2, 20_000, block_generator(2, 0))
    logs = draw.square().log()
    same = np.corrcoef(logs[0, :, 0], logs[0, :, 1])[0, 1]
    apart = [np.corrcoef(logs[0, :, 0], logs[1, :, 1])[0, 1], np.corrcoef(logs[0, ::2, 0], logs[0, 1::2, 1])[0, 1]]
    # Cov = Var ln A = π²/6 (1/a² − 1), a = ¼; in all 4 Var ln|S| with Var ln|S| = π²(1/(6α²) + 1/12).
    expected = (math.pi**2 / 6 * 15) / (4 * math.pi**2 * (1 / (6 * 0.25) + 1 / 12))
    assert abs(same - expected) < 5 / math.sqrt(20_000)
    assert max(map(abs, apart)) < 5 / math.sqrt(10_000)


def test_stable_noise_has_a_covariance_at_alpha_2_alone():
    landscape = LANDSCAPES["generic"]()
    got = StableNoise(2.0, 0.3).noise_covariance(landscape, HERE, 2 * torch.eye(3, dtype=F64))
    assert torch.allclose(got, 2 * 0.3**2 * 4 * torch.eye(3, dtype=F64), rtol=1e-14)
    with pytest.raises(ValueError, match=r"stable noise of alpha = 1.5 has no covariance"):
        StableNoise(1.5, 0.3).noise_covariance(landscape, HERE, torch.eye(3, dtype=F64))


# Without noise.


@pytest.mark.parametrize(
    "oracle", [Reshuffled(40), DiagonalNoise(40), LeadingNoise(40), HessianNoise(40), StableNoise(1.5, batch_size=40)]
)
def test_a_batch_of_all_is_the_full_batch(oracle):
    for make in LANDSCAPES.values():
        landscape = make()
        assert not oracle.noisy(landscape)
        ends = [
            simulate(landscape, kind, GradientDescent(0.01), HERE, steps=20, chains=2, block=2).final.values
            for kind in (oracle, FullBatch())
        ]
        assert np.abs(ends[0] - ends[1]).max() < 1e-14


# What makes no oracle is refused, in one line.


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "2", None])
@pytest.mark.parametrize("kind", [Reshuffled, DiagonalNoise, LeadingNoise, HessianNoise])
def test_batch_size_must_be_a_positive_integer(kind, batch_size):
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        kind(batch_size)


@pytest.mark.parametrize("kind", [MiniBatch, Reshuffled, DiagonalNoise, LeadingNoise])
def test_a_whole_number_of_any_type_is_a_batch_size(kind):
    oracle = kind(np.int64(4))
    assert type(oracle.batch_size) is int
    assert str(oracle) == str(kind(4))
    assert type(StableNoise(1.5, batch_size=np.int32(4)).batch_size) is int


@pytest.mark.parametrize("replacement", ["no", "yes", 0, 1, None])
def test_replacement_is_true_or_false(replacement):
    for kind in (MiniBatch, GaussianNoise, DiagonalNoise, HessianNoise):
        with pytest.raises(ValueError, match=f"replacement must be True or False, got {replacement!r}"):
            kind(4, replacement)
    with pytest.raises(ValueError, match="replacement"):
        StableNoise(1.5, batch_size=4, replacement=replacement)
    with pytest.raises(ValueError, match="replacement"):
        StableNoise(1.5, 0.1, replacement=replacement)


@pytest.mark.parametrize("kind", [Reshuffled, DiagonalNoise, LeadingNoise, HessianNoise])
def test_a_batch_of_distinct_samples_is_at_most_all_of_them(kind):
    with pytest.raises(ValueError, match="batch_size 41 is larger than the landscape's n = 40"):
        kind(41).check(LANDSCAPES["generic"]())


def test_reshuffling_knows_no_replacement():
    with pytest.raises(TypeError):
        Reshuffled(4, replacement=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"alpha": 0.0, "scale": 1.0}, r"alpha must be a number in \(0, 2\], got 0.0"),
        ({"alpha": 2.1, "scale": 1.0}, r"alpha must be a number in \(0, 2\], got 2.1"),
        ({"alpha": math.nan, "scale": 1.0}, "alpha must be a number"),
        ({"alpha": True, "scale": 1.0}, "alpha must be a number"),
        ({"alpha": 1.5}, "give scale or batch_size, and not both"),
        ({"alpha": 1.5, "scale": 1.0, "batch_size": 4}, "give scale or batch_size, and not both"),
        ({"alpha": 1.5, "scale": 0.0}, "scale must be a finite number above zero"),
        ({"alpha": 1.5, "scale": math.inf}, "scale must be a finite number above zero"),
        ({"alpha": 1.5, "scale": 1.0, "replacement": True}, "replacement goes with batch_size"),
        ({"alpha": 1.5, "batch_size": 0}, "batch_size must be a positive integer"),
    ],
)
def test_what_makes_no_stable_noise(arguments, said):
    with pytest.raises(ValueError, match=said) as caught:
        StableNoise(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [LeadingNoise, HessianNoise])
def test_spectra_at_every_step_have_a_largest_dimension(kind):
    large = Cubes(normal(4, 129))
    with pytest.raises(ValueError, match="of dimension 128 at most; the landscape has 129: give the point at="):
        kind(2).check(large)
    kind(2, at=torch.zeros(129)).check(large)
    kind(2).check(QuadraticSaddle.additive([-1.0] * 129, 0.1, n=200))  # the same everywhere, and so taken once
    with pytest.raises(ValueError, match="of dimension 4096 at most"):
        kind(2, at=torch.zeros(4097)).check(Cubes(torch.zeros(4, 4097)))
    with pytest.raises(ValueError, match="at has dimension 2, but the landscape has dimension 3"):
        kind(2, at=torch.zeros(2)).check(LANDSCAPES["generic"]())
    for at in (torch.zeros(1, 3), torch.tensor([math.nan, 0.0, 0.0]), "point", [0.0, None]):
        with pytest.raises(ValueError, match="at must be a point") as caught:
            kind(2, at=at)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("oracle", [DiagonalNoise(2), LeadingNoise(2), HessianNoise(2), StableNoise(1.5, 0.1)])
def test_noise_in_all_directions_needs_a_dimension(oracle):
    with pytest.raises(ValueError, match="needs the landscape's dimension"):
        oracle.check(Monkey(centred(5, 2)))


def test_an_oracle_that_says_nothing_of_its_noise_is_told_so():
    class Mute(FullBatch):
        noise_covariance = Oracle.noise_covariance

    with pytest.raises(ValueError, match="Mute does not say the covariance of its noise"):
        Mute().noise_variance(LANDSCAPES["generic"](), HERE, HERE)


# Every landscape, either dtype.


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@over_landscapes
def test_every_kind_runs_everywhere(name, dtype):
    landscape = LANDSCAPES[name]().to(dtype=dtype)
    for oracle in (*ORACLES.values(), StableNoise(1.5, 0.01), StableNoise(1.5, batch_size=4), GaussianNoise(4)):
        data = simulate(landscape, oracle, GradientDescent(0.01), HERE, steps=9, chains=5, block=5, executor=1)
        assert data.attrs["dtype"] == str(dtype).removeprefix("torch.")
        assert np.isfinite(data.final.values).all()
        assert not (data.final.values == HERE.numpy()).any()
        assert len(np.unique(data.final.values[:, 0])) == 5


def test_the_ladder_says_how_it_samples():
    landscape = LANDSCAPES["generic"]()
    for oracle, mode in (
        (FullBatch(), "full batch"),
        (MiniBatch(4), "without replacement"),
        (Reshuffled(4), "reshuffling"),
        (HessianNoise(4, True), "with replacement"),
        (StableNoise(1.5, 0.1), "none"),
        (StableNoise(1.5, batch_size=4), "without replacement"),
    ):
        data = simulate(landscape, oracle, GradientDescent(0.01), HERE, steps=1, chains=1, block=1)
        assert data.attrs["sampling"] == mode
