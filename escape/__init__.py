"""Saddle points and escape: Monte Carlo chains of mini-batch SGD beside exact theory and batch gradient descent.

`simulate(landscape, oracle, optimizer, start, observe=…, until=…)` gives a Dataset, and every `estimate.x(data)`
stands beside a `theory.x(…)`.
"""

from escape import estimate, rare, theory
from escape.conformance import Finding, NotALandscape, Report, check_landscape, landscape_report
from escape.execute import WorkerLost
from escape.landscapes import (
    BiChannel,
    CriticalPoint,
    DegenerateSaddle,
    DoubleWell,
    FeatureField,
    GeneralizedLinear,
    Landscape,
    MonkeySaddle,
    MuellerBrown,
    MultiWell,
    Octopus,
    Oja,
    Potential,
    QuadraticSaddle,
    RandomField,
    RankOneFactorization,
    Rosenbrock,
    SecondOrder,
    SecondOrderScores,
    Sphere,
    SphericalPSpin,
    SpikedTensor,
    StyblinskiTang,
    TensorDecomposition,
    TwoBasins,
    TwoSlopeWell,
    WuMaEPair,
    second_order,
)
from escape.noise_geometry import noise_geometry, noise_match
from escape.observables import (
    Above,
    Below,
    Exit,
    GradientNorm,
    Loss,
    Observable,
    Projection,
    SquaredDistance,
    SquaredProjection,
)
from escape.optimizers import GradientDescent, HeavyBall, Optimizer
from escape.oracles import FullBatch, GaussianNoise, IsotropicNoise, MiniBatch, Oracle
from escape.predict import Prediction, predict
from escape.results import merge
from escape.run import STATISTICS
from escape.simulate import replay, simulate
from escape.starts import NormalStart
from escape.stationary_points import StationaryPoints, find_stationary_points
from escape.store import Store
from escape.sweep import sweep
from escape.swept import sweep_point

__all__ = [
    "STATISTICS",
    "Above",
    "Below",
    "BiChannel",
    "CriticalPoint",
    "DegenerateSaddle",
    "DoubleWell",
    "Exit",
    "FeatureField",
    "Finding",
    "FullBatch",
    "GaussianNoise",
    "GeneralizedLinear",
    "GradientDescent",
    "GradientNorm",
    "HeavyBall",
    "IsotropicNoise",
    "Landscape",
    "Loss",
    "MiniBatch",
    "MonkeySaddle",
    "MuellerBrown",
    "MultiWell",
    "NormalStart",
    "NotALandscape",
    "Observable",
    "Octopus",
    "Oja",
    "Optimizer",
    "Oracle",
    "Potential",
    "Prediction",
    "Projection",
    "QuadraticSaddle",
    "RandomField",
    "RankOneFactorization",
    "Report",
    "Rosenbrock",
    "SecondOrder",
    "SecondOrderScores",
    "Sphere",
    "SphericalPSpin",
    "SpikedTensor",
    "SquaredDistance",
    "SquaredProjection",
    "StationaryPoints",
    "Store",
    "StyblinskiTang",
    "TensorDecomposition",
    "TwoBasins",
    "TwoSlopeWell",
    "WorkerLost",
    "WuMaEPair",
    "check_landscape",
    "estimate",
    "find_stationary_points",
    "landscape_report",
    "merge",
    "noise_geometry",
    "noise_match",
    "predict",
    "rare",
    "replay",
    "second_order",
    "simulate",
    "sweep",
    "sweep_point",
    "theory",
]
