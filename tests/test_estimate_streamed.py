"""Power sums over blocks: the same numbers as from all values, and honest where something is lost."""

import numpy as np
import pytest
import torch
import xarray as xr
from test_estimate_growth import RATE, chains

from escape import STATISTICS, Above, DoubleWell, GradientDescent, MiniBatch, Projection, QuadraticSaddle, simulate
from escape.estimate import (
    PowerSums,
    effective_chains,
    growth_rate,
    largest_share,
    log_growth_rate,
    mean,
    mean_log_square,
    mean_square,
    mean_square_standard_error,
    streamed,
)
from escape.observables import SquaredDistance

F64 = torch.float64
ORIGIN, AXIS = torch.zeros(2, dtype=F64), torch.tensor([1.0, 0.0], dtype=F64)
SADDLE = QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=50)
MOMENTS = (mean, mean_square, mean_log_square)
NUMBERS = (mean_square_standard_error, largest_share, effective_chains)


def run(**changed):
    """The same run twice: all values, and power sums; sixteen blocks, the chains in most of which leave."""
    arguments = {
        "landscape": SADDLE, "oracle": MiniBatch(4), "optimizer": GradientDescent(0.1), "start": ORIGIN, "steps": 60,
        "chains": 512, "block": 32, "observe": {"x": Projection(ORIGIN, AXIS), "square": SquaredDistance(ORIGIN)},
        "until": Above(SquaredDistance(ORIGIN), 0.1), "seed": 5,
    } | changed  # fmt: skip
    return simulate(**arguments), simulate(**arguments, reduce=True)


@pytest.fixture(scope="module")
def both():
    return run()


def reduced(values, block):
    """Power sums (statistic, step, block) of values (t, c), by the definitions."""
    parts = np.split(values, range(block, values.shape[1], block), axis=1)
    before = [np.concatenate([part[:1], part[:-1]]) for part in parts]
    with np.errstate(divide="ignore"):
        logs = [2 * np.log(np.abs(part)) for part in parts]

    def sums(arrays):
        return np.stack([array.sum(axis=1) for array in arrays], axis=1)

    held = {
        "count": sums([np.ones_like(part) for part in parts]),
        "sum": sums(parts),
        "sum_of_magnitudes": sums([np.abs(part) for part in parts]),
        "sum_of_squares": sums([part**2 for part in parts]),
        "sum_of_fourth_powers": sums([part**4 for part in parts]),
        "sum_of_lagged_products": sums([part**2 * last**2 for part, last in zip(parts, before, strict=True)]),
        "sum_of_log_squares": sums(logs),
        "sum_of_squared_log_squares": sums([log**2 for log in logs]),
        "largest_magnitude": np.stack([np.abs(part).max(axis=1) for part in parts], axis=1),
    }
    return xr.DataArray(
        np.stack([held[name] for name in STATISTICS]), dims=("statistic", "step", "block"),
        coords={"statistic": list(STATISTICS)},
    )  # fmt: skip


def assert_equal(got, expected, errors=1e-10):
    """Estimates equal to rounding; their widths to `errors` of the value, being differences of sums."""
    np.testing.assert_allclose(got.value, expected.value, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(got.low, expected.low, rtol=errors, atol=1e-300)
    np.testing.assert_allclose(got.high, expected.high, rtol=errors, atol=1e-300)
    assert got.reliable == expected.reliable, (got.reason, expected.reason)


@pytest.mark.parametrize("name", ["x", "square"])
def test_the_engine_keeps_what_the_names_say(both, name):
    full, sums = both
    expected = reduced(full[name].values, 32)
    assert sums[name].dims == expected.dims
    for statistic in STATISTICS:
        got, wanted = sums[name].sel(statistic=statistic).values, expected.sel(statistic=statistic).values
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14 * np.abs(wanted[np.isfinite(wanted)]).max())


def test_every_statistic_has_its_place():
    assert set(PowerSums.__dataclass_fields__) == set(STATISTICS)


@pytest.mark.parametrize("name", ["x", "square"])
@pytest.mark.parametrize("estimate", MOMENTS)
def test_moments_are_those_of_all_values(both, name, estimate):
    full, sums = both
    assert_equal(estimate(sums[name][:, 1:], level=0.9), estimate(full[name][1:], level=0.9))


