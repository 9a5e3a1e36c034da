"""What is known of the noise of a finite sum: covariance of its per-sample gradients, at one point and at many."""

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
        gradients = self.sample_gradients(x)
        centred = gradients - gradients.mean(0)
        return centred.T @ centred / self.n

    def noise_along(self, x: Tensor, direction: Tensor) -> Tensor:
        """vᵀC(x)v, the variance of one sample's gradient along directions: (d,), (d,) or (d, m) -> () or (m,)."""
        return (self.sample_gradients(x) @ direction).var(0, correction=0)

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

        parts = (vmap(one, (0, 0, None))(x, mean, self.samples[rows]) for rows in self._slices(x.numel()))
        return sum(parts) / self.n

    def noise_type(self, point: CriticalPoint) -> str:
        """Whether noise survives at a critical point: "I" or "II", as defined in `CriticalPoint`."""
        directions = point.unstable if point.index else point.directions
        gradients = self.sample_gradients(point.location)
        along = (gradients @ directions).var(0, correction=0)
        # What vanishes in exact arithmetic leaves the rounding of what it is made of: gradients, curvature times place.
        size = (gradients**2).sum(1).mean() + (point.location.norm() * point.eigenvalues.abs().max()) ** 2
        floor = (_ROUNDING * torch.finfo(gradients.dtype).eps) ** 2 * float(size)
        return "I" if float(along.max()) > floor else "II"

    @cached_property
    def mean_sample(self) -> Tensor:
        """Mean row of `samples`, (k,)."""
        with one_thread():
            return self.samples.mean(0)

    @cached_property
    @one_thread()
    def sample_root(self) -> Tensor:
        """L (k, r) with L Lᵀ the covariance of the rows of `samples` and r its rank.

        For an affine landscape, the gradient at sample s̄ + L ξ with ξ standard normal has covariance C(x) exactly.
        """
        centred = (self.samples - self.samples.mean(0)).double()
        std = centred.square().mean(0).sqrt()
        varies = std > 1e-12 * self.samples.double().abs().amax(0)
        # Columns to one scale first: small noise in one of them is then not lost beside large noise in another.
        scaled = centred[:, varies] / std[varies]
        correlation = scaled.T @ scaled / self.n
        rounding = max(1e-12, 4 * torch.finfo(self.samples.dtype).eps)
        if torch.allclose(correlation, torch.eye(len(correlation)).to(correlation), rtol=0, atol=rounding):
            # Uncorrelated columns: a diagonal root, by which nothing need be multiplied but columns with columns.
            return torch.diag(std).to(self.samples.dtype)[:, varies].contiguous()
        values, vectors = torch.linalg.eigh(correlation)
        keep = values > 1e-12 * values.amax() if len(values) else values > 0
        root = self.samples.new_zeros(self.samples.shape[1], int(keep.sum()), dtype=torch.float64)
        root[varies] = std[varies, None] * vectors[:, keep] * values[keep].sqrt()
        return root.to(self.samples.dtype).contiguous()

    @cached_property
    def diagonal_root(self) -> Tensor | None:
        """Diagonal (k,) of `sample_root` where it is diagonal, else None."""
        root = self.sample_root
        square = root.shape[0] == root.shape[1]
        return root.diagonal().clone() if square and torch.equal(root, torch.diag(root.diagonal())) else None

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

    def _expanded_root(self, chains: int):
        return (column.expand(chains, -1) for column in self.sample_root.T)
