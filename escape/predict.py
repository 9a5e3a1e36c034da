"""All that theory knows of SGD at one critical point: rates, whether chains leave, when, and why not to trust it."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from escape import theory
from escape.forecast import Forecast, forecast, kick_along, kink
from escape.landscapes import CriticalPoint, Landscape
from escape.linear_part import Rates, linear_rates
from escape.method import SeenNoise, method_of
from escape.optimizers import Optimizer
from escape.oracles import IsotropicNoise, LeadingNoise, MiniBatch, Oracle, Reshuffled
from escape.seen_noise import heavy, noise_kind, noise_std

_STATIONARY = 1e-4  # norm of the gradient, over the largest curvature, above which a point is not critical


@dataclass(frozen=True)
class Prediction:
    """What theory says of one critical point under an oracle and an optimizer.

    Attributes
    ----------
    name, kind : str
        Label of the point, and "saddle", "minimum", "maximum" or "degenerate".
    index : int
        Number of escape directions.
    noise_type : {"I", "II", "none"}
        Whether noise survives at the point along its escape directions; "none" for the full batch.
    curvature, noise : float
        Least signed curvature, and the standard deviation of the gradient seen along it at the point; `inf` for stable
        noise.
    growth_factor : float
        a = 1 - lr * curvature, or with momentum the larger root z+: growth of the mean, per step.
    kick_std : float or None
        s, the effective initial kick of additive noise: its standard deviation, for stable noise without variance its
        scale, E exp(itZ) = exp(-|st|^alpha); None without an escape direction, or where theory has none.
    log_rate : float or None
        ln rho, growth rate of E |x - x*|^2 per step far above the noise floor; None where it is not known.
    lyapunov_exponent, lyapunov_error : float or None, float
        gamma, almost sure growth rate of |x - x*| per step of the linear part, and its standard error (0 if exact).
    escape_exponent : float or None
        alpha in P(ever at distance R) ~ (x0 / R)^alpha, where gamma < 0 and all Hessians share their directions, the
        least over them; with additive noise the tail exponent of the stationary law.
    mean_square_grows : bool or None
        Whether E |x - x*|^2 grows exponentially from a small distance.
    chains_leave : {"all", "few", "none", "in the end"} or None
        Which chains leave the neighbourhood of the point; `leaving` says why, in one line.
    leaving : str
        The reason.
    mean_exit_step, exit_step_std : float or None
        Mean and standard deviation of the first step at the radius; None where theory has none.
    law : str
        Name of the law of the exit step.
    stationary_std : float or None
        Standard deviation of the fluctuations about a minimum along its least curvature, in the linear picture.
    caveats : tuple of str
        Reasons to distrust what is said, each in one line.
    """

    name: str
    kind: str
    index: int
    noise_type: str
    curvature: float
    noise: float
    growth_factor: float
    kick_std: float | None = None
    log_rate: float | None = None
    lyapunov_exponent: float | None = None
    lyapunov_error: float = 0.0
    escape_exponent: float | None = None
    mean_square_grows: bool | None = None
    chains_leave: str | None = None
    leaving: str = ""
    mean_exit_step: float | None = None
    exit_step_std: float | None = None
    law: str = ""
    stationary_std: float | None = None
    caveats: tuple[str, ...] = field(default_factory=tuple)


def predict(
    landscape: Landscape,
    oracle: Oracle,
    optimizer: Optimizer,
    point: CriticalPoint | Tensor,
    *,
    radius: float | None = None,
    start: Tensor | None = None,
    start_std: float = 0.0,
) -> Prediction:
    """Say what theory knows of SGD at a critical point.

    Type, a, s, ln rho, gamma, whether the mean square grows and whether chains leave; with a radius, the exit step too.

    Parameters
    ----------
    landscape, oracle, optimizer
        Of a run; the optimizer with a constant learning rate.
    point : CriticalPoint or Tensor (d,)
        The critical point; a location is given its Hessian's spectrum.
    radius : float, optional
        Exit distance along the escape directions, or in all directions at a minimum.
    start : Tensor (d,), optional
        Mean start of the chains; the point itself if omitted.
    start_std : float
        Standard deviation of a normal start along the escape direction.

    Returns
    -------
    Prediction
        With None for all that theory does not know, and the reason among its caveats.

    Raises
    ------
    ValueError
        If the oracle does not fit the landscape, the gradient does not vanish at the point, the learning rate is a
        schedule, or the optimizer is one that theory here does not cover.

    Notes
    -----
    Rates are those of the linear part: the chain of the second-order Taylor polynomials of all samples. Source: the
    functions of `escape.theory` that carry the same names.
    """
    oracle.check(landscape)
    optimizer.check(landscape, oracle)
    method = method_of(optimizer)
    lr, felt = method.lr, method.seen(oracle)
    point = _critical(landscape, point)
    if radius is not None and not (math.isfinite(radius) and radius > 0):
        raise ValueError(f"radius is {radius!r}: it must be a finite distance above zero")
    start = point.location if start is None else torch.as_tensor(start).to(point.location)
    v, curvature = point.directions[:, 0], float(point.eigenvalues[0])
    noise = noise_std(landscape, felt, point.location, v)
    rates = linear_rates(landscape, oracle, method, point)
    kind = noise_kind(landscape, felt, point)
    anywhere = kind != "none" and (kind == "I" or _noise_anywhere(landscape, point))
    if type(oracle) is IsotropicNoise and anywhere:
        kind = "I"  # whatever noise there is comes along all directions
    off = bool((start != point.location).any()) or start_std > 0
    grows = (lr * point.eigenvalues < 0) | (lr * point.eigenvalues > method.stable_product)
    departing = start_std > 0 or bool((((start - point.location) @ point.directions)[grows] != 0).any())
    # a growth rate this small is rounding, or the error of its estimate
    bend = lr * float(point.eigenvalues.abs().max())
    rounding = 64 * torch.finfo(point.eigenvalues.dtype).eps * (1 + bend)
    leave, why = _leaving(point, kind, rates, felt, off, departing, anywhere, rounding)
    if method.kicked:
        leave, why = ("all", "a kick takes every chain off it") if point.index else (None, "it hangs on the kicks")
    broken = kink(landscape, point, 0)
    exit_step = Forecast(None, None, "", ())
    if radius is not None:
        exit_step = forecast(landscape, oracle, optimizer, point, start, start_std, radius)
        if exit_step.mean_exit_step == math.inf and kind == "I" and not point.index:
            true = type(felt) is MiniBatch
            shell = "the gradients of all batches point inwards" if true else "noise vanishes"
            leave, why = "none", f"on some shell inside the radius {shell}"
    caveats = (*([broken] if broken and broken not in exit_step.caveats else []), *rates.caveats, *exit_step.caveats)
    caveats = (*point.caveats, *caveats)
    fluctuates = kind == "I" and point.kind == "minimum" and not rates.differ and oracle.memoryless
    fluctuates = fluctuates and rates.log_rate is not None and rates.log_rate < 0
    fluctuates = fluctuates and not (method.nesterov or method.kicked)  # of which theory has no stationary law
    variance = theory.stationary_variance(lr, curvature, noise, method.momentum) if fluctuates else 0.0
    kick = kick_along(landscape, oracle, method, point, 0) if point.index else None
    return Prediction(
        name=point.name,
        kind=point.kind,
        index=point.index,
        noise_type=kind,
        curvature=curvature,
        noise=noise,
        growth_factor=float(theory.growth_factor(lr, curvature, **method.how)),
        kick_std=kick,
        log_rate=rates.log_rate,
        lyapunov_exponent=rates.lyapunov_exponent,
        lyapunov_error=rates.lyapunov_error,
        escape_exponent=rates.escape_exponent,
        mean_square_grows=None if rates.log_rate is None else rates.log_rate > rounding,
        chains_leave=leave,
        leaving=why,
        mean_exit_step=exit_step.mean_exit_step,
        exit_step_std=exit_step.std,
        law=exit_step.law,
        stationary_std=math.sqrt(variance) if fluctuates else None,
        caveats=caveats,
    )


def _critical(landscape: Landscape, point: CriticalPoint | Tensor) -> CriticalPoint:
    """Return the point with its spectrum, having made sure that the gradient vanishes there."""
    if not isinstance(point, CriticalPoint):
        point = landscape.critical_point(torch.as_tensor(point).to(landscape.samples))
    slope, bend = float(landscape.gradient(point.location).norm()), float(point.eigenvalues.abs().max())
    if slope > _STATIONARY * max(bend, 1.0):
        raise ValueError(f"the gradient at the point has norm {slope:.3g}: it must vanish at a critical point")
    return point


def _noise_anywhere(landscape: Landscape, point: CriticalPoint) -> bool:
    """Whether per-sample gradients differ at the point along any direction at all."""
    values = point.eigenvalues.abs().sort().values  # none negative: all directions count
    return landscape.noise_type(CriticalPoint(point.location, values, point.directions)) == "I"


def _leaving(
    point: CriticalPoint,
    noise: str,
    rates: Rates,
    oracle: Oracle | SeenNoise,
    off: bool,
    departing: bool,
    anywhere: bool,
    rounding: float,
) -> tuple[str | None, str]:
    """Which chains leave, and why, from the linear part and the kind of noise.

    `off` and `departing` say whether the start is off the point, and off along a direction that batch descent
    amplifies; `anywhere` whether there is noise at the point along any direction.
    """
    gamma = rates.lyapunov_exponent
    neutral = gamma is not None and not abs(gamma) > max(rounding, 3 * rates.lyapunov_error)
    if noise == "I" and point.index and (gamma is None or gamma > 0):
        return "all", "noise at the point kicks every chain off it"
    if gamma is None:
        if noise == "II" and not (off or anywhere):
            return "none", "no noise on the point"
        return None, "it hangs on gamma, which is not known"
    if neutral and noise != "I":
        return None, "gamma is 0 as far as can be told, so that it hangs on higher orders of the landscape"
    if noise == "none":
        if gamma <= 0:
            return "none", "batch descent converges to the point"
        if off and not departing:
            return None, "the start is off along shrinking directions alone, so that it hangs on higher orders"
        return ("all", "batch descent leaves off the stable manifold") if off else ("none", "nothing moves the point")
    if gamma > 0 and not neutral:
        if off or noise == "I":
            return "all", "typical chains grow away from it"
        if anywhere:
            return None, "noise on the point is along other directions alone, and may or may not reach these"
        return "none", "no noise on the point"
    if noise == "I" and point.index:
        return "in the end", "noise kicks chains off, differing curvatures pull typical ones back (gamma < 0)"
    if noise == "II":
        if anywhere:
            return None, "noise on the point is along other directions alone, and may or may not reach these"
        if rates.expands is None:
            return None, "typical chains collapse onto the point (gamma < 0), whether any batch leads away is not known"
        if not rates.expands:
            return "none", "every batch contracts onto the point, where noise vanishes"
        return "few", "typical chains collapse onto the point (gamma < 0), a share of about (x0/R)^alpha leaves"
    if type(oracle) in (MiniBatch, Reshuffled):
        return None, "true batches leave unless on some shell all their gradients point inwards"
    if type(oracle) is LeadingNoise and len(point.location) > 1:
        return None, "noise along one direction alone may or may not reach a way out"
    if heavy(oracle):
        return "in the end", "a large jump crosses any barrier"
    if isinstance(oracle, SeenNoise) or oracle.gaussian:
        return "in the end", "Gaussian noise crosses any barrier"
    return None, f"theory does not know {type(oracle).__name__}, whose noise may or may not reach a way out"
