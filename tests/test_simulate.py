"""The engine: what a result holds, on what it depends to the bit, and first passage against plain recomputation."""

import importlib
import json
import shutil
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from cases import Monkey, centred, normal, random_factorization, rotation
from test_optimizers import coordinates, path

from escape import (
    Above,
    DoubleWell,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    GradientNorm,
    HeavyBall,
    IsotropicNoise,
    Langevin,
    Loss,
    MiniBatch,
    NormalStart,
    PerturbedGradientDescent,
    Projection,
    QuadraticSaddle,
    SquaredDistance,
    SquaredProjection,
    TwoSlopeWell,
    replay,
    simulate,
)
from escape.spec import describe, digest

F64 = torch.float64
ORIGIN = torch.zeros(2, dtype=F64)
FAR = SquaredDistance(ORIGIN)
SADDLE = QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=50)
CENSORED, EXITED, DIVERGED = 0, 1, 2


def run(**changed):
    """A small run in five blocks, the last one not full, most of whose chains leave."""
    arguments = {
        "landscape": SADDLE, "oracle": MiniBatch(4), "optimizer": GradientDescent(0.1), "start": ORIGIN,
        "steps": 60, "chains": 300, "observe": coordinates(2), "until": Above(FAR, 0.1), "seed": 7, "block": 64,
    }  # fmt: skip
    arguments.update(changed)
    return simulate(**arguments)


def assert_same(a, b, chains=slice(None)):
    """Every variable equal to the bit."""
    assert set(a.data_vars) == set(b.data_vars)
    for name in b.data_vars:
        one, other = (data[name].isel(chain=chains, missing_dims="ignore").values for data in (a, b))
        assert np.array_equal(one, other, equal_nan=True), f"{name} differs"


# What a result holds.


def test_the_dataset():
    data = run(every=7)
    assert dict(data.sizes) == {"step": 9, "chain": 300, "coordinate": 2}
    assert data.step.values.tolist() == list(range(0, 61, 7))
    assert data.chain.values.tolist() == list(range(300))
    assert data.x0.dims == data.x1.dims == ("step", "chain")
    assert data.exit_step.dims == data.status.dims == ("chain",)
    assert data.final.dims == ("chain", "coordinate")
    assert data.x0.dtype == np.float64
    assert data.exit_step.dtype == np.int64
    assert data.status.dtype == np.int8
    assert data.status.attrs["flag_values"].tolist() == [0, 1, 2]
    assert data.status.attrs["flag_meanings"] == "censored exited diverged"
    assert set(np.unique(data.status)) == {CENSORED, EXITED}


def test_the_attributes():
    attrs = run().attrs
    spec = json.loads(attrs["spec"])
    for name in ("landscape", "oracle", "optimizer", "start", "observe", "until", "steps", "chains", "every", "seed"):
        assert name in spec, f"the spec says nothing of {name}"
    assert (attrs["seed"], attrs["block"], attrs["dtype"], attrs["device"]) == (7, 64, "float64", "cpu")
    assert attrs["sampling"] == "without replacement"
    assert attrs["frozen_after_exit"] == 1
    assert attrs["wall_seconds"] > 0
    assert attrs["torch_version"] == torch.__version__
    assert {"escape_version", "numpy_version", "git_commit"} <= attrs.keys()
    assert run(until=None, oracle=MiniBatch(4, replacement=True)).attrs["sampling"] == "with replacement"
    assert run(until=None, oracle=FullBatch()).attrs["sampling"] == "full batch"
    assert run(until=None).attrs["frozen_after_exit"] == 0


def test_a_run_takes_its_dtype_from_the_landscape():
    data = run(landscape=SADDLE.to(dtype=torch.float32))
    assert data.x0.dtype == data.final.dtype == np.float32
    assert data.attrs["dtype"] == "float32"


def test_no_steps_and_nothing_observed():
    data = run(steps=0, observe=None, start=torch.tensor([0.1, 0.2], dtype=F64))
    assert set(data.data_vars) == {"exit_step", "status", "final"}
    assert (data.final.values == [0.1, 0.2]).all()
    assert (data.exit_step.values == 0).all()
    assert (data.status.values == CENSORED).all()


def test_any_callable_is_an_observable():
    data = run(observe={"first": lambda x: x[:, 0], "count": lambda x: (x > 0).sum(1)}, until=None)
    assert np.array_equal(data["first"].values, run(until=None).x0.values)
    assert data["count"].dtype == np.int64


