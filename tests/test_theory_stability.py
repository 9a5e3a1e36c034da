"""Thresholds of the learning rate against the spectra of the maps they speak of."""

from itertools import combinations, product

import numpy as np
import pytest

from escape import theory

SAMPLING = [(1, False), (3, False), (2, True), (6, False)]


def wishart(n=6, d=3, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, 2 * d, d))
    return np.einsum("nki,nkj->nij", x, x) / d


def dense_rate(hessians, lr, batch_size, replacement):
    """Spectral radius of E A_B (x) A_B over all batches."""
    n, d = hessians.shape[:2]
    draws = product(range(n), repeat=batch_size) if replacement else combinations(range(n), batch_size)
    steps = np.eye(d) - lr * hessians[np.array(list(draws))].mean(1)
    full = np.einsum("kab,kcd->acbd", steps, steps).reshape(d * d, d * d) / len(steps)
    return np.abs(np.linalg.eigvals(full)).max()


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("batch_size", "replacement"), SAMPLING)
def test_mean_square_threshold_is_where_rho_is_one(d, batch_size, replacement):
    hessians = wishart(d=d)
    lr = theory.mean_square_threshold_lr(hessians, batch_size, replacement)
    rate = theory.second_moment(hessians, lr, batch_size, replacement).rate
    assert abs(rate - 1) < 1e-10, f"rho at the threshold is {rate}"
    dense = dense_rate(hessians, lr, batch_size, replacement)
    assert abs(dense - 1) < 1e-10, f"over all batches it is {dense}"
    below, above = (dense_rate(hessians, f * lr, batch_size, replacement) for f in (0.98, 1.02))
    assert below < 1 < above, f"rho 2% below and above: {below}, {above}"


@pytest.mark.parametrize(("batch_size", "replacement"), SAMPLING)
def test_thresholds_are_ordered(batch_size, replacement):
    hessians = wishart()
    monotone = theory.monotone_threshold_lr(hessians, batch_size, replacement)
    settled = theory.mean_square_threshold_lr(hessians, batch_size, replacement)
    descent = theory.gd_threshold_lr(hessians.mean(0))
    spread = theory.nonuniformity_threshold_lr(hessians, batch_size, replacement)
    assert abs(descent * np.linalg.eigvalsh(hessians.mean(0))[-1] - 2) < 1e-12, f"2/lambda_max is not {descent}"
    slack = 1 + 1e-12
    assert monotone <= settled * slack, f"{monotone} must not exceed {settled}"
    assert settled <= descent * slack, f"{settled} must not exceed {descent}"
    assert monotone <= spread * slack, f"{monotone} must not exceed {spread}"
    if batch_size == 6:
        assert spread == np.inf, "the full batch has no spread"
        assert abs(settled / descent - 1) < 1e-12, "nor does it differ from descent"


@pytest.mark.parametrize(("batch_size", "replacement"), SAMPLING[:3])
def test_monotone_threshold_is_where_one_step_no_longer_contracts(batch_size, replacement):
    hessians = wishart()
    lr = theory.monotone_threshold_lr(hessians, batch_size, replacement)
    draws = product(range(6), repeat=batch_size) if replacement else combinations(range(6), batch_size)
    steps = np.eye(3) - lr * hessians[np.array(list(draws))].mean(1)
    worst = np.linalg.eigvalsh(np.einsum("kba,kbc->ac", steps, steps) / len(steps))[-1]
    assert abs(worst - 1) < 1e-12, f"E |x_1|^2 over |x_0|^2 is at most {worst} there"
    variance = np.einsum("nij,njk->ik", hessians - hessians.mean(0), hessians - hessians.mean(0)) / 6
    want = 1 / np.sqrt(theory.kappa(batch_size, 6, replacement) * np.linalg.eigvalsh(variance)[-1])
    got = theory.nonuniformity_threshold_lr(hessians, batch_size, replacement)
    assert abs(got / want - 1) < 1e-12, f"1 / (sqrt kappa s) is {want}, got {got}"


