"""Steps of mini-batch SGD about a point, with batches drawn by where they lead."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor
from torch.func import vmap

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.lifting import Lifted
from escape.landscapes.second_order import second_order
from escape.oracles import MiniBatch
from escape.rare._steps import choose_batch
from escape.streams import block_generator

# The largest temporary, in numbers: more chains are moved in slices.
_SLICE = 1 << 22


@dataclass(frozen=True, eq=False)
class Motion:
    """δ -> δ − lr g_B(x* + δ) for chains δ = y 2^e, with y of size one: exact, and far from overflow and underflow.

    Parameters
    ----------
    gradients : callable (c, d), (c,) -> (c, n, d)
        All ∇f_i(x* + y 2^e) 2^−e.
    lr : float
        Learning rate.
    batch_size, replacement
        Of the batches.
    location : Tensor (d,)
        x*.
    tilt : Tensor (d, k) or None
        R.
    order : float
        p.
    floor : float
        f.
    samples : Tensor (n, …)
        The samples, for their number, device and dtype.
    """

    gradients: Callable
    lr: float
    batch_size: int
    replacement: bool
    location: Tensor
    tilt: Tensor | None
    order: float
    floor: float
    samples: Tensor

    @classmethod
    def of(
        cls, landscape: Landscape, oracle: MiniBatch, lr: float, point: CriticalPoint | Tensor, where: Tensor,
        tilt: Tensor | None, order: float, linearised: bool,
    ) -> Self:  # fmt: skip
        """Make the motion from checked arguments."""
        samples = landscape.samples
        here = landscape.sample_gradients(where.to(samples.dtype)).double()
        images = here if tilt is None else here @ tilt
        spread = ((images - images.mean(0)) ** 2).sum(1).mean()
        square = lr**2 * float(oracle.covariance_factor(landscape) * spread + (images.mean(0) ** 2).sum())
        lowest = float(point.eigenvalues[0]) if isinstance(point, CriticalPoint) else 0.0
        growth = (1 - lr * lowest) ** 2 - 1 if lowest < 0 else 1.0
        if linearised:
            exact = point if isinstance(point, CriticalPoint) else landscape.critical_point(where.to(samples.dtype))
            gradients = _Linear(second_order(landscape, exact), where, here)
        else:
            gradients = _Exact(landscape, where)
        return cls(
            gradients, lr, oracle.batch_size, oracle.replacement or oracle.batch_size == 1, where, tilt, order,
            square / growth, samples,
        )  # fmt: skip

    def starts(self, start, size: int, count: int, seed: int) -> tuple[list[Generator], Tensor]:
        """Generators of the blocks, and δ_0 of all chains (count · size, d)."""
        generators = [block_generator(seed, number, self.samples.device) for number in range(count)]
        d = len(self.location)
        if callable(start):
            x = [torch.as_tensor(start(size, generator)) for generator in generators]
            if any(part.shape != (size, d) for part in x):
                raise ValueError(f"start(chains, generator) must return (chains, {d}), got {tuple(x[0].shape)}")
            x = torch.cat(x)
        else:
            x = torch.as_tensor(start, dtype=torch.float64)
            if x.shape != (d,):
                raise ValueError(f"start must be ({d},) or a callable, got {tuple(x.shape)}")
            x = x.expand(size * count, -1)
        if not bool(torch.isfinite(x).all()):
            raise ValueError("start holds non-finite numbers")
        return generators, x.to(self.location) - self.location

    def step(self, y: Tensor, e: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move chains: y (c, d), e (c,), uniforms (c, b) -> the next y and e, and what ln of the weights gains (c,)."""
        width = max(1, _SLICE // (len(self.samples) * y.shape[1]))
        parts = [self._moved(*part) for part in zip(y.split(width), e.split(width), uniforms.split(width), strict=True)]
        moved, gained = (torch.cat(part) for part in zip(*parts, strict=True))
        return *self.normalised(moved, e), gained

    @staticmethod
    def normalised(y: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """The same δ with the largest entry of y in [½, 1); a zero stays as it is."""
        exponent = torch.frexp(y.abs().amax(1)).exponent.to(y)
        return y * torch.pow(2.0, -exponent)[:, None], e + exponent

    def log_size(self, y: Tensor, e: Tensor, directions: Tensor | None) -> Tensor:
        """p ln |Vᵀδ|, (c,)."""
        seen = y if directions is None else y @ directions
        return self.order * (0.5 * seen.square().sum(1).log() + e * math.log(2))

    def log_h(self, y: Tensor, e: Tensor) -> Tensor:
        """ln h(δ), (c,)."""
        return self._scaled_log_h(y, self._floor(e)) + self.order * e * math.log(2)

    def _moved(self, y: Tensor, e: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """The next δ in the scale of the last one, and the gain."""
        floor = self._floor(e)
        ends = y[:, None] - self.lr * self.gradients(y, e)
        if not self.replacement and self.batch_size == len(self.samples):
            moved = ends.mean(1)
            log = self._scaled_log_h(moved, floor)
        else:
            images = ends if self.tilt is None else ends @ self.tilt
            index, log = choose_batch(images, uniforms, self.replacement, self.order, floor)
            moved = ends.gather(1, index[:, :, None].expand(-1, -1, y.shape[1])).mean(1)
        # Without weight before, without weight after: that is for the caller to keep.
        return moved, log - self._scaled_log_h(y, floor)

    def _floor(self, e: Tensor) -> Tensor:
        return self.floor * torch.pow(4.0, -e)

    def _scaled_log_h(self, y: Tensor, floor: Tensor) -> Tensor:
        seen = y if self.tilt is None else y @ self.tilt
        return 0.5 * self.order * (seen.square().sum(1) + floor).log()


class _Exact:
    """The gradients of a landscape as it is."""

    def __init__(self, landscape: Landscape, location: Tensor):
        self._lifted = Lifted(vmap(landscape.sample_gradient, (None, 0)), (0, None))
        self._samples, self._location = landscape.samples, location

    def __call__(self, y: Tensor, e: Tensor) -> Tensor:
        scale = torch.pow(2.0, e)[:, None]
        x = (self._location + y * scale).to(self._samples.dtype)
        return self._lifted(x, self._samples).double() / scale[:, :, None]


class _Linear:
    """The gradients of an expansion to second order: g_i + H_i δ, the second term in any scale."""

    def __init__(self, landscape: Landscape, location: Tensor, here: Tensor):
        self._lifted = Lifted(vmap(landscape.sample_gradient, (None, 0)), (0, None))
        self._samples, self._location, self._here = landscape.samples, location, here

    def __call__(self, y: Tensor, e: Tensor) -> Tensor:
        bent = self._lifted((self._location + y).to(self._samples.dtype), self._samples).double() - self._here
        return bent + self._here * torch.pow(2.0, -e)[:, None, None]
