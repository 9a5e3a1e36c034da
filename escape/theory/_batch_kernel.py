"""Discretisation of a one-dimensional mini-batch chain, and what all its exact numbers share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from escape.theory._checks import positive, real, whole
from escape.theory._outcomes import batch_outcomes
from escape.theory._walk import grid_walk, jittered, reached_walk

_LEAK = 1e-6  # probability of ending beyond a truncated side above which an answer is refused
_GRIDS = 4  # irregular grids, and as many with half the nodes
_WORK = 2_000_000  # nodes times outcomes above which a grid is made smaller
_FEWEST = 1000  # nodes of a grid at least
ROUNDING = 1e-15  # relative error of a mean exit step, for each step


@dataclass(frozen=True, eq=False)
class BatchKernel:
    """Steps -lr g_B(x) with all outcomes of the batch gradient."""

    gradients: object
    lr: float
    batch_size: int
    low: float
    high: float
    replacement: bool = False
    nodes: int = 2**15

    def __post_init__(self):
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise ValueError(f"low, high are {self.low}, {self.high}: they must be finite and low below high")
        positive("lr", self.lr)
        whole("nodes", self.nodes, _FEWEST)
        _ = self._outcomes

    @cached_property
    def _outcomes(self):
        probes = self.low + (self.high - self.low) * np.sqrt([0.011, 0.13, 0.26, 0.47, 0.61, 0.83, 0.97])
        at_probes = np.asarray(self.gradients(probes), dtype=float)
        if at_probes.ndim != 2 or len(at_probes) != len(probes) or not np.isfinite(at_probes).all():
            raise ValueError(
                f"gradients of {len(probes)} points have shape {at_probes.shape}: they must be finite and (q, n)"
            )
        return batch_outcomes(at_probes, self.batch_size, self.replacement)

    def outcomes(self, x):
        """Batch gradients (q, k) at points (q,), and their probabilities (k,), of all k distinct batches."""
        first, mixture, probability = self._outcomes
        return np.asarray(self.gradients(np.asarray(x, dtype=float)), dtype=float)[:, first] @ mixture, probability

    def _step(self, x):
        return x[:, None] - self.lr * self.outcomes(x)[0]

    def _bounds(self, exit_low, exit_high):
        if exit_low is None and exit_high is None:
            raise ValueError("give exit_low or exit_high: a chain without an exit never leaves")
        low = self.low if exit_low is None else float(real("exit_low", exit_low))
        high = self.high if exit_high is None else float(real("exit_high", exit_high))
        if not self.low <= low < high <= self.high:
            raise ValueError(
                f"exit_low, exit_high are {exit_low}, {exit_high}: inside [{self.low:g}, {self.high:g}], in this order"
            )
        return low, high

    def _count(self, share):
        """Nodes of a grid with a share of the work."""
        return max(_FEWEST, min(self.nodes, _WORK // len(self._outcomes[2])) // share)

    def _walks(self, exits, start, share=1):
        """The chain on the points it reaches, or on two lists of grids, the second with half the nodes."""
        low, high = (self.low, self.high) if exits == (None, None) else self._bounds(*exits)
        probability = self._outcomes[2]
        exact = reached_walk(self._step, probability, exits, (low, high), start)
        if exact is not None:
            return [exact], []
        count = self._count(share)
        rng = np.random.default_rng(7)
        made = [
            grid_walk(self._step, probability, exits, (low, high), start, jittered(low, high, size, rng))
            for size in [count] * _GRIDS + [count // 2] * _GRIDS
        ]
        return made[:_GRIDS], made[_GRIDS:]

    def _refuse(self, lost):
        if np.max(lost, initial=0.0) > _LEAK:
            raise ValueError(
                f"the chain leaves through a truncated side with probability {np.max(lost):.2g}: "
                f"widen low, high = {self.low:g}, {self.high:g}"
            )
