"""Two basins, of each sample the lower one: a sharp beside a flat minimum, and an even beside an uneven one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.sampling import tilts_of

_HALF = math.sqrt(0.5)


@dataclass(frozen=True, eq=False)
class TwoBasins(Landscape):
    """f_i(x) = min(½h_1 t² + ½h_2 s², ½k‖y + p‖²) + ½ Σ_{j>2} c_j w_j² with w = x − z_i, y = (w_1, w_2), p = (1, 1).

    s and t are the parts of y − p along (1, 1)/√2 and (1, −1)/√2. Every sample moves both basins by its own z_i. As
    long as z_i is small, so that every sample has (1, 1) in its sharp and (−1, −1) in its flat basin, these are minima
    of f with eigenvalues h_1, h_2 and k, k (and c_j), f is exactly quadratic about them, and the noise there is H z_i,
    of covariance H Cov(z) H: it survives (type I). Where the smaller of the two changes over, f_i has a kink; the
    kinks of different samples lie in different places. Nothing but the minima is declared: the pass between them is a
    ridge, which without spread has its lowest point at height `barrier`.
    Source: Zhu, Wu, Yu, Wu and Ma 2019 (arXiv 1803.00195), two-dimensional example; n = 100 Gaussian data there.

    Parameters
    ----------
    data : Tensor (n, d)
        z_i, with sum zero; d ≥ 2.
    sharp : (float, float)
        h_1 and h_2.
    flat : float
        k, positive and below both.
    bath : Tensor (d − 2,), optional
        Curvatures c_j > 0 of the other coordinates; none if omitted.
    """

    data: Tensor
    sharp: tuple[float, float] = (20.0, 200.0)
    flat: float = 2.0
    bath: Tensor | None = None

    def __post_init__(self):
        if self.bath is None:
            object.__setattr__(self, "bath", self.data.new_zeros(0))
        if self.data.ndim != 2 or self.bath.shape != (self.data.shape[1] - 2,) or not (self.bath > 0).all():
            raise ValueError(
                f"data must be (n, d) and bath (d − 2,) positive curvatures, got {tuple(self.data.shape)} and "
                f"{self.bath.tolist()}"
            )
        if len(self.sharp) != 2 or not 0 < self.flat < min(self.sharp):
            raise ValueError(f"sharp must be two numbers above flat, flat positive, got {self.sharp} and {self.flat}")
        if float(self.data.mean(0).abs().max()) > 1e-4 * float(self.data.abs().max()) / self.n**0.5:
            raise ValueError("the data must sum to zero, or the minima are elsewhere; subtract their mean")

    @classmethod
    def noisy(
        cls,
        spread: float = 0.01,
        sharp: Sequence[float] = (20.0, 200.0),
        flat: float = 2.0,
        bath: Sequence[float] = (),
        n: int = 100,
        seed: int = 0,
        tilts: str = "gaussian",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the basins with data spread as the inverse Hessian of the sharp one, as in the source.

        Parameters
        ----------
        spread : float
            Standard deviation of z_i along s, in units of x; along t it is √(h_2/h_1) times as much, along x_j
            √(h_2/c_j) times. The noise at the sharp minimum then has covariance spread² h_2 H: exactly for Gaussian
            data, up to correlations of order 1/√n else.
        sharp, flat
            As in the class.
        bath : sequence of float
            Curvatures of the other coordinates.
        n, seed : int
            Number of samples (even for Rademacher data) and seed.
        tilts : {"rademacher", "gaussian", "heavy"}
            Law of the data along their axes, as in `tilts_of`.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        curvatures = torch.tensor([*sharp, *bath], dtype=torch.float64)
        if not (curvatures > 0).all():
            raise ValueError(f"sharp and bath must be positive, got {tuple(sharp)} and {tuple(bath)}")
        rows = tilts_of(tilts, n, len(curvatures), spread, seed) * (curvatures[1] / curvatures).sqrt()
        data = torch.cat([cls._turned(rows[:, :1], rows[:, 1:2]), rows[:, 2:]], dim=1)
        return cls(data.to(dtype), tuple(float(h) for h in sharp), flat, torch.tensor(list(bath), dtype=dtype))

    @property
    def samples(self) -> Tensor:
        """The data, (n, d)."""
        return self.data

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.data.shape[1]

    @property
    def barrier(self) -> float:
        """Height of the lowest point of the ridge above the minima without spread, 4h_2k/(√h_2 + √k)²."""
        # With D = √8, f on the ridge is k(h₁(D + s)² − h₂s²) / (2(h₁ − k)): concave in s, or rising. The lowest point
        # is an end of it, at t = 0, the nearer one: s = −D√k/(√h₂ + √k).
        return 4 * self.sharp[1] * self.flat / (math.sqrt(self.sharp[1]) + math.sqrt(self.flat)) ** 2

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """The lower basin at x − z, plus the bath's part."""
        w = x - sample
        sharp, flat, _, _ = self._basins(w)
        rest = w[2:]
        return torch.where(sharp <= flat, sharp, flat) + 0.5 * (self.bath * rest * rest).sum()

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """The gradient of the lower basin, c_j w_j; on a kink that of the sharp one."""
        w = x - sample
        sharp, flat, t, s = self._basins(w)
        steep = self._turned(self.sharp[0] * t, self.sharp[1] * s)
        return torch.cat([torch.where(sharp <= flat, steep, self.flat * (w[:2] + 1)), self.bath * w[2:]])

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The sharp and the flat minimum, each if it lies within the same basin of every sample."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        found = []
        for name, place, curvatures in (
            ("sharp minimum", 1.0, self.sharp),
            ("flat minimum", -1.0, (self.flat, self.flat)),
        ):
            location = torch.zeros_like(self.data[0])
            location[:2] = place
            sharp, flat, _, _ = self._basins((location - self.data).T)
            if not bool(((sharp < flat) if place > 0 else (flat < sharp)).all()):
                continue
            eigenvalues, order = torch.cat([self.data.new_tensor(curvatures), self.bath]).sort(stable=True)
            directions = torch.eye(self.dimension).to(self.data)
            directions[:2, :2] = self.data.new_tensor([[_HALF, _HALF], [-_HALF, _HALF]])
            noise = "I" if bool((self.data != 0).any()) else "II"
            found.append(CriticalPoint(location, eigenvalues, directions[:, order], noise, name))
        return tuple(found)

    def _basins(self, w: Tensor) -> tuple[Tensor, ...]:
        """Heights of the sharp and the flat basin at w (d, …), and its coordinates t and s."""
        t, s = _HALF * (w[0] - w[1]), _HALF * (w[0] + w[1] - 2)
        sharp = 0.5 * (self.sharp[0] * t * t + self.sharp[1] * s * s)
        return sharp, 0.5 * self.flat * ((w[0] + 1) ** 2 + (w[1] + 1) ** 2), t, s

    @staticmethod
    def _turned(t: Tensor, s: Tensor) -> Tensor:
        """From the parts along (1, −1)/√2 and (1, 1)/√2 to coordinates, side by side."""
        return _HALF * (torch.stack([s + t, s - t]) if t.ndim == 0 else torch.cat([s + t, s - t], dim=1))


