"""Degenerate saddles, the octopus and landscapes on the sphere: spectra, sources' formulas, and how chains leave."""

import math

import numpy as np
import pytest
import torch
from torch.func import grad, hessian

from escape import (
    Above,
    CriticalPoint,
    DegenerateSaddle,
    FullBatch,
    GradientDescent,
    IsotropicNoise,
    MiniBatch,
    MonkeySaddle,
    Octopus,
    Oja,
    Projection,
    SquaredProjection,
    TensorDecomposition,
    check_landscape,
    estimate,
    simulate,
    theory,
)
from escape.named import NAMED
from escape.named.saddles import SADDLES

F64, F32 = torch.float64, torch.float32
TAU = math.e


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def close(what, got, expected, allowed):
    error = float((got - expected).abs().max())
    assert got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    assert error <= allowed, f"{what} is off by {error:.3g}, {allowed:.3g} allowed"


def descend(landscape, start, lr, steps, oracle=None, **options):
    start = torch.as_tensor(start, dtype=landscape.samples.dtype)
    options = {"chains": len(start) if start.ndim == 2 else 1, "executor": 1, "compile": False} | options
    return simulate(landscape, oracle or FullBatch(), GradientDescent(lr), start, steps=steps, **options)


@pytest.mark.parametrize("name", SADDLES)
def test_named_landscapes_are_what_they_say(name):
    landscape = NAMED[name]()
    check_landscape(landscape)
    assert landscape.samples.dtype == F64


# Degenerate saddles.


def test_monkey_by_hand():
    landscape = MonkeySaddle.noisy(0.1, [2.0], n=40)
    (origin,) = landscape.critical_points()
    assert (origin.kind, origin.index, origin.noise) == ("degenerate", 0, "I")
    assert origin.eigenvalues.tolist() == [0.0, 0.0, 2.0]
    x = normal(5, 3, seed=1)
    polar = x[:, :2].norm(dim=1) ** 3 * torch.cos(3 * torch.atan2(x[:, 1], x[:, 0])) + x[:, 2] ** 2
    close("r³ cos 3φ + z²", landscape.loss(x), polar, 1e-12)
    close("noise", landscape.gradient_covariance(x[0]), 0.01 * torch.eye(3, dtype=F64), 1e-15)


def test_batch_descent_stays_on_a_degenerate_saddle():
    for landscape in (MonkeySaddle.noisy(0.3, n=50), DegenerateSaddle.noisy(0.3, n=50, bath=[1.0])):
        end = descend(landscape, [0.0, 0.0], 0.1, 50)
        assert (end.final.values == 0).all(), f"rounding of the mean tilt moved it to {end.final.values}"


def test_degenerate_saddle_by_hand():
    landscape = DegenerateSaddle.noisy(0.0, bath=[1.0], n=10)
    (origin,) = landscape.critical_points()
    assert (origin.kind, origin.noise, origin.eigenvalues.tolist()) == ("degenerate", "II", [0.0, 1.0])
    x = normal(5, 2, seed=1)
    close("x_2²/2 − x_1⁴/4", landscape.loss(x), x[:, 1] ** 2 / 2 - x[:, 0] ** 4 / 4, 1e-12)
    one_sided = DegenerateSaddle.noisy(0.0, 3.0, 2.0, two_sided=False, n=10)
    close("−2 x³/3", one_sided.loss(x[:, :1]), -2 / 3 * x[:, 0] ** 2 * x[:, 0].abs() * x[:, 0].sign(), 1e-12)


@pytest.mark.parametrize(
    ("landscape", "degree", "coefficient", "towards"),
    [
        (DegenerateSaddle.noisy(0.1, 4.0, n=10), 4.0, 1.0, [-1.0]),
        (DegenerateSaddle.noisy(0.1, 2.5, 0.7, n=10), 2.5, 0.7, [1.0]),
        (DegenerateSaddle.noisy(0.1, 3.0, 2.0, two_sided=False, n=10), 3.0, 2.0, [1.0]),
        (MonkeySaddle.noisy(0.1, n=10), 3.0, 3.0, [-1.0, 0.0]),
        (MonkeySaddle.noisy(0.1, n=10), 3.0, 3.0, [0.5, 0.75**0.5]),
    ],
    ids=["quartic", "degree 2.5", "one-sided", "monkey", "another valley of the monkey"],
)
def test_descent_leaves_when_theory_says(landscape, degree, coefficient, towards):
    lr, radius, v = 0.05, 1.0, torch.tensor(towards, dtype=F64)
    starts = torch.tensor([0.13, 0.2, 0.31, 0.5], dtype=F64)
    out = Above(Projection(torch.zeros_like(v), v), radius)
    data = descend(landscape, starts[:, None] * v, lr, 3000, until=out)
    expected = theory.degenerate_gd_exit_step(lr, degree, radius, starts.numpy(), coefficient)
    assert (data.status == 1).all()
    assert np.abs(data.exit_step.values - expected).max() <= 1, f"{data.exit_step.values}, theory {expected}"


