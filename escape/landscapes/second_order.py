"""Any landscape near one of its points: every term replaced by its Taylor polynomial of second order."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.func import grad, hessian, vjp, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.module import ModuleLandscape


@dataclass(frozen=True, eq=False)
class SecondOrder(Landscape):
    """f_i(x) ≈ f_i(x*) + g_iᵀδ + ½ δᵀH_i δ with δ = x − x*, g_i and H_i the gradient and the Hessian of f_i at x*.

    SGD on this landscape is exactly linear, with the per-sample noise of the original at x*: what the theory of
    linearised saddles describes, without the higher orders that the original adds. Hessians are never formed: the
    gradient is ∇f_i(x*) + H_i δ, the second term a derivative of ∇f_i.

    Parameters
    ----------
    landscape : Landscape
        The original; samples, affinity and device are its own.
    point : CriticalPoint
        Where to expand.
    """

    landscape: Landscape
    point: CriticalPoint

    constant_hessian = True

    @property
    def samples(self) -> Tensor:
        """Those of the original."""
        return self.landscape.samples

    @property
    def affine(self) -> bool:
        """A Taylor polynomial is affine in what its function is affine in."""
        return self.landscape.affine

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.point.location.shape[0]

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """f_i(x*) + g_iᵀδ + ½ δᵀH_i δ."""
        here = self.point.location
        delta = x - here
        slope, bend = self._taylor(delta, sample)
        return self.landscape.sample_loss(here, sample) + slope @ delta + 0.5 * (bend @ delta)

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """g_i + H_i δ."""
        slope, bend = self._taylor(x - self.point.location, sample)
        return slope + bend

    def _taylor(self, delta: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """g_i and H_i δ; H_i is symmetric, so that the transposed product will do, by reverse differentiation."""
        slope, pull = vjp(lambda y: self.landscape.sample_gradient(y, sample), self.point.location)
        return slope, pull(delta)[0]

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        """g_B + H_B δ; a network's by one derivative of its batched gradient, without one a sample."""
        if not isinstance(self.landscape, ModuleLandscape):
            return super()._batch_gradient(x, index)
        here = self.point.location.expand_as(x).clone()
        with torch.enable_grad():  # functions are run, not recordings of them, which know no transforms
            # In reverse: torch's forward derivatives know nothing of threads.
            slope, pull = vjp(lambda y: self.landscape.gradient(y, index), here)
            (bend,) = pull(x - here)
        return (slope + bend).detach()

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The point of the expansion, the only one unless the Hessian is singular."""
        return (self.point,)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "SecondOrder":
        """Return a copy with the original and the point moved to a device and a floating dtype."""
        return SecondOrder(self.landscape.to(device, dtype), self.point.to(device, dtype))


@dataclass(frozen=True, eq=False)
class SecondOrderScores(GeneralizedLinear):
    """`SecondOrder` of a generalized-linear landscape, which is one itself, and so as fast as the original.

    With f_i = r(x) + ℓ(z_iᵀx, y_i) and u_i = z_iᵀx*, the expansion has the common part r(x*) + ∇rᵀδ + ½ δᵀ∇²r δ and
    the score loss ℓ_i + ℓ_i' (u − u_i) + ½ ℓ_i'' (u − u_i)². The rows (u_i, ℓ_i, ℓ_i', ℓ_i'') are the targets.

    Parameters
    ----------
    landscape : GeneralizedLinear
        The original.
    point : CriticalPoint
        Where to expand.
    """

    landscape: GeneralizedLinear
    point: CriticalPoint

    constant_hessian = True

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.point.location.shape[0]

    @cached_property
    def samples(self) -> Tensor:
        """Features of the original, then (u_i, ℓ_i, ℓ_i', ℓ_i'')."""
        features, targets = self.landscape.samples[:, : self.dimension], self.landscape.samples[:, self.dimension :]
        scores = features @ self.point.location
        loss = self.landscape.score_loss
        parts = [vmap(function)(scores, targets) for function in (loss, grad(loss), grad(grad(loss)))]
        return torch.cat([features, torch.stack([scores, *parts], dim=1)], dim=1)

    def common_loss(self, x: Tensor) -> Tensor:
        """r(x*) + ∇rᵀδ + ½ δᵀ∇²r δ."""
        delta = x - self.point.location
        value, slope, bend = self._common
        return value + slope @ delta + 0.5 * (delta @ (bend @ delta))

    def common_gradient(self, x: Tensor) -> Tensor:
        """∇r + ∇²r δ."""
        _, slope, bend = self._common
        return slope + bend @ (x - self.point.location)

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """ℓ_i + ℓ_i' (u − u_i) + ½ ℓ_i'' (u − u_i)²."""
        here, value, slope, bend = target.unbind(-1)
        return value + slope * (score - here) + 0.5 * bend * (score - here) ** 2

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """ℓ_i' + ℓ_i'' (u − u_i)."""
        here, _, slope, bend = target.unbind(-1)
        return slope + bend * (score - here)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The point of the expansion."""
        return (self.point,)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "SecondOrderScores":
        """Return a copy with the original and the point moved to a device and a floating dtype."""
        return SecondOrderScores(self.landscape.to(device, dtype), self.point.to(device, dtype))

    @cached_property
    def _common(self) -> tuple[Tensor, Tensor, Tensor]:
        common, here = self.landscape.common_loss, self.point.location
        return common(here), grad(common)(here), hessian(common)(here)


def second_order(landscape: Landscape, point: CriticalPoint) -> SecondOrder | SecondOrderScores:
    """Replace every term of a landscape by its Taylor polynomial of second order at a point, the fastest way it allows.

    Parameters
    ----------
    landscape : Landscape
        The original.
    point : CriticalPoint
        Where to expand.
    """
    return (SecondOrderScores if isinstance(landscape, GeneralizedLinear) else SecondOrder)(landscape, point)
