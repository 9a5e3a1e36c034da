"""Learning rates that change from step to step: callables t -> lr, t from 0, that describe themselves by value."""

import math
from dataclasses import dataclass

from escape.optimizers.base import Rate, check_lr, check_number, check_steps, rate_at


def _check_constant(lr: float) -> None:
    """Raise ValueError unless `lr` is one positive number."""
    if callable(lr):
        raise ValueError(f"lr must be a positive number here, got the schedule {lr!r}; only WarmUp goes around another")
    check_lr(lr)


@dataclass(frozen=True)
class StepDecay:
    """η_t = η_0 γ^⌊t/k⌋; `torch.optim.lr_scheduler.StepLR`.

    Parameters
    ----------
    lr : float
        η_0.
    interval : int
        k ≥ 1, steps at one learning rate.
    factor : float
        γ in (0, 1].
    """

    lr: float
    interval: int
    factor: float = 0.1

    def __post_init__(self):
        _check_constant(self.lr)
        check_steps("interval", self.interval)
        check_number("factor", self.factor, above=0)
        if self.factor > 1:
            raise ValueError(f"factor must be at most 1, got {self.factor!r}: a decay does not grow")

    def __call__(self, t: int) -> float:
        """Learning rate of step t."""
        return self.lr * self.factor ** (t // self.interval)


@dataclass(frozen=True)
class InverseTime:
    """η_t = c/(t + t0), that of Robbins and Monro (1951); `theory.decay_exit_quantile` and its like say what it does.

    Parameters
    ----------
    scale : float
        c > 0, learning rate times steps.
    offset : float
        t0 > 0, in steps; the first learning rate is c/t0.
    """

    scale: float
    offset: float = 1.0

    def __post_init__(self):
        check_number("scale", self.scale, above=0)
        check_number("offset", self.offset, above=0)

    def __call__(self, t: int) -> float:
        """Learning rate of step t."""
        return self.scale / (t + self.offset)


@dataclass(frozen=True)
class Cosine:
    """η_t = η_T + (η_0 − η_T)(1 + cos(πt/T))/2 up to step T, and η_T from there on (Loshchilov and Hutter 2017).

    Up to T it is `torch.optim.lr_scheduler.CosineAnnealingLR`, which goes up again afterwards.

    Parameters
    ----------
    lr : float
        η_0.
    steps : int
        T ≥ 1.
    final : float
        η_T in [0, η_0]; with 0 a run has at most T steps, since a learning rate must be above zero.
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self):
        _check_constant(self.lr)
        check_steps("steps", self.steps)
        check_number("final", self.final, least=0)
        if self.final > self.lr:
            raise ValueError(f"final must be at most lr = {self.lr!r}, got {self.final!r}")

    def __call__(self, t: int) -> float:
        """Learning rate of step t."""
        if t >= self.steps:
            return self.final
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * t / self.steps)) / 2


@dataclass(frozen=True)
class WarmUp:
    """The rate times s + (1 − s) t/w for t < w, and the rate itself from step w on (Goyal et al. 2017).

    `torch.optim.lr_scheduler.LinearLR`; around a schedule, the product of both, as `ChainedScheduler` makes it.

    Parameters
    ----------
    lr : float or callable
        The learning rate reached, or a schedule t -> η_t, which runs on during the warm-up.
    steps : int
        w ≥ 1.
    start_factor : float
        s in (0, 1], the part of the rate at step 0.
    """

    lr: Rate
    steps: int
    start_factor: float = 0.1

    def __post_init__(self):
        check_lr(self.lr)
        check_steps("steps", self.steps)
        check_number("start_factor", self.start_factor, above=0)
        if self.start_factor > 1:
            raise ValueError(f"start_factor must be at most 1, got {self.start_factor!r}")

    def __call__(self, t: int) -> float:
        """Learning rate of step t."""
        part = self.start_factor + (1 - self.start_factor) * min(t / self.steps, 1.0)
        return part * rate_at(self.lr, t)
