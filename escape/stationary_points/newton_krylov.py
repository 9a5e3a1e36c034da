"""One stationary point near one start, of any index and in large dimension."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.progress import Progress
from escape.stationary_points.curvature import dense_hessian, hessian_product, in_double, one_point
from escape.stationary_points.lanczos import point_at

# Dimension up to which the Hessian is formed; beyond it, columns of a Krylov space at most.
_DENSE, _KRYLOV = 512, 240
# Longest step, relative to the size of a point: beyond it the quadratic model says nothing.
_STRIDE = 0.3
# Damping, of the mean square curvature: least and largest, and where to begin.
_LEAST, _LARGEST, _FIRST = 1e-16, 1e8, 1.0
# Steps in which the gradient must fall by a fifth, or the search is given up.
_PATIENCE = 20


def find_critical_point(
    landscape: Landscape,
    start: Tensor,
    steps: int = 200,
    tolerance: float = 1e-10,
    count: int | None = None,
    name: str = "",
    progress: bool | str | Callable[[int, int], None] | None = None,
) -> CriticalPoint:
    """Find the stationary point that damped Newton steps lead to from one start, whatever its index.

    Steps −(H² + μI)⁻¹H∇f descend |∇f|²; μ is lowered after a success and raised after a failure (Levenberg 1944,
    Quart. Appl. Math. 2, 164). In more than 512 dimensions they are taken in the Krylov space of ∇f under H, from
    Hessian products alone. Directions of zero curvature, of which networks have many, are left alone: the point found
    is that of a flat manifold nearest in this sense to the start. Started at a point on the way of a descent that has
    slowed down, it finds the saddle that is being passed.

    Parameters
    ----------
    landscape : Landscape
        Twice differentiable, on flat space; worked on in double precision.
    start : Tensor (d,)
        Where to start.
    steps : int
        Steps at most.
    tolerance : float
        Largest |∇f| of a point that counts as found, relative to what a gradient there is made of: the root mean square
        of |∇f_i|, plus the largest curvature times the distance from the origin or, if that is more, from the start.
    count : int, optional
        Number of lowest eigenpairs to describe the point by, as in `escape_directions`; if omitted, all d up to 512
        dimensions and as many as are negative beyond.
    name : str
        A label.
    progress : bool, str or callable, optional
        As in `simulate`: True or a label shows it, a callable is called with (done, total).

    Returns
    -------
    CriticalPoint
        Curvatures below 1e-7 of the largest count as zero: a point known to some accuracy has no others.

    Raises
    ------
    ValueError
        If the start is no point, or the search does not converge, with |∇f| where it ended and what to do.
    """
    double = in_double(landscape)
    begin = one_point(double, start, "start")
    if not (isinstance(steps, int) and steps >= 1 and tolerance > 0):
        raise ValueError(f"steps and tolerance must be positive, got {steps!r} and {tolerance!r}")
    with Progress(steps, progress) as bar:
        x = _descended(double, begin, steps, tolerance, bar)
    if float(x.norm()) <= torch.finfo(x.dtype).eps * float((x - begin).norm()):
        x = torch.zeros_like(x)  # all that is left of a gradient there is rounding, which would be taken for noise
    return point_at(double, x, count, name, _DENSE).to(dtype=landscape.samples.dtype)


class _Model(NamedTuple):
    """The Hessian where a step is taken: steps −B (s / (s² + μ)) a, curvatures s (k,), directions B (d, k), a (k,)."""

    basis: Tensor
    curvatures: Tensor
    along: Tensor

    def step(self, damping: float) -> Tensor:
        s = self.curvatures
        return -self.basis @ (s / (s * s + damping * self.spread) * self.along)

    @property
    def spread(self) -> Tensor:
        return self.curvatures.square().mean().clamp(min=1e-300)


def _descended(landscape: Landscape, x: Tensor, steps: int, tolerance: float, bar: Progress) -> Tensor:
    """Point (d,) that |∇f|² is descended to, polished down to rounding."""
    gradient, start = landscape.gradient(x).detach(), x
    damping, before = _FIRST, torch.inf
    if not bool(torch.isfinite(gradient).all()):
        raise ValueError("the gradient is not finite at the start; start elsewhere")
    for done in itertools.count():
        size = float(gradient.norm())
        model = _model(landscape, x, gradient)
        # All of it at this point: far away, where a loss runs out, every part of a gradient vanishes with the whole.
        far = max(float(x.norm()), float((x - start).norm()))
        aim = tolerance * (landscape.gradient_size(x) + float(model.curvatures.abs().max()) * far)
        if size <= aim:
            return _polished(landscape, x, gradient, model)
        if done == steps:
            raise ValueError(_failed(f"{steps} steps were not enough", size, aim, "raise steps, or "))
        if done % _PATIENCE == 0:
            if size > 0.8 * before:
                raise ValueError(_failed("|∇f| hardly falls any more, it may have a minimum there", size, aim))
            before = size
        while True:
            move = model.step(damping)
            reach = _STRIDE * max(float(x.norm()), 1.0) / max(float(move.norm()), 1e-300)
            tried = x + min(reach, 1.0) * move
            slope = landscape.gradient(tried).detach()
            if float(slope.norm()) < size:
                break
            damping *= 4
            if damping > _LARGEST:
                raise ValueError(_failed("no step makes |∇f| smaller", size, aim))
        # Damping falls with the gradient itself, so that the end is Newton's.
        x, gradient, damping = tried, slope, max(damping / 8, _LEAST)
        bar.advance(1)


def _failed(why: str, size: float, aim: float, advice: str = "") -> str:
    return f"no critical point found: {why}; |∇f| is {size:.3g} where {aim:.3g} is asked for: {advice}start elsewhere"


def _polished(landscape: Landscape, x: Tensor, gradient: Tensor, model: _Model) -> Tensor:
    """The point after Newton's steps, as far as these gain; flat directions stay as they are."""
    for _ in range(3):
        tried = x + model.step(_LEAST)
        slope = landscape.gradient(tried).detach()
        if not float(slope.norm()) < float(gradient.norm()):
            break
        x, gradient = tried, slope
        model = _model(landscape, x, gradient)
    return x


