"""Growth rate of the mean square: right on chains whose rate is known, and cut where their law changes."""

import numpy as np
import pytest

from escape.estimate import growth_rate, log_growth_rate
from escape.estimate.base import jackknife_error
from escape.estimate.bootstrap import bca_limits, resample

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


def bootstrapped(values, step, **options):
    return growth_rate(values, step, interval="bootstrap", resamples=500, **options)


def test_bootstrap_covers_the_linear_saddle():
    values, step = chains(3, REPEATS, 256, 60)
    found = [bootstrapped(values[:, i], step) for i in range(REPEATS)]
    covers(found, RATE)
    plain = [growth_rate(values[:, i], step) for i in range(REPEATS)]
    assert [rate.value for rate in found] == [rate.value for rate in plain]
    ratio = np.mean([rate.high - rate.low for rate in found]) / np.mean([rate.high - rate.low for rate in plain])
    assert 0.9 < ratio < 1.05  # Student's quantile of 32 groups is 4% above the normal one


def test_bootstrap_has_a_seed():
    values, step = chains(3, 1, 256, 60)
    rate = bootstrapped(values[:, 0], step)
    assert bootstrapped(values[:, 0], step, seed=0) == rate
    assert bootstrapped(values[:, 0], step, seed=1)[1:3] != rate[1:3]


def test_bootstrap_of_equal_chains_has_no_width():
    step = np.arange(0, 60, 2)
    rate = bootstrapped(1e-6 * np.outer(1.1**step, np.ones(8)), step)
    assert rate.high - rate.low < 1e-9
    assert rate.low == pytest.approx(RATE, rel=1e-9)


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


@pytest.mark.parametrize("interval", ["jackknife", "bootstrap"])
def test_chains_that_run_off_to_infinity_end_the_window(interval):
    """Warnings are errors here: squares and fourth powers overflow on the way, and infinity follows."""
    values, step = chains(9, 1, 64, 60)
    with np.errstate(over="ignore"):
        far = values[:, 0] * np.exp(np.exp(0.12 * step))[:, None]
    far[:, 3] *= 1e10
    assert np.isinf(far).any()
    rate = growth_rate(far, step, interval=interval)
    assert rate.window[1] < 59
    assert np.isfinite(rate.value)
    with pytest.raises(ValueError, match="or whose fourth power is not"):
        growth_rate(far, step, window=(10, 59))


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
        ([0, 1, 2], {"interval": "exact"}, "interval is 'exact'"),
        ([0, 1, 2], {"resamples": 10}, "resamples is 10"),
        ([0, 1, 2], {"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input_is_refused_in_one_line(step, options, message):
    with pytest.raises(ValueError, match=message) as error:
        growth_rate(np.ones((3, 4)), step, **options)
    assert "\n" not in str(error.value)


def test_resampled_means_have_the_spread_of_the_bootstrap():
    """The bootstrap variance of a mean of g groups of one chain each is their variance, divisor g, over g."""
    values = np.random.default_rng(1).standard_normal(40)
    drawn = resample(values[None], np.ones(40), 20_000, 0, lambda mean: mean[0])
    # 20,000 draws know a standard deviation to 0.5% and a mean to 0.7% of it.
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(40), rel=0.02)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.03 * values.std() / np.sqrt(40))


def test_bca_limits_are_plain_quantiles_without_bias_and_skewness():
    drawn, left_out = np.linspace(-1, 1, 2001), np.array([-1.0, 1.0])
    assert bca_limits(0.0, drawn, left_out, 0.9) == pytest.approx((-0.9, 0.9), abs=1e-12)
    skewed = bca_limits(0.0, drawn, np.array([-3.0, 1.0, 1.0, 1.0]), 0.9)
    assert skewed[0] > -0.9
    assert skewed[1] > 0.9
    assert np.isnan(bca_limits(-2.0, drawn, left_out, 0.9)).all()


CURVATURES = np.array([1.0, -1.2])  # at lr 0.5 chains collapse though their mean square grows
LYAPUNOV = np.log(np.abs(1 - 0.5 * CURVATURES)).mean()


def collapsing(seed, repeats, count, steps):
    """Products (steps + 1, repeats, count) of 1 - h/2 from 1 on."""
    rng = np.random.default_rng(seed)
    factors = 1 - 0.5 * CURVATURES[rng.integers(0, 2, (steps, repeats, count))]
    return np.concatenate([np.ones((1, repeats, count)), np.cumprod(factors, axis=0)])


