"""Samples in a file: the same numbers as in memory, at a memory that does not grow with them, and clear refusals."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from escape import (
    Above,
    FullBatch,
    GaussianNoise,
    GeneralizedLinear,
    GradientDescent,
    Landscape,
    MiniBatch,
    RankOneFactorization,
    SquaredDistance,
    Store,
    load_samples,
    map_samples,
    memory,
    progress,
    sample_files,
    show_passes,
    simulate,
    write_samples,
)
from escape.landscapes import base, batches
from escape.mapped import access, gathered, is_mapped, mapping, not_finite, parts
from escape.memory import free_memory, status_bytes
from escape.spec import describe


@dataclass(frozen=True, eq=False)
class Waves(Landscape):
    """Nothing is known of the samples' role."""

    samples: Tensor

    def sample_loss(self, x, sample):
        return torch.cos(x @ sample[:-1] - sample[-1]) + 0.1 * (x @ x)


@dataclass(frozen=True, eq=False)
class Tilts(Landscape):
    """Affine in the sample."""

    samples: Tensor
    affine = True

    def sample_loss(self, x, sample):
        return 0.25 * (x @ x) ** 2 - 0.5 * x @ x + sample[:-1] @ x + sample[-1] * x[0] * x[1]


@dataclass(frozen=True, eq=False)
class Logistic(GeneralizedLinear):
    """Features and a target."""

    samples: Tensor

    def common_loss(self, x):
        return 0.05 * (x @ x)

    def score_loss(self, score, target):
        return F.softplus(-target[0] * score)


LANDSCAPES = [Waves, Tilts, Logistic, RankOneFactorization]


