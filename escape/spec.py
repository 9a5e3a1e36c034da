"""A run said as plain JSON: what the results depend on, and nothing else."""

import builtins
import dataclasses
import functools
import hashlib
import json
import sys
import types

import numpy as np
import torch

from escape.mapped import is_mapped, scan

# Tensors up to this many numbers are written out; larger ones by their digest.
_WRITTEN_OUT = 16
# Numbers copied at once for a digest.
_AT_ONCE = 1 << 20


def describe(thing) -> object:
    """Turn an object of a run into JSON types, such that equal descriptions mean equal results.

    Dataclasses give their type and fields, tensors their values or a digest. Code from outside the package gives a
    digest of all that it does: byte code, constants, defaults, closures, and the module-level names that it uses.

    Raises
    ------
    TypeError
        For an object with no description by value.
    """
    return _describe(thing, ())


def digest(description: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of a description's JSON."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def _describe(thing, above: tuple) -> object:
    """`describe`, with the functions and classes that are being described further up, which may refer to themselves."""
    match thing:
        case None | bool() | int() | float() | str():
            return thing
        case bytes() | complex() | range() | slice() | types.EllipsisType():
            return repr(thing)
        case torch.Tensor():
            return _describe_tensor(thing.detach())
        case np.ndarray():
            return _describe_array(thing)
        case np.generic():
            return thing.item()
        case torch.dtype() | torch.device():
            return str(thing)
        case dict():
            return {str(key): _describe(value, above) for key, value in thing.items()}
        case list() | tuple():
            return [_describe(value, above) for value in thing]
        case set() | frozenset():
            # Their order follows the hash seed of the process.
            return sorted((_describe(value, above) for value in thing), key=lambda value: json.dumps(value))
        case types.CodeType():
            return _describe_code(thing, above)
        case types.FunctionType():
            return _describe_function(thing, above)
        case types.MethodType():
            return {"method": _describe(thing.__func__, above), "of": _describe(thing.__self__, above)}
        case functools.partial():
            parts = (thing.func, thing.args, thing.keywords)
            return {"partial": [_describe(part, above) for part in parts]}
        case types.BuiltinFunctionType() | types.ModuleType():
            return getattr(thing, "__qualname__", thing.__name__)
        case type():
            return _describe_type(thing, above)
        case torch.nn.Module():
            return _describe_module(thing, above)
    if dataclasses.is_dataclass(thing):
        fields = {field.name: _describe(getattr(thing, field.name), above) for field in dataclasses.fields(thing)}
        return {"type": _describe_type(type(thing), above), **fields}
    raise TypeError(f"{type(thing).__qualname__} has no description by value; make it a dataclass or a plain function")


def _foreign(module: str | None) -> bool:
    """Whether code of a module is told by its name alone: the package's own goes by its source, others' by version."""
    top = (module or "").split(".")[0]
    return top in {__name__.split(".")[0], "torch", "numpy", "scipy", "builtins"} or top in sys.stdlib_module_names - {
        "__main__"
    }


def _describe_type(cls: type, above: tuple) -> object:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if _foreign(cls.__module__) or cls in above:
        return name
    above = (*above, cls)
    members = {}
    for base in reversed(cls.__mro__):
        if not _foreign(base.__module__):
            members |= {key: _member(value, above) for key, value in vars(base).items() if key not in _BOOKKEEPING}
    return {"name": name, "code": digest(members)}


# What every module has, whatever it does: parameters, buffers and parts are described by themselves.
_OF_EVERY_MODULE = frozenset(vars(torch.nn.Module())) - {"training"}
_HOOKS = {name for name in _OF_EVERY_MODULE if "forward" in name or "backward" in name}


def _describe_module(module: torch.nn.Module, above: tuple) -> dict:
    """Types, settings, buffers and parameters of a module and its parts; what two names share has one number."""
    order, parameters = {}, []
    for name, one in module.named_parameters(remove_duplicate=False):
        number = order.setdefault(id(one), len(order))
        parameters.append([name, number, one.requires_grad, _describe(one, above)])
    parts = [[name, _describe_part(part, above)] for name, part in module.named_modules(remove_duplicate=False)]
    return {"parts": parts, "parameters": parameters}


def _describe_part(part: torch.nn.Module, above: tuple) -> dict:
    held = vars(part)
    if any(held.get(name) for name in _HOOKS):
        raise TypeError(f"{type(part).__qualname__} has hooks, which have no description by value; make them layers")
    settings = {name: _describe(value, above) for name, value in held.items() if name not in _OF_EVERY_MODULE}
    buffers = {name: _describe(value, above) for name, value in held["_buffers"].items()}
    return {"type": _describe_type(type(part), above), "settings": settings, "buffers": buffers}


# What Python and dataclasses write into a class of themselves: it follows from the rest, or says nothing.
_BOOKKEEPING = {
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__abstractmethods__", "_abc_impl", "__dataclass_fields__",
    "__dataclass_params__", "__match_args__", "__init__", "__repr__", "__eq__", "__hash__", "__replace__",
    "__setattr__", "__delattr__", "__firstlineno__", "__static_attributes__", "__parameters__", "__orig_bases__",
}  # fmt: skip


def _member(value, above: tuple) -> object:
    """A class attribute: functions in their several wrappings, plain values, or the name of its type."""
    match value:
        case staticmethod() | classmethod():
            value = value.__func__
        case property():
            return [_member(part, above) for part in (value.fget, value.fset) if part is not None]
        case functools.cached_property():
            value = value.func
    return _described_or_named(value, above)


def _described_or_named(value, above: tuple) -> object:
    try:
        return _describe(value, above)
    except TypeError:
        return f"a {type(value).__qualname__}"


def _describe_array(array: np.ndarray) -> dict:
    shown = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size <= _WRITTEN_OUT:
        return {**shown, "values": array.tolist()}
    sha256, rows = hashlib.sha256(), max(1, _AT_ONCE * len(array) // array.size)
    for first in range(0, len(array), rows):
        sha256.update(np.ascontiguousarray(array[first : first + rows]).tobytes())
    return {**shown, "sha256": sha256.hexdigest()[:16]}


def _describe_tensor(tensor: torch.Tensor) -> dict:
    """As the array of the same numbers; what is mapped from a file is read once for each time that it is mapped."""
    if not is_mapped(tensor) or tensor.numel() <= _WRITTEN_OUT:
        return _describe_array(tensor.cpu().numpy())
    shown = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
    return {**shown, "sha256": scan(tensor).sha256[:16]}


def _describe_function(function: types.FunctionType, above: tuple) -> object:
    name = f"{function.__module__}.{function.__qualname__}"
    if _foreign(function.__module__) or function in above:
        return name
    above = (*above, function)
    code = function.__code__
    used = sorted({name for name in _names(code) if name in function.__globals__ and not hasattr(builtins, name)})
    described = {
        "code": _describe_code(code, above),
        "defaults": _describe(function.__defaults__, above),
        "keyword_defaults": _describe(function.__kwdefaults__, above),
        "globals": {name: _described_or_named(function.__globals__[name], above) for name in used},
    }
    # What a function closes over decides what it does: here a description by value is not waived.
    cells = [_cell(cell) for cell in function.__closure__ or ()]
    return {"function": name, "digest": digest(described), "closure": _describe(cells, above)}


def _cell(cell) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None


def _describe_code(code: types.CodeType, above: tuple) -> list:
    return [code.co_code.hex(), _describe(code.co_consts, above), list(code.co_names), list(code.co_varnames)]


def _names(code: types.CodeType) -> set[str]:
    """Names that a code object and those nested in it look up."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*(_names(const) for const in inner))
