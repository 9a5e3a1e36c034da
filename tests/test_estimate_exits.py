"""Mean, variance and memory of the escape step: right where every chain left, honest where some never did."""

import numpy as np
import pytest
import xarray
from scipy import stats

from escape.estimate import exit_step_variance, exponential_mean_exit_step, mean_exit_step, restricted_mean_exit_step

MEAN, HORIZON = 100, 50
LOG_GROWTH = np.log(1.1)


def memoryless(seed, shape, horizon=None, mean=MEAN):
    """Return exit steps of chance 1/mean at every step, and their status, cut at the horizon."""
    step = np.random.default_rng(seed).geometric(1 / mean, shape)
    if horizon is None:
        return step, np.ones_like(step)
    return np.minimum(step, horizon), (step <= horizon).astype(int)


def saddle(seed, shape):
    """Return exit steps from a linear saddle: ceil(ln(100/|N|)/ln 1.1)."""
    kick = np.abs(np.random.default_rng(seed).standard_normal(shape))
    return np.ceil(np.log(100 / kick) / LOG_GROWTH).clip(0).astype(int)


def within(hits, level, repeats):
    """Whether a coverage lies within 4 standard errors of its level: a false alarm in 16,000 seeds."""
    error = np.sqrt(level * (1 - level) / repeats)
    assert abs(hits - level) < 4 * error, f"covered {hits:.4f}, promised {level} +- {error:.4f}"


def covered(estimates, truth):
    return np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])


def test_mean_covers():
    draws, _ = memoryless(0, (1000, 400))
    within(covered([mean_exit_step(row) for row in draws], MEAN), 0.95, 1000)


def test_mean_and_variance_of_the_saddle_cover():
    # Mean [ln 100 + (gamma + ln 2)/2]/ln a + 1/2 and variance pi^2/(8 ln^2 a) + 1/12, the lattice as good as uniform.
    draws = saddle(1, (1000, 1000))
    mean = (np.log(100) + (np.euler_gamma + np.log(2)) / 2) / LOG_GROWTH + 0.5
    within(covered([mean_exit_step(row) for row in draws], mean), 0.95, 1000)
    variance = np.pi**2 / (8 * LOG_GROWTH**2) + 1 / 12
    within(covered([exit_step_variance(row) for row in draws], variance), 0.95, 1000)


def test_by_hand():
    assert mean_exit_step([1, 2, 6]).value == 3
    # Deviations -2, -1, 3: skewness 6/(14/3)^(3/2). The ends solve Hall's cubic; Student's quantile is 4.302653.
    skew = 6 / (14 / 3) ** 1.5
    found = mean_exit_step([11, 12, 16])
    for end, goal in ((found.low, 4.302653), (found.high, -4.302653)):
        z = (13 - end) / np.sqrt(7)
        assert z + skew * z**2 / 3 + skew**2 * z**3 / 27 + skew / 18 == pytest.approx(goal / np.sqrt(3), rel=1e-6)
    assert exit_step_variance([1, 2, 6, 7]).value == pytest.approx(26 / 3)
    assert exponential_mean_exit_step([1, 2, 6, 9], [1, 0, 1, 0]).value == 9
    # s^2 = 4/3, m_2 = m_4 = 1, so the squared error of s^2 is (1 - 1/3)/4; Student's 97.5% with 3 degrees is 3.182446.
    two_points = exit_step_variance([1, 1, 3, 3])
    assert np.log(two_points.high / two_points.value) == pytest.approx(3.182446 * np.sqrt(1 / 6) * 3 / 4, rel=1e-6)


@pytest.mark.parametrize("mean", [2, 100])
@pytest.mark.parametrize("chains", [20, 60])
def test_skewed_means_cover_with_few_chains(mean, chains):
    draws, _ = memoryless([11, mean, chains], (1000, chains), mean=mean)
    # The correction leaves up to a hundredth; Student's interval alone covers 0.91 with 20 chains.
    hits = covered([mean_exit_step(row) for row in draws], mean)
    assert abs(hits - 0.945) < 0.005 + 4 * np.sqrt(0.95 * 0.05 / 1000)
    assert hits > np.mean([abs(r.mean() - mean) < 1.96 * r.std(ddof=1) / np.sqrt(chains) for r in draws])


