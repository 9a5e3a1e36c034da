"""One block of chains from start to end: chunks of draws and steps, first passage, records.

A block depends on nothing but the run and its own number, and always begins with `Run.moving` chains: those beyond the
number asked for are simulated and dropped, so that asking for more chains later changes none of the first. Chains that
are all alike are one chain until the end.
"""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from escape.chunk import Moves, run_chunk
from escape.memory import keep_freed_memory
from escape.run import CENSORED, DIVERGED, EXITED, BlockResult, Run
from escape.streams import block_generator

# Numbers drawn ahead at once, and steps at most: eight steps a draw doubled the speed of small blocks.
_AHEAD, _AHEAD_STEPS = 1 << 20, 8
# Rows are dropped down a ladder of sizes, each this part of the one above: few enough different shapes, and at most a
# thirteenth of the work done for nobody. Compiled graphs are dear: there, half at a time.
_RUNG, _COMPILED_RUNG, _LOWEST = 0.92, 0.5, 8


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
        Looked at between steps; once set, `Interrupted` is raised.
    follow : int, optional
        A chain of this block (counted within it) whose whole path is recorded.
    """
    # Blocks run side by side on threads of their own; torch's threads inside each would only fight over the cores.
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    keep_freed_memory()
    with torch.no_grad():
        return _Block(run, number, follow).simulate(tick, stop)


class _Block:
    """The moving parts of one block.

    The moving state has `rows`, numbers of chains, of which those `live` (None: all) are still on their way; the others
    are copies of a live one, there to fill up the shape. What is dropped, and when, follows from the whole block's own
    chains alone, so it is the same however the block is run.
    """

    def __init__(self, run: Run, number: int, follow: int | None):
        self.run = run
        device = run.landscape.samples.device
        self.moves = Moves(run.landscape, run.oracle, run.optimizer, run.until)
        self.generator = block_generator(run.seed, number, device)
        self.wanted = run.wanted(number)
        self.final = run.starts(number, self.generator)
        self.state = run.optimizer.init(self.final)
        self.carried = run.oracle.begin(run.landscape, run.moving, self.generator)
        self.rows = torch.arange(run.moving, device=device)
        self.live: Tensor | None = None
        self.exit_step = torch.full((run.moving,), run.steps, dtype=torch.int64, device=device)
        self.status = torch.zeros(run.moving, dtype=torch.int8, device=device)
        self.records = {name: [] for name in run.observe}
        self.held: dict[str, Tensor] = {}
        self.before: dict[str, Tensor] = {}
        self.follow, self.path = 0 if run.alike and follow is not None else follow, []
        self.finished = False
        self.moved = 0

    def simulate(self, tick, stop) -> BlockResult:
        run = self.run
        self._begin()
        size = max(1, run.oracle.draw_size(run.landscape)) * run.moving
        ahead = max(1, min(_AHEAD_STEPS, _AHEAD // size))
        for first in range(0, run.steps, ahead):
            if self.finished:
                self._fill()
                if tick is not None:
                    tick((run.steps - first) * run.block)
                break
            self._advance(first, ahead, stop)
            if tick is not None:
                tick((min(first + ahead, run.steps) - first) * run.block)
        self._settle()
        return self._result()

    def _begin(self) -> None:
        """See to the chains that leave, or are lost, where they start."""
        x = self.state.x
        lost = ~torch.isfinite(x).all(-1)
        gone = lost if self.run.until is None else lost | self.run.until(x)
        index = gone.nonzero()[:, 0]
        if len(index):
            self._depart(index, x[index], torch.zeros_like(index), lost[index], x)
        self._record(0, x, gone if len(index) else None)
        if len(index):
            self._drop(gone)

    def _advance(self, first: int, ahead: int, stop) -> None:
        run = self.run
        last = min(first + ahead, run.steps)
        draws = self._draw(ahead)
        every = 1 if self.follow is not None else run.every if run.observe else run.steps
        chunk = run_chunk(self.moves, self.state, self.live, draws, (first, last), stop, run.compiled, every)
        self.moved += len(self.rows) * (last - first)
        gone = None
        if chunk.when is not None:
            gone = self._moving(None) & (chunk.when < len(chunk.states))
            index = gone.nonzero()[:, 0]
            when = chunk.when[index]
            for i in when.unique().tolist():
                # Step by step: who else leaves in what is left of a chunk must not matter.
                those, x = index[when == i], chunk.states[i].x
                step = torch.full_like(those, first + 1 + i)
                self._depart(those, x[those], step, chunk.lost[those], x)
        for i, state in enumerate(chunk.states):
            if state is not None:
                self._record(first + 1 + i, state.x, None if gone is None else chunk.when <= i)
        self.state = chunk.states[-1]
        if gone is not None:
            self._drop(gone)
        elif self.live is not None:
            self._renew()

    def _draw(self, ahead: int) -> tuple[Tensor | None, Tensor | None]:
        """Randomness of the oracle and of the optimizer for a chunk of the moving rows.

        Whole chunks are drawn even where fewer steps remain: a longer run then begins with the same steps.
        """
        run, x = self.run, self.state.x
        thinned = run.common and len(x) < run.moving
        chains, x = (run.moving, self.final) if thinned else (len(x), x)
        seen, self.carried = run.oracle.draw_on(self.carried, run.landscape, ahead, chains, self.generator)
        draws = (seen, run.optimizer.draw(x, ahead, self.generator))
        return tuple(d if d is None or not thinned else d[:, self.rows] for d in draws)

    def _depart(self, index: Tensor, x: Tensor, step: Tensor, lost: Tensor, among: Tensor) -> None:
        """Write down where (k, d) and when (k,) the chains in these rows left, or were lost: those are NaN from here.

        What is observed there is held from now on. Where chains are thinned out, it is evaluated for those that left at
        one step; else within the state of all rows, `among`, so that the rounding cannot depend on who left with whom.
        """
        run, chains = self.run, self.rows[index]
        x = torch.where(lost[:, None], torch.nan, x)
        self.final = self.final.index_copy(0, chains, x)
        self.exit_step[chains] = step
        self.status[chains] = torch.where(lost, DIVERGED, EXITED).to(torch.int8)
        if run.thins:
            points, take = x, slice(None)
        else:
            points, take = among.index_copy(0, index, x), index
        for name, observable in run.observe.items():
            values = observable(points)[take]
            if name not in self.held:
                self.held[name] = values.new_zeros(run.moving)
            self.held[name][chains] = values
        self.finished = not bool((self.status[: self.wanted] == CENSORED).any())

    def _record(self, t: int, x: Tensor, gone: Tensor | None) -> None:
        """Record step t from the rows at x; chains that have left by then, `gone` among the rows too, as they left."""
        run = self.run
        if t % run.every == 0:
            whole = gone is None and self.live is None and len(x) == run.moving
            moving = None if whole else self._moving(gone).nonzero()[:, 0]
            for name, observable in run.observe.items():
                values = observable(x)
                if moving is not None:
                    values = self.held[name].index_copy(0, self.rows[moving], values[moving])
                elif values._is_view():
                    # It would keep the whole state that it looks at.
                    values = values.clone()
                self._keep(name, values)
        if self.follow is not None:
            index = (self._moving(gone) & (self.rows == self.follow)).nonzero()
            self.path.append(x[index[0, 0]].clone() if len(index) else self.final[self.follow])

    def _moving(self, gone: Tensor | None) -> Tensor:
        """Rows that are chains still on their way, without those that are gone."""
        moving = torch.ones_like(self.rows, dtype=torch.bool) if self.live is None else self.live
        return moving if gone is None else moving & ~gone

    def _keep(self, name: str, values: Tensor) -> None:
        values = self._asked(values)
        if self.run.reduce:
            values = values.double()
            before = self.before.get(name, values)
            self.before[name] = values
            values = _reduced(values, before)
        self.records[name].append(values)

    def _fill(self) -> None:
        """Record what stands there now at all the steps that are left."""
        for name, kept in self.records.items():
            missing = len(self.run.recorded) - len(kept)
            # Twice, since the first of them is reduced together with a record before it that may differ.
            for _ in range(min(missing, 2)):
                self._keep(name, self.held[name])
            kept.extend(kept[-1:] * (missing - 2))

    def _drop(self, gone: Tensor) -> None:
        """Take rows off the moving state, down to the next rung that holds all live ones."""
        self.live = self._moving(gone)
        index = self.live.nonzero()[:, 0]
        size = len(self.rows)
        if self.run.thins:
            part = _COMPILED_RUNG if self.run.compiled else _RUNG
            size = next(rung for rung in _rungs(size, part) if rung >= len(index)) if len(index) else 0
        if size == len(self.rows):
            self._renew()
        elif size:
            order = torch.cat([index, index[:1].expand(size - len(index))])
            self.state = type(self.state)(*(leaf[order] for leaf in self.state))
            if self.carried is not None and not self.run.common:
                # With common random numbers every chain of the block goes on drawing, whether it is still there or not.
                self.carried = self.carried[order]
            self.rows = self.rows[order]
            self.live = None if size == len(index) else torch.arange(size, device=order.device) < len(index)

    def _renew(self) -> None:
        """Make copies of a live chain of the rows that are not: left alone, they would wander off to infinity."""
        order = torch.arange(len(self.rows), device=self.rows.device)
        order = torch.where(self.live, order, self.live.int().argmax())
        self.state = type(self.state)(*(leaf[order] for leaf in self.state))

    def _settle(self) -> None:
        """Write down where the chains are that have not left."""
        live = slice(None) if self.live is None else self.live
        self.final = self.final.index_copy(0, self.rows[live], self.state.x[live])

    def _asked(self, values: Tensor) -> Tensor:
        """Of values of all chains (c, …), those of the chains that were asked for (w, …)."""
        if not self.run.alike:
            return values[: self.wanted]
        # In memory of their own: sums of one number over and over are rounded otherwise.
        return values.expand(self.wanted, *values.shape[1:]).contiguous()

    def _result(self) -> BlockResult:
        exit_step = self._asked(self.exit_step).cpu().numpy()
        return BlockResult(
            {name: torch.stack(kept).cpu().numpy() for name, kept in self.records.items()},
            exit_step,
            self._asked(self.status).cpu().numpy(),
            self._asked(self.final).cpu().numpy(),
            int(self.exit_step[: self.wanted].sum()),
            self.moved,
            torch.stack(self.path).cpu().numpy() if self.path else None,
        )


def _rungs(size: int, part: float):
    """Sizes on the ladder from the lowest up to `size`."""
    rungs = [size]
    while rungs[-1] > _LOWEST:
        rungs.append(max(_LOWEST, int(part * rungs[-1]) // 8 * 8))
    return rungs[::-1]


def _reduced(values: Tensor, before: Tensor) -> Tensor:
    """`STATISTICS` of values (w,) and those at the record before, in double precision."""
    square, magnitude = values * values, values.abs()
    logs = 2 * magnitude.log()  # not ln of the square, which under- and overflows twice as soon
    sums = (values, magnitude, square, square * square, square * (before * before), logs, logs * logs)
    count = square.new_tensor(float(len(values)))
    return torch.stack([count, *(part.sum() for part in sums), magnitude.amax()])
