"""One place, every noise: exit steps under true mini-batches and under what is put in their place, with the moments.

At a saddle of the digits' factorization, where the noise along one direction tells nearly all; and in a double well
turned against the axes, where chains climb a barrier and the law of the noise tells too. Beside each noise its
variance along the escape direction, total variance and kurtosis, drawn, over the mini-batch's exact ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.ticker import NullFormatter
from scipy import stats
from torch import Tensor

from escape import (
    Above,
    DiagonalNoise,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HessianNoise,
    IsotropicNoise,
    Landscape,
    LeadingNoise,
    MiniBatch,
    Projection,
    RankOneFactorization,
    Reshuffled,
    SquaredProjection,
    StableNoise,
    estimate,
    figures,
    noise_match,
    theory,
)
from experiments import reshuffling, turned_well
from experiments.common import Claim, Settings, claim, command, fact

# Digits: every fourth image, as many as batches divide; the radius of the experiment digits_saddle.
IMAGES, DIGITS_BATCH, DIGITS_LR, RADIUS, DIGITS_STEPS = 448, 32, 0.015, 0.0451, 16000
# Only to see that everything runs: a larger learning rate there, more noise here.
HURRIED_LR, HURRIED_NOISE = 0.04, 1.5
WELL_BATCH, WELL_LR, WELL_STEPS, WELL_ENDS = 2, 0.35, 30000, (-3.0, 2.5)
# Relative error allowed at DIGITS_LR to the prediction for reshuffling, one to leading order in lr; it goes as lr.
LEADING_ORDER = 0.005
FAR = -4.0  # from beyond it one step of the quartic wall overshoots to the other minimum
GAUSSIAN = ("Gaussian", "diagonal", "leading", "isotropic", "Hessian-shaped")
BATCHES = ("mini-batch", "with replacement", "reshuffled")
ALPHAS = {"stable 1.9": 1.9, "stable 1.5": 1.5}
LADDER = (*BATCHES, *GAUSSIAN, *ALPHAS, "none")
PLACES = ("Digits", "Well")
TICKS = {"Digits": (30, 50, 100, 200, 300, 500, 1000, 2000), "Well": (50, 100, 300, 1000)}


def _digits() -> RankOneFactorization:
    return RankOneFactorization(RankOneFactorization.digits().data[3::4][:IMAGES])


def _oracles(batch_size: int, at: Tensor) -> dict:
    batches = (MiniBatch(batch_size), MiniBatch(batch_size, replacement=True), Reshuffled(batch_size))
    shaped = (
        GaussianNoise(batch_size), DiagonalNoise(batch_size), LeadingNoise(batch_size, at=at),
        IsotropicNoise(batch_size), HessianNoise(batch_size, at=at),
    )  # fmt: skip
    stable = (StableNoise(alpha, batch_size=batch_size) for alpha in ALPHAS.values())
    return dict(zip(LADDER, (*batches, *shaped, *stable, FullBatch()), strict=True))


@dataclass(frozen=True, eq=False)
class Place:
    """Where chains start, how they move, when they have left, and what is expected of every noise."""

    landscape: Landscape
    start: Tensor
    direction: Tensor
    until: Above
    lr: float
    steps: int
    batch_size: int
    predicted: dict
    variances: dict


@dataclass(frozen=True)
class Line:
    """Chain x' = m(x) + lr ξ of one coordinate, from `start` to outside of `exits`, None where there is no exit.

    Gaussian chains live on `ends`. A stable one does on the exits, and where there is none below, down to `far`, from
    beyond which it takes `beyond` steps more.
    """

    drift: Callable
    lr: float
    start: float
    ends: tuple[float, float]
    exits: tuple[float | None, float]
    far: float | None = None
    beyond: int = 0

    def mean_exit_steps(self, variances: dict, gaussian: tuple[str, ...]) -> dict:
        """Mean exit steps under Gaussian noises of these variances, and stable ones of the isotropic scale."""
        found = {}
        for name in gaussian:
            chain = theory.GaussianChain(self.drift, self.lr * variances[name] ** 0.5, *self.ends)
            found[name] = float(chain.mean_exit_step(self.start, *self.exits))
        scale = self.lr * (variances["isotropic"] / 2) ** 0.5
        low = self.far if self.exits[0] is None else self.exits[0]
        for name, alpha in ALPHAS.items():
            found[name] = _stable_exit(self.drift, scale, alpha, self.start, low, self.exits[1], self.beyond)
        return found


def measure(settings: Settings) -> xr.Dataset:
    """Exit steps and their predictions (place, noise), and the moments of each noise (place, noise, quantity)."""
    chains = [settings.pick_chains(64, 320, 8192), settings.pick_chains(128, 1536, 32768)]
    draws = settings.pick(1000, 20_000, 200_000)
    places = (_at_digits(settings), _at_well(settings))
    rows = {name: [] for name in ("exit", "exact", "law", "shape", "match")}
    for name, place, some in zip(PLACES, places, chains, strict=True):
        oracles = _oracles(place.batch_size, place.start)
        rows["exit"].append(_exits(settings, name, place, oracles, some))
        rows["match"].append(_match(place, oracles, draws))
        rows["exact"].append([place.predicted[noise] for noise in LADDER])
        rows["law"].append([place.predicted.get(f"{noise} law", np.nan) for noise in LADDER])
        full = place.variances["mini-batch"]
        rows["shape"].append([place.variances.get(noise, np.nan) / full for noise in LADDER])
    dims = {"exit": ("part",), "match": ("quantity", "bit")}
    return xr.Dataset(
        {name: (("place", "noise", *dims.get(name, ())), np.array(row, dtype=float)) for name, row in rows.items()},
        {
            "place": list(PLACES), "noise": list(LADDER), "part": ["value", "low", "high", "left"],
            "quantity": ["variance", "trace", "kurtosis"], "bit": ["measured", "error", "expected"],
        },
        {"digits_chains": chains[0], "well_chains": chains[1], "draws": draws,
         "push": places[0].predicted["push"], "digits_lr": places[0].lr},
    )  # fmt: skip


def _exits(settings: Settings, name: str, place: Place, oracles: dict, chains: int) -> list:
    """Mean exit step of every noise with its interval, and the share of chains that left."""
    rows = []
    for noise, oracle in oracles.items():
        never = not np.isfinite(place.predicted[noise])
        # Without noise all chains are one.
        some = 2 if noise == "none" else max(2, chains // 4) if never else chains
        data = settings.simulate(
            f"noise_ladder {name} {noise}", place.landscape, oracle, GradientDescent(place.lr), place.start,
            steps=place.steps // settings.pick(64, 4, 4) if never else place.steps, chains=some, until=place.until,
            block=max(2, some // 2),
        )  # fmt: skip
        rows.append([*estimate.mean_exit_step(data)[:3], float((data.status == 1).mean())])
    return rows


def _match(place: Place, oracles: dict, draws: int) -> np.ndarray:
    """Variance and kurtosis along v, and trace, of each noise, drawn, with errors and the mini-batch's values."""
    found = noise_match(
        place.landscape, list(oracles.values()), place.start, place.direction, batch_size=place.batch_size,
        draws=draws, seed=1,
    )  # fmt: skip
    wanted = (("given 1", "variance"), ("all", "trace"), ("given 1", "kurtosis"))
    rows = [[found.of(oracle, *which)[0][3:6] for which in wanted] for oracle in oracles.values()]
    return np.array(rows, dtype=float)


