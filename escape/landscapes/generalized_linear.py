"""Terms that see the point through one score, so that a batch gradient is a weighted sum of rows."""

from torch import Tensor
from torch.func import grad, vmap

from escape.landscapes.scored import Scored


class GeneralizedLinear(Scored):
    """Terms that see the point through one score: f_i(x) = r(x) + ℓ(z_iᵀx, y_i).

    `samples` (n, k) holds the features z_i (first d columns) and whatever else a term needs, y_i (the rest, possibly
    none). `score_loss` and `score_slope` take one score u () and one target y (k − d,). Scores of all samples are one
    matrix product, and a batch gradient is a weighted sum of rows:
    ∇f_B(x) = ∇r(x) + (1/b) Σ_{i∈B} ℓ'(z_iᵀx, y_i) z_i.
    """

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """f_i(x) = r(x) + ℓ(z_iᵀx, y_i)."""
        d = x.shape[0]
        return self.common_loss(x) + self.score_loss(sample[:d] @ x, sample[d:])

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """∇f_i(x) = ∇r(x) + ℓ'(z_iᵀx, y_i) z_i."""
        d = x.shape[0]
        return self.common_gradient(x) + self.score_slope(sample[:d] @ x, sample[d:]) * sample[:d]

    def _score_slopes(self, scores: Tensor, targets: Tensor) -> Tensor:
        shared = targets.ndim == 2
        return self._lifted(f"slopes {shared}", vmap(self.score_slope), (0, None if shared else 0))(scores, targets)

    def _score_bends(self, scores: Tensor, targets: Tensor) -> Tensor:
        return self._lifted("bends", vmap(grad(self.score_slope)), (0, None))(scores, targets)
