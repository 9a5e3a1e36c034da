"""Closed forms of the additive saddle and of batch GD, each against a second route."""

import numpy as np
import pytest
from scipy import stats

from escape import theory

SETTING = {"lr": 0.1, "curvature": -1.0, "noise": 0.01}  # s = 0.0021822, radius/s = 458 for radius 1


def close(got, want, tolerance, reason):
    got, want = np.asarray(got, float), np.asarray(want, float)
    worst = np.max(np.abs(got - want) / np.maximum(np.abs(want), 1e-300))
    assert worst <= tolerance, f"{reason}: got {got}, want {want}, relative error {worst:.3g} above {tolerance:.3g}"


@pytest.mark.parametrize(
    ("batch_size", "n", "replacement"), [(1, 5, False), (2, 5, False), (5, 5, False), (3, 5, True)]
)
def test_kappa_is_the_variance_of_an_enumerated_batch_mean(batch_size, n, replacement):
    from itertools import combinations, product

    terms = np.random.default_rng(3).standard_normal(n)
    draw = product(range(n), repeat=batch_size) if replacement else combinations(range(n), batch_size)
    means = np.array([terms[list(batch)].mean() for batch in draw])
    got = theory.kappa(batch_size, n, replacement) * terms.var()
    assert abs(got - means.var()) < 1e-14, f"kappa C = {got} but all batches have variance {means.var()}"


@pytest.mark.parametrize("bad", [(0, 5), (6, 5), (1, 0), (1.5, 5)])
def test_kappa_refuses(bad):
    with pytest.raises(ValueError, match=r"batch_size|n is"):
        theory.kappa(*bad)


def test_kappa_of_one_term_is_zero():
    factors = theory.kappa(1, 1), theory.kappa(4, 1, replacement=True)
    assert factors == (0, 0), f"one term has no covariance, got {factors}"


@pytest.mark.parametrize("curvature", [-1.0, -1e-9, 0.0, 0.7, 10.0, 20.0, 25.0])  # lr = .1: a = 0 at 10, -1 at 20
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_mean_square_is_its_own_recursion(curvature, start):
    a, moment, moments = 1 - 0.1 * curvature, start**2, []
    for _ in range(60):
        moments.append(moment)
        moment = a * a * moment + (0.1 * 0.2) ** 2
    got = theory.mean_square(np.arange(60), 0.1, curvature, 0.2, start)
    worst = np.max(np.abs(got - moments) / np.maximum(moments, 1e-12))
    assert worst < 1e-12, f"curvature {curvature}: closed form off the recursion by {worst:.2g}"


def test_mean_square_of_nearly_flat_direction_is_linear_then_exact():
    # a^2t - 1 formed directly loses ten digits here; t s0^2 (1 + (t - 1) lam lr) is the expansion
    got = theory.mean_square(100, 0.1, -1e-8, 0.2)
    close(got, 100 * 0.02**2 * (1 + 99 * 1e-9), 1e-13, "nearly flat")


def test_total_mean_square_is_a_sum_and_reaches_the_stable_floor():
    curvatures, noises = np.array([-0.5, 0.4, 2.0]), np.array([0.1, 0.2, 0.3])
    got = theory.total_mean_square([0, 7, 500], 0.1, curvatures, noises, [0.0, 1.0, 2.0])
    parts = [theory.mean_square(np.array([0, 7, 500]), 0.1, curvatures[i], noises[i], float(i)) for i in range(3)]
    close(got, np.sum(parts, 0), 1e-14, "sum over directions")
    floor = theory.mean_square(5000, 0.1, 0.4, 0.2)
    close(floor, 0.1 * 0.2**2 / (0.4 * (2 - 0.1 * 0.4)), 1e-12, "stationary variance of a stable direction")


def test_local_growth_rate_is_the_derivative_and_tends_to_the_growth_rate():
    step, h = np.array([1.0, 5.0, 20.0, 60.0]), 1e-4
    for curvature in (-1.0, 0.0, 0.5):
        moments = [theory.mean_square(step + side, 0.1, curvature, 0.01, 0.002) for side in (-h, h)]
        numeric = (np.log(moments[1]) - np.log(moments[0])) / (2 * h)
        close(theory.local_growth_rate(step, 0.1, curvature, 0.01, 0.002), numeric, 1e-6, f"slope at {curvature}")
    rate = theory.growth_rate(0.1, -1.0)
    close(theory.local_growth_rate(1e5, 0.1, -1.0, 0.01), rate, 1e-12, "late slope, where the moment overflows")
    close(rate, 2 * np.log(theory.growth_factor(0.1, -1.0)), 1e-14, "2 ln a")


