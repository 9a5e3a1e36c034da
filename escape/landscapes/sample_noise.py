"""What is known of the noise of a finite sum: covariance of its per-sample gradients, at one point and at many."""

import functools
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor
from torch.func import vmap

from escape.landscapes.batches import one_thread
from escape.landscapes.critical_point import CriticalPoint

# Units of roundoff, of all that a gradient is made of, below which its standard deviation counts as zero.
_ROUNDING = 1e3


class SampleNoise:
    """The part of a `Landscape` that speaks of its noise; C(x) is the covariance of ∇f_i(x) over the samples."""

    def gradient_covariance(self, x: Tensor) -> Tensor:
        """C(x) = (1/n) Σ (∇f_i − ∇f)(∇f_i − ∇f)ᵀ at one point, divisor n: (d,) -> (d, d)."""
        return functools.reduce(torch.add, (part.T @ part for part in self._centred_gradients(x))) / self.n

    def noise_along(self, x: Tensor, direction: Tensor) -> Tensor:
        """vᵀC(x)v, the variance of one sample's gradient along directions: (d,), (d,) or (d, m) -> () or (m,)."""
        if self._in_one_slice(x.numel()):
            return (self.sample_gradients(x) @ direction).var(0, correction=0)
        return sum(((part @ direction) ** 2).sum(0) for part in self._centred_gradients(x)) / self.n

    def covariance_along(self, x: Tensor, directions: Tensor) -> Tensor:
        """VᵀC(x)V at one point along directions V in columns: (d,), (d, m) -> (m, m)."""
        along = (part @ directions for part in self._centred_gradients(x))
        return functools.reduce(torch.add, (part.T @ part for part in along)) / self.n

    def noise_trace(self, x: Tensor) -> Tensor:
        """Tr C(x) at points: (c, d) -> (c,)."""
        if self.constant_noise:
            return x.new_full((x.shape[0],), self.constant_trace(x.shape[1]))
        if self.affine:
            base = self.gradient_at_sample(x, self.mean_sample.expand(x.shape[0], -1))
            columns = (self.gradient_at_sample(x, self.mean_sample + root) for root in self._expanded_root(x.shape[0]))
            return sum((((column - base) ** 2).sum(-1) for column in columns), start=x.new_zeros(x.shape[0]))
        mean = self.gradient(x)

        def one(x, mean, part):
            return ((vmap(self.sample_gradient, (None, 0))(x, part) - mean) ** 2).sum()

        parts = (vmap(one, (0, 0, None))(x, mean, part) for part in self._sample_parts(x.numel(), "noise"))
        return sum(parts) / self.n

    def noise_diagonal(self, x: Tensor) -> Tensor:
        """Diagonal of C(x) at points, the variance of every coordinate of one sample's gradient: (c, d) -> (c, d)."""
        if self.constant_noise:
            return self.constant_covariance(x.shape[1]).diagonal().expand_as(x)
        if self.affine:
            return sum((column**2 for column in self._root_columns(x)), start=torch.zeros_like(x))
        mean = self.gradient(x)

        def one(x, mean, part):
            return ((vmap(self.sample_gradient, (None, 0))(x, part) - mean) ** 2).sum(0)

        parts = (vmap(one, (0, 0, None))(x, mean, part) for part in self._sample_parts(x.numel(), "noise"))
        return sum(parts) / self.n

    def gradient_covariances(self, x: Tensor) -> Tensor:
        """C(x) at points: (c, d) -> (c, d, d), for every point what `gradient_covariance` says."""
        c, d = x.shape
        if self.constant_noise:
            return self.constant_covariance(d).expand(c, d, d)
        if self.affine:
            columns = list(self._root_columns(x))
            if not columns:
                return x.new_zeros(c, d, d)
            columns = torch.stack(columns, 2)
            return columns @ columns.mT
        mean = self.gradient(x)

        def one(x, mean, part):
            centred = vmap(self.sample_gradient, (None, 0))(x, part) - mean
            return centred.T @ centred

        parts = (vmap(one, (0, 0, None))(x, mean, part) for part in self._sample_parts(x.numel(), "noise"))
        return sum(parts) / self.n

    def noise_type(self, point: CriticalPoint) -> str:
        """Whether noise survives at a critical point: "I" or "II", as defined in `CriticalPoint`."""
        x, some = point.location, point.unstable if 0 < point.index <= len(point.eigenvalues) else point.directions
        if some.shape[1] < len(x) and point.index in (0, len(x)):
            # All directions count and not all eigenvectors are known: the coordinate axes do as well.
            along = sum((part**2).sum(0) for part in self._centred_gradients(x)) / self.n
        else:
            along = self.noise_along(x, some)
        # What vanishes in exact arithmetic leaves the rounding of what it is made of: gradients, curvature times place.
        size = self.gradient_size(x) ** 2 + float(x.norm() * point.eigenvalues.abs().max()) ** 2
        floor = (_ROUNDING * torch.finfo(self.samples.dtype).eps) ** 2 * size
        return "I" if float(along.max()) > floor else "II"

    def gradient_size(self, x: Tensor) -> float:
        """Root mean square of |∇f_i| at one point (d,): what a gradient there is made of, and rounds like."""
        return (sum(float((part.detach() ** 2).sum()) for part in self._sliced_gradients(x)) / self.n) ** 0.5

    @cached_property
    def mean_sample(self) -> Tensor:
        """Mean row of `samples`, (k,)."""
        with one_thread():
            return self._column_means

    @cached_property
    @one_thread()
    def sample_root(self) -> Tensor:
        """L (k, r) with L Lᵀ the covariance of the rows of `samples` and r its rank.

        For an affine landscape, the gradient at sample s̄ + L ξ with ξ standard normal has covariance C(x) exactly.
        """
        mean = self._column_means
        squares = (((part - mean).double().square()).sum(0) for part in self._sample_parts(1))
        std = (functools.reduce(torch.add, squares) / self.n).sqrt()
        largest = functools.reduce(torch.maximum, (part.abs().amax(0) for part in self._sample_parts(1)))
        varies = std > 1e-12 * largest.double()
        # Columns to one scale first: small noise in one of them is then not lost beside large noise in another.
        scaled = ((part - mean).double()[:, varies] / std[varies] for part in self._sample_parts(1))
        correlation = functools.reduce(torch.add, (part.T @ part for part in scaled)) / self.n
        rounding = max(1e-12, 4 * torch.finfo(self.samples.dtype).eps)
        if torch.allclose(correlation, torch.eye(len(correlation)).to(correlation), rtol=0, atol=rounding):
            # Uncorrelated columns: a diagonal root, by which nothing need be multiplied but columns with columns.
            return torch.diag(std).to(self.samples.dtype)[:, varies].contiguous()
        values, vectors = torch.linalg.eigh(correlation)
        keep = values > 1e-12 * values.amax() if len(values) else values > 0
        root = self.samples.new_zeros(self.samples.shape[1], int(keep.sum()), dtype=torch.float64)
        root[varies] = std[varies, None] * vectors[:, keep] * values[keep].sqrt()
        return root.to(self.samples.dtype).contiguous()

    @property
    def _column_means(self) -> Tensor:
        """Mean row of `samples` (k,), slice by slice where they are many."""
        if self._in_one_slice(1):
            return self.samples.mean(0)
        return sum(part.sum(0) for part in self._sample_parts(1)) / self.n

    def _sliced_gradients(self, x: Tensor) -> Iterator[Tensor]:
        """∇f_i at one point, slice by slice: (d,) -> parts of (n, d)."""
        each = vmap(self.sample_gradient, (None, 0))
        return (each(x, part) for part in self._sample_parts(x.numel(), "noise"))

    def _centred_gradients(self, x: Tensor) -> Iterator[Tensor]:
        """∇f_i − ∇f at one point, slice by slice: (d,) -> parts of (n, d)."""
        if self._in_one_slice(x.numel()):
            gradients = self.sample_gradients(x)
            return iter([gradients - gradients.mean(0)])
        mean = sum(part.sum(0) for part in self._sliced_gradients(x)) / self.n
        return (part - mean for part in self._sliced_gradients(x))

    @cached_property
    def diagonal_root(self) -> Tensor | None:
        """Diagonal (k,) of `sample_root` where it is diagonal, else None."""
        root = self.sample_root
        square = root.shape[0] == root.shape[1]
        return root.diagonal().clone() if square and torch.equal(root, torch.diag(root.diagonal())) else None

    def constant_covariance(self, dimension: int) -> Tensor:
        """C (d, d) in d dimensions, where it is the same at every point."""
        if ("covariance", dimension) not in self.kept_noise:
            origin = self.samples.new_zeros(dimension)
            with one_thread():
                self.kept_noise["covariance", dimension] = self.gradient_covariance(origin)
        return self.kept_noise["covariance", dimension]

    def constant_trace(self, dimension: int) -> float:
        """Tr C in d dimensions, where the covariance is the same at every point."""
        if dimension not in self._traces:
            origin = self.samples.new_zeros(dimension)
            with one_thread():
                self._traces[dimension] = float(self.gradient_covariance(origin).trace())
        return self._traces[dimension]

    @cached_property
    def _traces(self) -> dict[int, float]:
        return {}

    @cached_property
    def kept_noise(self) -> dict:
        """What is computed once of the noise and kept by a name: shapes of oracles that take theirs at one point."""
        return {}

    def _root_columns(self, x: Tensor):
        """Columns (c, d) of a root of C(x) at points (c, d), for a landscape that is affine in its sample."""
        base = self.gradient_at_sample(x, self.mean_sample.expand(x.shape[0], -1))
        for root in self._expanded_root(x.shape[0]):
            yield self.gradient_at_sample(x, self.mean_sample + root) - base

    def _expanded_root(self, chains: int):
        return (column.expand(chains, -1) for column in self.sample_root.T)
