"""Descent along the gradient, plain and with momentum."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from escape.optimizers.base import Optimizer, Position, Rate, check_lr, rate_at


class PositionAndVelocity(NamedTuple):
    """State of heavy ball: x (c, d) and the last displacement (c, d)."""

    x: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """x_{t+1} = x_t − η_t g_t: batch gradient descent or SGD, as the oracle has it.

    Parameters
    ----------
    lr : float or callable
        η, or a schedule t -> η_t.
    """

    lr: Rate

    def __post_init__(self):
        check_lr(self.lr)

    def init(self, x: Tensor) -> Position:
        """Start at x."""
        return Position(x)

    def step(self, state: Position, gradient: Tensor, kick: None, t: int) -> Position:
        """x − η_t g."""
        return Position(torch.sub(state.x, gradient, alpha=rate_at(self.lr, t)))


@dataclass(frozen=True)
class HeavyBall(Optimizer):
    """x_{t+1} = x_t − η_t g_t + β (x_t − x_{t−1}), starting at rest (Polyak 1964).

    Parameters
    ----------
    lr : float or callable
        η, or a schedule t -> η_t.
    momentum : float
        β in [0, 1).
    """

    lr: Rate
    momentum: float

    def __post_init__(self):
        check_lr(self.lr)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum!r}")

    def init(self, x: Tensor) -> PositionAndVelocity:
        """Start at x, at rest."""
        return PositionAndVelocity(x, x * 0)

    def step(self, state: PositionAndVelocity, gradient: Tensor, kick: None, t: int) -> PositionAndVelocity:
        """v ← β v − η_t g, then x ← x + v."""
        velocity = torch.sub(self.momentum * state.velocity, gradient, alpha=rate_at(self.lr, t))
        return PositionAndVelocity(state.x + velocity, velocity)
