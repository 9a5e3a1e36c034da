"""Landscapes: finite sums f = (1/n) Σ f_i with declared critical points."""

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.factorization import RankOneFactorization
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.quadratic import QuadraticSaddle
from escape.landscapes.second_order import SecondOrder, SecondOrderScores, second_order
from escape.landscapes.wells import DoubleWell, TwoSlopeWell

__all__ = [
    "CriticalPoint",
    "DoubleWell",
    "GeneralizedLinear",
    "Landscape",
    "QuadraticSaddle",
    "RankOneFactorization",
    "SecondOrder",
    "SecondOrderScores",
    "TwoSlopeWell",
    "second_order",
]
