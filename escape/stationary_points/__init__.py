"""Stationary points of any index: many at once, one near a start, and the curvatures there in large dimension."""

from escape.stationary_points.lanczos import escape_directions
from escape.stationary_points.newton_krylov import find_critical_point
from escape.stationary_points.points import StationaryPoints
from escape.stationary_points.search import find_stationary_points

__all__ = ["StationaryPoints", "escape_directions", "find_critical_point", "find_stationary_points"]
