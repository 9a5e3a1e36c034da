"""Which boundary and at which angle: against plain fractions, sums by hand, and laws that are known."""

import numpy as np
import pytest
import torch

import escape
from escape.estimate import competing_exits, exit_angle, proportion, survival


def draws(seed, chains, horizon=10**9):
    """Exit steps of chance 0.03 at each step, a third of them by cause 7, the others by cause 2."""
    rng = np.random.default_rng(seed)
    step, cause = rng.geometric(0.03, chains), np.where(rng.random(chains) < 1 / 3, 7, 2)
    return np.minimum(step, horizon), cause, (step <= horizon).astype(int)


def test_without_censoring_it_is_the_fraction_with_its_binomial_interval():
    step, cause, _ = draws(0, 60)
    found = competing_exits(step, cause)
    np.testing.assert_array_equal(found.causes, [2, 7])
    for t in (3, 20, 500):
        count = [((step <= t) & (cause == j)).sum() for j in (2, 7)]
        np.testing.assert_allclose(found(t), np.array(count) / 60, atol=1e-12)
        i = np.searchsorted(found.steps, t, side="right") - 1
        for j, n in enumerate(count):
            expected = proportion(int(n), 60)
            np.testing.assert_allclose([found.low[i, j], found.high[i, j]], expected[1:3], atol=1e-7)
    assert found.shares[1][:3] == pytest.approx(proportion(int((cause == 7).sum()), 60)[:3])
    assert found.reliable
    assert found.shares[0].reliable
    np.testing.assert_array_equal(found(0), [0, 0])


def test_by_hand_with_a_loss_between():
    # Of 4 one leaves by 0 at 1, one is lost at 2; of the 2 left one leaves by 1 at 3, the last by 0 at 5.
    found = competing_exits([1, 2, 3, 5], [0, -1, 1, 0], [1, 0, 1, 1])
    np.testing.assert_allclose(found.incidence, [[1 / 4, 0], [1 / 4, 3 / 8], [5 / 8, 3 / 8]])
    assert (found.chains, found.exited) == (4, 3)
    assert "1 of 4 chains censored" in found.shares[0].reason
    # The one that was lost may go either way.
    assert found.shares[1].low == pytest.approx(proportion(1, 4).low)
    assert found.shares[1].high == pytest.approx(proportion(2, 4).high)


def test_causes_add_up_to_what_kaplan_and_meier_say():
    rng = np.random.default_rng(1)
    step, cause, _ = draws(2, 300)
    lost = rng.geometric(0.02, 300)
    status, step = (step <= lost).astype(int), np.minimum(step, lost)
    found, curve = competing_exits(step, cause, status), survival(step, status)
    np.testing.assert_allclose(found(found.steps).sum(axis=1), 1 - curve(found.steps), atol=1e-12)


def test_variance_of_one_cause_is_greenwoods():
    # The effective number of chains n' of the band satisfies S (1 - S) / n' = Greenwood's variance of S.
    step, _, _ = draws(3, 100)
    status = (np.random.default_rng(4).random(100) < 0.6).astype(int)
    found, curve = competing_exits(step, np.zeros(100, int), status), survival(step, status)
    i = 25
    seen = curve.steps <= found.steps[i]
    d, r = curve.exits[seen], curve.at_risk[seen]
    s = 1 - found.incidence[i, 0]
    size = s * (1 - s) / (s**2 * (d / (r * (r - d))).sum())
    from scipy.stats import beta

    assert found.low[i, 0] == pytest.approx(beta.ppf(0.025, size * (1 - s), size * s + 1), rel=1e-6)


def test_incidence_covers_with_a_horizon_and_losses():
    hits, share = [], []
    for seed in range(40):
        step, cause, status = draws(1000 + seed, 100, 30)
        lost = np.random.default_rng(9000 + seed).geometric(0.01, 100)
        status, step = status * (step <= lost), np.minimum(step, lost)
        found = competing_exits(step, cause, status)
        i = np.searchsorted(found.steps, 20, side="right") - 1
        truth = (1 - 0.97**20) / 3
        hits.append(found.low[i, 1] <= truth <= found.high[i, 1])
        share.append(found.shares[1].low <= 1 / 3 <= found.shares[1].high)
    # The band errs to the wide side by its discreteness: at least 95%, four standard errors below it are 0.812.
    assert np.mean(hits) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 40)
    assert np.mean(share) == 1


