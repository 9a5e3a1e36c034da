"""Random matrices: closed forms, Pfaffians against determinants, probabilities and counts against sampled matrices."""

import math

import numpy as np
import pytest
from scipy import stats

from escape import theory
from escape.theory._pfaffian import bordered, index_laws, pfaffian


def goe(n, count, seed):
    """Matrices (count, n, n) with M_ii ~ N(0, 1) and M_ij ~ N(0, 1/2)."""
    a = np.random.default_rng(seed).standard_normal((count, n, n))
    return (a + a.transpose(0, 2, 1)) / 2


def test_pfaffian_by_hand_and_by_determinant():
    four = np.array([[0, 1, 2, 3], [-1, 0, 4, 5], [-2, -4, 0, 6], [-3, -5, -6, 0.0]])
    assert abs(pfaffian(four) - (1 * 6 - 2 * 5 + 3 * 4)) < 1e-14
    rng = np.random.default_rng(0)
    a = rng.standard_normal((5, 8, 8)) + 1j * rng.standard_normal((5, 8, 8))
    a = a - a.transpose(0, 2, 1)
    assert np.allclose(pfaffian(a) ** 2, np.linalg.det(a), rtol=1e-11)
    swap = np.eye(8)[[1, 0, *range(2, 8)]]
    assert np.allclose(pfaffian(swap @ a @ swap.T), -pfaffian(a), rtol=1e-11), "the sign is that of the permutation"
    zero_head = np.array([[0, 0, 2, 0], [0, 0, 0, 3], [-2, 0, 0, 0], [0, -3, 0, 0.0]])
    assert pfaffian(zero_head) == pytest.approx(-6)
    assert bordered(np.zeros((3, 3)), np.ones(3)).shape == (4, 4)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, 0.5), (2, (2 - math.sqrt(2)) / 4), (3, (math.pi - 2 * math.sqrt(2)) / (4 * math.pi))],
)
def test_positive_probability_in_closed_form(n, expected):
    got = theory.goe_positive_probability(n)
    assert got == pytest.approx(expected, rel=1e-12)


def test_positive_probability_of_four():
    """Dean and Majumdar's 0.0025, the second route being the generating function over the whole line."""
    got = theory.goe_positive_probability(4)
    assert abs(got - 0.0025) < 0.0025 * 0.02, got
    for n in range(1, 8):
        other = theory.goe_index_probabilities(n)[0]
        assert theory.goe_positive_probability(n) == pytest.approx(other, rel=1e-7, abs=1e-13), f"n = {n}"


@pytest.mark.parametrize("n", [2, 3])
def test_positive_probability_against_sampled_matrices(n, within):
    """Relative error below 1%, compared at 4 standard errors: false alarms 6e-5 each."""
    count = 400_000
    expected = theory.goe_positive_probability(n)
    positive = np.linalg.eigvalsh(goe(n, count, 10 + n))[:, 0] > 0
    error = math.sqrt(expected * (1 - expected) / count)
    assert error < 0.01 * expected
    within(f"share of positive definite matrices of size {n}", positive.mean(), expected, error, 4)


def test_positive_probability_of_four_given_the_rest(within):
    """The mean over the trace taken exactly, P = E Φ(√n λ_min of the traceless part); at 4 errors, 6e-5."""
    count, n = 200_000, 4
    matrices = goe(n, count, 14)
    matrices -= np.trace(matrices, axis1=1, axis2=2)[:, None, None] / n * np.eye(n)
    each = stats.norm.cdf(math.sqrt(n) * np.linalg.eigvalsh(matrices)[:, 0])
    expected, error = theory.goe_positive_probability(n), each.std() / math.sqrt(count)
    assert error < 0.01 * expected, f"relative error {error / expected}"
    within("P(4 x 4 positive definite)", each.mean(), expected, error, 4)


def test_the_exponent_of_large_matrices():
    """ln P = −(ln 3/4) n² − c n + O(ln n): differences of second order leave the leading term."""
    logs = {n: math.log(theory.goe_positive_probability(n)) for n in (20, 30, 40)}
    second = (logs[40] - 2 * logs[30] + logs[20]) / 200
    assert abs(second / (math.log(3) / 4) + 1) < 1e-3, f"{-second} for ln(3)/4 = {math.log(3) / 4}"


def test_index_law_is_a_law_and_symmetric():
    for n in (1, 2, 5, 8):
        law = theory.goe_index_probabilities(n)
        assert law.sum() == pytest.approx(1, abs=1e-12)
        assert np.allclose(law, law[::-1], atol=1e-12), "M and −M have one law"
        level = theory.goe_index_probabilities(n, 0.7)
        assert np.allclose(level, theory.goe_index_probabilities(n, -0.7)[::-1], atol=1e-12)
    assert theory.goe_index_probabilities(3, 50).tolist() == [0, 0, 0, 1]
    assert theory.goe_index_probabilities(3, -50).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(("n", "level"), [(1, 0.3), (3, 0.0), (4, -1.0), (7, 0.5)])
