"""How the gradient is seen: all of it, a true mini-batch, or a Gaussian in its place.

An oracle draws the randomness of several steps ahead of them, so that a step is a pure function of the state and its
draw. Nothing else in the package knows what kind of noise there is.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from escape.draws import distinct_indices, standard_normal, uniform_indices
from escape.landscapes.base import Landscape


class Oracle(ABC):
    """How the gradient is seen. Frozen and stateless: all randomness comes through `draw`."""

    def check(self, landscape: Landscape) -> None:  # noqa: B027 - an oracle without limits has nothing to check
        """Raise ValueError where this oracle cannot see that landscape."""

    @abstractmethod
    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor | None:
        """All randomness of `steps` steps of `chains` chains, (steps, chains, …), or None where there is none."""

    @abstractmethod
    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor | None) -> Tensor:
        """The gradient as seen, one step's draw (chains, …) in hand: (c, d) -> (c, d). Pure."""

    def draw_size(self, landscape: Landscape) -> int:
        """Numbers drawn per chain and step, by which the engine sizes its chunks."""
        return 1


@dataclass(frozen=True)
class FullBatch(Oracle):
    """∇f itself: deterministic batch gradient descent."""

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> None:
        """Nothing to draw."""
        return

    def gradient(self, landscape: Landscape, x: Tensor, draw: None) -> Tensor:
        """∇f(x)."""
        return landscape.gradient(x)


@dataclass(frozen=True)
class _Batched(Oracle):
    """What the oracles of one batch size share.

    Parameters
    ----------
    batch_size : int
        b ≥ 1; at most n without replacement.
    replacement : bool
        Whether an index may come twice in one batch. Every step draws a fresh batch either way.
    """

    batch_size: int
    replacement: bool = False

    def __post_init__(self):
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer, got {self.batch_size!r}")

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch is larger than the sample."""
        if not self.replacement and self.batch_size > landscape.n:
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the landscape's n = {landscape.n} samples; "
                f"take at most {landscape.n}, or sample with replacement"
            )

    def covariance_factor(self, landscape: Landscape) -> float:
        """κ in Cov(g_B) = κ C(x): 1/b with replacement, (n − b)/(b(n − 1)) without."""
        n, b = landscape.n, self.batch_size
        if self.replacement or n == 1:
            return 1.0 / b if self.replacement else 0.0
        return (n - b) / (b * (n - 1))


@dataclass(frozen=True)
class MiniBatch(_Batched):
    """The mean of ∇f_i over a fresh random batch: unbiased, covariance κ C(x)."""

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor | None:
        """Batch indices (steps, chains, b); None for the whole sample without replacement, which has no noise."""
        n, b = landscape.n, self.batch_size
        if self._whole(landscape):
            return None
        if self.replacement or b == 1:
            return uniform_indices((steps, chains, b), n, generator)
        return distinct_indices(steps * chains, b, n, generator).view(steps, chains, b)

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor | None) -> Tensor:
        """(1/b) Σ_{i∈B} ∇f_i(x)."""
        return landscape.gradient(x, draw)

    def draw_size(self, landscape: Landscape) -> int:
        """The b indices."""
        return 1 if self._whole(landscape) else self.batch_size

    def _whole(self, landscape: Landscape) -> bool:
        return not self.replacement and self.batch_size == landscape.n


@dataclass(frozen=True)
class GaussianNoise(_Batched):
    """∇f plus Gaussian noise of exactly the mini-batch's covariance κ C(x), at every point.

    No covariance matrix is formed. With weights w_i = ξ_i/√n and ξ_i standard normal, Σ (w_i − w̄) ∇f_i has covariance
    C(x) whatever the landscape; on an affine one the same holds for one normal vector in sample space.
    """

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


@dataclass(frozen=True)
class IsotropicNoise(_Batched):
    """∇f plus isotropic Gaussian noise of the mini-batch's total variance: covariance (κ Tr C(x)/d) I."""

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch is too large or the dimension is not declared."""
        super().check(landscape)
        if landscape.dimension is None:
            raise ValueError("isotropic noise needs the landscape's dimension; declare a critical point or `dimension`")

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor:
        """Standard normals, (steps, chains, d)."""
        shape = (steps, chains, self.draw_size(landscape))
        return standard_normal(shape, generator, landscape.samples.dtype)

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor) -> Tensor:
        """∇f(x) + √(κ Tr C(x)/d) ξ."""
        share = self.covariance_factor(landscape) / x.shape[1]
        if landscape.constant_noise:
            return landscape.gradient(x) + (share * landscape.constant_trace(x.shape[1])) ** 0.5 * draw
        variance = share * landscape.noise_trace(x)
        return landscape.gradient(x) + variance.clamp(min=0).sqrt()[:, None] * draw

    def draw_size(self, landscape: Landscape) -> int:
        """Dimension d of the space."""
        return landscape.dimension
