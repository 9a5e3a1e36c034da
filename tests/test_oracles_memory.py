"""Reshuffled epochs through the engine, whatever thins, cuts or repeats a run; and the same of all surrogates."""

import shutil
import sys
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from cases import normal
from scipy import stats
from torch import Tensor

from escape import (
    Above,
    DiagonalNoise,
    GradientDescent,
    HessianNoise,
    Landscape,
    LeadingNoise,
    MiniBatch,
    Projection,
    QuadraticSaddle,
    Reshuffled,
    StableNoise,
    rare,
    replay,
    simulate,
    theory,
)
from escape.block import run_block
from escape.checked import checked_run, default_block
from escape.draws import permutations
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.streams import block_generator

F64 = torch.float64
RARE = 1e-5  # false-alarm rate of each test by chi-square


@dataclass(frozen=True, eq=False)
class Counts(Landscape):
    """f_i = −n x_i, so that with lr = b/n every coordinate counts how often its sample was drawn."""

    samples: Tensor  # the unit matrix

    affine = True

    @property
    def dimension(self):
        return self.samples.shape[1]

    def sample_loss(self, x, sample):
        return -len(x) * (sample @ x)


def counted(n, b, steps, chains=12, **options):
    """Chains whose coordinates count draws, (chains, n), after some steps."""
    landscape, zero = Counts(torch.eye(n, dtype=F64)), torch.zeros(n, dtype=F64)
    options = {"block": 8, "seed": 3, "executor": 1, **options}
    return simulate(landscape, Reshuffled(b), GradientDescent(b / n), zero, steps=steps, chains=chains, **options)


# What is drawn.


@pytest.mark.parametrize(("n", "b"), [(12, 3), (12, 1), (10, 4), (7, 5), (5, 4)])
def test_every_index_comes_once_in_every_epoch(n, b):
    """In one row of indices, chunk after chunk, whether or not batches straddle epochs."""
    oracle, landscape, generator = Reshuffled(b), Counts(torch.eye(n, dtype=F64)), block_generator(1, 0)
    carried, rows = oracle.begin(landscape, 6, generator), []
    for steps in (3, 1, 8, 2, 16):
        draw, carried = oracle.draw_on(carried, landscape, steps, 6, generator)
        assert draw.shape == (steps, 6, b)
        assert carried.shape[1] < n
        rows.append(draw.transpose(0, 1).reshape(6, -1))
    rows = torch.cat([*rows, carried], 1)
    epochs = rows.view(6, -1, n).sort(-1).values
    assert torch.equal(epochs, torch.arange(n).expand_as(epochs))


@pytest.mark.parametrize("n", [4, 40_000])
def test_permutations_are_permutations(n):
    rows = permutations(3, n, block_generator(0, 0))
    assert torch.equal(rows.sort(1).values.long(), torch.arange(n).expand(3, n))
    assert rows.dtype == (torch.int16 if n == 4 else torch.int32)


def test_all_orders_are_equally_likely():
    rows = permutations(24_000, 4, block_generator(2, 0)).long().numpy()
    p = stats.chisquare(np.bincount(rows @ [64, 16, 4, 1], minlength=256)[np.unique(rows @ [64, 16, 4, 1])]).pvalue
    assert len(np.unique(rows, axis=0)) == 24
    assert p > RARE, f"p = {p:.2g}, allowed {RARE}"


def test_chains_and_epochs_are_shuffled_independently():
    oracle, landscape = Reshuffled(1), Counts(torch.eye(4, dtype=F64))
    draw = oracle.draw(landscape, 8, 40_000, block_generator(4, 0))[..., 0].long().numpy()
    for what, one, other in (("epochs", draw[3], draw[4]), ("chains", draw[0, ::2], draw[0, 1::2])):
        counts = np.bincount(one * 4 + other, minlength=16)
        p = stats.chisquare(counts).pvalue
        assert p > RARE, f"pairs of {what} counted {counts}: p = {p:.2g}, allowed {RARE}"


# Through the engine.


