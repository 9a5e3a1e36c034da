"""A race of optimizers from one saddle at an equal noise budget, and what Adam and descent make of the start.

Equal budget: all chains start on the saddle of one landscape and would, were it flat, spread alike there: their mean
square displacement per step is (lr σ)², lr that of SGD and σ the standard deviation of its batch gradient. Those that
see batches see the same number of samples per step. So momentum has lr (1 − β) for lr, and those that divide by the
size of the gradient have lr σ. Langevin dynamics sees no batches and makes all of its noise itself, at the temperature
lr σ²/2. Perturbed descent spends its budget at once, on one kick of SGD's effective variance s². Schedules begin at, or
warm up to, SGD's lr; that is all they share.
"""

import functools
import math

import numpy as np
import torch
import xarray as xr

from escape import (
    SAM,
    Above,
    Adam,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    InverseTime,
    Langevin,
    MiniBatch,
    Nesterov,
    PerturbedGradientDescent,
    QuadraticSaddle,
    RMSProp,
    SignDescent,
    SquaredProjection,
    WarmUp,
    estimate,
    figures,
    predict,
    theory,
)
from experiments.common import Claim, Settings, claim, command, fact

CURVATURE, STABLE, N, BATCH = -1.0, (0.7, 1.5), 512, 16
LR, NOISE, MOMENTUM = 0.02, 0.1, 0.9
FAR, NEAR = 1.0, 0.05  # the batch gradient is mostly noise within NOISE/|CURVATURE|, half of which is NEAR
HORIZON = {FAR: 2000, NEAR: 1000}
KICK = float(theory.kick_std(LR, CURVATURE, NOISE))
BATCHES, WHOLE = MiniBatch(BATCH), FullBatch()
RACE = {
    "SGD": (GradientDescent(LR), BATCHES),
    "heavy ball": (HeavyBall(LR * (1 - MOMENTUM), MOMENTUM), BATCHES),
    "Nesterov": (Nesterov(LR * (1 - MOMENTUM), MOMENTUM), BATCHES),
    "Langevin": (Langevin(LR, LR * NOISE**2 / 2), WHOLE),
    "perturbed descent": (PerturbedGradientDescent(LR, KICK * math.sqrt(5), 1e-9, 10**6), WHOLE),
    "warm-up": (GradientDescent(WarmUp(LR, 150, 0.01)), BATCHES),
    "inverse time": (GradientDescent(InverseTime(250 * LR, 250.0)), BATCHES),
    "SAM": (SAM(LR, 0.05), BATCHES),
    "sign": (SignDescent(LR * NOISE), BATCHES),
    "RMSProp": (RMSProp(LR * NOISE), BATCHES),
    "Adam": (Adam(LR * NOISE), BATCHES),
}
PREDICTED = ("SGD", "heavy ball", "Nesterov", "Langevin", "perturbed descent")
SCHEDULED = ("warm-up", "inverse time")
SHOWN = ("SGD", "Nesterov", "perturbed descent", "inverse time", "SAM", "RMSProp", "Adam")
# Without noise: starts, a learning rate, and what is added to the root of the mean square.
STARTS = np.logspace(-12, -1, 23)
# Who comes to a radius later than whom, beyond both intervals; and how near to SGD Adam comes within the noise.
LATER = {
    FAR: [(name, "SGD") for name in ("heavy ball", "Nesterov", "inverse time", "SAM", "RMSProp", "Adam", "sign")]
    + [("Adam", "RMSProp"), ("sign", "Adam")],
    NEAR: [("heavy ball", "SGD"), ("Nesterov", "SGD"), ("SAM", "SGD"), ("SGD", "RMSProp")],
}
ADAM_NEAR = 0.15
FREE_LR, COARSE_EPS = 1e-2, 1e-1
FREE = {
    "descent": GradientDescent(FREE_LR),
    "Adam": Adam(FREE_LR, eps=0),
    "Adam, coarse": Adam(FREE_LR, eps=COARSE_EPS),
}


def measure(settings: Settings) -> xr.Dataset:
    """Means (optimizer, radius), survival to the far radius (optimizer, step); exit steps without noise (start)."""
    chains = settings.pick_chains(256, 8192, 65536)
    steps, names = np.arange(0, 751, 3), list(RACE)
    means, curves = np.empty((len(names), 2, 3)), np.empty((len(names), len(steps)))
    for i, name in enumerate(names):
        for j, radius in enumerate((FAR, NEAR)):
            data = _exits(settings, name, radius, chains)
            means[i, j] = estimate.restricted_mean_exit_step(data, HORIZON[radius])[:3]
            if radius == FAR:
                curves[i] = estimate.survival(data)(steps)
    return xr.Dataset(
        {
            "mean": (("optimizer", "radius", "part"), means),
            "survival": (("optimizer", "step"), curves),
            "free": (("kind", "start"), np.stack([_free(settings, kind) for kind in FREE])),
        },
        {
            "optimizer": names, "radius": [FAR, NEAR], "part": ["value", "low", "high"], "step": steps,
            "kind": list(FREE), "start": STARTS,
        },
        {"chains": chains},
    )  # fmt: skip


