"""The answers to a deck in one figure: a panel for each analysis, with a reference where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from matplotlib.lines import Line2D

from analogep.errors import DataError
from analogep.plot.curves import MARK, Panel
from analogep.plot.panels import panel
from analogep.plot.signals import Signals, wanted
from analogep.plot.style import GRAY, INK, LABEL, SMALL, TITLE, dressed, new_figure

WIDTH = 7.6
"""Inches of a column of panels; three analyses and more are drawn in two columns."""
STRETCH = 1.6
"""Most by which the axes of the shorter column grow."""
_AROUND = 0.75
"""Inches of a panel's title and axis label."""


def draw(
    datasets: Sequence[xr.Dataset],
    references: Sequence[xr.Dataset | None] = (),
    signals: Signals = (),
    title: str | None = None,
) -> Figure:
    """Draw the analyses of a deck.

    Operating points are bars, DC sweeps curves or families of the outer source, AC responses magnitude and phase,
    transients waveforms, and noise its density by element. A reference appears as open markers, and below each panel
    the difference over the largest magnitude that the drawn reference has in that unit (for noise, relative).

    Parameters
    ----------
    datasets : the answers, as `simulate_deck` gives them: `v(<node>)` in V and `i(<element>)` in A over time (s),
        frequency (Hz) or the swept sources, with `attrs["analysis"]`.
    references : those of another simulator, one for each dataset or None; they are drawn at the datasets' points,
        joined by straight lines where they have others.
    signals : what to draw: `"v(out)"`, `"v(a,b)"`, `"i(v1)"`, `"vdb(out)"`, for every analysis that has it, or pairs of
        an analysis and its signals, as in `SpiceFile.prints`. Where an analysis is asked for none: at most 8 nodes,
        those that move most; at an operating point the largest.
    title : heading; that of the first dataset when None.

    Raises
    ------
    DataError
        If there are no datasets, one is empty or of an unknown analysis, a reference does not fit, or no dataset holds
        a signal.
    """
    if not datasets:
        raise DataError("there are no datasets to draw; the deck needs an analysis such as .op")
    if references and len(references) != len(datasets):
        raise DataError(f"{len(references)} references do not fit {len(datasets)} datasets")
    theirs = list(references) or [None] * len(datasets)
    asked = wanted(signals, datasets)
    panels = [panel(*each) for each in zip(datasets, theirs, asked, strict=True)]
    columns = _columns(panels)
    tallest = max(_height(column) for column in columns)
    figure = new_figure((WIDTH * len(columns), tallest + 0.6))
    grid = figure.add_gridspec(1, len(columns))
    for k, column in enumerate(columns):
        _draw_column(figure, grid[0, k], column, tallest)
    heading = title if title is not None else str(datasets[0].attrs.get("title", ""))
    if heading:
        figure.suptitle(
            fill(heading, int(9.5 * WIDTH) * len(columns), break_on_hyphens=False),
            fontsize=TITLE + 1,
            fontweight="bold",
            color=INK,
        )
    _sources(figure, datasets, theirs)
    return figure


def _columns(panels: list[Panel]) -> list[list[Panel]]:
    """One column, or two of heights as equal as the order allows."""
    if len(panels) < 3:
        return [panels]
    cut = min(range(1, len(panels)), key=lambda k: max(_height(panels[:k]), _height(panels[k:])))
    return [panels[:cut], panels[cut:]]


def _height(panels: Sequence[Panel]) -> float:
    return sum(_AROUND + sum(row.height for row in p.rows) for p in panels)


def _draw_column(figure: Figure, place: SubplotSpec, column: list[Panel], tallest: float) -> None:
    """All rows in one grid, so that their sides are flush; what a short column leaves is partly blank."""
    heights = [row.height for p in column for row in p.rows]
    grown = min(1.0 + (tallest - _height(column)) / sum(heights), STRETCH)
    blank = tallest - _height(column) - (grown - 1.0) * sum(heights)
    ratios = [height * grown for height in heights] + ([blank] if blank > 0.2 else [])
    inner = GridSpecFromSubplotSpec(len(ratios), 1, place, height_ratios=ratios)
    row = 0
    for p in column:
        _draw_panel(figure, [inner[row + k, 0] for k in range(len(p.rows))], p)
        row += len(p.rows)


def _draw_panel(figure: Figure, places: list[SubplotSpec], p: Panel) -> None:
    first: Axes | None = None
    for k, (row, place) in enumerate(zip(p.rows, places, strict=True)):
        ax = dressed(figure.add_subplot(place, sharex=first if p.x else None))
        row.draw(ax)
        first = first or ax
        if p.x:
            ax.tick_params(labelbottom=k == len(p.rows) - 1)
            ax.set_xlabel(p.x if k == len(p.rows) - 1 else "", fontsize=LABEL, color=INK)
    assert first is not None
    first.set_title(p.title, loc="left", fontsize=TITLE, fontweight="bold", color=INK)
    if p.note:
        first.set_title(p.note, loc="right", fontsize=SMALL, color=GRAY)


def _sources(figure: Figure, datasets: Sequence[xr.Dataset], references: Sequence[xr.Dataset | None]) -> None:
    """Say which simulator drew what."""

    def names(every: Sequence[xr.Dataset | None]) -> str:
        found = dict.fromkeys(str(d.attrs.get("simulator", "")) for d in every if d is not None)
        return ", ".join(name for name in found if name)

    ours, theirs = names(datasets), names(references)
    if any(reference is not None for reference in references):
        handles = [Line2D([], [], color=INK, linewidth=1.4), Line2D([], [], **MARK)]
        figure.legend(handles, [ours or "drawn", theirs or "reference"], loc="outside lower center", ncols=2,
                      fontsize=SMALL, frameon=False, labelcolor=INK)  # fmt: skip
    elif ours:
        figure.supxlabel(f"simulated by {ours}", fontsize=SMALL, color=GRAY)


__all__ = ["draw"]
