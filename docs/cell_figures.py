"""Figures and tables of the cell library: every test bench of circuits/ against its ideal function and in ngspice.

Run alone: python docs/cell_figures.py [folder].
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
from cell_benches import BENCHES, CIRCUITS, Data, deviations, difference, measured
from matplotlib.figure import Figure

from analogep.plot.style import CYCLE, GRAY, describe, dressed, engineering, legend, new_figure

MARKERS = 13
"""Points of ngspice shown on each line."""
FACTS = ("Ports", "Parameters", "Range", "Deviation", "Needs", "Reference")
"""Entries of a library's header that its table shows; function and equation are in the text."""


def figure(name: str, data: tuple[Data, Data | None] | None = None) -> Figure:
    """Each cell's output over its range with the ideal function and ngspice's points, and the deviation in percent.

    Parameters
    ----------
    data : vectors from two simulators instead of those measured; the second may be None.
    """
    ours, reference = data or measured(name)
    cells = BENCHES[name].cells
    drawn = new_figure((10.8, 2.9 * len(cells) + 0.2))
    for cell, pair in zip(cells, drawn.subplots(len(cells), 2, squeeze=False), strict=True):
        _panels(cell, pair, ours, reference)
    return drawn


def _panels(cell, pair, ours: Data, reference: Data | None) -> None:
    """Output at the left, deviation at the right."""
    left, right = (dressed(ax) for ax in pair)
    values = np.concatenate([curve.ideal(ours) for curve in cell.curves])
    factor, shown = (1.0, cell.unit) if "y" in cell.log else engineering(values, cell.unit)
    unit = cell.axis.partition("(")[2].partition(")")[0]
    x_factor, x_unit = (1.0, unit) if "x" in cell.log else engineering(cell.x(ours), unit)
    axis, x = cell.axis.replace(f"({unit})", f"({x_unit})"), x_factor * cell.x(ours)
    family = np.zeros(x.size) if cell.family is None else np.round(cell.family[0](ours), 9)
    for k, curve in enumerate(cell.curves):
        color = CYCLE[k % len(CYCLE)]
        deviation = np.where(cell.kept(ours), 100 * curve.deviation(ours), np.nan)
        for line, member in enumerate(np.unique(family)):
            at = np.flatnonzero(family == member)
            first = line == 0
            label = (curve.label or "analogep") if first else None
            left.plot(x[at], factor * curve.measured(ours)[at], color=color, label=label)
            right.plot(x[at], deviation[at], color=color)
            if reference is not None:
                few = at[np.unique(np.linspace(0, at.size - 1, MARKERS).round().astype(int))]
                points = factor * curve.measured(reference)[few]
                said = "ngspice" if first and k == 0 else None
                left.plot(x[few], points, "o", markersize=3.5, markerfacecolor="none", color=color, label=said)
            said = "ideal" if first and k == 0 else None
            left.plot(x[at], factor * curve.ideal(ours)[at], color=GRAY, linestyle=(0, (4, 3)), linewidth=1, label=said)
    for ax, which in ((left, "xy"), (right, "x")):
        if "x" in cell.log:
            ax.set_xscale("log")
        if "y" in cell.log and "y" in which:
            ax.set_yscale("log")
    if np.nanmax(np.abs(right.dataLim.intervaly)) < 1e-6:
        right.set_ylim(-1e-6, 1e-6)
        right.set_yticks([-1e-6, 0, 1e-6], ["−10⁻⁶", "0", "10⁻⁶"])
    describe(left, axis, f"output ({shown})" if shown else "output", cell.name)
    scale = "of the value" if cell.curves[0].scale == 0 else "of full scale"
    describe(right, axis, f"% {scale}", "Deviation from the ideal function")
    handles, labels = left.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] in ("ngspice", "ideal"))
    title = None
    if cell.family is not None:
        quantity, _, rest = cell.family[1].rpartition(" (")
        title = f"{quantity} =\n{', '.join(f'{v:.3g}' for v in np.unique(family))} {rest.rstrip(')')}"
    options = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "title": title, "title_fontsize": 8.5}
    legend(right, [handles[i] for i in order], [labels[i] for i in order], **options)


def header(library: Path) -> dict[str, str]:
    """Entries of a library's header, "Range" -> what it says, in one line each."""
    entries: dict[str, list[str]] = {}
    for line in library.read_text(encoding="utf-8").splitlines():
        if not line.startswith("*"):
            break
        if found := re.match(r"\* (\w+) *: +(.*)", line):
            entries[found[1]] = [found[2]]
        elif entries and line.startswith("*   "):
            entries[list(entries)[-1]].append(line[1:].strip())
    return {key: " ".join(parts) for key, parts in entries.items()}


def facts(library: Path) -> str:
    """Markdown table of a header: names that two blanks set off from what they are get a colon."""
    lines = ["| | |", "|---|---|"]
    for key, text in header(library).items():
        if key in FACTS:
            text = re.sub(r"(?<=\S) {2,}(?=\S)", ": ", re.sub(r"([,;]) +", r"\1 ", text))
            escaped = re.sub(
                r"([*_|<>$~^#`\[\]])", r"\\\1", text.replace("+-", "±").replace("<=", "≤").replace(">=", "≥")
            )
            lines.append(f"| **{key}** | {escaped} |")
    return "\n".join(lines) + "\n"


def table(*names: str) -> str:
    """Markdown table of what benches measured: deviations from the ideal, difference from ngspice."""
    lines = [
        "| cell | largest deviation | root mean square | relative to | ngspice differs by |",
        "|---|---:|---:|---|---:|",
    ]
    for name in names:
        ours, reference = measured(name)
        errors = deviations(name, ours)
        for cell in BENCHES[name].cells:
            of_cell = [v for key, v in errors.items() if key == cell.name or key.startswith(f"{cell.name}, ")]
            error = np.abs(np.concatenate(of_cell))
            scales = sorted({curve.scale for curve in cell.curves})
            factor, unit = engineering(scales, cell.unit)
            full = ", ".join(f"{scale * factor:.3g}" for scale in scales) + f" {unit}" if scales[0] else "the value"
            apart = "not run" if reference is None else power(difference(name, cell.name, ours, reference))
            rms = np.sqrt(np.mean(error**2))
            lines.append(f"| {cell.name} | {percent(error.max())} | {percent(rms)} | {full} | {apart} |")
    return "\n".join(lines) + "\n"


def percent(x: float) -> str:
    """Two digits, in percent."""
    return "< 10⁻⁶ %" if x < 1e-8 else f"{100 * x:.2g} %"


def power(x: float) -> str:
    """One digit and a power of ten; rounding errors are not told apart."""
    if x < 1e-12:
        return "< 10⁻¹²"
    digit, exponent = f"{x:.0e}".split("e")
    return f"{digit}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


FIGURES = {f"cell_{name}": partial(figure, name) for name in BENCHES}
"""File stem -> what draws it."""


def make_all(folder: Path) -> None:
    """Draw every figure as PNG into `folder`, and write the tables: cells.md, and cell_<library>.md."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw().savefig(folder / f"{name}.png", dpi=150, facecolor="white", metadata={"Software": None})
    (folder / "cells.md").write_text(table(*BENCHES), encoding="utf-8")
    for library in CIRCUITS.glob("*.lib"):
        (folder / f"cell_{library.stem}.md").write_text(facts(library), encoding="utf-8")


if __name__ == "__main__":
    make_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "_figures")
