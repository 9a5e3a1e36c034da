"""Do saddles outnumber minima in high dimension? Random landscapes beside three whose points can be counted.

Stationary points of spherical p-spins by index, searched from many starts, beside the exact means over disorder; an
orthogonal tensor, Styblinski and Tang's function and a well of m minima in a harmonic bath; random Hessians.
"""

import numpy as np
import xarray as xr
from scipy import stats

from escape import SphericalPSpin, figures, find_stationary_points, theory
from experiments.common import Claim, Settings, claim, command, fact

ORDER, WELLS = 3, 4
SIZES = (2, 3, 4, 5, 6)
FINE = np.arange(2, 21, 2)


def measure(settings: Settings) -> xr.Dataset:
    """Points by index (spins, disorder, index), starts and points unseen; share of positive matrices (size)."""
    spins = settings.pick((4, 6), (4, 6, 8, 10), (6, 8, 10, 12))
    disorders = settings.pick_chains(4, 12, 48)
    found = np.full((len(spins), disorders, spins[-1]), np.nan)
    unseen, failed = np.zeros((len(spins), disorders)), np.zeros((len(spins), disorders))
    for i, size in enumerate(spins):
        expected = theory.pspin_counts(size, ORDER).sum()
        for j in range(disorders):
            seed = 10_000 * settings.seed + 100 * size + j
            landscape = SphericalPSpin.gaussian(size, ORDER, noise=0.0, n=1, seed=seed).to(settings.device)
            points = find_stationary_points(landscape, int(12 * expected) + 200, seed, range(size), steps=60)
            found[i, j, :size] = points.histogram()[:size]
            unseen[i, j], failed[i, j] = points.unseen, points.failures / points.starts
    matrices = settings.pick(20_000, 200_000, 2_000_000)
    positive = np.array([_positive(size, matrices, settings.seed + size) for size in SIZES])
    return xr.Dataset(
        {
            "points": (("spins", "disorder", "index"), found),
            "unseen": (("spins", "disorder"), unseen),
            "failed": (("spins", "disorder"), failed),
            "positive": (("size", "part"), positive),
            "exact_counts": (("spins", "index"), np.stack([_padded(size, spins[-1]) for size in spins])),
            "exact_minima": ("fine", [_minima_share(size) for size in FINE]),
        },
        {"spins": list(spins), "size": list(SIZES), "part": ["value", "low", "high"], "fine": FINE},
        {"disorders": disorders, "matrices": matrices},
    )  # fmt: skip


def _padded(size: int, longest: int) -> np.ndarray:
    return np.pad(theory.pspin_counts(size, ORDER), (0, longest - size), constant_values=np.nan)


def _minima_share(size: int) -> float:
    counts = theory.pspin_counts(int(size), ORDER)
    return counts[0] / counts.sum()


