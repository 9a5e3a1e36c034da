"""Lifting: functions of one point over many points at once."""

import threading
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.func import vmap

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
            one = self._recorded(arguments)
            other = self._recorded(tuple(map(self._more, arguments, self._in_dims)))
            # None, once tried: falsy, as `__call__` needs it.
            same = one is not None and other is not None and count > 1 and _same(one, other)
            self._seen[each] = one.forward if same else None
        if self._seen[each] is None and isinstance(self._seen.get((each, count), 0), int):
            graph = self._recorded(arguments)
            self._seen[each, count] = self._function if graph is None else graph.forward

    def _recorded(self, arguments: tuple[Tensor, ...]):
        # Imported late: a second that short runs need not pay.
        from torch.fx.experimental.proxy_tensor import make_fx

        try:
            module = make_fx(lambda *a: self._function(*a))(*arguments)
        except Exception:  # what cannot be recorded is interpreted, as it was until now
            return None
        _simplify(module)
        module.recompile()
        return module

    @staticmethod
    def _more(argument: Tensor, dim: int | None) -> Tensor:
        """The argument with some points more, of the same layout each."""
        if dim != 0:
            return argument
        size = (argument.shape[0] + 3, *argument.shape[1:])
        longer = torch.empty_strided(size, argument.stride(), dtype=argument.dtype, device=argument.device)
        return longer.copy_(argument[:1].expand(size)) if argument.stride(0) else argument[:1].expand(size)


def _same(one, other) -> bool:
    """Whether two records are the same operations on the same constants."""
    held = [{**dict(module.named_buffers()), **_tensors(module)} for module in (one, other)]
    if one.code != other.code or held[0].keys() != held[1].keys():
        return False
    return all(torch.equal(value, held[1][name]) for name, value in held[0].items())


def _tensors(module) -> dict[str, Tensor]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Tensor)}


def _simplify(module) -> None:
    """Compute once what follows from constants and shapes alone, and drop what nothing follows from.

    The seed of a derivative is a tensor of ones whose shape is all that it takes from the loss: with that known, the
    loss itself need not be computed. Multiplying by it changes no bit, and is left out.
    """
    graph = module.graph
    schemas = [node.target._schema for node in graph.nodes if hasattr(node.target, "_schema")]
    if any(schema.is_mutable for schema in schemas):
        # What is written into must be made anew at every call.
        return
    constants = {}
    for node in list(graph.nodes):
        if node.op == "get_attr" and isinstance(getattr(module, node.target, None), Tensor):
            constants[node] = getattr(module, node.target)
        elif node.op == "call_function" and node.target in _LIKE and "val" in node.meta:
            made = node.meta["val"]
            value = torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device=made.device)
            _put(graph, module, node, value.fill_(_LIKE[node.target]), constants)
        elif node.op == "call_function" and _all_constant(node, constants):
            arguments = torch.fx.node.map_arg((node.args, node.kwargs), constants.__getitem__)
            value = node.target(*arguments[0], **arguments[1])
            if isinstance(value, Tensor):
                _put(graph, module, node, value, constants)
        elif node.target is torch.ops.aten.mul.Tensor:
            for one, other in (node.args, node.args[::-1]):
                ones = constants.get(one)
                if ones is not None and _is_ones_of(ones, other, node):
                    node.replace_all_uses_with(other)
                    graph.erase_node(node)
                    break
    graph.eliminate_dead_code()


# Tensors made of another's layout, type and device alone.
_LIKE = {torch.ops.aten.ones_like.default: 1, torch.ops.aten.zeros_like.default: 0}


def _put(graph, module, node, value: Tensor, constants: dict) -> None:
    """Replace a node by a constant."""
    name = f"_folded_{len(constants)}"
    module.register_buffer(name, value)
    with graph.inserting_before(node):
        folded = graph.get_attr(name)
    node.replace_all_uses_with(folded)
    graph.erase_node(node)
    constants[folded] = value


def _is_ones_of(ones: Tensor, other, product) -> bool:
    """Whether a product with `ones` is the other factor itself, in type and layout too.

    Kernels may round otherwise where numbers do not lie side by side, so that the layout must not change either.
    """
    found, made = (getattr(node, "meta", {}).get("val") for node in (other, product))
    if found is None or made is None or not isinstance(found, Tensor):
        return False
    same = found.shape == made.shape and found.stride() == made.stride() and found.dtype == made.dtype
    return same and bool((ones == 1).all())


def _all_constant(node, constants: dict) -> bool:
    # Random numbers are drawn at every call, whatever they are drawn from.
    known = hasattr(node.target, "_schema") and torch.Tag.nondeterministic_seeded not in node.target.tags
    return known and all(one in constants for one in node.all_input_nodes)


def forget_if_changed(owner: object) -> None:
    """Drop what an object has cached, recorded functions too, if its own values are not those of the last call."""
    cached = {
        name for kind in type(owner).__mro__ for name, value in vars(kind).items() if isinstance(value, cached_property)
    }
    values = {name: value for name, value in vars(owner).items() if name not in cached and name != _VALUES}
    now = {name: (value, getattr(value, "_version", None)) for name, value in values.items()}
    before = vars(owner).get(_VALUES, now)
    if now.keys() != before.keys() or not all(_unchanged(now[name], before[name]) for name in now):
        for name in cached:
            vars(owner).pop(name, None)
    vars(owner)[_VALUES] = now


_VALUES = "_values_at_last_run"


def _unchanged(now: tuple, before: tuple) -> bool:
    if now[0] is before[0]:
        return now[1] == before[1]
    plain = (bool, int, float, str, type(None))
    return isinstance(now[0], plain) and type(now[0]) is type(before[0]) and now[0] == before[0]


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
