"""Descent with random kicks of its own, on top of whatever noise the oracle has."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from escape.draws import standard_normal
from escape.optimizers.base import Optimizer, Position, Rate, check_lr, check_number, check_steps, rate_at


class PositionAndWait(NamedTuple):
    """State of perturbed descent: x (c, d), and the steps since the last kick (c,)."""

    x: Tensor
    waited: Tensor


@dataclass(frozen=True)
class PerturbedGradientDescent(Optimizer):
    """Descent that is kicked where the gradient is small (Jin, Ge, Netrapalli, Kakade and Jordan 2017).

    Where |∇f(x_t)| ≤ g and more than T steps have gone since the last kick (or there was none yet), x_t is first moved
    by ξ, uniform in the ball of radius r; then, kicked or not, x_{t+1} = x_t − η_t ∇f(x_t) with the gradient at the
    kicked point. From a saddle on, |x_t − x*| = a^t |ξ| along a direction: the kick is part of step 0. On a manifold
    the kicked point is seen as the landscape continues f off the manifold, F(retract(x)).

    Parameters
    ----------
    lr : float or callable
        η, or a schedule t -> η_t.
    radius : float
        r > 0, of the ball.
    threshold : float
        g ≥ 0, in units of the gradient; infinity kicks every T + 1 steps whatever the gradient.
    interval : int
        T ≥ 0, steps that must pass between kicks.
    """

    lr: Rate
    radius: float
    threshold: float
    interval: int

    def __post_init__(self):
        check_lr(self.lr)
        check_number("radius", self.radius, above=0)
        if self.threshold != math.inf:
            check_number("threshold", self.threshold, least=0)
        check_steps("interval", self.interval, least=0)

    def check(self, landscape, oracle) -> None:
        """Raise ValueError where the test needs ∇f itself and the oracle has noise."""
        if self.threshold != math.inf and oracle.noisy(landscape):
            raise ValueError(
                f"perturbed descent asks whether |∇f| is below threshold = {self.threshold!r}, and under "
                f"{type(oracle).__name__} sees noise instead: give FullBatch(), or threshold=math.inf for a kick every "
                f"{self.interval + 1} steps"
            )

    def init(self, x: Tensor) -> PositionAndWait:
        """Start at x, ready to be kicked."""
        return PositionAndWait(x, torch.full(x.shape[:1], self.interval + 1, dtype=torch.int64, device=x.device))

    def move(self, state: PositionAndWait, see: Callable[[Tensor], Tensor], kick: Tensor, t: int) -> PositionAndWait:
        """Kick the chains that are due, then step by the gradient where they are."""
        due = state.waited > self.interval
        if self.threshold != math.inf:
            due = due & (see(state.x).norm(dim=-1) <= self.threshold)
        x = torch.where(due[:, None], state.x + kick, state.x)
        return self.step(PositionAndWait(x, torch.where(due, 0, state.waited)), see(x), None, t)

    def step(self, state: PositionAndWait, gradient: Tensor, kick: None, t: int) -> PositionAndWait:
        """x − η_t g, and one more step gone."""
        return PositionAndWait(torch.sub(state.x, gradient, alpha=rate_at(self.lr, t)), state.waited + 1)

    def draw(self, x: Tensor, steps: int, generator: Generator) -> Tensor:
        """Points uniform in the ball, (steps, c, d), whether they will be needed or not.

        The first d coordinates of a point uniform on the sphere of R^(d+2) are uniform in the ball of R^d (Harman and
        Lacko 2010, Journal of Multivariate Analysis 101:2297).
        """
        normal = standard_normal((steps, len(x), x.shape[1] + 2), generator, x.dtype)
        return (self.radius / normal.norm(dim=-1, keepdim=True)) * normal[..., :-2]


@dataclass(frozen=True)
class Langevin(Optimizer):
    """x_{t+1} = x_t − η_t g_t + √(2 η_t T) ξ_t with ξ_t standard normal: the unadjusted Langevin algorithm.

    With mini-batch gradients, stochastic gradient Langevin dynamics (Welling and Teh 2011). Its noise is that of a
    gradient of standard deviation √(2T/η) along every direction, `theory.langevin_noise`.

    Parameters
    ----------
    lr : float or callable
        η, or a schedule t -> η_t.
    temperature : float
        T ≥ 0, in units of the loss; for η → 0 the density e^(−f/T) is stationary.
    """

    lr: Rate
    temperature: float

    def __post_init__(self):
        check_lr(self.lr)
        check_number("temperature", self.temperature, least=0)

    def init(self, x: Tensor) -> Position:
        """Start at x."""
        return Position(x)

    def step(self, state: Position, gradient: Tensor, kick: Tensor, t: int) -> Position:
        """x − η_t g + √(2 η_t T) ξ."""
        lr = rate_at(self.lr, t)
        moved = torch.sub(state.x, gradient, alpha=lr)
        return Position(torch.add(moved, kick, alpha=math.sqrt(2 * lr * self.temperature)))

    def draw(self, x: Tensor, steps: int, generator: Generator) -> Tensor:
        """Standard normals, (steps, c, d)."""
        return standard_normal((steps, *x.shape), generator, x.dtype)