def numbers(n, k, dtype=torch.float64, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.fixture
def small_pages(monkeypatch):
    """Slices, pages and reads so small that a small file has many of each, and uneven ones."""
    monkeypatch.setattr(base, "_SLICE", 3000)
    monkeypatch.setattr(base, "_PAGE", 1500)
    monkeypatch.setattr(access, "_PAGE", 20_000)
    monkeypatch.setattr(mapping, "_READ", 2000)
    monkeypatch.setattr(mapping, "_GAP", 300)
    monkeypatch.setattr(batches, "_PICKED", 500)


@pytest.fixture
def pair(tmp_path):
    """pair(n, k, dtype): the same samples in memory and mapped."""

    def one(n, k, dtype=torch.float64):
        data = numbers(n, k, dtype)
        return data, map_samples(write_samples(tmp_path / "samples.npy", data.split(1000)))

    return one


def seen(landscape, d):
    """All that is computed from all samples, or from batches of them."""
    n, dtype = landscape.n, landscape.samples.dtype
    x, weights = numbers(6, d, dtype, seed=1), numbers(6, n, dtype, seed=2)
    index = torch.randint(n, (6, 11), generator=torch.Generator().manual_seed(3))
    large = torch.randint(n, (6, n // 4), generator=torch.Generator().manual_seed(4))
    yield from {
        "gradient": landscape.gradient(x),
        "batch": landscape.gradient(x, index),
        "batch of narrow indices": landscape.gradient(x, index.int()),
        "batch of one": landscape.gradient(x, index[:, :1]),
        "large batch": landscape.gradient(x, large),
        "loss": landscape.loss(x),
        "weighted": landscape.weighted_gradient(x, weights),
        "hessian": landscape.hessian(x[0]),
        "hessians": landscape.hessians_at(x),
        "each gradient": landscape.sample_gradients(x[0]),
        "covariance": landscape.gradient_covariance(x[0]),
        "covariances": landscape.gradient_covariances(x),
        "along": landscape.noise_along(x[0], x[1]),
        "trace": landscape.noise_trace(x),
        "diagonal": landscape.noise_diagonal(x),
        "mean sample": landscape.mean_sample,
        "root": landscape.sample_root,
    }.items()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", LANDSCAPES)
@pytest.mark.parametrize(("n", "k"), [(500, 7), (333, 4)])
def test_from_a_file_come_the_bits_that_come_from_memory(pair, small_pages, kind, dtype, n, k):
    memory, mapped = pair(n, k, dtype)
    d = k if kind is RankOneFactorization else k - 1
    for (name, here), (_, there) in zip(seen(kind(memory), d), seen(kind(mapped), d), strict=True):
        assert torch.equal(here, there), f"{name}: up to {float((here - there).abs().max()):.3g} apart"


@pytest.mark.parametrize("kind", LANDSCAPES)
def test_slices_give_what_all_samples_at_once_give(kind, monkeypatch):
    d = 7 if kind is RankOneFactorization else 6
    whole = dict(seen(kind(numbers(800, 7)), d))
    monkeypatch.setattr(base, "_SLICE", 3000)
    monkeypatch.setattr(base, "_PAGE", 1500)
    for name, value in seen(kind(numbers(800, 7)), d):
        if name == "root":  # of which only the square is unique
            value, whole[name] = value @ value.T, whole[name] @ whole[name].T
        # Sums of 800 terms, in another order; the covariances subtract sums a hundred times as large as they are.
        torch.testing.assert_close(value, whole[name], rtol=1e-11, atol=1e-12, msg=lambda text, name=name: name + text)


def test_the_spectrum_of_a_factorization_is_that_of_its_second_moments(pair, small_pages):
    memory, mapped = pair(2000, 7)
    values, _ = RankOneFactorization(mapped).spectrum
    expected = np.linalg.eigvalsh(memory.numpy().T @ memory.numpy() / 2000)[::-1]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12)
    points = RankOneFactorization(mapped).critical_points()
    assert [point.noise for point in points] == ["II"] + ["I"] * 14


@pytest.mark.parametrize("kind", LANDSCAPES)
@pytest.mark.parametrize("oracle", [MiniBatch(8), MiniBatch(8, replacement=True), FullBatch()], ids=str)
def test_a_run_on_a_file_is_the_run_in_memory_and_has_its_key(pair, small_pages, kind, oracle, tmp_path):
    memory, mapped = pair(500, 4)
    start = torch.full((4 if kind is RankOneFactorization else 3,), 0.3, dtype=torch.float64)
    options = {"steps": 6, "chains": 40, "block": 16, "until": Above(SquaredDistance(start), 0.2), "executor": 2}
    run = (oracle, GradientDescent(0.2), start)
    here = simulate(kind(memory), *run, **options, store=Store(tmp_path / "runs"))
    there = simulate(kind(mapped), *run, **options)
    assert here.drop_attrs().equals(there.drop_attrs())
    assert here.attrs["spec"] == there.attrs["spec"]
    assert Store(tmp_path / "runs").find(json.loads(there.attrs["spec"])).equals(here)


def test_rows_are_picked_in_any_shape_from_any_view(pair, monkeypatch):
    memory, mapped = pair(3000, 5)
    rng = np.random.default_rng(0)
    for _ in range(100):
        monkeypatch.setattr(mapping, "_READ", int(rng.integers(30, 5000)))
        monkeypatch.setattr(mapping, "_GAP", int(rng.integers(0, 400)))
        highest = rng.choice([2, 100, 2900])
        index = torch.from_numpy(rng.integers(0, highest, tuple(rng.integers(0, 12, 2))))
        assert torch.equal(gathered(mapped, index), memory[index])
        assert torch.equal(gathered(mapped[100:], index.int()), memory[100:][index])
        assert torch.equal(gathered(mapped[:, 1:3], index), memory[:, 1:3][index])


def test_an_index_that_is_no_sample_is_refused(pair):
    _, mapped = pair(100, 3)
    for samples, bad in ((mapped, 100), (mapped, -1), (mapped[:50], 50), (mapped[:, 1:], 100)):
        with pytest.raises(IndexError, match=r"indices from -?\d+ to \d+ of (100|50) samples"):
            gathered(samples, torch.tensor([bad, 3]))


def test_parts_are_all_rows_in_order(pair, monkeypatch):
    memory, mapped = pair(1003, 5)
    monkeypatch.setattr(access, "_PAGE", 7000)
    views = (slice(None), slice(3, None), slice(None, None, 2), slice(None, None, 1002), (slice(None), slice(1, None)))
    for view in views:
        for size in (1, 16, 400, 2000):
            assert torch.equal(torch.cat(list(parts(mapped[view], size))), memory[view])


def test_a_system_that_hands_over_a_part_is_asked_for_the_rest(pair, monkeypatch):
    memory, mapped = pair(1000, 3)
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, at: whole(file, [views[0][:1000]], at))
    assert torch.equal(torch.cat(list(parts(mapped, 700))), memory)


def test_a_system_without_reads_at_a_place_gives_the_same_bits(pair, small_pages, monkeypatch):
    memory, mapped = pair(3000, 5)
    for name in ("preadv", "pread", "posix_fadvise"):
        monkeypatch.delattr(os, name, raising=False)
    x, index = torch.ones(2, 4, dtype=torch.float64), torch.tensor([[3, 2999], [0, 7]])
    assert torch.equal(torch.cat(list(parts(mapped, 700))), memory)
    assert torch.equal(gathered(mapped, index), memory[index])
    for kind in (Waves, Tilts):
        assert torch.equal(kind(mapped).gradient(x), kind(memory).gradient(x))


def test_a_view_is_mapped_and_a_copy_is_not(pair):
    memory, mapped = pair(10, 3)
    assert is_mapped(mapped)
    assert is_mapped(mapped[2:])
    assert is_mapped(mapped[:, 1])
    assert not is_mapped(memory)
    assert not is_mapped(mapped.clone())
    assert not is_mapped(mapped[[1, 2]])


def test_a_file_is_closed_with_its_last_tensor(pair):
    _, mapped = pair(10, 3)
    view = mapped[1:]
    held = mapping.mapping_of(mapped)
    del mapped
    assert mapping.mapping_of(view) is held
    del view
    assert held not in mapping._mappings.values()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held.descriptor)


