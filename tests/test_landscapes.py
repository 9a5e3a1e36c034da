"""Every landscape is what it says (that one which is not is caught: `test_conformance.py`)."""

from dataclasses import dataclass

import pytest
import torch
from broken import Honest
from cases import CASES, COVARIANCE, Monkey, centred, normal, random_factorization, rotation
from torch import Tensor
from torch.func import hessian, vmap

import escape.landscapes.base as base
from escape import (
    CriticalPoint,
    DoubleWell,
    Landscape,
    QuadraticSaddle,
    RankOneFactorization,
    SecondOrder,
    TwoSlopeWell,
    check_landscape,
    second_order,
)

F64, F32 = torch.float64, torch.float32
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def places(case, dtype):
    return None if case.points is None else torch.tensor(case.points, dtype=dtype)


def close(what, got, expected, relative=1e-12):
    allowed = relative * max(1.0, float(expected.abs().max()))
    error = float((got - expected).abs().max())
    assert got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    assert error <= allowed, f"{what} is off by {error:.3g}, {allowed:.3g} allowed"


# What holds for all.


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@every_case
def test_is_a_landscape(case, dtype):
    check_landscape(case.make(dtype), places(case, dtype))


@every_case
def test_moves_to_another_dtype(case):
    moved = case.make(F64).to(dtype=F32)
    assert moved.samples.dtype == F32
    assert type(moved) is type(case.make(F64))
    if "of the digits" not in case.name:  # these take seconds, and differ from the others in size alone
        check_landscape(moved, places(case, F32))


@every_case
def test_moves_to_a_wider_dtype(case):
    moved = case.make(F32).to(dtype=F64)
    assert moved.samples.dtype == F64


@every_case
def test_spectra_are_those_of_the_mean_of_the_sample_losses(case):
    landscape = case.make(F64)

    def loss(x):
        return vmap(landscape.sample_loss, (None, 0))(x, landscape.samples).mean()

    for point in landscape.critical_points()[:4]:
        direct = torch.linalg.eigvalsh(hessian(loss)(point.location))
        close(f"eigenvalues at {point.name}", point.eigenvalues, direct, 1e-10)
        curved = len(direct) - point.gauge
        assert (point.kind == "minimum") == (int((direct > 1e-9).sum()) == curved), f"{point.name}: a {point.kind}"
        assert point.index == int((direct < -1e-9).sum()), f"{point.name}: index {point.index}, spectrum {direct}"


@pytest.mark.parametrize("case", [case for case in CASES if "digits" not in case.name], ids=lambda case: case.name)
def test_lifted_values_are_those_of_a_plain_loop(case):
    landscape = case.make(F64)
    d = 2 if landscape.dimension is None else landscape.dimension
    x = 0.7 * normal(4, d, seed=8)
    index = torch.randint(landscape.n, (4, 3), generator=torch.Generator().manual_seed(9))
    losses = torch.stack([torch.stack([landscape.sample_loss(p, s) for s in landscape.samples]) for p in x])
    slopes = torch.stack([torch.stack([landscape.sample_gradient(p, s) for s in landscape.samples]) for p in x])
    close("loss", landscape.loss(x), losses.mean(1))
    close("loss of one point", landscape.loss(x[0]), losses[0].mean())
    close("gradient", landscape.gradient(x), slopes.mean(1))
    batch = torch.stack([slopes[i, index[i]].mean(0) for i in range(4)])
    close("batch gradient", landscape.gradient(x, index), batch)
    weights = normal(4, landscape.n, seed=10)
    close("weighted gradient", landscape.weighted_gradient(x, weights), (weights[:, :, None] * slopes).sum(1), 1e-11)
    covariance = torch.stack([torch.cov(rows.T, correction=0).reshape(d, d) for rows in slopes])
    close("gradient covariance", landscape.gradient_covariance(x[1]), covariance[1])
    close("noise trace", landscape.noise_trace(x), torch.stack([c.trace() for c in covariance]))
    v = normal(d, seed=11)
    close("noise along", landscape.noise_along(x[2], v), v @ covariance[2] @ v)
    bends = torch.stack([hessian(landscape.sample_loss)(x[0], s) for s in landscape.samples])
    close("sample Hessians", landscape.sample_hessians(x[0]), bends)
    close("Hessian", landscape.hessian(x[0]), bends.mean(0))


