"""The mini-batch chain against enumeration, finite chains, bounds and its own grids."""

import itertools

import numpy as np
import pytest
from scipy.special import comb

from escape import theory


def force(x):
    return x**3 - x


def well(noise, lr=0.2, batch=1, nodes=2**11, low=-2.5, high=2.5):
    tilts = np.array([noise, -noise])
    return theory.BatchChain(lambda x: force(x)[:, None] + tilts, lr, batch, low, high, True, nodes)


def walk(lr=0.1, low=-3.0, high=3.0):
    return theory.BatchChain(lambda x: np.ones((len(x), 1)) * [1.0, -1.0], lr, 1, low, high, True)


@pytest.mark.parametrize("replacement", [True, False])
def test_outcomes_are_those_of_all_batches(replacement):
    rng = np.random.default_rng(1)
    tilt, slope = rng.integers(0, 3, 5).astype(float), rng.integers(1, 3, 5).astype(float)
    chain = theory.BatchChain(lambda x: x[:, None] * slope + tilt, 0.1, 3, -1.0, 1.0, replacement)
    x = np.array([0.3, -0.7])
    gradient, probability = chain.outcomes(x)
    ways = itertools.product(range(5), repeat=3) if replacement else itertools.permutations(range(5), 3)
    every = np.array([(x[:, None] * slope + tilt)[:, list(way)].mean(1) for way in ways])
    assert abs(probability.sum() - 1) < 1e-14
    assert gradient.shape[1] == len(np.unique(np.round(every, 10), axis=0)), "outcomes must be distinct"
    for power in (1, 2, 3):
        want = (every**power).mean(0)
        assert np.allclose((gradient**power) @ probability, want, rtol=1e-12), f"moment {power} of the batch gradient"


def test_equal_samples_make_few_outcomes():
    gradient, probability = well(0.8, batch=40).outcomes(np.array([0.5]))
    assert gradient.shape == (1, 41), f"40 signs have 41 sums, got {gradient.shape}"
    assert np.allclose(np.sort(probability), np.sort(comb(40, np.arange(41)) / 2.0**40), rtol=1e-10)


def test_lattice_walk_is_solved_exactly():
    start = np.array([0.0, 0.3, -0.9, 1.0, 1.5])
    steps, high = walk().mean_exit_step(start, -1.0, 1.0), walk().committor(start, -1.0, 1.0)
    k = np.clip(np.round(start * 10), -10, 10)
    assert np.allclose(steps, 100 - k**2, rtol=1e-11), f"gambler's ruin: {steps}"
    assert np.allclose(high, (k + 10) / 20, rtol=1e-11), f"gambler's ruin, side: {high}"
    law = walk().exit_law(0.0, -1.0, 1.0)
    # variance of the exit of a simple walk from (-n, n): (2/3) n^2 (n^2 - 1)
    assert law.variance == pytest.approx(2 / 3 * 100 * 99, rel=1e-9)


def exact_survival(chain, x0, exit_high, steps):
    """All sequences of batches, point by point."""
    points, weight, alive = np.array([x0]), np.ones(1), [1.0]
    for _ in range(steps):
        gradient, probability = chain.outcomes(points)
        points = (points[:, None] - chain.lr * gradient).ravel()
        weight = (weight[:, None] * probability).ravel()
        inside = points < exit_high
        points, weight = points[inside], weight[inside]
        alive.append(weight.sum())
    return np.array(alive), points, weight


def test_survival_and_occupation_are_those_of_all_sequences():
    chain = well(0.9, 0.3, nodes=2**13)
    want, _, _ = exact_survival(chain, -1.0, 0.0, 16)
    got, error = (f(16, -1.0, exit_high=0.0) for f in (chain.exit_survival, chain.exit_survival_error))
    assert (np.abs(got - want) <= error + 1e-6).all(), f"survival off by {np.abs(got - want).max()}, said {error}"
    assert error.max() < 1e-3, f"error {error}"
    assert np.allclose(got[:2], want[:2], atol=1e-15), "one step is exact"
    _, points, weight = exact_survival(chain, -1.0, 99.0, 16)
    want = weight[(points > -0.5) & (points < 0.7)].sum()
    got = chain.occupation_over_time(16, -1.0, -0.5, 0.7)[-1]
    error = chain.occupation_over_time_error(16, -1.0, -0.5, 0.7)[-1]
    assert abs(got - want) <= error + 1e-6, f"occupation {got} +- {error}, all sequences {want}"


def bounds(chain, x0, exit_high, low, nodes=400_001):
    """Mean exit step between two bounds: landing points rounded towards the exit and away from it.

    Steps are increasing functions of x, so survival falls towards the exit and rounding moves it one way.
    """
    grid = np.linspace(low, exit_high, nodes)
    gradient, probability = chain.outcomes(grid)
    points = grid[:, None] - chain.lr * gradient
    assert (np.diff(points, axis=0) > 0).all(), "steps must be increasing"
    at = (points - low) / (grid[1] - grid[0])
    found = []
    for index in (np.ceil(at - 1e-9), np.floor(at)):
        # counted as out only where the point itself is out, rounded back inside otherwise, for the upper bound
        out = index >= nodes - 1 if not found else points >= exit_high
        index = np.clip(index, 0, nodes - 1).astype(int)
        alive, total, here = np.ones(nodes), 0.0, round((x0 - low) / (grid[1] - grid[0]))
        for _ in range(3000):
            total += alive[here]
            alive = np.where(out, 0.0, alive[index]) @ probability
            if alive[here] < 1e-10:
                break
        found.append(total)
    return found


