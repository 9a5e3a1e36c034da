"""A matrix from some of its entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.matrix_product import MatrixProduct, check_rank, planted_matrix


@dataclass(frozen=True, eq=False)
class _Entries(Landscape):
    """h_i(X) = ½(X_j − y_i)², the position j and y_i of a sample side by side."""

    samples: Tensor

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """½(X_j − y_i)²."""
        return 0.5 * (x.gather(0, sample[:1].long())[0] - sample[1]) ** 2

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """X_j − y_i at j, zero elsewhere."""
        place = sample[:1].long()
        return torch.zeros_like(x).scatter(0, place, x.gather(0, place) - sample[1:])

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇h_i(X): X (c, p q), weights (c, n) -> (c, p q)."""
        places = self.samples[:, 0].long().expand(len(x), -1)
        return torch.zeros_like(x).scatter_add(1, places, weights * (x.gather(1, places) - self.samples[:, 1]))

    def _full_gradient(self, x: Tensor) -> Tensor:
        return self.weighted_gradient(x, x.new_full((len(x), self.n), 1.0 / self.n))

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        places, targets = self.samples[:, 0].long()[index], self.samples[:, 1][index]
        return torch.zeros_like(x).scatter_add(1, places, (x.gather(1, places) - targets) / index.shape[1])


@dataclass(frozen=True, eq=False)
class MatrixCompletion(MatrixProduct):
    """f_i(U, V) = ½((UVᵀ)_jk − y_i)²: a matrix from n of its entries, (j, k) that of sample i.

    With Y the matrix of the sums of observed y_i, over n, and zeros elsewhere, the origin has the Hessian ∓σ_i(Y) along
    its singular vectors, in every column, and no noise (type II). Where the truth B is given and y_i are its entries,
    its balanced factors are a minimum without noise. Where every entry is seen equally often, the mean is
    ½‖UVᵀ − pqY‖²/(pq) up to a constant, and all points are those of `MatrixFactorization` with curvatures over pq; the
    noise is another: that of seeing one entry at a time.

    Source: Ge, Lee and Ma 2016 (arXiv 1605.07272), there for UUᵀ and with a regularizer; spectra derived.

    Parameters
    ----------
    entries : Tensor (n, 2), integer
        Row j and column k of every observed entry.
    targets : Tensor (n,)
        y_i.
    size : (int, int)
        p and q.
    rank : int
        r, from 1 to the shorter side.
    truth : Tensor (p, q), optional
        B.
    """

    entries: Tensor
    targets: Tensor
    size: tuple[int, int]
    rank: int = 1
    truth: Tensor | None = None

    def __post_init__(self):
        if self.entries.ndim != 2 or self.entries.shape[1:] != (2,) or not len(self.entries):
            raise ValueError(f"entries must be (n, 2) with n ≥ 1, got {tuple(self.entries.shape)}")
        if self.entries.is_floating_point() or self.targets.shape != self.entries.shape[:1]:
            raise ValueError(
                f"entries must be integers and targets one number for each, got {self.entries.dtype} and "
                f"{tuple(self.targets.shape)}"
            )
        limits = torch.tensor(self.size).to(self.entries)
        if not bool(((self.entries >= 0) & (self.entries < limits)).all()):
            raise ValueError(f"entries must lie in a {self.size[0]} × {self.size[1]} matrix, counted from 0")
        if not torch.equal(self._places.to(self.targets.dtype).long(), self._places.long()):
            raise ValueError(
                f"{self.targets.dtype} cannot tell all entries of a {self.size[0]} × {self.size[1]} matrix apart; give "
                "targets of a wider dtype"
            )
        check_rank(self.rank, self.size)
        if self.truth is not None and tuple(self.truth.shape) != tuple(self.size):
            raise ValueError(f"truth must be {tuple(self.size)}, got {tuple(self.truth.shape)}")
        self.flat  # noqa: B018 - made here: a tensor made inside a derivative must not outlive it

    @classmethod
    def planted(
        cls,
        singular_values: Sequence[float],
        rows: int = 6,
        columns: int = 5,
        rank: int = 1,
        share: float = 0.7,
        label_noise: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make it from a matrix with these singular values and random singular vectors.

        Parameters
        ----------
        singular_values : sequence of float
            Of B, at most as many as its shorter side.
        rows, columns, rank : int
            p, q and r.
        share : float
            Share of the entries that are seen, drawn without repetition; 1 sees all.
        label_noise : float
            Standard deviation of the Gaussian noise on every entry seen.
        seed : int
            Seed of vectors, entries and noise.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        if not 0 < share <= 1 or not label_noise >= 0:
            raise ValueError(f"share must lie above 0 and up to 1, label_noise be ≥ 0, got {share} and {label_noise}")
        rng, diagonal = np.random.default_rng(seed), planted_matrix(singular_values, rows, columns)
        left, right = (torch.from_numpy(np.linalg.qr(rng.standard_normal((side, side)))[0]) for side in (rows, columns))
        truth = left @ diagonal @ right.T
        seen = np.sort(rng.permutation(rows * columns)[: max(1, round(share * rows * columns))])
        noise = torch.from_numpy(rng.standard_normal(len(seen)))
        entries = torch.from_numpy(np.stack(np.divmod(seen, columns), axis=1))
        targets = truth[entries[:, 0], entries[:, 1]] + label_noise * noise
        return cls(entries, targets.to(dtype), (rows, columns), rank, truth.to(dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows p and columns q of the product."""
        return tuple(self.size)

    @cached_property
    def flat(self) -> Landscape:
        """½(X_jk − y_i)²."""
        return _Entries(torch.stack([self._places.to(self.targets.dtype), self.targets], dim=1))

    @property
    def _places(self) -> Tensor:
        return self.entries[:, 0] * self.size[1] + self.entries[:, 1]

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        cells, y = self.size[0] * self.size[1], self.targets.double()
        mean = torch.zeros(cells).to(y).index_add(0, self._places, y / self.n).view(self.size)
        seen = torch.bincount(self._places, minlength=cells)
        if bool((seen == seen[0]).all()):
            return self._all_points(cells * mean, 1 / cells)
        truth = None if self.truth is None else self.truth.double()
        rounding = 64 * torch.finfo(self.targets.dtype).eps * float(y.abs().max())
        if truth is not None and float((truth.flatten()[self._places] - y).abs().max()) > rounding:
            truth = None  # the labels are noisy
        return self._origin_and_truth(mean, truth)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The origin and the truth; all balanced points if every entry is seen equally often."""
        return self._points
