"""Phase retrieval: a vector from the squares of its projections, with a ring of saddles between two signs."""

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.newton import minimum_below
from escape.stationary_points import find_stationary_points

_STARTS = 20  # of the search for saddles, for each dimension


@dataclass(frozen=True, eq=False)
class PhaseRetrieval(GeneralizedLinear):
    """f_i(z) = ¼((a_iᵀz)² − y_i)² with y_i = (a_iᵀx)² + e_i, real.

    For standard normal a and no noise e the mean is ¼(3‖z‖⁴ + 3‖x‖⁴ − 2‖x‖²‖z‖² − 4(xᵀz)²): a maximum at 0 with
    curvatures −3‖x‖² along x and −‖x‖² across, minima at ±x with 6‖x‖² and 2‖x‖², and a sphere of saddles z ⊥ x,
    ‖z‖² = ‖x‖²/3, with −2‖x‖² along x, 2‖x‖² along z and 0 along the sphere. In a finite sample the spectra at 0 and,
    without noise, at ±x are those of −(1/n) Σ y_i a_i a_iᵀ and 2 (1/n) Σ y_i a_i a_iᵀ; both points are without
    noise (type II). Of the sphere single points are left, in pairs ±z, with small curvatures where it was flat, and
    noise (type I).

    Declared are the origin, the minima (±x, or with label noise where Newton's steps from there settle, which they do
    not in a flat valley), and the saddles without flat directions that a short search from the sphere finds.

    Source: Sun, Qu and Wright 2018, Found. Comput. Math. 18, 1131; Chen, Chi, Fan and Ma 2019, Math. Program. 176, 5;
    spectra of the finite sum derived.

    Parameters
    ----------
    features : Tensor (n, d)
        a_i.
    targets : Tensor (n,)
        y_i.
    signal : Tensor (d,)
        x, not zero.
    """

    features: Tensor
    targets: Tensor
    signal: Tensor

    def __post_init__(self):
        if self.features.ndim != 2 or not self.features.numel():
            raise ValueError(f"features must be (n, d) with n, d ≥ 1, got {tuple(self.features.shape)}")
        n, d = self.features.shape
        if self.targets.shape != (n,) or self.signal.shape != (d,):
            raise ValueError(
                f"targets must be ({n},) and signal ({d},), got {tuple(self.targets.shape)} and "
                f"{tuple(self.signal.shape)}"
            )
        if not float(self.signal.norm()) > 0:
            raise ValueError("signal must not be zero: there is nothing to retrieve")
        self.samples  # noqa: B018 - made here: a tensor made inside a derivative must not outlive it

    @classmethod
    def gaussian(
        cls, d: int = 3, n: int = 1000, label_noise: float = 0.0, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> Self:
        """Make it from standard normal a_i and the signal x = (1, 0, …, 0).

        Parameters
        ----------
        d, n, seed : int
            Dimension, number of samples, seed.
        label_noise : float
            Standard deviation of the Gaussian e_i; y_i may then be negative.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        if d < 1 or n < 1 or not label_noise >= 0:
            raise ValueError(f"d and n must be ≥ 1 and label_noise ≥ 0, got {d}, {n} and {label_noise}")
        rng = np.random.default_rng(seed)
        rows = torch.from_numpy(rng.standard_normal((n, d))).to(dtype)
        targets = rows[:, 0] ** 2
        if label_noise:
            targets = targets + label_noise * torch.from_numpy(rng.standard_normal(n)).to(dtype)
        return cls(rows, targets, torch.eye(d, dtype=dtype)[0])

    @cached_property
    def samples(self) -> Tensor:
        """Features and target side by side, (n, d + 1)."""
        return torch.cat([self.features, self.targets[:, None]], dim=1)

    @property
    def dimension(self) -> int:
        """Dimension d of the signal."""
        return self.features.shape[1]

    def common_loss(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x[0])

    def common_gradient(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(x)

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """¼(u² − y)²."""
        return 0.25 * (score * score - target[0]) ** 2

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """(u² − y)u."""
        return (score * score - target[0]) * score

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin, the minima +x and −x as far as they are known, and the saddles found."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        wide = self.to(dtype=torch.float64)
        points = (*wide._known(self.features.dtype), *wide._saddles())
        return tuple(point.to(dtype=self.features.dtype) for point in points)

    def _known(self, dtype: torch.dtype) -> list[CriticalPoint]:
        """The origin and the minima, with labels that were rounded to a dtype."""
        weighted = (self.features * self.targets[:, None]).T @ self.features / self.n
        values, vectors = torch.linalg.eigh(-weighted)
        points = [CriticalPoint(torch.zeros_like(values), values, vectors, "II", "origin")]
        away = float((self.targets - (self.features @ self.signal) ** 2).abs().max())
        exact = away <= 64 * torch.finfo(dtype).eps * float(self.targets.abs().max())
        for place, name in ((self.signal, "+x"), (-self.signal, "-x")):
            if exact:
                points.append(replace(self.critical_point(place, name), noise="II"))
                continue
            with contextlib.suppress(ValueError):  # a flat valley, in which no point is a minimum of its own
                points.append(self.critical_point(minimum_below(self, place), name))
        return points

    def _saddles(self) -> list[CriticalPoint]:
        d, size = self.dimension, float(self.signal.norm())
        if d == 1:
            return []
        along = self.signal / size
        starts = torch.from_numpy(np.random.default_rng(0).standard_normal((_STARTS * d, d))).to(self.signal)
        starts = starts - (starts @ along)[:, None] * along
        starts = starts * (size / 3**0.5 / starts.norm(dim=1, keepdim=True))
        found = find_stationary_points(self, starts)
        firm = zip(found.critical_points(), (~found.degenerate).tolist(), strict=True)
        saddles = [p for p, sharp in firm if sharp and p.index and float(p.location.norm()) > 0.1 * size]
        return [replace(p, name=f"saddle {number}") for number, p in enumerate(saddles, 1)]