def test_variance_of_few_chains_is_disowned():
    assert "20 chains: the interval is too short, give 200" in exit_step_variance(saddle(12, 20)).reason
    assert not exit_step_variance(saddle(12, 199)).reliable
    assert exit_step_variance(saddle(12, 200)).reliable


def test_variance_of_two_steps_is_uncertain():
    # (c-3)/(c-1) m_2^2 against m_4 = m_2^2: of s^2 = 1/4 * 200/199 the relative error is sqrt(2/199) / sqrt(200).
    found = exit_step_variance([1, 2] * 100)
    assert np.log(found.high / found.value) == pytest.approx(1.971957 * np.sqrt(2 / 199 / 200) * 199 / 200, rel=1e-3)
    assert found.low < 0.25 < found.high


def test_mean_of_few_chains_is_disowned_and_not_below_zero():
    found = mean_exit_step([5, 9])
    assert found.low == 0
    assert "2 chains: the interval is too short, give 10" in found.reason
    assert mean_exit_step(saddle(12, 10)).reliable


@pytest.mark.parametrize(("mean", "chains"), [(2, 20), (2, 200), (100, 20), (100, 200)])
def test_exponential_interval_is_exact_on_whole_steps(mean, chains):
    draws, _ = memoryless([13, mean, chains], (1000, chains), mean=mean)
    found = [exponential_mean_exit_step(row) for row in draws]
    within(covered([one for one in found if one.low == one.low], mean), 0.95, 1000)
    # Against the probability of as many, and as few, trials up to the last of all exits.
    one, total = found[0], int(draws[0].sum())
    assert stats.nbinom.cdf(total - chains, chains, 1 / one.high) == pytest.approx(0.025)
    assert stats.nbinom.sf(total - chains - 1, chains, 1 / one.low) == pytest.approx(0.025)


def test_exponential_interval_tends_to_chi_square():
    step, status = memoryless(14, 40, 20_000, mean=30_000)
    total, exits = step.sum(), status.sum()
    found = exponential_mean_exit_step(step, status)
    assert found.low == pytest.approx(2 * total / stats.chi2.ppf(0.975, 2 * exits + 2), rel=1e-3)
    assert found.high == pytest.approx(2 * total / stats.chi2.ppf(0.025, 2 * exits), rel=1e-3)


def test_the_mean_over_the_escaped_alone_is_in_no_number():
    step, status = memoryless(15, 4000, HORIZON)
    escaped = step[status == 1].mean()
    assert escaped < 25
    for function in (mean_exit_step, exponential_mean_exit_step, restricted_mean_exit_step):
        estimate = function(step, status=status)
        for number in estimate[:3]:
            assert abs(number - escaped) > 10
    found = exponential_mean_exit_step(step, status)
    assert found.low <= MEAN <= found.high
    assert found.reliable
    assert "lower bound" in mean_exit_step(step, status).reason


def test_exponential_mean_sees_past_the_horizon():
    step, status = memoryless(2, (1500, 300), HORIZON)
    found = [exponential_mean_exit_step(*row) for row in zip(step, status, strict=True)]
    within(covered(found, MEAN), 0.95, 1500)
    assert np.mean([estimate.reliable for estimate in found]) > 0.99
    # Averaging the escaped alone gives less than the horizon, a quarter of the truth.
    assert step[status == 1].mean() < 25


def test_restricted_mean_is_right_and_mean_says_it_is_a_lower_bound():
    step, status = memoryless(3, (600, 300), HORIZON)
    truth = MEAN * (1 - (1 - 1 / MEAN) ** HORIZON)  # sum of (1-p)^t over t < h
    found = [restricted_mean_exit_step(row, status=flags) for row, flags in zip(step, status, strict=True)]
    within(covered(found, truth), 0.95, 600)
    assert all(estimate.reliable for estimate in found)
    bound = mean_exit_step(step[0], status[0])
    count = (status[0] == 0).sum()
    assert bound.value == found[0].value
    assert bound.low == found[0].low
    assert bound.high == np.inf
    assert not bound.reliable
    assert bound.reason == (
        f"{count} of 300 chains censored at step 50: this is the restricted mean E min(tau, 50), a lower bound"
    )


