"""Exact numbers of a two-dimensional chain with Gaussian steps, x' = m(x) + s N(0, I), to about 4 digits.

One step is a Gaussian blur on a regular grid, read off at m(x). Time is in steps.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse.linalg import LinearOperator, gmres

from escape.theory._blur import BlurGrid
from escape.theory._checks import positive, real

_LEAK = 1e-4  # probability of ending beyond the box above which an answer is refused
_COARSER = 1.4  # between the two grids an error is taken from
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class GaussianPlane:
    """Chain x' = m(x) + s N(0, I) in a box.

    Parameters
    ----------
    drift : callable
        m, points (q, 2) -> (q, 2): x - lr * grad f(x) for SGD.
    std : float or (2,) array
        s, the standard deviation of one step in each direction, above zero: lr * noise for SGD.
    low, high : (2,) array
        Corners of a box beyond which the chain does not go, or only with negligible probability.
    resolution : float
        Nodes of the grid in one standard deviation of a step; at least 2.

    Raises
    ------
    ValueError
        If the box is empty, `std` is not above zero or the resolution is too low.

    Notes
    -----
    Sets are given by callables, points (q, 2) -> (q,) bool, and may reach beyond the box. Errors (`_error`) are the
    change on a grid coarser by 1.4: 1e-3 to 1e-5 where boundaries are smooth and m varies little over one s.
    Costs grow as the number of cells, (side * resolution / s)^2: boxes of up to some hundred s a side.

    Source: derived.
    """

    drift: object
    std: object
    low: object
    high: object
    resolution: float = 4.0

    def __post_init__(self):
        low, high = real("low", self.low), real("high", self.high)
        if low.shape != (2,) or high.shape != (2,) or not (low < high).all():
            raise ValueError(f"low, high are {self.low}, {self.high}: they must be (2,) and low below high")
        positive("std", self.std)
        if not real("resolution", self.resolution) >= 2:
            raise ValueError(f"resolution is {self.resolution!r}: it must be at least 2 nodes in a standard deviation")

    def _grid(self):
        std = np.broadcast_to(np.asarray(self.std, dtype=float), (2,))
        return BlurGrid(np.asarray(self.low, dtype=float), np.asarray(self.high, dtype=float), std, self.resolution)

    def _other(self):
        factor = 1 / _COARSER if self.resolution >= 2 * _COARSER else _COARSER
        return replace(self, resolution=self.resolution * factor)

    def _in_box(self, points):
        return ((points > np.asarray(self.low)) & (points < np.asarray(self.high))).all(-1)

    def _move(self, points):
        moved = np.asarray(self.drift(points), dtype=float)
        if moved.shape != points.shape or not np.isfinite(moved).all():
            raise ValueError(f"drift of {points.shape} points has shape {moved.shape}: it must be finite and (q, 2)")
        return moved

    def _solve(self, x0, stay, costs, lost):
        """Sums of costs while in `stay` and the box, from the starts; refused if `lost` is felt.

        `costs` and `lost` are sets whose probability in the next step is the cost, or None for a cost of 1.
        """
        grid = self._grid()
        weight = grid.weights(stay, True)
        nodes = np.flatnonzero(weight)
        start = real("x0", x0).reshape(-1, 2)
        back = grid.pull_back(self._move(np.concatenate([grid.points[nodes], start])))
        here, first = back[: len(nodes)], back[len(nodes) :]

        def blurred(values):
            whole = np.zeros(len(weight))
            whole[nodes] = values * weight[nodes]
            return grid.blur(whole)

        def cost_of(target):
            if target is None:
                return np.ones(len(nodes)), np.ones(len(start))
            field = grid.blur(grid.weights(target, True) + grid.weights(target, False))
            return here @ field, first @ field

        def beyond():
            field = grid.blur(grid.weights(lost, False))
            return here @ field, first @ field

        operator = LinearOperator((len(nodes),) * 2, lambda v: v - here @ blurred(v), dtype=float)
        found = []
        for cost, at_start in [beyond(), cost_of(costs)]:
            if not np.abs(cost).max(initial=0.0) > 1e-300:
                found.append(at_start)
                continue
            solution, failed = gmres(operator, cost, rtol=_TOLERANCE, restart=100, maxiter=5)
            if failed:
                raise ValueError("the linear system of the chain does not converge: the exit is too rare for the grid")
            found.append(at_start + first @ blurred(solution))
        inside = np.asarray(stay(start), dtype=bool) & self._in_box(start)
        escaped = np.max(np.where(inside, found[0], 0.0), initial=0.0)
        if escaped > _LEAK:
            raise ValueError(f"the chain leaves through the box with probability {escaped:.2g}: widen low, high")
        return found[1], inside

    def mean_exit_step(self, x0, inside=None):
        """Mean first step outside of a set: u(x) = 1 + int_inside k(x, y) u(y) dy at x0.

        Parameters
        ----------
        x0 : (..., 2) array
            Starts; 0 steps if outside already.
        inside : callable, optional
            The set to stay in, points (q, 2) -> (q,) bool; the box if omitted.

        Returns
        -------
        (...) array or float
            Steps.

        Raises
        ------
        ValueError
            If the set reaches out of the box and chains do too, or the grid is too large.
        """
        stay, lost = (self._in_box, _nowhere) if inside is None else (inside, inside)
        value, held = self._solve(x0, stay, None, lost)
        return np.where(held, value, 0.0).reshape(np.shape(x0)[:-1])[()]

    def mean_exit_step_error(self, x0, inside=None):
        """Error of `mean_exit_step`, in steps."""
        return np.abs(self.mean_exit_step(x0, inside) - self._other().mean_exit_step(x0, inside))

    def committor(self, x0, target, avoid):
        """Probability of entering `target` before `avoid`: q(x) = int_target k + int k(x, y) q(y) dy.

        Parameters
        ----------
        x0 : (..., 2) array
            Starts; 1 in `target`, 0 in `avoid`.
        target, avoid : callable
            Sets that do not overlap, points (q, 2) -> (q,) bool.

        Returns
        -------
        (...) array or float
            Probability.

        Raises
        ------
        ValueError
            If chains leave the box elsewhere, or the grid is too large.
        """

        def free(points):
            return ~(np.asarray(target(points), dtype=bool) | np.asarray(avoid(points), dtype=bool))

        value, held = self._solve(x0, free, target, free)
        start = real("x0", x0).reshape(-1, 2)
        ended = np.asarray(target(start), dtype=float)
        return np.where(held, value, ended).reshape(np.shape(x0)[:-1])[()]

    def committor_error(self, x0, target, avoid):
        """Error of `committor`."""
        return np.abs(self.committor(x0, target, avoid) - self._other().committor(x0, target, avoid))

    def stationary(self):
        """Stationary law of the free chain, a `PlaneStationary` with `.occupation(inside)`.

        Raises
        ------
        ValueError
            If a step leaves the box with probability above 10^-4, or the law does not converge.
        """
        grid = self._grid()
        weight = grid.weights(self._in_box, True)
        nodes = np.flatnonzero(weight)
        back = grid.pull_back(self._move(grid.points[nodes]))
        backwards = back.T.tocsr()
        even = weight[nodes] / weight.sum()

        def apply(mass):
            return mass - weight[nodes] * grid.blur(backwards @ mass)[nodes] + even * mass.sum()

        n = len(nodes)
        mass, failed = gmres(
            LinearOperator((n, n), apply, dtype=float), even, rtol=_TOLERANCE, restart=100, maxiter=10
        )
        leak = 1 - mass @ (back @ grid.blur(weight)) / mass.sum()
        if failed or abs(leak) > _LEAK:
            raise ValueError(f"a stationary step leaves the box with probability {leak:.2g}: widen low, high")
        return PlaneStationary(grid, back, mass / mass.sum())

    def stationary_error(self, inside):
        """Error of `stationary().occupation(inside)`."""
        return abs(self.stationary().occupation(inside) - self._other().stationary().occupation(inside))


@dataclass(frozen=True, eq=False)
class PlaneStationary:
    """Stationary law of a chain in the plane, as masses on a grid.

    Parameters
    ----------
    grid : BlurGrid
        The grid.
    back : sparse array
        Interpolation at m(x).
    mass : (n,) array
        Masses of the nodes inside the box, with sum 1.

    Notes
    -----
    Source: derived.
    """

    grid: object
    back: object
    mass: np.ndarray

    def occupation(self, inside):
        """Stationary probability of a set, points (q, 2) -> (q,) bool; a float."""
        weight = self.grid.weights(inside, True) + self.grid.weights(inside, False)
        return float(self.mass @ (self.back @ self.grid.blur(weight)))


def _nowhere(points):
    return np.zeros(len(points), dtype=bool)
