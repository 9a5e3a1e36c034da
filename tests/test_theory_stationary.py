"""Stationary laws against the Lyapunov equation of the whole state, quadrature over the data, and the exact chain."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from escape import theory

HESSIAN = np.array([[1.0, 0.3, 0.1], [0.3, 0.5, -0.2], [0.1, -0.2, 0.8]])
ROOT = np.array([[1.0, 0.0, 0.0], [-0.4, 0.3, 0.0], [0.2, 0.5, 0.1]])
COVARIANCE = ROOT @ ROOT.T
INPUTS = np.diag([1.0, 0.5, 0.2])


def companion(step, momentum):
    """Linear map of (x_t, x_{t-1}) for x' = step x + momentum (x - x_before)."""
    eye = np.eye(len(step))
    return np.block([[step + momentum * eye, -momentum * eye], [eye, 0 * eye]])


def whole_state(hessian, covariance, lr, momentum):
    """Stationary covariance of (x_t, x_{t-1}) under additive noise."""
    d = len(hessian)
    added = np.zeros((2 * d, 2 * d))
    added[:d, :d] = lr * lr * covariance
    return solve_discrete_lyapunov(companion(np.eye(d) - lr * hessian, momentum), added)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("lr", [0.01, 0.4, 1.3])
def test_covariance_solves_the_lyapunov_equation_of_the_whole_state(lr, momentum):
    got = theory.stationary_covariance(HESSIAN, COVARIANCE, lr, momentum)
    want = whole_state(HESSIAN, COVARIANCE, lr, momentum)[:3, :3]
    worst = np.abs(got - want).max() / np.abs(want).max()
    assert worst < 1e-11, f"S is off by {worst:.1e} from the companion form: {got} against {want}"
    along = theory.stationary_variance(lr, 0.7, 0.4, momentum)
    matrix = theory.stationary_covariance([[0.7]], [[0.16]], lr, momentum)[0, 0]
    assert abs(along / matrix - 1) < 1e-13, f"one direction: {along} as a number, {matrix} as a matrix"
    alone = whole_state(np.array([[0.7]]), np.array([[0.16]]), lr, momentum)[0, 0]
    assert abs(along / alone - 1) < 1e-11, f"one direction: {along}, companion form {alone}"


def test_without_momentum_it_is_the_variance_of_an_autoregression():
    assert abs(theory.stationary_variance(0.1, 2.0, 0.3) - 0.1 * 0.09 / (2 * 1.8)) < 1e-17, "lr noise^2/(h (2 - lr h))"
    small = theory.stationary_covariance(HESSIAN, COVARIANCE, 1e-7)
    assert np.allclose(HESSIAN @ small + small @ HESSIAN, 1e-7 * COVARIANCE, atol=1e-13), "not the continuous limit"


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_dissipation_balances_fluctuation_on_a_quadratic(momentum):
    lr = 0.4
    state = whole_state(HESSIAN, COVARIANCE, lr, momentum)
    spread, cross = state[:3, :3], state[:3, 3:]
    step = 2 * np.trace(spread - cross)
    got, want = theory.stationary_work(step, lr, momentum), np.trace(HESSIAN @ spread)
    assert abs(got / want - 1) < 1e-12, f"E x.grad f is {want}, from the steps {got}"
    if momentum == 0:
        seen = HESSIAN @ spread @ HESSIAN + COVARIANCE
        assert abs(step - lr * lr * np.trace(seen)) < 1e-14, "a step is lr times the batch gradient"
        got, want = theory.stationary_gradient_square(HESSIAN, seen, lr), np.trace(HESSIAN @ spread @ HESSIAN)
        assert abs(got / want - 1) < 1e-12, f"E |grad f|^2 is {want}, from the noise {got}"


def skew_chain(lr, noise=0.8, third=0.6):
    """f = x^2/2 + third x^3/6 + x^4/24, convex, and its exact chain."""

    def force(x):
        return x + third * x * x / 2 + x**3 / 6

    law = theory.GaussianChain(lambda x: x - lr * force(x), lr * noise, -2.5, 2.5).stationary()
    return force, law.nodes, law.weights * law.density


def test_dissipation_balances_fluctuation_on_any_loss():
    lr, noise = 0.3, 0.8
    force, x, mass = skew_chain(lr, noise)
    got = theory.stationary_work(lr**2 * (mass @ force(x) ** 2 + noise**2), lr)
    want = mass @ (x * force(x))
    assert abs(got / want - 1) < 1e-9, f"E x f' is {want} on the exact chain, from the steps {got}"


