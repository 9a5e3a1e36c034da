"""Quasi-potentials against closed forms, series and the exact chains' growth with 1 / lr."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtri

from escape import theory


def test_root_is_a_root_and_follows_the_sign():
    gradients = np.random.default_rng(3).standard_normal((200, 7)) + 0.3
    q = theory.quasi_potential(gradients)
    finite = np.isfinite(q)
    assert finite.sum() > 100
    rest = np.exp(-q[finite, None] * gradients[finite]).mean(1) - 1
    assert np.abs(rest).max() < 1e-9, f"mean exp(-q g) - 1 = {rest}"
    assert (np.sign(q) == np.sign(gradients.mean(1))).all()
    assert np.allclose(theory.quasi_potential(-gradients), -q), "mirrored gradients"
    one_sided = (gradients > 0).all(1) | (gradients < 0).all(1)
    assert (np.isinf(q) == one_sided).all(), "infinite exactly where all samples push one way"
    alone = gradients[finite][0]
    root = brentq(lambda p: np.exp(-p * alone).mean() - 1, 0.5 * q[finite][0], 2 * q[finite][0], xtol=1e-13)
    assert q[finite][0] == pytest.approx(root, rel=1e-9)


def test_weak_mean_is_gaussian():
    noise = np.array([1.0, -1.0, 0.5, -0.5])
    for mean, allowed in ((0.1, 0.01), (0.01, 1e-4)):
        true, surrogate = theory.quasi_potential(mean + noise), theory.gaussian_quasi_potential(mean + noise)
        assert abs(true / surrogate - 1) < allowed, f"mean {mean}: {true} and {surrogate}"
        assert true > surrogate, "bounded noise climbs less"


def test_least_squares_with_gaussian_data():
    # g = z^2 theta - z e: the mean of exp(-q g) over e is exp(z^2 (q^2 / 2 - q theta)), one at q = 2 theta
    grid = ndtri((np.arange(600) + 0.5) / 600)
    grid /= grid.std()
    z, e = np.meshgrid(grid, grid)
    for theta in (0.05, 0.2):
        q = theory.quasi_potential((z**2 * theta - z * e).ravel())
        assert q == pytest.approx(2 * theta, rel=2e-3), f"theta {theta}: q {q}"


@pytest.mark.parametrize("true", [True, False])
def test_exponent_is_the_growth_of_the_exact_mean(true):
    """ln(mean exit step) against 1 / lr: slopes of the two kinds of noise differ, each as its quasi-potential says."""
    noise, end = 0.7, 0.0
    lrs = np.array([0.16, 0.13, 0.1])

    def samples(x):
        return x[:, None] ** 3 - x[:, None] + np.array([noise, -noise])

    if true:
        chains = [theory.BatchChain(samples, lr, 1, -2.0, 2.0, True, nodes=1500) for lr in lrs]
    else:
        chains = [theory.GaussianChain(lambda x, lr=lr: x - lr * (x**3 - x), lr * noise, -2.2, 2.2) for lr in lrs]
    log = np.log([chain.mean_exit_step(-1.0, exit_high=end) * lr for chain, lr in zip(chains, lrs, strict=True)])
    slope = np.diff(log) / np.diff(1 / lrs)
    want, other = (theory.escape_log_time(samples, -1.0, end, 1.0, 1, gaussian=g) for g in (not true, true))
    assert abs(slope[-1] / want - 1) < 0.04, f"slopes {slope}, exponent {want}"
    assert abs(slope[-1] - want) < 0.35 * abs(slope[-1] - other), f"slopes {slope}, exponents {want}, {other}"


def test_exponent_scales_and_blocks():
    def samples(x):
        return (x**3 - x)[:, None] + np.array([0.8, -0.8])

    gaussian = theory.escape_log_time(samples, -1.0, 0.0, np.array([0.1, 0.2]), 3, gaussian=True)
    assert np.allclose(gaussian, 2 * 0.25 / 0.64 * 3 / np.array([0.1, 0.2])), "2 b barrier / (lr C)"
    assert theory.escape_log_time(samples, 0.0, 1.0, 0.1, 3) == 0, "downhill costs nothing"
    left, right = (theory.escape_log_time(samples, start, 0.0, 0.1, 3) for start in (-1.0, 1.0))
    assert left == pytest.approx(right, rel=1e-9)

    def blocked(x):
        return (x**3 - x)[:, None] + np.array([0.38, -0.38])

    assert theory.escape_log_time(blocked, -1.0, 0.0, 0.1, 3) == np.inf


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.quasi_potential(1.0), "shape"),
        (lambda: theory.quasi_potential([np.nan, 1.0]), "finite"),
        (lambda: theory.gaussian_quasi_potential(np.zeros((3, 0))), "shape"),
        (lambda: theory.escape_log_time(lambda x: x[:, None], 1.0, 1.0, 0.1, 1), "start"),
        (lambda: theory.escape_log_time(lambda x: x[:, None], 0.0, 1.0, 0.1, 0), "batch_size"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
