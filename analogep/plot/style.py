"""One look for all figures: palette, axes without pyplot, engineering units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

# Okabe & Ito 2008, "Color Universal Design": told apart with every common color vision deficiency.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GRAY, FAINT = "#22262b", "#626b76", "#dde1e6"
TITLE, LABEL, SMALL = 10.5, 9.5, 8.5
"""Font sizes in points."""

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
_SI = {"s", "V", "A", "S", "F", "Hz", "W"}


def new_figure(size: tuple[float, float], *, constrained: bool = True) -> Figure:
    """An Agg figure outside pyplot's global state; `size` in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08) if constrained else None
    figure = Figure(figsize=size, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dressed(ax: Axes | None, size: tuple[float, float] = (6.8, 3.8)) -> Axes:
    """The given axes, or those of a new figure of `size` inches, in the shared style."""
    if ax is None:
        ax = new_figure(size).add_subplot()
    ax.set_facecolor("white")
    ax.grid(True, color=FAINT, linewidth=0.6)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRAY)
        spine.set_linewidth(0.8)
    ax.tick_params(colors=GRAY, labelcolor=INK, labelsize=SMALL, width=0.8)
    ax.tick_params(which="minor", colors=GRAY, labelcolor=INK, labelsize=SMALL, width=0.5, length=2)
    return ax


def describe(ax: Axes, x: str, y: str, title: str | None = None) -> None:
    """Axis labels, units included, and a title."""
    ax.set_xlabel(x, fontsize=LABEL, color=INK)
    ax.set_ylabel(y, fontsize=LABEL, color=INK)
    if title:
        ax.set_title(title, loc="left", fontsize=TITLE, fontweight="bold", color=INK)


def legend(ax: Axes, *args: Sequence, **options: Any) -> None:
    """A frameless small legend; nothing if there is nothing to say."""
    if args or ax.get_legend_handles_labels()[0]:
        defaults = {"fontsize": SMALL, "frameon": False, "labelcolor": INK, "handlelength": 1.8}
        ax.legend(*args, **{**defaults, **options})


def warn(ax: Axes, text: str) -> None:
    """A remark in the axes that some of the data could not be drawn."""
    ax.text(
        0.98, 0.03, f"⚠ {text}", transform=ax.transAxes, ha="right", va="bottom", fontsize=SMALL, color=VERMILION,
        fontweight="bold", zorder=20, bbox={"facecolor": "white", "edgecolor": VERMILION, "linewidth": 0.8, "pad": 3},
    )  # fmt: skip


def split(ax: Axes, rows: int, columns: int, *, ratios: tuple[float, float], share: bool = False) -> Axes:
    """Give the second part of the place of `ax` to new axes: below (rows = 2) or to the right (columns = 2).

    Parameters
    ----------
    ratios : heights (or widths) of the two parts.
    share : share the x axis.
    """
    figure = ax.get_figure(root=False)
    assert figure is not None
    spec: SubplotSpec | None = ax.get_subplotspec()
    if spec is not None:
        option = {"height_ratios": ratios} if rows == 2 else {"width_ratios": ratios}
        parts = spec.subgridspec(rows, columns, **option)
        first = parts[0, 0]
        second = parts[rows - 1, columns - 1]
        ax.set_subplotspec(first)
        other = figure.add_subplot(second, sharex=ax if share else None)
    else:  # axes placed by hand
        box, (a, b) = ax.get_position(), ratios
        part = (a + b) * 1.25
        if rows == 2:
            ax.set_position((box.x0, box.y1 - box.height * a / part, box.width, box.height * a / part))
            other = figure.add_axes((box.x0, box.y0, box.width, box.height * b / part), sharex=ax if share else None)
        else:
            ax.set_position((box.x0, box.y0, box.width * a / part, box.height))
            left = box.x1 - box.width * b / part
            other = figure.add_axes((left, box.y0, box.x1 - left, box.height), sharex=ax if share else None)
    return dressed(other)


def shades(count: int) -> list[str]:
    """`count` colors of rising lightness that stay readable on white."""
    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0.0, 0.82, max(count, 1))][:count]


def engineering(values: ArrayLike, unit: str) -> tuple[float, str]:
    """Factor and unit that bring values near 1 ... 1000: 3e-9 s -> (1e9, "ns").

    Parameters
    ----------
    unit : an SI unit; any other one is kept as it is, with the factor 1.
    """
    finite = np.abs(np.asarray(values, float))
    finite = finite[np.isfinite(finite)]
    largest = float(finite.max()) if finite.size else 0.0
    if unit not in _SI or largest == 0:
        return 1.0, unit
    # a hair of tolerance: 999.9999 is meant as 1000
    exponent = int(np.clip(3 * np.floor((np.log10(largest) + 1e-9) / 3), min(_PREFIXES), max(_PREFIXES)))
    return 10.0**-exponent, _PREFIXES[exponent] + unit