def test_index_law_against_sampled_matrices(n, level, within):
    """At most 8 comparisons each at 4.5 standard errors: false alarms 6e-5."""
    count = 60_000
    below = (np.linalg.eigvalsh(goe(n, count, 20 + n)) < level).sum(1)
    expected = theory.goe_index_probabilities(n, level)
    error = np.sqrt(expected * (1 - expected) / count)
    seen = expected > 1e-3
    got = np.bincount(below, minlength=n + 1) / count
    within(f"eigenvalues below {level} of {n}", got[seen], expected[seen], error[seen], 4.5)


def test_one_number_is_normal():
    laws = index_laws(1, [-12.0, -1.0, 0.5, 12.0])
    assert np.allclose(laws[:, 1], [0, stats.norm.cdf(-1.0), stats.norm.cdf(0.5), 1], atol=1e-12)


def test_counts_of_two_spins_are_those_of_a_random_polynomial():
    """On the circle a p-spin is a trigonometric polynomial of degree p: 2 √(3p − 2) roots of its slope on average."""
    for p in (3, 4, 7):
        counts = theory.pspin_counts(2, p)
        assert counts.sum() == pytest.approx(2 * math.sqrt(3 * p - 2), rel=1e-8), f"p = {p}"
        assert counts[0] == pytest.approx(counts[1], rel=1e-8)


def test_counts_of_matrices_are_pairs_of_eigenvectors():
    assert np.allclose(theory.pspin_counts(7, 2), 2, rtol=1e-10)


def test_counts_obey_morse_and_symmetry():
    """Sum of (−1)^k over the points of a function on the sphere of n − 1 dimensions: 2 for odd n, 0 for even n."""
    for n, p in ((3, 3), (4, 3), (7, 3), (8, 3), (9, 4), (12, 3), (15, 5)):
        counts = theory.pspin_counts(n, p)
        assert np.allclose(counts, counts[::-1], rtol=1e-8)
        euler = (counts * (-1.0) ** np.arange(n)).sum()
        assert abs(euler - (2 if n % 2 else 0)) < 1e-7 * counts.sum(), f"n = {n}, p = {p}: {euler}"


def test_counts_against_sampled_matrices(within):
    """The formula with its mean taken over samples: 6 comparisons at 4.5 errors, false alarms 4e-5."""
    n, p = 6, 3
    values = np.linalg.eigvalsh(goe(n, 40_000, 30))
    each = 2 * math.sqrt(2 / p) * (p - 1) ** (n / 2) * np.exp(-(p - 2) / (2 * p) * values**2)
    error = each.std(0) / math.sqrt(len(each))
    within("mean number by index", each.mean(0), theory.pspin_counts(n, p), error, 4.5)


def test_complexity_is_the_growth_of_the_counts():
    for p in (3, 4):
        few, many = theory.pspin_counts(10, p), theory.pspin_counts(20, p)
        rate = (math.log(many.sum() / few.sum()) - 0.5 * math.log(2)) / 10
        assert abs(rate - theory.pspin_complexity(p)) < 7e-3, f"p = {p}: {rate}"
        minima = math.log(many[0] / few[0]) / 10
        assert minima > theory.pspin_minima_complexity(p), "corrections are positive"
        assert minima < theory.pspin_complexity(p)


def test_numbers_of_the_three_spin():
    assert theory.pspin_complexity(3) == pytest.approx(0.34657359)
    assert theory.pspin_minima_complexity(3) == pytest.approx(0.01324026, abs=1e-7)
    assert theory.pspin_threshold_energy(3) == pytest.approx(1.63299316)
    assert theory.pspin_minima_complexity(2) == 0
    assert theory.pspin_threshold_energy(np.array([2, 3])) == pytest.approx([math.sqrt(2), math.sqrt(8 / 3)])


def test_the_threshold_of_the_spike():
    assert theory.spiked_top_eigenvalue([0.5, 1.0, 2.0]).tolist() == [2, 2, 2.5]
    assert theory.spiked_overlap([0.5, 1.0, 2.0]).tolist() == [0, 0, 0.75]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.goe_positive_probability(0), "at least 1"),
        (lambda: theory.goe_positive_probability(51), "at most 50"),
        (lambda: theory.goe_index_probabilities(2.5), "whole number"),
        (lambda: theory.goe_index_probabilities(2, math.inf), "level is inf: it must be finite"),
        (lambda: theory.pspin_counts(1, 3), "at least 2"),
        (lambda: theory.pspin_counts(5, 1), "at least 2"),
        (lambda: theory.pspin_complexity(1), "at least 2"),
        (lambda: theory.pspin_minima_complexity(0), "at least 2"),
        (lambda: theory.pspin_threshold_energy(1.5), "at least 2"),
        (lambda: theory.spiked_top_eigenvalue(0), "above zero"),
        (lambda: theory.spiked_overlap(-1), "above zero"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
