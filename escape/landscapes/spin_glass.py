"""Spherical p-spin glasses and spiked tensors: random polynomials on a sphere, with saddles of every index."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from math import sqrt
from typing import Self

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.batches import one_thread
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.sampling import tilts_of
from escape.stationary_points import find_stationary_points

# Starts and steps of the search for points that no formula gives.
_STARTS, _STEPS = 100, 60


@dataclass(frozen=True, eq=False)
class SphericalPSpin(Landscape):
    """f_i(s) = −N^{−(p−1)/2} Σ J^i_{a…b} s_a … s_b on the sphere |s|² = N, every sample with disorder J^i of its own.

    f has the mean disorder J, and is of order N, its Hessian of order 1. Off the sphere f_i(x) is its value at
    √N x/|x|, so that gradients are tangent and every Hessian has one zero, along x; `retract` returns to the sphere.
    For large N, p ≥ 3 and Gaussian J there are e^{N ln(p−1)/2} stationary points, of which a share e^{−N(p−2)/p} are
    minima, all with energies near −N·2√((p−1)/p) or below; `escape.theory.pspin_counts` has the exact means by index.
    Noise: the tangent part of J^i − J, of type I at every stationary point unless `noise` is zero.

    Stationary points: for p = 2 all are known, ±√N v_k with v_k the eigenvectors of the symmetrised J, of eigenvalues
    2(l_k − l_j)/√N, so one pair of minima. For p ≥ 3 `critical_points` gives those that a seeded search of 100 starts
    finds, by no means all; `find_stationary_points` searches at length.

    Source: Crisanti and Sommers 1992, Z. Phys. B 87, 341; Auffinger, Ben Arous and Černý 2013, Comm. Pure Appl. Math.
    66, 165.

    Parameters
    ----------
    couplings : Tensor (n, N^p)
        J^i, each symmetric in its p indices, flattened.
    order : int
        p ≥ 2.
    """

    couplings: Tensor
    order: int
    affine = True

    def __post_init__(self):
        if self.order < 2:
            raise ValueError(f"the order p must be at least 2, got {self.order}; p = 1 has no saddle")
        if self.couplings.ndim != 2 or not len(self.couplings) or self.dimension**self.order != self.couplings.shape[1]:
            raise ValueError(f"couplings must be (n, N^{self.order}) for a whole N, got {tuple(self.couplings.shape)}")

    @classmethod
    def gaussian(
        cls,
        spins: int = 8,
        order: int = 3,
        noise: float = 1.0,
        n: int = 64,
        seed: int = 0,
        law: str = "rademacher",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Draw J with independent N(0, 1) entries, and about it a disorder for every sample.

        Parameters
        ----------
        spins, order : int
            N and p; a sample has N^p numbers.
        noise : float
            Standard deviation of every entry of J^i − J before it is made symmetric, in units of that of J; the
            mean of the J^i is J exactly. noise = √n is a sum of n independent parts.
        n, seed : int
            Number of samples (even for Rademacher), and seed of all disorder.
        law : {"rademacher", "gaussian"}
            Law of the entries of J^i − J, as in `tilts_of`; the Gaussian one needs n > N^p.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        return cls(_disorder(spins, order, noise, n, seed, law).to(dtype), order)

    @property
    def samples(self) -> Tensor:
        """The couplings, (n, N^p)."""
        return self.couplings

    @cached_property
    def dimension(self) -> int:
        """Number N of spins."""
        return round(self.couplings.shape[1] ** (1 / self.order))

    def retract(self, x: Tensor) -> Tensor:
        """√N x/|x|."""
        return x * (sqrt(self.dimension) / x.norm(dim=1, keepdim=True))

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """−√N J(u, …, u) with u = x/|x|."""
        u = x / (x @ x).sqrt()
        return -sqrt(self.dimension) * (self._contracted(sample, u, self.order - 1) @ u)

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """−(√N p/|x|) (J(u, …, u, ·) − J(u, …, u) u)."""
        r = (x @ x).sqrt()
        u = x / r
        slope = self._contracted(sample, u, self.order - 1)
        return -sqrt(self.dimension) * self.order / r * (slope - (slope @ u) * u)

    def hessian(self, x: Tensor) -> Tensor:
        """−(√N p/|x|²) ((p−1) PJ(u, …, u, ·, ·)P − J(u, …, u) P − u tᵀ − t uᵀ), P = I − uuᵀ and t = PJ(u, …, u, ·)."""
        p, r = self.order, (x @ x).sqrt()
        u = x / r
        matrix = self._contracted(self.mean_sample, u, p - 2).reshape(self.dimension, self.dimension)
        slope = matrix @ u
        value = slope @ u
        tangent = slope - value * u
        projector = torch.eye(self.dimension).to(x) - torch.outer(u, u)
        mixed = torch.outer(u, tangent)
        inner = (p - 1) * projector @ matrix @ projector - value * projector - mixed - mixed.T
        return -sqrt(self.dimension) * p / (r * r) * inner

    def critical_point(self, location: Tensor, name: str = "") -> CriticalPoint:
        """Describe a stationary point, its radial direction as a gauge."""
        return replace(super().critical_point(location, name), gauge=1)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """For p = 2 all 2N, lowest first; for p ≥ 3 those that a short search finds."""
        return self._points

    @cached_property
    def _points(self) -> tuple[CriticalPoint, ...]:
        if self.order == 2:
            return self._eigenpoints()
        found = find_stationary_points(self.to(dtype=torch.float64), _STARTS, index=range(self.dimension), steps=_STEPS)
        if self.couplings.dtype == torch.float64:
            return found.critical_points()
        return tuple(self.critical_point(p.location.to(self.couplings), p.name) for p in found.critical_points())

    def _eigenpoints(self) -> tuple[CriticalPoint, ...]:
        d = self.dimension
        values, vectors = torch.linalg.eigh(self.mean_sample.double().reshape(d, d))
        points = []
        for k in reversed(range(d)):
            curvatures = (2 / sqrt(d) * (values[k] - values)).to(self.couplings)
            curvatures, order = curvatures.sort()
            directions = vectors[:, order].to(self.couplings)
            for sign in (1, -1):
                name = f"{'+' if sign > 0 else '-'}sqrt(N) v_{d - k}"
                location = sign * sqrt(d) * vectors[:, k].to(self.couplings)
                bare = CriticalPoint(location, curvatures, directions, name=name, gauge=1)
                points.append(replace(bare, noise=self.noise_type(bare)))
        return tuple(points)

    @cached_property
    @one_thread()
    def sample_root(self) -> Tensor:
        """L (N^p, r) with L Lᵀ the covariance of the couplings, from their n rows: r < n, far below N^p."""
        centred = (self.couplings - self.couplings.mean(0)).double() / sqrt(self.n)
        _, values, vectors = torch.linalg.svd(centred, full_matrices=False)
        keep = values > 1e-6 * values.amax().clamp(min=1e-300)
        return (vectors[keep].T * values[keep]).to(self.couplings.dtype).contiguous()

    def _contracted(self, tensor: Tensor, u: Tensor, times: int) -> Tensor:
        """J(u, …, u, ·) with u put in so many times, flattened."""
        for _ in range(times):
            tensor = tensor.reshape(-1, u.shape[0]) @ u
        return tensor


@dataclass(frozen=True, eq=False)
class SpikedTensor(SphericalPSpin):
    """The p-spin with a planted direction: f_i(s) = −(N/√p) (⟨Z^i, u^{⊗p}⟩ + θ ⟨v, u⟩^p), u = s/√N, |v| = 1.

    Z^i = √(p/N) J^i, so that for p = 2 its mean is a matrix whose eigenvalues fill [−2, 2] as N grows, and the signal
    θ stands out above θ = 1: then the largest eigenvalue of Z + θvvᵀ is near θ + 1/θ and the minimum s = ±√N u has
    ⟨u, v⟩² near 1 − θ^{−2}; below, near 2 and 0. For p ≥ 3 the lowest minimum finds v above a threshold of order one
    too, but descent from a random start does not, unless θ is of order N^{(p−2)/2} or so. Sphere, noise and stationary
    points as for `SphericalPSpin`, with ∇²f(s) for p = 2 of eigenvalues √2 (l_k − l_j), l those of Z + θvvᵀ.

    Source: Péché 2006, Probab. Theory Relat. Fields 134, 127 (p = 2); Montanari and Richard 2014 (arXiv 1411.1076).

    Parameters
    ----------
    couplings : Tensor (n, N^p)
        J^i with the signal, θ√(N/p) v^{⊗p}, in it.
    order : int
        p ≥ 2.
    spike : Tensor (N,)
        v.
    """

    spike: Tensor

    @classmethod
    def gaussian(
        cls,
        spins: int = 8,
        order: int = 3,
        signal: float = 2.0,
        noise: float = 1.0,
        n: int = 64,
        seed: int = 0,
        law: str = "rademacher",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Draw J as `SphericalPSpin.gaussian` does and plant v = (1, …, 1)/√N with θ = signal.

        Parameters
        ----------
        spins, order, noise, n, seed, law, dtype
            As there.
        signal : float
            θ ≥ 0.
        """
        if not signal >= 0:
            raise ValueError(f"signal is a strength and must be ≥ 0, got {signal}")
        couplings = _disorder(spins, order, noise, n, seed, law)
        spike = torch.full((spins,), spins**-0.5, dtype=torch.float64)
        planted = signal * sqrt(spins / order) * spins ** (-order / 2)
        return cls((couplings + planted).to(dtype), order, spike.to(dtype))

    def overlap(self, x: Tensor) -> Tensor:
        """⟨v, x/|x|⟩ at points: (c, N) -> (c,)."""
        return x @ self.spike / x.norm(dim=1)


def _disorder(spins: int, order: int, noise: float, n: int, seed: int, law: str) -> Tensor:
    """Symmetric couplings of every sample, (n, N^p), their mean the symmetric part of independent N(0, 1) entries."""
    if spins < 2 or order < 2:
        raise ValueError(f"spins and order must be at least 2, got {spins} and {order}")
    if n * spins**order > 1 << 28:
        raise ValueError(f"{n} samples of {spins}^{order} couplings do not fit into 2 GiB; take fewer")
    common = np.random.default_rng(seed).standard_normal(spins**order)
    parts = tilts_of(law, n, spins**order, noise, seed + 1) if noise else torch.zeros(n, spins**order)
    return _symmetric(torch.from_numpy(common) + parts.double(), spins, order)


def _symmetric(couplings: Tensor, spins: int, order: int) -> Tensor:
    full = couplings.reshape(-1, *[spins] * order)
    turned = [full.permute(0, *(1 + axis for axis in axes)) for axes in permutations(range(order))]
    return (sum(turned) / len(turned)).reshape(len(couplings), -1)
