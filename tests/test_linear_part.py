"""Growth rates of the linear part, and which chains leave by them, where directions or batches compete."""

import math

import pytest
import torch
from cases import Monkey

from escape import GaussianNoise, GradientDescent, MiniBatch, QuadraticSaddle, predict, theory

F64 = torch.float64


def at(landscape, oracle, optimizer=None, **options):
    optimizer = GradientDescent(0.5) if optimizer is None else optimizer
    return predict(landscape, oracle, optimizer, landscape.critical_points()[0], **options)


def columns(*rows):
    """Quadratics along shared axes, a row of curvatures for each sample, without noise at the point."""
    rows = torch.tensor(rows, dtype=F64)
    return QuadraticSaddle(rows, torch.zeros_like(rows))


def test_gamma_is_the_largest_over_all_shared_directions():
    """The middle one of three, neither the least curved nor that of the fastest mean square, leaves by overshoot."""
    landscape = columns([0.9, 1.98, 4.1], [0.9, 5.8, 4.1])
    found = at(landscape, MiniBatch(1), start=torch.full((3,), 0.01))
    assert found.lyapunov_exponent == pytest.approx(math.log(1.05), rel=1e-9)
    assert found.chains_leave == "all"
    surrogate = at(columns([1.0, 0.05], [-1.2, 0.05]), GaussianNoise(1, replacement=True))
    assert surrogate.lyapunov_exponent == pytest.approx(math.log(1 - 0.5 * 0.05), rel=1e-9)


def test_rare_escapes_along_a_direction_that_is_not_the_slowest():
    found = at(columns([0.01, 0.5], [0.01, 3.5]), MiniBatch(1), GradientDescent(0.7))
    assert found.chains_leave == "few"
    assert found.escape_exponent == pytest.approx(theory.escape_exponent([0.5, 3.5], 0.7, 1), rel=1e-9)


class Regression(Monkey):
    """Least squares through the origin, (sample . x)^2 / 2: Hessians of rank one that do not commute."""

    affine = False

    def sample_loss(self, x, sample):
        return 0.5 * (sample @ x) ** 2


@pytest.mark.parametrize(("lr", "batch_size", "leave"), [(0.3, 1, "none"), (1.2, 1, "few"), (0.8, 2, "none")])
def test_hessians_that_do_not_commute_and_batches_that_all_contract(lr, batch_size, leave):
    """The three samples have squared lengths 2, 2 and 1, of batches of two the largest curvature is 1.31."""
    landscape = Regression(torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]], dtype=F64))
    found = predict(landscape, MiniBatch(batch_size), GradientDescent(lr), torch.zeros(2))
    assert found.lyapunov_exponent < 0
    assert found.chains_leave == leave


def test_single_precision_knows_hessians_that_commute():
    basis = torch.linalg.qr(torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=F64))[0]
    both = (
        at(QuadraticSaddle.multiplicative([-0.2, 1.0], 0.5, n=50, basis=basis, dtype=dtype), MiniBatch(1))
        for dtype in (F64, torch.float32)
    )
    double, single = (found.lyapunov_exponent for found in both)
    assert single == pytest.approx(double, abs=1e-6)