def test_what_is_written_is_what_numpy_reads_and_loads(tmp_path):
    data = numbers(25, 3, torch.float32)
    path = write_samples(tmp_path / "a.npy", iter([data[:10], data[10:10], data[10:].numpy()]))
    assert torch.equal(torch.from_numpy(np.load(path)), data)
    assert torch.equal(load_samples(path), data)
    np.save(tmp_path / "b.npy", data.numpy())
    assert torch.equal(map_samples(tmp_path / "b.npy"), data)
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "b.npy"]


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([], "no row"),
        ([np.zeros(3)], r"chunk 0 is float64 \(3,\)"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"chunk 1 is float64 \(2, 4\), but the first is float64 \(m, 3\)"),
        ([np.zeros((2, 3)), np.zeros((2, 3), np.float32)], "chunk 1 is float32"),
        ([np.zeros((2, 3), int)], "chunk 0 is int64"),
        ([np.zeros((2, 3)), np.array([[1.0, 2, 3], [1, np.nan, 3]])], "chunk 1 holds non-finite .* first in its row 1"),
    ],
)
def test_chunks_that_make_no_samples_are_refused_and_leave_nothing(tmp_path, chunks, said):
    with pytest.raises(ValueError, match=said):
        write_samples(tmp_path / "a.npy", chunks)
    assert not os.listdir(tmp_path)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"\.npy"):
        write_samples(tmp_path / "a.bin", [np.zeros((2, 3))])
    (tmp_path / "full").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        write_samples(tmp_path / "full" / "a.npy", [np.zeros((2, 3))])


def saved(array, **options):
    return lambda path: np.save(path, array, **options)


def cut(path):
    np.save(path, np.zeros((100, 3)))
    os.truncate(path, 1000)


