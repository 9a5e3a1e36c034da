"""Is mini-batch noise isotropic? Covariance of the per-sample gradients in the Hessian's eigenbasis, place by place.

Nothing is drawn: C = (1/n) Σ (∇f_i − ∇f)(∇f_i − ∇f)ᵀ is computed from all samples at stationary points of landscapes
of many kinds. The covariance of a batch is κC, so that its shape is the same at every batch size.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.colors import LogNorm

from escape import (
    CriticalPoint,
    FullBatch,
    GradientDescent,
    Landscape,
    QuadraticSaddle,
    RankOneFactorization,
    figures,
    noise_geometry,
)
from escape.catalogue import make_landscape
from experiments.common import Claim, Settings, command, fact

SPECTRUM = (-1.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
FEW = 32
TRAINING = {"lr": 1.0, "steps": 300}
EXACT = 1e-12
# Escape direction of Oja's rule for Gaussian data of second moments 1, 0.5, 0.25, 0.1: the noise at v_2 has variance
# 0.5 times the second moment along each of the other three.
OJA = 3 * 1.0 / (1.0 + 0.25 + 0.1)
# What the text says of participation ratios: of random couplings, and of all that is neither these nor engineered.
RANDOM, OTHERS = 0.8, 0.7
# Relative error of Oja's escape number, of finitely many data; and good fits, where C ∝ H is the better model.
OJA_ERROR, GOOD_FITS = 0.05, ("Least", "Regression", "Logistic", "Network")
# Colours of the heat bars: relative noise from a hundredth to a hundred times the isotropic one.
RANGE = (1e-2, 1e2)


def _engineered():
    """Tilts ξ_i with (1/n) Σ ξξᵀ = c I exactly, in a basis that knows nothing of the Hessian's."""
    basis = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    return QuadraticSaddle.additive(SPECTRUM, 0.3, n=64, basis=basis)


def _few_digits():
    return RankOneFactorization(RankOneFactorization.digits().data[:FEW])


def _named(name: str, *options: str):
    return lambda: make_landscape(name, options)


# Name: words for the figure, the landscape, and which of its stationary points; None: where batch descent is by then.
PLACES = {
    "Engineered": ("tilts made isotropic, saddle", _engineered, "origin"),
    "PSpin": ("random 3-spin, saddle", _named("p-spin"), "index 1, no. 1"),
    "Oja": ("Oja's rule, saddle", _named("oja"), "+v_2"),
    "Digits": ("digits, rank one, saddle", _named("digits"), "+sqrt(mu_2) v_2"),
    "Few": (f"same, {FEW} of the digits", _few_digits, "+sqrt(mu_2) v_2"),
    "Labels": ("digits' labels, saddle", _named("digits-labels"), "values 2"),
    "Teacher": ("teacher–student, plateau", _named("teacher-student"), "all units alike"),
    "Basins": ("two basins, sharp minimum", _named("two-basins"), "sharp minimum"),
    "Least": ("least squares, minimum", _named("least-squares", "eigenvalues=1,0.5,0.2,0.1,0.05,0.02"), "minimum"),
    "Regression": ("digits, least squares", _named("digits-regression", "components=40"), "minimum"),
    "Logistic": ("digits, logistic", _named("digits-logistic", "components=30"), "minimum"),
    "Network": ("digits, network, on the way", _named("digits-network"), None),
}
# Those whose noise is drawn against the curvature, with their markers.
SHOWN = {"Network": ".", "Regression": "o", "Logistic": "^", "Digits": "x", "Least": "s"}
OPEN = {"x": "D"} | dict.fromkeys(".o^s", "o")
SEEN = (2e-4, 15.0), (1e-4, 30.0)


def measure(settings: Settings) -> xr.Dataset:
    """Relative noise and curvature (place, coordinate) and the measures of isotropy (place), the same at any preset."""
    found = [_at(settings, *place[1:]) for place in PLACES.values()]
    longest = max(len(one["curvature"]) for one in found)

    def padded(name):
        return np.stack([np.pad(one[name], (0, longest - len(one[name])), constant_values=np.nan) for one in found])

    rows = {
        name: ("place", np.array([one[name] for one in found])) for name in found[0] if np.ndim(found[0][name]) == 0
    }
    wide = {name: (("place", "coordinate"), padded(name)) for name in ("curvature", "noise")}
    return xr.Dataset({**rows, **wide}, {"place": list(PLACES)})


