"""Drawing: indices with and without replacement, and normals, each by the fastest exact way of the device."""

import numpy as np
import torch
from torch import Generator, Tensor

# Below this batch size, distinct indices by Floyd's algorithm (b²/2 comparisons) beat a partial shuffle (b swaps).
_FLOYD = 48
# Indices, or flags, worked on at once: few enough to stay in a core's cache.
_CACHED = 1 << 18
# On the CPU, batches of more than a 1/_DENSE of all indices are marked in a table of n flags a row instead of sorted.
_DENSE = 4


def standard_normal(shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
    """Draw standard normals of a shape and a floating dtype, on the generator's device."""
    source = getattr(generator, "numpy", None)
    if source is not None and dtype == torch.float64:
        return torch.from_numpy(source.standard_normal(shape))
    return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)


def uniform_indices(shape: tuple[int, ...], n: int, generator: Generator) -> Tensor:
    """Draw independent uniform indices in {0, …, n−1}: int32 where n allows, on the generator's device."""
    source = getattr(generator, "numpy", None)
    if source is None:
        return torch.randint(n, shape, generator=generator, device=generator.device)
    return torch.from_numpy(_integers(source, n, shape))


def distinct_indices(rows: int, batch_size: int, n: int, generator: Generator) -> Tensor:
    """Draw, for each row, a uniform subset of {0, …, n−1} of `batch_size` distinct indices.

    The order within a row is not uniform, and a mean does not see it.

    On the CPU: independent draws, those that repeat an index of their row drawn again until none does. Relabelling the
    indices changes nothing in that procedure, so all subsets are equally likely. Of more than half of all indices,
    those left out are drawn. Elsewhere: small batches by Floyd's algorithm (Bentley and Floyd 1987, Communications of
    the ACM 30:754), larger ones by the first steps of a Fisher–Yates shuffle.

    Returns
    -------
    Tensor (rows, batch_size), an integer type.
    """
    source = getattr(generator, "numpy", None)
    if source is not None:
        return torch.from_numpy(_redrawn(source, rows, batch_size, n))
    if batch_size <= _FLOYD:
        return _floyd(rows, batch_size, n, generator)
    return _shuffled(rows, batch_size, n, generator)


def permutations(rows: int, n: int, generator: Generator) -> Tensor:
    """Draw, for each row, a uniform permutation of {0, …, n−1}: (rows, n), an integer type.

    On the CPU by Fisher–Yates shuffles. Elsewhere by sorting uniforms of 53 bits; two of a row are equal with a chance
    below n²/2⁵⁴, and only then is their order not uniform.
    """
    source = getattr(generator, "numpy", None)
    if source is None:
        keys = torch.rand(rows, n, generator=generator, device=generator.device, dtype=torch.float64)
        return keys.argsort(1).int()
    table = np.empty((rows, n), dtype=np.int16 if n < 1 << 15 else np.int32)
    table[:] = np.arange(n, dtype=table.dtype)
    return torch.from_numpy(source.permuted(table, axis=1, out=table))


def positive_stable(shape: tuple[int, ...], index: float, generator: Generator) -> Tensor:
    """Draw A > 0 with E exp(−uA) = exp(−u^index), 0 < index < 1, in double precision, on the generator's device.

    A = (sin(aU)/sin(U)^{1/a}) (sin((1 − a)U)/E)^{(1 − a)/a}, a the index, U uniform on (0, π), E standard exponential.

    Source: M. Kanter 1975, Annals of Probability 3:697; Chambers, Mallows and Stuck 1976, Journal of the American
    Statistical Association 71:340.
    """
    source = getattr(generator, "numpy", None)
    if source is not None:
        uniform, exponential = source.random(shape), source.standard_exponential(shape)
        uniform, exponential = torch.as_tensor(uniform), torch.as_tensor(exponential)
    else:
        uniform = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
        exponential = torch.empty_like(uniform).exponential_(generator=generator)
    # Half a unit up: at U = 0 the quotient is 0/0.
    u = torch.pi * (uniform + 2.0**-54)
    inner = ((1 - index) * u).sin().log() - exponential.log()
    return ((index * u).sin().log() - u.sin().log() / index + (1 - index) / index * inner).exp()