@pytest.mark.parametrize("read", [map_samples, load_samples])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.write_bytes(b"no array at all"), "is no .npy file"),
        (lambda path: path.write_bytes(b""), "is no .npy file"),
        (saved(np.zeros(5)), r"holds an array \(5,\)"),
        (saved(np.zeros((5, 2, 2))), r"holds an array \(5, 2, 2\)"),
        (saved(np.zeros((0, 3))), r"holds an array \(0, 3\)"),
        (saved(np.zeros((5, 2), int)), "holds int64"),
        (saved(np.zeros((5, 2), ">f8")), "holds >f8"),
        (saved(np.array([[None, 1.0]], dtype=object), allow_pickle=True), "holds object"),
        (saved(np.asfortranarray(np.zeros((5, 2)))), "column by column"),
        (cut, r"cut short: it has 1000 bytes, \(100, 3\) of float64 need 2528"),
    ],
)
def test_what_holds_no_samples_is_refused(tmp_path, read, make, said):
    path = tmp_path / "a.npy"
    make(path)
    with pytest.raises(ValueError, match=said):
        read(path)


def test_a_file_written_to_while_it_is_mapped_is_refused(pair):
    _, mapped = pair(500, 3)
    path = mapping.mapping_of(mapped).path
    run = (MiniBatch(4), GradientDescent(0.1), torch.zeros(2, dtype=torch.float64))
    simulate(Waves(mapped), *run, steps=2, chains=2, block=2)
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(bytes(8))
    os.utime(path, (1, 1))  # the clock of the file system may be coarse
    for look in (
        lambda: simulate(Waves(mapped), *run, steps=2, chains=2, block=2),
        lambda: Waves(mapped).loss(run[2]),
        lambda: gathered(mapped, torch.tensor([3])),
    ):
        with pytest.raises(OSError, match="was written to after it was mapped"):
            look()


def test_a_file_cut_short_while_it_is_mapped_is_refused(pair):
    _, mapped = pair(500, 3)
    os.truncate(mapping.mapping_of(mapped).path, 5000)
    last = torch.tensor([499])
    for look in (
        lambda: Waves(mapped).loss(torch.zeros(2).double()),
        lambda: gathered(mapped, last),
        lambda: gathered(mapped[:, 1:], last),
        lambda: list(parts(mapped[:, 1:], 500)),
    ):
        with pytest.raises(OSError, match="was written to after it was mapped"):
            look()


def test_a_file_replaced_while_it_is_mapped_is_still_the_old_one(pair):
    memory, mapped = pair(500, 3)
    write_samples(mapping.mapping_of(mapped).path, [torch.zeros(500, 3)])
    assert torch.equal(torch.cat(list(parts(mapped, 100))), memory)


def test_a_landscape_is_sent_without_its_samples(pair, tmp_path):
    memory, mapped = pair(5000, 4)
    landscape, x = Logistic(mapped), torch.ones(3, dtype=torch.float64)
    simulate(landscape, MiniBatch(4), GradientDescent(0.1), x, steps=2, chains=2, block=2)
    sent = pickle.dumps(landscape)
    assert len(sent) < 4000
    assert len(pickle.dumps(Logistic(memory))) > 100_000
    twin = pickle.loads(sent)
    assert is_mapped(twin.samples)
    assert torch.equal(twin.gradient(x), landscape.gradient(x))
    view = pickle.loads(pickle.dumps(Logistic(mapped[7:900])))
    assert torch.equal(view.samples, memory[7:900])


def test_a_landscape_that_was_sent_knows_its_file(pair):
    _, mapped = pair(500, 4)
    path = mapping.mapping_of(mapped).path
    describe(mapped)  # by which its digest is known
    sent = pickle.dumps(Logistic(mapped))
    os.utime(path, (1, 1))
    assert pickle.loads(sent).n == 500  # another date, the same numbers
    for other in (numbers(500, 4, seed=9), numbers(20, 4)):
        write_samples(path, [other])
        with pytest.raises(ValueError, match="not the file that was mapped"):
            pickle.loads(sent)


def test_a_mapped_landscape_stays_where_it_is(pair):
    _, mapped = pair(50, 4)
    landscape = Logistic(mapped)
    assert landscape.to("cpu", torch.float64).samples is mapped
    with pytest.raises(ValueError, match="would read them all into memory"):
        landscape.to(dtype=torch.float32)