def test_commuting_hessians_have_one_threshold():
    curvatures = np.array([[1.0, 0.2], [3.0, 0.1], [0.5, 4.0]])
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((2, 2)))[0]
    hessians = np.einsum("ia,na,ja->nij", basis, curvatures, basis)
    want = min(2 * h.mean() / (h.mean() ** 2 + h.var()) for h in curvatures.T)
    for name in ("mean_square_threshold_lr", "monotone_threshold_lr"):
        got = getattr(theory, name)(hessians, 1)
        assert abs(got / want - 1) < 1e-12, f"{name}: {got}, direction by direction {want}"


def star(spread, points=9):
    """Noise that leads from the centre to one of many points, and back: it spreads before it returns."""
    arms = np.zeros((2 * points, points + 1, points + 1))
    for j in range(points):
        arms[2 * j, 0, j + 1] = arms[2 * j, j + 1, 0] = spread
        arms[2 * j + 1] = -arms[2 * j]
    return np.eye(points + 1) + arms


def test_nonuniformity_does_not_bound_the_mean_square_threshold():
    hessians = star(0.8)
    spread = theory.nonuniformity_threshold_lr(hessians, 1)
    settled = theory.mean_square_threshold_lr(hessians, 1)
    assert spread == pytest.approx(1.25, rel=1e-12), f"s = 0.8, so 1.25, not {spread}"
    # rho = (1 - lr)^2 + lr^2 0.8^2 / 3: centre and points exchange by the square root of 1/9
    assert settled == pytest.approx(2 / (1 + 0.64 / 3), rel=1e-12), f"threshold {settled}"
    rate = theory.second_moment(hessians, 1.5, 1).rate
    assert spread < 1.5 < settled, f"1.5 is not between {spread} and {settled}"
    assert rate == pytest.approx(0.25 + 2.25 * 0.64 / 3, rel=1e-12), f"rho = {rate}"
    assert rate < 1, "beyond the bound of the spread the mean square still settles"


def test_flat_directions():
    z = np.random.default_rng(2).standard_normal((3, 5))
    shared = z[:, :, None] * z[:, None, :]
    lr = theory.mean_square_threshold_lr(shared, 1)
    rate = [theory.second_moment(shared, f * lr, 1).rate for f in (0.9, 1, 1.1)]
    # what is flat for all terms stays as it is: rho = 1 there
    assert np.allclose(rate[:2], 1, atol=1e-12), f"rho = {rate} up to the threshold"
    assert rate[2] > 1 + 1e-3, f"rho = {rate[2]} above it"
    curved = shared + np.einsum("n,ij->nij", [1.0, -1.0, 0.0], np.eye(5))
    assert theory.mean_square_threshold_lr(curved, 1) == 0, "flat on the mean, curved in each term: never stable"
    assert theory.monotone_threshold_lr(curved, 1) == 0, "flat on the mean, curved in each term: never stable"


def test_saddles_and_nothing():
    saddle = np.array([np.diag([1.0, -0.1])])
    for value in (theory.gd_threshold_lr(saddle[0]), theory.mean_square_threshold_lr(saddle, 1)):
        assert value == 0, f"a saddle is unstable at every lr, got {value}"
    assert theory.monotone_threshold_lr(saddle, 1) == 0, "a saddle is unstable at every lr"
    assert theory.gd_threshold_lr(np.zeros((2, 2))) == np.inf, "nothing moves on a plane"
    assert theory.mean_square_threshold_lr(np.zeros((3, 2, 2)), 1) == np.inf, "nothing moves on a plane"


def test_refuses():
    with pytest.raises(ValueError, match="not symmetric"):
        theory.mean_square_threshold_lr(np.triu(np.ones((2, 3, 3))), 1)
    with pytest.raises(ValueError, match="batch_size"):
        theory.monotone_threshold_lr(wishart(), 7)
    with pytest.raises(ValueError, match="must be \\(n, d, d\\)"):
        theory.nonuniformity_threshold_lr(np.ones((2, 3)), 1)
