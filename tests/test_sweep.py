"""A grid of runs: every point is the run that `simulate` would give, and chains go where the precision needs them."""

import importlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from escape import (
    Above,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    MiniBatch,
    NormalStart,
    QuadraticSaddle,
    SquaredDistance,
    estimate,
    simulate,
    sweep,
    sweep_point,
    theory,
)
from escape.run import BlockResult
from escape.store import read, write

F64 = torch.float64
ORIGIN = torch.zeros(2, dtype=F64)
SADDLE = QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=50)
SQUARE = SquaredDistance(ORIGIN)
LEAVE = Above(SQUARE, 0.1)
GRID = {"lr": [0.2, 0.4], "batch_size": [1, 4, 16]}
SWEEP = importlib.import_module("escape.sweep")


def point(lr, batch_size):
    return {
        "landscape": SADDLE, "oracle": MiniBatch(batch_size), "optimizer": GradientDescent(lr), "start": ORIGIN,
        "until": LEAVE,
    }  # fmt: skip


def run(made=point, grid=GRID, **changed):
    """Six points, which need different numbers of chains for the mean exit step to within 3%."""
    arguments = {"steps": 120, "chains": 1000, "precision": 0.03, "block": 64, "observe": {"r": SQUARE}, "every": 50}
    return sweep(made, grid, **(arguments | changed))


@pytest.fixture(scope="module")
def data():
    return run()


@pytest.fixture
def blocks_run(monkeypatch):
    """The blocks that are run from here on, as (seed, number)."""
    ran, lock, real = [], threading.Lock(), SWEEP.run_block

    def counted(of, number, *rest):
        result = real(of, number, *rest)
        with lock:
            ran.append((of.seed, number))
        return result

    monkeypatch.setattr(SWEEP, "run_block", counted)
    return ran


def places(grid=GRID):
    return [dict(zip(grid, values, strict=True)) for values in np.array(np.meshgrid(*grid.values())).T.reshape(-1, 2)]


def simulated(data, lr, batch_size, **changed):
    """The run of one point of a sweep by itself."""
    here = data.sel(lr=lr, batch_size=batch_size)
    arguments = {
        "steps": 120, "chains": int(here.chains), "seed": int(here.seed), "block": 64, "observe": {"r": SQUARE},
        "every": 50,
    }  # fmt: skip
    return simulate(**(point(lr, int(batch_size)) | arguments | changed))


def assert_same(a, b):
    """Equal to the bit, dtypes too."""
    b = b.copy()
    b.attrs = a.attrs
    assert a.identical(b), f"{a}\n{b}"
    assert {name: a[name].dtype for name in a} == {name: b[name].dtype for name in b}


# The points.


def test_every_point_is_the_run_that_simulate_gives(data):
    assert len(set(data.chains.values.ravel())) > 2, "the points shall differ in what is padded"
    for place in places():
        alone, taken = simulated(data, **place), sweep_point(data, **place)
        assert_same(taken, alone)
        for key in set(taken.attrs) & set(alone.attrs):
            assert taken.attrs[key] == alone.attrs[key], key
        assert {"spec", "seed", "block", "dtype", "sampling", "torch_version"} <= set(taken.attrs)
        assert taken.status.attrs["flag_meanings"] == "censored exited diverged"


def test_what_it_holds(data):
    assert data.exit_step.dims == data.status.dims == ("lr", "batch_size", "chain")
    assert data.r.dims == ("lr", "batch_size", "step", "chain")
    assert data.final.dims == ("lr", "batch_size", "chain", "coordinate")
    assert data.lr.values.tolist() == GRID["lr"]
    assert data.batch_size.values.tolist() == GRID["batch_size"]
    absent = data.chain >= data.chains
    assert absent.any()
    assert ((data.status == 3) == absent).all()
    assert ((data.exit_step == -1) == absent).all()
    assert (data.r.isnull() == absent).all()
    assert (data.final.isnull() == absent).all()
    assert data.status.attrs["flag_meanings"] == "censored exited diverged absent"
    assert data.status.attrs["flag_values"].tolist() == [0, 1, 2, 3]
    assert data.seed.values.ravel().tolist() == [json.loads(text)["seed"] for text in data.spec.values.ravel()]
    assert len(set(data.seed.values.ravel())) == 6
    assert data.attrs["target"] == "mean_exit_step"
    assert data.attrs["precision"] == 0.03
    assert data.attrs["seed"] == 0
    assert 0 < data.attrs["utilisation"] <= 1
    assert {"sampling", "device", "git_commit", "wall_seconds", "block"} <= set(data.attrs)


