"""One Gaussian step in the plane as a blur on a regular grid and a pull-back, and areas as weights on its nodes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

PAD = 8.0  # standard deviations of a step that the grid reaches beyond the box
_SUB = 24  # points a side by which a cell that a boundary cuts is sampled
_CELLS = 1_000_000


def _lagrange(u, nodes):
    """Lagrange polynomials (len(u), len(nodes)) of integer nodes."""
    return np.stack([np.prod([(u - b) / (a - b) for b in nodes if b != a], axis=0) for a in nodes], axis=-1)


@dataclass(frozen=True, eq=False)
class BlurGrid:
    """Regular grid over a box and a margin.

    Parameters
    ----------
    low, high, std : (2,) array
        The box and the standard deviations of one step.
    resolution : float
        Nodes in one standard deviation.
    """

    low: np.ndarray
    high: np.ndarray
    std: np.ndarray
    resolution: float

    @cached_property
    def cells(self):
        """Cells of the box in each direction."""
        return np.ceil((self.high - self.low) * self.resolution / self.std).astype(int)

    @cached_property
    def axes(self):
        """Nodes of each direction; the box's edges are among them."""
        size = (self.high - self.low) / self.cells
        pad = np.ceil(PAD * self.std / size).astype(int)
        if np.prod(self.cells + 2 * pad) > _CELLS:
            raise ValueError(f"the grid has {self.cells + 2 * pad} cells: narrow low, high or lower the resolution")
        return [a + h * np.arange(-p, n + p + 1) for a, h, n, p in zip(self.low, size, self.cells, pad, strict=True)]

    @cached_property
    def kernels(self):
        """Matrices of the blur in each direction."""
        return [
            np.exp(-(((x[:, None] - x) / s) ** 2) / 2) * (x[1] - x[0]) / (np.sqrt(2 * np.pi) * s)
            for x, s in zip(self.axes, self.std, strict=True)
        ]

    @cached_property
    def points(self):
        """All nodes, (n, 2)."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, 2)

    def blur(self, values):
        """Gaussian blur of values on all nodes."""
        first, second = self.kernels
        return (first @ values.reshape(len(first), len(second)) @ second.T).ravel()

    def pull_back(self, points):
        """Sparse (m, n) matrix that interpolates from the nodes to points; zero for points beyond the grid."""
        left, share, inside = [], [], np.ones(len(points), dtype=bool)
        for x, p in zip(self.axes, points.T, strict=True):
            at = (p - x[0]) / (x[1] - x[0])
            inside &= (at >= 2) & (at < len(x) - 3)
            left.append(np.clip(np.nan_to_num(np.floor(at)), 2, len(x) - 4).astype(int))
            share.append(_lagrange(np.where(inside, at - left[-1], 0.0), range(-2, 4)))
        near = np.arange(-2, 4)
        column = (left[0][:, None] + near)[:, :, None] * len(self.axes[1]) + (left[1][:, None] + near)[:, None, :]
        value = share[0][:, :, None] * share[1][:, None, :] * inside[:, None, None]
        row = np.repeat(np.arange(len(points)), 36)
        shape = (len(points), len(self.points))
        return sparse.csr_array((value.ravel(), (row, column.ravel())), shape=shape)

    def weights(self, indicator, box):
        """Weights on all nodes, in cells, of the set where `indicator` holds, inside the box (True) or beyond it.

        A cell gives the integral of a bicubic interpolant: exact weights where it is whole, sampled where it is cut.
        """
        shape = [len(x) for x in self.axes]
        inner = np.zeros([n - 1 for n in shape], dtype=bool)
        start = [int(np.argmin(np.abs(x - a))) for x, a in zip(self.axes, self.low, strict=True)]
        inner[start[0] : start[0] + self.cells[0], start[1] : start[1] + self.cells[1]] = True
        wanted = inner if box else ~inner
        wanted[[0, -1]] = wanted[:, [0, -1]] = False  # no neighbours for the interpolant
        size = np.array([x[1] - x[0] for x in self.axes])
        i, j = np.nonzero(wanted)
        corner = np.stack([self.axes[0][i], self.axes[1][j]], axis=1)
        probes = np.array([[0.02, 0.02], [0.02, 0.98], [0.98, 0.02], [0.98, 0.98], [0.5, 0.5]])
        held = np.stack([np.asarray(indicator(corner + p * size), dtype=bool) for p in probes])
        whole, cut = held.all(0), held.any(0) & ~held.all(0)
        sub = (np.arange(_SUB) + 0.5) / _SUB
        basis = _lagrange(sub, range(-1, 3))
        shares = np.zeros((len(i), 4, 4))
        shares[whole] = np.outer(*[np.array([-1, 13, 13, -1]) / 24] * 2)
        if cut.any():
            fine = np.stack(np.meshgrid(sub, sub, indexing="ij"), axis=-1).reshape(-1, 2) * size
            inside = np.asarray(indicator((corner[cut][:, None] + fine).reshape(-1, 2)), dtype=float)
            shares[cut] = np.einsum("cuv,ua,vb->cab", inside.reshape(-1, _SUB, _SUB), basis, basis) / _SUB**2
        total, near = np.zeros(shape), np.arange(-1, 3)
        np.add.at(total, ((i[:, None] + near)[:, :, None], (j[:, None] + near)[:, None, :]), shares)
        return total.ravel()
