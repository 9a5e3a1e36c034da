"""A smooth Gaussian random field in a bowl: random Fourier features, noisy by tilts or by drawing features."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.sampling import tilts_of
from escape.stationary_points import find_stationary_points

# Starts and steps of the search for points that no formula gives.
_STARTS, _STEPS = 100, 60
_ORDER = ("saddle", "minimum", "maximum", "degenerate")


class _Field(Landscape):
    """½ k|x|² + a field of unit amplitude A: points by search."""

    stiffness: float
    amplitude: float

    def _check(self):
        if not (self.stiffness > 0 and self.amplitude > 0):
            raise ValueError(f"stiffness and amplitude must be positive, got {self.stiffness} and {self.amplitude}")

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """Points that a seeded search of 100 starts finds, not all: saddles, minima, maxima, each lowest first."""
        return self._points

    def _bent(self, x: Tensor, frequencies: Tensor, phases: Tensor, unit: float) -> Tensor:
        waves = torch.cos(frequencies @ x + phases)
        return self.stiffness * torch.eye(len(x)).to(x) - unit * (frequencies.T * waves) @ frequencies

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        # Where the bowl's pull exceeds the slopes of the field there is nothing to find.
        reach = self._slope() / self.stiffness
        found = find_stationary_points(
            self.to(dtype=torch.float64), _STARTS, index=range(self.dimension + 1), scale=reach / 2, steps=_STEPS
        )
        points = sorted(found.critical_points(), key=lambda point: _ORDER.index(point.kind))
        if self.samples.dtype == torch.float64:
            return tuple(points)
        return tuple(self.critical_point(p.location.to(self.samples), p.name) for p in points)


@dataclass(frozen=True, eq=False)
class RandomField(_Field):
    """f_i(x) = ½ k|x|² + A √(2/m) Σ_j cos(w_jᵀx + φ_j) + g_iᵀx with Σ_i g_i = 0.

    With w_j ~ N(0, I/ℓ²) and uniform φ_j the sum is, as m grows, a Gaussian field of mean zero and covariance
    A² exp(−|x − y|²/(2ℓ²)), ℓ the distance over which it forgets; where k < A/ℓ² roughly, there are many stationary
    points, the more the higher the dimension. Their number is random and their places have no formula:
    `critical_points` gives those that a seeded search of 100 starts finds, by no means all. Noise: the tilts, the same
    at every point, of type I.

    Source: features, Rahimi and Recht 2007 (NeurIPS 20); the field in a bowl, Fyodorov 2004, Phys. Rev. Lett. 92,
    240601, and its stationary points by index, Bray and Dean 2007, Phys. Rev. Lett. 98, 150201.

    Parameters
    ----------
    tilts : Tensor (n, d)
        g_i, centred.
    frequencies : Tensor (m, d)
        w_j, per unit length.
    phases : Tensor (m,)
        φ_j.
    stiffness, amplitude : float
        k and A.
    """

    tilts: Tensor
    frequencies: Tensor
    phases: Tensor
    stiffness: float
    amplitude: float
    affine = True
    constant_noise = True

    def __post_init__(self):
        self._check()
        m, d = len(self.phases), self.tilts.shape[-1]
        if self.tilts.ndim != 2 or self.phases.shape != (m,) or self.frequencies.shape != (m, d):
            raise ValueError(
                f"tilts must be (n, d), frequencies (m, d) and phases (m,), got {tuple(self.tilts.shape)}, "
                f"{tuple(self.frequencies.shape)} and {tuple(self.phases.shape)}"
            )

    @classmethod
    def gaussian(
        cls,
        d: int = 2,
        noise: float = 0.3,
        length: float = 1.0,
        amplitude: float = 1.0,
        stiffness: float = 0.2,
        features: int = 500,
        n: int = 1000,
        seed: int = 0,
        law: str = "gaussian",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Draw a field and tilts.

        Parameters
        ----------
        d : int
            Dimension.
        noise : float
            Standard deviation of a sample's tilt in every coordinate.
        length, amplitude, stiffness : float
            ℓ, A and k.
        features : int
            m; the field is Gaussian up to O(1/m).
        n, seed : int
            Number of samples (even for Rademacher tilts), and seed of field and tilts.
        law : {"gaussian", "rademacher"}
            Law of the tilts before they are balanced.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        frequencies, phases = _features(d, length, features, seed)
        tilts = tilts_of(law, n, d, noise, seed + 1)
        return cls(tilts.to(dtype), frequencies.to(dtype), phases.to(dtype), stiffness, amplitude)

    @property
    def samples(self) -> Tensor:
        """The tilts, (n, d)."""
        return self.tilts

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.tilts.shape[1]

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """½ k|x|² + A √(2/m) Σ_j cos(w_jᵀx + φ_j) + gᵀx."""
        waves = torch.cos(self.frequencies @ x + self.phases).sum()
        return 0.5 * self.stiffness * (x @ x) + self._unit * waves + sample @ x

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """k x − A √(2/m) Σ_j sin(w_jᵀx + φ_j) w_j + g."""
        waves = torch.sin(self.frequencies @ x + self.phases)
        return self.stiffness * x - self._unit * (waves @ self.frequencies) + sample

    def hessian(self, x: Tensor) -> Tensor:
        """k I − A √(2/m) Σ_j cos(w_jᵀx + φ_j) w_j w_jᵀ."""
        return self._bent(x, self.frequencies, self.phases, self._unit)

    @property
    def _unit(self) -> float:
        return self.amplitude * (2 / len(self.phases)) ** 0.5

    def _slope(self) -> float:
        """Size of the field's gradient, A √d/ℓ."""
        return self.amplitude * float(self.frequencies.square().sum(1).mean().sqrt())


