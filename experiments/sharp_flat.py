"""Sharp against flat minima of equal depth and barrier: who leaves, under which noise, and where chains end up.

The two-slope well, sharp minimum on the left and flat one on the right. Leaving a minimum means reaching the other.
Constant isotropic noise first, where the exact one-dimensional chain and Eyring–Kramers stand beside the simulation;
then noise that grows with the curvature, under batch GD, isotropic, covariance-matched and true mini-batch gradients.
"""

import numpy as np
import xarray as xr

from escape import (
    Above,
    Below,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    IsotropicNoise,
    MiniBatch,
    Projection,
    TwoSlopeWell,
    estimate,
    figures,
    theory,
)
from experiments.common import Claim, Settings, claim, command, fact

SHARP, FLAT, BARRIER = 2.0, 1.0, 0.25
BATH = (1.0,)
LR = 0.05
TEMPERATURES = (0.0833, 0.1, 0.125, 0.1667)
SHOWN = (0.0833, 0.1667)
OCCUPATION_STEPS = 4000
LADDER_LR, LADDER_NOISE = 0.2, 0.8
LADDER = ("batch GD", "isotropic", "matched Gaussian", "mini-batch")
MINIMA = ("sharp", "flat")
# No minimum of these runs is left so late by any noise that can leave it at all.
PATIENCE = 25
# One step of two coordinates is so little work that larger blocks than usual pay.
BLOCK = 4096
# From beyond these ends one step of the steep quartic walls overshoots to the other minimum, and counts as leaving.
LOW, HIGH = -1.6, 2.8


