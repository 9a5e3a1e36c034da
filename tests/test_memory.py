"""How much memory runs hold as the file of their samples grows, and what is said of the limits on it."""

import json
import os
import subprocess
import sys

import pytest
import torch

from escape import memory, write_samples

linux = pytest.mark.skipif(not memory.status_bytes("VmData"), reason="the system does not say what a process holds")

CHILD = """
import json, resource, sys
import torch
torch.set_num_threads(1)
from escape import FullBatch, GradientDescent, MiniBatch, load_samples, map_samples, simulate
from escape.memory import peak_memory, status_bytes
from test_mapped import Logistic

kind, path, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
start = torch.zeros(31, dtype=torch.float64)

def work(landscape):
    options = dict(steps=3, chains=512, block=256, executor=1)
    simulate(landscape, MiniBatch(8), GradientDescent(0.1), start, **options)
    mini = peak_memory() - held
    simulate(landscape, FullBatch(), GradientDescent(0.1), start, steps=1, chains=2, block=2)
    return mini, peak_memory() - held

held = status_bytes("VmRSS")
if kind == "data":
    work(Logistic(torch.randn(1000, 32, dtype=torch.float64)))
held, data, size = (status_bytes(name) for name in ("VmRSS", "VmData", "VmSize"))
if kind == "space":
    resource.setrlimit(resource.RLIMIT_AS, (size + limit, size + limit))
else:
    resource.setrlimit(resource.RLIMIT_DATA, (data + limit, data + limit))
said = {}
try:
    said["mapped"] = work(Logistic(map_samples(path)))
except OSError as error:
    said["mapped"] = str(error)
try:
    said["loaded"] = len(load_samples(path))
except MemoryError as error:
    said["loaded"] = str(error)
print(json.dumps(said))
"""


def child(kind, path, limit):
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, kind, str(path), str(limit)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@linux
def test_four_times_a_memory_limit_runs_at_the_memory_of_a_quarter(tmp_path):
    limit = 96 << 20
    said = {}
    for size in (limit // 4, 4 * limit):
        rows = size // 256
        chunk = torch.randn(1 << 14, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        chunks = (chunk[: min(len(chunk), rows - first)] for first in range(0, rows, len(chunk)))
        path = write_samples(tmp_path / f"{size}.npy", chunks)
        said[size] = child("data", path, limit)
    small, large = said.values()
    # The file grows by 360 MiB. Pages of 8 MiB are read, a few at a time, and an allocator may leave as many unused.
    for before, after in zip(small["mapped"], large["mapped"], strict=True):
        assert after < min(limit, before + limit // 4), f"{before} bytes became {after} under {limit}"
    assert small["loaded"] == limit // 4 // 256
    assert "needs 0.403 GB of memory" in large["loaded"]
    assert "map_samples takes it from disk" in large["loaded"]
    assert "the limit on its data (ulimit -d)" in large["loaded"]


@linux
def test_a_limit_on_the_address_space_is_named(tmp_path):
    path = write_samples(tmp_path / "a.npy", (torch.zeros(1 << 14, 64, dtype=torch.float64) for _ in range(8)))
    said = child("space", path, 48 << 20)
    assert said["mapped"].startswith(f"cannot map {path}, 0.0671 GB")
    assert "ulimit -v" in said["mapped"]
    assert "by the limit on its address space (ulimit -v)" in said["loaded"]


@linux
def test_the_peak_is_of_this_process_and_not_of_the_one_that_started_it():
    code = f"import runpy; print(runpy.run_path({memory.__file__!r})['peak_memory']())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # An interpreter beside one that has loaded torch.
    assert 0 < int(said.stdout) < memory.peak_memory() / 4


def test_free_memory_says_what_sets_the_limit(tmp_path, monkeypatch):
    free, limit = memory.free_memory()
    assert free > 0
    assert limit
    files = {
        "proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 4000 kB\n",
        "proc/self/cgroup": "0::/jobs/mine\n",
        "sys/fs/cgroup/jobs/memory.max": "3000000\n",
        "sys/fs/cgroup/jobs/memory.stat": "file 5\nanon 1000000\n",
        "sys/fs/cgroup/jobs/mine/memory.max": "max\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / str(name).lstrip("/"))
    assert memory.free_memory() == (2_000_000, "the limit of its control group of 0.003 GB")
    (tmp_path / "sys/fs/cgroup/jobs/memory.max").write_text("max\n")
    assert memory.free_memory() == (4_096_000, "what the machine has left")
