"""Random reshuffling against all permutations, one by one."""

from itertools import permutations

import numpy as np
import pytest
from scipy import integrate

from escape import theory

N, LR, NOISE = 6, 0.2, 0.3


def tilts(n=N):
    g = np.random.default_rng(0).standard_normal(n)
    g -= g.mean()
    return NOISE * g / g.std()


def epoch_noises(curvature, batch_size):
    """End of an epoch from the critical point, for every permutation."""
    orders = np.array(list(permutations(tilts()))).reshape(-1, N // batch_size, batch_size).mean(2)
    x = np.zeros(len(orders))
    for g in orders.T:
        x = (1 - LR * curvature) * x - LR * g
    return x


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("curvature", [-1.0, -0.01, 0.5, 5.0, 8.0])
def test_epoch_variance_is_that_of_all_permutations(curvature, batch_size):
    want = (epoch_noises(curvature, batch_size) ** 2).mean()
    got = theory.reshuffling_epoch_variance(LR, curvature, NOISE, N, batch_size)
    assert abs(got / want - 1) < 1e-9, f"variance {got}, over all permutations {want}"
    q, x0 = (1 - LR * curvature) ** (2 * N // batch_size), 0.07
    moment = x0**2
    for m in range(4):
        here = theory.reshuffling_mean_square(m, LR, curvature, NOISE, N, batch_size, x0)
        assert abs(here / moment - 1) < 1e-9, f"after {m} epochs E x^2 = {here}, by recursion {moment}"
        moment = q * moment + want


def test_whole_batches_are_silent_and_flat_directions_return():
    assert theory.reshuffling_epoch_variance(LR, -1.0, NOISE, N, N) == 0, "the full batch has no noise"
    assert theory.reshuffling_epoch_variance(LR, 0.0, NOISE, N) == 0, "without curvature an epoch adds nothing up"
    assert theory.reshuffling_mean_square(5, LR, 0.0, NOISE, N, start=0.1) == pytest.approx(0.01, rel=1e-15)


@pytest.mark.parametrize(("n", "batch_size"), [(6, 2), (100, 1), (1000, 10), (4000, 1)])
@pytest.mark.parametrize("curvature", [-0.01, -0.3, -2.0])
def test_kick_in_closed_form(n, batch_size, curvature):
    a, k = 1 - LR * curvature, n // batch_size
    want = k / (a * a - 1) - np.tanh(k * np.log(a) / 2) / (a - 1) ** 2
    got = theory.reshuffling_kick_std(LR, curvature, NOISE, n, batch_size) ** 2 * (n - 1) / (LR * NOISE) ** 2
    assert abs(got / want - 1) < 1e-6, f"s^2 is {got}, closed form {want}, in units of (lr noise)^2/(n - 1)"
    if k * np.log(a) < 300:
        epoch = theory.reshuffling_epoch_variance(LR, curvature, NOISE, n, batch_size)
        again = epoch / (a ** (2 * k) - 1) * (n - 1) / (LR * NOISE) ** 2
        assert abs(again / got - 1) < 1e-9, f"from the epoch {again}, directly {got}"


def test_kick_in_the_limits():
    short = theory.reshuffling_kick_std(1e-4, -1.0, NOISE, 100) / theory.kick_std(1e-4, -1.0, NOISE)
    want = 1e-4 * np.sqrt(100 * 101 / 12)
    assert abs(short / want - 1) < 1e-4, f"short epochs: ratio {short}, want lr lambda sqrt(k (k + 1) / 12) = {want}"
    long = theory.reshuffling_kick_std(0.1, -1.0, NOISE, 200_000, 2)
    fresh = theory.kick_std(0.1, -1.0, NOISE * np.sqrt(theory.kappa(2, 200_000)))
    assert abs(long / fresh - 1) < 2e-4, f"long epochs: kick {long}, that of fresh batches {fresh}"


def test_mean_exit_step_is_that_of_a_normal_kick():
    kick = theory.reshuffling_kick_std(0.05, -1.0, 0.01, 40)
    density = [lambda z: 2 * np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * np.log(1 / (kick * z))]
    want = integrate.quad(density[0], 0, 12, limit=200)[0] / np.log(1.05) + 0.5
    got = theory.reshuffling_mean_exit_step(0.05, -1.0, 0.01, 1.0, 40)
    assert abs(got - want) < 1e-6, f"E tau = {got}, by quadrature {want}"
    fresh = theory.mean_exit_step(0.05, -1.0, 0.01, 1.0)
    delay = np.log(theory.kick_std(0.05, -1.0, 0.01) / kick) / np.log(1.05)
    assert abs(got - fresh - delay) < 1e-9, f"later by {got - fresh} steps, ln of the kicks says {delay}"


def hessians(n=4, d=2, seed=1):
    h = np.random.default_rng(seed).standard_normal((n, d, d))
    return h + h.transpose(0, 2, 1)


@pytest.mark.parametrize(("n", "d", "batch_size"), [(4, 2, 1), (4, 2, 2), (5, 3, 1), (6, 2, 3), (6, 2, 2)])
def test_moments_over_epochs_are_those_of_all_permutations(n, d, batch_size):
    terms = hessians(n, d)
    products = []
    for order in permutations(range(n)):
        product = np.eye(d)
        for batch in np.reshape(order, (-1, batch_size)):
            product = (np.eye(d) - 0.3 * terms[batch].mean(0)) @ product
        products.append(product)
    products = np.array(products)
    got = theory.reshuffling_second_moment(terms, 0.3, batch_size)
    full = np.einsum("kab,kcd->acbd", products, products).reshape(d * d, d * d) / len(products)
    want = np.abs(np.linalg.eigvals(full)).max()
    assert abs(got.rate / want - 1) < 1e-12, f"rate {got.rate}, over all permutations {want}"
    start = np.arange(1.0, d + 1)
    mean, moment = got.evolve(2, start)
    assert np.allclose(mean[1], products.mean(0) @ start, rtol=1e-12), f"E x after an epoch: {mean[1]}"
    second = (full @ full @ np.outer(start, start).ravel()).reshape(d, d)
    assert np.allclose(moment[2], second, rtol=1e-11), f"E x x^T after two epochs: {moment[2]}, want {second}"


def test_in_one_dimension_the_order_is_of_no_consequence():
    curvatures = np.array([1.0, -1.2, 0.4, -0.6])
    got = theory.reshuffling_second_moment(curvatures[:, None, None], 0.5)
    want = np.prod(1 - 0.5 * curvatures)
    assert abs(got.mean_step[0, 0] - want) < 1e-15, f"E x grows by {got.mean_step}, the product is {want}"
    assert abs(got.rate - want**2) < 1e-15, f"E x^2 grows by {got.rate}, the square of the product is {want**2}"


def test_reshuffling_can_grow_slower_than_descent():
    """The pair of curvatures 1, -1.2: an epoch multiplies by 0.8, two steps of descent by 1.05^2."""
    pair = np.array([1.0, -1.2])[:, None, None]
    shuffled = theory.reshuffling_second_moment(pair, 0.5).rate ** 0.5
    fresh = theory.second_moment(pair, 0.5, 1).rate
    assert abs(shuffled - 0.8) < 1e-15, f"reshuffling {shuffled}"
    assert shuffled < 1.05**2 < fresh, f"per step: reshuffling {shuffled}, descent {1.05**2}, fresh batches {fresh}"
    # and where they do not commute, while all of it grows
    terms = np.array([[[-0.8, 0.5], [0.5, 0.3]], [[0.2, -0.5], [-0.5, 0.6]], [[-1.0, 0.2], [0.2, 0.9]]])
    rate = theory.reshuffling_second_moment(terms, 0.3).rate ** (1 / 3)
    descent = (1 - 0.3 * np.linalg.eigvalsh(terms.mean(0))[0]) ** 2
    assert 1 < rate < descent < theory.second_moment(terms, 0.3, 1).rate, f"reshuffling {rate}, descent {descent}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.reshuffling_epoch_variance(0.1, -1.0, 0.1, 10, 3), "must divide n = 10"),
        (lambda: theory.reshuffling_kick_std(0.1, 1.0, 0.1, 10), "negative one"),
        (lambda: theory.reshuffling_mean_exit_step(0.1, -1.0, 0.1, 1.0, 10, 10), "never leaves"),
        (lambda: theory.reshuffling_second_moment(hessians(20), 0.1), "fewer terms"),
        (lambda: theory.reshuffling_second_moment(np.ones((4, 2)), 0.1), "must be \\(n, d, d\\)"),
    ],
)
def test_refuses(call, word):
    with pytest.raises(ValueError, match=word):
        call()
