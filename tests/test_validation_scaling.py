"""Degenerate saddles, batch GD, Adam, scaling rules, decreasing rates and escape from wells, each against a simulation.

Every comparison has a seed of its own; what an asymptotic formula leaves out is below a fifth of the standard error.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import cumulative_simpson, simpson
from test_theory_descent import octopus_exits

from escape import (
    Above,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    MiniBatch,
    NormalStart,
    Projection,
    QuadraticSaddle,
    SquaredDistance,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
LINE = torch.zeros(1, dtype=torch.float64)
X = Projection(LINE, torch.ones(1, dtype=torch.float64))


def mean(values):
    """Mean and its standard error."""
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def variance(values):
    """Variance about zero and its standard error."""
    return mean(np.asarray(values, dtype=float) ** 2)


def quantiles(law, count=20_001):
    """Points of equal weight under a law: an average over them is an expectation to 1e-5 and better."""
    return law.ppf((np.arange(count) + 0.5) / count)


def exit_steps(step, outside, chains, rng, start=0.0):
    """Exit step of every chain under x' = step(x, rng); chains that are out are dropped."""
    x, alive, found, t = np.full(chains, float(start)), np.arange(chains), np.zeros(chains), 0
    while len(alive):
        t += 1
        x = step(x, rng)
        gone = outside(x)
        if gone.any():
            found[alive[gone]] = t
            x, alive = x[~gone], alive[~gone]
    return found


# Batch GD.


def test_gd_exit_step(compare):
    lr, spread = 0.1, 0.02
    data = simulate(
        QuadraticSaddle.multiplicative([-1.0], 0.0, n=4), FullBatch(), GradientDescent(lr), NormalStart(LINE, spread),
        steps=2000, chains=4000, until=Above(SquaredDistance(LINE), 1.0), seed=101,
    )  # fmt: skip
    starts = quantiles(stats.norm(0, spread))
    predicted = theory.gd_exit_step(lr, -1.0, 1.0, starts[starts != 0]).mean()
    measured, error = mean(data.exit_step.values.astype(float))
    compare(theory.gd_exit_step, "normal starts, mean", measured, predicted, error)


def test_rounding_exit_step(compare):
    """How much longer double precision stays than single: the kick's factor, a few units of rounding, cancels."""
    lr, chains, means, errors = 0.1, 400, [], []
    for dtype, seed in ((np.float64, 102), (np.float32, 103)):
        angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, chains)
        away, along = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        hessian = (-away[:, None] * away + 0.5 * along[:, None] * along).astype(dtype)
        x, steps = along.astype(dtype), np.zeros(chains)
        for t in range(1, 700):
            x = x - dtype(lr) * np.stack([hessian[i, 0] * x[0] + hessian[i, 1] * x[1] for i in (0, 1)])
            steps = np.where((steps == 0) & (np.abs((away * x).sum(0)) >= 1), t, steps)
        assert x.dtype == dtype
        assert (steps > 0).all()
        found = mean(steps)
        means.append(found[0])
        errors.append(found[1])
    predicted = theory.rounding_exit_step(lr, -1.0, 1.0) - theory.rounding_exit_step(lr, -1.0, 1.0, 2.0**-24)
    compare(
        theory.rounding_exit_step, "float64 less float32, rotated", means[0] - means[1], predicted, math.hypot(*errors)
    )


def test_successive_exit_ratio(compare):
    rng = np.random.default_rng(104)
    starts = 10 ** rng.uniform(-25, -1, 300), rng.uniform(0, 1, 300)
    fit = stats.linregress(*octopus_exits(0.25, starts))
    compare(
        theory.successive_exit_ratio, "octopus, second exit against first", fit.slope,
        theory.successive_exit_ratio(0.25, 2.0, -2.0), fit.stderr,
    )  # fmt: skip


# Degenerate saddles.


