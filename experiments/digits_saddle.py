"""Saddles of real data: rank-one factorization of handwritten digits, with real mini-batches of 1 to all 1797 images.

At the saddle √μ₂ v₂ noise survives (type I): the mean square along v₁ beside the exact linearised recursion, its
growth rate against the batch size, and exit steps. At the origin every gradient vanishes (type II): the mean square
grows at the rate ln ρ of the second-moment operator, a typical chain at twice the Lyapunov exponent γ.
"""

import numpy as np
import xarray as xr

from escape import (
    Above,
    CriticalPoint,
    FullBatch,
    GradientDescent,
    MiniBatch,
    Projection,
    RankOneFactorization,
    SecondOrder,
    SquaredDistance,
    SquaredProjection,
    estimate,
    figures,
    theory,
)
from experiments.common import Claim, Settings, claim, command, fact

# At this distance along v₁ the quartic term changes the drift by R²/(μ₁ − μ₂) = 0.0099.
RADIUS = 0.0451
SLOW_LR = 2e-3
# Learning rates so small that the quartic, too, changes the mean drift by under 1% throughout.
GROWTH = {1: (5e-4, 3000), 32: (SLOW_LR, 2500)}
RATE_LR, RATE_BATCHES, RATE_STEPS, RATE_WINDOW = 0.02, (1, 8), 1200, (800, 1200)
RATE_CURVE = (1, 2, 4, 8, 16, 64, 1797)
EXIT_LR, EXIT_BATCHES = 0.01, (1, 8, 32, 128, 512)
GD_STEPS = 3000
ORIGIN_LR, ORIGIN_STEPS, ORIGIN_WINDOW, ORIGIN_START = 0.02, 1000, (300, 1000), 1e-12
WORDS = {1: "One", 8: "Eight", 32: "ThirtyTwo", 128: "OneTwentyEight", 512: "FiveTwelve", 1797: "All"}
ALL = 1797


def measure(settings: Settings) -> xr.Dataset:
    """Growth (batch_size, step), rates (rate_batch), exits (exit_batch) at the saddle; both growths at the origin."""
    digits = RankOneFactorization.digits()
    origin, saddle = digits.critical_points()[0], digits.critical_points()[3]
    hessians, tilts = digits.sample_hessians(saddle.location).numpy(), digits.sample_gradients(saddle.location)
    sums = {"hessians": hessians, "tilts": (tilts - tilts.mean(0)).numpy()}
    data = xr.merge(
        [
            _slow_growth(settings, digits, saddle, sums),
            _rates(settings, digits, saddle, sums),
            _exits(settings, digits, saddle),
            _origin(settings, digits, origin),
        ],
        combine_attrs="no_conflicts",
    )
    mu = digits.spectrum[0]
    data.attrs |= {
        "gap": float(mu[0] - mu[1]), "noise": float(digits.noise_along(saddle.location, saddle.unstable[:, 0])) ** 0.5,
        "drift_change": RADIUS**2 / float(mu[0] - mu[1]), "saddle_type": saddle.noise, "origin_type": origin.noise,
    }  # fmt: skip
    return data


def _moments(lr: float, batch_size: int, saddle: CriticalPoint, sums: dict, steps: int) -> np.ndarray:
    """E (v₁ᵀδ)² at every step by the exact recursion of the linearised finite sum, from the saddle."""
    operator = theory.second_moment(sums["hessians"], lr, batch_size, tilts=sums["tilts"])
    direction = saddle.unstable[:, 0].numpy()
    return np.einsum("i,tij,j->t", direction, operator.evolve(steps)[1], direction)


