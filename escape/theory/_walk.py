"""Chains with finitely many outcomes a step: on the points they reach, or on a grid between whose nodes they land.

A landing point between two nodes is shared among them so that its mean is kept. The solution is not smooth: it jumps
at all points from which some batches lead to an exit's edge, so the error is that of the position of the grid beside
these jumps, as good as random, and the mean over a few irregular grids says how large it is.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import LinearOperator, gmres, splu

from escape.theory import _nystrom

_COARSE = 300  # nodes of the grid that is solved directly, as a preconditioner
_TOLERANCE = 1e-10  # relative residual of the solution on the fine grid
_ROUGH = 1e-6  # residual above which a solution is refused
_CLOSE = 1e-10  # of the interval's width, at which two reached points are one
_FEW = 1500  # reached points up to which a chain is solved on them


def jittered(low, high, count, rng):
    """Nodes from low to high, each moved by up to a third of a cell but for the ends."""
    move = rng.uniform(-1, 1, count) / 3 + rng.uniform(-0.15, 0.15)
    nodes = low + (high - low) * (np.arange(count) + move) / (count - 1)
    nodes[[0, -1]] = low, high
    return nodes


def shares(nodes, points):
    """Left neighbours of points among the nodes, and the right ones' shares."""
    left = np.clip(np.searchsorted(nodes, points, side="right") - 1, 0, len(nodes) - 2)
    right = (points - nodes[left]) / (nodes[left + 1] - nodes[left])
    return left, np.clip(right, 0.0, 1.0)


def landing(nodes, points, probability):
    """Sparse (q, nodes) matrix of the law of landing points (q, k) with probabilities (k,) or (q, k)."""
    left, right = shares(nodes, points)
    row = np.broadcast_to(np.arange(len(points))[:, None], points.shape).ravel()
    weight = np.broadcast_to(probability, points.shape)
    data = np.concatenate([(weight * (1 - right)).ravel(), (weight * right).ravel()])
    column = np.concatenate([left.ravel(), left.ravel() + 1])
    matrix = sparse.csr_array((data, (np.concatenate([row, row]), column)), shape=(len(points), len(nodes)))
    matrix.eliminate_zeros()
    return matrix


@dataclass(frozen=True, eq=False)
class Walk:
    """A chain on finitely many states until it leaves.

    Parameters
    ----------
    nodes : (n,) array
        States.
    matrix : sparse (n, n) array
        P.
    out : (n, 3) array
        Probabilities of a step out at the low exit, at the high one, and beyond a truncated side.
    row : sparse (m, n) array
        First step of each start; zero for a start outside.
    out_at_start : (m, 3) array
        The same probabilities for the starts.
    inside : (m,) bool array
        Which starts are inside.
    exact : bool
        Whether the states are all that the chain can reach.
    coarse : Walk or None
        The same chain on a small grid.
    """

    nodes: np.ndarray
    matrix: sparse.csr_array
    out: np.ndarray
    row: sparse.csr_array
    out_at_start: np.ndarray
    inside: np.ndarray
    exact: bool = False
    coarse: object = None

    def free(self):
        """States from which some path leads out."""
        return _reached_backwards(self.matrix, np.flatnonzero(self.out.sum(1) > 0), len(self.nodes))

    def doomed(self):
        """States from which the chain may never leave: some path leads to where no path leads out."""
        return _reached_backwards(self.matrix, np.flatnonzero(~self.free()), len(self.nodes))

    def solve(self, cost, states):
        """u = cost + P u on some of the states, where the chain surely stops, and zero elsewhere."""
        states = np.flatnonzero(states)
        solution = np.zeros(len(self.nodes))
        if len(states):
            solution[states] = self._solve_on(states, cost[states])
        return solution

    def _solve_on(self, sure, cost):
        matrix = self.matrix[sure][:, sure]
        if self.exact:
            # a step to states left out never comes back, and ends the chain like any other exit
            leak = self.out.sum(1)[sure] + _outside(self.matrix, sure)
            return _nystrom.absorb(matrix, leak, cost[:, None])[:, 0]
        if not cost.any():
            return cost
        inverse = self._coarse_inverse(sure)
        scale = np.abs(cost).max()
        n = len(sure)
        solution, failed = gmres(
            LinearOperator((n, n), lambda v: v - matrix @ v, dtype=float),
            cost / scale,
            M=LinearOperator((n, n), lambda v: v + inverse(matrix @ v), dtype=float),
            rtol=_TOLERANCE,
            restart=80,
            maxiter=3,
        )
        residual = np.abs(cost / scale - solution + matrix @ solution).max()
        if failed and residual > _ROUGH:
            raise ValueError("the linear system of the chain does not converge: the exit is too rare for this solver")
        return solution * scale

    def _coarse_inverse(self, sure):
        """Approximate inverse of 1 - P by the same chain on few nodes, for the slow modes."""
        small = self.coarse
        keep = np.flatnonzero(small.free())
        if not len(keep):
            return lambda v: np.zeros_like(v)
        factors = splu(sparse.eye_array(len(keep), format="csc") - small.matrix[keep][:, keep].tocsc())
        fine, rough = self.nodes[sure], small.nodes[keep]
        return lambda v: np.interp(fine, rough, factors.solve(np.interp(rough, fine, v)))

    def at_start(self, first, solution):
        """first + sum over the first step of a solution on the states; zero for starts outside."""
        return np.where(self.inside, first + self.row @ solution, 0.0)

    def may_stay(self):
        """Starts from which the chain may never leave."""
        return self.inside & (self.row @ self.doomed().astype(float) > 0)