# On what it depends to the bit.

OPTIMIZERS = {"descent": GradientDescent(0.1), "heavy ball": HeavyBall(0.1, 0.5)}
ORACLES = {"batches": MiniBatch(4), "Gaussian": GaussianNoise(4), "isotropic": IsotropicNoise(4, replacement=True)}


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["single", "double"])


@DTYPES
@pytest.mark.parametrize("until", [None, Above(FAR, 0.1)], ids=["free", "stopped"])
def test_threads_change_nothing(until, dtype):
    chosen = {"until": until, "landscape": SADDLE.to(dtype=dtype)}
    one = run(executor=1, **chosen)
    for executor in (2, 4, None):
        assert_same(run(executor=executor, **chosen), one)
    with ThreadPoolExecutor(3) as pool:
        assert_same(run(executor=pool, **chosen), one)


def vowels(x):
    return x[:, 0] if type(x).__name__ in {"a", "e", "i", "o", "u", "A", "E", "I", "O", "U"} else x[:, 1]


def key():
    return digest(describe([SADDLE, MiniBatch(4), Above(FAR, 0.1), vowels]))


def test_processes_change_nothing():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert_same(run(executor=pool), run(executor=1))
        # Strings hash anew in every process, and what is stored by one must be found by another.
        assert pool.submit(key).result() == key(), "another process describes the same run otherwise"


def test_progress_changes_nothing(capsys):
    told = []
    quiet = run()
    assert_same(run(progress=lambda done, total: told.append((done, total))), quiet)
    assert_same(run(progress="walk"), quiet)
    done, totals = zip(*told, strict=True)
    assert set(totals) == {5 * 64 * 60}
    assert list(done) == sorted(done)
    assert done[-1] == totals[0], f"progress ended at {done[-1]} of {totals[0]}"
    assert "walk: done" in capsys.readouterr().err


def test_how_often_is_recorded_changes_nothing():
    every, some = run(), run(every=5)
    assert_same(some.drop_dims("step"), every.drop_dims("step"))
    for name in ("x0", "x1"):
        assert np.array_equal(some[name].values, every[name].values[::5])


def test_what_is_observed_changes_nothing():
    assert_same(run(observe=None), run().drop_dims("step"))


@pytest.mark.parametrize("steps", [1, 8, 13, 59])
def test_a_longer_run_begins_with_the_shorter(steps):
    short, long = run(steps=steps), run()
    for name in ("x0", "x1"):
        assert np.array_equal(short[name].values, long[name].values[: steps + 1])
    cut = np.minimum(long.exit_step, steps)
    assert np.array_equal(short.exit_step, cut)
    assert np.array_equal(short.status == EXITED, (long.status == EXITED) & (long.exit_step <= steps))


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_wider_run_begins_with_the_narrower(oracle, optimizer):
    chosen = {"oracle": ORACLES[oracle], "optimizer": OPTIMIZERS[optimizer]}
    assert_same(run(chains=300, **chosen), run(chains=100, **chosen), slice(0, 100))


def test_a_thousand_chains_are_the_first_of_eight_thousand():
    wide, narrow = (run(chains=chains, block=None, steps=40) for chains in (8192, 1024))
    assert wide.attrs["block"] == narrow.attrs["block"] == 4096
    assert_same(wide.isel(chain=slice(0, 1024)), narrow)


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_wider_run_from_starts_of_its_own_begins_with_the_narrower(oracle):
    """In a rotated basis a step is a matrix product, whose rounding may depend on how many chains are moved."""
    landscape = QuadraticSaddle.additive([-1.0] + [0.5] * 19, 0.1, n=100, basis=rotation(20, 1))
    unstable = landscape.critical_points()[0].unstable[:, 0]
    starts = 0.05 * normal(256, 20, seed=2)
    chosen = {
        "landscape": landscape, "oracle": ORACLES[oracle], "observe": None, "block": 256,
        "until": Above(SquaredProjection(torch.zeros(20), unstable), 0.1),
    }  # fmt: skip
    wide = run(start=starts, chains=256, **chosen)
    assert float((wide.status == EXITED).mean()) > 0.5
    narrow = run(start=starts[:100], chains=100, **chosen)
    assert_same(wide.isel(chain=slice(0, 100)), narrow)