def _slow_growth(settings, digits, saddle, sums) -> xr.Dataset:
    """On the digits' landscape itself, at step sizes small enough for it to be linear."""
    parts, exact, bent, times = [], [], [], []
    for (batch_size, (lr, steps)), chains in zip(GROWTH.items(), ((256, 4096, 16384), (256, 1024, 8192)), strict=True):
        every = steps // 25
        chains = settings.pick_chains(*chains)
        data = settings.simulate(
            f"digits_saddle growth b={batch_size}", digits, MiniBatch(batch_size), GradientDescent(lr),
            saddle.location, steps=steps, every=every, chains=chains, block=min(chains, 512),
            observe={"v": Projection(saddle, saddle.unstable[:, 0]), "norm": SquaredDistance(0 * saddle.location)},
        )  # fmt: skip
        parts.append(_mean_square(data.v))
        exact.append(_moments(lr, batch_size, saddle, sums, steps)[::every])
        bent.append(np.abs(data.norm.mean("chain") - float(saddle.location @ saddle.location)).max())
        times.append(lr * data.step.values)
    return xr.Dataset(
        {
            "slow": (("batch_size", "part", "record"), np.stack(parts)),
            "slow_exact": (("batch_size", "record"), np.stack(exact)),
            "slow_bent": ("batch_size", np.array(bent)),
            "slow_time": (("batch_size", "record"), np.stack(times)),
        },
        {"batch_size": list(GROWTH), "part": ["value", "low", "high", "error"]},
    )


def _rates(settings, digits, saddle, sums) -> xr.Dataset:
    """Growth rates on the second-order landscape, at a step size where the samples' curvatures count."""
    linear = SecondOrder(digits, saddle)
    every = 20
    rates, worst = [], []
    for batch_size in RATE_BATCHES:
        chains = settings.pick_chains(256, 1024, 8192)
        data = settings.simulate(
            f"digits_saddle rate b={batch_size}", linear, MiniBatch(batch_size), GradientDescent(RATE_LR),
            saddle.location, steps=RATE_STEPS, every=every, chains=chains, block=min(chains, 512),
            observe={"v": Projection(saddle, saddle.unstable[:, 0])},
        )  # fmt: skip
        value, _, _, error = _mean_square(data.v)
        exact = _moments(RATE_LR, batch_size, saddle, sums, RATE_STEPS)
        worst.append(np.abs((value - exact[::every])[1:] / error[1:]).max())
        first, last = RATE_WINDOW
        slope = float(np.log(exact[last] / exact[first]) / (last - first))
        rates.append([*_window_rate(data.v.sel(step=list(RATE_WINDOW)).values, last - first), slope])
    curve = [theory.second_moment(sums["hessians"], RATE_LR, b).log_rate for b in RATE_CURVE]
    return xr.Dataset(
        {
            "rate": (("rate_batch", "rate_part"), np.array(rates)),
            "rate_worst": ("rate_batch", np.array(worst)),
            "rate_exact": ("curve_batch", np.array(curve)),
        },
        {"rate_batch": list(RATE_BATCHES), "curve_batch": list(RATE_CURVE),
         "rate_part": ["value", "low", "high", "exact"]},
    )  # fmt: skip


