"""Terms that see the point through one score, so that a batch gradient is a weighted sum of rows."""

from abc import abstractmethod
from functools import cached_property

from torch import Tensor
from torch.func import grad, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.batches import batch_scores, batch_sum


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
        features, targets = self._features_and_targets(x.shape[1])
        slopes = self._score_slopes(x @ features.T, targets)
        return weights.sum(1, keepdim=True) * self._common_gradients(x) + (weights * slopes) @ features

    def noise_trace(self, x: Tensor) -> Tensor:
        """Tr C(x) = (1/n) Σ ℓ'_i² ‖z_i‖² − ‖(1/n) Σ ℓ'_i z_i‖²: (c, d) -> (c,)."""
        features, targets = self._features_and_targets(x.shape[1])
        slopes = self._score_slopes(x @ features.T, targets)
        return (slopes**2) @ (features**2).sum(1) / self.n - ((slopes @ features / self.n) ** 2).sum(1)

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
        features, targets = self._features_and_targets(x.shape[1])
        return self._common_gradients(x) + self._score_slopes(x @ features.T, targets) @ features / self.n

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        features, targets = self._features_and_targets(x.shape[1])
        slopes = self._score_slopes(batch_scores(x, features, index), targets[index])
        return self._common_gradients(x) + batch_sum(features, index, slopes).mul_(1.0 / index.shape[1])
