"""Critical points of ½‖UVᵀ − B‖² and ¼‖UUᵀ − M‖²: balanced factors of parts of the spectrum, all curvatures exact.

A point holds the r columns of U one after another, then those of V. Its symmetry U, V -> UG, VG⁻ᵀ (or U -> UQ, Q
orthogonal) makes directions flat, which are counted as `gauge`.
"""

from itertools import combinations, islice

import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint

# Sets of singular values declared at most, and the share of the largest below which one counts as zero: at least that,
# and these units of roundoff.
_MOST, _ZERO, _ROUNDING = 30, 1e-10, 100


def positive_count(values: Tensor, dtype: torch.dtype) -> int:
    """How many of the values are positive; what rounding of data of that dtype may have made counts as zero."""
    share = max(_ZERO, _ROUNDING * torch.finfo(dtype).eps)
    return int((values > share * values.abs().max()).sum())


def known_sets(count: int, rank: int) -> list[tuple[int, ...]]:
    """Sets of up to `rank` of `count` positive values: {0, …, m − 1} for all m first, then others, some 30 in all."""
    largest = min(rank, count)
    first = [tuple(range(m)) for m in range(largest + 1)]
    others = (kept for m in range(1, largest + 1) for kept in combinations(range(count), m) if kept not in first)
    return first + list(islice(others, max(0, _MOST - len(first))))


def set_name(kept: tuple[int, ...]) -> str:
    """Label of a point by the numbers, from 1, of the values that it has learned."""
    return f"values {', '.join(str(i + 1) for i in kept)}" if kept else "origin"


def symmetric_point(values: Tensor, vectors: Tensor, rank: int, kept: tuple[int, ...], scale: float = 1.0):
    """The point U = [√μ_s v_s for s in kept, 0 beside them] of scale · ¼‖UUᵀ − M‖².

    With s the value of column k: curvature 2μ_s along v_s; μ_s − μ_i along v_i, i not kept; of two columns s, t the
    sum μ_s + μ_t along √μ_s v_t in the first and √μ_t v_s in the second, and 0 across (rotation). An empty column has
    −μ_i, and 0 along what is kept.

    Parameters
    ----------
    values, vectors : Tensor (d,), (d, d)
        Eigenvalues μ of M, descending, and eigenvectors in columns, float64.
    rank : int
        r.
    kept : tuple of int
        Numbers of the eigenvalues that are learned.
    scale : float
        Factor of the loss.
    """
    m, d, root = len(kept), len(values), values.clamp(min=0).sqrt()
    found = _Directions(vectors.new_zeros(rank, d))
    for k in range(rank):
        for i in range(d):
            if i not in kept:
                found.add((values[kept[k]] if k < m else 0.0) - values[i], (k, vectors[:, i]))
            elif k >= m:
                found.add(0.0, (k, vectors[:, i]))
        if k < m:
            found.add(2 * values[kept[k]], (k, vectors[:, kept[k]]))
        for other in range(k + 1, m):
            s, t = kept[k], kept[other]
            found.add(values[s] + values[t], (k, root[s] * vectors[:, t]), (other, root[t] * vectors[:, s]))
            found.add(0.0, (k, root[t] * vectors[:, t]), (other, -root[s] * vectors[:, s]))
    location = vectors.new_zeros(rank, d)
    for k, s in enumerate(kept):
        location[k] = root[s] * vectors[:, s]
    return found.point(location, scale, set_name(kept), m * (rank - m) + m * (m - 1) // 2)


def balanced_point(matrix: Tensor, rank: int, kept: tuple[int, ...], scale: float = 1.0) -> CriticalPoint:
    """The point U = [√σ_s p_s], V = [√σ_s q_s] for s in kept, 0 beside them, of scale · ½‖UVᵀ − B‖².

    With s the value of column k: 2σ_s along (p_s, q_s) and 0 along (p_s, −q_s); σ_s ∓ σ_i along (p_i, ±q_i), i not
    kept; of two columns s, t twice σ_s + σ_t, and twice 0. An empty column has ∓σ_i along (p_i, ±q_i), and 0 along what
    is kept. Where B is not square, the singular vectors beyond its shorter side have σ_i = 0.

    Parameters
    ----------
    matrix : Tensor (p, q)
        B, float64.
    rank, kept, scale
        As in `symmetric_point`, of singular values, descending.
    """
    left, values, right = torch.linalg.svd(matrix)
    (p, q), m = matrix.shape, len(kept)
    root, right = values.sqrt(), right.T
    sides = [(0, left[:, i]) for i in range(p)], [(rank, right[:, i]) for i in range(q)]
    found = _Directions(matrix.new_zeros(2 * rank, max(p, q)))
    for k in range(rank):
        own = values[kept[k]] if k < m else matrix.new_zeros(())
        rows = [[(first + k, vector) for first, vector in side] for side in sides]
        for i in range(max(p, q)):
            pair = [side[i] for side in rows if i < len(side)]
            if i in kept and k < m:
                continue
            if i in kept or len(pair) == 1:
                for one in pair:
                    found.add(0.0 if i in kept else own, one)
                continue
            (a, u), (b, v) = pair
            found.add(own - values[i], (a, u), (b, v))
            found.add(own + values[i], (a, u), (b, -v))
        if k < m:
            (a, u), (b, v) = (side[kept[k]] for side in rows)
            found.add(2 * own, (a, u), (b, v))
            found.add(0.0, (a, u), (b, -v))
        for other in range(k + 1, m):
            _add_pair(found, left, right, root, rank, (k, kept[k]), (other, kept[other]))
    location = matrix.new_zeros(2 * rank, max(p, q))
    for k, s in enumerate(kept):
        location[k, :p], location[rank + k, :q] = root[s] * left[:, s], root[s] * right[:, s]
    real = torch.zeros_like(location, dtype=torch.bool)
    real[:rank, :p], real[rank:, :q] = True, True
    return found.point(location, scale, set_name(kept), m * m + 2 * m * (rank - m), real)


def _add_pair(found: "_Directions", left, right, root, rank: int, first: tuple, second: tuple) -> None:
    """Directions that mix two learned columns: the (s, t) entry of UVᵀ, and the (t, s) entry."""
    (k, s), (other, t) = first, second
    total = root[s] ** 2 + root[t] ** 2
    for (here, a), (there, b) in (((k, s), (other, t)), ((other, t), (k, s))):
        # Entry (a, b) is √σ_a v_b(here) + √σ_b u_a(there).
        found.add(total, (rank + here, root[a] * right[:, b]), (there, root[b] * left[:, a]))
        found.add(0.0, (rank + here, root[b] * right[:, b]), (there, -root[a] * left[:, a]))


class _Directions:
    """Eigenvalues and directions as they are found, each direction from rows of a matrix."""

    def __init__(self, shape: Tensor):
        self.shape, self.values, self.rows = shape, [], []

    def add(self, value: Tensor | float, *parts: tuple[int, Tensor]) -> None:
        row = self.shape.clone()
        for k, vector in parts:
            row[k, : len(vector)] = vector
        self.values.append(float(value))
        self.rows.append(row / row.norm())

    def point(self, location: Tensor, scale: float, name: str, gauge: int, real: Tensor | None = None) -> CriticalPoint:
        """The point; of rows of unequal length, the entries that are `real`."""
        values, order = (scale * torch.tensor(self.values, dtype=location.dtype)).sort(stable=True)
        directions = torch.stack(self.rows).flatten(1)[order].T
        place = location.flatten()
        if real is not None:
            directions, place = directions[real.flatten()], place[real.flatten()]
        return CriticalPoint(place, values, directions, name=name, gauge=gauge)
