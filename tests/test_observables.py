"""Observables and exits, by hand."""

import pytest
import torch

from escape import (
    Above,
    Below,
    CriticalPoint,
    DoubleWell,
    Exit,
    GradientNorm,
    Loss,
    NormalStart,
    Projection,
    SquaredDistance,
    SquaredProjection,
)

F64 = torch.float64
X = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0], [4.0, -2.0, 3.0]], dtype=F64)
HERE = torch.tensor([1.0, 0.0, 0.0], dtype=F64)
POINT = CriticalPoint(HERE, torch.tensor([-1.0, 1.0, 2.0], dtype=F64), torch.eye(3, dtype=F64))
AXES = torch.eye(3, dtype=F64)
DIAGONAL = torch.tensor([0.6, 0.8, 0.0], dtype=F64)

VALUES = {
    "squared distance": (lambda p: SquaredDistance(p), [8.0, 1.0, 22.0]),
    "projection on an axis": (lambda p: Projection(p, AXES[1]), [2.0, 0.0, -2.0]),
    "projection on a diagonal": (lambda p: Projection(p, DIAGONAL), [1.6, -0.6, 0.2]),
    "squared projection on a line": (lambda p: SquaredProjection(p, DIAGONAL), [2.56, 0.36, 0.04]),
    "squared projection on a plane": (lambda p: SquaredProjection(p, AXES[:, :2]), [4.0, 1.0, 13.0]),
    "squared projection on a column": (lambda p: SquaredProjection(p, AXES[:, 2:]), [4.0, 0.0, 9.0]),
}


@pytest.mark.parametrize("point", [HERE, POINT, HERE.float()], ids=["tensor", "critical point", "narrower tensor"])
@pytest.mark.parametrize("name", VALUES)
def test_values_by_hand(name, point):
    make, expected = VALUES[name]
    got = make(point)(X)
    assert got.dtype == F64
    assert got.shape == (3,)
    error = float((got - torch.tensor(expected, dtype=F64)).abs().max())
    assert error < (1e-6 if "diagonal" in name or "line" in name else 1e-14), f"{got.tolist()}, expected {expected}"


def test_directions_of_a_critical_point():
    assert SquaredProjection(POINT, POINT.unstable)(X).tolist() == [0.0, 1.0, 9.0]


def test_loss_and_gradient_norm():
    landscape = DoubleWell.rademacher(0.5, [3.0], n=10)
    x = torch.tensor([[1.0, 0.0], [2.0, 1.0]], dtype=F64)
    # u(1) = 1/4 − 1/2 and u(2) = 4 − 2, with 3/2 for the bath; u'(2) = 6 and 3 for the bath.
    assert torch.allclose(Loss(landscape)(x), torch.tensor([-0.25, 3.5], dtype=F64), atol=1e-14)
    norms = torch.tensor([0.0, 45.0**0.5], dtype=F64)
    assert torch.allclose(GradientNorm(landscape)(x), norms, atol=1e-14)


def test_exits_hold_at_the_threshold():
    height = Projection(torch.zeros(3, dtype=F64), AXES[0])
    assert Above(height, 1.0)(X).tolist() == [True, False, True]
    assert Below(height, 1.0)(X).tolist() == [True, True, False]
    assert Above(height, 1.0 + 1e-15)(X).tolist() == [False, False, True]
    assert not bool(Above(height, 1.0)(X * torch.nan).any()), "what is not a number has not left"
    assert isinstance(Above(height, 1.0), Exit)
    with pytest.raises(TypeError):
        Exit()


def test_normal_start(within):
    start = NormalStart(HERE, 0.5)
    x = start(40_000, torch.Generator().manual_seed(1)).numpy()
    # Six entries at 5 standard errors: false alarms 3e-6.
    within("mean", x.mean(0), HERE.numpy(), 0.5 / 200, 5)
    within("standard deviation", x.std(0), 0.5, 0.5 / (2 * 40_000) ** 0.5, 5)
    along = NormalStart(HERE, 0.5, DIAGONAL)(1000, torch.Generator().manual_seed(2)) - HERE
    assert float((along - (along @ DIAGONAL)[:, None] * DIAGONAL).abs().max()) < 1e-15
    assert bool((NormalStart(HERE, 0.0)(3, torch.Generator()) == HERE).all())
    for std in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="std must be finite and ≥ 0"):
            NormalStart(HERE, std)