def _at_digits(settings: Settings) -> Place:
    landscape = _digits()
    saddle = landscape.critical_points()[3]
    until = Above(SquaredProjection(saddle, saddle.unstable), RADIUS**2)
    v, curvature = saddle.unstable[:, 0], float(saddle.eigenvalues[0])
    lr = settings.pick(HURRIED_LR, DIGITS_LR, DIGITS_LR)
    a = theory.growth_factor(lr, curvature)
    variances = _variances(landscape, saddle.location, v, DIGITS_BATCH)
    reshuffled, push = reshuffling.reshuffled_exit_step(landscape, saddle, lr, DIGITS_BATCH, RADIUS)
    predicted = {"none": np.inf, "reshuffled": reshuffled, "push": push}
    line = Line(lambda x: a * x, lr, 0.0, (-RADIUS, RADIUS), (-RADIUS, RADIUS))
    predicted |= line.mean_exit_steps(variances, (*BATCHES[:2], *GAUSSIAN))
    scale = (variances["isotropic"] / 2) ** 0.5
    for name, alpha in ALPHAS.items():
        predicted[f"{name} law"] = theory.stable_saddle_exit_step(lr, curvature, alpha, scale, RADIUS)
    sample_noise = float(landscape.noise_along(saddle.location, v)) ** 0.5
    predicted["reshuffled law"] = theory.reshuffling_mean_exit_step(
        lr, curvature, sample_noise, RADIUS, landscape.n, DIGITS_BATCH
    )
    return Place(landscape, saddle.location, v, until, lr, DIGITS_STEPS, DIGITS_BATCH, predicted, variances)


