"""Adam's recursion against torch, and its equivalent SGD against expansions and enumeration."""

import math

import numpy as np
import pytest
import torch

from escape import theory
from escape.theory.adaptive import _averages


def torch_path(optimizer, steps, curvature, start, **settings):
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    method, path = optimizer([x], **settings), [x.detach().clone()]
    for _ in range(steps):
        method.zero_grad()
        (torch.as_tensor(curvature, dtype=torch.float64) * x**2 / 2).sum().backward()
        method.step()
        path.append(x.detach().clone())
    return torch.stack(path).numpy()


@pytest.mark.parametrize("curvature", [-1.0, 2.0, [-3.0, -0.1, 0.5]])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.5, 0.9), 0.1), ((0.0, 0.99), 1e-3)])
def test_adam_path_is_that_of_torch(curvature, betas, eps):
    start = [0.3, -1e-6, 2.0]
    want = torch_path(torch.optim.Adam, 300, curvature, start, lr=0.01, betas=betas, eps=eps)
    got = theory.adam_path(300, 0.01, curvature, start, *betas, eps)
    assert got.shape == (301, 3)
    away = np.abs(got - want).max()
    assert away < 1e-12, f"{away} from torch's Adam"


def test_rmsprop_path_is_that_of_torch():
    want = torch_path(torch.optim.RMSprop, 300, -1.0, [0.01, -0.2], lr=0.003, alpha=0.98, eps=1e-4)
    got = theory.adam_path(300, 0.003, -1.0, [0.01, -0.2], 0.0, 0.98, 1e-4, bias_correction=False)
    assert np.abs(got - want).max() < 1e-12


def test_exit_step_without_noise_forgets_the_start():
    starts = np.array([1e-3, 1e-8, 1e-12, -1e-12])
    steps = theory.adam_exit_step(1e-3, -1.0, 1.0, starts, eps=0.0)
    assert steps.tolist() == [626] * 4, f"exit steps {steps}, known 626"
    assert theory.adam_exit_step(1e-3, -1.0, 1.0, starts).tolist() == [626] * 4
    assert [int(theory.gd_exit_step(1e-3, -1.0, 1.0, x)) for x in starts[:3]] == [6912, 18430, 27645]
    assert theory.adam_exit_step(1e-3, -50.0, 1.0, 1e-12, eps=0.0) == 626, "nor does the curvature matter"
    # the exit is the first position outside, and far below eps scale invariance has ended
    path = np.abs(theory.adam_path(700, 1e-3, -1.0, 1e-3, eps=0.0))
    assert np.flatnonzero(path >= 1)[0] == 626
    assert theory.adam_exit_step(1e-3, -1.0, 1.0, 1e-12, eps=1.0) > 5000


def test_exit_step_approaches_a_straight_line():
    """While t << 1 / (1-b2) and past the memory of the mean, x = sqrt(3) lr t."""
    slopes = []
    for steps in (500, 2000, 8000):
        path = theory.adam_path(steps, 1e-3, -1.0, 1e-9, beta1=0.9, beta2=1 - 1e-9, eps=0.0)
        slopes.append((path[-1] - path[steps // 2]) / (steps / 2) / 1e-3)
    gaps = math.sqrt(3) - np.array(slopes)
    assert abs(gaps[-1]) < 0.01, f"slopes {slopes} in lr, limit sqrt(3)"
    assert np.all(np.abs(np.diff(np.abs(gaps))) > 0)
    assert abs(gaps[-1]) < abs(gaps[0]) / 4, f"slopes {slopes} should approach sqrt(3)"


def test_exit_step_of_all_kinds_of_starts():
    got = theory.adam_exit_step(0.01, -1.0, 1.0, [0.0, 1.0, -3.0, 0.995], eps=0.0)
    assert got.tolist() == [np.inf, 0, 0, 1], f"on the saddle, at the edge, outside, one step away: {got}"


def test_averages_against_the_expansion():
    """First order in 1 - b2 by moments of normal variables; the next order is what is left."""
    left = []
    for forgotten in (0.02, 0.01):
        drift, spread = _averages(1 - forgotten)
        left.append((drift - 1 + 0.625 * forgotten, spread - 1 + forgotten))
    ratio = np.array(left[0]) / np.array(left[1])
    assert np.abs(left[1]).max() < 3 * 0.01**2, f"beyond first order {left}"
    assert ((ratio > 3.7) & (ratio < 4.1)).all(), f"beyond first order {left}: second order falls fourfold"


def test_averages_without_memory_and_with_a_little():
    drift, spread = _averages(0.0)
    assert abs(drift - math.sqrt(2 / math.pi)) < 1e-9, "sign of y: d/dy of its mean is twice the density at 0"
    assert abs(spread - 1) < 1e-9
    rng, square = np.random.default_rng(8), np.zeros(200_000)
    for _ in range(80):
        y = rng.standard_normal(len(square))
        square = 0.8 * square + 0.2 * y**2
    # E d/dy (y / sqrt(v)) = E y^2 / sqrt(v) by Gauss's integration by parts
    for got, drawn in zip(_averages(0.8), (y**2 / np.sqrt(square), y**2 / square), strict=True):
        error = drawn.std() / math.sqrt(len(drawn))
        assert abs(got - drawn.mean()) < 4 * error, f"integral {got}, drawn {drawn.mean()} +- {error}"


def test_equivalent_and_growth_factor():
    found = theory.adaptive_equivalent(np.array([-1.0, 4.0]), np.array([0.5, 100.0]), 0.999)
    assert np.allclose(found.curvature, [-2.0, 0.04], rtol=1e-3)
    assert np.allclose(found.noise, 1.0, rtol=1e-3), "noise is made equal along all coordinates"
    plain = theory.adaptive_growth_factor(0.01, -1.0, 0.5, 0.0, 0.99)
    assert abs(plain - (1 + 0.01 * 2 * _averages(0.99)[0])) < 1e-14
    # with memory, the largest eigenvalue of the two-dimensional step (x, m)
    for beta1 in (0.5, 0.9):
        steep = 2 * _averages(0.99)[0]
        step = np.array([[1 + 0.01 * (1 - beta1) * steep, -0.01 * beta1], [-(1 - beta1) * steep, beta1]])
        want = np.abs(np.linalg.eigvals(step)).max()
        got = theory.adaptive_growth_factor(0.01, -1.0, 0.5, beta1, 0.99)
        assert abs(got - want) < 1e-12, f"beta1 = {beta1}: {got}, eigenvalue {want}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.adam_path(2.5, 0.1, -1.0, 1.0), "steps is"),
        (lambda: theory.adam_path(2, 0.1, -1.0, 1.0, beta1=1.0), "beta1 is"),
        (lambda: theory.adam_path(2, 0.1, -1.0, 1.0, eps=-1e-8), "eps is"),
        (lambda: theory.adam_exit_step(0.1, 1.0, 1.0, 0.5), "curvature is"),
        (lambda: theory.adam_exit_step(0.1, -1.0, 0.0, 0.5), "radius is"),
        (lambda: theory.adaptive_equivalent(-1.0, 0.0), "noise is"),
        (lambda: theory.adaptive_growth_factor(0.1, -1.0, 1.0, beta2=1.5), "beta2 is"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