@pytest.mark.parametrize("make", [random_factorization, lambda dtype: Honest(normal(30, 3))], ids=["scores", "bare"])
def test_slices_change_nothing(make, monkeypatch):
    landscape = make(F64)
    x, weights = normal(4, landscape.dimension, seed=1), normal(4, landscape.n, seed=2)
    index = torch.randint(landscape.n, (4, 25), generator=torch.Generator().manual_seed(3))

    def values():
        parts = landscape.loss(x), landscape.gradient(x), landscape.gradient(x, index), landscape.noise_trace(x)
        return [*parts, landscape.weighted_gradient(x, weights), landscape.sample_hessians(x[0])]

    whole = values()
    monkeypatch.setattr(base, "_SLICE", 60)
    for sliced, expected in zip(values(), whole, strict=True):
        close("value in slices", sliced, expected)


# Moments asked for are moments got.


@pytest.mark.parametrize("rotated", [False, True])
def test_additive_noise_has_exactly_the_covariance_asked_for(rotated):
    basis = rotation(3, 4) if rotated else None
    q = torch.eye(3, dtype=F64) if basis is None else basis
    spread = torch.tensor([0.1, 0.0, 0.3], dtype=F64)
    for noise, expected in (
        (0.2, 0.04 * torch.eye(3, dtype=F64)),
        (spread, q @ torch.diag(spread**2) @ q.T),
        (torch.tensor(COVARIANCE, dtype=F64), torch.tensor(COVARIANCE, dtype=F64)),
    ):
        landscape = QuadraticSaddle.additive([-1.0, 0.5, 2.0], noise, n=30, basis=basis)
        for x in (torch.zeros(3, dtype=F64), normal(3, seed=1)):
            close("covariance", landscape.gradient_covariance(x), expected)
        close("Hessian", landscape.hessian(x), q @ torch.diag(torch.tensor([-1.0, 0.5, 2.0], dtype=F64)) @ q.T)


def test_multiplicative_noise_has_exactly_the_covariance_asked_for():
    basis, spread = rotation(3, 4), torch.tensor([0.3, 0.1, 0.0], dtype=F64)
    landscape = QuadraticSaddle.multiplicative([-1.0, 0.5, 2.0], spread, n=30, basis=basis)
    x = normal(3, seed=1)
    along = spread * (basis.T @ x)
    close("covariance", landscape.gradient_covariance(x), basis @ torch.diag(along**2) @ basis.T)
    zero = landscape.gradient_covariance(torch.zeros(3, dtype=F64))
    assert float(zero.abs().max()) == 0, "noise at a saddle of type II must vanish exactly"


@pytest.mark.parametrize("scaled", [False, True])
def test_well_noise_is_what_was_asked_for(scaled):
    landscape = TwoSlopeWell.noisy(2.0, 0.5, 0.25, 0.3, [1.0], n=40, tilts="gaussian", scaled_noise=scaled)
    for first, slope in ((-0.4, 2.0), (0.7, 0.5)):
        x = torch.tensor([first, 0.2], dtype=F64)
        k = slope if scaled else 1.0
        expected = torch.diag(torch.tensor([(0.3 * k) ** 2, 0.09], dtype=F64))
        close(f"covariance at x_1 = {first}", landscape.gradient_covariance(x), expected)
    signs = DoubleWell.rademacher(0.3, [1.0], n=40).samples
    assert bool((signs.abs() == 0.3).all())
    assert bool((signs.sum(0).abs() <= 1e-15).all())


def test_double_well_by_hand():
    landscape = DoubleWell.rademacher(0.3, [3.0], n=40)
    left, right, saddle = landscape.critical_points()
    assert [point.kind for point in (left, right, saddle)] == ["minimum", "minimum", "saddle"]
    barrier = float(landscape.loss(saddle.location) - landscape.loss(left.location))
    assert abs(barrier - 0.25) < 1e-14, f"barrier {barrier}, expected 1/4"
    assert left.eigenvalues.tolist() == [2.0, 3.0]
    assert saddle.eigenvalues.tolist() == [-1.0, 3.0]
    assert saddle.unstable[:, 0].abs().tolist() == [1.0, 0.0]


