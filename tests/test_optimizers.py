"""The optimizers beside torch's own, step by step."""

import numpy as np
import pytest
import torch
from cases import normal, quadratic_both, random_factorization, rotation

from escape import (
    DoubleWell,
    FullBatch,
    GradientDescent,
    HeavyBall,
    Projection,
    QuadraticSaddle,
    simulate,
)

F64 = torch.float64
MAKERS = {
    "double well": lambda: DoubleWell.gaussian(0.3, [1.0, 2.0], n=20),
    "factorization": lambda: random_factorization(F64, n=20, d=3),
    "saddle": lambda: quadratic_both(F64, rotation(3, 1)),
}


def coordinates(d, dtype=F64):
    return {f"x{i}": Projection(torch.zeros(d, dtype=dtype), torch.eye(d, dtype=dtype)[i]) for i in range(d)}


def path(data, d):
    """Every recorded position, (t, c, d)."""
    return np.stack([data[f"x{i}"].values for i in range(d)], axis=-1)


def engine(landscape, optimizer, start, steps):
    data = simulate(
        landscape, FullBatch(), optimizer, start, steps=steps, chains=len(start), observe=coordinates(start.shape[1])
    )
    return path(data, start.shape[1])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("momentum", [None, 0.0, 0.5, 0.9])
def test_steps_are_those_of_torch(name, momentum):
    landscape, start, lr, steps = MAKERS[name](), 0.3 * normal(4, 3, seed=2), 0.03, 80
    x = start.clone()
    theirs = torch.optim.SGD([x], lr=lr, momentum=momentum or 0.0)
    expected = [start.clone()]
    for _ in range(steps):
        x.grad = landscape.gradient(x)
        theirs.step()
        expected.append(x.clone())
    optimizer = GradientDescent(lr) if momentum is None else HeavyBall(lr, momentum)
    got = engine(landscape, optimizer, start, steps)
    expected = torch.stack(expected).numpy()
    error = (np.abs(got - expected) / np.maximum(1, np.abs(expected))).max(axis=(1, 2))
    assert np.isfinite(got).all()
    assert error.max() < 1e-12, f"off from torch.optim.SGD by {error.max():.3g} at step {error.argmax()}"


def test_a_schedule_is_asked_at_every_step():
    landscape, start, steps = MAKERS["double well"](), 0.3 * normal(4, 3, seed=2), 60

    def lr(t):
        return 0.2 / (1 + 0.1 * t)

    x = start.clone()
    theirs = torch.optim.SGD([x], lr=1.0)
    expected = [start.clone()]
    for t in range(steps):
        x.grad = landscape.gradient(x)
        theirs.param_groups[0]["lr"] = lr(t)
        theirs.step()
        expected.append(x.clone())
    error = np.abs(engine(landscape, GradientDescent(lr), start, steps) - torch.stack(expected).numpy()).max()
    assert error < 1e-12, f"off from torch.optim.SGD with the same schedule by {error:.3g}"


def test_heavy_ball_with_a_schedule_is_its_formula():
    landscape, start, beta = MAKERS["double well"](), 0.3 * normal(4, 3, seed=2), 0.8

    def lr(t):
        return 0.1 if t < 20 else 0.02

    xs = [start, start]
    for t in range(50):
        xs.append(xs[-1] - lr(t) * landscape.gradient(xs[-1]) + beta * (xs[-1] - xs[-2]))
    error = np.abs(engine(landscape, HeavyBall(lr, beta), start, 50) - torch.stack(xs[1:]).numpy()).max()
    assert error < 1e-12, f"off from x − η_t g + β(x − x_prev) by {error:.3g}"


def test_a_quadratic_grows_by_the_factor():
    landscape = QuadraticSaddle.multiplicative([-1.0, 0.5], 0.0, n=4)
    got = engine(landscape, GradientDescent(0.1), torch.tensor([[1.0, 1.0]], dtype=F64), 50)[-1, 0]
    expected = np.array([1.1**50, 0.95**50])
    assert np.abs(got / expected - 1).max() < 1e-13, f"{got}, expected {expected}"


def test_steps_leave_their_state_alone():
    for optimizer in (GradientDescent(0.1), HeavyBall(0.1, 0.9)):
        x = normal(3, 2, seed=1)
        state = optimizer.init(x)
        before = [leaf.clone() for leaf in state]
        first, second = optimizer.step(state, x, None, 0), optimizer.step(state, x, None, 0)
        assert all(torch.equal(leaf, old) for leaf, old in zip(state, before, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert optimizer.draw(x, 3, torch.Generator()) is None


@pytest.mark.parametrize("lr", [0, 0.0, -0.1, float("nan"), float("inf"), True, "0.1", None])
@pytest.mark.parametrize("kind", [GradientDescent, lambda lr: HeavyBall(lr, 0.9)], ids=["descent", "heavy ball"])
def test_lr_must_be_positive(kind, lr):
    with pytest.raises(ValueError, match="lr must be a positive finite number or a schedule"):
        kind(lr)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 1.5, float("nan")])
def test_momentum_lies_below_one(momentum):
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\)"):
        HeavyBall(0.1, momentum)
