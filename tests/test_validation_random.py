"""Random matrices and p-spin landscapes as predicted, against sampled matrices and searched landscapes."""

import math

import numpy as np
import pytest
from scipy import linalg, stats

from escape import SphericalPSpin, SpikedTensor, find_stationary_points, theory

pytestmark = pytest.mark.validation
EDGE_MEAN = -1.2065335745820  # of the Tracy-Widom law of real symmetric matrices


def goe(n, count, seed):
    a = np.random.default_rng(seed).standard_normal((count, n, n))
    return (a + a.transpose(0, 2, 1)) / 2


def lowest(n, count, seed):
    """Lowest eigenvalue of tridiagonal matrices with the spectrum of GOE(n), in units of √n, free of the edge's shift.

    λ_min/√n = −√2 (1 + TW/(2 n^{2/3})): TW's mean is added back; O(1/n) is left.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        diagonal, beside = rng.standard_normal(n), np.sqrt(rng.chisquare(np.arange(n - 1, 0, -1)) / 2)
        found.append(linalg.eigh_tridiagonal(diagonal, beside, True, select="i", select_range=(0, 0))[0])
    shift = EDGE_MEAN / (math.sqrt(2) * n ** (2 / 3))
    return np.array(found) / math.sqrt(n) + shift


def mean_and_error(values):
    return np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))


def test_positive_probability(compare):
    for n in (2, 5):
        matrices = goe(n, 60_000, 40 + n)
        matrices -= np.trace(matrices, axis1=1, axis2=2)[:, None, None] / n * np.eye(n)
        each = stats.norm.cdf(math.sqrt(n) * np.linalg.eigvalsh(matrices)[:, 0])
        predicted = theory.goe_positive_probability(n)
        compare(theory.goe_positive_probability, f"n = {n}, over the trace", each.mean(), predicted, stats.sem(each))


def test_index_probabilities(compare):
    below = (np.linalg.eigvalsh(goe(6, 30_000, 50)) < 0.4).sum(1)
    predicted = theory.goe_index_probabilities(6, 0.4) @ np.arange(7)
    compare(theory.goe_index_probabilities, "mean below 0.4, n = 6", below.mean(), predicted, stats.sem(below))
    predicted = theory.goe_index_probabilities(6, 0.4)[3]
    share = below == 3
    compare(theory.goe_index_probabilities, "three below 0.4, n = 6", share.mean(), predicted, stats.sem(share))


def test_counts(compare):
    """All points of p-spins that are small enough to find all: the lists are symmetric under s -> −s."""
    totals, lows = [], []
    for seed in range(16):
        landscape = SphericalPSpin.gaussian(4, 3, noise=0.0, n=1, seed=1000 + seed)
        counts = find_stationary_points(landscape, 300, seed, range(4), steps=60).histogram()[:4]
        assert (counts == counts[::-1]).all()
        totals.append(counts.sum())
        lows.append(counts[0])
    predicted = theory.pspin_counts(4, 3)
    for name, values, expected in (("all points", totals, predicted.sum()), ("minima", lows, predicted[0])):
        compare(theory.pspin_counts, f"{name}, n = 4, p = 3", *_ordered(values, expected))


def _ordered(values, expected):
    mean, error = mean_and_error(values)
    return mean, expected, error


def test_complexities(compare):
    """Growth of E Σ exp(−(p − 2)λ²/(2p)) over sampled spectra, and the lowest eigenvalue that decides on the minima."""
    for p in (3, 4):
        logs = []
        for n in (100, 200):
            values = np.linalg.eigvalsh(goe(n, 40, 60 + p + n))
            each = np.exp(-(p - 2) / (2 * p) * values**2).sum(1)
            mean, error = mean_and_error(each)
            logs.append((math.log(mean) + n / 2 * math.log(p - 1), error / mean))
        (few, few_error), (many, many_error) = logs
        rate, error = (many - few - 0.5 * math.log(2)) / 100, math.hypot(few_error, many_error) / 100
        compare(theory.pspin_complexity, f"p = {p}", rate, theory.pspin_complexity(p), error)
        each = theory.pspin_complexity(p) - (p - 2) / (2 * p) * lowest(20_000, 20, 70 + p) ** 2
        compare(theory.pspin_minima_complexity, f"p = {p}", *_ordered(each, theory.pspin_minima_complexity(p)))


def test_threshold_energy(compare):
    """The Hessian at energy −E is p E + √(2 p (p − 1)/n) GOE: E at which its lowest eigenvalue is zero."""
    for p in (3, 5):
        each = -math.sqrt(2 * p * (p - 1)) * lowest(20_000, 20, 80 + p) / p
        compare(theory.pspin_threshold_energy, f"p = {p}", *_ordered(each, theory.pspin_threshold_energy(p)))


def test_spiked(compare):
    """The landscape itself, of order two: energy and overlap of its minimum."""
    for signal in (1.6, 3.0):
        tops, overlaps = [], []
        for seed in range(12):
            landscape = SpikedTensor.gaussian(400, 2, signal, noise=0.0, n=1, seed=90 + seed)
            matrix = landscape.mean_sample.numpy().reshape(400, 400) * math.sqrt(2 / 400)
            value, vector = linalg.eigh(matrix, subset_by_index=(399, 399))
            tops.append(value[0])
            overlaps.append((landscape.spike.numpy() @ vector[:, 0]) ** 2)
        predicted = theory.spiked_top_eigenvalue(signal)
        compare(theory.spiked_top_eigenvalue, f"signal {signal}", *_ordered(tops, predicted))
        compare(theory.spiked_overlap, f"signal {signal}", *_ordered(overlaps, theory.spiked_overlap(signal)))
