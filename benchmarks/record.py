"""What was measured, and where: one JSON file for each device, and the page that is written from them."""

import datetime
import json
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.race import ROOT

_PACKAGES = (
    "escape", "torch", "numpy", "scipy", "xarray", "jax", "jaxlib", "diffrax", "equinox", "torchsde", "blackjax",
    "numba", "llvmlite",
)  # fmt: skip


def environment(device: str) -> dict:
    """Machine, versions, commit and date."""
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no", "--", "escape", "benchmarks/*.py"))
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") + (" with changes" if dirty else ""),
        "device": _device(device),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def load(path: Path) -> dict:
    """Jobs by name, from a file; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {"jobs": {}}


def save(path: Path, measured: dict[str, dict], where: dict, order: tuple[str, ...]) -> dict:
    """Put the jobs measured into a file, each with its environment, and leave the others there as they are."""
    jobs = load(path)["jobs"] | {name: {**job, "environment": where} for name, job in measured.items()}
    held = {"jobs": {name: jobs[name] for name in order if name in jobs}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n")
    return held


def _git(*arguments: str) -> str:
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, cwd=ROOT, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text()) if path.exists() else None
    return found[1].strip() if found else platform.processor()


def _device(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name()