def _model(landscape: Landscape, x: Tensor, gradient: Tensor) -> _Model:
    """The Hessian's eigenpairs, or what is known of it in a Krylov space of the gradient."""
    if len(x) <= _DENSE:
        values, vectors = torch.linalg.eigh(dense_hessian(landscape, x))
        return _Model(vectors, values, vectors.T @ gradient)
    size = float(gradient.norm())
    if size == 0.0:
        return _Model(x.new_zeros(len(x), 1), x.new_zeros(1), x.new_zeros(1))
    return _krylov(hessian_product(landscape, x), gradient, size, _KRYLOV)


def _krylov(product: Callable[[Tensor], Tensor], start: Tensor, size: float, most: int) -> _Model:
    """min |H B y + start| over the Krylov space with orthonormal columns Q: H Q = Q' T with T (k + 1, k) = U S Wᵀ.

    Steps −Q W (S / (S² + μ)) Uᵀ(|start| e_1) are those of Levenberg and Marquardt within the space.
    """
    basis, small = (start / size)[:, None], start.new_zeros(most + 1, most)
    for k in range(most):
        image = product(basis[:, k:])[:, 0]
        for _ in range(2):  # again, for what rounding leaves
            parts = basis.T @ image
            image = image - basis @ parts
            small[: k + 1, k] += parts
        left = float(image.norm())
        small[k + 1, k] = left
        done = left <= 1e-14 * float(small.abs().max())
        if done or k + 1 == most or (k % 10 == 9 and _residual(small[: k + 2, : k + 1]) < 1e-3):
            break
        basis = torch.cat([basis, (image / left)[:, None]], dim=1)
    u, s, w = torch.linalg.svd(small[: k + 2, : k + 1], full_matrices=False)
    return _Model(basis[:, : k + 1] @ w.T, s, size * u[0])


def _residual(small: Tensor) -> float:
    """Least |T y + e_1|."""
    first = small.new_zeros(len(small), 1)
    first[0] = 1.0
    return float((small @ torch.linalg.lstsq(small, first).solution - first).norm())
