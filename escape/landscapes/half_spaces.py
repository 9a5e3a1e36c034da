"""Learning half-spaces: a bounded, non-convex loss whose noise reaches every direction of negative curvature."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.stationary_points import find_stationary_points

# Starts and steps of the search, the spread of starts, and the curvature below which a point is taken for the flat end
# of a valley to infinity.
_STARTS, _STEPS, _SPREAD, _FLAT = 40, 60, 15.0, 1e-4
# Points declared at most.
_MOST = 20


@dataclass(frozen=True, eq=False)
class HalfSpaces(GeneralizedLinear):
    """f_i(w) = 1/(1 + exp(w·z_i)) + ½ρ‖w‖² with ‖z_i‖ ≤ 1: a smooth count of the samples on the wrong side of w.

    The label is in z_i: a sample is on the right side where w·z_i > 0. Since |φ''| ≤ |φ'| for the sigmoid φ, noise is
    correlated with negative curvature: where vᵀ∇²f v = −λ < 0 for a unit vector v and ρ = 0,
    (1/n) Σ (v·∇f_i)² ≥ λ², at every point. (By Cauchy and Schwarz, λ ≤ E|φ''|(v·z)² ≤ E|φ'||v·z| ≤ (E(v·∇f_i)²)^½.)
    Hence all saddles are of type I. Without a ridge f(−w) = 1 − f(w), so that points come in
    pairs of opposite spectra, and f has its infimum at infinity.

    Declared are points that a short search finds, lowest first and by no means all; `find_stationary_points` searches
    at length.

    Source: Daneshmand, Kohler, Lucchi and Hofmann 2018 (ICML, arXiv 1803.05999); inequality derived.

    Parameters
    ----------
    features : Tensor (n, d)
        z_i, none longer than 1.
    ridge : float
        ρ ≥ 0.
    """

    features: Tensor
    ridge: float = 0.0

    def __post_init__(self):
        if self.features.ndim != 2 or not self.features.numel():
            raise ValueError(f"features must be (n, d) with n, d ≥ 1, got {tuple(self.features.shape)}")
        longest = float(self.features.norm(dim=1).max())
        if not longest <= 1 + 1e-6:
            raise ValueError(f"features must have norms up to 1, got {longest:.6g}: divide all by that number")
        if not 0 <= self.ridge < float("inf"):
            raise ValueError(f"ridge must be finite and ≥ 0, got {self.ridge}")

    @classmethod
    def gaussian(
        cls, d: int = 4, n: int = 40, seed: int = 0, ridge: float = 0.0, dtype: torch.dtype = torch.float64
    ) -> Self:
        """Make it from Gaussian features, all divided by the largest norm: labels are coins.

        Parameters
        ----------
        d, n, seed : int
            Dimension, number of samples, seed.
        ridge : float
            ρ.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        if d < 1 or n < 1:
            raise ValueError(f"d and n must be at least 1, got {d} and {n}")
        rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))
        return cls((rows / rows.norm(dim=1).max()).to(dtype), ridge)

    @property
    def samples(self) -> Tensor:
        """The features, (n, d)."""
        return self.features

    @property
    def dimension(self) -> int:
        """Number d of weights."""
        return self.features.shape[1]

    def common_loss(self, x: Tensor) -> Tensor:
        """½ρ‖w‖²."""
        return 0.5 * self.ridge * (x @ x)

    def common_gradient(self, x: Tensor) -> Tensor:
        """ρw."""
        return self.ridge * x

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """φ(u) = 1/(1 + eᵘ)."""
        return torch.sigmoid(-score)

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """−φ(u)φ(−u)."""
        return -torch.sigmoid(score) * torch.sigmoid(-score)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """Points found, lowest first."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        wide, kept, seen = self.to(dtype=torch.float64), [], Counter()
        found = find_stationary_points(wide, _STARTS, scale=_SPREAD, steps=_STEPS)
        for place, values, index in zip(found.locations, found.eigenvalues, found.index.tolist(), strict=True):
            if len(kept) < _MOST and float(values.abs().min()) > _FLAT:
                seen[index] += 1
                kept.append(wide.critical_point(place, f"index {index}, no. {seen[index]}"))
        return tuple(point.to(dtype=self.features.dtype) for point in kept)
