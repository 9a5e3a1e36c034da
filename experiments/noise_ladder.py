"""One place, every noise: exit steps under true mini-batches and under what is put in their place, with the moments.

At a saddle of the digits' factorization, where the noise along one direction tells nearly all; and in a double well
turned against the axes, where chains climb a barrier and the law of the noise tells too. Beside each noise its
variance along the escape direction, total variance and kurtosis, drawn, over the mini-batch's exact ones.
"""

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.ticker import NullFormatter
from scipy import integrate, stats
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
from experiments.common import Claim, Settings, claim, command, fact

# Digits: every fourth image, as many as batches divide; the radius of the experiment digits_saddle.
IMAGES, DIGITS_BATCH, DIGITS_LR, RADIUS, DIGITS_STEPS = 448, 32, 0.015, 0.0451, 16000
# Only to see that everything runs: a larger learning rate there, more noise here.
HURRIED_LR, HURRIED_NOISE = 0.04, 1.5
# Well: angle of the well to the axes and of the noise to the well, standard deviations of the noise.
WELL_ANGLE, NOISE_ANGLE, STDS, BATH = 20.0, 30.0, (1.05, 0.6), 1.0
WELL_BATCH, WELL_LR, WELL_STEPS = 2, 0.35, 30000
LEADING_ORDER = 0.02  # error allowed to the prediction for reshuffling, which is one to leading order in lr
FAR = -4.0  # from beyond it one step of the quartic wall overshoots to the other minimum
GAUSSIAN = ("Gaussian", "diagonal", "leading", "isotropic", "Hessian-shaped")
BATCHES = ("mini-batch", "with replacement", "reshuffled")
ALPHAS = {"stable 1.9": 1.9, "stable 1.5": 1.5}
LADDER = (*BATCHES, *GAUSSIAN, *ALPHAS, "none")
PLACES = ("Digits", "Well")
TICKS = {"Digits": (30, 50, 100, 200, 300, 500, 1000, 2000), "Well": (50, 100, 200, 500, 1000)}


@dataclass(frozen=True, eq=False)
class TurnedWell(Landscape):
    """f_i(x) = y_1⁴/4 − y_1²/2 + ½ c y_2² + g_iᵀx with y = Qᵀx: a double well that no coordinate axis runs along."""

    samples: Tensor  # (n, 2), the tilts g_i, of sum zero
    basis: Tensor  # (2, 2), Q

    affine: ClassVar[bool] = True
    constant_noise: ClassVar[bool] = True
    dimension: ClassVar[int] = 2

    def sample_loss(self, x, tilt):
        """y_1⁴/4 − y_1²/2 + ½ c y_2² + gᵀx."""
        y = self.basis.T @ x
        return y[0] ** 4 / 4 - y[0] ** 2 / 2 + 0.5 * BATH * y[1] ** 2 + tilt @ x

    def sample_gradient(self, x, tilt):
        """Q (y_1³ − y_1, c y_2) + g."""
        y = self.basis.T @ x
        return self.basis @ torch.stack([y[0] ** 3 - y[0], BATH * y[1]]) + tilt

    def critical_points(self):
        """Left minimum, saddle."""
        first = self.basis[:, 0]
        return self.critical_point(-first, "left minimum"), self.critical_point(0 * first, "saddle")


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _well(noise: float = 1.0) -> TurnedWell:
    """Eight tilts, in the well's own coordinates all signs of two independent parts, each twice."""
    signs = np.array(list(itertools.product((1, -1), (1, -1))), dtype=float)
    tilts = np.repeat(noise * signs * STDS @ _turn(NOISE_ANGLE).T, 2, axis=0)
    basis = _turn(WELL_ANGLE)
    return TurnedWell(torch.from_numpy(tilts @ basis.T), torch.from_numpy(basis))


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
         "push": places[0].predicted["push"]},
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
    reshuffled, push = _reshuffled_saddle(landscape, saddle, lr)
    predicted = {"none": np.inf, "reshuffled": reshuffled, "push": push}
    for name in (*BATCHES[:2], *GAUSSIAN):
        chain = theory.GaussianChain(lambda x: a * x, lr * variances[name] ** 0.5, -RADIUS, RADIUS)
        predicted[name] = float(chain.mean_exit_step(0.0, -RADIUS, RADIUS))
    scale = lr * (variances["isotropic"] / 2) ** 0.5
    for name, alpha in ALPHAS.items():
        predicted[name] = _stable_exit(lambda x: a * x, scale, alpha, 0.0, -RADIUS, RADIUS)
        predicted[f"{name} law"] = theory.stable_saddle_exit_step(lr, curvature, alpha, scale / lr, RADIUS)
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


