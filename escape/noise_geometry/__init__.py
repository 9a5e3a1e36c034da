"""Noise of mini-batches at a point: how isotropic it is, how it lies to the curvature, and how surrogates match it."""

from escape.noise_geometry.geometry import Along, NoiseGeometry, noise_geometry
from escape.noise_geometry.match import MatchRow, NoiseMatch, noise_match
from escape.noise_geometry.moments import batch_kurtosis
from escape.noise_geometry.number import Number
from escape.noise_geometry.record import measured_match, recorded_match

__all__ = [
    "Along",
    "MatchRow",
    "NoiseGeometry",
    "NoiseMatch",
    "Number",
    "batch_kurtosis",
    "measured_match",
    "noise_geometry",
    "noise_match",
    "recorded_match",
]
