"""A landscape in words and numbers: its critical points, the noise there, and what theory predicts."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from escape import theory
from escape.forecast import kick_along, kink
from escape.landscapes import CriticalPoint, Landscape
from escape.method import method_of
from escape.optimizers import Optimizer
from escape.oracles import Oracle
from escape.predict import Prediction, predict
from escape.recipe import Recipe
from escape.tables import FEW, kind_text, optimizer_text, oracle_text, table

_LEAVE = {
    "all": "all chains leave",
    "in the end": "all chains leave in the end",
    "few": "few chains leave",
    "none": "no chain leaves",
}
# Eigenvalues shown, and points with a prediction, unless all are asked for; characters in a line.
_WHOLE_SPECTRUM, _PREDICTED, _WIDTH = 8, 3, 98


@dataclass(frozen=True)
class Setting:
    """What a landscape is described for: a run's recipe or none, whether noise is asked for, an exit radius or none."""

    recipe: Recipe | None = None
    noisy: bool = False
    radius: float | None = None

    @cached_property
    def optimizer(self) -> Optimizer | None:
        """Make the optimizer, if there is one."""
        return None if self.recipe is None else self.recipe.make_optimizer()

    def oracle(self, point: CriticalPoint | None) -> Oracle | None:
        """Make the oracle for a point, if there is one."""
        return self.recipe.make_oracle(point) if self.noisy else None


def setting_of(
    name: str,
    lr: float | None,
    batch_size: int | None,
    replacement: bool,
    oracle: str,
    optimizer: str | None,
    momentum: float | None,
    radius: float | None,
) -> Setting:
    """Read what a description is asked for on the command line.

    Raises
    ------
    ValueError
        For an option that needs another one, and numbers out of range.
    """
    others = (batch_size, optimizer, momentum, radius)
    if lr is None:
        if any(value is not None for value in others) or replacement or oracle != "minibatch":
            names = "--batch-size, --replacement, --oracle, --optimizer, --momentum and --radius"
            raise ValueError(f"{names} need --lr")
        return Setting()
    kind = optimizer or ("gd" if momentum is None else "heavy-ball")
    recipe = Recipe(name, [], oracle, batch_size, replacement, kind, lr, momentum, radius=radius)
    recipe.make_optimizer()
    if oracle == "minibatch" and batch_size is None:
        if replacement or momentum is not None or radius is not None or optimizer is not None:
            raise ValueError("a prediction needs --batch-size, or --oracle full")
        return Setting(recipe)
    return Setting(recipe, True, radius)


def described(
    name: str, landscape: Landscape, points: Sequence[tuple[int, CriticalPoint]], every: bool, setting: Setting
) -> list[str]:
    """Describe a landscape and critical points of it, each with its number.

    Parameters
    ----------
    every : bool
        Show all points, directions and eigenvalues.
    setting : Setting
        The optimizer adds the growth factor a and the growth rate 2 ln a; the oracle the kick s and the prediction.
    """
    dtype = str(landscape.samples.dtype).removeprefix("torch.")
    size = "not declared" if landscape.dimension is None else landscape.dimension
    lines = [f"{name}: n = {landscape.n} samples, dimension d = {size}, {dtype}"]
    if setting.noisy:
        oracle = setting.oracle(points[0][1] if points else None)
        oracle.check(landscape)
        lines.append(f"{oracle_text(oracle, landscape)}; {optimizer_text(setting.optimizer)}")
    if not points:
        return [*lines, "It declares no critical points: start a run with --start-at x1,x2,…"]
    shown = points if every else points[: _PREDICTED if setting.noisy else FEW]
    for number, point in shown:
        lines += ["", *_point(landscape, number, point, every, setting)]
    if len(points) > len(shown):
        lines += ["", f"… {len(points) - len(shown)} more critical points, --all"]
    return lines