def test_the_target_is_what_the_estimate_says_of_the_point(data):
    for place in places():
        here, found = data.sel(place), estimate.mean_exit_step(sweep_point(data, **place))
        assert (float(here.value), float(here.low), float(here.high)) == found[:3]
        width = (found.high - found.low) / 2 / found.value
        assert float(here.relative_half_width) == pytest.approx(width)
        assert bool(here.reached) == (width <= 0.03)


def test_without_a_precision_all_points_have_all_chains():
    data = run(precision=None, chains=100)
    assert (data.chains == 100).all()
    assert "reached" not in data
    for place in places():
        assert_same(sweep_point(data, **place), simulated(data, **place))


def test_reduced_observables(data):
    reduced = run(reduce=True)
    assert reduced.r.dims == ("lr", "batch_size", "statistic", "step", "block")
    assert (reduced.chains == data.chains).all()
    for place in places():
        taken = sweep_point(reduced, **place)
        assert_same(taken, simulated(reduced, **place, reduce=True))
        found, full = estimate.mean(taken.r), estimate.mean(sweep_point(data, **place).r)
        np.testing.assert_allclose(found.value, full.value, rtol=1e-12)


def test_points_may_differ_in_dimension_and_in_what_they_are():
    def made(d, noise):
        saddle = QuadraticSaddle.additive([-1.0] + [0.5] * (d - 1), 0.1, n=50)
        start = torch.zeros(d, dtype=F64)
        return {
            "landscape": saddle, "oracle": noise, "optimizer": GradientDescent(0.1), "start": start,
            "until": Above(SquaredDistance(start), 0.1), "observe": {"r": SquaredDistance(start)},
        }  # fmt: skip

    grid = {"d": [1, 3], "noise": {"batch": MiniBatch(4), "all": FullBatch()}}
    data = sweep(made, grid, steps=20, chains=10, block=8)
    assert data.noise.values.tolist() == ["batch", "all"]
    assert data.dimension.values.tolist() == [[1, 1], [3, 3]]
    assert "sampling" not in data.attrs, "it is not the same everywhere"
    for d in grid["d"]:
        for name, oracle in grid["noise"].items():
            taken = sweep_point(data, d=d, noise=name)
            seed = int(data.seed.sel(d=d, noise=name))
            assert_same(taken, simulate(**made(d, oracle), steps=20, chains=10, block=8, seed=seed))


def test_values_are_labelled():
    def schedule(t):
        return 0.1

    def made(lr, replacement):
        return point(0.2, 4) | {"optimizer": GradientDescent(lr), "oracle": MiniBatch(4, replacement=replacement)}

    data = run(made, {"lr": [0.2, schedule], "replacement": [False, True]}, precision=None, chains=8, block=8)
    assert data.lr.values.tolist() == ["0.2", "schedule"]
    assert data.replacement.values.tolist() == ["False", "True"]
    for lr in (schedule, "schedule"):
        assert sweep_point(data, lr=lr, replacement=True).attrs["at"] == "lr=schedule, replacement=True"


def test_values_may_come_from_numpy_and_torch():
    kinds = []

    def made(lr, batch_size):
        kinds.append((type(lr), type(batch_size)))
        return point(lr, batch_size)

    arguments = {"precision": None, "chains": 8, "block": 8}
    grid = {"lr": torch.tensor([0.2, 0.4], dtype=F64), "batch_size": np.array([1, 4, 16])}
    assert run(made, grid, **arguments).equals(run(**arguments))
    assert set(kinds) == {(float, int)}


def test_numbers_are_found_to_within_rounding(data):
    assert sweep_point(data, lr=0.2 + 1e-17, batch_size=np.int64(4)).equals(sweep_point(data, lr=0.2, batch_size=4))
    assert sweep_point(data.sel(lr=0.2), batch_size=4).equals(sweep_point(data, lr=0.2, batch_size=4))
    with pytest.raises(ValueError, match=r"lr=0\.3 is not in the sweep, which has 0\.2, 0\.4"):
        sweep_point(data, lr=0.3, batch_size=4)
    with pytest.raises(ValueError, match="a point of this sweep is told by lr, batch_size; got lr"):
        sweep_point(data, lr=0.2)
    with pytest.raises(ValueError, match="not the result of a sweep"):
        sweep_point(simulated(data, 0.2, 4), lr=0.2)