def _at(settings: Settings, make, name: str) -> dict:
    """C in the Hessian's eigenbasis at one point, relative to the isotropic noise of the same trace."""
    landscape = make().to(settings.device)
    point = _on_the_way(settings, landscape) if name is None else _point(landscape, name)
    geometry = noise_geometry(landscape, point.location)
    values, vectors = torch.linalg.eigh(landscape.hessian(point.location))
    # Along a symmetry of all samples, such as the radius of a sphere, nothing happens: all is said of the others.
    kept = vectors[:, values.abs().argsort()[point.gauge :].sort().values]
    values = torch.diagonal(kept.T @ landscape.hessian(point.location) @ kept)
    turned = kept.T @ landscape.gradient_covariance(point.location) @ kept
    d = len(values)
    relative = (d * turned / turned.trace()).cpu().numpy()
    return {
        "curvature": values.cpu().numpy(),
        "noise": relative.diagonal(),
        "aside": 1 - (relative.diagonal() ** 2).sum() / (relative**2).sum(),
        "direct": d / (relative**2).sum(),
        "participation": geometry.participation.value * landscape.dimension / d,
        "cosine": geometry.cosine.value,
        # Largest, over all escape directions.
        "escape": max((one.relative * d / landscape.dimension for one in geometry.escape), default=np.nan),
        "dimension": d,
        "samples": landscape.n,
        "rank": geometry.rank,
        "bound": min(landscape.n - 1, d),
    }


def _on_the_way(settings: Settings, landscape: Landscape) -> CriticalPoint:
    """Where batch descent from the network's own start has come to: no stationary point, but near a good fit."""
    data = settings.simulate(
        "isotropy network", landscape, FullBatch(), GradientDescent(TRAINING["lr"]), landscape.start,
        steps=TRAINING["steps"], chains=1, block=1,
    )  # fmt: skip
    return landscape.critical_point(torch.from_numpy(data.final.values[0]).to(landscape.samples))


def _point(landscape: Landscape, name: str) -> CriticalPoint:
    return next(point for point in landscape.critical_points() if point.name == name)


def draw(data: xr.Dataset):
    """(a) Noise along the Hessian's eigenvectors, a row a place; (b) the same against the curvature."""
    figure = plt.figure(figsize=(figures.COLUMN, 0.2 * len(data.place) + 3.2))
    top, bottom = figure.subfigures(2, 1, height_ratios=[0.2 * len(data.place) + 0.8, 2.4])
    a, b = top.subplots(), bottom.subplots()
    for part, letter in ((top, "a"), (bottom, "b")):
        part.text(0.01, 0.99, f"({letter})", fontweight="bold", va="top")
    # Both ends dark and far apart in hue for every kind of colour vision, the isotropic value white.
    colors = plt.get_cmap("PuOr_r")
    for row, place in enumerate(data.place.values):
        part = data.sel(place=place)
        noise, curvature = _known(part)
        edges = np.linspace(0, 1, len(noise) + 1)
        shown = np.clip(noise, *RANGE)[None]
        bars = a.pcolormesh(edges, [row - 0.38, row + 0.38], shown, cmap=colors, norm=LogNorm(*RANGE), rasterized=True)
        a.plot([0, 1, 1, 0, 0], row + 0.38 * np.array([-1, -1, 1, 1, -1]), color="0.3", linewidth=0.4, clip_on=False)
        down = edges[int((curvature < -1e-9).sum())]
        if down > 0:
            a.plot([down] * 2, [row - 0.47, row + 0.47], color="black", linewidth=1.2, clip_on=False)
    _write_beside(a, data)
    bar = top.colorbar(bars, ax=a, orientation="horizontal", extend="both", aspect=35, pad=0.02, fraction=0.05)
    bar.set_label(r"$d\,v_j^T C v_j/\mathrm{Tr}\,C$;  isotropic: 1, white", labelpad=1)
    out = 0
    for (place, marker), color in zip(SHOWN.items(), figures.PALETTE, strict=False):
        noise, curvature = _known(data.sel(place=place))
        size, rounding = np.abs(curvature) / np.abs(curvature).mean(), 1e-9 * np.abs(curvature).max()
        down = curvature < -rounding
        b.plot(size[~down], noise[~down], marker, color=color, markersize=2.6, label=PLACES[place][0])
        b.plot(size[down], noise[down], OPEN[marker], mfc="none", color=color, markersize=4.5, markeredgewidth=0.8)
        inside = (size > SEEN[0][0]) & (size < SEEN[0][1]) & (noise > SEEN[1][0]) & (noise < SEEN[1][1])
        out += int((~inside).sum())
    b.plot([], [], "o", mfc="none", color="0.3", markersize=4.5, markeredgewidth=0.8, label="open: negative curvature")
    if out:
        text = f"{out} points below or left of the axes"
        b.text(0.99, 0.02, text, transform=b.transAxes, ha="right", fontsize=6)
    line = np.array(SEEN[0])
    figures.theory(b, line, line, r"$C\propto H$")
    figures.theory(b, line, np.ones(2), "isotropic", linestyle=":")
    b.spines[["top", "right"]].set_visible(False)
    b.set(
        xscale="log", yscale="log", xlabel=r"curvature $|h_j|$ over its mean", ylabel=r"$d\,v_j^T C v_j/\mathrm{Tr}\,C$"
    )
    b.set(xlim=SEEN[0], ylim=SEEN[1])
    figures.legend_above(b, 2)
    return figure