def _window_rate(ends: np.ndarray, steps: int, groups: int = 32) -> list[float]:
    """Slope of ln E v² between two steps, (2, c) values of v, with its interval from a jackknife over chains.

    The mean square here has several modes, so the affine recursion that `estimate.growth_rate` fits does not hold.
    """
    squares = np.stack([part.sum(1) for part in np.array_split(ends**2, groups, axis=1)])
    total = squares.sum(0)
    value = float(np.log(total[1] / total[0]) / steps)
    left_out = np.log((total - squares)[:, 1] / (total - squares)[:, 0]) / steps
    error = float(((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum()) ** 0.5)
    return [value, value - 1.96 * error, value + 1.96 * error]


def _exits(settings, digits, saddle) -> xr.Dataset:
    """Exit steps against the batch size, at b = 32 also at the small step size, and batch GD."""
    until = Above(SquaredProjection(saddle, saddle.unstable), RADIUS**2)

    def exits(oracle, lr, steps, chains, block):
        label = f"digits_saddle exits {oracle} lr={lr}"
        return settings.simulate(
            label, digits, oracle, GradientDescent(lr), saddle.location, steps=steps, chains=chains, until=until,
            block=block,
        )  # fmt: skip

    means = []
    for batch_size in EXIT_BATCHES:
        chains = settings.pick_chains(64, {128: 256, 512: 64}.get(batch_size, 512), 2048)
        data = exits(MiniBatch(batch_size), EXIT_LR, 12000, chains, min(chains, 256))
        means.append(estimate.mean_exit_step(data)[:3])
    chains = settings.pick_chains(64, 512, 4096)
    slow = exits(MiniBatch(32), SLOW_LR, 80000, chains, min(chains, 256))
    curve = estimate.survival(slow)
    grid = np.linspace(0, 20000, 201).astype(int)
    gd = exits(FullBatch(), EXIT_LR, GD_STEPS, 1, 1)
    return xr.Dataset(
        {
            "exit": (("exit_batch", "exit_part"), np.array(means)),
            "slow_exit": ("exit_part", np.array(estimate.mean_exit_step(slow)[:3])),
            "slow_survival": ("exit_step", curve(grid)),
            "gd_left": ((), int(gd.status[0] == 1)),
        },
        {"exit_batch": list(EXIT_BATCHES), "exit_part": ["value", "low", "high"], "exit_step": grid},
    )


def _origin(settings, digits, origin) -> xr.Dataset:
    """Growth of ‖x‖² from a tiny start at the type II origin, one image a step."""
    every = 10
    step = np.arange(0, ORIGIN_STEPS + 1, every)
    start = ORIGIN_START * digits.spectrum[1][:, 0]
    data = settings.simulate(
        "digits_saddle origin", digits, MiniBatch(1), GradientDescent(ORIGIN_LR), start, steps=ORIGIN_STEPS,
        every=every, chains=settings.pick_chains(512, 4096, 65536), observe={"square": SquaredDistance(origin)},
    )  # fmt: skip
    norm = np.sqrt(data.square)
    hessians = digits.sample_hessians(origin.location).numpy()
    operator = theory.second_moment(hessians, ORIGIN_LR, 1)
    exact = np.trace(operator.evolve(ORIGIN_STEPS, start.numpy())[1], axis1=1, axis2=2)[::every]
    gamma, gamma_error = theory.lyapunov_exponent_product(
        None, ORIGIN_LR, 1, steps=settings.pick(500, 3000, 20000), chains=64, factors=digits.data.numpy(), sign=-1.0
    )
    mean, log = estimate.mean_square(norm), estimate.mean_log_square(norm)
    first, last = (int(np.flatnonzero(step == s)[0]) for s in ORIGIN_WINDOW)
    slopes = np.diff(np.log(data.square.values[[first, last]]), axis=0)[0] / (ORIGIN_WINDOW[1] - ORIGIN_WINDOW[0])
    half = 1.96 * slopes.std(ddof=1) / len(slopes) ** 0.5
    return xr.Dataset(
        {
            "origin_mean": (("bound", "origin_step"), np.stack(mean[:3])),
            "origin_error": ("origin_step", estimate.mean_square_standard_error(norm)),
            "origin_log": (("bound", "origin_step"), np.stack(log[:3])),
            "origin_exact": ("origin_step", exact),
            "origin_share": ("origin_step", estimate.largest_share(norm)),
            "origin_typical": ("bound", np.array([slopes.mean(), slopes.mean() - half, slopes.mean() + half])),
        },
        {"origin_step": step, "bound": ["value", "low", "high"]},
        {"log_rho": operator.log_rate, "gamma": float(gamma), "gamma_error": float(gamma_error)},
    )


def _mean_square(v) -> np.ndarray:
    found = estimate.mean_square(v)
    return np.stack([found.value, found.low, found.high, estimate.mean_square_standard_error(v)])


def _batch_noise(data: xr.Dataset, batch_size: int) -> float:
    return data.attrs["noise"] * theory.kappa(batch_size, ALL) ** 0.5


def _exact_exit(data: xr.Dataset, lr: float, batch_size: int) -> float:
    """Mean exit step of the linear chain with Gaussian noise of the exact variance, at any R/s."""
    a, noise = theory.growth_factor(lr, -data.attrs["gap"]), _batch_noise(data, batch_size)
    chain = theory.GaussianChain(lambda x: a * x, lr * noise, -RADIUS, RADIUS)
    return float(chain.mean_exit_step(0.0, -RADIUS, RADIUS))


def draw(data: xr.Dataset):
    """(a) growth at the saddle; (b) rate against b; (c) exits; (d) both growths at the origin."""
    figure, (a, b, c, d) = figures.panels(4, height=1.9)
    for color, (batch_size, (lr, _)) in zip(figures.PALETTE, GROWTH.items(), strict=False):
        part = data.sel(batch_size=batch_size)
        value, low, high, _ = part.slow.values[:, 1:]
        figures.band(a, part.slow_time[1:], value, low, high, color, rf"SGD, b = {batch_size}, $\eta$ = {lr}")
        label = "exact linearised recursion" if batch_size == 32 else None
        figures.theory(a, part.slow_time[1:], part.slow_exact[1:], label)
    a.set(yscale="log", xlabel=r"$\eta\,t$", ylabel=r"$E\,(v_1^T(x-x^*))^2$")
    figures.theory(b, data.curve_batch, data.rate_exact, r"$\ln\rho$, exact", marker=".")
    b.axhline(theory.growth_rate(RATE_LR, -data.attrs["gap"]), color="0.4", linewidth=0.8, label=r"$2\ln a$")
    figures.points(b, RATE_BATCHES, *data.rate.values.T[:3], figures.PALETTE[0], "SGD, linearised")
    b.set(xscale="log", xlabel=rf"batch size b ($\eta$ = {RATE_LR})", ylabel="growth rate per step")
    figures.points(c, EXIT_BATCHES, *data.exit.values.T, figures.PALETTE[0], "SGD")
    fine = np.unique(np.geomspace(1, 1700, 40).astype(int))
    figures.theory(c, fine, [_exact_exit(data, EXIT_LR, int(k)) for k in fine], "Gaussian linear chain, exact")
    if not int(data.gd_left):
        c.axvline(ALL, color=figures.PALETTE[3], linewidth=0.8, linestyle=":", label="b = n, batch GD: never")
    c.set(xscale="log", yscale="log", xlabel=rf"batch size b ($\eta$ = {EXIT_LR})", ylabel="mean exit step")
    step = data.origin_step
    mean, log = data.origin_mean.values, data.origin_log.values
    figures.band(d, step, *np.log(mean), figures.PALETTE[0], r"$\ln E\|x\|^2$")
    figures.theory(d, step, np.log(data.origin_exact), "exact recursion")
    figures.band(d, step, *log, figures.PALETTE[1], r"$E\,\ln\|x\|^2$")
    late = step.values >= ORIGIN_WINDOW[0]
    line = log[0][late][0] + 2 * data.attrs["gamma"] * (step.values[late] - ORIGIN_WINDOW[0])
    figures.theory(d, step[late], line, r"slope $2\gamma$", linestyle=":")
    d.set(xlabel=rf"step ($\eta$ = {ORIGIN_LR}, b = 1)", ylabel=r"$\ln\|x\|^2$ at the origin")
    for ax in (a, b, c, d):
        figures.legend_above(ax, 2)
    return figure


def claims(data: xr.Dataset) -> list[Claim]:
    """The saddle's growth, rates and exits, and the origin's two rates."""
    found = []
    text = "drift changed by the quartic at the exit radius, below 0.01"
    found.append(fact("DriftChange", text, data.attrs["drift_change"], data.attrs["drift_change"] < 0.01))
    found.append(fact("Gap", "μ₁ − μ₂, with μ₁ = 1", data.attrs["gap"], True))
    for batch_size in GROWTH:
        part = data.sel(batch_size=batch_size)
        value, _, _, error = part.slow.values[:, 1:]
        worst = np.abs((value - part.slow_exact.values[1:]) / error).max()
        text = f"b = {batch_size}: largest |z| against the exact recursion over {len(value)} recorded steps, below 4"
        found.append(fact(f"GrowthWorstZ{WORDS[batch_size]}", text, worst, worst < 4))
        bent = float(part.slow_bent) / data.attrs["gap"]
        text = f"b = {batch_size}: mean change of the drift along v₁ by the quartic at any step, below 0.01"
        found.append(fact(f"Bent{WORDS[batch_size]}", text, bent, bent < 0.01))
    rate = theory.growth_rate(RATE_LR, -data.attrs["gap"])
    for batch_size in RATE_BATCHES:
        part = data.sel(rate_batch=batch_size)
        log_rho = float(data.rate_exact.sel(curve_batch=batch_size))
        value = part.rate.values
        text = f"b = {batch_size}: growth rate over steps {RATE_WINDOW[0]}–{RATE_WINDOW[1]}, linearised landscape"
        found.append(claim(f"Rate{WORDS[batch_size]}", text, value[:3], value[3]))
        found.append(fact(f"LogRho{WORDS[batch_size]}", f"b = {batch_size}: ln ρ per step", log_rho, True))
        worst = float(part.rate_worst)
        text = f"b = {batch_size}: largest |z| on the linearised landscape, below 4"
        found.append(fact(f"RateWorstZ{WORDS[batch_size]}", text, worst, worst < 4))
        text = f"b = {batch_size}: ln ρ over 2 ln a"
        found.append(fact(f"RateOverGD{WORDS[batch_size]}", text, log_rho / rate, log_rho > rate))
    low = float(data.rate.sel(rate_batch=1, rate_part="low"))
    text = "b = 1: measured growth rate over 2 ln a, its interval above 1"
    found.append(fact("MeasuredOverGDOne", text, float(data.rate.values[0, 0]) / rate, low > rate))
    text = "all images: ln ρ over 2 ln a, tending to 1"
    ratio = float(data.rate_exact.sel(curve_batch=ALL)) / rate
    found.append(fact("RateOverGDAll", text, ratio, abs(ratio - 1) < 1e-9, 1.0))
    noise = _batch_noise(data, 32)
    s = theory.kick_std(SLOW_LR, -data.attrs["gap"], noise)
    found.append(fact("RadiusOverKick", f"b = 32, lr = {SLOW_LR}: R/s", RADIUS / s, True))
    law = theory.mean_exit_step(SLOW_LR, -data.attrs["gap"], noise, RADIUS)
    text = f"b = 32, lr = {SLOW_LR}: mean exit step, against the law"
    found.append(claim("SlowExit", text, data.slow_exit.values, law))
    exact = _exact_exit(data, SLOW_LR, 32)
    text = f"b = 32, lr = {SLOW_LR}: mean exit step, against the exact Gaussian chain"
    found.append(claim("SlowExitChain", text, data.slow_exit.values, exact))
    for batch_size in EXIT_BATCHES:
        exact = _exact_exit(data, EXIT_LR, batch_size)
        text = f"b = {batch_size}, lr = {EXIT_LR}: mean exit step over that of the Gaussian linear chain"
        value = data.exit.sel(exit_batch=batch_size).values / exact
        found.append(claim(f"ExitRatio{WORDS[batch_size]}", text, value))
    left = int(data.gd_left)
    text = f"all images, batch GD from the computed saddle: chains that left in {GD_STEPS} steps"
    found.append(fact("GDLeft", text, left, left == 0, 0.0))
    value = data.origin_mean.values[0][1:]
    reliable = data.origin_share.values[1:] < 0.05
    worst = np.abs((value - data.origin_exact.values[1:]) / data.origin_error.values[1:])[reliable].max()
    text = "origin (type II): largest |z| of the mean square against the exact recursion, below 4"
    found.append(fact("OriginWorstZ", text, worst, worst < 4 and data.attrs["origin_type"] == "II"))
    found.append(fact("OriginLogRho", "origin: ln ρ per step", data.attrs["log_rho"], True))
    error = 1.96 * 2 * data.attrs["gamma_error"]
    gamma = 2 * data.attrs["gamma"]
    text = "origin: 2γ by the product of random matrices, below ln ρ"
    found.append(Claim("OriginTwoGamma", text, gamma, gamma - error, gamma + error, None, None,
                       bool(gamma < data.attrs["log_rho"])))  # fmt: skip
    typical = data.origin_typical.values
    spread = ((typical[2] - typical[1]) ** 2 / 4 + error**2) ** 0.5
    both = (typical[0], typical[0] - spread, typical[0] + spread)
    found.append(claim("OriginTypical", "origin: growth rate of E ln‖x‖², against 2γ", both, gamma, 3.5))
    return found


if __name__ == "__main__":
    command(__name__)()
