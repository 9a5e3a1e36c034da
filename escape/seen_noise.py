"""The noise that an oracle shows at a critical point: its size, whether there is any, and how the exit law feels it."""

import math

import torch
from torch import Tensor

from escape import theory
from escape.landscapes import CriticalPoint, Landscape
from escape.oracles import GaussianNoise, MiniBatch, Oracle, Reshuffled, StableNoise

ALIKE = 1e-3  # relative difference of curvature and noise up to which escape directions count as equal
# Units of roundoff, of all that a gradient is made of, below which its standard deviation counts as zero.
_ROUNDING = 1e3


def noise_std(landscape: Landscape, oracle: Oracle, x: Tensor, direction: Tensor) -> float:
    """Standard deviation of the gradient that an oracle shows at x (d,), along a direction (d,); inf if it has none."""
    return math.sqrt(oracle.noise_variance(landscape, x, direction))


def heavy(oracle: Oracle) -> bool:
    """Whether the noise is stable of infinite variance."""
    return type(oracle) is StableNoise and oracle.alpha < 2


def noise_size(landscape: Landscape, oracle: Oracle, x: Tensor, direction: Tensor) -> float:
    """`noise_std`, or the scale of noise that has no standard deviation."""
    return oracle.noise_scale(landscape, x) if heavy(oracle) else noise_std(landscape, oracle, x, direction)


def noise_kind(landscape: Landscape, oracle: Oracle, point: CriticalPoint) -> str:
    """Whether an oracle shows noise at a critical point along its escape directions: "I", "II", or "none" anywhere.

    At a minimum, along any direction. For true batches, and noise of their covariance, it is the point's own type.
    """
    if not oracle.noisy(landscape):
        return "none"
    if type(oracle) in (MiniBatch, Reshuffled, GaussianNoise):
        return point.noise or landscape.noise_type(point)
    x = point.location
    # At a minimum all directions count; where not all eigenvectors are known, the coordinate axes do as well.
    every = point.directions if point.complete else torch.eye(len(x)).to(x)
    directions = point.unstable if point.index else every
    variance = max(oracle.noise_variance(landscape, x, v) for v in directions.T)
    if variance == 0 or math.isinf(variance):
        return "II" if variance == 0 else "I"
    square = float(landscape.noise_trace(x[None])[0]) + float((landscape.gradient(x) ** 2).sum())
    size = square + float(x.norm() * point.eigenvalues.abs().max()) ** 2
    # Noise that is not made of gradients is as given, however small.
    floor = 0.0 if oracle.batch is None else (_ROUNDING * torch.finfo(x.dtype).eps) ** 2 * size
    return "I" if variance > floor else "II"


def equal_directions(landscape: Landscape, oracle: Oracle, point: CriticalPoint) -> int:
    """Number of escape directions that share one curvature and isotropic noise: all of them, or one."""
    curvatures, k = point.eigenvalues[: point.index], point.index
    if k == 1 or float(curvatures[-1] / curvatures[0]) < 1 - ALIKE:
        return 1
    if heavy(oracle):
        return k
    covariance = oracle.noise_covariance(landscape, point.location, point.unstable)
    variance = float(covariance.trace()) / k
    if variance <= 0:
        return 1
    away = (covariance / variance - torch.eye(k).to(covariance)).abs().max()
    return k if float(away) <= ALIKE else 1


def equivalent_noise(
    landscape: Landscape, oracle: Oracle, lr: float, momentum: float, curvature: float, noise: float
) -> tuple[float | None, str]:
    """Standard deviation of independent noise that kicks a saddle as an oracle does, or None and the reason.

    Parameters
    ----------
    landscape, oracle, lr, momentum
        Of the run.
    curvature, noise : float
        Along an escape direction, and the standard deviation of the gradient seen along it.
    """
    if not noise or (oracle.memoryless and math.isfinite(noise)):
        return noise, ""
    if type(oracle) is not Reshuffled:
        why = "noise has no variance" if oracle.memoryless else "draws depend on those before them"
        return None, f"theory does not know {type(oracle).__name__}, whose {why}: no law of the exit step"
    n, b = landscape.n, oracle.batch_size
    if momentum:
        return None, "reshuffling under momentum: no law of the exit step"
    if not landscape.constant_noise:
        return None, "reshuffling where samples differ in curvature: no law of the exit step"
    if n % b:
        return None, f"reshuffling with batches of {b}, which do not divide n = {n}: no law of the exit step"
    sample_noise = noise / math.sqrt(oracle.covariance_factor(landscape))
    kick = theory.reshuffling_kick_std(lr, curvature, sample_noise, n, b)
    return kick / float(theory.kick_std(lr, curvature, 1.0)), ""
