"""Cloning: growth rates of moments against enumeration, the exact second moment and the almost sure rate."""

import numpy as np
import pytest
import torch

from escape import QuadraticSaddle, theory
from escape.rare import moment_rate

CURVATURES = np.array([1.0, -1.2])
LINE = CURVATURES[:, None, None]


def hessians(n, d, seed):
    found = np.random.default_rng(seed).standard_normal((n, d, d))
    return (found + found.transpose(0, 2, 1)) / 2


def error(found):
    """Standard error of 2 L_N − L_{N/2}, by populations."""
    return np.sqrt(
        4 * found.full.var(1, ddof=1) / found.full.shape[1] + found.half.var(1, ddof=1) / found.half.shape[1]
    )


@pytest.mark.parametrize(("b", "replacement"), [(1, False), (2, True)])
def test_moment_function_by_enumeration(within, b, replacement):
    orders = np.array([-0.5, 0.5, 1.0, 2.0])
    found = moment_rate(LINE, 0.5, b, replacement, orders, clones=60, steps=60, populations=20, seed=b)
    within("L(p)", found.rate.value, theory.moment_function(orders, CURVATURES, 0.5, b, replacement), error(found), 4)
    assert found.rate.reliable


@pytest.mark.parametrize(("b", "replacement"), [(1, False), (2, False), (3, True)])
def test_mean_square_rate_of_hessians_that_do_not_commute(within, b, replacement):
    terms = hessians(4, 2, 1)
    found = moment_rate(terms, 0.5, b, replacement, clones=60, steps=200, populations=20, seed=b)
    within("L(2)", found.rate.value, theory.second_moment(terms, 0.5, b, replacement).log_rate, error(found)[0], 4)
    assert isinstance(found.rate.value, float)


def test_slope_at_zero_is_the_almost_sure_rate(within):
    terms, width = hessians(4, 2, 2), 0.05
    found = moment_rate(terms, 0.5, 1, p=[-width, 0.0, width], clones=60, steps=200, populations=20, seed=4)
    assert found.rate.value[1] == found.rate.low[1] == found.rate.high[1] == 0
    gamma, gamma_error = theory.lyapunov_exponent_product(terms, 0.5, 1, steps=1000, chains=64, seed=5)
    full, half = ((part[2] - part[0]) / (2 * width) for part in (found.full, found.half))
    slope_error = np.sqrt(4 * full.var(ddof=1) / len(full) + half.var(ddof=1) / len(half) + gamma_error**2)
    within("L'(0)", (found.rate.value[2] - found.rate.value[0]) / (2 * width), gamma, slope_error, 4)


def test_the_bias_of_few_clones_is_there_and_taken_off(within):
    found = moment_rate(LINE, 0.5, 1, p=[2.0], clones=40, steps=60, populations=60, seed=6)
    truth = theory.moment_function([2.0], CURVATURES, 0.5, 1)
    full, spread = found.full.mean(1), found.full.std(1, ddof=1) / np.sqrt(60)
    assert (full < truth - 4 * spread).all()
    within("L(2)", found.rate.value, truth, error(found), 4)
    within("bias", found.bias, full - truth, error(found), 4)


def test_without_noise_the_rate_is_exact():
    found = moment_rate(np.array([[[-1.0]]]), 0.5, 1, p=[1.0, 3.0], clones=4, steps=10, populations=2)
    np.testing.assert_allclose(found.rate.value, np.log(1.5) * found.p, rtol=1e-13)
    np.testing.assert_allclose(found.rate.high, found.rate.low, rtol=1e-13)


def test_a_landscape_gives_its_hessians():
    curvatures = torch.tensor([[1.0, 0.3], [-1.2, 0.1], [0.4, 0.8]], dtype=torch.float64)
    landscape, small = QuadraticSaddle(curvatures, torch.zeros_like(curvatures)), {"clones": 6, "steps": 9}
    one = moment_rate(landscape, 0.5, 1, point=landscape.critical_points()[0], **small)
    other = moment_rate(np.stack([np.diag(row) for row in curvatures.numpy()]), 0.5, 1, **small)
    np.testing.assert_array_equal(one.full, other.full)
    assert (moment_rate(landscape, 0.5, 1, point=torch.zeros(2), seed=1, **small).full != one.full).any()


def test_what_cannot_be_believed_is_said():
    small = {"steps": 20, "populations": 3}
    zero = moment_rate(np.array([[[2.0]]]), 0.5, 1, p=[-1.0, 0.0, 1.0], clones=4, **small)
    assert zero.rate.value.tolist() == [np.inf, 0.0, -np.inf]
    assert "die out" in zero.rate.reason
    few = moment_rate(LINE, 0.5, 1, clones=8, **small)
    assert "take more clones" in few.rate.reason
    assert not few.rate.reliable


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"clones": 5}, "clones must be even"),
        ({"clones": 2}, "clones must be an integer of at least 4"),
        ({"populations": 1}, "populations must be an integer of at least 2"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"lr": 0.0}, "lr must be a finite number above zero"),
        ({"p": [np.nan]}, "p must be one or several finite numbers"),
        ({"batch_size": 3}, "larger than n = 2"),
        ({"hessians": np.ones((2, 2))}, r"must be \(n, d, d\)"),
        ({"hessians": np.array([[[1.0, 2.0], [0.0, 1.0]]])}, "finite and symmetric"),
        ({"point": torch.zeros(1)}, "point is for a landscape"),
        ({"hessians": QuadraticSaddle.additive([-1.0], 1.0, n=5)}, "needs the point"),
    ],
)
def test_bad_arguments_are_refused(changed, said):
    with pytest.raises((ValueError, TypeError), match=said):
        moment_rate(**{"hessians": LINE, "lr": 0.5, "batch_size": 1} | changed)
