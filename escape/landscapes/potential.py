"""Any smooth potential of a few coordinates, with a harmonic bath beside it and per-sample noise by name."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.func import grad, hessian

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.sampling import tilts_of

# Newton's iteration: most steps, the relative step that is its last but rounding, and how far it may wander.
_STEPS, _LAST, _WANDER = 50, 1e-9, 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Potential(Landscape):
    """f_i(x) = u(y) + ½ Σ_j c_j z_j² + g_iᵀx or f_i(x) = (1 + s_i)(u(y) + ½ Σ_j c_j z_j²), with x = (y, z).

    A subclass writes `inner`, the number m of coordinates of u, `potential`, and `stationary` if it knows points; the
    bath, the noise and the spectra follow. Additive noise (tilts g_i) is the same everywhere and survives at every
    critical point (type I). Multiplicative noise (scales s_i) is s_i ∇f: it vanishes at every critical point (type II).

    Parameters
    ----------
    samples : Tensor (n, d) or, where multiplicative, (n, 1), optional
        g_i or s_i, with sum zero; one noiseless term if omitted.
    bath : Tensor (d − m,), optional
        Curvatures c_j > 0 of the other coordinates; none if omitted.
    multiplicative : bool
        What the samples are: scales instead of tilts.
    """

    samples: Tensor | None = None
    bath: Tensor | None = None
    multiplicative: bool = False

    affine = True

    def __post_init__(self):
        given = next((t for t in (self.samples, self.bath) if t is not None), torch.zeros(0, dtype=torch.float64))
        if self.bath is None:
            object.__setattr__(self, "bath", given.new_zeros(0))
        if self.bath.ndim != 1 or not (self.bath > 0).all():
            raise ValueError(f"bath must be (d − {self.inner},) curvatures, all positive, got {self.bath.tolist()}")
        width = 1 if self.multiplicative else self.dimension
        if self.samples is None:
            object.__setattr__(self, "samples", given.new_zeros(1, width))
        if self.samples.ndim != 2 or not len(self.samples) or self.samples.shape[1] != width:
            what = "scales" if self.multiplicative else "tilts"
            raise ValueError(f"samples must be {what} (n, {width}) with n ≥ 1, got {tuple(self.samples.shape)}")
        # Rounding of single precision is allowed for in any dtype: the samples may have come from there.
        if float(self.samples.mean(0).abs().max()) > 1e-4 * float(self.samples.abs().max()) / self.n**0.5:
            raise ValueError("the samples must sum to zero, or f is not u with its bath; subtract their mean")

    @classmethod
    def noisy(
        cls,
        noise: float,
        bath: Sequence[float] = (),
        n: int = 1000,
        seed: int = 0,
        tilts: str = "rademacher",
        multiplicative: bool = False,
        dtype: torch.dtype = torch.float64,
        **knobs,
    ) -> Self:
        """Make the landscape with per-sample noise of a law.

        Parameters
        ----------
        noise : float
            Exact standard deviation of a sample's tilt in every coordinate, or of its scale (a pure number).
        bath : sequence of float
            Curvatures of the other coordinates.
        n, seed : int
            Number of samples (even for Rademacher noise) and seed.
        tilts : {"rademacher", "gaussian", "heavy", "none"}
            Law of the tilts or scales, as in `tilts_of`; "none" is one noiseless term, n = 1.
        multiplicative : bool
            Noise s_i ∇f, which vanishes at the critical points, instead of tilts.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        **knobs
            Parameters of the potential.
        """
        plain = cls(bath=torch.tensor(list(bath), dtype=dtype), **knobs)
        if tilts == "none":
            return plain
        rows = tilts_of(tilts, n, 1 if multiplicative else plain.dimension, noise, seed).to(dtype)
        return dataclasses.replace(plain, samples=rows, multiplicative=multiplicative)

    # What a subclass writes.

    @property
    @abstractmethod
    def inner(self) -> int:
        """Number m of coordinates of the potential."""

    @abstractmethod
    def potential(self, y: Tensor) -> Tensor:
        """u(y) at one point (m,), a scalar tensor."""

    def slope(self, y: Tensor) -> Tensor:
        """∇u(y) at one point, (m,) -> (m,); by automatic differentiation unless given in closed form."""
        return grad(self.potential)(y)

    def stationary(self) -> Iterable[tuple[str, Sequence[float]]]:
        """Names and approximate places (m,) of stationary points of u; Newton's iteration takes them to rounding."""
        return ()

    # What follows.

    @property
    def dimension(self) -> int:
        """Dimension d of the space."""
        return self.inner + len(self.bath)

    @property
    def constant_noise(self) -> bool:
        """True for tilts."""
        return not self.multiplicative

    @cached_property
    def mean_sample(self) -> Tensor:
        """Mean sample, exactly zero by definition: the rounding of the sum would push descent off a saddle."""
        return torch.zeros_like(self.samples[0])

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """u(y) + ½ Σ c_j z_j² + gᵀx, or (1 + s) times the first two."""
        y, z = x[: self.inner], x[self.inner :]
        value = self.potential(y) + 0.5 * (self.bath * z * z).sum()
        return value + sample[0] * value if self.multiplicative else value + (sample * x).sum()

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(∇u(y), c_j z_j) + g, or (1 + s) times it."""
        slope = self.slope(x[: self.inner])
        if len(self.bath):
            slope = torch.cat([slope, self.bath * x[self.inner :]])
        return slope + sample * slope if self.multiplicative else slope + sample

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The stationary points known, taken to rounding in double precision, with their spectra."""
        return self._points

    def point_near(self, place: Sequence[float], name: str = "") -> CriticalPoint:
        """Describe the stationary point of u near an approximate place (m,), the bath at rest.

        Raises
        ------
        ValueError
            If Newton's iteration finds none within a tenth of the distance from there to the origin, plus 0.1.
        """
        wide = self.to(dtype=torch.float64)
        return wide._described(place, name).to(dtype=self.samples.dtype)

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        return tuple(self.point_near(place, name) for name, place in self.stationary())

    def _described(self, place: Sequence[float], name: str) -> CriticalPoint:
        y = self._newton(place)
        values, vectors = torch.linalg.eigh(self._curvature(y))
        eigenvalues, order = torch.cat([values, self.bath]).sort(stable=True)
        eye = torch.eye(len(self.bath)).to(y)
        directions = torch.block_diag(vectors, eye)[:, order]
        point = CriticalPoint(torch.cat([y, torch.zeros_like(self.bath)]), eigenvalues, directions, name=name)
        watched = point.unstable if point.index else directions
        # Scales push along the gradient, which vanishes here; tilts push along every direction that they reach.
        reach = 0.0 if self.multiplicative else float((self.samples @ watched).abs().max())
        floor = 1e3 * torch.finfo(y.dtype).eps * float(self.samples.abs().max())
        return dataclasses.replace(point, noise="I" if reach > floor else "II")

    def _curvature(self, y: Tensor) -> Tensor:
        return hessian(self.potential)(y)

    def _newton(self, place: Sequence[float]) -> Tensor:
        start = torch.tensor(list(place)).to(self.bath)
        y = start
        for _ in range(_STEPS):
            step = torch.linalg.solve(self._curvature(y), self.slope(y))
            y = y - step
            if not float((y - start).norm()) <= _WANDER * (1 + float(start.norm())):
                break
            if float(step.norm()) <= _LAST * (1 + float(y.norm())):
                return y
        raise ValueError(f"no stationary point near {[float(p) for p in place]}: give a place nearer to it")
