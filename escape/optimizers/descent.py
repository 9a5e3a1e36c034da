"""Descent along the gradient, plain and with momentum."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from escape.optimizers.base import Optimizer, Position, Rate, check_lr, check_share, rate_at


class PositionAndVelocity(NamedTuple):
    """State of heavy ball: x (c, d) and the last displacement (c, d)."""

    x: Tensor
    velocity: Tensor


class PositionAndBuffer(NamedTuple):
    """State of Nesterov's momentum: x (c, d), where gradients are taken, and the sum of past gradients m (c, d)."""

    x: Tensor
    buffer: Tensor


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
        check_share("momentum", self.momentum)

    def init(self, x: Tensor) -> PositionAndVelocity:
        """Start at x, at rest."""
        return PositionAndVelocity(x, x * 0)

    def step(self, state: PositionAndVelocity, gradient: Tensor, kick: None, t: int) -> PositionAndVelocity:
        """v ← β v − η_t g, then x ← x + v."""
        velocity = torch.sub(self.momentum * state.velocity, gradient, alpha=rate_at(self.lr, t))
        return PositionAndVelocity(state.x + velocity, velocity)


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """m ← β m + g_t, then x_{t+1} = x_t − η_t (g_t + β m), starting at rest (Nesterov 1983).

    In the variables of `torch.optim.SGD(nesterov=True)` (Sutskever, Martens, Dahl and Hinton 2013): x is the point
    where the gradient is taken, which looks ahead of the iterate y by the momentum, x_t = y_t + β (y_t − y_{t−1}).
    At a constant η, y_{t+1} = x_t − η g(x_t) is the sequence that theory follows.

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
        check_share("momentum", self.momentum)

    def init(self, x: Tensor) -> PositionAndBuffer:
        """Start at x, at rest."""
        return PositionAndBuffer(x, torch.zeros_like(x))

    def step(self, state: PositionAndBuffer, gradient: Tensor, kick: None, t: int) -> PositionAndBuffer:
        """m ← β m + g, then x ← x − η_t (g + β m)."""
        buffer = torch.add(gradient, state.buffer, alpha=self.momentum)
        ahead = torch.add(gradient, buffer, alpha=self.momentum)
        return PositionAndBuffer(torch.sub(state.x, ahead, alpha=rate_at(self.lr, t)), buffer)
