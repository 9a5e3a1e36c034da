"""Files of samples: what is written is what is read, and what holds none is refused, saying what it is."""

import os

import numpy as np
import pytest
import torch

from escape import load_samples, map_samples, sample_files, write_samples


def test_what_is_written_is_what_numpy_reads_and_loads(tmp_path):
    data = torch.arange(75, dtype=torch.float32).view(25, 3) / 7
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


def test_what_would_fill_all_that_is_free_is_refused_before_it_is_tried(tmp_path, monkeypatch):
    path = write_samples(tmp_path / "a.npy", [np.zeros((1000, 3))])
    monkeypatch.setattr(sample_files, "free_memory", lambda: (25_000, "a limit"))
    with pytest.raises(MemoryError, match=r"needs 2\.4e-05 GB of memory and 2\.5e-05 GB are free, by a limit"):
        load_samples(path)
    monkeypatch.setattr(sample_files, "free_memory", lambda: (26_000, "a limit"))
    assert len(load_samples(path)) == 1000
