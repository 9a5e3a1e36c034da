"""What a search found: distinct stationary points with spectra, how often each was hit, and what was missed."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint

# Relative size of a curvature below which a point counts as degenerate.
FLAT = 1e-7


@dataclass(frozen=True, eq=False)
class StationaryPoints:
    """Distinct stationary points that a search found, by ascending loss.

    They are not a census, nor a fair sample: a search lands on a point in proportion to its basin, which differs by
    orders of magnitude from point to point and from method to method, so counts by index lean towards what is easily
    found. `hits` shows how unevenly; `unseen` bounds from below how many were missed.

    Parameters
    ----------
    landscape : Landscape
        Where.
    locations : Tensor (m, d)
        The points.
    energies : Tensor (m,)
        f there.
    eigenvalues : Tensor (m, k)
        Of the Hessian, ascending; on a manifold, of its k tangent directions alone.
    index : Tensor (m,), integer
        Number of negative eigenvalues.
    hits : Tensor (m,), integer
        Starts that ended at each point.
    starts, failures : int
        Starts in all, and those discarded: |∇f| not below the tolerance when the steps ran out, or not finite.
    method : str
        In words.
    """

    landscape: Landscape
    locations: Tensor
    energies: Tensor
    eigenvalues: Tensor
    index: Tensor
    hits: Tensor
    starts: int
    failures: int
    method: str

    def __len__(self) -> int:
        return len(self.locations)

    @property
    def degenerate(self) -> Tensor:
        """Points with a curvature of zero, (m,): a manifold of minima gives a new one at every start."""
        return self.eigenvalues.abs().amin(1) < FLAT * self.eigenvalues.abs().amax(1)

    def histogram(self) -> np.ndarray:
        """Distinct points of every index 0, …, k: (k + 1,)."""
        return np.bincount(self.index.cpu(), minlength=self.eigenvalues.shape[1] + 1)

    def energy_histogram(self, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
        """Distinct points by energy and index: edges (bins + 1,) and counts (k + 1, bins)."""
        energies, k = self.energies.cpu().numpy(), self.eigenvalues.shape[1]
        edges = np.histogram_bin_edges(energies, bins)
        counts = [np.histogram(energies[self.index.cpu().numpy() == i], edges)[0] for i in range(k + 1)]
        return edges, np.stack(counts)

    @property
    def unseen(self) -> float:
        """Lower bound, on average, of the number of points missed: a(a − 1) / (2(b + 1)), a hit once and b twice.

        Source: Chao 1984, Scandinavian Journal of Statistics 11, 265 (bias-corrected form). A bound because basins
        differ in size; points that no start can reach are not in it.
        """
        once, twice = int((self.hits == 1).sum()), int((self.hits == 2).sum())
        return once * (once - 1) / (2 * (twice + 1))

    @property
    def bias(self) -> str:
        """What the numbers do not say, in one line."""
        return (
            f"{self.method}: {len(self)} distinct points from {self.starts} starts, {self.failures} failed; each found "
            f"in proportion to its basin, so counts by index lean to large basins; at least {self.unseen:.0f} unseen"
        )

    def critical_points(self, most: int | None = None) -> tuple[CriticalPoint, ...]:
        """Return the points, lowest first and `most` of them at most, with their spectra and kinds of noise."""
        return self._described[:most] if most is None else tuple(self._describe(i) for i in range(len(self))[:most])

    @cached_property
    def _described(self) -> tuple[CriticalPoint, ...]:
        return tuple(self._describe(i) for i in range(len(self)))

    def _describe(self, i: int) -> CriticalPoint:
        rank = int((self.index[:i] == self.index[i]).sum()) + 1
        name = f"index {int(self.index[i])}, no. {rank}"
        return self.landscape.critical_point(self.locations[i], name)
