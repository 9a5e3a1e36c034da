"""Samples in a file, mapped into memory: read batch by batch and page by page, so that they need not fit.

A mapped tensor is a tensor like any other. What the package does with all samples goes through `parts` and `gathered`:
for a mapped tensor the first reads the file in pages, and the second picks rows from the mapping and lets go of the
system's pages as it does so. Either gives the very numbers that the same samples would give in memory.
"""

from escape.mapped.access import gathered, is_mapped, not_finite, parts, path_of, scan
from escape.mapped.mapping import Scan, gigabytes, map_samples, read_header
from escape.mapped.reference import Reference, packed, unpacked

__all__ = [
    "Reference",
    "Scan",
    "gathered",
    "gigabytes",
    "is_mapped",
    "map_samples",
    "not_finite",
    "packed",
    "parts",
    "path_of",
    "read_header",
    "scan",
    "unpacked",
]
