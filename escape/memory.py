"""Memory: what the process has used at most, and how the C library hands it out."""

import contextlib
import ctypes
import functools
import sys
from pathlib import Path

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
    held = status_bytes("VmHWM")
    if held:
        # The other number may be that of the program from which this one was started.
        return held
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def status_bytes(name: str) -> int:
    """A size that Linux keeps for this process, as `VmRSS`, `VmHWM`, `VmData`, `VmSize`, in bytes; 0 elsewhere."""
    return _number_after(Path("/proc/self/status"), f"{name}:") * 1024


def free_memory() -> tuple[float, str]:
    """Bytes that this process can still be given, and what sets the limit; infinity where nothing says.

    Looked at are the limits of the process (ulimit -d and -v), those of its control groups, and what the machine has
    left.
    """
    limits = [(float("inf"), "no limit is known")]
    with contextlib.suppress(ImportError):
        import resource

        for kind, field, name in (
            (resource.RLIMIT_DATA, "VmData", "the limit on its data (ulimit -d)"),
            (resource.RLIMIT_AS, "VmSize", "the limit on its address space (ulimit -v)"),
        ):
            limit = resource.getrlimit(kind)[0]
            if limit != resource.RLIM_INFINITY:
                limits.append((max(0, limit - status_bytes(field)), f"{name} of {limit / 1e9:.3g} GB"))
    limits += _group_limits()
    left = _number_after(Path("/proc/meminfo"), "MemAvailable:") * 1024
    if left:
        limits.append((left, "what the machine has left"))
    return min(limits)


def _group_limits() -> list[tuple[float, str]]:
    """What the control groups of this process leave it, caches of files not counted: the system gives those up."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        inside = next((line[3:] for line in lines if line.startswith("0::")), "")
        folder = Path("/sys/fs/cgroup") / inside.lstrip("/")
        for place in (folder, *folder.parents):
            if (place / "memory.max").exists():
                limit = (place / "memory.max").read_text().strip()
                if limit != "max":
                    held = _number_after(place / "memory.stat", "anon ")
                    text = f"the limit of its control group of {int(limit) / 1e9:.3g} GB"
                    found.append((max(0, int(limit) - held), text))
    return found


def _number_after(path: Path, start: str) -> int:
    """First whole number of the line that begins so; 0 where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith(start):
                return int(line[len(start) :].split()[0])
    return 0
