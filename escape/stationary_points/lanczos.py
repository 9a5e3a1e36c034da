"""The lowest curvatures at a point and their directions, with nothing of d × d numbers."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.stationary_points.curvature import dense_hessian, hessian_product, in_double, one_point
from escape.stationary_points.points import FLAT

# Columns of a block, of a basis before it begins again, and eigenpairs at most where the number is not given.
_BLOCK, _COLUMNS, _MOST = 16, 320, 256
# Blocks in one pass at most; residual of an eigenpair that counts as found, of the largest |eigenvalue|.
_ROUNDS, _TOLERANCE = 150, 1e-8


def escape_directions(
    landscape: Landscape, location: Tensor, count: int | None = None, name: str = "", seed: int = 0
) -> CriticalPoint:
    """Describe a stationary point by its lowest curvatures, where d is too large for the whole spectrum.

    Block Lanczos on products Hv with the full-batch Hessian, in slices over the samples. A pass sees no more equal
    eigenvalues than its block has columns: passes go on outside of what is found until one finds nothing lower. Every
    eigenpair is checked, |Hv − λv| ≤ 1e-8 max |λ|, which bounds the error of λ.

    Parameters
    ----------
    landscape : Landscape
        Twice differentiable, on flat space; worked on in double precision.
    location : Tensor (d,)
        A point where ∇f vanishes.
    count : int, optional
        Number of lowest eigenpairs; if omitted, all negative ones and one more, 256 at most.
    name : str
        A label.
    seed : int
        Of the start of the iteration.

    Returns
    -------
    CriticalPoint
        With count + 1 eigenpairs: the lowest, ascending, and the highest. All d of them where that is no fewer.
        Curvatures below 1e-7 of the largest count as zero.

    Raises
    ------
    ValueError
        If location or count are not what is asked for, or the iteration does not converge.

    Notes
    -----
    Source: Golub and Van Loan 2013, Matrix Computations, 4th edition, section 10.3 (block Lanczos).
    """
    double = in_double(landscape)
    x = one_point(double, location, "location")
    return point_at(double, x, count, name, 2 * _BLOCK, seed).to(dtype=landscape.samples.dtype)


def point_at(landscape: Landscape, x: Tensor, count: int | None, name: str, dense: int, seed: int = 0) -> CriticalPoint:
    """`escape_directions` in double precision; the whole spectrum where count is omitted and d is up to `dense`."""
    d = len(x)
    if count is not None and not (isinstance(count, int) and 1 <= count <= d):
        raise ValueError(f"count is {count!r}: give a number of eigenpairs from 1 to {d}")
    if d <= 2 * _BLOCK or (d <= dense if count is None else count + 1 >= d):
        values, vectors = torch.linalg.eigh(dense_hessian(landscape, x))
    else:
        values, vectors = _Lowest(hessian_product(landscape, x), x, seed).find(count)
    bare = CriticalPoint(x, values, vectors, None, name, error=FLAT * float(values.abs().max()))
    # Noise along some of the escape directions is noise; none along those is not none along the others.
    return dataclasses.replace(bare, noise=landscape.noise_type(bare) if bare.index_known else None)


class _Lowest:
    """Passes of block Lanczos, each outside the span of what was found before."""

    def __init__(self, product: Callable[[Tensor], Tensor], x: Tensor, seed: int):
        self.product, self.x, self.d = product, x, len(x)
        self.generator = torch.Generator(device=x.device).manual_seed(seed)
        self.values, self.vectors = x.new_zeros(0), x.new_zeros(len(x), 0)
        self.scale = 0.0

    def find(self, count: int | None) -> tuple[Tensor, Tensor]:
        """Eigenvalues (m,) and vectors (d, m): `count` lowest, or all negative and one more, and the highest."""
        high = None
        while True:
            size = min(_BLOCK if count is None else max(count - len(self.values), 1), self.d - len(self.values) - 1)
            lowest, vectors, top = self._pass(size, high is None)
            high = top if high is None else high
            self.values, self.vectors, _ = self._ritz(torch.cat([self.vectors, vectors], dim=1))
            flat = FLAT * self.scale
            # Outside of what was known before this pass, nothing is lower than its lowest.
            if count is None:
                done = lowest >= -flat
            else:
                done = len(self.values) >= count and lowest >= float(self.values[count - 1]) - flat
            if done or len(self.values) >= (min(_MOST, self.d - 1) if count is None else self.d - 1):
                break
        # Without one that is not negative it is said that more may be.
        keep = count or int((self.values < -flat).sum()) + done
        return self._checked(torch.cat([self.vectors[:, :keep], high], dim=1))

    def _pass(self, size: int, first: bool) -> tuple[float, Tensor, Tensor]:
        """Lowest eigenvalue outside the span of what is known, `size` lowest vectors there, and the highest one.

        The basis grows by the residuals of the lowest Ritz vectors that have not converged, which span the next Krylov
        block, with full reorthogonalisation; where it becomes too large, it begins again from the best of itself.
        """
        room = self.d - len(self.values)
        most = min(room, max(4 * (size + _BLOCK), _COLUMNS))
        basis = self._outside(self._normal(min(_BLOCK, room)), self.x.new_zeros(self.d, 0))
        images = self._image(basis)
        for _ in range(_ROUNDS):
            small = basis.T @ images
            values, turn = torch.linalg.eigh((small + small.T) / 2)
            self.scale = max(self.scale, float(values.abs().max()))
            wanted = [*range(min(size, len(values))), *([len(values) - 1] if first else [])]
            ritz = turn[:, wanted]
            left = images @ ritz - (basis @ ritz) * values[wanted]
            open_ = left.norm(dim=0) > 0.1 * _TOLERANCE * self.scale
            if not bool(open_.any()):
                if len(values) >= size:
                    break
                left, open_ = self._normal(_BLOCK), slice(None)  # an invariant subspace: on from somewhere else
            if len(values) + _BLOCK > most and most < room:
                kept = torch.cat([turn[:, : size + _BLOCK], turn[:, -1:]], dim=1)
                basis, images = basis @ kept, images @ kept
            new = self._outside(left[:, open_][:, :_BLOCK], basis)
            basis, images = torch.cat([basis, new], dim=1), torch.cat([images, self._image(new)], dim=1)
        else:
            raise ValueError(
                f"Lanczos did not converge in {_ROUNDS} blocks: ask for another count, for fewer as a rule"
            )
        return float(values[0]), basis @ turn[:, :size], basis @ turn[:, -1:]

    def _image(self, v: Tensor) -> Tensor:
        """H v outside the span of what is known."""
        image = self.product(v)
        if not bool(torch.isfinite(image).all()):
            raise ValueError("the Hessian is not finite at the location; take a point where the loss is smooth")
        return image - self.vectors @ (self.vectors.T @ image)

    def _outside(self, v: Tensor, basis: Tensor) -> Tensor:
        """Orthonormal columns that span v, orthogonal to a basis and to what is known."""
        v = v / v.norm(dim=0).clamp(min=1e-300)
        for _ in range(3):  # the first projection leaves rounding of what it takes away
            for known in (self.vectors, basis):
                v = v - known @ (known.T @ v)
            v, size, _ = torch.linalg.svd(v, full_matrices=False)
            v = v[:, size > 1e-8]
        return v

    def _normal(self, columns: int) -> Tensor:
        kind = {"device": self.x.device, "dtype": self.x.dtype}
        return torch.randn(self.d, columns, generator=self.generator, **kind)

    def _ritz(self, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ritz values, vectors and the images H v of these."""
        basis = torch.linalg.qr(columns)[0]
        images = self.product(basis)
        small = basis.T @ images
        values, turn = torch.linalg.eigh((small + small.T) / 2)
        return values, basis @ turn, images @ turn

    def _checked(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors, images = self._ritz(columns)
        residual = float((images - vectors * values).norm(dim=0).max())
        if not residual <= _TOLERANCE * self.scale:
            raise ValueError(
                f"Lanczos left a residual of {residual:.3g}, {_TOLERANCE * self.scale:.3g} is allowed: ask for another "
                "count, or take a point where the loss is smoother"
            )
        return values, vectors
