"""Rank-one factorization of a data matrix: streaming principal components, with real saddles from real data."""

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear


@dataclass(frozen=True, eq=False)
class RankOneFactorization(GeneralizedLinear):
    """f_i(x) = ¼‖x‖⁴ − ½(z_iᵀx)², whose mean is ¼‖xxᵀ − A‖² up to a constant, with A = (1/n) Σ z_i z_iᵀ.

    With eigenpairs (μ_i, v_i) of A: the origin has Hessian −A and no noise, since every f_i is even (type II); the
    points ±√μ_i v_i have Hessian eigenvalues 2μ_i along v_i and μ_i − μ_j along v_j, and noise (type I, as long as
    z·v_i and z·v_j do not vanish together). The pair of the largest eigenvalue are the minima, the others saddles.
    Source: spectra from ∇²f = ‖x‖²I + 2xxᵀ − A; landscape as in Ge, Lee and Ma 2016 (arXiv 1605.07272).

    Parameters
    ----------
    data : Tensor (n, d)
        One sample z_i a row.
    """

    data: Tensor

    def __post_init__(self):
        if self.data.ndim != 2 or not len(self.data):
            raise ValueError(f"data must be (n, d) with n ≥ 1, got {tuple(self.data.shape)}")

    @classmethod
    def digits(cls, dtype: torch.dtype = torch.float64) -> Self:
        """Make the landscape of scikit-learn's handwritten digits: n = 1797 images of 8 × 8 pixels.

        Every pixel is centred and scaled to unit variance (three are the same in all images and stay zero), then all
        are divided by one number that makes the largest eigenvalue of A equal to 1. The next ones are 0.7945, 0.7017.

        Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository, as shipped with
        scikit-learn.
        """
        from sklearn.datasets import load_digits  # half a second of import that no other landscape should pay
        from sklearn.preprocessing import scale

        pixels = scale(load_digits().data)
        pixels /= np.sqrt(np.linalg.eigvalsh(pixels.T @ pixels / len(pixels))[-1])
        return cls(torch.from_numpy(pixels).to(dtype))

    @property
    def samples(self) -> Tensor:
        """The data, (n, d)."""
        return self.data

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.data.shape[1]

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues μ of A, descending (d,), and eigenvectors v in columns (d, d)."""
        squares = (part.double().T @ part.double() for part in self._sample_parts(1, "spectrum"))
        values, vectors = torch.linalg.eigh(functools.reduce(torch.add, squares) / self.n)
        return values.flip(0).to(self.data.dtype), vectors.flip(1).to(self.data.dtype)

    def common_loss(self, x: Tensor) -> Tensor:
        """¼‖x‖⁴."""
        return 0.25 * (x @ x) ** 2

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """−½u²."""
        return -0.5 * score * score

    def common_gradient(self, x: Tensor) -> Tensor:
        """‖x‖²x."""
        return (x * x).sum() * x

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """−u."""
        return -score

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin, then ±√μ_i v_i for every positive μ_i, largest first."""
        mu, v = self.spectrum
        points = [CriticalPoint(torch.zeros_like(mu), -mu, v, "II", "origin")]
        positive = int((mu > 1e-10 * mu[0]).sum())
        for i in range(positive):
            eigenvalues = mu[i] - mu
            eigenvalues[i] = 2 * mu[i]
            eigenvalues, order = eigenvalues.sort()
            location = mu[i].sqrt() * v[:, i]
            for sign in (1, -1):
                name = f"{'+' if sign > 0 else '-'}sqrt(mu_{i + 1}) v_{i + 1}"
                point = CriticalPoint(sign * location, eigenvalues, v[:, order], name=name)
                noise = self.noise_type(point)
                points.append(CriticalPoint(sign * location, eigenvalues, v[:, order], noise, name))
        return tuple(points)
