"""How the gradient is seen: all of it, a true mini-batch, or noise of another law in its place."""

from escape.oracles.base import Batched, Oracle
from escape.oracles.batches import FullBatch, MiniBatch, Reshuffled
from escape.oracles.gaussian import DiagonalNoise, GaussianNoise, IsotropicNoise
from escape.oracles.shaped import HessianNoise, LeadingNoise
from escape.oracles.stable import StableNoise

__all__ = [
    "Batched",
    "DiagonalNoise",
    "FullBatch",
    "GaussianNoise",
    "HessianNoise",
    "IsotropicNoise",
    "LeadingNoise",
    "MiniBatch",
    "Oracle",
    "Reshuffled",
    "StableNoise",
]
