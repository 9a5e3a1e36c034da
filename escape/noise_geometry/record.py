"""The match of a run's oracle with the mini-batch that it stands for, kept beside the run's result."""

import json
import math

import torch
import xarray as xr
from torch import Tensor

from escape.landscapes.base import Landscape
from escape.landscapes.batches import one_thread
from escape.noise_geometry.match import MatchRow, NoiseMatch, noise_match
from escape.oracles import Oracle

# The attribute that holds the record, and the draws that it takes: a hundredth of a second and more.
ATTRIBUTE, _DRAWS = "noise_match", 4000


def measured_match(landscape: Landscape, oracle: Oracle, x: Tensor, draws: int = _DRAWS, seed: int = 0) -> NoiseMatch:
    """Match an oracle with its own mini-batch at a point; no rows, and a note, for one that stands for none.

    Parameters
    ----------
    landscape, oracle
        Of the run.
    x : Tensor (d,)
        The point.
    draws, seed : int
        As in `noise_match`.
    """
    if oracle.batch is None:
        return NoiseMatch((), 0, f"{oracle} stands for no mini-batch")
    with one_thread():
        return noise_match(landscape, [oracle], torch.as_tensor(x), draws=draws, seed=seed)


def as_json(match: NoiseMatch) -> str:
    """Write a match as JSON; numbers that JSON does not know are strings."""
    rows = [[_written(value) for value in row] for row in match.rows]
    return json.dumps({"draws": match.draws, "note": match.note, "columns": MatchRow._fields, "rows": rows})


def recorded_match(data: xr.Dataset) -> NoiseMatch:
    """Read the match that a run recorded: `simulate(…, match=True)`.

    Parameters
    ----------
    data : xarray.Dataset
        The result of the run, or what was read from its file.

    Raises
    ------
    ValueError
        If it records none.
    """
    text = data.attrs.get(ATTRIBUTE)
    if text is None:
        raise ValueError("the run records no match of its noise: run it with match=True")
    held = json.loads(text)
    rows = tuple(MatchRow(*row[:3], *map(float, row[3:])) for row in held["rows"])
    return NoiseMatch(rows, held["draws"], held["note"])


def _written(value: str | float) -> str | float:
    return value if isinstance(value, str) or math.isfinite(value) else str(value)