def _point(landscape: Landscape, number: int, point: CriticalPoint, every: bool, setting: Setting) -> list[str]:
    trace = float(landscape.noise_trace(point.location[None])[0])
    lines = [
        f"[{number}] {point.name or 'unnamed'}: {kind_text(point)}",
        *_hanging(
            "    ", f"loss {float(landscape.loss(point.location)):.6g}   tr C {trace:.4g}   {_spectrum(point, every)}"
        ),
    ]
    shown = point.negative if every else min(point.negative, FEW)
    if shown:
        lines += table(_directions(landscape, point, trace, shown, setting), "    ")
    if shown < point.negative:
        lines.append(f"    … {point.negative - shown} more escape directions, --all")
    if setting.noisy:
        found = predict(landscape, setting.oracle(point), setting.optimizer, point, radius=setting.radius)
        return lines + prediction_lines(found, setting.radius, "    ")
    broken = kink(landscape, point, 0) if point.negative else ""
    return lines + [f"    caveat: {text}" for text in (*point.caveats, broken) if text]


def _directions(landscape, point: CriticalPoint, trace: float, shown: int, setting: Setting) -> list[list[str]]:
    """Rows on the escape directions of a point."""
    method = None if setting.optimizer is None else method_of(setting.optimizer)
    growth = "z+" if method is not None and method.momentum else "a"
    rows = [["", "curvature", "v'Cv", "noise std", "d v'Cv/tr C"]]
    rows[0] += [] if method is None else [growth, f"2 ln {growth}"]
    oracle = setting.oracle(point)
    rows[0] += [] if oracle is None else ["s"]
    for j, variance in enumerate(landscape.noise_along(point.location, point.directions[:, :shown]).tolist()):
        curvature = float(point.eigenvalues[j])
        row = [curvature, variance, math.sqrt(variance), len(point.location) * variance / trace if trace else math.nan]
        if method is not None:
            a = theory.growth_factor(method.lr, curvature, **method.how)
            row += [a, 2 * math.log(a)]
        if oracle is not None:
            kick = kick_along(landscape, oracle, method, point, j)
            row.append(math.nan if kick is None else kick)
        rows.append([f"escape {j + 1}", *("-" if math.isnan(x) else f"{x:.4g}" for x in map(float, row))])
    return rows


def prediction_lines(found: Prediction, radius: float | None, indent: str = "") -> list[str]:
    """Say what theory predicts at a point, and its caveats, in lines of at most a hundred characters."""
    unknown = "not known"
    rate = unknown if found.log_rate is None else f"{found.log_rate:.5g} a step"
    gamma = unknown if found.lyapunov_exponent is None else f"{found.lyapunov_exponent:.5g} a step"
    gamma += f" +- {found.lyapunov_error:.2g}" if found.lyapunov_error else ""
    says = {
        None: "",
        True: ": the mean square grows exponentially",
        False: ": no exponential growth of the mean square",
    }
    leave = "whether chains leave is not known" if found.chains_leave is None else _LEAVE[found.chains_leave]
    rows = [
        ("ln rho", rate + says[found.mean_square_grows]),
        ("gamma", gamma),
        ("leaving", f"{leave}: {found.leaving}"),
    ]
    if found.escape_exponent is not None:
        rows.append(("alpha", f"{found.escape_exponent:.5g}, exponent of rare distances"))
    if found.stationary_std is not None:
        rows.append(("spread", f"{found.stationary_std:.5g}, stationary std along the least curvature"))
    if radius is not None:
        rows.append(("exit", _exit_prediction(found, radius)))
    rows += [("caveat", text) for text in found.caveats]
    return [line for key, text in rows for line in _hanging(f"{indent}{key:<9}", text)]


def _hanging(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def _exit_prediction(found: Prediction, radius: float) -> str:
    if found.mean_exit_step is None:
        return f"at {radius:g}: no prediction"
    spread = "" if found.exit_step_std is None else f", std {found.exit_step_std:.5g}"
    return f"at {radius:g}: mean step {found.mean_exit_step:.5g}{spread} ({found.law})"


def _spectrum(point: CriticalPoint, every: bool) -> str:
    values = point.eigenvalues.tolist()
    if every or len(values) <= _WHOLE_SPECTRUM:
        return f"spectrum {' '.join(f'{value:.4g}' for value in values)}"
    return f"spectrum from {values[0]:.4g} to {values[-1]:.4g}"
