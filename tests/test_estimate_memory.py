"""Whether exits have a memory: false alarms as rare as stated, and memories of many shapes found."""

import numpy as np
import pytest
from scipy import stats

from escape.estimate import exponential_mean_exit_step, exponentiality


def memoryless(seed, shape, mean, horizon=10**9):
    step = np.random.default_rng(seed).geometric(1 / mean, shape)
    return np.minimum(step, horizon), (step <= horizon).astype(int)


def saddle(rng, chains):
    return np.ceil(np.log(100 / np.abs(rng.standard_normal(chains))) / np.log(1.1)).clip(0).astype(int)


def from_rates(rng, rates, chains):
    """Exit steps with these chances of leaving at steps 1, 2, ..., censored after the last."""
    stay = np.cumprod(1 - rates)
    step = np.searchsorted(-stay, -rng.random(chains)) + 1
    return np.minimum(step, len(rates)), (step <= len(rates)).astype(int)


@pytest.mark.parametrize(
    ("mean", "horizon", "chains"),
    [(100, 10**9, 200), (100, 10**9, 12), (100, 5, 400), (100, 50, 40), (2, 10**9, 300), (2, 10**9, 20), (2, 3, 100)],
)
def test_p_values_are_those_of_chi_square(mean, horizon, chains):
    step, status = memoryless(3, (400, chains), mean, horizon)
    p = np.array([exponentiality(*row).p_value for row in zip(step, status, strict=True)])
    p = p[np.isfinite(p)]
    assert len(p) > 300
    for level in (0.05, 0.3):  # four standard errors, and a sixth of the level for steps that are few
        assert abs((p <= level).mean() - level) < 4 * np.sqrt(level / len(p)) + level / 6
    assert (p <= 1e-3).sum() <= 6  # Poisson(0.4) exceeds it with 2e-7; twice the rate, Poisson(0.8), with 2e-5


def test_statistic_by_an_independent_route():
    # Mean 1000: a step is as good as nothing, and the polynomials are Legendre's in the time on test up to each exit.
    step = np.random.default_rng(1).geometric(1e-3, 500)
    ordered = np.sort(step)
    # Up to the middle of the step of each exit, at which those with an exit no earlier are there.
    on_test = np.array([np.minimum(ordered, t).sum() - (ordered >= t).sum() / 2 for t in ordered]) / ordered.sum()
    place, b = on_test[:-1], []
    for k in range(1, 5):
        b.append(np.sqrt(2 * k + 1) * legendre(k, 2 * place - 1).sum() / np.sqrt(499))
    found = exponentiality(step)
    np.testing.assert_allclose(found.components, b, atol=0.004)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 4))


def legendre(k, x):
    return np.polynomial.legendre.Legendre.basis(k)(x)


RATES = {
    "rises": 0.006 + 0.008 * np.arange(150) / 150,
    "falls": 0.014 - 0.008 * np.arange(150) / 150,
    "a hump": 0.005 + 0.01 * np.exp(-(((np.arange(150) - 60) / 20) ** 2)),
    "a bath": 0.015 - 0.01 * np.exp(-(((np.arange(150) - 60) / 20) ** 2)),
    "a delay": np.where(np.arange(300) < 15, 0.0, 0.01),
}


@pytest.mark.parametrize("name", RATES)
def test_rates_that_change_are_found_and_get_no_interval(name):
    rng = np.random.default_rng(2)
    for _ in range(10):
        step, status = from_rates(rng, RATES[name], 1500)
        assert exponentiality(step, status).p_value < 1e-3
        estimate = exponential_mean_exit_step(step, status)
        assert np.isnan([estimate.low, estimate.high]).all()
        assert not estimate.reliable
        assert "use restricted_mean_exit_step or survival" in estimate.reason


def test_a_saddle_and_a_burn_in_are_refused():
    rng = np.random.default_rng(4)
    for _ in range(10):
        for exits in (saddle(rng, 1000), 10 + rng.geometric(0.01, 1000)):
            assert "rises" in exponential_mean_exit_step(exits).reason
        assert exponentiality(saddle(rng, 50)).p_value < 1e-3
        # Only the first quarter seen, in which a saddle's exits come all at the end.
        early = saddle(rng, 4000)
        assert exponentiality(np.minimum(early, 48), early <= 48).p_value < 1e-3


def test_many_steps_are_taken_together():
    # 100 steps at a time: exits without memory stay so, and the statistic is that of the coarser steps.
    rng = np.random.default_rng(5)
    step = rng.geometric(1 / 200_000, 300)
    horizon = 1_000_000
    cut, left = np.minimum(step, horizon), step <= horizon
    found = exponentiality(cut, left)
    together = -(-horizon // 2**14)
    whole = horizon // together
    coarse = -(-step // together)
    assert found.statistic == exponentiality(np.minimum(coarse, whole), coarse <= whole).statistic
    assert found.p_value > 1e-3
    assert exponentiality(50_000 + step).p_value < 1e-3


def test_what_cannot_be_tested_is_said_and_keeps_its_interval():
    for step, status in (([5, 9, 30, 40], None), ([1] * 30, [1] * 15 + [0] * 15), ([1] * 20, None)):
        found, estimate = exponentiality(step, status), exponential_mean_exit_step(step, status)
        assert np.isnan([found.statistic, found.p_value]).all()
        assert "cannot be tested for a memory" in found.reason
        assert "the interval supposes none" in estimate.reason
        assert np.isfinite([estimate.low, estimate.high]).all()
    assert exponentiality([0, 4, 4, 7, 9, 12, 20]).p_value == 0
    assert np.isnan(exponentiality([0, 0], [0, 0]).p_value)
