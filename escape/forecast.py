"""What theory says of the exit step of a run from a critical point, and why not to trust it there."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from escape import theory
from escape.kicked_exits import kicked_exit
from escape.landscapes import CriticalPoint, Landscape
from escape.method import Method, SeenNoise, method_of
from escape.optimizers import Optimizer
from escape.oracles import Oracle, Reshuffled
from escape.seen_noise import equal_directions, equivalent_noise, heavy, noise_kind, noise_size, noise_std
from escape.stable_exits import Forecast, stable_exit
from escape.well import exact_chain

# A curvature or a noise that changes by this much within the radius is worth a word.
_BENT, _UNEVEN, _KINK = 0.1, 0.2, 0.05


def kick_along(landscape: Landscape, oracle: Oracle, method: Method, point: CriticalPoint, number: int) -> float | None:
    """Standard deviation of the effective initial kick along an escape direction, where chains are seen, or None.

    Of stable noise without variance, the scale s of the kick: E exp(itZ) = exp(−|st|^α).
    """
    curvature = float(point.eigenvalues[number])
    if method.kicked and oracle.noisy(landscape):
        return None
    if heavy(oracle) and oracle.noisy(landscape):
        scale = oracle.noise_scale(landscape, point.location)
        if method.momentum or method.noise:
            return None
        return float(theory.stable_kick_scale(method.lr, curvature, oracle.alpha, scale)) if scale else 0.0
    seen = noise_std(landscape, oracle, point.location, point.directions[:, number])
    noise = equivalent_noise(landscape, oracle, method.lr, method.momentum, curvature, seen)[0]
    if noise is None:
        return None
    unit = float(theory.kick_std(method.lr, curvature, 1.0, **method.how)) * method.ahead(curvature)
    return math.hypot(noise, method.noise) * unit


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
        Of the run; the optimizer one that theory covers, at a constant learning rate.
    point : CriticalPoint
        Where the landscape is linearised.
    start : Tensor (d,)
        Mean start.
    start_std : float
        Standard deviation of a normal start along the escape direction.
    radius : float
        Exit radius on the escape directions, at a minimum in all.
    """
    method = method_of(optimizer)
    lr, momentum, felt = method.lr, method.momentum, method.seen(oracle)
    where = "minimum" if point.kind == "minimum" else "degenerate point"
    reason = f"no law of the exit step from a {where} but for plain SGD in one dimension: simulate"
    if len(start) == 1 and not (momentum or start_std or method.kicked) and felt.noisy(landscape):
        mean, std, reason = exact_chain(
            landscape, oracle, lr, float(point.location), radius, float(start), method.noise
        )
        if mean is not None:
            return Forecast(mean, std, "exact chain in one dimension", ())
    if not point.index:
        return Forecast(None, None, "", (reason,))
    broken = kink(landscape, point, 0)
    if broken:
        return Forecast(None, None, "", (broken,))
    along = (start - point.location) @ point.unstable
    if float(along.norm()) >= radius:
        return Forecast(0.0, 0.0, "outside from the start", ())
    if method.kicked:
        found = kicked_exit(landscape, oracle, optimizer, point, start, start_std, radius)
        here = noise_size(landscape, oracle, point.location, point.directions[:, 0])
        return replace(found, caveats=found.caveats + _near(landscape, oracle, point, radius, here))
    if noise_kind(landscape, felt, point) == "II":
        text = f"{point.name or 'the point'} is of type II, noise vanishes there: no law of additive noise"
        return Forecast(None, None, "", (text,))
    if heavy(oracle):
        if method.noise:
            return Forecast(None, None, "", ("stable noise and that of Langevin dynamics together: no law",))
        equal = equal_directions(landscape, oracle, point)
        found = stable_exit(landscape, oracle, lr, momentum, point, along, start_std, radius, equal)
        scale = oracle.noise_scale(landscape, point.location)
        return replace(found, caveats=found.caveats + _near(landscape, oracle, point, radius, scale))
    return _additive_exit(landscape, oracle, method, point, along, start_std, radius)


