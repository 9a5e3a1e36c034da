"""Quadratic finite sums: every prediction for a saddle is exact here."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.batches import one_thread
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.sampling import standardized_normal


@dataclass(frozen=True, eq=False)
class QuadraticSaddle(Landscape):
    """f_i(x) = ½ Σ_j h_ij (Qᵀx)_j² + g_iᵀx with Σ_i g_i = 0.

    The origin is stationary with Hessian Q diag(mean h) Qᵀ. Tilts g_i give additive noise (type I), differing
    curvatures h_i multiplicative noise, which alone vanishes at the saddle (type II).

    Parameters
    ----------
    curvatures : Tensor (n, d)
        h_ij, of each sample along each eigendirection.
    tilts : Tensor (n, d)
        g_i, in the coordinates of x; their mean must vanish.
    basis : Tensor (d, d), optional
        Q, orthogonal, eigendirections in columns; the coordinate axes if omitted.
    """

    curvatures: Tensor
    tilts: Tensor
    basis: Tensor | None = None

    affine = True
    constant_hessian = True

    def __post_init__(self):
        if self.curvatures.ndim != 2 or self.curvatures.shape != self.tilts.shape:
            raise ValueError(
                f"curvatures and tilts must both be (n, d), got {tuple(self.curvatures.shape)} "
                f"and {tuple(self.tilts.shape)}"
            )
        size = float(self.tilts.abs().max())
        # Rounding of single precision is allowed for in any dtype: the tilts may have come from there.
        if float(self.tilts.mean(0).abs().max()) > 1e-4 * size / len(self.tilts) ** 0.5:
            raise ValueError("the tilts must sum to zero, or the origin is no saddle; subtract their mean")
        if self.basis is not None:
            eye = torch.eye(self.tilts.shape[1], dtype=self.basis.dtype, device=self.basis.device)
            if self.basis.shape != eye.shape or float((self.basis.T @ self.basis - eye).abs().max()) > 1e-4:
                raise ValueError("basis must be an orthogonal (d, d) matrix with eigendirections in its columns")

    @classmethod
    def additive(
        cls,
        eigenvalues: Sequence[float],
        noise: float | Sequence[float] | Tensor,
        n: int = 1000,
        seed: int = 0,
        basis: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make a type I saddle whose per-sample noise has exactly the covariance asked for.

        Parameters
        ----------
        eigenvalues : sequence of d floats
            Curvatures of f; negative ones are escape directions.
        noise : float, (d,) or (d, d)
            Standard deviation of one sample's gradient: the same along all directions, or one for each
            eigendirection; or the covariance matrix C itself, in the coordinates of x.
        n : int
            Number of samples, more than d.
        seed : int
            Seed of the tilts, Gaussian before they are centred and whitened.
        basis : Tensor (d, d), optional
            Eigendirections in columns.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        h = torch.as_tensor(eigenvalues, dtype=torch.float64)
        noise = torch.as_tensor(noise, dtype=torch.float64)
        d = len(h)
        white = standardized_normal(n, d, seed)
        if noise.ndim == 2:
            values, vectors = torch.linalg.eigh(noise)
            if noise.shape != (d, d) or values[0] < -1e-12 * values[-1]:
                raise ValueError(f"noise given as a matrix must be a ({d}, {d}) covariance, positive semidefinite")
            tilts = white @ (vectors * values.clamp(min=0).sqrt()).T
        else:
            if noise.numel() not in (1, d) or not (noise >= 0).all():
                raise ValueError(f"noise must be ≥ 0 and one number, {d} numbers or a ({d}, {d}) matrix")
            tilts = white * noise
            tilts = tilts if basis is None else tilts @ basis.T.double()
        tilts = tilts.to(dtype)
        return cls(h.expand(n, d).to(dtype), tilts - tilts.mean(0), None if basis is None else basis.to(dtype))

    @classmethod
    def multiplicative(
        cls,
        eigenvalues: Sequence[float],
        spread: float | Sequence[float],
        n: int = 1000,
        seed: int = 0,
        basis: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make a type II saddle: no tilts, curvatures of the samples scattered about the eigenvalues.

        Parameters
        ----------
        eigenvalues : sequence of d floats
            Curvatures of f, the exact means over samples.
        spread : float or (d,)
            Exact standard deviation of the samples' curvatures along each eigendirection, uncorrelated between them.
        n, seed, basis, dtype
            As in `additive`.
        """
        h = torch.as_tensor(eigenvalues, dtype=torch.float64)
        spread = torch.as_tensor(spread, dtype=torch.float64)
        if spread.numel() not in (1, len(h)) or not (spread >= 0).all():
            raise ValueError(f"spread must be ≥ 0 and one number or {len(h)} numbers")
        curvatures = (h + spread * standardized_normal(n, len(h), seed)).to(dtype)
        return cls(curvatures, torch.zeros_like(curvatures), None if basis is None else basis.to(dtype))

    @cached_property
    def samples(self) -> Tensor:
        """Curvatures and tilts side by side, leaving out a half that is the same for all samples."""
        halves = [half for half, varies in zip((self.curvatures, self.tilts), self._varies, strict=True) if varies]
        return torch.cat(halves, dim=1) if halves else self.tilts

    @cached_property
    def mean_sample(self) -> Tensor:
        """Mean row of `samples`, its tilt exactly zero.

        The tilts sum to zero by definition; the rounding of their sum, some 10⁻¹⁸, would push batch gradient descent
        off a saddle where it must stay for ever.
        """
        with one_thread():
            mean = self.samples.mean(0)
        if self._varies[1] or not self._varies[0]:
            mean[-self.dimension :] = 0
        return mean

    @property
    def constant_noise(self) -> bool:
        """True where all samples have the same curvatures."""
        return not self._varies[0]

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.tilts.shape[1]

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """½ Σ_j h_j (Qᵀx)_j² + gᵀx."""
        h, g = self._halves(sample)
        y = x if self.basis is None else self.basis.T @ x
        return 0.5 * (h * y * y).sum() + (g * x).sum()

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """Q (h ∘ Qᵀx) + g."""
        h, g = self._halves(sample)
        return torch.addcmul(g, h, x) if self.basis is None else self.basis @ (h * (self.basis.T @ x)) + g

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin."""
        eigenvalues, order = self.curvatures.mean(0).sort()
        basis = self.basis if self.basis is not None else torch.eye(self.dimension).to(self.tilts)
        point = CriticalPoint(torch.zeros_like(eigenvalues), eigenvalues, basis[:, order], name="origin")
        watched = point.unstable if point.index else point.directions
        # The tilts are data, not the outcome of a computation: no rounding to allow for but that of rotating them.
        noisy = (self.tilts @ watched).abs().max() > 1e3 * torch.finfo(self.tilts.dtype).eps * self.tilts.abs().max()
        return (CriticalPoint(point.location, eigenvalues, point.directions, "I" if noisy else "II", "origin"),)

    @cached_property
    def _varies(self) -> tuple[bool, bool]:
        return tuple(bool((half != half[0]).any()) for half in (self.curvatures, self.tilts))

    def _halves(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Curvatures and tilt of one sample, the constant half from its first row."""
        d = self.dimension
        first_h, first_g = self.curvatures[0], self.tilts[0]
        match self._varies:
            case (True, True):
                return sample[:d], sample[d:]
            case (True, False):
                return sample, first_g
            case _:
                return first_h, sample
