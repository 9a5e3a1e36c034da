"""Terms that see the point through scores of their features: sums over samples as products of matrices."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor
from torch.func import grad, jacrev

from escape.landscapes.base import Landscape
from escape.landscapes.batches import batch_sum, dense, picked_batches, sparse_scores
from escape.mapped import is_mapped, parts

# Samples come in slices of a multiple of this: a slice of columns then begins at the start of a cache line, in memory
# and from a file, and is rounded in the same way.
_MULTIPLE = 16


class Scored(Landscape):
    """Terms that see the point through m scores: f_i(x) = r(x) + ℓ(Wz_i, y_i), x the m rows of W one after another.

    `samples` (n, k) holds the features z_i (first d columns) and whatever else a term needs, y_i (the rest, possibly
    none). Every row of W is a point of its own, (c m, d) in all: scores of all samples are one matrix product, and
    gradients are weighted sums of rows, ∂f_B/∂w_k = ∂r/∂w_k + (1/b) Σ_{i∈B} ∂ℓ/∂u_k z_i.

    Noise is the mean square of g_i, the rows ∂ℓ_i/∂u_k z_i, less the square of its mean ḡ, summed in double precision:
    of a variance v, the relative error is some 1e-16 ‖ḡ‖²/v, besides that of the slopes and of the dtype.
    """

    _score_count = 1

    @abstractmethod
    def common_loss(self, x: Tensor) -> Tensor:
        """r(x), the part without data, at one point (m d,)."""

    @abstractmethod
    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """ℓ(u, y) for the scores u of one sample, () or (m,), and its target y (k − d,)."""

    def common_gradient(self, x: Tensor) -> Tensor:
        """∇r at one point (m d,); by automatic differentiation unless given in closed form."""
        return grad(self.common_loss)(x)

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """∂ℓ/∂u of one sample, () or (m,); by automatic differentiation unless given in closed form."""
        return grad(self.score_loss)(score, target)

    @abstractmethod
    def _score_slopes(self, scores: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂u: scores (c m, j), targets (j, k − d) shared or (c, j, k − d) -> (c m, j)."""

    @abstractmethod
    def _score_bends(self, scores: Tensor, targets: Tensor) -> Tensor:
        """∂²ℓ/∂u_a∂u_b for pairs a ≤ b of units: scores (c m, j), targets (j, k − d) -> (c p, j), p = m(m + 1)/2."""

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇f_i(x): x (c, m d), weights (c, n) -> (c, m d), by matrix products."""

        def terms(rows: slice, slopes: Tensor, features: Tensor) -> list[Tensor]:
            return [(weights[:, None, rows] * self._by_chain(slopes)).flatten(0, 1) @ features]

        (data,) = self._summed(x, terms)
        return weights.sum(1, keepdim=True) * self._common_gradients(x) + data.view_as(x)

    def noise_trace(self, x: Tensor) -> Tensor:
        """Tr C(x) = (1/n) Σ ‖∂ℓ_i/∂u‖² ‖z_i‖² − ‖(1/n) Σ ∂ℓ_i/∂u z_iᵀ‖²: (c, m d) -> (c,)."""
        squares, means = self._noise_moments(x, lambda slopes, features: (slopes**2) @ (features**2).sum(1))
        trace = (squares - (means**2).sum(1)).view(len(x), self._score_count).sum(1)
        return trace.clamp(min=0).to(x.dtype)

    def noise_diagonal(self, x: Tensor) -> Tensor:
        """(1/n) Σ (∂ℓ_i/∂u_k z_ij)² − ((1/n) Σ ∂ℓ_i/∂u_k z_ij)², the diagonal of C(x): (c, m d) -> (c, m d)."""
        squares, means = self._noise_moments(x, lambda slopes, features: (slopes**2) @ features**2)
        return (squares - means**2).clamp(min=0).to(x.dtype).view_as(x)

    def gradient_covariances(self, x: Tensor) -> Tensor:
        """C(x) = (1/n) Σ g_i g_iᵀ − ḡḡᵀ with g_i the rows ∂ℓ_i/∂u_k z_i, ḡ their mean: (c, m d) -> (c, m d, m d)."""
        squares, means = self._noise_moments(
            x,
            lambda slopes, features: self._outer_sums(self._slope_products(slopes), features),
            len(x) * len(self._unit_pairs),
        )
        means = means.view_as(x)
        return (self._from_blocks(squares, len(x)) - means[:, :, None] * means[:, None, :]).to(x.dtype)

    def hessians_at(self, x: Tensor) -> Tensor:
        """∇²r(x) + (1/n) Σ ∂²ℓ_i/∂u_a∂u_b z_i z_iᵀ, blocks of pairs of units: (c, m d) -> (c, m d, m d)."""
        (data,) = self._summed(
            x,
            lambda rows, bends, features: [self._outer_sums(bends, features)],
            self._score_bends,
            len(x) * self._score_count**2,
        )
        # Backward twice: forward differentiation, of which `hessian` is made, fails where several threads do it.
        common = self._lifted("common hessian", jacrev(grad(self.common_loss)), (0,))(x)
        return common + self._from_blocks(data, len(x)) / self.n

    def _noise_moments(self, x: Tensor, square: Callable, width: int | None = None) -> tuple[Tensor, Tensor]:
        """Means over the samples, in double precision, of `square` (slopes, features) and of slopes · z, (c m, d)."""

        def terms(rows: slice, slopes: Tensor, features: Tensor) -> list[Tensor]:
            slopes, features = slopes.double(), features.double()
            return [square(slopes, features), slopes @ features]

        squares, sums = self._summed(x, terms, width=width)
        return squares / self.n, sums / self.n

    def _outer_sums(self, weights: Tensor, rows: Tensor) -> Tensor:
        """Σ w_i z_i z_iᵀ: weights (c, m), rows z (m, d) -> (c, d, d)."""
        d, size = rows.shape[1], self._slice_size(rows.shape[1] ** 2)
        pairs = zip(weights.split(size, 1), rows.split(size), strict=True)
        sums = (some @ (z[:, :, None] * z[:, None, :]).flatten(1) for some, z in pairs)
        return sum(sums).view(len(weights), d, d)

    @property
    def _unit_pairs(self) -> list[tuple[int, int]]:
        """The p = m(m + 1)/2 pairs a ≤ b of units."""
        m = self._score_count
        return [(a, b) for a in range(m) for b in range(a, m)]

    def _slope_products(self, slopes: Tensor) -> Tensor:
        """Products of the slopes of every pair of units: (c m, j) -> (c p, j)."""
        if self._score_count == 1:
            return slopes**2
        own = self._by_chain(slopes)
        return torch.stack([own[:, a] * own[:, b] for a, b in self._unit_pairs], 1).flatten(0, 1)

    def _from_blocks(self, blocks: Tensor, c: int) -> Tensor:
        """Symmetric matrices of their symmetric blocks: (c p, d, d), one for every pair of units -> (c, m d, m d)."""
        m, d = self._score_count, blocks.shape[-1]
        if m == 1:
            return blocks
        places = {pair: i for i, pair in enumerate(self._unit_pairs)}
        order = [places[min(a, b), max(a, b)] for a in range(m) for b in range(m)]
        whole = blocks.view(c, len(places), d, d)[:, order].view(c, m, m, d, d)
        return whole.transpose(2, 3).reshape(c, m * d, m * d)

    def _summed(
        self, x: Tensor, terms: Callable, slopes: Callable | None = None, width: int | None = None
    ) -> list[Tensor]:
        """Sums over the samples, slice by slice, of what `terms` gives for (rows, slopes (c m, j), features (j, d)).

        `slopes` takes scores (c m, j) and targets (j, k − d); ∂ℓ/∂u if omitted. `width` numbers a sample, c m if
        omitted, are what a slice has room for.
        """
        totals, points = None, self._unit_points(x)
        for rows, features, targets in self._pieces(points, width):
            found = terms(rows, (slopes or self._score_slopes)(points @ features.T, targets), features)
            # The first as it is: from a single slice come the bits of one matrix product.
            totals = found if totals is None else [total + part for total, part in zip(totals, found, strict=True)]
        return totals

    def _pieces(self, points: Tensor, width: int | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, features (j, d) and targets (j, k − d) of slices of the samples, for points (c m, d)."""
        d = points.shape[1]
        size = max(_MULTIPLE, self._slice_size(width or len(points)) // _MULTIPLE * _MULTIPLE)
        slices = (slice(first, min(self.n, first + size)) for first in range(0, self.n, size))
        if is_mapped(self.samples):
            for rows, part in zip(slices, parts(self.samples, size, "gradient"), strict=True):
                yield rows, part[:, :d].contiguous(), part[:, d:].contiguous()
        else:
            features, targets = self._features_and_targets(d)
            for rows in slices:
                yield rows, features[rows], targets[rows]

    def _unit_points(self, x: Tensor) -> Tensor:
        """Every row of W as a point of its own: (c, m d) -> (c m, d)."""
        m = self._score_count
        return x if m == 1 else x.reshape(len(x) * m, x.shape[1] // m)

    def _unit_batches(self, index: Tensor) -> Tensor:
        """The batch of every row of W, that of its chain: (c, b) -> (c m, b)."""
        return index if self._score_count == 1 else index.repeat_interleave(self._score_count, 0)

    def _by_chain(self, values: Tensor) -> Tensor:
        """Scores, or slopes, of every row of W, by chain: (c m, j) -> (c, m, j)."""
        return values.view(len(values) // self._score_count, self._score_count, values.shape[1])

    def _features_and_targets(self, d: int) -> tuple[Tensor, Tensor]:
        """Features (n, d) and targets (n, k − d), each in one piece of memory."""
        if d not in self._split:
            self._split[d] = self.samples[:, :d].contiguous(), self.samples[:, d:].contiguous()
        return self._split[d]

    @cached_property
    def _split(self) -> dict[int, tuple[Tensor, Tensor]]:
        return {}

    def _common_gradients(self, x: Tensor) -> Tensor:
        return self._lifted("common gradient", self.common_gradient, (0,))(x)

    def _full_gradient(self, x: Tensor) -> Tensor:
        (data,) = self._summed(x, lambda rows, slopes, features: [slopes @ features])
        return self._common_gradients(x) + data.view_as(x) / self.n

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        points, each = self._unit_points(x), self._unit_batches(index)
        scores = self._dense_scores(points, each) if dense(index.shape[1], self.n) else None
        if is_mapped(self.samples):
            data = self._picked_batch_sum(points, index, scores)
        else:
            features, targets = self._features_and_targets(points.shape[1])
            scores = sparse_scores(points, features, each) if scores is None else scores
            data = batch_sum(features, each, self._score_slopes(scores, targets[index]))
        data = data if self._score_count == 1 else data.view_as(x)
        return self._common_gradients(x) + data.mul_(1.0 / index.shape[1])

    def _picked_batch_sum(self, points: Tensor, index: Tensor, scores: Tensor | None) -> Tensor:
        """Σ ∂ℓ/∂u z over batches (c, b) of mapped samples, whose scores may be known: -> (c m, d)."""
        m, d, parts_of_scores, targets = self._score_count, points.shape[1], [], []
        for chains, rows, places in picked_batches(self.samples, index):
            features = rows[:, :d].contiguous()
            if scores is None:
                own = points[m * chains.start : m * chains.stop]
                parts_of_scores.append(sparse_scores(own, features, self._unit_batches(places)))
            targets.append(rows[:, d:].contiguous()[places])
        scores = torch.cat(parts_of_scores) if scores is None else scores
        # Of all chains at once, as in memory: the place of a number in a tensor may decide how its slope is rounded.
        slopes = self._score_slopes(scores, torch.cat(targets))
        if len(targets) == 1:
            return batch_sum(features, self._unit_batches(places), slopes)
        picked = (
            (rows[:, :d].contiguous(), self._unit_batches(places), slopes[m * chains.start : m * chains.stop])
            for chains, rows, places in picked_batches(self.samples, index)
        )
        return torch.cat([batch_sum(*one) for one in picked])

    def _dense_scores(self, points: Tensor, each: Tensor) -> Tensor:
        """Scores (c m, b) of large batches, picked from those of all samples."""
        scores = [points @ features.T for _, features, _ in self._pieces(points)]
        return (scores[0] if len(scores) == 1 else torch.cat(scores, 1)).gather(1, each.long())
