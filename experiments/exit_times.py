"""Exit times from a saddle: survival, the mean against noise and step size, many unstable directions, GD's log law.

True mini-batches, drawn without replacement, on quadratic saddles with additive noise, each started at the saddle.
"""

import numpy as np
import torch
import xarray as xr

from escape import (
    Above,
    FullBatch,
    GradientDescent,
    MiniBatch,
    NormalStart,
    QuadraticSaddle,
    SquaredProjection,
    estimate,
    figures,
    theory,
)
from experiments.common import Claim, Settings, claim, command, fact

CURVATURE, RADIUS, N, BATCH = -1.0, 1.0, 512, 16
STABLE = (0.7, 1.5)
NOISES = (0.003, 0.01, 0.03)
LRS = (0.03, 0.1, 0.3)
DIRECTIONS = (1, 2, 5, 10, 20)
LR, NOISE = 0.1, 0.01
HORIZON = {0.03: 700, 0.1: 260, 0.3: 100}
GD_STARTS = np.logspace(-6, -0.3, 40)


def measure(settings: Settings) -> xr.Dataset:
    """Survival (noise, step), mean exit steps (lr, noise) and (directions), GD's exit steps (start)."""
    chains = settings.pick_chains(2048, 16384, 131072)
    steps = np.arange(HORIZON[LR] + 1)
    curves, means, variances, spread, kicked = [], {}, {}, [], None
    for lr in LRS:
        for noise in NOISES:
            data = _exits(settings, lr, noise, 1, chains)
            means[lr, noise] = estimate.mean_exit_step(data)[:3]
            variances[lr, noise] = estimate.exit_step_variance(data)[:3]
            if lr == LR:
                curve = estimate.survival(data)
                curves.append(curve(steps))
            if (lr, noise) == (LR, NOISE):
                sgd, ks = data, estimate.ks_distance(data, lambda t: theory.survival(t, LR, CURVATURE, NOISE, RADIUS))
    for directions in DIRECTIONS:
        spread.append(estimate.mean_exit_step(_exits(settings, LR, NOISE, directions, chains))[:3])
    kicked = _kicked(settings, chains)
    two = estimate.ks_two_sample(sgd.exit_step, kicked.exit_step, sgd.status, kicked.status)
    starts, left = _descent(settings)
    return xr.Dataset(
        {
            "survival": (("noise", "step"), np.stack(curves)),
            "kicked": ("step", estimate.survival(kicked)(steps)),
            "mean": (("lr", "noise", "part"), np.array([[means[lr, s] for s in NOISES] for lr in LRS])),
            "variance": (("lr", "noise", "part"), np.array([[variances[lr, s] for s in NOISES] for lr in LRS])),
            "mean_directions": (("directions", "part"), np.array(spread)),
            "gd": ("start", left),
        },
        {
            "noise": list(NOISES), "lr": list(LRS), "step": steps, "directions": list(DIRECTIONS), "start": starts,
            "part": ["value", "low", "high"],
        },
        {"chains": chains, "ks": ks.distance, "ks_p": ks.p_value, "two_sample_ks": two.distance,
         "two_sample_p": two.p_value},
    )  # fmt: skip


def _landscape(noise: float, directions: int, seed: int) -> QuadraticSaddle:
    """A saddle whose batch gradient of BATCH samples has standard deviation `noise` along every direction."""
    per_sample = noise / theory.kappa(BATCH, N) ** 0.5
    return QuadraticSaddle.additive([CURVATURE] * directions + list(STABLE), per_sample, N, seed)


def _exits(settings: Settings, lr: float, noise: float, directions: int, chains: int) -> xr.Dataset:
    landscape = _landscape(noise, directions, settings.seed)
    saddle = landscape.critical_points()[0]
    return settings.simulate(
        f"exit_times lr={lr} noise={noise} k={directions}", landscape, MiniBatch(BATCH), GradientDescent(lr),
        saddle.location, steps=3 * HORIZON[lr], chains=chains,
        until=Above(SquaredProjection(saddle, saddle.unstable), RADIUS**2),
    )  # fmt: skip


def _kicked(settings: Settings, chains: int) -> xr.Dataset:
    """Batch GD from the normal kick that should be worth SGD's noise."""
    landscape = _landscape(NOISE, 1, settings.seed)
    saddle = landscape.critical_points()[0]
    start = NormalStart(saddle.location, theory.kick_std(LR, CURVATURE, NOISE), saddle.unstable[:, 0])
    return settings.simulate(
        "exit_times GD kicked", landscape, FullBatch(), GradientDescent(LR), start, steps=3 * HORIZON[LR],
        chains=chains, until=Above(SquaredProjection(saddle, saddle.unstable), RADIUS**2),
    )  # fmt: skip


