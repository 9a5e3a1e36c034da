"""Covariance and Hessian at one point as what they do to vectors, with nothing of d × d numbers."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vmap

from escape.landscapes.base import Landscape

# Numbers in a slice of per-sample gradients, and in a matrix of them that is kept instead of computed again.
_SLICE, _HELD = 1 << 21, 1 << 25
# Units of roundoff, of what gradients are made of, below which a gradient or its noise counts as zero.
_ROUNDING = 1e3 * np.finfo(float).eps


class Products:
    """C(x) V and H(x) V for blocks of vectors V (d, m), in double precision and in slices over the samples.

    Parameters
    ----------
    landscape : Landscape
        Of any floating dtype; a copy in float64 is used.
    x : Tensor or array_like (d,)
        The point.
    """

    def __init__(self, landscape: Landscape, x: Tensor):
        self.landscape = in_double(landscape)
        self.x = check_point(landscape, x)
        self.n, self.d = landscape.n, len(self.x)
        # Called once outside of any transform: what the landscape keeps from its first call is then an ordinary tensor.
        self.gradient = self.landscape.gradient(self.x).detach()
        total, square = torch.zeros_like(self.x), 0.0
        for _, part in self._raw():
            total += part.sum(0)
            square += float((part * part).sum())
        if not (np.isfinite(square) and bool(torch.isfinite(self.gradient).all())):
            raise ValueError("the per-sample gradients are not finite at x; take a point where they are")
        self._mean, self.mean_square = total / self.n, square / self.n
        self._held: Tensor | None = None

    def centred(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the rows ∇f_i − ∇f, (rows, d), and which samples they are."""
        if self.n * self.d > _HELD:
            yield from ((rows, part - self._mean) for rows, part in self._raw())
            return
        if self._held is None:
            self._held = torch.cat([part for _, part in self._raw()]) - self._mean
        yield slice(0, self.n), self._held

    @cached_property
    def trace(self) -> float:
        """Tr C = (1/n) Σ |∇f_i − ∇f|²."""
        return sum(float((part * part).sum()) for _, part in self.centred()) / self.n

    def size(self, curvature: float) -> float:
        """Size of what a gradient is made of, the largest curvature in hand: its rounding is a part of that."""
        return (self.mean_square + (float(self.x.norm()) * curvature) ** 2) ** 0.5

    def negligible(self, amount: float, curvature: float) -> bool:
        """Whether a gradient's norm, or the root of its variance, is rounding of what it is made of."""
        return amount <= _ROUNDING * self.size(curvature)

    def covariance_product(self, v: Tensor) -> Tensor:
        """C V = (1/n) Σ (∇f_i − ∇f)(∇f_i − ∇f)ᵀ V: (d, m) -> (d, m)."""
        return sum(part.T @ (part @ v) for _, part in self.centred()) / self.n

    def along(self, v: Tensor) -> Tensor:
        """(∇f_i − ∇f)ᵀ V of every sample: (d, m) -> (n, m)."""
        return torch.cat([part @ v for _, part in self.centred()])

    def hessian_product(self, v: Tensor) -> Tensor:
        """H V, by forward differentiation of the gradient along every column: (d, m) -> (d, m)."""
        width = self.d if self.landscape.affine else self.d * self.n
        columns = max(1, _SLICE // width)
        # With gradients enabled a landscape runs its functions, not recordings of them, which know no transforms.
        with torch.enable_grad():
            lifted = vmap(lambda w: jvp(self.landscape.gradient, (self.x,), (w,))[1])
            product = torch.cat([lifted(some) for some in v.T.split(columns)]).T.detach()
        if not bool(torch.isfinite(product).all()):
            raise ValueError("the Hessian is not finite at x; take a point where the loss is twice differentiable")
        return product

    def covariance(self) -> Tensor:
        """C itself, (d, d)."""
        return sum(part.T @ part for _, part in self.centred()) / self.n

    def hessian(self) -> Tensor:
        """H itself, (d, d)."""
        product = self.hessian_product(torch.eye(self.d).to(self.x))
        return (product + product.T) / 2

    def gram(self) -> Tensor:
        """(1/n) (∇f_i − ∇f)ᵀ(∇f_j − ∇f), (n, n): it has the nonzero eigenvalues of C."""
        gram = self.x.new_zeros(self.n, self.n)
        for rows, part in self.centred():
            for columns, other in self.centred():
                if columns.start >= rows.start:
                    block = part @ other.T / self.n
                    gram[rows, columns], gram[columns, rows] = block, block.T
        return gram

    def noise_curvature(self) -> float:
        """Tr(HC) = (1/n) Σ (∇f_i − ∇f)ᵀ H (∇f_i − ∇f), by one Hessian product a sample."""
        return sum(float((part.T * self.hessian_product(part.T)).sum()) for _, part in self.centred()) / self.n

    def losses(self) -> Tensor:
        """All f_i(x), (n,)."""
        lifted = vmap(self.landscape.sample_loss, (None, 0))
        return torch.cat([lifted(self.x, self.landscape.samples[rows]).detach() for rows in self._rows()])

    def _raw(self) -> Iterator[tuple[slice, Tensor]]:
        lifted = vmap(self.landscape.sample_gradient, (None, 0))
        return ((rows, lifted(self.x, self.landscape.samples[rows]).detach()) for rows in self._rows())

    def _rows(self) -> list[slice]:
        size = max(1, _SLICE // self.d)
        return [slice(first, min(first + size, self.n)) for first in range(0, self.n, size)]


def in_double(landscape: Landscape) -> Landscape:
    """Return the landscape in double precision, itself if it is so."""
    return landscape if landscape.samples.dtype == torch.float64 else landscape.to(dtype=torch.float64)


def check_point(landscape: Landscape, x: Tensor) -> Tensor:
    """Return a point as a float64 tensor (d,) on the landscape's device."""
    point = torch.as_tensor(x)
    d = landscape.dimension
    if point.ndim != 1 or not len(point) or (d is not None and len(point) != d) or point.is_complex():
        wanted = "(d,)" if d is None else f"({d},), the landscape's dimension"
        raise ValueError(f"x has shape {tuple(point.shape)}; give one real point of shape {wanted}")
    point = point.detach().to(landscape.samples.device, torch.float64)
    if not bool(torch.isfinite(point).all()):
        raise ValueError("x is not finite; give a point with finite coordinates")
    return point


def check_directions(directions: Tensor | None, x: Tensor) -> Tensor:
    """Return directions as unit columns (d, m); m = 0 where none are given."""
    if directions is None:
        return x.new_zeros(len(x), 0)
    columns = torch.as_tensor(directions).detach().to(x.device, torch.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or len(columns) != len(x):
        raise ValueError(f"directions has shape {tuple(columns.shape)}; give ({len(x)},) or ({len(x)}, m), in columns")
    length = columns.norm(dim=0)
    if not bool(((length > 0) & torch.isfinite(length)).all()):
        raise ValueError("a direction is zero or not finite; give directions of positive length")
    return columns / length
