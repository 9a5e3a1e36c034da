"""Two minima and the barrier between them, in one coordinate, with a bath of harmonic coordinates beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.sampling import tilts_of


class _Bathed(Landscape):
    """f_i(x) = u(x_1) + ½ Σ_{j≥2} c_j x_j² + g_iᵀ φ(x), with φ(x) = (φ_1(x_1), x_2, …, x_d): samples are the tilts."""

    tilts: Tensor
    bath: Tensor
    affine = True

    def _check(self):
        if self.tilts.ndim != 2 or self.bath.shape != (self.tilts.shape[1] - 1,):
            raise ValueError(
                f"tilts must be (n, d) and bath (d − 1,), got {tuple(self.tilts.shape)} and {tuple(self.bath.shape)}"
            )

    @property
    def samples(self) -> Tensor:
        """The tilts, (n, d)."""
        return self.tilts

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.tilts.shape[1]

    def _point(self, position: float, curvature: float, name: str) -> CriticalPoint:
        """Critical point at (position, 0, …, 0), diagonal Hessian (curvature, bath)."""
        location = torch.zeros_like(self.tilts[0])
        location[0] = position
        eigenvalues, order = torch.cat([self.bath.new_tensor([curvature]), self.bath]).sort()
        directions = torch.eye(self.dimension).to(self.tilts)[:, order]
        variances = self.tilts.var(0, correction=0)
        watched = variances[0] if curvature < 0 else variances.max()
        return CriticalPoint(location, eigenvalues, directions, "I" if watched > 0 else "II", name)


@dataclass(frozen=True, eq=False)
class DoubleWell(_Bathed):
    """f_i(x) = x_1⁴/4 − x_1²/2 + ½ Σ_{j≥2} c_j x_j² + g_iᵀx.

    Minima at x_1 = ±1 with curvature 2, a saddle at the origin with curvature −1, barrier 1/4, for tilts that sum to
    zero.

    Parameters
    ----------
    tilts : Tensor (n, d)
        g_i, additive noise of each sample; `rademacher`, `gaussian` and `heavy` make them.
    bath : Tensor (d − 1,)
        Curvatures c_j > 0 of the other coordinates; empty in one dimension.
    """

    tilts: Tensor
    bath: Tensor
    constant_noise = True

    def __post_init__(self):
        self._check()
        if not (self.bath > 0).all():
            raise ValueError(f"bath curvatures must be positive, got {self.bath.tolist()}")

    @classmethod
    def rademacher(
        cls, noise: float, bath: Sequence[float] = (), n: int = 1000, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> Self:
        """Make the well with tilts ±noise in every coordinate, exactly balanced; n even."""
        return cls._made("rademacher", noise, bath, n, seed, dtype)

    @classmethod
    def gaussian(
        cls, noise: float, bath: Sequence[float] = (), n: int = 1000, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> Self:
        """Make the well with Gaussian tilts of covariance noise² I exactly."""
        return cls._made("gaussian", noise, bath, n, seed, dtype)

    @classmethod
    def heavy(
        cls, noise: float, bath: Sequence[float] = (), n: int = 1000, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> Self:
        """Make the well with heavy-tailed tilts of standard deviation `noise`, of the law in `heavy_tails`."""
        return cls._made("heavy", noise, bath, n, seed, dtype)

    @classmethod
    def _made(cls, kind, noise, bath, n, seed, dtype) -> Self:
        tilts = tilts_of(kind, n, 1 + len(bath), noise, seed)
        return cls(tilts.to(dtype), torch.tensor(list(bath), dtype=dtype))

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """u(x_1) + ½ Σ c_j x_j² + gᵀx."""
        first, rest = x[0], x[1:]
        return first**4 / 4 - first**2 / 2 + 0.5 * (self.bath * rest * rest).sum() + (sample * x).sum()

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(x_1³ − x_1, c_j x_j) + g."""
        first = x[:1]
        return torch.cat([first * first * first - first, self.bath * x[1:]]) + sample

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """Left minimum, right minimum, saddle."""
        return (
            self._point(-1.0, 2.0, "left minimum"),
            self._point(1.0, 2.0, "right minimum"),
            self._point(0.0, -1.0, "saddle"),
        )