def _reshuffled_saddle(landscape, saddle, lr: float) -> tuple[float, float]:
    """Mean exit step under reshuffling, to leading order in lr, and the mean of the effective kick over its std.

    The tilts of an epoch sum to zero. What is left of it along v is lr² W, W of `_order_sum` over M_ji = vᵀH_j g_i.
    The bend of the mean gradient along v, 2 (xᵀδ)(vᵀδ), adds its mean over the path δ of an epoch, a bridge from zero
    to zero.
    """
    n, b = landscape.n, DIGITS_BATCH
    x, v, curvature = saddle.location, saddle.unstable[:, 0], float(saddle.eigenvalues[0])
    tilts = landscape.sample_gradients(x)
    products = torch.einsum("i,nij,mj->nm", v, landscape.sample_hessians(x), tilts)
    mean, std = _order_sum(products.numpy(), b)
    unit = (lr / b) ** 2
    used = b * np.arange(n // b)
    bridge = float(used @ (n - used)) / (n - 1) / b**2
    bend = 2 * float(x @ landscape.gradient_covariance(x) @ v) * lr**3 * bridge
    a = theory.growth_factor(lr, curvature)
    grown = a ** (n // b)
    push, kick = (unit * mean - bend) / (grown - 1), unit * std / (grown**2 - 1) ** 0.5
    return (np.log(RADIUS) - _mean_log(push, kick)) / np.log(a) + 0.5, abs(push) / kick


def _order_sum(pairs: np.ndarray, b: int) -> tuple[float, float]:
    """Mean and standard deviation of Σ M_ji over i before j in a random order, in other batches of b.

    A pair in two batches adds the even part of M, and the odd part with a sign. Signs of two pairs with a sample in
    common have covariance `signs`, others none; the even part varies with which pairs fall into one batch.
    """
    n = len(pairs)
    even, odd = (pairs + pairs.T) / 2, (pairs - pairs.T) / 2
    even[np.diag_indices(n)] = 0.0
    one = (b - 1) / (n - 1)  # two samples in one batch; then three, and two pairs of four
    three = one * (b - 2) / (n - 2)
    four = one * ((b - 2) * (b - 3) + (n - b) * (b - 1)) / ((n - 2) * (n - 3))
    signs = ((n * n - b * b) / 3 - (n - b)) / ((n - 1) * (n - 2))
    square = (odd**2).sum()
    variance = (1 - one) * square / 2 + signs * ((odd.sum(1) ** 2).sum() - square)
    total, square = even.sum() / 2, (even**2).sum() / 2
    common = (even.sum(1) ** 2).sum() - 2 * square
    variance += one * square + three * common + four * (total**2 - square - common) - (one * total) ** 2
    return float((1 - one) * total), float(variance) ** 0.5


def _mean_log(mean: float, std: float) -> float:
    """E ln|Z| of a normal Z."""
    density = stats.norm(mean, std).pdf
    parts = [integrate.quad(lambda z: np.log(z) * (density(z) + density(-z)), *ends)[0]
             for ends in ((0, std), (std, abs(mean) + 12 * std))]  # fmt: skip
    return sum(parts)


def _at_well(settings: Settings) -> Place:
    landscape = _well(settings.pick(HURRIED_NOISE, 1.0, 1.0))
    minimum, saddle = landscape.critical_points()
    v = landscape.basis[:, 0]
    until = Above(Projection(saddle, v), 1.0)
    variances = _variances(landscape, minimum.location, v, WELL_BATCH)
    slopes = (landscape.samples @ v).numpy()

    def slope(y):
        return y**3 - y

    def drift(y):
        return y - WELL_LR * slope(y)

    predicted = {"none": np.inf, "reshuffled": _reshuffled_well(slopes)}
    for name in BATCHES[:2]:
        chain = theory.BatchChain(
            lambda y: slope(y)[:, None] + slopes, WELL_LR, WELL_BATCH, -3.0, 2.5, name == "with replacement"
        )
        predicted[name] = float(chain.mean_exit_step(-1.0, None, 1.0))
    for name in GAUSSIAN:
        chain = theory.GaussianChain(drift, WELL_LR * variances[name] ** 0.5, -3.0, 2.5)
        predicted[name] = float(chain.mean_exit_step(-1.0, None, 1.0))
    scale = WELL_LR * (variances["isotropic"] / 2) ** 0.5
    for name, alpha in ALPHAS.items():
        predicted[name] = _stable_exit(drift, scale, alpha, -1.0, FAR, 1.0, beyond=1)
    return Place(landscape, minimum.location, v, until, WELL_LR, WELL_STEPS, WELL_BATCH, predicted, variances)


def _reshuffled_well(slopes: np.ndarray) -> float:
    """inf where no order of the batches leads over: the interval that epochs from the minimum can reach, closed."""
    n, b = len(slopes), WELL_BATCH
    orders = set()
    for order in itertools.permutations(range(n)):
        rows = np.reshape(order, (-1, b))
        if (np.diff(rows, axis=1) > 0).all():
            orders.add(tuple(np.round(slopes[rows].mean(1), 12)))
    orders = np.array(sorted(orders))
    low, high = -1.0, -1.0
    turning = np.sqrt((1 + WELL_LR) / (3 * WELL_LR))
    for _ in range(1000):
        ends = np.repeat([[low, high]], len(orders), axis=0)
        for push in orders.T:
            # Where one step turns back on itself an end of the image lies inside.
            inner = [np.clip(at, ends[:, 0], ends[:, 1]) for at in (-turning, turning)]
            image = np.stack([*ends.T, *inner], axis=1)
            image = image - WELL_LR * (image**3 - image + push[:, None])
            ends = np.stack([image.min(1), image.max(1)], axis=1)
            if ends.max() >= 1:
                return np.nan
        before, low, high = (low, high), min(low, ends.min()), max(high, ends.max())
        if max(before[0] - low, high - before[1]) < 1e-13:
            return np.inf
    return np.nan


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
    figure, axes = plt.subplots(2, 2, figsize=(figures.COLUMN, 4.7), width_ratios=[1.1, 1])
    titles = {"Digits": "mean exit step, saddle of the digits", "Well": "mean exit step, turned double well"}
    for (ax, table), place, letter in zip(axes, PLACES, "ab", strict=True):
        part = data.sel(place=place)
        for row, name in enumerate(LADDER):
            _draw_exit(ax, row, name, part.sel(noise=name))
        ax.set(xscale="log", ylim=(len(LADDER) - 0.5, -0.7), yticks=range(len(LADDER)), yticklabels=LADDER)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right"]].set_visible(False)
        low, high = ax.get_xlim()
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
        ax.text(0.98, row, "never", transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=6.5)
    if np.isfinite(part.exact):
        ax.plot([part.exact] * 2, [row - 0.36, row + 0.36], color="black", linewidth=1.0, zorder=5)
    if name == "reshuffled" and np.isfinite(part.law):
        ax.plot([part.law] * 2, [row - 0.36, row + 0.36], color="black", linewidth=1.0, linestyle=(0, (1, 1)))


def _write_match(table, part: xr.Dataset) -> None:
    """Variance along v, trace and kurtosis as a table beside the exits."""
    table.set(xlim=(0, 3), ylim=(len(LADDER) - 0.5, -0.7))
    table.set_axis_off()
    for column, head in enumerate((r"$v^TCv$", r"Tr$\,C$", "kurtosis")):
        table.text(column + 0.5, -0.75, head, ha="center", va="bottom", fontsize=6)
        for row, name in enumerate(LADDER):
            measured, error, expected = part.match.sel(noise=name).values[column]
            over = 1.0 if column == 2 else expected
            word = "∞" if name in ALPHAS else _brief(measured / over, error / over)
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
    """Exit steps against the predictions; who never leaves; mini-batch against Gaussian; the moments."""
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
                near = abs(value - exact) <= LEADING_ORDER * exact + 3.5 * (high - low) / 3.92
                one = replace(one, text=f"{text}, to leading order within {LEADING_ORDER:.0%}", holds=bool(near))
            found.append(one)
    for place in PLACES:
        of_place = [abs(one.z) for one in found if one.name.startswith(place) and one.z is not None]
        text = f"{place}: largest |z| of the {len(of_place)} mean exit steps"
        found.append(fact(f"{place}WorstZ", text, max(of_place, default=np.nan), None))
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
