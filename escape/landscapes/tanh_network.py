"""A hidden layer of tanh units without biases: the origin is a saddle whose spectrum is known, and of type II."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.module import ModuleLandscape

# Dimension up to which all eigenpairs of the origin are written down.
_WHOLE = 1024


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """½|output − target|², mean over the batch: (b, k), (b, k) -> ()."""
    return 0.5 * (outputs - targets).square().sum(1).mean()


@dataclass(frozen=True, eq=False)
class TanhNetwork(ModuleLandscape):
    """f_i = ℓ(V tanh(W z_i), y_i): one hidden layer, no biases; x holds W (width, k), then V (outputs, width).

    At the origin every f_i is stationary (type II), and to second order f = ℓ(0) + tr(Vᵀ G W) with G = (1/n) Σ δ_i z_iᵀ
    (outputs, k), δ_i the gradient of ℓ(·, y_i) at output zero. Units do not see one another there: each singular value
    σ of G gives eigenvalues ±σ along (w, v) = (±r, u)/√2 of every unit, r and u its singular vectors; all others are
    zero. The largest growth factor is 1 + ησ_1. Source: derived; for a linear network, Saxe, McClelland and Ganguli
    2014 (arXiv 1312.6120).

    Made by `TanhNetwork.of(…)` or `TanhNetwork.digits(…)`.
    """

    @classmethod
    def of(
        cls,
        inputs: Tensor,
        targets: Tensor,
        width: int,
        outputs: int,
        criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        seed: int = 0,
    ) -> Self:
        """Make the network for data of one's own.

        Parameters
        ----------
        inputs : Tensor (n, k)
            Floating; their dtype is that of a run.
        targets : Tensor (n, …)
            As the criterion takes them.
        width, outputs : int
            Hidden units, and numbers that the criterion sees of each sample.
        criterion : callable
            Mean loss of a batch, (outputs, targets) -> ().
        seed : int
            Of the parameters that `start` has: normal, each layer's outputs of the size of its inputs.
        """
        if inputs.ndim != 2 or not inputs.is_floating_point():
            raise ValueError(f"inputs must be floating, (n, k), got {inputs.dtype}, {tuple(inputs.shape)}")
        if width < 1 or outputs < 1:
            raise ValueError(f"width and outputs must be positive, got {width} and {outputs}")
        k, generator = inputs.shape[1], torch.Generator().manual_seed(seed)
        module = nn.Sequential(nn.Linear(k, width, bias=False), nn.Tanh(), nn.Linear(width, outputs, bias=False))
        with torch.no_grad():
            for layer in (module[0], module[2]):
                normal = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
                layer.weight.copy_(normal / layer.in_features**0.5)
        return cls(module, criterion, inputs, targets)

    @classmethod
    def digits(
        cls,
        width: int = 4,
        components: int | None = None,
        loss: str = "cross-entropy",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the network for scikit-learn's handwritten digits: n = 1797 images in ten classes.

        Pixels are centred and scaled to unit variance; the three that are the same in all images are dropped, which
        leaves k = 61. With `components`, they are replaced by that many leading principal components, all divided by
        one number that makes their mean square 1. The loss is "cross-entropy", or "squared": half the squared distance
        of the ten outputs from the class, written as 1 in its place and 0 elsewhere, minus 1/10.

        Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository, as shipped with
        scikit-learn.
        """
        from sklearn.datasets import load_digits  # half a second of import that no other landscape should pay

        if loss not in ("cross-entropy", "squared"):
            raise ValueError(f"loss must be 'cross-entropy' or 'squared', got {loss!r}")
        data = load_digits()
        pixels = data.data - data.data.mean(0)
        spread = pixels.std(0)
        pixels = pixels[:, spread > 0] / spread[spread > 0]
        if components:
            if not 1 <= components <= pixels.shape[1]:
                raise ValueError(f"components must lie in 1 to {pixels.shape[1]}, got {components}")
            vectors = np.linalg.eigh(pixels.T @ pixels)[1][:, ::-1][:, :components]
            # The sign of an eigenvector is anybody's: the largest entry is made positive.
            vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(components)])
            pixels = pixels @ vectors
            pixels = pixels / np.sqrt((pixels**2).mean())
        inputs, targets = torch.from_numpy(np.ascontiguousarray(pixels)).to(dtype), torch.from_numpy(data.target)
        if loss == "squared":
            return cls.of(inputs, F.one_hot(targets, 10).to(dtype) - 0.1, width, 10, half_square)
        return cls.of(inputs, targets, width, 10)

    @property
    def width(self) -> int:
        """Number of hidden units."""
        return self.module[0].out_features

    @cached_property
    def coupling(self) -> Tensor:
        """G = (1/n) Σ δ_i z_iᵀ, (outputs, k): the Hessian at the origin couples V and W by it."""
        zero = self.inputs.new_zeros(self.n, self.module[2].out_features)
        # The criterion is a mean over samples, so that its gradient has the factor 1/n.
        return grad(lambda outputs: self.criterion(outputs, self.targets))(zero).T @ self.inputs

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin; in more than 1024 dimensions with its negative eigenvalues, one zero and the highest alone."""
        u, sigma, r = torch.linalg.svd(self.coupling.double(), full_matrices=True)
        rank = int((sigma > 1e-10 * sigma[0]).sum())
        down = torch.cat([-r[:rank], u.T[:rank]], dim=1) / 2**0.5
        up = torch.cat([r[:rank], u.T[:rank]], dim=1) / 2**0.5
        flat = torch.block_diag(r[rank:], u.T[rank:])
        values = torch.cat([-sigma[:rank], sigma.new_zeros(len(flat)), sigma[:rank].flip(0)])
        # One unit's eigenvectors, (w, v) a row; those of the network are the same for one unit at a time.
        unit = torch.cat([down, flat, up.flip(0)])
        values, numbers = values.repeat_interleave(self.width), torch.arange(len(values)).repeat_interleave(self.width)
        places = torch.arange(self.width).repeat(len(unit))
        if self.dimension > _WHOLE:
            some = [*range(rank * self.width + (1 if len(flat) else 0)), len(values) - 1]
            values, numbers, places = values[some], numbers[some], places[some]
        directions = self._placed(unit[numbers], places)
        still, like = self.samples.new_zeros(self.dimension), {"dtype": self.dtype, "device": self.inputs.device}
        return (CriticalPoint(still, values.to(**like), directions.to(**like), "II", "origin"),)

    def _placed(self, vectors: Tensor, places: Tensor) -> Tensor:
        """Columns (d, m) of vectors (m, k + outputs) of one unit each, at units `places` (m,)."""
        k = self.inputs.shape[1]
        outputs, rows = vectors.shape[1] - k, torch.arange(len(vectors))
        first = vectors.new_zeros(len(vectors), self.width, k)
        last = vectors.new_zeros(len(vectors), outputs, self.width)
        first[rows, places] = vectors[:, :k]
        last[rows, :, places] = vectors[:, k:]
        return torch.cat([first.flatten(1), last.flatten(1)], dim=1).T.contiguous()