def test_growth_window_is_clean_at_both_ends():
    first, last = theory.growth_window(**SETTING, radius=1.0)
    slopes = theory.local_growth_rate(np.array([first, last]), **SETTING) / theory.growth_rate(0.1, -1.0)
    assert np.all(np.abs(slopes - 1) < 0.025), f"slopes at the window's ends are {slopes} of 2 ln a"
    s = theory.kick_std(**SETTING)
    assert 1.1**last * s <= 0.1 < 1.1 ** (last + 1) * s, f"step {last} is not the last with a^t s below radius/10"
    with pytest.raises(ValueError, match="no clean exponential window"):
        theory.growth_window(0.1, -1.0, 0.1, 1.0)


def test_mean_exit_step_known_values():
    close(theory.mean_exit_step(**SETTING, radius=1.0), 71.4537, 1e-5, "lr .1")
    close(theory.exit_step_variance(0.1, -1.0), 135.893, 1e-5, "variance at lr .1")
    close(theory.mean_exit_step(0.3, -1.0, 0.01, 1.0), 24.3554, 1e-5, "lr .3")
    close(theory.mean_exit_step(**SETTING, radius=1.0, directions=20), 49.3403, 1e-5, "20 directions")
    close(theory.exit_side_probability(**SETTING, start=0.7 * theory.kick_std(**SETTING)), 0.758036, 1e-6, "side")


@pytest.mark.parametrize(("start", "directions"), [(0.0, 1), (0.0, 3), (0.0, 20), (0.004, 1), (-0.01, 1), (0.006, 5)])
def test_moments_quantiles_and_survival_are_one_law(start, directions):
    # a sum over the lattice against the closed forms; the +1/2 and +1/12 are in the difference
    alive = theory.survival(np.arange(2000), **SETTING, radius=1.0, start=start, directions=directions)
    mean = theory.mean_exit_step(**SETTING, radius=1.0, start=start, directions=directions)
    close(mean, alive.sum(), 1e-5, f"mean exit step from {start}, {directions} directions")
    if start == 0:
        second = np.sum((2 * np.arange(2000) + 1) * alive)
        # at radius/s = 458 a chain outside at once has probability below 1e-300: only rounding remains
        close(theory.exit_step_variance(0.1, -1.0, directions), second - alive.sum() ** 2, 1e-8, "variance")
    q = np.array([0.01, 0.5, 0.99])
    at = theory.exit_quantile(q, **SETTING, radius=1.0, start=start, directions=directions)
    back = theory.survival(at, **SETTING, radius=1.0, start=start, directions=directions)
    close(back, 1 - q, 1e-9, "survival at a quantile")


@pytest.mark.parametrize(("start", "directions"), [(0.0, 1), (0.004, 1), (0.0, 4), (0.005, 4)])
def test_law_is_that_of_sampled_kicks(start, directions):
    kick = theory.kick_std(**SETTING) * np.random.default_rng(5).standard_normal((200_000, directions))
    kick[:, 0] += start
    step = np.ceil(np.log(1 / np.linalg.norm(kick, axis=1)) / np.log(1.1))
    mean = theory.mean_exit_step(**SETTING, radius=1.0, start=start, directions=directions)
    error = step.std() / np.sqrt(len(step))
    assert abs(step.mean() - mean) < 4 * error, f"sampled {step.mean():.3f} +- {error:.3f}, theory {mean:.3f}"
    expected = theory.survival(50, **SETTING, radius=1.0, start=start, directions=directions)
    share, error = np.mean(step > 50), np.sqrt(expected * (1 - expected) / len(step))
    assert abs(share - expected) < 4 * error, f"P(tau > 50) sampled {share:.4f} +- {error:.4f}, theory {expected:.4f}"


def test_tail_keeps_its_relative_accuracy():
    step, s = np.array([300.0, 2000.0, 5000.0]), theory.kick_std(**SETTING)
    tail = np.sqrt(2 / np.pi) / s * np.exp(-step * theory.exit_tail_rate(0.1, -1.0))
    close(theory.survival(step, **SETTING, radius=1.0), tail, 1e-12, "tail from the saddle")
    shifted = theory.survival(step, **SETTING, radius=1.0, start=3 * s)
    close(shifted, tail * np.exp(-4.5), 1e-12, "tail from 3 s away")
    # both branches of the same law where they meet
    near = np.log(3e8 / s) / np.log(1.1) + np.array([-1.0, 1.0])
    jump = theory.survival(near, **SETTING, radius=1.0, start=3 * s, directions=3)
    close(jump[0] / jump[1], 1.1**6, 1e-12, "ratio across the switch to the tail")