def test_variance_with_censoring_is_a_lower_bound():
    step, status = memoryless(4, 500, HORIZON)
    estimate = exit_step_variance(step, status)
    assert estimate.value == pytest.approx(step.var(ddof=1))
    assert estimate.high == np.inf
    assert f"{(status == 0).sum()} of 500 chains censored" in estimate.reason
    assert "lower bound" in estimate.reason


@pytest.mark.parametrize(("mean", "horizon"), [(100, None), (3, None), (100, 50), (1000, 20)])
def test_memoryless_exits_are_rarely_accused(mean, horizon):
    step, status = memoryless(5, (1000, 200), horizon, mean)
    accused = sum("have a memory" in exponential_mean_exit_step(*row).reason for row in zip(step, status, strict=True))
    assert accused <= 6, f"{accused} of 1000 accused, 1 expected"  # more than 6 of Poisson(1): 8e-5


def test_exits_with_a_memory_are_found_out():
    assert "rises" in exponential_mean_exit_step(saddle(6, 50)).reason
    rng = np.random.default_rng(7)
    mixed = np.where(rng.random(500) < 0.5, rng.geometric(1 / 10, 500), rng.geometric(1 / 1000, 500))
    assert "falls" in exponential_mean_exit_step(mixed).reason
    assert "step 0" in exponential_mean_exit_step([0, 5, 9]).reason
    assert "rises" in exponential_mean_exit_step([50] * 40).reason


def test_no_exit_bounds_the_mean_from_below():
    estimate = exponential_mean_exit_step([60] * 50, [0] * 50)
    assert estimate.value == estimate.high == np.inf
    assert estimate.low == pytest.approx(3000 / 3.0, rel=2e-3)  # ln 20 = 2.996
    assert not estimate.reliable


def test_all_censored_mean_is_the_horizon_and_disowned():
    estimate = mean_exit_step([60] * 50, [0] * 50)
    assert estimate.value == 60
    assert "50 of 50 chains censored at step 60" in estimate.reason
    assert "no chain left before step 60" in estimate.reason


def test_diverged_chains_are_no_exits_and_are_counted():
    step, status = [10, 20, 30, 5], [1, 1, 1, 2]
    for estimate in (
        mean_exit_step(step, status),
        exponential_mean_exit_step(step, status),
        restricted_mean_exit_step(step, status=status),
        exit_step_variance(step, status),
    ):
        assert not estimate.reliable
        assert "1 of 4 chains diverged" in estimate.reason
    assert exponential_mean_exit_step(step, status).value == 65 / 3


def test_certain_exits_have_no_width():
    estimate = exit_step_variance([7] * 20)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)
    assert mean_exit_step([7] * 20)[:3] == (7, 7, 7)
    assert exponential_mean_exit_step([1] * 20).value == 1


def test_one_chain_gives_no_interval():
    for estimate in (mean_exit_step([7]), exit_step_variance([7]), restricted_mean_exit_step([7])):
        assert not estimate.reliable
        assert np.isnan(estimate.low)


def test_a_simulation_is_read_whole():
    step, status = memoryless(8, 200, HORIZON)
    data = xarray.Dataset({"exit_step": ("chain", step), "status": ("chain", status.astype("i1"))})
    for function in (mean_exit_step, exponential_mean_exit_step, exit_step_variance, restricted_mean_exit_step):
        by_name, by_hand = function(data), function(data["exit_step"], status=data["status"])
        assert by_name == by_hand == function(step, status=status)
    assert not mean_exit_step(data).reliable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2]],), "shape"),
        (([],), "shape"),
        (([1, -1],), "holds -1"),
        (([1, np.nan],), "holds nan"),
        (([1, 2.5],), "holds 2.5"),
        ((["a"],), "dtype"),
        (([1, 2], [1]), "agree"),
        (([1, 2], [1, 3]), "status holds"),
        (({"exit_step": [1]},), "no status"),
        (({"exit_step": [1], "status": [1]}, [1]), "and a status"),
        (([1, 2], None, 95), "level is 95"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    for function in (mean_exit_step, exit_step_variance, exponential_mean_exit_step):
        with pytest.raises(ValueError, match=message) as error:
            function(*arguments)
        assert "\n" not in str(error.value)


def test_no_time_at_risk_is_refused():
    with pytest.raises(ValueError, match="no chain ran a step"):
        exponential_mean_exit_step([0, 0])