def test_degenerate_gd_exit_step(compare):
    law = stats.loguniform(0.05, 0.9)
    for degree, seed in ((3, 105), (4, 106)):
        x = law.rvs(3000, random_state=seed)
        steps = np.zeros(len(x))
        while (inside := x < 1).any():
            steps += inside
            x = np.where(inside, x + 0.1 * x ** (degree - 1), x)
        predicted = theory.degenerate_gd_exit_step(0.1, degree, 1.0, quantiles(law)).mean()
        measured, error = mean(steps)
        compare(theory.degenerate_gd_exit_step, f"degree {degree}, random starts, mean", measured, predicted, error)


def degenerate_exits(lr, degree, noise, two_sided, chains, seed):
    def step(x, rng):
        force = np.abs(x) ** (degree - 1) * (np.sign(x) if two_sided else 1)
        return x + lr * (force + noise * rng.standard_normal(len(x)))

    outside = (lambda x: np.abs(x) >= 1) if two_sided else (lambda x: x >= 1)
    return exit_steps(step, outside, chains, np.random.default_rng(seed))


@pytest.mark.parametrize(("degree", "two_sided", "seed"), [(4, True, 107), (3, True, 108), (3, False, 109)])
def test_degenerate_mean_exit_step(degree, two_sided, seed, compare):
    lr, noise = 0.1, math.sqrt(2e-4 / 0.1)
    measured, error = mean(degenerate_exits(lr, degree, noise, two_sided, 6000, seed))
    predicted = theory.degenerate_mean_exit_step(lr, degree, noise, 1.0, two_sided=two_sided)
    compare(theory.degenerate_mean_exit_step, f"degree {degree}, {1 + two_sided} sides", measured, predicted, error)


@pytest.mark.parametrize(("degree", "two_sided", "seed"), [(4, True, 110), (3, False, 111)])
def test_degenerate_exit_constant(degree, two_sided, seed, compare):
    lr, spread = 0.05, 1e-4
    steps = degenerate_exits(lr, degree, math.sqrt(2 * spread / lr), two_sided, 400, seed)
    unit = spread ** (2 / degree - 1)
    measured, error = mean((lr * steps + 1 / (degree - 2)) / unit)
    predicted = theory.degenerate_exit_constant(degree, two_sided)
    compare(theory.degenerate_exit_constant, f"degree {degree}, {1 + two_sided} sides", measured, predicted, error)


# Adam and RMSprop.


def adam(steps, lr, curvature, noise, beta1, beta2, eps, x, rng, settled=False):
    """Positions at every step of Adam, or of RMSprop with v settled from the start, with Gaussian gradient noise."""
    m, v, path = np.zeros_like(x), np.full_like(x, noise**2 if settled else 0.0), [x]
    for _ in range(300 if settled else 0):
        v = beta2 * v + (1 - beta2) * (noise * rng.standard_normal(len(x))) ** 2
    for t in range(1, steps + 1):
        g = curvature * x + noise * rng.standard_normal(len(x))
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        forgotten = (1, 1) if settled else (1 - beta1**t, 1 - beta2**t)
        x = x - lr * m / forgotten[0] / (np.sqrt(v / forgotten[1]) + eps)
        path.append(x)
    return path


def noise_free_adam(steps, lr, curvature, starts):
    return np.array(adam(steps, lr, curvature, 0.0, 0.9, 0.999, 1e-8, starts, np.random.default_rng(0)))


def test_adam_path(compare):
    lr, law = 0.01, stats.norm(0, 0.1)
    path = noise_free_adam(60, lr, 0.7, law.rvs(4000, random_state=112))
    measured, error = variance(path[-1])
    predicted = (theory.adam_path(60, lr, 0.7, quantiles(law))[-1] ** 2).mean()
    compare(theory.adam_path, "normal starts, mean square at step 60", measured, predicted, error)


def test_adam_exit_step(compare):
    lr, law = 0.01, stats.uniform(-0.9, 1.8)
    starts = law.rvs(4000, random_state=113)
    path = np.abs(noise_free_adam(150, lr, -2.0, starts)) >= 1
    assert path.any(0).all()
    measured, error = mean(path.argmax(0).astype(float))
    predicted = theory.adam_exit_step(lr, -2.0, 1.0, quantiles(law, 20_000)).mean()
    compare(theory.adam_exit_step, "uniform starts, mean", measured, predicted, error)


