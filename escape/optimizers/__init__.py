"""How a chain moves: pure steps on explicit states, the same for batch and mini-batch gradients."""

from escape.optimizers.base import Optimizer, Rate, check_lr
from escape.optimizers.descent import GradientDescent, HeavyBall

__all__ = ["GradientDescent", "HeavyBall", "Optimizer", "Rate", "check_lr"]
