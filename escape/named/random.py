"""Random landscapes, with options that have defaults."""

from collections.abc import Callable

from escape.landscapes import Landscape

RANDOM: dict[str, Callable[..., Landscape]] = {}
