"""Test potentials of optimization and of chemistry, each with a bath and per-sample noise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from escape.landscapes.potential import Potential

# Second minimum and the saddle before it, of the chain of 4 to 7 coordinates with steepness 100.
_SECOND = {
    4: ((-0.776, 0.613, 0.382, 0.146), (-0.656, 0.443, 0.204, 0.042)),
    5: ((-0.962, 0.936, 0.881, 0.778, 0.605), (-0.557, 0.325, 0.117, 0.023, 0.001)),
    6: ((-0.987, 0.983, 0.972, 0.947, 0.899, 0.808), (-0.555, 0.322, 0.115, 0.024, 0.010, 0.0)),
    7: ((-0.992, 0.994, 0.992, 0.987, 0.975, 0.951, 0.905), (-0.555, 0.322, 0.115, 0.024, 0.011, 0.010, 0.0)),
}


@dataclass(frozen=True, eq=False)
class Rosenbrock(Potential):
    """u(y) = A Σ_{j<m} [(1 − y_j)² + k(y_{j+1} − y_j²)²]: a curved valley, and for m > 2 a chain of them.

    The minimum (1, …, 1) has eigenvalues 0.39936 and 1001.6006 for m = 2, A = 1, k = 100. For m = 4 to 7 and k = 100 a
    second minimum near (−1, 1, …, 1) and the saddle before it are declared too.
    Source: Rosenbrock 1960, Computer Journal 3, 175; the other points: Shang and Qiu 2006, Evolutionary Computation
    14, 119, and Kok and Sandrock 2009, Evolutionary Computation 17, 437.

    Parameters
    ----------
    coordinates : int
        m, at least 2.
    scale : float
        A, which multiplies all curvatures.
    steepness : float
        k, of the walls of the valley.
    samples, bath, multiplicative
        As in `Potential`.
    """

    coordinates: int = 2
    scale: float = 1.0
    steepness: float = 100.0

    def __post_init__(self):
        if self.coordinates < 2:
            raise ValueError(f"coordinates must be at least 2, got {self.coordinates}")
        if not min(self.scale, self.steepness) > 0:
            raise ValueError(f"scale and steepness must be positive, got {self.scale} and {self.steepness}")
        super().__post_init__()

    @property
    def inner(self) -> int:
        """The number of coordinates of the chain."""
        return self.coordinates

    def potential(self, y: Tensor) -> Tensor:
        """A Σ [(1 − y_j)² + k(y_{j+1} − y_j²)²]."""
        first, second = y[:-1], y[1:]
        return self.scale * ((1 - first) ** 2 + self.steepness * (second - first * first) ** 2).sum()

    def slope(self, y: Tensor) -> Tensor:
        """2A[y_j − 1 − 2k y_j(y_{j+1} − y_j²)] of all but the last, plus 2Ak(y_j − y_{j−1}²) of all but the first."""
        first, second = y[:-1], y[1:]
        lag = self.steepness * (second - first * first)
        none = torch.zeros_like(y[:1])
        return 2 * self.scale * (torch.cat([first - 1 - 2 * first * lag, none]) + torch.cat([none, lag]))

    def stationary(self) -> Iterable[tuple[str, Sequence[float]]]:
        """The minimum; a second one and a saddle where they are known."""
        yield "minimum", (1.0,) * self.coordinates
        if self.steepness == 100.0 and self.coordinates in _SECOND:
            yield from zip(("second minimum", "saddle"), _SECOND[self.coordinates], strict=True)


@dataclass(frozen=True, eq=False)
class MuellerBrown(Potential):
    """u(y) = A Σ_k D_k exp(a_k p² + b_k pq + c_k q²) with p = y_1 − p_k, q = y_2 − q_k and four terms.

    Three minima in a bent valley and two saddles between them. Without the scale: minima (−0.558, 1.442) of depth
    −146.6995, (0.623, 0.028) of −108.1667 and (−0.050, 0.467) of −80.7678; saddles (−0.822, 0.624) at −40.6648 and
    (0.212, 0.293) at −72.2489; curvatures up to 4068. The default A = 0.001 makes these of order 1, and the barriers
    0.106 from the deepest, 0.0359 and 0.00852 from the next two. One term grows as exp(0.7‖y‖²) and confines.
    Source: Müller and Brown 1979, Theoretica Chimica Acta 53, 75.

    Parameters
    ----------
    scale : float
        A, which multiplies energies and curvatures.
    samples, bath, multiplicative
        As in `Potential`.
    """

    scale: float = 1e-3

    inner = 2

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
        super().__post_init__()
        # Heights A D_k, exponents a_k, b_k, c_k and centres p_k, q_k, each (4,); now, as a constant that is first made
        # inside a derivative would belong to it.
        rows = [
            [self.scale * height for height in (-200.0, -100.0, -170.0, 15.0)],
            [-1.0, -1.0, -6.5, 0.7],
            [0.0, 0.0, 11.0, 0.6],
            [-10.0, -10.0, -6.5, 0.7],
            [1.0, 0.0, -0.5, -1.0],
            [0.0, 0.5, 1.5, 1.0],
        ]
        object.__setattr__(self, "_terms", tuple(self.samples.new_tensor(rows)))

    def potential(self, y: Tensor) -> Tensor:
        """Sum of the four terms."""
        height, a, b, c, p, q = self._terms
        p, q = y[0] - p, y[1] - q
        return (height * torch.exp(a * p * p + b * p * q + c * q * q)).sum()

    def slope(self, y: Tensor) -> Tensor:
        """Σ_k term_k (2a p + b q, b p + 2c q)."""
        height, a, b, c, p, q = self._terms
        p, q = y[0] - p, y[1] - q
        term = height * torch.exp(a * p * p + b * p * q + c * q * q)
        return torch.stack([(term * (2 * a * p + b * q)).sum(), (term * (b * p + 2 * c * q)).sum()])

    def stationary(self) -> Iterable[tuple[str, Sequence[float]]]:
        """Minima by depth, then the saddles: to the deepest minimum, and between the other two."""
        return (
            ("deepest minimum", (-0.558224, 1.441726)),
            ("second minimum", (0.623499, 0.028038)),
            ("shallow minimum", (-0.050011, 0.466694)),
            ("high saddle", (-0.822002, 0.624313)),
            ("low saddle", (0.212487, 0.292988)),
        )


@dataclass(frozen=True, eq=False)
class BiChannel(Potential):
    """Two deep holes, and a shallow one above: two channels, over one saddle or by way of the third hole over two.

    u(y) = A[y_1⁴/5 + v⁴/5 + 3e^{−y_1²−v²} − 3e^{−y_1²−w²} − 5e^{−(y_1−1)²−y_2²} − 5e^{−(y_1+1)²−y_2²}] with
    v = y_2 − 1/3 and w = y_2 − 5/3, the same to the left as to the right. Eigenvalues for A = 1: minima
    (∓1.048, −0.042) 8.472, 13.558 and (0, 1.537) 3.798, 9.272; saddles (0, −0.316) −10.478, 4.915 and (∓0.617, 1.103)
    −5.357, 6.281; maximum (0, 0.519) −9.807, −5.350.
    Source: Metzner, Schütte and Vanden-Eijnden 2006, Journal of Chemical Physics 125, 084110.

    Parameters
    ----------
    scale : float
        A, which multiplies energies and curvatures.
    samples, bath, multiplicative
        As in `Potential`.
    """

    scale: float = 1.0

    inner = 2

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
        super().__post_init__()

    def _terms(self, y: Tensor) -> tuple[Tensor, ...]:
        """v, w, and the exponentials: middle, upper, right, left."""
        first, second = y[0], y[1]
        v, w = second - 1 / 3, second - 5 / 3
        away, low = torch.exp(-first * first), torch.exp(-second * second)
        right, left = torch.exp(-((first - 1) ** 2)) * low, torch.exp(-((first + 1) ** 2)) * low
        return v, w, 3 * away * torch.exp(-v * v), 3 * away * torch.exp(-w * w), 5 * right, 5 * left

    def potential(self, y: Tensor) -> Tensor:
        """A[y_1⁴/5 + v⁴/5 + hill − upper hole − (right hole + left hole)]."""
        v, _, hill, upper, right, left = self._terms(y)
        return self.scale * (0.2 * (y[0] ** 4 + v**4) + hill - upper - (right + left))

    def slope(self, y: Tensor) -> Tensor:
        """The gradient; along y_1 exactly zero on the axis of symmetry."""
        first, second = y[0], y[1]
        v, w, hill, upper, right, left = self._terms(y)
        along = 0.8 * first**3 + 2 * first * (upper - hill) + 2 * ((first - 1) * right + (first + 1) * left)
        across = 0.8 * v**3 + 2 * (w * upper - v * hill) + 2 * second * (right + left)
        return self.scale * torch.stack([along, across])

    def stationary(self) -> Iterable[tuple[str, Sequence[float]]]:
        """Minima, saddles, and the hilltop between them."""
        return (
            ("left minimum", (-1.048055, -0.042094)),
            ("right minimum", (1.048055, -0.042094)),
            ("upper minimum", (0.0, 1.537082)),
            ("lower saddle", (0.0, -0.315827)),
            ("upper left saddle", (-0.617272, 1.102735)),
            ("upper right saddle", (0.617272, 1.102735)),
            ("hilltop", (0.0, 0.519187)),
        )
