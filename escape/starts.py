"""Where chains start, when that is random."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class NormalStart:
    """x_0 = x* + std · ξ v with ξ standard normal, or x* + std · ξ with ξ normal in all d dimensions.

    Parameters
    ----------
    point : Tensor (d,)
        x*, the centre.
    std : float
        Standard deviation, non-negative.
    direction : Tensor (d,), optional
        v; all directions alike if omitted.
    """

    point: Tensor
    std: float
    direction: Tensor | None = None

    def __post_init__(self):
        if not (math.isfinite(self.std) and self.std >= 0):
            raise ValueError(f"std must be finite and ≥ 0, got {self.std!r}")

    def __call__(self, chains: int, generator: Generator) -> Tensor:
        """Draw starts (chains, d)."""
        device = generator.device
        width = (chains, self.point.shape[0] if self.direction is None else 1)
        normal = torch.randn(width, generator=generator, device=device, dtype=self.point.dtype)
        if self.direction is not None:
            normal = normal * self.direction.to(device)
        return self.point.to(device) + self.std * normal
