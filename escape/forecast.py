"""What theory says of the exit step of a run from a critical point, and why not to trust it there."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from escape import theory
from escape.landscapes import CriticalPoint, Landscape
from escape.optimizers import GradientDescent, HeavyBall, Optimizer
from escape.oracles import FullBatch, IsotropicNoise, Oracle
from escape.well import exact_chain

# A curvature or a noise that changes by this much within the radius is worth a word.
_BENT, _UNEVEN, _KINK = 0.1, 0.2, 0.05
_ALIKE = 1e-3  # relative difference of curvature and noise up to which escape directions count as equal


@dataclass(frozen=True)
class Forecast:
    """A mean exit step and its standard deviation with the law that they are from, or None, and every caveat."""

    mean_exit_step: float | None
    std: float | None
    law: str
    caveats: tuple[str, ...]


def rate_and_momentum(optimizer: Optimizer) -> tuple[float, float]:
    """Learning rate and momentum of an optimizer that theory covers.

    Raises
    ------
    ValueError
        If the optimizer is another, or its learning rate a schedule.
    """
    if type(optimizer) not in (GradientDescent, HeavyBall):
        raise ValueError(f"the optimizer is {type(optimizer).__name__}: theory covers GradientDescent and HeavyBall")
    if callable(optimizer.lr):
        raise ValueError("lr is a schedule: give a number, or take theory.mean_square_schedule")
    return float(optimizer.lr), float(getattr(optimizer, "momentum", 0.0))


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
    declared, step, v = float(point.eigenvalues[number]), 1e-3, point.directions[:, number]
    (below, above), far = (sided_curvatures(landscape, point, v, distance) for distance in (step, 4 * step))
    rounding = 32 * torch.finfo(point.location.dtype).eps * float(point.eigenvalues.abs().max()) / step
    # Where the landscape is smooth the two sides differ in proportion to the distance: a third derivative is no kink.
    smooth = abs(far[1] - far[0]) > 2 * abs(above - below)
    if smooth or abs(above - below) <= _KINK * max(abs(above), abs(below)) + rounding:
        return ""
    return f"curvature is {below:.4g} on one side of the point and {above:.4g} on the other, declared {declared:.4g}"


def forecast(
    landscape: Landscape,
    oracle: Oracle,
    optimizer: Optimizer,
    point: CriticalPoint,
    start: Tensor,
    start_std: float,
    radius: float,
) -> Forecast:
    """Exit step from a critical point: exact in one dimension, elsewhere by one dominant escape direction.

    Parameters
    ----------
    landscape, oracle, optimizer
        Of the run; gradient descent or heavy ball at a constant learning rate.
    point : CriticalPoint
        Where the landscape is linearised.
    start : Tensor (d,)
        Mean start.
    start_std : float
        Standard deviation of a normal start along the escape direction.
    radius : float
        Exit radius on the escape directions, at a minimum in all.
    """
    lr, momentum = rate_and_momentum(optimizer)
    where = "minimum" if point.kind == "minimum" else "degenerate point"
    reason = f"no law of the exit step from a {where} but for plain SGD in one dimension: simulate"
    if len(start) == 1 and not (momentum or start_std or isinstance(oracle, FullBatch)):
        mean, std, reason = exact_chain(landscape, oracle, lr, float(point.location), radius, float(start))
        if mean is not None:
            return Forecast(mean, std, "exact chain in one dimension", ())
    if not point.index:
        return Forecast(None, None, "", (reason,))
    broken = kink(landscape, point, 0)
    if broken:
        return Forecast(None, None, "", (broken,))
    v, curvature = point.directions[:, 0], float(point.eigenvalues[0])
    noise = noise_std(landscape, oracle, point.location, v)
    if point.noise == "II" and not isinstance(oracle, FullBatch | IsotropicNoise):
        text = f"{point.name or 'the point'} is of type II, noise vanishes there: no law of additive noise"
        return Forecast(None, None, "", (text,))
    directions = _alike(landscape, oracle, point, noise) if start_std == 0 else 1
    along = (start - point.location) @ point.unstable
    if float(along.norm()) >= radius:
        return Forecast(0.0, 0.0, "outside from the start", ())
    here = float(along[0] if directions == 1 else along.norm())
    saddle = _Saddle(lr, momentum, curvature, noise, radius, here, start_std)
    found = saddle.exit(directions)
    caveats = _near(landscape, oracle, point, radius, noise)
    if saddle.spread:
        caveats += theory.regime(lr, curvature, saddle.spread / saddle.unit, radius, momentum=momentum)
    if directions < point.index:
        others = _others(landscape, oracle, lr, momentum, point, found.mean_exit_step, along)
        if others > 0.1 * radius:
            text = f"{point.index} escape directions compete: the law of one dominant direction does not hold"
            return Forecast(None, None, "", (text,))
    # Noise far larger than the radius makes the law's mean negative; the caveat on radius/s says why there is none.
    if saddle.spread and found.mean_exit_step < 1:
        return Forecast(None, None, "", caveats)
    return Forecast(found.mean_exit_step, found.std, found.law, caveats)


@dataclass(frozen=True)
class _Saddle:
    """The linear picture along the dominant escape direction; start and start_std are distances along it."""

    lr: float
    momentum: float
    curvature: float
    noise: float
    radius: float
    start: float
    start_std: float

    @property
    def unit(self) -> float:
        """Kick of noise of standard deviation one."""
        return float(theory.kick_std(self.lr, self.curvature, 1.0, momentum=self.momentum))

    @property
    def share(self) -> float:
        """Share of a start that the growing mode takes up: one without momentum."""
        return float(theory.start_projection(self.lr, self.curvature, momentum=self.momentum))

    @property
    def spread(self) -> float:
        """Standard deviation of the effective kick: a normal start widens it as noise would."""
        return math.hypot(self.noise * self.unit, self.share * self.start_std)

    def exit(self, directions: int) -> Forecast:
        """Law of the exit step: a spread start or kick, or none to speak of."""
        growth = float(theory.growth_factor(self.lr, self.curvature, momentum=self.momentum))
        if self.spread == 0 and self.start == 0:
            return Forecast(math.inf, None, "batch descent, exactly on the point", ())
        if self.spread < self.share * abs(self.start) * math.log(growth):
            # Batch descent at the learning rate that grows as fast without momentum, from the share that grows.
            lr, start = (1 - growth) / self.curvature, self.share * self.start
            step = theory.gd_exit_step(lr, self.curvature, self.radius, start)
            return Forecast(float(step), 0.0, "batch descent, noise negligible", ())
        noise, k = self.spread / self.unit, directions
        options = {"directions": k, "momentum": self.momentum}
        mean = float(theory.mean_exit_step(self.lr, self.curvature, noise, self.radius, self.start, **options))
        law = "linear saddle, additive noise" + (f", {k} equal directions" if k > 1 else "")
        variance = theory.exit_step_variance(self.lr, self.curvature, **options)
        return Forecast(mean, None if self.start else math.sqrt(variance), law, ())


def _alike(landscape: Landscape, oracle: Oracle, point: CriticalPoint, noise: float) -> int:
    """Number of escape directions that share one curvature and isotropic noise: all of them, or one."""
    curvatures, k = point.eigenvalues[: point.index], point.index
    if k == 1 or not noise or float(curvatures[-1] / curvatures[0]) < 1 - _ALIKE:
        return 1
    if isinstance(oracle, IsotropicNoise):
        return k
    along = landscape.sample_gradients(point.location) @ point.unstable
    covariance = (along - along.mean(0)).T @ (along - along.mean(0)) / len(along)
    variance = float(covariance.trace()) / k
    away = (covariance / variance - torch.eye(k).to(covariance)).abs().max()
    return k if float(away) <= _ALIKE else 1


def _others(
    landscape: Landscape,
    oracle: Oracle,
    lr: float,
    momentum: float,
    point: CriticalPoint,
    step: float,
    start: Tensor,
) -> float:
    """Root mean square distance along the other escape directions by a step, from a start (k,) and noise."""
    total = 0.0
    for number in range(1, point.index):
        noise = noise_std(landscape, oracle, point.location, point.directions[:, number])
        curvature, here = float(point.eigenvalues[number]), float(start[number])
        if math.isinf(step):
            total += math.inf if noise or here else 0.0
            continue
        total += float(theory.mean_square(math.ceil(step), lr, curvature, noise, here, momentum=momentum))
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
