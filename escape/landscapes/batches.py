"""Sums over batches of rows, without ever holding (chains, batch, k) numbers.

On a CPU with MKL, batches are rows of a sparse matrix: torch's compressed-row kernels take a fourteenth of the time of
an embedding bag in double precision, and of a gather with a batched product for scores. Each row of a result is summed
by itself, so that it does not depend on which chains stand beside it.
"""

import contextlib
import functools
import warnings
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from escape.mapped import gathered, is_mapped

# All scores by one matrix product take less time than those of the batch alone once b exceeds this share of n.
_DENSE = 1 / 6
# Numbers of rows picked from a file at once.
_PICKED = 1 << 21
# Of torch.embedding_bag.
_SUM = 0
_MKL = torch.backends.mkl.is_available()


def batch_sum(rows: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ_j w_j rows[index_j] for every batch: rows (n, k), index (c, b), weights (c, b) or ones -> (c, k)."""
    if torch.compiler.is_compiling():
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weights)
    if is_mapped(rows):
        picked = picked_batches(rows, index)
        return torch.cat([batch_sum(own, places, _of(weights, chains)) for chains, own, places in picked])
    if rows.dtype != torch.float64 or not _compressed(rows):
        if weights is not None:
            weights = weights.reshape(-1)
        index = _wide_enough(index)
        starts = _ends(*index.shape, index.dtype, index.device)[:-1]
        return torch.embedding_bag(rows, index.reshape(-1), starts, False, _SUM, False, weights)[0]
    if weights is None:
        weights = rows.new_ones(index.shape)
    return _matrix(index, weights, len(rows)) @ rows


def batch_scores(x: Tensor, features: Tensor, index: Tensor) -> Tensor:
    """z_jᵀx of the rows z_j in every point's own batch: x (c, d), features (n, d), index (c, b) -> (c, b)."""
    if dense(index.shape[1], len(features)):
        return (x @ features.T).gather(1, index.long())
    return sparse_scores(x, features, index)


def dense(b: int, n: int) -> bool:
    """Whether scores of batches of b of n rows are picked from those of all rows."""
    return b > _DENSE * n


def picked_batches(rows: Tensor, index: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Pick the rows of batches, some chains at a time: chains, rows (c' b, k), places in these (c', b)."""
    (c, b), some = index.shape, max(1, _PICKED // max(1, index.shape[1] * rows.shape[1]))
    for first in range(0, c, some):
        chains = slice(first, min(c, first + some))
        own = gathered(rows, index[chains]).flatten(0, 1)
        yield chains, own, torch.arange(len(own), dtype=index.dtype).view(-1, b)


def sparse_scores(x: Tensor, features: Tensor, index: Tensor) -> Tensor:
    """`batch_scores`, of the rows of the batches alone."""
    if features.dtype not in (torch.float32, torch.float64) or not _compressed(features):
        return torch.bmm(features[index], x[:, :, None])[:, :, 0]
    wanted = _matrix(index, features.new_zeros(index.shape), len(features))
    return torch.sparse.sampled_addmm(wanted, x, features.T, beta=0).values().view(index.shape)


def _of(weights: Tensor | None, chains: slice) -> Tensor | None:
    return None if weights is None else weights[chains]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sum on one thread: torch may cut long sums in as many parts as it has threads, and they then round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _compressed(rows: Tensor) -> bool:
    """Whether the kernels for compressed rows are there."""
    return not torch.compiler.is_compiling() and rows.device.type == "cpu" and _MKL


def _matrix(index: Tensor, values: Tensor, n: int) -> Tensor:
    """The (c, n) matrix that has `values` of each row at `index`."""
    index = _wide_enough(index)
    ends = _ends(*index.shape, index.dtype, index.device)
    size = (len(index), n)
    return torch.sparse_csr_tensor(ends, index.reshape(-1), values.reshape(-1), size=size, check_invariants=False)


def _wide_enough(index: Tensor) -> Tensor:
    """Indices of a type that can count them too."""
    return index.long() if index.numel() >= 1 << 31 else index


@functools.lru_cache(maxsize=256)
def _ends(c: int, b: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where each of c batches of b begins in one long row, and the end, (c + 1,)."""
    return torch.arange(0, c * b + 1, b, dtype=dtype, device=device)


def _say_it_once() -> None:
    """Let torch say now, to nobody, that its compressed matrices are in beta: it says so once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], size=(1, 1))


_say_it_once()
