"""Survival curves: against sums done by hand, against plain fractions, and against laws that are known."""

import time

import numpy as np
import pytest
from scipy import stats

from escape.estimate import exit_quantile, proportion, restricted_mean_exit_step, survival


def within(hits, level, repeats, slack=0.0):
    """Whether a coverage lies within 4 standard errors of its level, and `slack` above it."""
    error = np.sqrt(level * (1 - level) / repeats)
    assert -4 * error < hits - level < 4 * error + slack, f"covered {hits:.4f}, promised {level} +- {error:.4f}"


# Ten chains, with ties: of exits, of losses, and of an exit with a loss (step 4: the exit comes first).
STEP = [2, 2, 3, 4, 4, 6, 6, 6, 9, 9]
STATUS = [1, 1, 0, 1, 0, 1, 1, 1, 0, 2]
PRODUCT = [0.8, 0.8, 0.8 * 6 / 7, 0.8 * 6 / 7 * 2 / 5, 0.8 * 6 / 7 * 2 / 5]


def test_by_hand_with_ties():
    curve = survival(STEP, STATUS)
    np.testing.assert_array_equal(curve.steps, [2, 3, 4, 6, 9])
    np.testing.assert_array_equal(curve.at_risk, [10, 8, 7, 5, 2])
    np.testing.assert_array_equal(curve.exits, [2, 0, 1, 3, 0])
    np.testing.assert_allclose(curve.probability, PRODUCT)
    assert (curve.chains, curve.exited, curve.censored, curve.diverged) == (10, 6, 3, 1)
    assert not curve.reliable
    assert curve.reason == "1 of 10 chains diverged"


