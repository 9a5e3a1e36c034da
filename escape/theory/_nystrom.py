"""Quadrature and elimination for Markov chains on a line whose step is Gaussian."""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr

NODES = 8  # Gauss-Legendre nodes a panel
REACH = 11.0  # standard deviations beyond which a step's density (under 1e-27) counts as zero
_ENTRIES = 40_000_000  # floats of band storage beyond which a chain is refused: 320 MB


def quadrature(low, high, width, breakpoints):
    """Composite Gauss-Legendre nodes and weights on [low, high]: panels of at most `width`, edges at breakpoints.

    Raises
    ------
    ValueError
        If the panels would be too many to store.
    """
    inner = [point for point in breakpoints if low < point < high]
    edges = np.unique([low, *inner, high])
    counts = np.ceil(np.diff(edges) / width).astype(int)
    if counts.sum() * NODES > _ENTRIES // 10:
        raise ValueError(
            f"[{low:g}, {high:g}] is {counts.sum()} panels wide: narrow it, or raise the smallest std of a step"
        )
    parts = [np.linspace(a, b, c + 1) for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)]
    left = np.concatenate([part[:-1] for part in parts])
    size = np.concatenate([np.diff(part) for part in parts])
    node, weight = np.polynomial.legendre.leggauss(NODES)
    return (left[:, None] + size[:, None] * (node + 1) / 2).ravel(), (size[:, None] * weight / 2).ravel()


def transition(mean, std, nodes, weights):
    """Sparse (m, len(nodes)) matrix of w_j k(x_i, y_j) for steps N(mean_i, std_i^2).

    Raises
    ------
    ValueError
        If it has too many entries to store.
    """
    first = np.searchsorted(nodes, mean - REACH * std)
    count = np.searchsorted(nodes, mean + REACH * std) - first
    pointer = np.concatenate([[0], np.cumsum(count)])
    if pointer[-1] > _ENTRIES:
        raise ValueError(f"the step's kernel has {pointer[-1]} entries, at most {_ENTRIES}: narrow the interval")
    row = np.repeat(np.arange(len(mean)), count)
    column = np.arange(pointer[-1]) - pointer[row] + first[row]
    z = (nodes[column] - mean[row]) / std[row]
    value = np.exp(-z * z / 2) / (np.sqrt(2 * np.pi) * std[row]) * weights[column]
    return sparse.csr_array((value, column, pointer), shape=(len(mean), len(nodes)))


def interval_probability(mean, std, low, high):
    """P(low < N(mean, std^2) < high), from the tail that does not cancel."""
    a, b = (low - mean) / std, (high - mean) / std
    return np.where(a > 0, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))


class _Elimination:
    """States of a chain removed from the last to the first, after Grassmann, Taksar and Heyman.

    1 - P_kk is always the sum of the other ways out of k, so nothing is ever subtracted and tiny probabilities
    keep their relative accuracy. Only the envelope is touched: `left[k]` is the first column in row k, `top[k]` the
    first row in column k, and both grow with the fill.

    Raises
    ------
    ValueError
        If the band of the matrix is too large to store.
    """

    def __init__(self, matrix):
        entries = matrix.tocoo()
        row, column = entries.coords
        n, half = matrix.shape[0], int(np.abs(row - column).max(initial=1))
        if n * (2 * half + 1) > _ENTRIES:
            raise ValueError(f"{n} nodes with a band of {2 * half + 1} are too many to eliminate: narrow the interval")
        # row i of the storage holds columns i - half to i + half, so (i, j) lies at i (2 half) + j + half: a strided
        # view with rows 2 half apart is the whole matrix, at the memory of its band
        band = np.zeros(n * (2 * half + 1) + half)
        band[row * 2 * half + column + half] = entries.data
        self.view = as_strided(band[half:], (n, n), (2 * half * band.itemsize, band.itemsize))
        self.left, self.top = np.arange(n), np.arange(n)
        np.minimum.at(self.left, row, column)
        np.minimum.at(self.top, column, row)

    def before(self, k):
        """Columns of row k and rows of column k that are not yet removed, as slices."""
        return slice(self.left[k], k), slice(self.top[k], k)

    def remove(self, k, out):
        """Replace every path through state k, of total outflow `out`, by direct steps; return rows and shares."""
        columns, rows = self.before(k)
        share = self.view[rows, k] / out
        self.view[rows, columns] += share[:, None] * self.view[k, columns]
        self.left[rows] = np.minimum(self.left[rows], self.left[k])
        self.top[columns] = np.minimum(self.top[columns], self.top[k])
        return rows, share


def absorb(matrix, leak, costs):
    """Solve (I - P) u = costs where leak = 1 - P 1 is known without cancellation.

    Parameters
    ----------
    matrix : sparse (n, n) array
        P, nonnegative.
    leak : (n,) array
        Probability of leaving the states.
    costs : (n, c) array
        Nonnegative right-hand sides.

    Returns
    -------
    (n, c) array
        u.

    Raises
    ------
    ValueError
        If there is a state that no path leaves, or the matrix is too large.
    """
    chain = _Elimination(matrix)
    right = np.column_stack([leak, costs]).astype(float)  # the leak is eliminated like any cost
    out = np.empty(len(leak))
    for k in range(len(leak) - 1, -1, -1):
        out[k] = chain.view[k, chain.before(k)[0]].sum() + right[k, 0]
        if out[k] < 1e-290:
            raise ValueError("the exit is out of reach of floating point: its probability in one visit is below 1e-290")
        rows, share = chain.remove(k, out[k])
        right[rows] += share[:, None] * right[k]
    solution = right[:, 1:]
    for k in range(len(leak)):
        columns = chain.before(k)[0]
        solution[k] = (solution[k] + chain.view[k, columns] @ solution[columns]) / out[k]
    return solution


def invariant(matrix):
    """Stationary probabilities of a chain given by off-diagonal entries of P.

    Raises
    ------
    ValueError
        If the states fall into several classes that no step leaves, or the matrix is too large.
    """
    matrix = matrix.copy()
    matrix.eliminate_zeros()
    classes, label = connected_components(matrix, connection="strong")
    row, column = matrix.tocoo().coords
    leaving = np.unique(label[row[label[row] != label[column]]])
    if classes - len(leaving) > 1:
        raise ValueError(f"the chain falls into {classes - len(leaving)} parts that no step joins: no single law")
    chain, n, root = _Elimination(matrix), matrix.shape[0], 0
    out = np.ones(n)
    for k in range(n - 1, 0, -1):
        out[k] = chain.view[k, chain.before(k)[0]].sum()
        if out[k] < 1e-250:  # everything below is a tail that floats cannot hold, and gets probability zero
            root = k
            break
        chain.remove(k, out[k])
    probability = np.zeros(n)
    probability[root] = 1.0
    for k in range(root + 1, n):
        rows = slice(max(root, chain.top[k]), k)
        probability[k] = probability[rows] @ chain.view[rows, k] / out[k]
        if probability[k] > 1e100:
            probability[: k + 1] /= probability[k]
    return probability / probability.sum()