def test_median_from_the_saddle():
    s = theory.kick_std(**SETTING)
    want = np.log(1 / (stats.norm.ppf(0.75) * s)) / np.log(1.1)
    close(theory.exit_quantile(0.5, **SETTING, radius=1.0), want, 1e-13, "median")


def test_far_start_agrees_with_batch_gd():
    # noise a millionth of the distance: the law's mean, less the half step of rounding up, is GD's continuous time
    got = theory.mean_exit_step(0.1, -1.0, 1e-8, 1.0, start=1e-2) - 0.5
    close(got, np.log(100) / np.log(1.1), 1e-9, "E ln|Z| for |start| >> s")


@pytest.mark.parametrize("radius_over_s", [15.0, 60.0, 240.0])
def test_law_against_the_exact_chain(radius_over_s):
    # the error of the law is second order: the chain crosses radius before all its noise has come, and the part
    # still to come has mean zero
    s = theory.kick_std(0.1, -1.0, 1.0)
    noise = 1 / (radius_over_s * s)
    chain = theory.GaussianChain(lambda x: 1.1 * x, 0.1 * noise, -1.0, 1.0)
    exact = chain.exit_survival(400, 0.0, -1.0, 1.0)
    law = theory.survival(np.arange(401), 0.1, -1.0, noise, 1.0)
    worst = np.abs(exact - law).max()
    assert worst < radius_over_s**-2, f"law off the exact chain by {worst:.2e}, allowed (s/radius)^2"
    mean, exact_mean = theory.mean_exit_step(0.1, -1.0, noise, 1.0), chain.mean_exit_step(0.0, -1.0, 1.0)
    close(mean, exact_mean, 1e-3, "mean against the exact chain, promised good to 0.1% from radius/s = 15")


def test_gd_exit_step_is_the_first_step_outside():
    starts = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 200), 1.25 ** -np.arange(1.0, 30), [1.0, -2.0]])
    for curvature in (-2.5, 18.0):  # a = 1.25 exactly representable, hence ties; a = -0.8
        got = theory.gd_exit_step(0.1, curvature, 1.0, starts)
        for start, step in zip(starts, got, strict=True):
            count = 0
            while abs(1 - 0.1 * curvature) ** count * abs(start) < 1 and count < 200:
                count += 1
            want = np.inf if count == 200 else count
            assert step == want, f"curvature {curvature}, start {start!r}: got {step}, iteration says {want}"
    assert theory.gd_exit_step(0.1, -1.0, 1.0, 0.0) == np.inf, "GD on the saddle never leaves"
    assert theory.gd_exit_step(0.1, 25.0, 1.0, 0.5) == 2, "a = -1.5 overshoots out of 0.5 in two steps"


def test_rounding_exit_step_known_values():
    close(theory.rounding_exit_step(0.1, -1.0, 1.0), 385.4, 1e-3, "float64")
    close(theory.rounding_exit_step(0.1, -1.0, 1.0, 2.0**-24), 174.5, 1e-3, "float32")


def test_regime_speaks_only_when_it_should():
    assert theory.regime(**SETTING, radius=1.0) == (), "a textbook setting must have no caveat"
    assert "below 15" in theory.regime(0.1, -1.0, 1.0, 1.0)[0]
    assert "0.3" in theory.regime(0.5, -1.0, 0.01, 1.0)[0]
    assert "no exponential escape" in theory.regime(0.1, 1.0, 0.01, 1.0)[0]
    assert "no noise" in theory.regime(0.1, -1.0, 0.0, 1.0)[0]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.kick_std(0.1, 1.0, 0.1), "curvature"),
        (lambda: theory.kick_std(0.0, -1.0, 0.1), "lr"),
        (lambda: theory.mean_square(-1, 0.1, -1.0, 0.1), "step"),
        (lambda: theory.mean_square(1, 0.1, -1.0, -0.1), "noise"),
        (lambda: theory.survival(1, 0.1, -1.0, 0.1, 1.0, start=2.0), "start"),
        (lambda: theory.exit_quantile(1.0, 0.1, -1.0, 0.1, 1.0), "q is"),
        (lambda: theory.total_mean_square(1, 0.1, [1.0, 2.0], [1.0]), "curvatures"),
        (lambda: theory.growth_rate(np.nan, -1.0), "finite"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
