"""Landscapes of one score or several: their matrix products beside the base class, sliced, mapped, and in float32."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from escape import (
    GeneralizedLinear,
    Landscape,
    LeastSquares,
    LogisticRegression,
    PhaseRetrieval,
    SymmetricFactorization,
    TeacherStudent,
    map_samples,
    write_samples,
)
from escape.landscapes import base, batches
from escape.landscapes.multi_index import MultiIndex

F32, F64 = torch.float32, torch.float64


@dataclass(frozen=True, eq=False)
class Softmax(MultiIndex):
    """Two classes that share two targets, units that repel one another; all slopes by differentiation."""

    samples: Tensor
    units: int = 3

    def common_loss(self, x):
        rows = x.reshape(self.units, -1)
        return 0.05 * (x @ x) + 0.1 * ((rows @ rows.T) ** 2).sum()

    def score_loss(self, scores, target):
        return torch.logsumexp(scores, 0) - target[0] * scores[0] + target[1] * torch.sin(scores[-1])


@dataclass(frozen=True, eq=False)
class Logistic(GeneralizedLinear):
    samples: Tensor

    def common_loss(self, x):
        return 0.05 * (x @ x)

    def score_loss(self, score, target):
        return F.softplus(-target[0] * score) + 0.1 * target[1] * score**2


@dataclass(frozen=True, eq=False)
class One(MultiIndex):
    """`Logistic` as a landscape of several scores, of which there is one."""

    samples: Tensor
    units: int = 1

    def common_loss(self, x):
        return 0.05 * (x @ x)

    def score_loss(self, scores, target):
        return (F.softplus(-target[0] * scores) + 0.1 * target[1] * scores**2).sum()


@dataclass(frozen=True, eq=False)
class Plain(Landscape):
    """Another landscape, of which nothing is known but its samples' gradients."""

    landscape: Landscape

    @property
    def samples(self):
        return self.landscape.samples

    def sample_loss(self, x, sample):
        return self.landscape.sample_loss(x, sample)

    def sample_gradient(self, x, sample):
        return self.landscape.sample_gradient(x, sample)


