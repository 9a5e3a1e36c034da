"""What theory takes an optimizer for: descent at one learning rate, with momentum, and with noise of its own."""

from dataclasses import dataclass

from torch import Tensor

from escape import theory
from escape.landscapes.base import Landscape
from escape.optimizers import (
    SAM,
    Adam,
    GradientDescent,
    HeavyBall,
    Langevin,
    Nesterov,
    Optimizer,
    PerturbedGradientDescent,
    RMSProp,
    SignDescent,
)
from escape.oracles import Oracle

_COVERED = (GradientDescent, HeavyBall, Nesterov, Langevin, PerturbedGradientDescent)
# What to do about an optimizer that has no law here.
_INSTEAD = {
    Adam: "without noise take theory.adam_exit_step, in noise theory.adaptive_growth_factor",
    RMSProp: "without noise take theory.adam_exit_step with beta1=0, in noise theory.adaptive_growth_factor",
    SignDescent: "it takes steps of lr whatever the gradient, and noise averages them: simulate",
    SAM: "its second gradient is at no fixed distance from the first: simulate",
}


@dataclass(frozen=True)
class Method:
    """A linear method: x_{t+1} − x_t is made of gradients with momentum, all at one learning rate.

    Attributes
    ----------
    lr, momentum : float
        η and β.
    nesterov : bool
        Whether the momentum is Nesterov's.
    noise : float
        Standard deviation of a gradient noise that kicks as the method itself does, on top of the oracle's.
    kicked : bool
        Whether it has kicks that are no noise of the gradient, of which there is no law beside that of an oracle.
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    noise: float = 0.0
    kicked: bool = False

    @property
    def how(self) -> dict:
        """What `theory` takes of it by keyword."""
        return {"momentum": self.momentum, "nesterov": self.nesterov}

    @property
    def stable_product(self) -> float:
        """lr * curvature above which descent along a direction swings out."""
        return 2 * (1 + self.momentum) / (1 + 2 * self.momentum if self.nesterov else 1)

    def ahead(self, curvature: float) -> float:
        """How far chains are seen ahead of what theory follows, late, along an escape direction."""
        return float(theory.look_ahead_factor(self.lr, curvature, momentum=self.momentum)) if self.nesterov else 1.0

    def seen(self, oracle: Oracle) -> "Oracle | SeenNoise":
        """The noise of an oracle with that of the method."""
        return SeenNoise(oracle, self.noise) if self.noise else oracle


@dataclass(frozen=True, eq=False)
class SeenNoise:
    """The noise that chains feel where a method adds independent noise of its own, isotropic and Gaussian."""

    oracle: Oracle
    own: float

    @property
    def memoryless(self) -> bool:
        """That of the oracle."""
        return self.oracle.memoryless

    @property
    def batch(self) -> None:
        """None: the noise of the method stands for no batch."""
        return

    def noisy(self, landscape: Landscape) -> bool:
        """Always."""
        return True

    def additive(self, landscape: Landscape) -> bool:
        """As the oracle's."""
        return not self.oracle.noisy(landscape) or self.oracle.additive(landscape)

    def noise_covariance(self, landscape: Landscape, x: Tensor, directions: Tensor) -> Tensor:
        """That of the oracle, and σ² VᵀV: (m, m)."""
        own = self.own**2 * (directions.T @ directions)
        if not self.oracle.noisy(landscape):
            return own
        return self.oracle.noise_covariance(landscape, x, directions) + own

    def noise_variance(self, landscape: Landscape, x: Tensor, direction: Tensor) -> float:
        """That of the oracle, and σ² |v|²."""
        return self.oracle.noise_variance(landscape, x, direction) + self.own**2 * float(direction @ direction)


def method_of(optimizer: Optimizer) -> Method:
    """Read an optimizer as what theory covers.

    Raises
    ------
    ValueError
        If theory has no law of it, or its learning rate is a schedule.
    """
    if type(optimizer) not in _COVERED:
        known = ", ".join(kind.__name__ for kind in _COVERED)
        instead = _INSTEAD.get(type(optimizer), "simulate")
        raise ValueError(f"the optimizer is {type(optimizer).__name__}: theory covers {known}; {instead}")
    if callable(optimizer.lr):
        raise ValueError(
            "lr is a schedule: give a number, or take theory.mean_square_schedule and theory.mean_exit_step_schedule"
        )
    lr = float(optimizer.lr)
    own = float(theory.langevin_noise(lr, optimizer.temperature)) if isinstance(optimizer, Langevin) else 0.0
    momentum = float(optimizer.momentum) if isinstance(optimizer, HeavyBall | Nesterov) else 0.0
    return Method(lr, momentum, isinstance(optimizer, Nesterov), own, isinstance(optimizer, PerturbedGradientDescent))
