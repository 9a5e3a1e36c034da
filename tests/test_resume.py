"""Nothing lost: whatever ends a run, the next one goes on from the finished blocks, to the same bits."""

import errno
import functools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_simulate import SADDLE, assert_same, run

from escape import Above, GradientDescent, MiniBatch, Projection, SquaredDistance, merge, simulate, store
from escape.cli import main
from escape.store import read, write

ORIGIN = torch.zeros(2, dtype=torch.float64)
BLOCKS = 12


def long_run(store=None, progress=None, dtype=torch.float64):
    """Twelve blocks, each of some tens of milliseconds."""
    return simulate(
        SADDLE.to(dtype=dtype), MiniBatch(4), GradientDescent(0.1), ORIGIN, steps=150, chains=BLOCKS * 256, block=256,
        observe={"x": Projection(ORIGIN, torch.tensor([1.0, 0.0]))}, every=50,
        until=Above(SquaredDistance(ORIGIN), 0.1), seed=3, store=store, progress=progress, executor=2,
    )  # fmt: skip


def into(folder):
    """What a process does that is going to be killed."""
    long_run(folder)


def test_a_run_killed_at_twenty_random_moments_ends_with_the_same_bits(tmp_path, monkeypatch):
    # One process imports everything once; the others are forked from it before it has threads.
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_resume"])
    for folder in ("warm", "timed"):
        # How long a whole one takes here and now, once the imports are done: the moments are spread over that.
        began = time.monotonic()
        whole = context.Process(target=into, args=(tmp_path.with_name(f"{tmp_path.name}-{folder}"),))
        whole.start()
        whole.join()
        assert whole.exitcode == 0
    moments = np.random.default_rng(0).uniform(0.0, time.monotonic() - began, 20)
    most = []
    for moment in moments:
        process = context.Process(target=into, args=(tmp_path,))
        process.start()
        time.sleep(moment)
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
        most.append(len(list(tmp_path.glob("*.parts/block-*.npz"))))
        if list(tmp_path.glob("*.nc")):
            # Done before it was killed; what remains is killed from the start again.
            for file in tmp_path.glob("*.nc"):
                file.unlink()
    assert max(most) > 0, "no process lived long enough to finish a block"
    told = []
    resumed = long_run(tmp_path, progress=lambda done, total: told.append(done / total))
    kept = most[-1]
    assert told[:kept] == pytest.approx(np.arange(1, kept + 1) / BLOCKS), "finished blocks were simulated again"
    assert_same(resumed, long_run())
    assert [path.suffix for path in tmp_path.iterdir()] == [".nc"], "unfinished blocks were left lying"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_interrupted_run_goes_on(tmp_path, dtype):
    def interrupt(done, total):
        if done > total / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=rf"\d of {BLOCKS} blocks are kept in .*\.parts; the same run goes on"):
        long_run(tmp_path, interrupt, dtype)
    kept = sorted(tmp_path.glob("*.parts/block-*.npz"))
    assert 0 < len(kept) < BLOCKS
    before = [file.stat().st_mtime_ns for file in kept]
    first = []
    data = long_run(tmp_path, lambda done, total: first.append((done, [f.stat().st_mtime_ns for f in kept])), dtype)
    assert first[0][1] == before, "blocks that were kept were written again"
    assert_same(data, long_run(dtype=dtype))
    assert data.x.dtype == (np.float32 if dtype == torch.float32 else np.float64)


def test_without_a_store_an_interruption_says_how_to_keep_things():
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="none is kept; a run with a store would go on from there"):
        long_run(progress=interrupt)


