"""Learning rates that change, and chains that have not left yet, against exact first passage by quadrature."""

import numpy as np
import pytest
from scipy import special, stats

from escape import theory

RADIUS, NOISE = 1.0, 0.2
CYCLE = np.where(np.arange(100) % 10 < 5, 0.15, 0.05)  # s is about R/22
WARM_UP = np.linspace(0.06, 0.2, 80)


def first_passage(lrs, noise=NOISE, start=0.0):
    """P(tau > t) and E[x_t^2 | tau > t] of the chain of curvature -1: one integral over (-R, R) after the other."""
    nodes, weights = np.polynomial.legendre.leggauss(320)
    x, weights = RADIUS * nodes, RADIUS * weights
    step = stats.norm((1 + lrs[0]) * start, lrs[0] * noise)
    density = step.pdf(x)
    found = []
    for lr in lrs[1:]:
        found.append((weights @ density, (weights * x**2) @ density / (weights @ density)))
        z = (x[:, None] - (1 + lr) * x) / (lr * noise)
        density = np.exp(-(z**2) / 2) @ (weights * density) / (lr * noise * np.sqrt(2 * np.pi))
    return np.array(found).T


@pytest.mark.parametrize("curvature", [-1.0, 0.0, 5.0, 25.0])
def test_mean_square_of_a_schedule_is_a_sum_over_kicks(curvature):
    rng = np.random.default_rng(0)
    lrs, noise = rng.uniform(0.01, 0.3, 40), rng.uniform(0, 2, 40)
    got = theory.mean_square_schedule(lrs, curvature, noise, 0.3)
    for t in (0, 1, 7, 40):
        products = [np.prod(1 - lrs[k:t] * curvature) for k in range(t + 1)]
        want = (0.3 * products[0]) ** 2 + np.sum((np.array(products[1:]) * lrs[:t] * noise[:t]) ** 2)
        assert abs(got[t] / want - 1) < 1e-12, f"step {t}: {got[t]}, sum over kicks {want}"


def test_a_constant_schedule_is_no_schedule():
    lrs = np.full(300, 0.1)
    got = theory.mean_square_schedule(lrs, -1.0, 0.01, 0.002)
    assert np.allclose(got, theory.mean_square(np.arange(301), 0.1, -1.0, 0.01, 0.002), rtol=1e-12)
    alive = theory.survival_schedule(lrs, -1.0, 0.01, 1.0, 0.002)
    law = theory.survival(np.arange(301), 0.1, -1.0, 0.01, 1.0, 0.002)
    s = theory.kick_std(0.1, -1.0, 0.01)
    assert np.abs(alive - law).max() < s**2, "two laws that agree to (s/radius)^2"
    assert np.allclose(alive[250:], law[250:], rtol=1e-9), "and better in the tail"
    mean = theory.mean_exit_step_schedule(lrs, -1.0, 0.01, 1.0, 0.002)
    assert abs(mean - theory.mean_exit_step(0.1, -1.0, 0.01, 1.0, 0.002)) < 1e-3
    quantiles = theory.exit_quantile_schedule([0.1, 0.5, 0.9], lrs, -1.0, 0.01, 1.0, 0.002)
    assert np.array_equal(quantiles, np.ceil(theory.exit_quantile([0.1, 0.5, 0.9], 0.1, -1.0, 0.01, 1.0, 0.002)))


@pytest.mark.parametrize("lrs", [CYCLE, WARM_UP], ids=["cycle", "warm-up"])
@pytest.mark.parametrize("start", [0.0, 0.05])
def test_survival_of_a_schedule_against_first_passage(lrs, start):
    exact, _ = first_passage(lrs, start=start)
    assert exact[0] == pytest.approx(1, abs=1e-9), "the quadrature must resolve the first kick"
    law = theory.survival_schedule(lrs, -1.0, NOISE, RADIUS, start)
    worst = np.abs(exact - law[1:-1]).max()
    # to come back from outside takes a kick against a drift of lr R, five standard deviations of it
    assert worst < special.ndtr(-5), f"law off first passage by {worst:.2e}"
    median = theory.exit_quantile_schedule(0.5, lrs, -1.0, NOISE, RADIUS, start)
    assert law[int(median)] <= 0.5 < law[int(median) - 1], f"median {median}"
    assert theory.exit_quantile_schedule(0.999, lrs[:20], -1.0, NOISE, RADIUS, start) == np.inf


