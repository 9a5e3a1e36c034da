"""The gradient itself: of all samples, or of a true mini-batch."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from escape.draws import distinct_indices, permutations, uniform_indices
from escape.landscapes.base import Landscape
from escape.oracles.base import Batched, OfBatch, Oracle, whole_batch_size


@dataclass(frozen=True)
class FullBatch(Oracle):
    """∇f itself: deterministic batch gradient descent."""

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> None:
        """Nothing to draw."""
        return

    def gradient(self, landscape: Landscape, x: Tensor, draw: None) -> Tensor:
        """∇f(x)."""
        return landscape.gradient(x)

    def draw_size(self, landscape: Landscape) -> int:
        """None."""
        return 0

    def noisy(self, landscape: Landscape) -> bool:
        """Never."""
        return False

    def additive(self, landscape: Landscape) -> bool:
        """Always: there is none."""
        return True

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """0."""
        return x.new_zeros(directions.shape[1], directions.shape[1])


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
        """The b indices; none of the whole sample."""
        return 0 if self._whole(landscape) else self.batch_size

    def _whole(self, landscape: Landscape) -> bool:
        return not self.replacement and self.batch_size == landscape.n


@dataclass(frozen=True)
class Reshuffled(OfBatch):
    """Random reshuffling: every chain goes through all n samples in a fresh random order, `batch_size` at a time.

    The batches of a chain are consecutive runs of b indices in an endless row of independent uniform permutations of
    {0, …, n − 1}. Every index comes exactly once in each epoch of n, and the noises of its batches nearly cancel. Where
    b does not divide n, a batch may straddle two epochs; its indices in the second may then repeat some of those in the
    first. What is left of a permutation is carried from chunk to chunk.

    One batch alone is one without replacement, covariance κ C(x) with κ = (n − b)/(b(n − 1)); but given the epoch so
    far its mean is not ∇f(x), and x alone is no Markov chain.

    Parameters
    ----------
    batch_size : int
        b, from 1 to n; b = n is the full batch.

    Notes
    -----
    Memory is n indices of two bytes a chain, or four if n > 32767. Where no `block` is given, blocks are made as small
    as that asks for; one given that needs more than 2²⁷ indices at once is refused.
    """

    batch_size: int

    memoryless: ClassVar[bool] = False

    def __post_init__(self):
        object.__setattr__(self, "batch_size", whole_batch_size(self.batch_size))

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch is larger than the sample."""
        MiniBatch(self.batch_size).check(landscape)

    def covariance_factor(self, landscape: Landscape) -> float:
        """κ of one batch within an epoch, (n − b)/(b(n − 1))."""
        return MiniBatch(self.batch_size).covariance_factor(landscape)

    def begin(self, landscape: Landscape, chains: int, generator: Generator) -> Tensor | None:
        """No index is left over: (chains, 0); None for b = n."""
        if self.batch_size == landscape.n:
            return None
        dtype = torch.int16 if landscape.n < 1 << 15 else torch.int32
        return torch.empty(chains, 0, dtype=dtype, device=generator.device)

    def draw_on(
        self, carried: Tensor | None, landscape: Landscape, steps: int, chains: int, generator: Generator
    ) -> tuple[Tensor | None, Tensor | None]:
        """Batch indices (steps, chains, b) off the carried ones (chains, r), then off new permutations; what is left.

        Indices are used up at one pace by all chains: r is common to them.
        """
        if carried is None:
            return None, None
        wanted, rows = steps * self.batch_size, [carried]
        for _ in range(-(-(wanted - carried.shape[1]) // landscape.n)):
            rows.append(permutations(chains, landscape.n, generator).to(carried.dtype))
        row = torch.cat(rows, 1) if len(rows) > 1 else carried
        draw = row[:, :wanted].view(chains, steps, self.batch_size).transpose(0, 1)
        return draw.to(torch.int32).contiguous(), row[:, wanted:]

    def draw(self, landscape: Landscape, steps: int, chains: int, generator: Generator) -> Tensor | None:
        """Batch indices (steps, chains, b) of chains at the beginning of an epoch; None for b = n."""
        return self.draw_on(self.begin(landscape, chains, generator), landscape, steps, chains, generator)[0]

    def gradient(self, landscape: Landscape, x: Tensor, draw: Tensor | None) -> Tensor:
        """(1/b) Σ_{i∈B} ∇f_i(x)."""
        return landscape.gradient(x, draw)

    def draw_size(self, landscape: Landscape) -> int:
        """The b indices."""
        return 1 if self.batch_size == landscape.n else self.batch_size

    def carried_size(self, landscape: Landscape) -> int:
        """A permutation."""
        return 0 if self.batch_size == landscape.n else landscape.n

    @property
    def sampling(self) -> str:
        """Always "reshuffling"."""
        return "reshuffling"

    @property
    def batch(self) -> tuple[int, bool]:
        """One batch of distinct samples, the rest of its epoch not known."""
        return self.batch_size, False
