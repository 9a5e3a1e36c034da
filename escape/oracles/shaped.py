"""Gaussian noise along the leading direction of the batch's, or shaped like the curvature."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.batches import one_thread
from escape.oracles.gaussian import Shaped

# Dimensions above which no spectrum is taken at every step, and none at all.
_MOVING, _FROZEN = 128, 4096
# Entries of the matrices whose spectra are taken at once.
_AT_ONCE = 1 << 22
# Units of roundoff, times the dimension, within which eigenvalues count as equal.
_EQUAL = 64


class Rooted(Shaped):
    """What oracles share whose covariance is κ R(x) R(x)ᵀ, R a matrix got from a spectrum: at every point, or at one.

    Where R is the same everywhere it is computed once, and chains are drawn the ready noise. The fields of a subclass
    are those of `Batched` and `at`, the one point (d,) or None.
    """

    at: Tensor | None

    def __post_init__(self):
        super().__post_init__()
        if self.at is not None:
            object.__setattr__(self, "at", _finite_point(self.at))

    # Tensors have no equality of their own: the fields of the base alone would make two points one.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch or the dimension is too large, or `at` is no point of the landscape."""
        super().check(landscape)
        d, name = landscape.dimension, type(self).__name__
        if self.at is not None and len(self.at) != d:
            raise ValueError(f"at has dimension {len(self.at)}, but the landscape has dimension {d}")
        if d > _FROZEN:
            raise ValueError(f"{name} takes a spectrum, of dimension {_FROZEN} at most; the landscape has {d}")
        if d > _MOVING and not self._still(landscape):
            raise ValueError(
                f"{name} takes a spectrum for every chain and step, of dimension {_MOVING} at most; the landscape has "
                f"{d}: give the point at=… at which it is taken once"
            )

    def additive(self, landscape: Landscape) -> bool:
        """Whether it is taken at one point, or the covariance is the same everywhere."""
        return self.at is not None or landscape.constant_noise

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor:
        """Standard normals (steps, chains, d); where R is the same everywhere the noise itself, √κ R ξ."""
        draw = super().draw(landscape, steps, chains, generator)
        if not self._still(landscape):
            return draw
        return self.covariance_factor(landscape) ** 0.5 * (draw @ self._kept_root(landscape).mT)

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor) -> Tensor:
        """∇f(x) + √κ R(x) ξ."""
        if self._still(landscape):
            return landscape.gradient(x) + draw
        width = max(1, _AT_ONCE // x.shape[1] ** 2)
        parts = zip(x.split(width), draw.split(width), strict=True)
        noise = torch.cat([(self._roots_of(landscape, y) @ xi[:, :, None])[:, :, 0] for y, xi in parts])
        return landscape.gradient(x) + self.covariance_factor(landscape) ** 0.5 * noise

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """κ VᵀR(x) R(x)ᵀV."""
        still = self._still(landscape)
        root = self._kept_root(landscape) if still else self._roots(landscape, x[None])[0]
        pushed = root.mT @ directions
        return self.covariance_factor(landscape) * (pushed.mT @ pushed)

    def _roots_of(self, landscape: Landscape, x: Tensor) -> Tensor:
        """R(x) at points (c, d), of one spectrum where they are one point expanded."""
        if len(x) > 1 and x.stride(0) == 0:
            return self._roots(landscape, x[:1]).expand(len(x), -1, -1)
        return self._roots(landscape, x)

    def _kept_root(self, landscape: Landscape) -> Tensor:
        """R (d, d), computed once for a landscape and a point."""
        key = type(self), self._place
        if key not in landscape.kept_noise:
            samples = landscape.samples
            at = samples.new_zeros(landscape.dimension) if self.at is None else self.at.to(samples)
            with one_thread(), torch.no_grad():
                landscape.kept_noise[key] = self._roots(landscape, at[None])[0].contiguous()
        return landscape.kept_noise[key]

    @cached_property
    def _place(self) -> bytes | None:
        """`at` as bytes, which keep their hash: it is asked for at every draw."""
        return None if self.at is None else self.at.double().cpu().numpy().tobytes()

    @abstractmethod
    def _still(self, landscape: Landscape) -> bool:
        """Whether R is the same everywhere."""

    @abstractmethod
    def _roots(self, landscape: Landscape, x: Tensor) -> Tensor:
        """R(x) at points (c, d) -> (c, d, d)."""


def _finite_point(at: object) -> Tensor:
    """Return a point (d,) as a floating tensor of its own, so that no later change of what was given moves it."""
    try:
        point = torch.as_tensor(at, dtype=None if isinstance(at, Tensor) else torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"at must be a point (d,), a tensor or numbers, got {at!r}") from None
    point = point if point.is_floating_point() else point.double()
    if point.ndim != 1 or not bool(torch.isfinite(point).all()):
        raise ValueError(f"at must be a point (d,) of finite coordinates, got shape {tuple(point.shape)}")
    return point.detach().clone()


@dataclass(frozen=True, eq=False)
class LeadingNoise(Rooted):
    """∇f plus Gaussian noise along one direction alone: covariance κ λ₁ u₁u₁ᵀ, C(x) = Σ λ_j u_j u_jᵀ, λ₁ the largest.

    Where the largest eigenvalue is m-fold, its directions share its variance equally: κ λ₁ P/m, P the projection onto
    them. Neither the sign of an eigenvector nor the choice of a basis matters then.

    Parameters
    ----------
    batch_size : int
        b of the mini-batch that κ is of.
    replacement : bool
        Whether that batch is drawn with replacement.
    at : Tensor (d,), optional
        The point at which λ₁ and u₁ are taken, once; at every point that a chain comes to if omitted, which takes the
        spectrum of a (d, d) matrix for every chain and step, d ≤ 128, unless the landscape's noise is constant.
    """

    batch_size: int
    replacement: bool = False
    at: Tensor | None = None

    def _still(self, landscape: Landscape) -> bool:
        return self.at is not None or landscape.constant_noise

    def _roots(self, landscape: Landscape, x: Tensor) -> Tensor:
        """√(λ₁/m) P."""
        values, vectors = torch.linalg.eigh(landscape.gradient_covariances(x))
        largest = values[:, -1:].clamp(min=0)
        near = _EQUAL * x.shape[1] * torch.finfo(x.dtype).eps
        leading = (values >= largest * (1 - near)).to(x)
        scale = (largest / leading.sum(1, keepdim=True).clamp(min=1)).sqrt()
        return (vectors * (leading * scale)[:, None, :]) @ vectors.mT


@dataclass(frozen=True, eq=False)
class HessianNoise(Rooted):
    """∇f plus Gaussian noise shaped like the curvature: covariance κ (Tr C(x)/Tr |H(x)|) |H(x)|, H the Hessian of f.

    |H| has the eigenvectors of H and the magnitudes of its eigenvalues. The total variance is the mini-batch's. Where
    H = 0 there is no shape to take, and the noise is isotropic.

    Parameters
    ----------
    batch_size : int
        b of the mini-batch that κ is of.
    replacement : bool
        Whether that batch is drawn with replacement.
    at : Tensor (d,), optional
        The point at which Tr C and |H| are taken, once; at every point that a chain comes to if omitted, which takes
        the spectrum of a (d, d) matrix for every chain and step, d ≤ 128, unless Hessian and noise are constant.
    """

    batch_size: int
    replacement: bool = False
    at: Tensor | None = None

    def _still(self, landscape: Landscape) -> bool:
        return self.at is not None or (landscape.constant_noise and landscape.constant_hessian)

    def _roots(self, landscape: Landscape, x: Tensor) -> Tensor:
        """(Tr C/Tr |H|)^½ |H|^½."""
        values, vectors = torch.linalg.eigh(landscape.hessians_at(x))
        sizes = values.abs()
        total = sizes.sum(1, keepdim=True)
        shares = torch.where(total > 0, sizes / total, 1.0 / x.shape[1])
        trace = landscape.noise_trace(x).clamp(min=0)[:, None]
        return (vectors * (trace * shares).sqrt()[:, None, :]) @ vectors.mT
