"""Files of samples, mapped into memory: their headers, and what is known of those that are mapped."""

import itertools
import mmap
import os
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Bytes of picked rows read before they are put in their places, and gaps between two that are read with them.
_READ, _GAP = 4 << 20, 8 << 10
# Where a row lies within a cache line decides how matrix kernels group its terms.
_LINE = 64


def map_samples(path: str | Path) -> Tensor:
    """Map a file of samples, a .npy file (n, k) of float64 or float32, as a tensor that is read only as it is needed.

    The tensor cannot be written to. Runs on it give, to the bit, what they give on the same samples in memory.

    Parameters
    ----------
    path : str or Path
        As `write_samples` or `numpy.save` writes it.

    Returns
    -------
    Tensor (n, k), float64 or float32, on the CPU.

    Raises
    ------
    ValueError
        If there is no such file or it holds anything else, saying what.
    OSError
        If the system does not map it, as under a limit on the address space (ulimit -v).
    """
    path = Path(path)
    shape, dtype, offset = read_header(path)
    try:
        array = np.memmap(path, dtype, "r", offset, shape)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        size = gigabytes(shape[0] * shape[1] * dtype.itemsize)
        raise OSError(
            f"cannot map {path}, {size}: {error.strerror or error}; a limit on the address space (ulimit -v) counts "
            "mapped files as well: raise it, and limit the data (ulimit -d) or the job instead"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it cannot be written to
        samples = torch.from_numpy(array)
    Mapping(path.resolve(), array, descriptor)
    return samples


def read_header(path: Path) -> tuple[tuple[int, int], np.dtype, int]:
    """Return shape, type and place of the samples in a file.

    Raises
    ------
    ValueError
        If there is no such file or it holds no samples, saying what was got.
    """
    if not path.is_file():
        raise ValueError(f"no file {path}")
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path} is no .npy file of numbers; write it with write_samples or numpy.save") from error
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
    if dtype not in (np.float64, np.float32):
        raise ValueError(f"{path} holds {dtype}; samples are float64 or float32 in the byte order of this machine")
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{path} holds an array {shape}; samples are (n, k) with n and k ≥ 1, one row each")
    if fortran and 1 not in shape:
        raise ValueError(f"{path} is written column by column (Fortran order): save numpy.ascontiguousarray of it")
    wanted = offset + shape[0] * shape[1] * dtype.itemsize
    if size < wanted:
        raise ValueError(f"{path} is cut short: it has {size} bytes, {shape} of {dtype} need {wanted}; write it again")
    return shape, dtype, offset


class Scan(NamedTuple):
    """What one look at all samples tells: digest of their bytes, and rows that hold non-finite numbers."""

    sha256: str
    bad: int
    first_bad: int


_mappings: dict[int, "Mapping"] = {}


