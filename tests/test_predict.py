"""What theory says of one critical point: each number by another route, and every regime by its name."""

import math

import numpy as np
import pytest
import torch
from cases import Monkey, random_factorization

from escape import (
    DoubleWell,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    IsotropicNoise,
    MiniBatch,
    Oja,
    QuadraticSaddle,
    TwoSlopeWell,
    predict,
    simulate,
    theory,
)

F64 = torch.float64


def shared(*curvatures, tilts=None):
    """A sum of one-dimensional parabolas, one for each curvature."""
    curvatures = torch.tensor(curvatures, dtype=F64)[:, None]
    return QuadraticSaddle(curvatures, torch.zeros_like(curvatures) if tilts is None else tilts)


def at(landscape, oracle, optimizer=None, number=0, **options):
    optimizer = GradientDescent(0.5) if optimizer is None else optimizer
    return predict(landscape, oracle, optimizer, landscape.critical_points()[number], **options)


def test_additive_saddle():
    landscape = QuadraticSaddle.additive([-1.0, 0.5, 2.0], 0.02, n=500)
    oracle, lr, radius = GaussianNoise(4), 0.1, 1.0
    found = at(landscape, oracle, GradientDescent(lr), radius=radius)
    noise = 0.02 * math.sqrt(theory.kappa(4, 500))
    assert (found.kind, found.index, found.noise_type) == ("saddle", 1, "I")
    assert found.growth_factor == pytest.approx(1.1, rel=1e-14)
    assert found.noise == pytest.approx(noise, rel=1e-10)
    assert found.kick_std == pytest.approx(lr * noise / math.sqrt(1.1**2 - 1), rel=1e-10)
    assert found.log_rate == pytest.approx(2 * math.log(1.1), rel=1e-12)
    assert found.lyapunov_exponent == pytest.approx(math.log(1.1), rel=1e-12)
    assert found.lyapunov_error == 0
    assert found.mean_square_grows
    assert found.chains_leave == "all"
    assert found.escape_exponent is None
    ratio = radius / found.kick_std
    mean = (math.log(ratio) + (np.euler_gamma + math.log(2)) / 2) / math.log(1.1) + 0.5
    assert found.mean_exit_step == pytest.approx(mean, rel=1e-10)
    assert found.exit_step_std == pytest.approx(math.sqrt(math.pi**2 / 8 / math.log(1.1) ** 2 + 1 / 12), rel=1e-10)
    assert found.caveats == ()


@pytest.mark.parametrize("k", [2, 5])
def test_equal_escape_directions_leave_a_ball_together(k):
    landscape = QuadraticSaddle.additive([-1.0] * k + [1.0], 0.02, n=500)
    found = at(landscape, MiniBatch(4), GradientDescent(0.1), radius=1.0)
    noise = 0.02 * math.sqrt(theory.kappa(4, 500))
    assert found.mean_exit_step == pytest.approx(theory.mean_exit_step(0.1, -1.0, noise, 1.0, directions=k), rel=1e-9)
    assert f"{k} equal directions" in found.law


def test_unequal_escape_directions_have_no_law():
    landscape = QuadraticSaddle.additive([-1.0, -0.9], 0.02, n=500)
    found = at(landscape, MiniBatch(4), GradientDescent(0.1), radius=1.0)
    assert found.mean_exit_step is None
    assert any("compete" in text for text in found.caveats)


def test_inside_the_paradox_window():
    """The mean square grows and every chain collapses: two curvatures, 1 and -1.2, at lr 0.5."""
    found = at(shared(1.0, -1.2), MiniBatch(1), radius=1.0)
    assert found.noise_type == "II"
    assert found.lyapunov_exponent == pytest.approx((math.log(0.5) + math.log(1.6)) / 2, rel=1e-12)
    assert found.log_rate == pytest.approx(math.log((0.25 + 2.56) / 2), rel=1e-12)
    assert found.escape_exponent == pytest.approx(0.67650, abs=5e-6)
    assert found.mean_square_grows
    assert found.chains_leave == "few"
    assert found.mean_exit_step == math.inf, "from the point itself"


def test_below_the_paradox_window_all_leave_from_off_the_point():
    landscape = shared(1.0, -1.2)
    there = at(landscape, MiniBatch(1), GradientDescent(0.1), start=torch.tensor([0.01]))
    assert there.lyapunov_exponent > 0
    assert there.chains_leave == "all"
    assert at(landscape, MiniBatch(1), GradientDescent(0.1)).chains_leave == "none"