def test_one_side_holds_and_the_other_does_not():
    landscape = DegenerateSaddle.noisy(0.1, 4.0, two_sided=False, n=10)
    ends = descend(landscape, [[-0.5], [0.5]], 0.1, 60, until=Above(Projection([0.0], [1.0]), 2.0))
    assert -0.5 < float(ends.final[0, 0]) < 0
    assert ends.status.values.tolist() == [0, 1]


# The octopus.


def tube(a, tau, L, gamma):
    """V of |x| = a as the source writes it, region by region; None outside."""
    d = len(a)
    nu = (13 * gamma + 37 * L) * tau**2 / 6

    def g1(x):
        third, fourth = (-14 * L + 10 * gamma) / (3 * tau), (5 * L - 3 * gamma) / (2 * tau**2)
        return -gamma * x**2 + third * (x - tau) ** 3 + fourth * (x - tau) ** 4

    def g2(x):
        u = (x - 2 * tau) / tau
        return -gamma - (L + gamma) * (10 * u**3 + 15 * u**4 + 6 * u**5)

    for i in range(d):
        behind, rest = a[:i], a[i + 1 :]
        if not all(2 * tau <= b <= 6 * tau for b in behind) or not all(b <= tau for b in rest):
            continue
        value = sum(L * (b - 4 * tau) ** 2 for b in behind) - i * nu
        if a[i] <= tau:
            return value - gamma * a[i] ** 2 + sum(L * b**2 for b in rest)
        if a[i] <= 2 * tau:
            return value + g1(a[i]) + sum((g2(a[i]) if j == 0 else L) * b**2 for j, b in enumerate(rest))
    if all(2 * tau <= b <= 6 * tau for b in a):
        return sum(L * (b - 4 * tau) ** 2 for b in a) - d * nu
    return None


def points_in_the_tube(d, tau, many, seed):
    """Points of every region, (2d + 1) · many of them, with random signs, and their regions."""
    points, regions = [], []
    for region in range(2 * d + 1):
        k = region // 2
        u = uniform(many, d, seed=seed + region)
        x = u * tau
        x[:, :k] = tau * (2 + 4 * u[:, :k])
        if region % 2:
            x[:, k] = tau * (1 + u[:, k])
        points.append(x * (2 * (uniform(many, d, seed=100 + region) > 0.5) - 1))
        regions += [region] * many
    return torch.cat(points), regions


