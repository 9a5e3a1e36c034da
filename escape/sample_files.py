"""Files of samples: written chunk by chunk, and read into memory where they fit."""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from escape.mapped import gigabytes, not_finite, read_header
from escape.memory import free_memory
from escape.store import check_writable, written_whole

# Bytes before the first row: the numbers of a file begin at the start of a cache line.
_HEADER = 128
# Of what is free, the part that samples may take: something must be left to work with.
_PART = 0.95


def write_samples(path: str | Path, chunks: Iterable[Tensor | np.ndarray]) -> Path:
    """Write samples chunk by chunk into a .npy file, so that they need never be in memory together.

    The file is written under a temporary name, flushed to disk, and renamed into place.

    Parameters
    ----------
    path : str or Path
        The file, replaced if it is there.
    chunks : iterable of tensors or arrays (m, k)
        Rows, m of them at a time, of one k and one dtype, float64 or float32.

    Raises
    ------
    ValueError
        For a chunk that does not belong with the others or holds non-finite numbers, and where there is none.
    OSError
        If the file cannot be written, naming it; nothing is left behind.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"samples are written to a .npy file, got {path}")
    check_writable(path)
    first, rows = None, 0
    with written_whole(path) as name, open(name, "wb") as file:
        file.write(bytes(_HEADER))
        for number, chunk in enumerate(chunks):
            array = _checked_chunk(number, chunk, first)
            first = np.empty((0, array.shape[1]), array.dtype) if first is None else first
            rows += len(array)
            file.write(array.data if len(array) else b"")
        if not rows:
            raise ValueError(f"no samples to write to {path}: the chunks have no row")
        file.seek(0)
        file.write(_header((rows, first.shape[1]), first.dtype))
    return path


def load_samples(path: str | Path) -> Tensor:
    """Read a file of samples into memory.

    Parameters
    ----------
    path : str or Path
        As for `map_samples`.

    Returns
    -------
    Tensor (n, k)

    Raises
    ------
    ValueError
        If there is no such file or it holds no samples, saying what.
    MemoryError
        If they do not fit, saying how much they need, how much there is, and what sets the limit.
    """
    path = Path(path)
    shape, dtype, offset = read_header(path)
    needed = shape[0] * shape[1] * dtype.itemsize
    free, limit = free_memory()
    if needed > _PART * free:
        raise _does_not_fit(path, needed, free, limit)
    try:
        samples = torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)
        with open(path, "rb") as file:
            file.seek(offset)
            got = file.readinto(memoryview(samples.numpy()).cast("B"))
    except (MemoryError, RuntimeError) as error:
        raise _does_not_fit(path, needed, free, limit) from error
    if got != needed:
        raise ValueError(f"{path} was cut short while it was read; write it again")
    return samples


def _does_not_fit(path: Path, needed: float, free: float, limit: str) -> MemoryError:
    return MemoryError(
        f"{path} needs {gigabytes(needed)} of memory and {gigabytes(free)} are free, by {limit}; "
        "map_samples takes it from disk as it is needed"
    )


def _checked_chunk(number: int, chunk: Tensor | np.ndarray, first: np.ndarray | None) -> np.ndarray:
    array = np.ascontiguousarray(chunk.detach().cpu().numpy() if isinstance(chunk, Tensor) else chunk)
    if array.ndim != 2 or not array.shape[1] or array.dtype not in (np.float64, np.float32):
        raise ValueError(f"chunk {number} is {array.dtype} {array.shape}; samples are float64 or float32 (m, k), k ≥ 1")
    if first is not None and (array.dtype != first.dtype or array.shape[1] != first.shape[1]):
        raise ValueError(
            f"chunk {number} is {array.dtype} {array.shape}, but the first is {first.dtype} (m, {first.shape[1]})"
        )
    bad, place = not_finite(torch.from_numpy(array)) if len(array) else (0, 0)
    if bad:
        raise ValueError(f"chunk {number} holds non-finite numbers in {bad} rows, first in its row {place}")
    return array


def _header(shape: tuple[int, int], dtype: np.dtype) -> bytes:
    """The first bytes of a .npy file, version 1.0 (numpy.lib.format): padded with spaces to `_HEADER`."""
    text = f"{{'descr': '{np.lib.format.dtype_to_descr(dtype)}', 'fortran_order': False, 'shape': {shape}, }}"
    begin = np.lib.format.magic(1, 0)
    size = _HEADER - len(begin) - 2
    return begin + struct.pack("<H", size) + text.ljust(size - 1).encode("latin1") + b"\n"
