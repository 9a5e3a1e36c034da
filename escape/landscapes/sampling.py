"""Finite samples with exactly prescribed moments, the raw material of per-sample noise."""

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor


def standardized_normal(n: int, d: int, seed: int) -> Tensor:
    """Draw n standard normal rows, then centre and whiten: mean zero and covariance I hold exactly (divisor n).

    Parameters
    ----------
    n, d : int
        Number of rows and of columns; whitening needs n > d.
    seed : int
        Seed of the draw.

    Returns
    -------
    Tensor (n, d), float64.
    """
    if n <= d:
        raise ValueError(f"n = {n} samples cannot have an exact covariance in d = {d} dimensions; take n > d")
    rows = np.random.default_rng(seed).standard_normal((n, d))
    rows -= rows.mean(0)
    factor = np.linalg.cholesky(rows.T @ rows / n)
    rows = np.linalg.solve(factor, rows.T).T
    return torch.from_numpy(rows - rows.mean(0))


def balanced_signs(n: int, d: int, seed: int) -> Tensor:
    """Draw n rows of ±1 with as many plus as minus signs in every column: mean zero and variance one exactly.

    Columns are shuffled independently, so that correlations between columns are of order 1/√n, not exactly zero.

    Parameters
    ----------
    n, d : int
        Number of rows, even, and of columns.
    seed : int
        Seed of the shuffles.

    Returns
    -------
    Tensor (n, d), float64.
    """
    if n < 2 or n % 2:
        raise ValueError(f"balanced signs need an even number of samples, got n = {n}")
    column = np.repeat([1.0, -1.0], n // 2)[:, None]
    return torch.from_numpy(np.random.default_rng(seed).permuted(np.broadcast_to(column, (n, d)), axis=0))


def heavy_tails(n: int, d: int, seed: int, freedom: float = 3.0) -> Tensor:
    """Shuffle the quantiles of Student's t at (i − ½)/n in every column: mean zero and variance one exactly.

    A finite sample has all moments, so this is heavy-tailed up to its largest number, which grows as n^(1/ν). With
    ν = 3 the kurtosis E z⁴ grows as n^(1/3): 6.22 for n = 100, 13.7 for 1000 and 29.7 for 10 000 (a Gaussian has 3),
    the largest number being 3.82, 7.88 and 16.6. Columns are shuffled independently, so that correlations between
    columns are of order 1/√n, not exactly zero.

    Parameters
    ----------
    n, d : int
        Number of rows, at least 2, and of columns.
    seed : int
        Seed of the shuffles.
    freedom : float
        ν, degrees of freedom, positive; of the law itself the moments from order ν on are infinite.

    Returns
    -------
    Tensor (n, d), float64.
    """
    if n < 2 or not freedom > 0:
        raise ValueError(f"heavy tails need n ≥ 2 samples and freedom > 0, got n = {n} and freedom = {freedom}")
    column = stdtrit(freedom, (np.arange(n) + 0.5) / n)
    column = (column - column[::-1]) / 2
    column /= np.sqrt(np.mean(column**2))
    return torch.from_numpy(np.random.default_rng(seed).permuted(np.broadcast_to(column[:, None], (n, d)), axis=0))


def tilts_of(kind: str, n: int, d: int, noise: float, seed: int) -> Tensor:
    """Draw tilts (n, d) of standard deviation `noise` in every coordinate, by the name of their law.

    Parameters
    ----------
    kind : {"rademacher", "gaussian", "heavy"}
        `balanced_signs`, `standardized_normal` or `heavy_tails`.
    n, d, noise, seed
        Rows, columns, standard deviation, seed.
    """
    laws = {"rademacher": balanced_signs, "gaussian": standardized_normal, "heavy": heavy_tails}
    if kind not in laws:
        raise ValueError(f"unknown law of tilts {kind!r}; one of {', '.join(laws)}")
    if not noise >= 0:
        raise ValueError(f"noise is a standard deviation and must be ≥ 0, got {noise}")
    return noise * laws[kind](n, d, seed)
