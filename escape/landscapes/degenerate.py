"""Degenerate saddles: the force starts with a power of the distance, and no exponential growth describes the escape."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.sampling import tilts_of


class Tilted(Landscape):
    """f_i(x) = f(x) + g_iᵀx with Σ_i g_i = 0: additive noise, the same at every point. Samples are the tilts (n, d)."""

    tilts: Tensor
    affine = True
    constant_noise = True

    @property
    def samples(self) -> Tensor:
        """The tilts, (n, d)."""
        return self.tilts

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.tilts.shape[1]

    @cached_property
    def mean_sample(self) -> Tensor:
        """Mean tilt, exactly zero.

        The tilts sum to zero by definition; the rounding of their sum would push batch gradient descent off a saddle
        where it must stay for ever.
        """
        return torch.zeros_like(self.tilts[0])

    def _check_tilts(self, least: int):
        if self.tilts.ndim != 2 or self.tilts.shape[1] < least or not len(self.tilts):
            raise ValueError(f"tilts must be (n, d) with n ≥ 1 and d ≥ {least}, got {tuple(self.tilts.shape)}")
        size = float(self.tilts.abs().max())
        # Rounding of single precision is allowed for in any dtype: the tilts may have come from there.
        if float(self.tilts.mean(0).abs().max()) > 1e-4 * size / len(self.tilts) ** 0.5:
            raise ValueError("the tilts must sum to zero, or the critical points are elsewhere; subtract their mean")

    def _tilted_point(self, location: Tensor, eigenvalues: Tensor, name: str) -> CriticalPoint:
        """Critical point where the Hessian is diagonal: its diagonal (d,), and noise as the tilts have it."""
        eigenvalues, order = eigenvalues.sort(stable=True)
        directions = torch.eye(self.dimension).to(self.tilts)[:, order]
        index = int((eigenvalues < 0).sum())
        spread = self.tilts.abs().amax(0)[order]
        noisy = bool((spread[:index] if index else spread).max() > 0)
        return CriticalPoint(location, eigenvalues, directions, "I" if noisy else "II", name)


class _Degenerate(Tilted):
    """f_i(x) = u(y) + ½ Σ_j c_j z_j² + g_iᵀx with x = (y, z), u flat at 0 to second order."""

    bath: Tensor

    def _check(self, flat: int):
        self._check_tilts(flat)
        if self.bath.shape != (self.dimension - flat,) or not (self.bath > 0).all():
            raise ValueError(
                f"bath must hold d − {flat} = {self.dimension - flat} positive curvatures, got {self.bath.tolist()}"
            )

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin, flat but for the bath."""
        origin = torch.zeros_like(self.tilts[0])
        flat = origin.new_zeros(self.dimension - len(self.bath))
        return (self._tilted_point(origin, torch.cat([flat, self.bath]), "origin"),)


