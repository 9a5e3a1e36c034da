"""Progress: a bar on a terminal, timed lines elsewhere. It draws no random number."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

# Seconds between two lines where there is no terminal; and those that a pass may take before it is worth a bar.
_EVERY, _PATIENCE = 10.0, 1.0


class Progress:
    """Count work done, for people: a context manager whose `advance` may be called from any thread.

    Parameters
    ----------
    total : int
        Units of work in all.
    show : None, bool, str or callable
        None or False: nothing. True or a label: a bar if standard error is a terminal, else a line now and then.
        A callable is called with (done, total).
    """

    def __init__(self, total: int, show: bool | str | Callable[[int, int], None] | None):
        self.total = max(1, int(total))
        self.done = 0
        self._call = show if callable(show) else None
        self._label = show if isinstance(show, str) else "simulate"
        self._visible = bool(show) and self._call is None
        self._bar = None
        self._lock = threading.Lock()
        self._began = self._said = time.monotonic()

    def __enter__(self):
        _count_visible(self._visible)
        if self._visible and sys.stderr.isatty():
            self._bar = self._opened(0.0)
        return self

    def __exit__(self, *exception):
        _count_visible(-self._visible)
        if self._bar is not None:
            self._bar.close()
        if self._visible and exception == (None, None, None):
            print(f"{self._label}: done in {time.monotonic() - self._began:.1f} s", file=sys.stderr, flush=True)

    def advance(self, units: int) -> None:
        """Add work done."""
        with self._lock:
            self.done += units
            if self._call is not None:
                self._call(self.done, self.total)
            elif self._bar is not None:
                self._bar.update(units)
            elif self._visible and time.monotonic() - self._said >= _EVERY:
                self._said = time.monotonic()
                part = f"{100 * self.done / self.total:.0f}%"
                print(f"{self._label}: {part} after {self._said - self._began:.0f} s", file=sys.stderr, flush=True)

    def _opened(self, delay: float) -> tqdm:
        form = "{l_bar}{bar}| {elapsed} < {remaining}"
        return tqdm(total=self.total, desc=self._label, bar_format=form, leave=False, file=sys.stderr, delay=delay)


class Passing(Progress):
    """One pass over a file of samples: shown if it takes long and somebody watches, below what is shown already.

    Parameters
    ----------
    total : int
        Bytes.
    label : str
        What the pass is called.
    """

    def __init__(self, total: int, label: str):
        super().__init__(total, label if _visible_now else None)

    def __enter__(self):
        if self._visible and sys.stderr.isatty():
            self._bar = self._opened(_PATIENCE)
        return self

    def __exit__(self, *exception):
        if self._bar is not None:
            self._bar.close()


# How many of those that show progress do so now, in the whole process: blocks run on threads of their own.
_visible_now = 0
_visible_lock = threading.Lock()


@contextlib.contextmanager
def show_passes(show: object = True) -> Iterator[None]:
    """Show the progress of long passes over files of samples, outside a run: a run shows them if it shows its own.

    Parameters
    ----------
    show : None, bool, str or callable
        As for `Progress`: True or a label shows passes, anything else does not.
    """
    visible = bool(show) and not callable(show)
    _count_visible(visible)
    try:
        yield
    finally:
        _count_visible(-visible)


def _count_visible(more: int) -> None:
    global _visible_now
    with _visible_lock:
        _visible_now += more
