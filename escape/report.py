"""Tables of plain text: the named landscapes, the outcome of a run, a path."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from escape import estimate, theory
from escape.catalogue import NAMED, defaults_of, option_text
from escape.forecast import forecast, kink
from escape.landscapes import CriticalPoint
from escape.linear_part import linear_rates
from escape.method import method_of
from escape.noise_geometry import recorded_match
from escape.oracles import FullBatch
from escape.recipe import Parts, Recipe
from escape.run import DIVERGED
from escape.tables import kind_text, optimizer_text, oracle_text, table


def named_landscapes() -> list[str]:
    """List every named landscape with its formula and its options."""
    lines = []
    for name, maker in NAMED.items():
        options = [f"{key}={option_text(value)}" for key, value in defaults_of(maker).items()] or ["no options"]
        head, indent = f"{name:<22}", " " * 22
        formula = textwrap.wrap(" ".join(maker.__doc__.split()), 98, initial_indent=head, subsequent_indent=indent)
        lines += [*formula, *_wrapped(options, indent), ""]
    return [*lines, "Options are given as --set key=value. A landscape of your own is named FILE.py:NAME, where NAME",
            "is a Landscape, or a callable with keyword options that makes one."]  # fmt: skip


def outcome(recipe: Recipe, parts: Parts, data: xr.Dataset) -> list[str]:
    """Say how a run ended, estimate beside theory, and what to keep in mind."""
    landscape, point = parts.landscape, parts.point
    where = "coordinates given" if recipe.start_at is not None else f"{point.name} ({kind_text(point)})"
    shift = f", offset {recipe.offset:g}" if recipe.offset else ""
    shift += f", normal of std {recipe.start_std:g}" if recipe.start_std else ""
    part = "shard" in data.attrs
    count = dict(zip(("censored", "exited", "diverged"), np.bincount(data.status, minlength=3), strict=True))
    rows = [
        ("landscape", f"{recipe.landscape}, n = {landscape.n}, {data.attrs['dtype']} on {data.attrs['device']}"),
        ("oracle", oracle_text(parts.oracle, landscape)),
        ("optimizer", optimizer_text(parts.optimizer)),
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
    matched = _match(data)
    lines += ["", *table(matched)] if matched else []
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
    try:
        predicted = forecast(
            parts.landscape, parts.oracle, parts.optimizer, parts.point, parts.centre, recipe.start_std, recipe.radius
        )
    except ValueError as error:  # an oracle or an optimizer that theory does not cover
        return rows, [*caveats, f"no prediction: {error}"]
    if predicted.mean_exit_step is not None:
        rows.append([f"  theory: {predicted.law}", f"{predicted.mean_exit_step:.5g}", ""])
    return rows, [*caveats, *predicted.caveats]


def _growth(recipe: Recipe, parts: Parts, data: xr.Dataset) -> tuple[list, list[str]]:
    """Growth rate of the mean square projection measured and predicted, where there is any."""
    point = parts.point
    if (data.status == DIVERGED).any():
        return [], ["chains diverged: there is no growth rate; lower --lr or give --radius"]
    noisy = recipe.start_std > 0 or not isinstance(parts.oracle, FullBatch)
    if point is None or not point.index or not noisy or data.sizes["step"] < 5:
        return [], []
    with np.errstate(over="ignore", invalid="ignore"):
        found = estimate.growth_rate(data.projection.values, data.step.values)
    rows = [["growth rate of the mean square", "per step", "95% interval"], _estimate_row("  estimate", found)]
    try:
        method = method_of(parts.optimizer)
        rates = linear_rates(parts.landscape, parts.oracle, method, point)
    except ValueError as error:
        return rows, [*([] if found.reliable else [found.reason]), f"no prediction: {error}"]
    rate = theory.growth_rate(method.lr, float(point.eigenvalues[0]), **method.how)
    rows.append([f"  theory: 2 ln {'z+' if method.momentum else 'a'}", f"{rate:.5g}", ""])
    caveats = [*([] if found.reliable else [found.reason]), *rates.caveats]
    if rates.differ and rates.log_rate is not None:
        rows.append(["  theory: ln rho, all directions", f"{rates.log_rate:.5g}", ""])
        caveats.append("differing curvatures make the mean square grow faster than 2 ln a")
    broken = kink(parts.landscape, point, 0)
    return rows, [*caveats, *([broken] if broken else [])]


def _match(data: xr.Dataset) -> list:
    """Variance, kurtosis and trace of the noise beside the mini-batch's, where the run recorded them."""
    if "noise_match" not in data.attrs:
        return []
    shown = (("escape", "variance"), ("escape", "kurtosis"), ("all", "trace"), ("all", "distance"))
    match = recorded_match(data)
    rows = [["noise at the start", "measured", "error", "mini-batch", ""]]
    for direction, quantity in shown:
        for row in match.of(direction=direction, quantity=quantity):
            where = "along the escape direction" if direction == "escape" else "in all directions"
            numbers = ("none" if math.isnan(x) else f"{x:.4g}" for x in (row.measured, row.error, row.expected))
            rows.append([f"  {quantity} {where}", *numbers, "differs" if row.differs else ""])
    return rows if len(rows) > 1 else []


def _estimate_row(label: str, found) -> list[str]:
    interval = "none" if math.isnan(found.low) else f"{found.low:.5g} to {found.high:.5g}"
    return [label, f"{found.value:.5g}", interval]


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
