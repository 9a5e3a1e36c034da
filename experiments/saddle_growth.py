"""Growth of the mean squared distance from a saddle: mini-batch SGD, its exact curve, and batch GD beside it.

A quadratic saddle in ten dimensions with additive per-sample noise. SGD starts at the saddle itself, without
replacement, at three batch sizes; batch GD starts on the saddle's stable manifold, where only rounding can free it, and
from the random kick that is as good as SGD's noise.
"""

from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from escape import (
    Above,
    FullBatch,
    GradientDescent,
    MiniBatch,
    NormalStart,
    Projection,
    QuadraticSaddle,
    SquaredProjection,
    estimate,
    figures,
    theory,
)
from experiments.common import Claim, Settings, claim, command, fact

LR, CURVATURE, RADIUS, N = 0.1, -1.0, 1.0, 1000
EIGENVALUES = (CURVATURE, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)
SAMPLE_NOISE = 0.05
BATCHES = (1, 8, 128)
KICK_BATCH = 8
STEPS, EVERY, GD_STEPS = 80, 2, 600
ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


def measure(settings: Settings) -> xr.Dataset:
    """Mean squares (batch_size, step) with intervals and theory; GD's squares (start, gd_step)."""
    landscape = QuadraticSaddle.additive(EIGENVALUES, SAMPLE_NOISE, N, settings.seed)
    saddle = landscape.critical_points()[0]
    observe = {"projection": Projection(saddle, saddle.unstable[:, 0])}
    chains = settings.pick_chains(2048, 8192, 131072)
    step = np.arange(0, STEPS + 1, EVERY)
    rows, rates = [], []
    for batch_size in BATCHES:
        data = settings.simulate(
            f"saddle_growth b={batch_size}", landscape, MiniBatch(batch_size), GradientDescent(LR), saddle.location,
            steps=STEPS, chains=chains, observe=observe, every=EVERY,
        )  # fmt: skip
        rows.append(_mean_square(data))
        rate = estimate.growth_rate(data.projection, step)
        rates.append([*rate[:3], *rate.window, rate.reliable])
    noise = _noise(landscape, saddle, KICK_BATCH)
    kick = NormalStart(saddle.location, theory.kick_std(LR, CURVATURE, noise), saddle.unstable[:, 0])
    kicked = settings.simulate(
        "saddle_growth GD", landscape, FullBatch(), GradientDescent(LR), kick,
        steps=STEPS, chains=chains, observe=observe, every=EVERY,
    )  # fmt: skip
    exact = [theory.mean_square(step, LR, CURVATURE, _noise(landscape, saddle, b)) for b in BATCHES]
    parts = ("value", "low", "high", "error")
    return xr.Dataset(
        {
            "mean_square": (("batch_size", "part", "step"), np.stack(rows)),
            "exact": (("batch_size", "step"), np.stack(exact)),
            "rate": (("batch_size", "rate_part"), np.array(rates, dtype=float)),
            "kicked": (("part", "step"), _mean_square(kicked)),
            "gd": (("start", "gd_step"), _stable_manifold(settings)),
        },
        {
            "batch_size": list(BATCHES), "part": list(parts), "step": step, "gd_step": np.arange(GD_STEPS + 1),
            "rate_part": ["value", "low", "high", "first", "last", "reliable"],
            "start": ["axes float64", "rotated float32", "rotated float64"],
        },
        {"chains": chains},
    )  # fmt: skip


def _mean_square(data: xr.Dataset) -> np.ndarray:
    found = estimate.mean_square(data.projection)
    return np.stack([found.value, found.low, found.high, estimate.mean_square_standard_error(data.projection)])


def _noise(landscape, saddle, batch_size: int) -> float:
    """Standard deviation of a batch gradient along the escape direction, from the samples themselves."""
    variance = float(landscape.noise_along(saddle.location, saddle.unstable[:, 0]))
    return (theory.kappa(batch_size, landscape.n) * variance) ** 0.5


def _stable_manifold(settings: Settings) -> np.ndarray:
    """GD's (vᵀx)² from a point of the stable manifold at distance 1, in two bases and two precisions."""
    rotation = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    rows = []
    for basis, dtype in ((None, torch.float64), (rotation, torch.float32), (rotation, torch.float64)):
        landscape = QuadraticSaddle.additive(EIGENVALUES, SAMPLE_NOISE, N, settings.seed, basis, dtype)
        saddle = landscape.critical_points()[0]
        direction = saddle.unstable[:, 0]
        start = saddle.location + saddle.directions[:, 1]
        # Along a stable eigendirection, less what rounding leaves of the unstable one at the start.
        start = start - (start @ direction) * direction
        data = settings.simulate(
            "saddle_growth rounding", landscape, FullBatch(), GradientDescent(LR), start, steps=GD_STEPS, chains=1,
            observe={"square": SquaredProjection(saddle, direction)}, block=1,
            until=Above(SquaredProjection(saddle, direction), RADIUS**2),
        )  # fmt: skip
        rows.append(data.square.values[:, 0])
    return np.stack(rows).astype(float)


