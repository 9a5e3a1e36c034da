"""Memory: what the process has used at most, and how the C library hands it out."""

import ctypes
import functools
import sys

# glibc's numbers for the options of mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 32 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep freed pieces of up to 32 MiB for the next request; whether it could be told so.

    glibc begins by giving every freed piece above 128 KiB back to the system, and the next step of a block then waits
    for the system to hand it out again, page by page and filled with zeros: three times the time of the arithmetic.
    32 MiB is the limit up to which glibc itself would raise its threshold, step by step; here it is raised at once.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, 4 * _LARGEST))


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