def test_mean_exit_step_lies_between_rigorous_bounds():
    chain = well(1.6, 0.1, nodes=2**13, low=-1.9)
    low, high = bounds(chain, -1.0, 0.0, -1.9, 38_001)
    value = chain.mean_exit_step(-1.0, exit_high=0.0)
    assert low < high < 1.01 * low, f"bounds {low}, {high}"
    assert low <= value <= high, f"mean exit step {value}, bounds {low}, {high}"


@pytest.mark.parametrize("batch", [1, 4])
def test_error_holds_against_a_finer_grid(batch):
    rough, fine = (well(0.9 * batch**0.5, 0.25, batch, nodes) for nodes in (2000, 16_000))
    for quantity in ("mean_exit_step", "committor"):
        arguments = (-0.9, None, 0.0) if quantity == "mean_exit_step" else (-0.2, -1.0, 0.9)
        value, error = (getattr(rough, name)(*arguments) for name in (quantity, quantity + "_error"))
        best, its = (getattr(fine, name)(*arguments) for name in (quantity, quantity + "_error"))
        assert abs(value - best) <= error + its, f"{quantity} {value} +- {error}, finer {best} +- {its}"
        assert error < 5e-3 * value, f"{quantity} {value} +- {error}"
        assert its < error, f"a finer grid must say less: {its} and {error}"


def test_many_outcomes_reach_three_digits_on_small_grids():
    # 30 unequal samples in pairs: 435 outcomes, whose jumps are small
    tilts = np.random.default_rng(2).standard_normal(30)
    tilts -= tilts.mean()
    chain = theory.BatchChain(lambda x: x[:, None] + tilts, 0.2, 2, -1.5, 1.5, nodes=1500)
    value, error = (f(0.1, -0.5, 0.5) for f in (chain.mean_exit_step, chain.mean_exit_step_error))
    assert error < 1e-3 * value, f"{value} +- {error}"


def test_law_and_mean_agree():
    law = well(0.9, 0.3).exit_law(-1.0, exit_high=0.0)
    mean = law.alive.sum() + law.alive[-1] * (1 - law.hazard) / law.hazard
    assert mean == pytest.approx(law.mean, rel=1e-5), "sum of survival, and the linear equation"
    t = np.arange(200 * int(law.mean))
    second = ((2 * t + 1) * law.survival(t)).sum()
    assert second - mean**2 == pytest.approx(law.variance, rel=1e-4), "sum of t P(tau > t), and the linear equation"


def test_no_way_out_is_infinite():
    closed = well(0.3, 0.1)
    assert closed.mean_exit_step([-1.0, 1.0, 0.3], exit_high=0.2).tolist() == [np.inf, 0.0, 0.0]
    assert closed.mean_exit_step_error(-1.0, exit_high=0.2) == 0
    law = closed.exit_law(-1.0, exit_high=0.2)
    assert law.mean == law.variance == law.quantile(0.5) == np.inf, f"never leaves: {law}"
    assert closed.committor(-1.0, -2.4, 0.2) == 0, "neither side is reached"
    # from between the wells some chains leave and others fall into the closed well
    split = well(0.3, 0.1)
    assert np.isinf(split.mean_exit_step(0.05, exit_high=0.2))
    assert 0.1 < split.committor(0.05, -2.4, 0.2) < 1


def test_stationary_law_of_a_linear_well():
    chain = theory.BatchChain(lambda x: x[:, None] + [1.0, -1.0], 0.1, 1, -1.1, 1.1, True, nodes=2**13)
    law = chain.stationary()
    # x = 0.1 sum 0.9^k e_k: the characteristic function is a product of cosines
    t = np.linspace(1e-9, 400, 20_001)
    phi = np.ones_like(t)
    for k in range(150):
        phi *= np.cos(0.1 * 0.9**k * t)
    want = 2 / np.pi * np.trapezoid(phi * np.sin(0.2 * t) / t, t)
    got, error = law.occupation(-0.2, 0.2), law.occupation_error(-0.2, 0.2)
    assert abs(got - want) < error + 1e-5, f"occupation {got} +- {error}, Fourier {want}"
    assert error < 2e-3, f"error {error}"
    late = chain.occupation_over_time(200, 0.4, -0.2, 0.2)[-1]
    assert abs(late - want) < 1e-3, f"late occupation {late}, Fourier {want}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.BatchChain(lambda x: x, 0.1, 1, -1, 1), "shape"),
        (lambda: theory.BatchChain(lambda x: x[:, None] + [1, 2.0], 0.1, 3, -1, 1), "batch"),
        (lambda: theory.BatchChain(lambda x: x[:, None] + np.arange(99.0), 0.1, 9, -1, 1), "outcomes"),
        (lambda: well(0.9, low=2.0, high=1.0), "low"),
        (lambda: walk().mean_exit_step(0.0), "exit"),
        (lambda: walk().mean_exit_step(0.0, exit_high=1.0), "widen"),
        (lambda: walk().committor(0.0, -1.0, None), "both"),
        (lambda: walk().mean_exit_step(0.0, 1.0, -1.0), "order"),
        (lambda: walk().exit_law(2.0, -1.0, 1.0), "x0"),
        (lambda: well(0.3, 0.1).stationary(), "parts"),
        (lambda: well(0.9).occupation_over_time(3, 0.0, 1.0, 0.0), "low"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
