"""Saddle points and escape: Monte Carlo chains of mini-batch SGD beside exact theory and batch gradient descent.

`simulate(landscape, oracle, optimizer, start, observe=…, until=…)` gives a Dataset, and every `estimate.x(data)`
stands beside a `theory.x(…)`.
"""

from escape import estimate, theory
from escape.conformance import NotALandscape, check_landscape
from escape.execute import WorkerLost
from escape.landscapes import (
    CriticalPoint,
    DoubleWell,
    GeneralizedLinear,
    Landscape,
    QuadraticSaddle,
    RankOneFactorization,
    SecondOrder,
    SecondOrderScores,
    TwoSlopeWell,
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
from escape.store import Store
from escape.sweep import sweep
from escape.swept import sweep_point

__all__ = [
    "STATISTICS",
    "Above",
    "Below",
    "CriticalPoint",
    "DoubleWell",
    "Exit",
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
    "NormalStart",
    "NotALandscape",
    "Observable",
    "Optimizer",
    "Oracle",
    "Prediction",
    "Projection",
    "QuadraticSaddle",
    "RankOneFactorization",
    "SecondOrder",
    "SecondOrderScores",
    "SquaredDistance",
    "SquaredProjection",
    "Store",
    "TwoSlopeWell",
    "WorkerLost",
    "check_landscape",
    "estimate",
    "merge",
    "noise_geometry",
    "noise_match",
    "predict",
    "replay",
    "second_order",
    "simulate",
    "sweep",
    "sweep_point",
    "theory",
]