def test_two_slope_well_by_hand():
    landscape = TwoSlopeWell(2.0, 1.0, 0.25)
    sharp, flat, saddle = landscape.critical_points()
    assert [float(point.location[0]) for point in (sharp, flat, saddle)] == [-0.5, 1.0, 0.0]
    assert [float(point.eigenvalues[0]) for point in (sharp, flat, saddle)] == [8.0, 2.0, -1.0]
    heights = landscape.loss(torch.stack([point.location for point in (sharp, flat, saddle)]))
    assert heights.tolist() == [0.0, 0.0, 0.25]
    x = torch.tensor([-1e-7, 1e-7], dtype=F64)
    ratio = landscape.gradient(x[:, None])[:, 0] / x
    close("one-sided curvatures at the saddle", ratio, torch.tensor([-4.0, -1.0], dtype=F64), 1e-12)


def test_factorization_by_hand():
    data = normal(60, 4, seed=3) * torch.tensor([1.5, 1.1, 0.8, 0.5], dtype=F64)
    landscape = RankOneFactorization(data)
    a = data.T @ data / 60
    x = normal(5, 4, seed=4)
    direct = torch.stack([((torch.outer(p, p) - a) ** 2).sum() / 4 for p in x])
    close("¼‖xxᵀ − A‖² up to a constant", landscape.loss(x) - landscape.loss(x[0]), direct - direct[0])
    kinds = {point.name: (point.kind, point.noise) for point in landscape.critical_points()}
    assert kinds["origin"] == ("maximum", "II")
    assert kinds["+sqrt(mu_1) v_1"][0] == "minimum"
    assert kinds["-sqrt(mu_2) v_2"] == ("saddle", "I")
    assert kinds["+sqrt(mu_4) v_4"][0] == "saddle"
    assert len(kinds) == 9


def test_digits_are_the_digits():
    landscape = RankOneFactorization.digits()
    mu, _ = landscape.spectrum
    assert landscape.samples.shape == (1797, 64)
    close("largest eigenvalues", mu[:3], torch.tensor([1.0, 0.7945, 0.7017], dtype=F64), 1e-4)
    points = landscape.critical_points()
    assert len(points) == 1 + 2 * 61, f"{len(points)} points; three pixels never vary, so 61 eigenvalues are positive"


def test_second_order_is_the_taylor_polynomial():
    landscape = random_factorization(F64)
    point = landscape.critical_points()[3]
    expansion = SecondOrder(landscape, point)
    delta = 0.5 * normal(4, 5, seed=5)
    bends, slopes = landscape.sample_hessians(point.location), landscape.sample_gradients(point.location)
    index = torch.randint(60, (4, 3), generator=torch.Generator().manual_seed(9))
    expected = torch.stack([(slopes[i] + bends[i] @ step).mean(0) for i, step in zip(index, delta, strict=True)])
    close("g_i + H_i δ", expansion.gradient(point.location + delta, index), expected)
    near, nearer = (point.location + size * delta[0] for size in (1e-2, 1e-3))
    gaps = [float((expansion.loss(x) - landscape.loss(x)).abs()) for x in (near, nearer)]
    ratio = gaps[0] / gaps[1]
    assert abs(ratio - 1000) < 30, f"an error of third order shrinks 1000 times at a tenth of the distance, not {ratio}"


def test_the_monkey_saddle_is_degenerate():
    point = Monkey(0.1 * centred(40, 2)).critical_point(torch.zeros(2, dtype=F64), "monkey")
    assert (point.kind, point.index) == ("degenerate", 0)
    assert point.noise == "I"


# What makes no landscape is refused at once.