def numbers(*shape, dtype=F64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


# Of samples (n, 6): the landscape and its dimension.
KINDS = {
    "one score": lambda rows: (Logistic(rows), 4),
    "one of several": lambda rows: (One(rows), 4),
    "three scores": lambda rows: (Softmax(rows), 12),
    "five scores": lambda rows: (Softmax(rows, 5), 20),
    "factorization": lambda rows: (SymmetricFactorization(rows, 2), 12),
    "committee": lambda rows: (TeacherStudent(rows[:, :4].contiguous(), rows[:, 4], torch.eye(4).to(rows)[:2], 3), 12),
}
IN_A_FILE = [kind for kind in KINDS if kind != "committee"]  # which puts its samples together in memory


def seen(landscape, d):
    """All that is summed over all samples, or over batches of them, slice by slice."""
    n, dtype = landscape.n, landscape.samples.dtype
    x, weights = numbers(6, d, dtype=dtype, seed=1), numbers(6, n, dtype=dtype, seed=2)
    index = torch.randint(n, (6, 11), generator=torch.Generator().manual_seed(3))
    large = torch.randint(n, (6, n // 4), generator=torch.Generator().manual_seed(4))
    return {
        "gradient": landscape._full_gradient(x),
        "batch": landscape._batch_gradient(x, index),
        "batch of narrow indices": landscape._batch_gradient(x, index.int()),
        "batch of one": landscape._batch_gradient(x, index[:, :1]),
        "large batch": landscape._batch_gradient(x, large),
        "weighted": landscape.weighted_gradient(x, weights),
        "trace": landscape.noise_trace(x),
        "diagonal": landscape.noise_diagonal(x),
        "covariances": landscape.gradient_covariances(x),
        "Hessians": landscape.hessians_at(x),
    }


@pytest.fixture
def small_slices(monkeypatch):
    """Slices so small that a few hundred samples have many, and uneven ones."""
    monkeypatch.setattr(base, "_SLICE", 3000)
    monkeypatch.setattr(base, "_PAGE", 1500)
    monkeypatch.setattr(batches, "_PICKED", 300)


def close(got, expected, rtol, atol):
    for name, value in expected.items():
        torch.testing.assert_close(
            got[name], value, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_products_give_what_the_base_class_gives_by_lifted_gradients(kind):
    landscape, d = KINDS[kind](numbers(90, 6))
    # Sums of 90 terms of order one to ten, and covariances that are differences of squares of them.
    close(seen(landscape, d), seen(Plain(landscape), d), 1e-11, 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_slices_give_what_all_samples_at_once_give(kind, monkeypatch):
    landscape, d = KINDS[kind](numbers(333, 6))
    whole = seen(landscape, d)
    monkeypatch.setattr(base, "_SLICE", 3000)
    monkeypatch.setattr(base, "_PAGE", 1500)
    close(seen(landscape, d), whole, 1e-11, 1e-11)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("kind", IN_A_FILE)
def test_from_a_file_come_the_bits_that_come_from_memory(kind, dtype, tmp_path, small_slices):
    rows = numbers(333, 6, dtype=dtype)
    mapped = map_samples(write_samples(tmp_path / "samples.npy", [rows]))
    (here, d), (there, _) = KINDS[kind](rows), KINDS[kind](mapped)
    expected = seen(here, d)
    for name, value in seen(there, d).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("kind", IN_A_FILE)
def test_no_gradient_of_a_single_sample_is_taken(kind, tmp_path, monkeypatch):
    mapped = map_samples(write_samples(tmp_path / "samples.npy", [numbers(60, 6)]))
    for rows in (numbers(60, 6), mapped):
        landscape, d = KINDS[kind](rows)

        def refuse(*_):
            raise AssertionError("the slow path")

        monkeypatch.setattr(type(landscape), "sample_gradient", refuse)
        monkeypatch.setattr(type(landscape), "sample_loss", refuse)
        seen(landscape, d)


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_of_all_samples_are_never_held_at_once(kind, monkeypatch, small_slices):
    landscape, d = KINDS[kind](numbers(2000, 6))
    x, widths, slopes = numbers(20, d, seed=1), [], type(landscape)._score_slopes

    def counted(self, scores, targets):
        widths.append(scores.numel())
        return slopes(self, scores, targets)

    monkeypatch.setattr(type(landscape), "_score_slopes", counted)
    for call in (landscape.gradient, landscape.noise_trace, landscape.noise_diagonal, landscape.gradient_covariances):
        widths.clear()
        call(x)
        # A slice is no narrower than sixteen samples.
        assert max(widths) <= max(3000, 16 * 20 * (d // 4))
        assert len(widths) > 10


def test_one_of_several_scores_is_one_score():
    rows = numbers(333, 6)
    close(seen(One(rows), 4), seen(Logistic(rows), 4), 1e-13, 1e-13)


# Noise beside a mean gradient many times as large.


def narrow(dtype):
    """Samples that differ by 1e-4 of what they are; the same numbers in either dtype."""
    return (1 + 1e-4 * numbers(200, 4, dtype=F32)).to(dtype)


FAR = {
    "least squares": lambda dtype: (LeastSquares(narrow(dtype)[:, :3].contiguous(), torch.zeros(200, dtype=dtype)), 3),
    "logistic regression": lambda dtype: (
        LogisticRegression(narrow(dtype)[:, :3].contiguous(), torch.ones(200, dtype=dtype)),
        3,
    ),
    "phase retrieval": lambda dtype: (
        PhaseRetrieval(narrow(dtype)[:, :3].contiguous(), torch.ones(200, dtype=dtype), torch.eye(3, dtype=dtype)[0]),
        3,
    ),
    "factorization": lambda dtype: (SymmetricFactorization(narrow(dtype), 2), 8),
    "committee": lambda dtype: (
        TeacherStudent(
            narrow(dtype)[:, :3].contiguous(), torch.zeros(200, dtype=dtype), torch.eye(3, dtype=dtype)[:2], 2
        ),
        6,
    ),
}


@pytest.mark.parametrize("kind", FAR)
def test_noise_in_float32_is_that_in_float64(kind):
    (wide, d), (single, _) = FAR[kind](F64), FAR[kind](F32)
    x = torch.ones(2, d, dtype=F64) * torch.tensor([[1.0], [0.5]], dtype=F64)
    for function in ("noise_trace", "noise_diagonal", "gradient_covariances"):
        expected, got = getattr(wide, function)(x), getattr(single, function)(x.float())
        assert got.dtype == F32
        assert float((got.double() - expected).abs().max() / expected.abs().max()) < 1e-3, function


@pytest.mark.parametrize("kind", FAR)
def test_noise_is_that_of_the_centred_gradients(kind):
    landscape, d = FAR[kind](F64)
    x = torch.ones(2, d, dtype=F64)
    exact = torch.stack([landscape.gradient_covariance(point) for point in x])
    size = exact.abs().max()
    assert float((landscape.gradient_covariances(x) - exact).abs().max()) < 1e-6 * float(size)
    assert float((landscape.noise_diagonal(x) - exact.diagonal(dim1=1, dim2=2)).abs().max()) < 1e-6 * float(size)
    assert float((landscape.noise_trace(x) / exact.diagonal(dim1=1, dim2=2).sum(1) - 1).abs().max()) < 1e-6


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_noise_of_equal_samples_is_not_negative(dtype):
    rows = numbers(1, 6, dtype=dtype).expand(77, 6).contiguous()
    for kind in KINDS.values():
        landscape, d = kind(rows)
        x = numbers(50, d, dtype=dtype, seed=1)
        for noise in (landscape.noise_trace(x), landscape.noise_diagonal(x)):
            assert float(noise.min()) >= 0
            # The rounding of sums of 77 squares, in float64 for either dtype.
            assert float(noise.max()) < 1e-13 * float(landscape.gradient(x).square().sum(1).max())