@pytest.mark.parametrize("name", ["x", "square"])
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_those_of_all_values(both, name, number):
    full, sums = both
    np.testing.assert_allclose(number(sums[name]), number(full[name]), rtol=1e-10)


def test_at_the_saddle_itself_all_is_zero(both):
    _, sums = both
    assert mean_square(sums.x).value[0] == mean_square(sums.x).high[0] == 0
    assert mean_log_square(sums.x).value[0] == mean_log_square(sums.x).high[0] == -np.inf
    assert mean_log_square(sums.x).reason == "some of 512 chains exactly zero, first at recorded step 0"
    assert largest_share(sums.x)[0] == 1 / 512
    assert effective_chains(sums.x)[0] == 512


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("groups", [16, 8])
def test_growth_rate_is_that_of_all_values(every, groups):
    """Groups of chains are then blocks or pairs of blocks, on either side."""
    full, sums = run(until=None, every=every, start=ORIGIN, steps=80)
    expected = growth_rate(full.x, full.step, groups=groups)
    got = growth_rate(sums.x, sums.step, groups=groups)
    assert got.window == expected.window
    np.testing.assert_allclose(got[:3], expected[:3], rtol=1e-6)
    assert got.reliable == expected.reliable == True, (got.reason, expected.reason)  # noqa: E712


def test_growth_rate_covers_the_linear_saddle():
    """With 300 repeats of an exact 95% interval 0.92 to 0.98 fails in 2% of seeds; the seed was not chosen."""
    hits, found = [], []
    for seed in range(3):
        values, step = chains(seed, 100, 512, 80)
        found += [growth_rate(reduced(values[:, i], 48), step) for i in range(100)]  # eleven blocks, the last one short
    hits = np.mean([rate.low <= RATE <= rate.high for rate in found])
    assert 0.92 <= hits <= 0.98, f"covered {hits:.3f}"
    assert np.mean([rate.reliable for rate in found]) > 0.95
    assert np.mean([rate.window[1] == 80 for rate in found]) > 0.98  # there is no saturation to find


def test_bootstrap_and_log_rate_are_those_of_all_values():
    full, sums = run(until=None, start=ORIGIN, steps=120)
    got = growth_rate(sums.x, sums.step, interval="bootstrap", resamples=300)
    few = growth_rate(full.x, full.step, groups=16)
    assert got.value == pytest.approx(few.value, rel=1e-6)  # the weights differ by the rounding of a variance
    assert 0.5 < (got.high - got.low) / (few.high - few.low) < 1.2  # 16 groups: Student's quantile is 9% larger
    window = (60, 120)
    got, expected = (log_growth_rate(data.x, data.step, window) for data in (sums, full))
    assert got.value == pytest.approx(expected.value, rel=1e-9)
    assert got.window == expected.window == window
    assert 0.4 < (got.high - got.low) / (expected.high - expected.low) < 2.5  # an error from 16 blocks is rough
    assert got.reliable, got.reason
    found = log_growth_rate(sums.x, sums.step)
    assert 5 < found.window[0] < 110


def test_log_rate_of_power_sums_sees_zeros():
    values = np.outer(0.9 ** np.arange(30), np.ones(64))
    values[20:, 5] = 0
    rate = log_growth_rate(reduced(values, 8), np.arange(30), (0, 19))
    assert "chains became exactly zero at step 20" in rate.reason
    assert rate.value == pytest.approx(2 * np.log(0.9))


def test_saturation_is_cut_off_all_the_same():
    values, step = chains(0, 100, 512, 120, force=lambda x: x - x**3)
    found = [growth_rate(reduced(values[:, i], 32), step) for i in range(100)]
    assert max(rate.window[1] for rate in found) <= 45  # the well is reached at 100
    hits = np.mean([rate.low <= RATE <= rate.high for rate in found])
    assert hits >= 0.87, f"covered {hits:.2f}: a right 95% interval falls below in 0.2% of seeds"


def test_one_block_has_a_rate_but_no_interval():
    values, step = chains(1, 1, 512, 80)
    rate = growth_rate(reduced(values[:, 0], 512), step)
    assert not rate.reliable
    assert rate.reason == "1 group of blocks, where the jackknife needs 8: run with a smaller block, or more chains"
    assert np.isnan(rate.low)
    assert np.isnan(rate.high)
    assert rate.value == pytest.approx(RATE, rel=0.1)
    few = growth_rate(reduced(values[:, 0], 128), step)
    assert "4 groups of blocks, where the jackknife needs 8" in few.reason
    assert few.low < few.value < few.high


