"""Landscapes by name: makers whose options all have defaults, each with its formula as the docstring."""

from collections.abc import Callable

from escape.landscapes import Landscape
from escape.named.basic import BASIC
from escape.named.learning import LEARNING
from escape.named.minima import MINIMA
from escape.named.networks import NETWORKS
from escape.named.random import RANDOM
from escape.named.saddles import SADDLES

NAMED: dict[str, Callable[..., Landscape]] = {**BASIC, **SADDLES, **MINIMA, **RANDOM, **LEARNING, **NETWORKS}

__all__ = ["NAMED"]
