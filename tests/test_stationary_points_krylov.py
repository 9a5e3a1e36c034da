"""Lowest curvatures by Lanczos and one stationary point from one start, against dense spectra and known points."""

import dataclasses
import re

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from escape import (
    CriticalPoint,
    GradientDescent,
    Landscape,
    LeastSquares,
    MiniBatch,
    PhaseRetrieval,
    QuadraticSaddle,
    RankOneFactorization,
    SphericalPSpin,
    TanhNetwork,
    escape_directions,
    find_critical_point,
    predict,
)
from escape.description import Setting, described
from escape.stationary_points.newton_krylov import _krylov

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def quadratic(curvatures, seed=0):
    """A quadratic with these curvatures in a basis turned at random."""
    basis = torch.linalg.qr(normal(len(curvatures), len(curvatures), seed=seed))[0]
    return QuadraticSaddle.additive(list(curvatures), 0.1, n=2 * len(curvatures), basis=basis)


SPECTRA = {
    "spread": torch.linspace(-1.0, 3.0, 60).tolist(),
    "equal": [-1.0] * 25 + [0.5] * 35,  # more equal ones than a block has columns
    "flat": [-2.0, -1.0] + [0.0] * 50 + [1.0] * 8,
    "one negative": [-1e-3, *torch.logspace(-2, 2, 59).tolist()],
    "all positive": torch.linspace(0.1, 3.0, 60).tolist(),
    "all negative but one": [*torch.linspace(-3.0, -1.0, 59).tolist(), 2.0],
    "all negative": torch.linspace(-3.0, -1.0, 60).tolist(),
}


@pytest.mark.parametrize("curvatures", SPECTRA.values(), ids=SPECTRA)
def test_lanczos_finds_every_negative_curvature(curvatures):
    landscape = quadratic(curvatures)
    found = escape_directions(landscape, torch.zeros(60, dtype=F64))
    expected = torch.tensor(sorted(curvatures), dtype=F64)
    below = int((expected < 0).sum())
    m = len(found.eigenvalues)
    torch.testing.assert_close(
        found.eigenvalues[:-1], expected[: m - 1], rtol=0, atol=1e-9 * float(expected.abs().max())
    )
    assert float(found.eigenvalues[-1]) == pytest.approx(float(expected[-1]), abs=1e-9)
    assert found.index == below
    assert found.kind == landscape.critical_point(torch.zeros(60, dtype=F64)).kind
    residual = landscape.hessian(torch.zeros(60, dtype=F64)) @ found.directions - found.directions * found.eigenvalues
    assert float(residual.norm(dim=0).max()) < 1e-8 * float(expected.abs().max())
    eye = torch.eye(m, dtype=F64)
    torch.testing.assert_close(found.directions.T @ found.directions, eye, rtol=0, atol=1e-12)


@pytest.mark.parametrize("found", [escape_directions, find_critical_point], ids=["at it", "from nearby"])
def test_a_maximum_in_large_dimension_is_given_in_part(found, monkeypatch):
    """More negative curvatures than are ever found: the highest one is negative, and so all are."""
    monkeypatch.setattr("escape.stationary_points.newton_krylov._DENSE", 0)
    curvatures = torch.linspace(-3.0, -1.0, 300, dtype=F64)
    point = found(quadratic(curvatures.tolist()), torch.zeros(300, dtype=F64))
    assert (len(point.eigenvalues), point.index, point.kind, point.noise) == (257, 300, "maximum", "I")
    torch.testing.assert_close(point.eigenvalues, curvatures[[*range(256), -1]], rtol=0, atol=1e-8)