def test_adaptive_equivalent(compare):
    """Without curvature, the variance that RMSprop's steps gather: noise of one, less for a short memory."""
    lr, steps, beta2 = 0.01, 50, 0.8
    path = adam(steps, lr, 0.0, 3.0, 0.0, beta2, 0.0, np.zeros(20_000), np.random.default_rng(114), settled=True)
    measured, error = variance(path[-1] / (lr * math.sqrt(steps)))
    predicted = theory.adaptive_equivalent(0.0, 3.0, beta2).noise ** 2
    compare(theory.adaptive_equivalent, "variance of steps, memory 0.8", measured, predicted, error)


@pytest.mark.parametrize(("beta1", "beta2", "seed"), [(0.0, 0.8, 115), (0.9, 0.995, 116)])
def test_adaptive_growth_factor(beta1, beta2, seed, compare):
    """Growth of the mean between two steps, of chains whose gradient is far below its noise."""
    lr, noise, curvature, times = 0.005, 5.0, -1.0, (100, 700)
    start = np.full(4000, 0.15)
    path = adam(times[1], lr, curvature, noise, beta1, beta2, 0.0, start, np.random.default_rng(seed), settled=True)
    early, late = path[times[0]], path[times[1]]
    ratio = late.mean() / early.mean()
    error = (late - ratio * early).std() / early.mean() / math.sqrt(len(late)) / ratio / (times[1] - times[0])
    predicted = math.log(theory.adaptive_growth_factor(lr, curvature, noise, beta1, beta2))
    measured = math.log(ratio) / (times[1] - times[0])
    compare(theory.adaptive_growth_factor, f"log growth, beta1 = {beta1}", measured, predicted, error)


# Scaling rules.


def test_batch_scaling_of_the_stationary_variance(compare):
    """A large learning rate and a small sum, where the leading power is off by a factor."""
    n, lr, b, k = 20, 0.3, 2, 4
    found = []
    for size, rate, seed in ((b, lr, 117), (k * b, k * lr, 118)):
        data = simulate(
            QuadraticSaddle.additive([1.0], 0.5, n=n), MiniBatch(size), GradientDescent(rate), LINE,
            steps=60, every=60, chains=8000, observe={"x": X}, seed=seed,
        )  # fmt: skip
        found.append(variance(data.x.values[-1]))
    ratio = found[1][0] / found[0][0]
    error = ratio * math.hypot(found[0][1] / found[0][0], found[1][1] / found[1][0])
    predicted = theory.batch_scaling("linear", k, lr, b, n, minimum=1.0, saddle=-1.0, noise=1e-3, radius=1.0)[
        "stationary_variance"
    ].exact
    compare(theory.batch_scaling, "stationary variance, linear", ratio, predicted, error)


def test_batch_scaling_of_exit_steps(compare):
    lr, b, k, noise, n, found = 0.05, 4, 4, 0.01, 1000, []
    for size, rate, seed in ((b, lr, 119), (k * b, k**0.5 * lr, 120)):
        spread = noise / math.sqrt(theory.kappa(b, n))
        data = simulate(
            QuadraticSaddle.additive([-1.0], spread, n=n), GaussianNoise(size), GradientDescent(rate), LINE,
            steps=1000, chains=8000, until=Above(SquaredDistance(LINE), 1.0), seed=seed,
        )  # fmt: skip
        assert (data.status.values == 1).all()
        found.append(mean(data.exit_step.values.astype(float)))
    ratio = found[1][0] / found[0][0]
    error = ratio * math.hypot(found[0][1] / found[0][0], found[1][1] / found[1][0])
    scaled = theory.batch_scaling("sqrt", k, lr, b, n, minimum=1.0, saddle=-1.0, noise=noise, radius=1.0)
    compare(theory.batch_scaling, "saddle exit steps, sqrt", ratio, scaled["saddle_exit_steps"].exact, error)


