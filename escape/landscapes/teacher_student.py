"""Two-layer networks that learn from a network: soft committee machines, and the plateau where units are alike."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import pi, sqrt
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.multi_index import MultiIndex
from escape.landscapes.newton import minimum_below


def _tanh_slope(u: Tensor) -> Tensor:
    return 1 - torch.tanh(u) ** 2


def _erf(u: Tensor) -> Tensor:
    return torch.erf(u / sqrt(2))


def _erf_slope(u: Tensor) -> Tensor:
    return sqrt(2 / pi) * torch.exp(-0.5 * u * u)


ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {"tanh": (torch.tanh, _tanh_slope), "erf": (_erf, _erf_slope)}


@dataclass(frozen=True, eq=False)
class TeacherStudent(MultiIndex):
    """f_i(W) = ½(Σ_k φ(w_kᵀz_i) − y_i)², k = 1 … K: a soft committee, all output weights 1; x is w_1, …, w_K in a row.

    Where y_i = Σ_m φ(b_mᵀz_i) comes from a teacher of M ≤ K units, the student that copies it, spare units zero, is a
    minimum without noise (type II); so is every permutation and joint sign change of its units. Where all units are
    alike, w_k = w with w a minimum of ½(Kφ(wᵀz_i) − y_i)², the gradient vanishes by symmetry: the plateau on which
    learning stays long, left by directions in which units part, Σ_k v_k = 0. Noise vanishes along these, since every
    unit sees the same gradient there (type II), though not along those in which the units move together.

    Declared are the teacher, if all samples fit it, and the symmetric point, found by Newton's steps from the teacher's
    mean, if there is one with curvature.

    Source: Saad and Solla 1995, Phys. Rev. E 52, 4225 (erf); Biehl and Schwarze 1995, J. Phys. A 28, 643; the points
    of the finite sum and their noise derived.

    Parameters
    ----------
    features : Tensor (n, d)
        z_i.
    targets : Tensor (n,)
        y_i.
    teacher : Tensor (M, d)
        b_m.
    units : int
        K.
    activation : {"tanh", "erf"}
        φ(u) = tanh u or erf(u/√2).
    """

    features: Tensor
    targets: Tensor
    teacher: Tensor
    units: int = 2
    activation: str = "erf"

    def __post_init__(self):
        if self.features.ndim != 2 or not self.features.numel():
            raise ValueError(f"features must be (n, d) with n, d ≥ 1, got {tuple(self.features.shape)}")
        if self.targets.shape != self.features.shape[:1]:
            raise ValueError(
                f"targets must be one number for each of {len(self.features)} rows, got {tuple(self.targets.shape)}"
            )
        if self.teacher.ndim != 2 or self.teacher.shape[1] != self.features.shape[1] or not len(self.teacher):
            raise ValueError(f"teacher must be (M, {self.features.shape[1]}), got {tuple(self.teacher.shape)}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if self.units < 1:
            raise ValueError(f"units must be at least 1, got {self.units}")
        self.samples  # noqa: B018 - made here: a tensor made inside a derivative must not outlive it

    @classmethod
    def gaussian(
        cls,
        d: int = 4,
        units: int = 2,
        teacher_units: int = 2,
        activation: str = "erf",
        label_noise: float = 0.0,
        n: int = 1000,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from standard normal z_i and a teacher of orthonormal units, the first coordinate axes.

        Parameters
        ----------
        d, units, teacher_units : int
            Dimension of the inputs, K, and M ≤ d.
        activation : {"tanh", "erf"}
            φ.
        label_noise : float
            Standard deviation of y_i about the teacher.
        n, seed : int
            Number of samples and seed.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        if not 1 <= teacher_units <= d or n < 1 or not label_noise >= 0:
            raise ValueError(
                f"teacher_units must lie in 1 to d, n be ≥ 1 and label_noise ≥ 0, got {teacher_units}, {n} and "
                f"{label_noise}"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        rng = np.random.default_rng(seed)
        features = torch.from_numpy(rng.standard_normal((n, d))).to(dtype)
        # In the dtype of the landscape, so that the teacher fits to rounding there.
        targets = ACTIVATIONS[activation][0](features[:, :teacher_units]).sum(1)
        targets = targets + label_noise * torch.from_numpy(rng.standard_normal(n)).to(dtype)
        return cls(features, targets, torch.eye(d, dtype=dtype)[:teacher_units], units, activation)

    @cached_property
    def samples(self) -> Tensor:
        """Features and target side by side, (n, d + 1)."""
        return torch.cat([self.features, self.targets[:, None]], dim=1)

    @property
    def dimension(self) -> int:
        """K d."""
        return self.units * self.features.shape[1]

    def common_loss(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x[0])

    def common_gradient(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x)

    def score_loss(self, scores: Tensor, target: Tensor) -> Tensor:
        """½(Σ_k φ(u_k) − y)²."""
        return 0.5 * (ACTIVATIONS[self.activation][0](scores).sum() - target[0]) ** 2

    def score_slope(self, scores: Tensor, target: Tensor) -> Tensor:
        """(Σ_j φ(u_j) − y) φ'(u_k)."""
        value, slope = ACTIVATIONS[self.activation]
        return (value(scores).sum() - target[0]) * slope(scores)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The symmetric point, then the teacher."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        wide = self.to(dtype=torch.float64)
        points = (*wide._symmetric(), *wide._copied(torch.finfo(self.features.dtype).eps))
        return tuple(point.to(dtype=self.features.dtype) for point in points)

    def _symmetric(self) -> list[CriticalPoint]:
        if self.units == 1:
            return []
        alike = _Alike(self.samples, self.units, self.activation)
        try:
            place = minimum_below(alike, self.teacher.sum(0) / self.units)
        except ValueError:
            return []
        point = self.critical_point(place.repeat(self.units), "all units alike")
        return [replace(point, noise="II") if point.index and self._parts(point) else point]

    def _parts(self, point: CriticalPoint) -> bool:
        """Whether every escape direction has Σ_k v_k = 0, along which all f_i are flat to first order."""
        together = point.unstable.reshape(self.units, -1, point.index).sum(0)
        return float(together.abs().max()) < 1e-6

    def _copied(self, eps: float) -> list[CriticalPoint]:
        spare = self.units - len(self.teacher)
        if spare < 0:
            return []
        place = torch.cat([self.teacher, self.teacher.new_zeros(spare, self.teacher.shape[1])])
        misfit = ACTIVATIONS[self.activation][0](self.features @ self.teacher.T).sum(1) - self.targets
        if float(misfit.abs().max()) > 64 * eps * float(self.targets.abs().max()):
            return []
        return [replace(self.critical_point(place.flatten(), "teacher"), noise="II")]


@dataclass(frozen=True, eq=False)
class _Alike(GeneralizedLinear):
    """½(Kφ(wᵀz_i) − y_i)²: the committee where all units are alike."""

    samples: Tensor
    units: int
    activation: str

    def common_loss(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x[0])

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """½(Kφ(u) − y)²."""
        return 0.5 * (self.units * ACTIVATIONS[self.activation][0](score) - target[0]) ** 2