@dataclass(frozen=True, eq=False)
class TwoSlopeWell(_Bathed):
    """f_i(x) = h(y² − 1)² + ½ Σ_{j≥2} c_j x_j² + g_iᵀφ(x) with y = k₁x_1 for x_1 < 0 and y = k₂x_1 for x_1 ≥ 0.

    Two minima of equal depth under one barrier h: the sharp one at −1/k₁ and the flat one at 1/k₂, of curvature 8hk²
    each; the saddle at the origin has one-sided curvatures −4hk₁² and −4hk₂², and the gradient is continuous there.
    Noise: φ(x) = x gives every sample a constant tilt; with `scaled_noise`, φ_1(x) = y, so that the noise along x_1
    has standard deviation k·noise on either side, growing with the curvature.

    Parameters
    ----------
    sharp, flat : float
        Slopes k₁ and k₂, positive.
    barrier : float
        h, positive.
    tilts : Tensor (n, d), optional
        g_i, centred; without them the landscape is one noiseless term in d = 1 + len(bath) dimensions.
    bath : Tensor (d − 1,), optional
        Curvatures c_j > 0 of the other coordinates; none if omitted.
    scaled_noise : bool
        Noise growing with the curvature instead of constant.
    """

    sharp: float
    flat: float
    barrier: float
    tilts: Tensor = None
    bath: Tensor = None
    scaled_noise: bool = False

    def __post_init__(self):
        if not min(self.sharp, self.flat, self.barrier) > 0:
            raise ValueError(
                f"sharp, flat and barrier must be positive, got {self.sharp}, {self.flat} and {self.barrier}"
            )
        if self.bath is None:
            dtype = torch.float64 if self.tilts is None else self.tilts.dtype
            object.__setattr__(self, "bath", torch.zeros(0, dtype=dtype))
        if self.tilts is None:
            object.__setattr__(self, "tilts", torch.zeros(1, 1 + len(self.bath), dtype=self.bath.dtype))
        self._check()
        if not (self.bath > 0).all():
            raise ValueError(f"bath curvatures must be positive, got {self.bath.tolist()}")

    @classmethod
    def noisy(
        cls,
        sharp: float,
        flat: float,
        barrier: float,
        noise: float,
        bath: Sequence[float] = (),
        n: int = 1000,
        seed: int = 0,
        tilts: str = "rademacher",
        scaled_noise: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the well with per-sample noise of standard deviation `noise` in every coordinate of φ.

        Parameters
        ----------
        sharp, flat, barrier, scaled_noise
            As in the class.
        noise : float
            Standard deviation of a sample's tilt.
        bath : sequence of float
            Curvatures of the other coordinates.
        n, seed : int
            Number of samples (even for Rademacher tilts) and seed.
        tilts : {"rademacher", "gaussian", "heavy"}
            Law of the tilts before they are balanced.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        rows = tilts_of(tilts, n, 1 + len(bath), noise, seed).to(dtype)
        return cls(sharp, flat, barrier, rows, torch.tensor(list(bath), dtype=dtype), scaled_noise)

    @property
    def constant_noise(self) -> bool:
        """True unless the noise grows with the curvature."""
        return not self.scaled_noise

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """h(y² − 1)² + ½ Σ c_j x_j² + gᵀφ(x)."""
        first, rest = x[0], x[1:]
        y = self._slope(first) * first
        well = self.barrier * (y * y - 1) ** 2
        pushed = y if self.scaled_noise else first
        return well + 0.5 * (self.bath * rest * rest).sum() + sample[0] * pushed + (sample[1:] * rest).sum()

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(4hk(y² − 1)y, c_j x_j) + g ∘ φ'(x)."""
        first = x[:1]
        k = self._slope(first)
        y = k * first
        drift = torch.cat([4 * self.barrier * (y * y - 1) * y * k, self.bath * x[1:]])
        return drift + (torch.cat([sample[:1] * k, sample[1:]]) if self.scaled_noise else sample)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """Sharp minimum, flat minimum, saddle (its curvature is that of the flat side)."""
        k1, k2, h = self.sharp, self.flat, self.barrier
        return (
            self._point(-1 / k1, 8 * h * k1**2, "sharp minimum"),
            self._point(1 / k2, 8 * h * k2**2, "flat minimum"),
            self._point(0.0, -4 * h * k2**2, "saddle"),
        )

    def _slope(self, first: Tensor) -> Tensor:
        return torch.where(first < 0, *self._slopes)

    @cached_property
    def _slopes(self) -> tuple[Tensor, Tensor]:
        return self.tilts.new_tensor(self.sharp), self.tilts.new_tensor(self.flat)
