"""Decreasing learning rates: late moments and sums against the exact recursion and direct summation."""

import numpy as np
import pytest

from escape import theory

NOISE, START = 0.7, 1.3


def exact(steps, curvature, scale, offset=1.0, start=START, power=1.0):
    lrs = theory.power_law_lr(np.arange(steps), scale, offset, power)
    return theory.mean_square_schedule(lrs, curvature, NOISE, start)


def test_schedule():
    assert theory.power_law_lr(3, 2.0) == 0.5
    assert np.allclose(theory.power_law_lr(np.array([0, 12]), 2.0, 4.0, 0.5), [1.0, 0.5])
    assert theory.power_law_lr(100, 0.3, power=0.0) == 0.3


@pytest.mark.parametrize(("power", "finite"), [(0.4, ()), (0.5, ()), (0.8, (1,)), (1.0, (1,)), (1.5, (0, 1))])
def test_sums_and_where_they_are_finite(power, finite):
    got = theory.power_law_sums(2.0, 3.0, power)
    assert [i for i in (0, 1) if np.isfinite(got[i])] == list(finite), f"power {power}: sums {got}"
    lrs = theory.power_law_lr(np.arange(1_000_000), 2.0, 3.0, power)
    for i in finite:
        m = (i + 1) * power
        tail = 2.0 ** (i + 1) * (1_000_003 - 0.5) ** (1 - m) / (m - 1)  # the rest as an integral
        want = (lrs ** (i + 1)).sum() + tail
        assert abs(got[i] / want - 1) < 1e-9, f"power {power}: {got[i]}, summed {want}"


@pytest.mark.parametrize(("scale", "curvature"), [(2.0, 1.0), (1.0, 1.5), (0.6, 3.0)])
def test_fast_schedule_forgets_and_falls_as_one_over_t(scale, curvature):
    late = np.array([2000, 4000])
    gaps = (
        theory.decay_mean_square_limit(late, curvature, NOISE, START, scale=scale, offset=2.0)
        / exact(4000, curvature, scale, 2.0)[late]
        - 1
    )
    assert np.abs(gaps).max() < 0.01, f"gaps {gaps}"
    order = np.log2(gaps[0] / gaps[1])
    want = min(1.0, 2 * scale * curvature - 1)
    assert abs(order - want) < 0.1, f"2 c h = {2 * scale * curvature}: gaps {gaps} fall as t^-{order:.2f}"


@pytest.mark.parametrize(("scale", "curvature"), [(0.1, 1.0), (0.5, 0.8), (1.0, 0.0), (1.0, -0.7), (3.0, -0.5)])
@pytest.mark.parametrize("offset", [1.0, 7.5])
def test_slow_schedule_remembers(scale, curvature, offset):
    late = np.array([1000, 4000])
    want = exact(4000, curvature, scale, offset)[late]
    gaps = theory.decay_mean_square_limit(late, curvature, NOISE, START, scale=scale, offset=offset) / want - 1
    assert np.abs(gaps).max() < 0.005, f"gaps {gaps}"
    # without curvature there is nothing left to first order
    if curvature:
        assert abs(gaps[1]) < 0.3 * abs(gaps[0]), f"gaps {gaps} should fall as 1 / t"
    # all of it: without a start, and without noise
    for noise, start in ((NOISE, 0.0), (0.0, START)):
        alone = theory.mean_square_schedule(scale / (np.arange(4000) + offset), curvature, noise, start)[-1]
        got = theory.decay_mean_square_limit(4000, curvature, noise, start, scale=scale, offset=offset)
        assert abs(got / alone - 1) < 0.005, f"noise {noise}, start {start}: {got}, recursion {alone}"


def test_borderline_schedule_has_a_logarithm():
    late = np.array([100, 10_000, 1_000_000])
    ratio = exact(1_000_000, 0.5, 1.0)[late] / theory.decay_mean_square_limit(late, 0.5, NOISE, scale=1.0)
    # ratio = 1 + K / ln t: its gap falls inversely to ln t
    gaps = ratio - 1
    assert np.allclose(gaps * np.log(late + 1.0), (gaps * np.log(late + 1.0))[-1], rtol=0.05), f"gaps {gaps}"
    slope = np.diff(exact(1_000_000, 0.5, 1.0)[late] * (late + 1)) / np.diff(np.log(late + 1.0))
    assert np.allclose(slope, NOISE**2, rtol=0.01), f"t E x^2 grows by {slope} per unit of ln t, want {NOISE**2}"


def test_saddle_agrees_with_the_kick():
    """From the saddle K t^(2 c |h|) is the square of the kick times that of the mean growth."""
    scale, h, offset = 1.5, -0.8, 2.0
    t = 100_000
    s = theory.decay_kick_std(scale, offset, h, NOISE)
    growth = np.prod(1 - h * theory.power_law_lr(np.arange(t), scale, offset))
    got = theory.decay_mean_square_limit(t, h, NOISE, scale=scale, offset=offset)
    assert abs(got / (s * growth) ** 2 - 1) < 1e-4, f"{got}, kick and growth {(s * growth) ** 2}"


def test_a_finite_sum_of_rates_stops_short():
    total = theory.power_law_sums(0.01, 5.0, 1.5)[0]
    lrs = theory.power_law_lr(np.arange(2_000_00), 0.01, 5.0, 1.5)
    reached = np.prod(1 - 2.0 * lrs)
    left = np.exp(-2.0 * total)
    assert abs(reached / left - 1) < 1e-3, f"the mean stops at {reached} of the start, e^(-h sum) = {left}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.power_law_lr(-1, 1.0), "step is"),
        (lambda: theory.power_law_sums(1.0, 0.0), "offset is"),
        (lambda: theory.power_law_sums(1.0, 1.0, -1.0), "power is"),
        (lambda: theory.decay_mean_square_limit(10, 0.4, 1.0, scale=1.0, offset=0.3), "offset is"),
        (lambda: theory.decay_mean_square_limit(10, np.ones(2), 1.0, scale=1.0), "one number"),
        (lambda: theory.decay_mean_square_limit(10, 1.0, -1.0, scale=1.0), "noise is"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
