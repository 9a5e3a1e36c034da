"""Eigenvalues and traces of the covariance and the Hessian: dense where small, by Lanczos and random probes beyond."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from escape.noise_geometry.number import Part
from escape.noise_geometry.products import Products

_TOLERANCE = 1e-9  # of Lanczos, relative to the largest eigenvalue
_RESTARTS = 40  # of Lanczos at most


class Extremes(NamedTuple):
    """The lowest eigenpairs of H and the highest one.

    Attributes
    ----------
    low : NDArray (m,)
        Lowest eigenvalues, ascending.
    low_directions : Tensor (d, m)
        Their eigenvectors.
    high : float
        Highest eigenvalue; NaN where Lanczos did not converge.
    high_direction : Tensor (d, 1), or (d, 0) where it did not converge
        Its eigenvector.
    floor : float
        Size below which an eigenvalue has no sign.
    """

    low: NDArray
    low_directions: Tensor
    high: float
    high_direction: Tensor
    floor: float

    @property
    def largest(self) -> float:
        """Largest size of an eigenvalue known."""
        known = np.abs([*self.low, self.high])
        return float(np.nanmax(known)) if np.isfinite(known).any() else 0.0


class Noise(NamedTuple):
    """Leading eigenpairs of C, Tr C², and what of C is held: C itself, the Gram matrix of the samples, or neither."""

    eigenvalues: NDArray  # (k,), descending
    directions: Tensor  # (d, k), of those that are not zero
    square: float | None  # Tr C², None where it must be estimated
    rank: int | None
    covariance: Tensor | None
    gram: Tensor | None


def noise_spectrum(products: Products, k: int, dense: int, seed: int, notes: list[str]) -> Noise:
    """Leading eigenpairs of C, exactly if d or n is at most `dense`, else by Lanczos."""
    if products.d > dense and products.n > dense:
        values, vectors = _lanczos(products.covariance_product, products, min(k, products.d - 1), "LA", seed, notes)
        if len(values):
            notes.append("leading eigenvalues of C: by Lanczos")
        return Noise(values[::-1], vectors.flip(1), None, None, None, None)
    by_samples = products.n < products.d or products.d > dense
    matrix = products.gram() if by_samples else products.covariance()
    values, vectors = torch.linalg.eigh(matrix)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    # Rounding of the largest eigenvalue in sums of as many terms as the matrix has rows.
    floor = 4 * len(values) * torch.finfo(values.dtype).eps * float(values[0])
    rank = int((values > floor).sum())
    kept = min(k, rank)
    if by_samples:
        # Zᵀu of an eigenvector u of ZZᵀ is one of ZᵀZ.
        columns = vectors[:, :kept]
        directions = sum((part.T @ columns[rows] for rows, part in products.centred()), columns.new_zeros(()))
        directions = directions / directions.norm(dim=0)
    else:
        directions = vectors[:, :kept]
    leading = np.zeros(min(k, products.d))
    leading[:kept] = values[:kept].cpu().numpy()
    square = float((matrix * matrix).sum())
    held = (None, matrix) if by_samples else (matrix, None)
    return Noise(leading, directions, square, rank, *held)


def extremes(products: Products, hessian: Tensor | None, k: int, seed: int, notes: list[str]) -> Extremes:
    """The highest eigenpair of H and the lowest, k at most: from H itself where it is in hand, else by Lanczos."""
    if hessian is not None:
        values, vectors = torch.linalg.eigh(hessian)
        floor = 1e-12 * float(values.abs().max())
        return Extremes(values[:k].cpu().numpy(), vectors[:, :k], float(values[-1]), vectors[:, -1:], floor)
    return _ends(products, k, seed, notes)


def _ends(products: Products, k: int, seed: int, notes: list[str]) -> Extremes:
    """Ends of the Hessian's spectrum by Lanczos: the highest, and from the lowest on until one is not negative."""
    apply = products.hessian_product
    most, _ = _lanczos(apply, products, 1, "LM", seed, notes)
    largest = abs(float(most[0])) if len(most) else 0.0
    # Lanczos stops at an error relative to the eigenvalue: all are moved away from zero, where it would never end.
    shift, floor = 2 * largest, 1e-8 * largest
    high, high_direction = _lanczos(lambda v: apply(v) + shift * v, products, 1, "LA", seed, notes)
    found = products.x.new_zeros(products.d, 0)
    values: list[float] = []
    while len(values) < min(k, products.d) and (not values or values[-1] < -floor):
        # Those found become the highest ones, so that an eigenvalue comes as often as it is.
        def others(v, found=found):
            v = v - found @ (found.T @ v)
            w = apply(v) - shift * v
            return w - found @ (found.T @ w)

        low, direction = _lanczos(others, products, 1, "SA", seed + len(values), notes)
        if not len(low):
            break
        values.append(float(low[0]) + shift)
        found = torch.cat([found, direction], dim=1)
    notes.append(f"eigenvectors of H: by Lanczos, |Hv − λv| ≤ {_residual(products, np.array(values), found):.1g}")
    top = float(high[0]) - shift if len(high) else float("nan")
    order = np.argsort(values)
    return Extremes(np.array(values)[order], found[:, order], top, high_direction, floor)


