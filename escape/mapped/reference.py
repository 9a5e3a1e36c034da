"""A mapped tensor on its way to another process: where its file is, not what it holds."""

from typing import NamedTuple

from torch import Tensor

from escape.mapped.access import scan
from escape.mapped.mapping import map_samples, mapping_of


class Reference(NamedTuple):
    """A mapped tensor as it is sent to another process: where it is, not what it holds."""

    path: str
    place: tuple
    stamp: tuple
    sha256: str | None


def packed(value: object) -> object:
    """Return a `Reference` for a mapped tensor, and everything else as it is."""
    mapping = mapping_of(value) if isinstance(value, Tensor) else None
    if mapping is None:
        return value
    place = (tuple(value.shape), value.stride(), value.storage_offset())
    # The digest if it is known; the file is not read for it alone.
    seen = mapping.scans.get(mapping.key(value))
    return Reference(str(mapping.path), place, mapping.stamp, None if seen is None else seen.sha256)


def unpacked(value: object) -> object:
    """Map again what `packed` made a reference of.

    Raises
    ------
    ValueError
        If there is no such file here, or one that holds something else.
    """
    if not isinstance(value, Reference):
        return value
    samples = map_samples(value.path)
    shape, stride, offset = value.place
    same = samples.numel() > offset + sum((m - 1) * s for m, s in zip(shape, stride, strict=True))
    if same:
        stamp = mapping_of(samples).stamp
        samples = samples.as_strided(shape, stride, offset)
        # A copy on another machine may have another date.
        same = stamp == value.stamp or (value.sha256 is not None and scan(samples).sha256 == value.sha256)
    if not same:
        raise ValueError(f"{value.path} is not the file that was mapped where this run was made; copy that one here")
    return samples