@dataclass(frozen=True, eq=False)
class FeatureField(_Field, GeneralizedLinear):
    """f_i(x) = ½ k|x|² + A √(2n) cos(w_iᵀx + φ_i): the field of `RandomField`, every feature a sample.

    A batch sees a field of its own, as different from f as two fields of b features are: the variance of a sample's
    gradient, about A² n/ℓ² in every coordinate, grows with the number of features. It varies from place to place, and
    survives at stationary points: type I.

    Source: Rahimi and Recht 2007 (NeurIPS 20).

    Parameters
    ----------
    features : Tensor (n, d + 1)
        w_i and, last, φ_i.
    stiffness, amplitude : float
        k and A.
    """

    features: Tensor
    stiffness: float
    amplitude: float

    def __post_init__(self):
        self._check()
        if self.features.ndim != 2 or self.features.shape[1] < 2:
            raise ValueError(f"features must be (n, d + 1), got {tuple(self.features.shape)}")

    @classmethod
    def gaussian(
        cls,
        d: int = 2,
        length: float = 1.0,
        amplitude: float = 1.0,
        stiffness: float = 0.2,
        n: int = 500,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Draw a field of n features, the one that `RandomField.gaussian` draws for the same seed.

        Parameters
        ----------
        d, length, amplitude, stiffness, seed, dtype
            As there.
        n : int
            Number of features, which are the samples.
        """
        frequencies, phases = _features(d, length, n, seed)
        return cls(torch.cat([frequencies, phases[:, None]], 1).to(dtype), stiffness, amplitude)

    @property
    def samples(self) -> Tensor:
        """The features, (n, d + 1)."""
        return self.features

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.features.shape[1] - 1

    def common_loss(self, x: Tensor) -> Tensor:
        """½ k|x|²."""
        return 0.5 * self.stiffness * (x @ x)

    def common_gradient(self, x: Tensor) -> Tensor:
        """k x."""
        return self.stiffness * x

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """A √(2n) cos(u + φ)."""
        return self._unit * torch.cos(score + target[0])

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """−A √(2n) sin(u + φ)."""
        return -self._unit * torch.sin(score + target[0])

    def hessian(self, x: Tensor) -> Tensor:
        """k I − A √(2/n) Σ_i cos(w_iᵀx + φ_i) w_i w_iᵀ."""
        return self._bent(x, self.features[:, :-1], self.features[:, -1], self._unit / self.n)

    @property
    def _unit(self) -> float:
        return self.amplitude * (2 * self.n) ** 0.5

    def _slope(self) -> float:
        """Size of the field's gradient, A √d/ℓ."""
        return self.amplitude * float(self.features[:, :-1].square().sum(1).mean().sqrt())


def _features(d: int, length: float, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Frequencies (m, d) of the Gaussian spectral density, and uniform phases (m,)."""
    if d < 1 or count < 1 or not length > 0:
        raise ValueError(f"d, the number of features and length must be positive, got {d}, {count} and {length}")
    rng = np.random.default_rng(seed)
    phases = 2 * np.pi * rng.random(count)
    return torch.from_numpy(rng.standard_normal((count, d)) / length), torch.from_numpy(phases)
