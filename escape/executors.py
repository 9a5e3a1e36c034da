"""Who runs the blocks of a command: threads, processes of this machine, or the workers of a Dask cluster."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

KINDS = "threads, processes or dask://HOST:PORT"


@contextlib.contextmanager
def opened(kind: str, workers: int | None) -> Iterator[Executor | int | None]:
    """Open what `simulate` takes as its executor, and close it again; at once where the run was broken off.

    Parameters
    ----------
    kind : str
        "threads", "processes", or "dask://HOST:PORT", the address of a Dask scheduler.
    workers : int or None
        Threads or processes; all cores if None. A cluster has its own.

    Raises
    ------
    ValueError
        For another kind, where Dask is not installed, and where nobody answers at the address.
    """
    if kind == "threads":
        yield workers
    elif kind == "processes":
        yield from _processes(workers)
    elif kind.startswith("dask://") and len(kind) > len("dask://"):
        if workers is not None:
            raise ValueError("a Dask cluster has its own workers; leave out --workers")
        yield from _dask("tcp://" + kind.removeprefix("dask://"))
    else:
        raise ValueError(f"unknown executor {kind!r}; take {KINDS}")


def _processes(workers: int | None) -> Iterator[Executor]:
    # Spawned, not forked: a fork would copy torch's locks in whatever state its threads have left them.
    context = multiprocessing.get_context("spawn")
    # Ctrl-C goes to every process of a terminal; here the first one alone decides.
    pool = ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("Dask is not installed; install it by pip install 'escape[cluster]'") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address}: {' '.join(str(error).split())}") from error
    with client:
        yield client.get_executor()
