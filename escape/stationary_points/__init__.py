"""Stationary points of any index, found in batch, with what such a search can and cannot say."""

from escape.stationary_points.points import StationaryPoints
from escape.stationary_points.search import find_stationary_points

__all__ = ["StationaryPoints", "find_stationary_points"]
