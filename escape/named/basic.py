"""Quadratic saddles, the digits and two wells, with options that have defaults."""

from collections.abc import Callable, Sequence

from escape.landscapes import DoubleWell, Landscape, QuadraticSaddle, RankOneFactorization, TwoSlopeWell


def additive_saddle(
    eigenvalues: Sequence[float] = (-1.0, 1.0, 1.0, 1.0, 1.0),
    noise: Sequence[float] = (0.3,),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """½ Σ_j h_j x_j² + g_iᵀx, tilts g_i of standard deviation `noise`: type I."""
    return QuadraticSaddle.additive(eigenvalues, noise, n, seed)


def multiplicative_saddle(
    eigenvalues: Sequence[float] = (-1.0, 1.0, 1.0, 1.0, 1.0),
    spread: Sequence[float] = (0.5,),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """½ Σ_j h_ij x_j², curvatures of standard deviation `spread`: type II."""
    return QuadraticSaddle.multiplicative(eigenvalues, spread, n, seed)


def digits() -> Landscape:
    """¼‖x‖⁴ − ½(z_iᵀx)², z_i the handwritten digits: principal components."""
    return RankOneFactorization.digits()


def double_well(
    noise: float = 0.3, tilts: str = "rademacher", bath: Sequence[float] = (), n: int = 1000, seed: int = 0
) -> Landscape:
    """x_1⁴/4 − x_1²/2 + ½ Σ_j c_j x_j² + g_iᵀx, c_j the `bath`."""
    makers = {"rademacher": DoubleWell.rademacher, "gaussian": DoubleWell.gaussian, "heavy": DoubleWell.heavy}
    if tilts not in makers:
        raise ValueError(f"tilts must be one of {', '.join(makers)}, got {tilts!r}")
    return makers[tilts](noise, bath, n, seed)


def two_slope_well(
    sharp: float = 2.0,
    flat: float = 0.5,
    barrier: float = 0.25,
    noise: float = 0.3,
    tilts: str = "rademacher",
    scaled_noise: bool = False,
    bath: Sequence[float] = (),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """h(y² − 1)² + ½ Σ_j c_j x_j² + g_iᵀx, y = k x_1, k `sharp` left, `flat` right."""
    return TwoSlopeWell.noisy(sharp, flat, barrier, noise, bath, n, seed, tilts, scaled_noise)


BASIC: dict[str, Callable[..., Landscape]] = {
    "additive-saddle": additive_saddle,
    "multiplicative-saddle": multiplicative_saddle,
    "digits": digits,
    "double-well": double_well,
    "two-slope-well": two_slope_well,
}
