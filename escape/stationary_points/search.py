"""The search itself: damped Newton to any index, or eigenvector following to an index asked for, in batch."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor
from torch.func import jacrev, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.batches import one_thread
from escape.stationary_points.points import FLAT, StationaryPoints

# Numbers in one batch of Hessians: more starts are worked through in parts.
_BATCH = 1 << 22
# Longest step, relative to the size of a point: beyond it the quadratic model says nothing.
_STRIDE = 0.3
# Points nearer than this, relative to their size, are one; polished points repeat far more closely.
_SAME = 1e-6
# Steps in which damped Newton must gain a fifth, or is given up.
_PATIENCE = 20
_EXTENDED = "the loss of a landscape on a manifold must not change across it: write it as F(retract(x))"


def find_stationary_points(
    landscape: Landscape,
    starts: Tensor | int = 200,
    seed: int = 0,
    index: int | Sequence[int] | None = None,
    scale: float = 1.0,
    steps: int = 150,
    tolerance: float = 1e-10,
) -> StationaryPoints:
    """Search for stationary points from many starts at once.

    Without `index`, damped Newton on ∇f = 0: the step −Σ_j v_j λ_j (v_jᵀ∇f) / (λ_j² + μ) descends |∇f|², and μ is
    lowered after a success and raised after a failure (Levenberg 1944, Quart. Appl. Math. 2, 164). It converges to
    any index, and may end in a minimum of |∇f|² that is no stationary point: a failure, counted. With `index` = k,
    eigenvector following: −Σ_j s_j v_j (v_jᵀ∇f) / |λ_j| with s_j = −1 for the k lowest λ_j, +1 for the others, ascends
    along k directions and descends along the rest (Cerjan and Miller 1981, J. Chem. Phys. 75, 2800). On a manifold
    all this happens in the tangent space, each step followed by `retract`.

    What is found is biased: every point is weighted by the size of its basin under the method, and none of the two
    finds all points for certain; see `StationaryPoints`.

    Parameters
    ----------
    landscape : Landscape
        Twice differentiable, float64.
    starts : Tensor (c, d) or int
        Where to start, or how many points to draw from N(0, scale² I).
    seed : int
        Seed of the draw.
    index : int or sequence of int, optional
        Index to look for; of several, each start takes the next in turn.
    scale : float
        Spread of the starts drawn, in the units of x; without effect on a sphere.
    steps : int
        Steps at most.
    tolerance : float
        Largest |∇f| of a point that counts as found, relative to max(1, the largest |∇f| of the starts).

    Raises
    ------
    ValueError
        For starts, indices or a landscape that cannot be searched.
    """
    if landscape.samples.dtype != torch.float64:
        raise ValueError(
            f"a search needs float64, got {landscape.samples.dtype}; take landscape.to(dtype=torch.float64)"
        )
    x = _starts(landscape, starts, seed, scale)
    surface = _Surface(landscape, x)
    targets = _targets(index, surface.tangent, len(x)).to(x.device)
    # Batches of small matrices: torch's threads would wait for each other most of the time.
    with one_thread(), torch.no_grad():
        width = max(1, _BATCH // x.shape[1] ** 2)
        parts = zip(x.split(width), targets.split(width), strict=True)
        ended = torch.cat([_search(surface, part, target, steps, tolerance) for part, target in parts])
        found, hits = _distinct(ended)
        # Of no points nothing can be lifted.
        polished = [_polished(surface, part) for part in found.split(width)] if len(found) else []
        spectra = torch.cat([values for _, values in polished] or [x.new_zeros(0, surface.tangent)])
        found = torch.cat([part for part, _ in polished] or [found])
        energies = landscape.loss(found) if len(found) else x.new_zeros(0)
    order = energies.argsort()
    spectra = spectra[order]
    negative = (spectra < -FLAT * spectra.abs().amax(1, keepdim=True)).sum(1)
    words = "damped Newton" if index is None else f"eigenvector following to index {index}"
    return StationaryPoints(
        landscape, found[order], energies[order], spectra, negative, hits[order], len(x), len(x) - len(ended), words
    )


class _Surface:
    """Where a search moves: flat space, or a manifold given by `retract`, in its tangent directions."""

    def __init__(self, landscape: Landscape, x: Tensor):
        self.landscape = landscape
        self.curved = type(landscape).retract is not Landscape.retract
        self.tangent = x.shape[1]
        if self.curved:
            some, off = x[:4], 1.1 * x[:4]
            self.tangent = round(float(self._projector(some)[0].trace()))
            change = landscape.loss(off) - landscape.loss(landscape.retract(off))
            if not bool((change.abs() <= 1e-9 * (1 + landscape.loss(some).abs())).all()):
                raise ValueError(_EXTENDED)

    def retract(self, x: Tensor) -> Tensor:
        return self.landscape.retract(x) if self.curved else x

    def spectrum(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent eigenvalues (c, k), ascending, and eigenvectors (c, d, k)."""
        with torch.enable_grad():
            curvature = vmap(self.landscape.hessian)(x)
        if not self.curved:
            return torch.linalg.eigh(curvature)
        # Normal directions are lifted above all others, and then left out.
        projector = self._projector(x)
        eye = torch.eye(x.shape[1]).to(x)
        lift = 2 * curvature.abs().sum((1, 2)) + 1
        values, vectors = torch.linalg.eigh(projector @ curvature @ projector + lift[:, None, None] * (eye - projector))
        return values[:, : self.tangent], vectors[:, :, : self.tangent]

    def _projector(self, x: Tensor) -> Tensor:
        """Tangent projectors (c, d, d): the derivative of `retract` on the manifold."""
        with torch.enable_grad():
            return vmap(jacrev(lambda point: self.landscape.retract(point[None])[0]))(x)