@pytest.mark.parametrize(("tau", "L", "gamma"), [(TAU, 1.0, 1.0), (0.8, 1.7, 0.6), (1.3, 0.4, 2.0)])
def test_octopus_is_that_of_its_source(tau, L, gamma):
    landscape = Octopus.noisy(3, tau=tau, L=L, gamma=gamma)
    x, regions = points_in_the_tube(3, tau, 20, seed=1)
    assert landscape.region(x).tolist() == regions
    assert landscape.saddles_left(x).tolist() == [region // 2 for region in regions]
    expected = torch.tensor([tube(p.abs().tolist(), tau, L, gamma) for p in x], dtype=F64)
    close("V", landscape.loss(x), expected, 1e-12 * float(expected.abs().max()))
    slopes = torch.stack([grad(landscape.sample_loss)(p, landscape.samples[0]) for p in x])
    close("∇V", landscape.gradient(x), slopes, 1e-11)


def test_octopus_is_smooth_where_regions_meet():
    landscape = Octopus.noisy(3, tau=1.0, L=1.7, gamma=0.6)
    for at in ([1.0, 0.3, 0.4], [2.0, 0.3, 0.4], [-2.5, 1.0, 0.4], [3.0, 2.0, -0.4], [5.0, 4.0, 1.0], [5.0, 4.0, 2.0]):
        x = torch.tensor(at, dtype=F64)
        moving = [i for i, value in enumerate(at) if value in (1.0, 2.0)]
        step = torch.zeros_like(x)
        step[moving] = 1e-7
        below, above = x - step, x + step
        assert int(landscape.region(above) - landscape.region(below)) == 1
        close(f"V about {at}", landscape.loss(above), landscape.loss(below), 1e-5)
        close(f"∇V about {at}", landscape.gradient(above), landscape.gradient(below), 1e-5)
        close(f"Hessian about {at}", landscape.hessian(above), landscape.hessian(below), 1e-4)


def test_octopus_points():
    landscape = Octopus.noisy(4, 0.1, L=1.7, gamma=0.6, n=50)
    points = landscape.critical_points()
    assert [point.kind for point in points] == ["saddle"] * 4 + ["minimum"]
    nu = (13 * 0.6 + 37 * 1.7) * TAU**2 / 6
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=F64)
    for k, point in enumerate(points):
        assert (point.location / (4 * TAU)).tolist() == [1.0] * k + [0.0] * (4 - k)
        assert abs(float(landscape.loss(point.location)) + k * nu) < 1e-12 * 4 * nu
        mirrored = torch.linalg.eigvalsh(landscape.hessian(signs * point.location))
        expected = torch.tensor([-1.2] * (k < 4) + [3.4] * (3 + (k == 4)), dtype=F64)
        close(f"spectrum at {point.name}", point.eigenvalues, expected, 1e-14)
        close(f"spectrum at its mirror image of {point.name}", mirrored, expected, 1e-12)
        assert float(landscape.gradient(signs * point.location).abs().max()) < 1e-13
        assert point.noise == "I"
    assert {point.noise for point in Octopus.noisy(3).critical_points()} == {"II"}


OUTSIDE = [[2 * TAU + 0.1, TAU + 0.1, TAU + 0.1], [0.0, 1.01 * TAU, 0.0], [6.1 * TAU, 0.0, 0.0], [math.nan, 0.0, 0.0]]


@pytest.mark.parametrize("place", OUTSIDE)
def test_nothing_is_defined_outside_the_tube(place):
    landscape = Octopus.noisy(3)
    x = torch.tensor(place, dtype=F64)
    assert not bool(landscape.inside(x))
    assert int(landscape.region(x)) == -1
    for value in (landscape.loss(x), landscape.gradient(x), landscape.saddles_left(x)):
        assert bool(value.isnan().all()), value
    assert bool(grad(landscape.sample_loss)(x, landscape.samples[0]).isnan().all())
    with pytest.raises(ValueError, match="1 of 2 starts lie outside the octopus, first row 1"):
        landscape.check_starts(torch.stack([torch.zeros_like(x), x]))


def test_a_chain_that_goes_outside_counts_as_diverged():
    landscape = Octopus.noisy(3)
    landscape.check_starts(torch.tensor([2.5, 2.5, 0.1], dtype=F64))
    data = descend(landscape, [[2.5, 2.5, 0.1], [-1.0, 0.5, 0.1], [1.0, 3.0, 0.1]], 0.25, 60)
    assert data.status.values.tolist() == [0, 0, 2]
    assert np.isnan(data.final.values[2]).all()
    close("end", torch.from_numpy(np.abs(data.final.values[:2, 0])), torch.full((2,), 4 * TAU, dtype=F64), 1e-6)


def exit_steps(landscape, data):
    """T_k, the first step with k saddles left, (c, d); −1 where that never came."""
    left = data.left.values
    steps = [np.where((left >= k).any(0), (left >= k).argmax(0), -1) for k in range(1, landscape.dimension + 1)]
    return np.stack(steps, 1)


STARTS = (0.6 + 0.4 * uniform(6, 8, seed=3)) * (2 * (uniform(6, 8, seed=4) > 0.5) - 1)


def test_exit_steps_of_batch_descent_grow_by_the_factor_of_theory(recwarn):
    landscape = Octopus.noisy(6)
    data = descend(landscape, STARTS[:, :6], 0.25, 480, observe={"left": landscape.saddles_left})
    steps = exit_steps(landscape, data)[:, :5]
    assert (steps > 0).all(), f"five saddles in 480 steps, not {steps}"
    expected = theory.successive_exit_ratio(0.25, 2.0, -2.0)
    assert abs(expected - 2.7095) < 1e-4
    # Slope of T_{k+1} on T_k: the passage between saddles adds a number of steps that does not grow with k.
    slopes = np.array([np.polyfit(row[:4], row[1:], 1)[0] for row in steps])
    assert np.abs(slopes / expected - 1).max() < 0.02, f"slopes {slopes}, theory {expected}"
    assert landscape.check_underflow(torch.from_numpy(data.final.values)) == 0
    assert not recwarn.list