@pytest.mark.parametrize("options", [{}, {"common_random_numbers": True}, {"chains": 5}, {"executor": 2}])
@pytest.mark.parametrize(("n", "b"), [(12, 3), (40, 8)])
def test_chains_count_whole_epochs(n, b, options):
    for epochs in (1, 2, 7):
        final = counted(n, b, epochs * n // b, **options).final.values
        assert np.abs(final - epochs).max() < 1e-12
    part = counted(n, b, 5 * n // b // 2, **options).final.values
    assert set(np.unique(part.round(9))) == {2.0, 3.0}


@pytest.mark.parametrize("common", [False, True])
def test_those_who_stay_count_whole_epochs_though_others_leave(common):
    """Chains leave at both ends of an epoch; the others go on in fewer rows, and with their own permutations."""
    n, b, chains = 12, 2, 60

    def until(x):
        # One sample in the first batch of its epoch, or another in the last: each one chain in six an epoch.
        return (x[:, 0] - x.mean(1) > 0.8) | (x.mean(1) - x[:, 1] > 0.8)

    options = {"chains": chains, "block": 64, "until": until, "common_random_numbers": common}
    for epochs in (1, 3, 5):
        data = counted(n, b, epochs * n // b, **options)
        stayed = data.final.values[data.status == 0]
        assert 0 < len(stayed) < chains
        assert np.abs(stayed - epochs).max() < 1e-12


ORACLES = {
    "reshuffled": Reshuffled(4),
    "reshuffled, straddling": Reshuffled(7),
    "diagonal": DiagonalNoise(4),
    "leading": LeadingNoise(4),
    "leading, frozen": LeadingNoise(4, at=[0.1, 0.2, 0.3]),
    "Hessian": HessianNoise(4),
    "Hessian, frozen": HessianNoise(4, at=[0.1, 0.2, 0.3]),
    "stable": StableNoise(1.5, batch_size=4),
    "stable of a scale": StableNoise(1.2, 0.05),
}


@dataclass(frozen=True, eq=False)
class Waves(GeneralizedLinear):
    """cos(z_iᵀx) + |x|²/10."""

    samples: Tensor

    @property
    def dimension(self):
        return self.samples.shape[1]

    def common_loss(self, x):
        return 0.1 * (x @ x)

    def score_loss(self, score, target):
        return score.cos()


LINE = torch.zeros(3, dtype=F64)


def run(oracle, **options):
    """A run in which chains leave at many different steps."""
    landscape = Waves(normal(40, 3, seed=1))
    axis = torch.tensor([1.0, 0.0, 0.0], dtype=F64)
    options = {
        "steps": 30, "chains": 40, "block": 16, "seed": 5, "executor": 1, "until": Above(Projection(LINE, axis), 0.4),
        "observe": {"x0": Projection(LINE, axis)}, **options,
    }  # fmt: skip
    return simulate(landscape, oracle, GradientDescent(0.2), LINE + 0.05, **options)


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("final", "exit_step", "status"))


@pytest.mark.parametrize("name", ORACLES)
def test_the_same_to_the_bit_however_it_is_run(name, tmp_path):
    oracle = ORACLES[name]
    whole = run(oracle)
    assert len(np.unique(whole.exit_step)) > 3
    assert same(whole, run(oracle, executor=2))
    assert same(whole, run(oracle, every=7))
    assert same(whole.isel(chain=slice(0, 23)), run(oracle, chains=23))
    longer = run(oracle, steps=43)
    assert np.array_equal(whole.x0.values, longer.x0.values[:31])
    assert same(whole, run(oracle, store=tmp_path))
    assert same(whole, run(oracle, store=tmp_path))


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_a_chain_is_replayed(name, common):
    oracle, axis = ORACLES[name], torch.tensor([1.0, 0.0, 0.0], dtype=F64)
    data = run(oracle, common_random_numbers=common)
    landscape, chain = Waves(normal(40, 3, seed=1)), 21
    path = replay(
        landscape, oracle, GradientDescent(0.2), LINE + 0.05, chain=chain, steps=30, chains=40, block=16, seed=5,
        until=Above(Projection(LINE, axis), 0.4), common_random_numbers=common,
    )  # fmt: skip
    assert np.array_equal(path.x.values[-1], data.final.values[chain])
    assert np.array_equal(path.x.values[:, 0], data.x0.values[: len(path.x), chain])


def test_a_run_that_was_broken_off_goes_on(tmp_path, monkeypatch):
    oracle = ORACLES["reshuffled"]
    whole, done = run(oracle), []

    def twice(run, number, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(number)
        return run_block(run, number, *rest)

    monkeypatch.setattr(sys.modules["escape.simulate"], "run_block", twice)
    with pytest.raises(KeyboardInterrupt, match=r"\d of 3 blocks are kept"):
        run(oracle, store=tmp_path)
    monkeypatch.undo()
    assert same(whole, run(oracle, store=tmp_path))


@pytest.mark.parametrize("name", ["reshuffled", "stable", "leading"])
def test_common_random_numbers_are_those_of_a_run_without_exits(name):
    """Up to its exit a chain goes the way that it would go if nobody left, but for how products of fewer rows round."""
    free, stopped = (run(ORACLES[name], common_random_numbers=True, **more) for more in ({"until": None}, {}))
    for chain, step in enumerate(stopped.exit_step.values):
        assert np.allclose(free.x0.values[: step + 1, chain], stopped.x0.values[: step + 1, chain], rtol=0, atol=1e-12)


@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler to compile with"
)
@pytest.mark.parametrize("name", ["leading"])
def test_a_compiled_step_is_the_eager_one(name):
    small = {"steps": 1, "chains": 8, "block": 8, "until": None, "observe": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = run(ORACLES[name], compile=True, **small)
    gap = np.abs(compiled.final.values - run(ORACLES[name], **small).final.values).max()
    assert gap < 1e-12, f"compiled and eager differ by {gap:.3g}"


# How much memory.


def test_blocks_are_small_where_chains_carry_much():
    assert default_block(2) == default_block(2, 4096) == 4096
    assert default_block(2, 60_000) == 256
    assert default_block(2, 1 << 25) == 1


def test_too_large_a_memory_is_refused():
    landscape = QuadraticSaddle.additive([-1.0], 0.1, n=100_000)
    arguments = (landscape, Reshuffled(10), GradientDescent(0.1), torch.zeros(1), 1, 1, {}, 1, None, 0)
    assert checked_run(*arguments, None, False).block == 128
    with pytest.raises(ValueError, match="carry 100000 numbers each: take block=1342 at most"):
        checked_run(*arguments, 4096, False)
    assert checked_run(*arguments[:1], MiniBatch(10), *arguments[2:], 4096, False).block == 4096


# Where theory of independent batches does not hold.


def test_rare_events_refuse_what_they_cannot_choose():
    landscape = QuadraticSaddle.multiplicative([-1.0], 0.3, n=10)
    point = landscape.critical_points()[0]
    with pytest.raises(TypeError, match="batches of Reshuffled depend on those before them in their epoch"):
        rare.tilted_mean_square(landscape, Reshuffled(2), 0.1, point, point.location, steps=5, chains=100)
    for oracle in (DiagonalNoise(2), LeadingNoise(2), HessianNoise(2), StableNoise(1.5, batch_size=2)):
        with pytest.raises(TypeError, match="whose batches can be chosen"):
            rare.tilted_mean_square(landscape, oracle, 0.1, point, point.location, steps=5, chains=100)


def test_the_noise_of_an_epoch_nearly_cancels():
    """Against batches drawn afresh; both exact, and far apart."""
    landscape = QuadraticSaddle.additive([1.0], 0.3, n=20)
    ends = {
        oracle: simulate(landscape, oracle, GradientDescent(0.05), LINE[:1], steps=10, chains=4000, seed=2).final.values
        for oracle in (Reshuffled(2), MiniBatch(2))
    }
    reshuffled, fresh = ((x**2).mean() for x in ends.values())
    assert reshuffled < theory.mean_square(10, 0.05, 1.0, 0.3 * theory.kappa(2, 20, False) ** 0.5) / 5 < fresh