def _search(surface: _Surface, x: Tensor, target: Tensor, steps: int, tolerance: float) -> Tensor:
    """Follow a batch to its ends: (c, d) -> those that converged, (m, d)."""
    gradient = surface.landscape.gradient(x)
    size = gradient.norm(dim=1)
    aim = tolerance * max(1.0, float(size.max()))
    damping = torch.ones_like(size)
    ends, before = [], torch.full_like(size, torch.inf)
    for step in range(steps):
        done = size <= aim
        ends.append(x[done])
        live = ~done & size.isfinite()
        if step % _PATIENCE == 0:
            # A minimum of |∇f|² that is no stationary point holds damped Newton for ever.
            live &= (target >= 0) | (size < 0.8 * before)
            before = size
        parts = (x, gradient, size, damping, target, before)
        x, gradient, size, damping, target, before = (value[live] for value in parts)
        if not len(x):
            break
        values, vectors = surface.spectrum(x)
        along = (vectors.mT @ gradient[:, :, None])[:, :, 0]
        newton = target < 0
        order = torch.arange(values.shape[1], device=x.device)
        sign = torch.where(order < target[:, None], 1.0, -1.0)
        spread = values.square().mean(1, keepdim=True)
        damped = -along * values / (values.square() + damping[:, None] * spread)
        # Near a point both are Newton's step; a curvature near zero, or of the wrong sign, does not blow it up.
        followed = sign * along / values.abs().clamp(min=1e-3 * spread.sqrt())
        move = torch.where(newton[:, None], damped, followed)
        length = move.norm(dim=1, keepdim=True)
        reach = _STRIDE * x.norm(dim=1, keepdim=True).clamp(min=1.0)
        move = move * (reach / length.clamp(min=1e-300)).clamp(max=1.0)
        tried = surface.retract(x + (vectors @ move[:, :, None])[:, :, 0])
        slope = surface.landscape.gradient(tried)
        after = slope.norm(dim=1)
        better = after < size
        accept = (better | ~newton)[:, None]
        x, gradient = torch.where(accept, tried, x), torch.where(accept, slope, gradient)
        size = torch.where(accept[:, 0], after, size)
        # Damping falls with the gradient itself, so that the end is Newton's.
        damping = torch.where(better, damping / 8, damping * 4).clamp(min=1e-30, max=1e8)
    ends.append(x[size <= aim])
    return torch.cat(ends)


def _polished(surface: _Surface, x: Tensor) -> tuple[Tensor, Tensor]:
    """Points (m, d) brought down to rounding by Newton's steps, as far as these gain, and their spectra (m, k)."""
    values, vectors = surface.spectrum(x)
    firm = values.abs() > FLAT * values.abs().amax(1, keepdim=True)
    inverse = torch.where(firm, 1 / values, 0.0)
    gradient = surface.landscape.gradient(x)
    for _ in range(3):
        along = inverse * (vectors.mT @ gradient[:, :, None])[:, :, 0]
        tried = surface.retract(x - (vectors @ along[:, :, None])[:, :, 0])
        slope = surface.landscape.gradient(tried)
        better = (slope.norm(dim=1) < gradient.norm(dim=1))[:, None]
        x, gradient = torch.where(better, tried, x), torch.where(better, slope, gradient)
    return x, values


def _distinct(x: Tensor) -> tuple[Tensor, Tensor]:
    """Points without repetitions (m, d), and how often each was there (m,)."""
    if not len(x):
        return x, torch.zeros(0, dtype=torch.int64, device=x.device)
    reach = _SAME * float(x.norm(dim=1).max().clamp(min=1.0))
    pairs = cKDTree(x.cpu().numpy()).query_pairs(reach, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(x), len(x)))
    _, label = connected_components(links, directed=False)
    _, first, hits = np.unique(label, return_index=True, return_counts=True)
    return x[torch.from_numpy(first).to(x.device)], torch.from_numpy(hits).to(x.device)


def _starts(landscape: Landscape, starts: Tensor | int, seed: int, scale: float) -> Tensor:
    if isinstance(starts, Tensor):
        if starts.ndim != 2 or not len(starts) or not bool(starts.isfinite().all()):
            raise ValueError(f"starts must be finite, (c, d), got {tuple(starts.shape)}")
        if landscape.dimension not in (None, starts.shape[1]):
            raise ValueError(
                f"starts have {starts.shape[1]} coordinates, the landscape is of dimension {landscape.dimension}"
            )
        return landscape.retract(starts.to(landscape.samples))
    if starts < 1 or landscape.dimension is None:
        raise ValueError(
            f"cannot draw {starts} starts in dimension {landscape.dimension}; give them as a tensor (c, d)"
        )
    x = torch.from_numpy(scale * np.random.default_rng(seed).standard_normal((starts, landscape.dimension)))
    return landscape.retract(x.to(landscape.samples))


def _targets(index: int | Sequence[int] | None, tangent: int, count: int) -> Tensor:
    """Index that each start looks for, (c,); −1 for any."""
    wanted = [-1] if index is None else [index] if isinstance(index, int) else list(index)
    if not wanted or (index is not None and not all(0 <= one <= tangent for one in wanted)):
        raise ValueError(f"index is {index!r}: numbers from 0 to {tangent}, the number of directions")
    return torch.tensor(wanted).repeat(-(-count // len(wanted)))[:count]
