"""Descent that divides every coordinate of the gradient by its size: from running averages, or at once."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from escape.optimizers.base import Optimizer, Position, Rate, check_lr, check_number, check_share, rate_at


class PositionAndSquare(NamedTuple):
    """State of RMSProp: x (c, d) and the running mean of squared gradients (c, d)."""

    x: Tensor
    square: Tensor


class PositionAndMoments(NamedTuple):
    """State of Adam: x (c, d), and the running means of gradients and of their squares, both (c, d)."""

    x: Tensor
    mean: Tensor
    square: Tensor


def _divided(numerator: Tensor, size: Tensor, eps: float) -> Tensor:
    """numerator / (size + eps); zero where no gradient has ever been seen, which only eps = 0 has to be told."""
    if eps:
        return numerator / (size + eps)
    return torch.where(size > 0, numerator / size, 0.0)


@dataclass(frozen=True)
class SignDescent(Optimizer):
    """x_{t+1} = x_t − η_t sign(g_t), coordinate by coordinate; a zero stays where it is (Bernstein et al. 2018).

    Parameters
    ----------
    lr : float or callable
        η, the size of every step in units of x, or a schedule t -> η_t.
    """

    lr: Rate

    def __post_init__(self):
        check_lr(self.lr)

    def init(self, x: Tensor) -> Position:
        """Start at x."""
        return Position(x)

    def step(self, state: Position, gradient: Tensor, kick: None, t: int) -> Position:
        """x − η_t sign(g)."""
        return Position(torch.sub(state.x, gradient.sign(), alpha=rate_at(self.lr, t)))


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """v ← α v + (1 − α) g_t², then x_{t+1} = x_t − η_t g_t / (√v + ε), from v = 0 (Tieleman and Hinton 2012).

    As `torch.optim.RMSprop`. Without bias correction: the first step is η/√(1 − α), and v settles in some 1/(1 − α).

    Parameters
    ----------
    lr : float or callable
        η, in units of x, or a schedule t -> η_t.
    alpha : float
        Memory α of the square, in [0, 1); `beta2` of `theory.adaptive_growth_factor`.
    eps : float
        ε ≥ 0, in units of the gradient. With 0 a coordinate that never saw a gradient stays where it is.
    """

    lr: Rate
    alpha: float = 0.99
    eps: float = 1e-8

    def __post_init__(self):
        check_lr(self.lr)
        check_share("alpha", self.alpha)
        check_number("eps", self.eps, least=0)

    def init(self, x: Tensor) -> PositionAndSquare:
        """Start at x with v = 0."""
        return PositionAndSquare(x, torch.zeros_like(x))

    def step(self, state: PositionAndSquare, gradient: Tensor, kick: None, t: int) -> PositionAndSquare:
        """Average the square, then x − η_t g / (√v + ε)."""
        square = torch.addcmul(self.alpha * state.square, gradient, gradient, value=1 - self.alpha)
        move = _divided(gradient, square.sqrt(), self.eps)
        return PositionAndSquare(torch.sub(state.x, move, alpha=rate_at(self.lr, t)), square)


@dataclass(frozen=True)
class Adam(Optimizer):
    """x_{t+1} = x_t − η_t m̂ / (√v̂ + ε) with bias-corrected running means m̂ of g and v̂ of g² (Kingma and Ba 2015).

    m ← β1 m + (1 − β1) g_t and v ← β2 v + (1 − β2) g_t² from zero; after step t, counted from 0,
    m̂ = m/(1 − β1^(t+1)) and v̂ = v/(1 − β2^(t+1)). As `torch.optim.Adam`.

    Parameters
    ----------
    lr : float or callable
        η, in units of x, or a schedule t -> η_t.
    beta1, beta2 : float
        Memory of the mean and of the square, in [0, 1); with both zero and ε = 0, sign descent.
    eps : float
        ε ≥ 0, in units of the gradient. With 0 a coordinate that never saw a gradient stays where it is.
    """

    lr: Rate
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        check_lr(self.lr)
        check_share("beta1", self.beta1)
        check_share("beta2", self.beta2)
        check_number("eps", self.eps, least=0)

    def init(self, x: Tensor) -> PositionAndMoments:
        """Start at x with m = v = 0."""
        return PositionAndMoments(x, torch.zeros_like(x), torch.zeros_like(x))

    def step(self, state: PositionAndMoments, gradient: Tensor, kick: None, t: int) -> PositionAndMoments:
        """Average the gradient and its square, then x − η_t m̂ / (√v̂ + ε)."""
        mean = torch.lerp(state.mean, gradient, 1 - self.beta1)
        square = torch.addcmul(self.beta2 * state.square, gradient, gradient, value=1 - self.beta2)
        size = square.sqrt() / math.sqrt(1 - self.beta2 ** (t + 1))
        rate = rate_at(self.lr, t) / (1 - self.beta1 ** (t + 1))
        return PositionAndMoments(torch.sub(state.x, _divided(mean, size, self.eps), alpha=rate), mean, square)
