"""Noise spectra: the total at the output, the elements that make most of it, and the same referred to the input."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from analogep.errors import DataError
from analogep.plot.curves import (
    Abscissa,
    Panel,
    Row,
    beside,
    decades,
    fitted,
    flag,
    line,
    log_difference,
    marks,
    quantity,
    scaled,
    short,
    with_unit,
)
from analogep.plot.signals import Trace
from analogep.plot.style import CYCLE, GRAY, INK, describe

PARTS = 6
"""Most elements that the noise is split among."""
OUTPUT, INPUT = "onoise_spectrum", "inoise_spectrum"


def noise(dataset: xr.Dataset, reference: xr.Dataset | None) -> Panel:
    """The panel of a noise analysis.

    Raises
    ------
    DataError
        If the dataset holds no spectrum of the output.
    """
    if OUTPUT not in dataset:
        raise DataError(
            f"the noise dataset holds no {OUTPUT}; it holds {', '.join(map(str, list(dataset.data_vars)[:8]))}"
        )
    x = Abscissa.of(dataset)
    unit = str(dataset[OUTPUT].attrs.get("units", "V/sqrt(Hz)"))
    found = {name: _spectrum(dataset, reference, name) for name in (OUTPUT, INPUT) if name in dataset}
    parts = _parts(dataset, x)
    rows = [_density(x, found[OUTPUT], parts, "output noise", unit, 2.4)]
    if INPUT in found:
        unit = str(dataset[INPUT].attrs.get("units", "V/sqrt(Hz)"))
        rows.append(_density(x, found[INPUT], [], "input noise", unit, 1.3))
    compared = [
        (np.abs(ours / theirs - 1), color, dash)
        for (ours, theirs), color, dash in zip(found.values(), (INK, GRAY), ("-", (0, (4, 2))), strict=False)
        if theirs is not None
    ]
    if compared:
        rows.append(log_difference(compared, x, "relative\ndifference"))
    return Panel("Noise", rows, x.label, _totals(dataset))


def _spectrum(dataset: xr.Dataset, reference: xr.Dataset | None, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    ours = np.asarray(dataset[name].values, float)
    return ours, fitted(Trace(name, "V", ours), dataset, reference)


def _parts(dataset: xr.Dataset, x: Abscissa) -> list[tuple[str, np.ndarray]]:
    """Elements by their share of the power over the band, the largest first."""
    names = [str(name) for name, array in dataset.data_vars.items() if array.ndim and str(name).startswith("onoise_")]
    parents = {name.rpartition("_")[0] for name in names}
    elements = [n for n in names if n != OUTPUT and (n in parents or n.rpartition("_")[0] not in names)]
    band = np.abs(np.gradient(x.values)) if x.values.size > 1 else np.ones(1)
    power = {n: float(np.nansum(dataset[n].values ** 2 * band)) for n in elements}
    order = sorted((n for n in elements if power[n] > 0), key=lambda n: -power[n])
    return [(n.removeprefix("onoise_"), np.asarray(dataset[n].values, float)) for n in order[:PARTS]]


def _totals(dataset: xr.Dataset) -> str:
    """Rms over the band, where the analysis tells it."""
    said = [
        f"{quantity(float(dataset[name]), str(dataset[name].attrs.get('units', 'V')), 3)} rms at the {where}"
        for name, where in (("onoise_total", "output"), ("inoise_total", "input"))
        if name in dataset and not dataset[name].ndim
    ]
    return ", ".join(said)


def _density(
    x: Abscissa, total: tuple[np.ndarray, np.ndarray | None], parts: list[tuple[str, np.ndarray]], label: str,
    unit: str, height: float,
) -> Row:  # fmt: skip
    ours, theirs = total

    def draw(ax: Axes) -> None:
        for (name, values), color in zip(parts, CYCLE, strict=False):
            line(ax, x.values, _positive(values), color=color, linewidth=1.1, label=short(name))
        line(ax, x.values, _positive(ours), color=INK, linewidth=1.8, label="total" if parts else None, zorder=3)
        marks(ax, x, theirs, 0.5)
        finite = ours[np.isfinite(ours) & (ours > 0)]
        if finite.size:
            ax.set_yscale("log")
            _limits(ax, finite, parts)
        describe(ax, "", with_unit(label, scaled(1.0, unit)[1]).replace(" (", "\n("))
        beside(ax)
        x.dress(ax)
        flag(ax, [ours])

    return Row(height, draw)


def _limits(ax: Axes, total: np.ndarray, parts: list[tuple[str, np.ndarray]]) -> None:
    """No more than three decades below the total, and no less than one in all."""
    shares = [float(v[v > 0].min()) for _, v in parts if np.any(v > 0)]
    low = max(min([float(total.min()), *shares]), 1e-3 * float(total.min())) / 1.3
    high = float(total.max()) * 1.3
    if high < 10 * low:
        middle = np.sqrt(low * high)
        low, high = middle / np.sqrt(10), middle * np.sqrt(10)
    ax.set_ylim(low, high)
    decades(ax.yaxis, float(np.log10(high / low)))


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)
