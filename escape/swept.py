"""The one Dataset of a sweep, padded where points differ, and a single point out of it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Real

import numpy as np
import xarray as xr

from escape.grid import RESERVED, Grid, label_of
from escape.results import work

_ABSENT = 3
_FLAGS = {
    "flag_values": np.arange(4, dtype=np.int8), "flag_meanings": "censored exited diverged absent"
}  # fmt: skip
_OWN_WORK = ("chain_steps_needed", "chain_steps_moved", "utilisation", "peak_memory_bytes", "wall_seconds")


def combined(grid: Grid, points: Sequence[xr.Dataset], columns: dict[str, list]) -> xr.Dataset:
    """Put the results of all points together.

    Parameters
    ----------
    grid : Grid
        The grid.
    points : sequence of Dataset
        What `simulate` would give, in the order of the grid's indices.
    columns : dict of list
        One more number or string for every point, by name.

    Returns
    -------
    xarray.Dataset
        As `sweep` returns it; attributes hold the work done at all points alone.
    """
    names = tuple(grid.values)
    data = xr.Dataset(coords={name: _axis(labels) for name, labels in grid.labels.items()})
    longest = max(points, key=lambda held: held.sizes["chain"])
    for name, variable in longest.data_vars.items():
        shape = [max(held[name].shape[i] for held in points) for i in range(variable.ndim)]
        dtype = np.result_type(*(held[name].dtype for held in points))
        fill = {"exit_step": -1, "status": _ABSENT}.get(name, np.nan)
        if np.isnan(fill) and dtype.kind != "f":
            dtype = np.dtype(np.float64)
        whole = np.full((*grid.shape, *shape), fill, dtype)
        for index, held in zip(grid.indices, points, strict=True):
            whole[(*index, *(slice(length) for length in held[name].shape))] = held[name].values
        data[name] = ((*names, *variable.dims), whole, dict(_FLAGS) if name == "status" else variable.attrs)
    data = data.assign_coords({name: longest.coords[name] for name in longest.coords})
    columns = {"dimension": [held.sizes["coordinate"] for held in points], **columns}
    columns = {"chains": [held.sizes["chain"] for held in points], **columns}
    for name, column in columns.items():
        dtype = object if isinstance(column[0], str) else None
        data[name] = (names, np.array(column, dtype=dtype).reshape(grid.shape))
    counts = (sum(int(held.attrs[key]) for held in points) for key in _OWN_WORK[:2])
    data.attrs = {"grid": " ".join(names), **work(*counts)}
    return data


def sweep_point(data: xr.Dataset, **labels) -> xr.Dataset:
    """One point of a sweep, without the padding: to the bit what `simulate` gives for it.

    That is `simulate` of the landscape, oracle, optimizer and so on of the point with its `seed`, the sweep's `block`
    and the number of `chains` that were run there. Every estimate takes it.

    Parameters
    ----------
    data : Dataset
        Result of `sweep`, or what `sel` or `isel` leave of it along the grid.
    **labels
        A value for every name of the grid that is still a dimension: a number of the axis, or the label of what is not
        a number (the value itself will do).

    Returns
    -------
    xarray.Dataset
        As of `simulate`. Attributes hold the spec of the point, its seed, and the environment of the sweep.

    Raises
    ------
    ValueError
        When `data` is no sweep, a name is missing or unknown, or the sweep has no such value.
    """
    names = str(data.attrs.get("grid", "")).split()
    if not names or "spec" not in data:
        raise ValueError("this is not the result of a sweep")
    open_names = [name for name in names if name in data.dims]
    if set(labels) != set(open_names):
        given = ", ".join(labels) or "nothing"
        raise ValueError(f"a point of this sweep is told by {', '.join(open_names) or 'nothing more'}; got {given}")
    data = data.isel({name: _position(data[name], name, label) for name, label in labels.items()})
    chains, spec = int(data.chains), json.loads(str(data.spec.values))
    cut = {"chain": slice(chains), "coordinate": slice(int(data.dimension))}
    if "block" in data.dims:
        cut["block"] = slice(-(-chains // spec["block"]))
    others = [name for name in data.data_vars if name in RESERVED - {"exit_step", "status", "final"}]
    held = data.drop_vars([*others, *names]).isel(cut).copy(deep=True)
    held.status.attrs = {"flag_values": _FLAGS["flag_values"][:3], "flag_meanings": "censored exited diverged"}
    place = ", ".join(f"{name}={data[name].item()}" for name in names)
    kept = {key: value for key, value in data.attrs.items() if key not in (*_OWN_WORK, "grid")}
    held.attrs = kept | {"at": place, "spec": str(data.spec.values), "seed": spec["seed"], "dtype": spec["dtype"]}
    return held


def _axis(labels: list) -> np.ndarray:
    return np.array(labels, dtype=None if isinstance(labels[0], Real) else object)


def _position(axis: xr.DataArray, name: str, label) -> int:
    """Index of a label on its axis; numbers to within rounding, so that 0.1 * 3 is 0.3."""
    called, held = label_of(label), axis.values
    if held.dtype.kind in "fiu":
        number = isinstance(called, Real)
        found = np.flatnonzero(np.isclose(held.astype(float), float(called), rtol=1e-9, atol=0)) if number else []
    else:
        found = np.flatnonzero(held == str(called))
    if len(found) != 1:
        raise ValueError(f"{name}={called} is not in the sweep, which has {', '.join(map(str, held))}")
    return int(found[0])
