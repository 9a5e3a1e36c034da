"""Exit from wells: heavy-tailed noise against the chain's integral equation, several saddles against the chain."""

import numpy as np
import pytest
from scipy import integrate, special, stats
from scipy.interpolate import CubicSpline

from escape import theory


def stable_tail(z, alpha):
    """P(S > z) for z >= 0, by Fourier inversion and, far out, by the series of the tail."""
    u, w = np.polynomial.legendre.leggauss(600)
    top = 40 ** (1 / alpha)
    t, w = top * ((u + 1) / 2) ** 3, w / 2 * 3 * top * ((u + 1) / 2) ** 2
    near = 0.5 - (np.sin(np.outer(np.minimum(z, 20), t)) / t * np.exp(-(t**alpha))) @ w / np.pi
    k = np.arange(1, 9)
    terms = (-1.0) ** (k + 1) * special.gamma(alpha * k) / special.factorial(k) * np.sin(k * np.pi * alpha / 2)
    far = (terms * np.maximum(z, 20)[:, None] ** (-alpha * k)).sum(1) / np.pi
    return np.where(z < 20, near, far)


def chain_time(lr, alpha, noise, left, right, nodes=600):
    """lr times the mean exit step of the quadratic well of curvature 1 from its minimum, by u = 1 + P u on a grid."""
    step = noise * lr ** (1 / alpha)
    edges = np.linspace(-left, right, nodes + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    z = np.concatenate([[0], np.geomspace(1e-3, 3 * (left + right) / step, 1000)])
    tail = CubicSpline(z, stable_tail(z, alpha))
    away = (edges - (1 - lr) * middle[:, None]) / step
    law = np.where(away > 0, 1 - tail(np.abs(away)), tail(np.abs(away)))
    return lr * np.interp(0, middle, np.linalg.solve(np.eye(nodes) - np.diff(law, axis=1), np.ones(nodes)))


@pytest.mark.parametrize("alpha", [1.0, 1.2, 1.5, 1.8])
def test_tail_constant(alpha):
    # jumps of density alpha c / x^(1+alpha) on both sides have the exponent |t|^alpha: 2 c int sin(x) / x^alpha dx = 1
    near = integrate.quad(lambda x: np.sinc(x / np.pi) * x ** (1 - alpha), 0, 1)[0]
    far = integrate.quad(lambda x: x**-alpha, 1, np.inf, weight="sin", wvar=1)[0]
    got = theory.stable_tail_constant(alpha)
    assert abs(2 * got * (near + far) - 1) < 1e-6, (
        f"alpha = {alpha}: constant {got}, by the jumps {1 / 2 / (near + far)}"
    )
    # the inversion itself by scipy's, and at its seam with the series
    assert np.allclose(stable_tail(np.array([0.5, 3.0]), alpha), stats.levy_stable.sf([0.5, 3.0], alpha, 0), rtol=1e-6)
    seam = stable_tail(np.array([20 - 1e-9, 20 + 1e-9]), alpha)
    assert abs(seam[1] / seam[0] - 1) < 1e-6, f"at the seam {seam}"
    assert abs(theory.stable_tail_constant(1.0) - 1 / np.pi) < 1e-15


@pytest.mark.parametrize(("alpha", "relaxations"), [(1.0, 0.6), (1.2, 1.24), (1.5, 3.56)])
def test_mean_exit_step_against_the_chain(alpha, relaxations):
    """The formula is too long by relaxation times whose number does not grow as noise falls."""
    lr, gaps, ratios = 0.05, [], []
    for noise in (0.1, 0.05, 0.03):
        predicted = lr * theory.stable_mean_exit_step(lr, alpha, noise, 1.0, 1.0)
        exact = chain_time(lr, alpha, noise, 1.0, 1.0)
        gaps.append(predicted - exact)
        ratios.append(predicted / exact)
    assert np.allclose(gaps, relaxations, rtol=0.07), f"alpha = {alpha}: too long by {gaps}"
    assert 0 < ratios[2] - 1 < 0.012, f"alpha = {alpha}: formula over chain {ratios}"


def test_one_side_counts_by_its_width():
    lr, alpha, noise = 0.05, 1.2, 0.03
    both = theory.stable_mean_exit_step(lr, alpha, noise, 0.5, 2.0)
    assert abs(lr * both / chain_time(lr, alpha, noise, 0.5, 2.0, nodes=1000) - 1) < 0.05
    one = theory.stable_mean_exit_step(lr, alpha, noise, 0.5, np.inf)
    other = theory.stable_mean_exit_step(lr, alpha, noise, np.inf, 2.0)
    assert abs(1 / both - 1 / one - 1 / other) < 1e-12 / both, "rates of two sides add"
    assert theory.stable_mean_exit_step(lr, alpha, noise, np.inf, np.inf) == np.inf
    known = [lr * theory.stable_mean_exit_step(lr, 1.5, 0.03, w, w) for w in (1.0, 2.0)]
    assert np.allclose(known, [482.4, 1364.4], atol=0.1), f"alpha = 1.5, noise .03: times {known}"


# Several saddles.


def test_rates_over_two_saddles_add():
    """From the middle one of three minima through either saddle, against the exact chain."""
    slope = np.polynomial.Polynomial.fromroots([-0.98, -0.57, 0, 0.58, 1.0]) * 6  # minima and saddles in turn
    f, bend, lr = slope.integ(), slope.deriv(), 0.01
    errors = []
    for temperature in (0.02, 0.01):
        times = [theory.eyring_kramers(f(x) - f(0), temperature, bend(0), bend(x), lr=lr) for x in (-0.57, 0.58)]
        got = theory.combined_escape_time(*times)
        chain = theory.GaussianChain(lambda x: x - lr * slope(x), np.sqrt(2 * lr * temperature), -1.1, 1.1)
        errors.append(got / chain.mean_exit_step(0.0, -0.98, 1.0) - 1)
    assert 0.2 < got / times[0] < 0.8, f"both saddles must matter: {times}"
    assert abs(errors[1]) < 0.15, f"errors {errors}"
    assert 1.6 < errors[0] / errors[1] < 2.8, f"errors {errors} should fall as the temperature"


def test_to_the_saddle_a_chain_must_jump():
    """On parabolas, where Laplace's method is nearly exact: a mean overshoot of 0.5826 sqrt(2 lr T)."""
    barrier = 6.0
    far, gaps = 2 * np.sqrt(barrier), []
    for lr in (0.1, 0.05):
        chain = theory.GaussianChain(
            lambda x, lr=lr: x - lr * np.where(x < far / 2, x, far - x), np.sqrt(2 * lr), -9.0, far + 0.01, (far / 2,)
        )
        ratio = chain.mean_exit_step(0.0, exit_high=far) / theory.eyring_kramers(
            barrier, 1.0, 1.0, -1.0, to="saddle", lr=lr
        )
        gaps.append(ratio - 1 - 2 * 0.5826 * np.sqrt(lr / np.pi))
    assert np.abs(gaps).max() < 0.02, f"beyond 1 + 0.66 sqrt(lr |h|): {gaps}"


def test_combined_escape_time():
    assert theory.combined_escape_time(3.0, 6.0) == pytest.approx(2.0)
    assert theory.combined_escape_time(7.0) == pytest.approx(7.0)
    assert theory.combined_escape_time(5.0, np.inf) == pytest.approx(5.0)
    assert theory.combined_escape_time(np.array([2.0, np.inf]), np.inf).tolist() == [2.0, np.inf]


@pytest.mark.parametrize(("temperature", "known"), [(0.1, 66.27), (0.05, 729.67), (0.025, 102108.0)])
def test_double_well_in_the_limit_of_small_lr(temperature, known):
    """The limit of the exact chain is the diffusion's time, by a route that knows nothing of its integral."""
    lrs, times = np.array([0.04, 0.02, 0.01]), []
    for lr in lrs:
        chain = theory.GaussianChain(lambda x, lr=lr: x - lr * (x**3 - x), np.sqrt(2 * lr * temperature), -2.2, 2.2)
        times.append(lr * chain.mean_exit_step(-1.0, exit_high=1.0))
    # a jump over the exit adds odd powers of sqrt(lr) to those of lr
    limit = np.polyfit(np.sqrt(lrs), times, 2)[-1]
    assert abs(limit / known - 1) < 2e-3, f"T = {temperature}: times {times}, limit {limit}, known {known}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.stable_tail_constant(2.0), "alpha is"),
        (lambda: theory.stable_mean_exit_step(0.1, 1.5, 0.1, 0.0, 1.0), "left, right"),
        (lambda: theory.stable_mean_exit_step(0.1, 1.5, -0.1, 1.0, 1.0), "noise is"),
        (lambda: theory.combined_escape_time(), "empty"),
        (lambda: theory.combined_escape_time(1.0, -1.0), "above zero"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
