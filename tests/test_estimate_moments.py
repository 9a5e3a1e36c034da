"""Mean squares: intervals cover the truth as often as they say, and a few chains deciding the mean are found out."""

import numpy as np
import pytest

from escape.estimate import (
    effective_chains,
    largest_share,
    mean,
    mean_log_square,
    mean_square,
    mean_square_standard_error,
)

EULER = 0.5772156649015329


@pytest.fixture
def gaussian():
    """Two thousand independent repeats as rows, 400 chains each, of x ~ N(0, 4)."""
    return 2 * np.random.default_rng(11).standard_normal((2000, 400))


def within(hits, level, repeats):
    """Whether a coverage lies within 4 standard errors of its level: a false alarm in 16,000 seeds."""
    error = np.sqrt(level * (1 - level) / repeats)
    assert abs(hits - level) < 4 * error, f"covered {hits:.4f}, promised {level} +- {error:.4f}"


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mean_square_covers(gaussian, level):
    estimate = mean_square(gaussian, level)
    within(((estimate.low <= 4) & (estimate.high >= 4)).mean(), level, len(gaussian))
    assert (estimate.low > 0).all()


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mean_log_square_covers(gaussian, level):
    truth = np.log(4) - EULER - np.log(2)  # E ln N(0,1)^2 = -gamma - ln 2
    estimate = mean_log_square(gaussian, level)
    within(((estimate.low <= truth) & (estimate.high >= truth)).mean(), level, len(gaussian))


def test_standard_error_is_the_spread_of_repeats(gaussian):
    # Var x^2 = 2 * 4^2; the mean error over 2000 repeats is good to about 0.2%.
    assert mean_square_standard_error(gaussian).mean() == pytest.approx(np.sqrt(32 / 400), rel=0.01)


@pytest.mark.parametrize("count", [100, 200])
def test_misses_of_the_mean_square_are_even_on_both_sides(count):
    """Skewness is undone to second order: of 8000 intervals 2.5% miss on either side, within 4 errors of 0.17%."""
    values = np.random.default_rng(12).standard_normal((8000, count))
    estimate = mean_square(values)
    assert abs((estimate.low > 1).mean() - 0.025) < 0.007
    assert abs((estimate.high < 1).mean() - 0.025) < 0.01  # the next order is 3/c
    plain = 1.98 * mean_square_standard_error(values)
    assert (estimate.value + plain < 1).mean() > 0.04


def test_a_mean_square_with_an_error_as_large_as_itself_has_no_upper_end():
    estimate = mean_square([[1e-3, 1e-3, 1e-3, 5.0]])
    assert estimate.high[0] == np.inf
    assert 0 < estimate.low[0] < estimate.value[0]


FREEZING = 17.576823564119962  # of 1000 chains of the products below: ln(1000) / (2 L'(2) - L(2))


def products(repeats, count, steps, seed=1):
    """(steps, repeats, count): products of 1/2 and 1.6, equally likely."""
    factors = np.random.default_rng(seed).choice([0.5, 1.6], (steps, repeats, count))
    return np.cumprod(factors, axis=0)


def test_past_the_freezing_step_the_mean_falls_short_and_is_disowned():
    truth, step = 1.405 ** np.arange(1, 31), np.arange(1, 31)
    values = products(50, 1000, 30)
    found = [mean_square(values[:, i], freezing_step=FREEZING, step=step) for i in range(50)]
    late = np.array([estimate.high[step > FREEZING] < truth[step > FREEZING] for estimate in found])
    assert late.mean() > 0.3
    assert not any(estimate.reliable for estimate in found)
    assert "the interval is too narrow from step 2 on" in found[0].reason
    assert "the mean falls short from step 18 on, past the freezing step 17.58" in found[0].reason


def test_before_a_tenth_of_the_freezing_step_it_is_believed():
    values = products(1, 1000, 1)[:, 0]
    assert mean_square(values, freezing_step=FREEZING, step=[1]).reliable
    assert mean_square(values, freezing_step=np.inf).reliable
    later = mean_square(np.ones((20, 5)), freezing_step=100.0)
    assert later.reason.startswith("the interval is too narrow from step 11 on")


def test_a_chain_that_weighs_half_a_standard_error_is_named():
    values = np.ones((2, 100_000))
    values[1, 0] = 20.0  # 400 of a sum of 100,400, and of the root of 260,000 of the fourth powers: 0.78
    estimate = mean_square(values)
    assert (largest_share(values) < 0.05).all()
    assert "one chain weighs up to 0.78 standard errors of the mean, over 0.5 from recorded step 1" in estimate.reason
    assert mean_square(values, freezing_step=1e9).reliable


