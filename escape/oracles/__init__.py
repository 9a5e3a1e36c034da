"""How the gradient is seen: all of it, a true mini-batch, or noise of another law in its place."""

from escape.oracles.base import Batched, Oracle
from escape.oracles.batches import FullBatch, MiniBatch, Reshuffled
from escape.oracles.gaussian import DiagonalNoise, GaussianNoise, IsotropicNoise
from escape.oracles.shaped import HessianNoise, LeadingNoise
from escape.oracles.stable import StableNoise

# Noise in the place of a mini-batch's whose covariance, or law, is another.
SURROGATES = (DiagonalNoise, HessianNoise, IsotropicNoise, LeadingNoise, StableNoise)

__all__ = [
    "SURROGATES",
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
