"""A few steps of all chains of a block at once, and who left during them.

Chains move freely through a chunk and are looked at afterwards: no step then waits to hear whether anybody left, and
the whole chunk can be compiled as one graph. Where a number stops being finite, or the landscape cannot be evaluated
where a chain has gone after it left, the chunk is done again step by step, every chain stopped where it left.
"""

import threading
import types
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.optimizers import Optimizer
from escape.oracles import Oracle


class Interrupted(Exception):
    """A block was told to stop."""


class CannotCompile(ValueError):
    """A chunk of which torch.compile makes no graph."""


class Moves(NamedTuple):
    """How chains move: what `simulate` was given of it."""

    landscape: Landscape
    oracle: Oracle
    optimizer: Optimizer
    until: Callable[[Tensor], Tensor] | None


class Chunk(NamedTuple):
    """What became of c chains within m steps.

    `states` are those after each step, None where nobody asked and nobody can leave; of a chain that left, only the
    ones up to then mean something. `when` (c,) counts the steps before the one at which a chain left or was lost, m
    where it did neither; `lost` (c,) marks the latter. Both are None where nobody left.
    """

    states: list[tuple | None]
    when: Tensor | None
    lost: Tensor | None


def run_chunk(
    moves: Moves,
    state: NamedTuple,
    live: Tensor | None,
    draws: tuple[Tensor | None, Tensor | None],
    span: tuple[int, int],
    stop: threading.Event | None,
    compiled: bool,
    every: int,
) -> Chunk:
    """Move chains through the steps `span` = (first, last), by draws (m or more, c, …) of the oracle and the optimizer.

    Parameters
    ----------
    moves, state
        How they move, and where from.
    live : Tensor (c,), bool, or None
        Rows that are chains still on their way; None: all. What becomes of the others does not matter.
    draws, span
        The randomness of the chunk, and which steps it is for.
    stop : threading.Event or None
        Once set, `Interrupted` is raised before the next step, or the next chunk if compiled.
    compiled : bool
        Whether the chunk runs as one compiled graph.
    every : int
        States are wanted after steps 0, every, 2 every and so on, and the last.
    """
    if stop is not None and stop.is_set():
        raise Interrupted
    # Where a chain leaves, any of the states may be its last. A state that nobody wants makes room in the cache; but a
    # compiled graph is made anew for every pattern of them.
    whole = compiled or moves.until is not None
    keep = [whole or t % every == 0 for t in range(span[0] + 1, span[1])] + [True]
    try:
        if compiled:
            states, hits, total = _as_one_graph(moves, state, draws, span[0], keep)
        else:
            states, hits, total = _freely(moves, state, *draws, span[0], keep, stop)
    except CannotCompile:
        raise
    except (RuntimeError, ValueError, IndexError, ArithmeticError):
        # Perhaps only because a chain went on after it had left; if not, the error comes again and is let through.
        if moves.until is None:
            raise
        return _carefully(moves, state, live, draws, span, stop)
    if not bool(torch.isfinite(total)):
        return _carefully(moves, state, live, draws, span, stop)
    if hits is None:
        return Chunk(states, None, None)
    left = hits if live is None else hits & live
    if not bool(left.any()):
        return Chunk(states, None, None)
    when = torch.where(left.any(0), left.int().argmax(0), len(states))
    return Chunk(states, when, torch.zeros_like(when, dtype=torch.bool))


def _freely(moves: Moves, state, draws, kicks, first: int, keep: list[bool], stop):
    """All steps without looking: states, where the exit holds (m, c), and a sum that is finite only if all states are.

    A sum of finite numbers may overflow; that costs a second, careful look and nothing else.
    """
    states, hits = [], []
    sums = []
    for i, kept in enumerate(keep):
        if stop is not None and stop.is_set():
            raise Interrupted
        state = _step(moves, state, draws, kicks, first, i)
        states.append(state if kept else None)
        sums.append(state.x.sum())
        if moves.until is not None:
            hits.append(moves.until(state.x))
    return states, torch.stack(hits) if hits else None, torch.stack(sums).sum()


def _carefully(moves: Moves, state, live: Tensor | None, draws, span: tuple[int, int], stop) -> Chunk:
    """Take the same steps, every chain stopped at the first at which it leaves or is lost."""
    x = state.x
    alive = torch.ones(len(x), dtype=torch.bool, device=x.device) if live is None else live
    steps = span[1] - span[0]
    when = torch.full((len(x),), steps, device=x.device)
    lost = torch.zeros_like(alive)
    states = []
    for i in range(steps):
        if stop is not None and stop.is_set():
            raise Interrupted
        if not bool(alive.any()):
            states.append(state)
            continue
        # In the place of a chain that left moves a copy of one that did not: it cannot go where it need not.
        order = torch.where(alive, torch.arange(len(x), device=x.device), alive.int().argmax())
        new = _step(moves, type(state)(*(leaf[order] for leaf in state)), *draws, span[0], i)
        pairs = zip(new, state, strict=True)
        state = type(new)(*(torch.where(_wide(alive, leaf), leaf, old) for leaf, old in pairs))
        states.append(state)
        gone = alive & ~torch.isfinite(state.x).all(-1)
        lost = lost | gone
        if moves.until is not None:
            gone = gone | (alive & moves.until(state.x))
        when = torch.where(gone, i, when)
        alive = alive & ~gone
    anybody = bool((when < steps).any())
    return Chunk(states, when if anybody else None, lost if anybody else None)


def _step(moves: Moves, state, draws: Tensor | None, kicks: Tensor | None, first: int, i: int):
    """One step of all chains: pure."""
    landscape, draw = moves.landscape, None if draws is None else draws[i]

    def see(x: Tensor) -> Tensor:
        return moves.oracle.gradient(landscape, x, draw)

    new = moves.optimizer.move(state, see, None if kicks is None else kicks[i], first + i)
    return new._replace(x=landscape.retract(new.x))


def _as_one_graph(moves: Moves, state, draws, first: int, keep: list[bool]):
    try:
        return _compiled(moves, state, draws)(state, *draws, first, keep)
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            said = str(error).strip().splitlines()[0]
            raise CannotCompile(f"torch.compile makes no graph of these steps ({said}); take compile=False") from error
        raise


# The last runs compiled: how they move, and the compiled chunk.
_graphs: list[tuple[Moves, Callable]] = []
_graphs_lock = threading.Lock()
# Graphs of one run: of a whole and of a last chunk, for a few numbers of rows.
_GRAPHS = 32


def _compiled(moves: Moves, state, draws) -> Callable:
    """The chunk compiled for one run, only when somebody asks: the compiler alone takes seconds to import."""
    with _graphs_lock:
        for held, graph in _graphs:
            if all(one is other for one, other in zip(held, moves, strict=True)):
                return graph
        # What a landscape computes once and keeps is computed here, outside the graph.
        moves.oracle.gradient(moves.landscape, state.x, None if draws[0] is None else draws[0][0])
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _GRAPHS)

        def chunk(state, draws, kicks, first, keep):
            return _freely(moves, state, draws, kicks, first, keep, None)

        # torch counts the graphs of a piece of code, whoever compiled it: each run has a piece of its own.
        own = types.FunctionType(chunk.__code__.replace(), globals(), "chunk", closure=chunk.__closure__)
        graph = torch.compile(own, fullgraph=True)
        _graphs.append((moves, graph))
        del _graphs[:-8]
        return graph


def _wide(mask: Tensor, leaf: Tensor) -> Tensor:
    """A mask (c,) shaped to select rows of a leaf (c, …)."""
    return mask.view(-1, *([1] * (leaf.ndim - 1)))
