"""Terms that see two factors through their product UVᵀ, and the factorization of noisy matrices."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.balanced import balanced_point, known_sets, positive_count, symmetric_point
from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.digits import standardised_digits
from escape.landscapes.sampling import standardized_normal


class MatrixProduct(Landscape):
    """f_i(U, V) = h_i(UVᵀ), h_i the terms of a landscape of matrices (p, q), flattened row by row.

    x holds the r columns of U (p, r) one after another, then those of V (q, r): d = r(p + q). Gradients are those of h
    pulled back, ∂f/∂U = GV and ∂f/∂V = GᵀU. Where `symmetric` is set, V is U and x holds it alone; ∂f/∂U = (G + Gᵀ)U.
    """

    flat: Landscape
    rank: int
    symmetric: bool = False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows p and columns q of the product."""

    @property
    def samples(self) -> Tensor:
        """Those of h."""
        return self.flat.samples

    @property
    def dimension(self) -> int:
        """r(p + q), or r p if symmetric."""
        return self.rank * (self.shape[0] if self.symmetric else sum(self.shape))

    def factors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Uᵀ (…, r, p) and Vᵀ (…, r, q) of points (…, d)."""
        if self.symmetric:
            return (x.unflatten(-1, (self.rank, -1)),) * 2
        cut = self.rank * self.shape[0]
        return x[..., :cut].unflatten(-1, (self.rank, -1)), x[..., cut:].unflatten(-1, (self.rank, -1))

    def product(self, x: Tensor) -> Tensor:
        """UVᵀ, flattened: (…, d) -> (…, p q)."""
        u, v = self.factors(x)
        return (u.mT @ v).flatten(-2)

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """h_i(UVᵀ)."""
        return self.flat.sample_loss(self.product(x), sample)

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """The gradient of h_i at UVᵀ, pulled back."""
        return self._pulled(x, self.flat.sample_gradient(self.product(x), sample))

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇f_i(x): x (c, d), weights (c, n) -> (c, d)."""
        return self._pulled(x, self.flat.weighted_gradient(self.product(x), weights))

    def _full_gradient(self, x: Tensor) -> Tensor:
        return self._pulled(x, self.flat.gradient(self.product(x)))

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        return self._pulled(x, self.flat.gradient(self.product(x), index))

    def _pulled(self, x: Tensor, slope: Tensor) -> Tensor:
        """GV and GᵀU, (…, d), of G (…, p q); (G + Gᵀ)U if symmetric."""
        u, v = self.factors(x)
        slope = slope.unflatten(-1, self.shape)
        if self.symmetric:
            return (u @ (slope + slope.mT)).flatten(-2)
        return torch.cat([(v @ slope.mT).flatten(-2), (u @ slope).flatten(-2)], dim=-1)

    def _described(self, point: CriticalPoint) -> CriticalPoint:
        """A point in the landscape's dtype, with its kind of noise."""
        point = point.to(dtype=self.samples.dtype)
        return replace(point, noise=self.noise_type(point))

    def _bare(self, matrix: Tensor, kept: tuple[int, ...] | None = None, scale: float = 1.0) -> CriticalPoint:
        """The point of scale · ½‖UVᵀ − B‖² that has learned the values of B of these numbers, or all that there are."""
        if kept is None:
            kept = tuple(range(self._count(matrix)))
        if not self.symmetric:
            return balanced_point(matrix, self.rank, kept, scale)
        values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        return symmetric_point(values.flip(0), vectors.flip(1), self.rank, kept, 2 * scale)

    def _count(self, matrix: Tensor) -> int:
        """Number of positive singular values, or eigenvalues if symmetric."""
        values = torch.linalg.eigvalsh((matrix + matrix.T) / 2) if self.symmetric else torch.linalg.svdvals(matrix)
        return positive_count(values, self.samples.dtype)

    def _all_points(self, matrix: Tensor, scale: float = 1.0) -> tuple[CriticalPoint, ...]:
        """All points of scale · ½‖UVᵀ − B‖²."""
        sets = known_sets(self._count(matrix), self.rank)
        return tuple(self._described(self._bare(matrix, kept, scale)) for kept in sets)

    def _origin_and_truth(self, slope: Tensor, truth: Tensor | None) -> tuple[CriticalPoint, ...]:
        """The origin, by ∇h(0) = −slope, and the factors of a matrix that all samples fit, if its rank allows."""
        points = [self._described(self._bare(slope, ()))]
        if truth is not None and self._count(truth) <= self.rank:
            bare = self._bare(truth)
            # Where the flat directions are is known; the other curvatures are computed.
            found = self.to(dtype=torch.float64).critical_point(bare.location, "truth")
            points.append(replace(found.to(dtype=self.samples.dtype), noise="II", gauge=bare.gauge))
        return tuple(points)


