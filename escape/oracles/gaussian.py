"""Gaussian noise in the place of the mini-batch's."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from escape.draws import standard_normal
from escape.landscapes.base import Landscape
from escape.mapped import is_mapped
from escape.oracles.base import Batched

# Samples up to which a normal number is drawn for each: more than would fit for the smallest block.
_MOST = 1 << 24


@dataclass(frozen=True)
class GaussianNoise(Batched):
    """∇f plus Gaussian noise of exactly the mini-batch's covariance κ C(x), at every point.

    No covariance matrix is formed. With weights w_i = ξ_i/√n and ξ_i standard normal, Σ (w_i − w̄) ∇f_i has covariance
    C(x) whatever the landscape; on an affine one the same holds for one normal vector in sample space.
    """

    gaussian: ClassVar[bool] = True

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch is too large, or where a step would draw a number for each of too many."""
        super().check(landscape)
        if not landscape.affine and (is_mapped(landscape.samples) or landscape.n > _MOST):
            raise ValueError(
                f"{type(self).__name__} draws a number for every sample, {landscape.n} for each chain and step, unless "
                "the landscape is affine in its sample; take MiniBatch, or DiagonalNoise or IsotropicNoise"
            )

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor:
        """Standard normals: (steps, chains, rank of the samples) if affine, else (steps, chains, n)."""
        shape = (steps, chains, self.draw_size(landscape))
        return standard_normal(shape, generator, landscape.samples.dtype)

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor) -> Tensor:
        """∇f(x) + √κ C(x)^½ ξ."""
        scale = self.covariance_factor(landscape) ** 0.5
        if landscape.affine:
            root = landscape.diagonal_root
            if root is not None:
                sample = torch.addcmul(landscape.mean_sample, draw, root, value=scale)
            else:
                sample = torch.addmm(landscape.mean_sample, draw, landscape.sample_root.T, alpha=scale)
            return landscape.gradient_at_sample(x, sample)
        n = landscape.n
        weights = scale / n**0.5 * (draw - draw.mean(1, keepdim=True)) + 1.0 / n
        return landscape.weighted_gradient(x, weights)

    def draw_size(self, landscape: Landscape) -> int:
        """Rank of the samples' covariance, or n."""
        return landscape.sample_root.shape[1] if landscape.affine else landscape.n


class Shaped(Batched):
    """What Gaussian oracles of another covariance than the batch's share: d normals a step."""

    gaussian: ClassVar[bool] = True

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch is too large or the dimension is not declared."""
        super().check(landscape)
        if landscape.dimension is None:
            raise ValueError(
                f"{type(self).__name__} needs the landscape's dimension; declare a critical point or `dimension`"
            )

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor:
        """Standard normals, (steps, chains, d)."""
        shape = (steps, chains, self.draw_size(landscape))
        return standard_normal(shape, generator, landscape.samples.dtype)

    def draw_size(self, landscape: Landscape) -> int:
        """Dimension d of the space."""
        return landscape.dimension


@dataclass(frozen=True)
class DiagonalNoise(Shaped):
    """∇f plus Gaussian noise that is independent between coordinates: covariance κ diag C(x), at every point."""

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor) -> Tensor:
        """∇f(x) + (κ diag C(x))^½ ξ."""
        variances = self.covariance_factor(landscape) * landscape.noise_diagonal(x)
        return landscape.gradient(x) + variances.sqrt() * draw

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """κ Vᵀ diag C(x) V."""
        variances = self.covariance_factor(landscape) * landscape.noise_diagonal(x[None])[0]
        return directions.T @ (variances[:, None] * directions)


@dataclass(frozen=True)
class IsotropicNoise(Shaped):
    """∇f plus isotropic Gaussian noise of the mini-batch's total variance: covariance (κ Tr C(x)/d) I."""

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor) -> Tensor:
        """∇f(x) + √(κ Tr C(x)/d) ξ."""
        share = self.covariance_factor(landscape) / x.shape[1]
        if landscape.constant_noise:
            return landscape.gradient(x) + (share * landscape.constant_trace(x.shape[1])) ** 0.5 * draw
        variance = share * landscape.noise_trace(x)
        return landscape.gradient(x) + variance.clamp(min=0).sqrt()[:, None] * draw

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """κ Tr C(x)/d VᵀV."""
        share = self.covariance_factor(landscape) / len(x)
        return share * landscape.noise_trace(x[None])[0].clamp(min=0) * (directions.T @ directions)