def _landscape(seed: int = 0) -> QuadraticSaddle:
    """A saddle whose batch gradient of BATCH samples has standard deviation NOISE along every direction."""
    return QuadraticSaddle.additive([CURVATURE, *STABLE], NOISE / theory.kappa(BATCH, N) ** 0.5, N, seed)


def _exits(settings: Settings, name: str, radius: float, chains: int) -> xr.Dataset:
    landscape = _landscape(settings.seed)
    saddle, (optimizer, oracle) = landscape.critical_points()[0], RACE[name]
    return settings.simulate(
        f"optimizers {name} to {radius}", landscape, oracle, optimizer, saddle.location, steps=HORIZON[radius],
        chains=chains, block=min(chains, 4096), until=Above(SquaredProjection(saddle, saddle.unstable), radius**2),
    )  # fmt: skip


def _free(settings: Settings, kind: str) -> np.ndarray:
    """Exit steps without noise from every start along the escape direction."""
    landscape = _landscape(settings.seed)
    saddle = landscape.critical_points()[0]
    starts = torch.as_tensor(STARTS)[:, None] * saddle.unstable[:, 0]
    data = settings.simulate(
        f"optimizers {kind} without noise", landscape, FullBatch(), FREE[kind], starts, steps=3000,
        chains=len(starts), block=len(starts), until=Above(SquaredProjection(saddle, saddle.unstable), FAR**2),
    )  # fmt: skip
    return data.exit_step.values


def _free_theory(kind: str, starts: np.ndarray) -> np.ndarray:
    if kind == "descent":
        return theory.gd_exit_step(FREE_LR, CURVATURE, FAR, starts)
    return theory.adam_exit_step(FREE_LR, CURVATURE, FAR, starts, eps=FREE[kind].eps)


def _rates(name: str) -> np.ndarray:
    """Learning rates of a schedule, to the horizon."""
    return np.array([RACE[name][0].lr(t) for t in range(HORIZON[FAR])])


def _predicted(name: str) -> float:
    """Mean exit step to the far radius, for a schedule to the horizon at most."""
    if name in SCHEDULED:
        return theory.mean_exit_step_schedule(_rates(name), CURVATURE, NOISE, FAR)
    landscape, (optimizer, oracle) = _landscape(), RACE[name]
    return predict(landscape, oracle, optimizer, landscape.critical_points()[0], radius=FAR).mean_exit_step


@functools.cache
def _near() -> float:
    """Mean exit step of SGD to the near radius, which is no multiple of its kick: by the exact chain."""
    line = QuadraticSaddle.additive([CURVATURE], NOISE / theory.kappa(BATCH, N) ** 0.5, N)
    found = predict(line, GaussianNoise(BATCH), GradientDescent(LR), line.critical_points()[0], radius=NEAR)
    return found.mean_exit_step


def _law(name: str, steps: np.ndarray) -> np.ndarray:
    """Survival to the far radius."""
    if name in SCHEDULED:
        return theory.survival_schedule(_rates(name), CURVATURE, NOISE, FAR)[steps]
    if name == "perturbed descent":
        kick, dimension = RACE[name][0].radius, 1 + len(STABLE)
        return theory.perturbed_survival(steps, LR, CURVATURE, kick, dimension, FAR)
    if name == "SGD":
        return theory.survival(steps, LR, CURVATURE, NOISE, FAR)
    lr = LR * (1 - MOMENTUM)
    radius = FAR / theory.look_ahead_factor(lr, CURVATURE, momentum=MOMENTUM)
    return theory.survival(steps, lr, CURVATURE, NOISE, radius, momentum=MOMENTUM, nesterov=True)


