"""Sweeps: a heat map over two axes, lines over one; a histogram of chips, or a band where they are one axis of two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from analogep.errors import DataError
from analogep.files import whole_file
from analogep.plot.style import BLUE, INK, LABEL, SKY, SMALL, VERMILION, describe, dressed, legend, warn

BESIDE = ("status", "error", "seconds")
"""Variables of a sweep that are no measurements."""
_SYMBOLS = {"rho_sinv_a": "$\\rho(S^{-1}A)$"}
CHIPS = "chip.number"
"""The axis along which there is nothing but chance."""
LOW, HIGH = 0.05, 0.95
"""Quantiles of chips that are drawn beside the median."""
DECADES = 2.0
"""Positive values over more than these decades are drawn on a logarithmic scale."""


def line(dataset: xr.Dataset, name: str, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """A number over the one axis of a sweep.

    Parameters
    ----------
    dataset : of a sweep.
    name : variable.
    ax : axes to draw in; a new figure when None.
    title : heading; the variable's name when None.

    Raises
    ------
    DataError
        If the sweep has not one axis.
    """
    values = _measured(dataset, name, 1)
    ax = dressed(ax, (6.4, 3.8))
    places, labels, key = _places(dataset, str(values.dims[0]))
    finite = np.isfinite(values.values)
    ax.plot(places[finite], values.values[finite], color=BLUE, linewidth=1.4, marker="o", markersize=3.5)
    if labels is not None:
        ax.set_xticks(places, labels, fontsize=SMALL)
    elif _spread(places):
        ax.set_xscale("log")
    if finite.any() and _spread(values.values[finite]):
        ax.set_yscale("log")
    describe(ax, key, _with_unit(name, values.attrs.get("units", "1")), title or _words(name))
    if not finite.all():
        warn(ax, f"no finite value at {np.sum(~finite)} of {finite.size} points")
    return ax


def heat_map(dataset: xr.Dataset, name: str, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """A number over the two axes of a sweep, a cell for each point; points without a value are crossed.

    Parameters
    ----------
    dataset : of a sweep.
    name : variable.
    ax : axes to draw in; a new figure when None.
    title : heading; the variable's name when None.

    Raises
    ------
    DataError
        If the sweep has not two axes.
    """
    values = _measured(dataset, name, 2)
    ax = dressed(ax, (6.6, 4.6))
    ax.grid(False)
    down, across = (str(dim) for dim in values.dims)
    grid = values.values
    finite = np.isfinite(grid)
    image = ax.imshow(np.where(finite, grid, np.nan), origin="lower", aspect="auto", norm=_norm(grid[finite]))
    rows, columns = np.nonzero(~finite)
    ax.plot(columns, rows, "x", color=VERMILION, markersize=5, clip_on=False)
    keys = [ticks(ax, axis, dataset, dim) for axis, dim in (("x", across), ("y", down))]
    describe(ax, keys[0], keys[1], title or _words(name))
    figure = ax.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=ax)
    bar.set_label(_with_unit(name, values.attrs.get("units", "1")), fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK)
    if len(rows):
        _above(ax, f"× no finite value at {len(rows)} of {grid.size} points")
    return ax


def histogram(dataset: xr.Dataset, name: str, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """How many chips have which value, with their median and the 5 % and 95 % quantiles.

    Parameters
    ----------
    dataset : of a sweep over chips alone.
    name : variable.
    ax : axes to draw in; a new figure when None.
    title : heading; the variable's name when None.

    Raises
    ------
    DataError
        If the sweep has another axis.
    """
    values = _measured(dataset, name, 1)
    if values.dims != (CHIPS,):
        raise DataError(f"a histogram needs a sweep over {CHIPS}, not over {values.dims[0]}")
    ax = dressed(ax, (6.4, 3.8))
    finite = values.values[np.isfinite(values.values)]
    if finite.size:
        ax.hist(
            finite, bins=min(60, max(20, int(2 * np.sqrt(finite.size)))), color=SKY, edgecolor="white", linewidth=0.6
        )
        low, middle, high = np.quantile(finite, [LOW, 0.5, HIGH])
        ax.axvline(middle, color=BLUE, linewidth=1.6, label=f"median {middle:.4g}")
        for value, label in ((low, f"5 % and 95 %: {low:.4g}, {high:.4g}"), (high, None)):
            ax.axvline(value, color=INK, linewidth=1.0, linestyle="--", label=label)
        legend(ax)
    describe(ax, _with_unit(name, values.attrs.get("units", "1")), "chips", title or _words(name))
    if finite.size < values.size:
        _above(ax, f"no finite value on {values.size - finite.size} of {values.size} chips")
    return ax


def band(dataset: xr.Dataset, name: str, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """The median of chips over the other axis of a sweep, and where 90 % of them lie.

    Parameters
    ----------
    dataset : of a sweep over chips and one more axis.
    name : variable.
    ax : axes to draw in; a new figure when None.
    title : heading; the variable's name when None.

    Raises
    ------
    DataError
        If the sweep has other axes.
    """
    values = _measured(dataset, name, 2)
    if CHIPS not in values.dims:
        raise DataError(f"a band needs an axis {CHIPS}, and the sweep has {' and '.join(map(str, values.dims))}")
    values = values.where(np.isfinite(values)).transpose(CHIPS, ...)
    ax = dressed(ax, (6.4, 3.8))
    places, labels, key = _places(dataset, str(values.dims[1]))
    some = np.isfinite(values.values).any(axis=0)
    if some.any():
        low, middle, high = np.nanquantile(values.values[:, some], [LOW, 0.5, HIGH], axis=0)
        ax.fill_between(places[some], low, high, color=SKY, alpha=0.35, linewidth=0, label="5 % to 95 % of chips")
        ax.plot(places[some], middle, color=BLUE, linewidth=1.4, marker="o", markersize=3.5, label="median")
        legend(ax)
    if labels is not None:
        ax.set_xticks(places, labels, fontsize=SMALL)
    elif _spread(places):
        ax.set_xscale("log")
    describe(ax, key, _with_unit(name, values.attrs.get("units", "1")), title or _words(name))
    missing = int(np.sum(~np.isfinite(values.values)))
    if missing:
        _above(ax, f"no finite value at {missing} of {values.size} points")
    return ax


def draw(dataset: xr.Dataset, folder: Path) -> list[Path]:
    """Figures of every number of a sweep of one or two axes, `<variable>.png` in `folder`; none of other sweeps."""
    dims = dataset["status"].dims
    if len(dims) not in (1, 2):
        return []
    over = (line if len(dims) == 1 else heat_map) if CHIPS not in dims else (histogram if len(dims) == 1 else band)
    written = []
    for name in map(str, dataset.data_vars):
        if name not in BESIDE:
            ax = over(dataset, name)
            path = Path(folder) / f"{name}.png"
            figure = ax.get_figure(root=True)
            assert figure is not None
            with whole_file(path) as partial:
                figure.savefig(partial, format="png", dpi=150)
            written.append(path)
    return written


def _above(ax: Axes, text: str) -> None:
    """A remark above the axes on the right, where it hides nothing."""
    ax.annotate(
        text, (1, 1.01), xycoords="axes fraction", ha="right", va="bottom", fontsize=SMALL, color=VERMILION
    )  # fmt: skip


def _measured(dataset: xr.Dataset, name: str, axes: int) -> xr.DataArray:
    if name not in dataset or name in BESIDE:
        raise DataError(f"the sweep measured no {name!r}")
    if dataset[name].ndim != axes:
        raise DataError(f"{name!r} has {dataset[name].ndim} axes, not {axes}; choose a part with .sel or .isel first")
    return dataset[name]


def _places(dataset: xr.Dataset, dim: str) -> tuple[np.ndarray, list[str] | None, str]:
    """Where the points stand, their labels if they are no numbers, and the axis's name with its unit."""
    if dim in dataset.coords:
        values = dataset[dim].values
        unit = dataset[dim].attrs.get("units", "1")
        name = dim if unit == "1" else f"{dim} ({unit})"
        if np.issubdtype(values.dtype, np.number):
            return values.astype(float), None, name
        return np.arange(len(values)), [str(value) for value in values], name
    keys = [str(key) for key, values in dataset.coords.items() if values.dims == (dim,)]
    rows = zip(*(dataset[key].values for key in keys), strict=True)
    labels = ["\n".join(_number(value) for value in row) for row in rows]
    return np.arange(dataset.sizes[dim]), labels, ", ".join(keys)


def ticks(ax: Axes, axis: str, dataset: xr.Dataset, dim: str) -> str:
    """Label the cells of a heat map along one axis, thinned out to what can be read; returns the axis's name."""
    places, labels, name = _places(dataset, dim)
    shown = labels or [_number(value) for value in places]
    every = -(-len(shown) // 10)
    at = np.arange(0, len(shown), every)
    set_ticks: Any = ax.set_xticks if axis == "x" else ax.set_yticks
    set_ticks(at, [shown[k] for k in at], fontsize=SMALL)
    return name


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _spread(values: np.ndarray) -> bool:
    return bool(np.all(values > 0) and np.max(values) > 10**DECADES * np.min(values)) if values.size else False


def _norm(values: np.ndarray) -> Normalize:
    if not values.size:
        return Normalize(0, 1)
    low, high = float(np.min(values)), float(np.max(values))
    return LogNorm(low, high) if _spread(values) else Normalize(low, high)


def _words(name: str) -> str:
    return _SYMBOLS.get(name, name.replace("_", " "))


def _with_unit(name: str, unit: str) -> str:
    return f"{_words(name)} ({unit})"
