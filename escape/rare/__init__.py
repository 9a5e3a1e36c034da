"""Averages that rare chains carry, by chains drawn towards them and weighted for it, and by populations of clones."""

from escape.rare._moment import TiltedMoment
from escape.rare.cloning import MomentRate, moment_rate
from escape.rare.tilted import growth_tilt, tilted_mean_square

__all__ = ["MomentRate", "TiltedMoment", "growth_tilt", "moment_rate", "tilted_mean_square"]