def _variances(landscape, x: Tensor, v: Tensor, batch_size: int) -> dict:
    """Variance along v of every noise that has one, from C and H at x themselves."""
    covariance, hessian = landscape.gradient_covariance(x), landscape.hessian(x)
    kappa = {name: theory.kappa(batch_size, landscape.n, name == "with replacement") for name in BATCHES}
    values, vectors = torch.linalg.eigh(covariance)
    bends, axes = torch.linalg.eigh(hessian)
    shape = axes @ torch.diag(bends.abs() / bends.abs().sum()) @ axes.T
    full, trace = v @ covariance @ v, covariance.trace()
    forms = {
        "Gaussian": full,
        "diagonal": (covariance.diagonal() * v * v).sum(),
        "leading": values[-1] * (vectors[:, -1] @ v) ** 2,
        "isotropic": trace / len(x),
        "Hessian-shaped": trace * (v @ shape @ v),
    }
    gaussian = {name: kappa["mini-batch"] * float(form) for name, form in forms.items()}
    return gaussian | {name: kappa[name] * float(full) for name in BATCHES}


def _at_well(settings: Settings) -> Place:
    landscape = turned_well.turned_well(settings.pick(HURRIED_NOISE, 1.0, 1.0))
    minimum, saddle = landscape.critical_points()
    v = landscape.basis[:, 0]
    until = Above(Projection(saddle, v), 1.0)
    variances = _variances(landscape, minimum.location, v, WELL_BATCH)
    slopes = (landscape.samples @ v).numpy()

    def slope(y):
        return y**3 - y

    predicted = {"none": np.inf, "reshuffled": turned_well.reshuffled_exit_step(slopes, WELL_BATCH, WELL_LR)}
    for name in BATCHES[:2]:
        chain = theory.BatchChain(
            lambda y: slope(y)[:, None] + slopes, WELL_LR, WELL_BATCH, *WELL_ENDS, name == "with replacement"
        )
        predicted[name] = float(chain.mean_exit_step(-1.0, None, 1.0))
    line = Line(lambda y: y - WELL_LR * slope(y), WELL_LR, -1.0, WELL_ENDS, (None, 1.0), FAR, beyond=1)
    predicted |= line.mean_exit_steps(variances, GAUSSIAN)
    return Place(landscape, minimum.location, v, until, WELL_LR, WELL_STEPS, WELL_BATCH, predicted, variances)


def _stable_exit(
    drift, scale: float, alpha: float, start: float, low: float, high: float, beyond=0, cells=1200
) -> float:
    """Mean exit step of x' = m(x) + scale S, S stable, from (low, high), on cells of exact transition probabilities.

    From below `low` it takes `beyond` steps more.
    """
    table = np.sinh(np.linspace(0, 14, 600))
    above = stats.levy_stable.cdf(table, alpha, 0)
    far = table > 50  # from where quadrature is rougher than the tail's leading term
    above[far] = 1 - theory.stable_tail_constant(alpha) / table[far] ** alpha
    edges = np.linspace(low, high, cells + 1)
    points = np.append((edges[1:] + edges[:-1]) / 2, start)

    def distribution(z):
        return 0.5 + np.sign(z) * (np.interp(np.arcsinh(np.abs(z)), np.arcsinh(table), above) - 0.5)

    chance = distribution((edges - drift(points)[:, None]) / scale)
    step, cost = np.diff(chance, axis=1), 1 + beyond * chance[:, 0]
    inside = np.linalg.solve(np.eye(cells) - step[:-1], cost[:-1])
    return float(cost[-1] + step[-1] @ inside)