class Largest(TorchDispatchMode):
    """The largest tensor, in numbers, that any operation makes."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.size = max(self.size, made.numel())
        return made


@pytest.mark.parametrize("values", [[0.5, 1.0], [-1.0, -0.5]], ids=["minimum", "maximum"])
def test_noise_in_all_directions_takes_no_matrix(values):
    d = 500
    rows = normal(20, d)
    point = CriticalPoint(torch.zeros(d, dtype=F64), torch.tensor(values, dtype=F64), torch.eye(d, dtype=F64)[:, :2])
    for landscape, noise in (
        (LeastSquares(rows, normal(20, seed=1)), "I"),
        (LeastSquares(rows, torch.zeros(20, dtype=F64)), "II"),
    ):
        with Largest() as made:
            assert landscape.noise_type(point) == noise
        assert made.size < d * d / 10
    # Noise along one axis alone, across both eigenvectors that are known.
    rows = torch.zeros(20, d, dtype=F64)
    rows[:, 7] = 1.0
    assert LeastSquares(rows, normal(20, seed=1)).noise_type(point) == "I"


def test_the_size_of_a_gradient_is_that_of_its_samples(monkeypatch):
    landscape, x = TanhNetwork.digits(2, 3), normal(26, seed=1)
    x = x[: landscape.dimension]
    each = landscape.sample_gradients(x)
    assert landscape.gradient_size(x) == pytest.approx(float(each.square().sum(1).mean().sqrt()), rel=1e-12)
    monkeypatch.setattr("escape.landscapes.base._SLICE", 1000)
    assert landscape.gradient_size(x) == pytest.approx(float(each.square().sum(1).mean().sqrt()), rel=1e-12)


def test_lanczos_gives_as_many_as_asked_for():
    landscape, zero = quadratic([-1.0] * 25 + [0.5] * 35), torch.zeros(60, dtype=F64)
    found = escape_directions(landscape, zero, 30)
    expected = torch.tensor([-1.0] * 25 + [0.5] * 6, dtype=F64)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=0, atol=1e-10)
    assert escape_directions(landscape, zero, 59).complete
    for count in (0, 61, 2.5):
        with pytest.raises(ValueError, match="count is"):
            escape_directions(landscape, zero, count)


def test_lanczos_at_a_point_of_a_network_is_the_dense_spectrum():
    landscape = TanhNetwork.digits(3, 12)
    dense = landscape.critical_point(landscape.start)
    found = escape_directions(landscape, landscape.start, 12)
    pick = [*range(12), -1]
    torch.testing.assert_close(found.eigenvalues, dense.eigenvalues[pick], rtol=0, atol=1e-10)
    overlap = (found.directions * dense.directions[:, pick]).sum(0).abs()
    gaps = torch.minimum(dense.eigenvalues.diff()[:11], dense.eigenvalues.diff()[1:12])
    assert bool((overlap[1:12][gaps > 1e-3] > 1 - 1e-9).all())


def test_what_is_known_of_the_spectrum_is_all_that_is_said():
    zero, some = torch.zeros(5, dtype=F64), torch.eye(5, dtype=F64)[:, :3]

    def point(*values):
        return CriticalPoint(zero, torch.tensor(values, dtype=F64), some)

    saddle = point(-1.0, 0.5, 2.0)
    assert (saddle.index, saddle.kind, saddle.unstable.shape, saddle.complete) == (1, "saddle", (5, 1), False)
    assert "3 of 5 eigenpairs" in saddle.caveats[0]
    assert (point(0.1, 0.5, 2.0).kind, point(-3.0, -2.0, -1.0).kind) == ("minimum", "maximum")
    assert point(-3.0, -2.0, -1.0).index == 5
    assert point(0.0, 0.0, 2.0).kind == "degenerate"
    unknown = point(-2.0, -1.0, 2.0)
    assert (unknown.index_known, unknown.negative, unknown.kind) == (False, 2, "saddle")
    for asked in ("index", "unstable"):
        with pytest.raises(ValueError, match="at least 2 and not known: 3 of 5 eigenpairs"):
            getattr(unknown, asked)
    with pytest.raises(ValueError, match="escape directions are known"):
        _ = point(-3.0, -2.0, -1.0).unstable
    with pytest.raises(ValueError, match="gauge"):
        dataclasses.replace(saddle, gauge=1)
    with pytest.raises(ValueError, match="needs location"):
        CriticalPoint(zero, zero[:1], some[:, :1])


def test_an_error_of_the_eigenvalues_makes_small_ones_zero():
    values, eye = torch.tensor([-1e-9, 0.5, 1.0], dtype=F64), torch.eye(3, dtype=F64)
    point = CriticalPoint(torch.zeros(3, dtype=F64), values, eye)
    assert (point.index, dataclasses.replace(point, error=1e-7).index) == (1, 0)
    assert dataclasses.replace(point, error=1e-7).to(dtype=torch.float32).error == 1e-7


def test_prediction_and_description_of_a_point_known_in_part():
    """The law of the exit needs the lowest curvature alone; what is not known is said."""
    landscape = quadratic([-0.5, *torch.linspace(0.5, 2.0, 59).tolist()])
    whole = landscape.critical_point(torch.zeros(60, dtype=F64), "saddle")
    part = escape_directions(landscape, torch.zeros(60, dtype=F64), name="saddle")
    arguments = landscape, MiniBatch(8), GradientDescent(0.1)
    all_known, some_known = (predict(*arguments, point, radius=1.0) for point in (whole, part))
    assert some_known.mean_exit_step == pytest.approx(all_known.mean_exit_step, rel=1e-9)
    assert some_known.log_rate == pytest.approx(all_known.log_rate, rel=1e-9)
    assert some_known.index == 1
    assert any("of 60 eigenpairs" in text for text in some_known.caveats)
    assert not any("eigenpairs" in text for text in all_known.caveats)
    unsure = dataclasses.replace(part, eigenvalues=part.eigenvalues[[0, -1]], directions=part.directions[:, [0, -1]])
    lines = "\n".join(described("it", landscape, [(0, unsure)], False, Setting()))
    assert "index at least 1" in lines
    assert "2 of 60 eigenpairs" in lines
    with pytest.raises(ValueError, match="index is at least 1"):
        predict(*arguments, unsure)


@pytest.mark.parametrize("dense", [512, 0], ids=["dense", "Krylov"])
def test_a_known_saddle_is_found_from_nearby(dense, monkeypatch):
    """Every ±√μ_i v_i of a factorization, of index i − 1, by the whole Hessian and by products with it alone."""
    monkeypatch.setattr("escape.stationary_points.newton_krylov._DENSE", dense)
    landscape = RankOneFactorization(normal(60, 40, seed=3) * torch.linspace(2.0, 0.2, 40, dtype=F64))
    for number in (0, 1, 5, 9):
        point = landscape.critical_points()[number]
        start = point.location + 0.02 * normal(40, seed=number)
        found = find_critical_point(landscape, start, name="found")
        torch.testing.assert_close(found.location, point.location, rtol=0, atol=1e-12)
        assert (found.index, found.kind, found.noise, found.name) == (point.index, point.kind, point.noise, "found")
        assert float(found.eigenvalues[0]) == pytest.approx(float(point.eigenvalues[0]), rel=1e-9)
        assert found.error == pytest.approx(1e-7 * float(found.eigenvalues.abs().max()), rel=1e-9)


def test_curvatures_are_known_to_some_accuracy_in_any_dimension():
    for d in (5, 60):
        found = escape_directions(quadratic([-2.0] + [1.0] * (d - 1)), torch.zeros(d, dtype=F64))
        assert found.error == pytest.approx(2e-7, rel=1e-9)


def test_a_point_without_noise_is_found_to_rounding():
    """Where every gradient of a sample vanishes, rounding is that of curvature times place."""
    rows, signal = normal(100, 6, seed=4), normal(6, seed=5)
    landscape = PhaseRetrieval(rows, (rows @ signal) ** 2, signal)
    for away in (0.03, 1e-15):
        found = find_critical_point(landscape, signal + away * normal(6, seed=6))
        torch.testing.assert_close(found.location, signal, rtol=0, atol=1e-14)
        assert (found.kind, found.noise) == ("minimum", "II")


@dataclasses.dataclass(frozen=True, eq=False)
class Exponentials(Landscape):
    """f_i(x) = s_i Σ_j exp(a_jᵀx), Σ a_j = 0: the minimum at the origin is left by terms that cancel."""

    samples: torch.Tensor
    slopes: torch.Tensor

    def sample_loss(self, x, sample):
        return sample[0] * torch.exp(self.slopes @ x).sum()


def test_a_point_at_the_origin_is_found_to_the_rounding_of_the_way_there():
    slopes = normal(7, 4)
    landscape = Exponentials(1 + normal(10, 1, seed=1).abs(), slopes - slopes.mean(0))
    for seed in range(5):
        found = find_critical_point(landscape, 0.5 * normal(4, seed=seed))
        assert float(found.location.norm()) < 1e-14
        assert found.kind == "minimum"


def test_a_krylov_space_stays_orthogonal():
    """Curvatures over ten orders of magnitude, of which some converge long before the space is full."""
    turn = torch.linalg.qr(normal(300, 300))[0]
    matrix = turn @ torch.diag(torch.logspace(-6, 4, 300, dtype=F64) * (-1) ** torch.arange(300)) @ turn.T
    start = normal(300, seed=2)
    model = _krylov(lambda v: matrix @ v, start, float(start.norm()), 240)
    columns = model.basis.shape[1]
    assert columns > 200
    torch.testing.assert_close(model.basis.T @ model.basis, torch.eye(columns, dtype=F64), rtol=0, atol=1e-13)


def test_the_last_step_may_be_the_one_that_arrives():
    landscape = RankOneFactorization(normal(60, 5, seed=3))
    start, told = landscape.critical_points()[3].location + 0.1, []
    found = find_critical_point(landscape, start, progress=lambda *now: told.append(now))
    assert torch.equal(find_critical_point(landscape, start, steps=len(told)).location, found.location)
    with pytest.raises(ValueError, match=f"{len(told) - 1} steps were not enough") as refusal:
        find_critical_point(landscape, start, steps=len(told) - 1)
    left, asked = re.search(r"is (\S+) where (\S+) is asked", str(refusal.value)).groups()
    assert float(left) > float(asked) > 0


@pytest.mark.parametrize("dense", [512, 0], ids=["dense", "Krylov"])
def test_the_origin_of_a_network_is_found_though_most_curvatures_are_zero(dense, monkeypatch):
    monkeypatch.setattr("escape.stationary_points.newton_krylov._DENSE", dense)
    landscape = TanhNetwork.digits(2, 6, "squared")
    found = find_critical_point(landscape, 0.05 * normal(landscape.dimension, seed=1))
    origin = landscape.critical_points()[0]
    # Flat directions at the origin are curved to fourth order alone: there |∇f| falls with the cube of the distance.
    assert float(landscape.gradient(found.location).norm()) < 1e-9
    assert (found.kind, found.index) == ("saddle", origin.index)
    near = float(found.location.norm())
    torch.testing.assert_close(found.eigenvalues[0], origin.eigenvalues[0], rtol=0, atol=float(near**2))


def test_what_does_not_converge_says_where_it_stands():
    landscape = TanhNetwork.digits(2, 4)
    with pytest.raises(ValueError, match=r"2 steps were not enough; \|∇f\| is .* raise steps"):
        find_critical_point(landscape, landscape.start, steps=2)
    bowl = QuadraticSaddle.additive([1.0] * 3, 0.1, n=6)
    with pytest.raises(ValueError, match="shape"):
        find_critical_point(bowl, torch.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        find_critical_point(bowl, torch.full((3,), torch.nan))
    with pytest.raises(ValueError, match="must be positive"):
        find_critical_point(bowl, torch.zeros(3), steps=0)
    with pytest.raises(ValueError, match="find_stationary_points"):
        find_critical_point(SphericalPSpin.gaussian(3, 3, n=2), torch.ones(3))


def test_a_single_precision_landscape_gets_a_single_precision_point():
    landscape = RankOneFactorization(normal(60, 5, seed=3)).to(dtype=torch.float32)
    point = landscape.critical_points()[3]
    found = find_critical_point(landscape, point.location + 0.01)
    assert found.location.dtype == torch.float32
    assert found.index == point.index
    torch.testing.assert_close(found.location, point.location, rtol=0, atol=1e-5)


def test_steps_taken_are_told():
    told = []
    landscape = RankOneFactorization(normal(60, 5, seed=3))
    find_critical_point(
        landscape, landscape.critical_points()[3].location + 0.1, progress=lambda *now: told.append(now)
    )
    assert [done for done, _ in told] == list(range(1, len(told) + 1))


def test_a_loss_that_runs_out_far_away_has_no_point_there():
    """Separable classes: every gradient vanishes at infinity, with the whole; that is no critical point."""
    inputs = torch.cat([normal(40, 2) + 4, normal(40, 2, seed=1) - 4])
    landscape = TanhNetwork.of(inputs, torch.arange(80) // 40, 1, 2, F.cross_entropy)
    with pytest.raises(ValueError, match="no critical point found"):
        find_critical_point(landscape, 3 * landscape.start.sign(), steps=60)