# Seeds.


def test_seeds_stay_when_an_axis_grows():
    small = run(precision=None, chains=8, block=8)
    large = run(grid={"lr": [0.2, 0.4, 0.6], "batch_size": [1, 4, 16, 32]}, precision=None, chains=8, block=8)
    assert large.isel(lr=slice(2), batch_size=slice(3)).equals(small)
    other = run(precision=None, chains=8, block=8, seed=1)
    assert not set(other.seed.values.ravel()) & set(small.seed.values.ravel())


def test_common_random_numbers_are_common():
    """Chains that never leave, under a noise of the same batch, differ by nothing but the step size."""
    data = run(precision=None, chains=70, until=None, common_random_numbers=True, steps=1, every=1,
               made=lambda **chosen: {**point(**chosen), "until": None}, seed=5)  # fmt: skip
    assert (data.seed == 5).all()
    assert data.r.sel(step=1).std("chain").min() > 0
    ratio = data.r.sel(step=1, lr=0.4) / data.r.sel(step=1, lr=0.2)
    np.testing.assert_allclose(ratio.values, 4.0, rtol=1e-12)
    assert_same(
        sweep_point(data, lr=0.2, batch_size=4),
        simulated(data, 0.2, 4, until=None, common_random_numbers=True, steps=1, every=1),
    )
    alone = run(precision=None, chains=70, made=lambda **chosen: {**point(**chosen), "until": None}, steps=1, every=1)
    assert np.unique(alone.r.sel(step=1, batch_size=4).values / [[1], [4]]).size == 140


# Who runs it changes nothing.


@pytest.mark.parametrize(
    "how", [{"executor": 1}, {"executor": 2}, {"progress": lambda done, total: None}], ids=["one", "two", "progress"]
)
def test_who_runs_it_changes_nothing(data, how):
    assert run(**how).equals(data)


def test_somebodys_executor_changes_nothing(data, capsys):
    with ThreadPoolExecutor(2) as pool:
        assert run(executor=pool, progress="grid").equals(data)
    said = capsys.readouterr().err
    assert "grid: done in" in said
    assert "grid, round 2: done in" in said


