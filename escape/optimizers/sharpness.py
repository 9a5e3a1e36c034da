"""Descent by the gradient at a worse point nearby."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from escape.optimizers.base import Optimizer, Position, Rate, check_lr, check_number, rate_at


@dataclass(frozen=True)
class SAM(Optimizer):
    """x_{t+1} = x_t − η_t g(x_t + ρ g(x_t)/|g(x_t)|), both gradients of one batch (Foret et al. 2021).

    On a manifold the second gradient is that of f as the landscape continues it off the manifold, F(retract(x)).

    Parameters
    ----------
    lr : float or callable
        η, or a schedule t -> η_t.
    radius : float
        ρ ≥ 0, a distance; 0 is plain descent.
    """

    lr: Rate
    radius: float

    def __post_init__(self):
        check_lr(self.lr)
        check_number("radius", self.radius, least=0)

    def init(self, x: Tensor) -> Position:
        """Start at x."""
        return Position(x)

    def move(self, state: Position, see: Callable[[Tensor], Tensor], kick: None, t: int) -> Position:
        """Look uphill by ρ, where the gradient does not vanish, and step by the gradient there."""
        gradient = see(state.x)
        norm = gradient.norm(dim=-1, keepdim=True)
        uphill = torch.where(norm > 0, gradient / norm, 0.0)
        return self.step(state, see(torch.add(state.x, uphill, alpha=self.radius)), kick, t)

    def step(self, state: Position, gradient: Tensor, kick: None, t: int) -> Position:
        """x − η_t g, g the gradient uphill."""
        return Position(torch.sub(state.x, gradient, alpha=rate_at(self.lr, t)))
