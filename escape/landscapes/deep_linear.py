"""Deep linear networks on data: all critical points that forget some of what can be learned, and a flat origin."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.balanced import known_sets, positive_count, set_name
from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.digits import standardised_digits
from escape.landscapes.matrix_product import planted_matrix
from escape.landscapes.sampling import standardized_normal

# Points declared at most, but for those of the largest values up to the minimum: each costs a Hessian.
_MOST = 8
# Share of the largest curvature below which one is the rounding of zero.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class DeepLinear(Landscape):
    """f_i(W_1, …, W_L) = ½‖W_L ⋯ W_1 z_i − y_i‖²: a linear network of depth L with inputs z_i and targets y_i.

    x holds W_1 (h_1, d_0), …, W_L (d_L, h_{L−1}) one after another, each row by row. With the moments S = (1/n) Σ z zᵀ
    and Y = (1/n) Σ y zᵀ, and the eigenpairs (s_j, p_j) of YS⁻¹Yᵀ, what a critical point computes is PYS⁻¹, P the
    projector on some of the p_j, and any factors of that, balanced with zeros beside them, make one: the largest that
    the widths allow are the global minima, the others saddles. At the origin the Hessian is ∓σ_j(Y) for depth 2, and
    zero for L ≥ 3, where the first term of f but the constant is of order L: no rate, no time scale 1/λ. There is no
    noise at the origin. Each f_i is affine in (z_i z_iᵀ, y_i z_iᵀ, ½‖y_i‖²), which is what `samples` holds. Spectra are
    computed; the directions that W_l -> G_l W_l G_{l−1}⁻¹ makes flat are counted as `gauge`.

    Source: Baldi and Hornik 1989, Neural Networks 2, 53; Kawaguchi 2016 (arXiv 1605.07110); Saxe, McClelland and
    Ganguli 2014 (arXiv 1312.6120). That balanced factors are critical: derived.

    Parameters
    ----------
    inputs : Tensor (n, d_0)
        z_i.
    targets : Tensor (n, d_L)
        y_i.
    hidden : tuple of int
        Widths h_1, …, h_{L−1}; at least one.
    """

    inputs: Tensor
    targets: Tensor
    hidden: tuple[int, ...] = (2,)

    affine = True

    def __post_init__(self):
        if self.inputs.ndim != 2 or self.targets.ndim != 2 or len(self.inputs) != len(self.targets):
            raise ValueError(
                f"inputs and targets must be (n, d_0) and (n, d_L), got {tuple(self.inputs.shape)} and "
                f"{tuple(self.targets.shape)}"
            )
        if not self.inputs.numel() or not self.targets.numel():
            raise ValueError("inputs and targets must not be empty")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must be widths ≥ 1, at least one, got {tuple(self.hidden)}")
        self.samples  # noqa: B018 - made here: a tensor made inside a derivative must not outlive it

    @classmethod
    def gaussian(
        cls,
        singular_values: Sequence[float],
        hidden: Sequence[int] = (2,),
        inputs: int = 3,
        outputs: int = 3,
        label_noise: float = 0.5,
        n: int = 1000,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from whitened Gaussian inputs and a diagonal linear teacher with Gaussian label noise.

        Inputs and label noise are whitened together: S = I and Y, the teacher, hold exactly.

        Parameters
        ----------
        singular_values : sequence of float
            Of the teacher, at most as many as its shorter side.
        hidden : sequence of int
            Widths h_1, …, h_{L−1}.
        inputs, outputs : int
            d_0 and d_L.
        label_noise : float
            Standard deviation of every target about the teacher.
        n, seed : int
            Number of samples, more than d_0 + d_L, and seed.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        teacher = planted_matrix(singular_values, outputs, inputs)
        if not label_noise >= 0:
            raise ValueError(f"label_noise is a standard deviation and must be ≥ 0, got {label_noise}")
        white = standardized_normal(n, inputs + outputs, seed)
        z = white[:, :inputs]
        y = z @ teacher.T + label_noise * white[:, inputs:]
        return cls(z.to(dtype), y.to(dtype), _whole(hidden))

    @classmethod
    def digits(cls, hidden: Sequence[int] = (2,), components: int = 6, dtype: torch.dtype = torch.float64) -> Self:
        """Make it for the handwritten digits: inputs as in `standardised_digits`, targets the label as a unit vector.

        Parameters
        ----------
        hidden : sequence of int
            Widths h_1, …, h_{L−1}.
        components : int
            d_0, principal components of the images; 0 takes the 61 pixels that vary.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        features, labels = standardised_digits(components)
        units = torch.eye(10, dtype=torch.float64)[labels.long()]
        return cls(features.to(dtype), (units - units.mean(0)).to(dtype), _whole(hidden))

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths d_0, h_1, …, h_{L−1}, d_L of all layers."""
        return (self.inputs.shape[1], *self.hidden, self.targets.shape[1])

    @property
    def depth(self) -> int:
        """Number L of weight matrices."""
        return len(self.hidden) + 1

    @property
    def dimension(self) -> int:
        """Number of weights."""
        return sum(a * b for a, b in zip(self.widths[1:], self.widths[:-1], strict=True))

    @cached_property
    def samples(self) -> Tensor:
        """z_i z_iᵀ, y_i z_iᵀ and ½‖y_i‖², side by side, (n, d_0² + d_0 d_L + 1)."""
        z, y = self.inputs, self.targets
        parts = [(z[:, :, None] * z[:, None, :]).flatten(1), (y[:, :, None] * z[:, None, :]).flatten(1)]
        return torch.cat([*parts, 0.5 * (y * y).sum(1, keepdim=True)], dim=1)

    def layers(self, x: Tensor) -> list[Tensor]:
        """W_1, …, W_L of points (…, d)."""
        shapes = list(zip(self.widths[1:], self.widths[:-1], strict=True))
        parts = x.split([a * b for a, b in shapes], dim=-1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def _moments(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        first, last = self.widths[0], self.widths[-1]
        return (
            sample[: first * first].unflatten(0, (first, first)),
            sample[first * first : -1].unflatten(0, (last, first)),
        )

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """½ Tr(W zzᵀ Wᵀ) − ⟨W, yzᵀ⟩ + ½‖y‖² with W = W_L ⋯ W_1."""
        squares, products = self._moments(sample)
        whole = _chain(self.layers(x))
        return (whole * (0.5 * whole @ squares - products)).sum() + sample[-1]

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """(W_L ⋯ W_{l+1})ᵀ (W zzᵀ − yzᵀ) (W_{l−1} ⋯ W_1)ᵀ for every layer l."""
        squares, products = self._moments(sample)
        layers = self.layers(x)
        slope = _chain(layers) @ (squares + squares.mT) / 2 - products
        found = []
        for number in range(self.depth):
            part = slope
            if number + 1 < self.depth:
                part = _chain(layers[number + 1 :]).mT @ part
            if number:
                part = part @ _chain(layers[:number]).mT
            found.append(part.flatten())
        return torch.cat(found)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin, what has learned the 1, 2, … largest values, up to the minimum, and other sets, 8 in all."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        wide = self.to(dtype=torch.float64)
        return tuple(point.to(dtype=self.inputs.dtype) for point in wide._described(self.inputs.dtype))

    def _described(self, dtype: torch.dtype) -> list[CriticalPoint]:
        """All points, in float64."""
        z, y = self.inputs, self.targets
        best = (torch.linalg.pinv(z.T @ z / self.n) @ (z.T @ y / self.n)).T
        values, vectors = torch.linalg.eigh(best @ (z.T @ z / self.n) @ best.T)
        values, vectors = values.flip(0), vectors.flip(1)
        points, count = [], positive_count(values, dtype)
        chain = 1 + min(count, *self.widths)
        for kept in known_sets(count, min(self.widths))[: max(_MOST, chain)]:
            chosen = vectors[:, list(kept)]
            place = self._factored(chosen @ chosen.T @ best, len(kept))
            found = self.critical_point(place, set_name(kept))
            size = found.eigenvalues.abs()
            curvatures = torch.where(size > _ROUNDING * size.max(), found.eigenvalues, 0.0)
            points.append(replace(found, eigenvalues=curvatures, gauge=self._gauge(place)))
        return points

    def _factored(self, whole: Tensor, m: int) -> Tensor:
        """Balanced factors of a matrix of rank m: its singular values to the power 1/L in every layer."""
        left, values, right = torch.linalg.svd(whole)
        core = torch.diag(values[:m] ** (1 / self.depth))
        parts = []
        for number, (rows, columns) in enumerate(zip(self.widths[1:], self.widths[:-1], strict=True), 1):
            layer = whole.new_zeros(rows, columns)
            if number == 1:
                layer[:m] = core @ right[:m]
            elif number == self.depth:
                layer[:, :m] = left[:, :m] @ core
            else:
                layer[:m, :m] = core
            parts.append(layer.flatten())
        return torch.cat(parts)

    def _gauge(self, x: Tensor) -> int:
        """Dimension of the orbit of x under W_l -> G_l W_l G_{l−1}⁻¹: the rank of its tangent map."""
        layers, columns = self.layers(x), []
        for number, width in enumerate(self.hidden):
            for unit in torch.eye(width * width).to(x).unflatten(1, (width, width)):
                moved = [torch.zeros_like(layer) for layer in layers]
                moved[number], moved[number + 1] = unit @ layers[number], -layers[number + 1] @ unit
                columns.append(torch.cat([layer.flatten() for layer in moved]))
        return int(torch.linalg.matrix_rank(torch.stack(columns), rtol=1e-9)) if bool(x.any()) else 0


def _chain(layers: Sequence[Tensor]) -> Tensor:
    """W_m ⋯ W_1 of W_1, …, W_m."""
    whole = layers[0]
    for layer in layers[1:]:
        whole = layer @ whole
    return whole


def _whole(hidden: Sequence[float]) -> tuple[int, ...]:
    """Widths as whole numbers; a command line gives them as floats."""
    if any(width != int(width) for width in hidden):
        raise ValueError(f"hidden must be whole widths, got {tuple(hidden)}")
    return tuple(int(width) for width in hidden)
