"""Datasets as plots of a raw file, for any viewer of SPICE waveforms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import xarray as xr

from analogep.errors import NetlistError
from analogep.netlist.graph import node_name
from analogep.netlist.spice.raw import Plot

_NAMES = {
    "op": "Operating Point", "dc": "DC transfer characteristic", "ac": "AC Analysis", "tran": "Transient Analysis",
    "noise": "Noise Spectral Density Curves",
}  # fmt: skip
_TYPES = {
    "V": "voltage", "A": "current", "s": "time", "Hz": "frequency", "degC": "temperature", "Ohm": "resistance",
    "V/sqrt(Hz)": "voltage-density", "A/sqrt(Hz)": "current-density",
}  # fmt: skip


def to_plots(datasets: xr.Dataset | Iterable[xr.Dataset]) -> list[Plot]:
    """Plots of one or several results, to be written by `write_raw`.

    Parameters
    ----------
    datasets : results with variables such as `v(node)` or a whole bus `z` [time, ...], and `units` in their attributes.
        Over `time` they are a transient, over `frequency` an AC analysis (complex) or noise, over other coordinates a
        DC sweep, over none an operating point; `attrs["analysis"]` decides where it is given, and `attrs["title"]` is
        the title. Of two swept coordinates the last one goes fastest.

    Returns
    -------
    One plot for a dataset, its coordinate first, and one more for numbers that have no coordinate in a dataset that has
    one, such as integrated noise.

    Raises
    ------
    NetlistError
        If a dataset is empty, or holds a variable over some of its coordinates only.
    """
    several = [datasets] if isinstance(datasets, xr.Dataset) else datasets
    return [plot for data in several for plot in _plots(data)]


def _plots(data: xr.Dataset) -> Iterator[Plot]:
    axes = _axes(data)
    kind = str(data.attrs.get("analysis", _kind(data, axes)))
    title = " ".join(str(data.attrs.get("title", "analogep")).split())
    alone = {name: variable for name, variable in data.data_vars.items() if axes and not variable.dims}
    vectors: dict[str, tuple[str, np.ndarray]] = {}
    grids = np.meshgrid(*(_values(data, axis) for axis in axes), indexing="ij") if axes else []
    for axis, grid in list(zip(axes, grids, strict=True))[::-1]:
        scale = axis if axis in ("time", "frequency") else f"{axis}-sweep"
        vectors[scale] = (_type(data.coords[axis], "notype") if axis in data.coords else "notype", grid.ravel())
    for name, variable in data.data_vars.items():
        if name not in alone:
            vectors.update(_scalars(str(name), variable, axes))
    yield _plot(title, _NAMES.get(kind, kind), vectors)
    if alone:
        numbers = dict(vector for name, variable in alone.items() for vector in _scalars(str(name), variable, []))
        yield _plot(title, "Integrated Noise" if kind == "noise" else f"{_NAMES.get(kind, kind)}: numbers", numbers)


def _axes(data: xr.Dataset) -> list[str]:
    """Coordinates that are swept: time or frequency, or else what a DC sweep goes over."""
    dims = [str(dim) for dim in data.dims]
    for name in ("time", "frequency"):
        if name in dims:
            return [name]
    return [dim for dim in dims if dim in data.coords and data.coords[dim].dtype.kind in "iuf"]


def _kind(data: xr.Dataset, axes: list[str]) -> str:
    if not axes:
        return "op"
    if axes[0] == "frequency":
        return "ac" if any(np.iscomplexobj(variable) for variable in data.data_vars.values()) else "noise"
    return "tran" if axes[0] == "time" else "dc"


def _values(data: xr.Dataset, axis: str) -> np.ndarray:
    return np.asarray(data.coords[axis].values if axis in data.coords else np.arange(data.sizes[axis]), float)


def _scalars(name: str, variable: xr.DataArray, axes: list[str]) -> Iterator[tuple[str, tuple[str, np.ndarray]]]:
    """The scalar vectors of a variable: one, or one for each node of a bus."""
    rest = [str(dim) for dim in variable.dims if dim not in axes]
    if len(rest) + len(axes) != variable.ndim:
        raise NetlistError(f"variable {name!r} has the dimensions {variable.dims}; it needs all of {axes}")
    values = variable.transpose(*axes, *rest)
    kind = _type(variable, "notype")
    table = values.values.reshape(-1, *(variable.sizes[dim] for dim in rest))
    for index in np.ndindex(table.shape[1:]):
        text = node_name(name, index)
        if len(rest) == 1 and rest[0] in variable.coords and variable.coords[rest[0]].dtype.kind in "UO":
            text = str(variable.coords[rest[0]].values[index[0]])
        yield _wrapped(text, kind), (kind, table[(slice(None), *index)])


def _wrapped(name: str, kind: str) -> str:
    """`v(name)` or `i(name)` as a viewer expects."""
    if "(" in name or kind not in ("voltage", "current"):
        return name
    return f"{'v' if kind == 'voltage' else 'i'}({name})"


def _type(variable: xr.DataArray, other: str) -> str:
    return _TYPES.get(str(variable.attrs.get("units", "")), other)


def _plot(title: str, name: str, vectors: Mapping[str, tuple[str, np.ndarray]]) -> Plot:
    if not vectors:
        raise NetlistError("a dataset without variables makes no plot")
    is_complex = any(np.iscomplexobj(values) for _, values in vectors.values())
    data = {key: np.asarray(values, complex if is_complex else float) for key, (_, values) in vectors.items()}
    flags = ("complex",) if is_complex else ("real",)
    return Plot(f"* {title}", name, flags, tuple((key, kind) for key, (kind, _) in vectors.items()), data)
