"""One block of chains from start to end: chunks of draws, pure steps, first passage, records.

A block depends on nothing but the run and its own number, and always holds `Run.block` chains: those beyond the
number asked for are simulated and dropped, so that asking for more chains later changes none of the first.
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.observables import Observable
from escape.optimizers import Optimizer
from escape.oracles import Oracle
from escape.streams import block_generator

CENSORED, EXITED, DIVERGED = 0, 1, 2
# Numbers drawn ahead at once, and steps at most: eight steps a draw doubled the speed of small blocks.
_AHEAD, _AHEAD_STEPS = 1 << 20, 8


class Interrupted(Exception):
    """A block was told to stop."""


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
    compiled: bool = False

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.chains // self.block)

    @property
    def recorded(self) -> np.ndarray:
        """Steps at which observables are recorded, 0, every, 2 every and so on."""
        return np.arange(0, self.steps + 1, self.every)

    @property
    def thins(self) -> bool:
        """Whether chains that left are dropped from the moving state.

        Not where every chain has a start of its own: chains beyond those asked for then start anywhere, and when they
        leave must not decide how many rows a matrix product has, and so how it rounds.
        """
        return self.until is not None and not (isinstance(self.start, Tensor) and self.start.ndim == 2)

    def wanted(self, number: int) -> int:
        """Chains of block `number` that were asked for."""
        return min(self.block, self.chains - number * self.block)

    def starts(self, number: int, generator: torch.Generator) -> Tensor:
        """x_0 of a block, (block, d)."""
        samples = self.landscape.samples
        if callable(self.start):
            x = self.start(self.block, generator)
        elif self.start.ndim == 2:
            rows = torch.arange(number * self.block, (number + 1) * self.block)
            x = self.start[rows.clamp(max=self.chains - 1)]
        else:
            x = self.start.expand(self.block, -1)
        return x.to(samples).clone()


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What one block leaves: records {name: (t, w)}, exit_step (w,), status (w,), final (w, d), path (t, d) or None."""

    records: dict[str, np.ndarray]
    exit_step: np.ndarray
    status: np.ndarray
    final: np.ndarray
    path: np.ndarray | None = None


def run_block(
    run: Run,
    number: int,
    tick: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    follow: int | None = None,
) -> BlockResult:
    """Simulate one block.

    Parameters
    ----------
    run : Run
        The run.
    number : int
        Which block.
    tick : callable, optional
        Told the chain-steps done after each chunk.
    stop : threading.Event, optional
        Looked at between chunks; once set, `Interrupted` is raised.
    follow : int, optional
        A chain of this block (counted within it) whose whole path is recorded.
    """
    # Blocks run side by side on threads of their own; torch's threads inside each would only fight over the cores.
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    with torch.no_grad():
        return _Block(run, number, follow).simulate(tick, stop)


