"""A moment from weighted chains: its mean, its interval from independent blocks, and whether to believe it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from escape.estimate.base import SHARE_LIMIT, Estimate, judged, quantile

# Below this share of the blocks that carry the mean, Student's interval over blocks misses too often.
_CARRYING = 0.8


@dataclass(frozen=True, eq=False)
class TiltedMoment:
    """E |Vᵀ(x_t − x*)|^p at the recorded steps, kept as logarithms, which no number of steps overflows.

    Attributes
    ----------
    step : ndarray (t,)
        Recorded steps.
    log : Estimate
        Of ln E |Vᵀ(x_t − x*)|^p, arrays (t,): minus infinity where the moment is zero.
    effective_chains : ndarray (t,)
        Chains with equal weights that would leave the same error, c/(1 + m v) with v the relative variance of the
        blocks' estimates and m the chains in a block.
    largest_share : ndarray (t,)
        Largest share of the sum of weights that one chain holds.
    believed : ndarray (t,) of bool
        Whether the interval of that step means what it says.
    chains, blocks : int
        Chains moved, in so many independent blocks.
    """

    step: NDArray
    log: Estimate
    effective_chains: NDArray
    largest_share: NDArray
    believed: NDArray
    chains: int
    blocks: int

    @property
    def estimate(self) -> Estimate:
        """The moment itself with its interval, infinite where it overflows."""
        with np.errstate(over="ignore"):
            return Estimate(*np.exp(self.log[:3]), self.log.reliable, self.log.reason)

    @property
    def reliable(self) -> bool:
        """Whether all steps are believed."""
        return self.log.reliable

    @property
    def reason(self) -> str:
        """Why not, in one line; empty when reliable."""
        return self.log.reason


def tilted_moment(log: NDArray, step: NDArray, level: float) -> TiltedMoment:
    """Means, intervals and judgement from ln W (t, blocks, chains of a block)."""
    _, blocks, size = log.shape
    chains = blocks * size
    lost = ~(log < np.inf).all((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = logsumexp(log, axis=(1, 2)) - np.log(chains)
        # Shares of the mean: 1 each for equal blocks, and where all weights are zero.
        parts = np.exp(logsumexp(log, axis=2) - np.log(size) - whole[:, None])
        largest = np.exp(log.max((1, 2)) - whole) / chains
    zero = np.isneginf(whole)
    parts[zero], largest[zero] = 1.0, 1 / chains
    variance = parts.var(1, ddof=1) if blocks > 1 else np.full(len(parts), np.nan)
    width = quantile(level, blocks) * np.sqrt(variance / blocks)
    few = blocks / (1 + variance) < _CARRYING * blocks
    heavy = (largest > SHARE_LIMIT) & (largest * chains > 1 + 1e-9)
    whole[lost], width[lost] = np.nan, np.nan
    reasons = [
        f"a chain overflowed by step {step[lost][0]}; take fewer steps or linearised=True" if lost.any() else "",
        f"one chain holds up to {largest[heavy].max():.1%} of the weights from step {step[heavy][0]}; take more chains"
        if heavy.any() else "",
        f"few blocks carry the mean from step {step[few][0]}; take more chains, or a better tilt" if few.any() else "",
        "" if blocks > 1 else "1 block gives no interval",
    ]  # fmt: skip
    with np.errstate(invalid="ignore"):
        low, high = np.where(zero, whole, whole - width), np.where(zero, whole, whole + width)
    believed = ~(lost | heavy | few) & (blocks > 1)
    carrying = chains / (1 + size * variance)
    return TiltedMoment(step, judged(whole, low, high, reasons), carrying, largest, believed, chains, blocks)
