"""Tables of plain text: landscapes, critical points, the outcome of a run, a path."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from escape import estimate, theory
from escape.catalogue import NAMED, defaults_of, option_text
from escape.forecast import curvatures_differ, forecast, kink, noise_std
from escape.landscapes import CriticalPoint, Landscape
from escape.oracles import FullBatch, MiniBatch
from escape.recipe import Parts, Recipe
from escape.run import DIVERGED

# Critical points, escape directions and eigenvalues shown unless all are asked for.
_FEW, _WHOLE_SPECTRUM = 6, 8


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Align columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])).rstrip() for row in rows
    ]


def named_landscapes() -> list[str]:
    """List every named landscape with its formula and its options."""
    lines = []
    for name, maker in NAMED.items():
        options = [f"{key}={option_text(value)}" for key, value in defaults_of(maker).items()] or ["no options"]
        lines += [f"{name:<22}{' '.join(maker.__doc__.split())}", *_wrapped(options, " " * 22), ""]
    return [*lines, "Options are given as --set key=value. A landscape of your own is named FILE.py:NAME, where NAME",
            "is a Landscape, or a callable with keyword options that makes one."]  # fmt: skip


def described(
    name: str,
    landscape: Landscape,
    points: Sequence[tuple[int, CriticalPoint]],
    every: bool,
    batch: MiniBatch | None,
    lr: float | None,
) -> list[str]:
    """Describe a landscape and critical points of it, each with its number.

    Parameters
    ----------
    every : bool
        Show all points, directions and eigenvalues.
    batch : MiniBatch or None
        Adds the kick s of its noise, given `lr`.
    lr : float or None
        Adds the growth factor a and the growth rate 2 ln a.
    """
    dtype = str(landscape.samples.dtype).removeprefix("torch.")
    size = "not declared" if landscape.dimension is None else landscape.dimension
    lines = [f"{name}: n = {landscape.n} samples, dimension d = {size}, {dtype}"]
    lines += [] if batch is None else [f"{_oracle_text(batch, landscape)}, lr {lr:g}"]
    if not points:
        return [*lines, "It declares no critical points: start a run with --start-at x1,x2,…"]
    shown = points if every else points[:_FEW]
    for number, point in shown:
        lines += ["", *_point(landscape, number, point, every, batch, lr)]
    if len(points) > len(shown):
        lines += ["", f"… {len(points) - len(shown)} more critical points, --all"]
    return lines


def outcome(recipe: Recipe, parts: Parts, data: xr.Dataset) -> list[str]:
    """Say how a run ended, estimate beside theory, and what to keep in mind."""
    landscape, point = parts.landscape, parts.point
    where = "coordinates given" if recipe.start_at is not None else f"{point.name} ({_kind(point)})"
    shift = f", offset {recipe.offset:g}" if recipe.offset else ""
    shift += f", normal of std {recipe.start_std:g}" if recipe.start_std else ""
    momentum = f", momentum {parts.optimizer.momentum:g}" if recipe.optimizer == "heavy-ball" else ""
    part = "shard" in data.attrs
    count = dict(zip(("censored", "exited", "diverged"), np.bincount(data.status, minlength=3), strict=True))
    rows = [
        ("landscape", f"{recipe.landscape}, n = {landscape.n}, {data.attrs['dtype']} on {data.attrs['device']}"),
        ("oracle", _oracle_text(parts.oracle, landscape)),
        ("optimizer", f"{recipe.optimizer}, lr {recipe.lr:g}{momentum}"),
        ("run", f"{recipe.chains} chains, {recipe.steps} steps, seed {recipe.seed}"),
        ("start", where + shift),
        ("exit", _exit_text(recipe, point)),
        *([("shard", f"{data.attrs['shard']}: chains {int(data.chain[0])} to {int(data.chain[-1])}")] if part else []),
        ("ended", "   ".join(f"{name} {count[name]}" for name in ("exited", "censored", "diverged"))),
    ]
    needed, moved = data.attrs["chain_steps_needed"], data.attrs["chain_steps_moved"]
    rows.append(("work", f"{moved:.3g} chain-steps for {needed:.3g} needed: utilisation {needed / max(moved, 1):.0%}"))
    lines = [f"{key:<12}{text}" for key, text in rows]
    compared, caveats = _exits(recipe, parts, data) if recipe.radius else _growth(recipe, parts, data)
    lines += ["", *table(compared)] if compared else []
    return [*lines, *(f"caveat: {text}" for text in caveats)]


def path_rows(parts: Parts, path: xr.Dataset) -> list[str]:
    """Show a few steps of one chain's path, evenly spread, first and last among them."""
    steps = np.unique(np.linspace(0, path.sizes["step"] - 1, 8).round().astype(int))
    x = torch.as_tensor(path.x.values[steps]).to(parts.landscape.samples)
    seen = {name: function(x).tolist() for name, function in parts.observe.items()}
    d = min(x.shape[1], 3)
    rows = [["step", *seen, *(f"x_{j + 1}" for j in range(d))]]
    for i, step in enumerate(steps):
        numbers = [*(values[i] for values in seen.values()), *x[i, :d].tolist()]
        rows.append([str(path.step.values[step]), *(f"{number:.5g}" for number in numbers)])
    return table(rows)


