"""Symmetric factorization of rank r of the second moments of data: principal subspaces, learned one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.balanced import known_sets, positive_count, symmetric_point
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.digits import standardised_digits
from escape.landscapes.multi_index import MultiIndex
from escape.landscapes.sampling import standardized_normal


@dataclass(frozen=True, eq=False)
class SymmetricFactorization(MultiIndex):
    """f_i(U) = ¼‖UᵀU‖² − ½‖Uᵀz_i‖², U (d, r): the mean is ¼‖UUᵀ − M‖² up to a constant, M = (1/n) Σ z_i z_iᵀ.

    x holds the r columns of U one after another. With eigenpairs (μ_i, v_i) of M, the critical points are
    U = [√μ_s v_s for s in S, 0] Q, S any set of up to r positive eigenvalues, Q orthogonal; with Q = I and s the
    eigenvalue of column k, the Hessian has 2μ_s along v_s, μ_s − μ_i along v_i outside S, and for two columns μ_s + μ_t
    and 0, a rotation. Empty columns have −μ_i, and 0 along S. Of the sets, the r largest are the minima, the others
    saddles, among them the ones that batch descent from near the origin passes, one eigenvalue at a time. There is
    no noise at the origin, nor in an empty column anywhere: the saddles of the 1, …, m < r largest eigenvalues, whose
    escape directions are all in empty columns, are of type II. Where a larger eigenvalue was left out, noise along it
    in the column of a smaller one makes the saddle one of type I.

    Source: Ge, Lee and Ma 2016 (arXiv 1605.07272) for the landscape; spectra derived from
    ∇²f[Δ, Δ] = ½‖UΔᵀ + ΔUᵀ‖² + ⟨UUᵀ − M, ΔΔᵀ⟩.

    Parameters
    ----------
    data : Tensor (n, d)
        One sample z_i a row.
    rank : int
        r, from 1 to d.
    """

    data: Tensor
    rank: int = 2

    def __post_init__(self):
        if self.data.ndim != 2 or not self.data.numel():
            raise ValueError(f"data must be (n, d) with n, d ≥ 1, got {tuple(self.data.shape)}")
        if not 1 <= self.rank <= self.data.shape[1]:
            raise ValueError(f"rank must lie in 1 to d = {self.data.shape[1]}, got {self.rank}")

    @classmethod
    def gaussian(
        cls,
        eigenvalues: Sequence[float],
        rank: int = 2,
        n: int = 1000,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from Gaussian data that are whitened, so that M is exactly diagonal with these eigenvalues.

        Parameters
        ----------
        eigenvalues : sequence of d floats
            μ ≥ 0, in any order.
        rank : int
            r.
        n, seed : int
            Number of samples, more than d, and seed of the data.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        values = torch.tensor(list(eigenvalues), dtype=torch.float64)
        if not bool((values >= 0).all()):
            raise ValueError(f"eigenvalues of a second moment must be ≥ 0, got {values.tolist()}")
        return cls((standardized_normal(n, len(values), seed) * values.sqrt()).to(dtype), rank)

    @classmethod
    def digits(cls, rank: int = 2, components: int = 0, dtype: torch.dtype = torch.float64) -> Self:
        """Make it from the handwritten digits; see `standardised_digits`. The largest μ are 1, 0.7945, 0.7017.

        Parameters
        ----------
        rank : int
            r.
        components : int
            Principal components of the images; 0 takes the 61 pixels that vary.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        return cls(standardised_digits(components)[0].to(dtype), rank)

    @property
    def samples(self) -> Tensor:
        """The data, (n, d)."""
        return self.data

    @property
    def units(self) -> int:
        """The rank r."""
        return self.rank

    @property
    def dimension(self) -> int:
        """r d."""
        return self.rank * self.data.shape[1]

    def common_loss(self, x: Tensor) -> Tensor:
        """¼‖UᵀU‖²."""
        columns = x.reshape(self.rank, -1)
        return 0.25 * ((columns @ columns.T) ** 2).sum()

    def common_gradient(self, x: Tensor) -> Tensor:
        """UUᵀU."""
        columns = x.reshape(self.rank, -1)
        return (columns @ columns.T @ columns).reshape(-1)

    def score_loss(self, scores: Tensor, target: Tensor) -> Tensor:
        """−½‖u‖²."""
        return -0.5 * (scores * scores).sum()

    def score_slope(self, scores: Tensor, target: Tensor) -> Tensor:
        """−u."""
        return -scores

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin, the saddles of the 1, 2, … largest eigenvalues up to the minimum, and other sets, some 30."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        data = self.data.double()
        values, vectors = torch.linalg.eigh(data.T @ data / self.n)
        values, vectors = values.flip(0), vectors.flip(1)
        sets = known_sets(positive_count(values, self.data.dtype), self.rank)
        bare = [symmetric_point(values, vectors, self.rank, kept) for kept in sets]
        points = [point.to(dtype=self.data.dtype) for point in bare]
        return tuple(replace(point, noise=self.noise_type(point)) for point in points)
