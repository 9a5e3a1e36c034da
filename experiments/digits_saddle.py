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
    GradientDescent,
    MiniBatch,
    Projection,
    RankOneFactorization,
    SquaredDistance,
    SquaredProjection,
    estimate,
    figures,
    second_order,
    theory,
)
from experiments.common import Claim, Settings, claim, command, fact

# At this distance along v₁ the quartic term changes the drift by R²/(μ₁ − μ₂) = 0.0099.
RADIUS = 0.0451
SLOW_LR = 2e-3
# Learning rates so small that the quartic, too, changes the mean drift by under 1% throughout.
GROWTH = {1: (5e-4, 2000), 32: (SLOW_LR, 2000)}
RATE_LR, RATE_BATCHES, RATE_STEPS = 0.01, (1, 8), 1200
RATE_CHAINS = {1: (256, 4096, 32768), 8: (256, 2048, 32768)}
RATE_CURVE = (1, 8, 1797)
EXIT_LR, EXIT_BATCHES = 0.01, (1, 8, 32, 128)
GD_STEPS = 3000
ORIGIN_LR, ORIGIN_STEPS, ORIGIN_WINDOW, ORIGIN_START = 0.005, 3000, (1200, 3000), 1e-10
WORDS = {1: "One", 8: "Eight", 32: "ThirtyTwo", 128: "OneTwentyEight"}
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
        "gap": float(mu[0] - mu[1]), "noise": _noise(digits, saddle),
        "drift_change": RADIUS**2 / float(mu[0] - mu[1]), "origin_type": origin.noise,
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
        shift = data.norm.values[1:] - float(saddle.location @ saddle.location)
        worst = np.abs(shift.mean(1)).argmax()
        bent.append([abs(shift[worst].mean()), shift[worst].std(ddof=1) / chains**0.5])
        times.append(lr * data.step.values)
    return xr.Dataset(
        {
            "slow": (("batch_size", "part", "record"), np.stack(parts)),
            "slow_exact": (("batch_size", "record"), np.stack(exact)),
            "slow_bent": (("batch_size", "bent_part"), np.array(bent)),
            "slow_time": (("batch_size", "record"), np.stack(times)),
        },
        {"batch_size": list(GROWTH), "part": ["value", "low", "high", "error"]},
    )


def _rates(settings, digits, saddle, sums) -> xr.Dataset:
    """Growth on the second-order landscape, at a step size where the samples' own curvatures count.

    Additive noise alone would give the curve that grows at 2 ln a; the ratio to it is what the curvatures add.
    """
    linear = second_order(digits, saddle)
    every = 40
    step = np.arange(0, RATE_STEPS + 1, every)
    parts, ratios = [], []
    for batch_size in RATE_BATCHES:
        chains = settings.pick_chains(*RATE_CHAINS[batch_size])
        data = settings.simulate(
            f"digits_saddle rate b={batch_size}", linear, MiniBatch(batch_size), GradientDescent(RATE_LR),
            saddle.location, steps=RATE_STEPS, every=every, chains=chains, block=min(chains, 1024),
            observe={"v": Projection(saddle, saddle.unstable[:, 0])},
        )  # fmt: skip
        noise = _noise(digits, saddle) * theory.kappa(batch_size, digits.n) ** 0.5
        additive = theory.mean_square(step, RATE_LR, float(saddle.eigenvalues[0]), noise)
        additive[0] = np.nan  # zero over zero, at the saddle itself
        parts.append(_mean_square(data.v) / additive)
        ratios.append(_moments(RATE_LR, batch_size, saddle, sums, RATE_STEPS)[::every] / additive)
    curve = [theory.second_moment(sums["hessians"], RATE_LR, b).log_rate for b in RATE_CURVE]
    return xr.Dataset(
        {
            "ratio": (("rate_batch", "part", "rate_step"), np.stack(parts)),
            "ratio_exact": (("rate_batch", "rate_step"), np.stack(ratios)),
            "log_rho": ("curve_batch", np.array(curve)),
        },
        {"rate_batch": list(RATE_BATCHES), "curve_batch": list(RATE_CURVE), "rate_step": step},
        {"rate_chains": settings.pick_chains(*RATE_CHAINS[1])},
    )


