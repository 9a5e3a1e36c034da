"""Reshuffled batches at a saddle: what an epoch of one random order leaves behind, and the mean exit step from that."""

import numpy as np
import torch
from scipy import integrate, stats

from escape import CriticalPoint, Landscape, theory


def reshuffled_exit_step(
    landscape: Landscape, saddle: CriticalPoint, lr: float, batch_size: int, radius: float
) -> tuple[float, float]:
    """Mean exit step under reshuffling, to leading order in lr, and the mean of the effective kick over its std.

    The tilts g_i of an epoch sum to zero. With K = ⌊n/b⌋ batches an epoch leaves along v

        lr²/b² W − lr³ B,  W = Σ_{i before j} vᵀH_j g_i,  B = 2 (xᵀC v) (1/b²) Σ_{k<K} bk (n − bk)/(n − 1),

    B from the bend 2 (xᵀδ)(vᵀδ) of the mean gradient along v, averaged over the path δ of an epoch, a bridge from
    zero to zero. Epochs add up to the effective kick Z with a = 1 + lr |λ|, A = a^K,

        E Z = (lr²/b² E W − lr³ B)/(A − 1),  Var Z = lr⁴/b⁴ Var W/(A² − 1),

    taken as normal, and E τ = (ln R − E ln|Z|)/ln a + ½.

    Parameters
    ----------
    landscape : Landscape
        f_i(x) = ¼‖x‖⁴ − ½(z_iᵀx)², whose bend is the one above.
    saddle : CriticalPoint
        With one escape direction v, of curvature λ.
    lr, batch_size, radius : float, int, float
        Of descent, b, and R.

    Returns
    -------
    tuple of float
        E τ, and |E Z|/√Var Z.

    Notes
    -----
    Regime: lr to zero at a fixed n, R ≫ √(E Z²); the relative error of E τ is of first order in lr.

    Source: derived.
    """
    n, b = landscape.n, batch_size
    x, v, curvature = saddle.location, saddle.unstable[:, 0], float(saddle.eigenvalues[0])
    tilts = landscape.sample_gradients(x)
    products = torch.einsum("i,nij,mj->nm", v, landscape.sample_hessians(x), tilts)
    mean, std = order_sum(products.numpy(), b)
    unit = (lr / b) ** 2
    used = b * np.arange(n // b)
    bridge = float(used @ (n - used)) / (n - 1) / b**2
    bend = 2 * float(x @ landscape.gradient_covariance(x) @ v) * lr**3 * bridge
    a = theory.growth_factor(lr, curvature)
    grown = a ** (n // b)
    push, kick = (unit * mean - bend) / (grown - 1), unit * std / (grown**2 - 1) ** 0.5
    return (np.log(radius) - mean_log(push, kick)) / np.log(a) + 0.5, abs(push) / kick


def order_sum(pairs: np.ndarray, b: int) -> tuple[float, float]:
    """Mean and standard deviation of W = Σ M_ji over i before j in a random order, in other batches of b.

    A pair in two batches adds the even part S of M, and the odd part A with a sign. With S_ii = 0, T = Σ_{i<j} S_ij
    and the probability p = (b − 1)/(n − 1) of two samples in one batch,

        E W = (1 − p) T,
        Var W = (1 − p) Σ A_ij²/2 + c (Σ_i (Σ_j A_ij)² − Σ A_ij²) + Var(Σ of S over pairs in one batch).

    Signs of two pairs with a sample in common have the covariance c = ((n² − b²)/3 − (n − b))/((n − 1)(n − 2)),
    others none; the even part varies with which pairs fall into one batch.

    Parameters
    ----------
    pairs : array (n, n)
        M_ji, in row j.
    b : int
        Batch size, a divisor of n; n of at least 4.

    Notes
    -----
    Source: derived; exact, for every M.
    """
    n = len(pairs)
    even, odd = (pairs + pairs.T) / 2, (pairs - pairs.T) / 2
    even[np.diag_indices(n)] = 0.0
    one = (b - 1) / (n - 1)  # two samples in one batch; then three, and two pairs of four
    three = one * (b - 2) / (n - 2)
    four = one * ((b - 2) * (b - 3) + (n - b) * (b - 1)) / ((n - 2) * (n - 3))
    signs = ((n * n - b * b) / 3 - (n - b)) / ((n - 1) * (n - 2))
    square = (odd**2).sum()
    variance = (1 - one) * square / 2 + signs * ((odd.sum(1) ** 2).sum() - square)
    total, square = even.sum() / 2, (even**2).sum() / 2
    common = (even.sum(1) ** 2).sum() - 2 * square
    variance += one * square + three * common + four * (total**2 - square - common) - (one * total) ** 2
    return float((1 - one) * total), float(variance) ** 0.5


def mean_log(mean: float, std: float) -> float:
    """E ln|Z| = ∫_0^∞ ln z (φ(z) + φ(−z)) dz of a normal Z of density φ."""
    density = stats.norm(mean, std).pdf
    parts = [integrate.quad(lambda z: np.log(z) * (density(z) + density(-z)), *ends)[0]
             for ends in ((0, std), (std, abs(mean) + 12 * std))]  # fmt: skip
    return sum(parts)