def _residual(products: Products, values: NDArray, vectors: Tensor) -> float:
    """Largest |Hv − λv|, within which an eigenvalue lies of each λ."""
    if not len(values):
        return 0.0
    left = products.hessian_product(vectors) - vectors * torch.as_tensor(values).to(vectors)
    return float(left.norm(dim=0).max())


def _lanczos(product, products: Products, k: int, which: str, seed: int, notes: list[str]) -> tuple[NDArray, Tensor]:
    """Eigenvalues, ascending, and eigenvectors (d, k) at one end; those that converged."""
    x, d = products.x, products.d
    start = np.random.default_rng(seed).standard_normal(d)

    def apply(v):
        column = torch.from_numpy(np.ascontiguousarray(v).reshape(-1, 1)).to(x)
        return product(column)[:, 0].cpu().numpy()

    image = apply(start)
    if d == 1 or not np.abs(image).max() > 0:
        # Of a number, or of zero, nothing is to be iterated.
        unit = start / np.linalg.norm(start)
        return np.array([float(unit @ image) / np.linalg.norm(start)]), torch.from_numpy(unit[:, None]).to(x)
    operator = LinearOperator((d, d), matvec=apply, dtype=np.float64)
    size = min(d, max(2 * k + 1, 40))
    try:
        values, vectors = eigsh(operator, k, which=which, v0=start, ncv=size, tol=_TOLERANCE, maxiter=_RESTARTS)
    except ArpackNoConvergence as stopped:
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
        where = {"SA": "lowest", "LA": "highest", "LM": "largest"}[which]
        notes.append(f"Lanczos found {len(values)} of the {k} {where} eigenvalues in {_RESTARTS} restarts")
    except ArpackError as failed:
        values, vectors = np.empty(0), np.empty((d, 0))
        notes.append(f"Lanczos failed: {failed}")
    order = np.argsort(values)
    return values[order], torch.from_numpy(np.ascontiguousarray(vectors[:, order])).to(x)


class Traces(NamedTuple):
    """Tr C², Tr(HC), Tr H and Tr H²."""

    noise_square: Part
    noise_curvature: Part
    curvature: Part
    curvature_square: Part


def traces(
    products: Products, noise: Noise, hessian: Tensor | None, known: Tensor, probes: int, seed: int, small: bool
) -> Traces:
    """The four traces, exact where they can be, else by Hutchinson's probes outside the span of known directions.

    Tr A = Σ_j q_jᵀAq_j + E zᵀPAPz for any orthonormal q, P = I − QQᵀ and z of independent signs: unbiased whatever q,
    and of small variance where q are the leading eigenvectors (Meyer, Musco, Musco and Woodruff 2021, Hutch++).
    """
    if hessian is not None:
        if noise.covariance is not None:
            both = float((noise.covariance * hessian).sum())
        else:
            both = sum(float(((part @ hessian) * part).sum()) for _, part in products.centred()) / products.n
        square = Part(float(noise.square))
        return Traces(square, Part(both), Part(float(hessian.trace())), Part(float((hessian * hessian).sum())))
    basis = torch.linalg.qr(known)[0]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (products.d, probes))
    inside, outside = _forms(products, basis, small), [[] for _ in range(4)]
    for some in torch.from_numpy(signs).split(16, dim=1):
        z = some.to(products.x)
        z = z - basis @ (basis.T @ z)
        for kept, found in zip(outside, _forms(products, z, small), strict=True):
            kept.append(found)
    parts = [Part(float(a.sum()), np.concatenate(b)) for a, b in zip(inside, outside, strict=True)]
    if small:
        parts[:2] = [Part(float(noise.square)), Part(products.noise_curvature())]
    return Traces(*parts)


def _forms(products: Products, z: Tensor, small: bool) -> list[NDArray]:
    """|Cz|², (Cz)ᵀHz, zᵀHz and |Hz|² of every column of z; zeros for the first two where they are known otherwise."""
    hz = products.hessian_product(z) if z.shape[1] else z
    cz = torch.zeros_like(z) if small else products.covariance_product(z)
    return [form.sum(0).cpu().numpy() for form in (cz * cz, cz * hz, z * hz, hz * hz)]