@pytest.mark.parametrize("count", [20, 300])
def test_log_rate_covers_twice_the_lyapunov_exponent(count):
    values = collapsing(1, REPEATS, count, 100)
    found = [log_growth_rate(values[:, i], np.arange(101), (0, 100)) for i in range(REPEATS)]
    covers(found, 2 * LYAPUNOV)
    assert np.mean([rate.reliable for rate in found]) > 0.99
    exact = np.mean([rate.value for rate in found])
    error = np.std([rate.value for rate in found]) / np.sqrt(REPEATS)
    assert abs(exact - 2 * LYAPUNOV) < 4 * error


def test_log_rate_is_the_increment_of_the_mean_logarithm():
    values = collapsing(2, 1, 50, 30)[:, 0]
    rate = log_growth_rate(values, np.arange(0, 310, 10), (100, 200))
    increments = np.log(values[20] ** 2 / values[10] ** 2) / 100
    assert rate.window == (100, 200)
    assert rate.value == pytest.approx(increments.mean())
    half = 2.0095752371292397 * increments.std(ddof=1) / np.sqrt(50)  # Student's 97.5% at 49 degrees
    assert (rate.low, rate.high) == pytest.approx((rate.value - half, rate.value + half))


@pytest.mark.parametrize("options", [{}, {"start": 0.005}])
def test_log_rate_finds_a_window_past_the_transient(options):
    values, step = chains(5, 100, 300, 150, **options)
    found = [log_growth_rate(values[:, i], step) for i in range(100)]
    covers(found, RATE, 0.88, 1.0)
    assert all(rate.reliable for rate in found)
    assert min(rate.window[0] for rate in found) >= 10
    whole = [log_growth_rate(values[:, i], step, (1, 150)) for i in range(100)]
    assert np.mean([rate.low <= RATE <= rate.high for rate in whole]) < 0.5


def test_log_rate_stops_before_chains_leave():
    values, step = chains(6, 40, 300, 120, start=1e-3, radius=1.0)
    found = [log_growth_rate(values[:, i], step) for i in range(40)]
    assert max(rate.window[1] for rate in found if rate.reliable) < 71  # the mean escape
    forced = log_growth_rate(values[:, 0], step, (40, 120))
    assert not forced.reliable
    assert "the rate changes within the window" in forced.reason


def test_log_rate_of_equal_chains_is_exact():
    rate = log_growth_rate(1e-6 * np.outer(1.1 ** np.arange(60), np.ones(10)), np.arange(60))
    assert rate.value == pytest.approx(RATE, rel=1e-9)
    assert rate.high - rate.low < 1e-9
    assert rate.reliable, rate.reason


def test_log_rate_ends_before_chains_underflow():
    step = np.arange(0, 4000)
    values = np.outer(0.8**step, np.random.default_rng(0).uniform(1, 2, 40))
    assert (values[-1] == 0).all()
    rate = log_growth_rate(values, step)
    assert rate.reliable, rate.reason
    assert rate.value == pytest.approx(2 * np.log(0.8), rel=1e-3)
    assert 3000 < rate.window[1] < 3400  # 0.8^3339 is the least number above 0


def test_log_rate_says_that_a_batch_maps_to_zero():
    values = collapsing(3, 1, 40, 30)[:, 0]
    values[20:, 7] = 0
    rate = log_growth_rate(values, np.arange(31), (0, 19))
    assert not rate.reliable
    assert rate.reason.startswith("chains became exactly zero at step 20, too large to underflow")
    with pytest.raises(ValueError, match=r"usable steps are 0\.\.19"):
        log_growth_rate(values, np.arange(31), (0, 25))
    assert np.isnan(log_growth_rate(np.zeros((5, 3)), np.arange(5)).value)


def test_log_rate_of_few_chains_and_of_no_change_is_disowned():
    values = collapsing(4, 1, 7, 30)[:, 0]
    assert "7 chains" in log_growth_rate(values, np.arange(31), (0, 30)).reason
    still = np.exp(0.01 * np.random.default_rng(0).standard_normal((30, 50)))
    assert "give a window" in log_growth_rate(still, np.arange(30)).reason
    assert np.isnan(log_growth_rate(values[:, :1], np.arange(31), (0, 30)).low)


@pytest.mark.parametrize(("window", "message"), [(3, "must be a pair"), ((4.2, 4.8), "holds 0 recorded steps")])
def test_log_rate_refuses_bad_windows(window, message):
    with pytest.raises(ValueError, match=message):
        log_growth_rate(np.ones((20, 5)), np.arange(20), window)


def test_squares_without_growth_at_the_edge_of_what_is_held_give_no_warning():
    noise, step = np.random.default_rng(3).standard_normal((60, 200)), np.arange(60)
    for x in (10.0 ** (-5.0 * step[:, None]) * noise, 1e6 + 1e-5 * noise):
        assert not growth_rate(x, step).reliable
