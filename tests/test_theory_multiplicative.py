"""Moments and almost sure growth under multiplicative noise, each against brute force."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import optimize

from escape import theory

TWO = [1.0, -1.2]  # the textbook pair: mean curvature -0.1, an unstable point that can still attract
SAMPLING = [(2, False), (2, True), (1, False), (4, False)]


def batches(n, batch_size, replacement):
    draw = product(range(n), repeat=batch_size) if replacement else combinations(range(n), batch_size)
    return np.array(list(draw))


def problem(n=4, d=3, seed=0):
    rng = np.random.default_rng(seed)
    hessians = rng.standard_normal((n, d, d))
    tilts = rng.standard_normal((n, d))
    return hessians + hessians.transpose(0, 2, 1), tilts - tilts.mean(0), rng.standard_normal(d)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("batch_size", "replacement"), SAMPLING)
def test_moments_are_those_of_every_path(d, batch_size, replacement):
    hessians, tilts, start = problem(d=d)
    index = batches(4, batch_size, replacement)
    steps, shifts = np.eye(d) - 0.3 * hessians[index].mean(1), 0.3 * tilts[index].mean(1)
    mean, moment = theory.second_moment(hessians, 0.3, batch_size, replacement, tilts).evolve(3, start)
    x = start[None]
    for t in range(4):
        paths = x.T @ x / len(x)
        worst = max(np.abs(paths - moment[t]).max(), np.abs(x.mean(0) - mean[t]).max()) / np.abs(paths).max()
        assert worst < 1e-12, f"step {t}, {len(x)} paths: moments {moment[t]} against {paths}"
        x = (np.einsum("bij,pj->pbi", steps, x) - shifts).reshape(-1, d)


@pytest.mark.parametrize(("batch_size", "replacement"), SAMPLING)
def test_rate_is_the_top_eigenvalue_of_the_full_map(batch_size, replacement):
    hessians, _, _ = problem()
    steps = np.eye(3) - 0.3 * hessians[batches(4, batch_size, replacement)].mean(1)
    full = np.mean([np.kron(a, a) for a in steps], axis=0)
    want = np.abs(np.linalg.eigvals(full)).max()
    moment = theory.second_moment(hessians, 0.3, batch_size, replacement)
    assert abs(moment.rate / want - 1) < 1e-12, f"rho = {moment.rate}, dense {want}"
    shape = moment.eigenmatrix
    image = np.einsum("bij,jk,blk->il", steps, shape, steps) / len(steps)
    assert np.abs(image - want * shape).max() < 1e-10 * want, "the eigenmatrix is not mapped to rho times itself"
    assert np.linalg.eigvalsh(shape)[0] > -1e-10, f"the eigenmatrix is not PSD: {np.linalg.eigvalsh(shape)}"
    slowest = np.log((1 - 0.3 * np.linalg.eigvalsh(hessians.mean(0))[0]) ** 2)
    assert moment.log_rate >= slowest - 1e-12, f"ln rho {moment.log_rate} below the growth of the mean {slowest}"


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("batch_size", "replacement"), SAMPLING)
def test_stationary_covariance_against_every_batch(d, batch_size, replacement):
    hessians, tilts, _ = problem(d=d)
    hessians = np.einsum("nij,nkj->nik", hessians, hessians) / 4 + np.eye(d) / 4  # a minimum shared by all
    lr = 0.7 * theory.mean_square_threshold_lr(hessians, batch_size, replacement)
    index = batches(4, batch_size, replacement)
    steps, shifts = np.eye(d) - lr * hessians[index].mean(1), lr * tilts[index].mean(1)
    full = np.einsum("bij,bkl->ikjl", steps, steps).reshape(d * d, d * d) / len(steps)
    want = np.linalg.solve(np.eye(d * d) - full, (shifts.T @ shifts / len(steps)).ravel()).reshape(d, d)
    moment = theory.second_moment(hessians, lr, batch_size, replacement, tilts)
    got = moment.stationary()
    worst = np.abs(got - want).max() / max(np.abs(want).max(), 1e-300)
    assert worst < 1e-12 or (batch_size == 4 and not got.any()), f"S = {got}, over all batches {want}"
    late = moment.evolve(3000, np.full(d, 0.1))[1][-1]
    assert np.allclose(late, got, rtol=1e-9, atol=1e-18), f"the moment tends to {late}, not {got}"
    with pytest.raises(ValueError, match="rho is"):
        theory.second_moment(hessians, 2 * lr, batch_size, replacement, tilts).stationary()


def test_stationary_covariance_of_additive_noise_solves_the_lyapunov_equation():
    _, tilts, _ = problem()
    hessian = np.array([[1.0, 0.3, 0.1], [0.3, 0.5, -0.2], [0.1, -0.2, 0.8]])
    got = theory.second_moment(np.repeat(hessian[None], 4, 0), 0.4, 2, tilts=tilts).stationary()
    want = theory.stationary_covariance(hessian, theory.kappa(2, 4) * tilts.T @ tilts / 4, 0.4)
    assert np.allclose(got, want, rtol=1e-12), f"S = {got}, by the Lyapunov equation {want}"


def test_large_problem_takes_lanczos_and_agrees_with_dense():
    hessians, _, _ = problem(n=6, d=30, seed=2)  # 465 packed coordinates: the sparse branch
    moment = theory.second_moment(hessians, 0.02, 2)
    steps = np.eye(30) - 0.02 * hessians[batches(6, 2, False)].mean(1)
    dense = np.linalg.eigvalsh(moment.operator)[-1]
    assert abs(moment.rate / dense - 1) < 1e-12, f"Lanczos {moment.rate}, dense {dense}"
    shape = moment.eigenmatrix
    image = np.einsum("bij,jk,blk->il", steps, shape, steps, optimize=True) / len(steps)
    assert np.abs(image - dense * shape).max() < 1e-8, "the batches do not map the eigenmatrix to rho times itself"
    assert np.linalg.eigvalsh(shape)[0] > -1e-8, f"not PSD: {np.linalg.eigvalsh(shape)[0]}"


def test_eigenmatrix_of_a_multiple_eigenvalue_is_still_psd():
    same = np.repeat(np.eye(3)[None], 2, 0) * np.array([1.0, -1.2])[:, None, None]
    moment = theory.second_moment(same, 0.5, 1)
    assert abs(moment.rate - theory.mean_square_rate(TWO, 0.5, 1)) < 1e-14, "one direction thrice"
    assert np.allclose(moment.eigenmatrix, np.eye(3) / np.sqrt(3)), f"got {moment.eigenmatrix}, want I / sqrt 3"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda h, g: (h[0], None), "must be \\(n, d, d\\)"),
        (lambda h, g: (h + np.triu(np.ones((3, 3)), 1), None), "symmetric"),
        (lambda h, g: (h, g + 1), "average"),
        (lambda h, g: (h, g[:, :2]), "tilts"),
    ],
)
def test_second_moment_refuses(change, word):
    hessians, tilts, _ = problem()
    hessians, tilts = change(hessians, tilts)
    with pytest.raises(ValueError, match=word):
        theory.second_moment(hessians, 0.1, 1, tilts=tilts)


def test_textbook_pair():
    gamma = theory.lyapunov_exponent(TWO, 0.5, 1)
    assert abs(gamma - 0.5 * np.log(0.5 * 1.6)) < 1e-15, f"gamma {gamma}"
    assert abs(gamma + 0.111571776) < 1e-9, f"gamma {gamma}, known -0.111571776"
    log_rate = np.log(theory.mean_square_rate(TWO, 0.5, 1))
    assert abs(log_rate - 0.340037302) < 1e-9, f"ln rho {log_rate}, ln 1.405 is 0.340037302"
    alpha = theory.escape_exponent(TWO, 0.5, 1)
    assert abs(alpha - 0.67650) < 5e-6, f"alpha {alpha}, known 0.67650"
    assert abs(0.5**alpha + 1.6**alpha - 2) < 1e-13, f"alpha {alpha} does not solve E|A|^alpha = 1"
    freeze = theory.freezing_step([1e3, 1e5], TWO, 0.5, 1)
    assert np.allclose(freeze, [17.6, 29.3], atol=0.05), f"t* {freeze}, known 17.6 and 29.3"


@pytest.mark.parametrize(("batch_size", "replacement"), [*SAMPLING, (3, True), (3, False)])
@pytest.mark.parametrize("curvatures", [[1.0, -1.2, 0.3, 2.0], [1.0, 1.0, -1.2, -1.2], [0.5, 0.5, 0.5, -3.0]])
def test_enumeration_by_counts_is_enumeration_of_batches(curvatures, batch_size, replacement):
    factors = np.abs(1 - 0.4 * np.array(curvatures)[batches(4, batch_size, replacement)].mean(1))
    gamma = theory.lyapunov_exponent(curvatures, 0.4, batch_size, replacement)
    assert abs(gamma - np.log(factors).mean()) < 1e-13, f"gamma {gamma}, all batches {np.log(factors).mean()}"
    p = np.array([-1.0, 0.0, 0.5, 2.0, 7.0])
    want = np.log(np.mean(factors[:, None] ** p, 0))
    got = theory.moment_function(p, curvatures, 0.4, batch_size, replacement)
    assert np.allclose(got, want, atol=1e-12), f"L(p) {got}, all batches {want}"
    rho = theory.mean_square_rate(curvatures, 0.4, batch_size, replacement)
    assert abs(np.log(rho) - want[3]) < 1e-12, f"ln rho {np.log(rho)} is not L(2) = {want[3]}"
    assert 2 * gamma <= np.log(rho) + 1e-12, "Jensen: 2 gamma must not exceed ln rho"


def test_freezing_step_is_the_derivative_formula():
    curvatures, h = [1.0, -1.2, 0.3, 2.0], 1e-5
    low, mid, high = theory.moment_function([2 - h, 2, 2 + h], curvatures, 0.4, 2)
    want = np.log(1e4) / ((high - low) / h - mid)
    got = theory.freezing_step(1e4, curvatures, 0.4, 2)
    assert abs(got / want - 1) < 1e-7, f"t* {got}, by finite differences {want}"
    assert theory.freezing_step(10, TWO, 0.5, 2) == np.inf, "without noise the mean never fails"


def escape_probability(ratio, contracting, expanding):
    """P(the product of factors ever reaches the ratio), by all counts of the two factors that stay below it."""
    mass, escaped = {0: 1.0}, 0.0  # number of expanding factors -> probability, after t steps
    for t in range(1, 800):
        after = {}
        for count, p in mass.items():
            for one in (0, 1):
                after[count + one] = after.get(count + one, 0.0) + p / 2
        reached = [k for k in after if expanding**k * contracting ** (t - k) >= ratio]
        escaped += sum(after.pop(k) for k in reached)
        mass = {k: p for k, p in after.items() if p > 1e-18}
    return escaped


@pytest.mark.parametrize("ratio", [1.3, 5.0, 37.0, 1000.0])
def test_escape_probability_is_between_its_bounds(ratio):
    exact = escape_probability(ratio, 0.5, 1.6)
    low, high = theory.escape_probability_bounds(ratio * 0.01, 0.01, TWO, 0.5, 1)
    assert low < exact <= high, f"P = {exact} at radius/start = {ratio}, bounds {low} and {high}"
    alpha = theory.escape_exponent(TWO, 0.5, 1)
    assert abs(high * ratio**alpha - 1) < 1e-12, f"the upper bound {high} is not ratio^-alpha"
    assert abs(low / high * 1.6**alpha - 1) < 1e-12, f"the lower bound {low} is not lower by 1.6^-alpha"


def test_escape_exponent_is_the_slope_of_the_exact_probability():
    ratios = np.array([1e2, 1e5])
    exact = np.array([escape_probability(r, 0.5, 1.6) for r in ratios])
    slope = -np.log(exact[1] / exact[0]) / np.log(1e3)
    alpha = theory.escape_exponent(TWO, 0.5, 1)
    # the constant is between 1.6^-alpha and 1 at both ends
    assert abs(slope - alpha) < alpha * np.log(1.6) / np.log(1e3), f"slope {slope}, alpha {alpha}"
    assert abs(slope - alpha) < 0.02, f"slope {slope}, alpha {alpha}"


def test_escape_probability_at_the_ends():
    assert theory.escape_probability_bounds(1.0, 1.0, TWO, 0.5, 1) == (1.0, 1.0), "there already"
    assert theory.escape_probability_bounds(1.0, 0.9, [1.0, 0.5], 0.5, 1) == (0.0, 0.0), "no batch expands"
    with pytest.raises(ValueError, match="beyond the radius"):
        theory.escape_probability_bounds(1.0, 2.0, TWO, 0.5, 1)


@pytest.mark.parametrize("curvatures", [TWO, [1.0, -1.2, 0.3, -0.7]])
def test_frozen_mean_of_few_chains_by_all_their_paths(curvatures):
    factors = np.log((1 - 0.5 * np.array(curvatures)) ** 2)
    paths = factors[np.array(list(product(range(len(factors)), repeat=3)))].sum(1)
    for chains in (1, 2):
        together = np.array(list(product(paths, repeat=chains)))
        want = np.log(np.exp(together).mean(1)).mean()
        got = theory.frozen_log_mean_square(3, chains, curvatures, 0.5, 1)
        assert abs(got - want) < 1e-6, f"{chains} chains: {got}, over all paths {want}"
    long = theory.frozen_log_mean_square(200, 1, curvatures, 0.5, 1)
    assert abs(long - 400 * theory.lyapunov_exponent(curvatures, 0.5, 1)) < 1e-6, f"one chain: {long}, not 2 gamma t"
    many = theory.frozen_log_mean_square(3, 10**9, curvatures, 0.5, 1)
    truth = 3 * np.log(theory.mean_square_rate(curvatures, 0.5, 1))
    assert abs(many - truth) < 1e-6, f"a thousand million chains: {many}, truth {truth}"
    assert theory.frozen_log_mean_square(0, 5, curvatures, 0.5, 1) == 0, "nothing has moved"


@pytest.mark.parametrize(("chains", "low", "high"), [(1e3, 3, 6), (1e5, 3, 6)])
def test_frozen_mean_is_below_its_leading_order(chains, low, high):
    """2 t L'(p) - ln m with p L'(p) - L(p) = ln(m)/t, from finite differences."""
    t, h = 105, 1e-5

    def slope(p):
        before, after = theory.moment_function([p - h, p + h], TWO, 0.5, 1)
        return (after - before) / (2 * h)

    price = np.log(chains) / t
    p = optimize.brentq(lambda p: p * slope(p) - theory.moment_function(p, TWO, 0.5, 1) - price, 0.01, 2)
    leading = 2 * t * slope(p) - np.log(chains)
    exact = theory.frozen_log_mean_square(t, int(chains), TWO, 0.5, 1)
    assert low < leading - exact < high, f"leading order {leading}, exact {exact}"
    truth = t * np.log(theory.mean_square_rate(TWO, 0.5, 1))
    assert abs(truth - 35.7) < 0.05, f"E x^2 = exp({truth})"
    assert exact < leading < truth, f"frozen {exact}, leading order {leading}, truth {truth}"


def test_frozen_mean_refuses():
    with pytest.raises(ValueError, match="maps to zero exactly"):
        theory.frozen_log_mean_square(3, 10, [1.0, -1.0], 1.0, 1)


def test_large_batches_of_few_values_are_enumerated():
    curvatures = np.repeat([1.0, -1.2], 500)
    gamma = theory.lyapunov_exponent(curvatures, 0.5, 200)
    sample = np.random.default_rng(1).hypergeometric(500, 500, 200, 400_000) / 200
    logs = np.log(np.abs(1 - 0.5 * (2.2 * sample - 1.2)))
    error = logs.std() / np.sqrt(len(logs))
    assert abs(gamma - logs.mean()) < 4 * error, f"gamma {gamma}, sampled {logs.mean()} +- {error}"
    with pytest.raises(ValueError, match="lyapunov_exponent_product"):
        theory.lyapunov_exponent(np.arange(1000.0), 0.001, 5)


def test_zero_factor():
    assert theory.lyapunov_exponent([1.0, -1.0], 1.0, 1) == -np.inf, "a batch that maps to zero ends everything"
    assert theory.escape_exponent([1.0, 0.5], 0.5, 1) == np.inf, "contracting batches never escape"
    with pytest.raises(ValueError, match="gamma"):
        theory.escape_exponent(TWO, 0.1, 1)


@pytest.mark.parametrize("a", [0.2, 0.05, 1.0])
def test_paradox_window_closed_form(a):
    want = a / (1 + a), (a + np.sqrt(a * a + 8 * a + 8)) / (2 * (1 + a))
    got = theory.paradox_window([1.0, -(1 + a)])
    assert np.allclose(got, want, rtol=1e-12), f"a = {a}: window {got}, closed form {want}"


@pytest.mark.parametrize(
    ("curvatures", "batch_size"),
    [([1.0, 3.0, -2.5], 1), ([1.0, 3.0, -2.5], 2), ([1.0, 0.2], 1), ([5.0, 0.1, -0.3, 0.0], 1), ([9.0, -1.0, -1.0], 1)],
)
def test_paradox_windows_against_a_scan(curvatures, batch_size):
    windows = theory.paradox_windows(curvatures, batch_size)
    lrs = np.random.default_rng(7).uniform(1e-3, 25, 800)
    for lr in lrs:
        gamma = theory.lyapunov_exponent(curvatures, lr, batch_size)
        inside = bool(np.any((windows[:, 0] < lr) & (lr < windows[:, 1]))) if len(windows) else False
        want = gamma < 0 < np.log(theory.mean_square_rate(curvatures, lr, batch_size))
        assert inside == want, f"lr {lr}: in windows {windows} is {inside}, but gamma = {gamma} says {want}"


def test_no_window_without_noise():
    assert np.isnan(theory.paradox_window([1.0, -1.2], batch_size=2)).all(), "the full batch has no paradox"
    assert theory.paradox_windows([-1.0, -2.0]).shape == (0, 2), "nothing contracts, so nothing collapses"


@pytest.mark.parametrize(("batch_size", "replacement"), [(1, False), (2, False), (2, True)])
def test_product_of_matrices_is_the_scalar_law_where_hessians_commute(batch_size, replacement):
    curvatures = np.array([1.0, -1.2, 0.3, 2.0])
    want = theory.lyapunov_exponent(curvatures, 0.4, batch_size, replacement)
    got, error = theory.lyapunov_exponent_product(
        curvatures[:, None, None], 0.4, batch_size, replacement, steps=3000, chains=40, seed=1
    )
    assert abs(got - want) < 4 * error < 0.02, f"Monte Carlo {got} +- {error}, exact {want}"


def test_product_of_triangular_blocks_takes_the_larger_exponent():
    # diagonal Hessians: two scalar problems, of which a random start follows the faster
    pairs = np.array([[1.0, 0.5], [-1.2, 0.6]])
    hessians = np.einsum("ni,ij->nij", pairs, np.eye(2))
    want = max(theory.lyapunov_exponent(column, 0.5, 1) for column in pairs.T)
    got, error = theory.lyapunov_exponent_product(hessians, 0.5, 1, steps=4000, chains=40, seed=2)
    assert abs(got - want) < 4 * error < 0.02, f"Monte Carlo {got} +- {error}, exact {want}"


def test_rank_one_factors_are_the_same_chains():
    factors = np.random.default_rng(0).standard_normal((6, 3))
    hessians = -factors[:, :, None] * factors[:, None, :]
    full = theory.lyapunov_exponent_product(hessians, 0.2, 3, steps=200, chains=8, seed=4)
    thin = theory.lyapunov_exponent_product(None, 0.2, 3, steps=200, chains=8, seed=4, factors=factors, sign=-1.0)
    assert np.allclose(full, thin, rtol=1e-10), f"hessians give {full}, factors {thin}"
    assert 2 * thin[0] <= theory.second_moment(hessians, 0.2, 3).log_rate, "Jensen: 2 gamma must not exceed ln rho"


def test_product_refuses():
    with pytest.raises(ValueError, match="either hessians"):
        theory.lyapunov_exponent_product(None, 0.1, 1)
    with pytest.raises(ValueError, match="batch_size"):
        theory.lyapunov_exponent_product(np.ones((2, 1, 1)), 0.1, 3)


def test_escape_exponent_at_the_edge_of_the_window():
    """alpha = -2 gamma / L''(0) to first order, where L itself is below rounding."""
    curvatures, delta = np.array([1.0, -1.2]), 1e-9
    edge = theory.paradox_window(curvatures)[0]
    log = np.log(np.abs(1 - edge * curvatures))
    slope = -np.mean(curvatures / (1 - edge * curvatures)) * edge
    expected = -2 * slope * delta / log.var()
    assert theory.escape_exponent(curvatures, edge * (1 + delta), 1) == pytest.approx(expected, rel=1e-5)


def test_a_batch_that_maps_to_zero_is_seen_however_rare():
    """All of 1200 terms drawn with replacement are ones with probability 2^-1200, zero in floats."""
    assert theory.lyapunov_exponent([1.0, 2.0], 1.0, 1200, replacement=True) == -np.inf
    assert theory.escape_exponent([1.0, 2.0], 1.0, 1200, replacement=True) == np.inf
