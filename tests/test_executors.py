"""Who runs the blocks makes no difference: threads, processes, the workers of a Dask cluster, one of them killed."""

import functools
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import pytest
import torch
from click.testing import CliRunner
from test_cli import MINE
from test_simulate import assert_same, run

from escape import WorkerLost, merge
from escape.cli import main
from escape.provenance import spec_of
from escape.recipe import Recipe, RecipeJob
from escape.spec import digest
from escape.store import read

SMALL = ["--steps", "60", "--chains", "200", "--block", "32", "--batch-size", "8", "--radius", "0.5", "--quiet"]


def escape(*words):
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two worker processes of this machine."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50, memory_limit=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        # Tests lie in no package, so that workers find their functions on the path only.
        client.run(sys.path.append, os.path.dirname(__file__))
        yield client


def test_a_dask_cluster_changes_nothing(cluster):
    assert len(cluster.scheduler_info()["workers"]) == 2
    for dtype in (torch.float32, torch.float64):
        chosen = {"landscape": run.__globals__["SADDLE"].to(dtype=dtype)}
        told = []
        data = run(executor=cluster.get_executor(), progress=lambda d, t, told=told: told.append(d), **chosen)
        assert_same(data, run(executor=1, **chosen))
        assert told[-1] == 5 * 64 * 60


def test_shards_on_a_cluster_make_the_whole(cluster):
    made = [run(executor=cluster.get_executor(), shard=(i, 2)) for i in (1, 2)]
    assert_same(merge(*made), run())


@dataclass(frozen=True)
class KillOnce:
    """An exit that never comes, and kills the process that looks at it, if it is the first but mine that does so."""

    flag: str
    mine: int

    def __call__(self, x):
        if os.getpid() != self.mine:
            try:
                os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return x[:, 0] > 1e9


def test_a_cluster_that_loses_a_worker_changes_nothing(cluster, tmp_path):
    until = KillOnce(str(tmp_path / "killed"), os.getpid())
    data = run(executor=cluster.get_executor(), until=until)
    assert (tmp_path / "killed").exists(), "no worker was killed"
    assert_same(data, run(executor=1, until=until))


def test_processes_that_lose_a_worker_say_so_and_keep_the_rest(tmp_path):
    until = KillOnce(str(tmp_path / "killed"), os.getpid())
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(WorkerLost, match=r"a worker died .* of 5 blocks are kept in .*; the same run"),
    ):
        run(executor=pool, until=until, store=tmp_path / "store")
    data = run(until=until, store=tmp_path / "store")
    assert_same(data, run(until=until))


def test_commands_on_threads_processes_shards_and_a_cluster(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(MINE)
    make = functools.partial(escape, "simulate", "my.py:bowl", *SMALL)
    make("--out", "threads.nc", "--workers", "1")
    make("--out", "processes.nc", "--executor", "processes", "--workers", "2")
    make("--out", "dask.nc", "--executor", "dask://" + cluster.scheduler.address.removeprefix("tcp://"))
    said = make("--out", "one.nc", "--shard", "1/2")
    assert "shard       1/2: chains 0 to 95" in said
    make("--out", "two.nc", "--shard", "2/2")
    said = escape("merge", "merged.nc", "two.nc", "one.nc")
    assert said == "2 shards, 200 chains\nwrote merged.nc\n"
    whole = read(tmp_path / "threads.nc")
    for name in ("processes", "dask", "merged"):
        assert_same(read(tmp_path / f"{name}.nc"), whole)
    for file in ("two.nc", "merged.nc"):
        assert "the same to the bit" in escape("replay", file, "--chain", "150")


def test_a_cluster_that_is_not_there_is_refused_in_one_line():
    pytest.importorskip("distributed")
    done = CliRunner().invoke(main, ["simulate", "additive-saddle", *SMALL, "--executor", "dask://127.0.0.1:1"])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: no Dask scheduler answers at tcp://127.0.0.1:1")
    assert done.stderr.count("\n") == 1


def test_a_worker_that_would_run_something_else_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my.py"
    file.write_text(MINE)
    recipe = Recipe("my.py:bowl", steps=5, chains=8, block=8, batch_size=4)
    spec = digest(spec_of(recipe.run(recipe.parts(), 1), need_key=False))
    job = RecipeJob(recipe.dumps(), 1, spec)
    assert job(0).exit_step.shape == (8,)
    with pytest.raises(ValueError, match="a worker would run something else"):
        RecipeJob(recipe.dumps(), 1, "another")(0)
    file.write_text(MINE.replace("x[1] ** 2 / 2", "x[1] ** 2"))
    changed = digest(spec_of(recipe.run(recipe.parts(), 1), need_key=False))
    assert changed != spec
    now, then = RecipeJob(recipe.dumps(), 1, changed)(0), job(0)
    assert not (now.final == then.final).all(), "a worker that lives long runs the file as it was"
