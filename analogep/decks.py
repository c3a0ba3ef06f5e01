"""What `simulate` does with a SPICE deck, or with a compiled circuit as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analogep.errors import NetlistError
from analogep.files import whole_file
from analogep.netlist.analyses import OperatingPoint
from analogep.netlist.elements import ISource, VSource
from analogep.netlist.graph import node_name
from analogep.netlist.spice.deck import SpiceFile
from analogep.netlist.spice.measure import evaluate
from analogep.netlist.spice.plots import to_plots
from analogep.netlist.spice.raw import write_raw
from analogep.netlist.spice.read import read
from analogep.netlist.spice.write import write
from analogep.plot.analysis import draw as draw_analyses
from analogep.simulate.deck import Backend, Simulated, short, summary
from analogep.simulate.deck import simulate_deck as run_deck
from analogep.simulate.reference import with_inputs
from analogep.spec import Spec
from analogep.training.problem import build
from analogep.verbs import first_sample

NETCDF = (".nc", ".nc4", ".h5")


def read_deck(path: Path, folder: Path | None, lines: list[str], kinds: set[str]) -> SpiceFile:
    """A deck with the analyses that are asked for: `lines`, or those of its own of the given kinds (none: all).

    A deck that asks for nothing gets its operating point.
    """
    file = read(path, folder, analyses=lines)
    if not file.analyses and kinds <= {"op"}:
        return replace(file, analyses=(OperatingPoint(),))
    if lines or not kinds:
        return file
    analyses = tuple(a for a in file.analyses if a.spice().split()[0].removeprefix(".") in kinds)
    if not analyses:
        asked = " or ".join(f".{kind}" for kind in sorted(kinds))
        raise NetlistError(f"{path} has no {asked} line; give one with --analysis")
    return replace(file, analyses=analyses)


def deck_of(spec: Spec, lines: list[str], kinds: set[str], *, horizon: float, points: int) -> SpiceFile:
    """The compiled circuit of a spec as a flat deck with its inputs set, for analyses that work on scalar nodes.

    Its deck is written and read back, so every array becomes its devices and every cell its subcircuit.
    """
    problem = build(spec)
    compiled, x = problem.compiled(), first_sample(problem)
    stop = horizon * compiled.scale.seconds
    own = [".op"] if "op" in kinds or not kinds else []
    own += [f".tran {stop / (points - 1):.17g} {stop:.17g} 0 {stop / (points - 1):.17g} uic"] if "tran" in kinds else []
    return read(write(with_inputs(compiled.netlist, x), lines or own))


def stimulated(file: SpiceFile, source: str) -> SpiceFile:
    """The deck with an AC value of 1 at one source."""
    element = file.netlist.elements.get(source.lower())
    if not isinstance(element, VSource | ISource):
        known = ", ".join(e.name for e in file.netlist if isinstance(e, VSource | ISource))
        raise NetlistError(f"there is no independent source {source!r}; the deck has {known[:300] or 'none'}")
    return replace(file, netlist=file.netlist.replace_elements(replace(element, ac=1.0, ac_degrees=0.0)))


def simulate_deck(file: SpiceFile, backend: Backend) -> tuple[dict[str, Any], Simulated]:
    """Every analysis of a deck.

    Returns
    -------
    A JSON-ready summary (ranges of nodes and branch currents, measures, agreement of two backends), and the datasets.
    """
    simulated = run_deck(file, backend, progress=True)
    by_kind = {data.attrs["analysis"]: data for data in simulated.datasets}
    result: dict[str, Any] = {
        "title": file.netlist.title,
        "deck": None if file.path is None else str(file.path),
        "backend": backend,
        "analyses": [_analysis(a.spice(), d) for a, d in zip(file.analyses, simulated.datasets, strict=True)],
        "measures": evaluate(file.measures, by_kind),
        "notes": list(file.notes),
    }
    if simulated.agreements:
        result["spice"] = summary(simulated)
    return result, simulated


def _analysis(line: str, data: xr.Dataset) -> dict[str, Any]:
    """Ranges of an analysis: of amplitudes for AC."""
    values = {str(name): np.abs(v.values) if np.iscomplexobj(v.values) else v.values for name, v in data.items()}
    ranges = {name: [float(np.min(v)), float(np.max(v))] for name, v in values.items()}
    kept = {
        key: data.attrs[key] for key in ("method", "iterations", "residual", "steps", "rejected") if key in data.attrs
    }
    points = int(np.prod([data.sizes[d] for d in data.dims], dtype=int))
    return {"analysis": short(line), "kind": data.attrs["analysis"], "points": points, "range": ranges, **kept}


def save(datasets: list[xr.Dataset], path: Path) -> None:
    """Write results: `.raw` for viewers of SPICE waveforms, else netCDF with a group for each analysis.

    Groups are called `op`, `dc`, `ac`, `tran` and `noise`; a second one of a kind `ac2`, and so on. In netCDF a complex
    amplitude has a last dimension `part` (real, imaginary).
    """
    if path.suffix.lower() == ".raw":
        write_raw(path, to_plots(datasets))
        return
    if path.suffix.lower() not in NETCDF:
        raise NetlistError(f"{path}: write a .raw file, or netCDF as {' or '.join(NETCDF)}")
    with whole_file(path) as partial:
        if len(datasets) == 1 and "analysis" not in datasets[0].attrs:
            datasets[0].to_netcdf(partial, engine="h5netcdf")
            return
        kinds = [data.attrs["analysis"] for data in datasets]
        for k, data in enumerate(datasets):
            before = kinds[:k].count(kinds[k])
            group = f"{kinds[k]}{before + 1}" if before else kinds[k]
            _without_complex(data).to_netcdf(partial, engine="h5netcdf", group=group, mode="a" if k else "w")


def _without_complex(data: xr.Dataset) -> xr.Dataset:
    parts = xr.Variable("part", ["real", "imaginary"])
    split = {
        name: xr.concat([v.real, v.imag], parts).transpose(*v.dims, "part") if np.iscomplexobj(v.values) else v
        for name, v in data.items()
    }
    return xr.Dataset(split, attrs=data.attrs)


def draw(
    path: Path,
    datasets: list[xr.Dataset],
    references: Sequence[xr.Dataset] = (),
    signals: Sequence[str | tuple[str, Sequence[str]]] = (),
    title: str | None = None,
) -> None:
    """Figure of the analyses, with the reference's curves where there is one; the suffix chooses the format."""
    figure = draw_analyses(datasets, references, signals, title)
    with whole_file(path) as partial:
        figure.savefig(partial, format=path.suffix.removeprefix(".") or "png", dpi=150)


def scalars(dataset: xr.Dataset) -> list[xr.Dataset]:
    """Results of a compiled circuit node by node, as those of a deck: buses become variables `v(<bus>_<index>)`."""
    if "analysis" in dataset.attrs:
        return [dataset]
    found: dict[str, dict[str, Any]] = {}
    for bus, values in dataset.data_vars.items():
        kind = "tran" if "time" in values.dims else "op"
        axes = ("time",) if kind == "tran" else ()
        name = str(bus).removesuffix("_op") if kind == "op" else str(bus)
        for index in np.ndindex(values.shape[len(axes) :]):
            part = values.values[(..., *index)]
            found.setdefault(kind, {})[f"v({node_name(name, index)})"] = (axes, part, {"units": "V"})
    time = {"time": dataset["time"]} if "tran" in found else {}
    return [xr.Dataset(v, time if kind == "tran" else {}, {"analysis": kind}) for kind, v in found.items()]