def _known(part: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Relative noise and curvature of one place, without the padding."""
    d = int(part.dimension)
    return part.noise.values[:d], part.curvature.values[:d]


def _write_beside(ax, data: xr.Dataset) -> None:
    """Names left of the heat bars; participation ratio and relative noise along the escape direction right of them."""
    rows = len(data.place)
    words = [f"{PLACES[place][0]} ({int(d)})" for place, d in zip(data.place.values, data.dimension, strict=True)]
    ax.set(yticks=range(rows), yticklabels=words, ylim=(rows - 0.5, -0.5), xlim=(0, 1), xticks=[])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("eigenvectors $v_j$ of H by curvature, lowest left", labelpad=2)
    beside = ax.secondary_yaxis("right")
    escape = ["–" if np.isnan(value) else f"{value:.2f}" for value in data.escape.values]
    numbers = [f"{pr:.2f}   {one:>5}" for pr, one in zip(data.participation.values, escape, strict=True)]
    beside.set_yticks(range(rows), numbers)
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)
    ax.text(1.02, 1.0, " PR  escape", transform=ax.transAxes, va="bottom", fontsize=6.5)


def claims(data: xr.Dataset) -> list[Claim]:
    """Participation ratios and their bound by rank, noise along escape directions, and the better model of two.

    The cosine between C and I is √PR, so that C ∝ H is the better model where cos(C, H) > √PR.
    """
    found = []
    for place in data.place.values:
        found += [*_isotropy(place, data.sel(place=place)), *_models(place, data.sel(place=place))]
    off = float(np.abs(data.direct / data.participation - 1).max())
    text = "largest relative difference of participation ratios by the matrix itself and by noise_geometry"
    found.append(fact("Routes", text, off, off < 1e-9))
    return found


def _isotropy(place: str, part: xr.Dataset) -> list[Claim]:
    """Participation ratio, rank, and noise along the escape directions."""
    words, share, bound = PLACES[place][0], float(part.participation), float(part.bound / part.dimension)
    if place == "Engineered":
        said, holds = "1 to rounding", abs(share - 1) < EXACT
    elif place == "PSpin":
        said, holds = f"above {RANDOM} and below 1", RANDOM < share < 1
    else:
        said, holds = f"below {OTHERS}, and not above {bound:.3g} by its rank", share < OTHERS and share <= bound
    predicted = 1.0 if place == "Engineered" else None
    found = [fact(f"{place}PR", f"{words}: participation ratio, {said}", share, holds, predicted)]
    escape = float(part.escape)
    if np.isfinite(escape):
        exact, error = {"Engineered": (1.0, EXACT), "Teacher": (0.0, EXACT), "Oja": (OJA, OJA_ERROR * OJA)}.get(
            place, (None, None)
        )
        text = f"{words}: d vᵀCv/Tr C along the escape direction, the largest if several"
        text += "" if exact is None else f", within {error:.3g}"
        holds = None if exact is None else abs(escape - exact) <= error
        found.append(fact(f"{place}Escape", text, escape, holds, exact))
    rank = int(part["rank"])
    text = f"{words}: rank of C, at most {int(part.bound)}"
    return [*found, fact(f"{place}Rank", text, rank, rank <= int(part.bound))]


def _models(place: str, part: xr.Dataset) -> list[Claim]:
    """Cosines between C and the models H and I, and what of C the eigenbasis of H does not hold."""
    words, cosine, isotropic = PLACES[place][0], float(part.cosine), float(part.participation) ** 0.5
    text, holds = f"{words}: cos(C, H)", None
    if place == "Basins":
        text, holds = f"{text}, 1 by construction", abs(cosine - 1) < EXACT
    elif place in GOOD_FITS:
        text, holds = f"{text}, above cos(C, I) = {isotropic:.4f}", cosine > isotropic
    elif place == "Digits":
        text, holds = f"{text}, below cos(C, I) = {isotropic:.4f}", cosine < isotropic
    return [
        fact(f"{place}Cosine", text, cosine, holds),
        fact(f"{place}CosineIsotropic", f"{words}: cos(C, I) = √PR", isotropic, None),
        fact(f"{place}Aside", f"{words}: share of |C|² off the diagonal in H's eigenbasis", float(part.aside), None),
    ]


if __name__ == "__main__":
    command(__name__)()
