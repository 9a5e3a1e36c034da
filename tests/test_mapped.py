"""Samples in a file: the same numbers as in memory, at a memory that does not grow with them, and clear refusals."""

import hashlib
import json
import os
import pickle
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
    map_samples,
    progress,
    show_passes,
    simulate,
    write_samples,
)
from escape.landscapes import base, batches
from escape.mapped import access, gathered, is_mapped, mapping, not_finite, parts
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
