"""The log-rank test: against scipy's and sums by hand, with false alarms as stated and the power it should have."""

import numpy as np
import pytest
from scipy import stats

from escape.estimate import log_rank


def cut(step, horizon):
    return np.minimum(step, horizon), (step <= horizon).astype(int)


@pytest.mark.parametrize("seed", range(5))
def test_two_groups_with_ties_and_losses_are_scipys(seed):
    rng = np.random.default_rng(seed)
    (a, left_a), (b, left_b) = cut(rng.geometric(0.05, 80), 20), cut(rng.geometric(0.08, 60), rng.integers(5, 30, 60))
    censored = [stats.CensoredData.right_censored(s, left == 0) for s, left in ((a, left_a), (b, left_b))]
    expected = stats.logrank(*censored)
    found = log_rank(a, b, status=[left_a, left_b])
    assert found.statistic == pytest.approx(expected.statistic**2, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.observed.sum() == pytest.approx(found.expected.sum())
    assert found.reliable


def test_three_groups_by_hand():
    # At step 1 one of each of three pairs is there with 1, 0, 0 exits; at step 2 there are 1, 2, 2 with 1, 1, 0.
    found = log_rank([1, 2], [2, 3], [3, 4], status=[None, None, [0, 0]])
    expected = np.array([2 / 6 + 2 / 5, 2 / 6 + 4 / 5 + 1 / 3, 2 / 6 + 4 / 5 + 2 / 3])
    np.testing.assert_allclose(found.expected, expected)
    np.testing.assert_array_equal(found.observed, [2, 2, 0])
    covariance = np.zeros((3, 3))
    for exits, there in ((1, [2, 2, 2]), (2, [1, 2, 2]), (1, [0, 1, 2])):
        n, p = sum(there), np.array(there) / sum(there)
        covariance += exits * (n - exits) / (n - 1) * (np.diag(p) - np.outer(p, p))
    gap = found.observed - expected
    # Any two of the three decide; here the first two.
    by_hand = gap[:2] @ np.linalg.solve(covariance[:2, :2], gap[:2])
    assert found.statistic == pytest.approx(by_hand)
    assert found.p_value == pytest.approx(np.exp(-by_hand / 2))  # chi^2 with two degrees
    assert "only 4 exits" in found.reason


@pytest.mark.parametrize(("groups", "horizon"), [(2, 10**6), (2, 40), (4, 40)])
def test_p_values_are_uniform_where_the_laws_agree(groups, horizon):
    p = []
    for seed in range(500):
        sides = [cut(row, horizon) for row in np.random.default_rng([seed, groups]).geometric(0.02, (groups, 100))]
        p.append(log_rank(*(side[0] for side in sides), status=[side[1] for side in sides]).p_value)
    assert stats.kstest(p, "uniform").pvalue > 1e-4  # the false alarms of this test


def test_ten_per_cent_in_the_mean_are_found_as_often_as_they_should():
    # ln 1.1 in standard errors of sqrt(2/2000) each way is 3.01: two-sided at 5% a power of 0.854, 4 errors 0.1.
    rng = np.random.default_rng(0)
    found = [log_rank(rng.geometric(1 / 100, 2000), rng.geometric(1 / 110, 2000)).p_value < 0.05 for _ in range(200)]
    assert abs(np.mean(found) - 0.854) < 0.1


def test_curves_that_cross_are_pointed_out():
    rng = np.random.default_rng(1)
    early_and_late, at_once = rng.geometric(0.01, 1000), rng.integers(70, 90, 1000)
    found = log_rank(early_and_late, at_once, rng.geometric(0.01, 1000))
    assert not found.reliable
    assert "groups 1 and 2, 2 and 3 cross" in found.reason
    alike = [log_rank(*rng.geometric(0.02, (2, 300))) for _ in range(300)]
    assert sum(not one.reliable for one in alike) <= 3


def test_what_gives_nothing_to_compare():
    for found in (log_rank([5, 5], [5, 5], status=[[0, 0], [0, 0]]), log_rank([3] * 4, [3] * 4)):
        assert (found.statistic, found.p_value) == (0, 1)
        assert "exits in all" in found.reason
    assert "diverged in 1 of 2 groups" in log_rank([1, 2], [1, 2], status=[None, [1, 2]]).reason
    with pytest.raises(ValueError, match="1 status arrays for 2 groups"):
        log_rank([1, 2], [1, 2], status=[None])


def test_a_group_of_few_among_many_is_disowned_and_no_flag_picks_among_the_rest():
    rng = np.random.default_rng(31)
    draw = lambda few: (rng.geometric(0.002, few), rng.geometric(0.002, 400))  # noqa: E731
    assert "3 for the least group" in log_rank(*draw(3)).reason
    found = [log_rank(*draw(10)) for _ in range(400)]
    # No curve crosses beyond chance, though the few leave in a few steps: false alarms 1e-4 at either end.
    assert np.mean([one.reliable for one in found]) > 0.97
    rejected = sum(one.p_value <= 0.05 for one in found if one.reliable)
    assert stats.binom.ppf(1e-4, 390, 0.04) <= rejected <= stats.binom.isf(1e-4, 400, 0.06)
