"""Whether the noise of an oracle is that of the mini-batch it stands for: mean, covariance and fourth moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.noise_geometry.moments import batch_kurtosis, covariance_distance, sample_kurtosis
from escape.noise_geometry.products import Products, check_directions
from escape.noise_geometry.spectra import extremes
from escape.oracles import MiniBatch, Oracle
from escape.streams import block_generator

# Numbers drawn, or gradients, at once; draws that the distance between covariances takes, in pairs.
_AT_ONCE, _PAIRED = 1 << 21, 2000
# Size up to which the Hessian is held to find the escape direction.
_DENSE = 2000
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
        From the draws, with its standard error.
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


@dataclass(frozen=True)
class NoiseMatch:
    """Rows of all oracles; made by `noise_match`, printed as a table.

    Attributes
    ----------
    rows : tuple of MatchRow
        In the order of the oracles.
    draws : int
        Gradients drawn of each oracle.
    """

    rows: tuple[MatchRow, ...]
    draws: int

    def of(
        self, oracle: Oracle | str | None = None, direction: str | None = None, quantity: str | None = None
    ) -> tuple[MatchRow, ...]:
        """Return the rows of one oracle, one direction, one quantity, or of all where it is not given."""
        wanted = (None if oracle is None else str(oracle), direction, quantity)
        return tuple(row for row in self.rows if all(a is None or a == b for a, b in zip(wanted, row[:3], strict=True)))

    def __str__(self) -> str:
        names = {name: f"[{j + 1}]" for j, name in enumerate(dict.fromkeys(row.oracle for row in self.rows))}
        lines = [f"{short} {name}" for name, short in names.items()] + [f"{self.draws} draws of each"]
        heads = ("measured", "error", "mini-batch", "z")
        lines.append(f"{'':<5}{'direction':<11}{'quantity':<10}" + "".join(f"{head:>13}" for head in heads))
        for row in self.rows:
            numbers = f"{row.measured:>13.5g}{row.error:>13.2g}{row.expected:>13.5g}{row.z:>13.2f}"
            mark = "  differs" if row.differs else ""
            lines.append(f"{names[row.oracle]:<5}{row.direction:<11}{row.quantity:<10}{numbers}{mark}")
        return "\n".join(lines)


def noise_match(
    landscape: Landscape,
    oracles: Sequence[Oracle],
    x: Tensor,
    directions: Tensor | None = None,
    *,
    batch_size: int | None = None,
    replacement: bool = False,
    draws: int = 20_000,
    seed: int = 0,
) -> NoiseMatch:
    """Moments of oracles' gradient noise at a point, drawn, beside the exact ones of the mini-batch.

    With u = g − ∇f over draws of the gradient g: E vᵀu against 0, Var vᵀu against κ vᵀCv, excess kurtosis of vᵀu
    against `batch_kurtosis` of the per-sample slopes, E|u|² against κ Tr C, and an unbiased estimate of
    |E uuᵀ − κC|²_F/|κC|²_F against 0. A surrogate with the right covariance and the wrong fourth moment is seen.

    Parameters
    ----------
    landscape : Landscape
        Of any dtype; all is computed in float64.
    oracles : sequence of Oracle
        Those to be judged.
    x : Tensor (d,)
        The point.
    directions : Tensor (d,) or (d, m), optional
        Directions, in columns. Two random ones, and the most negative eigenvector of the Hessian if it has any, are
        added to them.
    batch_size : int, optional
        Size of the mini-batch to compare with; that of each oracle if omitted.
    replacement : bool
        Whether that mini-batch is drawn with replacement; only with `batch_size`.
    draws : int
        Gradients of each oracle, at least 100.
    seed : int
        Seed of the draws and of the random directions.

    Returns
    -------
    NoiseMatch
        Rows (oracle, direction, quantity, measured, error, expected, z). The kurtosis of what does not vary is NaN.

    Raises
    ------
    ValueError
        When an oracle has no `batch_size` and none is given, cannot see the landscape, or returns another shape; when
        the point, a direction or a count is not valid.

    Notes
    -----
    Standard errors are by the delta method from the draws' own moments; for kurtosis they need many more draws than
    the heaviest tail has one event in. The distance takes the first 2000 draws, in pairs; a biased oracle shows in it
    too, and it is NaN if both d and n exceed 2000 or κC = 0.

    Source: derived; U-statistics as in Hoeffding 1948, Annals of Mathematical Statistics 19:293.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 100:
        raise ValueError(f"draws is {draws!r}; it must be a whole number of at least 100")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; it must be a whole number of at least 0")
    if isinstance(oracles, Oracle):
        raise ValueError("oracles is one oracle; give a sequence of them")
    products = Products(landscape, x)
    references = [_reference(products.landscape, oracle, batch_size, replacement) for oracle in oracles]
    with torch.no_grad():
        names, columns = _directions(products, check_directions(directions, products.x), seed)
        slopes = products.along(columns).cpu().numpy()
        square = _square(products)
        rows = []
        for number, (oracle, batch) in enumerate(zip(oracles, references, strict=True)):
            judge = _Judge(str(oracle), products, batch)
            along, norms, some = _drawn(oracle, products, columns, draws, seed, number)
            for j, name in enumerate(names):
                rows += judge.along(name, along[:, j], slopes[:, j])
            rows += judge.all(norms, some, square)
    return NoiseMatch(tuple(rows), draws)


