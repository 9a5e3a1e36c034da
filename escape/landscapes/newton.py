"""From a start down to the minimum below it, to rounding."""

import torch
from torch import Tensor

from escape.landscapes.base import Landscape

# Steps at most, halvings of one, and the relative step that is the last but rounding.
_STEPS, _HALVINGS, _LAST = 60, 30, 1e-9


def minimum_below(landscape: Landscape, start: Tensor) -> Tensor:
    """Descend by Newton's steps with |λ| for the Hessian's eigenvalues λ, halved until f falls; the last one is whole.

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
        If the steps do not settle: f has no minimum there, or a flat one.
    """
    x = start
    for _ in range(_STEPS):
        values, vectors = torch.linalg.eigh(landscape.hessian(x))
        size = values.abs().clamp(min=1e-12 * float(values.abs().max()) or 1e-300)
        step = vectors @ ((vectors.T @ landscape.gradient(x)) / size)
        if float(values[0]) > 0 and float(step.norm()) <= _LAST * (1 + float(x.norm())):
            return x - step
        height, share = float(landscape.loss(x)), 1.0
        for _ in range(_HALVINGS):
            if float(landscape.loss(x - share * step)) <= height:
                break
            share /= 2
        x = x - share * step
        if not bool(x.isfinite().all()):
            break
    raise ValueError("Newton's steps settle on no minimum: start nearer to one, or add a ridge if f has none")