@pytest.mark.parametrize(
    ("options", "message"),
    [({"freezing_step": 0}, "freezing_step is 0"), ({"step": [1, 2]}, "step has shape"), ({"step": ["a"]}, "step has")],
)
def test_bad_freezing_steps_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as error:
        mean_square([[1.0, 2.0]], **options)
    assert "\n" not in str(error.value)


def test_by_hand():
    values = [[1, -1, 1, -1], [0, 0, 0, 2]]
    np.testing.assert_allclose(mean_square(values).value, [1, 1])
    np.testing.assert_allclose(mean_square_standard_error(values), [0, 1])
    np.testing.assert_allclose(largest_share(values), [0.25, 1])
    np.testing.assert_allclose(effective_chains(values), [4, 1])
    np.testing.assert_allclose(mean_log_square([[1, np.e]]).value, [1])


def test_a_start_at_the_saddle_is_a_zero_without_width():
    estimate = mean_square(np.zeros((2, 50)))
    assert estimate.value.tolist() == estimate.low.tolist() == estimate.high.tolist() == [0, 0]
    assert estimate.reliable
    np.testing.assert_allclose(largest_share(np.zeros((1, 50))), 1 / 50)
    np.testing.assert_allclose(effective_chains(np.zeros((1, 50))), 50)


def test_share_survives_what_overflows():
    np.testing.assert_allclose(largest_share(np.full((1, 10), 1e154)), 0.1)
    np.testing.assert_allclose(effective_chains(np.full((1, 10), 1e154)), 10)


def test_gaussian_chains_are_reliable_and_heavy_tails_are_not():
    rng = np.random.default_rng(3)
    steps = 0.3 * np.cumsum(rng.standard_normal((60, 1000)), axis=0)
    estimate = mean_square(np.exp(steps))
    assert mean_square(rng.standard_normal((60, 1000))).reliable
    assert not estimate.reliable
    share = largest_share(np.exp(steps))
    first = int((share > 0.05).argmax())
    assert 0 < first < 40
    assert f"{share.max():.1%}" in estimate.reason
    assert f"over 5% from recorded step {first};" in estimate.reason


def test_one_of_a_hundred_with_six_percent_is_named_and_with_four_is_not():
    values = np.ones((1, 100))
    values[0, 7] = np.sqrt(99 * 0.04 / 0.96)
    assert mean_square(values).reliable
    values[0, 7] = np.sqrt(99 * 0.06 / 0.94)
    assert "6.0%" in mean_square(values).reason


def test_few_equal_chains_are_dominated_by_none():
    assert mean_square(np.ones((3, 4))).reliable


def test_a_diverged_chain_leaves_no_mean_of_the_rest():
    values = np.ones((3, 40))
    values[1:, 5] = np.nan
    for estimate in (mean_square(values), mean_log_square(values)):
        assert np.isnan(estimate.value).tolist() == [False, True, True]
        assert not estimate.reliable
        assert "1 of 40 chains not finite from recorded step 1" in estimate.reason


def test_a_chain_at_zero_has_no_logarithm():
    values = np.ones((2, 40))
    values[1, 3] = 0
    estimate = mean_log_square(values)
    assert estimate.value[1] == estimate.low[1] == estimate.high[1] == -np.inf
    assert "1 of 40 chains exactly zero, first at recorded step 1" in estimate.reason


def test_logarithms_of_few_chains_are_disowned():
    assert "39 chains, where 40 are needed" in mean_log_square(np.ones((1, 39))).reason
    assert mean_log_square(np.ones((1, 40))).reliable


def test_one_chain_gives_no_interval():
    estimate = mean_square([[2.0]])
    assert estimate.value[0] == 4
    assert np.isnan(estimate.low[0])
    assert "1 chain" in estimate.reason


@pytest.mark.parametrize("values", [[1.0, 2.0], np.ones((0, 3)), np.ones((2, 2, 2)), [["a"]], [[1j]]])
def test_bad_values_are_refused_in_one_line(values):
    with pytest.raises(ValueError, match="values has") as error:
        mean_square(values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("level", [0, 1, 95, float("nan")])
def test_bad_level_is_refused(level):
    with pytest.raises(ValueError, match="level is"):
        mean_square([[1.0, 2.0]], level)


@pytest.mark.parametrize("power", [-900, 900])
def test_errors_of_tiny_and_of_huge_values_are_those_of_others(power):
    x = np.random.default_rng(21).standard_normal((1, 100))
    found, scaled = mean(x), mean(np.ldexp(x, power))
    for end, other in zip(found[:3], scaled[:3], strict=True):
        np.testing.assert_array_equal(np.ldexp(end, power), other)
    # Squares of 1e-150 have fourth powers that underflow.
    small = mean_square(np.ldexp(x, -498))
    np.testing.assert_allclose(np.ldexp(small.high, 996), mean_square(x).high)
