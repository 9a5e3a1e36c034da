"""The gradient itself: of all samples, or of a true mini-batch."""

from dataclasses import dataclass

from torch import Generator, Tensor

from escape.draws import distinct_indices, uniform_indices
from escape.landscapes.base import Landscape
from escape.oracles.base import Batched, Oracle


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
class MiniBatch(Batched):
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
