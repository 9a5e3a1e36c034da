"""Least squares and logistic regression, on data with labels or on teachers with a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.digits import standardised_digits
from escape.landscapes.generalized_linear import GeneralizedLinear
from escape.landscapes.newton import minimum_below
from escape.landscapes.sampling import standardized_normal

# Eigenvalues of the features' second moments below this share of the largest count as zero in a solution.
_SINGULAR = 1e-12
# Below it ln(1 + e^u) is e^u.
_FAR = -40.0


@dataclass(frozen=True, eq=False)
class Regression(GeneralizedLinear):
    """f_i(w) = ℓ(z_iᵀw, y_i) + ½ρ‖w‖²: one row of features z_i and one label y_i a term.

    Parameters
    ----------
    features : Tensor (n, d)
        z_i.
    targets : Tensor (n,)
        y_i.
    ridge : float
        ρ ≥ 0.
    """

    features: Tensor
    targets: Tensor
    ridge: float = 0.0

    def __post_init__(self):
        if self.features.ndim != 2 or not self.features.numel():
            raise ValueError(f"features must be (n, d) with n, d ≥ 1, got {tuple(self.features.shape)}")
        if self.targets.shape != self.features.shape[:1]:
            raise ValueError(
                f"targets must be one number for each of {len(self.features)} rows, got {tuple(self.targets.shape)}"
            )
        if not 0 <= self.ridge < float("inf"):
            raise ValueError(f"ridge must be finite and ≥ 0, got {self.ridge}")
        self.samples  # noqa: B018 - made here: a tensor made inside a derivative must not outlive it

    @cached_property
    def samples(self) -> Tensor:
        """Features and target side by side, (n, d + 1)."""
        return torch.cat([self.features, self.targets[:, None]], dim=1)

    @property
    def dimension(self) -> int:
        """Number d of weights."""
        return self.features.shape[1]

    def common_loss(self, x: Tensor) -> Tensor:
        """½ρ‖w‖²."""
        return 0.5 * self.ridge * (x @ x)

    def common_gradient(self, x: Tensor) -> Tensor:
        """ρw."""
        return self.ridge * x


class LeastSquares(Regression):
    """f_i(w) = ½(z_iᵀw − y_i)² + ½ρ‖w‖²: linear regression, its minimum known exactly.

    With A = (1/n) Σ z_i z_iᵀ the one critical point is w* = (A + ρI)⁻¹ (1/n) Σ y_i z_i, with Hessian A + ρI (the
    shortest of them, and flat directions, where A is singular and ρ = 0). The noise there is that of the residuals,
    C = (1/n) Σ e_i² z_i z_iᵀ − ρ²w*w*ᵀ, of type I unless the data are interpolated (type II); away from it curvatures
    z_i z_iᵀ differ too, so that noise is additive and multiplicative at once.

    Source: C. F. Gauss, Theoria combinationis observationum erroribus minimis obnoxiae, 1823; derived.
    """

    constant_hessian = True

    @classmethod
    def gaussian(
        cls,
        eigenvalues: Sequence[float] | Tensor,
        label_noise: float = 1.0,
        n: int = 1000,
        seed: int = 0,
        ridge: float = 0.0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from Gaussian features and a linear teacher with all weights 1/√d and Gaussian label noise.

        Features and label noise are centred and whitened together: A, the noise's variance and, without a ridge, the
        minimum at the teacher hold exactly. Fourth moments, and so the noise of the gradient, are those of a finite
        sample: off those of the normal law by some √(8/n) of them.

        Parameters
        ----------
        eigenvalues : (d,) or (d, d)
            Those of A, which is diagonal, all positive; or A itself.
        label_noise : float
            σ, standard deviation of y_i about the teacher.
        n, seed : int
            Number of samples, more than d + 1, and seed of the data.
        ridge : float
            ρ.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        a = torch.as_tensor(eigenvalues, dtype=torch.float64)
        a = torch.diag(a) if a.ndim == 1 else a
        if a.ndim != 2 or a.shape[0] != a.shape[1] or not torch.allclose(a, a.T):
            raise ValueError(f"give d eigenvalues or a symmetric (d, d) matrix, got {tuple(a.shape)}")
        values, vectors = torch.linalg.eigh(a)
        if not float(values[0]) > 0 or not label_noise >= 0:
            raise ValueError(f"A must be positive definite and label_noise ≥ 0, got {values.tolist()}, {label_noise}")
        d = len(a)
        white = standardized_normal(n, d + 1, seed)
        features = white[:, :d] @ (vectors * values.sqrt() @ vectors.T)
        targets = features.sum(1) / d**0.5 + label_noise * white[:, d]
        return cls(features.to(dtype), targets.to(dtype), ridge)

    @classmethod
    def digits(cls, components: int = 0, ridge: float = 0.0, dtype: torch.dtype = torch.float64) -> Self:
        """Make the regression of the digit's value, standardised, on the image; see `standardised_digits`.

        Parameters
        ----------
        components : int
            Principal components of the images; 0 takes the 61 pixels that vary.
        ridge : float
            ρ.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        features, labels = standardised_digits(components)
        labels = (labels - labels.mean()) / labels.std(correction=0)
        return cls(features.to(dtype), labels.to(dtype), ridge)

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """½(u − y)²."""
        return 0.5 * (score - target[0]) ** 2

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """u − y."""
        return score - target[0]

    @cached_property
    def _minimum(self) -> CriticalPoint:
        z, y = self.features.double(), self.targets.double()
        values, vectors = torch.linalg.eigh(z.T @ z / self.n)
        values = values.clamp(min=0) + self.ridge
        seen = values > _SINGULAR * values[-1]
        along = torch.where(seen, (vectors.T @ (z.T @ y / self.n)) / values.clamp(min=1e-300), 0.0)
        point = CriticalPoint(vectors @ along, torch.where(seen, values, 0.0), vectors, name="minimum")
        point = point.to(dtype=self.features.dtype)
        return replace(point, noise=self.noise_type(point))

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The minimum."""
        return (self._minimum,)


class LogisticRegression(Regression):
    """f_i(w) = ln(1 + exp(−y_i z_iᵀw)) + ½ρ‖w‖², y_i = ±1: convex, its minimum found by Newton's steps in float64.

    Where the classes can be separated and ρ = 0 there is no minimum, and where the features span no more than a part of
    space and ρ = 0 it is flat: no point is declared. Noise at the minimum is of type I: no label is fitted exactly.

    Source: D. R. Cox 1958, Journal of the Royal Statistical Society B 20, 215.
    """

    def __post_init__(self):
        super().__post_init__()
        if not bool((self.targets.abs() == 1).all()):
            raise ValueError(f"targets must be ±1, got {sorted(set(self.targets.tolist()))[:5]}")

    @classmethod
    def gaussian(
        cls,
        eigenvalues: Sequence[float],
        signal: float = 1.0,
        n: int = 1000,
        seed: int = 0,
        ridge: float = 0.0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from Gaussian features, A exact, and labels drawn from the model itself with all weights equal.

        Parameters
        ----------
        eigenvalues : (d,)
            Those of A, all positive.
        signal : float
            Norm of the teacher's weights: 0 makes the labels coins.
        n, seed, ridge, dtype
            As in `LeastSquares.gaussian`; n more than d.
        """
        a = torch.as_tensor(eigenvalues, dtype=torch.float64)
        if a.ndim != 1 or not len(a) or not bool((a > 0).all()):
            raise ValueError(f"eigenvalues must be d positive numbers, got {a.tolist()}")
        features = standardized_normal(n, len(a), seed) * a.sqrt()
        chance = torch.sigmoid(signal * features.sum(1) / len(a) ** 0.5)
        coins = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return cls(features.to(dtype), torch.where(coins < chance, 1.0, -1.0).to(dtype), ridge)

    @classmethod
    def digits(
        cls,
        first: int = 3,
        second: int = 8,
        components: int = 0,
        ridge: float = 0.01,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the landscape that tells two digits apart, without intercept; see `standardised_digits`.

        Parameters
        ----------
        first, second : int
            The digits with label 1 and −1: some 180 images each.
        components : int
            Principal components of the images; 0 takes the 61 pixels that vary.
        ridge : float
            ρ; two digits can mostly be separated, so that 0 leaves no minimum.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        features, labels = standardised_digits(components)
        if first == second or not {first, second} <= set(range(10)):
            raise ValueError(f"first and second must be two different digits 0 to 9, got {first} and {second}")
        kept = (labels == first) | (labels == second)
        targets = torch.where(labels[kept] == first, 1.0, -1.0)
        return cls(features[kept].to(dtype), targets.to(dtype), ridge)

    def score_loss(self, score: Tensor, target: Tensor) -> Tensor:
        """ln(1 + exp(−yu))."""
        u = -target[0] * score
        # Of logaddexp far down the second derivative is not finite; there e^u is all of it, to rounding.
        near = torch.logaddexp(torch.zeros_like(u), u.clamp(min=_FAR))
        return torch.where(u > _FAR, near, u.clamp(max=_FAR).exp())

    def score_slope(self, score: Tensor, target: Tensor) -> Tensor:
        """−y/(1 + exp(yu))."""
        return -target[0] * torch.sigmoid(-target[0] * score)

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        wide = self.to(dtype=torch.float64)
        try:
            place = minimum_below(wide, wide.features.new_zeros(self.dimension))
        except ValueError:
            return ()
        point = wide.critical_point(place, "minimum")
        return (point.to(dtype=self.features.dtype),)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The minimum, if there is one."""
        return self._points