def test_a_larger_batch_later_on_is_less_noise():
    noise = np.where(np.arange(100) < 10, NOISE, NOISE / 4)
    law = theory.survival_schedule(CYCLE, -1.0, noise, RADIUS)
    want = 1 - 2 * special.ndtr(-RADIUS / np.sqrt(theory.mean_square_schedule(CYCLE, -1.0, noise)[60]))
    assert abs(law[60] - want) < 1e-12, f"P(tau > 60) {law[60]}, by hand {want}"


def test_a_schedule_without_noise_is_descent():
    alive = theory.survival_schedule(np.full(100, 0.1), -1.0, 0.0, 1.0, 0.003)
    assert np.array_equal(alive == 1, np.arange(101) < theory.gd_exit_step(0.1, -1.0, 1.0, 0.003))
    assert set(alive) == {0.0, 1.0}
    assert theory.survival_schedule(np.full(9, 0.1), -1.0, 0.0, 1.0).min() == 1, "on the saddle for ever"


@pytest.mark.parametrize(("mu", "offset"), [(0.5, 3.0), (1.5, 1.0), (2.0, 40.0)])
def test_decay_in_closed_form_is_the_schedule(mu, offset):
    lrs = mu / (np.arange(1_500_000) + offset)
    kick = np.sqrt(np.sum((lrs * np.exp(-np.cumsum(np.log1p(lrs)))) ** 2))
    assert abs(theory.decay_kick_std(mu, offset, -1.0, 1.0) / kick - 1) < 1e-9, f"s: direct sum {kick}"
    for q, start in ((0.5, 0.0), (0.1, 0.001), (0.7, 0.0)):
        step = theory.decay_exit_quantile(q, mu, offset, -1.0, 0.01, 0.3, start)
        counted = theory.exit_quantile_schedule(q, lrs, -1.0, 0.01, 0.3, start)
        assert np.ceil(step) == counted, f"quantile {step}, counted along the schedule {counted}"
    moments = theory.mean_square_schedule(lrs[:200_000], -1.0, 0.01)
    shift = offset + (mu - 1) / 2
    slope = np.log(moments[200_000] / moments[100_000]) / np.log((200_000 + shift) / (100_000 + shift))
    assert abs(slope - theory.decay_growth_exponent(mu, -1.0)) < 1e-6, f"slope {slope}, 2 mu = {2 * mu}"


def test_decay_of_unit_exponent_in_closed_form():
    # mu = offset = 1: A_t = t + 1 and s^2 = sum 1/(n (n + 1))^2 = pi^2/3 - 3
    assert theory.decay_kick_std(1.0, 1.0, -1.0, 1.0) == pytest.approx(np.sqrt(np.pi**2 / 3 - 3), rel=1e-12)
    z = stats.norm.ppf(0.75) * np.sqrt(np.pi**2 / 3 - 3) * 0.01
    assert theory.decay_exit_quantile(0.5, 1.0, 1.0, -1.0, 0.01, 1.0) == pytest.approx(1 / z - 1, rel=1e-12)
    # ten times less noise at mu = 1/2 takes 10^(1/mu) times as many steps
    ratio = theory.decay_exit_quantile(0.5, 0.5, 1.0, -1.0, 1e-5, 1.0)
    ratio /= theory.decay_exit_quantile(0.5, 0.5, 1.0, -1.0, 1e-4, 1.0)
    assert abs(ratio / 100 - 1) < 1e-6, f"ten times less noise: {ratio} times the steps"


