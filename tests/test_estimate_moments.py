"""Mean squares: intervals cover the truth as often as they say, and a few chains deciding the mean are found out."""

import numpy as np
import pytest

from escape.estimate import (
    effective_chains,
    largest_share,
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
    assert estimate.reason.endswith(f"recorded step {first}")


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
