"""What the noise of mini-batches looks like at one point, beside the curvature there."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.noise_geometry.alignment import wu_alignment
from escape.noise_geometry.number import Number, Part, combine, undefined
from escape.noise_geometry.products import Products, check_directions
from escape.noise_geometry.spectra import Extremes, Noise, Traces, extremes, noise_spectrum, traces

_NO_NOISE = "there is no noise"


class Along(NamedTuple):
    """Noise and curvature along one unit direction v, all exact.

    Attributes
    ----------
    name : str
        "escape 1", … (most negative eigenvector of H first), "sharpest" (its highest one), "given 1", …
    direction : NDArray (d,)
        v.
    curvature : float
        vᵀHv.
    slope : float
        vᵀ∇f.
    noise : float
        vᵀCv, the variance of one sample's gradient along v.
    relative : float
        d vᵀCv / Tr C: 1 if isotropic; NaN without noise.
    second_moment : float
        E (vᵀ∇f_i)² = vᵀCv + (vᵀ∇f)², which the CNC condition asks to be bounded below at negative curvature.
    """

    name: str
    direction: NDArray
    curvature: float
    slope: float
    noise: float
    relative: float
    second_moment: float


@dataclass(frozen=True, eq=False)
class NoiseGeometry:
    """Noise and curvature at one point; made by `noise_geometry`, printed as a table.

    Attributes
    ----------
    dimension, n : int
        d and n.
    gradient_norm : float
        |∇f|.
    trace : Number
        Tr C, the variance of one sample's gradient.
    eigenvalues : NDArray (k,)
        Largest eigenvalues of C, descending.
    rank_bound : int
        min(n − 1, d), which no covariance of n samples exceeds.
    rank : int or None
        Numerical rank of C; None where neither d nor n is small enough to count it.
    participation : Number
        PR = (Tr C)²/(d Tr C²), from 1/d (one direction) to 1 (isotropic).
    john : Number
        U = (1/d) Tr[(C/(Tr C/d) − I)²] = 1/PR − 1, zero if isotropic.
    lowest, highest : float
        Ends of the Hessian's spectrum.
    hessian_trace, hessian_norm, noise_curvature : Number
        Tr H, |H|_F and Tr(HC).
    cosine : Number
        Tr(CH)/(|C|_F |H|_F).
    zhu : Number
        d Tr(HC)/(Tr H Tr C), 1 for isotropic noise.
    wu : Number
        Tr(CG)/(2 f |G|_F²), for half squared residuals only.
    simple_noise_scale, noise_scale : Number
        B_simple = Tr C/|∇f|² and B_noise = Tr(HC)/(∇fᵀH∇f).
    along : tuple of Along
        Escape directions, the sharpest direction, directions given.
    notes : tuple of str
        What was found by iteration, what did not converge, which directions are arbitrary.
    """

    dimension: int
    n: int
    gradient_norm: float
    trace: Number
    eigenvalues: NDArray
    rank_bound: int
    rank: int | None
    participation: Number
    john: Number
    lowest: float
    highest: float
    hessian_trace: Number
    hessian_norm: Number
    noise_curvature: Number
    cosine: Number
    zhu: Number
    wu: Number
    simple_noise_scale: Number
    noise_scale: Number
    along: tuple[Along, ...]
    notes: tuple[str, ...]

    @property
    def escape(self) -> tuple[Along, ...]:
        """Noise along the escape directions, most negative curvature first; empty where there is none."""
        return tuple(one for one in self.along if one.name.startswith("escape"))

    def __str__(self) -> str:
        rank = "not counted" if self.rank is None else str(self.rank)
        rows = [
            ("Tr C", self.trace),
            ("largest eigenvalues of C", " ".join(f"{value:.4g}" for value in self.eigenvalues)),
            ("rank of C (at most)", f"{rank} ({self.rank_bound})"),
            ("participation ratio", self.participation),
            ("John's U", self.john),
            ("spectrum of H", f"{self.lowest:.6g} to {self.highest:.6g}"),
            ("Tr H", self.hessian_trace),
            ("|H|_F", self.hessian_norm),
            ("Tr HC", self.noise_curvature),
            ("cos(C, H)", self.cosine),
            ("d Tr HC/(Tr H Tr C)", self.zhu),
            ("Tr CG/(2f |G|²)", self.wu),
            ("Tr C/|∇f|²", self.simple_noise_scale),
            ("Tr HC/(∇fᵀH∇f)", self.noise_scale),
        ]
        lines = [f"d = {self.dimension}, n = {self.n}, |∇f| = {self.gradient_norm:.6g}"]
        lines += [f"{name:<26}{value}" for name, value in rows]
        heads = ("direction", "curvature", "slope", "noise vᵀCv", "d vᵀCv/Tr C", "E(v∇f_i)²")
        lines.append(f"{heads[0]:<14}" + "".join(f"{head:>14}" for head in heads[1:]))
        lines += [f"{one.name:<14}" + "".join(f"{value:>14.5g}" for value in one[2:]) for one in self.along]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(line.rstrip() for line in lines)


def noise_geometry(
    landscape: Landscape,
    x: Tensor,
    *,
    directions: Tensor | None = None,
    k: int = 5,
    seed: int = 0,
    square_loss: bool = False,
    probes: int = 128,
    dense: int = 2000,
) -> NoiseGeometry:
    """Isotropy of the mini-batch noise at a point, its alignment with the curvature, and its part in escape.

    C = (1/n) Σ (∇f_i − ∇f)(∇f_i − ∇f)ᵀ against the Hessian H of f. Nothing of d × d numbers is made for d > `dense`:
    C and H then act on vectors only.

    Parameters
    ----------
    landscape : Landscape
        Of any dtype; all is computed in float64.
    x : Tensor (d,)
        The point.
    directions : Tensor (d,) or (d, m), optional
        Further directions of interest, in columns, of any length.
    k : int
        Leading eigenvalues of C, and escape directions, at most.
    seed : int
        Seed of the random probes and of where Lanczos starts.
    square_loss : bool
        Whether every f_i is half a squared residual, which `wu` needs.
    probes : int
        Random vectors for traces that are not exact.
    dense : int
        Size up to which matrices are held. Traces of H are exact for d ≤ dense, Tr C² and Tr(HC) for d or n ≤ dense;
        Tr C and all that belongs to a direction always.

    Returns
    -------
    NoiseGeometry
        Numbers with their standard errors. What is not defined, such as a ratio to a trace of zero, is NaN with its
        reason.

    Raises
    ------
    ValueError
        When x is not one finite point of the landscape's dimension, a direction is zero or of another dimension, a
        gradient or the Hessian is not finite at x, or a count is not a whole number in its range.

    Notes
    -----
    Regime: any twice differentiable landscape in flat space; on a manifold, C and H are those of the space around it.
    Standard errors of ratios are by the jackknife over the probes and hold while they are small. An escape direction is
    an eigenvector with an eigenvalue below zero by more than rounding; within an eigenspace of several dimensions it is
    arbitrary, and a note says so. B_noise has its meaning, a batch size, where ∇fᵀH∇f > 0.

    Source: John 1972, Biometrika 59:169 (U); Zhu et al. 2019, arXiv 1803.00195 (ratio); Wu, Wang and Su 2022, NeurIPS
    (alignment with G); McCandlish et al. 2018, arXiv 1812.06162 (noise scales); Daneshmand et al. 2018, arXiv
    1803.05999 (CNC); U = 1/PR − 1 derived.
    """
    for name, value, least in (("k", k, 1), ("probes", probes, 2), ("dense", dense, 0), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    products, notes = Products(landscape, x), []
    given = check_directions(directions, products.x)
    with torch.no_grad():
        hessian = products.hessian() if products.d <= dense else None
        noise = noise_spectrum(products, k, dense, seed, notes)
        ends = extremes(products, hessian, k, seed, notes)
        known = torch.cat([noise.directions, ends.low_directions, ends.high_direction], dim=1)
        small = min(products.d, products.n) <= dense
        found = traces(products, noise, hessian, known, probes, seed, small)
        along = _along(products, ends, given, notes)
        wu = wu_alignment(products, noise) if square_loss else undefined("the terms are not declared half squares")
    return _assembled(products, noise, ends, found, along, wu, tuple(notes))


def _along(products: Products, ends: Extremes, given: Tensor, notes: list[str]) -> tuple[Along, ...]:
    escape = ends.low_directions[:, np.flatnonzero(ends.low < -ends.floor)]
    values = ends.low[ends.low < -ends.floor]
    if (np.diff(values) < 1e-8 * ends.largest).any():
        notes.append("escape directions of equal curvature are an arbitrary basis of their eigenspace")
    sharpest = ends.high_direction if ends.high > ends.floor else ends.high_direction[:, :0]
    names = [f"escape {j + 1}" for j in range(escape.shape[1])] + ["sharpest"] * sharpest.shape[1]
    names += [f"given {j + 1}" for j in range(given.shape[1])]
    columns = torch.cat([escape, sharpest, given], dim=1)
    if not names:
        return ()
    noise = (products.along(columns) ** 2).mean(0)
    curvature = (columns * products.hessian_product(columns)).sum(0)
    slope = products.gradient @ columns
    silent = products.negligible(products.trace**0.5, ends.largest)
    rows = zip(names, columns.T, curvature.tolist(), slope.tolist(), noise.tolist(), strict=True)
    return tuple(
        Along(
            name,
            direction.cpu().numpy(),
            bend,
            pull,
            spread,
            float("nan") if silent else products.d * spread / products.trace,
            spread + pull**2,
        )
        for name, direction, bend, pull, spread in rows
    )


def _assembled(
    products: Products, noise: Noise, ends: Extremes, found: Traces, along: tuple, wu: Number, notes: tuple
) -> NoiseGeometry:
    d, g, trace = products.d, products.gradient, products.trace
    square, both, sum_h, square_h = found
    norm, bend = float(g.norm()), float(g @ products.hessian_product(g[:, None])[:, 0])
    no_noise = _NO_NOISE if products.negligible(trace**0.5, ends.largest) else ""
    flat = "" if square_h.value > 0 else "the Hessian is zero"
    still = "the gradient is zero" if products.negligible(norm, ends.largest) else ""
    traceless = "" if _has_trace(sum_h, square_h, d) else "the trace of H is zero, or not told from zero"
    straight = "" if abs(bend) > 1e-12 * norm**2 * ends.largest else "the curvature along the gradient is zero"

    def unless(reason, function, *parts):
        return undefined(reason) if reason else combine(function, *parts)

    return NoiseGeometry(
        dimension=d,
        n=products.n,
        gradient_norm=norm,
        trace=Number(trace),
        eigenvalues=noise.eigenvalues,
        rank_bound=min(products.n - 1, d),
        rank=0 if no_noise else noise.rank,
        participation=unless(no_noise, lambda c2: trace**2 / (d * c2), square),
        john=unless(no_noise, lambda c2: d * c2 / trace**2 - 1, square),
        lowest=float(ends.low[0]) if len(ends.low) else float("nan"),
        highest=ends.high,
        hessian_trace=combine(lambda h: h, sum_h),
        hessian_norm=combine(lambda h2: h2**0.5, square_h),
        noise_curvature=combine(lambda hc: hc, both),
        cosine=unless(no_noise or flat, lambda hc, c2, h2: hc / (c2 * h2) ** 0.5, both, square, square_h),
        zhu=unless(no_noise or traceless, lambda hc, h: d * hc / (h * trace), both, sum_h),
        wu=undefined(no_noise) if no_noise and not wu.reason else wu,
        simple_noise_scale=unless(still, lambda: trace / norm**2),
        noise_scale=unless(still or straight, lambda hc: hc / bend, both),
        along=along,
        notes=notes,
    )


def _has_trace(sum_h: Part, square_h: Part, d: int) -> bool:
    """Whether Tr H is more than rounding, and more than four standard errors of its estimate."""
    estimate = combine(lambda h: h, sum_h)
    return abs(estimate.value) > max(1e-12 * (d * square_h.value) ** 0.5, 4 * estimate.error)
