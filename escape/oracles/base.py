"""What every oracle is: it draws the randomness of several steps ahead, so that a step is a pure function of its draw.

Nothing else in the package knows what kind of noise there is.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Generator, Tensor

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

    def begin(self, landscape: Landscape, chains: int, generator: Generator) -> Tensor | None:
        """What chains carry from one draw to the next, (chains, …); None for an oracle without memory."""
        return None

    def draw_on(
        self, carried: Tensor | None, landscape: Landscape, steps: int, chains: int, generator: Generator
    ) -> tuple[Tensor | None, Tensor | None]:
        """Draw as `draw` does, going on from what chains carry, and return what they carry from here."""
        return self.draw(landscape, steps, chains, generator), carried

    def draw_size(self, landscape: Landscape) -> int:
        """Numbers drawn per chain and step, by which the engine sizes its chunks."""
        return 1


@dataclass(frozen=True)
class Batched(Oracle):
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