def draw(data: xr.Dataset):
    """Mean exit steps by noise, (a) saddle and (b) well, with predictions and moments over the mini-batch's."""
    figure, axes = plt.subplots(2, 2, figsize=(figures.COLUMN, 4.7), width_ratios=[1, 1.05])
    titles = {"Digits": "mean exit step, saddle of the digits", "Well": "mean exit step, turned double well"}
    for (ax, table), place, letter in zip(axes, PLACES, "ab", strict=True):
        part = data.sel(place=place)
        for row, name in enumerate(LADDER):
            _draw_exit(ax, row, name, part.sel(noise=name))
        ax.set(xscale="log", ylim=(len(LADDER) - 0.5, -0.7), yticks=range(len(LADDER)), yticklabels=LADDER)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right"]].set_visible(False)
        low, high = ax.get_xlim()
        high = next((tick * 1.08 for tick in TICKS[place] if tick >= high), high)
        ax.set_xlim(low, high)
        ticks = [tick for tick in TICKS[place] if low < tick < high]
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(titles[place])
        ax.text(-0.62, 1.02, f"({letter})", transform=ax.transAxes, fontweight="bold")
        _write_match(table, part)
    return figure


def _draw_exit(ax, row: int, name: str, part: xr.Dataset) -> None:
    """One noise: the measured mean with its interval, the prediction as a bar, another law dotted."""
    color = figures.PALETTE[0 if name in BATCHES else 1 if name in GAUSSIAN else 2]
    value, low, high, left = part.exit.values
    if left == 1:
        bars = [[value - low], [high - value]]
        ax.errorbar([value], [row], xerr=bars, fmt="o", color=color, markersize=2.4, elinewidth=0.9)
    elif left == 0:
        ax.text(1.0, row, "never →", transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=6,
                color="0.35", style="italic", bbox={"color": "white", "pad": 0.5})  # fmt: skip
    if np.isfinite(part.exact):
        ax.plot([part.exact] * 2, [row - 0.36, row + 0.36], color="black", linewidth=1.0, zorder=5)
    if name == "reshuffled" and np.isfinite(part.law):
        ax.plot([part.law] * 2, [row - 0.36, row + 0.36], color="black", linewidth=1.0, linestyle=(0, (1, 1)))


def _write_match(table, part: xr.Dataset) -> None:
    """Variance along v and trace, over the mini-batch's, and kurtosis as a table beside the exits."""
    table.set(xlim=(0, 3), ylim=(len(LADDER) - 0.5, -0.7))
    table.set_axis_off()
    table.text(1.0, -1.55, "over mini-batch's", ha="center", va="bottom", fontsize=6)
    table.plot([0.1, 1.9], [-1.5, -1.5], color="black", linewidth=0.5, clip_on=False)
    for column, head in enumerate((r"$v^TCv$", r"Tr$\,C$", "kurtosis")):
        table.text(column + 0.5, -0.75, head, ha="center", va="bottom", fontsize=6)
        for row, name in enumerate(LADDER):
            measured, error, expected = part.match.sel(noise=name).values[column]
            over = 1.0 if column == 2 else expected
            # Stable noise has no variance, and no kurtosis to speak of.
            word = "–∞"[column < 2] if name in ALPHAS else _brief(measured / over, error / over)
            table.text(column + 0.5, row, word, ha="center", va="center", fontsize=5.5)


def _brief(value: float, error: float) -> str:
    """Write 1.003(8) for 1.003 ± 0.008."""
    if not np.isfinite(value):
        return "–"
    if not error > 0:
        return f"{value:.3g}"
    digits = max(0, -int(np.floor(np.log10(1.05 * error))))
    return f"{value:.{digits}f}({error * 10**digits:.0f})"