def test_additive_noise_inside_the_window():
    tilts = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=F64)
    found = at(shared(1.0, 1.0, -1.2, -1.2, tilts=tilts), MiniBatch(1, replacement=True))
    assert found.noise_type == "I"
    assert found.lyapunov_exponent < 0
    assert found.chains_leave == "in the end"
    assert found.escape_exponent == pytest.approx(0.67650, abs=5e-6)


def test_hessians_that_do_not_commute():
    landscape = random_factorization(F64)
    point = landscape.critical_points()[0]
    hessians = landscape.sample_hessians(point.location).numpy()
    lr, oracle = 0.05, MiniBatch(2)
    found = predict(landscape, oracle, GradientDescent(lr), point)
    assert found.log_rate == pytest.approx(theory.second_moment(hessians, lr, 2).log_rate, rel=1e-9)
    gamma, error = theory.lyapunov_exponent_product(hessians, lr, 2, steps=4000, chains=64, seed=5)
    assert found.lyapunov_error > 0
    # False alarms: 6e-5.
    assert abs(found.lyapunov_exponent - gamma) < 4 * math.hypot(error, found.lyapunov_error)


def test_gaussian_noise_of_the_same_covariance_has_the_same_mean_square_rate():
    landscape = random_factorization(F64)
    true, gaussian = (at(landscape, kind(2), GradientDescent(0.05)) for kind in (MiniBatch, GaussianNoise))
    assert gaussian.log_rate == pytest.approx(true.log_rate, rel=1e-12)
    assert at(landscape, IsotropicNoise(2), GradientDescent(0.05)).log_rate is None


def test_gaussian_noise_of_the_same_covariance_has_another_typical_rate():
    """E ln|m + s N| by quadrature, for two curvatures at which true batches collapse much faster."""
    lr, curvatures = 0.5, np.array([1.0, -1.2])
    found = at(shared(*curvatures), GaussianNoise(1, replacement=True))
    mean, std = 1 - lr * curvatures.mean(), lr * curvatures.std()
    nodes = mean + std * np.linspace(-12, 12, 2_000_001)
    weight = np.exp(-(((nodes - mean) / std) ** 2) / 2)
    gamma = (weight * np.log(np.abs(nodes) + 1e-300)).sum() / weight.sum()
    # False alarms: 6e-5.
    assert abs(found.lyapunov_exponent - gamma) < 4 * found.lyapunov_error
    assert found.lyapunov_error < 0.01


def test_batch_descent():
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.1, n=100)
    on = at(landscape, FullBatch(), GradientDescent(0.1), radius=1.0)
    assert (on.noise_type, on.chains_leave, on.mean_exit_step) == ("none", "none", math.inf)
    off = at(landscape, FullBatch(), GradientDescent(0.1), radius=1.0, start=torch.tensor([1e-3, 0.0]))
    assert off.chains_leave == "all"
    assert off.mean_exit_step == math.ceil(math.log(1e3) / math.log(1.1))
    assert at(landscape, MiniBatch(100), GradientDescent(0.1)).noise_type == "none"


def test_stable_and_unstable_minimum():
    landscape = QuadraticSaddle.additive([1.0, 3.0], 0.1, n=100)
    calm = at(landscape, GaussianNoise(1, replacement=True), GradientDescent(0.1))
    assert calm.stationary_std == pytest.approx(math.sqrt(0.1 * 0.1**2 / (1.0 * (2 - 0.1))), rel=1e-9)
    assert calm.mean_square_grows is False
    assert calm.chains_leave == "in the end"
    assert calm.kick_std is None
    sharp = at(landscape, MiniBatch(1), GradientDescent(0.7))
    assert sharp.lyapunov_exponent == pytest.approx(math.log(1.1), rel=1e-9), "1 - 0.7 * 3 = -1.1"
    assert sharp.chains_leave == "all"
    assert sharp.stationary_std is None


def test_interpolating_minimum():
    """No noise at the minimum: below the threshold none leaves, in the window few, above all."""
    curvatures = (0.5, 3.5)
    gamma = {lr: 0.5 * sum(math.log(abs(1 - lr * h)) for h in curvatures) for lr in (0.2, 0.7, 3.0)}
    none, few, everyone = (at(shared(*curvatures), MiniBatch(1), GradientDescent(lr)) for lr in gamma)
    for found, expected in zip((none, few, everyone), gamma.values(), strict=True):
        assert found.lyapunov_exponent == pytest.approx(expected, rel=1e-12)
    assert (none.chains_leave, none.escape_exponent) == ("none", math.inf)
    assert few.chains_leave == "few"
    assert few.mean_square_grows
    assert everyone.lyapunov_exponent > 0
    assert everyone.chains_leave == "none", "from the point itself nothing moves"