class Mapping:
    """A file behind a tensor; gone with the last tensor that looks at it."""

    def __init__(self, path: Path, array: np.memmap, descriptor: int):
        self.path, self.descriptor, self.map = path, descriptor, array._mmap
        self.offset, self.stamp = int(array.offset), self._stamp()
        self.scans: dict[tuple, Scan] = {}
        key = array.ctypes.data
        _mappings[key] = self
        # The array lives as long as a tensor does, and its place in memory is not given away before this is called.
        weakref.finalize(array, _forget, key, descriptor)
        self._advise("MADV_RANDOM")

    @staticmethod
    def key(samples: Tensor) -> tuple:
        """What tells apart the tensors that look at one mapping."""
        return samples.storage_offset(), tuple(samples.shape), samples.stride()

    def check(self) -> None:
        """Raise OSError if somebody wrote to the file since it was mapped."""
        if self._stamp() != self.stamp:
            raise self._changed()

    def read(self, samples: Tensor, first: int, last: int) -> Tensor:
        """Rows first to last, read past the mapping, at the place in a cache line that they would have in memory."""
        shape, size = (last - first, *samples.shape[1:]), (last - first) * _bytes_of_row(samples)
        # An array, and not a tensor: within a derivative, tensors that are made have no memory of their own.
        buffer = np.empty(size + 2 * _LINE, np.uint8)
        shift = -buffer.ctypes.data % _LINE + first * _bytes_of_row(samples) % _LINE
        held = buffer[shift : shift + size]
        self.check()
        if samples.is_contiguous() and hasattr(os, "preadv"):
            begin = self._begin(samples) + first * _bytes_of_row(samples)
            self._fill(memoryview(held), begin)
            if hasattr(os, "posix_fadvise"):
                # The system reads the next page while this one is worked on.
                os.posix_fadvise(self.descriptor, begin + size, size, os.POSIX_FADV_WILLNEED)
        else:
            rows = samples.detach().numpy()[first:last]
            np.copyto(held.view(rows.dtype).reshape(shape), rows)
            self._drop()
        self.check()
        return torch.from_numpy(held).view(samples.dtype).view(shape)

    def pick(self, samples: Tensor, index: Tensor) -> Tensor:
        """samples[index], read past the mapping in the order of the file; near neighbours with what lies between.

        Raises
        ------
        IndexError
            For an index that is not one of 0 to n − 1.
        OSError
            If somebody wrote to the file since it was mapped.
        """
        flat, order = index.reshape(-1).sort()
        if len(flat) and not 0 <= int(flat[0]) <= int(flat[-1]) < len(samples):
            raise IndexError(f"indices from {int(flat[0])} to {int(flat[-1])} of {len(samples)} samples")
        self.check()
        if not len(flat) or not samples.is_contiguous() or not hasattr(os, "pread"):
            rows = samples.index_select(0, index.reshape(-1))
            self._drop()
            self.check()
            return rows.view(*index.shape, *samples.shape[1:])
        rows, where = samples.new_empty(len(flat), *samples.shape[1:]), flat.numpy().astype(np.int64)
        start = self._begin(samples)
        for some, places, spans in _spans(where, _bytes_of_row(samples)):
            read = bytearray().join([os.pread(self.descriptor, size, start + begin) for begin, size in spans])
            if len(read) < sum(size for _, size in spans):
                raise self._changed()
            held = torch.frombuffer(read, dtype=samples.dtype).view(-1, *samples.shape[1:])
            rows.index_copy_(0, order[some], held.index_select(0, torch.from_numpy(places)))
        self.check()
        return rows.view(*index.shape, *samples.shape[1:])

    def _fill(self, view: memoryview, begin: int) -> None:
        """Read what lies from there in the file; the system may hand it over in parts."""
        done = 0
        while done < len(view):
            got = os.preadv(self.descriptor, [view[done:]], begin + done)
            if not got:
                raise self._changed()
            done += got

    def _begin(self, samples: Tensor) -> int:
        """Where in the file the first row begins, in bytes."""
        return self.offset + samples.storage_offset() * samples.element_size()

    def _drop(self) -> None:
        """Let go of the pages of the mapping that are in memory; nothing is lost, the file has them."""
        self._advise("MADV_DONTNEED")

    def _advise(self, name: str) -> None:
        if hasattr(mmap, name):
            self.map.madvise(getattr(mmap, name))

    def _changed(self) -> OSError:
        return OSError(f"{self.path} was written to after it was mapped: let it be during a run, and map it again")

    def _stamp(self) -> tuple:
        status = os.fstat(self.descriptor)
        return status.st_size, status.st_mtime_ns


def _spans(where: np.ndarray, row: int) -> Iterator[tuple[slice, np.ndarray, list[tuple[int, int]]]]:
    """How rows in ascending order are read, some at a time: which, places in what is read, spans (begin, size)."""
    far = np.diff(where, prepend=where[:1] - 1) * row
    # A new span after a wide gap; and where this much lies before it, so that none becomes too long.
    new = far > _GAP
    new |= np.diff(np.where(new, row, far).cumsum() // _READ, prepend=-1) > 0
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(where)) - 1
    count = where[last] - where[first] + 1
    before = np.append(0, count.cumsum())
    places = where - np.repeat(where[first] - before[:-1], last - first + 1)
    cuts = np.flatnonzero(np.diff(before[:-1] * row // _READ, prepend=-1, append=-1))
    for begin, end in itertools.pairwise(cuts):
        rows = slice(int(first[begin]), int(last[end - 1]) + 1)
        spans = zip((where[first[begin:end]] * row).tolist(), (count[begin:end] * row).tolist(), strict=True)
        yield rows, places[rows] - before[begin], list(spans)


def _bytes_of_row(samples: Tensor) -> int:
    return samples.shape[1:].numel() * samples.element_size()


def _forget(key: int, descriptor: int) -> None:
    _mappings.pop(key, None)
    os.close(descriptor)


def mapping_of(samples: Tensor) -> Mapping | None:
    """Return the mapping behind a tensor, or None where it is in memory."""
    if not _mappings or torch.compiler.is_compiling() or samples.device.type != "cpu":
        return None
    return _mappings.get(samples.untyped_storage().data_ptr())


def gigabytes(size: float) -> str:
    """Write a number of bytes."""
    return f"{size / 1e9:.3g} GB"