def _outside(matrix, states):
    """Probability of a step from each of the states to one that is not among them."""
    other = np.ones(matrix.shape[0])
    other[states] = 0.0
    return matrix[states] @ other


def _reached_backwards(matrix, ends, n):
    """States from which a path leads to one of `ends`."""
    found = np.zeros(n, dtype=bool)
    if not len(ends):
        return found
    # one more state with an edge to every end, on the reversed graph
    rows, columns = matrix.tocoo().coords
    graph = sparse.csr_array(
        (
            np.ones(len(rows) + len(ends), dtype=np.int8),
            (np.concatenate([columns, np.full(len(ends), n)]), np.concatenate([rows, ends])),
        ),
        shape=(n + 1, n + 1),
    )
    order = breadth_first_order(graph, n, return_predecessors=False)
    found[order[order < n]] = True
    return found


def split(points, probability, exits, low, high, tiny=0.0):
    """Which landing points (q, k) stay, and probabilities (q, 3) of leaving low, high and by truncation."""
    below, above = points <= low + tiny, points >= high - tiny
    if exits[0] is None:
        below = points < low
    if exits[1] is None:
        above = points > high
    down, up = below @ probability, above @ probability
    zero = np.zeros_like(down)
    lost = (down if exits[0] is None else zero) + (up if exits[1] is None else zero)
    out = np.column_stack([zero if exits[0] is None else down, zero if exits[1] is None else up, lost])
    return ~(below | above), out


def grid_walk(step, probability, exits, bounds, start, nodes, coarse=True):
    """The chain on a grid."""
    low, high = bounds
    points = step(nodes)
    stays, out = split(points, probability, exits, low, high)
    matrix = landing(nodes, points, probability * stays)
    inside = inner(start, exits, low, high)
    points = step(start)
    stays, first_out = split(points, probability, exits, low, high)
    row = landing(nodes, points, probability * stays * inside[:, None])
    small = None
    if coarse:
        small = grid_walk(step, probability, exits, bounds, start, np.linspace(low, high, _COARSE), coarse=False)
    return Walk(nodes, matrix, out, row, first_out, inside, coarse=small)


def inner(start, exits, low, high):
    """Starts between the exits."""
    above = start >= low if exits[0] is None else start > low
    return above & (start <= high if exits[1] is None else start < high)


def reached_walk(step, probability, exits, bounds, start):
    """The chain on all points that it can reach from the starts, or None where they are many."""
    low, high = bounds
    tiny = _CLOSE * (high - low)
    inside = inner(start, exits, low, high)
    found = _distinct(start[inside], tiny)
    front = found
    while len(front):
        points = step(front)
        stays, _ = split(points, probability, exits, low, high, tiny)
        landed = _distinct(points[stays], tiny)
        front = landed[~_among(landed, found, tiny)]
        found = _distinct(np.concatenate([found, front]), tiny)
        if len(found) > _FEW:
            return None
    if len(found) < 2:
        found = np.append(found, high + np.arange(1.0, 3.0))[:2]  # a grid needs two nodes; nothing lands on these
    points = step(found)
    stays, out = split(points, probability, exits, low, high, tiny)
    first = step(start)
    stays_first, out_first = split(first, probability, exits, low, high, tiny)
    matrix = landing(found, _nearest(found, points), probability * stays)
    row = landing(found, _nearest(found, first), probability * stays_first * inside[:, None])
    return Walk(found, matrix, out, row, out_first, inside, exact=True)


def _distinct(points, tiny):
    points = np.sort(points.ravel())
    return points[np.concatenate([[True], np.diff(points) > tiny])] if len(points) else points


def _nearest(nodes, points):
    right = np.clip(np.searchsorted(nodes, points), 1, len(nodes) - 1)
    return np.where(points - nodes[right - 1] < nodes[right] - points, nodes[right - 1], nodes[right])


def _among(points, nodes, tiny):
    return np.abs(_nearest(nodes, points) - points) <= 2 * tiny if len(nodes) > 1 else np.abs(points - nodes[0]) <= tiny