def test_heavy_ball():
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.02, n=500)
    lr, momentum = 0.05, 0.9
    found = at(landscape, GaussianNoise(4), HeavyBall(lr, momentum), radius=1.0)
    trace = 1 + momentum + lr
    growth = (trace + math.sqrt(trace**2 - 4 * momentum)) / 2
    assert found.growth_factor == pytest.approx(growth, rel=1e-12)
    assert found.log_rate == pytest.approx(2 * math.log(growth), rel=1e-12)
    kick = lr * found.noise * growth / ((growth - momentum / growth) * math.sqrt(growth**2 - 1))
    assert found.kick_std == pytest.approx(kick, rel=1e-10)
    mean = (math.log(1 / kick) + (np.euler_gamma + math.log(2)) / 2) / math.log(growth) + 0.5
    assert found.mean_exit_step == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("start", [1e-3, 1e-4, 3e-5, 1e-6])
def test_heavy_ball_takes_up_a_share_of_a_start_at_rest(start):
    """Batch descent with momentum, step by step."""
    lr, momentum = 0.05, 0.9
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.1, n=100)
    found = at(landscape, FullBatch(), HeavyBall(lr, momentum), radius=1.0, start=torch.tensor([start, 0.0]))
    x, velocity, step = start, 0.0, 0
    while abs(x) < 1:
        velocity = momentum * velocity + lr * x
        x, step = x + velocity, step + 1
    assert found.mean_exit_step == step


def test_a_spread_start_widens_the_kick_by_its_share():
    """As much as noise whose kick is as wide."""
    lr, momentum, std = 0.05, 0.9, 1e-3
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.0, n=100)
    found = at(landscape, FullBatch(), HeavyBall(lr, momentum), radius=1.0, start_std=std)
    kick = std * theory.start_projection(lr, -1.0, momentum=momentum)
    growth = theory.growth_factor(lr, -1.0, momentum=momentum)
    mean = (math.log(1 / kick) + (np.euler_gamma + math.log(2)) / 2) / math.log(growth) + 0.5
    assert found.mean_exit_step == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("true", [False, True], ids=["Gaussian", "batches"])
def test_in_one_dimension_the_exit_from_a_well_is_that_of_the_exact_chain(true):
    lr, noise, batch_size, ends = 0.1, 3.0, 4, (-1.8, -0.2)
    landscape = DoubleWell.rademacher(noise, n=100)
    minimum = next(i for i, point in enumerate(landscape.critical_points()) if point.kind == "minimum")
    oracle = (MiniBatch if true else GaussianNoise)(batch_size, replacement=True)
    found = at(landscape, oracle, GradientDescent(lr), minimum, radius=0.8)
    assert found.law == "exact chain in one dimension"
    if true:  # two distinct samples are the hundred
        tilts = np.array([noise, -noise])
        chain = theory.BatchChain(lambda x: (x**3 - x)[:, None] + tilts, lr, batch_size, *ends, replacement=True)
    else:
        chain = theory.GaussianChain(lambda x: x - lr * (x**3 - x), lr * noise / math.sqrt(batch_size), *ends)
    law = chain.exit_law(-1.0, *ends)
    digits = 2e-3 if true else 1e-9
    assert found.mean_exit_step == pytest.approx(law.mean, rel=digits)
    assert found.exit_step_std == pytest.approx(law.std, rel=digits)
    assert abs(law.std / law.mean - 1) > 5 * digits, "or the one could stand for the other"


def test_a_shell_that_no_batch_crosses():
    landscape = DoubleWell.rademacher(0.2, n=100)
    minimum = next(i for i, point in enumerate(landscape.critical_points()) if point.kind == "minimum")
    found = at(landscape, MiniBatch(1), GradientDescent(0.1), minimum, radius=0.9)
    assert found.mean_exit_step == math.inf
    assert found.chains_leave == "none"


def test_a_kink_is_told():
    landscape = TwoSlopeWell.noisy(2.0, 1.0, 0.25, 0.3, n=10)
    saddle = next(point for point in landscape.critical_points() if point.index)
    found = predict(landscape, MiniBatch(1), GradientDescent(0.05), saddle)
    assert any("one side" in text for text in found.caveats)


def test_a_location_is_as_good_as_a_declared_point():
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.1, n=100)
    declared = at(landscape, MiniBatch(2))
    assert predict(landscape, MiniBatch(2), GradientDescent(0.5), torch.zeros(2)).kick_std == declared.kick_std


