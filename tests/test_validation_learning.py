"""Learning problems against theory: least squares with label noise, its thresholds, exits from saddles of learning."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy import optimize

from escape import (
    Above,
    GradientDescent,
    HalfSpaces,
    HeavyBall,
    LeastSquares,
    MatrixFactorization,
    MiniBatch,
    PhaseRetrieval,
    Projection,
    SquaredProjection,
    predict,
    rare,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
SPECTRUM, BATCH = [1.0, 0.5, 0.2], 4
SETTINGS = {0.0: (0.2, [0.02998, 0.02798, 0.02691]), 0.5: (0.1, [0.02778, 0.02695, 0.02647])}  # momentum: lr, variances


def _beside(values, predicted):
    values = np.asarray(values, dtype=float)
    return values.mean(), predicted, values.std(ddof=1) / math.sqrt(len(values))


@functools.cache
def sample(n, seed):
    """A finite sample with what the exact solvers need: landscape, minimum, Hessians and gradients there."""
    landscape = LeastSquares.gaussian(SPECTRUM, 1.0, n, seed)
    (minimum,) = landscape.critical_points()
    z = landscape.features.numpy()
    tilts = landscape.sample_gradients(minimum.location).numpy()
    return landscape, minimum, z[:, :, None] * z[:, None, :], tilts - tilts.mean(0)


def exact_covariance(hessians, tilts, lr, momentum):
    """Stationary covariance of heavy ball on this very sample, by the linear equation of (x, x before).

    The step is u' = (P − lr H_B ⊕ 0)u − lr (g_B, 0); the batch spreads its matrix by κ/n Σ D ⊗ D about the mean.
    """
    n, d = tilts.shape
    mean, factor = hessians.mean(0), lr**2 * theory.kappa(BATCH, n) / n
    step = np.block([[(1 + momentum) * np.eye(d) - lr * mean, -momentum * np.eye(d)], [np.eye(d), np.zeros((d, d))]])
    flat = (hessians - mean).reshape(n, d * d)
    spread = (flat.T @ flat).reshape(d, d, d, d).transpose(0, 2, 1, 3).reshape(d * d, d * d)
    top = np.kron(np.eye(1, 2), np.eye(d))  # (x, x before) -> x
    place = np.kron(top, top)
    operator = np.kron(step, step) + factor * place.T @ spread @ place
    added = place.T @ (factor * tilts.T @ tilts).ravel()
    return np.linalg.solve(np.eye(4 * d * d) - operator, added).reshape(2 * d, 2 * d)[:d, :d]


@pytest.mark.parametrize("momentum", SETTINGS)
def test_stationary_covariance_of_least_squares(compare, within, momentum):
    """The chain against the exact value of its own sample; samples of any data against the law of all of them."""
    lr, published = SETTINGS[momentum]
    limit = np.diag(theory.regression_stationary_covariance(np.diag(SPECTRUM), 1.0, lr, BATCH, momentum))
    assert limit == pytest.approx(published, rel=5e-4), "the published numbers, to their digits"
    landscape, minimum, hessians, tilts = sample(20_000, 700)
    own = np.diag(exact_covariance(hessians, tilts, lr, momentum))
    if not momentum:
        moment = theory.second_moment(hessians, lr, BATCH, tilts=tilts)
        assert own == pytest.approx(np.diag(moment.stationary()), rel=1e-8), "two solvers of one sample"
    axes = {f"w{j}": Projection(minimum, torch.eye(3, dtype=torch.float64)[j]) for j in range(3)}
    optimizer = HeavyBall(lr, momentum) if momentum else GradientDescent(lr)
    data = simulate(
        landscape, MiniBatch(BATCH), optimizer, minimum.location, steps=500, chains=2500, every=20, observe=axes,
        seed=701,
    )  # fmt: skip
    for j, name in enumerate(axes):
        squares = (data[name].values[8:] ** 2).mean(0)
        mean, _, error = _beside(squares, own[j])
        assert error < 0.01 * own[j], f"{name}: the run must tell 1% apart"
        within(f"E {name}², momentum {momentum}", mean, own[j], error, 4)
        if not momentum:
            compare(theory.SecondMoment.stationary, f"least squares, E {name}²", mean, own[j], error)
    seeds = range(810, 822) if momentum else range(710, 722)
    samples = [np.diag(exact_covariance(*sample(5000, seed)[2:], lr, momentum)) for seed in seeds]
    for j, values in enumerate(np.transpose(samples)):
        text = f"12 samples of 5000, E w{j}², momentum {momentum}"
        compare(theory.regression_stationary_covariance, text, *_beside(values, limit[j]))


def line(seed, n=2000):
    """Least squares on a line with all labels zero: landscape, minimum, curvatures z_i²."""
    features = LeastSquares.gaussian([1.0], 0.0, n, seed).features
    landscape = LeastSquares(features, torch.zeros_like(features[:, 0]))
    (minimum,) = landscape.critical_points()
    assert float(minimum.location) == 0, "at zero distances keep all their digits, however small"
    return landscape, minimum, features[:, 0].numpy() ** 2


def collapse(curvatures):
    """Learning rate at which E ln|1 − lr h| is zero, above the mean-square threshold."""
    return optimize.brentq(lambda lr: np.log(np.abs(1 - lr * curvatures)).mean(), 1.5, 3.5, xtol=1e-10)


def test_thresholds_of_a_sample_scatter_about_those_of_gaussian_data(compare):
    thresholds, collapses = [], []
    for seed in range(12):
        curvatures = line(720 + seed)[2]
        thresholds.append(theory.mean_square_threshold_lr(curvatures[:, None, None], 1))
        assert thresholds[-1] == pytest.approx(2 / (curvatures**2).mean(), rel=1e-3), "2 E h/E h², fresh batches"
        collapses.append(collapse(curvatures))
    assert theory.regression_threshold_lr(np.eye(1), 1) == pytest.approx(2 / 3, rel=1e-12)
    assert theory.regression_collapse_lr(1) == pytest.approx(2.42125, rel=1e-5)
    compare(theory.regression_threshold_lr, "12 samples of 2000", *_beside(thresholds, 2 / 3))
    compare(theory.regression_collapse_lr, "12 samples of 2000", *_beside(collapses, theory.regression_collapse_lr(1)))


def test_mean_square_shrinks_below_its_threshold_and_grows_above(compare):
    """The tilted average has no variance on a line; beside it, three plain steps, which few chains do not yet carry."""
    landscape, minimum, curvatures = line(740)
    own = theory.mean_square_threshold_lr(curvatures[:, None, None], 1)
    start = minimum.location + 1
    for number, share in enumerate((0.97, 1.03)):
        lr = share * own
        found = rare.tilted_mean_square(
            landscape, MiniBatch(1), lr, minimum, start, steps=20, chains=40, every=10, seed=741
        ).log.value  # fmt: skip
        assert found[-1] == pytest.approx(20 * math.log(theory.mean_square_rate(curvatures, lr, 1)), abs=1e-8)
        assert (found[-1] < -0.3) if share < 1 else (found[-1] > 0.3)
        data = simulate(landscape, MiniBatch(1), GradientDescent(lr), start, steps=2, chains=60_000, seed=742 + number)
        squares = data.final.values[:, 0] ** 2
        predicted = theory.mean_square_rate(curvatures, lr, 1) ** 2
        compare(theory.mean_square_rate, f"least squares at {share:g} of the threshold", *_beside(squares, predicted))


def test_typical_chains_shrink_up_to_a_threshold_of_their_own(compare):
    """Also between the two thresholds, where the mean square explodes."""
    landscape, minimum, curvatures = line(740)
    own = collapse(curvatures)
    assert own > 3 * theory.mean_square_threshold_lr(curvatures[:, None, None], 1)
    for number, share in enumerate((0.6, 0.97, 1.03)):
        lr = share * own
        data = simulate(
            landscape, MiniBatch(1), GradientDescent(lr), minimum.location + 1, steps=100, chains=2000,
            seed=750 + number,
        )  # fmt: skip
        logs = np.log(np.abs(data.final.values[:, 0])) / 100
        mean, predicted, error = _beside(logs, theory.lyapunov_exponent(curvatures, lr, 1))
        compare(theory.lyapunov_exponent, f"least squares at {share:g} of the threshold", mean, predicted, error)
        assert (mean < -4 * error) if share < 1 else (mean > 4 * error), f"{mean} ± {error} at {share}"


def measured_exit(landscape, saddle, batch_size, lr, radius, chains, steps, seed):
    """Predicted mean exit step, measured ones."""
    oracle, optimizer = MiniBatch(batch_size), GradientDescent(lr)
    found = predict(landscape, oracle, optimizer, saddle, radius=radius)
    assert (found.noise_type, found.chains_leave) == ("I", "all")
    assert not any("bends" in caveat or "noise at" in caveat for caveat in found.caveats), found.caveats
    data = simulate(
        landscape, oracle, optimizer, saddle.location, steps=steps, chains=chains, seed=seed,
        until=Above(SquaredProjection(saddle, saddle.unstable), radius**2),
    )  # fmt: skip
    assert (data.status.values == 1).all(), "all chains must have left"
    return data.exit_step.values, found.mean_exit_step


def test_exit_from_a_balanced_saddle_of_matrix_factorization(compare):
    """Curvature σ_2 − σ_1 = −0.5 along (p_1, q_1), noise √σ_2 times that of an entry."""
    landscape = MatrixFactorization.gaussian([1.5, 1.0, 0.6], noise=0.03, n=500)
    saddle = landscape.critical_points()[2]
    assert saddle.name == "values 2"
    assert float(saddle.eigenvalues[0]) == pytest.approx(-0.5, abs=1e-12)
    steps, predicted = measured_exit(landscape, saddle, 8, 0.1, 0.06, 2000, 600, 760)
    by_hand = theory.mean_exit_step(0.1, -0.5, 0.03 * theory.kappa(8, 500) ** 0.5, 0.06)
    assert predicted == pytest.approx(by_hand, rel=1e-9)
    compare(theory.mean_exit_step, "matrix factorization, balanced saddle", *_beside(steps, predicted))


def test_exit_from_a_saddle_of_phase_retrieval(compare):
    landscape = PhaseRetrieval.gaussian(2, 1000)
    saddle = landscape.critical_points()[3]
    assert saddle.index == 1
    steps, predicted = measured_exit(landscape, saddle, 64, 0.004, 0.06, 600, 2000, 761)
    compare(theory.mean_exit_step, "phase retrieval", *_beside(steps, predicted))


def test_exit_from_a_saddle_of_half_spaces(compare):
    """A saddle that only a search finds; batches of all samples but one, so that the kick is small beside its size."""
    landscape = HalfSpaces.gaussian(2, 100, seed=3)
    saddle = landscape.critical_points()[0]
    assert saddle.index == 1
    steps, predicted = measured_exit(landscape, saddle, 99, 10.0, 0.3, 1000, 2000, 762)
    compare(theory.mean_exit_step, "half-spaces", *_beside(steps, predicted))