def test_single_precision_stands_still_two_saddles_earlier():
    landscape = Octopus.noisy(8, dtype=F32)
    observe = {"left": landscape.saddles_left, "lost": landscape.underflowed}
    data = descend(landscape, STARTS, 0.25, 450, observe=observe)
    left, lost = data.left.values, data.lost.values
    assert set(left[-1]) <= {4.0, 5.0}
    assert (lost[100] == 0).all()
    assert (lost[-1] == 8 - left[-1]).all(), "every coordinate still to leave is lost"
    with pytest.warns(UserWarning, match="6 of 6 points .* float32"):
        landscape.check_underflow(torch.from_numpy(data.final.values))


@pytest.mark.parametrize(("dtype", "early", "late"), [(F32, 1e-8, 1e-16), (F64, 1e-40, 1e-95)])
def test_underflow_is_reported_where_it_happens(dtype, early, late, recwarn):
    landscape = Octopus.noisy(2, dtype=dtype)
    # A tenth remains of the coordinate that waits, the other grows by 1.9: so x_2 is zero once x_1 comes out.
    ends = descend(landscape, [[early, 1.0], [late, 1.0]], 0.45, 720).final.values
    assert ends.dtype == landscape.samples.numpy().dtype
    assert ends[1, 1] == 0
    assert abs(ends[0, 1] - 4 * TAU) < 1e-4
    assert landscape.underflowed(torch.from_numpy(ends)).tolist() == [0, 1]
    assert landscape.check_underflow(torch.from_numpy(ends[:1])) == 0
    assert not recwarn.list
    with pytest.warns(UserWarning, match="1 of 2 points have coordinates that underflowed"):
        landscape.check_underflow(torch.from_numpy(ends))


@pytest.mark.parametrize("oracle", [IsotropicNoise(1), MiniBatch(1)])
def test_exit_steps_of_noisy_descent_do_not_grow(oracle):
    landscape = Octopus.noisy(8, 1e-3, n=20)
    data = descend(landscape, STARTS, 0.25, 260, oracle, observe={"left": landscape.saddles_left}, seed=5)
    gaps = np.diff(exit_steps(landscape, data), axis=1)
    assert (gaps > 0).all()
    # From the third on a saddle is left in ln(R/s)/ln a steps, each of them with standard deviation π/√8/ln a = 2.7.
    assert gaps[:, 2:].max() < 50
    trend = gaps[:, 4:].mean() / gaps[:, 1:4].mean()
    assert 0.8 < trend < 1.25, f"the last saddles take {trend:.3g} times as long as the first, batch descent 20 times"


# On the sphere.


def test_gauge_directions_do_not_count():
    values, eye = torch.tensor([0.0, 1.0, 2.0], dtype=F64), torch.eye(3, dtype=F64)
    where = torch.zeros(3, dtype=F64)
    assert CriticalPoint(where, values, eye).kind == "degenerate"
    assert CriticalPoint(where, values, eye, gauge=1).kind == "minimum"
    assert CriticalPoint(where, values - 2, eye).kind == "saddle"
    assert CriticalPoint(where, values - 2, eye, gauge=1).kind == "maximum"
    assert CriticalPoint(where, values - 1, eye, gauge=1).kind == "saddle"
    assert CriticalPoint(where, values, eye, gauge=1).to(dtype=F32).gauge == 1
    for gauge in (-1, 3):
        with pytest.raises(ValueError, match="must lie in 0 to 2"):
            CriticalPoint(where, values, eye, gauge=gauge)


def geodesic_curvatures(loss, point):
    """Second derivatives of a function of x (d,) along the great circles through a point of the sphere."""
    angle = torch.zeros((), dtype=F64)
    return torch.stack(
        [
            hessian(lambda t, v=v: loss(torch.cos(t) * point.location + torch.sin(t) * v))(angle)
            for v in point.directions.T
            if abs(float(v @ point.location)) < 1e-9
        ]
    )


