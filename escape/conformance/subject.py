"""The landscape under test: where it is looked at, and its derivatives by automatic differentiation alone."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.func import grad, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint

# Units of roundoff that a comparison allows, of the largest number that is compared.
ROUNDING = 1e4
_SLICE = 1 << 21  # numbers in one temporary
_POINTS = 12  # test points, if none are given
_KEPT = 5_000_000  # numbers in all gradients at one point, beyond which they are looked at in two points, not three
_WIDEST = 1024  # dimensions, beyond which no covariance matrix is formed
_SHOWN = 4  # coordinates of a place that are written out


class Subject:
    """A landscape with the points, batches and samples that it is tested at.

    Parameters
    ----------
    landscape : Landscape
        Under test.
    points : Tensor (c, d) or None
        Where to test; near declared points if None.
    seed : int
        Of points, batches and samples.

    Raises
    ------
    ValueError
        If the points are none, or there is nothing to tell the dimension by.
    """

    def __init__(self, landscape: Landscape, points: Tensor | None, seed: int):
        self.landscape = landscape
        self.given = points is not None
        samples = landscape.samples
        self.generator = torch.Generator(device=samples.device).manual_seed(seed)
        self.fault: Exception | None = None
        self.points: tuple[CriticalPoint, ...] = ()
        self.dimension = None
        try:
            self.points = tuple(landscape.critical_points())
            self.dimension = landscape.dimension
        except Exception as error:  # reported as the first finding
            self.fault = error
        self.x = self._places() if points is None else _checked(points, samples)
        self.index = torch.randint(landscape.n, (len(self.x), 5), generator=self.generator, device=samples.device)
        # Some samples by number, distinct.
        self.few = torch.randperm(landscape.n, generator=self.generator, device=samples.device)[:6]

    def _places(self) -> Tensor:
        samples, d = self.landscape.samples, self.dimension
        if self.fault is not None:
            return samples.new_zeros(1, 1)
        if d is None:
            raise ValueError("the landscape declares no dimension; give check_landscape some points (c, d)")
        declared = [point.location for point in self.points[:4] if point.location.shape == (d,)]
        centres = torch.stack(declared or [samples.new_zeros(d)]).to(samples)
        copies = max(3, _POINTS // len(centres))
        noise = torch.randn(
            (copies, *centres.shape), generator=self.generator, device=samples.device, dtype=samples.dtype
        )
        x = (centres + 0.3 * noise).reshape(-1, d)
        try:
            return self.landscape.retract(x.clone())
        except Exception:  # found by the check of retract
            return x

    @property
    def samples(self) -> Tensor:
        """Samples of the landscape, (n, k)."""
        return self.landscape.samples

    @property
    def eps(self) -> float:
        """Deviation allowed relative to the size of what is compared."""
        return ROUNDING * torch.finfo(self.x.dtype).eps

    @property
    def first(self) -> Tensor:
        """The points at which all samples are looked at: three, or two where there are very many numbers."""
        return self.x[: 3 if self.x.shape[1] * self.landscape.n <= _KEPT else 2]

    @property
    def has_matrices(self) -> bool:
        """Whether there is memory for a matrix of d x d."""
        return self.x.shape[1] <= _WIDEST

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.x.device, dtype=self.x.dtype)

    def over_samples(self, function: Callable, x: Tensor, samples: Tensor | None = None) -> Tensor:
        """Values of function(x, sample) at one point (d,) for all samples, (n, …)."""
        samples = self.samples if samples is None else samples
        rows = max(1, _SLICE // max(1, x.numel()))
        return torch.cat([vmap(function, (None, 0))(x, part) for part in samples.split(rows)])

    @cached_property
    def reference(self) -> Tensor:
        """∇f_i by automatic differentiation at every point for its batch, (c, 5, d)."""
        return vmap(vmap(grad(self.landscape.sample_loss), (None, 0)))(self.x, self.samples[self.index])

    @cached_property
    def every(self) -> tuple[Tensor, ...]:
        """All ∇f_i by automatic differentiation, (n, d), at the first points."""
        return tuple(self.over_samples(grad(self.landscape.sample_loss), x) for x in self.first)

    @cached_property
    def losses(self) -> tuple[Tensor, ...]:
        """All f_i, (n,), at the first points."""
        return tuple(self.over_samples(self.landscape.sample_loss, x) for x in self.first)

    @cached_property
    def slope(self) -> float:
        """Largest entry of any ∇f_i looked at."""
        return max(float(self.reference.abs().max()), *(float(rows.abs().max()) for rows in self.every))

    @cached_property
    def height(self) -> float:
        """Largest |f_i| looked at, or what a gradient makes over the distance of the points if that is more."""
        return max(*(float(rows.abs().max()) for rows in self.losses), self.slope * float(self.x.abs().max()))

    def covariance(self, number: int) -> Tensor:
        """C at one of the first points by its definition, (d, d)."""
        centred = self.every[number] - self.every[number].mean(0)
        return centred.T @ centred / len(centred)

    def noise_allowed(self, variance: float) -> float:
        """Rounding of a variance of gradients: that of each gradient is a share of its size, whatever the noise."""
        rounding = self.eps * self.slope
        return self.eps * variance + 2 * variance**0.5 * rounding + rounding**2

    def at(self, index: tuple[int, ...]) -> str:
        """Place of an entry whose first index is the number of a point."""
        return place(self.x[index[0]]) if index else ""

    def at_sample(self, index: tuple[int, ...]) -> str:
        """Place of an entry (point, position in the batch, …)."""
        return f"{self.at(index)}, sample {int(self.index[index[0], index[1]])}"


def place(x: Tensor) -> str:
    """Write a point, its first coordinates if there are many."""
    shown = ", ".join(f"{float(number):.4g}" for number in x[:_SHOWN])
    return f"at x = ({shown}{', …' if len(x) > _SHOWN else ''})"


def _checked(points: Tensor, samples: Tensor) -> Tensor:
    x = torch.as_tensor(points)
    if x.ndim != 2 or not x.numel():
        raise ValueError(f"test points must be (c, d), one point a row, got shape {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError("test points must be finite numbers")
    return x.to(samples)
