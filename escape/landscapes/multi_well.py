"""Many wells with everything known: a row of them in one coordinate, and products of a quartic over coordinates."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.potential import Potential

# Most coordinates for which all 3^m points of a product are declared.
_ALL = 4


@dataclass(frozen=True, eq=False)
class MultiWell(Potential):
    """u(y) = (h/2)(1 − cos(2π(y − y_min)/L)) between m minima a distance L apart, a parabola beyond the outermost.

    The minima lie at y = (j − (m − 1)/2)L with u = 0 and curvature 2hπ²/L², the m − 1 saddles halfway between with
    u = h and the opposite curvature; the parabolas have the curvature of the minima, and u has three continuous
    derivatives. With a bath in any number of dimensions minima outnumber saddles, m to m − 1, and nothing has a
    higher index: there is no law that saddles are the more numerous in high dimension. Source: derived.

    Parameters
    ----------
    wells : int
        m, at least 2.
    barrier : float
        h, the height of every saddle above every minimum.
    spacing : float
        L, the distance of neighbouring minima.
    samples, bath, multiplicative
        As in `Potential`.
    """

    wells: int = 3
    barrier: float = 1.0
    spacing: float = 2.0

    inner = 1

    def __post_init__(self):
        if self.wells < 2:
            raise ValueError(f"wells must be at least 2, got {self.wells}")
        if not min(self.barrier, self.spacing) > 0:
            raise ValueError(f"barrier and spacing must be positive, got {self.barrier} and {self.spacing}")
        super().__post_init__()

    @property
    def curvature(self) -> float:
        """2hπ²/L², of every minimum, and the opposite of every saddle."""
        return 2 * self.barrier * (math.pi / self.spacing) ** 2

    @property
    def _edge(self) -> float:
        """Place of the last minimum."""
        return (self.wells - 1) / 2 * self.spacing

    @property
    def _phase(self) -> float:
        """Sign of the cosine: the middle is a minimum of an odd row, and a saddle of an even one."""
        return 1.0 if self.wells % 2 else -1.0

    def potential(self, y: Tensor) -> Tensor:
        """(h/2)(1 ∓ cos(2πy/L)) inside, ½u''(|y| − edge)² outside."""
        y = y[0]
        inside = 0.5 * self.barrier * (1 - self._phase * torch.cos(2 * math.pi / self.spacing * y))
        outside = 0.5 * self.curvature * (y.abs() - self._edge) ** 2
        return torch.where(y.abs() <= self._edge, inside, outside)

    def slope(self, y: Tensor) -> Tensor:
        """±(πh/L) sin(2πy/L) inside, u''(y ∓ edge) outside."""
        wave = 2 * math.pi / self.spacing
        inside = 0.5 * self.barrier * wave * self._phase * torch.sin(wave * y)
        # Beyond the edges the distance to the nearer one, inside them zero.
        return torch.where(y.abs() <= self._edge, inside, self.curvature * (y - y.clamp(-self._edge, self._edge)))

    def stationary(self) -> Iterable[tuple[str, Sequence[float]]]:
        """Minima from left to right, then the saddles between them."""
        for kind, count in (("minimum", self.wells), ("saddle", self.wells - 1)):
            for j in range(count):
                yield f"{kind} {j + 1}", ((j - (count - 1) / 2) * self.spacing,)


@dataclass(frozen=True, eq=False)
class StyblinskiTang(Potential):
    """u(y) = (A/2) Σ_j (y_j⁴ − 16y_j² + k y_j): 3^m stationary points, of which 2^m are minima.

    A coordinate rests at its deep minimum, its maximum or its shallow minimum, of a point in any combination; the
    index is the number of coordinates at their maximum. For A = 1 and k = 5: −2.903534 with u = −39.166166 and
    u'' = 34.583059; 0.156731 with 0.195612 and −15.852612; 2.746803 with −25.029447 and 29.269553. The barriers of
    one coordinate are 39.361778 and 25.225059. All points are declared up to m = 4; beyond, the global minimum, with
    each coordinate in turn at its maximum, and with each at its shallow minimum; `point_at` gives any other.
    Source: Styblinski and Tang 1990, Neural Networks 3, 467.

    Parameters
    ----------
    coordinates : int
        m, at least 1.
    scale : float
        A, which multiplies energies and curvatures.
    tilt : float
        k, |k| < 34.8 for three points to a coordinate; at 0 both minima are equally deep.
    samples, bath, multiplicative
        As in `Potential`.
    """

    coordinates: int = 2
    scale: float = 1.0
    tilt: float = 5.0

    def __post_init__(self):
        if self.coordinates < 1:
            raise ValueError(f"coordinates must be at least 1, got {self.coordinates}")
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
        largest = 8 * (8 / 3) ** 1.5
        if not abs(self.tilt) < largest:
            raise ValueError(f"tilt must be below {largest:.4f} in size for three points, got {self.tilt}")
        super().__post_init__()

    @property
    def inner(self) -> int:
        """The number of coordinates of the product."""
        return self.coordinates

    def potential(self, y: Tensor) -> Tensor:
        """(A/2) Σ (y⁴ − 16y² + k y)."""
        square = y * y
        return 0.5 * self.scale * (square * square - 16 * square + self.tilt * y).sum()

    def slope(self, y: Tensor) -> Tensor:
        """A(2y³ − 16y + k/2)."""
        return self.scale * (2 * y * y * y - 16 * y + 0.5 * self.tilt)

    @cached_property
    def levels(self) -> tuple[float, float, float]:
        """Left minimum, maximum and right minimum of one coordinate."""
        return tuple(self._root(start) for start in (-4.0, 0.0, 4.0))

    def point_at(self, which: Sequence[int]) -> CriticalPoint:
        """Give the stationary point with coordinate j at `levels`[which[j]].

        Raises
        ------
        ValueError
            If there is not one of 0, 1 and 2 for every coordinate.
        """
        which = tuple(which)
        if len(which) != self.coordinates or not set(which) <= {0, 1, 2}:
            raise ValueError(f"which must be {self.coordinates} numbers out of 0, 1 and 2, got {which}")
        return self.point_near([self.levels[one] for one in which], "".join("-0+"[one] for one in which))

    def stationary(self) -> Iterable[tuple[str, Sequence[float]]]:
        """All points, or those about the global minimum; named by −, 0, + for left minimum, maximum, right minimum."""
        if self.coordinates <= _ALL:
            chosen = itertools.product((0, 1, 2), repeat=self.coordinates)
        else:
            deep, shallow = (0, 2) if self.tilt >= 0 else (2, 0)
            base = (deep,) * self.coordinates
            changed = ((*base[:j], one, *base[j + 1 :]) for one in (1, shallow) for j in range(self.coordinates))
            chosen = itertools.chain([base], changed)
        for which in chosen:
            yield "".join("-0+"[one] for one in which), [self.levels[one] for one in which]

    def _curvature(self, y: Tensor) -> Tensor:
        return torch.diag(self.scale * (6 * y * y - 16))

    def _root(self, start: float) -> float:
        """Newton's iteration on 2y³ − 16y + k/2, monotone from −4, 0 and 4."""
        y = start
        for _ in range(60):
            y -= (2 * y**3 - 16 * y + 0.5 * self.tilt) / (6 * y * y - 16)
        return y