def test_oja_by_hand():
    basis = torch.linalg.qr(normal(4, 4, seed=2))[0]
    landscape = Oja.gaussian([0.5, 1.0, 0.1, 0.25], n=60, basis=basis)
    second = landscape.samples.T @ landscape.samples / 60
    close("second moment", second, basis @ torch.diag(torch.tensor([0.5, 1.0, 0.1, 0.25], dtype=F64)) @ basis.T, 1e-14)
    x = normal(5, 4, seed=3)
    close("Rayleigh quotient", landscape.loss(x), -0.5 * (x @ second * x).sum(1) / (x * x).sum(1), 1e-14)
    points = {point.name: point for point in landscape.critical_points()}
    kinds = {"v_1": ("minimum", 0), "v_2": ("saddle", 1), "v_3": ("saddle", 2), "v_4": ("maximum", 3)}
    assert len(points) == 8
    assert {name: (point.kind, point.index) for name, point in points.items()} == {
        sign + name: kind for name, kind in kinds.items() for sign in "+-"
    }
    expected = torch.tensor([-0.5, 0.0, 0.25, 0.4], dtype=F64)
    close("λ_2 − λ_j", points["-v_2"].eigenvalues, expected, 1e-14)
    tangent = geodesic_curvatures(lambda x: -0.5 * x @ second @ x, points["-v_2"])
    close("along great circles", tangent, expected[expected != 0], 1e-13)
    assert landscape.critical_point(points["+v_1"].location).kind == "minimum"


def test_noise_of_oja_is_the_product_of_the_spectrum_up_to_fourth_moments():
    landscape = Oja.gaussian([1.0, 0.5, 0.2], n=20_000, seed=1)
    points = {point.name: point for point in landscape.critical_points()}
    variance = float(landscape.noise_along(points["+v_2"].location, points["+v_1"].location))
    allowed = 4 * (8 / 20_000) ** 0.5  # standard errors; false alarm 6e-5
    assert abs(variance / 0.5 - 1) < allowed
    assert points["+v_2"].noise == "I"


def test_exits_from_a_saddle_of_oja_follow_the_law_of_the_linear_saddle(within):
    landscape = Oja.gaussian([1.0, 0.05, 0.02], n=400, seed=2)
    (saddle,) = (point for point in landscape.critical_points() if point.name == "+v_2")
    oracle, lr, radius, chains = MiniBatch(5), 0.01, 0.1, 300
    noise = math.sqrt(
        oracle.covariance_factor(landscape) * float(landscape.noise_along(saddle.location, saddle.unstable[:, 0]))
    )
    data = descend(
        landscape,
        saddle.location,
        lr,
        2000,
        oracle,
        chains=chains,
        until=Above(SquaredProjection(saddle, saddle.unstable), radius**2),
        seed=7,
    )
    assert (data.status == 1).all()
    assert np.abs(np.linalg.norm(data.final.values, axis=1) - 1).max() < 1e-14, "chains live on the sphere"
    # The curvatures of samples differ as well, which lengthens exits by lr Var(h_B)/(2|h|) = 0.2% and is left out.
    curvature = float(saddle.eigenvalues[0])
    assert abs(curvature + 0.95) < 1e-14
    expected = theory.mean_exit_step(lr, curvature, noise, radius)
    error = math.sqrt(theory.exit_step_variance(lr, curvature) / chains)
    within("mean exit step", estimate.mean_exit_step(data).value, expected, error, 4)  # false alarm 6e-5
    assert abs(theory.mean_exit_step(lr, 0.85 * curvature, noise, radius) - expected) > 5 * error


@pytest.mark.parametrize("d", [2, 3, 5, 7, 8, 20])
def test_mean_of_the_tensor_terms_is_the_sum_of_fourth_powers(d):
    landscape = TensorDecomposition.of_dimension(d)
    u = landscape.retract(normal(6, d, seed=d))
    close("−¼ Σ u_j⁴", landscape.loss(2.5 * u), -0.25 * (u**4).sum(1), 1e-13)
    assert landscape.n <= 4 * (d + 1) ** 2


@pytest.mark.parametrize("d", [2, 3])
def test_all_points_of_the_tensor_are_declared(d):
    landscape = TensorDecomposition.of_dimension(d)
    points = landscape.critical_points()
    assert len({tuple(point.location.sign().tolist()) for point in points}) == len(points) == 3**d - 1
    assert sum(point.kind == "minimum" for point in points) == 2 * d
    assert sum(point.kind == "maximum" for point in points) == 2**d
    for point in points:
        check_tensor_point(point, d)