def test_diverged_chains_leave_no_mean_of_the_rest():
    """Started far out, a fifth of the chains or so is thrown beyond all bounds."""
    well = DoubleWell.gaussian(2.0, n=20)
    start = torch.full((1,), 4.57, dtype=F64)
    x = Projection(torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    full, sums = run(landscape=well, start=start, observe={"x": x}, until=None, oracle=MiniBatch(2), steps=30)
    lost = int((full.status == 2).sum())
    assert 0 < lost < 512
    for estimate in MOMENTS:
        got, expected = estimate(sums.x), estimate(full.x)
        np.testing.assert_array_equal(np.isnan(got.value), np.isnan(expected.value))
        assert np.isnan(got.value[-1])
        since = expected.reason.split("not finite ")[1].split(";")[0]
        assert f"some of 512 chains not finite {since}" in got.reason
    for number in NUMBERS:
        np.testing.assert_array_equal(np.isnan(number(sums.x)), np.isnan(number(full.x)))
    got, expected = (growth_rate(data.x, data.step, groups=16) for data in (sums, full))
    assert got.window == expected.window


def test_a_heavy_tail_is_said():
    rng = np.random.default_rng(3)
    values = np.exp(0.3 * np.cumsum(rng.standard_normal((60, 1000)), axis=0))
    sums = reduced(values, 100)
    for estimate, parts in ((mean_square, "squares"), (mean, "magnitudes")):
        assert estimate(sums).reason == estimate(values).reason
        assert f"of the sum of {parts}" in estimate(sums).reason


def test_equal_chains_have_a_width_of_rounding_alone():
    values = np.outer(1.1 ** np.arange(30), np.ones(64))
    estimate = mean_square(reduced(values, 8))
    assert (estimate.high / estimate.low - 1).max() < 1e-6
    rate = growth_rate(reduced(values, 8), np.arange(30))
    assert rate.value == pytest.approx(RATE, rel=1e-9)
    assert rate.high - rate.low < 1e-7
    assert rate.reliable, rate.reason


def test_the_mean_covers():
    """Of 2000 repeats; a false alarm in 16,000 seeds."""
    values = 3 + np.random.default_rng(12).standard_normal((2000, 400))
    for given in (values, reduced(values, 100)):
        estimate = mean(given)
        hits = ((estimate.low <= 3) & (estimate.high >= 3)).mean()
        assert abs(hits - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000), f"covered {hits:.4f}"


def test_squares_too_small_for_their_squares_are_not_guessed_at():
    values = 1e-100 * np.random.default_rng(0).standard_normal((2, 100))
    estimate = mean_square(reduced(values, 10))
    np.testing.assert_allclose(estimate.value, mean_square(values).value)
    assert np.isnan(estimate.low).all()
    assert np.isnan(effective_chains(reduced(values, 10))).all()


def test_what_are_no_power_sums_is_refused(both):
    _, sums = both
    x = sums.x
    padded = xr.concat([x, x.isel(block=[0]) * np.nan], "block")
    cases = [
        (x.isel(block=0), "must have the dimensions statistic, step and block, got statistic, step"),
        (x.sel(statistic=["count", "sum"]), "power sums without sum_of_magnitudes"),
        (padded, "take one point by sweep_point"),
    ]
    for array, message in cases:
        for function in (streamed, mean_square):
            with pytest.raises(ValueError, match=message):
                function(array)
    with pytest.raises(ValueError, match="must have the dimensions"):
        streamed(np.ones((3, 4)))
    held = streamed(x)
    with pytest.raises(ValueError, match="sum has shape"):
        PowerSums(**{name: getattr(held, name)[: None if name == "count" else 3] for name in STATISTICS})


def test_power_sums_are_taken_however_they_lie(both):
    _, sums = both
    turned = sums.x.transpose("block", "statistic", "step").isel(statistic=slice(None, None, -1))
    assert_equal(mean_square(turned), mean_square(streamed(sums.x)))


def test_a_spread_lost_in_rounding_is_no_interval_without_width():
    x = 1e6 + 1e-5 * np.random.default_rng(3).standard_normal((1, 400))
    found = mean(reduced(x, 40))
    assert found.low[0] < mean(x).low[0] < mean(x).high[0] < found.high[0]
