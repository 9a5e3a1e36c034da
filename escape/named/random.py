"""Random landscapes, with options that have defaults."""

from collections.abc import Callable

from escape.landscapes import FeatureField, Landscape, RandomField, SphericalPSpin, SpikedTensor


def p_spin(
    spins: int = 8, order: int = 3, noise: float = 1.0, law: str = "rademacher", n: int = 64, seed: int = 0
) -> Landscape:
    """−N^{−(p−1)/2} Σ J^i s…s on |s|² = N, N `spins`, p `order`, J^i about one Gaussian J."""
    return SphericalPSpin.gaussian(spins, order, noise, n, seed, law)


def spiked_tensor(
    spins: int = 8,
    order: int = 3,
    signal: float = 2.0,
    noise: float = 1.0,
    law: str = "rademacher",
    n: int = 64,
    seed: int = 0,
) -> Landscape:
    """−(N/√p) (⟨Z^i, u…u⟩ + θ⟨v, u⟩^p), u = s/√N: a p-spin with a planted v, θ `signal`."""
    return SpikedTensor.gaussian(spins, order, signal, noise, n, seed, law)


def random_field(
    d: int = 2,
    noise: float = 0.3,
    length: float = 1.0,
    amplitude: float = 1.0,
    stiffness: float = 0.2,
    features: int = 500,
    law: str = "gaussian",
    n: int = 1000,
    seed: int = 0,
) -> Landscape:
    """½ k|x|² + A √(2/m) Σ_j cos(w_jᵀx + φ_j) + g_iᵀx: a Gaussian field in a bowl, m `features`."""
    return RandomField.gaussian(d, noise, length, amplitude, stiffness, features, n, seed, law)


def feature_field(
    d: int = 2, length: float = 1.0, amplitude: float = 1.0, stiffness: float = 0.2, n: int = 500, seed: int = 0
) -> Landscape:
    """½ k|x|² + A √(2n) cos(w_iᵀx + φ_i): a Gaussian field in a bowl, a sample a feature."""
    return FeatureField.gaussian(d, length, amplitude, stiffness, n, seed)


RANDOM: dict[str, Callable[..., Landscape]] = {
    "p-spin": p_spin,
    "spiked-tensor": spiked_tensor,
    "random-field": random_field,
    "feature-field": feature_field,
}
