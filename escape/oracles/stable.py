"""Heavy-tailed noise: isotropic and stable, of infinite variance."""

import math
from dataclasses import dataclass

from torch import Generator, Tensor

from escape.draws import positive_stable, standard_normal
from escape.landscapes.base import Landscape
from escape.oracles.base import Oracle
from escape.oracles.batches import MiniBatch


@dataclass(frozen=True)
class StableNoise(Oracle):
    """∇f plus isotropic α-stable noise Z: E exp(i tᵀZ) = exp(−|σt|^α), so that every unit projection is SαS of scale σ.

    Z = σ √(2A) G with G standard normal and A > 0 independent of it, E exp(−uA) = exp(−u^{α/2}): one A for all
    coordinates makes the law rotation invariant (sub-Gaussian). At α = 2 it is Gaussian of variance 2σ² in every
    direction; below, the variance is infinite, and P(vᵀZ > z) ~ c (σ/z)^α, c of `theory.stable_tail_constant`.

    Source: Samorodnitsky and Taqqu 1994, Stable Non-Gaussian Random Processes, sections 1.3 and 2.5; noise of SGD as in
    Simsekli, Sagun and Gurbuzbalaban 2019, ICML, arXiv 1901.06053.

    Parameters
    ----------
    alpha : float
        Stability index, 0 < α ≤ 2.
    scale : float, optional
        σ > 0, the same at every point; give this or `batch_size`.
    batch_size : int, optional
        σ(x) = √(κ Tr C(x)/(2d)) with κ of a mini-batch of this size: at α = 2 the noise of `IsotropicNoise`.
    replacement : bool
        Whether that batch is drawn with replacement; only with `batch_size`.
    """

    alpha: float
    scale: float | None = None
    batch_size: int | None = None
    replacement: bool = False

    def __post_init__(self):
        alpha, scale = self.alpha, self.scale
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= 2:
            raise ValueError(f"alpha must be a number in (0, 2], got {alpha!r}")
        if (scale is None) == (self.batch_size is None):
            raise ValueError(f"give scale or batch_size, and not both: got {scale!r} and {self.batch_size!r}")
        if self.batch_size is not None:
            object.__setattr__(self, "batch_size", MiniBatch(self.batch_size, self.replacement).batch_size)
        elif isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise ValueError(f"scale must be a finite number above zero, got {scale!r}")
        elif self.replacement is not False:
            raise ValueError("replacement goes with batch_size; a scale knows no batch")

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch is too large or the dimension is not declared."""
        if landscape.dimension is None:
            raise ValueError("StableNoise needs the landscape's dimension; declare a critical point or `dimension`")
        if self.batch_size is not None:
            MiniBatch(self.batch_size, self.replacement).check(landscape)

    def covariance_factor(self, landscape: Landscape) -> float:
        """κ of the mini-batch that the scale is taken from.

        Raises
        ------
        ValueError
            If the scale was given instead.
        """
        if self.batch_size is None:
            raise ValueError("StableNoise of a given scale knows no batch, and so no kappa")
        return MiniBatch(self.batch_size, self.replacement).covariance_factor(landscape)

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor:
        """√(2A) G, (steps, chains, d)."""
        dtype = landscape.samples.dtype
        normal = standard_normal((steps, chains, self.draw_size(landscape)), generator, dtype)
        if self.alpha == 2:
            return math.sqrt(2) * normal
        spread = positive_stable((steps, chains, 1), self.alpha / 2, generator)
        return (2 * spread).sqrt().to(dtype) * normal

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor) -> Tensor:
        """∇f(x) + σ(x) √(2A) G."""
        return landscape.gradient(x) + self._scales(landscape, x) * draw

    def draw_size(self, landscape: Landscape) -> int:
        """Dimension d of the space."""
        return landscape.dimension

    @property
    def gaussian(self) -> bool:
        """Whether α = 2."""
        return self.alpha == 2

    @property
    def batch(self) -> tuple[int, bool] | None:
        """The batch that the scale is taken from; None where it is given."""
        return None if self.batch_size is None else (self.batch_size, self.replacement)

    @property
    def sampling(self) -> str:
        """That of the batch that the scale is taken from, or "none"."""
        return "none" if self.batch_size is None else MiniBatch(self.batch_size, self.replacement).sampling

    def noisy(self, landscape: Landscape) -> bool:
        """Whether a scale is given, or κ > 0."""
        return self.batch_size is None or self.covariance_factor(landscape) > 0

    def additive(self, landscape: Landscape) -> bool:
        """Whether a scale is given, or the covariance of the samples is the same everywhere."""
        return self.batch_size is None or landscape.constant_noise

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """2σ(x)² VᵀV at α = 2.

        Raises
        ------
        ValueError
            Below, where there is none.
        """
        if self.alpha < 2:
            raise ValueError(f"stable noise of alpha = {self.alpha:g} has no covariance: take noise_scale")
        return 2 * self.noise_scale(landscape, x) ** 2 * (directions.T @ directions)

    def noise_variance(self, landscape: Landscape, x: Tensor, direction: Tensor) -> float:
        """2σ(x)² |v|² at α = 2; below, inf unless σ(x) = 0."""
        scale = self.noise_scale(landscape, x) * float(direction.norm())
        return 2 * scale**2 if self.alpha == 2 or not scale else math.inf

    def noise_scale(self, landscape: Landscape, x: Tensor) -> float:
        """σ at a point (d,): vᵀ(g − ∇f) along a unit vector v has E exp(it·) = exp(−|σt|^α)."""
        scales = self._scales(landscape, x[None])
        return scales if isinstance(scales, float) else float(scales)

    def _scales(self, landscape: Landscape, x: Tensor) -> Tensor | float:
        """σ at points (c, d), a number or (c, 1)."""
        if self.batch_size is None:
            return float(self.scale)
        share = self.covariance_factor(landscape) / (2 * x.shape[1])
        if landscape.constant_noise:
            return (share * landscape.constant_trace(x.shape[1])) ** 0.5
        return (share * landscape.noise_trace(x)).clamp(min=0).sqrt()[:, None]
