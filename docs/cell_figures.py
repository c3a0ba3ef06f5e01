"""Figures and table of the cell library: every test bench of circuits/ against its ideal function.

Run alone: python docs/cell_figures.py [folder]. `RUN` decides which simulator measures.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from matplotlib.figure import Figure

from analogep.netlist.spice.raw import read_raw
from analogep.plot.style import CYCLE, GRAY, describe, dressed, engineering, legend, new_figure

CIRCUITS = Path(__file__).parents[1] / "circuits"
PLOTS = {"dc": "DC transfer", "ac": "AC", "tran": "Transient"}
Run = Callable[[Path, str], Mapping[str, np.ndarray]]
"""Path of a bench and kind of analysis -> vectors by name, and `sweep`."""


def ideal_functions() -> ModuleType:
    """The module circuits/ideal.py."""
    spec = importlib.util.spec_from_file_location("cell_ideal", CIRCUITS / "ideal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


BENCHES = ideal_functions().BENCHES


def run_ngspice(deck: Path, analysis: str) -> dict[str, np.ndarray]:
    """Vectors of one analysis of a bench, from ngspice in the bench's folder."""
    program = shutil.which("ngspice")
    if program is None:
        raise RuntimeError("ngspice is not installed")
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "out.raw"
        environment = {"HOME": name, "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        command = [program, "-b", "-n", "-r", str(raw), deck.name]
        done = subprocess.run(command, cwd=deck.parent, env=environment, capture_output=True, text=True, timeout=120)
        if done.returncode or not raw.exists():
            raise RuntimeError(f"ngspice failed on {deck.name}:\n{(done.stdout + done.stderr)[-2000:]}")
        plot = next(plot for plot in read_raw(raw) if plot.name.startswith(PLOTS[analysis]))
    return {**plot.data, "sweep": plot.data[plot.variables[0][0]]}


RUN: Run = run_ngspice


def measure(name: str, run: Run | None = None) -> dict[str, np.ndarray]:
    """Deviation of every curve of a bench over its range, by label."""
    bench = BENCHES[name]
    data = (run or RUN)(CIRCUITS / bench.deck, bench.analysis)
    return {curve.label: curve.deviation(data) for curve in bench.curves}


def figure(name: str, run: Run | None = None) -> Figure:
    """A cell's output over its range with the ideal function, and the deviation in percent."""
    bench = BENCHES[name]
    data = (run or RUN)(CIRCUITS / bench.deck, bench.analysis)
    x = bench.x(data)
    drawn = new_figure((10.8, 3.3))
    left, right = (dressed(ax) for ax in drawn.subplots(1, 2))
    unit = bench.curves[0].unit
    factor, shown = engineering(np.concatenate([curve.measured(data) for curve in bench.curves]), unit)
    axis, unit_of_x = bench.axis, bench.axis.partition("(")[2].partition(")")[0]
    if not bench.log:
        x_factor, x_unit = engineering(x, unit_of_x)
        x, axis = x * x_factor, axis.replace(f"({unit_of_x})", f"({x_unit})")
    breaks = np.flatnonzero(np.diff(x) < 0) + 1  # one line for each value of a second variable
    for k, curve in enumerate(bench.curves):
        color, style = CYCLE[k % len(CYCLE)], "-" if k < len(CYCLE) else (0, (1, 1))
        keep = np.ones(x.size, bool) if curve.within is None else curve.within(data)
        deviation = np.full(x.size, np.nan)
        deviation[keep] = 100 * curve.deviation(data)
        for part, sweep in enumerate(np.split(np.arange(x.size), breaks)):
            label = curve.label if part == 0 else None
            left.plot(x[sweep], factor * curve.measured(data)[sweep], color=color, linestyle=style, label=label)
            ideal = "ideal" if k == part == 0 else None
            left.plot(
                x[sweep], factor * curve.ideal(data)[sweep], color=GRAY, linestyle=(0, (4, 3)), linewidth=1, label=ideal
            )
            right.plot(x[sweep], deviation[sweep], color=color, linestyle=style)
    if bench.log:
        left.set_xscale("log")
        left.set_yscale("log")
        right.set_xscale("log")
    if np.nanmax(np.abs(right.dataLim.intervaly)) < 1e-9:
        right.set_ylim(-1e-6, 1e-6)
    describe(left, axis, f"output ({shown})" if shown else "output", bench.deck.replace(".cir", ".lib"))
    scale = "of the value" if bench.curves[0].scale == 0 else "of full scale"
    describe(right, axis, f"deviation (% {scale})", "Deviation from the ideal function")
    handles, labels = left.get_legend_handles_labels()
    order = [k for k, label in enumerate(labels) if label != "ideal"] + [labels.index("ideal")]
    entries = [handles[k] for k in order], [labels[k] for k in order]
    legend(right, *entries, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return drawn


def table(run: Run | None = None) -> str:
    """Markdown table of the measured deviations."""
    lines = ["| cell | largest deviation | root mean square | relative to |", "|---|---:|---:|---|"]
    for name, bench in BENCHES.items():
        measured = measure(name, run)
        for curve in bench.curves:
            error = np.abs(measured[curve.label])
            factor, unit = engineering([curve.scale], curve.unit)
            relative = f"{curve.scale * factor:.3g} {unit}" if curve.scale else "the value"
            what = (
                curve.label
                if any(w in curve.label for w in ("_", "opamp"))
                else f"{name.partition('_')[0]}, {curve.label}"
            )
            rms = np.sqrt(np.mean(error**2))
            lines.append(f"| {what} | {percent(error.max())} | {percent(rms)} | {relative} |")
    return "\n".join(lines) + "\n"


def percent(x: float) -> str:
    """Two digits, in percent."""
    return "< 10⁻⁶ %" if x < 1e-8 else f"{100 * x:.2g} %"


FIGURES: dict[str, Callable[[], Figure]] = {f"cell_{name}": partial(figure, name) for name in BENCHES}
"""File stem -> what draws it."""


def make_all(folder: Path) -> None:
    """Draw every figure as PNG into `folder`, and write the table of deviations, cells.md."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw().savefig(folder / f"{name}.png", dpi=150, facecolor="white", metadata={"Software": None})
    (folder / "cells.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    make_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "_figures")