@pytest.mark.parametrize("steps", [3, 9, 21, 30])
def test_what_is_observed_of_those_who_left_is_that_of_a_longer_run(steps):
    """In a rotated basis an observable is a matrix product, which may round by who left together."""
    landscape = QuadraticSaddle.additive([-1.0] + [0.5] * 19, 0.3, n=100, basis=rotation(20, 1))
    saddle = landscape.critical_points()[0]
    along = SquaredProjection(saddle, saddle.unstable)
    chosen = {
        "landscape": landscape, "start": saddle.location, "block": 256, "chains": 200, "until": Above(along, 0.2),
        "observe": {"along": along, "loss": Loss(landscape), "slope": GradientNorm(landscape)},
    }  # fmt: skip
    short, long = run(steps=steps, **chosen), run(steps=40, **chosen)
    for name in chosen["observe"]:
        assert np.array_equal(short[name].values, long[name].values[: steps + 1]), f"{name} differs"
    starts = 0.2 * normal(200, 20, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wide = run(**{**chosen, "start": starts, "steps": 5})
        narrow = run(**{**chosen, "start": starts[:64], "steps": 5, "chains": 64})
    assert (wide.exit_step.values == 0).any()
    assert_same(narrow, wide.isel(chain=slice(0, 64)))


def test_threads_of_torch_before_a_run_change_nothing():
    """A long sum is cut into as many parts as torch has threads, and then rounds otherwise, for most data."""
    before = torch.get_num_threads()
    try:
        for seed in range(6):
            tilts, means = normal(200_001, 1, seed=seed) + 1.0, set()
            for threads in (1, 2):
                torch.set_num_threads(threads)
                landscape = Monkey(tilts)
                means.add((float(landscape.mean_sample), float(landscape.sample_root)))
                assert torch.get_num_threads() == threads
            assert len(means) == 1, f"the mean sample depends on torch's threads: {means}"
    finally:
        torch.set_num_threads(before)


def test_seeds_and_blocks_differ():
    one = run(until=None)
    other = run(until=None, seed=8)
    assert not np.array_equal(one.x0.values[1], other.x0.values[1])
    blocks = [one.x0.values[1:, 64 * i : 64 * i + 44] for i in range(5)]
    for i in range(5):
        for j in range(i):
            assert not np.isclose(blocks[i], blocks[j]).all(axis=0).any(), f"blocks {i} and {j} hold the same chain"


def test_the_thread_count_of_torch_is_put_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run(steps=2)
        replay(SADDLE, MiniBatch(4), GradientDescent(0.1), ORIGIN, chain=0, steps=2, chains=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    run(steps=2)
    assert torch.equal(torch.get_rng_state(), before)


# Replay.


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("until", [None, Above(FAR, 0.1)], ids=["free", "stopped"])
@DTYPES
def test_a_replay_is_the_path_to_the_bit(oracle, optimizer, until, dtype):
    chosen = {"oracle": ORACLES[oracle], "optimizer": OPTIMIZERS[optimizer], "landscape": SADDLE.to(dtype=dtype)}
    data = run(until=until, **chosen)
    last = int(data.exit_step.values.argmax())  # its block was thinned out more than once by then
    for chain in (0, 77, 299, last):
        again = replay(
            chosen["landscape"], chosen["oracle"], chosen["optimizer"], ORIGIN,
            chain=chain, steps=60, chains=300, until=until, seed=7, block=64,
        )  # fmt: skip
        exit_step = int(data.exit_step[chain])
        assert int(again.exit_step) == exit_step
        assert int(again.status) == int(data.status[chain])
        assert int(again.chain) == chain
        expected = path(data, 2)[: exit_step + 1, chain]
        assert np.array_equal(again.x.values, expected), f"replay of chain {chain} leaves the path"
        assert np.array_equal(again.x.values[-1], data.final.values[chain])


def test_replay_refuses_a_chain_that_is_not_there():
    for chain in (-1, 10):
        with pytest.raises(ValueError, match=f"chain {chain} is not in the run, which has chains 0 to 9"):
            replay(SADDLE, MiniBatch(4), GradientDescent(0.1), ORIGIN, chain=chain, steps=5, chains=10)


# First passage.


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@DTYPES
def test_first_passage_by_brute_force(oracle, optimizer, every, dtype):
    chosen = {"oracle": ORACLES[oracle], "optimizer": OPTIMIZERS[optimizer], "landscape": SADDLE.to(dtype=dtype)}
    chosen["common_random_numbers"] = True
    free = path(run(until=None, **chosen), 2)
    outside = (free**2).sum(-1) >= 0.1
    left = outside.any(0)
    first = np.where(left, outside.argmax(0), 60)
    assert 0.1 < left.mean() < 1 or optimizer == "heavy ball"
    data = run(every=every, **chosen)
    assert np.array_equal(data.exit_step.values, first)
    assert np.array_equal(data.status.values, np.where(left, EXITED, CENSORED))
    # Frozen from the exit on.
    frozen = np.minimum(np.arange(0, 61, every)[:, None], first)
    chains = np.arange(300)
    assert np.array_equal(path(data, 2), free[frozen, chains])
    assert np.array_equal(data.final.values, free[first, chains])


def test_all_chains_out_ends_early_and_is_filled():
    told = []
    data = run(steps=100_000, every=1000, progress=lambda done, total: told.append(done / total))
    assert (data.status.values == EXITED).all()
    assert data.sizes["step"] == 101
    assert np.array_equal(path(data, 2)[-1], data.final.values)
    assert np.array_equal(path(data, 2)[1], data.final.values), "all have left by step 1000"
    assert told[-1] == 1.0


def test_work_is_done_for_chains_that_have_not_left():
    """Exit steps spread over two decades, by starts of a normal law: those that start near the saddle stay long."""
    line = torch.zeros(1, dtype=F64)
    data = simulate(
        QuadraticSaddle.additive([-0.05], 0.001, n=100), MiniBatch(8), GradientDescent(0.1), NormalStart(line, 1.0),
        steps=5000, chains=8192, until=Above(SquaredDistance(line), 9.0), seed=1,
    )  # fmt: skip
    assert (data.status.values == EXITED).all()
    low, high = np.quantile(data.exit_step, [0.01, 0.99])
    assert high > 15 * low
    needed, moved = data.attrs["chain_steps_needed"], data.attrs["chain_steps_moved"]
    assert needed == int(data.exit_step.sum())
    assert data.attrs["utilisation"] == needed / moved
    assert needed <= moved <= 1.2 * needed, f"{moved / needed:.2f} chain-steps were computed for one needed"
    assert run(until=None).attrs["chain_steps_moved"] == 5 * 64 * 60


@pytest.mark.parametrize("reduce", [False, True], ids=["kept", "reduced"])
@pytest.mark.parametrize("until", [None, Above(FAR, 0.1)], ids=["free", "stopped"])
@pytest.mark.parametrize("oracle", [FullBatch(), MiniBatch(50)], ids=["full", "whole batch"])
def test_chains_that_are_all_alike_are_one(oracle, until, reduce):
    """Nothing is drawn: with a row of its own for every chain, all are moved, and come to the same."""
    near, options = torch.tensor([1e-2, 0.2], dtype=F64), {"until": until, "oracle": oracle, "reduce": reduce}
    one, each = run(start=near, **options), run(start=near.expand(300, 2), **options)
    assert_same(one, each)
    assert int(one.exit_step[0]) == (60 if until is None else int(one.exit_step[299])) > 8
    assert one.attrs["chain_steps_moved"] <= 5 * 60 < 60 * 64 <= each.attrs["chain_steps_moved"]
    assert one.attrs["chain_steps_needed"] == 5 * int(one.exit_step[0])


def test_chains_that_draw_or_start_apart_are_not_alike():
    origin, far = torch.zeros(2, dtype=F64), NormalStart(ORIGIN, 0.1)
    kicked = PerturbedGradientDescent(0.1, 0.1, float("inf"), 5)
    drawn = [{"oracle": oracle} for oracle in (MiniBatch(4), MiniBatch(50, replacement=True), IsotropicNoise(4))]
    for options in (*drawn, {"optimizer": Langevin(0.1, 0.01)}, {"optimizer": kicked}, {"start": far}):
        data = run(**{"oracle": FullBatch(), "start": origin, "until": None, **options})
        assert len(np.unique(data.final.values[:, 0])) > 290


@dataclass(frozen=True, eq=False)
class Walled(Monkey):
    """A landscape that cannot be evaluated beyond a radius."""

    def retract(self, x):
        if bool((x.norm(dim=1) > 1.0).any()):
            raise ValueError("beyond the wall")
        return x


def test_a_chain_that_left_is_asked_for_no_more():
    """Within a chunk chains move on after they left; where that fails, every chain stops where it left."""
    tilts = centred(50, 2)
    chosen = {"steps": 200, "until": Above(FAR, 0.64), "start": torch.tensor([0.0, 0.1], dtype=F64), "observe": None}
    # So fast a growth that some chain would be beyond the wall within a chunk of its exit.
    chosen["optimizer"] = GradientDescent(0.05)
    walled, free = (run(landscape=kind(tilts), **chosen) for kind in (Walled, Monkey))
    assert (walled.status.values == EXITED).mean() > 0.9
    assert_same(walled, free)
    with pytest.raises(ValueError, match="beyond the wall"):
        run(landscape=Walled(tilts), **{**chosen, "until": Above(FAR, 100.0)})


def test_a_chain_that_never_leaves_is_censored():
    data = run(until=Above(FAR, 1e6), steps=10)
    assert (data.status.values == CENSORED).all()
    assert (data.exit_step.values == 10).all()
    free = run(until=None, steps=10)
    assert (free.status.values == CENSORED).all()
    assert (free.exit_step.values == 10).all()


def test_exit_at_the_start_is_warned_of_by_name():
    starts = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.1, 0.1]], dtype=F64)
    with pytest.warns(UserWarning, match=r"threshold 0\.1 is already passed at the start by 1 of 3 chains"):
        data = run(start=starts, chains=3)
    assert data.exit_step[1] == 0
    assert data.status[1] == EXITED
    assert (data.final[1].values == [2.0, 0.0]).all()
    assert (data.x0[:, 1].values == 2.0).all()
    assert (data.exit_step.values[[0, 2]] > 0).all()
    with pytest.warns(UserWarning, match="the exit condition is already passed at the start by 3 of 3 chains"):
        data = run(start=torch.tensor([2.0, 0.0]), chains=3, until=lambda x: x[:, 0] > 1)
    assert (data.exit_step.values == 0).all()
    assert data.sizes["step"] == 61


