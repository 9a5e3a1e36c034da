"""How a chain moves: pure steps on explicit states, the same for batch and mini-batch gradients."""

from escape.optimizers.adaptive import Adam, RMSProp, SignDescent
from escape.optimizers.base import Optimizer, Rate, check_lr
from escape.optimizers.descent import GradientDescent, HeavyBall, Nesterov
from escape.optimizers.kicked import Langevin, PerturbedGradientDescent
from escape.optimizers.schedules import Cosine, InverseTime, StepDecay, WarmUp
from escape.optimizers.sharpness import SAM

__all__ = [
    "SAM",
    "Adam",
    "Cosine",
    "GradientDescent",
    "HeavyBall",
    "InverseTime",
    "Langevin",
    "Nesterov",
    "Optimizer",
    "PerturbedGradientDescent",
    "RMSProp",
    "Rate",
    "SignDescent",
    "StepDecay",
    "WarmUp",
    "check_lr",
]
