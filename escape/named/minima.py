"""Sharp and flat minima, and the barriers between them, with options that have defaults."""

from collections.abc import Callable

from escape.landscapes import Landscape

MINIMA: dict[str, Callable[..., Landscape]] = {}
