"""Who runs the blocks: threads of our own, or any executor; what is finished is kept, whatever ends the run."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import torch

from escape.parts import Parts
from escape.progress import Progress
from escape.run import BlockResult, Run

# Seconds that threads of our own are given to see that they are to stop.
_GRACE = 0.5
# Blocks that wait, at most, for each worker of somebody's executor: enough to keep it busy.
_AHEAD = 4


class WorkerLost(RuntimeError):
    """An executor lost its workers before they were done."""


class Task(NamedTuple):
    """One block to be run.

    `job` (number, tick, stop) -> BlockResult, the last two given only where threads of our own run it; `parts` is where
    the result is kept, or None.
    """

    run: Run
    number: int
    job: Callable[..., BlockResult]
    parts: Parts | None

    @property
    def size(self) -> int:
        """Chain-steps at most."""
        return self.run.block * self.run.steps


def run_blocks(
    tasks: Sequence[Task],
    take: Callable[[Task, BlockResult], None],
    executor: Executor | int | None,
    progress: object,
) -> None:
    """Have blocks run, and hand each over as it comes in, in no certain order.

    Parameters
    ----------
    tasks : sequence of Task
        What to run; blocks that are kept already are not run again.
    take : callable
        Given (task, result) of every block, in the calling thread.
    executor : Executor, int or None
        As in `simulate`.
    progress
        As in `simulate`.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, within about a second; its message says what was kept.
    WorkerLost
        If workers of the executor died.
    """
    own = executor is None or isinstance(executor, int)
    stop = threading.Event()
    threads = torch.get_num_threads()
    kept = 0
    with Progress(sum(task.size for task in tasks), progress) as shown:
        missing = []
        with said_on_interruption(tasks[0].parts if tasks else None):
            for task in tasks:
                found = None if task.parts is None else task.parts.find(task.number)
                if found is None:
                    missing.append(task)
                else:
                    take(task, found)
                    shown.advance(task.size)
        kept = len(tasks) - len(missing)
        workers = min(len(missing), _cores() if executor is None else executor) if own else _workers(executor)
        # Only threads of our own share memory with the bar; elsewhere a block counts when it is back.
        extra = (shown.advance, stop) if own else ()
        pool = ThreadPoolExecutor(max(1, workers), initializer=_one_thread) if own else executor
        futures: dict[Future, Task] = {}
        try:
            for future, task in _finished(pool, missing, extra, futures, workers):
                result = future.result()
                if task.parts is not None:
                    task.parts.save(task.number, result)
                take(task, result)
                kept += 1
                if not own:
                    shown.advance(task.size)
        except KeyboardInterrupt as error:
            if error.args:
                raise
            raise KeyboardInterrupt(_kept(kept, tasks)) from None
        except Exception as error:
            if isinstance(error, BrokenExecutor) or type(error).__name__ in ("KilledWorker", "CommClosedError"):
                raise WorkerLost(f"a worker died ({' '.join(str(error).split())}); {_kept(kept, tasks)}") from error
            raise
        finally:
            stop.set()
            for future in futures:
                future.cancel()
            if own:
                late = wait(futures, timeout=_GRACE).not_done
                pool.shutdown(wait=not late, cancel_futures=True)
                torch.set_num_threads(threads)


@contextlib.contextmanager
def said_on_interruption(parts: Parts | None) -> Iterator[None]:
    """Have an interruption outside the simulation say what is kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        if error.args or parts is None:
            raise
        kept = len(list(parts.folder.glob("block-*.npz")))
        where = f"{kept} blocks are kept in {parts.folder}; the same run goes on from there"
        raise KeyboardInterrupt(where) from None


def check_executor(executor) -> None:
    """Raise ValueError unless `executor` is None, an executor or a number of threads."""
    workers = executor is None or isinstance(executor, Executor)
    if not workers and (isinstance(executor, bool) or not isinstance(executor, int) or executor < 1):
        hint = "; take its get_executor()" if hasattr(executor, "get_executor") else ""
        raise ValueError(f"executor must be an Executor or a number of threads of at least 1, got {executor!r}{hint}")


def _finished(pool, tasks: list[Task], extra: tuple, futures: dict, workers: int) -> Iterator[tuple[Future, Task]]:
    """Submit blocks, not too many ahead of their results, and yield those that are done."""
    waiting = iter(tasks)
    ahead = _AHEAD * workers
    while True:
        for task in waiting:
            futures[pool.submit(task.job, task.number, *extra)] = task
            if len(futures) >= ahead:
                break
        if not futures:
            return
        done, _ = wait(futures, return_when=FIRST_COMPLETED)
        for future in done:
            yield future, futures.pop(future)


def _kept(kept: int, tasks: Sequence[Task]) -> str:
    folders = sorted({str(task.parts.folder) for task in tasks if task.parts is not None})
    if not folders:
        return f"{kept} of {len(tasks)} blocks were done, none is kept; a run with a store would go on from there"
    where = folders[0] if len(folders) == 1 else f"{folders[0]} and {len(folders) - 1} more"
    return f"{kept} of {len(tasks)} blocks are kept in {where}; the same run goes on from there"


def _one_thread() -> None:
    torch.set_num_threads(1)


def _workers(executor: Executor) -> int:
    """Workers of somebody's executor; where it does not say, as many as a small cluster has."""
    client = getattr(executor, "_client", None)
    if hasattr(client, "ncores"):
        return sum(client.ncores().values()) or 16
    return getattr(executor, "_max_workers", None) or 16


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
