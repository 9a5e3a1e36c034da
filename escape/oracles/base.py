"""What every oracle is: it draws the randomness of several steps ahead, so that a step is a pure function of its draw.

Nothing else in the package knows what kind of noise there is.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from numbers import Integral
from typing import ClassVar

from torch import Generator, Tensor

from escape.landscapes.base import Landscape
from escape.spec import describe, digest

# Coordinates of a point that are written out.
_WRITTEN_OUT = 6


class Oracle(ABC):
    """How the gradient is seen. Frozen and stateless: all randomness comes through `draw`.

    What a subclass does not say of its noise is what its parent says: one that draws or sees in another way says its
    own `noise_covariance`, and `gaussian`, `additive` and `batch` where they change.

    Attributes
    ----------
    memoryless : bool
        Whether draws of different steps are independent of each other. Where they are not, what a chain has still to
        come is carried along (`begin`, `draw_on`), and x alone is no Markov chain.
    gaussian : bool
        Whether the noise is Gaussian at every point, so that its covariance is its law.
    """

    memoryless: ClassVar[bool] = True
    gaussian: ClassVar[bool] = False

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
        """Numbers drawn per chain and step, by which the engine sizes its chunks; 0 where `draw` gives None."""
        return 1

    def carried_size(self, landscape: Landscape) -> int:
        """Numbers that each chain carries at most, by which blocks are sized; 0 for an oracle without memory."""
        return 0

    # What theory needs to know.

    @property
    def batch(self) -> tuple[int, bool] | None:
        """Batch size and replacement of the mini-batch that the noise is, or stands for; None where there is none."""
        return None

    @property
    def sampling(self) -> str:
        """How batches are drawn, in words; "full batch" where none are."""
        return "full batch"

    def noisy(self, landscape: Landscape) -> bool:
        """Whether the gradient as seen can differ from ∇f anywhere on the landscape, as far as the oracle goes."""
        return True

    def additive(self, landscape: Landscape) -> bool:
        """Whether the law of the noise is known to be the same at every point of a landscape with this Hessian."""
        return False

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """Cov(Vᵀg) of the gradient g as seen at a point x (d,), V the directions (d, m): (m, m).

        Raises
        ------
        ValueError
            If the oracle does not say.
        """
        raise ValueError(f"{type(self).__name__} does not say the covariance of its noise: give it noise_covariance")

    def noise_variance(self, landscape: Landscape, x: Tensor, direction: Tensor) -> float:
        """Var vᵀg of the gradient g as seen at x (d,) along v (d,); inf where it has no variance.

        Raises
        ------
        ValueError
            If the oracle does not say.
        """
        return max(0.0, float(self.noise_covariance(landscape, x, direction[:, None])))

    def __str__(self) -> str:
        """As `repr`, but that no two points are one: few coordinates in full, more by their digest."""
        if not is_dataclass(self) or not any(isinstance(getattr(self, field.name), Tensor) for field in fields(self)):
            return repr(self)
        parts = (f"{field.name}={_written(getattr(self, field.name))}" for field in fields(self))
        return f"{type(self).__name__}({', '.join(parts)})"


def _written(value: object) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() <= _WRITTEN_OUT:
        return str(value.tolist())
    return f"<{' x '.join(map(str, value.shape))} numbers, {digest(describe(value))}>"


def whole_batch_size(value: object) -> int:
    """Return a batch size as an int, or raise ValueError unless it is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"batch_size must be a positive integer, got {value!r}")
    return int(value)


class OfBatch(Oracle):
    """What oracles share whose noise is, or stands for, that of a batch of `batch_size` samples."""

    batch_size: int

    @abstractmethod
    def covariance_factor(self, landscape: Landscape) -> float:
        """κ in Cov(g_B) = κ C(x)."""

    def noisy(self, landscape: Landscape) -> bool:
        """Whether κ > 0: all but the whole sample without replacement."""
        return self.covariance_factor(landscape) > 0

    def additive(self, landscape: Landscape) -> bool:
        """Whether the covariance of the samples is the same everywhere."""
        return landscape.constant_noise

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """κ VᵀC(x)V of one batch; an oracle whose covariance is another overrides this."""
        return self.covariance_factor(landscape) * landscape.covariance_along(x, directions)


@dataclass(frozen=True)
class Batched(OfBatch):
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
        object.__setattr__(self, "batch_size", whole_batch_size(self.batch_size))
        if not isinstance(self.replacement, bool):
            raise ValueError(f"replacement must be True or False, got {self.replacement!r}")

    def check(self, landscape: Landscape) -> None:
        """Raise ValueError where the batch is larger than the sample."""
        if not self.replacement and self.batch_size > landscape.n:
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the landscape's n = {landscape.n} samples; "
                f"take at most {landscape.n}, or sample with replacement"
            )

    @property
    def sampling(self) -> str:
        """Either "with replacement" or "without replacement"."""
        return f"with{'' if self.replacement else 'out'} replacement"

    @property
    def batch(self) -> tuple[int, bool]:
        """b and whether it is drawn with replacement."""
        return self.batch_size, self.replacement

    def covariance_factor(self, landscape: Landscape) -> float:
        """κ in Cov(g_B) = κ C(x): 1/b with replacement, (n − b)/(b(n − 1)) without."""
        n, b = landscape.n, self.batch_size
        if self.replacement or n == 1:
            return 1.0 / b if self.replacement else 0.0
        return (n - b) / (b * (n - 1))
