"""Terms that see the point through several scores of one sample: units that share their inputs."""

from abc import abstractmethod
from functools import cached_property

from torch import Tensor
from torch.func import grad, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.batches import batch_scores, batch_sum
from escape.mapped import is_mapped


class MultiIndex(Landscape):
    """Terms that see the point through m scores: f_i(x) = r(x) + ℓ(Wz_i, y_i), x the m rows of W one after another.

    `samples` (n, k) holds the features z_i (first d columns) and whatever else a term needs, y_i. As for
    `GeneralizedLinear`, which is m = 1, scores are matrix products and a batch gradient is a weighted sum of rows:
    ∂f_B/∂w_k = ∂r/∂w_k + (1/b) Σ_{i∈B} ∂ℓ/∂u_k z_i.
    """

    @property
    @abstractmethod
    def units(self) -> int:
        """Number m of scores."""

    @abstractmethod
    def common_loss(self, x: Tensor) -> Tensor:
        """r(x), the part without data, at one point (m d,)."""

    @abstractmethod
    def score_loss(self, scores: Tensor, target: Tensor) -> Tensor:
        """ℓ(u, y) for the scores u (m,) and target y (k − d,) of one sample."""

    def common_gradient(self, x: Tensor) -> Tensor:
        """∇r at one point (m d,); by automatic differentiation unless given in closed form."""
        return grad(self.common_loss)(x)

    def score_slope(self, scores: Tensor, target: Tensor) -> Tensor:
        """∂ℓ/∂u (m,) of one sample; by automatic differentiation unless given in closed form."""
        return grad(self.score_loss)(scores, target)

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """f_i(x) = r(x) + ℓ(Wz_i, y_i)."""
        weights = x.reshape(self.units, -1)
        d = weights.shape[1]
        return self.common_loss(x) + self.score_loss(weights @ sample[:d], sample[d:])

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """∇r(x) + the rows ∂ℓ/∂u_k z_i."""
        weights = x.reshape(self.units, -1)
        d = weights.shape[1]
        slopes = self.score_slope(weights @ sample[:d], sample[d:])
        return self.common_gradient(x) + (slopes[:, None] * sample[:d]).reshape(-1)

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇f_i(x): x (c, m d), weights (c, n) -> (c, m d), by matrix products."""
        if is_mapped(self.samples):
            return super().weighted_gradient(x, weights)
        features, slopes = self._all_slopes(x)
        data = ((weights[:, None, :] * slopes) @ features).flatten(1)
        return weights.sum(1, keepdim=True) * self._common_gradients(x) + data

    def _full_gradient(self, x: Tensor) -> Tensor:
        if is_mapped(self.samples):
            return super()._full_gradient(x)
        features, slopes = self._all_slopes(x)
        return self._common_gradients(x) + (slopes @ features).flatten(1) / self.n

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        if is_mapped(self.samples):
            return super()._batch_gradient(x, index)
        (c, b), m = index.shape, self.units
        features, targets = self._features_and_targets(x.shape[1] // m)
        # Every unit is a point of its own, with the batch of its chain.
        repeated = index.repeat_interleave(m, 0)
        scores = batch_scores(x.reshape(c * m, -1), features, repeated).view(c, m, b)
        slopes = self._slopes(scores.mT, targets[index])
        data = batch_sum(features, repeated, slopes.mT.reshape(c * m, b))
        return self._common_gradients(x) + data.view(c, -1) / b

    def _all_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, d) and ∂ℓ/∂u of every unit and sample, (c, m, n)."""
        weights = x.reshape(len(x), self.units, -1)
        features, targets = self._features_and_targets(weights.shape[2])
        return features, self._slopes((weights @ features.T).mT, targets).mT

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

    def _slopes(self, scores: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂u: scores (c, j, m), targets (j, k − d) shared or (c, j, k − d) -> (c, j, m)."""
        shared = targets.ndim == 2
        lifted = self._lifted(f"slopes {shared}", vmap(self.score_slope), (0, None if shared else 0))
        return lifted(scores.contiguous(), targets)
