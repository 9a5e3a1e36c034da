"""How a chain moves: pure steps on explicit states, the same for batch and mini-batch gradients."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

Rate = float | Callable[[int], float]


def check_lr(lr: Rate) -> None:
    """Raise ValueError unless `lr` is a positive finite number or a schedule t -> float."""
    if callable(lr):
        return
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be a positive finite number or a schedule t -> float, got {lr!r}")


class Optimizer(ABC):
    """How a chain moves. The state is a NamedTuple whose leaves are (c, …) tensors, one of them `x` (c, d)."""

    @abstractmethod
    def init(self, x: Tensor) -> NamedTuple:
        """State of chains that start at x (c, d)."""

    @abstractmethod
    def step(self, state: NamedTuple, gradient: Tensor, kick: Tensor | None, t: int) -> NamedTuple:
        """State after step t, given the gradient (c, d) at `state.x` and this step's kick. Pure."""

    def draw(self, x: Tensor, steps: int, generator: Generator) -> Tensor | None:
        """The optimizer's own randomness for `steps` steps, (steps, c, …); None where it has none."""
        return None


class Position(NamedTuple):
    """State of gradient descent: x (c, d)."""

    x: Tensor


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
        return Position(torch.sub(state.x, gradient, alpha=_at(self.lr, t)))


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
        velocity = torch.sub(self.momentum * state.velocity, gradient, alpha=_at(self.lr, t))
        return PositionAndVelocity(state.x + velocity, velocity)


def _at(lr: Rate, t: int) -> float:
    return lr(t) if callable(lr) else lr
