"""Saddles and chains of saddles, with options that have defaults."""

import math
from collections.abc import Callable, Sequence

from escape.landscapes import DegenerateSaddle, Landscape, MonkeySaddle, Octopus, Oja, TensorDecomposition


def monkey(
    noise: float = 0.1, tilts: str = "gaussian", bath: Sequence[float] = (), n: int = 1000, seed: int = 0
) -> Landscape:
    """x_1³ − 3x_1x_2² + ½ Σ_j c_j x_j² + g_iᵀx, c_j the `bath`: the flat monkey saddle."""
    return MonkeySaddle.noisy(noise, bath, n, seed, tilts)


def degenerate_saddle(
    degree: float = 4.0,
    coefficient: float = 1.0,
    two_sided: bool = True,
    noise: float = 0.1,
    tilts: str = "gaussian",
    bath: Sequence[float] = (1.0,),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """−k|x_1|ᵖ/p + ½ Σ_j c_j x_j² + g_iᵀx, p the `degree`, k the `coefficient`: flat."""
    return DegenerateSaddle.noisy(noise, degree, coefficient, two_sided, bath, n, seed, tilts)


def octopus(
    d: int = 10,
    tau: float = math.e,
    L: float = 1.0,
    gamma: float = 1.0,
    noise: float = 1e-3,
    tilts: str = "gaussian",
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """L(|x_j| − 4τ)² behind, −γx_j² now, L x_j² ahead, + g_iᵀx: d saddles in a chain."""
    return Octopus.noisy(d, noise, tau, L, gamma, n, seed, tilts)


def oja(eigenvalues: Sequence[float] = (1.0, 0.5, 0.25, 0.1), n: int = 1000, seed: int = 0) -> Landscape:
    """−½(a_iᵀx)²/‖x‖², Gaussian a_i with second moments `eigenvalues`: Oja's rule."""
    return Oja.gaussian(eigenvalues, n, seed)


def tensor_decomposition(d: int = 10) -> Landscape:
    """(y_iᵀx)⁴/(8‖x‖⁴) − 3/8, signs y_i: −¼ Σ_j x_j⁴ on the sphere."""
    return TensorDecomposition.of_dimension(d)


SADDLES: dict[str, Callable[..., Landscape]] = {
    "monkey": monkey,
    "degenerate-saddle": degenerate_saddle,
    "octopus": octopus,
    "oja": oja,
    "tensor-decomposition": tensor_decomposition,
}
