"""Forecasts, and that of the exit from a saddle under stable noise, which has no variance."""

import math
from dataclasses import dataclass

from torch import Tensor

from escape import theory
from escape.landscapes import CriticalPoint, Landscape
from escape.oracles import StableNoise

# The share of the radius that stable noise may be at any time but for large jumps.
_SMALL = 0.01
# Share of the radius that other escape directions may reach by the exit.
_COMPETES = 0.1


@dataclass(frozen=True)
class Forecast:
    """A mean exit step and its standard deviation with the law that they are from, or None, and every caveat."""

    mean_exit_step: float | None
    std: float | None
    law: str
    caveats: tuple[str, ...]


def stable_exit(
    landscape: Landscape,
    oracle: StableNoise,
    lr: float,
    momentum: float,
    point: CriticalPoint,
    along: Tensor,
    start_std: float,
    radius: float,
    equal: int,
) -> Forecast:
    """Exit from a saddle under stable noise of alpha below 2, by the law of its kick.

    Parameters
    ----------
    landscape, oracle, lr, momentum
        Of the run.
    point : CriticalPoint
        The saddle.
    along : Tensor (k,)
        Mean start, along the escape directions.
    start_std : float
        Standard deviation of a normal start.
    radius : float
        Exit radius on the escape directions.
    equal : int
        Number of escape directions of the same curvature: all of them, or one.
    """
    scale, alpha = oracle.noise_scale(landscape, point.location), oracle.alpha
    if momentum or start_std or bool((along != 0).any()):
        return Forecast(None, None, "", ("under stable noise theory starts on the saddle, and without momentum",))
    if not scale:
        return Forecast(None, None, "", ("the scale of the stable noise vanishes at the point: no additive noise",))
    curvatures, k = point.eigenvalues[: point.index].tolist(), equal
    mean = float(theory.stable_saddle_exit_step(lr, curvatures[0], alpha, scale, radius, k))
    kick = float(theory.stable_kick_scale(lr, curvatures[0], alpha, scale))
    caveats = []
    if (kick / radius) ** alpha > _SMALL:
        caveats.append(f"(s/radius)^alpha = {(kick / radius) ** alpha:.2g}: single jumps carry chains out")
    if mean < 1:
        return Forecast(None, None, "", tuple(caveats))
    if k < point.index:
        others = (theory.stable_kick_scale(lr, h, alpha, scale) * (1 - lr * h) ** mean for h in curvatures[1:])
        if max(others) > _COMPETES * radius:
            text = f"{point.index} escape directions compete: the law of one dominant direction does not hold"
            return Forecast(None, None, "", (text,))
    law = "linear saddle, stable noise" + (f", {k} equal directions" if k > 1 else "")
    std = math.sqrt(theory.stable_saddle_exit_variance(lr, curvatures[0], alpha, k))
    return Forecast(mean, std, law, tuple(caveats))