def _reference(landscape: Landscape, oracle: Oracle, batch_size: int | None, replacement: bool) -> MiniBatch:
    """The mini-batch that an oracle stands for."""
    if batch_size is None:
        batch_size, replacement = getattr(oracle, "batch_size", None), getattr(oracle, "replacement", False)
        if batch_size is None:
            raise ValueError(f"{oracle} has no batch_size; give the batch_size of the mini-batch to compare with")
    batch = MiniBatch(batch_size, replacement)
    batch.check(landscape)
    oracle.check(landscape)
    return batch


def _directions(products: Products, given: Tensor, seed: int) -> tuple[list[str], Tensor]:
    hessian = products.hessian() if products.d <= _DENSE else None
    ends = extremes(products, hessian, 1, seed, [])
    escape = ends.low_directions[:, : int(len(ends.low) and ends.low[0] < -ends.floor)]
    random = torch.from_numpy(np.random.default_rng(seed).standard_normal((products.d, 2))).to(products.x)
    names = ["escape"] * escape.shape[1] + ["random 1", "random 2"]
    names += [f"given {j + 1}" for j in range(given.shape[1])]
    return names, torch.cat([escape, random / random.norm(dim=0), given], dim=1)


def _square(products: Products) -> float:
    """Tr C², NaN where neither d nor n is small."""
    if min(products.d, products.n) > _DENSE:
        return float("nan")
    matrix = products.gram() if products.n < products.d else products.covariance()
    return float((matrix * matrix).sum())


def _drawn(
    oracle: Oracle, products: Products, columns: Tensor, draws: int, seed: int, number: int
) -> tuple[NDArray, NDArray, Tensor]:
    """Vᵀu and |u|² of all draws, (draws, m) and (draws,), and u itself of the first ones."""
    landscape, d = products.landscape, products.d
    width = max(1, min(draws, _AT_ONCE // max(d, oracle.draw_size(landscape))))
    generator = block_generator(seed, number, products.x.device)
    along, norms, kept, done = [], [], [], 0
    while done < draws:
        c = min(width, draws - done)
        draw = oracle.draw(landscape, 1, c, generator)
        seen = oracle.gradient(landscape, products.x.expand(c, d), None if draw is None else draw[0])
        if seen.shape != (c, d):
            raise ValueError(f"{oracle} returns gradients {tuple(seen.shape)} for points ({c}, {d}); return (c, d)")
        u = seen - products.gradient
        along.append((u @ columns).cpu().numpy())
        norms.append((u * u).sum(1).cpu().numpy())
        if done < _PAIRED:
            kept.append(u[: _PAIRED - done])
        done += c
    return np.concatenate(along), np.concatenate(norms), torch.cat(kept)


class _Judge:
    """Rows of one oracle."""

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
            z = gap / error if error > 0 else np.copysign(np.inf, gap) if gap == gap else np.nan
        return MatchRow(self._name, direction, quantity, measured, error, expected, float(z))
