"""What every optimizer is: pure steps on explicit states, and a learning rate that may be a schedule."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Generator, Tensor

Rate = float | Callable[[int], float]


def check_lr(lr: Rate) -> None:
    """Raise ValueError unless `lr` is a positive finite number or a schedule t -> float."""
    if callable(lr):
        return
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be a positive finite number or a schedule t -> float, got {lr!r}")


def check_number(name: str, value: float, *, least: float = -math.inf, above: float = -math.inf) -> None:
    """Raise ValueError unless `value` is a finite number, at least `least` and above `above`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least:g}, got {value!r}")
    if value <= above:
        raise ValueError(f"{name} must be above {above:g}, got {value!r}")


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless `value` lies in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value!r}")


def check_steps(name: str, value: int, least: int = 1) -> None:
    """Raise ValueError unless `value` is a whole number of steps, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


class Optimizer(ABC):
    """How a chain moves. The state is a NamedTuple whose leaves are (c, …) tensors, one of them `x` (c, d)."""

    @abstractmethod
    def init(self, x: Tensor) -> NamedTuple:
        """State of chains that start at x (c, d)."""

    def check(self, landscape, oracle) -> None:  # noqa: B027 - an optimizer without limits has nothing to check
        """Raise ValueError where this optimizer makes no sense on that landscape, or under that oracle."""

    def move(self, state: NamedTuple, see: Callable[[Tensor], Tensor], kick: Tensor | None, t: int) -> NamedTuple:
        """State after step t. Pure.

        Parameters
        ----------
        state, kick, t
            As in `step`.
        see : callable
            The gradient that the oracle shows with this step's draw, (c, d) -> (c, d), at any points: an optimizer
            that looks somewhere else than at `state.x`, or twice, overrides this method.
        """
        return self.step(state, see(state.x), kick, t)

    @abstractmethod
    def step(self, state: NamedTuple, gradient: Tensor, kick: Tensor | None, t: int) -> NamedTuple:
        """State after step t, given the gradient (c, d) at `state.x` and this step's kick. Pure."""

    def draw(self, x: Tensor, steps: int, generator: Generator) -> Tensor | None:
        """The optimizer's own randomness for `steps` steps, (steps, c, …); None where it has none."""
        return None


class Position(NamedTuple):
    """State of an optimizer without memory: x (c, d)."""

    x: Tensor


def rate_at(lr: Rate, t: int) -> float:
    """Learning rate of step t."""
    return lr(t) if callable(lr) else lr