def _positive(size: int, count: int, seed: int) -> tuple[float, float, float]:
    """Probability that a GOE matrix is positive definite, its trace integrated out: value and 95% interval."""
    rng, total, square = np.random.default_rng([seed, size]), 0.0, 0.0
    for part in np.array_split(np.arange(count), -(-count // 50_000)):
        matrices = rng.standard_normal((len(part), size, size))
        matrices = (matrices + matrices.transpose(0, 2, 1)) / 2
        trace = np.trace(matrices, axis1=1, axis2=2) / size
        # M = trace/n + rest, independent: given the rest, a normal number decides.
        each = stats.norm.cdf(np.sqrt(size) * (np.linalg.eigvalsh(matrices)[:, 0] - trace))
        total, square = total + each.sum(), square + (each**2).sum()
    mean = total / count
    half = 1.959964 * np.sqrt((square / count - mean**2) / count)
    return mean, mean - half, mean + half


def _mean(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over disorder and its 95% interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return values.mean(), values.mean() - half, values.mean() + half


def _ratio(part: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
    """Ratio of means over disorder and its 95% interval, to first order."""
    value, _, high = part.mean() / whole.mean(), *_mean(part - part.mean() / whole.mean() * whole)[1:]
    half = high / whole.mean()
    return value, value - half, value + half


def draw(data: xr.Dataset):
    """(a) points of a p-spin by index; (b) share of minima against dimension; (c) positive random matrices."""
    figure, (a, b, c) = figures.panels(3, height=1.9)
    for color, size in zip(figures.PALETTE, data.spins.values[-3:], strict=False):
        counts = data.points.sel(spins=size).values[:, :size]
        value, low, high = np.transpose([_mean(column) for column in counts.T])
        figures.points(a, np.arange(size), value, low, high, color, f"N = {size}")
        label = "exact mean" if size == data.spins.values[-1] else None
        figures.theory(a, np.arange(size), data.exact_counts.sel(spins=size).values[:size], label)
    a.set(yscale="log", xlabel="index (number of escape directions)", ylabel="stationary points")
    a.set_yticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    a.minorticks_off()
    a.set_ylim(3, 1.4 * float(data.exact_counts.max()))
    shares = [_ratio(counts[:, 0], counts[:, :size].sum(1)) for size, counts in _by_size(data)]
    figures.points(b, data.spins.values, *np.transpose(shares), figures.PALETTE[0], "p-spin, searched")
    figures.theory(b, FINE, data.exact_minima, "p-spin, exact mean")
    b.plot(FINE, 2 * FINE / (3.0**FINE - 1), "s-", color=figures.PALETTE[1], label="orthogonal tensor")
    b.plot(FINE, (2 / 3) ** FINE, "^-", color=figures.PALETTE[2], label="Styblinski-Tang")
    b.plot(
        FINE,
        np.full(len(FINE), WELLS / (2 * WELLS - 1)),
        "-",
        color=figures.PALETTE[3],
        label=f"{WELLS} wells in a bath",
    )
    b.set(yscale="log", xlabel="dimension d (N of the p-spin)", ylabel="minima / all points", ylim=(1e-5, 1.5))
    b.set_xticks([4, 8, 12, 16, 20])
    sizes = np.arange(1, SIZES[-1] + 3)
    figures.points(c, list(SIZES), *data.positive.values.T, figures.PALETTE[0], "sampled")
    figures.theory(c, sizes, [theory.goe_positive_probability(int(n)) for n in sizes], "exact")
    c.plot(sizes, np.exp(-np.log(3) / 4 * sizes**2), ":", color=figures.PALETTE[3], label=r"$e^{-(\ln 3/4) n^2}$")
    c.set(yscale="log", xlabel="size n of a random Hessian", ylabel="P(positive definite)")
    for ax, columns in ((a, 4), (b, 2), (c, 3)):
        figures.legend_above(ax, columns)
    return figure


def _by_size(data: xr.Dataset):
    return [(int(size), data.points.sel(spins=size).values) for size in data.spins.values]


WORDS = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six", 8: "Eight", 10: "Ten", 12: "Twelve"}


def claims(data: xr.Dataset) -> list[Claim]:
    """Counts and shares against exact means, the growth of saddles where it is a theorem, and where it is false."""
    found = []
    for size, counts in _by_size(data):
        exact = data.exact_counts.sel(spins=size).values[:size]
        word, total = WORDS[size], counts[:, :size].sum(1)
        text = f"p-spin, N = {size}: mean number of stationary points found"
        found.append(claim(f"Points{word}", text, _mean(total), exact.sum(), 3.5))
        text = f"p-spin, N = {size}: mean number of minima found"
        found.append(claim(f"Minima{word}", text, _mean(counts[:, 0]), exact[0], 3.5))
        missed = float(data.unseen.sel(spins=size).mean()) / total.mean()
        text = f"p-spin, N = {size}: share of the points that the search missed, as its repeats tell; below 2%"
        found.append(fact(f"Missed{word}", text, missed, missed < 0.02))
    size, counts = _by_size(data)[-1]
    share = _ratio(counts[:, 0], counts[:, :size].sum(1))
    exact = data.exact_counts.sel(spins=size).values[:size]
    found.append(claim("MinimaShare", f"p-spin, N = {size}: minima of all points", share, exact[0] / exact.sum(), 3.5))
    found.append(
        fact("MinimaShareTwenty", "p-spin, N = 20: minima of all points, exact mean", data.exact_minima[-1], None)
    )
    text = "p-spin: minima of all points fall as spins are added, N = 2 to 20"
    falls = bool((np.diff(data.exact_minima) < 0).all())
    found.append(fact("ShareFalls", text, float(falls), falls))
    fall = float(np.log(data.exact_minima[-2] / data.exact_minima[-1])) / (FINE[-1] - FINE[-2])
    text = f"p-spin: fall of ln(minima/all) per spin at N = 20, slower than its limit {1 - 2 / ORDER:.4f}"
    found.append(fact("Fall", text, fall, fall < 1 - 2 / ORDER, 1 - 2 / ORDER))
    for size in SIZES:
        text = f"P(GOE matrix of size {size} positive definite)"
        predicted = theory.goe_positive_probability(size)
        found.append(claim(f"Positive{WORDS[size]}", text, data.positive.sel(size=size).values, predicted, 3.5))
    text = "share of minima of the wells in a bath, the same in every dimension"
    found.append(fact("Wells", text, WELLS / (2 * WELLS - 1), None))
    found.append(fact("Disorders", "disorders of each size", data.attrs["disorders"], None))
    return found


if __name__ == "__main__":
    command(__name__)()
