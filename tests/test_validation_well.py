"""Escape from a minimum over a barrier, simulated, against the exact chain of one dimension, in standard errors."""

import functools
import math

import numpy as np
import pytest
import torch

from escape import (
    Above,
    Below,
    FullBatch,
    GradientDescent,
    IsotropicNoise,
    Projection,
    TwoSlopeWell,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
SHARP, FLAT, BARRIER, LR = 2.0, 1.0, 0.25, 0.05
LOW, HIGH = -1.6, 2.8  # no chain goes further, but for a chance the solver would refuse
MINIMA = {"sharp": -1 / SHARP, "flat": 1 / FLAT}
CHAINS = 8192
COLD, WARM = 0.15, 0.22
# (temperature, noise that grows with the slope)
settings = pytest.mark.parametrize(
    ("temperature", "scaled"), [(WARM, False), (COLD, False), (0.08, True)], ids=["warm", "cold", "scaled noise"]
)
X = Projection(torch.zeros(1), torch.ones(1))


def noise_of(temperature, lr=LR):
    """Standard deviation of the gradient at which lr noise²/2 is the temperature."""
    noise = math.sqrt(2 * temperature / lr)
    assert abs(theory.temperature(lr, noise) - temperature) < 1e-12
    return noise


def slope(x):
    return np.where(x < 0, SHARP, FLAT)


def force(x):
    y = slope(x) * x
    return 4 * BARRIER * slope(x) * (y * y - 1) * y


@functools.cache
def exact(temperature, scaled=False, lr=LR):
    noise = noise_of(temperature, lr)
    std = (lambda x: lr * noise * slope(x)) if scaled else lr * noise
    return theory.GaussianChain(lambda x: x - lr * force(x), std, LOW, HIGH, (0.0,))


def run(temperature, minimum, scaled=False, **arguments):
    """Noise of one sample at a time, in its Gaussian version: exactly the chain that is solved."""
    landscape = TwoSlopeWell.noisy(SHARP, FLAT, BARRIER, noise_of(temperature), n=10, scaled_noise=scaled)
    oracle = IsotropicNoise(1, replacement=True)
    start = torch.tensor([MINIMA[minimum]], dtype=torch.float64)
    return simulate(landscape, oracle, GradientDescent(LR), start, chains=CHAINS, **arguments)


def test_the_force_is_that_of_the_landscape():
    x = np.linspace(LOW, HIGH, 101)
    got = TwoSlopeWell(SHARP, FLAT, BARRIER).gradient(torch.from_numpy(x)[:, None])[:, 0].numpy()
    assert np.abs(got - force(x)).max() < 1e-12


@settings
def test_exit_steps_are_those_of_the_chain(temperature, scaled, within):
    for seed, (minimum, start) in enumerate(MINIMA.items()):
        if scaled and minimum == "flat":
            continue  # half a minute of steps: the flat side is the cold one where noise grows with the slope
        side = {"exit_high": 0.0} if minimum == "sharp" else {"exit_low": 0.0}
        until = Above(X, 0.0) if minimum == "sharp" else Below(X, 0.0)
        chain = exact(temperature, scaled)
        mean = float(chain.mean_exit_step(start, **side))
        data = run(temperature, minimum, scaled, steps=int(25 * mean), until=until, seed=30 + seed)
        assert (data.status.values == 1).all()
        step = data.exit_step.values.astype(float)
        # False alarms: 0.3% for each of five means.
        error = step.std(ddof=1) / math.sqrt(CHAINS)
        assert float(chain.mean_exit_step_error(start, **side)) < 0.01 * error, "the solver must be the exact side"
        within(f"mean exit step from the {minimum} minimum at T = {temperature}", step.mean(), mean, error, 3)
        # The law too, where it is not an exponential: survival at a tenth, a half, one and two means.
        times = (np.array([0.1, 0.5, 1, 2]) * mean).astype(int)
        survival = chain.exit_survival(int(times[-1]), start, **side)[times]
        got = (step[:, None] > times).mean(0)
        # False alarms: 1.1% for each of five laws.
        within(f"survival from the {minimum} minimum", got, survival, np.sqrt(survival * (1 - survival) / CHAINS), 3)


@settings
def test_occupation_of_the_basins_is_that_of_the_chain(temperature, scaled, within):
    steps, every = 400, 50
    for seed, (minimum, start) in enumerate(MINIMA.items()):
        data = run(temperature, minimum, scaled, steps=steps, every=every, observe={"x": X}, seed=40 + seed)
        expected = exact(temperature, scaled).occupation_over_time(steps, start, -np.inf, 0.0)[::every]
        got = (data.x.values < 0).mean(1)
        assert got[0] == expected[0] == (minimum == "sharp")
        error = np.sqrt(expected * (1 - expected) / CHAINS)
        # 48 comparisons in all six runs. False alarms: 0.3% for each run at the last step, which is looked at alone;
        # 0.006% at every other one, 0.3% for all of them.
        within(f"share in the sharp basin from the {minimum} one, last", got[-1], expected[-1], error[-1], 3)
        within(f"share in the sharp basin from the {minimum} one", got[1:], expected[1:], error[1:], 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_batch_descent_never_leaves_a_minimum(dtype):
    landscape = TwoSlopeWell.noisy(SHARP, FLAT, BARRIER, noise_of(WARM), n=10, dtype=dtype)
    for start, until in ((MINIMA["sharp"], Above(X, -0.45)), (MINIMA["flat"], Below(X, 0.95))):
        data = simulate(
            landscape,
            FullBatch(),
            GradientDescent(LR),
            torch.tensor([start]),
            steps=500,
            chains=1,
            block=1,
            until=until,
        )
        assert int(data.status[0]) == 0, f"left the minimum at {start} at step {int(data.exit_step[0])}"
        assert abs(float(data.final[0, 0]) - start) < 1e-5


def test_long_run_occupation_is_the_stationary_one(within):
    """From a start in its stationary share, nothing changes: the simulated share stays at the solver's."""
    temperature = WARM
    share = exact(temperature).stationary().occupation(LOW, 0.0)
    late = exact(temperature).occupation_over_time(1000, MINIMA["sharp"], -np.inf, 0.0)[-1]
    assert abs(late - share) < 1e-5, f"exact occupation after 1000 steps {late}, stationary {share}"
    data = run(temperature, "sharp", steps=1000, every=1000, observe={"x": X}, seed=50)
    got = (data.x.values[-1] < 0).mean()
    # False alarms: 0.3%.
    within("share in the sharp basin after 1000 steps", got, share, math.sqrt(share * (1 - share) / CHAINS), 3)


def test_occupation_tends_to_the_ratio_of_the_widths():
    """Sharp to flat as k₂ to k₁ as lr → 0 at fixed temperature; at any lr above, the sharp one holds less."""
    temperature, lrs = 0.15, (0.05, 0.025, 0.0125, 0.00625)
    shares = [exact(temperature, lr=lr).stationary().occupation(LOW, 0.0) for lr in lrs]
    gap = np.array([FLAT / SHARP - share / (1 - share) for share in shares])
    assert (gap > 0).all(), f"gaps {gap}"
    assert (np.diff(gap) < 0).all(), f"the gap to k₂/k₁ must shrink with lr: {gap} at lr = {lrs}"
    order = np.log2(gap[-2] / gap[-1])
    assert 0.8 < order < 1.5, f"the gap should vanish like lr; halving lr divides it by 2^{order:.2f}"
    assert gap[-1] < 0.01, f"ratio {FLAT / SHARP - gap[-1]:.4f} at lr = {lrs[-1]}, limit {FLAT / SHARP}"
