"""Terms that see the point through one score, so that a batch gradient is a weighted sum of rows."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vmap

from escape.landscapes.base import Landscape


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
        features, targets = self.samples[:, : x.shape[1]], self.samples[:, x.shape[1] :]
        slopes = self._slopes(x @ features.T, targets)
        return weights.sum(1, keepdim=True) * vmap(self.common_gradient)(x) + (weights * slopes) @ features

    def noise_trace(self, x: Tensor) -> Tensor:
        """Tr C(x) = (1/n) Σ ℓ'_i² ‖z_i‖² − ‖(1/n) Σ ℓ'_i z_i‖²: (c, d) -> (c,)."""
        features, targets = self.samples[:, : x.shape[1]], self.samples[:, x.shape[1] :]
        slopes = self._slopes(x @ features.T, targets)
        return (slopes**2) @ (features**2).sum(1) / self.n - ((slopes @ features / self.n) ** 2).sum(1)

    def _slopes(self, scores: Tensor, targets: Tensor) -> Tensor:
        """ℓ' of every score of every point: scores (c, m), targets (m, k − d) shared or (c, m, k − d) -> (c, m)."""
        inner = vmap(self.score_slope)
        return vmap(inner, (0, None if targets.ndim == 2 else 0))(scores, targets)

    def _full_gradient(self, x: Tensor) -> Tensor:
        features, targets = self.samples[:, : x.shape[1]], self.samples[:, x.shape[1] :]
        return vmap(self.common_gradient)(x) + self._slopes(x @ features.T, targets) @ features / self.n

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        d = x.shape[1]
        b = index.shape[1]
        features, targets = self.samples[:, :d].contiguous(), self.samples[:, d:]
        if b * 16 < self.n:
            # A small batch: its own rows are fewer bytes than the scores of all samples.
            rows = features[index]
            scores = torch.bmm(rows, x[:, :, None])[:, :, 0]
            slopes = self._slopes(scores, targets[index])
            return vmap(self.common_gradient)(x) + torch.bmm(slopes[:, None, :], rows)[:, 0] / b
        scores = (x @ features.T).gather(1, index)
        slopes = self._slopes(scores, targets[index])
        total = F.embedding_bag(index, features, mode="sum", per_sample_weights=slopes)
        return vmap(self.common_gradient)(x) + total / b
