"""Terms that see the point through one score, so that a batch gradient is a weighted sum of rows."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.batches import batch_sum, dense, picked_batches, sparse_scores
from escape.mapped import is_mapped, parts

# Samples come in slices of a multiple of this: a slice of columns then begins at the start of a cache line, in memory
# and from a file, and is rounded in the same way.
_MULTIPLE = 16


class GeneralizedLinear(Landscape):
    """Terms that see the point through one score: f_i(x) = r(x) + ℓ(z_iᵀx, y_i).

    `samples` (n, k) holds the features z_i (first d columns) and whatever else a term needs, y_i (the rest, possibly
    none). Scores of all samples are one matrix product, and a batch gradient is a weighted sum of rows:
    ∇f_B(x) = ∇r(x) + (1/b) Σ_{i∈B} ℓ'(z_iᵀx, y_i) z_i.
    """

    @abstractmethod
    def common_loss(self, x: Tensor) -> Tensor:
        """r(x), the part without data, at one point (d,)."""

    @abstractmethod
    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """ℓ(u, y) for one score u () and one target y (k − d,)."""

    def common_gradient(self, x: Tensor) -> Tensor:
        """∇r at one point (d,); by automatic differentiation unless given in closed form."""
        return grad(self.common_loss)(x)

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """∂ℓ/∂u at one score; by automatic differentiation unless given in closed form."""
        return grad(self.score_loss)(score, target)

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """f_i(x) = r(x) + ℓ(z_iᵀx, y_i)."""
        d = x.shape[0]
        return self.common_loss(x) + self.score_loss(sample[:d] @ x, sample[d:])

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """∇f_i(x) = ∇r(x) + ℓ'(z_iᵀx, y_i) z_i."""
        d = x.shape[0]
        return self.common_gradient(x) + self.score_slope(sample[:d] @ x, sample[d:]) * sample[:d]

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇f_i(x): x (c, d), weights (c, n) -> (c, d), by two matrix products."""
        (data,) = self._summed(x, lambda rows, slopes, features: [(weights[:, rows] * slopes) @ features])
        return weights.sum(1, keepdim=True) * self._common_gradients(x) + data

    def noise_trace(self, x: Tensor) -> Tensor:
        """Tr C(x) = (1/n) Σ ℓ'_i² ‖z_i‖² − ‖(1/n) Σ ℓ'_i z_i‖²: (c, d) -> (c,)."""
        squares, sums = self._summed(
            x, lambda rows, slopes, features: [(slopes**2) @ (features**2).sum(1), slopes @ features]
        )
        return squares / self.n - ((sums / self.n) ** 2).sum(1)

    def noise_diagonal(self, x: Tensor) -> Tensor:
        """C_jj(x) = (1/n) Σ ℓ'_i² z_ij² − ((1/n) Σ ℓ'_i z_ij)²: (c, d) -> (c, d)."""
        squares, sums = self._summed(x, lambda rows, slopes, features: [(slopes**2) @ features**2, slopes @ features])
        return (squares / self.n - (sums / self.n) ** 2).clamp(min=0)

    def gradient_covariances(self, x: Tensor) -> Tensor:
        """C(x) = (1/n) Σ ℓ'_i² z_i z_iᵀ − m mᵀ with m = (1/n) Σ ℓ'_i z_i: (c, d) -> (c, d, d)."""
        squares, sums = self._summed(
            x, lambda rows, slopes, features: [self._outer_sums(slopes**2, features), slopes @ features]
        )
        mean = sums / self.n
        return squares / self.n - mean[:, :, None] * mean[:, None, :]

    def hessians_at(self, x: Tensor) -> Tensor:
        """∇²r(x) + (1/n) Σ ℓ''_i z_i z_iᵀ: (c, d) -> (c, d, d)."""
        bends = self._lifted("bends", vmap(grad(self.score_slope)), (0, None))
        (data,) = self._summed(x, lambda rows, bends, features: [self._outer_sums(bends, features)], bends)
        # Backward twice: forward differentiation, of which `hessian` is made, fails where several threads do it.
        common = self._lifted("common hessian", jacrev(grad(self.common_loss)), (0,))(x)
        return common + data / self.n

    def _outer_sums(self, weights: Tensor, rows: Tensor) -> Tensor:
        """Σ w_i z_i z_iᵀ: weights (c, m), rows z (m, d) -> (c, d, d)."""
        d, size = rows.shape[1], self._slice_size(rows.shape[1] ** 2)
        pairs = zip(weights.split(size, 1), rows.split(size), strict=True)
        sums = (some @ (z[:, :, None] * z[:, None, :]).flatten(1) for some, z in pairs)
        return sum(sums).view(len(weights), d, d)

    def _summed(self, x: Tensor, terms: Callable, slope: Callable | None = None) -> list[Tensor]:
        """Sums over the samples, slice by slice, of what `terms` gives for (rows, slopes (c, m), features (m, d)).

        `slope` takes scores (c, m) and targets (m, k − d); ℓ' if omitted.
        """
        totals = None
        for rows, features, targets in self._pieces(x):
            found = terms(rows, (slope or self._score_slopes)(x @ features.T, targets), features)
            # The first as it is: from a single slice come the bits of one matrix product.
            totals = found if totals is None else [total + part for total, part in zip(totals, found, strict=True)]
        return totals

    def _pieces(self, x: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, features (m, d) and targets (m, k − d) of slices of the samples, for points x (c, d)."""
        c, d = x.shape
        size = max(_MULTIPLE, self._slice_size(c) // _MULTIPLE * _MULTIPLE)
        slices = (slice(first, min(self.n, first + size)) for first in range(0, self.n, size))
        if is_mapped(self.samples):
            for rows, part in zip(slices, parts(self.samples, size, "gradient"), strict=True):
                yield rows, part[:, :d].contiguous(), part[:, d:].contiguous()
        else:
            features, targets = self._features_and_targets(d)
            for rows in slices:
                yield rows, features[rows], targets[rows]

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

    def _score_slopes(self, scores: Tensor, targets: Tensor) -> Tensor:
        """ℓ' of every score of every point: scores (c, m), targets (m, k − d) shared or (c, m, k − d) -> (c, m)."""
        shared = targets.ndim == 2
        inner = vmap(self.score_slope)
        return self._lifted(f"slopes {shared}", inner, (0, None if shared else 0))(scores, targets)

    def _full_gradient(self, x: Tensor) -> Tensor:
        (data,) = self._summed(x, lambda rows, slopes, features: [slopes @ features])
        return self._common_gradients(x) + data / self.n

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        scores = self._dense_scores(x, index) if dense(index.shape[1], self.n) else None
        if is_mapped(self.samples):
            data = self._picked_batch_sum(x, index, scores)
        else:
            features, targets = self._features_and_targets(x.shape[1])
            scores = sparse_scores(x, features, index) if scores is None else scores
            data = batch_sum(features, index, self._score_slopes(scores, targets[index]))
        return self._common_gradients(x) + data.mul_(1.0 / index.shape[1])

    def _picked_batch_sum(self, x: Tensor, index: Tensor, scores: Tensor | None) -> Tensor:
        """Σ ℓ' z over batches (c, b) of mapped samples, whose scores may be known: -> (c, d)."""
        d, parts_of_scores, targets = x.shape[1], [], []
        for chains, rows, places in picked_batches(self.samples, index):
            features = rows[:, :d].contiguous()
            if scores is None:
                parts_of_scores.append(sparse_scores(x[chains], features, places))
            targets.append(rows[:, d:].contiguous()[places])
        scores = torch.cat(parts_of_scores) if scores is None else scores
        # Of all chains at once, as in memory: the place of a number in a tensor may decide how its slope is rounded.
        slopes = self._score_slopes(scores, torch.cat(targets))
        if len(targets) == 1:
            return batch_sum(features, places, slopes)
        picked = picked_batches(self.samples, index)
        return torch.cat(
            [batch_sum(rows[:, :d].contiguous(), places, slopes[chains]) for chains, rows, places in picked]
        )

    def _dense_scores(self, x: Tensor, index: Tensor) -> Tensor:
        """Scores (c, b) of large batches, picked from those of all samples."""
        scores = [x @ features.T for _, features, _ in self._pieces(x)]
        return (scores[0] if len(scores) == 1 else torch.cat(scores, 1)).gather(1, index.long())