def draw(data: xr.Dataset):
    """(a) SGD at three batch sizes with exact curves; (b) GD's three starts on the same axes, over more decades."""
    figure, (top, bottom) = figures.panels(2, height=2.3)
    step = data.step.values
    for color, batch_size in zip(figures.PALETTE, BATCHES, strict=False):
        value, low, high, _ = data.mean_square.sel(batch_size=batch_size).values
        # Step 0 is the saddle itself, zero and off a logarithmic axis.
        figures.band(top, step[1:], value[1:], low[1:], high[1:], color, f"SGD, b = {batch_size}")
        exact = data.exact.sel(batch_size=batch_size)[1:]
        figures.theory(top, step[1:], exact, "exact" if batch_size == BATCHES[-1] else None)
    for ax in (top, bottom):
        thin = slice(None, None, 3)
        value = data.kicked.sel(part="value").values
        label = rf"GD from $N(0, s^2)$ of b = {KICK_BATCH}"
        ax.plot(step[thin], value[thin], "o", color=figures.PALETTE[1], mfc="white", label=label)
    top.set(yscale="log", ylim=(1e-7, 10), xlabel="step", ylabel=r"$E\,(v^T(x-x^*))^2$")
    sgd = data.mean_square.sel(batch_size=KICK_BATCH, part="value")
    bottom.plot(step[1:], sgd[1:], color=figures.PALETTE[1], label=f"SGD, b = {KICK_BATCH}")
    for color, start in zip(figures.PALETTE[4:], ("rotated float32", "rotated float64"), strict=False):
        square = data.gd.sel(start=start).values
        shown = np.where((square > 0) & (np.arange(len(square)) <= _exit_step(square)), square, np.nan)
        bottom.plot(data.gd_step, shown, color=color, label=f"GD, rotated, {start.split()[1]}")
    never = bool((data.gd.sel(start="axes float64") == 0).all())
    words = "GD along the axes: exactly 0 at every step" if never else "GD along the axes moved"
    bottom.text(0.98, 0.04, words, transform=bottom.transAxes, ha="right", fontsize=6.5)
    bottom.set(yscale="log", xlabel="step", ylabel=r"$E\,(v^T(x-x^*))^2$", ylim=(1e-36, 1e2))
    figures.legend_above(top, 2)
    figures.legend_above(bottom, 2)
    return figure


def _exit_step(square: np.ndarray) -> float:
    """First step at or above the radius; infinite if none."""
    left = np.flatnonzero(square >= RADIUS**2)
    return float(left[0]) if len(left) else float("inf")


def claims(data: xr.Dataset) -> list[Claim]:
    """Every recorded step against the exact curve, growth rates, and GD's three starts."""
    found = []
    words = {1: "One", 8: "Eight", 128: "OneTwentyEight"}
    for batch_size in BATCHES:
        part = data.sel(batch_size=batch_size)
        value, error = part.mean_square.sel(part="value").values[1:], part.mean_square.sel(part="error").values[1:]
        worst = np.abs((value - part.exact.values[1:]) / error).max()
        text = f"b = {batch_size}: largest |z| of the mean square over {len(value)} recorded steps, below 4"
        found.append(fact(f"WorstZ{words[batch_size]}", text, worst, worst < 4))
        rate = part.rate.values
        text = f"b = {batch_size}: growth rate of the mean square per step, fitted on steps {rate[3]:.0f}–{rate[4]:.0f}"
        fitted = claim(f"Rate{words[batch_size]}", text, rate[:3], theory.growth_rate(LR, CURVATURE), 4)
        found.append(replace(fitted, holds=bool(fitted.holds and rate[5])))
    kicked = data.kicked.sel(part="value").values, data.kicked.sel(part="error").values
    s2 = theory.kick_std(LR, CURVATURE, 1.0) ** 2 * data.exact.sel(batch_size=KICK_BATCH).values[1]
    s2 /= theory.mean_square(EVERY, LR, CURVATURE, 1.0)
    predicted = s2 * theory.growth_factor(LR, CURVATURE) ** (2 * data.step.values)
    worst = np.abs((kicked[0] - predicted) / kicked[1]).max()
    found.append(fact("KickWorstZ", "GD from N(0, s²): largest |z| against s² a^2t, below 4", worst, worst < 4))
    still = float(np.abs(data.gd.sel(start="axes float64")).max())
    text = "GD on the axis-aligned stable manifold: largest (vᵀx)² ever"
    found.append(fact("AxesSquare", text, still, still == 0, 0.0))
    for name, roundoff in ROUNDOFF.items():
        left = _exit_step(data.gd.sel(start=f"rotated {name}").values)
        predicted = theory.rounding_exit_step(LR, CURVATURE, RADIUS, roundoff)
        text = f"GD in a rotated basis, {name}: exit step by rounding alone, within 40 of ln(R/u)/ln a"
        macro = "Rounding" + {"float32": "Single", "float64": "Double"}[name]
        found.append(fact(macro, text, left, abs(left - predicted) < 40, predicted))
    found.append(fact("Chains", "chains of each run", data.attrs["chains"], None))
    return found


if __name__ == "__main__":
    command(__name__)()
