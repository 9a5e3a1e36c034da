"""Saddles and chains of saddles, with options that have defaults."""

from collections.abc import Callable

from escape.landscapes import Landscape

SADDLES: dict[str, Callable[..., Landscape]] = {}