def draw(data: xr.Dataset):
    """(a) survival to the far radius; (b) mean exit steps to both radii; (c) exit without noise against the start."""
    figure, (a, b, c) = figures.panels(3, height=2.1)
    steps = data.step.values
    for color, name in zip(figures.PALETTE, SHOWN, strict=False):
        a.plot(steps, data.survival.sel(optimizer=name), color=color, label=name)
    known = [name for name in SHOWN if name in PREDICTED + SCHEDULED]
    for name in known:
        figures.theory(a, steps, _law(name, steps), "theory" if name == known[0] else None)
    a.set(xlabel="step t", ylabel=r"$P(\tau > t)$, $R = 1$", xlim=(0, 750))
    places = np.arange(len(RACE))[::-1]
    for j, (color, radius) in enumerate(zip(figures.PALETTE, (FAR, NEAR), strict=False)):
        value, low, high = data["mean"].isel(radius=j).values.T
        bars = np.maximum([value - low, high - value], 0)
        b.errorbar(
            value, places, xerr=bars, fmt="os"[j], color=color, capsize=1.5, elinewidth=0.8, label=f"R = {radius:g}"
        )
    known = [i for i, name in enumerate(RACE) if name in PREDICTED + SCHEDULED]
    predicted = [_predicted(list(RACE)[i]) for i in known]
    b.plot(predicted, places[known], "|", color="black", markersize=11, zorder=5, label="theory")
    b.plot([_near()] * 2, [places[0], places[3]], "|", color="black", markersize=11, zorder=5)
    b.set(xlabel=r"$E\,\tau$ (steps)", xscale="log", ylim=(-0.6, len(RACE) - 0.4))
    b.set_xticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
    b.minorticks_off()
    b.set_yticks(places, list(RACE))
    labels = {
        "descent": "GD",
        "Adam": r"Adam, $\varepsilon = 0$",
        "Adam, coarse": r"Adam, $\varepsilon = 0.1$",
    }
    fine = np.geomspace(STARTS[0], STARTS[-1], 200)
    for color, kind in zip(figures.PALETTE, FREE, strict=False):
        c.plot(STARTS, data.free.sel(kind=kind), "o", color=color, label=labels[kind])
        figures.theory(c, fine, _free_theory(kind, fine), "exact recursion" if kind == "descent" else None)
    c.set(xscale="log", yscale="log", xlabel=r"start $|x_0|$", ylabel="exit step, no noise", ylim=(40, 5e3))
    for ax, columns in ((a, 3), (b, 3), (c, 2)):
        figures.legend_above(ax, columns)
    return figure


def claims(data: xr.Dataset) -> list[Claim]:
    """Means against theory where there is one, the order of the others, and exits without noise step for step."""
    found = []
    for name in RACE:
        word = _macro(name)
        far, near = data["mean"].sel(optimizer=name).values
        predicted = _predicted(name) if name in PREDICTED + SCHEDULED else None
        found.append(claim(f"Far{word}", f"{name}: mean exit step to R = {FAR:g}", far, predicted, 3.5))
        predicted = _near() if name in ("SGD", "Langevin") else None
        found.append(claim(f"Near{word}", f"{name}: mean exit step to R = {NEAR:g}", near, predicted, 3.5))
    found += _order(data)
    for kind, word in (("descent", "Descent"), ("Adam", "Adam"), ("Adam, coarse", "Coarse")):
        steps = data.free.sel(kind=kind).values
        off = int((steps != _free_theory(kind, STARTS)).sum())
        text = f"{kind} without noise: starts of {len(STARTS)} whose exit step is not the predicted one"
        found.append(fact(f"{word}Off", text, off, off == 0))
    small = data.free.sel(kind="Adam").values[STARTS < 2e-5]
    text = "Adam without noise: exit steps from 1e-12 to 1e-5, largest less smallest"
    found.append(fact("AdamSpread", text, float(np.ptp(small)), np.ptp(small) == 0))
    found.append(fact("AdamStep", "Adam without noise: exit step from 1e-12", small[0], None))
    ends = data.free.sel(kind="descent").values
    found.append(fact("DescentSlow", "descent without noise: exit step from 1e-12", ends[0], None))
    coarse = data.free.sel(kind="Adam, coarse").values
    found.append(fact("CoarseSlow", "Adam, coarse eps, without noise: exit step from 1e-12", coarse[0], None))
    text = "without noise, from 1e-12: descent's exit step over Adam's; Adam first, then the coarse one, then descent"
    found.append(fact("FreeOrder", text, ends[0] / small[0], small[0] < coarse[0] < ends[0]))
    found.append(fact("Chains", "chains of each run", data.attrs["chains"], None))
    return found


def _order(data: xr.Dataset) -> list[Claim]:
    """Who is later than whom by more than both intervals, and Adam beside SGD where the gradient is mostly noise."""
    found = []
    for radius, pairs in LATER.items():
        means, word = data["mean"].sel(radius=radius), "Far" if radius == FAR else "Near"
        for late, soon in pairs:
            gap = float(means.sel(optimizer=late, part="low") - means.sel(optimizer=soon, part="high"))
            text = f"to R = {radius:g}: low end of the interval of {late} less high end of that of {soon}; above 0"
            found.append(fact(f"{word}{_macro(late)}After{_macro(soon)}", text, gap, gap > 0))
    adam, sgd = (float(data["mean"].sel(radius=NEAR, part="value", optimizer=name)) for name in ("Adam", "SGD"))
    text = f"to R = {NEAR:g}: mean exit step of Adam over that of SGD; 1 within {ADAM_NEAR}"
    return [*found, fact("NearAdamOverSGD", text, adam / sgd, abs(adam / sgd - 1) < ADAM_NEAR)]


def _macro(name: str) -> str:
    return "".join(part[0].upper() + part[1:] for part in name.replace("-", " ").split())


if __name__ == "__main__":
    command(__name__)()
