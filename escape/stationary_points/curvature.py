"""The Hessian at one point as what it does to vectors, and a point checked for it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.module_checks import second_derivatives

# Columns that a Hessian is multiplied with at a time: a gradient's temporaries are held for each.
_COLUMNS = 16


def hessian_product(landscape: Landscape, x: Tensor) -> Callable[[Tensor], Tensor]:
    """H(x) as a function V (d, m) -> (d, m), by forward differentiation of the gradient along every column.

    Raises
    ------
    ValueError
        When called, if torch cannot differentiate the gradient.
    """
    # Called once outside of any transform: what the landscape keeps from its first call is then an ordinary tensor.
    landscape.gradient(x)
    one = vmap(lambda v: jvp(landscape.gradient, (x,), (v,))[1], in_dims=1, out_dims=1)

    def product(v: Tensor) -> Tensor:
        # With gradients enabled a landscape runs its functions, not recordings of them, which know no transforms.
        with torch.enable_grad(), second_derivatives():
            return torch.cat([one(some).detach() for some in v.split(_COLUMNS, dim=1)], dim=1)

    return product


def dense_hessian(landscape: Landscape, x: Tensor) -> Tensor:
    """H(x), (d, d), or ValueError as in `hessian_product`."""
    with second_derivatives():
        return landscape.hessian(x).detach()


def in_double(landscape: Landscape) -> Landscape:
    """Return the landscape in double precision, itself if it is so."""
    return landscape if landscape.samples.dtype == torch.float64 else landscape.to(dtype=torch.float64)


def one_point(landscape: Landscape, x: Tensor, name: str) -> Tensor:
    """Return one finite point (d,) of a landscape on flat space, in float64 on the landscape's device.

    Raises
    ------
    ValueError
        For anything else.
    """
    if type(landscape).retract is not Landscape.retract:
        raise ValueError("the landscape is on a manifold; find_stationary_points searches there")
    point, d = torch.as_tensor(x).detach(), landscape.dimension
    if point.ndim != 1 or not len(point) or (d is not None and len(point) != d):
        wanted = "(d,)" if d is None else f"({d},)"
        raise ValueError(f"{name} must be one point of shape {wanted}, got {tuple(point.shape)}")
    point = point.to(landscape.samples.device, torch.float64)
    if not bool(torch.isfinite(point).all()):
        raise ValueError(f"{name} must have finite coordinates")
    return point
