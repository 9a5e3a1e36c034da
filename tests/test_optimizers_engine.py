"""Optimizers with a memory or kicks of their own in the engine: the same to the bit, however they are run."""

import dataclasses
import math
import shutil
import warnings

import numpy as np
import pytest
import torch
from cases import normal
from test_optimizers import path
from test_simulate import FAR, ORIGIN, SADDLE, assert_same, run

from escape import (
    SAM,
    Above,
    Adam,
    Cosine,
    FullBatch,
    GradientDescent,
    HeavyBall,
    InverseTime,
    Langevin,
    MiniBatch,
    Nesterov,
    PerturbedGradientDescent,
    RMSProp,
    SignDescent,
    StepDecay,
    WarmUp,
    replay,
)

OPTIMIZERS = {
    "Nesterov": Nesterov(0.02, 0.8),
    "RMSProp": RMSProp(0.005, alpha=0.9),
    "Adam": Adam(WarmUp(0.02, 10)),
    "signs": SignDescent(0.05),
    "SAM": SAM(0.1, 0.01),
    "kicks": PerturbedGradientDescent(0.1, 0.1, math.inf, 9),
    "Langevin": Langevin(Cosine(0.12, 100), 0.001),
}
EACH = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


@EACH
def test_threads_change_nothing(optimizer):
    one = run(optimizer=optimizer, executor=1)
    assert 0.05 < float((one.status == 1).mean()) <= 1
    for executor in (2, 4):
        assert_same(run(optimizer=optimizer, executor=executor), one)


@EACH
def test_more_chains_and_steps_change_nothing(optimizer):
    wide = run(optimizer=optimizer)
    assert_same(wide, run(optimizer=optimizer, chains=100), slice(0, 100))
    short = run(optimizer=optimizer, steps=21)
    for name in ("x0", "x1"):
        assert np.array_equal(short[name].values, wide[name].values[:22])
    assert np.array_equal(short.exit_step, np.minimum(wide.exit_step, 21))


@EACH
def test_a_replay_is_the_path_to_the_bit(optimizer):
    data = run(optimizer=optimizer)
    last = int(data.exit_step.values.argmax())  # its block was thinned out more than once by then
    for chain in (0, 77, 299, last):
        again = replay(
            SADDLE, MiniBatch(4), optimizer, ORIGIN,
            chain=chain, steps=60, chains=300, until=Above(FAR, 0.1), seed=7, block=64,
        )  # fmt: skip
        exit_step = int(data.exit_step[chain])
        assert int(again.exit_step) == exit_step
        assert np.array_equal(again.x.values, path(data, 2)[: exit_step + 1, chain])


@EACH
def test_a_chain_is_frozen_where_it_left_and_moves_no_other(optimizer):
    """The memory of a chain stays with it when others are dropped from the moving state."""
    free = path(run(optimizer=optimizer, until=None, common_random_numbers=True), 2)
    outside = (free**2).sum(-1) >= 0.1
    first = np.where(outside.any(0), outside.argmax(0), 60)
    data = run(optimizer=optimizer, common_random_numbers=True)
    assert np.array_equal(data.exit_step.values, first)
    frozen = np.minimum(np.arange(61)[:, None], first)
    assert np.array_equal(path(data, 2), free[frozen, np.arange(300)])


@EACH
def test_an_interrupted_run_goes_on(optimizer, tmp_path):
    def interrupt(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="of 5 blocks are kept"):
        run(optimizer=optimizer, store=tmp_path, progress=interrupt, executor=1)
    kept = len(list(tmp_path.glob("*.parts/block-*.npz")))
    assert 0 < kept < 5
    assert_same(run(optimizer=optimizer, store=tmp_path, executor=1), run(optimizer=optimizer))
    # And it is read, not run, when asked for once more.
    again = run(optimizer=optimizer, store=tmp_path, progress=lambda done, total: pytest.fail("run again"))
    assert_same(again, run(optimizer=optimizer))


def test_schedules_are_told_apart_by_value(tmp_path):
    rates = [0.1, StepDecay(0.1, 5), StepDecay(0.1, 6), InverseTime(1.0, 10.0), Cosine(0.1, 60), WarmUp(0.1, 5)]
    specs = {run(optimizer=GradientDescent(lr), steps=2, chains=1).attrs["spec"] for lr in rates}
    assert len(specs) == len(rates)
    again = GradientDescent(StepDecay(0.1, 5)), GradientDescent(StepDecay(0.1, 5))
    assert len({run(optimizer=optimizer, steps=2, chains=1).attrs["spec"] for optimizer in again}) == 1


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@EACH
def test_states_keep_the_dtype_of_the_landscape(optimizer, kind):
    data = run(optimizer=optimizer, landscape=SADDLE.to(dtype=kind), steps=20)
    assert str(data.final.dtype) == str(kind).removeprefix("torch.")
    assert np.isfinite(data.final.values).all()


def test_a_chain_that_diverges_is_counted_whatever_it_remembers():
    for optimizer in (Nesterov(30.0, 0.9), Langevin(50.0, 1.0), SAM(50.0, 0.1)):
        data = run(optimizer=optimizer, steps=400, until=None, observe=None, chains=8, block=8)
        assert (data.status.values == 2).all()


COMPILER = pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler to compile with"
)


@COMPILER
@pytest.mark.parametrize(
    ("optimizer", "oracle", "steps"),
    [
        (Adam(WarmUp(Cosine(0.1, 40), 4)), MiniBatch(4), 10),
        (PerturbedGradientDescent(0.1, 0.1, 0.05, 1), FullBatch(), 3),
    ],
    ids=["Adam with schedules, two chunks", "kicks by the gradient"],
)
def test_compiled_chunks_are_the_eager_ones(optimizer, oracle, steps):
    """Also in a second chunk, of which the graph is told the first step."""
    small = {"oracle": oracle, "optimizer": optimizer, "steps": steps, "chains": 8, "block": 8, "executor": 1}
    small |= {"until": None, "start": torch.tensor([0.01, 0.02], dtype=torch.float64)}
    # A landscape that has not been used yet: what it keeps of its samples is not there when the graph is made.
    fresh = dataclasses.replace(SADDLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = run(landscape=fresh, compile=True, **small)
    eager = run(compile=False, **small)
    for name in ("final", "x0", "x1"):
        gap = np.abs(compiled[name].values - eager[name].values).max()
        assert gap < 1e-12, f"compiled and eager {name} differ by {gap:.3g}"


@COMPILER
def test_compiled_steps_are_the_eager_ones():
    """One graph of a step of every optimizer, for a step that it is told."""
    rates = [0.1, StepDecay(0.1, 5), InverseTime(1.0, 10.0), Cosine(0.1, 60), WarmUp(Cosine(0.1, 60), 5)]
    optimizers = [*OPTIMIZERS.values(), HeavyBall(0.1, 0.8), *(GradientDescent(lr) for lr in rates)]
    x, kick = normal(5, 2, seed=1), normal(5, 2, seed=2)

    def steps(states, t):
        return [optimizer.move(state, torch.sin, kick, t) for optimizer, state in zip(optimizers, states, strict=True)]

    compiled = torch.compile(steps, fullgraph=True)
    states = expected = [optimizer.init(x) for optimizer in optimizers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for t in range(4):
            states, expected = compiled(states, t), steps(expected, t)
    for optimizer, state, eager in zip(optimizers, states, expected, strict=True):
        assert not torch.equal(eager.x, x)
        for leaf, other in zip(state, eager, strict=True):
            gap = float((leaf - other).abs().max())
            assert gap < 1e-13, f"{optimizer}: compiled and eager differ by {gap:.3g}"
