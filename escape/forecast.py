"""What theory says of a run from a critical point, and why not to trust it there."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from escape import theory
from escape.landscapes import CriticalPoint, Landscape
from escape.oracles import FullBatch, IsotropicNoise, Oracle

# A curvature or a noise that changes by this much within the radius is worth a word.
_BENT, _UNEVEN, _KINK = 0.1, 0.2, 0.05


@dataclass(frozen=True)
class Forecast:
    """A mean exit step with the law that it is from, or None, and every caveat in one line."""

    mean_exit_step: float | None
    law: str
    caveats: tuple[str, ...]


def noise_std(landscape: Landscape, oracle: Oracle, x: Tensor, direction: Tensor) -> float:
    """Standard deviation of the gradient that an oracle shows at x (d,), along a direction (d,)."""
    if isinstance(oracle, FullBatch):
        return 0.0
    if isinstance(oracle, IsotropicNoise):
        variance = landscape.noise_trace(x[None])[0] / len(x)
    else:
        variance = landscape.noise_along(x, direction)
    return math.sqrt(oracle.covariance_factor(landscape) * float(variance))


def sided_curvatures(landscape: Landscape, point: CriticalPoint, direction: Tensor, distance: float) -> list[float]:
    """vᵀ∇f(x* ± hv)/(±h), the mean curvature over a distance h below and above a critical point."""
    signs = torch.tensor([-distance, distance]).to(point.location)
    slopes = landscape.gradient(point.location + signs[:, None] * direction) @ direction
    return (slopes / signs).tolist()


def kink(landscape: Landscape, point: CriticalPoint, number: int) -> str:
    """Say where the curvature along an eigenvector is not the same on both sides; empty where it is."""
    declared, step = float(point.eigenvalues[number]), 1e-3
    below, above = sided_curvatures(landscape, point, point.directions[:, number], step)
    rounding = 32 * torch.finfo(point.location.dtype).eps * float(point.eigenvalues.abs().max()) / step
    if abs(above - below) <= _KINK * max(abs(above), abs(below)) + rounding:
        return ""
    return f"curvature is {below:.4g} on one side of the point and {above:.4g} on the other, declared {declared:.4g}"


def curvatures_differ(landscape: Landscape, point: CriticalPoint) -> bool:
    """Whether the samples' curvatures along the escape direction differ, at a point where their gradients do not."""
    v = point.directions[:, 0]
    return point.noise == "II" and float(landscape.noise_along(point.location + v, v)) > 1e-12


def forecast(
    landscape: Landscape,
    oracle: Oracle,
    lr: float,
    point: CriticalPoint,
    start: Tensor,
    start_std: float,
    radius: float,
) -> Forecast:
    """Mean exit step of gradient descent from a critical point with one dominant escape direction.

    Parameters
    ----------
    landscape, oracle, lr
        Of the run.
    point : CriticalPoint
        Where the landscape is linearised.
    start : Tensor (d,)
        Mean start.
    start_std : float
        Standard deviation of a normal start along the escape direction.
    radius : float
        Exit radius on the escape directions.
    """
    if not point.index:
        return Forecast(None, "", (f"{point.name} has no escape direction: theory of saddles says nothing here",))
    v, curvature = point.directions[:, 0], float(point.eigenvalues[0])
    broken = kink(landscape, point, 0)
    if broken:
        return Forecast(None, "", (broken,))
    noise = noise_std(landscape, oracle, point.location, v)
    if point.noise == "II" and not isinstance(oracle, FullBatch | IsotropicNoise):
        return Forecast(None, "", (f"{point.name} is of type II, noise vanishes there: no law of additive noise",))
    offset = float((start - point.location) @ v)
    # A normal start widens the effective kick, as noise of the same standard deviation would.
    unit = float(theory.kick_std(lr, curvature, 1.0))
    spread = math.hypot(noise * unit, start_std)
    mean, law = _mean(lr, curvature, spread, unit, radius, offset)
    caveats = _near(landscape, oracle, point, radius, noise)
    if spread:
        caveats += theory.regime(lr, curvature, spread / unit, radius)
    if point.index > 1 and math.isfinite(mean):
        others = _others(landscape, oracle, lr, point, mean)
        if others > 0.1 * radius:
            return Forecast(
                None, "", (f"{point.index} escape directions compete: the law of one dominant direction does not hold",)
            )
    # Noise far larger than the radius makes the law's mean negative; the caveat on radius/s says why there is none.
    return Forecast(mean if mean >= 1 or not spread else None, law, tuple(caveats))


def _mean(lr: float, curvature: float, spread: float, unit: float, radius: float, offset: float) -> tuple[float, str]:
    """Mean exit step and its law: a spread start or kick, or none to speak of."""
    if abs(offset) >= radius:
        return 0.0, "outside from the start"
    if spread == 0 and offset == 0:
        return math.inf, "batch descent, exactly on the point"
    if spread < abs(offset) * math.log1p(-lr * curvature):
        return float(theory.gd_exit_step(lr, curvature, radius, offset)), "batch descent, noise negligible"
    return float(theory.mean_exit_step(lr, curvature, spread / unit, radius, offset)), "linear saddle, additive noise"


def _others(landscape: Landscape, oracle: Oracle, lr: float, point: CriticalPoint, step: float) -> float:
    """Root mean square distance that noise has made along the other escape directions by a step."""
    total = 0.0
    for number in range(1, point.index):
        noise = noise_std(landscape, oracle, point.location, point.directions[:, number])
        total += float(theory.mean_square(step, lr, float(point.eigenvalues[number]), noise))
    return math.sqrt(total)


def _near(landscape: Landscape, oracle: Oracle, point: CriticalPoint, radius: float, noise: float) -> tuple[str, ...]:
    """Caveats on how far the linear picture holds along the escape direction."""
    v, curvature, caveats = point.directions[:, 0], float(point.eigenvalues[0]), []
    below, above = sided_curvatures(landscape, point, v, radius)
    if max(abs(below / curvature - 1), abs(above / curvature - 1)) > _BENT:
        mean = f"{below:.3g} and {above:.3g} on average to the radius"
        caveats.append(f"the landscape bends: curvature {curvature:.3g} at the point, {mean} on either side")
    if not noise and any(noise_std(landscape, oracle, point.location + sign * radius * v, v) for sign in (-1, 1)):
        caveats.append("noise vanishes at the point and not away from it: it is not additive")
    if noise:
        far = [noise_std(landscape, oracle, point.location + sign * radius * v, v) / noise for sign in (-1, 1)]
        if max(abs(ratio - 1) for ratio in far) > _UNEVEN:
            caveats.append(f"noise at the radius is {far[0]:.3g} and {far[1]:.3g} times that at the point")
    return tuple(caveats)