def claims(data: xr.Dataset) -> list[Claim]:
    """Exit steps against the predictions; who never leaves; mini-batch against Gaussian; the moments.

    A mean of right-skewed exit times is low where its error is low, too: 3.5 errors are exceeded, below, in about 1 of
    1000 cases (320 chains) to 3 of 1000 (64 chains), and not in the 1 of 2000 of a normal law.
    """
    found = []
    for place in PLACES:
        words = {"Digits": "saddle of the digits", "Well": "double well"}[place]
        for name in LADDER:
            part = data.sel(place=place, noise=name)
            exact, macro = float(part.exact), place + _macro(name)
            if not np.isfinite(exact):
                left = float(part.exit[3])
                text = f"{words}, {name}: share of chains that left"
                found.append(fact(macro, text, left, None if np.isnan(exact) else left == 0, 0.0))
                continue
            text = f"{words}, {name}: mean exit step"
            one = claim(macro, text, part.exit.values, exact, 3.5)
            if name == "reshuffled":
                # To leading order in lr, and of the end of an epoch: chains come to the radius sooner in the middle.
                value, low, high = part.exit.values[:3]
                allowed = LEADING_ORDER * data.attrs["digits_lr"] / DIGITS_LR
                near = abs(value - exact) <= allowed * exact + 3.5 * (high - low) / 3.92
                one = replace(one, text=f"{text}, to leading order within {allowed:.2%}", holds=bool(near))
            found.append(one)
    for place in PLACES:
        # The one to leading order has a criterion of its own.
        own = [f"{place}{_macro(name)}" for name in LADDER if name != "reshuffled"]
        of_place = [abs(one.z) for one in found if one.name in own and one.z is not None]
        text = f"{place}: largest |z| of the {len(of_place)} mean exit steps with an exact prediction"
        found.append(fact(f"{place}WorstZ", text, max(of_place, default=np.nan), None))
        text = f"{place}: mean exit steps with an exact prediction"
        found.append(fact(f"{place}Compared", text, len(of_place), None))
    return found + _comparisons(data)


def _comparisons(data: xr.Dataset) -> list[Claim]:
    """Laws beside what is exact, mini-batch over Gaussian in the well, and the moments of the noises."""
    found = []
    for name in ("reshuffled", *ALPHAS):
        part = data.sel(place="Digits", noise=name)
        text = f"saddle of the digits, {name}: the law of additive noise and R >> s, beside the prediction"
        found.append(fact(f"DigitsLaw{_macro(name)}", text, float(part.law), None, float(part.exact)))
    text = "saddle of the digits, reshuffled: mean of the effective kick over its standard deviation"
    found.append(fact("DigitsPush", text, data.attrs["push"], None))
    well = data.sel(place="Well")
    true, matched = (well.sel(noise=name).exit.values for name in ("mini-batch", "Gaussian"))
    ratio = true[0] / matched[0]
    half = ratio * sum(((part[2] - part[1]) / 2 / part[0]) ** 2 for part in (true, matched)) ** 0.5
    exact = float(well.exact.sel(noise="mini-batch") / well.exact.sel(noise="Gaussian"))
    text = "double well: mean exit step under mini-batches over that under Gaussian noise of the same covariance"
    found.append(claim("WellRatio", text, (ratio, ratio - half, ratio + half), exact, 3.5))
    for place in PLACES:
        for name in (*BATCHES, *GAUSSIAN):
            measured, error, expected = data.match.sel(place=place, noise=name, quantity="variance").values
            half = 1.96 * error / expected
            over = (measured / expected, measured / expected - half, measured / expected + half)
            text = f"{place}, {name}: variance along v over the mini-batch's"
            found.append(
                claim(f"{place}Variance{_macro(name)}", text, over, float(data.shape.sel(place=place, noise=name)), 4.0)
            )
        for name in ("mini-batch", "Gaussian"):
            measured, error, expected = data.match.sel(place=place, noise=name, quantity="kurtosis").values
            right = expected if name == "mini-batch" else 0.0
            text = f"{place}, {name}: excess kurtosis along v"
            spread = (measured, measured - 1.96 * error, measured + 1.96 * error)
            found.append(claim(f"{place}Kurtosis{_macro(name)}", text, spread, right, 4.0))
    found.append(fact("DigitsChains", "chains of each run at the saddle", data.attrs["digits_chains"], None))
    found.append(fact("WellChains", "chains of each run in the well", data.attrs["well_chains"], None))
    return found


def _macro(name: str) -> str:
    words = {"stable 1.9": "StableHigh", "stable 1.5": "StableLow", "with replacement": "Replacement"}
    return words.get(name, name.title().replace("-", ""))


if __name__ == "__main__":
    command(__name__)()
