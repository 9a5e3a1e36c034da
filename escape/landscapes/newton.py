"""From a start down to the minimum below it, to rounding."""

import torch
from torch import Tensor

from escape.landscapes.base import Landscape

# Steps at most, halvings of one, the relative step that is the last but rounding, and the relative curvature of a flat
# direction.
_STEPS, _HALVINGS, _LAST, _FLAT = 60, 30, 1e-9, 1e-12


def minimum_below(landscape: Landscape, start: Tensor) -> Tensor:
    """Descend by Newton's steps with |λ| for the Hessian's eigenvalues λ, halved until f falls; the last one is whole.

    A step is the last that is small beside the distance from the origin, from the start or to where the gradient of one
    sample would vanish, |∇f_i|/max |λ|: no units of x or f decide, and where f runs out far away no step is small.

    Parameters
    ----------
    landscape : Landscape
        Twice differentiable, float64.
    start : Tensor (d,)
        Where to start; not on a saddle.

    Returns
    -------
    Tensor (d,)
        The minimum.

    Raises
    ------
    ValueError
        If the steps do not settle: f has no minimum there, or a flat one (λ ≤ 1e-12 of the largest).
    """
    x = start
    for _ in range(_STEPS):
        curvature = landscape.hessian(x)
        if not bool(curvature.isfinite().all()):
            break
        values, vectors = torch.linalg.eigh(curvature)
        largest = float(values.abs().max()) or 1e-300
        size = values.abs().clamp(min=_FLAT * largest)
        step = vectors @ ((vectors.T @ landscape.gradient(x)) / size)
        length = float(x.norm()) + float((x - start).norm()) + landscape.gradient_size(x) / largest
        if float(values[0]) > _FLAT * largest and float(step.norm()) <= _LAST * length:
            return x - step
        height, share = float(landscape.loss(x)), 1.0
        for _ in range(_HALVINGS):
            if float(landscape.loss(x - share * step)) <= height:
                break
            share /= 2
        x = x - share * step
    raise ValueError("Newton's steps settle on no minimum: start nearer to one, or add a ridge if f has none")