@pytest.mark.parametrize("oracle", [FullBatch(), MiniBatch(1)], ids=["full", "batches"])
def test_a_degenerate_point_hangs_on_higher_orders(oracle):
    found = predict(Monkey(torch.zeros(4, 2, dtype=F64)), oracle, GradientDescent(0.1), torch.zeros(2), radius=1.0)
    assert (found.kind, found.chains_leave, found.mean_square_grows) == ("degenerate", None, False)
    assert not any("one side" in text for text in found.caveats), "a third derivative is no kink"


def test_noise_along_other_directions_alone():
    """True batches may not reach the escape direction; isotropic noise does, whatever it was made from."""
    landscape = QuadraticSaddle.additive([-1.0, 1.0], [0.0, 0.3], n=100)
    found = {kind: at(landscape, kind(4), GradientDescent(0.1), radius=1.0) for kind in (MiniBatch, IsotropicNoise)}
    assert (found[MiniBatch].noise_type, found[MiniBatch].chains_leave) == ("II", None)
    assert (found[IsotropicNoise].noise_type, found[IsotropicNoise].chains_leave) == ("I", "all")
    assert math.isfinite(found[IsotropicNoise].mean_exit_step)


def test_what_moves_only_the_second_escape_direction():
    still = QuadraticSaddle.additive([-1.0, -0.5], [0.0, 0.3], n=100)
    noisy = at(still, MiniBatch(4), GradientDescent(0.1), radius=1.0)
    moved = at(still, FullBatch(), GradientDescent(0.1), radius=1.0, start=torch.tensor([0.0, 1e-3]))
    for found in (noisy, moved):
        assert found.chains_leave == "all"
        assert found.mean_exit_step is None
        assert any("compete" in text for text in found.caveats)


def test_equal_escape_directions_share_the_start():
    landscape = QuadraticSaddle.additive([-1.0, -1.0], 0.003, n=100)
    starts = (torch.tensor(x) for x in ([0.1, 0.0], [0.0, 0.1]))
    first, second = (at(landscape, MiniBatch(4), GradientDescent(0.1), radius=1.0, start=x) for x in starts)
    assert first.mean_exit_step == second.mean_exit_step == math.ceil(math.log(10) / math.log(1.1))


def test_batch_descent_from_the_stable_manifold_hangs_on_higher_orders():
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.1, n=100)
    assert at(landscape, FullBatch(), GradientDescent(0.1), start=torch.tensor([0.0, 0.1])).chains_leave is None


def test_bad_input_gets_one_line():
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.1, n=100)
    point = landscape.critical_points()[0]
    with pytest.raises(ValueError, match=r"norm 1.41.*must vanish"):
        predict(landscape, MiniBatch(2), GradientDescent(0.1), torch.ones(2))
    with pytest.raises(ValueError, match="lr is a schedule"):
        predict(landscape, MiniBatch(2), GradientDescent(lambda t: 0.1 / (t + 1)), point)
    with pytest.raises(ValueError, match="n = 100"):
        predict(landscape, MiniBatch(200), GradientDescent(0.1), point)
    with pytest.raises(ValueError, match="radius is -1"):
        predict(landscape, MiniBatch(2), GradientDescent(0.1), point, radius=-1)


def test_on_a_sphere_the_radial_direction_does_not_count():
    landscape = Oja.gaussian([3.0, 2.0, 1.0], n=500)
    points = {point.name: point for point in landscape.critical_points()}
    minimum = next(point for point in points.values() if point.kind == "minimum")
    found = predict(landscape, MiniBatch(50), GradientDescent(0.01), minimum)
    assert found.log_rate < 0, "without the radial zero there is no direction that does not contract"
    assert found.lyapunov_exponent < -0.005, "about ln(1 - lr (3 - 2))"
    saddle = next(point for point in points.values() if point.index == 1)
    found = predict(landscape, FullBatch(), GradientDescent(0.01), saddle)
    assert found.log_rate == pytest.approx(2 * math.log(1.01), rel=1e-9)


def test_a_critical_point_is_no_start():
    landscape = QuadraticSaddle.additive([-1.0, 1.0], 0.1, n=100)
    point = landscape.critical_points()[0]
    with pytest.raises(TypeError, match=r"start=point\.location"):
        simulate(landscape, MiniBatch(2), GradientDescent(0.1), point, steps=1, chains=1)


def test_a_loss_that_is_no_scalar_is_told_where_a_point_is_asked_for():
    class Wrong(QuadraticSaddle):
        def sample_loss(self, x, sample):
            return super().sample_loss(x, sample)[None]

    landscape = Wrong(torch.tensor([[1.0]]), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="must return a scalar"):
        landscape.critical_point(torch.zeros(1))