def test_band_by_hand():
    # At step 4 Greenwood's sum is 2/(10*8) + 1/(7*6): the variance of a count of n chains.
    curve, s = survival(STEP, STATUS), 0.8 * 6 / 7
    n = (1 - s) / (s * (2 / 80 + 1 / 42))
    np.testing.assert_allclose(curve.low[2], stats.beta.ppf(0.025, n * s, n * (1 - s) + 1))
    np.testing.assert_allclose(curve.high[2], stats.beta.ppf(0.975, n * s + 1, n * (1 - s)))
    # At step 9 nobody leaves, but the two there after the last exit are the two there now.
    assert curve.low[4] == curve.low[3]
    # Of chains lost since the last exit the lower end knows less: of 8 there after it 2 are seen past step 3.
    later = survival([1, 1, 2, 2, 2, 3, 3, 3, 4, 4], [1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(later.low[-1], stats.beta.ppf(0.025, 10 / 4 * 0.8, 10 / 4 * 0.2 + 1))
    assert later.high[-1] == later.high[0]


def test_band_is_that_of_a_proportion_where_none_was_lost():
    step = np.random.default_rng(9).geometric(0.2, 60)
    curve = survival(np.append(step, [40, 41]), np.append(np.ones(60), [0, 0]))
    for t in range(1, 40):
        found = proportion(int((step > t).sum()) + 2, 62)
        i = np.searchsorted(curve.steps, t, side="right") - 1
        if i >= 0:
            np.testing.assert_allclose([curve.low[i], curve.high[i]], found[1:3], rtol=1e-9)


def test_band_covers_where_few_have_left_and_where_few_are_seen():
    # Binomial intervals hold at least their level on either side: 2.5%, of 2000 repeats within 4 standard errors.
    allowed = 0.025 + 4 * np.sqrt(0.025 * 0.975 / 2000)
    for seed, loss, t in ((11, 1 / 200, 1), (12, 1 / 50, 120)):
        rng = np.random.default_rng(seed)
        leave, lose = rng.geometric(1 / 100, (2000, 100)), rng.geometric(loss, (2000, 100))
        curves = [survival(np.minimum(a, b), a <= b) for a, b in zip(leave, lose, strict=True)]
        held = [(c, np.searchsorted(c.steps, t, side="right") - 1) for c in curves if c.steps[-1] >= t]
        missed = [(c.low[i] > 0.99**t, c.high[i] < 0.99**t) for c, i in held if i >= 0]
        assert (np.mean(missed, axis=0) < allowed).all()


def test_call_is_right_continuous():
    curve = survival(STEP, STATUS)
    np.testing.assert_allclose(curve([0, 1.99, 2, 3.5, 4, 6, 9]), np.array([1, 1, *PRODUCT])[[0, 1, 2, 3, 4, 5, 6]])
    assert curve(2) == 0.8
    assert np.isnan(curve(10))  # two were still there at 9: what they did next is not known
    assert survival([1, 2])(10) == 0


def test_without_censoring_it_is_the_plain_fraction():
    step = np.random.default_rng(0).poisson(5, 1000)
    curve, grid = survival(step), np.arange(20)
    np.testing.assert_allclose(curve(grid), (step[:, None] > grid).mean(axis=0), atol=1e-12)
    assert curve.reliable


def losses(seed, repeats, chains):
    """Return steps and status of exits of mean 100 with losses of mean 200, at random."""
    rng = np.random.default_rng(seed)
    leave, lose = rng.geometric(1 / 100, (repeats, chains)), rng.geometric(1 / 200, (repeats, chains))
    return np.minimum(leave, lose), (leave <= lose).astype(int)


def test_band_covers_under_random_losses():
    step, status = losses(1, 500, 150)
    curves = [survival(*row) for row in zip(step, status, strict=True)]
    for t in (20, 80):
        at = [np.searchsorted(curve.steps, t, side="right") - 1 for curve in curves]
        hits = [c.low[i] <= 0.99**t <= c.high[i] for c, i in zip(curves, at, strict=True)]
        within(np.mean(hits), 0.95, 500)
    assert abs(np.mean([curve(80) for curve in curves]) - 0.99**80) < 4 * np.std([c(80) for c in curves]) / np.sqrt(500)


def test_quantile_covers_under_random_losses():
    step, status = losses(2, 500, 150)
    truth = np.ceil(np.log(0.5) / np.log(0.99))
    found = [exit_quantile(row, 0.5, flags) for row, flags in zip(step, status, strict=True)]
    # Both ends lie on steps, which widens the interval a little.
    within(np.mean([e.low <= truth <= e.high for e in found]), 0.95, 500, slack=0.01)


def test_quantile_by_hand():
    assert exit_quantile([1, 2, 3, 4], 0.5).value == 2  # the first step by which half have left
    assert exit_quantile([1, 2, 3, 4], 0.51).value == 3
    assert exit_quantile([5] * 30, 0.5)[:3] == (5, 5, 5)
    assert exit_quantile([5] * 30, 0.95).high == np.inf  # 30 chains cannot show that no more than 5% stay


def test_quantile_may_lie_before_the_first_exit():
    # 20 chains that all stayed past some step leave it open whether a tenth leaves by then: 0.025^(1/20) < 0.9.
    assert exit_quantile(np.arange(10, 30), 0.1).low == 0
    assert exit_quantile(np.arange(10, 110), 0.1).low >= 10
    step = np.random.default_rng(6).geometric(0.01, (500, 20))
    truth = np.ceil(np.log(0.9) / np.log(0.99))
    found = [exit_quantile(row, 0.1) for row in step]
    within(np.mean([e.low <= truth <= e.high for e in found]), 0.95, 500, slack=0.03)


def test_quantile_out_of_reach_is_infinite_and_says_so():
    estimate = exit_quantile([3, 5, 9, 9, 9, 9], 0.5, [1, 1, 0, 0, 0, 0])
    assert estimate.value == estimate.high == np.inf
    assert estimate.low == 3
    assert not estimate.reliable
    assert "0.667 of the chains are still there at step 9" in estimate.reason


def test_all_censored():
    curve = survival([7] * 40, [0] * 40)
    assert curve.probability.tolist() == curve.high.tolist() == [1]
    assert curve.low[0] == pytest.approx(0.025 ** (1 / 40))  # the chance that all of 40 stay is then 2.5%
    assert exit_quantile([7] * 40, 0.5, [0] * 40).value == np.inf
    estimate = restricted_mean_exit_step([7] * 40, status=[0] * 40)
    assert estimate.value == 7
    assert "no chain left before step 7" in estimate.reason
    assert estimate.low == pytest.approx(7 * 0.025 ** (1 / 40))  # 40 that stayed do not show that all would
    assert estimate.high == 7


def test_band_is_complete_where_everybody_left():
    curve = survival([1, 2, 3])
    assert curve.low[-1] == 0
    assert curve.high[-1] == pytest.approx(1 - 0.025 ** (1 / 3))
    assert survival([5] * 20).high[0] == pytest.approx(1 - 0.025 ** (1 / 20))
    assert np.isfinite([curve.low, curve.high]).all()


def test_exit_at_the_start_counts():
    assert survival([0, 0, 4, 4])(0) == 0.5
    assert restricted_mean_exit_step([0, 0, 4, 4]).value == 2


def test_restricted_mean_by_hand():
    # S is 1 up to 2, then PRODUCT: the area up to 8 is 2 + 0.8*2 + 0.8*6/7*2 + 0.8*6/7*2/5*2.
    assert restricted_mean_exit_step(STEP, 8, STATUS).value == pytest.approx(3.6 + 9.6 / 7 + 3.84 / 7)
    assert restricted_mean_exit_step(STEP, status=STATUS).value == pytest.approx(2.8)  # up to 3, the first loss
    assert restricted_mean_exit_step(STEP, 2.5, STATUS).value == pytest.approx(2.4)


def test_restricted_mean_without_censoring_is_the_mean_of_the_cut_step():
    step = np.random.default_rng(3).geometric(0.05, 300)
    for horizon in (10, 10**6):
        cut = np.minimum(step, horizon)
        estimate = restricted_mean_exit_step(step, horizon)
        assert estimate.value == pytest.approx(cut.mean())
        # Student's quantile with 299 degrees is 1.967930; the ends solve Hall's cubic for it.
        skew = ((cut - cut.mean()) ** 3).mean() / cut.std() ** 3
        for end, goal in ((estimate.low, 1.967930), (estimate.high, -1.967930)):
            z = (cut.mean() - end) / cut.std(ddof=1)
            cubic = z + skew * z**2 / 3 + skew**2 * z**3 / 27 + skew / 1800
            assert cubic == pytest.approx(goal / np.sqrt(300), rel=1e-5)


def test_restricted_mean_covers_under_random_losses():
    step, status = losses(4, 500, 150)
    truth = 100 * (1 - 0.99**60)
    found = [restricted_mean_exit_step(row, 60, flags) for row, flags in zip(step, status, strict=True)]
    within(np.mean([e.low <= truth <= e.high for e in found]), 0.95, 500)


def test_horizon_past_what_was_seen_is_refused():
    with pytest.raises(ValueError, match="last step seen, 9; it can be no later"):
        restricted_mean_exit_step(STEP, 10, STATUS)
    with pytest.raises(ValueError, match="horizon is -1"):
        restricted_mean_exit_step(STEP, -1, STATUS)
    with pytest.raises(ValueError, match="q is 50"):
        exit_quantile(STEP, 50, STATUS)


def test_many_chains_are_quick():
    step, status = losses(5, 1, 100_000)
    began = time.perf_counter()
    curve = survival(step[0], status[0])
    restricted_mean_exit_step(step[0], 100, status[0])
    assert time.perf_counter() - began < 2  # about 0.05 on an idle core
    assert curve.exits.sum() == curve.exited
    assert abs(curve(100) - 0.99**100) < 0.01
