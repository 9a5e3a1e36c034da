"""A run said in words and numbers alone, from which all its parts can be made again."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields

import torch
import xarray as xr
from torch import Tensor

from escape.block import run_block
from escape.catalogue import close, make_landscape
from escape.checked import checked_run
from escape.choices import make_optimizer, make_oracle
from escape.landscapes import CriticalPoint, Landscape
from escape.observables import Above, Exit, Loss, Observable, Projection, SquaredDistance, SquaredProjection
from escape.optimizers import Optimizer
from escape.oracles import FullBatch, MiniBatch, Oracle
from escape.provenance import spec_of
from escape.run import BlockResult, Run
from escape.spec import digest
from escape.starts import NormalStart

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, eq=False)
class Parts:
    """What a recipe makes: the nouns of a run.

    `point` is the critical point that projections, distances and the radius are measured from, None where the landscape
    declares none; `direction` (d,) its eigenvector of least curvature; `centre` (d,) the mean start.
    """

    landscape: Landscape
    oracle: Oracle
    optimizer: Optimizer
    start: Tensor | Callable
    observe: dict[str, Observable]
    until: Exit | None
    point: CriticalPoint | None
    direction: Tensor | None
    centre: Tensor

    @property
    def surrogate(self) -> bool:
        """Whether the oracle's noise stands in the place of a mini-batch's."""
        return not isinstance(self.oracle, FullBatch | MiniBatch)


@dataclass(frozen=True)
class Recipe:
    """All that makes a run of the command line, as JSON types: `parts` and `engine` are what `simulate` takes.

    Parameters
    ----------
    landscape : str
        A name of the catalogue, or ``FILE.py:NAME``.
    options : list of str
        Its options, each ``key=value``.
    oracle, batch_size, replacement
        As in `escape.choices.make_oracle`.
    optimizer, lr, momentum, schedule, warm_up
        As in `escape.choices.make_optimizer`.
    start : str or None
        Critical point to start from and to measure from, by name or number; the first with an escape direction if None.
    start_at : list of float or None
        Explicit coordinates to start from instead of those of the point.
    offset, start_std : float
        Shift, and standard deviation of a normal shift, along the point's direction of least curvature.
    radius : float or None
        Chains exit at this distance along the escape directions; at a minimum, in all directions. None: never.
    steps, chains, seed, block : int
        As in `simulate`.
    dtype, device : str or None
        Of the run; the landscape's own if None.
    """

    landscape: str
    options: list[str] = field(default_factory=list)
    oracle: str = "minibatch"
    batch_size: int | None = None
    replacement: bool = False
    optimizer: str = "gd"
    lr: float = 0.05
    momentum: float | None = None
    schedule: str | None = None
    warm_up: int = 0
    start: str | None = None
    start_at: list[float] | None = None
    offset: float = 0.0
    start_std: float = 0.0
    radius: float | None = None
    steps: int = 1000
    chains: int = 1000
    seed: int = 0
    block: int | None = None
    dtype: str | None = None
    device: str = "cpu"

    @property
    def engine(self) -> dict[str, int | None]:
        """Numbers that `simulate` and `replay` take by name."""
        return {"steps": self.steps, "chains": self.chains, "seed": self.seed, "block": self.block}

    def parts(self) -> Parts:
        """Make landscape, oracle, optimizer, start, observables and exit.

        Raises
        ------
        ValueError, TypeError
            One line on the first part that cannot be made.
        """
        optimizer = self.make_optimizer()
        landscape = load_landscape(self.landscape, self.options, self.dtype, self.device)
        points = landscape.critical_points()
        point = find_point(points, self.start) if points or self.start is not None else None
        direction = None if point is None else point.directions[:, 0]
        oracle = self.make_oracle(point)
        centre = self._centre(landscape, point, direction)
        return Parts(
            landscape, oracle, optimizer, self._start(centre, direction), _observe(landscape, point, centre),
            self._until(point, centre), point, direction, centre,
        )  # fmt: skip

    def run(self, parts: Parts, every: int) -> Run:
        """Make the run itself, checked.

        Raises
        ------
        ValueError, TypeError
            As `simulate`.
        """
        return checked_run(
            parts.landscape, parts.oracle, parts.optimizer, parts.start, self.steps, self.chains, parts.observe, every,
            parts.until, self.seed, self.block, "auto",
        )  # fmt: skip

    def dumps(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, data: xr.Dataset, source: str) -> "Recipe":
        """Read from the `command` attribute of a result.

        Raises
        ------
        ValueError
            If there is none, or it is one that this version does not know.
        """
        if "command" not in data.attrs:
            raise ValueError(f"{source} holds no command: it was not written by `escape simulate`")
        held = json.loads(data.attrs["command"])
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(held) - known)
        if unknown:
            raise ValueError(f"{source} was written by another version of escape: {unknown[0]!r} is not known here")
        return cls(**held)

    def make_oracle(self, point: CriticalPoint | None = None) -> Oracle:
        """Make the oracle, for a run from a critical point."""
        location = None if point is None else point.location
        return make_oracle(self.oracle, self.batch_size, self.replacement, location)

    def make_optimizer(self) -> Optimizer:
        """Make the optimizer."""
        return make_optimizer(self.optimizer, self.lr, self.momentum, self.schedule, self.warm_up)

    def _centre(self, landscape: Landscape, point: CriticalPoint | None, direction: Tensor | None) -> Tensor:
        if not math.isfinite(self.offset):
            raise ValueError(f"offset must be finite, got {self.offset}")
        if self.start_at is not None:
            centre = torch.tensor(self.start_at, dtype=torch.float64).to(landscape.samples)
            if landscape.dimension not in (None, len(centre)):
                raise ValueError(
                    f"the start has dimension {len(centre)}, but the landscape has dimension {landscape.dimension}"
                )
        elif point is None:
            raise ValueError(f"{self.landscape} declares no critical points to start from; give --start-at x1,x2,…")
        else:
            centre = point.location
        if direction is None and self.offset:
            raise ValueError(f"{self.landscape} declares no critical point, so there is no direction to offset along")
        return centre + self.offset * direction if self.offset else centre

    def _start(self, centre: Tensor, direction: Tensor | None) -> Tensor | NormalStart:
        return centre if self.start_std == 0 else NormalStart(centre, self.start_std, direction)

    def _until(self, point: CriticalPoint | None, centre: Tensor) -> Exit | None:
        if self.radius is None:
            return None
        if not (self.radius > 0 and 0 < self.radius * self.radius < math.inf):
            raise ValueError(f"radius must be a positive number with a finite square, got {self.radius}")
        if point is not None and point.index:
            return Above(SquaredProjection(point, point.unstable), self.radius * self.radius)
        return Above(SquaredDistance(centre if point is None else point), self.radius * self.radius)


@dataclass(frozen=True)
class RecipeJob:
    """What a worker elsewhere needs for a block: the recipe as text, from which it makes the run itself, once.

    A landscape of somebody's own file then travels as the name of that file, which the worker must be able to read.

    Parameters
    ----------
    recipe : str
        As `Recipe.dumps` writes it.
    every : int
        How often observables are recorded.
    spec : str
        Digest of the run's spec, which the worker must find too.
    """

    recipe: str
    every: int
    spec: str

    def __call__(self, number: int) -> BlockResult:
        """Run one block.

        Raises
        ------
        ValueError
            If the worker makes another run of it.
        """
        return run_block(_made(self.recipe, self.every, self.spec), number)


@functools.lru_cache(maxsize=4)
def _made(text: str, every: int, spec: str) -> Run:
    recipe = Recipe(**json.loads(text))
    run = recipe.run(recipe.parts(), every)
    if digest(spec_of(run, need_key=False)) != spec:
        raise ValueError(
            "a worker would run something else: it has another version of escape, torch or numpy, or of the file "
            "of the landscape; make them the same there"
        )
    return run


def load_landscape(name: str, options: list[str], dtype: str | None = None, device: str = "cpu") -> Landscape:
    """Make a landscape and move it to a dtype and a device.

    Raises
    ------
    ValueError, TypeError
        For a device that is not there, and as `escape.catalogue.make_landscape`.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda is not available here; take cpu")
    landscape = make_landscape(name, options)
    wanted = landscape.samples.dtype if dtype is None else DTYPES[dtype]
    if landscape.samples.dtype == wanted and landscape.samples.device.type == device:
        return landscape
    return landscape.to(device, wanted)


def find_point(points: tuple[CriticalPoint, ...], wanted: str | None) -> CriticalPoint:
    """Return a critical point by name or number; the first with an escape direction, or the first, if None.

    Raises
    ------
    ValueError
        If there is no such point.
    """
    if wanted is None:
        return next((point for point in points if point.index), points[0])
    for point in points:
        if point.name == wanted:
            return point
    names = [point.name for point in points]
    if wanted.isdecimal() and int(wanted) < len(points):
        return points[int(wanted)]
    if not points:
        raise ValueError(f"no critical point {wanted!r}: the landscape declares none")
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise ValueError(
        f"no critical point {wanted!r}{close(wanted, names)}; by number 0 to {len(points) - 1}, or by name: {shown}"
    )


def _observe(landscape: Landscape, point: CriticalPoint | None, centre: Tensor) -> dict[str, Observable]:
    loss = {"loss": Loss(landscape)}
    if point is None:
        return {"squared_distance": SquaredDistance(centre), **loss}
    along = Projection(point, point.directions[:, 0])
    return {"projection": along, "squared_distance": SquaredDistance(point), **loss}
