"""Lifting: functions of one point over many points at once."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

from escape.landscapes.recording import recorded, same_record

# Calls of a layout, and in all, after which the operations of a lifted function are recorded. Recording takes some
# ten milliseconds, and the first one a second; every call then saves a fifth of a millisecond and more.
_CALLS, _CALLS_IN_ALL = 200, 2000
# Recorded layouts at most, of one function.
_LAYOUTS = 256
# torch patches itself while it records: one at a time in the whole process.
_recording = threading.Lock()


class Lifted:
    """A function of one point over many, `vmap` of it: after many calls its recorded operations are run instead.

    vmap interprets the function anew at every call, which for cheap landscapes takes longer than the arithmetic. What
    is recorded are the very operations that vmap issues for arguments of one layout, derivatives resolved; the results
    are the same to the bit, so nothing depends on when the recording takes over. Where the number of points nowhere
    enters the operations, one record serves any number of them.
    """

    def __init__(self, function: Callable, in_dims: tuple):
        self._function = vmap(function, in_dims)
        self._in_dims = in_dims
        self._seen: dict[tuple, int | Callable] = {}
        self._calls = 0

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Evaluate at tensors that have the lifted dimensions."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return self._function(*arguments)
        each, count = self._layout(arguments)
        found = self._seen.get(each) or self._seen.get((each, count), 0)
        if not isinstance(found, int):
            return found(*arguments)
        # Two threads may count one call; the count only says when to record.
        self._calls += 1
        if self._calls >= _CALLS_IN_ALL and (found >= _CALLS or each not in self._seen):
            with _recording:
                self._record(each, count, arguments)
        elif found or len(self._seen) < _LAYOUTS:
            self._seen[each, count] = found + 1
        return self._function(*arguments)

    def _layout(self, arguments: tuple[Tensor, ...]) -> tuple[tuple, int]:
        """Layout of one point's arguments, and the number of points."""
        each, count = [], 0
        for argument, dim in zip(arguments, self._in_dims, strict=True):
            shape = argument.shape
            if dim == 0:
                count, shape = shape[0], shape[1:]
            each.append((shape, argument.stride(), argument.dtype))
        return tuple(each), count

    def _record(self, each: tuple, count: int, arguments: tuple[Tensor, ...]) -> None:
        """Record for any number of points if that can be, which is tried once, else for this one."""
        if each not in self._seen:
            one = recorded(self._function, arguments)
            other = recorded(self._function, tuple(map(self._more, arguments, self._in_dims)))
            # None, once tried: falsy, as `__call__` needs it.
            same = one is not None and other is not None and count > 1 and same_record(one, other)
            self._seen[each] = one.forward if same else None
        if self._seen[each] is None and isinstance(self._seen.get((each, count), 0), int):
            graph = recorded(self._function, arguments)
            self._seen[each, count] = self._function if graph is None else graph.forward

    @staticmethod
    def _more(argument: Tensor, dim: int | None) -> Tensor:
        """The argument with some points more, of the same layout each."""
        if dim != 0:
            return argument
        size = (argument.shape[0] + 3, *argument.shape[1:])
        longer = torch.empty_strided(size, argument.stride(), dtype=argument.dtype, device=argument.device)
        return longer.copy_(argument[:1].expand(size)) if argument.stride(0) else argument[:1].expand(size)


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
