"""Sharp and flat minima, wells in a row and classic potentials: the known numbers, and what the noise is."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from escape import (
    BiChannel,
    DoubleWell,
    MuellerBrown,
    MultiWell,
    Potential,
    Rosenbrock,
    StyblinskiTang,
    TwoBasins,
    TwoSlopeWell,
    WuMaEPair,
    check_landscape,
)
from escape.landscapes.sampling import heavy_tails, tilts_of
from escape.named.minima import MINIMA

F64 = torch.float64


def tensor(*numbers):
    return torch.tensor(numbers, dtype=F64)


def near(what, got, expected, tolerance):
    got, expected = torch.as_tensor(got, dtype=F64), torch.as_tensor(expected, dtype=F64)
    error = float((got - expected).abs().max())
    assert error <= tolerance, f"{what}: {got.tolist()}, expected {expected.tolist()} to {tolerance:g}"


def energies(landscape):
    points = landscape.critical_points()
    return landscape.loss(torch.stack([point.location for point in points]))


def by_name(landscape):
    return {point.name: point for point in landscape.critical_points()}


# Classic potentials: published numbers, and counts that must be so.


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_mueller_brown_has_its_minima_and_saddles(scale):
    landscape = MuellerBrown(scale=scale)
    heights = scale * tensor(-146.6995, -108.1667, -80.7678, -40.6648, -72.2489)
    near("energies", energies(landscape), heights, 5e-5 * scale)
    places = [(-0.558224, 1.441726), (0.623499, 0.028038), (-0.050011, 0.466694), (-0.822002, 0.624313)]
    places.append((0.212487, 0.292988))
    for point, place in zip(landscape.critical_points(), places, strict=True):
        near(point.name, point.location, place, 1e-6)
    assert [point.index for point in landscape.critical_points()] == [0, 0, 0, 1, 1]


def test_mueller_brown_is_its_formula():
    terms = [
        (-200, -1, 0, -10, 1, 0),
        (-100, -1, 0, -10, 0, 0.5),
        (-170, -6.5, 11, -6.5, -0.5, 1.5),
        (15, 0.7, 0.6, 0.7, -1, 1),
    ]
    for x, y in ((0.3, -0.2), (-1.1, 1.3)):
        value = sum(
            d * math.exp(a * (x - p) ** 2 + b * (x - p) * (y - q) + c * (y - q) ** 2) for d, a, b, c, p, q in terms
        )
        near("u", MuellerBrown(scale=1.0).loss(tensor(x, y)), value, 1e-12 * abs(value))


def test_bi_channel_has_its_eigenvalues():
    points = by_name(BiChannel())
    for side, sign in (("left", -1), ("right", 1)):
        near("minimum", points[f"{side} minimum"].location, (sign * 1.048055, -0.042094), 1e-6)
        near("minimum", points[f"{side} minimum"].eigenvalues, (8.472, 13.558), 5e-4)
        near("saddle", points[f"upper {side} saddle"].location, (sign * 0.617272, 1.102735), 1e-6)
        near("saddle", points[f"upper {side} saddle"].eigenvalues, (-5.357, 6.281), 5e-4)
    near("upper minimum", points["upper minimum"].eigenvalues, (3.798, 9.272), 5e-4)
    near("lower saddle", points["lower saddle"].eigenvalues, (-10.478, 4.915), 5e-4)
    near("hilltop", points["hilltop"].location, (0, 0.519187), 1e-6)
    assert points["hilltop"].kind == "maximum"


def test_batch_descent_stays_on_the_axis_of_the_bi_channel():
    x = tensor(0.0, -0.4)[None]
    landscape = BiChannel.noisy(1.0, n=40)
    for _ in range(50):
        x = x - 0.05 * landscape.gradient(x)
        assert float(x[0, 0]) == 0, "batch descent left the axis of symmetry by rounding alone"
    near("saddle", x[0, 1], -0.315827, 1e-5)


def test_rosenbrock_by_hand():
    (point,) = Rosenbrock().critical_points()
    # Hessian ((802, −400), (−400, 200)): trace 1002, determinant 400.
    root = math.sqrt(501**2 - 400)
    near("eigenvalues", point.eigenvalues, (501 - root, 501 + root), 1e-10)
    near("eigenvalues", point.eigenvalues, (0.39936, 1001.6006), 5e-5)


@pytest.mark.parametrize(("coordinates", "energy"), [(4, 3.70143), (5, 3.93084), (6, 3.97394), (7, 3.98360)])
def test_the_rosenbrock_chain_has_a_second_minimum(coordinates, energy):
    landscape = Rosenbrock(coordinates, scale=0.5)
    minimum, second, saddle = landscape.critical_points()
    assert [point.index for point in (minimum, second, saddle)] == [0, 0, 1]
    heights = energies(landscape) / 0.5
    near("second minimum", heights[1], energy, 1e-5)
    assert heights[0] == 0
    assert heights[2] > heights[1], "the saddle lies below the minimum that it closes"


def test_rosenbrock_declares_what_it_knows():
    for landscape in (Rosenbrock(3), Rosenbrock(8), Rosenbrock(4, steepness=50.0)):
        assert [point.name for point in landscape.critical_points()] == ["minimum"]


def test_styblinski_tang_has_its_points_and_barriers():
    landscape = StyblinskiTang(1)
    points = landscape.critical_points()
    near("points", torch.cat([point.location for point in points]), (-2.903534, 0.156731, 2.746803), 1e-6)
    near("curvatures", torch.cat([point.eigenvalues for point in points]), (34.583059, -15.852612, 29.269553), 1e-6)
    left, top, right = energies(landscape)
    near("energies", (left, top, right), (-39.166166, 0.195612, -25.029447), 1e-6)
    near("barriers", (top - left, top - right), (39.361778, 25.225059), 1e-6)


def test_styblinski_tang_is_a_product():
    landscape = StyblinskiTang(3, scale=0.1)
    points = landscape.critical_points()
    assert len(points) == 27
    assert sum(point.kind == "minimum" for point in points) == 8
    assert all(point.index == point.name.count("0") for point in points)
    one = energies(StyblinskiTang(1, scale=0.1))
    sums = [float(sum(one[k] for k in which)) for which in itertools.product(range(3), repeat=3)]
    near("energies", energies(landscape), sums, 1e-10)


def test_styblinski_tang_of_many_coordinates():
    landscape = StyblinskiTang.noisy(0.3, n=8, coordinates=6, scale=0.1)
    points = landscape.critical_points()
    assert [point.index for point in points] == [0] + 6 * [1] + 6 * [0]
    assert energies(landscape).argmin() == 0
    asked = landscape.point_at([0, 1, 2, 1, 0, 2])
    near("gradient", landscape.gradient(asked.location), torch.zeros(6), 1e-13)
    assert (asked.index, asked.name, asked.noise) == (2, "-0+0-+", "I")
    check_landscape(landscape)


@pytest.mark.parametrize("tilt", [-34.8, -5.0, 0.0, 34.8])
def test_styblinski_tang_with_any_tilt_has_three_levels(tilt):
    landscape = StyblinskiTang(1, tilt=tilt)
    near("slope at the levels", landscape.slope(tensor(*landscape.levels)), torch.zeros(3), 1e-12)
    assert [point.index for point in landscape.critical_points()] == [0, 1, 0]
    assert list(landscape.levels) == sorted(landscape.levels)


@pytest.mark.parametrize("landscape", [BiChannel(), MuellerBrown(), MultiWell(5), StyblinskiTang(2)], ids=str)
def test_no_point_is_missing_from_the_balance(landscape):
    # Of a function that rises in all directions far away, the sum of (−1)^index is 1 (Morse).
    assert sum((-1) ** point.index for point in landscape.critical_points()) == 1


# Wells in a row.


@pytest.mark.parametrize("wells", [2, 3, 6])
def test_minima_outnumber_saddles_in_any_dimension(wells):
    landscape = MultiWell.noisy(0.3, bath=[1.0] * 19, n=10, wells=wells, barrier=0.7, spacing=1.5)
    points = landscape.critical_points()
    assert landscape.dimension == 20
    assert [point.index for point in points] == wells * [0] + (wells - 1) * [1]
    heights = energies(landscape) - energies(landscape)[0]
    near("heights", heights, wells * [0.0] + (wells - 1) * [0.7], 1e-14)
    curvature = 2 * 0.7 * math.pi**2 / 1.5**2
    near("minimum", points[0].eigenvalues[-1], curvature, 1e-12)
    near("saddle", points[-1].eigenvalues[0], -curvature, 1e-12)
    distances = torch.stack([point.location[0] for point in points[:wells]]).diff()
    near("distances of minima", distances, (wells - 1) * [1.5], 1e-14)


@pytest.mark.parametrize("wells", [2, 3])
def test_wells_go_over_into_parabolas_smoothly(wells):
    landscape = MultiWell(wells)
    edge = wells - 1.0
    step = tensor(1e-3, 2e-3)
    for side in (-1, 1):
        inner, outer = (landscape.gradient(side * (edge + s * step)[:, None])[:, 0] for s in (-1, 1))
        near("slopes on either side", inner + outer, torch.zeros(2), 1e-6 * landscape.curvature)
        assert float((inner + outer).abs().max()) > 1e-12, "a cosine is no parabola: the slopes cannot be opposite"
        near("outer slope", side * outer, landscape.curvature * step, 1e-12)


# Two basins.


def test_two_basins_are_quadratic_about_their_minima():
    landscape = TwoBasins.noisy(bath=[3.0], n=50)
    sharp, flat = landscape.critical_points()
    near("sharp", sharp.eigenvalues, (3.0, 20.0, 200.0), 1e-12)
    near("flat", flat.eigenvalues, (2.0, 2.0, 3.0), 1e-12)
    assert (sharp.location.tolist(), flat.location.tolist()) == ([1.0, 1.0, 0.0], [-1.0, -1.0, 0.0])
    for point, reach in ((sharp, 0.05), (flat, 0.3)):
        hessian = landscape.hessian(point.location)
        delta = reach * tensor(0.6, -0.8, 1.0)
        rise = landscape.loss(point.location + delta) - landscape.loss(point.location)
        near(f"rise from the {point.name}", rise, 0.5 * delta @ hessian @ delta, 1e-12)


def test_noise_of_two_basins_is_the_curvature_times_the_data():
    landscape = TwoBasins.noisy(0.01, bath=[3.0], n=50)
    for point in landscape.critical_points():
        hessian = landscape.hessian(point.location)
        spread = torch.cov(landscape.data.T, correction=0)
        near(point.name, landscape.gradient_covariance(point.location), hessian @ spread @ hessian, 1e-12)
    sharp = landscape.critical_points()[0].location
    near("sharp", landscape.gradient_covariance(sharp), 1e-4 * 200 * landscape.hessian(sharp), 1e-12)


def test_two_basins_are_those_of_the_source():
    landscape = TwoBasins.noisy(n=20)
    x = tensor(0.2, 0.9)
    total = 0.0
    for z in landscape.samples.tolist():
        k = math.cos(math.pi / 4)
        x1, y1, x2, y2 = x[0] - z[0] - 1, x[1] - z[1] - 1, x[0] - z[0] + 1, x[1] - z[1] + 1
        total += min(10 * (k * x1 - k * y1) ** 2 + 100 * (k * x1 + k * y1) ** 2, x2**2 + y2**2) / 20
    near("f", landscape.loss(x), total, 1e-12)


@pytest.mark.parametrize(("sharp", "expected"), [((20.0, 200.0), 800 / 121), ((90.0, 18.0), 4.5)])
def test_the_ridge_between_two_basins_is_as_high_as_it_says(sharp, expected):
    landscape = TwoBasins(torch.zeros(1, 2, dtype=F64), sharp, 2.0)
    near("barrier", landscape.barrier, expected, 1e-12)
    # Along rays from the sharp minimum f first rises within its basin: up to the ridge, found here on a fine grid.
    angle = torch.linspace(0, 2 * math.pi, 721, dtype=F64)
    rays = torch.stack([angle.cos(), angle.sin()], dim=1)
    radii = torch.linspace(0, 1.5, 1501, dtype=F64)
    w = 1 + radii[:, None, None] * rays
    steep, wide, _, _ = landscape._basins(w.movedim(-1, 0))
    heights = torch.where(steep <= wide, steep, torch.inf)
    crossed = (steep > wide).int().argmax(0)
    lowest = heights[crossed - 1, torch.arange(len(angle))][crossed > 0].min()
    assert 0.97 * expected < float(lowest) <= expected + 1e-9, f"lowest point of the ridge {lowest}, not {expected}"


def test_basins_that_the_data_mix_are_not_declared():
    assert [point.name for point in TwoBasins.noisy(0.1).critical_points()] == ["flat minimum"]
    mixed = TwoBasins(torch.tensor([[2.0, 2.0], [-2.0, -2.0]]))
    assert mixed.critical_points() == ()
    assert mixed.dimension == 2


def test_the_wu_ma_e_pair_is_that_of_the_source():
    landscape = WuMaEPair.noisy()
    x = torch.linspace(-2, 4, 61, dtype=F64)
    first, second = torch.minimum(x**2, 0.1 * (x - 1) ** 2), torch.minimum(x**2, 1.9 * (x - 1) ** 2)
    near("f", landscape.loss(x[:, None]), (first + second) / 2, 1e-14)
    for point, curvatures, spread in zip(
        landscape.critical_points(), [(2.0, 2.0), (0.2, 3.8)], [0.0, 1.8], strict=True
    ):
        each = landscape.sample_hessians(point.location)[:, 0, 0]
        near(point.name, each, curvatures, 1e-14)
        near(point.name, each.std(correction=0), spread, 1e-14)
        assert (point.eigenvalues.tolist(), point.noise) == ([2.0], "II")


def test_sgd_leaves_the_uneven_minimum_and_stays_at_the_even_one():
    # At lr = 0.7 ln|1 − lr h| is −0.92 at 0, and at 1 on average +0.18: −0.15 or +0.51.
    landscape, generator = WuMaEPair.noisy(), torch.Generator().manual_seed(1)
    x = torch.cat([torch.full((8, 1), 1e-6, dtype=F64), torch.full((8, 1), 1 + 1e-6, dtype=F64)])
    for _ in range(600):
        x = x - 0.7 * landscape.gradient(x, torch.randint(2, (16, 1), generator=generator))
    near("where SGD ends", x, torch.zeros(16, 1), 1e-6)


# Noise by its law.


@pytest.mark.parametrize("law", ["rademacher", "gaussian", "heavy"])
def test_tilts_have_exactly_the_moments_asked_for(law):
    rows = tilts_of(law, 200, 3, 0.3, 5)
    near("mean", rows.mean(0), torch.zeros(3), 1e-16)
    near("standard deviation", rows.std(0, correction=0), [0.3] * 3, 1e-14)
    landscape = BiChannel.noisy(0.3, [1.0], 200, 5, law)
    assert torch.equal(landscape.samples, rows)
    assert {point.noise for point in landscape.critical_points()} == {"I"}


@pytest.mark.parametrize(
    ("n", "kurtosis", "largest"), [(100, 6.22, 3.82), (1000, 13.67, 7.875), (10_000, 29.68, 16.56)]
)
def test_heavy_tails_are_as_heavy_as_they_say(n, kurtosis, largest):
    rows = heavy_tails(n, 2, seed=1)
    near("kurtosis", rows.pow(4).mean(0), [kurtosis] * 2, 5e-3)
    near("largest", rows.amax(0), [largest] * 2, 5e-3)
    near("skewness", rows.pow(3).mean(0), [0.0] * 2, 1e-11)


def test_heavy_tails_are_students():
    # Of one degree of freedom the quantiles are tan π(p − ½); n = 4: ±tan(π/8), ±tan(3π/8), that is ±(√2 ∓ 1).
    rows = heavy_tails(4, 1, seed=0, freedom=1.0)[:, 0].sort().values
    expected = tensor(-math.sqrt(2) - 1, 1 - math.sqrt(2), math.sqrt(2) - 1, math.sqrt(2) + 1) / math.sqrt(3)
    near("quantiles", rows, expected, 1e-14)


def test_wells_take_heavy_tails():
    rows = tilts_of("heavy", 40, 2, 0.3, 0)
    assert torch.equal(DoubleWell.heavy(0.3, [1.0], 40).samples, rows)
    assert torch.equal(TwoSlopeWell.noisy(2.0, 1.0, 0.25, 0.3, [1.0], 40, tilts="heavy").samples, rows)


@pytest.mark.parametrize("law", ["rademacher", "gaussian", "heavy"])
def test_scales_push_along_the_gradient_alone(law):
    landscape = MuellerBrown.noisy(0.5, [0.3], 40, tilts=law, multiplicative=True)
    x = tensor(0.1, 0.8, -0.4)
    slope = MuellerBrown.noisy(0.5, [0.3], tilts="none").gradient(x)
    near("covariance", landscape.gradient_covariance(x), 0.25 * torch.outer(slope, slope), 1e-14)
    near("gradient", landscape.gradient(x), slope, 1e-15)
    for point in landscape.critical_points():
        assert point.noise == "II"
        near(point.name, landscape.sample_gradients(point.location), torch.zeros(40, 3), 1e-14)


def test_no_noise_is_one_term():
    assert (BiChannel.noisy(0.3, tilts="none").n, BiChannel().n) == (1, 1)
    assert {point.noise for point in BiChannel().critical_points()} == {"II"}


# A potential of one's own.


@dataclass(frozen=True, eq=False)
class Pendulum(Potential):
    """u = 1 − cos y, with a bath: nothing in closed form."""

    inner = 1

    def potential(self, y):
        return 1 - torch.cos(y[0])

    def stationary(self):
        return (("down", [0.1]), ("up", [3.0]))


@pytest.mark.parametrize("multiplicative", [False, True])
def test_a_potential_of_ones_own(multiplicative):
    landscape = Pendulum.noisy(0.3, [0.5], 20, multiplicative=multiplicative)
    check_landscape(landscape)
    down, up = landscape.critical_points()
    near("up", up.location, (math.pi, 0.0), 1e-15)
    near("up", up.eigenvalues, (-1.0, 0.5), 1e-15)
    near("down", down.eigenvalues, (0.5, 1.0), 1e-15)


def test_tilts_along_some_directions_alone():
    tilts = torch.tensor([[0.0, 0.1], [0.0, -0.1]], dtype=F64)
    down, up = Pendulum(samples=tilts, bath=tensor(0.5)).critical_points()
    assert (down.noise, up.noise) == ("I", "II"), "noise that spares the unstable direction is none at the saddle"


@pytest.mark.parametrize("place", [[1.3], [2.0]])
def test_no_point_near_a_wrong_place(place):
    with pytest.raises(ValueError, match="no stationary point near"):
        Pendulum().point_near(place)


# Names, and what is refused.


@pytest.mark.parametrize("name", MINIMA)
def test_named_ones_have_noise_and_points(name):
    landscape = MINIMA[name]()
    assert len(landscape.critical_points()) >= 1
    assert float((landscape.samples - landscape.samples[0]).abs().max()) > 0


UNBALANCED = torch.tensor([[0.1, 0.0], [0.2, 0.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MuellerBrown(scale=0.0), "scale must be positive"),
        (lambda: BiChannel(scale=-1.0), "scale must be positive"),
        (lambda: BiChannel(bath=tensor(1.0, -1.0)), "all positive"),
        (lambda: BiChannel(samples=torch.zeros(4, 3)), r"samples must be tilts \(n, 2\)"),
        (lambda: BiChannel(samples=torch.zeros(4, 2), multiplicative=True), r"scales \(n, 1\)"),
        (lambda: BiChannel(samples=UNBALANCED), "sum to zero"),
        (lambda: BiChannel.noisy(0.1, tilts="cauchy"), "one of rademacher, gaussian, heavy"),
        (lambda: BiChannel.noisy(-0.1), "must be ≥ 0"),
        (lambda: Rosenbrock(1), "at least 2"),
        (lambda: Rosenbrock(steepness=0.0), "must be positive"),
        (lambda: MultiWell(1), "wells must be at least 2"),
        (lambda: MultiWell(3, barrier=0.0), "must be positive"),
        (lambda: StyblinskiTang(0), "at least 1"),
        (lambda: StyblinskiTang(2, scale=0.0), "scale must be positive"),
        (lambda: StyblinskiTang(2, tilt=34.9), "below 34.8372"),
        (lambda: StyblinskiTang(2).point_at([0, 3]), "out of 0, 1 and 2"),
        (lambda: StyblinskiTang(2).point_at([0]), "2 numbers"),
        (lambda: TwoBasins(torch.zeros(4, 1)), r"data must be \(n, d\)"),
        (lambda: TwoBasins(torch.zeros(4, 2), flat=30.0), "two numbers above flat"),
        (lambda: TwoBasins(UNBALANCED), "sum to zero"),
        (lambda: TwoBasins.noisy(bath=[-1.0]), "must be positive"),
        (lambda: WuMaEPair(torch.zeros(4, 2)), "all positive"),
        (lambda: WuMaEPair(torch.ones(4, 3)), r"must be \(n, 2\)"),
        (lambda: WuMaEPair(torch.ones(2, 2), UNBALANCED), r"tilts must be \(2, 1\)"),
        (lambda: WuMaEPair(torch.ones(2, 2), UNBALANCED[:, :1]), "sum to zero"),
        (lambda: WuMaEPair(torch.ones(2, 2), bath=tensor(-1.0)), "bath must be"),
        (lambda: WuMaEPair.noisy(n=3), "even number"),
        (lambda: WuMaEPair.noisy(spread_right=2.0), "below 2.0"),
        (lambda: heavy_tails(1, 2, 0), "n ≥ 2"),
        (lambda: heavy_tails(4, 2, 0, freedom=0.0), "freedom > 0"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