def coordinates(x: np.ndarray) -> str:
    """Write a point, its first coordinates if there are many."""
    shown = ", ".join(f"{number:.6g}" for number in x[:_FEW])
    return f"({shown}{f', … {len(x) - _FEW} more' if len(x) > _FEW else ''})"


def _point(landscape, number: int, point: CriticalPoint, every: bool, batch, lr) -> list[str]:
    trace = float(landscape.noise_trace(point.location[None])[0])
    lines = [
        f"[{number}] {point.name or 'unnamed'}: {_kind(point)}",
        f"    loss {float(landscape.loss(point.location)):.6g}   tr C {trace:.4g}   {_spectrum(point, every)}",
    ]
    if not point.index:
        return lines
    head = ["", "curvature", "v'Cv", "noise std", "d v'Cv/tr C"]
    rows = [head + ([] if lr is None else ["a", "2 ln a"]) + ([] if batch is None else ["s"])]
    shown = point.index if every else min(point.index, _FEW)
    variances = landscape.noise_along(point.location, point.unstable[:, :shown]).tolist()
    for j, variance in enumerate(variances):
        curvature = float(point.eigenvalues[j])
        share = len(point.location) * variance / trace if trace else math.nan
        row = [curvature, variance, math.sqrt(variance), share]
        if lr is not None:
            row += [theory.growth_factor(lr, curvature), theory.growth_rate(lr, curvature)]
        if batch is not None:
            noise = noise_std(landscape, batch, point.location, point.directions[:, j])
            row.append(theory.kick_std(lr, curvature, noise))
        rows.append([f"escape {j + 1}", *("-" if math.isnan(x) else f"{x:.4g}" for x in map(float, row))])
    lines += table(rows, "    ")
    if shown < point.index:
        lines.append(f"    … {point.index - shown} more escape directions, --all")
    broken = kink(landscape, point, 0)
    if broken:
        lines.append(f"    caveat: {broken}")
    if lr is not None and curvatures_differ(landscape, point):
        lines.append("    caveat: type II, differing curvatures make the mean square grow faster than 2 ln a")
    return lines