def _additive_exit(
    landscape: Landscape, oracle: Oracle, method: Method, point: CriticalPoint, along: Tensor, start_std: float,
    radius: float,
) -> Forecast:  # fmt: skip
    """Exit by the law of additive noise, from a mean start (k,) along the escape directions."""
    lr, felt, curvature = method.lr, method.seen(oracle), float(point.eigenvalues[0])
    seen = noise_std(landscape, oracle, point.location, point.directions[:, 0])
    noise, reason = equivalent_noise(landscape, oracle, lr, method.momentum, curvature, seen)
    if noise is None:
        return Forecast(None, None, "", (reason,))
    noise, seen = math.hypot(noise, method.noise), math.hypot(seen, method.noise)
    directions = equal_directions(landscape, felt, point) if start_std == 0 and noise else 1
    here = float(along[0] if directions == 1 else along.norm())
    # Theory follows the iterate; chains are seen ahead of it.
    reach = radius / method.ahead(curvature)
    if abs(here) >= reach:
        text = f"the start is within one look ahead of the radius, at {abs(here) / radius:.3g} of it: simulate"
        return Forecast(None, None, "", (text,))
    saddle = _Saddle(method, curvature, noise, reach, here, start_std)
    found = saddle.exit(directions)
    if type(oracle) is Reshuffled and noise:
        found = replace(found, law=f"{found.law}, reshuffled" if "additive noise" in found.law else found.law)
    caveats = _near(landscape, felt, point, radius, seen)
    if saddle.spread:
        caveats += theory.regime(lr, curvature, saddle.spread / saddle.unit, reach, **method.how)
    if directions < point.index:
        others = _others(landscape, felt, method, point, found.mean_exit_step, along)
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

    method: Method
    curvature: float
    noise: float
    radius: float
    start: float
    start_std: float

    @property
    def unit(self) -> float:
        """Kick of noise of standard deviation one."""
        return float(theory.kick_std(self.method.lr, self.curvature, 1.0, **self.method.how))

    @property
    def share(self) -> float:
        """Share of a start that the growing mode takes up: one without momentum."""
        return float(theory.start_projection(self.method.lr, self.curvature, **self.method.how))

    @property
    def spread(self) -> float:
        """Standard deviation of the effective kick: a normal start widens it as noise would."""
        return math.hypot(self.noise * self.unit, self.share * self.start_std)

    def exit(self, directions: int) -> Forecast:
        """Law of the exit step: a spread start or kick, or none to speak of."""
        growth = float(theory.growth_factor(self.method.lr, self.curvature, **self.method.how))
        if self.spread == 0 and self.start == 0:
            return Forecast(math.inf, None, "batch descent, exactly on the point", ())
        if self.spread < self.share * abs(self.start) * math.log(growth):
            # Batch descent at the learning rate that grows as fast without momentum, from the share that grows.
            lr, start = (1 - growth) / self.curvature, self.share * self.start
            step = theory.gd_exit_step(lr, self.curvature, self.radius, start)
            return Forecast(float(step), 0.0, "batch descent, noise negligible", ())
        noise, k = self.spread / self.unit, directions
        lr, options = self.method.lr, {"directions": k, **self.method.how}
        mean = float(theory.mean_exit_step(lr, self.curvature, noise, self.radius, self.start, **options))
        law = "linear saddle, additive noise" + (f", {k} equal directions" if k > 1 else "")
        variance = theory.exit_step_variance(lr, self.curvature, **options)
        return Forecast(mean, None if self.start else math.sqrt(variance), law, ())


def _others(
    landscape: Landscape,
    oracle: Oracle | SeenNoise,
    method: Method,
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
        total += float(theory.mean_square(math.ceil(step), method.lr, curvature, noise, here, **method.how))
    return math.sqrt(total)


def _near(
    landscape: Landscape, oracle: Oracle | SeenNoise, point: CriticalPoint, radius: float, noise: float
) -> tuple[str, ...]:
    """Caveats on how far the linear picture holds along the escape direction."""
    v, curvature, caveats = point.directions[:, 0], float(point.eigenvalues[0]), []
    below, above = sided_curvatures(landscape, point, v, radius)
    if max(abs(below / curvature - 1), abs(above / curvature - 1)) > _BENT:
        mean = f"{below:.3g} and {above:.3g} on average to the radius"
        caveats.append(f"the landscape bends: curvature {curvature:.3g} at the point, {mean} on either side")
    if not noise and any(noise_size(landscape, oracle, point.location + sign * radius * v, v) for sign in (-1, 1)):
        caveats.append("noise vanishes at the point and not away from it: it is not additive")
    if noise:
        far = [noise_size(landscape, oracle, point.location + sign * radius * v, v) / noise for sign in (-1, 1)]
        if max(abs(ratio - 1) for ratio in far) > _UNEVEN:
            caveats.append(f"noise at the radius is {far[0]:.3g} and {far[1]:.3g} times that at the point")
    return tuple(caveats)
