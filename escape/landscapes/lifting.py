"""Lifting: functions of one point over many points at once."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

# Calls of a shape, and calls in all, after which the operations of a lifted function are recorded. Recording takes some
# ten milliseconds a shape, and the first one a second; every call then saves a fifth of a millisecond and more.
_CALLS, _CALLS_IN_ALL = 200, 3000
# Recorded shapes at most, of one function.
_SHAPES = 256


class Lifted:
    """A function of one point over many, `vmap` of it: after many calls its recorded operations are run instead.

    vmap interprets the function anew at every call, which for cheap landscapes takes longer than the arithmetic. What
    is recorded are the very operations that vmap issues for arguments of one layout, derivatives resolved;
    the results are the same to the bit, so nothing depends on when the recording takes over.
    """

    def __init__(self, function: Callable, in_dims: tuple):
        self._function = vmap(function, in_dims)
        self._seen: dict[tuple, int | Callable] = {}
        self._calls = 0
        self._lock = threading.Lock()

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Evaluate at tensors that have the lifted dimensions."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return self._function(*arguments)
        key = tuple([(a.shape, a.stride(), a.dtype) for a in arguments])
        seen = self._seen.get(key, 0)
        if not isinstance(seen, int):
            return seen(*arguments)
        # Two threads may count one call; the count only says when to record.
        self._calls += 1
        if len(self._seen) < _SHAPES or seen:
            self._seen[key] = seen + 1
        if seen >= _CALLS and self._calls >= _CALLS_IN_ALL:
            with self._lock:
                if isinstance(self._seen[key], int):
                    self._seen[key] = self._recorded(arguments)
        return self._function(*arguments)

    def _recorded(self, arguments: tuple[Tensor, ...]) -> Callable:
        # Imported late: a second that short runs need not pay.
        from torch.fx.experimental.proxy_tensor import make_fx

        try:
            graph = make_fx(lambda *a: self._function(*a))(*arguments)
        except Exception:  # what cannot be recorded is interpreted, as it was until now
            return self._function
        graph.graph.eliminate_dead_code()
        graph.recompile()
        return graph.forward


class LiftedFunctions(dict):
    """The lifted functions of one object, by name; a copy or a pickle of it is empty."""

    def get_or_lift(self, name: str, function: Callable, in_dims: tuple) -> Lifted:
        """Return the lifted function of that name, made on first use."""
        held = self.get(name)
        if held is None:
            held = self.setdefault(name, Lifted(function, in_dims))
        return held

    def __reduce__(self):
        return LiftedFunctions, ()