def test_tilts_that_do_not_sum_to_zero_are_refused():
    tilts = normal(10, 2, seed=1)
    with pytest.raises(ValueError, match="sum to zero"):
        QuadraticSaddle(torch.ones(10, 2, dtype=F64), tilts)
    QuadraticSaddle(torch.ones(10, 2, dtype=F64), tilts - tilts.mean(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuadraticSaddle(torch.ones(4, 2), torch.zeros(4, 3)), r"both be \(n, d\)"),
        (lambda: QuadraticSaddle(torch.ones(4, 2), torch.zeros(4, 2), 2 * torch.eye(2)), "orthogonal"),
        (lambda: QuadraticSaddle.additive([-1.0, 1.0], [0.1, 0.1, 0.1]), "noise must be"),
        (lambda: QuadraticSaddle.additive([-1.0, 1.0], -0.1), "noise must be"),
        (lambda: QuadraticSaddle.additive([-1.0, 1.0], [[1.0, 2.0], [2.0, 1.0]]), "positive semidefinite"),
        (lambda: QuadraticSaddle.additive([-1.0, 1.0], 0.1, n=2), "take n > d"),
        (lambda: QuadraticSaddle.multiplicative([-1.0, 1.0], [0.1, 0.1, 0.1]), "spread must be"),
        (lambda: DoubleWell.rademacher(0.1, n=3), "even number"),
        (lambda: DoubleWell.rademacher(-0.1), "must be ≥ 0"),
        (lambda: DoubleWell.gaussian(0.1, [-1.0]), "bath curvatures must be positive"),
        (lambda: DoubleWell(torch.zeros(4, 2), torch.zeros(2)), r"bath \(d − 1,\)"),
        (lambda: TwoSlopeWell(2.0, 0.0, 1.0), "must be positive"),
        (lambda: TwoSlopeWell.noisy(2.0, 1.0, 1.0, 0.1, tilts="cauchy"), "one of rademacher, gaussian"),
        (lambda: RankOneFactorization(torch.zeros(4)), r"data must be \(n, d\)"),
        (lambda: CriticalPoint(torch.zeros(2), torch.tensor([1.0, -1.0]), torch.eye(2)), "must ascend"),
        (lambda: CriticalPoint(torch.zeros(2), torch.zeros(3), torch.eye(2)), "needs location"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_nothing_tells_the_dimension():
    with pytest.raises(ValueError, match="declares no dimension"):
        check_landscape(Monkey(centred(40, 2)))


# Constant noise, and noise that is small.


@dataclass(frozen=True, eq=False)
class ConstantButNotAffine(Landscape):
    """f_i(x) = ½‖x‖² + sin(3 s_i)ᵀx: the same noise everywhere, and not affine in the sample."""

    samples: Tensor
    dimension = 2
    constant_noise = True

    def sample_loss(self, x, sample):
        return 0.5 * x @ x + torch.sin(3 * sample) @ x


class ConstantMonkey(Monkey):
    constant_noise = True


def test_constant_noise_needs_no_affinity():
    check_landscape(ConstantButNotAffine(normal(40, 2, seed=1)))


def test_constant_noise_needs_no_declared_dimension():
    check_landscape(ConstantMonkey(0.1 * centred(40, 2)), 0.3 * normal(4, 2, seed=2))


@pytest.mark.parametrize("small", [1e-7, 1e-10])
def test_small_noise_beside_large_is_not_lost(small):
    landscape = QuadraticSaddle.additive([-1.0, 1.0, 1.0], [small, 1.0, 1.0], n=50)
    root = landscape.sample_root
    covariance = landscape.gradient_covariance(torch.zeros(3, dtype=F64))
    scale = covariance.diagonal().sqrt()
    error = (root @ root.T - covariance) / scale[:, None] / scale
    assert float(error.abs().max()) < 1e-6, f"covariance of the surrogate off by {error} in units of its own scale"


def test_weak_noise_is_noise():
    for noise in (1e-5, 1e-9):
        check_landscape(DoubleWell.rademacher(noise))


def test_the_fast_expansion_is_the_general_one():
    landscape = random_factorization(F64)
    point = landscape.critical_points()[3]
    fast, general = second_order(landscape, point), SecondOrder(landscape, point)
    assert type(fast) is not SecondOrder
    check_landscape(fast)
    x = point.location + 0.5 * normal(4, 5, seed=5)
    index = torch.randint(60, (4, 3), generator=torch.Generator().manual_seed(9))
    close("gradient", fast.gradient(x, index), general.gradient(x, index))
    close("loss", fast.loss(x), general.loss(x))
    well = DoubleWell.rademacher(0.3)
    assert type(second_order(well, well.critical_points()[0])) is SecondOrder
