"""Any landscape near one of its points: every term replaced by its Taylor polynomial of second order."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint


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

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The point of the expansion, the only one unless the Hessian is singular."""
        return (self.point,)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "SecondOrder":
        """Return a copy with the original and the point moved to a device and a floating dtype."""
        p = self.point
        moved = (tensor.to(device=device, dtype=dtype) for tensor in (p.location, p.eigenvalues, p.directions))
        return SecondOrder(self.landscape.to(device, dtype), CriticalPoint(*moved, p.noise, p.name))
