"""Terms that see the point through several scores of one sample: units that share their inputs."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from escape.landscapes.scored import Scored


class MultiIndex(Scored):
    """Terms that see the point through m scores: f_i(x) = r(x) + ℓ(Wz_i, y_i), x the m rows of W one after another.

    `samples` (n, k) holds the features z_i (first d columns) and whatever else a term needs, y_i. `score_loss` and
    `score_slope` take the scores u (m,) and the target y (k − d,) of one sample. `GeneralizedLinear` is m = 1 with
    u ().
    """

    @property
    @abstractmethod
    def units(self) -> int:
        """Number m of scores."""

    @property
    def _score_count(self) -> int:
        return self.units

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

    # Samples stay the last dimension, the long one: with the units last, slopes take up to twice as long.

    def _score_slopes(self, scores: Tensor, targets: Tensor) -> Tensor:
        shared = targets.ndim == 2
        lifted = self._lifted(f"slopes {shared}", vmap(self.score_slope, (1, 0), 1), (0, None if shared else 0))
        return lifted(self._by_chain(scores), targets).reshape(scores.shape)

    def _score_bends(self, scores: Tensor, targets: Tensor) -> Tensor:
        lifted = self._lifted("bends", vmap(jacrev(self.score_slope), (1, 0), 2), (0, None))
        bends = lifted(self._by_chain(scores), targets)
        return torch.stack([bends[:, a, b] for a, b in self._unit_pairs], 1).flatten(0, 1)
