"""The test benches of circuits/, measured: in analogep, and in ngspice where it is installed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

from analogep.netlist.analyses import AC, DCSweep, Transient
from analogep.netlist.spice.raw import read_raw
from analogep.netlist.spice.read import read
from analogep.simulate.nodal.run import FileRun
from analogep.simulate.nodal.transient import TransientOptions

CIRCUITS = Path(__file__).parents[1] / "circuits"
PLOTS = {"dc": "DC transfer", "ac": "AC", "tran": "Transient"}
KINDS = {"dc": DCSweep, "ac": AC, "tran": Transient}
Data = Mapping[str, np.ndarray]
Run = Callable[[Path, str, np.ndarray | None], Data]
"""Path of a bench, kind of analysis, and times for a transient -> vectors by name, and `sweep`."""


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


def run_ngspice(deck: Path, analysis: str, times: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Vectors of one analysis of a bench, from ngspice in the bench's folder; a transient at ngspice's own times."""
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


@lru_cache(maxsize=1)
def _ready(deck: Path) -> FileRun:
    return FileRun(read(deck), TransientOptions(rtol=1e-8))


def run_analogep(deck: Path, analysis: str, times: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The same from analogep; a transient at the deck's printing step unless `times` (seconds) are given."""
    run = _ready(deck)
    asked = next(a for a in run.file.analyses if isinstance(a, KINDS[analysis]))
    if isinstance(asked, Transient) and times is None:
        times = np.linspace(asked.start, asked.stop, round((asked.stop - asked.start) / asked.step) + 1)
    found = run.run(asked, times)
    inner = found[list(found.dims)[-1]].values
    vectors = {str(name): values.values.ravel() for name, values in found.data_vars.items()}
    points = next(iter(vectors.values())).size
    return {**vectors, "sweep": np.tile(inner, points // inner.size)}


RUN: Run = run_analogep
REFERENCE: Run = run_ngspice


@lru_cache
def measured(name: str) -> tuple[Data, Data | None]:
    """Vectors of a bench from analogep, and from ngspice at the same points, or None where that is not installed."""
    bench = BENCHES[name]
    deck = CIRCUITS / bench.deck
    reference = REFERENCE(deck, bench.analysis, None) if shutil.which("ngspice") else None
    times = None if reference is None or bench.analysis != "tran" else reference["sweep"]
    return RUN(deck, bench.analysis, times), reference


def deviations(name: str, data: Data) -> dict[str, np.ndarray]:
    """Deviation of every curve of a bench from the ideal function over the cell's range, by cell and label."""
    return {
        f"{cell.name}, {curve.label}".rstrip(", "): curve.deviation(data)[cell.kept(data)]
        for cell in BENCHES[name].cells
        for curve in cell.curves
    }


def difference(name: str, cell: str, ours: Data, reference: Data) -> float:
    """Largest difference of two simulators over the curves of a cell, relative to the largest value of each."""
    found = [c for c in BENCHES[name].cells if c.name == cell]
    pairs = [(curve.measured(ours), curve.measured(reference)) for c in found for curve in c.curves]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
