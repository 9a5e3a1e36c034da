"""Landscapes on the unit sphere: leading eigenvectors and orthogonal components, with saddles known exactly."""

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.sampling import standardized_normal

# Points are declared one by one up to this dimension, and one of a kind above it.
_EVERY = 4
# Primitive polynomials of degree m over GF(2), as bits.
_PRIMITIVE = {3: 0b1011, 4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10001001}


class Sphere(Landscape):
    """f_i(x) = h_i(x/‖x‖), with h_i the terms of a landscape in flat space: that landscape on the unit sphere.

    f does not change along x. On the sphere its gradient is the tangent part of ∇h, and its Hessian is the Riemannian
    one beside a zero along x, which critical points count as `gauge`. After every step chains are brought back to the
    sphere.
    """

    @property
    @abstractmethod
    def flat(self) -> Landscape:
        """The landscape h in flat space."""

    @property
    def samples(self) -> Tensor:
        """Those of h."""
        return self.flat.samples

    def retract(self, x: Tensor) -> Tensor:
        """x/‖x‖."""
        return x / x.norm(dim=-1, keepdim=True)

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """h_i(x/‖x‖)."""
        return self.flat.sample_loss(self.retract(x), sample)

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(I − uuᵀ)∇h_i(u)/‖x‖ with u = x/‖x‖."""
        return _tangent(x, self.flat.sample_gradient(self.retract(x), sample))

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇f_i(x): x (c, d), weights (c, n) -> (c, d)."""
        return _tangent(x, self.flat.weighted_gradient(self.retract(x), weights))

    def critical_point(self, location: Tensor, name: str = "") -> CriticalPoint:
        """Describe a stationary point as in flat space, and its radial direction as a gauge."""
        return dataclasses.replace(super().critical_point(location, name), gauge=1)

    def _full_gradient(self, x: Tensor) -> Tensor:
        return _tangent(x, self.flat.gradient(self.retract(x)))

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        return _tangent(x, self.flat.gradient(self.retract(x), index))

    def _known_point(self, location: Tensor, eigenvalues: Tensor, directions: Tensor, name: str) -> CriticalPoint:
        """Critical point of a known spectrum, sorted here; what noise there is there is computed."""
        eigenvalues, order = eigenvalues.sort(stable=True)
        parts = (part.to(self.samples) for part in (location, eigenvalues, directions[:, order]))
        point = CriticalPoint(*parts, name=name, gauge=1)
        return dataclasses.replace(point, noise=self.noise_type(point))


def _tangent(x: Tensor, slope: Tensor) -> Tensor:
    """(I − uuᵀ) slope/‖x‖, (…, d)."""
    size = x.norm(dim=-1, keepdim=True)
    u = x / size
    return (slope - (slope * u).sum(-1, keepdim=True) * u) / size


@dataclass(frozen=True, eq=False)
class _Scores(GeneralizedLinear):
    """h_i(x) = ℓ(a_iᵀx)."""

    samples: Tensor

    def common_loss(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x[0])

    def common_gradient(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x)


class _Rayleigh(_Scores):
    """h_i(x) = −½(a_iᵀx)²."""

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """−½u²."""
        return -0.5 * score * score

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """−u."""
        return -score