@dataclass(frozen=True, eq=False)
class MonkeySaddle(_Degenerate):
    """f_i(x) = x_1³ − 3x_1x_2² + ½ Σ_{j≥3} c_j x_j² + g_iᵀx.

    The origin is the only critical point; its Hessian is zero in the plane of x_1 and x_2, where three valleys and
    three ridges of equal shape meet, and c_j beside it. Noise is additive. Along the valley x_1 < 0 the force is
    3x_1², the one-sided landscape with n = 3 and coefficient 3 of `theory.degenerate_mean_exit_step`.

    Source: D. Hilbert and S. Cohn-Vossen, Anschauliche Geometrie, 1932; spectra derived.

    Parameters
    ----------
    tilts : Tensor (n, d)
        g_i, summing to zero; `noisy` makes them.
    bath : Tensor (d − 2,)
        Curvatures c_j > 0 of the other coordinates; empty in the plane.
    """

    tilts: Tensor
    bath: Tensor

    def __post_init__(self):
        self._check(2)

    @classmethod
    def noisy(
        cls,
        noise: float,
        bath: Sequence[float] = (),
        n: int = 1000,
        seed: int = 0,
        tilts: str = "gaussian",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the saddle with per-sample noise of standard deviation `noise` in every coordinate.

        Parameters
        ----------
        noise : float
            Standard deviation of a sample's tilt.
        bath : sequence of float
            Curvatures of the other coordinates.
        n, seed : int
            Number of samples and seed.
        tilts : str
            Law of the tilts, by its name in `tilts_of`.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        rows = tilts_of(tilts, n, 2 + len(bath), noise, seed)
        return cls(rows.to(dtype), torch.tensor(list(bath), dtype=dtype))

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """x_1³ − 3x_1x_2² + ½ Σ c_j x_j² + gᵀx."""
        y, z = x[:2], x[2:]
        monkey = y[0] * (y[0] * y[0] - 3 * y[1] * y[1])
        return monkey + 0.5 * (self.bath * z * z).sum() + (sample * x).sum()

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(3x_1² − 3x_2², −6x_1x_2, c_j x_j) + g."""
        first, second = x[:1], x[1:2]
        return torch.cat([3 * (first * first - second * second), -6 * first * second, self.bath * x[2:]]) + sample


@dataclass(frozen=True, eq=False)
class DegenerateSaddle(_Degenerate):
    """f_i(x) = −k|x_1|ⁿ/n + ½ Σ_{j≥2} c_j x_j² + g_iᵀx, n > 2, or one-sided: −k x_1|x_1|ⁿ⁻¹/n.

    The origin is the only critical point, flat along x_1 (Hessian 0, c_2, …, c_d), and f falls on both sides of it, or
    on the right alone. Noise is additive. Degree 4 with one bath curvature 1 is x_2²/2 − x_1⁴/4. Escape is the matter
    of `theory.degenerate_gd_exit_step` and `theory.degenerate_mean_exit_step`, in the same letters.

    Source: derived.

    Parameters
    ----------
    tilts : Tensor (n, d)
        g_i, summing to zero; `noisy` makes them.
    bath : Tensor (d − 1,)
        Curvatures c_j > 0 of the other coordinates; empty in one dimension.
    degree : float
        n, above 2.
    coefficient : float
        k > 0: the force along x_1 has size k|x_1|ⁿ⁻¹.
    two_sided : bool
        Whether f falls on both sides of the saddle.
    """

    tilts: Tensor
    bath: Tensor
    degree: float = 4.0
    coefficient: float = 1.0
    two_sided: bool = True

    def __post_init__(self):
        self._check(1)
        if not 2 < self.degree < float("inf"):
            raise ValueError(f"degree must be a number above 2, got {self.degree}; at 2 take QuadraticSaddle")
        if not 0 < self.coefficient < float("inf"):
            raise ValueError(f"coefficient must be positive, got {self.coefficient}")

    @classmethod
    def noisy(
        cls,
        noise: float,
        degree: float = 4.0,
        coefficient: float = 1.0,
        two_sided: bool = True,
        bath: Sequence[float] = (),
        n: int = 1000,
        seed: int = 0,
        tilts: str = "gaussian",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the saddle with per-sample noise of standard deviation `noise` in every coordinate.

        Parameters
        ----------
        degree, coefficient, two_sided
            As in the class.
        noise, bath, n, seed, tilts, dtype
            As in `MonkeySaddle.noisy`.
        """
        rows = tilts_of(tilts, n, 1 + len(bath), noise, seed)
        return cls(rows.to(dtype), torch.tensor(list(bath), dtype=dtype), degree, coefficient, two_sided)

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """−k|x_1|ⁿ/n + ½ Σ c_j x_j² + gᵀx, or the one-sided fall."""
        first, rest = x[0], x[1:]
        fall = first.abs() ** self.degree
        fall = fall if self.two_sided else first.sign() * fall
        return (sample * x).sum() + 0.5 * (self.bath * rest * rest).sum() - self.coefficient / self.degree * fall

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(∓k|x_1|ⁿ⁻¹, c_j x_j) + g."""
        first = x[:1]
        force = self.coefficient * first.abs() ** (self.degree - 1)
        force = force * first.sign() if self.two_sided else force
        return torch.cat([-force, self.bath * x[1:]]) + sample