def test_a_torn_block_is_named_and_done_again(tmp_path):
    interrupted(tmp_path)
    kept = sorted(tmp_path.glob("*.parts/block-*.npz"))
    kept[0].write_bytes(kept[0].read_bytes()[:-40])
    flipped = bytearray(kept[1].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    kept[1].write_bytes(bytes(flipped))
    with pytest.warns(UserWarning, match="is torn") as caught:
        data = long_run(tmp_path)
    named = " ".join(str(warning.message) for warning in caught)
    assert kept[0].name in named
    assert kept[1].name in named
    assert_same(data, long_run())


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_a_block_that_holds_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    interrupted(tmp_path)
    kept = sorted(tmp_path.glob("*.parts/block-*.npz"))[0]
    with np.load(kept) as held:
        arrays = dict(held)
    arrays["final"] = np.array([Harmful()], dtype=object)
    np.savez(kept, **arrays)
    with pytest.warns(UserWarning, match="is torn"):
        data = long_run(tmp_path)
    assert not (tmp_path / "harmed").exists()
    assert_same(data, long_run())


def test_a_full_disk_is_named_and_what_was_whole_is_kept(tmp_path, monkeypatch):
    left = [3]

    def fsync(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(store.os, "fsync", fsync)
        with pytest.raises(OSError, match=r"cannot write .*block-\d+\.npz: No space left on device; the blocks"):
            long_run(tmp_path)
    files = [path.name for path in tmp_path.glob("*.parts/*")] + [path.name for path in tmp_path.glob("*.parts/.*")]
    assert len(files) == 3
    assert all(name.startswith("block-") for name in files), "a torn file was left lying"
    assert_same(long_run(tmp_path), long_run())


def interrupted(folder):
    def interrupt(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        long_run(folder, interrupt)


COMMAND = [
    str(Path(sys.executable).with_name("escape")), "simulate", "additive-saddle", "--steps", "700", "--chains", "4800",
    "--block", "400", "--quiet", "--out", "far.nc",
]  # fmt: skip


def test_the_command_stops_on_ctrl_c_and_goes_on(tmp_path, monkeypatch):
    # A background job of a shell inherits that the signal is ignored.
    heeded = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    command = subprocess.Popen(COMMAND, preexec_fn=heeded, **pipes)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("far.nc.*.parts/block-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 130, said
    assert "Interrupted; " in said
    assert "blocks are kept in far.nc." in said
    assert "the same run goes on from there" in said
    kept = len(list(tmp_path.glob("far.nc.*.parts/block-*.npz")))
    assert kept > 0
    monkeypatch.chdir(tmp_path)
    assert "wrote far.nc" in CliRunner().invoke(main, COMMAND[1:]).stdout
    assert [path.name for path in tmp_path.iterdir()] == ["far.nc"]
    assert "far.nc held this run already" in CliRunner().invoke(main, COMMAND[1:]).stdout
    assert "wrote other.nc" in CliRunner().invoke(main, [*COMMAND[1:-1], "other.nc"]).stdout
    assert_same(read(tmp_path / "far.nc"), read(tmp_path / "other.nc"))


# Shards.


@pytest.mark.parametrize("reduce", [False, True], ids=["values", "sums"])
@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_shards_together_are_the_run_in_one_piece(shards, reduce, tmp_path):
    whole = run(reduce=reduce)
    made = [run(reduce=reduce, shard=(i + 1, shards)) for i in range(shards)]
    read_back = [read(write(data, tmp_path / f"{i}.nc")) for i, data in enumerate(made)]
    for merged in (merge(*made), merge(*reversed(read_back))):
        assert_same(merged, whole)
        assert merged.sizes == whole.sizes
        assert list(merged.coords) == list(whole.coords)
        for name in whole.coords:
            assert np.array_equal(merged[name].values, whole[name].values)
        assert merged.attrs.keys() == whole.attrs.keys()
        for key in ("spec", "chain_steps_needed", "chain_steps_moved", "utilisation"):
            assert merged.attrs[key] == whole.attrs[key]


def test_shards_that_make_no_whole_are_refused():
    one, two, three = (run(shard=(i, 3)) for i in (1, 2, 3))
    with pytest.raises(ValueError, match="chains 64 to 191 are missing; give every shard"):
        merge(one, three)
    with pytest.raises(ValueError, match="chains 192 to 299 are missing"):
        merge(one, two)
    with pytest.raises(ValueError, match="chains 0 to 63 come twice"):
        merge(one, one, two, three)
    with pytest.raises(ValueError, match="not shards of one run: they differ in seed"):
        merge(one, two, run(shard=(3, 3), seed=8))
    with pytest.raises(ValueError, match="no shards"):
        merge()


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ((0, 3), "shard 0/3 is none: shards count from 1 to n"),
        ((4, 3), "shard 4/3 is none"),
        ((1, 6), "the run has only 5 blocks; take at most 5 shards"),
        (3, r"shard must be two numbers \(i, n\), got 3"),
    ],
)
def test_a_shard_that_is_not_there_is_refused(shard, message):
    with pytest.raises(ValueError, match=message):
        run(shard=shard)


def test_shards_in_one_store_do_not_meet(tmp_path):
    whole = run()
    made = [run(shard=(i, 2), store=tmp_path) for i in (1, 2)]
    assert len(list(tmp_path.glob("*.nc"))) == 2
    assert_same(merge(*made), whole)
    again = run(shard=(2, 2), store=tmp_path)
    assert_same(again, made[1])
    assert_same(run(store=tmp_path), whole)


def test_the_order_of_observables_is_no_part_of_a_run(tmp_path):
    x, y = (Projection(ORIGIN, torch.eye(2)[k]) for k in (0, 1))

    def interrupt(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(observe={"x": x, "y": y}, store=tmp_path, progress=interrupt)
    assert list(tmp_path.glob("*.parts/block-*.npz"))
    assert_same(run(observe={"y": y, "x": x}, store=tmp_path), run(observe={"x": x, "y": y}))


def test_another_that_was_done_first_may_clear_up(tmp_path):
    """Two processes run the same with one store; the first takes the folder of blocks away when it is done."""
    cleared = []

    def clear(done, total):
        for folder in tmp_path.glob("*.parts"):
            if not cleared:
                cleared.append(folder)
                shutil.rmtree(folder, ignore_errors=True)

    assert_same(run(store=tmp_path, progress=clear, executor=1), run())
    assert cleared
    assert [path.suffix for path in tmp_path.iterdir()] == [".nc"]


def test_files_that_would_be_lost_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["simulate", "additive-saddle", "--steps", "9", "--chains", "40", "--block", "20", "--quiet"]
    (tmp_path / "notes.nc").write_text("all I know")
    done = CliRunner().invoke(main, [*small, "--out", "notes.nc"])
    assert done.exit_code == 2
    assert "notes.nc is not a result of escape and would be lost; choose another name" in done.stderr
    assert CliRunner().invoke(main, [*small, "--shard", "1/2", "--out", "part.nc"]).exit_code == 0
    done = CliRunner().invoke(main, [*small, "--shard", "2/2", "--out", "part.nc"])
    assert done.exit_code == 2
    assert "part.nc holds shard 1/2 of this run; give every shard a file of its own" in done.stderr


def test_a_client_is_no_executor():
    class Client:
        def submit(self, *_):
            raise AssertionError

        def get_executor(self):
            raise AssertionError

    with pytest.raises(ValueError, match=r"executor must be an Executor .* take its get_executor\(\)"):
        run(executor=Client())
