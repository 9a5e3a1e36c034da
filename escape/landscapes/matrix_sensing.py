"""A matrix from linear measurements of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.matrix_product import MatrixProduct, check_rank, planted_matrix
from escape.landscapes.sampling import standardized_normal

# Share of its largest entry that a truth may be away from the nearest UUᵀ: the rounding of any dtype. Whether the
# labels are those of that UUᵀ is seen from the labels.
_ASYMMETRY = 0.02


@dataclass(frozen=True, eq=False)
class _Measured(GeneralizedLinear):
    """h_i(X) = ½(⟨A_i, X⟩ − y_i)²."""

    samples: Tensor

    def common_loss(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x[0])

    def common_gradient(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x)

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """½(u − y)²."""
        return 0.5 * (score - target[0]) ** 2

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """u − y."""
        return score - target[0]


@dataclass(frozen=True, eq=False)
class MatrixSensing(MatrixProduct):
    """f_i(U, V) = ½(⟨A_i, UVᵀ⟩ − y_i)², or ½(⟨A_i, UUᵀ⟩ − y_i)²: a matrix from n linear measurements of it.

    With Y = (1/n) Σ y_i A_i the origin has the Hessian ∓σ_i(Y) along its singular vectors, in every column, or if
    symmetric −2μ_i, μ_i the eigenvalues of (Y + Yᵀ)/2, and no noise (type II). Where the truth B is given and
    y_i = ⟨A_i, B⟩, its balanced factors are a minimum without noise. Where the measurements are isometric,
    (1/n) Σ ⟨A_i, X⟩A_i = X for all X, the mean is ½‖UVᵀ − Y‖² up to a constant and all points and spectra are those of
    `MatrixFactorization`, or twice those of `SymmetricFactorization`; the noise is another.

    Source: Bhojanapalli, Neyshabur and Srebro 2016 (arXiv 1605.07221), there for UUᵀ; spectra derived.

    Parameters
    ----------
    measurements : Tensor (n, p, q)
        A_i.
    targets : Tensor (n,)
        y_i.
    rank : int
        r, from 1 to the shorter side.
    truth : Tensor (p, q), optional
        B; if V is U, symmetric and without negative eigenvalues.
    symmetric : bool
        Whether V is U.
    """

    measurements: Tensor
    targets: Tensor
    rank: int = 1
    truth: Tensor | None = None
    symmetric: bool = False

    def __post_init__(self):
        if self.measurements.ndim != 3 or not self.measurements.numel():
            raise ValueError(f"measurements must be (n, p, q), none of them 0, got {tuple(self.measurements.shape)}")
        if self.targets.shape != self.measurements.shape[:1]:
            raise ValueError(
                f"targets must be one number for each of {len(self.measurements)} measurements, got "
                f"{tuple(self.targets.shape)}"
            )
        check_rank(self.rank, self.shape)
        if self.truth is not None and tuple(self.truth.shape) != self.shape:
            raise ValueError(f"truth must be {self.shape} like the measurements, got {tuple(self.truth.shape)}")
        if self.symmetric and self.shape[0] != self.shape[1]:
            raise ValueError(f"the measurements of a symmetric matrix must be square, got {self.shape}")
        if self.symmetric and self.truth is not None:
            away = float((self.truth.double() - _square(self.truth)).abs().max() / self.truth.double().abs().max())
            if away > _ASYMMETRY:
                raise ValueError(
                    "truth must be some UUᵀ, symmetric and without negative eigenvalues, where symmetric is set; it is "
                    f"off by {away:.3g} of its largest entry"
                )
        self.flat  # noqa: B018 - made here: a tensor made inside a derivative must not outlive it

    @classmethod
    def gaussian(
        cls,
        singular_values: Sequence[float],
        rows: int = 3,
        columns: int = 3,
        rank: int = 1,
        label_noise: float = 0.0,
        n: int = 100,
        seed: int = 0,
        isometric: bool = False,
        symmetric: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from standard normal measurements of a diagonal B.

        Parameters
        ----------
        singular_values : sequence of float
            Of B, at most as many as its shorter side.
        rows, columns, rank : int
            p, q and r.
        label_noise : float
            Standard deviation of y_i about ⟨A_i, B⟩.
        n, seed : int
            Number of measurements and seed.
        isometric : bool
            Whiten measurements and label noise together, which takes n > p q + 1: the mean is then exactly
            ½‖UVᵀ − B‖² and a constant.
        symmetric : bool
            Whether V is U.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        truth, size = planted_matrix(singular_values, rows, columns), rows * columns
        if not label_noise >= 0 or n < 1:
            raise ValueError(f"label_noise must be ≥ 0 and n ≥ 1, got {label_noise} and {n}")
        if isometric:
            drawn = standardized_normal(n, size + 1, seed)
        else:
            drawn = torch.from_numpy(np.random.default_rng(seed).standard_normal((n, size + 1)))
        targets = drawn[:, :size] @ truth.flatten() + label_noise * drawn[:, size]
        measurements = drawn[:, :size].unflatten(1, (rows, columns))
        return cls(measurements.to(dtype), targets.to(dtype), rank, truth.to(dtype), symmetric)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows p and columns q of the product."""
        return tuple(self.measurements.shape[1:])

    @cached_property
    def flat(self) -> Landscape:
        """½(⟨A_i, X⟩ − y_i)²."""
        return _Measured(torch.cat([self.measurements.flatten(1), self.targets[:, None]], dim=1))

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        rows, y = self.measurements.double().flatten(1), self.targets.double()
        mean = (y @ rows / self.n).unflatten(0, self.shape)
        moments = rows.T @ rows / self.n
        rounding = 64 * torch.finfo(self.targets.dtype).eps
        if float((moments - torch.eye(len(moments)).to(moments)).abs().max()) <= rounding:
            return self._all_points(mean)
        truth = None if self.truth is None else _square(self.truth) if self.symmetric else self.truth.double()
        if truth is not None and float((rows @ truth.flatten() - y).abs().max()) > rounding * float(y.abs().max()):
            truth = None  # the labels are noisy
        return self._origin_and_truth(mean, truth)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin and the truth; all balanced points if the measurements are isometric."""
        return self._points


def _square(matrix: Tensor) -> Tensor:
    """The nearest matrix UUᵀ (p, p), float64: the symmetric part without its negative eigenvalues."""
    matrix = matrix.double()
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp(min=0)) @ vectors.T
