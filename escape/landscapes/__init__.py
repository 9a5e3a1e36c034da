"""Landscapes: finite sums f = (1/n) Σ f_i with declared critical points."""

from escape.landscapes.base import Landscape
from escape.landscapes.classic import BiChannel, MuellerBrown, Rosenbrock
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.deep_linear import DeepLinear
from escape.landscapes.degenerate import DegenerateSaddle, MonkeySaddle
from escape.landscapes.factorization import RankOneFactorization
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.half_spaces import HalfSpaces
from escape.landscapes.matrix_completion import MatrixCompletion
from escape.landscapes.matrix_product import MatrixFactorization
from escape.landscapes.matrix_sensing import MatrixSensing
from escape.landscapes.module import ModuleLandscape
from escape.landscapes.multi_well import MultiWell, StyblinskiTang
from escape.landscapes.octopus import Octopus
from escape.landscapes.phase_retrieval import PhaseRetrieval
from escape.landscapes.potential import Potential
from escape.landscapes.quadratic import QuadraticSaddle
from escape.landscapes.random_field import FeatureField, RandomField
from escape.landscapes.regression import LeastSquares, LogisticRegression
from escape.landscapes.second_order import SecondOrder, SecondOrderScores, second_order
from escape.landscapes.sphere import Oja, Sphere, TensorDecomposition
from escape.landscapes.spin_glass import SphericalPSpin, SpikedTensor
from escape.landscapes.symmetric_factorization import SymmetricFactorization
from escape.landscapes.tanh_network import TanhNetwork
from escape.landscapes.teacher_student import TeacherStudent
from escape.landscapes.two_basins import TwoBasins, WuMaEPair
from escape.landscapes.wells import DoubleWell, TwoSlopeWell

__all__ = [
    "BiChannel",
    "CriticalPoint",
    "DeepLinear",
    "DegenerateSaddle",
    "DoubleWell",
    "FeatureField",
    "GeneralizedLinear",
    "HalfSpaces",
    "Landscape",
    "LeastSquares",
    "LogisticRegression",
    "MatrixCompletion",
    "MatrixFactorization",
    "MatrixSensing",
    "ModuleLandscape",
    "MonkeySaddle",
    "MuellerBrown",
    "MultiWell",
    "Octopus",
    "Oja",
    "PhaseRetrieval",
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
    "SymmetricFactorization",
    "TanhNetwork",
    "TeacherStudent",
    "TensorDecomposition",
    "TwoBasins",
    "TwoSlopeWell",
    "WuMaEPair",
    "second_order",
]