def check_tensor_point(point, d):
    k = int((point.location != 0).sum())
    expected = torch.tensor([-2 / k] * (k - 1) + [0.0] + [1 / k] * (d - k), dtype=F64)
    close(f"spectrum at {point.name}", point.eigenvalues, expected, 1e-15)
    tangent = geodesic_curvatures(lambda x: -0.25 * (x**4).sum(), point)
    close(f"along great circles from {point.name}", tangent.sort()[0], expected[expected != 0], 1e-13)
    assert point.index == (k - 1)
    # At d = k = 2 too: there the maximum's one direction has no noise.
    assert point.noise == ("II" if k == 2 else "I")


def test_one_point_of_every_kind_is_declared_in_high_dimensions():
    landscape = TensorDecomposition.of_dimension(9)
    points = landscape.critical_points()
    assert [int((point.location != 0).sum()) for point in points] == list(range(9, 0, -1))
    for point in points:
        check_tensor_point(point, 9)


def test_tensor_saddles_of_two_have_noise_from_beside_them_alone():
    landscape = TensorDecomposition.of_dimension(5)
    (two,) = (point for point in landscape.critical_points() if point.name == "2 components")
    v = two.unstable[:, 0]
    assert float(landscape.noise_along(two.location, v)) < 1e-30
    for angle in (0.1, 0.5):
        x = math.cos(angle) * two.location + math.sin(angle) * torch.eye(5, dtype=F64)[3]
        expected = math.sin(angle) ** 6 / 4  # half of the samples have y·v = ±√2 and y·x = ±sin, the others y·v = 0
        assert abs(float(landscape.noise_along(x, v)) / expected - 1) < 1e-12


def test_noise_leaves_the_tensor_maximum_of_three_and_not_that_of_two():
    two, three = TensorDecomposition.of_dimension(2), TensorDecomposition.of_dimension(3)
    ends = {}
    for landscape in (two, three):
        start = landscape.critical_points()[0].location.expand(20, -1)
        ends[landscape] = torch.from_numpy(descend(landscape, start, 0.1, 100, MiniBatch(1), seed=1).final.values)
    assert bool((ends[two][:, 0] == ends[two][:, 1]).all()), "no sample sees the difference of the two"
    assert float((ends[three].abs().amax(1) - 1 / 3**0.5).min()) > 0.05


# Errors.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MonkeySaddle(torch.zeros(3, 1), torch.zeros(0)), r"d ≥ 2, got \(3, 1\)"),
        (lambda: MonkeySaddle(torch.ones(3, 2), torch.zeros(0)), "must sum to zero"),
        (lambda: MonkeySaddle.noisy(0.1, [-1.0]), "positive curvatures"),
        (lambda: MonkeySaddle.noisy(0.1, tilts="flat"), "unknown law of tilts 'flat'"),
        (lambda: DegenerateSaddle.noisy(0.1, 2.0), "degree must be a number above 2, got 2.0; at 2 take"),
        (lambda: DegenerateSaddle.noisy(0.1, 3.0, 0.0), "coefficient must be positive, got 0.0"),
        (lambda: DegenerateSaddle.noisy(-0.1), "must be ≥ 0"),
        (lambda: DegenerateSaddle(torch.zeros(3, 2), torch.zeros(0)), "1 positive curvatures"),
        (lambda: Octopus.noisy(0), "d must be at least 1, got 0"),
        (lambda: Octopus.noisy(3, tau=0.0), "tau must be a positive number, got 0.0"),
        (lambda: Octopus.noisy(3, gamma=math.inf), "gamma must be a positive number, got inf"),
        (lambda: Octopus.noisy(3).check_starts(torch.zeros(4)), r"starts must be \(c, 3\)"),
        (lambda: Oja(torch.zeros(3, 1)), "d ≥ 2"),
        (lambda: Oja.gaussian([1.0, -0.1]), "must be finite and ≥ 0"),
        (lambda: Oja.gaussian([1.0, 0.5], n=2), "take n > d"),
        (lambda: TensorDecomposition.of_dimension(1), "2 to 127, got 1"),
        (lambda: TensorDecomposition.of_dimension(128), "2 to 127, got 128"),
        (lambda: TensorDecomposition(torch.zeros(3, 2)), "must be an .* array of ±1"),
        (lambda: TensorDecomposition(torch.tensor([[1.0, 1.0], [1.0, 1.0]])), "must be independent"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
