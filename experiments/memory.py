"""Data larger than memory: what runs on samples in a file cost, beside reading them, as the file outgrows a limit.

Files from a quarter of a memory limit to four times it; for each, a process of its own under that limit runs chains of
mini-batches and a full-batch gradient on the mapped file, and then tries to read it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from escape import figures, write_samples
from escape.memory import status_bytes
from experiments.common import RESULTS, Claim, Settings, command, fact

DIMENSION = 32
PARTS = (0.25, 0.5, 1.0, 2.0, 4.0)
MB = 1e6
# What peaks may rise by from the smallest file to the largest, in MB: four pages of 8 MB, of files 16 times apart.
RISE = 32
READ = (0.95, 1.1)  # memory per byte of a file that is read whole

# What a process does: it measures itself, limits itself, and says what it held at most.
LIMITED = f"""
import json, resource, sys, time
import torch
from escape import FullBatch, GradientDescent, MiniBatch, RankOneFactorization, load_samples, map_samples, simulate
from escape.memory import peak_memory, status_bytes

path, limit, chains, steps = sys.argv[1], *map(int, sys.argv[2:])
start = torch.full(({DIMENSION},), 0.1, dtype=torch.float64)

def run(landscape, oracle, chains, steps):
    options = dict(steps=steps, chains=chains, block=min(chains, 1024), executor=1)
    return simulate(landscape, oracle, GradientDescent(0.05), start, **options)

torch.set_num_threads(1)
small = RankOneFactorization(torch.randn(1000, len(start), dtype=torch.float64))
run(small, MiniBatch(8), chains, 2)
run(small, FullBatch(), 1, 2)
held, data = status_bytes("VmRSS"), status_bytes("VmData")
resource.setrlimit(resource.RLIMIT_DATA, (data + limit, data + limit))
"""

FROM_DISK = """
def forget_peak():
    try:  # Linux then counts the peak from here; elsewhere it is that of all so far, which is no less
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass

def timed(work, *arguments):
    # The shortest of three: whatever else the machine does only adds to it.
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        work(*arguments)
        seconds.append(time.perf_counter() - began)
    return min(seconds)

landscape = RankOneFactorization(map_samples(path))
said = {"n": landscape.n}
run(landscape, MiniBatch(8), chains, 1)  # it also looks at every sample once, as each run on a file not yet seen does
longer, shorter = (timed(run, landscape, MiniBatch(8), chains, count) for count in (steps + 1, 1))
said["mini_seconds"] = (longer - shorter) / steps
said["mini_peak"] = peak_memory() - held
forget_peak()
run(landscape, FullBatch(), 1, 1)
said["full_seconds"] = timed(landscape.gradient, start)
said["full_peak"] = peak_memory() - held
print(json.dumps(said))
"""

# In a process of its own: memory that was freed would be used again, and not be counted.
INTO_MEMORY = """
error = ""
try:
    samples = load_samples(path)
except MemoryError as failed:
    error = str(failed)