def test_a_simulation_leaves_through_both_sides_alike_and_along_its_direction():
    start = torch.zeros(2, dtype=torch.float64)
    data = escape.simulate(
        escape.QuadraticSaddle.additive([-1.0, 0.5], 0.5, n=1000), escape.MiniBatch(1), escape.GradientDescent(0.1),
        start, steps=400, chains=400, until=escape.Above(escape.SquaredDistance(torch.zeros(2)), 400.0), seed=5,
    )  # fmt: skip
    side = np.sign(data.final.values[:, 0]).astype(int)
    found = competing_exits(data, side)
    assert found.causes.tolist() == [-1, 1]
    assert abs(found.shares[1].value - 0.5) < 4 * np.sqrt(0.25 / 400)
    angles = exit_angle(data, [0, 0], [1, 0])
    assert angles.chains == len(angles.angle)
    expected = np.arctan2(abs(data.final.values[:, 1]), abs(data.final.values[:, 0]))
    np.testing.assert_allclose(angles.angle, expected, atol=1e-12)
    assert angles.share_within(0.5).value > 0.9


def test_angles_by_hand():
    x = np.array([[1.0, 0], [0, 2], [-1, 1], [3, 3]])
    found = exit_angle(x + 5, [5, 5], [2, 0])
    np.testing.assert_allclose(found.angle, np.pi * np.array([0, 1 / 2, 1 / 4, 1 / 4]), atol=1e-15)
    assert found.mean.value == pytest.approx(np.pi / 4)
    assert found.mean_cosine.value == pytest.approx((1 + np.sqrt(2)) / 4)
    assert found.share_within(np.pi / 4 + 1e-9).value == 0.75
    np.testing.assert_allclose(exit_angle(x, [0, 0], [-2, 0], signed=True).angle / np.pi, [1, 1 / 2, 1 / 4, 3 / 4])
    # To a plane, given by two directions that are not orthogonal.
    plane = exit_angle([[1.0, 1, 1], [0, 0, 3]], [0, 0, 0], [[1, 1], [0, 1], [0, 0]])
    np.testing.assert_allclose(plane.angle, [np.arctan(1 / np.sqrt(2)), np.pi / 2])


def test_angles_of_uniform_directions():
    # Uniform on the sphere in 3 dimensions: cos of the angle to an axis is uniform on (0, 1), its mean 1/2.
    hits = []
    for seed in range(300):
        x = np.random.default_rng(seed).standard_normal((40, 3))
        found = exit_angle(x, np.zeros(3), [0, 0, 1])
        hits.append([found.mean_cosine.low <= 0.5 <= found.mean_cosine.high, found.mean.low <= 1 <= found.mean.high])
    assert (abs(np.mean(hits, axis=0) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 300)).all()


def test_only_those_that_left_are_averaged_and_it_is_said():
    x = np.array([[1.0, 0], [0, 0], [1, 1], [np.nan, 0]])
    found = exit_angle(x, [0, 0], [1, 0], status=[1, 0, 1, 2])
    assert len(found.angle) == 2
    assert (found.chains, found.censored, found.diverged) == (4, 1, 1)
    for one in (found.mean, found.mean_cosine, found.share_within(1)):
        assert not one.reliable
        assert "2 of 4 chains never left; these are the angles of the others" in one.reason
    with pytest.raises(ValueError, match="needs exits"):
        exit_angle(x, [0, 0], [1, 0], status=[0, 0, 0, 0])


def test_diverged_chains_are_no_exits():
    found = competing_exits([3, 4, 5], [0, 1, 1], [1, 1, 2])
    assert not found.reliable
    assert "1 of 3 chains diverged" in found.shares[0].reason
    assert found.shares[1].high > proportion(1, 3).high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1]), "must agree"),
        (([1, 2], [1.5, 1]), "no whole number"),
        (([1, 2], ["a", "b"]), "dtype"),
        (([1, 2], [1, 1], [0, 0]), "none of 2 chains left"),
    ],
)
def test_bad_causes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        competing_exits(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2], [0, 0], [1, 0]), "must be"),
        (([[1.0, 2]], [0, 0], [1, 0, 0]), "must be"),
        (([[1.0, 2]], [0, 0], [0, 0]), "not zero"),
        (([[1.0, 2]], [1, 2], [1, 0]), "centre itself"),
        (({"exit_step": [1], "status": [1]}, [0, 0], [1, 0]), "no final"),
        (([[1.0, 2]], [0, 0], [[1, 0], [0, 1]], None, 0.95, True), "one direction"),
    ],
)
def test_bad_angles_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        exit_angle(*arguments)


def test_all_through_one_boundary_is_counted_over_all_chains():
    # Twenty exits at steps of their own by one cause: its band ends in the proportion of 20 of 20, not of the last 1.
    step = np.arange(1, 22)
    found = competing_exits(step[:20], np.ones(20, int))
    np.testing.assert_allclose([found.low[-1, 0], found.high[-1, 0]], proportion(20, 20)[1:3])
    # A cause of which nothing is seen until the last exit has the band of 0 of all chains until then.
    found = competing_exits(step, np.append(np.ones(20, int), 2))
    np.testing.assert_allclose(found.high[:20, 1], proportion(0, 21).high)