def _descent(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Batch GD from a grid of distances along the escape direction."""
    landscape = _landscape(NOISE, 1, settings.seed)
    saddle = landscape.critical_points()[0]
    starts = torch.as_tensor(GD_STARTS)[:, None] * saddle.unstable[:, 0]
    data = settings.simulate(
        "exit_times GD", landscape, FullBatch(), GradientDescent(LR), starts, steps=HORIZON[LR], chains=len(starts),
        until=Above(SquaredProjection(saddle, saddle.unstable), RADIUS**2), block=len(starts),
    )  # fmt: skip
    return GD_STARTS, data.exit_step.values


def draw(data: xr.Dataset):
    """(a) survival; (b) mean against noise at three step sizes; (c) mean against directions; (d) GD's log law."""
    figure, (a, b, c, d) = figures.panels(4, height=1.75)
    steps = data.step.values
    for color, noise in zip(figures.PALETTE, NOISES, strict=False):
        a.step(steps, data.survival.sel(noise=noise), where="post", color=color, label=rf"$\sigma_b$ = {noise}")
        law = theory.survival(steps, LR, CURVATURE, noise, RADIUS)
        figures.theory(a, steps, law, "theory" if noise == NOISES[-1] else None, drawstyle="steps-post")
    thin = slice(None, None, 8)
    a.plot(steps[thin], data.kicked[thin], "o", mfc="white", color=figures.PALETTE[1], label=r"GD from $N(0,s^2)$")
    a.set(xlabel="step t", ylabel=r"$P(\tau > t)$", xlim=(0, 180))
    fine = np.geomspace(NOISES[0], NOISES[-1], 50)
    for color, lr in zip(figures.PALETTE, LRS, strict=False):
        figures.points(b, list(NOISES), *data["mean"].sel(lr=lr).values.T, color, rf"$\eta$ = {lr}")
        label = "theory" if lr == LRS[-1] else None
        figures.theory(b, fine, theory.mean_exit_step(lr, CURVATURE, fine, RADIUS), label)
    b.set(xscale="log", yscale="log", xlabel=r"noise $\sigma_b$", ylabel=r"$E\,\tau$ (steps)")
    b.set_xticks(list(NOISES), [str(noise) for noise in NOISES])
    b.set_yticks([20, 50, 100, 200], ["20", "50", "100", "200"])
    b.minorticks_off()
    figures.points(c, list(DIRECTIONS), *data.mean_directions.values.T, figures.PALETTE[0], "SGD")
    predicted = [theory.mean_exit_step(LR, CURVATURE, NOISE, RADIUS, directions=k) for k in DIRECTIONS]
    figures.theory(c, list(DIRECTIONS), predicted, "theory")
    c.set(xscale="log", xlabel="unstable directions k", ylabel=r"$E\,\tau$ (steps)")
    c.set_xticks(list(DIRECTIONS), [str(k) for k in DIRECTIONS])
    c.minorticks_off()
    d.plot(data.start, data.gd, ".", color=figures.PALETTE[0], label="batch GD")
    fine = np.geomspace(GD_STARTS[0], GD_STARTS[-1], 2000)
    law = [theory.gd_exit_step(LR, CURVATURE, RADIUS, x) for x in fine]
    figures.theory(d, fine, law, r"$\lceil \ln(R/|x_0|)/\ln a \rceil$", linestyle="-", linewidth=0.5)
    d.set(xscale="log", xlabel=r"start $|x_0|$", ylabel="exit step")
    for ax, columns in ((a, 3), (b, 4), (c, 2), (d, 2)):
        figures.legend_above(ax, columns)
    return figure


def claims(data: xr.Dataset) -> list[Claim]:
    """Means, variance and law of the exit step, directions, and GD step for step."""
    found = []
    words = {0.003: "Low", 0.01: "Mid", 0.03: "High"}
    for lr in LRS:
        for noise in NOISES:
            predicted = theory.mean_exit_step(lr, CURVATURE, noise, RADIUS)
            name = f"Mean{ {0.03: 'Small', 0.1: 'Medium', 0.3: 'Large'}[lr] }Step{words[noise]}Noise".replace(" ", "")
            text = f"mean exit step at lr = {lr}, noise {noise}"
            found.append(claim(name, text, data["mean"].sel(lr=lr, noise=noise).values, predicted, 3.5))
    variance = data.variance.sel(lr=LR, noise=NOISE).values
    text = f"variance of the exit step at lr = {LR}, noise {NOISE}"
    found.append(claim("Variance", text, variance, theory.exit_step_variance(LR, CURVATURE)))
    text = "KS distance of the exit law to theory, p above 0.001"
    found.append(fact("KS", text, data.attrs["ks"], data.attrs["ks_p"] > 1e-3))
    text = "KS distance between SGD's exits and GD's from N(0, s²), p above 0.001"
    found.append(fact("TwoSampleKS", text, data.attrs["two_sample_ks"], data.attrs["two_sample_p"] > 1e-3))
    for directions in DIRECTIONS[1:]:
        predicted = theory.mean_exit_step(LR, CURVATURE, NOISE, RADIUS, directions=directions)
        name = f"Mean{ {2: 'Two', 5: 'Five', 10: 'Ten', 20: 'Twenty'}[directions] }Directions".replace(" ", "")
        text = f"mean exit step with {directions} unstable directions"
        found.append(claim(name, text, data.mean_directions.sel(directions=directions).values, predicted, 3.5))
    law = np.array([theory.gd_exit_step(LR, CURVATURE, RADIUS, x) for x in data.start.values])
    off = int((law != data.gd.values).sum())
    text = f"batch GD: starts of {len(law)} whose exit step is not the predicted one"
    found.append(fact("GDOff", text, off, off == 0))
    found.append(fact("Chains", "chains of each run", data.attrs["chains"], None))
    return found


if __name__ == "__main__":
    command(__name__)()
