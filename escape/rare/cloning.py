"""Growth rates of moments, by populations whose clones multiply with their growth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Generator, Tensor

from escape.draws import distinct_indices, standard_normal, uniform_indices
from escape.estimate.base import Estimate, check_level, judged
from escape.landscapes.base import Landscape
from escape.landscapes.critical_point import CriticalPoint
from escape.oracles import MiniBatch
from escape.progress import Progress
from escape.rare._checks import check_batches, integers, location, positive, uniform
from escape.rare._steps import effective, log_mean, systematic
from escape.streams import block_generator

# The largest temporary, in numbers; the most indices drawn at once, of all populations and of how many steps.
_SLICE, _AHEAD, _STEPS = 1 << 22, 1 << 22, 256
# Least clones with weight in a step, on average: with fewer, the bias does not fall as one over their number.
_CARRYING = 10.0


@dataclass(frozen=True, eq=False)
class MomentRate:
    """L(p) = lim (1/t) ln E |x_t|^p with its interval.

    Attributes
    ----------
    p : ndarray (k,)
        Orders.
    rate : Estimate
        L(p) per step, arrays (k,), extrapolated to infinitely many clones.
    bias : ndarray (k,)
        What the extrapolation took off the mean of the populations of full size.
    effective_clones : ndarray (k,)
        Clones that carry the weights of one step in populations of half size, the mean over steps.
    full, half : ndarray (k, populations), (k, 2 populations)
        ln of the mean weight per step, of every population of full and of half size. Orders share their random numbers
        within a population, so that differences between orders have their error from differences of these.
    """

    p: NDArray
    rate: Estimate
    bias: NDArray
    effective_clones: NDArray
    full: NDArray
    half: NDArray


@torch.no_grad()
def moment_rate(
    hessians: ArrayLike | Landscape,
    lr: float,
    batch_size: int,
    replacement: bool = False,
    p: ArrayLike = 2.0,
    *,
    clones: int = 500,
    steps: int = 1000,
    populations: int = 20,
    point: CriticalPoint | Tensor | None = None,
    seed: int = 0,
    level: float = 0.95,
    progress: bool | str | Callable[[int, int], None] | None = None,
) -> MomentRate:
    """L(p) = lim (1/t) ln E |x_t|^p of linear mini-batch SGD x' = (I − lr H_B) x, for Hessians that do not commute.

    In a population of N clones each takes a step with a batch of its own and gains weight |x'|^p/|x|^p; when fewer than
    half carry the weight, they are drawn anew in proportion to it. L is the growth of ln of the mean weight per step.
    Its bias is C/N to leading order, and is removed: 2 L_N − L_{N/2} from independent populations of both sizes.

    Parameters
    ----------
    hessians : (n, d, d) array, or Landscape
        H_i, symmetric; a landscape gives its own at `point`.
    lr : float
        Learning rate.
    batch_size : int
        Terms in a batch, drawn afresh each step.
    replacement : bool
        Whether a batch may hold a term twice.
    p : float or (k,) array
        Orders, all worked out with the same random numbers.
    clones : int
        N, even, at least 4.
    steps : int
        Steps averaged, after a tenth as many to forget the start.
    populations : int
        Populations of N clones, at least 2; there are twice as many of N/2.
    point : CriticalPoint or Tensor (d,), optional
        Where the Hessians of a landscape are taken.
    seed : int
        Seed of the run; every population has a generator of its own.
    level : float
        Confidence of the interval, Student's with Welch's degrees of freedom over populations.
    progress : bool, str or callable, optional
        As for `simulate`.

    Returns
    -------
    MomentRate
        Minus infinity where populations die out, as batches map to zero, and plus infinity for p < 0 then. Unreliable
        for these, and where under 10 clones carry the weights of a step in populations of half size.

    Raises
    ------
    ValueError, TypeError
        Before the first step, for arguments that make no run.

    Notes
    -----
    L(0) = 0 and L'(0) is the almost sure growth rate; ln ρ of the mean square is L(2). Memory is 3 k N populations d
    numbers. The bias of the forgotten start falls exponentially in steps. For p far above what clones can carry,
    L tends to a straight line below the truth, as plain means do.

    Source: Giardina, Kurchan and Peliti 2006, Physical Review Letters 96:120603; bias in 1/N, Nemoto, Guevara Hidalgo
    and Lecomte 2017, Physical Review E 95:012102.
    """
    integers(batch_size=(batch_size, 1), clones=(clones, 4), steps=(steps, 1), populations=(populations, 2))
    integers(seed=(seed, 0))
    if clones % 2:
        raise ValueError(f"clones must be even, since populations of half as many give the bias, got {clones}")
    lr, level, orders = positive("lr", lr), check_level(level), np.atleast_1d(np.asarray(p, dtype=float))
    if orders.ndim != 1 or not len(orders) or not np.isfinite(orders).all():
        raise ValueError(f"p must be one or several finite numbers, got {p!r}")
    matrices = _matrices(hessians, point, batch_size, replacement)
    families = []
    with Progress(2 * (steps + steps // 10) * populations * clones, progress) as shown:
        for count, size, first in ((populations, clones, 0), (2 * populations, clones // 2, populations)):
            generators = [block_generator(seed, first + number, matrices.device) for number in range(count)]
            family = _Family(matrices, lr, batch_size, replacement, orders, size, generators)
            families.append(family.rates(steps, shown))
    (full, _), (half, carrying) = families
    return _result(orders, full, half, carrying, level, np.ndim(p) == 0)


class _Family:
    """Populations of one size, for all orders: directions x (k, g N, d) of norm one, log weights (k, g, N)."""

    def __init__(self, matrices, lr, batch_size, replacement, orders, size: int, generators: list[Generator]):
        self.matrices, self.lr, self.batch_size, self.replacement = matrices, lr, batch_size, replacement
        self.size, self.count, self.generators = size, len(generators), generators
        self.orders = torch.from_numpy(orders).to(matrices)[:, None, None]
        x = [standard_normal((size, matrices.shape[1]), generator, torch.float64) for generator in generators]
        x = torch.cat(x)
        self.x = (x / x.norm(dim=1, keepdim=True)).expand(len(orders), -1, -1)
        self.weight = self.x.new_zeros(len(orders), self.count, size)
        self._ahead = iter(())

    def rates(self, steps: int, shown: Progress) -> tuple[NDArray, NDArray]:
        """Growth of ln of the mean weight per step (k, g), and the clones that carry one step (k,)."""
        before, carrying = steps // 10, 0.0
        for t in range(before + steps):
            if t == before:
                began = log_mean(self.weight)
            carried = self._step()
            carrying = carrying + carried if t >= before else 0.0
            shown.advance(self.count * self.size)
        rates = (log_mean(self.weight) - began) / steps
        # Two infinities leave nothing to subtract: the weights are all zero, or for negative orders infinite.
        rates = torch.where(rates.isnan(), -torch.inf * self.orders[:, :, 0].sign(), rates)
        return rates.cpu().numpy(), (carrying / steps).cpu().numpy()

    def _step(self) -> Tensor:
        """Move, weigh and, where few clones carry the weight, resample."""
        index, places = self._drawn()
        self.x = self._moved(index)
        norm = self.x.norm(dim=2)
        self.x = self.x / torch.where(norm > 0, norm, 1.0)[:, :, None]
        log = norm.log().view(self.weight.shape)
        gained = torch.where(self.orders == 0, 0.0, self.orders * log)
        self.weight = self.weight + gained
        poor = effective(self.weight) < self.size / 2
        if bool(poor.any()):
            rows = torch.where(poor[:, :, None], systematic(self.weight, places), self._own)
            rows = (rows + self.size * torch.arange(self.count, device=rows.device)[:, None]).flatten(1)
            self.x = self.x.gather(1, rows[:, :, None].expand_as(self.x))
            self.weight = torch.where(poor[:, :, None], log_mean(self.weight)[:, :, None], self.weight)
        return effective(gained).nan_to_num(nan=0.0).mean(1)

    @property
    def _own(self) -> Tensor:
        return torch.arange(self.size, device=self.x.device).expand(self.weight.shape)

    def _moved(self, index: Tensor) -> Tensor:
        """(I − lr H_B) x, the same batch for all orders: index (g N, b)."""
        parts = []
        width = max(1, _SLICE // self.matrices[0].numel())
        for x, rows in zip(self.x.split(width, dim=1), index.split(width), strict=True):
            mean = sum(self.matrices[term] for term in rows.T.long()) / rows.shape[1]
            parts.append(x - self.lr * torch.einsum("cij,kcj->kci", mean, x))
        return torch.cat(parts, dim=1)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Batches of one step (g N, b) and where resampling begins (k, g, 1), each population's from its own stream."""
        found = next(self._ahead, None)
        if found is None:
            steps = max(1, min(_STEPS, _AHEAD // (self.count * self.size * self.batch_size)))
            index = torch.cat([self._indices(steps, generator) for generator in self.generators], dim=1)
            places = torch.stack([uniform((steps, 1), generator) for generator in self.generators], dim=1)
            self._ahead = zip(index, places, strict=True)
            found = next(self._ahead)
        return found[0], found[1].expand(len(self.orders), -1, -1)

    def _indices(self, steps: int, generator: Generator) -> Tensor:
        n, b, shape = len(self.matrices), self.batch_size, (steps, self.size, self.batch_size)
        if self.replacement or b == 1:
            return uniform_indices(shape, n, generator)
        return distinct_indices(steps * self.size, b, n, generator).view(shape)


def _matrices(hessians, point, batch_size: int, replacement: bool) -> Tensor:
    """H_i (n, d, d) in double precision."""
    if isinstance(hessians, Landscape):
        check_batches(hessians, MiniBatch(batch_size, replacement))
        if point is None:
            raise ValueError("a landscape needs the point at which its Hessians are taken; give point=")
        where = location(point, hessians)
        return hessians.sample_hessians(where.to(hessians.samples.dtype)).double()
    if point is not None:
        raise ValueError("point is for a landscape; Hessians have been taken at theirs")
    matrices = torch.as_tensor(np.asarray(hessians, dtype=float))
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or 0 in matrices.shape:
        raise ValueError(f"hessians must be (n, d, d) or a Landscape, got shape {tuple(matrices.shape)}")
    if not bool(matrices.isfinite().all()) or not torch.allclose(matrices, matrices.mT, rtol=1e-10, atol=1e-12):
        raise ValueError("hessians must be finite and symmetric")
    if batch_size > len(matrices) and not replacement:
        raise ValueError(f"batch_size {batch_size} is larger than n = {len(matrices)}; sample with replacement")
    return matrices


def _result(orders, full, half, carrying, level: float, single: bool) -> MomentRate:
    """Extrapolate, with an interval from the spread of populations of both sizes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = half.mean(1) - full.mean(1)
        value = full.mean(1) - bias
        parts = 4 * full.var(1, ddof=1) / full.shape[1], half.var(1, ddof=1) / half.shape[1]
        freedom = sum(parts) ** 2 / sum(part**2 / (f.shape[1] - 1) for part, f in zip(parts, (full, half), strict=True))
        width = np.sqrt(sum(parts)) * stats.t.ppf((1 + level) / 2, np.where(np.isfinite(freedom), freedom, 1.0))
    lost = ~(np.isfinite(full).all(1) & np.isfinite(half).all(1))
    value = np.where(lost, np.where(orders > 0, -np.inf, np.inf), value)
    bias, width = np.where(lost, np.nan, bias), np.where(lost, np.nan, width)
    few = ~lost & (carrying < _CARRYING)
    reasons = [
        f"populations die out at p = {orders[lost][0]:g}: some batch maps to zero" if lost.any() else "",
        f"under {_CARRYING:g} clones carry the weights at p = {orders[few][0]:g}; take more clones"
        if few.any()
        else "",
    ]
    low, high = value - width, value + width
    if single:
        value, low, high = float(value[0]), float(low[0]), float(high[0])
    return MomentRate(orders, judged(value, low, high, reasons), bias, carrying, full, half)
