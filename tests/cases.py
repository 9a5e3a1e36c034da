"""The landscapes that every conformance test runs on: to test a new one, name it in `CASES`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from escape import (
    BiChannel,
    DeepLinear,
    DegenerateSaddle,
    DoubleWell,
    FeatureField,
    HalfSpaces,
    Landscape,
    LeastSquares,
    LogisticRegression,
    MatrixCompletion,
    MatrixFactorization,
    MatrixSensing,
    MonkeySaddle,
    MuellerBrown,
    MultiWell,
    Octopus,
    Oja,
    PhaseRetrieval,
    QuadraticSaddle,
    RandomField,
    RankOneFactorization,
    Rosenbrock,
    SecondOrder,
    SphericalPSpin,
    SpikedTensor,
    StyblinskiTang,
    SymmetricFactorization,
    TanhNetwork,
    TeacherStudent,
    TensorDecomposition,
    TwoBasins,
    TwoSlopeWell,
    WuMaEPair,
)


@dataclass(frozen=True, eq=False)
class Monkey(Landscape):
    """The monkey saddle, tilted at random: degenerate, with no quadratic escape direction."""

    samples: Tensor  # (n, 2), summing to zero
    affine = True

    def sample_loss(self, x, tilt):
        return x[0] ** 3 - 3 * x[0] * x[1] ** 2 + tilt @ x


class Case(NamedTuple):
    name: str
    make: Callable[[torch.dtype], Landscape]
    points: list | None = None  # where to test a landscape that declares no point, (c, d)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rotation(d, seed=0):
    return torch.linalg.qr(normal(d, d, seed=seed))[0]


def centred(*shape, seed=0):
    rows = normal(*shape, seed=seed)
    return rows - rows.mean(0)


def quadratic_both(dtype, basis=None):
    """Curvatures and tilts that both differ from sample to sample."""
    curvatures = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64) + 0.3 * centred(40, 3, seed=1)
    tilts = (0.2 * centred(40, 3, seed=2)).to(dtype)
    return QuadraticSaddle(curvatures.to(dtype), tilts - tilts.mean(0), None if basis is None else basis.to(dtype))


def random_factorization(dtype, n=60, d=5):
    scale = torch.tensor([1.5, 1.1, 0.8, 0.5, 0.3], dtype=torch.float64)[:d]
    return RankOneFactorization((normal(n, d, seed=3) * scale).to(dtype))


def digits_saddle(dtype):
    landscape = RankOneFactorization.digits(dtype)
    _, v = landscape.spectrum
    mu = landscape.spectrum[0]
    return SecondOrder(landscape, landscape.critical_point(mu[1].sqrt() * v[:, 1], "+sqrt(mu_2) v_2"))


def factorization_saddle(dtype):
    landscape = random_factorization(dtype)
    return SecondOrder(landscape, landscape.critical_points()[3])


COVARIANCE = [[0.04, 0.01, 0.0], [0.01, 0.09, -0.02], [0.0, -0.02, 0.01]]

CASES = [
    Case("quadratic additive", lambda dtype: QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=50, dtype=dtype)),
    Case(
        "quadratic additive, noise by direction, rotated",
        lambda dtype: QuadraticSaddle.additive(
            [-1.0, 0.5, 2.0], [0.1, 0.2, 0.0], n=50, basis=rotation(3, 5), dtype=dtype
        ),
    ),
    Case(
        "quadratic additive, noise by its covariance",
        lambda dtype: QuadraticSaddle.additive([-1.0, -0.5, 2.0], COVARIANCE, n=50, dtype=dtype),
    ),
    Case("quadratic minimum", lambda dtype: QuadraticSaddle.additive([0.5, 2.0], 0.1, n=50, dtype=dtype)),
    Case("quadratic multiplicative", lambda dtype: QuadraticSaddle.multiplicative([-1.0, 0.5], 0.3, n=50, dtype=dtype)),
    Case(
        "quadratic multiplicative, rotated",
        lambda dtype: QuadraticSaddle.multiplicative(
            [-1.0, 0.5, 2.0], [0.3, 0.1, 0.0], n=50, basis=rotation(3, 6), dtype=dtype
        ),
    ),
    Case("quadratic with both noises", quadratic_both),
    Case("quadratic with both noises, rotated", lambda dtype: quadratic_both(dtype, rotation(3, 7))),
    Case("factorization of random data", random_factorization),
    Case("factorization of the digits", RankOneFactorization.digits),
    Case("double well, Rademacher", lambda dtype: DoubleWell.rademacher(0.3, n=40, dtype=dtype)),
    Case("double well, Rademacher, bath", lambda dtype: DoubleWell.rademacher(0.3, [1.0, 3.0], n=40, dtype=dtype)),
    Case("double well, Gaussian", lambda dtype: DoubleWell.gaussian(0.3, n=40, dtype=dtype)),
    Case("double well, Gaussian, bath", lambda dtype: DoubleWell.gaussian(0.3, [1.0, 3.0], n=40, dtype=dtype)),
    Case("two-slope well", lambda dtype: TwoSlopeWell.noisy(2.0, 1.0, 0.25, 0.3, n=40, dtype=dtype)),
    Case(
        "two-slope well, scaled noise",
        lambda dtype: TwoSlopeWell.noisy(2.0, 1.0, 0.25, 0.3, [1.5], n=40, scaled_noise=True, dtype=dtype),
    ),
    Case("two-slope well, no noise", lambda dtype: TwoSlopeWell(2.0, 1.0, 0.25).to(dtype=dtype)),
    Case("m-wells", lambda dtype: MultiWell.noisy(0.3, [1.0, 3.0], 12, wells=3, dtype=dtype)),
    Case("m-wells, heavy tails", lambda dtype: MultiWell.noisy(0.3, n=12, tilts="heavy", wells=4, dtype=dtype)),
    Case("m-wells, scales", lambda dtype: MultiWell.noisy(0.3, [1.0], 12, multiplicative=True, wells=2, dtype=dtype)),
    Case("Styblinski-Tang", lambda dtype: StyblinskiTang.noisy(0.3, [2.0], 12, dtype=dtype)),
    Case(
        "Styblinski-Tang without a tilt, scales",
        lambda dtype: StyblinskiTang.noisy(0.3, n=12, multiplicative=True, tilt=0.0, scale=0.1, dtype=dtype),
    ),
    Case("Rosenbrock", lambda dtype: Rosenbrock.noisy(0.3, n=12, tilts="gaussian", scale=0.01, dtype=dtype)),
    Case("Rosenbrock chain", lambda dtype: Rosenbrock.noisy(0.3, [2.0], 12, coordinates=4, scale=0.01, dtype=dtype)),
    Case("Mueller-Brown", lambda dtype: MuellerBrown.noisy(0.3, [2.0], 12, tilts="heavy", dtype=dtype)),
    Case("bi-channel", lambda dtype: BiChannel.noisy(0.3, n=12, tilts="gaussian", dtype=dtype)),
    Case("bi-channel, no noise", lambda dtype: BiChannel.noisy(0.3, [1.0], tilts="none", dtype=dtype)),
    Case("two basins", lambda dtype: TwoBasins.noisy(n=12, bath=[3.0], dtype=dtype)),
    Case("Wu-Ma-E pair", lambda dtype: WuMaEPair.noisy(dtype=dtype)),
    Case("Wu-Ma-E pair, tilts", lambda dtype: WuMaEPair.noisy(noise=0.1, bath=[3.0], n=12, dtype=dtype)),
    Case("second order at a saddle of random data", factorization_saddle),
    Case("second order at a saddle of the digits", digits_saddle),
    Case(
        "monkey saddle",
        lambda dtype: Monkey((0.1 * centred(40, 2, seed=4)).to(dtype)),
        points=[[0.0, 0.0], [0.3, -0.2], [-0.5, 0.4], [1.0, 1.0]],
    ),
    Case("tilted monkey saddle", lambda dtype: MonkeySaddle.noisy(0.1, n=40, dtype=dtype)),
    Case("tilted monkey saddle, bath", lambda dtype: MonkeySaddle.noisy(0.1, [2.0], 40, tilts="heavy", dtype=dtype)),
    Case("degenerate saddle", lambda dtype: DegenerateSaddle.noisy(0.1, n=40, dtype=dtype)),
    Case(
        "degenerate saddle, one-sided, bath",
        lambda dtype: DegenerateSaddle.noisy(0.1, 2.5, 2.0, False, [1.0, 2.0], 40, dtype=dtype),
    ),
    Case("octopus, no noise", lambda dtype: Octopus.noisy(4, dtype=dtype)),
    Case("octopus", lambda dtype: Octopus.noisy(3, 0.1, 3.0, 1.5, 0.7, n=40, dtype=dtype)),
    Case("Oja", lambda dtype: Oja.gaussian([0.2, 1.0, 0.5, 0.1], n=40, basis=rotation(4, 8), dtype=dtype)),
    Case("tensor decomposition", lambda dtype: TensorDecomposition.of_dimension(3, dtype)),
    Case("tensor decomposition, many sources", lambda dtype: TensorDecomposition.of_dimension(8, dtype)),
    Case("p-spin", lambda dtype: SphericalPSpin.gaussian(4, 3, n=20, dtype=dtype)),
    Case("p-spin of order 2", lambda dtype: SphericalPSpin.gaussian(4, 2, n=20, dtype=dtype)),
    Case("p-spin without noise", lambda dtype: SphericalPSpin.gaussian(3, 3, noise=0.0, n=2, dtype=dtype)),
    Case("spiked tensor", lambda dtype: SpikedTensor.gaussian(4, 3, n=20, dtype=dtype)),
    Case("spiked matrix", lambda dtype: SpikedTensor.gaussian(4, 2, n=40, law="gaussian", dtype=dtype)),
    Case("random field", lambda dtype: RandomField.gaussian(features=40, stiffness=0.5, n=40, dtype=dtype)),
    Case("random field of features", lambda dtype: FeatureField.gaussian(stiffness=0.5, n=40, dtype=dtype)),
    Case("least squares", lambda dtype: LeastSquares.gaussian([1.0, 0.5, 0.2], n=16, dtype=dtype)),
    Case("least squares, ridge", lambda dtype: LeastSquares.gaussian([1.0, 0.5], 0.3, 16, ridge=0.2, dtype=dtype)),
    Case("least squares on 4 components of the digits", lambda dtype: LeastSquares.digits(4, dtype=dtype)),
    Case("logistic regression", lambda dtype: LogisticRegression.gaussian([1.0, 0.5], n=20, ridge=0.1, dtype=dtype)),
    Case("half-spaces", lambda dtype: HalfSpaces.gaussian(2, 20, seed=5, dtype=dtype)),
    Case("phase retrieval", lambda dtype: PhaseRetrieval.gaussian(2, 24, 0.3, dtype=dtype)),
    Case(
        "symmetric factorization of rank 2",
        lambda dtype: SymmetricFactorization.gaussian([1.5, 1.0, 0.6, 0.2], n=16, dtype=dtype),
    ),
    Case("matrix factorization", lambda dtype: MatrixFactorization.gaussian([1.5, 1.0, 0.6], n=16, dtype=dtype)),
    Case(
        "matrix factorization of rank 2",
        lambda dtype: MatrixFactorization.gaussian([1.5, 0.7], 4, 2, 2, n=16, dtype=dtype),
    ),
    Case("matrix sensing", lambda dtype: MatrixSensing.gaussian([1.0], 3, 2, n=16, dtype=dtype)),
    Case(
        "isometric sensing of a symmetric matrix",
        lambda dtype: MatrixSensing.gaussian([1.5, 1.0], 3, 3, 2, 0.2, 16, isometric=True, symmetric=True, dtype=dtype),
    ),
    Case("matrix completion", lambda dtype: MatrixCompletion.planted([1.0], 4, 3, dtype=dtype)),
    Case("completion of a whole matrix", lambda dtype: MatrixCompletion.planted([1.5, 0.7], 4, 3, 1, 1.0, dtype=dtype)),
    Case("linear network of depth 2", lambda dtype: DeepLinear.gaussian([2.0, 1.0], (2,), 2, 3, n=16, dtype=dtype)),
    Case("linear network of depth 3", lambda dtype: DeepLinear.gaussian([2.0, 1.0], (1, 2), 2, 2, n=16, dtype=dtype)),
    Case("soft committee", lambda dtype: TeacherStudent.gaussian(3, n=24, dtype=dtype)),
    Case(
        "soft committee, tanh, label noise",
        lambda dtype: TeacherStudent.gaussian(2, 3, 1, "tanh", 0.3, 24, dtype=dtype),
    ),
    Case(
        "tanh network",
        lambda dtype: TanhNetwork.of(normal(40, 3, seed=6).to(dtype), torch.arange(40) % 3, 2, 3),
    ),
]
