"""Landscapes: finite sums f = (1/n) Σ f_i with declared critical points."""

from escape.landscapes.base import Landscape
from escape.landscapes.classic import BiChannel, MuellerBrown, Rosenbrock
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.degenerate import DegenerateSaddle, MonkeySaddle
from escape.landscapes.factorization import RankOneFactorization
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.multi_well import MultiWell, StyblinskiTang
from escape.landscapes.octopus import Octopus
from escape.landscapes.potential import Potential
from escape.landscapes.quadratic import QuadraticSaddle
from escape.landscapes.random_field import FeatureField, RandomField
from escape.landscapes.second_order import SecondOrder, SecondOrderScores, second_order
from escape.landscapes.sphere import Oja, Sphere, TensorDecomposition
from escape.landscapes.spin_glass import SphericalPSpin, SpikedTensor
from escape.landscapes.two_basins import TwoBasins, WuMaEPair
from escape.landscapes.wells import DoubleWell, TwoSlopeWell

__all__ = [
    "BiChannel",
    "CriticalPoint",
    "DegenerateSaddle",
    "DoubleWell",
    "FeatureField",
    "GeneralizedLinear",
    "Landscape",
    "MonkeySaddle",
    "MuellerBrown",
    "MultiWell",
    "Octopus",
    "Oja",
    "Potential",
    "QuadraticSaddle",
    "RandomField",
    "RankOneFactorization",
    "Rosenbrock",
    "SecondOrder",
    "SecondOrderScores",
    "Sphere",
    "SphericalPSpin",
    "SpikedTensor",
    "StyblinskiTang",
    "TensorDecomposition",
    "TwoBasins",
    "TwoSlopeWell",
    "WuMaEPair",
    "second_order",
]