def measure(settings: Settings) -> xr.Dataset:
    """Exits (temperature, minimum), occupation (shown, minimum, step) and the ladder of noises, all beside exact."""
    chains = settings.pick_chains(512, 4096, 32768)
    exits, exact = [], []
    for temperature in TEMPERATURES:
        landscape = _constant(temperature, LR)
        chain = _chain(LR * _noise(temperature, LR), LR)
        for minimum in MINIMA:
            predicted = _exact_exit(chain, minimum)
            oracle = IsotropicNoise(1)
            label = f"sharp_flat T={temperature} {minimum}"
            exits.append(_exit(settings, label, landscape, oracle, minimum, LR, chains, int(PATIENCE * predicted)))
            exact.append(predicted)
    step = np.arange(0, OCCUPATION_STEPS + 1, OCCUPATION_STEPS // 80)
    occupation, solved = _occupation(settings, chains, step)
    ladder, ladder_exact = _ladder(settings, chains)
    shape = (len(TEMPERATURES), 2)
    return xr.Dataset(
        {
            "exit": (("temperature", "minimum", "part"), np.array(exits).reshape(*shape, 4)),
            "exact": (("temperature", "minimum"), np.array(exact).reshape(shape)),
            "occupation": (("shown", "minimum", "step", "part"), occupation),
            "occupation_exact": (("shown", "minimum", "step"), solved),
            "ladder": (("noise", "minimum", "part"), ladder),
            "ladder_exact": (("noise", "minimum"), ladder_exact),
        },
        {
            "temperature": list(TEMPERATURES), "minimum": list(MINIMA), "shown": list(SHOWN), "step": step,
            "noise": list(LADDER), "part": ["value", "low", "high", "left"],
        },
        {"chains": chains},
    )  # fmt: skip


def _noise(temperature: float, lr: float) -> float:
    """Standard deviation of the gradient that makes a temperature: T = lr noise²/2."""
    return (2 * temperature / lr) ** 0.5


def _constant(temperature: float, lr: float) -> TwoSlopeWell:
    return TwoSlopeWell.noisy(SHARP, FLAT, BARRIER, _noise(temperature, lr), BATH)


def _minimum_at(minimum: str) -> float:
    return -1 / SHARP if minimum == "sharp" else 1 / FLAT


def _chain(std, lr: float) -> theory.GaussianChain:
    """The exact chain of the first coordinate."""

    def drift(x):
        k = np.where(x < 0, SHARP, FLAT)
        return x - lr * 4 * BARRIER * k * ((k * x) ** 2 - 1) * (k * x)

    return theory.GaussianChain(drift, std, LOW, HIGH, breakpoints=(0.0,))


def _exact_exit(chain: theory.GaussianChain, minimum: str) -> float:
    low, high = (LOW, 1 / FLAT) if minimum == "sharp" else (-1 / SHARP, HIGH)
    return float(chain.mean_exit_step(_minimum_at(minimum), low, high))


def _exit(settings, label, landscape, oracle, minimum, lr, chains, steps) -> list[float]:
    """Mean exit step out of a minimum with its interval, and the share of chains that left."""
    points = {point.name.split()[0]: point for point in landscape.critical_points()}
    position = Projection(points["saddle"], _first(landscape))
    until = Above(position, 1 / FLAT) if minimum == "sharp" else Below(position, -1 / SHARP)
    data = settings.simulate(
        label, landscape, oracle, GradientDescent(lr), points[minimum].location, steps=steps, chains=chains,
        until=until, block=min(chains, BLOCK),
    )  # fmt: skip
    found = estimate.mean_exit_step(data)
    return [*(float(part) for part in found[:3]), float((data.status == 1).mean())]


def _first(landscape):
    direction = landscape.samples.new_zeros(landscape.dimension)
    direction[0] = 1
    return direction


def _occupation(settings: Settings, chains: int, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of chains on the flat side over time, from either minimum, at two temperatures."""
    measured, solved = [], []
    for temperature in SHOWN:
        landscape = _constant(temperature, LR)
        points = {point.name.split()[0]: point for point in landscape.critical_points()}
        chain = _chain(LR * _noise(temperature, LR), LR)
        for minimum in MINIMA:
            data = settings.simulate(
                f"sharp_flat occupation T={temperature} {minimum}", landscape, IsotropicNoise(1), GradientDescent(LR),
                points[minimum].location, steps=int(step[-1]), every=int(step[1]), chains=chains,
                block=min(chains, BLOCK), observe={"x": Projection(points["saddle"], _first(landscape))},
            )  # fmt: skip
            counts = (data.x.values > 0).sum(1)
            measured.append([[*estimate.proportion(int(k), chains)[:3], np.nan] for k in counts])
            solved.append(chain.occupation_over_time(int(step[-1]), _minimum_at(minimum), 0.0, np.inf)[step])
    shape = (len(SHOWN), 2, len(step))
    return np.array(measured).reshape(*shape, 4), np.array(solved).reshape(shape)


def _ladder(settings: Settings, chains: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean exit step under four ways to see the gradient, where the noise grows with the curvature."""
    landscape = TwoSlopeWell.noisy(SHARP, FLAT, BARRIER, LADDER_NOISE, BATH, scaled_noise=True)
    oracles = dict(zip(LADDER, (FullBatch(), IsotropicNoise(1), GaussianNoise(1), MiniBatch(1)), strict=True))
    d = landscape.dimension
    variance = LADDER_NOISE**2
    stds = {
        "isotropic": lambda x: LADDER_LR * (variance * (np.where(x < 0, SHARP, FLAT) ** 2 + d - 1) / d) ** 0.5,
        "matched Gaussian": lambda x: LADDER_LR * LADDER_NOISE * np.where(x < 0, SHARP, FLAT),
    }
    measured, exact = [], []
    for name, oracle in oracles.items():
        for minimum in MINIMA:
            predicted = _exact_exit(_chain(stds[name], LADDER_LR), minimum) if name in stds else np.nan
            steps = 2000 if name == "batch GD" else 60000
            some = 64 if name == "batch GD" else max(64, chains // 2)
            label = f"sharp_flat {name} {minimum}"
            measured.append(_exit(settings, label, landscape, oracle, minimum, LADDER_LR, some, steps))
            exact.append(predicted)
    return np.array(measured).reshape(len(LADDER), 2, 4), np.array(exact).reshape(len(LADDER), 2)


def _kramers(temperature, minimum: str, lr: float):
    """Eyring–Kramers mean exit step from a minimum to the other one."""
    near, far = (SHARP, FLAT) if minimum == "sharp" else (FLAT, SHARP)
    return theory.eyring_kramers(
        BARRIER, temperature, 8 * BARRIER * near**2, -4 * BARRIER * near**2, -4 * BARRIER * far**2, lr=lr
    )


def draw(data: xr.Dataset):
    """(a) occupation of the flat side; (b) exits against 1/T; (c) exits under four gradients."""
    figure, (a, b, c) = figures.panels(3, height=2.0)
    colors = {"sharp": figures.PALETTE[3], "flat": figures.PALETTE[0]}
    for shown, line in zip(SHOWN, ("-", ":"), strict=True):
        for minimum in MINIMA:
            part = data.sel(shown=shown, minimum=minimum)
            value, low, high = part.occupation.values.T[:3]
            label = f"from {minimum}, T = {shown:g}"
            figures.band(a, data.step, value, low, high, colors[minimum], label, linestyle=line)
            last = shown == SHOWN[-1] and minimum == MINIMA[-1]
            figures.theory(a, data.step, part.occupation_exact, "exact" if last else None, linewidth=0.6)
    a.axhline(SHARP / (SHARP + FLAT), color="0.4", linewidth=0.6)
    a.text(OCCUPATION_STEPS, SHARP / (SHARP + FLAT) - 0.02, r"$k_1/(k_1+k_2)$", ha="right", va="top", fontsize=6.5)
    a.set(xlabel="step", ylabel="share on the flat side", ylim=(-0.02, 1.02))
    inverse = 1 / np.array(TEMPERATURES)
    fine = np.linspace(inverse.min(), inverse.max(), 50)
    for minimum in MINIMA:
        part = data.sel(minimum=minimum)
        figures.points(b, inverse, *part.exit.values.T[:3], colors[minimum], f"out of {minimum}")
        last = minimum == MINIMA[-1]
        figures.theory(b, inverse, part.exact, "exact chain" if last else None)
        label = "Eyring–Kramers" if last else None
        figures.theory(b, fine, _kramers(1 / fine, minimum, LR), label, linestyle=":", color="0.35")
    b.set(yscale="log", xlabel="1/T", ylabel="mean exit step")
    for minimum, shift in zip(MINIMA, (-0.12, 0.12), strict=True):
        part = data.sel(minimum=minimum)
        left = part.ladder.values[:, 3] > 0
        where = np.arange(len(LADDER)) + shift
        figures.points(c, where[left], *part.ladder.values[left, :3].T, colors[minimum], f"out of {minimum}")
        label = "exact chain" if minimum == MINIMA[-1] else None
        c.plot(where, part.ladder_exact, "_", color="black", markersize=11, label=label, zorder=5)
        for x in where[~left]:
            c.annotate(
                "", (x, 0.97), (x, 0.72), xycoords=("data", "axes fraction"),
                arrowprops={"arrowstyle": "->", "color": colors[minimum]},
            )  # fmt: skip
    never = data.ladder.values[:, :, 3].max(1) == 0
    for x in np.flatnonzero(never):
        c.text(x, 0.62, "never", transform=c.get_xaxis_transform(), ha="center", fontsize=6.5)
    c.set(yscale="log", ylabel="mean exit step", xlim=(-0.5, len(LADDER) - 0.5))
    c.set_xticks(range(len(LADDER)), [name.replace(" ", "\n") for name in LADDER])
    c.grid(False, axis="x")
    figures.legend_above(a, 2)
    figures.legend_above(b, 2)
    figures.legend_above(c, 3)
    return figure


def claims(data: xr.Dataset) -> list[Claim]:
    """Exit steps and occupations against the exact chain, the ladder, and the limit k₁ : k₂ of the occupation."""
    found = []
    words = dict(zip(TEMPERATURES, ("Coldest", "Cold", "Warm", "Warmest"), strict=True))
    for temperature in TEMPERATURES:
        for minimum in MINIMA:
            part = data.sel(temperature=temperature, minimum=minimum)
            text = f"T = {temperature}: mean exit step out of the {minimum} minimum, against the exact chain"
            name = f"Exit{words[temperature]}{minimum.title()}"
            found.append(claim(name, text, part.exit.values, float(part.exact), 3.5))
            kramers = _kramers(temperature, minimum, LR) / float(part.exact)
            text = f"T = {temperature}: Eyring–Kramers over exact, below 1, out of the {minimum} minimum"
            found.append(fact(f"Kramers{words[temperature]}{minimum.title()}", text, kramers, kramers < 1))
    chains = data.attrs["chains"]
    for shown in SHOWN:
        for minimum in MINIMA:
            part = data.sel(shown=shown, minimum=minimum)
            p = part.occupation_exact.values[1:]
            error = np.sqrt(np.maximum(p * (1 - p), 1 / chains) / chains)
            worst = float(np.abs((part.occupation.values[1:, 0] - p) / error).max())
            text = f"T = {shown}, from {minimum}: largest |z| of the occupation over {len(p)} recorded steps, below 4"
            found.append(fact(f"Occupation{words[shown]}{minimum.title()}", text, worst, worst < 4))
    for name, macro in (("isotropic", "Isotropic"), ("matched Gaussian", "Matched")):
        for minimum in MINIMA:
            part = data.sel(noise=name, minimum=minimum)
            text = f"{name} noise growing with the curvature: mean exit step out of the {minimum} minimum"
            found.append(claim(f"{macro}{minimum.title()}", text, part.ladder.values, float(part.ladder_exact), 3.5))
    for minimum in MINIMA:
        part = data.sel(minimum=minimum)
        true, matched = part.ladder.sel(noise="mini-batch").values, part.ladder.sel(noise="matched Gaussian").values
        text = f"true mini-batches of the same covariance: mean exit step out of the {minimum} minimum"
        found.append(claim(f"MiniBatch{minimum.title()}", text, true))
        ratio = true[0] / matched[0]
        half = ratio * sum(((part[2] - part[1]) / 2 / part[0]) ** 2 for part in (true, matched)) ** 0.5
        text = f"mini-batch over matched Gaussian mean exit step, {minimum} minimum"
        # Out of the flat minimum the two must differ; out of the sharp one there is hardly a barrier.
        holds = bool(ratio - half > 1) if minimum == "flat" else None
        found.append(Claim(f"Ratio{minimum.title()}", text, ratio, ratio - half, ratio + half, None, None, holds))
    left = float(data.ladder.sel(noise="batch GD", part="left").max())
    found.append(fact("GDLeft", "batch GD: share of chains that left either minimum", left, left == 0, 0.0))
    for lr, word in ((0.05, "Coarse"), (0.0125, "Fine"), (0.003125, "Finest")):
        chain = _chain(lr * _noise(TEMPERATURES[-1], lr), lr)
        stationary = chain.stationary()
        ratio = stationary.occupation(0.0, np.inf) / stationary.occupation(-np.inf, 0.0)
        limit = SHARP / FLAT
        holds = abs(ratio - limit) < 0.02 if word == "Finest" else None
        text = f"exact stationary ratio flat : sharp at lr = {lr}, tending to {limit:g}"
        found.append(fact(f"Ratio{word}", text, ratio, holds, limit))
    found.append(fact("Chains", "chains of each run", chains, None))
    return found


if __name__ == "__main__":
    command(__name__)()