def test_largest_stable_scaling(compare):
    """The curvature from the regression of one noisy step on the one before, and from it the edge."""
    lr, curvature, rng = 0.2, 2.0, np.random.default_rng(121)
    x = np.zeros(4000)
    for _ in range(60):
        before, x = x, x - lr * (curvature * x + rng.standard_normal(len(x)))
    fit = stats.linregress(before, x)
    product = 1 - fit.slope
    measured, error = (2 / product) ** 2, 2 * (2 / product) ** 2 * fit.stderr / product
    predicted = theory.largest_stable_scaling("sqrt", lr, curvature)
    # the square of an estimate 3% wide is off by a quarter of a percent in the mean
    compare(theory.largest_stable_scaling, "sqrt, by regression", measured, predicted, error)


def test_svag_coefficients(compare):
    first, second = theory.svag_coefficients(4)
    draws = np.random.default_rng(122).standard_exponential((2, 50_000)) - 1
    measured, error = variance(first * draws[0] + second * draws[1])
    compare(theory.svag_coefficients, "variance of two gradients", measured, 4.0, error)


def test_adam_scaling(compare):
    """A batch four times as large: the same mean square in a quarter of the steps; eps matters as much as noise."""
    k, found = 4, []
    before = (0.002, 0.998, 0.998, 0.5)
    settings = ((before, 1.0, 1000, 123), (tuple(theory.adam_scaling(k, *before)), 0.5, 250, 124))
    for (lr, beta1, beta2, eps), noise, steps, seed in settings:
        path = adam(steps, lr, 0.3, noise, beta1, beta2, eps, np.full(1000, 0.1), np.random.default_rng(seed))
        found.append(variance(path[-1]))
    ratio = found[1][0] / found[0][0]
    error = ratio * math.hypot(found[0][1] / found[0][0], found[1][1] / found[1][0])
    compare(theory.adam_scaling, "mean square of scaled over unscaled", ratio, 1.0, error)


def finite_sum():
    rng = np.random.default_rng(6)
    terms = rng.normal(size=(30, 3)) * [1, 3, 0.3] + [0.5, -1, 2]
    gradient = terms.mean(0)
    return terms, gradient, (terms - gradient).T @ (terms - gradient) / len(terms), np.diag([1.0, 0.5, 3.0])


def batch_means(terms, size, count, seed, replacement=False):
    rng = np.random.default_rng(seed)
    if replacement:
        return terms[rng.integers(len(terms), size=(count, size))].mean(1)
    order = rng.random((count, len(terms))).argsort(1)[:, :size]
    return terms[order].mean(1)


def test_kappa(compare):
    for replacement, seed in ((False, 125), (True, 126)):
        lr, n, size, noise = 0.1, 30, 12, 0.4
        data = simulate(
            QuadraticSaddle.additive([-1.0], noise, n=n), MiniBatch(size, replacement), GradientDescent(lr), LINE,
            steps=1, chains=20_000, observe={"x": X}, seed=seed,
        )  # fmt: skip
        measured, error = variance(data.x.values[-1] / (lr * noise))
        case = f"{'with' if replacement else 'without'} replacement"
        compare(theory.kappa, case, measured, theory.kappa(size, n, replacement), error)


def test_noise_scales(compare):
    terms, gradient, covariance, hessian = finite_sum()
    scales = theory.noise_scales(gradient, covariance, hessian)
    size, weight = 3, gradient @ hessian @ gradient
    for case, matrix, scale, predicted, seed in (
        ("simple", np.eye(3), gradient @ gradient, scales.simple, 127),
        ("curved", hessian, weight, scales.curved, 128),
    ):
        batches = batch_means(terms, size, 20_000, seed, replacement=True)
        measured, error = mean(size * (np.einsum("bi,ij,bj->b", batches, matrix, batches) / scale - 1))
        compare(theory.noise_scales, case, measured, predicted, error)