print(json.dumps({"load_peak": peak_memory() - held, "error": error}))
"""


def measure(settings: Settings) -> xr.Dataset:
    """Peak memory beyond what a process holds before (size), seconds a step and a pass, and whether reading failed."""
    if not status_bytes("VmData"):
        raise OSError("the experiment memory needs Linux: it takes the size of its processes from /proc")
    limit = settings.pick(128 << 20, 128 << 20, 1 << 30)
    chains = settings.pick_chains(256, 1024, 4096)
    steps = settings.pick(2, 10, 40)
    parts = settings.pick(PARTS[::4], PARTS, PARTS)
    RESULTS.mkdir(parents=True, exist_ok=True)
    _check_room(RESULTS, int(max(parts) * limit))
    said = []
    with tempfile.TemporaryDirectory(dir=RESULTS, prefix="memory-") as folder:
        for part in parts:
            path = Path(folder) / "samples.npy"
            write_samples(path, _chunks(int(part * limit) // (8 * DIMENSION), settings.seed))
            numbers = str(path), str(limit), str(chains), str(steps)
            said.append(_run(FROM_DISK, *numbers) | _run(INTO_MEMORY, *numbers))
    keys = ("n", "mini_seconds", "mini_peak", "full_seconds", "full_peak", "load_peak")
    columns = {key: ("size", np.array([one[key] for one in said], dtype=float)) for key in keys}
    errors = [one["error"].replace(folder, "…") for one in said]
    columns["failed"] = "size", np.array([bool(error) for error in errors], dtype=float)
    sizes = [8.0 * DIMENSION * one["n"] for one in said]
    return xr.Dataset(columns, {"size": sizes}, {"limit": limit, "chains": chains, "steps": steps, "error": errors[-1]})


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < 1.2 * needed:
        raise OSError(
            f"{folder} has {free / 1e9:.3g} GB left, the largest file takes {needed / 1e9:.3g} GB; make room, or "
            "take a smaller preset"
        )


def _chunks(n: int, seed: int):
    """Rows with one direction of larger variance than the rest, so that the landscape has its saddles and minima."""
    rng, size = np.random.default_rng(seed), 1 << 15
    for first in range(0, n, size):
        rows = rng.standard_normal((min(size, n - first), DIMENSION))
        rows[:, 0] *= 1.5
        yield torch.from_numpy(rows)


def _run(code: str, path: str, *numbers: str) -> dict:
    command = [sys.executable, "-c", LIMITED + code, path, *numbers]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if ran.returncode:
        size = Path(path).stat().st_size
        raise RuntimeError(f"the process on {size} bytes failed: {ran.stderr.strip().splitlines()[-1:]}")
    return json.loads(ran.stdout)


def draw(data: xr.Dataset):
    """(a) Peak memory and (b) seconds against the size of the file."""
    figure, (a, b) = figures.panels(2, height=1.9)
    size, limit = data["size"].values / MB, data.attrs["limit"] / MB
    blue, orange, red = figures.PALETTE[0], figures.PALETTE[1], figures.PALETTE[3]
    read = data.failed.values == 0
    a.plot(size[read], data.load_peak.values[read] / MB, "s-", color=red, label="read into memory")
    a.plot(size[~read], np.zeros((~read).sum()), "x", color=red, markersize=5, label="refused", clip_on=False, zorder=6)
    a.plot(size, data.full_peak / MB, "^-", color=orange, label="full batch, from disk")
    a.plot(size, data.mini_peak / MB, "o-", color=blue, label="mini-batches, from disk")
    figures.theory(a, size, np.full(len(size), limit), "memory limit")
    a.set(ylabel="peak memory (MB)")
    a.set_ylim(0, 1.15 * limit)
    b.plot(size, data.full_seconds, "^-", color=orange, label="full-batch gradient")
    b.plot(size, data.mini_seconds, "o-", color=blue, label=f"mini-batch step of {data.attrs['chains']} chains")
    slope = float((data.full_seconds / data["size"]).values[-1])
    figures.theory(b, size, slope * data["size"].values, "in proportion to the file")
    b.set(yscale="log", ylabel="seconds a step")
    for ax in (a, b):
        ax.set(xscale="log", xlabel="samples on disk (MB)")
        ax.set_xticks(size, [f"{one:.0f}" for one in size])
        ax.minorticks_off()
        ax.axvline(limit, color="0.6", linewidth=0.6, zorder=0)
    figures.legend_above(a, 2)
    figures.legend_above(b, 1)
    return figure


def claims(data: xr.Dataset) -> list[Claim]:
    """What is flat, what grows, and what fails, each against a criterion that it states."""
    limit, sizes = float(data.attrs["limit"]), data["size"].values
    found = [
        fact("Limit", "limit on the data of a process, beyond what it held, MB", limit / MB, None),
        fact("Largest", "largest file over the limit", sizes[-1] / limit, None),
    ]
    for name, kind in (("Mini", "mini_peak"), ("Full", "full_peak")):
        peaks = data[kind].values
        growth = (peaks[-1] - peaks[0]) / (sizes[-1] - sizes[0])
        what = "chains of mini-batches" if name == "Mini" else "a full-batch gradient"
        text = f"peak memory of {what} on the largest file, MB: below the limit"
        found.append(fact(f"{name}Peak", text, peaks[-1] / MB, peaks.max() < limit))
        rise = (peaks[-1] - peaks[0]) / MB
        text = f"peak memory of {what}, largest file less smallest, MB: below {RISE}, four pages of 8 MB"
        found.append(fact(f"{name}Rise", text, rise, rise < RISE))
        text = f"peak memory of {what}: growth per byte that the file grows"
        found.append(fact(f"{name}Growth", text, growth, None))
    read = data.failed.values == 0
    text = f"reading a file into memory: peak memory per byte, at the largest that was read; {READ[0]} to {READ[1]}"
    share = float((data.load_peak / data["size"]).values[read][-1]) if read.any() else np.nan
    found.append(fact("ReadGrowth", text, share, READ[0] <= share <= READ[1]))
    fails = bool((~read[sizes > limit]).all() and "map_samples" in data.attrs["error"])
    text = "files larger than the limit that could be read; none, and the error says what to do"
    found.append(fact("Read", text, float(read[sizes > limit].sum()), fails))
    speed = sizes[-1] / 1e9 / float(data.full_seconds[-1])
    found.append(fact("Throughput", "full-batch gradient of one chain, GB of samples a second", speed, None))
    ratio = float(data.mini_seconds[-1] / data.mini_seconds[0])
    text = "seconds of a mini-batch step on the largest file over those on the smallest"
    found.append(fact("StepRatio", text, ratio, None))
    ratio = float(data.full_seconds[-1] / data.full_seconds[0])
    text = "seconds of a full-batch gradient on the largest file over those on the smallest"
    found.append(fact("PassRatio", text, ratio, None))
    found.append(fact("Chains", "chains of mini-batches", data.attrs["chains"], None))
    return found


if __name__ == "__main__":
    command(__name__)()