def _noise(digits, saddle) -> float:
    """Standard deviation of one sample's gradient along v₁."""
    return float(digits.noise_along(saddle.location, saddle.unstable[:, 0])) ** 0.5


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
        chains = settings.pick_chains(64, 128 if batch_size == 128 else 512, 2048)
        data = exits(MiniBatch(batch_size), EXIT_LR, 12000, chains, max(64, chains // 2))
        means.append(estimate.mean_exit_step(data)[:3])
    chains = settings.pick_chains(32, 256, 4096)
    slow = exits(MiniBatch(32), SLOW_LR, 80000, chains, min(chains, 128))
    gd, later = (exits(MiniBatch(ALL), EXIT_LR, steps, 1, 1) for steps in (GD_STEPS, GD_STEPS + 1))
    return xr.Dataset(
        {
            "exit": (("exit_batch", "exit_part"), np.array(means)),
            "slow_exit": ("exit_part", np.array(estimate.mean_exit_step(slow)[:3])),
            "gd_left": ((), int(gd.status[0] == 1)),
            "gd_moving": ((), int((gd.final != later.final).sum())),
        },
        {"exit_batch": list(EXIT_BATCHES), "exit_part": ["value", "low", "high"]},
    )


def _origin(settings, digits, origin) -> xr.Dataset:
    """Growth of ‖x‖² from a tiny start at the type II origin, one image a step."""
    every = 40
    step = np.arange(0, ORIGIN_STEPS + 1, every)
    start = ORIGIN_START * digits.spectrum[1][:, 0]
    data = settings.simulate(
        "digits_saddle origin", digits, MiniBatch(1), GradientDescent(ORIGIN_LR), start, steps=ORIGIN_STEPS,
        every=every, chains=settings.pick_chains(256, 2048, 65536), observe={"square": SquaredDistance(origin)},
    )  # fmt: skip
    norm = np.sqrt(data.square)
    hessians = digits.sample_hessians(origin.location).numpy()
    operator = theory.second_moment(hessians, ORIGIN_LR, 1)
    exact = np.trace(operator.evolve(ORIGIN_STEPS, start.numpy())[1], axis1=1, axis2=2)[::every]
    gamma, gamma_error = theory.lyapunov_exponent_product(
        None, ORIGIN_LR, 1, steps=settings.pick(40000, 40000, 200000), chains=64, factors=digits.data.numpy(), sign=-1.0
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
    """(a) growth at the saddle; (b) what multiplicative noise adds; (c) exits; (d) both growths at the origin."""
    figure, (a, b, c, d) = figures.panels(4, height=1.9)
    for color, (batch_size, (lr, _)) in zip(figures.PALETTE, GROWTH.items(), strict=False):
        part = data.sel(batch_size=batch_size)
        value, low, high, _ = part.slow.values[:, 1:]
        figures.band(a, part.slow_time[1:], value, low, high, color, rf"SGD, b = {batch_size}, $\eta$ = {lr}")
        label = "exact linearised recursion" if batch_size == 32 else None
        figures.theory(a, part.slow_time[1:], part.slow_exact[1:], label)
    a.set(yscale="log", xlabel=r"$\eta\,t$", ylabel=r"$E\,(v_1^T(x-x^*))^2$")
    for color, batch_size in zip((figures.PALETTE[0], figures.PALETTE[2]), RATE_BATCHES, strict=True):
        part = data.sel(rate_batch=batch_size)
        value, low, high, _ = part.ratio.values[:, 1:]
        figures.band(b, part.rate_step[1:], value, low, high, color, f"SGD, linearised, b = {batch_size}")
        label = "exact linearised recursion" if batch_size == RATE_BATCHES[-1] else None
        figures.theory(b, part.rate_step[1:], part.ratio_exact[1:], label)
    b.axhline(1, color="0.4", linewidth=0.8, label=r"additive noise alone: rate $2\ln a$")
    b.set(xlabel=rf"step ($\eta$ = {RATE_LR})", ylabel=r"$E\,(v_1^T\delta)^2$ / additive")
    figures.points(c, EXIT_BATCHES, *data.exit.values.T, figures.PALETTE[0], "SGD")
    fine = np.unique(np.geomspace(1, 1700, 40).astype(int))
    figures.theory(c, fine, [_exact_exit(data, EXIT_LR, int(k)) for k in fine], "Gaussian linear chain, exact")
    if not int(data.gd_left):
        c.axvline(ALL, color=figures.PALETTE[3], linewidth=0.8, linestyle=":", label="b = n, batch GD: never")
    c.set(xscale="log", yscale="log", xlabel=rf"batch size b ($\eta$ = {EXIT_LR})", ylabel="mean exit step")
    step = data.origin_step.values
    # Less the almost sure growth, which both share: what is left is what sets them apart.
    trend = 2 * data.attrs["gamma"] * step + 2 * np.log(ORIGIN_START)
    mean = np.log(data.origin_mean.values) - trend
    figures.band(d, step, *mean, figures.PALETTE[0], r"$\ln E\|x\|^2$")
    figures.theory(d, step, np.log(data.origin_exact) - trend, "exact recursion")
    figures.band(d, step, *(data.origin_log.values - trend), figures.PALETTE[1], r"$E\,\ln\|x\|^2$")
    late = step >= ORIGIN_WINDOW[0]
    level = (data.origin_log.values[0] - trend)[late][0]
    figures.theory(d, step[late], np.full(late.sum(), level), r"slope $2\gamma$", linestyle=":")
    d.set(xlabel=rf"step ($\eta$ = {ORIGIN_LR}, b = 1)", ylabel=r"origin, less $2\gamma t$")
    for ax in (a, b, c, d):
        figures.legend_above(ax, 2)
    return figure


def claims(data: xr.Dataset) -> list[Claim]:
    """The saddle's growth, rates and exits, and the origin's two rates."""
    found = []
    text = "drift changed by the quartic at the exit radius, below 0.01"
    found.append(fact("DriftChange", text, data.attrs["drift_change"], None))
    found.append(fact("Gap", "μ₁ − μ₂, with μ₁ = 1", data.attrs["gap"], None))
    for batch_size in GROWTH:
        part = data.sel(batch_size=batch_size)
        value, _, _, error = part.slow.values[:, 1:]
        worst = np.abs((value - part.slow_exact.values[1:]) / error).max()
        text = f"b = {batch_size}: largest |z| against the exact recursion over {len(value)} recorded steps, below 4"
        found.append(fact(f"GrowthWorstZ{WORDS[batch_size]}", text, worst, worst < 4))
        bent, error = part.slow_bent.values / data.attrs["gap"]
        low, high = bent - 1.96 * error, bent + 1.96 * error
        text = f"b = {batch_size}: mean change of the drift along v₁ by the quartic at any step, not above 0.01"
        found.append(Claim(f"Bent{WORDS[batch_size]}", text, bent, low, high, None, None, bool(low < 0.01)))
    rate = theory.growth_rate(RATE_LR, -data.attrs["gap"])
    for batch_size in RATE_BATCHES:
        part = data.sel(rate_batch=batch_size)
        value, low, high, error = part.ratio.values[:, 1:]
        exact = part.ratio_exact.values[1:]
        worst = np.abs((value - exact) / error).max()
        text = f"b = {batch_size}: largest |z| on the linearised landscape over {len(value)} recorded steps, below 4"
        found.append(fact(f"RatioWorstZ{WORDS[batch_size]}", text, worst, worst < 4))
        text = f"b = {batch_size}: mean square at step {RATE_STEPS} over that of additive noise alone"
        found.append(claim(f"Ratio{WORDS[batch_size]}", text, (value[-1], low[-1], high[-1]), exact[-1]))
        if batch_size == 1 and data.attrs["rate_chains"] >= 2048:  # fewer could not tell
            above = fact("RatioOneAboveOne", "b = 1: lower end of that interval, above 1", low[-1], low[-1] > 1)
            found.append(above)
        log_rho = float(data.log_rho.sel(curve_batch=batch_size))
        found.append(fact(f"LogRho{WORDS[batch_size]}", f"b = {batch_size}: ln ρ per step", log_rho, None))
        text = f"b = {batch_size}: ln ρ over 2 ln a"
        found.append(fact(f"RateOverGD{WORDS[batch_size]}", text, log_rho / rate, None))
    text = "all images: ln ρ over 2 ln a, which it tends to"
    ratio = float(data.log_rho.sel(curve_batch=ALL)) / rate
    found.append(fact("RateOverGDAll", text, ratio, None, 1.0))
    noise = _batch_noise(data, 32)
    s = theory.kick_std(SLOW_LR, -data.attrs["gap"], noise)
    found.append(fact("RadiusOverKick", f"b = 32, lr = {SLOW_LR}: R/s", RADIUS / s, None))
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
        # One image a step makes steps far from Gaussian and from small: there nothing is claimed.
        found.append(claim(f"ExitRatio{WORDS[batch_size]}", text, value, None if batch_size == 1 else 1.0, 3.5))
    left = int(data.gd_left)
    text = f"all images, batch GD from the computed saddle: chains that left in {GD_STEPS} steps"
    found.append(fact("GDLeft", text, left, left == 0, 0.0))
    moving = int(data.gd_moving)
    text = "coordinates that one more step of it changes; none, and it never leaves"
    found.append(fact("GDMoving", text, moving, moving == 0, 0.0))
    off = (data.origin_mean.values[0] - data.origin_exact.values)[1:] / data.origin_error.values[1:]
    worst = np.abs(off).max()
    text = "origin (type II): largest |z| of the mean square against the exact recursion, below 4"
    found.append(fact("OriginWorstZ", text, worst, worst < 4 and data.attrs["origin_type"] == "II"))
    found.append(fact("OriginLogRho", "origin: ln ρ per step", data.attrs["log_rho"], None))
    error = 1.96 * 2 * data.attrs["gamma_error"]
    gamma = 2 * data.attrs["gamma"]
    text = "origin: 2γ by the product of random matrices, below ln ρ"
    found.append(Claim("OriginTwoGamma", text, gamma, gamma - error, gamma + error, None, None,
                       bool(gamma + error < data.attrs["log_rho"])))  # fmt: skip
    typical = data.origin_typical.values
    spread = ((typical[2] - typical[1]) ** 2 / 4 + error**2) ** 0.5
    both = (typical[0], typical[0] - spread, typical[0] + spread)
    found.append(claim("OriginTypical", "origin: growth rate of E ln‖x‖², against 2γ", both, gamma, 3.5))
    return found


if __name__ == "__main__":
    command(__name__)()
