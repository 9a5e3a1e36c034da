"""Multiplicative noise, stationary laws, stability and reshuffling: each prediction against a simulation."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize

from escape import (
    Above,
    DoubleWell,
    GradientDescent,
    HeavyBall,
    IsotropicNoise,
    MiniBatch,
    Projection,
    QuadraticSaddle,
    SquaredDistance,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
F64 = torch.float64
PAIR = [1.0, -1.2]
FOUR = [1.0, -1.2, 0.3, 2.0]
ORIGIN = torch.zeros(1, dtype=F64)


def along(curvatures):
    """Terms of these curvatures along one direction, without tilts."""
    h = torch.tensor(curvatures, dtype=F64)[:, None]
    return QuadraticSaddle(h, torch.zeros_like(h))


def positions(curvatures, lr, batch_size, steps, chains, seed, replacement=False, start=1.0, **arguments):
    """|x_t| at the last step, and the run."""
    data = simulate(
        along(curvatures), MiniBatch(batch_size, replacement), GradientDescent(lr), torch.tensor([start], dtype=F64),
        steps=steps, chains=chains, seed=seed, **arguments,
    )  # fmt: skip
    return np.abs(data.final.values[:, 0]), data


def mean_and_error(values):
    values = np.asarray(values, dtype=float)
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def matrices(n=4, d=2, seed=0, shift=0.0):
    h = np.random.default_rng(seed).standard_normal((n, d, d))
    return (h + h.transpose(0, 2, 1)) / 2 + shift * np.eye(d)


def walk(hessians, lr, batch_size, steps, x, seed, replacement=False, tilts=None):
    """Mini-batch SGD on f_i = x^T H_i x / 2 + g_i . x, all chains at once: (c, d) starts, (c, d) ends."""
    rng, n = np.random.default_rng(seed), len(hessians)
    for _ in range(steps):
        if replacement:
            index = rng.integers(0, n, (len(x), batch_size))
        else:
            index = np.argsort(rng.random((len(x), n)), axis=1)[:, :batch_size]
        gradient = np.einsum("cij,cj->ci", hessians[index].mean(1), x)
        x = x - lr * (gradient if tilts is None else gradient + tilts[index].mean(1))
    return x


# One direction.


def test_growth_of_moments(compare):
    x, _ = positions(FOUR, 0.3, 2, 4, 50_000, 101)
    rate = theory.mean_square_rate(FOUR, 0.3, 2)
    compare(theory.mean_square_rate, "E x_4^2", *mean_and_error(x**2)[:1], rate**4, mean_and_error(x**2)[1])
    x, _ = positions(FOUR, 0.3, 3, 5, 50_000, 102, replacement=True)
    mean, error = mean_and_error(x)
    growth = theory.moment_function(1.0, FOUR, 0.3, 3, True)
    compare(theory.moment_function, "ln E |x_5|", math.log(mean), 5 * growth, error / mean)


def test_almost_sure_growth(compare):
    x, _ = positions(PAIR, 0.5, 1, 100, 10_000, 103)
    mean, error = mean_and_error(np.log(x) / 100)
    compare(theory.lyapunov_exponent, "pair", mean, theory.lyapunov_exponent(PAIR, 0.5, 1), error)
    x, _ = positions(FOUR, 0.4, 2, 100, 10_000, 104)
    mean, error = mean_and_error(np.log(x) / 100)
    compare(theory.lyapunov_exponent, "pairs of four", mean, theory.lyapunov_exponent(FOUR, 0.4, 2), error)


def test_no_growth_at_the_ends_of_the_window(compare):
    for seed, lr in enumerate(theory.paradox_window(PAIR)):
        x, _ = positions(PAIR, lr, 1, 100, 10_000, 105 + seed)
        mean, error = mean_and_error(np.log(x) / 100)
        compare(theory.paradox_window, f"ln|x| at the end {seed}", mean, 0.0, error)
    low, high = theory.paradox_windows([1.0, 3.0, -2.5], 2)[-1]
    x, _ = positions([1.0, 3.0, -2.5], high, 2, 100, 10_000, 107)
    mean, error = mean_and_error(np.log(x) / 100)
    compare(theory.paradox_windows, "ln|x| at the last end", mean, 0.0, error)
    assert low < high, "an interval"


def test_chance_of_ever_escaping(compare):
    """The law of what is reached at the exit is where the exponent shows exactly, at any radius."""
    until = Above(SquaredDistance(ORIGIN), 1.0)
    ends = [positions(PAIR, 0.5, 1, 300, 10_000, seed, start=0.1, until=until) for seed in (108, 109)]
    alpha = theory.escape_exponent(PAIR, 0.5, 1)
    x, data = ends[0]
    mean, error = mean_and_error(np.where(data.status == 1, x**alpha, 0.0))
    # |x|^alpha of chains still inside is what later escapes would add
    assert np.where(data.status == 0, x**alpha, 0.0).mean() < 0.05 * error, "the run must be long enough"
    bound = theory.escape_probability_bounds(1.0, 0.1, PAIR, 0.5, 1)[1]
    compare(theory.escape_probability_bounds, "E[(|x_exit|/R)^alpha; escape]", mean, bound, error)
    x, data = ends[1]
    log = np.log(x[data.status.values == 1] / 0.1)
    found = optimize.brentq(lambda p: np.exp(p * log).sum() / len(x) - 1, 0.01, 5)
    weight = np.zeros(len(x))
    weight[: len(log)] = np.exp(found * log)
    slope = (weight[: len(log)] * log).sum() / len(x)
    compare(theory.escape_exponent, "root of E[(|x_exit|/x_0)^p; escape] = 1", found, alpha,
            weight.std() / math.sqrt(len(x)) / slope)  # fmt: skip


def test_failure_of_the_plain_mean(compare):
    chains, repeats, t = 200, 400, 40
    x, _ = positions(PAIR, 0.5, 1, t, chains * repeats, 110)
    mean, error = mean_and_error(np.log((x.reshape(repeats, chains) ** 2).mean(1)))
    predicted = theory.frozen_log_mean_square(t, chains, PAIR, 0.5, 1)
    compare(theory.frozen_log_mean_square, "200 chains, step 40", mean, predicted, error)
    # t ln m / t* is the entropy of the paths that carry E x^2, exactly at every t: here at 4, where all are seen
    x, _ = positions(PAIR, 0.5, 1, 4, 100_000, 111)
    square = x**2
    total, log = square.mean(), square @ np.log(square) / len(x)
    entropy = log / total - math.log(total)
    influence = square * np.log(square) / total - square * log / total**2 - square / total
    error = influence.std() / math.sqrt(len(x))
    compare(theory.freezing_step, "entropy of size-biased paths, a step", entropy / 4,
            math.log(1000) / theory.freezing_step(1000, PAIR, 0.5, 1), error / 4)  # fmt: skip


# Matrices.


def test_moments_of_matrices(compare):
    hessians, start = matrices(), np.array([0.6, -0.3])
    tilts = np.array([[0.2, -0.1], [-0.3, 0.3], [0.0, -0.3], [0.1, 0.1]])
    exact = theory.second_moment(hessians, 0.3, 2, tilts=tilts).evolve(5, start)
    x = walk(hessians, 0.3, 2, 5, np.tile(start, (50_000, 1)), 112, tilts=tilts)
    mean, error = mean_and_error(x[:, 0] * x[:, 1])
    compare(theory.SecondMoment.evolve, "E x_0 x_1 at step 5", mean, exact[1][5, 0, 1], error)
    exact = theory.second_moment(hessians, 0.3, 2, True, tilts).evolve(4, start)
    x = walk(hessians, 0.3, 2, 4, np.tile(start, (50_000, 1)), 113, True, tilts)
    mean, error = mean_and_error((x**2).sum(1))
    compare(theory.second_moment, "E |x|^2 at step 4, replacement", mean, np.trace(exact[1][4]), error)


def test_growth_of_the_eigenmatrix(compare):
    hessians = matrices(5, 3, 1)
    moment = theory.second_moment(hessians, 0.3, 2)
    shape, start = moment.eigenmatrix, np.array([1.0, 0.5, -0.5])
    x = walk(hessians, 0.3, 2, 3, np.tile(start, (50_000, 1)), 114)
    mean, error = mean_and_error(np.einsum("ci,ij,cj->c", x, shape, x) / (start @ shape @ start))
    compare(theory.SecondMoment.rate, "three steps", mean ** (1 / 3), moment.rate, error * mean ** (-2 / 3) / 3)
    x = walk(hessians, 0.3, 2, 4, np.tile(start, (50_000, 1)), 115)
    mean, error = mean_and_error(np.einsum("ci,ij,cj->c", x, shape, x) / (start @ shape @ start))
    compare(theory.SecondMoment.log_rate, "four steps", math.log(mean) / 4, moment.log_rate, error / mean / 4)
    values, vectors = np.linalg.eigh(shape)
    starts = np.random.default_rng(116).standard_normal((100_000, 3)) * np.sqrt(values.clip(0)) @ vectors.T
    x = walk(hessians, 0.3, 2, 1, starts, 117)
    mean, error = mean_and_error(x[:, 0] * x[:, 2])
    compare(theory.SecondMoment.eigenmatrix, "is mapped to rho times itself", mean, moment.rate * shape[0, 2], error)


def test_stationary_moment_of_matrices(compare):
    hessians, tilts = matrices(4, 2, 2, 1.0), np.array([[0.2, -0.1], [-0.3, 0.3], [0.0, -0.3], [0.1, 0.1]])
    lr = 0.2 * theory.mean_square_threshold_lr(hessians, 2)  # small: the fourth moment must be finite, and modest
    exact = theory.second_moment(hessians, lr, 2, tilts=tilts).stationary()
    x = walk(hessians, lr, 2, 150, np.zeros((10_000, 2)), 118, tilts=tilts)
    for name, i in (("first", 0), ("second", 1)):
        mean, error = mean_and_error(x[i::2, i] ** 2)
        compare(theory.SecondMoment.stationary, f"{name} coordinate", mean, exact[i, i], error)


def test_lyapunov_exponent_of_matrices(compare):
    hessians = matrices(5, 3, 3)
    exact, own = theory.lyapunov_exponent_product(hessians, 0.4, 2, steps=1500, chains=64, seed=119)
    rng = np.random.default_rng(120)
    x = walk(hessians, 0.4, 2, 30, rng.standard_normal((4000, 3)), 121)
    y = walk(hessians, 0.4, 2, 120, x, 122)
    mean, error = mean_and_error(np.log(np.linalg.norm(y, axis=1) / np.linalg.norm(x, axis=1)) / 120)
    compare(theory.lyapunov_exponent_product, "three dimensions", mean, exact, math.hypot(error, own))


# Thresholds: what is conserved exactly there.


def test_mean_square_threshold(compare):
    hessians = matrices(5, 2, 4, 1.5)
    lr = theory.mean_square_threshold_lr(hessians, 2, True)
    shape, start = theory.second_moment(hessians, lr, 2, True).eigenmatrix, np.array([0.5, 1.0])
    x = walk(hessians, lr, 2, 3, np.tile(start, (100_000, 1)), 123, True)
    mean, error = mean_and_error(np.einsum("ci,ij,cj->c", x, shape, x) / (start @ shape @ start))
    compare(theory.mean_square_threshold_lr, "E x^T V x is kept for three steps", mean, 1.0, error)


def test_one_step_thresholds(compare):
    hessians = matrices(5, 2, 5, 1.5)
    mean_hessian = hessians.mean(0)
    variance = np.einsum("nij,njk->ik", hessians - mean_hessian, hessians - mean_hessian) / 5

    def worst(matrix):
        return np.linalg.eigh(matrix)[1][:, -1]

    lr = theory.monotone_threshold_lr(hessians, 1)
    step = np.eye(2) - lr * mean_hessian
    start = worst(step @ step + lr * lr * variance)
    x = walk(hessians, lr, 1, 1, np.tile(start, (50_000, 1)), 124)
    compare(theory.monotone_threshold_lr, "E |x|^2 kept from the worst start", *_beside((x**2).sum(1), 1.0))
    lr, start = theory.nonuniformity_threshold_lr(hessians, 2), worst(variance)
    x = walk(hessians, lr, 2, 1, np.tile(start, (50_000, 1)), 125)
    noise = x - start + lr * mean_hessian @ start
    compare(theory.nonuniformity_threshold_lr, "noise of a step as long as x", *_beside((noise**2).sum(1), 1.0))


def _beside(values, predicted):
    mean, error = mean_and_error(values)
    return mean, predicted, error


def test_threshold_of_descent(compare):
    hessian = np.diag([1.6, 0.3])
    lr = theory.gd_threshold_lr(hessian)
    landscape = QuadraticSaddle.additive([1.6, 0.3], 0.2, n=50)
    data = simulate(
        landscape, MiniBatch(5), GradientDescent(lr), torch.tensor([0.4, 0.0], dtype=F64), steps=10, chains=40_000,
        seed=126,
    )  # fmt: skip
    compare(theory.gd_threshold_lr, "E x returns every other step", *_beside(data.final.values[:, 0], 0.4))


# Stationary laws.


def test_stationary_variance(compare):
    landscape = QuadraticSaddle.additive([0.8], 0.5, n=200)
    noise = 0.5 * math.sqrt(theory.kappa(4, 200))
    for seed, momentum in ((127, 0.0), (128, 0.8)):
        optimizer = HeavyBall(0.3, momentum) if momentum else GradientDescent(0.3)
        data = simulate(landscape, MiniBatch(4), optimizer, ORIGIN, steps=250, chains=10_000, seed=seed)
        exact = theory.stationary_variance(0.3, 0.8, noise, momentum)
        values = _beside(data.final.values[:, 0] ** 2, exact)
        compare(theory.stationary_variance, f"momentum {momentum}", *values)


def test_stationary_covariance(compare):
    covariance = np.array([[0.3, 0.12], [0.12, 0.1]])
    landscape = QuadraticSaddle.additive([1.0, 0.3], torch.tensor(covariance), n=100)
    for seed, momentum in ((129, 0.0), (130, 0.6)):
        optimizer = HeavyBall(0.5, momentum) if momentum else GradientDescent(0.5)
        data = simulate(
            landscape, MiniBatch(3, True), optimizer, torch.zeros(2, dtype=F64), steps=120, chains=20_000, seed=seed
        )
        exact = theory.stationary_covariance(np.diag([1.0, 0.3]), covariance / 3, 0.5, momentum)
        values = data.final.values[:, 0] * data.final.values[:, 1]
        compare(theory.stationary_covariance, f"E x_0 x_1, momentum {momentum}", *_beside(values, exact[0, 1]))


def test_dissipation_in_a_double_well(compare):
    """Far from quadratic: chains in both wells, the noise high enough to cross."""
    landscape = DoubleWell(torch.tensor([[0.9], [-0.9]], dtype=F64), torch.zeros(0, dtype=F64))
    for seed, momentum in ((131, 0.0), (132, 0.5)):
        optimizer = HeavyBall(0.1, momentum) if momentum else GradientDescent(0.1)
        starts = torch.tensor([1.0, -1.0], dtype=F64).repeat(2000)[:, None]
        data = simulate(
            landscape, IsotropicNoise(1, True), optimizer, starts, steps=400, chains=4000, seed=seed,
            observe={"x": Projection(ORIGIN, torch.ones(1, dtype=F64))},
        )  # fmt: skip
        x = data.x.values[200:]
        work, step = (x[:-1] * (x[:-1] ** 3 - x[:-1])).mean(0), (np.diff(x, axis=0) ** 2).mean(0)
        predicted = theory.stationary_work(step.mean(), 0.1, momentum)
        _, error = mean_and_error(work - theory.stationary_work(step, 0.1, momentum))
        compare(theory.stationary_work, f"double well, momentum {momentum}", work.mean(), predicted, error)


def test_gradient_square_on_a_quadratic(compare):
    hessians, tilts = matrices(4, 2, 6, 1.0), np.array([[0.2, -0.1], [-0.3, 0.3], [0.0, -0.3], [0.1, 0.1]])
    lr, hessian = 0.3 * theory.mean_square_threshold_lr(hessians, 1), hessians.mean(0)
    x = walk(hessians, lr, 1, 150, np.zeros((20_000, 2)), 133, tilts=tilts)
    g = (x - walk(hessians, lr, 1, 1, x, 134, tilts=tilts)) / lr
    square = ((x @ hessian) ** 2).sum(1)
    predicted = theory.stationary_gradient_square(hessian, g.T @ g / len(g), lr)
    _, error = mean_and_error(square - lr / 2 * np.einsum("ci,ij,cj->c", g, hessian, g))
    compare(theory.stationary_gradient_square, "multiplicative noise besides", square.mean(), predicted, error)


def test_shift_of_the_mean(compare):
    """f = x^2/2 + x^3/6 + x^4/24: the exact chain has what the leading order misses, 2.5e-7."""
    for seed, momentum, lr in ((135, 0.0, 0.05), (136, 0.5, 0.025)):
        rng, x, before = np.random.default_rng(seed), np.zeros(4000), np.zeros(4000)
        total = np.zeros(4000)
        for t in range(800):
            force = x + x * x / 2 + x**3 / 6 + 0.3 * rng.standard_normal(len(x))
            x, before = x - lr * force + momentum * (x - before), x
            total += x if t >= 200 else 0.0
        predicted = theory.stationary_shift([[1.0]], [[[1.0]]], [[0.09]], lr, momentum)[0]
        compare(theory.stationary_shift, f"skew well, momentum {momentum}", *_beside(total / 600, predicted))


# Least squares on fresh Gaussian data.


def regress(x, lr, batch_size, steps, seed, inputs=None, label_noise=0.0, momentum=0.0):
    """Least squares with new data each step: (c, d) starts, (c, d) ends; inputs are standard deviations."""
    rng, before = np.random.default_rng(seed), x
    for _ in range(steps):
        data = rng.standard_normal((len(x), batch_size, x.shape[1]))
        if inputs is not None:
            data *= inputs
        residual = np.einsum("cbd,cd->cb", data, x)
        if label_noise:
            residual -= label_noise * rng.standard_normal(residual.shape)
        gradient = np.einsum("cb,cbd->cd", residual, data) / batch_size
        x, before = x - lr * gradient + momentum * (x - before), x
    return x


def test_regression_covariance(compare):
    inputs = np.array([1.0, 0.5, 0.2])
    for seed, momentum in ((137, 0.0), (138, 0.5)):
        exact = theory.regression_stationary_covariance(np.diag(inputs), 1.0, 0.1, 4, momentum)
        x = regress(np.zeros((6_000, 3)), 0.1, 4, 250, seed, np.sqrt(inputs), 1.0, momentum)
        values = _beside(x[:, 2] ** 2 + x[:, 0] ** 2, exact[2, 2] + exact[0, 0])
        compare(theory.regression_stationary_covariance, f"momentum {momentum}", *values)


def test_regression_thresholds(compare):
    eigenvalues, b = np.array([1.0, 0.5, 0.2]), 4
    lr = theory.regression_threshold_lr(np.diag(eigenvalues), b)
    a = lr * eigenvalues
    # the map of the variances, made symmetric by the roots of the eigenvalues; what it keeps is linear in them
    roots = np.sqrt(eigenvalues)
    kept = np.linalg.eigh(np.diag(1 - 2 * a + a * a * (1 + 1 / b)) + lr**2 / b * np.outer(eigenvalues, eigenvalues))[1]
    weights, start = np.abs(kept[:, -1]), np.array([0.3, 0.5, 1.0])
    x = regress(np.tile(start, (200_000, 1)), lr, b, 2, 139, roots)
    values = (x**2 @ weights) / (start**2 @ weights)
    compare(theory.regression_threshold_lr, "weighted mean square kept for two steps", *_beside(values, 1.0))
    lr = theory.regression_collapse_lr(1)
    x = regress(np.ones((50_000, 1)), lr, 1, 40, 140)
    values = np.log(np.abs(x[:, 0])) / 40
    compare(theory.regression_collapse_lr, "ln|x| kept for 40 steps", *_beside(values, 0.0))


def test_regression_moments(compare):
    x = regress(np.tile([0.6, 0.8, 0.0], (50_000, 1)), 0.5, 2, 2, 141)
    mean, error = mean_and_error(np.linalg.norm(x, axis=1) ** 1.5)
    growth = theory.regression_moment_function(1.5, 0.5, 2, 3)
    compare(theory.regression_moment_function, "ln E |x_2|^1.5", math.log(mean), 2 * growth, error / mean)
    x = regress(np.tile([0.6, 0.8], (20_000, 1)), 0.8, 2, 40, 142)
    values = np.log(np.linalg.norm(x, axis=1)) / 40
    exact = theory.regression_lyapunov_exponent(0.8, 2, 2)
    compare(theory.regression_lyapunov_exponent, "two dimensions", *_beside(values, exact))


def test_regression_tail(compare):
    """Counts beyond two levels; with 20 times as many chains the slope there is within 0.006 of alpha."""
    x = np.abs(regress(np.zeros((200_000, 1)), 1.0, 1, 60, 143, label_noise=1.0))
    first, second = (x > 16).sum(), (x > 64).sum()
    error = math.sqrt(1 / second - 1 / first) / math.log(4)
    alpha = theory.regression_tail_exponent(1.0, 1)
    compare(theory.regression_tail_exponent, "stationary tail, 16 to 64", math.log(first / second) / math.log(4),
            alpha, error)  # fmt: skip
    log = np.log(np.linalg.norm(regress(np.tile([0.6, 0.8], (100_000, 1)), 1.0, 3, 1, 144), axis=1))
    found = optimize.brentq(lambda p: np.exp(p * log).mean() - 1, 0.3, 20)
    weight = np.exp(found * log)
    error = weight.std() / math.sqrt(len(log)) / (weight @ log / len(log))
    compare(theory.regression_tail_exponent, "root of E (|x_1|/|x_0|)^p = 1, a plane", found,
            theory.regression_tail_exponent(1.0, 3, 2), error)  # fmt: skip


# Random reshuffling.


def reshuffled(lr, curvature, tilts, batch_size, epochs, chains, seed, start=0.0):
    """x after every step of epochs, each through a permutation of its own: (epochs * k + 1, chains)."""
    rng, x = np.random.default_rng(seed), np.full(chains, start)
    yield x
    for _ in range(epochs):
        order = rng.permuted(np.tile(tilts, (chains, 1)), axis=1).reshape(chains, -1, batch_size).mean(2)
        for g in order.T:
            x = x - lr * (curvature * x + g)
            yield x


def centred(n, noise, seed=0):
    g = np.random.default_rng(seed).standard_normal(n)
    g -= g.mean()
    return noise * g / g.std()


def test_moments_of_reshuffling(compare):
    tilts = centred(20, 0.3)
    *_, x = reshuffled(0.1, -0.5, tilts, 2, 1, 50_000, 145)
    exact = theory.reshuffling_epoch_variance(0.1, -0.5, 0.3, 20, 2)
    compare(theory.reshuffling_epoch_variance, "saddle", *_beside(x**2, exact))
    *_, x = reshuffled(0.1, 0.8, tilts, 1, 3, 50_000, 146, start=0.1)
    exact = theory.reshuffling_mean_square(3, 0.1, 0.8, 0.3, 20, 1, 0.1)
    compare(theory.reshuffling_mean_square, "minimum, three epochs", *_beside(x**2, exact))
    *_, x = reshuffled(0.1, -1.0, tilts, 1, 5, 50_000, 147)
    # 100 steps of a = 1.1: what later epochs would add is 1e-8 of the whole
    exact = theory.reshuffling_kick_std(0.1, -1.0, 0.3, 20)
    mean, error = mean_and_error(x**2 / 1.1**200)
    compare(theory.reshuffling_kick_std, "saddle", math.sqrt(mean), exact, error / 2 / math.sqrt(mean))


def test_exit_under_reshuffling(compare):
    # The kick of 100 terms has an excess kurtosis of -0.05: it brings the mean forward by a sixth of the error below.
    chains, lr = 2000, 0.02
    step = np.zeros(chains)
    for x in reshuffled(lr, -1.0, centred(100, 0.01), 1, 13, chains, 148):
        step += np.abs(x) < 1.0
    assert (np.abs(x) > 1.0).all(), "all chains must have left"
    predicted = theory.reshuffling_mean_exit_step(lr, -1.0, 0.01, 1.0, 100)
    compare(theory.reshuffling_mean_exit_step, "100 terms", *_beside(step, predicted))


def test_multiplicative_reshuffling(compare):
    hessians, start, rng = matrices(5, 2, 7), np.array([0.8, -0.6]), np.random.default_rng(149)
    x = np.tile(start, (40_000, 1))
    for _ in range(2):
        order = rng.permuted(np.tile(np.arange(5), (len(x), 1)), axis=1)
        for index in order.T:
            x = x - 0.3 * np.einsum("cij,cj->ci", hessians[index], x)
    exact = theory.reshuffling_second_moment(hessians, 0.3).evolve(2, start)[1][2]
    compare(theory.reshuffling_second_moment, "E |x|^2 after two epochs", *_beside((x**2).sum(1), np.trace(exact)))