def planted_matrix(singular_values: Sequence[float], rows: int, columns: int) -> Tensor:
    """B (p, q), float64, with these singular values on its diagonal and zeros beside them.

    Parameters
    ----------
    singular_values : sequence of float
        σ ≥ 0, at most as many as the shorter side.
    rows, columns : int
        p and q.
    """
    values = torch.tensor(list(singular_values), dtype=torch.float64)
    if not 1 <= len(values) <= min(rows, columns) or not bool((values >= 0).all()) or not bool((values > 0).any()):
        raise ValueError(
            f"singular_values must be 1 to {min(rows, columns)} numbers ≥ 0, not all zero, got {values.tolist()}"
        )
    matrix = torch.zeros(rows, columns, dtype=torch.float64)
    matrix[range(len(values)), range(len(values))] = values
    return matrix


def check_rank(rank: int, shape: tuple[int, int]) -> None:
    """Raise ValueError unless the rank is from 1 to the shorter side."""
    if not 1 <= rank <= min(shape):
        raise ValueError(f"rank must lie in 1 to {min(shape)}, the shorter side of {tuple(shape)}, got {rank}")


@dataclass(frozen=True, eq=False)
class _Near(Landscape):
    """h_i(X) = ½‖X‖² − ⟨X, B_i⟩."""

    samples: Tensor
    affine = True
    constant_noise = True

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """½‖X‖² − ⟨X, B_i⟩."""
        return 0.5 * (x @ x) - x @ sample

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """X − B_i."""
        return x - sample


@dataclass(frozen=True, eq=False)
class MatrixFactorization(MatrixProduct):
    """f_i(U, V) = ½‖UVᵀ‖² − ⟨UVᵀ, B_i⟩, which is ½‖UVᵀ − B_i‖² up to a constant; the mean has B = (1/n) Σ B_i.

    A two-layer linear network. With singular triples (σ_i, p_i, q_i) of B, the critical points are balanced factors of
    any set S of up to r of them, U = [√σ_s p_s, 0], V = [√σ_s q_s, 0], and all that UG, VG⁻ᵀ makes of these. With s the
    value of column k, the Hessian has 2σ_s and 0 along (p_s, ±q_s), σ_s ∓ σ_i along (p_i, ±q_i) outside S, and ∓σ_i
    for empty columns: −σ_i leads away from the origin, σ_s − σ_i < 0 from a saddle that left out a larger value. The
    r largest are the minima. Noise vanishes at the origin and in empty columns (type II), and survives at a saddle
    that left out a larger value (type I).

    Source: Baldi and Hornik 1989, Neural Networks 2, 53, for the points; spectra derived from
    ∇²f[(Δ, Γ)²] = ‖UΓᵀ + ΔVᵀ‖² + 2⟨UVᵀ − B, ΔΓᵀ⟩.

    Parameters
    ----------
    matrices : Tensor (n, p, q)
        One B_i a sample.
    rank : int
        r, from 1 to the shorter side.
    """

    matrices: Tensor
    rank: int = 1

    affine = True

    def __post_init__(self):
        if self.matrices.ndim != 3 or not self.matrices.numel():
            raise ValueError(f"matrices must be (n, p, q), none of them 0, got {tuple(self.matrices.shape)}")
        check_rank(self.rank, self.shape)
        self.flat  # noqa: B018 - made here: a tensor made inside a derivative must not outlive it

    @classmethod
    def gaussian(
        cls,
        singular_values: Sequence[float],
        rows: int = 3,
        columns: int = 3,
        rank: int = 1,
        noise: float = 1.0,
        n: int = 1000,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from a diagonal B and whitened Gaussian noise: B_i has mean B and noise²·I as covariance, exactly.

        Parameters
        ----------
        singular_values : sequence of float
            Of B, at most as many as its shorter side.
        rows, columns, rank : int
            p, q and r.
        noise : float
            Standard deviation of every entry of B_i.
        n, seed : int
            Number of samples, more than p q, and seed.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        mean = planted_matrix(singular_values, rows, columns)
        if not noise >= 0:
            raise ValueError(f"noise is a standard deviation and must be ≥ 0, got {noise}")
        spread = standardized_normal(n, rows * columns, seed).unflatten(1, (rows, columns))
        return cls((mean + noise * spread).to(dtype), rank)

    @classmethod
    def digits(cls, rank: int = 1, components: int = 0, dtype: torch.dtype = torch.float64) -> Self:
        """Make it from the handwritten digits: B_i = y_i z_iᵀ, y_i the label as a centred unit vector of ten.

        B is the covariance of labels and images: what a linear network learns of them with white inputs. See
        `standardised_digits` for z_i.

        Parameters
        ----------
        rank : int
            r, up to 10; B has rank 9.
        components : int
            Principal components of the images; 0 takes the 61 pixels that vary.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        features, labels = standardised_digits(components)
        units = torch.eye(10, dtype=torch.float64)[labels.long()]
        units = units - units.mean(0)
        return cls((units[:, :, None] * features[:, None, :]).to(dtype), rank)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows p and columns q of the product."""
        return tuple(self.matrices.shape[1:])

    @cached_property
    def flat(self) -> Landscape:
        """½‖X‖² − ⟨X, B_i⟩."""
        return _Near(self.matrices.flatten(1))

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        return self._all_points(self.matrices.double().mean(0))

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin, the saddles of the 1, 2, … largest values up to the minimum, and other sets, some 30 in all."""
        return self._points
