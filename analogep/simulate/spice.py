"""A SPICE file in ngspice or through PySpice: run from our own text, answered as labelled datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from analogep.errors import ConvergenceError, NetlistError
from analogep.netlist.spice.raw import Plot
from analogep.netlist.spice.write import Vectors, vectors, write_file
from analogep.simulate import ngspice, pyspice

if TYPE_CHECKING:
    from analogep.netlist.analyses import Analysis
    from analogep.netlist.spice.deck import SpiceFile

Backend = Literal["ngspice", "pyspice"]
_PLOTS = {
    "op": "Operating Point", "dc": "DC transfer characteristic", "ac": "AC Analysis", "tran": "Transient Analysis",
    "noise": "Noise Spectral Density Curves",
}  # fmt: skip
_TOTALS = "Integrated Noise"
_UNITS = {
    "time": "s", "frequency": "Hz", "voltage": "V", "current": "A", "voltage-density": "V/sqrt(Hz)",
    "current-density": "A/sqrt(Hz)", "temp-sweep": "degC",
}  # fmt: skip


def run_file(file: SpiceFile, backend: str = "ngspice", *, timeout: float = 600.0) -> list[xr.Dataset]:
    """Run every analysis of a SPICE file.

    The deck that runs is the one that `write_file` makes of it, never the file itself.

    Parameters
    ----------
    file : what the reader made of a deck.
    backend : `ngspice`, the program; or `pyspice`, ngspice's shared library.
    timeout : seconds for each run; there is one run unless several analyses are of one kind.

    Returns
    -------
    A dataset for each analysis, in the file's order, with `attrs["analysis"]` op, dc, ac, tran or noise. Variables are
    `v(<node>)` in volts and `i(<element>)` in amperes over `time` (s), `frequency` (Hz; complex amplitudes) or the
    swept source; a second swept source is the first dimension. Noise: `onoise_spectrum` (V/sqrt(Hz)), `inoise_spectrum`
    (V or A, as the source), `onoise_total` and `inoise_total` (rms over the band), and with points per summary those
    of each element, `onoise_<element>`, and of each of its mechanisms, `onoise_<element>_<mechanism>`.

    Raises
    ------
    NetlistError
        For an unknown backend or a file without analyses.
    ConvergenceError
        If an analysis gave no answer.
    MissingToolError
        If the backend is not installed.
    """
    if backend not in get_args(Backend):
        raise NetlistError(f"unknown SPICE backend {backend!r}; there are {', '.join(get_args(Backend))}")
    if not file.analyses:
        raise NetlistError("the SPICE file asks for no analysis; add a line such as .op")
    run: Callable[..., list[Plot]] = ngspice.run_deck if backend == "ngspice" else pyspice.run_deck
    names = vectors(file.netlist)
    found: dict[int, xr.Dataset] = {}
    for places in _rounds([_kind(analysis) for analysis in file.analyses]):
        chosen = [file.analyses[k] for k in places]
        plots = {plot.name: plot for plot in run(write_file(file, analyses=chosen), timeout=timeout)}
        for place, analysis in zip(places, chosen, strict=True):
            found[place] = _dataset(analysis, plots, names).assign_attrs(simulator=backend)
    return [found[k] for k in sorted(found)]


def _kind(analysis: Analysis) -> str:
    return analysis.spice().split()[0].lower().removeprefix(".")


def _rounds(kinds: Sequence[str]) -> list[list[int]]:
    """Places of analyses that may share a deck: no two of one kind, whose plots would bear the same name."""
    rounds: list[list[int]] = []
    for place, kind in enumerate(kinds):
        for together in rounds:
            if kind not in {kinds[k] for k in together}:
                together.append(place)
                break
        else:
            rounds.append([place])
    return rounds


def _dataset(analysis: Analysis, plots: dict[str, Plot], names: Vectors) -> xr.Dataset:
    kind = _kind(analysis)
    if kind not in _PLOTS:
        raise NetlistError(f"ngspice's answer to .{kind} is not read here; use op, dc, ac, tran or noise")
    if _PLOTS[kind] not in plots:
        raise ConvergenceError(f"ngspice gave no answer to {analysis.spice()!r}")
    plot = plots[_PLOTS[kind]]
    shape, coords = _axes(analysis, kind, plot)
    types = dict(plot.variables)
    swept = () if kind == "op" else (plot.variables[0][0],)
    variables: dict[str, Any] = {}
    for vector, values in plot.data.items():
        if vector not in swept:
            name, unit = _label(vector, names), _UNITS.get(types[vector], "")
            variables[name] = (tuple(coords), values.reshape(shape), {"units": unit})
    if kind == "noise":
        source = "A" if analysis.spice().split()[2][:1].lower() == "i" else "V"
        for vector, values in (plots[_TOTALS].data if _TOTALS in plots else {}).items():
            variables[_label(vector, names)] = ((), values[0], {"units": "V"})
        for name, (dims, values, attrs) in variables.items():
            attrs["units"] = attrs["units"].replace("V", source) if name.startswith("inoise") else attrs["units"]
            variables[name] = (dims, values, attrs)
    return xr.Dataset(variables, coords, {"analysis": kind, "title": plot.title.lstrip("* ")})


def _axes(analysis: Analysis, kind: str, plot: Plot) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Shape of every vector, and the coordinates in the order of its axes."""
    if kind == "op":
        return (), {}
    vector, sort = plot.variables[0]
    values = np.real(plot.data[vector])
    if kind != "dc":
        name = "time" if kind == "tran" else "frequency"
        return values.shape, {name: (name, values, {"units": _UNITS[name]})}
    words = analysis.spice().lower().split()
    if len(words) < 9:
        return values.shape, {words[1]: (words[1], values, {"units": _unit(words[1], sort)})}
    inner = int(np.argmax(np.abs(np.diff(values, append=np.inf)) > 1.5 * abs(float(words[4])))) + 1
    outer = float(words[6]) + float(words[8]) * np.arange(values.size // inner)
    coords = {
        words[5]: (words[5], outer, {"units": _unit(words[5], "")}),
        words[1]: (words[1], values[:inner], {"units": _unit(words[1], sort)}),
    }
    return (outer.size, inner), coords


def _unit(source: str, sort: str) -> str:
    return {"v": "V", "i": "A", "r": "Ohm"}.get(source[:1], _UNITS.get(sort, "")) if source != "temp" else "degC"


def _label(vector: str, names: Vectors) -> str:
    """Our name of a vector: `v(node)`, `i(element)`, or a noise of the output or of the input."""
    inner = vector[2:-1] if vector.endswith(")") and vector[1:2] == "(" else vector
    if inner.startswith(("onoise_", "inoise_")):
        return _noise(inner, names)
    table = names.nodes if vector.startswith("v(") else names.devices
    return f"{vector[0]}({table.get(inner, inner)})" if inner != vector else vector


def _noise(vector: str, names: Vectors) -> str:
    """`onoise[_total]_<device>[_<mechanism>]` with the device under our name."""
    head, _, rest = vector.partition("_")
    if rest.startswith("total"):
        head, rest = f"{head}_total", rest.removeprefix("total").removeprefix("_")
    if rest in ("", "spectrum"):
        return f"{head}_{rest}".rstrip("_")
    known = [name for name in names.devices if rest == name or rest.startswith(f"{name}_")]
    name = max(known, key=len, default="")
    return f"{head}_{names.devices[name]}{rest.removeprefix(name)}" if name else f"{head}_{rest}"
