"""Every named landscape in a table and, in two dimensions, as a picture: `python -m experiments.gallery`.

Writes docs/landscapes.md and docs/gallery.png.
"""

import inspect
import re
from collections import Counter
from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from escape import FullBatch, GradientDescent, Landscape, MiniBatch, figures, replay
from escape.catalogue import defaults_of, make_landscape, option_text
from escape.named import NAMED

DOCS = Path(__file__).parent.parent / "docs"
MARKS = {"minimum": "o", "saddle": "X", "maximum": "^", "degenerate": "s"}
# Name, options, box, start, learning rate, batch size, steps: two dimensions, a start from which something is to see.
PANELS = [
    ("additive-saddle", ["eigenvalues=-1,1"], (-1, 1, -1, 1), (0.02, 0.8), 0.05, 4, 80),
    ("monkey", [], (-1, 1, -1, 1), (0.3, 0.06), 0.05, 8, 60),
    ("degenerate-saddle", [], (-1.2, 1.2, -1.2, 1.2), (0.05, 0.8), 0.1, 4, 120),
    ("octopus", ["d=2"], (0, 13, 0, 13), (0.4, 1.5), 0.1, 4, 60),
    ("double-well", ["bath=1"], (-1.7, 1.7, -1.2, 1.2), (0.05, 0.9), 0.1, 1, 150),
    ("two-slope-well", ["bath=1"], (-0.9, 3.2, -1.2, 1.2), (0.1, 0.9), 0.1, 1, 150),
    ("two-basins", [], (-2.2, 2.2, -2.2, 2.2), (0.3, 1.9), 0.008, 4, 300),
    ("wu-ma-e", ["bath=1"], (-1, 2, -1.2, 1.2), (1.4, 0.9), 0.3, 1, 60),
    ("m-wells", [], (-3.4, 3.4, -1.2, 1.2), (-0.9, 0.9), 0.05, 1, 150),
    ("styblinski-tang", [], (-4, 4, -4, 4), (0.3, 0.1), 0.005, 1, 150),
    ("rosenbrock", ["coordinates=2"], (-1.7, 1.7, -0.8, 2.4), (-1.2, 1.6), 0.5, 1, 4000),
    ("mueller-brown", [], (-1.5, 1.2, -0.4, 2.0), (-0.8, 0.63), 0.1, 1, 300),
    ("bi-channel", [], (-1.9, 1.9, -1.3, 2.2), (0.1, -0.2), 0.02, 1, 200),
    ("random-field", [], (-5, 5, -5, 5), (0.3, 3.6), 0.1, 1, 200),
    ("feature-field", [], (-5, 5, -5, 5), (0.3, 3.6), 0.02, 32, 600),
]


def source_of(landscape: Landscape) -> str:
    """Source that the docstring of a landscape gives."""
    found = re.search(r"Source: (.*?)(?:\n\s*\n|\Z)", inspect.getdoc(type(landscape)), re.S)
    return " ".join(found.group(1).split()).rstrip(".") if found else "derived"


def spectrum(point) -> str:
    """Eigenvalues of a point, the ends alone of many."""
    values = [f"{value:.4g}" for value in point.eigenvalues.tolist()]
    return " ".join(values) if len(values) <= 5 else f"{values[0]} to {values[-1]}"


def _counted(count: int, kind: str) -> str:
    many = {"minimum": "minima", "maximum": "maxima", "saddle": "saddles"}
    return f"{count} {many.get(kind, kind) if count > 1 else kind}"


def row(name: str) -> list[str]:
    """Cells of one landscape."""
    landscape = make_landscape(name)
    points = landscape.critical_points()
    kinds = Counter((point.kind, point.noise or "none") for point in points)
    counts = ", ".join(f"{_counted(count, kind)} ({noise})" for (kind, noise), count in kinds.items())
    least = next((point for point in points if point.index), points[0] if points else None)
    knobs = " ".join(f"{key}={option_text(value)}" for key, value in defaults_of(NAMED[name]).items())
    formula = " ".join(NAMED[name].__doc__.split()).replace("|", "\\|")
    shown = "none declared" if least is None else f"{least.name or least.kind}: {spectrum(least)}"
    return [f"`{name}`", formula, f"`{knobs}`" if knobs else "", counts, shown, source_of(landscape)]


def table() -> str:
    """The table of all named landscapes, in Markdown."""
    head = ["name", "formula", "knobs and defaults", "declared points (noise type)", "spectrum of one", "source"]
    rows = [head, ["---"] * len(head), *(row(name) for name in NAMED)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def panel(ax: Axes, name: str, options: list[str], box, start, lr: float, batch_size: int, steps: int) -> None:
    """Contours, declared points, and one path of batch GD and of SGD from the same start."""
    landscape = make_landscape(name, options)
    x, y = (np.linspace(box[i], box[i + 1], 121) for i in (0, 2))
    grid = torch.as_tensor(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).to(landscape.samples)
    loss = torch.cat([landscape.loss(part) for part in grid.split(1024)]).numpy().reshape(121, 121)
    known = loss[np.isfinite(loss)]
    levels = np.unique(np.quantile(known, np.linspace(0.01, 0.97, 16)))
    ax.contour(x, y, loss, levels, cmap="Greys_r", linewidths=0.6, negative_linestyles="solid")
    begin = torch.tensor(start).to(landscape.samples)
    blue, orange = plt.rcParams["axes.prop_cycle"].by_key()["color"][:2]
    for oracle, color, label in ((MiniBatch(batch_size), orange, "SGD"), (FullBatch(), blue, "batch GD")):
        path = replay(landscape, oracle, GradientDescent(lr), begin, chain=0, steps=steps, chains=1, seed=3)
        ax.plot(*path.x.values.T, color=color, lw=1.1, label=label)
    for point in landscape.critical_points():
        if point.location.shape == (2,):
            place = point.location.tolist()
            ax.plot(*place, MARKS[point.kind], color="black", ms=4, mew=0, clip_on=True)
    ax.plot(*start, ".", color="black", ms=3)
    ax.set(xlim=box[:2], ylim=box[2:], title=name)
    ax.grid(False)


def draw() -> Figure:
    """All panels."""
    with figures.style():
        figure, axes = plt.subplots(5, 3, figsize=(7.0, 10.5), layout="constrained")
        for ax, settings in zip(axes.flat, PANELS, strict=True):
            panel(ax, *settings)
        lines, labels = axes.flat[0].get_legend_handles_labels()
        for kind, mark in MARKS.items():
            lines += axes.flat[0].plot([], [], mark, color="black", ms=4, mew=0)
            labels.append(kind)
        figure.legend(lines, labels, loc="outside upper center", ncols=6)
    return figure


@click.command(help=__doc__)
def main():
    """Write the page and the picture."""
    page = f"""# Landscapes

Written by `make gallery`. Formulas are those of one term f_i; at a declared point I and II are the kinds of noise there
(see the README), *none* where a landscape has no noise. Add your own: [extending.md](extending.md).

![Contours, declared points, and a path of batch GD and of SGD from one start](gallery.png)

{table()}
"""
    (DOCS / "landscapes.md").write_text(page, encoding="utf-8")
    draw().savefig(DOCS / "gallery.png", dpi=130)
    click.echo(f"wrote {DOCS / 'landscapes.md'} and {DOCS / 'gallery.png'}")


if __name__ == "__main__":
    main()
