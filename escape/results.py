"""From blocks to one Dataset, and from the shards of a run to the whole of it."""

import json

import numpy as np
import xarray as xr

from escape.memory import peak_memory
from escape.run import STATISTICS, BlockResult, Run

_FLAGS = {"flag_values": np.array([0, 1, 2], dtype=np.int8), "flag_meanings": "censored exited diverged"}
_COUNTS = ("chain_steps_needed", "chain_steps_moved")


class Gathering:
    """The arrays of a result, filled block by block as they come in: each block is held once.

    Parameters
    ----------
    run : Run
        The run.
    numbers : range
        Which of its blocks.
    """

    def __init__(self, run: Run, numbers: range):
        self._run, self._numbers = run, numbers
        self._first = numbers.start * run.block
        self._chains = min(run.chains, numbers.stop * run.block) - self._first
        self._records: dict[str, np.ndarray] = {}
        self._ends: dict[str, np.ndarray] = {}
        self._counts = np.zeros(2, dtype=np.int64)

    def take(self, number: int, result: BlockResult) -> None:
        """Put a block into its place."""
        first = number * self._run.block - self._first
        chains = slice(first, first + len(result.exit_step))
        for name in ("exit_step", "status", "final"):
            values = getattr(result, name)
            if name not in self._ends:
                self._ends[name] = np.empty((self._chains, *values.shape[1:]), values.dtype)
            self._ends[name][chains] = values
        for name, values in result.records.items():
            if self._run.reduce:
                room = (len(STATISTICS), len(values), len(self._numbers))
                self._room(name, room, values)[:, :, number - self._numbers.start] = values.T
            else:
                self._room(name, (len(values), self._chains), values)[:, chains] = values
        self._counts += (result.needed, result.moved)

    def dataset(self) -> xr.Dataset:
        """The result, with its coordinates, the meanings of the flags, and the work that was done."""
        run = self._run
        dims = ("statistic", "step", "block") if run.reduce else ("step", "chain")
        variables = {name: (dims, self._records[name]) for name in run.observe}
        meaning = {"long_name": "step at which the chain left or was last seen"}
        variables["exit_step"] = ("chain", self._ends["exit_step"], meaning)
        variables["status"] = ("chain", self._ends["status"], dict(_FLAGS))
        variables["final"] = (("chain", "coordinate"), self._ends["final"])
        coordinates = {"step": run.recorded, "chain": np.arange(self._first, self._first + self._chains)}
        if run.reduce:
            coordinates |= {"statistic": list(STATISTICS), "block": np.array(self._numbers)}
        data = xr.Dataset(variables, coordinates)
        data.attrs = work(*map(int, self._counts))
        return data

    def _room(self, name: str, shape: tuple[int, ...], values: np.ndarray) -> np.ndarray:
        if name not in self._records:
            self._records[name] = np.empty(shape, values.dtype)
        return self._records[name]


def work(needed: int, moved: int) -> dict:
    """Attributes that say how much of the work was of use: chain-steps until a chain left, over those computed."""
    return {
        **dict(zip(_COUNTS, (needed, moved), strict=True)),
        "utilisation": needed / moved if moved else 1.0,
        "peak_memory_bytes": peak_memory(),
    }


def shard_blocks(shard: tuple[int, int], blocks: int) -> range:
    """Blocks of shard i of n, i from 1 on: as even as they go.

    Raises
    ------
    ValueError
        If there is no such shard, or it would be empty.
    """
    try:
        i, n = (int(part) for part in shard)
    except (TypeError, ValueError):
        raise ValueError(f"shard must be two numbers (i, n), got {shard!r}") from None
    if not 1 <= i <= n:
        raise ValueError(f"shard {i}/{n} is none: shards count from 1 to n")
    if n > blocks:
        raise ValueError(f"shard {i}/{n}: the run has only {blocks} blocks; take at most {blocks} shards")
    return range((i - 1) * blocks // n, i * blocks // n)


def merge(*shards: xr.Dataset) -> xr.Dataset:
    """Put the shards of one run together: the same to the bit as the run in one piece.

    Parameters
    ----------
    *shards : xarray.Dataset
        Results of `simulate(…, shard=(i, n))`, in any order.

    Raises
    ------
    ValueError
        If they are not of one run, overlap, or leave chains out.
    """
    if not shards:
        raise ValueError("no shards to merge")
    ordered = sorted(shards, key=lambda data: int(data.chain[0]))
    specs = {data.attrs.get("spec") for data in ordered}
    if len(specs) > 1 or None in specs:
        raise ValueError(f"these are not shards of one run: {_difference(ordered)}")
    spec = json.loads(specs.pop())
    for name, part in spec.items():
        if isinstance(part, dict) and "not described" in part:
            raise ValueError(f"nothing says that these shards are of one run: {name} {part['not described']}")
    chains = spec["chains"]
    expected = 0
    for data in ordered:
        first = int(data.chain[0])
        if first != expected:
            what = "are missing" if first > expected else "come twice"
            low, high = sorted((first, expected))
            raise ValueError(f"chains {low} to {high - 1} {what}; give every shard of the run once")
        expected = int(data.chain[-1]) + 1
    if expected != chains:
        raise ValueError(f"chains {expected} to {chains - 1} are missing; give every shard of the run once")
    whole = xr.Dataset(
        {name: _joined(ordered, name) for name in ordered[0].data_vars},
        {name: _joined(ordered, name) for name in ordered[0].coords},
    )
    attrs = {key: value for key, value in ordered[0].attrs.items() if key != "shard"}
    matched = [data.attrs["noise_match"] for data in ordered if "noise_match" in data.attrs]
    attrs |= {"noise_match": matched[0]} if matched else {}
    counts = (sum(int(data.attrs[key]) for data in ordered) for key in _COUNTS)
    seconds = sum(float(data.attrs["wall_seconds"]) for data in ordered)
    whole.attrs = {**attrs, **work(*counts), "wall_seconds": seconds}
    return whole


def _joined(shards: list[xr.Dataset], name: str) -> xr.Variable:
    """A variable of all shards, one after the other along chains or blocks; the first's where it has neither."""
    first = shards[0][name].variable
    along = next((dim for dim in ("chain", "block") if dim in first.dims), None)
    return first if along is None else xr.Variable.concat([data[name].variable for data in shards], along)


def _difference(shards: list[xr.Dataset]) -> str:
    """Which part of the spec differs, in words."""
    held = [data.attrs.get("spec") for data in shards]
    if None in held:
        return "one holds no spec of a run"
    first, *others = (json.loads(text) for text in held)
    changed = sorted({key for other in others for key in first if first[key] != other.get(key)})
    return f"they differ in {', '.join(changed)}"
