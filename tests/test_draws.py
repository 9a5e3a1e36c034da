"""Drawing of indices and normals: every algorithm against the law that it claims."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from scipy import stats

import escape.draws as draws
from escape.draws import distinct_indices, standard_normal, uniform_indices
from escape.streams import block_generator

F64 = torch.float64
RARE = 1e-5  # false-alarm rate of each test by chi-square or Kolmogorov and Smirnov


def torch_alone(seed=0):
    """As on a device of which numpy knows nothing."""
    return torch.Generator().manual_seed(seed)


def block(seed=0):
    return block_generator(seed, 0)


# Which setting of the module's limits selects which algorithm of distinct indices.
ALGORITHMS = {
    "redrawn": (block, "_DENSE", 0),
    "marked": (block, "_DENSE", 1 << 40),
    "Floyd": (torch_alone, "_FLOYD", 1 << 40),
    "shuffled": (torch_alone, "_FLOYD", 0),
}


@pytest.fixture(params=ALGORITHMS)
def make(request, monkeypatch):
    source, limit, value = ALGORITHMS[request.param]
    monkeypatch.setattr(draws, limit, value)
    return source


@pytest.mark.parametrize(
    ("b", "n"), [(1, 1), (2, 5), (5, 5), (48, 50), (49, 49), (49, 1000), (200, 201), (100, 70_000)]
)
def test_indices_are_distinct(make, b, n):
    if n == 70_000 and make is torch_alone:
        pytest.skip("only numpy draws narrow and wide numbers apart")
    index = distinct_indices(50 if n > 1000 else 500, b, n, make())
    assert index.shape == (50 if n > 1000 else 500, b)
    assert not index.is_floating_point()
    ordered = index.sort(1).values
    assert bool((ordered.diff(dim=1) > 0).all()), "an index came twice in a batch"
    assert int(ordered.min()) >= 0
    assert int(ordered.max()) < n
    if b == n:
        assert bool((ordered == torch.arange(n)).all())


@pytest.mark.parametrize(("b", "n"), [(1, 4), (2, 5), (3, 5), (4, 5), (3, 7)])
def test_every_subset_is_as_likely(make, b, n):
    index = distinct_indices(100_000, b, n, make(1)).numpy().astype(np.int64)
    keys = (1 << index).sum(1)
    counts = np.array([(keys == sum(1 << i for i in subset)).sum() for subset in combinations(range(n), b)])
    assert counts.sum() == 100_000
    assert len(counts) == comb(n, b)
    p = stats.chisquare(counts).pvalue
    assert p > RARE, f"counts {counts} of {comb(n, b)} subsets, expected alike: p = {p:.2g}, allowed {RARE}"


@pytest.mark.parametrize("b", [12, 13, 24, 25, 26, 47, 48, 49])
def test_every_pair_is_as_likely_at_the_limits_between_algorithms(b):
    """At n = 50: sorted up to a quarter of all, then marked, then those left out are marked."""
    n, rows = 50, 40_000
    for make in (block, torch_alone):
        index = distinct_indices(rows, b, n, make(2)).numpy()
        marks = np.zeros((rows, n))
        np.put_along_axis(marks, index, 1, axis=1)
        together = (marks.T @ marks)[np.triu_indices(n, 1)]
        expected = rows * b * (b - 1) / (n * (n - 1))
        z = np.abs(together - expected).max() / np.sqrt(expected * (1 - expected / rows))
        # 1225 pairs, nearly independent.
        limit = stats.norm.isf(RARE / 2 / len(together))
        assert z < limit, f"{make.__name__}: a pair comes {z:.2f} standard errors from {expected:.0f}, over {limit:.2f}"


@pytest.mark.parametrize("n", [1, 5, 1 << 16, (1 << 16) + 1])
def test_indices_with_replacement_are_uniform(n):
    for make in (block, torch_alone):
        index = uniform_indices((100, 1000), n, make(3)).numpy()
        assert index.shape == (100, 1000)
        counts = np.bincount((index * (5 / n)).astype(int).ravel(), minlength=5)
        assert index.min() >= 0
        assert index.max() < n
        if n >= 5:
            p = stats.chisquare(counts).pvalue
            assert p > RARE, f"fifths of {n} hold {counts}: p = {p:.2g}, allowed {RARE}"


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_normals_are_normal(dtype):
    for make in (block, torch_alone):
        normals = standard_normal((100, 1000), make(4), dtype)
        assert normals.dtype == dtype
        p = stats.kstest(normals.double().numpy().ravel(), "norm").pvalue
        assert p > RARE, f"Kolmogorov–Smirnov p = {p:.2g}, allowed {RARE}"


def test_the_two_streams_of_a_block_are_not_one():
    generator = block(5)
    one = standard_normal((10_000,), generator, torch.float32).double().numpy()
    other = standard_normal((10_000,), generator, F64).numpy()
    r = np.corrcoef(one, other)[0, 1]
    assert abs(r) < stats.norm.isf(RARE / 2) / 100, f"correlated by {r:.3g}"
