"""Words and tables that all reports share."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from escape.choices import OPTIMIZERS, SCHEDULES
from escape.landscapes import CriticalPoint, Landscape
from escape.optimizers import Optimizer
from escape.oracles import (
    DiagonalNoise,
    FullBatch,
    GaussianNoise,
    HessianNoise,
    IsotropicNoise,
    LeadingNoise,
    MiniBatch,
    Oracle,
    Reshuffled,
    StableNoise,
)

FEW = 6  # coordinates, critical points and escape directions shown unless all are asked for


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Align columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])).rstrip() for row in rows
    ]


def coordinates(x: np.ndarray) -> str:
    """Write a point, its first coordinates if there are many."""
    shown = ", ".join(f"{number:.6g}" for number in x[:FEW])
    return f"({shown}{f', … {len(x) - FEW} more' if len(x) > FEW else ''})"


def kind_text(point: CriticalPoint) -> str:
    """Name a critical point's kind, index and type of noise."""
    noise = f", noise type {point.noise}" if point.noise else ""
    index = point.index if point.index_known else f"at least {point.negative}"
    return f"{point.kind}, index {index}{noise}"


_LAWS = {
    FullBatch: "full batch",
    MiniBatch: "mini-batch",
    Reshuffled: "reshuffled epochs",
    GaussianNoise: "Gaussian noise",
    DiagonalNoise: "Gaussian noise, diagonal of the covariance",
    LeadingNoise: "Gaussian noise, leading eigenvector of the covariance",
    IsotropicNoise: "isotropic noise",
    HessianNoise: "Gaussian noise shaped like the Hessian",
    StableNoise: "stable noise",
}


def oracle_text(oracle: Oracle, landscape: Landscape) -> str:
    """Name an oracle with its numbers, its batch size and factor kappa, and the point that its noise is taken at."""
    parts = [_LAWS.get(type(oracle), type(oracle).__name__)]
    own = [(key, value) for key, value in _values(oracle) if key not in ("batch_size", "replacement")]
    parts += [f"{key} {_number(value)}" for key, value in own if not (value is None or isinstance(value, Tensor))]
    if oracle.batch is not None:
        size, replacement = oracle.batch
        mode = ""
        if oracle.memoryless:
            kappa = MiniBatch(size, replacement).covariance_factor(landscape)
            mode = f" with{'' if replacement else 'out'} replacement, kappa {kappa:.4g}"
        parts.append(f"batch size {size}{mode}")
    at = dict(own).get("at")
    if isinstance(at, Tensor):
        critical = any(torch.equal(point.location, at.to(point.location)) for point in landscape.critical_points())
        parts.append(f"taken at {'the critical point' if critical else coordinates(at.cpu().numpy())}")
    return ", ".join(parts)


def optimizer_text(optimizer: Optimizer) -> str:
    """Write the name and the numbers of an optimizer."""
    kind = type(optimizer)
    name = next((name for name, known in OPTIMIZERS.items() if known is kind), kind.__name__)
    return ", ".join([name, *(f"{key} {_number(value)}" for key, value in _values(optimizer))])


def _values(thing: object) -> list[tuple[str, object]]:
    if not dataclasses.is_dataclass(thing):
        return []
    return [(field.name, getattr(thing, field.name)) for field in dataclasses.fields(thing)]


def _number(value: object) -> str:
    """Write a number, or a schedule with its own numbers."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return f"{value:g}"
    inner = ", ".join(f"{key} {_number(part)}" for key, part in _values(value))
    name = next((name for name, known in SCHEDULES.items() if known is type(value)), None)
    return f"{name or getattr(value, '__name__', type(value).__name__)}({inner})"
