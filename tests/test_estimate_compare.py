"""Distances between laws, and proportions: against enumeration, and with false alarms no more frequent than stated."""

import numpy as np
import pytest
from scipy import stats

from escape.estimate import ks_distance, ks_two_sample, proportion, survival


def law(t):
    return 1 - 0.98 ** np.maximum(np.asarray(t), 0)


def draws(seed, shape):
    return np.random.default_rng(seed).geometric(0.02, shape)


def test_distance_is_that_of_an_enumeration_over_all_steps():
    for seed in range(20):
        step, grid = draws(seed, 50), np.arange(2000)
        expected = np.abs((step[:, None] <= grid).mean(axis=0) - law(grid)).max()
        assert ks_distance(step, law).distance == pytest.approx(expected, abs=1e-12)


def test_distance_by_hand():
    # F is 1/4, 1/2, 3/4, 1 at 1..4 and the data all left at 4: the largest gap is just before, at 3.
    assert ks_distance([4, 4, 4], lambda t: np.clip(t / 4, 0, 1)).distance == 0.75


def test_survival_will_do_as_well_as_distribution():
    step = draws(0, 200)
    assert ks_distance(step, lambda t: 1 - law(t)).distance == pytest.approx(ks_distance(step, law).distance)
    assert ks_distance(step, survival(step)).distance == pytest.approx(0, abs=1e-12)


def test_p_value_is_an_upper_bound():
    p = np.array([ks_distance(row, law).p_value for row in draws(1, (1000, 100))])
    for level in (0.01, 0.05, 0.2):  # four standard errors: a false alarm in 30,000 seeds, at each
        assert (p <= level).mean() < level + 4 * np.sqrt(level * (1 - level) / len(p))
    assert np.median(p) < 0.7  # and it is a bound of some use


def test_wrong_law_is_rejected():
    step = draws(2, 2000)
    assert ks_distance(step, lambda t: 1 - 0.977**t).p_value < 1e-3
    assert ks_distance(step, law).p_value > 1e-3


def test_horizon_lumps_what_is_later():
    step = draws(3, 300)
    cut, status = np.minimum(step, 40), (step <= 40).astype(int)
    grid = np.arange(41)
    expected = np.abs((step[:, None] <= grid).mean(axis=0) - law(grid)).max()
    assert ks_distance(cut, law, status, horizon=40).distance == pytest.approx(expected)
    assert ks_distance(step, law, horizon=40).distance == pytest.approx(expected)
    other = draws(4, 200)
    assert ks_two_sample(cut, other, status, horizon=40).distance == pytest.approx(
        np.abs((step[:, None] <= grid).mean(axis=0) - (other[:, None] <= grid).mean(axis=0)).max()
    )


def test_nobody_left_by_the_horizon():
    distance = 1 - 0.98**30
    for given in (law, lambda t: 1 - law(t)):
        assert ks_distance([30] * 50, given, [0] * 50, horizon=30).distance == pytest.approx(distance)


def test_censored_chains_are_refused_without_a_horizon_they_reach():
    step, status = [3, 9, 9, 5], [1, 0, 0, 1]
    with pytest.raises(ValueError, match="2 of 4 chains never left, from step 9 on; give a horizon of at most 9"):
        ks_distance(step, law, status)
    with pytest.raises(ValueError, match="lost from view before step 10; the horizon can be 9 at most"):
        ks_distance(step, law, status, horizon=10)
    with pytest.raises(ValueError, match="give a horizon"):
        ks_two_sample([1, 2], step, None, status)
    with pytest.raises(ValueError, match="lost from view before step 9"):
        ks_distance([3, 4, 9], law, [1, 2, 0], horizon=9)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda t: np.sin(t) ** 2, "goes up and down"),
        (lambda t: 2.0 * t, "one probability a step"),
        (lambda t: 0.5, "one probability a step"),
        (lambda t: np.full(len(t), 0.5), "is 0.5 at every step"),
        (lambda t: np.full(len(t), np.nan), "one probability a step"),
    ],
)
def test_what_is_no_law_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        ks_distance([1, 2, 5], bad)


def test_two_samples():
    first, second, other = draws(5, 5000), draws(6, 4000), np.random.default_rng(7).geometric(0.024, 4000)
    assert ks_two_sample(first, second).p_value > 1e-3
    assert ks_two_sample(first, other).p_value < 1e-3
    assert ks_two_sample(first, first) == (0, 1)
    assert ks_two_sample([1, 2], [2, 3]).distance == 0.5


@pytest.mark.parametrize("truth", [0.01, 0.3, 0.97])
@pytest.mark.parametrize("total", [20, 100])
def test_proportion_never_covers_less_than_it_says(truth, total):
    counts = np.arange(total + 1)
    found = [proportion(count, total) for count in counts]
    hits = np.array([e.low <= truth <= e.high for e in found])
    assert stats.binom.pmf(counts, total, truth)[hits].sum() >= 0.95


def test_proportion_by_hand():
    assert proportion(1, 4).value == 0.25
    none, every = proportion(0, 50), proportion(50, 50)
    assert (none.low, every.high) == (0, 1)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert every.low == pytest.approx(0.025 ** (1 / 50))
    assert none.reliable


@pytest.mark.parametrize(("count", "total"), [(-1, 5), (6, 5), (0, 0), (0.5, 5)])
def test_bad_counts_are_refused(count, total):
    with pytest.raises(ValueError, match="count is"):
        proportion(count, total)