def _exits(recipe: Recipe, parts: Parts, data: xr.Dataset) -> tuple[list, list[str]]:
    """Mean exit step measured and predicted, and the caveats of both."""
    found = estimate.mean_exit_step(data)
    rows = [["mean exit step", "value", "95% interval"], _estimate_row("  estimate", found)]
    caveats = [] if found.reliable else [found.reason]
    if parts.point is None:
        return rows, [*caveats, "no critical point is declared, so theory has nothing to say"]
    if not parts.point.index and (data.exit_step > 0).any():
        memoryless = estimate.exponential_mean_exit_step(data)
        rows.append(_estimate_row("  estimate, exits without memory", memoryless))
        caveats += [] if memoryless.reliable else [f"exits without memory: {memoryless.reason}"]
    if recipe.optimizer != "gd" and parts.point.index:
        return rows, [*caveats, "the closed form is for gradient descent without momentum"]
    predicted = forecast(
        parts.landscape, parts.oracle, recipe.lr, parts.point, parts.centre, recipe.start_std, recipe.radius
    )
    if predicted.mean_exit_step is not None:
        rows.append([f"  theory: {predicted.law}", f"{predicted.mean_exit_step:.5g}", ""])
    return rows, [*caveats, *predicted.caveats]


def _growth(recipe: Recipe, parts: Parts, data: xr.Dataset) -> tuple[list, list[str]]:
    """Growth rate of the mean square projection measured and predicted, where there is any."""
    point = parts.point
    if (data.status == DIVERGED).any():
        return [], ["chains diverged: there is no growth rate; lower --lr or give --radius"]
    noisy = recipe.start_std > 0 or not isinstance(parts.oracle, FullBatch)
    if point is None or not point.index or not noisy or recipe.optimizer != "gd" or data.sizes["step"] < 5:
        return [], []
    with np.errstate(over="ignore", invalid="ignore"):
        found = estimate.growth_rate(data.projection.values, data.step.values)
    rows = [["growth rate of the mean square", "per step", "95% interval"], _estimate_row("  estimate", found)]
    rows.append(["  theory: 2 ln a", f"{theory.growth_rate(recipe.lr, float(point.eigenvalues[0])):.5g}", ""])
    caveats = [] if found.reliable else [found.reason]
    if curvatures_differ(parts.landscape, point):
        caveats.append("type II: differing curvatures make the mean square grow faster than 2 ln a")
    broken = kink(parts.landscape, point, 0)
    return rows, [*caveats, *([broken] if broken else [])]


def _estimate_row(label: str, found) -> list[str]:
    interval = "none" if math.isnan(found.low) else f"{found.low:.5g} to {found.high:.5g}"
    return [label, f"{found.value:.5g}", interval]


def _kind(point: CriticalPoint) -> str:
    noise = f", noise type {point.noise}" if point.noise else ""
    return f"{point.kind}, index {point.index}{noise}"


def _spectrum(point: CriticalPoint, every: bool) -> str:
    values = point.eigenvalues.tolist()
    if every or len(values) <= _WHOLE_SPECTRUM:
        return f"spectrum {' '.join(f'{value:.4g}' for value in values)}"
    return f"spectrum from {values[0]:.4g} to {values[-1]:.4g}"


def _oracle_text(oracle, landscape: Landscape) -> str:
    if isinstance(oracle, FullBatch):
        return "full batch"
    mode = "with" if oracle.replacement else "without"
    law = {"MiniBatch": "mini-batch", "GaussianNoise": "Gaussian noise", "IsotropicNoise": "isotropic noise"}
    kappa = oracle.covariance_factor(landscape)
    return f"{law[type(oracle).__name__]}, batch size {oracle.batch_size} {mode} replacement, kappa {kappa:.4g}"


def _exit_text(recipe: Recipe, point: CriticalPoint | None) -> str:
    if recipe.radius is None:
        return "never asked for; --radius R stops a chain there"
    if point is not None and point.index:
        what = "escape direction" if point.index == 1 else f"{point.index} escape directions"
        return f"squared distance along the {what} >= {recipe.radius**2:g} (radius {recipe.radius:g})"
    return f"squared distance >= {recipe.radius**2:g} (radius {recipe.radius:g})"


def _wrapped(words: Sequence[str], indent: str, width: int = 98) -> list[str]:
    """Join words by two spaces into lines."""
    lines = [indent]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append(indent)
        lines[-1] += word + "  "
    return [line.rstrip() for line in lines]
