"""Growth rate of the mean square: right on chains whose rate is known, and cut where their law changes."""

import numpy as np
import pytest

from escape.estimate import growth_rate
from escape.estimate.base import jackknife_error

LR, NOISE = 0.1, 0.01
RATE = 2 * np.log1p(LR)  # curvature -1
REPEATS = 300


def chains(seed, repeats, count, steps, every=1, start=0.0, force=lambda x: x, radius=np.inf, momentum=0.0):
    """Return (t, repeats, count) positions of x + lr (force(x) + noise N), frozen at the radius, and the steps (t,)."""
    rng = np.random.default_rng(seed)
    x = np.full((repeats, count), float(start))
    speed, left, out = np.zeros_like(x), np.zeros(x.shape, bool), [x]
    for t in range(1, steps + 1):
        speed = momentum * speed + force(x) + NOISE * rng.standard_normal(x.shape)
        x = np.where(left, x, x + LR * speed)
        left |= np.abs(x) >= radius
        if t % every == 0:
            out.append(x)
    return np.array(out), every * np.arange(len(out))


def measure(*arguments, **options):
    """Return the growth rate of each of many repeats, simulated some at a time."""
    found = []
    for seed in range(3):
        values, step = chains(seed, REPEATS // 3, *arguments, **options)
        found += [growth_rate(values[:, i], step) for i in range(values.shape[1])]
    return found


def covers(found, truth, low=0.92, high=0.98):
    """Assert the coverage of 95% intervals; 300 repeats of an exact one fail in 2% of seeds, and these are fixed."""
    hits = np.mean([rate.low <= truth <= rate.high for rate in found])
    assert low <= hits <= high, f"covered {hits:.3f} of {len(found)}, allowed {low} to {high}"


@pytest.mark.parametrize(
    ("count", "steps", "every", "start"),
    [(512, 100, 1, 0.0), (512, 80, 5, 0.0), (1024, 120, 5, 0.0), (512, 80, 1, 0.01), (512, 100, 5, 0.1)],
)
def test_interval_covers_the_linear_saddle(count, steps, every, start):
    found = measure(count, steps, every, start)
    covers(found, RATE)
    values = np.array([rate.value for rate in found])
    error = values.std() / np.sqrt(len(found))
    assert abs(values.mean() - RATE) < 4 * error, f"bias {values.mean() - RATE:.2e}, standard error {error:.2e}"
    assert np.mean([rate.reliable for rate in found]) > 0.95
    assert np.mean([rate.window[1] == steps for rate in found]) > 0.98  # there is no saturation to find


def test_width_is_honest_and_not_padded():
    found = measure(512, 80, 1)
    spread = np.std([rate.value for rate in found])
    half = np.mean([rate.high - rate.low for rate in found]) / 2
    assert 1.7 < half / spread < 2.4, f"half width {half:.2e}, spread {spread:.2e}"


def test_plain_slope_would_be_wrong_where_this_is_right():
    values, step = chains(0, 1, 1024, 40)
    slope = np.polyfit(step[1:], np.log((values[1:, 0] ** 2).mean(axis=1)), 1)[0]
    rate = growth_rate(values[:, 0], step)
    assert slope > 1.1 * RATE
    assert rate.value == pytest.approx(RATE, rel=0.01)


@pytest.mark.parametrize("every", [1, 5])
def test_well_is_cut_before_it_saturates(every):
    found = measure(512, 120, every, force=lambda x: x - x**3)
    covers(found, RATE, 0.9, 0.99)
    assert max(rate.window[1] for rate in found) <= 40  # x^2 is near 3e-3 there; the well is reached at 100
    whole, step = chains(0, 1, 512, 120, every, force=lambda x: x - x**3)
    forced = growth_rate(whole[:, 0], step, window=(5, 120))
    assert not forced.reliable
    assert not forced.low <= RATE <= forced.high


def test_frozen_chains_are_cut_off():
    found = measure(512, 120, radius=1.0)
    covers(found, RATE, 0.9, 0.99)
    assert max(rate.window[1] for rate in found) < 50  # the mean escape takes 71 steps
    assert np.mean([rate.reliable for rate in found]) > 0.95


def test_transient_of_momentum_is_passed_over():
    momentum = 0.9
    truth = 2 * np.log(np.roots([1, -(1 + LR + momentum), momentum]).max())
    values, step = chains(5, 100, 512, 40, momentum=momentum)
    found = [growth_rate(values[:, i], step) for i in range(100)]
    covers(found, truth, 0.88, 1.0)
    assert np.mean([rate.reliable for rate in found]) > 0.95
    assert min(rate.window[0] for rate in found) >= 5  # the speed needs 10 steps to build up


@pytest.mark.parametrize("count", [2, 7, 100])
def test_batch_gradient_descent_is_exact_with_no_width(count):
    step = np.arange(0, 60, 2)
    rate = growth_rate(1e-6 * np.outer(1.1**step, np.ones(count)), step)
    assert rate.value == pytest.approx(RATE, rel=1e-9)
    assert rate.high - rate.low < 1e-9
    assert rate.reliable, rate.reason


def test_gradient_descent_from_scattered_starts_is_exact():
    step = np.arange(50)
    rate = growth_rate(np.outer(1.1**step, np.random.default_rng(0).standard_normal(400)), step)
    assert rate.value == pytest.approx(RATE, rel=1e-9)
    assert rate.high - rate.low < 1e-9
    assert rate.reliable, rate.reason


def test_gradient_descent_into_a_well_is_cut():
    x, out = np.full(30, 1e-5), []
    for _ in range(200):
        out.append(x)
        x = x + LR * (x - x**3)
    rate = growth_rate(out, np.arange(200))
    assert rate.reliable, rate.reason
    assert rate.value == pytest.approx(RATE, rel=1e-3)
    assert out[rate.window[1]][0] < 0.1


def test_one_chain_is_measured_and_disowned():
    rate = growth_rate(1.1 ** np.arange(40)[:, None], np.arange(40))
    assert rate.value == pytest.approx(RATE)
    assert not rate.reliable
    assert "1 chain" in rate.reason


def multiplicative(spread, count, steps, seed=2):
    factors = 1 + LR + spread * np.random.default_rng(seed).standard_normal((steps, count))
    return 0.01 * np.concatenate([np.ones((1, count)), np.cumprod(factors, axis=0)]), np.arange(steps + 1)


def test_mild_multiplicative_noise_is_measured():
    rate = growth_rate(*multiplicative(0.05, 2048, 60))
    truth = np.log((1 + LR) ** 2 + 0.05**2)
    error = (rate.high - rate.low) / 4
    assert rate.reliable, rate.reason
    assert abs(rate.value - truth) < 4 * error


def test_heavy_multiplicative_noise_is_flagged_by_its_share():
    rate = growth_rate(*multiplicative(0.6, 1000, 120))
    assert not rate.reliable
    assert "one chain holds" in rate.reason


@pytest.mark.parametrize("sizes", [[1] * 12, [2] * 6, [3, 2, 3, 2, 2]])
def test_jackknife_of_a_mean_is_unbiased(sizes):
    sizes, groups = np.array(sizes), np.repeat(np.arange(len(sizes)), sizes)
    values = np.random.default_rng(0).standard_normal((20_000, 12))
    left_out = np.stack([values[:, groups != g].mean(axis=1) for g in range(len(sizes))], axis=1)
    error = jackknife_error(values.mean(axis=1), left_out, sizes)
    # Its square has mean 1/12 and a relative spread of sqrt(2/(g - 1)), at most 0.71, a repeat: 0.5% for all.
    assert (error**2).mean() * 12 == pytest.approx(1, abs=0.02)
    if len(sizes) == 12:
        np.testing.assert_allclose(error, values.std(axis=1, ddof=1) / np.sqrt(12))


def test_no_growth_is_said():
    values, step = chains(4, 1, 512, 150, force=lambda x: -x)
    rate = growth_rate(values[:, 0], step)
    assert not rate.reliable
    assert "under" in rate.reason
    short = growth_rate(chains(4, 1, 512, 3)[0][:, 0], np.arange(4))
    assert not short.reliable
    assert "fewer than 5" in short.reason


def test_given_window_is_used_and_reported():
    values, step = chains(6, 1, 512, 100, every=5)
    rate = growth_rate(values[:, 0], step, window=(18, 83))
    assert rate.window == (20, 80)
    assert rate.low <= RATE <= rate.high


def test_diverged_chains_end_the_window():
    values, step = chains(7, 1, 512, 100)
    values = values[:, 0].copy()
    values[80:, 3] = np.nan
    rate = growth_rate(values, step)
    assert rate.window[1] == 79
    assert rate.reliable, rate.reason
    with pytest.raises(ValueError, match="must end before step 80"):
        growth_rate(values, step, window=(10, 90))
    values[1:, 3] = np.nan
    assert np.isnan(growth_rate(values, step).value)


def test_all_zero_has_no_rate():
    rate = growth_rate(np.zeros((20, 50)), np.arange(20))
    assert np.isnan(rate.value)
    assert not rate.reliable


def test_rate_does_not_depend_on_the_unit_or_its_spacing():
    values, step = chains(8, 1, 512, 100)
    rate, scaled = growth_rate(values[:, 0], step), growth_rate(1e6 * values[:, 0], 10 * step)
    np.testing.assert_allclose(np.array(scaled[:3]) * 10, rate[:3], rtol=1e-9)
    assert scaled.window == tuple(10 * edge for edge in rate.window)


@pytest.mark.parametrize(
    ("step", "options", "message"),
    [
        ([0, 1, 3], {}, "spaced by 1 to 2"),
        ([2, 1, 0], {}, "must increase"),
        ([0, 1], {}, "one step a row"),
        ([0, 1, 2], {"groups": 1}, "groups is 1"),
        ([0, 1, 2], {"level": 95}, "level is 95"),
        ([0, 1, 2], {"window": (0, 1)}, "holds 2 recorded steps"),
        ([0, 1, 2], {"window": 5}, "must be a pair"),
    ],
)
def test_bad_input_is_refused_in_one_line(step, options, message):
    with pytest.raises(ValueError, match=message) as error:
        growth_rate(np.ones((3, 4)), step, **options)
    assert "\n" not in str(error.value)