@dataclass(frozen=True, eq=False)
class WuMaEPair(Landscape):
    """f_i(x) = min(½a_i x_1², ½b_i(x_1 − 1)²) + ½ Σ_{j≥2} c_j x_j² + g_iᵀx: minima alike but for how samples differ.

    The minima 0 and 1 have curvatures mean a and mean b: in the original both 2, of two samples {2, 2} and {0.2, 3.8}.
    Without tilts every ∇f_i vanishes at both (type II), and only the spread of curvatures tells them apart: it bounds
    the steps for which SGD stays, where the sharpness does not. Sample i has kinks where √a_i|x_1| = √b_i|x_1 − 1|,
    at √b_i/(√b_i + √a_i) between the minima and, for a_i ≠ b_i, at √b_i/(√b_i − √a_i) beyond one of them; the top of
    the barrier is a kink. Only the minima are declared.
    Source: Wu, Ma and E 2018, Advances in Neural Information Processing Systems 31.

    Parameters
    ----------
    curvatures : Tensor (n, 2)
        a_i and b_i, positive.
    tilts : Tensor (n, d), optional
        g_i, with sum zero: additive noise besides.
    bath : Tensor (d − 1,), optional
        Curvatures c_j > 0 of the other coordinates; none if omitted.
    """

    curvatures: Tensor
    tilts: Tensor | None = None
    bath: Tensor | None = None

    def __post_init__(self):
        if self.bath is None:
            object.__setattr__(self, "bath", self.curvatures.new_zeros(0))
        if self.curvatures.ndim != 2 or self.curvatures.shape[1] != 2 or not (self.curvatures > 0).all():
            raise ValueError(
                f"curvatures must be (n, 2), all positive, got {tuple(self.curvatures.shape)} with the least "
                f"{float(self.curvatures.min()):g}"
            )
        if self.bath.ndim != 1 or not (self.bath > 0).all():
            raise ValueError(f"bath must be (d − 1,) curvatures, all positive, got {self.bath.tolist()}")
        if self.tilts is None:
            return
        if self.tilts.shape != (len(self.curvatures), self.dimension):
            raise ValueError(f"tilts must be ({self.n}, {self.dimension}), got {tuple(self.tilts.shape)}")
        if float(self.tilts.mean(0).abs().max()) > 1e-4 * float(self.tilts.abs().max()) / self.n**0.5:
            raise ValueError("the tilts must sum to zero, or the minima are elsewhere; subtract their mean")

    @classmethod
    def noisy(
        cls,
        curvature: float = 2.0,
        spread_left: float = 0.0,
        spread_right: float = 1.8,
        noise: float = 0.0,
        bath: Sequence[float] = (),
        n: int = 2,
        seed: int = 0,
        tilts: str = "rademacher",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the pair with curvatures plus and minus a spread in turn; the defaults are the original.

        Parameters
        ----------
        curvature : float
            Curvature of f at both minima.
        spread_left, spread_right : float
            Standard deviations of the samples' curvatures at 0 and at 1, at least 0 and below `curvature`.
        noise : float
            Standard deviation of a sample's tilt in every coordinate; none at 0.
        bath : sequence of float
            Curvatures of the other coordinates.
        n, seed : int
            Number of samples, even, and seed of the tilts.
        tilts : {"rademacher", "gaussian", "heavy"}
            Law of the tilts, as in `tilts_of`.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        if n < 2 or n % 2:
            raise ValueError(f"curvatures plus and minus a spread need an even number of samples, got n = {n}")
        if not 0 <= min(spread_left, spread_right) <= max(spread_left, spread_right) < curvature:
            raise ValueError(f"spreads must be ≥ 0 and below {curvature}, got {spread_left} and {spread_right}")
        signs = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).repeat(n // 2, 1)
        curvatures = curvature + signs * torch.tensor([spread_left, spread_right], dtype=torch.float64)
        rows = tilts_of(tilts, n, 1 + len(bath), noise, seed).to(dtype) if noise else None
        return cls(curvatures.to(dtype), rows, torch.tensor(list(bath), dtype=dtype))

    @cached_property
    def samples(self) -> Tensor:
        """The curvatures, and the tilts beside them, (n, 2) or (n, 2 + d)."""
        return self.curvatures if self.tilts is None else torch.cat([self.curvatures, self.tilts], dim=1)

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return 1 + len(self.bath)

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """The lower basin, plus the bath's part and the tilt's."""
        first, rest = x[0], x[1:]
        left, right = 0.5 * sample[0] * first**2, 0.5 * sample[1] * (first - 1) ** 2
        value = torch.where(left <= right, left, right) + 0.5 * (self.bath * rest * rest).sum()
        return value if self.tilts is None else value + (sample[2:] * x).sum()

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(a x_1 or b(x_1 − 1), c_j x_j) + g; on a kink that of the left basin."""
        first = x[:1]
        left, right = sample[0] * first, sample[1] * (first - 1)
        lower = torch.where(left * first <= right * (first - 1), left, right)
        slope = torch.cat([lower, self.bath * x[1:]])
        return slope if self.tilts is None else slope + sample[2:]

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The minima 0 and 1."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        means = self.curvatures.double().mean(0).to(self.bath)
        noise = "I" if self.tilts is not None and bool((self.tilts != 0).any()) else "II"
        found = []
        for name, place, curvature in zip(("left minimum", "right minimum"), (0.0, 1.0), means, strict=True):
            location = self.bath.new_zeros(self.dimension)
            location[0] = place
            eigenvalues, order = torch.cat([curvature[None], self.bath]).sort(stable=True)
            directions = torch.eye(self.dimension).to(self.bath)[:, order]
            found.append(CriticalPoint(location, eigenvalues, directions, noise, name))
        return tuple(found)
