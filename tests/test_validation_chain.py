"""Exact chains of one and two coordinates against simulated ones, and exponents against both."""

import math

import numpy as np
import pytest
import torch

from escape import (
    Above,
    DoubleWell,
    GaussianNoise,
    GradientDescent,
    MiniBatch,
    Projection,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
X = Projection(torch.zeros(1), torch.ones(1))
CHAINS = 20_000


def force(x):
    return x**3 - x


def well(noise):
    return DoubleWell(torch.tensor([[noise], [-noise]], dtype=torch.float64), torch.zeros(0, dtype=torch.float64))


def gaussian(lr, noise, batch=1, low=-2.5, high=2.5):
    return theory.GaussianChain(lambda x: x - lr * force(x), lr * noise / math.sqrt(batch), low, high)


def batches(lr, noise, batch=1, nodes=2**13):
    tilts = np.array([noise, -noise])
    return theory.BatchChain(lambda x: force(x)[:, None] + tilts, lr, batch, -2.5, 2.5, True, nodes)


def run(oracle, lr, noise, start, chains=CHAINS, **arguments):
    begin = torch.tensor([start], dtype=torch.float64)
    return simulate(well(noise), oracle, GradientDescent(lr), begin, chains=chains, **arguments)


def outside(x):
    """Beyond -1.1 or 0.7."""
    return (x[:, 0] <= -1.1) | (x[:, 0] >= 0.7)


def mean_of(data):
    assert (data.status.values == 1).all(), "chains are left"
    step = data.exit_step.values.astype(float)
    return step.mean(), step.std(ddof=1) / math.sqrt(len(step)), step


# (lr, batch size, temperature lr noise^2 / (2 batch size)): twelve cases with the two kinds of noise
SETTINGS = [(0.05, 1, 0.3), (0.1, 2, 0.2), (0.1, 8, 0.15), (0.2, 1, 0.15), (0.2, 4, 0.12), (0.3, 3, 0.12)]


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("true", [False, True], ids=["gaussian", "mini-batch"])
def test_mean_exit_step_in_twelve_cases(index, true, compare):
    lr, batch, temperature = SETTINGS[index]
    noise = math.sqrt(2 * temperature * batch / lr)
    oracle = (MiniBatch if true else GaussianNoise)(batch, replacement=True)
    data = run(oracle, lr, noise, -1.0, 100_000, steps=20_000, until=Above(X, -0.3), seed=600 + index + 10 * true)
    got, error, _ = mean_of(data)
    nodes = 2**14 if index in (3, 5) else 2**13  # few outcomes of long steps take the finer grid
    chain = batches(lr, noise, batch, nodes) if true else gaussian(lr, noise, batch)
    method = theory.BatchChain.mean_exit_step if true else theory.GaussianChain.mean_exit_step
    want, off = chain.mean_exit_step(-1.0, exit_high=-0.3), chain.mean_exit_step_error(-1.0, exit_high=-0.3)
    assert off < 0.5 * error, f"the solver's own error {off} must be below the simulation's {error}"
    # the solver's is a 95% one
    compare(method, f"lr {lr}, b {batch}, T {temperature}", got, want, math.hypot(error, off / 2))


@pytest.mark.parametrize("true", [False, True], ids=["gaussian", "mini-batch"])
def test_side_and_law_of_the_exit(true, compare):
    lr, noise, batch = 0.1, 1.2, 2
    kind = theory.BatchChain if true else theory.GaussianChain
    chain = batches(lr, noise, batch) if true else gaussian(lr, noise, batch)
    oracle = (MiniBatch if true else GaussianNoise)(batch, replacement=True)
    data = run(oracle, lr, noise, -0.2, steps=20_000, until=outside, seed=620 + true)
    _, _, step = mean_of(data)
    high = (data.final.values[:, 0] > 0).mean()
    want = chain.committor(-0.2, -1.1, 0.7)
    compare(kind.committor, "leaving by the high side", high, want, math.sqrt(want * (1 - want) / CHAINS))
    data = run(oracle, lr, noise, -0.2, steps=20_000, until=outside, seed=622 + true)
    _, _, step = mean_of(data)
    law = chain.exit_law(-0.2, -1.1, 0.7)
    fourth = ((step - step.mean()) ** 4).mean()
    spread = math.sqrt((fourth - step.var() ** 2) / CHAINS)
    compare(kind.exit_law, "variance of the exit step", step.var(ddof=1), law.variance, spread)
    data = run(oracle, lr, noise, -0.2, steps=20_000, until=outside, seed=624 + true)
    _, _, step = mean_of(data)
    late = float(law.quantile(0.8))
    want = law.survival(late)
    got, error = (step > late).mean(), math.sqrt(want * (1 - want) / CHAINS)
    assert want <= 0.2 < law.survival(late - 1)
    compare(theory.ExitLaw.survival, f"{kind.__name__}, at the 80% quantile", got, want, error)
    data = run(oracle, lr, noise, -0.2, steps=20_000, until=outside, seed=626 + true)
    _, _, step = mean_of(data)
    want = chain.exit_survival(30, -0.2, -1.1, 0.7)[-1]
    got, error = (step > 30).mean(), math.sqrt(want * (1 - want) / CHAINS)
    compare(kind.exit_survival, "alive after 30 steps", got, want, error)
    # the share that has left at the predicted quantile is what the law says it is there
    data = run(oracle, lr, noise, -0.2, steps=20_000, until=outside, seed=628 + true)
    _, _, step = mean_of(data)
    middle = float(law.quantile(0.3))
    share = 1 - law.survival(middle)
    error = math.sqrt(share * (1 - share) / CHAINS)
    compare(theory.ExitLaw.quantile, f"{kind.__name__}, 30%", (step <= middle).mean(), share, error)


@pytest.mark.parametrize("true", [False, True], ids=["gaussian", "mini-batch"])
def test_occupation(true, compare):
    lr, noise, batch = 0.2, 1.5, 2
    kind = theory.BatchChain if true else theory.GaussianChain
    chain = batches(lr, noise, batch) if true else gaussian(lr, noise, batch, -2.8, 2.8)
    oracle = (MiniBatch if true else GaussianNoise)(batch, replacement=True)
    kinds = theory.Stationary, theory.BatchStationary
    for place, (steps, low, high) in enumerate([(25, 0.0, 3.0), (1200, -0.3, 0.8)]):
        data = run(oracle, lr, noise, -1.0, steps=steps, every=steps, observe={"x": X}, seed=640 + place + 2 * true)
        x = data.x.values[-1]
        got = ((x > low) & (x < high)).mean()
        if place == 0:
            want = chain.occupation_over_time(steps, -1.0, low, high)[-1]
            method = kind.occupation_over_time
        else:
            law = chain.stationary()
            want, method = law.occupation(low, high), kinds[true].occupation
            late = chain.occupation_over_time(steps, -1.0, low, high)[-1]
            assert abs(late - want) < 1e-4, f"after {steps} steps {late}, stationary {want}"
        error = math.sqrt(want * (1 - want) / CHAINS)
        compare(method, f"({low}, {high}) after {steps} steps", got, want, error)
        if place:
            measured = late_share(oracle, lr, noise, low, high, 650 + true)
            compare(kind.stationary, f"share of ({low}, {high})", measured, want, error)


def late_share(oracle, lr, noise, low, high, seed):
    """Occupation after 1200 steps, of chains of their own."""
    x = run(oracle, lr, noise, 1.0, steps=1200, every=1200, observe={"x": X}, seed=seed).x.values[-1]
    return ((x > low) & (x < high)).mean()


def test_reaching_one_set_before_another(compare):
    lr, noise = 0.1, 1.2
    chain = gaussian(lr, noise)
    want = chain.reaching_probability(-0.2, (0.9, 1.1), (-1.1, -0.9))
    rng, x = np.random.default_rng(660), np.full(CHAINS, -0.2)
    left = np.ones(CHAINS, dtype=bool)
    while left.any():
        x[left] += -lr * force(x[left]) + lr * noise * rng.standard_normal(left.sum())
        left &= np.abs(np.abs(x) - 1) >= 0.1
    error = math.sqrt(want * (1 - want) / CHAINS)
    compare(theory.GaussianChain.reaching_probability, "a window at each minimum", (x > 0).mean(), want, error)


def test_equal_covariance_and_other_escape(compare):
    """Mini-batch and Gaussian noise of one covariance everywhere: logs of the mean exit step differ by over 30%."""
    lr, noise, end = SAME
    logs = []
    for true in (True, False):
        oracle = (MiniBatch if true else GaussianNoise)(1, replacement=True)
        data = run(oracle, lr, noise, -1.0, 4000, steps=200_000, until=Above(X, end), seed=670 + true)
        got, error, _ = mean_of(data)
        chain = batches(lr, noise, nodes=2**15) if true else gaussian(lr, noise)
        want = chain.mean_exit_step(-1.0, exit_high=end)
        method = theory.BatchChain.mean_exit_step if true else theory.GaussianChain.mean_exit_step
        compare(method, f"equal covariance, noise {noise}", got, want, error)
        logs.append(math.log(got))
    assert logs[0] > 1.3 * logs[1], f"ln mean exit step {logs[0]:.3f} of mini-batches, {logs[1]:.3f} of the Gaussian"


SAME = (0.3, 0.5, -0.5)


def test_no_chain_crosses_a_shell_where_all_samples_point_inward():
    lr, noise = 0.1, 0.3
    assert np.isinf(batches(lr, noise).mean_exit_step(-1.0, exit_high=0.0))
    assert np.isinf(theory.escape_log_time(lambda x: force(x)[:, None] + np.array([noise, -noise]), -1.0, 0.0, lr, 1))
    data = run(MiniBatch(1, replacement=True), lr, noise, -1.0, 2000, steps=5000, until=Above(X, 0.0), seed=680)
    assert (data.status.values == 0).all(), "a chain crossed the shell"
    assert np.isfinite(gaussian(lr, noise).mean_exit_step(-1.0, exit_high=0.0)), "its Gaussian surrogate does cross"


def walk_out(gradients, batch, lr, gaussian_noise, seed, chains=20_000):
    """Where walks of constant gradients leave (-0.6, 0.3)."""
    rng = np.random.default_rng(seed)
    x, left = np.zeros(chains), np.ones(chains, dtype=bool)
    mean, std = gradients.mean(), gradients.std() / math.sqrt(batch)
    while left.any():
        n = left.sum()
        normal = mean + std * rng.standard_normal(n) if gaussian_noise else 0.0
        x[left] -= lr * (normal if gaussian_noise else rng.choice(gradients, (n, batch)).mean(1))
        left &= (x < 0.3) & (x > -0.6)
    return x


@pytest.mark.parametrize("gaussian_noise", [False, True], ids=["mini-batch", "gaussian"])
def test_quasi_potential_of_a_slope_is_a_martingale(gaussian_noise, compare):
    """With gradients that do not depend on x, exp of the quasi-potential climbed has mean 1 where a walk leaves."""
    prediction = theory.gaussian_quasi_potential if gaussian_noise else theory.quasi_potential
    gradients, lr = np.array([1.0, -0.5]), 0.1
    x = walk_out(gradients, 1, lr, gaussian_noise, 700 + gaussian_noise)
    value = np.exp(prediction(gradients) * x / lr)
    compare(prediction, "martingale where a walk leaves", value.mean(), 1.0, value.std() / math.sqrt(len(x)))
    lr, batch = 0.3, 3
    x = walk_out(gradients, batch, lr, gaussian_noise, 702 + gaussian_noise)

    def constant(points):
        return np.broadcast_to(gradients, (len(points), 2))

    one = theory.escape_log_time(constant, 0.0, 1.0, lr, batch, gaussian=gaussian_noise)
    halves = theory.escape_log_time(constant, -0.5, 0.5, lr, batch, gaussian=gaussian_noise)
    assert abs(one - halves) < 1e-12 * one, f"a constant slope climbs {one} and {halves}"
    value = np.exp(one * x)
    name = f"martingale, batches of {batch}, {'Gaussian' if gaussian_noise else 'mini-batch'}"
    compare(theory.escape_log_time, name, value.mean(), 1.0, value.std() / math.sqrt(len(x)))


def test_plane(compare):
    """A double well in x and an unequal, coupled one in y: mean exit step, side and occupation."""
    lr, s, chains = 0.2, 0.22, 20_000

    def drift(x):
        return np.stack(
            [x[:, 0] - lr * (force(x[:, 0]) + 0.5 * x[:, 1]), x[:, 1] - lr * (2 * x[:, 1] + 0.5 * x[:, 0])], axis=1
        )

    plane = theory.GaussianPlane(drift, s, (-2.9, -2.3), (2.9, 2.3), resolution=3.0)

    def disc(x):
        return ((x - [-1.0, 0.2]) ** 2).sum(1) < 0.8

    def climb(seed, start, ended):
        rng, x = np.random.default_rng(seed), np.tile(np.array(start), (chains, 1))
        step, left = np.zeros(chains), np.ones(chains, dtype=bool)
        while left.any():
            x[left] = drift(x[left]) + s * rng.standard_normal((left.sum(), 2))
            step[left] += 1
            left &= ~ended(x)
        return x, step

    _, step = climb(710, (-1.0, 0.2), lambda x: ~disc(x))
    want = plane.mean_exit_step((-1.0, 0.2), disc)
    compare(theory.GaussianPlane.mean_exit_step, "out of a disc", step.mean(), want, step.std() / math.sqrt(chains))

    def right(x):
        return ((x - [1.0, -0.2]) ** 2).sum(1) < 0.2

    def left(x):
        return ((x - [-1.0, 0.2]) ** 2).sum(1) < 0.2

    x, _ = climb(711, (-0.1, 0.1), lambda x: right(x) | left(x))
    want = plane.committor((-0.1, 0.1), right, left)
    error = math.sqrt(want * (1 - want) / chains)
    compare(theory.GaussianPlane.committor, "one disc before the other", right(x).mean(), want, error)
    law = plane.stationary()
    for seed, method in ((712, theory.GaussianPlane.stationary), (713, theory.PlaneStationary.occupation)):
        inside = right if seed == 712 else disc
        # half the chains begin at each minimum, which the symmetry of the landscape makes stationary at once
        begin = np.where(np.arange(chains)[:, None] % 2, 1.0, -1.0) * np.array([1.0, -0.2])
        x, rng = begin, np.random.default_rng(seed)
        for _ in range(60):
            x = drift(x) + s * rng.standard_normal(x.shape)
        want = law.occupation(inside)
        compare(method, f"disc {seed}", inside(x).mean(), want, math.sqrt(want * (1 - want) / chains))
