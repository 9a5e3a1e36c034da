"""The landscapes that every conformance test runs on: to test a new one, name it in `CASES`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from escape import DoubleWell, Landscape, QuadraticSaddle, RankOneFactorization, SecondOrder, TwoSlopeWell


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
    Case("second order at a saddle of random data", factorization_saddle),
    Case("second order at a saddle of the digits", digits_saddle),
    Case(
        "monkey saddle",
        lambda dtype: Monkey((0.1 * centred(40, 2, seed=4)).to(dtype)),
        points=[[0.0, 0.0], [0.3, -0.2], [-0.5, 0.4], [1.0, 1.0]],
    ),
]
