"""Networks on data, with options that have defaults."""

from collections.abc import Callable

from escape.landscapes import Landscape, TanhNetwork


def digits_network(width: int = 2, components: int = 10, loss: str = "cross-entropy") -> Landscape:
    """ℓ(V tanh(W z_i), class), z_i the digits' first principal `components` (0: all pixels), ℓ the `loss`."""
    return TanhNetwork.digits(width, components, loss)


NETWORKS: dict[str, Callable[..., Landscape]] = {
    "digits-network": digits_network,
}
