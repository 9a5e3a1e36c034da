"""Means over irregular grids with their errors, and stationary laws on them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from escape.theory import _nystrom

_BLOCKS = 300  # states of the chain that is solved directly
_ROUNDS = 200  # of aggregation
_SMOOTHING = 8  # steps between two aggregations
_STILL = 1e-12  # change of the law in one step at which it counts as stationary


def averaged(walks, function):
    """Mean of a function over grids, and its error: their range, plus the change with half the nodes.

    `walks` is (exact,), () for a chain that needs no grid: error zero.
    """
    fine, coarse = ([np.asarray(function(walk), dtype=float) for walk in some] for some in walks)
    if not coarse:
        return fine[0], np.zeros_like(fine[0])
    if all(np.array_equal(fine[0], other) for other in fine + coarse):  # also where both are infinite
        return fine[0], np.zeros_like(fine[0])
    with np.errstate(invalid="ignore"):
        value = np.mean(fine, axis=0)
        error = np.ptp(fine, axis=0) + np.abs(value - np.mean(coarse, axis=0))
    same = np.all([fine[0] == other for other in fine + coarse], axis=0)
    return value, np.where(same, 0.0, np.where(np.isnan(error), np.inf, error))


def still_masses(matrix):
    """Stationary probabilities of a sparse chain on ordered states, by aggregation into blocks of neighbours.

    Raises
    ------
    ValueError
        If the states fall into several classes that no step leaves, or the iteration does not settle.
    """
    matrix = matrix.tocsr()
    classes, label = connected_components(matrix, connection="strong")
    row, column = matrix.tocoo().coords
    leaving = np.unique(label[row[label[row] != label[column]]])
    if classes - len(leaving) > 1:
        raise ValueError(f"the chain falls into {classes - len(leaving)} parts that no step joins: no single law")
    kept = np.flatnonzero(label == np.setdiff1d(np.arange(classes), leaving)[0])
    inner = matrix[kept][:, kept]
    backwards, n = inner.T.tocsr(), len(kept)
    block = np.arange(n) * min(_BLOCKS, n) // n
    groups = sparse.csr_array((np.ones(n), (np.arange(n), block)), shape=(n, block[-1] + 1))
    mass = np.full(n, 1 / n)
    for _ in range(_ROUNDS):
        for _ in range(_SMOOTHING):
            mass = backwards @ mass
        mass /= mass.sum()
        after = backwards @ mass
        if np.abs(after / after.sum() - mass).sum() < _STILL:
            break
        total = groups.T @ mass
        share = np.divide(mass, total[block], out=np.zeros(n), where=total[block] > 0)
        small = (groups.T * share) @ (inner @ groups)
        mass = share * _nystrom.invariant(sparse.csr_array(small))[block]
    else:
        raise ValueError("the stationary law does not settle: the chain mixes too slowly for this solver")
    whole = np.zeros(matrix.shape[0])
    whole[kept] = mass
    return whole


@dataclass(frozen=True, eq=False)
class BatchStationary:
    """Stationary law of a mini-batch chain, as masses on a few grids.

    Parameters
    ----------
    chain : BatchChain
        Whose law it is.
    fine, coarse : list of (nodes, masses)
        On the grids, and on those with half the nodes.

    Notes
    -----
    Source: derived; aggregation as Koury, McAllister and Stewart (1984), SIAM J. Algebr. Discrete Methods 5, 164.
    """

    chain: object
    fine: list
    coarse: list

    def _occupation(self, low, high):
        if not low < high:
            raise ValueError(f"low, high are {low}, {high}: low must be below high")

        def on(grid):
            nodes, mass = grid
            points = nodes[:, None] - self.chain.lr * self.chain.outcomes(nodes)[0]
            return mass @ (((points > low) & (points < high)) @ self.chain.outcomes(nodes[:1])[1])

        return averaged((self.fine, self.coarse), on)

    def occupation(self, low, high):
        """Stationary probability of the interval (low, high), a float.

        Raises
        ------
        ValueError
            If `low` is not below `high`.
        """
        return float(self._occupation(low, high)[0])

    def occupation_error(self, low, high):
        """Error of `occupation`."""
        return float(self._occupation(low, high)[1])
