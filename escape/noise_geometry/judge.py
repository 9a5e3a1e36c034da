"""Moments of drawn noise beside the exact ones of a mini-batch, row by row."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from escape.noise_geometry.moments import batch_kurtosis, covariance_distance, sample_kurtosis
from escape.noise_geometry.products import Products
from escape.oracles import MiniBatch

# Standard errors beyond which a row differs. An estimate of zero distance has no normal law: at worst it is one of
# (χ²₁ − 1)/√2, which exceeds 15 with probability 2e-6.
_ALLOWED = {"distance": 15.0}
_ALLOWED_ELSE = 5.0


class MatchRow(NamedTuple):
    """One moment of one oracle beside the exact one of the mini-batch.

    Attributes
    ----------
    oracle : str
        The oracle, as printed.
    direction : str
        "escape", "random 1", "given 1", …, or "all".
    quantity : str
        "mean", "variance" and "kurtosis" (excess) of vᵀ(g − ∇f) along a direction; "trace" of the covariance and
        "distance" |Cov − κC|²_F/|κC|²_F for all.
    measured, error : float
        From the draws, with its standard error. Noise of infinite variance has variance, trace and distance `inf`, and
        no mean or kurtosis that draws could tell: NaN.
    expected : float
        Exact value of the mini-batch.
    z : float
        (measured − expected)/error; NaN where one of them is not defined.
    """

    oracle: str
    direction: str
    quantity: str
    measured: float
    error: float
    expected: float
    z: float

    @property
    def differs(self) -> bool:
        """Whether |z| exceeds 5, or 15 for a distance: a false alarm with probability 2e-6 at most."""
        return abs(self.z) > _ALLOWED.get(self.quantity, _ALLOWED_ELSE)


class Judge:
    """Rows of one oracle.

    Parameters
    ----------
    name : str
        The oracle, as printed.
    products : Products
        Of the landscape at the point.
    batch : MiniBatch
        What the oracle is held against.
    """

    def __init__(self, name: str, products: Products, batch: MiniBatch):
        self._name, self._products, self._batch = name, products, batch
        self._kappa = batch.covariance_factor(products.landscape)
        # Rounding of a gradient, below which a difference counts as none.
        self._floor = 1e-12 * max(products.mean_square**0.5, 1e-300)

    def along(self, name: str, values: NDArray, slopes: NDArray) -> list[MatchRow]:
        """Mean, variance and excess kurtosis along one direction."""
        m = len(values)
        u = values - values.mean()
        variance = float((u**2).mean()) * m / (m - 1)
        expected = self._kappa * float((slopes**2).mean())
        fourth = float((u**4).mean())
        # To second order too: where vᵀu takes two values ±s, all first-order errors vanish.
        spread = np.hypot(max(fourth - variance**2, 0.0) ** 0.5 / m**0.5, 4 * variance / m)
        silent = variance <= self._floor**2
        if silent:
            variance, spread = 0.0, 0.0
        rows = [
            self._row(name, "mean", float(values.mean()), variance**0.5 / m**0.5, 0.0, self._floor),
            self._row(name, "variance", variance, float(spread), expected, self._floor**2),
        ]
        exact = float("nan") if expected <= self._floor**2 else self._kurtosis(slopes)
        measured, error = (float("nan"), 0.0) if silent else sample_kurtosis(u)
        return [*rows, self._row(name, "kurtosis", measured, error, exact, 0.0)]

    def infinite(self, names: list[str], slopes: NDArray) -> list[MatchRow]:
        """Rows of noise of infinite variance, beside those of the mini-batch."""
        nan, inf, rows = float("nan"), float("inf"), []
        for name, along in zip(names, slopes.T, strict=True):
            variance = self._kappa * float((along**2).mean())
            kurtosis = nan if variance <= self._floor**2 else self._kurtosis(along)
            for quantity, measured, expected in (
                ("mean", nan, 0.0), ("variance", inf, variance), ("kurtosis", nan, kurtosis)
            ):  # fmt: skip
                rows.append(self._row(name, quantity, measured, nan, expected, 0.0))
        trace = self._kappa * self._products.trace
        return [
            *rows,
            *(self._row("all", *what, 0.0) for what in (("trace", inf, nan, trace), ("distance", inf, nan, 0.0))),
        ]

    def all(self, norms: NDArray, some: Tensor, square: float) -> list[MatchRow]:
        """Trace of the covariance, and distance of the covariances."""
        error = float(np.hypot(norms.std() / len(norms) ** 0.5, 4 * norms.mean() / len(norms)))
        expected = self._kappa * self._products.trace
        mean = float(norms.mean())
        # What is left of a gradient without noise is rounding, and has no error worth the name.
        mean, error = (mean, error) if mean > self._floor**2 else (0.0, 0.0)
        trace = self._row("all", "trace", mean, error, expected, self._floor**2)
        size = self._kappa**2 * square
        distance = float("nan"), 0.0
        if size > self._floor**4:
            distance = covariance_distance(some, self._kappa * self._products.covariance_product(some.T).T, size)
        return [trace, self._row("all", "distance", *distance, 0.0, 0.0)]

    def _kurtosis(self, slopes: NDArray) -> float:
        return batch_kurtosis(slopes, self._batch.batch_size, self._batch.replacement)

    def _row(self, direction, quantity, measured, error, expected, floor) -> MatchRow:
        gap = measured - expected
        if abs(gap) <= floor:
            z = 0.0
        else:
            sure = not error > 0  # an infinite gap has no error
            z = np.nan if gap != gap else np.copysign(np.inf, gap) if sure else gap / error
        return MatchRow(self._name, direction, quantity, measured, error, expected, float(z))
