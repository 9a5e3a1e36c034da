"""One proof for every landscape: what it declares against what follows from its per-sample loss."""

import torch
from torch import Tensor
from torch.func import grad, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint


class NotALandscape(AssertionError):
    """A landscape that is not what it says; the message names the property, the place and the amount."""


def check_landscape(landscape: Landscape, points: Tensor | None = None, seed: int = 0) -> None:
    """Prove a landscape right, property by property.

    Checked: dtype and shapes; finite and deterministic values; closed-form gradients against automatic
    differentiation; batch gradients against the mean over their samples, alone and in a batch; the affine and the
    constant-noise claims; every declared point stationary, with its spectrum, directions and kind of noise.

    Parameters
    ----------
    landscape : Landscape
        What to prove; float64 gives the sharpest test.
    points : Tensor (c, d), optional
        Where to test; near declared points if omitted.
    seed : int
        Seed of the batches and of the points.

    Raises
    ------
    NotALandscape
        Naming the first property that fails, where, and by how much.
    ValueError
        If there is nothing to tell the dimension by.
    """
    samples = landscape.samples
    _hold(samples.ndim == 2 and samples.is_floating_point(), "samples", "must be a floating (n, k) tensor")
    generator = torch.Generator(device=samples.device).manual_seed(seed)
    x = _places(landscape, generator) if points is None else points
    index = torch.randint(landscape.n, (len(x), 5), generator=generator, device=samples.device)
    with torch.no_grad():
        _check_values(landscape, x)
        _check_claims(landscape, x, index)
        _check_gradients(landscape, x, index)
        for point in landscape.critical_points():
            _check_point(landscape, point)


def _places(landscape: Landscape, generator: torch.Generator) -> Tensor:
    d = landscape.dimension
    if d is None:
        raise ValueError("the landscape declares no dimension; give check_landscape some points (c, d)")
    declared = [point.location for point in landscape.critical_points()[:4]]
    centres = torch.stack(declared or [landscape.samples.new_zeros(d)])
    shape = (3, *centres.shape)
    noise = torch.randn(shape, generator=generator, device=centres.device, dtype=centres.dtype)
    return (centres + 0.3 * noise).reshape(-1, d)


def _check_values(landscape: Landscape, x: Tensor) -> None:
    value = landscape.sample_loss(x[0], landscape.samples[0])
    _hold(value.shape == (), "sample_loss", f"must return a scalar for one point, got {tuple(value.shape)}")
    _hold(value.dtype == x.dtype, "sample_loss", f"must keep the dtype {x.dtype}, got {value.dtype}")
    _hold(bool(torch.isfinite(value)), "sample_loss", "is not finite near its own points")
    again = torch.stack([landscape.sample_loss(x[0], landscape.samples[0]) for _ in range(3)])
    _hold(bool((again == value).all()), "sample_loss", "differs from call to call: hidden randomness or state")
    loss = landscape.loss(x)
    _hold(loss.shape == x.shape[:1], "loss", f"must map (c, d) to (c,), got {tuple(loss.shape)}")
    _hold(bool(torch.isfinite(loss).all()), "loss", "is not finite near its own points")
    each = torch.stack([landscape.sample_loss(x[0], sample) for sample in landscape.samples[:7]])
    lifted = vmap(landscape.sample_loss, (None, 0))(x[0], landscape.samples[:7])
    _close("sample_loss in a batch and alone", lifted, each, x)


def _check_claims(landscape: Landscape, x: Tensor, index: Tensor) -> None:
    """The claims on which faster ways rely, first: where one is false, all that relies on it is wrong too."""
    by_autograd = _sample_gradients(landscape, x, landscape.samples[index])
    closed = vmap(vmap(landscape.sample_gradient, (None, 0)))(x, landscape.samples[index])
    _close("sample_gradient against automatic differentiation of sample_loss", closed, by_autograd, x)
    if landscape.affine:
        mean = landscape.samples[index].mean(1)
        _close("the claim `affine`", landscape.gradient_at_sample(x, mean), by_autograd.mean(1), x)
    if landscape.constant_noise:
        first, second = (landscape.gradient_covariance(point) for point in x[:2])
        _close("the claim `constant_noise`", second, first, x)


def _check_gradients(landscape: Landscape, x: Tensor, index: Tensor) -> None:
    reference = _sample_gradients(landscape, x, landscape.samples[index]).mean(1)
    _close("gradient of a batch against the mean over its samples", landscape.gradient(x, index), reference, x)
    _close("gradient of one point alone", landscape.gradient(x[0], index[0]), reference[0], x)
    every = torch.arange(landscape.n, device=x.device).expand(len(x), -1)
    full = landscape.gradient(x)
    _close("gradient over all samples against the batch that holds them all", full, landscape.gradient(x, every), x)
    weights = torch.full((len(x), landscape.n), 1.0 / landscape.n, dtype=x.dtype, device=x.device)
    _close("weighted_gradient with equal weights", landscape.weighted_gradient(x, weights), full, x)
    traces = torch.stack([landscape.gradient_covariance(point).trace() for point in x[:3]])
    _close("noise_trace against the covariance", landscape.noise_trace(x[:3]), traces, x)


def _sample_gradients(landscape: Landscape, x: Tensor, samples: Tensor) -> Tensor:
    """∇f_i by automatic differentiation: x (c, d), samples (c, b, k) -> (c, b, d)."""
    return vmap(vmap(grad(landscape.sample_loss), (None, 0)))(x, samples)


def _check_point(landscape: Landscape, point: CriticalPoint) -> None:
    where = f" at {point.name or 'a declared point'}"
    hessian = landscape.hessian(point.location)
    scale = float(hessian.abs().max().clamp(min=1e-300))
    slope = landscape.gradient(point.location)
    reach = scale * max(1.0, float(point.location.norm()))
    _close("gradient" + where, slope / reach, torch.zeros_like(slope), slope)
    eye = torch.eye(len(slope), dtype=slope.dtype, device=slope.device)
    _close("orthonormal directions" + where, point.directions.T @ point.directions, eye, slope)
    turned = point.directions.T @ hessian @ point.directions
    _close("spectrum and directions" + where, turned / scale, torch.diag(point.eigenvalues) / scale, slope)
    if point.noise is not None:
        found = landscape.noise_type(point)
        _hold(found == point.noise, "noise" + where, f"is declared type {point.noise} and found type {found}")


def _close(name: str, got: Tensor, expected: Tensor, x: Tensor) -> None:
    _hold(got.shape == expected.shape, name, f"has shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    allowed = 1e4 * torch.finfo(x.dtype).eps * max(1.0, float(expected.abs().max()))
    error = float((got - expected).abs().max())
    _hold(error <= allowed, name, f"is off by {error:.3g}, with {allowed:.1g} allowed for rounding")


def _hold(condition: bool, name: str, message: str) -> None:
    if not condition:
        raise NotALandscape(f"{name} {message}")
