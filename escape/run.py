"""What a run is, and what a block of it leaves: plain data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.observables import Observable
from escape.optimizers import Optimizer
from escape.oracles import Oracle

CENSORED, EXITED, DIVERGED = 0, 1, 2
# What is kept of an observable that is reduced over the chains of a block, in this order.
# A lagged product is that of x² with x² at the record before, at the first record with itself.
STATISTICS = (
    "count", "sum", "sum_of_magnitudes", "sum_of_squares", "sum_of_fourth_powers", "sum_of_lagged_products",
    "sum_of_log_squares", "sum_of_squared_log_squares", "largest_magnitude",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Run:
    """All that a block needs to know; the arguments of `simulate`, checked and completed."""

    landscape: Landscape
    oracle: Oracle
    optimizer: Optimizer
    start: Tensor | Callable
    steps: int
    chains: int
    observe: dict[str, Observable]
    every: int
    until: Callable | None
    seed: int
    block: int
    reduce: bool = False
    common: bool = False
    compiled: bool = False

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.chains // self.block)

    @property
    def alike(self) -> bool:
        """Whether all chains are one: nothing is drawn, and they start at one point. A block then moves one chain."""
        drawn = self.oracle.draw_size(self.landscape) or type(self.optimizer).draw is not Optimizer.draw
        return not drawn and isinstance(self.start, Tensor) and self.start.ndim == 1

    @property
    def moving(self) -> int:
        """Chains that a block begins with."""
        return 1 if self.alike else self.block

    @property
    def recorded(self) -> np.ndarray:
        """Steps at which observables are recorded, 0, every, 2 every and so on."""
        return np.arange(0, self.steps + 1, self.every)

    @property
    def thins(self) -> bool:
        """Whether chains that left are dropped from the moving state.

        Not where every chain has a start of its own: chains beyond those asked for then start anywhere, and when they
        leave must not decide how many rows a matrix product has, and so how it rounds, nor who gets which draw.
        """
        return not (isinstance(self.start, Tensor) and self.start.ndim == 2)

    def wanted(self, number: int) -> int:
        """Chains of block `number` that were asked for."""
        return min(self.block, self.chains - number * self.block)

    def starts(self, number: int, generator: torch.Generator) -> Tensor:
        """x_0 of the chains that a block begins with, (moving, d)."""
        samples = self.landscape.samples
        if callable(self.start):
            x = self.start(self.block, generator)
        elif self.start.ndim == 2:
            rows = torch.arange(number * self.block, (number + 1) * self.block)
            x = self.start[rows.clamp(max=self.chains - 1)]
        else:
            x = self.start.expand(self.moving, -1)
        return x.to(samples).clone()


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What one block leaves of the w chains asked for.

    `records` {name: (t, w)}, or {name: (t, statistics)} if reduced; `exit_step` (w,), `status` (w,), `final` (w, d);
    `needed` chain-steps of those chains until they left, `moved` chain-steps that were computed, both of
    one chain where all are alike; `path` (t, d) or None.
    """

    records: dict[str, np.ndarray]
    exit_step: np.ndarray
    status: np.ndarray
    final: np.ndarray
    needed: int
    moved: int
    path: np.ndarray | None = None
