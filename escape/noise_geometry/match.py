"""Whether the noise of an oracle is that of the mini-batch it stands for: mean, covariance and fourth moment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.noise_geometry.judge import Judge, MatchRow
from escape.noise_geometry.products import Products, check_directions
from escape.noise_geometry.spectra import extremes
from escape.oracles import MiniBatch, Oracle, StableNoise
from escape.streams import block_generator

# Numbers drawn, or gradients, at once; draws that the distance between covariances takes, in pairs.
_AT_ONCE, _PAIRED = 1 << 21, 2000
# Size up to which the Hessian is held to find the escape direction.
_DENSE = 2000


@dataclass(frozen=True)
class NoiseMatch:
    """Rows of all oracles; made by `noise_match`, printed as a table.

    Attributes
    ----------
    rows : tuple of MatchRow
        In the order of the oracles.
    draws : int
        Gradients drawn of each oracle.
    note : str
        Why there are no rows, where there are none.
    """

    rows: tuple[MatchRow, ...]
    draws: int
    note: str = ""

    def of(
        self, oracle: Oracle | str | None = None, direction: str | None = None, quantity: str | None = None
    ) -> tuple[MatchRow, ...]:
        """Return the rows of one oracle, one direction, one quantity, or of all where it is not given."""
        wanted = (None if oracle is None else str(oracle), direction, quantity)
        return tuple(row for row in self.rows if all(a is None or a == b for a, b in zip(wanted, row[:3], strict=True)))

    def __str__(self) -> str:
        if not self.rows:
            return f"no match: {self.note}"
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
    Of `Reshuffled` it is one batch, at the beginning of an epoch. Standard errors are by the delta method from the
    draws' own moments; for kurtosis they need many more draws than the heaviest tail has one event in. The distance
    takes the first 2000 draws, in pairs; a biased oracle shows in it too, and it is NaN if both d and n exceed 2000 or
    κC = 0.

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
            judge = Judge(str(oracle), products, batch)
            if _infinite(oracle, products):
                rows += judge.infinite(names, slopes)
                continue
            along, norms, some = _drawn(oracle, products, columns, draws, seed, number)
            for j, name in enumerate(names):
                rows += judge.along(name, along[:, j], slopes[:, j])
            rows += judge.all(norms, some, square)
    return NoiseMatch(tuple(rows), draws)


def _reference(landscape: Landscape, oracle: Oracle, batch_size: int | None, replacement: bool) -> MiniBatch:
    """The mini-batch that an oracle stands for."""
    if batch_size is None:
        if oracle.batch is None:
            raise ValueError(f"{oracle} has no batch_size; give the batch_size of the mini-batch to compare with")
        batch_size, replacement = oracle.batch
    batch = MiniBatch(batch_size, replacement)
    batch.check(landscape)
    oracle.check(landscape)
    return batch


def _infinite(oracle: Oracle, products: Products) -> bool:
    """Whether the noise has no variance, which no number of draws would show."""
    return isinstance(oracle, StableNoise) and math.isinf(
        oracle.noise_variance(products.landscape, products.x, torch.ones_like(products.x))
    )


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
    width = max(1, min(draws, _AT_ONCE // max(d, oracle.draw_size(landscape), oracle.carried_size(landscape))))
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