def test_noise_with_a_number_for_every_sample_is_refused(pair):
    memory, mapped = pair(50, 4)
    GaussianNoise(8).check(Logistic(memory))
    GaussianNoise(8).check(Tilts(mapped))
    with pytest.raises(ValueError, match="draws a number for every sample, 50"):
        GaussianNoise(8).check(Logistic(mapped))


@pytest.mark.parametrize("shape", [(100, 7), (17,), (3, 4, 5), (1 << 11, 600)])
def test_a_digest_is_that_of_all_bytes(shape):
    array = np.random.default_rng(0).standard_normal(shape)
    for one in (array, array.T, array[::2], array.astype(np.float32)):
        expected = hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest()[:16]
        if one.size > 16:
            assert describe(one)["sha256"] == expected
            assert describe(torch.from_numpy(one))["sha256"] == expected


def test_a_mapped_tensor_is_described_as_one_in_memory(pair):
    memory, mapped = pair(500, 4)
    for one, other in ((memory, mapped), (memory[3:], mapped[3:]), (memory[:3], mapped[:3]), (memory.T, mapped.T)):
        assert describe(one) == describe(other)


def test_rows_that_are_not_finite_are_counted(tmp_path):
    data = numbers(5000, 400)
    assert not_finite(data) == (0, 0)
    assert not_finite(torch.full((3, 2), 1e308, dtype=torch.float64)) == (0, 0)  # whose sum overflows
    data[4000, 3], data[4500, 1], data[4500, 2] = torch.nan, torch.inf, -torch.inf
    assert not_finite(data) == (2, 4000)
    np.save(tmp_path / "a.npy", data.numpy())
    mapped = map_samples(tmp_path / "a.npy")
    assert not_finite(mapped) == (2, 4000)
    with pytest.raises(ValueError, match="in 2 of 5000 rows, first in row 4000"):
        simulate(
            Waves(mapped), FullBatch(), GradientDescent(0.1), torch.zeros(399, dtype=torch.float64), steps=1, chains=1
        )


def test_passes_are_shown_where_somebody_watches(pair, small_pages, monkeypatch, capsys):
    _, mapped = pair(2000, 7)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    x = torch.zeros(6, dtype=torch.float64)
    Waves(mapped).loss(x)
    with show_passes(None):
        Waves(mapped).loss(x)
    assert capsys.readouterr().err == ""
    with show_passes():
        Waves(mapped).loss(x)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("loss over 0.000112 GB: ")
    assert said[-1].startswith("loss over 0.000112 GB: 100% after")
    simulate(Waves(mapped), FullBatch(), GradientDescent(0.1), x, steps=1, chains=1, block=1, progress="run")
    said = capsys.readouterr().err
    assert "check over" in said
    assert "gradient over" in said
    Waves(mapped).loss(x)
    assert capsys.readouterr().err == ""


linux = pytest.mark.skipif(not status_bytes("VmData"), reason="the system does not say what a process holds")

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
        chunk = numbers(1 << 14, 32)
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
    free, limit = free_memory()
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
    assert free_memory() == (2_000_000, "the limit of its control group of 0.003 GB")
    (tmp_path / "sys/fs/cgroup/jobs/memory.max").write_text("max\n")
    assert free_memory() == (4_096_000, "what the machine has left")


def test_what_would_fill_all_that_is_free_is_refused_before_it_is_tried(pair, monkeypatch):
    _, mapped = pair(1000, 3)
    path = mapping.mapping_of(mapped).path
    monkeypatch.setattr(sample_files, "free_memory", lambda: (25_000, "a limit"))
    with pytest.raises(MemoryError, match=r"needs 2\.4e-05 GB of memory and 2\.5e-05 GB are free, by a limit"):
        load_samples(path)
    monkeypatch.setattr(sample_files, "free_memory", lambda: (26_000, "a limit"))
    assert len(load_samples(path)) == 1000