def test_one_step_decrease_and_best_lr(compare):
    terms, gradient, covariance, hessian = finite_sum()
    lr, size, n = 0.3, 6, len(terms)
    batches = batch_means(terms, size, 20_000, 129)
    steps = lr * batches
    gains = steps @ gradient - np.einsum("bi,ij,bj->b", steps, hessian, steps) / 2
    predicted = theory.one_step_decrease(lr, gradient, covariance, hessian, size, n)
    compare(theory.one_step_decrease, "without replacement", *[mean(gains)[0], predicted, mean(gains)[1]])
    batches = batch_means(terms, size, 20_000, 130)
    bent, error = mean(np.einsum("bi,ij,bj->b", batches, hessian, batches))
    best = batches.mean(0) @ gradient / bent
    both = batches @ gradient - best * np.einsum("bi,ij,bj->b", batches, hessian, batches)
    error = both.std() / math.sqrt(len(both)) / bent
    compare(theory.best_lr, "without replacement", best, theory.best_lr(gradient, covariance, hessian, size, n), error)


# Decreasing learning rates.


def test_power_law_lr(compare):
    data = simulate(
        QuadraticSaddle.additive([1.0], 0.5, n=100), GaussianNoise(1, replacement=True),
        GradientDescent(lambda t: 0.8 / math.sqrt(t + 4.0)), torch.tensor([0.5], dtype=torch.float64),
        steps=40, every=40, chains=8000, observe={"x": X}, seed=131,
    )  # fmt: skip
    measured, error = variance(data.x.values[-1])
    lrs = theory.power_law_lr(np.arange(40), 0.8, 4.0, 0.5)
    predicted = theory.mean_square_schedule(lrs, 1.0, 0.5, 0.5)[-1]
    compare(theory.power_law_lr, "mean square under 0.8 / sqrt(t + 4)", measured, predicted, error)


def decreasing(steps, curvature, scale, offset, chains, seed, start=0.0):
    rng, x = np.random.default_rng(seed), np.full(chains, start)
    for t in range(steps):
        x = x - scale / (t + offset) * (curvature * x + rng.standard_normal(chains))
    return x


def test_power_law_sums(compare):
    """Without a force, the variance gathered in all; a thousand steps leave out a thousandth."""
    measured, error = variance(decreasing(1000, 0.0, 0.7, 2.0, 8000, 132))
    compare(theory.power_law_sums, "variance without a force", measured, theory.power_law_sums(0.7, 2.0)[1], error)


@pytest.mark.parametrize(
    ("case", "curvature", "scale", "seed"),
    [("2 c h = 4", 1.0, 2.0, 133), ("2 c h = 0.4", 1.0, 0.2, 134), ("saddle", -0.5, 1.0, 135)],
)
def test_decay_mean_square_limit(case, curvature, scale, seed, compare):
    measured, error = variance(decreasing(1000, curvature, scale, 1.0, 6000, seed, 0.5))
    predicted = theory.decay_mean_square_limit(1000, curvature, 1.0, 0.5, scale=scale)
    compare(theory.decay_mean_square_limit, case, measured, predicted, error)


# Wells.


def stable(alpha, size, rng):
    """Symmetric stable numbers, by the method of Chambers, Mallows and Stuck."""
    angle, wait = rng.uniform(-np.pi / 2, np.pi / 2, size), rng.standard_exponential(size)
    tilt = (np.cos((1 - alpha) * angle) / wait) ** ((1 - alpha) / alpha)
    return np.sin(alpha * angle) / np.cos(angle) ** (1 / alpha) * tilt


def test_stable_tail_constant(compare):
    """Share beyond 100, where the next term of the tail is a thousandth."""
    alpha, count = 1.5, 1_500_000
    beyond = (np.abs(stable(alpha, count, np.random.default_rng(136))) > 100).sum()
    unit = 100**alpha / 2 / count
    predicted = theory.stable_tail_constant(alpha)
    compare(theory.stable_tail_constant, "alpha = 1.5", beyond * unit, predicted, math.sqrt(beyond) * unit)


