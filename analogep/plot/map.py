"""The feasibility map: the smallest margin over damping and asymmetry, a panel for each technology."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from analogep.errors import DataError
from analogep.files import whole_file
from analogep.plot.style import GRAY, INK, LABEL, SMALL, VERMILION, describe, dressed, new_figure
from analogep.plot.sweep import ticks

SATURATED = 1.0
"""Margin, either way, at which colors end."""
UNSETTLED = "unconverged"
STATES = {UNSETTLED: ("did not settle", "//", GRAY), "failed": ("failed", "xx", VERMILION)}
"""Status of a point -> what the legend says, hatch, color."""
EMPTY = "#e6e8eb"
FEW = 64
"""Most cells of a panel in which the binding limit is written."""


def feasibility_map(dataset: xr.Dataset) -> Figure:
    """Smallest margin of all limits, with the edge of the feasible region and the limit that binds.

    Parameters
    ----------
    dataset : of `analogep feasibility --map`, over two axes, or over three of which the last gives the panels.

    Raises
    ------
    DataError
        If it has no margins, or another number of axes.
    """
    if "margin" not in dataset or "binding" not in dataset:
        raise DataError("the dataset has no margins: it is not of `analogep feasibility --map`, or no point settled")
    dims = [str(dim) for dim in dataset["margin"].dims]
    if len(dims) not in (2, 3):
        raise DataError(f"a feasibility map has two or three axes, not {len(dims)}; choose a part with .isel")
    parts = [(dataset, "")]
    if len(dims) == 3:
        last = dims[2]
        names = dataset[last].values if last in dataset.coords else range(dataset.sizes[last])
        parts = [(dataset.isel({last: k}), str(name)) for k, name in enumerate(names)]
    figure = new_figure((1.2 + 3.9 * len(parts), 4.6))
    panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
    for ax, (part, name) in zip(panels, parts, strict=True):
        panel(part, ax, title=name)
        ax.label_outer()
    bar = figure.colorbar(panels[0].images[0], ax=list(panels), extend="both", shrink=0.9)
    bar.set_label("smallest margin over its limit (1): below 0 a limit fails", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK)
    _legend(figure, dataset)
    return figure


def panel(dataset: xr.Dataset, ax: Axes | None = None, *, title: str = "") -> Axes:
    """One technology: dimensions of `margin` are (across, up)."""
    ax = dressed(ax, (5.2, 4.4))
    ax.grid(False)
    across, up = (str(dim) for dim in dataset["margin"].dims)
    margin, binding, status = (dataset[name].transpose(up, across) for name in ("margin", "binding", "status"))
    values = margin.values.astype(float)
    shown = np.clip(values, -9 * SATURATED, 9 * SATURATED)  # an infinite one has no place between contour lines
    ax.imshow(shown, origin="lower", aspect="auto", cmap="RdBu", norm=Normalize(-SATURATED, SATURATED))
    for state, (_, hatch, color) in STATES.items():
        _hatched(ax, status.values == state, hatch, color)
    _edge(ax, shown)
    words = binding.attrs.get("flag_meanings", "").split()
    _name_what_binds(ax, binding.values, words, dark=np.abs(shown) > 0.6 * SATURATED)
    names = [ticks(ax, axis, dataset, dim) for axis, dim in (("x", across), ("y", up))]
    counted = f"{int(np.sum(values >= 0))} of {values.size} feasible"
    describe(ax, names[0], names[1], f"{title}: {counted}" if title else counted)
    return ax


def _name_what_binds(ax: Axes, binding: np.ndarray, words: list[str], *, dark: np.ndarray) -> None:
    """The binding limit in every cell, or below the axes where there are too many cells for words."""
    said = {k: words[k] if k < len(words) else str(k) for k in np.unique(binding[np.isfinite(binding)]).astype(int)}
    if binding.size > FEW:
        text = ", ".join(word.replace("_", " ") for word in said.values())
        ax.annotate(f"binds: {text}" if text else "nothing settled", (0, -0.2), xycoords="axes fraction", va="top",
                    fontsize=SMALL, color=GRAY, annotation_clip=False)  # fmt: skip
        return
    for (row, column), number in np.ndenumerate(binding):
        if np.isfinite(number):
            ax.text(column, row, said[int(number)].replace("_", "\n"), ha="center", va="center", fontsize=6.5,
                    color="white" if dark[row, column] else INK, zorder=5)  # fmt: skip


def save(dataset: xr.Dataset, path: Path) -> None:
    """Draw the map into a file."""
    figure = feasibility_map(dataset)
    with whole_file(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip(".") or "png", dpi=150)


def _edge(ax: Axes, margin: np.ndarray) -> None:
    """The zero line of the margin between points that settled, as a contour."""
    finite = np.isfinite(margin)
    if min(margin.shape) > 1 and np.any(margin[finite] >= 0) and np.any(margin[finite] < 0):
        for color, width in (("white", 4.5), ("black", 2.2)):
            ax.contour(np.ma.masked_invalid(margin), levels=[0.0], colors=color, linewidths=width)


def _hatched(ax: Axes, where: np.ndarray, hatch: str, color: str) -> None:
    for row, column in np.argwhere(where):
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=EMPTY, edgecolor=color, hatch=hatch, linewidth=0.0))


def _legend(figure: Figure, dataset: xr.Dataset) -> None:
    """States that are there, and the zero line."""
    handles: list[Patch | Line2D] = [
        Line2D([], [], color="black", linewidth=2.2, label="margin 0: edge of the feasible region")
    ]
    for state, (words, hatch, color) in STATES.items():
        if np.any(dataset["status"].values == state):
            handles.append(Patch(facecolor=EMPTY, edgecolor=color, hatch=hatch, linewidth=0.0, label=words))
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=SMALL, frameon=False, labelcolor=INK)
