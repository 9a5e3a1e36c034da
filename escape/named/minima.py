"""Sharp and flat minima, and the barriers between them, with options that have defaults."""

from collections.abc import Callable, Sequence

from escape.landscapes import (
    BiChannel,
    Landscape,
    MuellerBrown,
    MultiWell,
    Rosenbrock,
    StyblinskiTang,
    TwoBasins,
    WuMaEPair,
)


def two_basins(
    spread: float = 0.01,
    sharp: Sequence[float] = (20.0, 200.0),
    flat: float = 2.0,
    tilts: str = "gaussian",
    bath: Sequence[float] = (),
    n: int = 100,
    seed: int = 0,
) -> Landscape:
    """min(sharp basin, flat basin) at x − z_i, data z_i of std `spread`: Zhu et al."""
    return TwoBasins.noisy(spread, sharp, flat, bath, n, seed, tilts)


def wu_ma_e(
    curvature: float = 2.0,
    spread_left: float = 0.0,
    spread_right: float = 1.8,
    noise: float = 0.0,
    tilts: str = "rademacher",
    bath: Sequence[float] = (),
    n: int = 100,
    seed: int = 0,
) -> Landscape:
    """min(½a_i x_1², ½b_i(x_1 − 1)²) + ½ Σ_j c_j x_j² + g_iᵀx: equal minima, unequal samples."""
    return WuMaEPair.noisy(curvature, spread_left, spread_right, noise, bath, n, seed, tilts)


def m_wells(
    wells: int = 3,
    barrier: float = 1.0,
    spacing: float = 2.0,
    noise: float = 0.3,
    tilts: str = "rademacher",
    multiplicative: bool = False,
    bath: Sequence[float] = (1.0,),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """(h/2)(1 − cos(2πx_1/L)) + ½ Σ_j c_j x_j² + g_iᵀx: m minima, m − 1 saddles in any d."""
    knobs = {"wells": wells, "barrier": barrier, "spacing": spacing}
    return MultiWell.noisy(noise, bath, n, seed, tilts, multiplicative, **knobs)


def styblinski_tang(
    coordinates: int = 2,
    scale: float = 1.0,
    tilt: float = 5.0,
    noise: float = 1.0,
    tilts: str = "rademacher",
    multiplicative: bool = False,
    bath: Sequence[float] = (),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """(A/2) Σ_j (x_j⁴ − 16x_j² + k x_j) + g_iᵀx, A the `scale`, k the `tilt`: 3^m points."""
    knobs = {"coordinates": coordinates, "scale": scale, "tilt": tilt}
    return StyblinskiTang.noisy(noise, bath, n, seed, tilts, multiplicative, **knobs)


def rosenbrock(
    coordinates: int = 5,
    scale: float = 0.001,
    steepness: float = 100.0,
    noise: float = 0.01,
    tilts: str = "rademacher",
    multiplicative: bool = False,
    bath: Sequence[float] = (),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """A Σ_j [(1 − x_j)² + k(x_{j+1} − x_j²)²] + g_iᵀx: a curved valley."""
    knobs = {"coordinates": coordinates, "scale": scale, "steepness": steepness}
    return Rosenbrock.noisy(noise, bath, n, seed, tilts, multiplicative, **knobs)


def mueller_brown(
    scale: float = 0.001,
    noise: float = 0.1,
    tilts: str = "rademacher",
    multiplicative: bool = False,
    bath: Sequence[float] = (),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """A times the four exponentials of Müller and Brown + g_iᵀx: three minima, two saddles."""
    return MuellerBrown.noisy(noise, bath, n, seed, tilts, multiplicative, scale=scale)


def bi_channel(
    scale: float = 1.0,
    noise: float = 1.0,
    tilts: str = "rademacher",
    multiplicative: bool = False,
    bath: Sequence[float] = (),
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """A(x_1⁴ + (x_2 − ⅓)⁴)/5 plus a hill and three holes + g_iᵀx: two channels."""
    return BiChannel.noisy(noise, bath, n, seed, tilts, multiplicative, scale=scale)


MINIMA: dict[str, Callable[..., Landscape]] = {
    "two-basins": two_basins,
    "wu-ma-e": wu_ma_e,
    "m-wells": m_wells,
    "styblinski-tang": styblinski_tang,
    "rosenbrock": rosenbrock,
    "mueller-brown": mueller_brown,
    "bi-channel": bi_channel,
}
