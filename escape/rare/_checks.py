"""Arguments checked before the first step: what was got, what is allowed, what to do."""

import math
from numbers import Integral

import numpy as np
import torch
from torch import Generator, Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.oracles import MiniBatch

# Blocks that chains are cut into where nothing is said: the interval comes from their spread.
BLOCKS = 40


def integers(**values: tuple) -> None:
    """Raise ValueError unless each value is an integer of at least its limit: name=(value, least)."""
    for name, (value, least) in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def positive(name: str, value: float) -> float:
    """Return a finite number above zero, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above zero, got {value!r}")
    return float(value)


def check_batches(landscape: Landscape, oracle: MiniBatch) -> None:
    """Raise TypeError or ValueError unless batches are drawn, and steps go in flat space."""
    if not isinstance(landscape, Landscape):
        raise TypeError(f"landscape must be an instance of Landscape, got {type(landscape).__name__}")
    if not getattr(oracle, "memoryless", True):
        raise TypeError(
            f"oracle must be a MiniBatch: batches of {type(oracle).__name__} depend on those before them in their "
            "epoch, and cannot be chosen step by step"
        )
    if not isinstance(oracle, MiniBatch):
        raise TypeError(f"oracle must be a MiniBatch, whose batches can be chosen, got {type(oracle).__name__}")
    oracle.check(landscape)
    if type(landscape).retract is not Landscape.retract:
        raise ValueError(f"{type(landscape).__name__} moves points back on to a manifold; steps must go in flat space")


def location(point: CriticalPoint | Tensor, landscape: Landscape) -> Tensor:
    """The point (d,) in double precision on the landscape's device."""
    where = torch.as_tensor(point.location if isinstance(point, CriticalPoint) else point)
    if where.ndim != 1 or not bool(torch.isfinite(where).all()):
        raise ValueError(f"point must be a CriticalPoint or finite coordinates (d,), got shape {tuple(where.shape)}")
    d = landscape.dimension
    if d is not None and len(where) != d:
        raise ValueError(f"point has dimension {len(where)}, but the landscape has dimension {d}")
    return where.to(landscape.samples.device, torch.float64)


def columns(name: str, value, where: Tensor) -> Tensor | None:
    """Directions (d,) or (d, m) as a matrix (d, m) beside a point; None stays."""
    if value is None:
        return None
    matrix = torch.as_tensor(value, dtype=torch.float64, device=where.device)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or len(matrix) != len(where) or not matrix.shape[1] or not bool(matrix.isfinite().all()):
        raise ValueError(f"{name} must be finite, ({len(where)},) or ({len(where)}, m), got {tuple(matrix.shape)}")
    return matrix


def uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniforms in [0, 1), double precision, on the generator's device."""
    source = getattr(generator, "numpy", None)
    if source is not None:
        return torch.from_numpy(source.random(shape))
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
