"""Figures: one style, a measurement with its interval, a theory beside it. Nothing here simulates."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Width of one column of a two-column paper, in inches: every figure must be readable at this size.
COLUMN = 3.4
PALETTE = sns.color_palette("colorblind")
# Of the same figure, the same file: neither carries the date it was made.
_METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}}


@contextmanager
def style() -> Iterator[None]:
    """Set the project's style for the figures drawn inside."""
    settings = {
        "font.size": 7.5,
        "axes.labelsize": 7.5,
        "axes.titlesize": 7.5,
        "legend.fontsize": 6.5,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "lines.linewidth": 1.1,
        "lines.markersize": 3.2,
        "axes.linewidth": 0.6,
        "grid.linewidth": 0.4,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
        "mathtext.fontset": "dejavusans",
    }
    with sns.axes_style("ticks", {"axes.grid": True, "grid.color": "0.9"}), plt.rc_context(settings):
        yield


def panels(rows: int, height: float = 2.0, width: float = COLUMN, **options) -> tuple[Figure, list[Axes]]:
    """Open a figure one column wide of panels under each other, lettered in order.

    Parameters
    ----------
    rows : int
        Number of panels.
    height, width : float
        Of one panel, in inches.
    **options
        Passed on to `matplotlib.pyplot.subplots`.
    """
    figure, axes = plt.subplots(rows, 1, figsize=(width, height * rows), squeeze=False, **options)
    axes = list(axes[:, 0])
    if rows > 1:
        for letter, ax in zip("abcdefgh", axes, strict=False):
            # Outside, left of the axis labels: the room above a panel is its legend's.
            ax.text(-0.2, 1.03, f"({letter})", transform=ax.transAxes, fontweight="bold")
    sns.despine(figure)
    return figure, axes


def band(ax: Axes, x, value, low, high, color, label: str | None = None, **options) -> None:
    """Draw a measured curve with its interval as a band."""
    ax.plot(x, value, color=color, label=label, **options)
    ax.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)


def points(ax: Axes, x, value, low, high, color, label: str | None = None, marker: str = "o", **options) -> None:
    """Draw measured points with their intervals as bars."""
    value, low, high = (np.asarray(a, dtype=float) for a in (value, low, high))
    bars = np.maximum(np.stack([value - low, high - value]), 0)
    ax.errorbar(x, value, bars, color=color, label=label, fmt=marker, capsize=1.5, elinewidth=0.8, **options)


def legend_above(ax: Axes, columns: int = 2, **options) -> None:
    """Put the legend above the panel, where it hides no data."""
    settings = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "columnspacing": 1.0, "handlelength": 1.6}
    ax.legend(**{**settings, "ncols": columns, "borderaxespad": 0.2, "labelspacing": 0.3, **options})


def theory(ax: Axes, x, y, label: str | None = None, **options) -> None:
    """Draw a prediction: a thin black line, dashed unless told otherwise, over whatever it predicts."""
    ax.plot(x, y, **{"color": "black", "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 5, **options}, label=label)


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as PDF and as PNG of 300 dots per inch, and close it.

    Returns
    -------
    list of Path
        The two files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("pdf", "png")]
    for path in paths:
        figure.savefig(path, dpi=300, metadata=_METADATA[path.suffix[1:]])
    plt.close(figure)
    return paths
