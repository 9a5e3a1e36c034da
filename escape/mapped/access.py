"""How all samples are looked at, in memory or mapped: slice by slice, or by picking rows."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from escape.mapped.mapping import Scan, gigabytes, mapping_of
from escape.progress import Passing

# Bytes read at once, unless a slice is larger.
_PAGE = 8 << 20


def is_mapped(samples: Tensor) -> bool:
    """Whether a tensor, or what it is a view of, was mapped by `map_samples`."""
    return mapping_of(samples) is not None


def path_of(samples: Tensor) -> Path | None:
    """Return the file that a tensor is mapped from, or None."""
    mapping = mapping_of(samples)
    return None if mapping is None else mapping.path


def parts(samples: Tensor, size: int, what: str = "pass") -> Iterator[Tensor]:
    """Slices of `size` rows, in order and together all of them; of a mapped tensor they are read from the file.

    Parameters
    ----------
    samples : Tensor (n, …)
        Samples, in memory or mapped.
    size : int
        Rows of a slice; the last may have less.
    what : str
        What the progress of a long pass over a file is called.

    Raises
    ------
    OSError
        If somebody wrote to the file since it was mapped.
    """
    mapping, n = mapping_of(samples), len(samples)
    if mapping is None:
        for first in range(0, n, size):
            yield samples[first : first + size]
        return
    row = samples.shape[1:].numel() * samples.element_size()
    page = size * max(1, _PAGE // max(1, size * row))
    with Passing(n * row, f"{what} over {gigabytes(n * row)}") as shown:
        for first in range(0, n, page):
            held = mapping.read(samples, first, min(n, first + page))
            yield from held.split(size)
            shown.advance(len(held) * row)
            # What is read next need not find room beside it.
            del held


def gathered(samples: Tensor, index: Tensor) -> Tensor:
    """Rows samples[index], for an integer index of any shape; of a mapped tensor, none but these are read.

    Raises
    ------
    IndexError
        For an index outside of the samples.
    OSError
        If somebody wrote to the file since it was mapped.
    """
    mapping = mapping_of(samples)
    return samples[index] if mapping is None else mapping.pick(samples, index)


def scan(samples: Tensor) -> Scan:
    """Look at all samples (n, …) of a mapped tensor, once for each file mapped; OSError if it was written to."""
    mapping = mapping_of(samples)
    key = mapping.key(samples)
    if key not in mapping.scans:
        digest, bad, first, seen = hashlib.sha256(), 0, 0, 0
        for part in parts(samples, max(1, _PAGE // max(1, samples[0].numel() * samples.element_size())), "check"):
            digest.update(part.contiguous().numpy())
            some, place = _not_finite(part)
            first = seen + place if some and not bad else first
            bad, seen = bad + some, seen + len(part)
        mapping.scans[key] = Scan(digest.hexdigest(), bad, first)
    mapping.check()
    return mapping.scans[key]


def not_finite(samples: Tensor) -> tuple[int, int]:
    """Count the rows of samples (n, …) that hold non-finite numbers, and tell the first of them."""
    if is_mapped(samples):
        return scan(samples)[1:]
    bad, first, seen = 0, 0, 0
    for part in samples.split(max(1, (1 << 22) // max(1, samples[:1].numel()))):
        some, place = _not_finite(part)
        first = seen + place if some and not bad else first
        bad, seen = bad + some, seen + len(part)
    return bad, first


def _not_finite(part: Tensor) -> tuple[int, int]:
    # Of finite numbers the sum may overflow, but one that is not finite never has a finite sum.
    if bool(torch.isfinite(part.sum())):
        return 0, 0
    bad = (~torch.isfinite(part)).reshape(len(part), -1).any(1).nonzero()[:, 0]
    return len(bad), int(bad[0]) if len(bad) else 0
