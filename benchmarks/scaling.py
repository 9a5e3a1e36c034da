"""Cost of a run against chains, steps, d, b and n, each varied with the others fixed, and the figure of it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.race import ROOT, Settings

FIXED = {"chains": 16384, "steps": 50, "d": 10, "b": 32, "n": 1000}
_VARIED = {
    "chains": [2048, 4096, 8192, 16384, 32768, 65536, 131072],
    "steps": [5, 15, 50, 150, 500],
    "d": [2, 4, 8, 16, 32, 64, 128],
    "b": [1, 2, 4, 8, 16, 32, 64],
    "n": [100, 300, 1000, 3000, 10_000, 30_000, 100_000],
}
_NAMES = {
    "chains": "chains", "steps": "steps", "d": "dimension d", "b": "batch size b", "n": "samples n",
}  # fmt: skip
_REPEATS = 3


def measure(settings: Settings) -> dict:
    """Seconds of every run, median, least and largest of three, and the slope of their logarithms.

    The slope of all points is lowered by what every run costs; that of the last decade less so.
    """
    command = [sys.executable, "-m", "benchmarks.scaling"] + ["quick"] * settings.quick
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    says = "Cost of a run against its sizes"
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return {"says": says, "reason": said[-1] if said else f"ended with code {done.returncode}", "targets": []}
    result = json.loads(done.stdout.splitlines()[-1])
    return {"says": says, **result, "targets": []}


def _seconds(sizes: dict) -> float:
    import torch

    from escape import GradientDescent, MiniBatch, QuadraticSaddle, simulate

    d = sizes["d"]
    curvatures = [-0.005] + [0.5] * (d - 1)
    landscape = QuadraticSaddle.additive(curvatures, noise=1.0, n=max(sizes["n"], d + 1), dtype=torch.float32)
    began = time.perf_counter()
    simulate(
        landscape, MiniBatch(sizes["b"], replacement=True), GradientDescent(0.1), torch.zeros(d),
        steps=sizes["steps"], chains=sizes["chains"],
    )  # fmt: skip
    return time.perf_counter() - began


def _measured(quick: bool) -> dict:
    fixed = {**FIXED, "chains": 256, "steps": 10} if quick else FIXED
    varied = {name: values[:2] if quick else values for name, values in _VARIED.items()}
    if quick:
        varied["chains"] = [256, 512]
    _seconds(fixed)
    times = {name: [[] for _ in values] for name, values in varied.items()}
    # Repeats outermost: a disturbance then falls on one repeat of many points, not on all of one.
    for _ in range(_REPEATS):
        for name, values in varied.items():
            for place, value in enumerate(values):
                times[name][place].append(_seconds({**fixed, name: value}))
    curves = {}
    for name, values in varied.items():
        middle = np.median(times[name], axis=1)
        slope, end = _slope(values, middle), _slope(*_last_decade(values, middle))
        seconds = [[float(np.median(t)), min(t), max(t)] for t in times[name]]
        curves[name] = {"values": values, "seconds": seconds, "slope": slope, "end_slope": end}
    return {"fixed": fixed, "curves": curves}


def _slope(values, middle) -> float:
    return float(np.polyfit(np.log(values), np.log(middle), 1)[0])


def _last_decade(values, middle) -> tuple[np.ndarray, np.ndarray]:
    values, middle = np.asarray(values), np.asarray(middle)
    late = 10 * values >= values[-1]
    return values[late], middle[late]


def draw(result: dict, path: Path) -> None:
    """Draw the curves as small multiples, one column wide."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    from escape import figures

    with figures.style():
        figure, axes = plt.subplots(3, 2, figsize=(figures.COLUMN, 4.3), sharey=True)
        axes = axes.ravel()
        for ax, letter, (name, curve) in zip(axes, "abcde", result["curves"].items(), strict=False):
            values, (middle, low, high) = np.array(curve["values"]), np.array(curve["seconds"]).T
            figures.points(ax, values, middle, low, high, figures.PALETTE[0])
            constant = np.exp(np.mean(np.log(middle) - curve["slope"] * np.log(values)))
            figures.theory(ax, values, constant * values ** curve["slope"])
            ax.set(xscale="log", yscale="log", xlabel=f"({letter}) {_NAMES[name]}")
            said = f"slope {curve['slope']:.2f}\nlast decade {curve['end_slope']:.2f}"
            ax.text(0.05, 0.97, said, transform=ax.transAxes, va="top", fontsize=6.5)
        for ax in axes[:5:2]:
            ax.set_ylabel("time of a run (s)")
        fixed = result["fixed"]
        axes[5].axis("off")
        axes[5].text(
            0.0, 0.95, "Held fixed elsewhere:\n" + "\n".join(f"{_NAMES[k]}: {v:,}" for k, v in fixed.items())
            + "\nsingle precision\n\nPoints: median of 3\nwith their range\nDashed: power law",
            transform=axes[5].transAxes, va="top", fontsize=6.5, linespacing=1.35,
        )  # fmt: skip
        sns.despine(figure)
        figure.savefig(path, dpi=300, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(_measured("quick" in sys.argv[1:])))
