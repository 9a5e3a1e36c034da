"""Words and tables that all reports share."""

from collections.abc import Sequence

import numpy as np

from escape.forecast import rate_and_momentum
from escape.landscapes import CriticalPoint, Landscape
from escape.optimizers import Optimizer
from escape.oracles import FullBatch

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
    return f"{point.kind}, index {point.index}{noise}"


def oracle_text(oracle, landscape: Landscape) -> str:
    """Name an oracle with its batch size and its factor kappa."""
    if isinstance(oracle, FullBatch):
        return "full batch"
    mode = "with" if oracle.replacement else "without"
    law = {"MiniBatch": "mini-batch", "GaussianNoise": "Gaussian noise", "IsotropicNoise": "isotropic noise"}
    kappa = oracle.covariance_factor(landscape)
    return f"{law[type(oracle).__name__]}, batch size {oracle.batch_size} {mode} replacement, kappa {kappa:.4g}"


def optimizer_text(optimizer: Optimizer) -> str:
    """Write the numbers of an optimizer."""
    lr, momentum = rate_and_momentum(optimizer)
    return f"lr {lr:g}" + (f", momentum {momentum:g}" if momentum else "")
