"""A run said as plain JSON: what the results depend on, and nothing else."""

import dataclasses
import hashlib
import json
import types

import numpy as np
import torch

# Tensors up to this many numbers are written out; larger ones by their digest.
_WRITTEN_OUT = 16


def describe(thing) -> object:
    """Turn an object of a run into JSON types, such that equal descriptions mean equal results.

    Dataclasses give their type and fields, tensors their values or a SHA-256 digest, plain functions their name and a
    digest of their byte code, constants and closure.

    Raises
    ------
    TypeError
        For an object with no description by value.
    """
    match thing:
        case None | bool() | int() | float() | str():
            return thing
        case torch.Tensor():
            return _describe_array(thing.detach().cpu().numpy())
        case np.ndarray():
            return _describe_array(thing)
        case np.generic():
            return thing.item()
        case dict():
            return {str(key): describe(value) for key, value in thing.items()}
        case list() | tuple():
            return [describe(value) for value in thing]
        case types.FunctionType():
            return _describe_function(thing)
        case type():
            return f"{thing.__module__}.{thing.__qualname__}"
    if dataclasses.is_dataclass(thing):
        fields = {field.name: describe(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
        return {"type": describe(type(thing)), **_code_of(type(thing)), **fields}
    raise TypeError(f"{type(thing).__qualname__} has no description by value; make it a dataclass or a plain function")


def digest(description: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of a description's JSON."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def _code_of(cls: type) -> dict:
    """Digest of the methods of a class from outside the package; the package's own are known by its version."""
    if cls.__module__.split(".")[0] == __name__.split(".")[0]:
        return {}
    methods = {name: value for name, value in vars(cls).items() if isinstance(value, types.FunctionType)}
    written = {name: _describe_function(method)["code"] for name, method in methods.items() if name[:2] != "__"}
    return {"code": digest(written)}


def _describe_array(array: np.ndarray) -> dict:
    shown = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size <= _WRITTEN_OUT:
        return {**shown, "values": array.tolist()}
    return {**shown, "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]}


def _describe_function(function: types.FunctionType) -> dict:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    code = function.__code__
    return {
        "function": f"{function.__module__}.{function.__qualname__}",
        "code": hashlib.sha256(code.co_code + repr((_constants(code), code.co_names)).encode()).hexdigest()[:16],
        "closure": describe(cells),
        "defaults": describe(function.__defaults__),
    }


def _constants(code: types.CodeType) -> list:
    """Constants of a code object; nested code by its own bytes, since its repr holds an address."""
    return [
        (const.co_code.hex(), _constants(const), const.co_names) if isinstance(const, types.CodeType) else const
        for const in code.co_consts
    ]