def test_a_callable_is_told_of_all_rounds():
    told = []
    data = run(progress=lambda done, total: told.append((done, total)), executor=1)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(done <= total for done, total in told)
    blocks = (-(-data.chains // 64)).sum().item()
    assert told[-1] == (blocks * 64 * 120, blocks * 64 * 120)


# Stopping.


def test_the_first_chains_are_the_same_whatever_the_precision(data):
    rough = run(precision=0.1)
    assert (rough.chains == 256).all(), "the pilot is four blocks of 64"
    assert rough.reached.all()
    assert rough.exit_step.equals(data.exit_step.isel(chain=slice(256)))
    assert (data.chains >= rough.chains).all()


def test_only_new_blocks_are_run(blocks_run):
    data = run()
    assert len(blocks_run) == len(set(blocks_run)) == (-(-data.chains // 64)).sum().item()


def test_chains_go_where_they_are_needed(data):
    """Twice the width takes a quarter of the chains: about 1.1 (w/0.03)² times those of the pilot, in whole blocks."""
    pilot = run(precision=10)
    needed = (pilot.relative_half_width / 0.03) ** 2 * 256
    assert (data.chains >= np.minimum(0.9 * needed, 1000)).all()
    assert (data.chains <= np.maximum(1.3 * needed + 128, 256)).all()


def test_the_last_block_is_cut_at_the_most_there_may_be():
    with pytest.warns(UserWarning, match=r"precision 0\.001 of mean_exit_step is not reached at 6 of 6 points: "
                      r"lr=0\.2, batch_size=1 \(0\.\d+ with all 300 chains\), .* and at 2 more"):  # fmt: skip
        data = run(precision=0.001, chains=300)
    assert (data.chains == 300).all()
    assert not data.reached.any()
    for place in places()[:2]:
        assert_same(sweep_point(data, **place), simulated(data, **place))


def test_a_censored_point_is_given_up_after_its_pilot():
    """Without noise nothing ever leaves the saddle; more chains would not help."""

    def made(noise):
        return point(0.2, 4) | {"oracle": noise}

    said = r"not reached at 1 of 2 points: noise=none \(256 of 256 chains censored at step 120"
    with pytest.warns(UserWarning, match=said):
        data = run(made, {"noise": {"batch": MiniBatch(4), "none": FullBatch()}}, chains=10_000)
    assert data.reached.values.tolist() == [True, False]
    assert data.chains.values[1] == 256
    assert data.chains.values[0] > 256
    assert data.high.values[1] == data.relative_half_width.values[1] == np.inf
    assert data.reason.values[0] == ""


def test_an_estimate_that_has_seen_nothing_goes_on(monkeypatch):
    """One chain in a thousand leaves: the mean without memory is infinite until the first is seen."""

    def rare(run, number, tick=None, stop=None):
        left = np.random.default_rng([run.seed, number]).random(run.wanted(number)) < 1e-3
        return BlockResult({}, np.where(left, 50, 100), left.astype(np.int8), np.zeros((len(left), 2)), 1, 1)

    monkeypatch.setattr(SWEEP, "run_block", rare)
    data = run(lambda lr: point(lr, 4), {"lr": [0.2]}, target=estimate.exponential_mean_exit_step, observe=None,
               chains=100_000, precision=0.5)  # fmt: skip
    assert data.reached.all()
    assert not (sweep_point(data, lr=0.2).status[:256] == 1).any(), "the pilot shall see nothing"
    assert (data.status == 1).sum() >= 10


def test_equal_chains_are_as_precise_as_can_be():
    start = torch.tensor([1e-3, 0.0], dtype=F64)
    data = run(lambda lr: point(lr, 1) | {"oracle": FullBatch(), "start": start}, {"lr": [0.2, 0.4]})
    assert data.reached.all()
    assert (data.chains == 256).all()
    assert (data.relative_half_width == 0).all()


def test_a_target_of_ones_own():
    def median(data, level):
        return estimate.exit_quantile(data, 0.5, level=level)

    data = run(target=median, level=0.9, precision=0.1)
    assert data.attrs["target"] == "median"
    for place in places():
        found = median(sweep_point(data, **place), 0.9)
        assert float(data.value.sel(place)) == found.value
        assert float(data.high.sel(place)) == found.high


def test_a_start_for_each_chain():
    starts = 0.01 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    data = run(lambda lr, batch_size: point(lr, batch_size) | {"start": starts})
    assert len(set(data.chains.values.ravel())) > 1
    for place in places():
        taken = sweep_point(data, **place)
        alone = simulated(data, **place, start=starts[: taken.sizes["chain"]])
        assert_same(taken, alone)
        assert taken.attrs["spec"] == alone.attrs["spec"]


def geometric(run, number, tick=None, stop=None):
    """A block of exits of chance 1/100 a step, in the place of a simulated one."""
    steps = np.random.default_rng([run.seed, number]).geometric(0.01, run.block)[: run.wanted(number)]
    return BlockResult({}, steps, np.ones_like(steps, dtype=np.int8), np.zeros((len(steps), 2)), 1, 1)


def covered(data, truth):
    return ((data.low <= truth) & (truth <= data.high)).mean().item()


@pytest.mark.parametrize("block", [None, 64])
def test_intervals_cover_where_they_stopped(block, monkeypatch):
    """5000 repeats cover 95.1% and 94.6%; of 500, fewer than 91.5% do in 0.2% of seeds."""
    monkeypatch.setattr(SWEEP, "run_block", geometric)
    data = sweep(lambda repeat: point(0.2, 4), {"repeat": range(500)}, steps=10, chains=100_000,
                 precision=0.05 if block is None else 0.1, block=block, executor=1)  # fmt: skip
    assert data.reached.all()
    assert covered(data, 100) >= 0.915, f"covered {covered(data, 100):.3f}"
    width = (data.relative_half_width / data.attrs["precision"]).mean().item()
    assert 0.8 < width < 1, f"chains are wasted: {width:.2f} of the width allowed"


def test_intervals_cover_the_exact_mean_of_a_saddle():
    """Of 150 repeats fewer than 88.5% cover in 0.2% of seeds, where 94.5% do in the long run."""
    lr, noise, radius = 0.2, 0.1, 0.3
    saddle, start = QuadraticSaddle.additive([-1.0], noise, n=50), torch.zeros(1, dtype=F64)
    made = {
        "landscape": saddle, "oracle": GaussianNoise(4), "optimizer": GradientDescent(lr), "start": start,
        "until": Above(SquaredDistance(start), radius**2),
    }  # fmt: skip
    std = lr * noise * theory.kappa(4, 50) ** 0.5
    chain = theory.GaussianChain(lambda x: (1 + lr) * x, std, -1.0, 1.0)
    exact = chain.mean_exit_step(0.0, exit_low=-radius, exit_high=radius)
    data = sweep(lambda repeat: made, {"repeat": range(150)}, steps=150, chains=5000, precision=0.02, block=256)
    assert data.reached.all()
    assert (data.chains > 256).mean() > 0.9, "nearly all points shall have a second round"
    assert covered(data, exact) >= 0.885, f"covered {covered(data, exact):.3f} of {exact:.3f}"


# Kept.


def test_a_round_trip_by_netcdf(data, tmp_path):
    again = read(write(data, tmp_path / "sweep.nc"))
    assert again.equals(data)
    assert again.reached.dtype == bool
    for place in places()[:2]:
        assert sweep_point(again, **place).equals(sweep_point(data, **place))
    for key, value in data.attrs.items():
        assert again.attrs[key] == value, key


def test_a_sweep_that_is_there_is_read(data, tmp_path, blocks_run, monkeypatch):
    first = run(store=tmp_path)
    assert first.equals(data)
    assert [path.suffix for path in tmp_path.iterdir()] == [".nc"], "no parts are left"
    blocks_run.clear()
    assert run(store=tmp_path, executor=1).equals(first)
    assert not blocks_run
    others = [
        {"precision": 0.04}, {"level": 0.9}, {"seed": 1}, {"chains": 999}, {"grid": {"lr": [0.2], "batch_size": [4]}},
        {"target": estimate.restricted_mean_exit_step}, {"precision": None}, {"common_random_numbers": True},
        {"block": 32}, {"made": lambda lr, batch_size: point(lr / 2, batch_size)},
    ]  # fmt: skip

    def refused(*_):
        raise RuntimeError("begun")

    monkeypatch.setattr(SWEEP, "run_block", refused)
    for changed in others:
        with pytest.raises(RuntimeError, match="begun"):
            run(store=tmp_path, **changed)


def test_what_was_not_reached_is_said_again(tmp_path):
    for _ in range(2):
        with pytest.warns(UserWarning, match="is not reached at 6 of 6 points") as caught:
            run(precision=0.001, chains=300, store=tmp_path)
        assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("after", [1, 13, 30])
def test_an_interrupted_sweep_goes_on_to_the_same_bits(data, after, tmp_path, blocks_run):
    """24 blocks are the pilots; the thirtieth is in the second round."""
    stopped = []

    def stop(done, total):
        if done >= after * 64 * 120 and not stopped:
            stopped.append(done)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"blocks are kept in .*; the same run goes on from there"):
        run(store=tmp_path, executor=1, progress=stop)
    before = list(blocks_run)
    kept = len(list(tmp_path.rglob("block-*.npz")))
    assert kept >= after - 1
    blocks_run.clear()
    again = run(store=tmp_path)
    assert again.equals(data)
    whole = (-(-data.chains // 64)).sum().item()
    assert len(blocks_run) == whole - kept
    assert len(before) + len(blocks_run) <= whole + 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".nc"]


# Refused.


BAD = {
    "no grid": ({"grid": {}}, r"grid must name at least one list of values"),
    "a list for a grid": ({"grid": [1]}, r"grid must name at least one list of values"),
    "no values": ({"grid": {"lr": [], "batch_size": [1]}}, r"lr has no values; give one at least"),
    "a number for values": ({"grid": {"lr": 0.1, "batch_size": [1]}}, r"lr must be a list of values, .* got 0\.1"),
    "a string for values": ({"grid": {"lr": "ab", "batch_size": [1]}}, r"lr must be a list of values, .* got 'ab'"),
    "a value twice": ({"grid": {"lr": [0.2, 0.2], "batch_size": [1]}}, r"lr holds 0\.2 twice"),
    "a name that is taken": ({"grid": {"chain": [1]}}, r"the grid's name 'chain' must be a Python name"),
    "no name": ({"grid": {"step size": [1]}}, r"the grid's name 'step size' must be"),
    "no callable": ({"made": {}}, r"point must be a callable of lr, batch_size, got dict"),
    "other names": (
        {"grid": {"rate": [0.1]}}, r"^at rate=0\.1: point\(\) got an unexpected keyword argument 'rate'$",
    ),
    "no dict": ({"made": lambda **_: 3}, r"^at lr=0\.2, batch_size=1: point must return a dict .*, got int"),
    "an unknown key": (
        {"made": lambda **k: {**point(**k), "steps": 3}}, r"at lr=0\.2, batch_size=1: point gave 'steps'; it gives",
    ),
    "a missing key": (
        {"made": lambda **k: {"landscape": SADDLE, "oracle": FullBatch()}},
        r"at lr=0\.2, batch_size=1: point gave no optimizer",
    ),
    "a batch too large": (
        {"grid": {"lr": [0.2, 0.5], "batch_size": [4, 2000]}}, r"^at lr=0\.2, batch_size=2000: batch_size 2000 is ",
    ),
    "an lr below zero": ({"grid": {"lr": [0.1, -1], "batch_size": [4]}}, r"^at lr=-1, batch_size=4: lr must be"),
    "no steps": ({"steps": -1}, r"steps must be an integer of at least 0, got -1"),
    "no chains": ({"chains": 0}, r"chains must be an integer of at least 1, got 0"),
    "no seed": ({"seed": -1}, r"^seed must be an integer of at least 0, got -1"),
    "no executor": ({"executor": 0}, r"executor must be"),
    "a precision of zero": ({"precision": 0}, r"precision must be a relative half-width above 0, .* got 0"),
    "a precision of True": ({"precision": True}, r"precision must be a relative half-width above 0, .* got True"),
    "a precision without end": ({"precision": np.nan}, r"precision must be a relative half-width above 0"),
    "no exit": (
        {"made": lambda lr, batch_size: {**point(lr, batch_size), "until": None if lr == 0.4 else LEAVE}},
        r"^at lr=0\.4, batch_size=1: precision of the mean exit step needs an exit; give until",
    ),
    "a level": ({"level": 95}, r"level is 95"),
    "no target": ({"target": 3}, r"target must be a callable of \(data, level=…\)"),
    "a target without level": ({"target": lambda data: 3}, r"target must be a callable of \(data, level=…\): got an"),
    "an observable's name": ({"observe": {"value": SQUARE}}, r"observable 'value' has the name of another part"),
    "an observable's name on the grid": ({"observe": {"lr": SQUARE}}, r"observable 'lr' has the name of another part"),
    "observables that differ": (
        {"made": lambda lr, batch_size: {**point(lr, batch_size), "observe": {f"r{batch_size}": SQUARE}}},
        r"^at lr=0\.2, batch_size=4: r4 is observed, but r1 at the first point",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sweep_is_refused_before_the_first_step(name, blocks_run):
    changed, message = BAD[name]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        run(**changed)
    assert "\n" not in str(caught.value)
    assert not blocks_run


def test_a_target_that_is_no_estimate_is_said():
    with pytest.raises(TypeError, match="target must return an Estimate of one number"):
        run(target=lambda data, level: 3)


def test_a_target_without_a_key_is_refused_by_a_store(tmp_path, blocks_run):
    class Opaque:
        def __call__(self, data, level):
            return estimate.mean_exit_step(data, level=level)

    with pytest.raises(TypeError, match="target cannot key a stored result"):
        run(target=Opaque(), store=tmp_path)
    assert not blocks_run
    assert run(target=Opaque(), precision=0.1).reached.all()


def test_points_that_begin_outside_are_named():
    def made(far):
        return point(0.2, 4) | {"start": torch.tensor([far, 0.0], dtype=F64)}

    with pytest.warns(UserWarning, match=r"already passed at the start at 1 of 2 points: far=1\.0$") as caught:
        run(made, {"far": [0.0, 1.0]}, chains=8, block=8, precision=None)
    assert [warning.filename for warning in caught] == [__file__]
    drawn = NormalStart(torch.tensor([9.0, 0.0], dtype=F64), 0.1)
    with pytest.warns(UserWarning, match=r"passed at every start drawn at 1 of 1 points: lr=0\.2$"):
        run(lambda lr: point(lr, 4) | {"start": drawn}, {"lr": [0.2]}, chains=8, block=8, precision=None)