@pytest.mark.parametrize("start", [0.0, 0.05, -0.1])
def test_mean_square_of_the_survivors_against_first_passage(start):
    lrs = np.full(80, 0.1)
    exact = first_passage(lrs, start=start)[1]
    got = theory.survivor_mean_square(np.arange(1, 80), 0.1, -1.0, NOISE, RADIUS, start)
    worst = np.max(np.abs(got / exact - 1))
    # as above, and survivors are few in the end
    assert worst < 100 * special.ndtr(-5), f"survivors off first passage by {worst:.2e}"


def test_survivors_early_and_late():
    step = np.array([0, 1, 10, 3000, 100_000])
    got = theory.survivor_mean_square(step, 0.1, -1.0, 0.01, 2.0, 0.003)
    free = theory.mean_square(step[:3], 0.1, -1.0, 0.01, 0.003)
    assert np.allclose(got[:3], free, rtol=1e-12), f"before the first exit {got[:3]}, free chains {free}"
    assert np.allclose(got[3:], 4 / 3, rtol=1e-12), f"late {got[3:]}, R^2/3 is {4 / 3}"
    middle, v = theory.survivor_mean_square(60, 0.1, -1.0, 0.01, 1.0), theory.mean_square(60, 0.1, -1.0, 0.01)
    u = 1 / np.sqrt(v)
    want = v * (1 - 2 * u * stats.norm.pdf(u) / (1 - 2 * stats.norm.sf(u)))
    assert abs(middle / want - 1) < 1e-12, f"truncated normal {want}, got {middle}"
    fast = theory.survivor_mean_square(3000, 0.1, -1.0, 0.01, 2.0, 0.003, momentum=0.9, nesterov=True)
    assert abs(fast - 4 / 3) < 1e-12, f"late with momentum {fast}"


@pytest.mark.parametrize("start_over_s", [5.0, 20.0])
def test_survivors_of_a_start_far_out_are_pressed_against_the_exit(start_over_s):
    # restricted normal by scipy, which is exact where it does not underflow
    s = theory.kick_std(0.1, -1.0, 0.01)
    start, step = start_over_s * s, 60
    mean, std = 1.1**step * start, np.sqrt(theory.mean_square(step, 0.1, -1.0, 0.01))
    law = stats.truncnorm((-1 - mean) / std, (1 - mean) / std, mean, std)
    got = theory.survivor_mean_square(step, 0.1, -1.0, 0.01, 1.0, start)
    want = law.mean() ** 2 + law.var()
    assert abs(got / want - 1) < 1e-6, f"got {got}, scipy {want}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.mean_square_schedule([], -1.0, 0.1), "lrs"),
        (lambda: theory.mean_square_schedule([0.1, 0.0], -1.0, 0.1), "lrs"),
        (lambda: theory.mean_square_schedule([0.1, 0.1], -1.0, [0.1]), "noise"),
        (lambda: theory.survival_schedule([0.1], 1.0, 0.1, 1.0), "curvature"),
        (lambda: theory.survival_schedule([0.1], -1.0, -0.1, 1.0), "noise"),
        (lambda: theory.survival_schedule([0.1], -1.0, 0.1, 1.0, 2.0), "start"),
        (lambda: theory.exit_quantile_schedule(1.0, [0.1], -1.0, 0.1, 1.0), "q is"),
        (lambda: theory.decay_kick_std(1.0, 0.0, -1.0, 0.1), "offset"),
        (lambda: theory.decay_exit_quantile(0.5, 1.0, 1.0, -1.0, 0.1, 1.0, 1.0), "start"),
        (lambda: theory.decay_growth_exponent(1.0, 1.0), "curvature"),
        (lambda: theory.survivor_mean_square(1, 0.1, -1.0, 0.1, 1.0, 1.0), "start"),
        (lambda: theory.survivor_mean_square(1, 0.1, -1.0, 0.0, 1.0), "noise"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