def test_the_warning_points_at_the_caller():
    with pytest.warns(UserWarning, match="already passed") as caught:
        simulate(SADDLE, FullBatch(), GradientDescent(0.1), torch.ones(2), steps=1, chains=1, until=Above(FAR, 0.1))
    assert caught[0].filename == __file__


def test_a_random_start_outside_is_no_surprise():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = run(start=NormalStart(ORIGIN, 0.3))
    assert 0 < int((data.exit_step == 0).sum()) < 300


# Starts.


def test_a_start_for_each_chain():
    starts = 0.1 * normal(300, 2, seed=1)
    data = run(start=starts, until=None, steps=1)
    assert np.array_equal(path(data, 2)[0], starts.numpy())


def test_a_start_of_plain_numbers_keeps_its_digits():
    for start in ([0.1, 0.2], np.array([0.1, 0.2])):
        final = run(start=start, steps=0).final.values
        assert (final == [0.1, 0.2]).all(), f"the start became {final[0].tolist()}"


def test_random_starts_differ_by_chain_block_and_seed():
    start = NormalStart(ORIGIN, 0.3)
    first, again, other = (run(start=start, until=None, steps=0, seed=seed).final.values for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert len(np.unique(np.concatenate([first, other]), axis=0)) == 600


def test_the_start_is_left_alone():
    start = torch.tensor([0.1, 0.2], dtype=F64)
    run(start=start)
    assert start.tolist() == [0.1, 0.2]


# Divergence.


@pytest.mark.parametrize("until", [None, Above(Projection(ORIGIN[:1], torch.ones(1)), 1e300)], ids=["free", "stopped"])
@pytest.mark.parametrize("optimizer", [GradientDescent(0.1), HeavyBall(0.1, 0.5)], ids=OPTIMIZERS)
def test_a_diverged_chain_is_counted_and_poisons_no_other(optimizer, until):
    landscape = DoubleWell.gaussian(0.3, n=20)
    starts = torch.full((40, 1), 0.5, dtype=F64)
    starts[::4] = -50.0  # so far out that every step overshoots, and the cube overflows
    chosen = {
        "landscape": landscape, "optimizer": optimizer, "observe": coordinates(1), "until": until, "chains": 40,
        "block": 16, "steps": 30,
    }  # fmt: skip
    data = run(start=starts, **chosen)
    status, x = data.status.values, data.x0.values
    assert (status[::4] == DIVERGED).all()
    assert (np.delete(status, np.s_[::4]) != DIVERGED).all()
    for chain in range(0, 40, 4):
        t = int(data.exit_step[chain])
        assert 0 < t < 30
        assert np.isfinite(x[:t, chain]).all(), "a chain is lost at the first step that is not finite"
        assert np.isnan(x[t:, chain]).all(), "a lost chain is NaN from there on"
    assert np.isnan(data.final.values[::4]).all()
    kept = np.delete(np.arange(40), np.s_[::4])
    alone = run(start=torch.full((40, 1), 0.5, dtype=F64), **chosen)
    assert np.array_equal(x[:, kept], alone.x0.values[:, kept]), "a diverged chain changed another"


def test_a_start_that_is_not_finite_is_lost_at_once():
    def start(chains, generator):
        x = torch.zeros(chains, 2, dtype=F64)
        x[5:] = torch.nan
        return x

    data = run(start=start, chains=8)
    assert (data.status.values[5:] == DIVERGED).all()
    assert (data.exit_step.values[5:] == 0).all()


# What makes no run is refused before it begins, in one line.


def shaped(chains, generator):
    return torch.zeros(chains)


REFUSED = {
    "landscape": ({"landscape": "saddle"}, TypeError, "landscape must be an instance of Landscape, got str"),
    "oracle": ({"oracle": 4}, TypeError, "oracle must be an instance of Oracle, got int"),
    "optimizer": ({"optimizer": 0.1}, TypeError, "optimizer must be an instance of Optimizer, got float"),
    "no steps": ({"steps": -1}, ValueError, "steps must be an integer of at least 0, got -1"),
    "half steps": ({"steps": 1.5}, ValueError, "steps must be an integer"),
    "true steps": ({"steps": True}, ValueError, "steps must be an integer"),
    "chains": ({"chains": 0}, ValueError, "chains must be an integer of at least 1, got 0"),
    "every": ({"every": 0}, ValueError, "every must be an integer of at least 1"),
    "seed": ({"seed": -1}, ValueError, "seed must be an integer of at least 0"),
    "block": ({"block": 0}, ValueError, "block must be an integer of at least 1"),
    "compile": ({"compile": "yes"}, ValueError, "compile must be True, False or 'auto', got 'yes'"),
    "no threads": ({"executor": 0}, ValueError, "workers|executor"),
    "executor": ({"executor": "two"}, (TypeError, ValueError), "executor"),
    "batch": ({"oracle": MiniBatch(51)}, ValueError, "batch_size 51 is larger"),
    "schedule": ({"optimizer": GradientDescent(lambda t: -0.1)}, ValueError, "lr must be a positive finite number"),
    "dimension": ({"start": torch.zeros(3)}, ValueError, "start has dimension 3, but the landscape has dimension 2"),
    "starts": ({"start": torch.zeros(7, 2)}, ValueError, r"start must be \(d,\) or \(chains, d\) with chains = 300"),
    "start of no shape": ({"start": torch.zeros(())}, ValueError, r"start must be \(d,\)"),
    "endless start": ({"start": torch.tensor([0.0, torch.inf])}, ValueError, "start holds non-finite numbers"),
    "start by call": ({"start": shaped}, ValueError, r"must return a \(chains, d\) tensor"),
    "observable": ({"observe": {"a": 3}}, TypeError, "observable 'a' must be a callable"),
    "observable of shape": ({"observe": {"a": lambda x: x}}, ValueError, r"observable 'a' must map \(c, d\) to \(c,\)"),
    "observable that fails": ({"observe": {"a": lambda x: x[:, 5]}}, ValueError, "observable 'a' fails on points"),
    "observable's name": ({"observe": {"status": FAR}}, ValueError, "choose another name"),
    "exit": ({"until": 0.1}, TypeError, "until must be a callable"),
    "exit of numbers": ({"until": FAR}, ValueError, r"until must map \(c, d\) to \(c,\) bool, got torch.float64"),
    "infinite samples": (
        {"landscape": Monkey(torch.tensor([[0.0, 1.0], [torch.nan, 1.0]])), "oracle": FullBatch()},
        ValueError,
        "samples hold non-finite numbers in 1 of 2 rows, first in row 1; clean or drop them",
    ),
    "whole samples": (
        {"landscape": Monkey(torch.ones(2, 2, dtype=torch.int64)), "oracle": FullBatch()},
        ValueError,
        r"samples must be a floating \(n, k\) tensor",
    ),
    "no gradient": (
        {"landscape": Monkey(centred(50, 2)), "start": torch.zeros(3)},
        ValueError,
        "no gradient at a start of dimension 3",
    ),
    "no dimension": (
        {"landscape": Monkey(centred(50, 2)), "oracle": IsotropicNoise(4)},
        ValueError,
        "needs the landscape's dimension",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_run_is_refused(name, monkeypatch):
    changed, kind, message = REFUSED[name]

    def never(*_, **__):
        raise AssertionError("a step was made")

    monkeypatch.setattr(importlib.import_module("escape.simulate"), "run_blocks", never)
    with pytest.raises(kind, match=message) as caught:
        run(**changed)
    assert "\n" not in str(caught.value)


def test_counts_may_come_from_numpy():
    data = run(steps=np.int64(5), chains=np.int32(3), seed=np.int64(1), observe=None)
    assert data.sizes["chain"] == 3


# Interruption.


@dataclass(frozen=True)
class Failing:
    """An observable that fails once chains move."""

    def __call__(self, x):
        if bool((x != 0).any()):
            raise ZeroDivisionError("no")
        return x[:, 0]


def test_a_failure_in_a_block_ends_the_run():
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        run(observe={"a": Failing()}, steps=10_000_000, every=1, executor=2)
    assert threading.active_count() <= threads


def test_an_interruption_ends_all_blocks():
    def interrupt(done, total):
        if done > 2 * 64 * 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(steps=10_000_000, every=1_000_000, until=None, progress=interrupt, executor=2)


# Other landscapes through the same engine.


def test_every_kind_of_gradient_runs():
    for landscape in (
        random_factorization(F64),
        TwoSlopeWell.noisy(2.0, 1.0, 0.25, 0.3, [1.0], n=20),
        Monkey(0.1 * centred(20, 2)),
    ):
        d = landscape.dimension or 2
        start = torch.full((d,), 0.1, dtype=F64)
        for oracle in (FullBatch(), MiniBatch(4), MiniBatch(4, replacement=True), GaussianNoise(4)):
            data = run(landscape=landscape, oracle=oracle, start=start, steps=9, chains=5, observe=None, until=None)
            assert np.isfinite(data.final.values).all()
            assert not (data.final.values == 0.1).any()


@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler to compile with"
)
@pytest.mark.parametrize("stopped", [False, True], ids=["free", "stopped"])
def test_compiled_chunks_are_the_eager_ones(stopped):
    """Over whole and part chunks, and, where chains leave, a schedule and as many rows as are left."""
    small = {"steps": 11, "chains": 8, "block": 8, "executor": 1, "until": None, "every": 5}
    if stopped:
        schedule = GradientDescent(lambda t: 0.2 / (1 + 0.01 * t))
        small |= {"steps": 45, "chains": 70, "block": 64, "until": Above(FAR, 0.1), "optimizer": schedule}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = run(compile=True, common_random_numbers=True, **small)
    eager = run(compile=False, common_random_numbers=True, **small)
    assert np.array_equal(compiled.exit_step, eager.exit_step)
    assert (eager.status.values == EXITED).any() == stopped
    for name in ("final", "x0", "x1"):
        gap = np.abs(compiled[name].values - eager[name].values).max()
        assert gap < 1e-12, f"compiled and eager {name} differ by {gap:.3g}"


@dataclass(frozen=True, eq=False)
class Talking(Monkey):
    """A landscape of which no graph can be made."""

    def retract(self, x):
        return x if float(x.sum()) < 1e9 else -x


@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler to compile with"
)
def test_what_cannot_be_compiled_is_said_in_one_line():
    with pytest.raises(ValueError, match=r"makes no graph of these steps .* take compile=False") as caught:
        run(landscape=Talking(centred(50, 2)), compile=True, steps=9, executor=1)
    assert "\n" not in str(caught.value)


def test_a_schedule_is_checked_at_every_step():
    with pytest.raises(ValueError, match="schedule's lr at step 3: lr must be a positive finite number"):
        run(optimizer=GradientDescent(lambda t: 0.1 if t < 3 else float("nan")), steps=5)


def test_a_drawn_start_beyond_the_exit_is_said_too():
    with pytest.warns(UserWarning, match="threshold 0.1 is already passed at the start by 300 of 300 chains"):
        run(start=NormalStart(torch.tensor([5.0, 0.0], dtype=F64), 0.01))
