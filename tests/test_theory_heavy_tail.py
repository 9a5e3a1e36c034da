"""Least squares on isotropic Gaussian data against numerical integration and closed moments."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from escape import theory


@pytest.mark.parametrize(
    ("lr", "batch_size", "known"),
    [(1, 1, 1.0908), (1, 2, 2.0), (1, 4, 3.5047), (1, 8, 6.2023), (0.1, 1, 17.285)],
)
def test_known_tail_exponents(lr, batch_size, known):
    alpha = theory.regression_tail_exponent(lr, batch_size)
    assert abs(alpha - known) < 5.1e-4, f"alpha = {alpha}, known {known}"
    law = stats.chi2(batch_size)
    middle = batch_size / lr

    def integrand(h):
        return np.abs(1 - h / middle) ** alpha * law.pdf(h)

    pieces = (0, 1e-4, middle), (middle, 2 * middle + 60, 2 * middle + 400)
    moment = sum(integrate.quad(integrand, a, b, limit=400)[0] for p in pieces for a, b in pairwise(p))
    assert abs(moment - 1) < 1e-6, f"E|1 - lr h|^alpha = {moment} at alpha = {alpha}"


def test_thresholds_of_one_dimension():
    assert abs(theory.regression_threshold_lr([[1.0]], 1) - 2 / 3) < 1e-13, "mean-square threshold 2/3"
    collapse = theory.regression_collapse_lr(1)
    assert abs(collapse - 2.42125) < 5e-6, f"almost sure threshold {collapse}, known 2.42125"
    # gamma again, as E ln|1 - lr r^2| over a normal r with the logarithm's singularity taken out of the integral
    root = 1 / np.sqrt(collapse)
    smooth = 2 * integrate.quad(lambda r: stats.norm.pdf(r) * np.log1p(r / root), 0, 12)[0]
    sharp = 2 * sum(
        integrate.quad(lambda r: stats.norm.pdf(r) * np.log(abs(1 - r / root)), a, b, limit=400)[0]
        for a, b in ((0, root), (root, 12))
    )
    assert abs(smooth + sharp) < 1e-6, f"gamma at the threshold is {smooth + sharp}"


@pytest.mark.parametrize("d", [1, 2, 3, 10])
@pytest.mark.parametrize(("lr", "batch_size"), [(0.05, 1), (0.6, 2), (3.0, 1), (0.5, 30)])
def test_even_moments_in_closed_form(lr, batch_size, d):
    s = [1, batch_size, batch_size * (batch_size + 2)]
    for power in (6, 8):
        s.append(s[-1] * (batch_size + power - 2))
    q, u = [1, d - 1, (d - 1) * (d + 1)], lr / batch_size
    # E ((1 - u s)^2 + u^2 s q)^m for m = 1, 2, by the moments of chi-square variables
    second = 1 - 2 * u * s[1] + u**2 * s[2] + u**2 * s[1] * q[1]
    fourth = sum(c * (-u) ** j * s[j] for j, c in enumerate([1, 4, 6, 4, 1]))
    fourth += 2 * u**2 * q[1] * (s[1] - 2 * u * s[2] + u**2 * s[3]) + u**4 * s[2] * q[2]
    for p, want in ((0, 1.0), (2, second), (4, fourth)):
        got = theory.regression_moment_function(p, lr / 2, batch_size, d, curvature=2.0)
        assert abs(got - np.log(want)) < 1e-11 * max(1, abs(np.log(want))), f"L({p}) = {got}, closed {np.log(want)}"
    assert abs(second - (1 - 2 * lr + lr**2 * (1 + (d + 1) / batch_size))) < 1e-12, "L(2) of the docstring"


def over(function, *edges):
    return sum(integrate.quad(function, a, b, limit=200)[0] for a, b in pairwise(edges))


@pytest.mark.parametrize("lr", [0.3, 2.0, 20.0])
def test_lyapunov_exponent_by_the_eigenvalues_in_a_plane(lr):
    """E ln|A e| over the directions e of a plane is ln of half the trace norm of A."""

    def mean_log(*eigenvalues):
        return np.log(sum(abs(1 - lr * v) for v in eigenvalues) / 2)

    # b = 1: X^T X has the eigenvalues 0 and an exponential variable; b = 3: their joint density is elementary
    want = over(lambda s: np.exp(-s / 2) / 2 * mean_log(s, 0), 0, 1 / lr, 60)
    got = theory.regression_lyapunov_exponent(lr, 1, 2)
    assert abs(got - want) < 1e-9, f"b = 1: gamma {got}, by eigenvalues {want}"

    def inner(small):
        pair = [v for v in (3 / lr, 6 / lr - small) if small < v < 90]
        edges = small, *sorted(pair), 90
        return over(lambda v: np.exp(-(small + v) / 2) * (v - small) / 4 * mean_log(small / 3, v / 3), *edges)

    want = over(inner, 0, *([3 / lr] if 3 / lr < 60 else []), 60)
    got = theory.regression_lyapunov_exponent(lr, 3, 2)
    assert abs(got - want) < 1e-7, f"b = 3: gamma {got}, by eigenvalues {want}"


@pytest.mark.parametrize("lr", [0.3, 2.0, 20.0])
def test_lyapunov_exponent_of_single_terms_in_space(lr):
    """b = 1, d = 3: |A e|^2 = 1 + k c^2 with c uniform on (0, 1) and k + 1 = (1 - lr |x|^2)^2."""

    def mean_log(s):
        k = (1 - lr * s) ** 2 - 1
        root = np.sqrt(abs(k))
        if root < 1e-6:
            return k / 6
        angle = np.arctan(root) if k > 0 else np.arctanh(root)
        return np.log(abs(1 - lr * s)) - 1 + angle / root

    want = over(lambda s: stats.chi2(3).pdf(s) * mean_log(s), 0, 1 / lr, 2 / lr, max(70, 4 / lr))
    got = theory.regression_lyapunov_exponent(lr, 1, 3)
    assert abs(got - want) < 1e-8, f"gamma {got}, by the angle {want}"


def test_order_of_the_thresholds_and_exponents():
    for batch_size, d in ((1, 1), (2, 3)):
        square = theory.regression_threshold_lr(np.eye(d), batch_size)
        alpha = theory.regression_tail_exponent(square, batch_size, d)
        assert abs(alpha - 2) < 1e-9, f"at the mean-square threshold alpha is {alpha}"
        collapse = theory.regression_collapse_lr(batch_size, d)
        scaled = theory.regression_collapse_lr(batch_size, d, curvature=4.0)
        assert abs(scaled * 4 / collapse - 1) < 1e-11, "only lr times curvature counts"
        # one change of sign only, on a scan
        lrs = np.array([0.03, 0.3, 0.7, 0.99, 1.01, 1.4, 2, 4, 20]) * collapse
        signs = [theory.regression_lyapunov_exponent(lr, batch_size, d) < 0 for lr in lrs]
        assert signs == list(lrs < collapse), f"gamma < 0 at {lrs[signs]}, threshold {collapse}"
        assert square < collapse, "collapse must outlast the mean square"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.regression_tail_exponent(2.5, 1), "smaller lr"),
        (lambda: theory.regression_moment_function(-1, 0.5, 1), "must not be negative"),
        (lambda: theory.regression_lyapunov_exponent(0.5, 1.5), "whole number"),
        (lambda: theory.regression_collapse_lr(1, curvature=-1.0), "above zero"),
    ],
)
def test_refuses(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_tail_exponent_just_below_the_collapse():
    """It falls to zero in proportion to the distance from the edge, and is found there too."""
    edge = theory.regression_collapse_lr(1)
    near, nearer = (theory.regression_tail_exponent(edge * (1 - delta), 1) / delta for delta in (1e-4, 1e-8))
    assert near == pytest.approx(nearer, rel=1e-3)