def test_shift_is_that_of_the_exact_chain_to_leading_order():
    missing = []
    for lr in (0.04, 0.02, 0.01):
        _, x, mass = skew_chain(lr)
        got = theory.stationary_shift([[1.0]], [[[0.6]]], [[0.64]], lr)[0]
        assert abs(got + 0.6 * 0.64 * lr / (2 - lr) / 2) < 1e-16, f"shift {got} is not -f''' S/(2 h)"
        missing.append((mass @ x - got) / lr**2)
    assert abs(got) > 20 * abs(missing[-1]) * lr**2, "what is missing must be small beside the shift"
    assert abs(missing[2] - missing[1]) < 0.6 * abs(missing[1] - missing[0]) < 0.1 * abs(missing[2]), (
        f"what is missing is not O(lr^2): over lr^2 it is {missing}"
    )


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_shift_in_a_rotated_basis_is_that_of_its_axes(momentum):
    basis = np.linalg.qr(np.random.default_rng(3).standard_normal((2, 2)))[0]
    curvature, third, noise, lr = np.array([1.0, 0.3]), np.array([0.5, -2.0]), np.array([0.2, 0.1]), 0.3
    tensor = np.einsum("k,ak,bk,ck->abc", third, basis, basis, basis)
    hessian, covariance = basis * curvature @ basis.T, basis * noise**2 @ basis.T
    spread = theory.stationary_variance(lr, curvature, noise, momentum)
    want = basis @ (-third * spread / (2 * curvature))
    got = theory.stationary_shift(hessian, tensor, covariance, lr, momentum)
    assert np.allclose(got, want, rtol=1e-12), f"shift {got}, axis by axis {want}"


@pytest.mark.parametrize(
    ("lr", "batch_size", "momentum", "digits", "published"),
    [
        (0.2, 4, 0.0, 5, [0.02998, 0.02798, 0.02691]),
        (0.1, 1, 0.0, 4, [0.0612, 0.0580, 0.0562]),
        (0.1, 4, 0.5, 5, [0.02778, 0.02695, 0.02647]),
    ],
)
def test_regression_has_the_published_covariance(lr, batch_size, momentum, digits, published):
    got = np.diag(theory.regression_stationary_covariance(INPUTS, 1.0, lr, batch_size, momentum))
    assert np.array_equal(got.round(digits), published), f"S = {got}, published {published}"


def data_map(inputs, lr, batch_size, momentum):
    """Map of E z z^T, z = (x_t, x_{t-1}), with the data integrated by Gauss-Hermite quadrature."""
    d = len(inputs)
    node, weight = np.polynomial.hermite_e.hermegauss(4)
    grid = np.stack(np.meshgrid(*[node] * d, indexing="ij"), -1).reshape(-1, d) @ np.linalg.cholesky(inputs).T
    share = np.prod(np.stack(np.meshgrid(*[weight] * d, indexing="ij"), -1).reshape(-1, d), 1)
    share /= share.sum()
    steps = [companion(np.eye(d) - lr * np.outer(x, x), momentum) for x in grid]
    mean = np.einsum("k,kij->ij", share, steps)
    one = np.einsum("k,kab,kcd->acbd", share, steps, steps).reshape(4 * d * d, 4 * d * d)
    plain = np.kron(mean, mean)
    return plain + (one - plain) / batch_size


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_regression_against_quadrature_over_the_data(batch_size, momentum):
    inputs, lr, label = np.array([[1.0, 0.4], [0.4, 0.5]]), 0.2, 0.7
    added = np.zeros((4, 4))
    added[:2, :2] = lr**2 / batch_size * label**2 * inputs
    full = data_map(inputs, lr, batch_size, momentum)
    want = np.linalg.solve(np.eye(16) - full, added.ravel()).reshape(4, 4)[:2, :2]
    got = theory.regression_stationary_covariance(inputs, label, lr, batch_size, momentum)
    assert np.abs(got - want).max() < 1e-12 * np.abs(want).max(), f"S = {got}, by quadrature {want}"
    limit = theory.regression_threshold_lr(inputs, batch_size, momentum)
    radius = np.abs(np.linalg.eigvals(data_map(inputs, limit, batch_size, momentum))).max()
    assert abs(radius - 1) < 1e-9, f"at the threshold {limit} the spectral radius is {radius}"
    with pytest.raises(ValueError, match="below the threshold"):
        theory.regression_stationary_covariance(inputs, label, limit, batch_size, momentum)


@pytest.mark.parametrize(("batch_size", "d"), [(1, 1), (4, 1), (1, 6), (7, 3)])
def test_isotropic_threshold_in_closed_form(batch_size, d):
    got, want = theory.regression_threshold_lr(2 * np.eye(d), batch_size), batch_size / (batch_size + d + 1)
    assert abs(got / want - 1) < 1e-12, f"threshold {got}, closed form {want}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.stationary_variance(0.1, -1.0, 0.1), "stationary law only above 0"),
        (lambda: theory.stationary_variance(2.5, 1.0, 0.1), "below 2 \\(1 \\+ momentum\\)"),
        (lambda: theory.stationary_variance(0.1, 1.0, 0.1, 1.0), "must be below 1"),
        (lambda: theory.stationary_covariance(HESSIAN, np.eye(2), 0.1), "covariance has shape"),
        (lambda: theory.stationary_covariance(ROOT, np.eye(3), 0.1), "not symmetric"),
        (lambda: theory.stationary_shift(HESSIAN, np.zeros((3, 3)), COVARIANCE, 0.1), "third has shape"),
        (lambda: theory.stationary_work(-1.0, 0.1), "step_mean_square"),
        (lambda: theory.regression_threshold_lr(np.diag([1.0, 0.0]), 1), "vary in every direction"),
    ],
)
def test_refuses(call, word):
    with pytest.raises(ValueError, match=word):
        call()