def test_stable_mean_exit_step(compare):
    """Few chains: 1.2 relaxation times that the formula leaves out are 1% of the mean."""
    lr, alpha, noise = 0.1, 1.2, 0.03
    jump = noise * lr ** (1 / alpha)
    steps = exit_steps(
        lambda x, rng: (1 - lr) * x + jump * stable(alpha, len(x), rng), lambda x: np.abs(x) >= 1, 360,
        np.random.default_rng(137),
    )  # fmt: skip
    measured, error = mean(steps)
    predicted = theory.stable_mean_exit_step(lr, alpha, noise, 1.0, 1.0)
    compare(theory.stable_mean_exit_step, "quadratic well, alpha = 1.2", measured, predicted, error)


def test_temperature(compare):
    """Without a force x spreads by 2 T per unit of time lr * steps."""
    lr, noise, steps, rng = 0.2, 0.7, 25, np.random.default_rng(138)
    x = np.zeros(20_000)
    for _ in range(steps):
        x = x - lr * noise * rng.standard_normal(len(x))
    measured, error = variance(x / math.sqrt(2 * lr * steps))
    compare(theory.temperature, "spread without a force", measured, theory.temperature(lr, noise), error)


def parabolas(x, distance):
    """Force of a chain of parabolas, minima at 0 and 2 * distance, a saddle at `distance`, curvatures 1 and -1."""
    return np.where(x < distance / 2, x, np.where(x < 1.5 * distance, distance - x, x - 2 * distance))


def test_eyring_kramers(compare):
    """On parabolas Laplace's method is exact but for 1% at a barrier of five temperatures."""
    lr, barrier = 0.1, 5.0
    far, step = 2 * math.sqrt(barrier), math.sqrt(2 * lr)
    steps = exit_steps(
        lambda x, rng: x - lr * parabolas(x, far) + step * rng.standard_normal(len(x)), lambda x: x >= 2 * far, 400,
        np.random.default_rng(139),
    )  # fmt: skip
    measured, error = mean(steps)
    predicted = theory.eyring_kramers(barrier, 1.0, 1.0, -1.0, lr=lr)
    compare(theory.eyring_kramers, "parabolas, five temperatures", measured, predicted, error)


def test_finite_lr_correction(compare):
    """The chain's mean time over that of the diffusion, whose double integral is summed on a grid."""
    lr, temperature, start = 0.1, 0.06, -1.0
    x = np.linspace(-2.6, 1.0, 200_001)
    weight = np.exp(-(x**4 / 4 - x**2 / 2) / temperature)
    inner = cumulative_simpson(weight, x=x, initial=0)
    diffusion = simpson((inner / weight)[x >= start], x=x[x >= start]) / temperature
    step = math.sqrt(2 * lr * temperature)
    steps = exit_steps(
        lambda x, rng: x - lr * (x**3 - x) + step * rng.standard_normal(len(x)),
        lambda x: x >= 1, 5500, np.random.default_rng(141), start,
    )  # fmt: skip
    measured, error = mean(lr * steps / diffusion)
    predicted = theory.finite_lr_correction(lr, temperature, 2.0, -1.0, -0.25)
    compare(theory.finite_lr_correction, "double well, T = 0.06, lr = 0.1", measured, predicted, error)


def test_combined_escape_time(compare):
    lr, barriers = 0.1, (5.0, 5.5)
    far, step = [2 * math.sqrt(barrier) for barrier in barriers], math.sqrt(2 * lr)

    def move(x, rng):
        force = np.where(x > 0, parabolas(x, far[0]), -parabolas(-x, far[1]))
        return x - lr * force + step * rng.standard_normal(len(x))

    steps = exit_steps(move, lambda x: (x >= 2 * far[0]) | (x <= -2 * far[1]), 360, np.random.default_rng(140))
    measured, error = mean(steps)
    predicted = theory.combined_escape_time(
        *(theory.eyring_kramers(barrier, 1.0, 1.0, -1.0, lr=lr) for barrier in barriers)
    )
    compare(theory.combined_escape_time, "two saddles of unlike height", measured, predicted, error)
