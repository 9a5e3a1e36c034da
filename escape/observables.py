"""What is recorded of a chain, and when it counts as having left: plain functions of points (c, d)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint

Observable = Callable[[Tensor], Tensor]


def _location(point: Tensor | CriticalPoint, x: Tensor) -> Tensor:
    return _like(point.location if isinstance(point, CriticalPoint) else point, x)


def _like(values, x: Tensor) -> Tensor:
    """A tensor, array or list in the dtype and on the device of x, lists without a detour through single precision."""
    return torch.as_tensor(values, dtype=x.dtype, device=x.device)


@dataclass(frozen=True, eq=False)
class SquaredDistance:
    """‖x − x*‖², (c, d) -> (c,), from a point (d,) or a `CriticalPoint`."""

    point: Tensor | CriticalPoint

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""
        delta = x - _location(self.point, x)
        return (delta * delta).sum(-1)


@dataclass(frozen=True, eq=False)
class Projection:
    """vᵀ(x − x*), (c, d) -> (c,), along one direction v (d,)."""

    point: Tensor | CriticalPoint
    direction: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""
        return (x - _location(self.point, x)) @ _like(self.direction, x)


@dataclass(frozen=True, eq=False)
class SquaredProjection:
    """‖Vᵀ(x − x*)‖², (c, d) -> (c,), on the span of orthonormal directions V (d, m), or of one (d,).

    Beside `SquaredDistance`, this leaves out the stable directions, whose noise floor can hide or fake an escape.
    """

    point: Tensor | CriticalPoint
    directions: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""
        along = (x - _location(self.point, x)) @ _like(self.directions, x)
        return (along * along).sum(-1) if along.ndim == 2 else along * along


@dataclass(frozen=True, eq=False)
class Loss:
    """f(x) of a landscape, (c, d) -> (c,)."""

    landscape: Landscape

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""
        return self.landscape.loss(x)


@dataclass(frozen=True, eq=False)
class GradientNorm:
    """‖∇f(x)‖ of a landscape, (c, d) -> (c,)."""

    landscape: Landscape

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""
        return self.landscape.gradient(x).norm(dim=-1)


class Exit(ABC):
    """When a chain has left: (c, d) -> (c,) bool."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""


@dataclass(frozen=True, eq=False)
class Above(Exit):
    """An observable at or above a threshold."""

    observable: Observable
    threshold: float

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""
        return self.observable(x) >= self.threshold


@dataclass(frozen=True, eq=False)
class Below(Exit):
    """An observable at or below a threshold."""

    observable: Observable
    threshold: float

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate at x (c, d)."""
        return self.observable(x) <= self.threshold