class _Block:
    """The moving parts of one block.

    Only `rows` of the block are still being moved. Chains that left are frozen where they are, and dropped from the
    moving state between chunks once they are half of it. What is dropped, and when, follows from the whole block's
    own chains alone, so it is the same however the block is run.
    """

    def __init__(self, run: Run, number: int, follow: int | None):
        self.run = run
        device = run.landscape.samples.device
        self.generator = block_generator(run.seed, number, device)
        self.wanted = run.wanted(number)
        self.final = run.starts(number, self.generator)
        self.rows = torch.arange(run.block, device=device)
        self.state = run.optimizer.init(self.final)
        self.step = _compiled_step() if run.compiled else _step
        self.exit_step = torch.full((run.block,), run.steps, dtype=torch.int64, device=device)
        self.status = torch.zeros(run.block, dtype=torch.int8, device=device)
        self.records = {name: [] for name in run.observe}
        self.dropped = {}
        self.follow, self.path = follow, []
        self.alive = torch.ones(run.block, dtype=torch.bool, device=device)
        self._leave(0)
        self._record(0)

    def simulate(self, tick, stop) -> BlockResult:
        run = self.run
        size = max(1, run.oracle.draw_size(run.landscape)) * run.block
        ahead = max(1, min(_AHEAD_STEPS, _AHEAD // size))
        for first in range(0, run.steps, ahead):
            if stop is not None and stop.is_set():
                raise Interrupted
            if self._finished():
                self._fill()
                if tick is not None:
                    tick((run.steps - first) * run.block)
                break
            self._drop_frozen()
            # Whole chunks are drawn even where fewer steps remain: a longer run then begins with the same steps.
            draws = self._of_rows(run.oracle.draw(run.landscape, ahead, run.block, self.generator))
            kicks = self._of_rows(run.optimizer.draw(self.final, ahead, self.generator))
            last = min(first + ahead, run.steps)
            for i, t in enumerate(range(first, last)):
                self._advance(t, None if draws is None else draws[i], None if kicks is None else kicks[i])
            if tick is not None:
                tick((last - first) * run.block)
        self._settle()
        return self._result()

    def _advance(self, t: int, draw: Tensor | None, kick: Tensor | None) -> None:
        run = self.run
        new = self.step(run.landscape, run.oracle, run.optimizer, self.state, draw, kick, t)
        if run.until is not None:
            pairs = zip(new, self.state, strict=True)
            new = type(new)(*(torch.where(_wide(self.alive, leaf), leaf, old) for leaf, old in pairs))
        self.state = new
        self._leave(t + 1)
        self._record(t + 1)

    def _leave(self, t: int) -> None:
        """Mark the chains that left or went non-finite at step t; the latter are NaN from here on."""
        x = self.state.x
        lost = self.alive & ~torch.isfinite(x).all(-1)
        if bool(lost.any()):
            self.state = self.state._replace(x=torch.where(lost[:, None], torch.nan, x))
            self._mark(lost, DIVERGED, t)
        if self.run.until is not None:
            left = self.alive & self.run.until(x)
            if bool(left.any()):
                self._mark(left, EXITED, t)

    def _mark(self, which: Tensor, status: int, t: int) -> None:
        self.alive = self.alive & ~which
        marked = self.rows[which]
        self.status[marked] = status
        self.exit_step[marked] = t

    def _record(self, t: int) -> None:
        if t % self.run.every == 0:
            for name in self.run.observe:
                self.records[name].append(self._observed(name))
        if self.follow is not None:
            inside = (self.rows == self.follow).nonzero()
            self.path.append(self.state.x[inside[0, 0]].clone() if len(inside) else self.path[-1])

    def _observed(self, name: str) -> Tensor:
        """Values of an observable for the whole block; chains no longer moved keep that of when they were dropped."""
        values = self.run.observe[name](self.state.x)
        # A view would keep the whole state that it looks at.
        values = values.clone() if values._is_view() else values
        return values if len(self.rows) == self.run.block else self.dropped[name].index_copy(0, self.rows, values)

    def _fill(self) -> None:
        """Record what stands there now at all the steps that are left."""
        for name, rows in self.records.items():
            rows.extend([self._observed(name)] * (len(self.run.recorded) - len(rows)))

    def _finished(self) -> bool:
        """Whether nobody that was asked for is still moving."""
        return self.run.until is not None and not bool((self.status[: self.wanted] == CENSORED).any())

    def _drop_frozen(self) -> None:
        if not self.run.thins or 2 * int(self.alive.sum()) > len(self.rows):
            return
        self._settle()
        self.state = type(self.state)(*(leaf[self.alive] for leaf in self.state))
        self.rows = self.rows[self.alive]
        self.alive = self.alive[self.alive]

    def _settle(self) -> None:
        """Write the moving chains' positions, and the values observed there, among those of the whole block."""
        self.dropped = {name: self._observed(name) for name in self.run.observe}
        self.final = self.final.index_copy(0, self.rows, self.state.x)

    def _of_rows(self, draws: Tensor | None) -> Tensor | None:
        """Draws (steps, block, …) of the chains still moved."""
        return draws if draws is None or len(self.rows) == self.run.block else draws[:, self.rows]

    def _result(self) -> BlockResult:
        take = slice(0, self.wanted)
        return BlockResult(
            {name: torch.stack(rows)[:, take].cpu().numpy() for name, rows in self.records.items()},
            self.exit_step[take].cpu().numpy(),
            self.status[take].cpu().numpy(),
            self.final[take].cpu().numpy(),
            torch.stack(self.path).cpu().numpy() if self.path else None,
        )


def _step(landscape, oracle, optimizer, state, draw, kick, t):
    """One step of all chains of a block: pure."""
    new = optimizer.step(state, oracle.gradient(landscape, state.x, draw), kick, t)
    return new._replace(x=landscape.retract(new.x))


@functools.cache
def _compiled_step():
    """Compile the step, once, and only when somebody asks: the compiler alone takes seconds to import."""
    return torch.compile(_step, fullgraph=True)


def _wide(mask: Tensor, leaf: Tensor) -> Tensor:
    """A mask (c,) shaped to select rows of a leaf (c, …)."""
    return mask.view(-1, *([1] * (leaf.ndim - 1)))
