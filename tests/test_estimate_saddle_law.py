"""The fitted exit law of a saddle: against enumeration of its likelihood, and intervals that cover."""

import numpy as np
import pytest
from scipy import optimize, special, stats

from escape.estimate import saddle_exit_law


def draw(rng, chains, ratio=100.0, a=1.1, k=1, horizon=10**9):
    length = np.sqrt(rng.chisquare(k, chains))
    step = np.ceil(np.log(ratio / length) / np.log(a)).clip(0).astype(int)
    return np.minimum(step, horizon), (step <= horizon).astype(int)


def true_mean(ratio, a, k):
    """E tau as the sum of P(tau > t) = P(|N| < ratio a^-t)."""
    t = np.arange(20_000)
    return stats.chi.cdf(ratio * np.exp(-t * np.log(a)), k).sum()


def likelihood(step, status, ratio, rate, k):
    """Log-likelihood chain by chain, from the chi law of scipy."""
    later, before = (stats.chi.cdf(ratio * np.exp(-rate * t), k) for t in (step, step - 1))
    before = np.where(step == 0, 1.0, before)
    return np.log(np.where(status == 1, before - later, later)).sum()


@pytest.mark.parametrize(("k", "horizon"), [(1, 10**9), (1, 50), (3, 45)])
def test_values_and_profile_ends_by_another_likelihood(k, horizon):
    step, status = draw(np.random.default_rng(k), 300, k=k, horizon=horizon)
    found = saddle_exit_law(step, status, directions=k)
    best = [np.log(found.kick_ratio.value), np.log(found.growth_factor.value)]

    def cost(x):
        return -likelihood(step, status, np.exp(x[0]), x[1], k)

    free = optimize.minimize(cost, [np.log(60), 0.08], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9})
    np.testing.assert_allclose(best, free.x, rtol=2e-4)
    rise = stats.t.ppf(0.975, status.sum() - 1) ** 2 / 2
    for end in found.growth_factor[1:3]:
        held = optimize.minimize_scalar(lambda x, e=end: cost([x, np.log(e)]), bracket=(best[0], best[0] + 0.1)).fun
        assert held - free.fun == pytest.approx(rise, rel=5e-3)
    for end in found.kick_ratio[1:3]:
        held = optimize.minimize_scalar(lambda x, e=end: cost([np.log(e), x]), bracket=(best[1], best[1] * 1.05)).fun
        assert held - free.fun == pytest.approx(rise, rel=5e-3)
    assert found.mean_exit_step.value == pytest.approx(true_mean(*np.exp(best), k), abs=1e-3)
    assert found.reliable


@pytest.mark.parametrize(
    ("chains", "k", "horizon", "known"),
    [(20, 1, 10**9, None), (60, 1, 53, None), (40, 2, 10**9, None), (30, 1, 53, 1.1)],
)
def test_intervals_cover(chains, k, horizon, known):
    repeats = 25
    rng = np.random.default_rng(chains)
    truth = {"growth_factor": 1.1, "kick_ratio": 100.0, "mean_exit_step": true_mean(100.0, 1.1, k)}
    found = [
        saddle_exit_law(*draw(rng, chains, k=k, horizon=horizon), directions=k, growth_factor=known)
        for _ in range(repeats)
    ]
    for name, value in truth.items():
        estimates = [getattr(one, name) for one in found]
        hits = sum(e.low <= value <= e.high for e in estimates)
        assert hits >= 18, f"{name} covered by {hits} of {repeats}"  # fewer than 18 of Binomial(25, 0.95): 2e-5


def test_mean_is_seen_beyond_the_horizon():
    step, status = draw(np.random.default_rng(6), 4000, horizon=48)
    assert 0.2 < status.mean() < 0.4
    found = saddle_exit_law(step, status)
    error = (found.mean_exit_step.high - found.mean_exit_step.low) / 4
    assert abs(found.mean_exit_step.value - true_mean(100.0, 1.1, 1)) < 4 * error
    assert found.mean_exit_step.value > 53 > step.mean()


def test_p_value_is_that_of_chance_where_the_law_holds():
    rng = np.random.default_rng(7)
    for horizon in (10**9, 50):
        p = [saddle_exit_law(*draw(rng, 150, horizon=horizon), growth_factor=1.1).p_value for _ in range(60)]
        assert stats.kstest(p, "uniform").pvalue > 1e-4


def test_other_laws_do_not_fit():
    rng = np.random.default_rng(8)
    for step in (rng.geometric(0.01, 1000), rng.poisson(50, 1000)):
        found = saddle_exit_law(step)
        assert found.p_value < 1e-3
        assert not found.mean_exit_step.reliable
        assert "does not fit" in found.reason
    step, status = draw(rng, 1000)
    assert "does not fit" in saddle_exit_law(step, status, growth_factor=1.2).reason


def test_it_is_a_law_to_call():
    step, status = draw(np.random.default_rng(9), 2000, k=2)
    found = saddle_exit_law(step, status, directions=2)
    t = np.arange(0, 200)
    np.testing.assert_allclose(found(t), (step[:, None] > t).mean(axis=0), atol=0.04)
    expected = stats.chi.cdf(found.kick_ratio.value * found.growth_factor.value**-30.0, 2)
    assert found(30.5) == found(30) == pytest.approx(expected)


def test_known_growth_is_taken_and_has_no_width():
    step, status = draw(np.random.default_rng(10), 50)
    found = saddle_exit_law(step, status, growth_factor=1.1)
    assert found.growth_factor[:3] == pytest.approx((1.1, 1.1, 1.1))
    shift = found.mean_exit_step.value - (np.log(found.kick_ratio.value) - special.digamma(0.5) / 2 - np.log(2) / 2) / (
        np.log(1.1)
    )
    assert shift == pytest.approx(0.5)


def test_what_is_wrong_is_said():
    nothing = saddle_exit_law([60] * 20, [0] * 20)
    assert np.isnan(nothing.mean_exit_step[:3]).all()
    assert "0 exits, at 0 steps, do not determine the law" in nothing.reason
    assert "2 steps, do not determine" in saddle_exit_law([7] * 10 + [8] * 10).reason
    rng = np.random.default_rng(11)
    assert "only 6 exits" in saddle_exit_law(*draw(rng, 6)).reason
    assert "below 5" in saddle_exit_law(*draw(rng, 500, ratio=2.0, a=1.05)).reason
    assert "above 0.7" in saddle_exit_law(*draw(rng, 500, ratio=1e4, a=2.5)).reason
    step, status = draw(rng, 100)
    status[3] = 2
    assert "1 of 100 chains diverged" in saddle_exit_law(step, status).mean_exit_step.reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": 0}, "directions is 0"),
        ({"directions": 1.5}, "directions is 1.5"),
        ({"growth_factor": 1.0}, "growth_factor is 1.0"),
        ({"level": 95}, "level is 95"),
        ({"status": [1]}, "agree"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        saddle_exit_law([1, 2, 5], **options)


@pytest.mark.parametrize("step", [10**15 + np.arange(200), 2**40 * np.arange(1, 200)])
def test_steps_too_large_to_fit_are_disowned_without_an_error(step):
    found = saddle_exit_law(step)
    assert not found.reliable
    assert found.reason
