"""Checks of what is declared: critical points with their spectra and noise, and the manifold."""

import torch
from torch import Tensor
from torch.func import grad, jvp

from escape.conformance.seen import Broken, Seen
from escape.conformance.subject import Subject
from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint

_NONE = "no critical point is declared"


def stationary(subject: Subject, see: Seen) -> None:
    """Whether the gradient vanishes at every declared point, to rounding of it and of the point."""
    for name, point in _points(subject, see):
        bend, each = _sizes(subject, point)
        slope = subject.landscape.gradient(point.location)
        # A point right to rounding has a gradient of its curvature times that rounding.
        allowed = subject.eps * (bend * max(1.0, float(point.location.norm())) + each)
        advice = (
            f"the gradient there has norm {float(slope.norm()):.3g}: move the point to a root of it, for example by "
            "Newton steps in float64, or centre the samples if they are to cancel"
        )
        see.close(f"gradient at {name}", slope, torch.zeros_like(slope), allowed, advice=advice)


def orthonormal(subject: Subject, see: Seen) -> None:
    """Whether directions are orthonormal columns."""
    for name, point in _points(subject, see):
        eye = torch.eye(point.directions.shape[0]).to(point.directions)
        product = point.directions.T @ point.directions
        see.close(f"orthonormal directions at {name}", product, eye, subject.eps)


def index(subject: Subject, see: Seen) -> None:
    """Whether the number of escape directions is that of the Hessian, where none of its eigenvalues is near zero."""
    for name, point in _points(subject, see):
        values = torch.linalg.eigvalsh(_hessian(subject, point))
        clear = float(values.abs().min()) > subject.eps * float(values.abs().max())
        found = int((values < 0).sum())
        if clear and found != point.index:
            shown = ", ".join(f"{float(value):.6g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
            raise Broken(f"index at {name} is declared {point.index} and found {found}: the spectrum is {shown}")


def spectrum(subject: Subject, see: Seen) -> None:
    """Whether eigenvalues and directions, in their order, are those of the Hessian."""
    for name, point in _points(subject, see):
        bent = _hessian(subject, point)
        turned = point.directions.T @ bent @ point.directions
        expected = torch.diag(point.eigenvalues)
        allowed = subject.eps * _sizes(subject, point)[0]
        values = torch.linalg.eigvalsh(bent)
        shown = ", ".join(f"{float(value):.8g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
        advice = f"the Hessian there has eigenvalues {shown}; critical_point(location) computes them with directions"
        see.close(f"spectrum and directions at {name}", turned, expected, allowed, advice=advice)


def noise(subject: Subject, see: Seen) -> None:
    """Whether the kind of noise is that of the per-sample gradients."""
    for name, point in _points(subject, see):
        if point.noise is None:
            continue
        see.hold(point.noise in ("I", "II"), f"noise at {name} must be 'I', 'II' or None, got {point.noise!r}")
        found = subject.landscape.noise_type(point)
        see.hold(found == point.noise, f"noise at {name} is declared type {point.noise} and found type {found}")


def retract(subject: Subject, see: Seen) -> None:
    """Whether retracting twice is retracting once, and declared points stay."""
    landscape, x = subject.landscape, subject.x + 0.1 * subject.normal(*subject.x.shape)
    if type(landscape).retract is Landscape.retract:
        see.skip("flat space")
    kept = x.clone()
    once = landscape.retract(x)
    see.hold(torch.equal(x, kept), "retract changes its argument in place", "make a new tensor")
    see.hold(once.shape == x.shape, f"retract must map (c, d) to (c, d), got {tuple(once.shape)} for {tuple(x.shape)}")
    size = subject.eps * max(1.0, float(once.abs().max()))
    see.close("retract of a retracted point", landscape.retract(once), once, size, subject.at)
    see.close("retract of one point alone", landscape.retract(x[:1]), once[:1], size, subject.at)
    for point in subject.points:
        moved = landscape.retract(point.location[None])[0]
        see.close(f"retract of {point.name or 'a declared point'}, which must stay,", moved, point.location, size)


def _points(subject: Subject, see: Seen) -> list[tuple[str, CriticalPoint]]:
    if not subject.points:
        see.skip(_NONE)
    return [(point.name or f"declared point {number}", point) for number, point in enumerate(subject.points)]


def _hessian(subject: Subject, point: CriticalPoint) -> Tensor:
    """Hessian at a point; once for all checks that need it."""
    held = subject.__dict__.setdefault("_hessians", {})
    if id(point) not in held:
        held[id(point)] = subject.landscape.hessian(point.location)
    return held[id(point)]


def _sizes(subject: Subject, point: CriticalPoint) -> tuple[float, float]:
    """Largest entry of the Hessians there, of f and of a few samples, and of a few samples' gradients."""
    held = subject.__dict__.setdefault("_point_sizes", {})
    if id(point) not in held:
        loss, rows = subject.landscape.sample_loss, subject.samples[subject.few[:3]]
        v = torch.ones_like(point.location) / len(point.location) ** 0.5

        def bent(x, sample):
            return jvp(lambda y: grad(loss)(y, sample), (x,), (v,))[1]

        along = subject.over_samples(bent, point.location, rows)
        bend = max(float(_hessian(subject, point).abs().max()), float(along.abs().max()))
        each = subject.over_samples(grad(loss), point.location, subject.samples[subject.few])
        held[id(point)] = bend, float(each.abs().max())
    return held[id(point)]