def _integers(source: np.random.Generator, n: int, shape) -> np.ndarray:
    if n <= 1 << 16:
        # Sixteen random bits an index, exact by rejection (Lemire): half the random words of wider ones.
        return source.integers(0, n, shape, dtype=np.uint16).astype(np.int32)
    return source.integers(0, n, shape, dtype=np.int32 if n <= 1 << 31 else np.int64)


def _redrawn(source: np.random.Generator, rows: int, batch_size: int, n: int) -> np.ndarray:
    chosen = np.empty((rows, batch_size), dtype=np.int32 if n <= 1 << 31 else np.int64)
    marks = _DENSE * batch_size > n
    some = max(1, _CACHED // (n if marks else batch_size))
    for first in range(0, rows, some):
        part = chosen[first : first + some]
        if marks:
            part[:] = _columns(_marked(source, len(part), batch_size, n), batch_size)
        else:
            part[:] = _integers(source, n, part.shape)
            _make_distinct(source, part, n)
    return chosen


def _make_distinct(source: np.random.Generator, chosen: np.ndarray, n: int) -> None:
    """Sort every row in place and draw again, until none is left, the indices that repeat their left neighbour."""
    chosen.sort(axis=1)
    bad = np.flatnonzero((chosen[:, 1:] == chosen[:, :-1]).any(axis=1))
    while len(bad):
        part = chosen[bad]
        again = np.zeros(part.shape, dtype=bool)
        np.equal(part[:, 1:], part[:, :-1], out=again[:, 1:])
        part[again] = _integers(source, n, int(again.sum()))
        part.sort(axis=1)
        chosen[bad] = part
        bad = bad[(part[:, 1:] == part[:, :-1]).any(axis=1)]


def _marked(source: np.random.Generator, rows: int, batch_size: int, n: int) -> np.ndarray:
    """Mark `batch_size` distinct indices in every row, (rows, n): as many drawn as are missing, until none is."""
    if 2 * batch_size > n:
        return ~_marked(source, rows, n - batch_size, n)
    marks = np.zeros((rows, n), dtype=bool)
    bad, missing = np.arange(rows), np.full(rows, batch_size)
    while len(bad):
        drawn = _integers(source, n, int(missing.sum()))
        marks.reshape(-1)[np.repeat(bad * n, missing) + drawn] = True
        missing = batch_size - np.count_nonzero(marks[bad], axis=1)
        bad, missing = bad[missing > 0], missing[missing > 0]
    return marks


def _columns(marks: np.ndarray, count: int) -> np.ndarray:
    """Columns of the marks, `count` in every row, (rows, count)."""
    return (np.flatnonzero(marks) % marks.shape[1]).reshape(len(marks), count)


def _floyd(rows: int, batch_size: int, n: int, generator: Generator) -> Tensor:
    uniform = _uniform(rows, batch_size, generator)
    chosen = torch.empty(batch_size, rows, dtype=torch.int64, device=generator.device)
    for k in range(batch_size):
        last = n - batch_size + k
        candidate = (uniform[k] * (last + 1)).long()
        if k:
            candidate = torch.where((chosen[:k] == candidate).any(0), last, candidate)
        chosen[k] = candidate
    return chosen.T.contiguous()


def _shuffled(rows: int, batch_size: int, n: int, generator: Generator) -> Tensor:
    uniform = _uniform(rows, batch_size, generator)
    deck = torch.arange(n, device=generator.device, dtype=torch.int32).repeat(rows, 1)
    for k in range(batch_size):
        picked = (uniform[k] * (n - k)).long()[:, None] + k
        card = deck.gather(1, picked)
        deck.scatter_(1, picked, deck[:, k : k + 1].clone())
        deck[:, k : k + 1] = card
    return deck[:, :batch_size].contiguous()


def _uniform(rows: int, batch_size: int, generator: Generator) -> Tensor:
    """One uniform in [0, 1) of 53 bits per index serves every upper limit; its bias is below n/2⁵³."""
    return torch.rand(batch_size, rows, generator=generator, device=generator.device, dtype=torch.float64)
