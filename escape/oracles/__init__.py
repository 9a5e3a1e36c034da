"""How the gradient is seen: all of it, a true mini-batch, or noise of another law in its place."""

from escape.oracles.base import Batched, Oracle
from escape.oracles.batches import FullBatch, MiniBatch
from escape.oracles.gaussian import GaussianNoise, IsotropicNoise

__all__ = ["Batched", "FullBatch", "GaussianNoise", "IsotropicNoise", "MiniBatch", "Oracle"]