@dataclass(frozen=True, eq=False)
class Oja(Sphere):
    """f_i(x) = −½(a_iᵀx)²/‖x‖², minus half the Rayleigh quotient of A = (1/n) Σ a_i a_iᵀ: Oja's rule for its top.

    With eigenpairs (λ_i, v_i) of A, λ descending: at ±v_i the Hessian is λ_i − λ_j along v_j, so that i − 1 directions
    lead away and ±v_1 are the minima. Noise along v_j at v_i has variance (1/n) Σ (aᵀv_i)²(aᵀv_j)², which is λ_iλ_j
    for Gaussian a; in a finite sample, whose second moments alone are prescribed, it strays from that by √(8/n) of
    it. Declared are all 2d points, from the maxima ±v_d down to the minima.

    Source: E. Oja 1982, Journal of Mathematical Biology 15:267; spectra derived.

    Parameters
    ----------
    data : Tensor (n, d)
        One sample a_i a row, d ≥ 2.
    """

    data: Tensor

    def __post_init__(self):
        if self.data.ndim != 2 or not len(self.data) or self.data.shape[1] < 2:
            raise ValueError(f"data must be (n, d) with n ≥ 1 and d ≥ 2, got {tuple(self.data.shape)}")

    @classmethod
    def gaussian(
        cls,
        eigenvalues: Sequence[float],
        n: int = 1000,
        seed: int = 0,
        basis: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from Gaussian data that are whitened, so that A has exactly the spectrum asked for.

        Parameters
        ----------
        eigenvalues : sequence of d floats
            λ ≥ 0, in any order.
        n : int
            Number of samples, more than d.
        seed : int
            Seed of the data.
        basis : Tensor (d, d), optional
            Eigenvectors in columns; the coordinate axes if omitted.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        values = torch.tensor(list(eigenvalues), dtype=torch.float64)
        if not ((values >= 0) & values.isfinite()).all():
            raise ValueError(f"eigenvalues of a second moment must be finite and ≥ 0, got {values.tolist()}")
        rows = standardized_normal(n, len(values), seed) * values.sqrt()
        return cls((rows if basis is None else rows @ basis.T.double()).to(dtype))

    @property
    def dimension(self) -> int:
        """Dimension d of the space around the sphere."""
        return self.data.shape[1]

    @cached_property
    def flat(self) -> Landscape:
        """−½(a_iᵀx)²."""
        return _Rayleigh(self.data)

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues λ of A, descending (d,), and eigenvectors v in columns (d, d)."""
        data = self.data.double()
        values, vectors = torch.linalg.eigh(data.T @ data / self.n)
        return values.flip(0).to(self.data.dtype), vectors.flip(1).to(self.data.dtype)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """±v_d, …, ±v_1."""
        values, v = self.spectrum
        return tuple(
            self._known_point(sign * v[:, i], values[i] - values, v, f"{'+' if sign > 0 else '-'}v_{i + 1}")
            for i in reversed(range(self.dimension))
            for sign in (1, -1)
        )


class _Kurtosis(_Scores):
    """h_i(x) = (y_iᵀx)⁴/8 − 3/8."""

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """u⁴/8 − 3/8."""
        square = score * score
        return 0.125 * (square * square - 3)

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """u³/2."""
        return 0.5 * score * score * score


@dataclass(frozen=True, eq=False)
class TensorDecomposition(Sphere):
    """f_i(x) = (y_iᵀu)⁴/8 − 3/8 with u = x/‖x‖ and independent signs y_i, whose mean is −¼ Σ u_j⁴.

    Independent component analysis of d sources ±1: their fourth moments are those of an orthogonal tensor. The finite
    sample has them exactly, for any four coordinates of it are independent.

    Every u with k entries ±1/√k and zeros beside them is critical, 3^d − 1 points, with Hessian −2/k (k − 1 times, in
    the span of the k axes) and 1/k (d − k times, along the others). The 2d axes, k = 1, are the minima. Noise at
    points with k = 2 vanishes along their one escape direction (type II); with k ≥ 3 it does not (type I). At an angle
    φ off k = 2 along another axis its variance is sin⁶φ/4: fluctuations there let chains leave in the end, for d > 2.
    Declared are all points up to d = 4, and above one for every k, from k = d down to the minima.

    Source: Ge, Huang, Jin and Yuan 2015 (arXiv 1503.02101) for the landscape; the sample is the dual of a
    double-error-correcting code (Bose and Ray-Chaudhuri 1960, Information and Control 3:68); noise derived.

    Parameters
    ----------
    signs : Tensor (n, d)
        One sample y_i = ±1 a row; `of_dimension` makes them.
    """

    signs: Tensor

    def __post_init__(self):
        if self.signs.ndim != 2 or self.signs.shape[1] < 2 or not (self.signs.abs() == 1).all():
            raise ValueError(f"signs must be an (n, d) array of ±1 with d ≥ 2, got {tuple(self.signs.shape)}")
        first, second = torch.triu_indices(self.dimension, self.dimension, 1)
        pairs = (self.signs[:, first] * self.signs[:, second]).double()
        moments = pairs.T @ pairs / len(pairs)
        if float(pairs.sum(0).abs().max()) or not torch.equal(moments, torch.eye(len(moments)).to(moments)):
            raise ValueError("any four coordinates of the signs must be independent; take those of `of_dimension`")

    @classmethod
    def of_dimension(cls, d: int, dtype: torch.dtype = torch.float64) -> Self:
        """Make it for d sources, 2 ≤ d ≤ 127; n grows like d².

        Parameters
        ----------
        d : int
            Number of sources.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        if not 2 <= d <= 127:
            raise ValueError(f"the number of sources must lie in 2 to 127, got {d}")
        return cls(_independent_signs(d).to(dtype))

    @property
    def dimension(self) -> int:
        """Dimension d of the space around the sphere."""
        return self.signs.shape[1]

    @cached_property
    def flat(self) -> Landscape:
        """(y_iᵀx)⁴/8 − 3/8."""
        return _Kurtosis(self.signs)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """All points, or those with the first k entries positive, k = d, …, 1."""
        d = self.dimension
        if d > _EVERY:
            return tuple(self._component((1.0,) * k + (0.0,) * (d - k), f"{k} components") for k in range(d, 0, -1))
        entries = [entry for entry in product((1.0, -1.0, 0.0), repeat=d) if any(entry)]
        entries.sort(key=lambda entry: entry.count(0.0))
        text = {1.0: "+", -1.0: "-", 0.0: "0"}
        return tuple(self._component(entry, "".join(map(text.get, entry))) for entry in entries)

    def _component(self, entries: tuple[float, ...], name: str) -> CriticalPoint:
        signs = torch.tensor(entries, dtype=torch.float64)
        within, beside = signs.nonzero()[:, 0], (signs == 0).nonzero()[:, 0]
        k, eye = len(within), torch.eye(len(signs), dtype=torch.float64)
        # Columns: the point itself, k − 1 directions in the span of its axes, and the other axes.
        inner = torch.linalg.qr(torch.cat([torch.ones(k, 1).double(), torch.eye(k)[:, 1:].double()], 1))[0]
        directions = torch.cat([signs[:, None] * eye[:, within] @ inner, eye[:, beside]], 1)
        curvatures = torch.tensor([0.0] + [-2 / k] * (k - 1) + [1 / k] * len(beside), dtype=torch.float64)
        return self._known_point(signs / k**0.5, curvatures, directions, name)


def _independent_signs(d: int) -> Tensor:
    """Rows of ±1 of which any four coordinates are independent: all signs up to one, or a linear code's, if fewer."""
    m = max(3, d.bit_length())
    if d - 1 <= 2 * m:
        columns = [1 << j for j in range(d - 1)]
        columns, bits = [*columns, 0], d - 1
    else:
        # Powers a^j beside a^3j in GF(2^m): no four of these columns sum to zero (Bose and Ray-Chaudhuri).
        powers = [1]
        while len(powers) < 2**m - 1:
            doubled = powers[-1] << 1
            powers.append(doubled ^ _PRIMITIVE[m] if doubled >> m else doubled)
        columns, bits = [powers[j] | powers[3 * j % len(powers)] << m for j in range(d)], 2 * m
    rows, columns = torch.arange(2**bits)[:, None], torch.tensor(columns)
    parity = sum((rows & columns) >> bit & 1 for bit in range(bits)) % 2
    return 1.0 - 2.0 * parity.double()
