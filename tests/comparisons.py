"""Measured numbers beside predictions, in standard errors, and whether all of them look like chance."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

ALLOWED = 4.0  # standard errors: 6e-5 false alarms in each comparison
FEWEST = 20  # comparisons below which their law is not judged
REJECTION = 1e-3  # false alarms of the judgement


@dataclass(frozen=True)
class Comparison:
    """One measured number, what theory says of it, and the standard error of their difference."""

    prediction: object
    case: str
    measured: float
    predicted: float
    error: float

    @property
    def name(self) -> str:
        found = self.prediction
        for inner in ("fget", "func"):  # of a property, of a cached one
            found = getattr(found, inner, found)
        return found.__qualname__

    @property
    def z(self) -> float:
        return (self.measured - self.predicted) / self.error if self.error > 0 else np.nan

    @property
    def passes(self) -> bool:
        return bool(abs(self.z) <= ALLOWED)

    @property
    def text(self) -> str:
        return (
            f"measured {self.measured:.8g}, predicted {self.predicted:.8g}, z = {self.z:.2f} "
            f"in standard errors of {self.error:.2g}, {ALLOWED:g} allowed"
        )


def normality(found):
    """Kolmogorov–Smirnov distance of all z from the standard normal law, and its p-value; None for too few."""
    return stats.kstest([entry.z for entry in found], "norm") if len(found) >= FEWEST else None


def not_normal(found):
    """Whether the z of all comparisons are not a standard normal sample."""
    law = normality(found)
    return law is not None and law.pvalue < REJECTION


def table(found):
    """Lines: every comparison, and the law of all z."""
    if not found:
        return []
    rows = [("prediction", "case", "measured", "predicted", "standard error", "z")]
    for entry in sorted(found, key=lambda entry: (entry.name, entry.case)):
        numbers = f"{entry.measured:.6g}", f"{entry.predicted:.6g}", f"{entry.error:.2g}", f"{entry.z:+.2f}"
        rows.append((entry.name, entry.case, *numbers))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["", *("  ".join(map(_aligned, row, widths, range(6))).rstrip() for row in rows), ""]
    z = np.array([entry.z for entry in found])
    spread, worst = f"standard deviation {z.std():.2f}", f"worst {z[abs(z).argmax()]:+.2f}"
    lines.append(f"{len(z)} comparisons: mean z {z.mean():+.2f}, {spread}, {worst}")
    law = normality(found)
    if law is not None:
        said = "too far from" if not_normal(found) else "like"
        numbers = f"distance {law.statistic:.3f}, p = {law.pvalue:.3g}"
        lines.append(f"Kolmogorov-Smirnov against N(0, 1): {numbers}: {said} chance")
    return lines


def _aligned(text, width, column):
    return text.ljust(width) if column < 2 else text.rjust(width)
