"""Mean squares that rare chains carry: batches drawn towards growth, and every chain weighted for it."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from escape.estimate.base import check_level
from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.oracles import MiniBatch
from escape.progress import Progress
from escape.rare._checks import BLOCKS, check_batches, columns, integers, location, positive, uniform
from escape.rare._moment import TiltedMoment, tilted_moment
from escape.rare._motion import Motion
from escape.rare._steps import effective, log_mean, systematic

# Uniforms drawn at once, of all blocks and of how many steps.
_AHEAD, _STEPS = 1 << 22, 256


@torch.no_grad()
def tilted_mean_square(
    landscape: Landscape,
    oracle: MiniBatch,
    lr: float,
    point: CriticalPoint | Tensor,
    start: Tensor | Callable,
    *,
    steps: int,
    chains: int,
    every: int = 1,
    seed: int = 0,
    block: int | None = None,
    level: float = 0.95,
    p: float = 2.0,
    directions: Tensor | None = None,
    tilt: Tensor | None = None,
    linearised: bool = False,
    resample: bool = True,
    progress: bool | str | Callable[[int, int], None] | None = None,
) -> TiltedMoment:
    """E |Vᵀ(x_t − x*)|^p along mini-batch SGD, unbiased, where the plain mean over chains is wrong by magnitudes.

    With δ = x − x* and h(δ) = (|Rᵀδ|² + f)^(p/2), batches are drawn with probability in proportion to h at the next
    point (slot by slot, see `escape.rare._steps`), and a chain has weight
        W_t = |Vᵀδ_t|^p / h(δ_t) · h(δ_0) Π_{s<t} E[h(δ_{s+1}) | δ_s] / h(δ_s),   E W_t = E |Vᵀδ_t|^p.
    (For p ≠ 2 and batches of more than one, the conditional mean gives way to a product of likelihood ratios.) The
    floor f is 0 where every sample's gradient vanishes at the point. Elsewhere it is the mean square of one noisy step
    from it over a² − 1, a = 1 − lr λ_min (over 1 where no direction is unstable): with one direction, f is the
    variance of the effective kick, h grows by a^p exactly in every mean, and a start at the saddle is no special case.

    Parameters
    ----------
    landscape : Landscape
        What is descended, in flat space.
    oracle : MiniBatch
        Batches, with or without replacement.
    lr : float
        Learning rate.
    point : CriticalPoint or Tensor (d,)
        x*.
    start : Tensor (d,) or callable (chains, generator) -> (chains, d)
        Where chains start.
    steps, chains : int
        How many of each; chains are made up to whole blocks.
    every : int
        The moment is recorded at steps 0, every, 2 every, …
    seed : int
        Seed of the run, non-negative.
    block : int, optional
        Chains per block, part of what the result depends on; a fortieth of all if omitted. Blocks are independent, and
        the interval comes from their spread.
    level : float
        Confidence of the interval at each step separately.
    p : float
        Order of the moment, above 0.
    directions : Tensor (d, m) or (d,), optional
        V; all of space if omitted.
    tilt : Tensor (d, k), optional
        R, of rank d; the identity if omitted. `growth_tilt` gives a better one, at the price of n Hessians.
    linearised : bool
        Replace the landscape by its expansion to second order at the point. Moments may then grow without bound.
    resample : bool
        Draw the chains of a block anew in proportion to their weights, when fewer than half of them carry it.
    progress : bool, str or callable, optional
        As for `simulate`.

    Returns
    -------
    TiltedMoment
        Unreliable, and not believed, where one chain holds over 5% of the sum of weights, fewer than four fifths
        of the blocks carry it (their relative variance exceeds ¼), a chain overflowed, or there is one block.

    Raises
    ------
    ValueError, TypeError
        Before the first step, for arguments that make no run.

    Notes
    -----
    Time is O(chains · steps · n · b). The weights' spread still grows with the number of steps, by how much
    E[h(δ') | δ]/h(δ) differs between directions δ; not at all in one dimension.

    Source: size-biased sampling and its twisting by a function h, Del Moral 2004, "Feynman-Kac Formulae", Springer;
    the law of batches and the floor are derived.
    """
    integers(steps=(steps, 0), chains=(chains, 1), every=(every, 1), seed=(seed, 0), block=(block or 1, 1))
    check_batches(landscape, oracle)
    where = location(point, landscape)
    matrix = columns("tilt", tilt, where)
    if matrix is not None and int(torch.linalg.matrix_rank(matrix)) < len(where):
        raise ValueError(f"tilt must have rank {len(where)}: paths that it does not see would be lost")
    motion = Motion.of(landscape, oracle, positive("lr", lr), point, where, matrix, positive("p", p), linearised)
    size = block or -(-chains // BLOCKS)
    blocks = _Blocks(motion, columns("directions", directions, where), start, size, -(-chains // size), seed, resample)
    recorded, units = [], blocks.count * size
    with Progress(steps * units, progress) as shown:
        for t in range(steps + 1):
            if t % every == 0:
                recorded.append(blocks.log_weights().cpu().numpy())
            if t < steps:
                blocks.step()
                shown.advance(units)
    return tilted_moment(np.array(recorded), np.arange(0, steps + 1, every), check_level(level))


def growth_tilt(
    landscape: Landscape, oracle: MiniBatch, lr: float, point: CriticalPoint | Tensor, share: float = 0.01
) -> Tensor:
    """R with R Rᵀ = K + share · I, K the eigenmatrix of the mean-square growth at a point: the tilt of least spread.

    E[δ'ᵀKδ' | δ] = ρ δᵀKδ for linear steps without additive noise, so that with share 0 all chains weigh the same.

    Parameters
    ----------
    landscape, oracle, lr, point
        As in `tilted_mean_square`.
    share : float
        What K, of largest eigenvalue 1, is kept away from rank deficiency by: above 0.

    Returns
    -------
    Tensor (d, d)

    Raises
    ------
    ValueError, TypeError
        For arguments that make no run.

    Notes
    -----
    K is found by iterating K -> A K A + lr² κ/n Σ_i D_i K D_i, A = I − lr H, D_i = H_i − H: n d² numbers of memory.

    Source: derived; the map is that of Ma and Ying 2021 and Mulayoff and Michaeli 2024 (arXiv 2306.07850).
    """
    check_batches(landscape, oracle)
    where, lr, share = location(point, landscape), positive("lr", lr), positive("share", share)
    hessians = landscape.sample_hessians(where.to(landscape.samples.dtype)).double()
    mean = hessians.mean(0)
    spread = (hessians - mean) * lr * (oracle.covariance_factor(landscape) / landscape.n) ** 0.5
    eye = torch.eye(len(where)).to(mean)
    step, matrix = eye - lr * mean, eye
    for _ in range(1000):
        # Adding K itself damps what oscillates, and changes no eigenmatrix.
        grown = matrix + step @ matrix @ step + (spread @ matrix @ spread).sum(0)
        grown = grown / torch.linalg.matrix_norm(grown, 2)
        if torch.equal(grown, matrix) or float((grown - matrix).abs().max()) < 1e-12:
            break
        matrix = grown
    values, vectors = torch.linalg.eigh(matrix + matrix.T)
    return vectors * (values.clamp(min=0) / values[-1] + share).sqrt()


class _Blocks:
    """Chains of all blocks on their way: points δ = y 2^e with their weights, and the numbers drawn for them."""

    def __init__(self, motion: Motion, directions, start, size: int, count: int, seed: int, resample: bool):
        self.motion, self.directions, self.resample = motion, directions, resample
        self.size, self.count = size, count
        self.generators, y = motion.starts(start, size, count, seed)
        self.y, self.e = motion.normalised(y, y.new_zeros(len(y)))
        self.weight = motion.log_h(self.y, self.e).view(count, size)
        self._ahead = iter(())

    def step(self) -> None:
        """Draw, move and, where few chains carry a block, resample it."""
        numbers = self._numbers()
        places, batches = numbers[:, :1], numbers[:, 1:].reshape(self.count * self.size, -1)
        self.y, self.e, gained = self.motion.step(self.y, self.e, batches)
        # What has lost all its weight stays so: the difference of two infinities says nothing.
        dead = self.weight.isneginf()
        self.weight = torch.where(dead, -math.inf, self.weight + gained.view(self.count, self.size))
        poor = effective(self.weight) < self.size / 2
        if self.resample and bool(poor.any()):
            self._resample(poor[:, None], places)

    def log_weights(self) -> Tensor:
        """ln W_t of every chain, (blocks, chains)."""
        seen = self.motion.log_size(self.y, self.e, self.directions).view(self.count, self.size)
        log = seen + self.weight - self.motion.log_h(self.y, self.e).view(self.count, self.size)
        return torch.where(self.weight.isneginf() | seen.isneginf(), -math.inf, log)

    def _resample(self, poor: Tensor, places: Tensor) -> None:
        own = torch.arange(self.size, device=poor.device).expand(self.count, -1)
        rows = torch.where(poor, systematic(self.weight, places), own)
        rows = (rows + self.size * torch.arange(self.count, device=poor.device)[:, None]).view(-1)
        self.y, self.e = self.y[rows], self.e[rows]
        self.weight = torch.where(poor, log_mean(self.weight)[:, None], self.weight)

    def _numbers(self) -> Tensor:
        """Uniforms of one step of all blocks, each block's from its own stream: (blocks, 1 + chains · b)."""
        found = next(self._ahead, None)
        if found is None:
            width = 1 + self.size * self.motion.batch_size
            steps = max(1, min(_STEPS, _AHEAD // (width * self.count)))
            drawn = torch.stack([uniform((steps, width), generator) for generator in self.generators], dim=1)
            self._ahead = iter(drawn)
            found = next(self._ahead)
        return found
