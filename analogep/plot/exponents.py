"""Lyapunov exponents as they settle, and diagnostics along a trajectory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from analogep.errors import DataError
from analogep.plot.style import CYCLE, GRAY, INK, describe, dressed, engineering, legend, shades, warn


def lyapunov(
    times: ArrayLike,
    running: ArrayLike,
    ax: Axes | None = None,
    *,
    error: ArrayLike | None = None,
    expected: ArrayLike = (),
    count: int = 8,
    title: str = "Lyapunov exponents",
    unit: str = "τ",
) -> Axes:
    """Running means of the stretching rates over the time that they are taken over.

    Parameters
    ----------
    times : [n], in units of tau.
    running : mean rates up to each time [n, k], in 1/tau, as in `diagnostics.Lyapunov`.
    ax : axes to draw in; a new figure when None.
    error : uncertainty of the last values [k].
    expected : values to compare with, as dotted lines.
    count : largest number of exponents, from the first.
    title : heading.
    unit : unit of time.

    Raises
    ------
    DataError
        If the shapes do not fit.
    """
    t, rates = np.ravel(np.asarray(times, float)), np.asarray(running, float)
    if rates.ndim != 2 or rates.shape[0] != t.size or not rates.size:
        raise DataError(f"running means of shape {rates.shape} do not fit {t.size} times")
    ax = dressed(ax)
    ax.axhline(0, color=INK, linewidth=1.0)
    shown = rates[:, :count]
    spread = None if error is None else np.ravel(np.asarray(error, float))
    for k, color in enumerate(shades(shown.shape[1])):
        value = f"{shown[-1, k]:.4g}".replace("-", "−")
        give = "" if spread is None else f" ± {spread[k]:.1g}"
        ax.plot(t, np.where(np.isfinite(shown[:, k]), shown[:, k], np.nan), color=color, linewidth=1.5,
                marker="o" if t.size < 3 else "", label=f"λ{k + 1} = {value}{give}")  # fmt: skip
    for k, value in enumerate(np.ravel(np.asarray(expected, float))):
        ax.axhline(value, color=GRAY, linewidth=1.1, linestyle=(0, (1, 1.5)), label="expected" if k == 0 else None)
    if t.size > 2 and t[-1] > 30 * t[0] > 0:
        ax.set_xscale("log")
    describe(ax, f"averaging time ({unit})", f"mean stretching rate (1/{unit})", title)
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5))
    if not np.isfinite(shown).all():
        warn(ax, f"{np.count_nonzero(~np.isfinite(shown))} of {shown.size} values are not finite")
    return ax


def along(
    dataset: xr.Dataset, names: Sequence[str] = (), ax: Axes | None = None, *, title: str = "Along the trajectory"
) -> Axes:
    """Diagnostics of one unit over the time of a trajectory.

    Parameters
    ----------
    dataset : as `diagnostics.along` gives it: variables over `time` (s) with `units`.
    names : variables of one and the same unit; when empty, all that have the unit of the first.
    ax : axes to draw in; a new figure when None.
    title : heading.

    Raises
    ------
    DataError
        If there is no time, a name is missing, or units differ.
    """
    if "time" not in dataset.dims or not dataset.data_vars:
        raise DataError("diagnostics along a trajectory need a time; give `times` to diagnostics.along")
    missing = [name for name in names if name not in dataset]
    if missing:
        raise DataError(f"the dataset has no {', '.join(missing)}; it has {', '.join(map(str, dataset.data_vars))}")
    units = {str(name): str(dataset[name].attrs.get("units", "")) for name in (names or dataset.data_vars)}
    unit = next(iter(units.values()))
    chosen = [name for name, its in units.items() if names or its == unit]
    if len({units[name] for name in chosen}) > 1:
        raise DataError(f"one axis cannot hold {', '.join(f'{n} ({u})' for n, u in units.items())}")
    ax = dressed(ax)
    times = dataset["time"].to_numpy()
    factor, time_unit = engineering(times, str(dataset["time"].attrs.get("units", "s")))
    lost = 0
    for k, name in enumerate(chosen):
        values = dataset[name].to_numpy()
        finite = np.isfinite(values)
        lost += int(np.count_nonzero(~finite))
        ax.plot(times * factor, np.where(finite, values, np.nan), color=CYCLE[k % len(CYCLE)], linewidth=1.6,
                marker="o", markersize=3, label=name.replace("_", " "))  # fmt: skip
    if unit != "1":
        ax.axhline(0, color=INK, linewidth=1.0)
    describe(ax, f"time ({time_unit})", f"value ({unit.replace('tau', 'τ')})", title)
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5))
    if lost:
        warn(ax, f"{lost} values are not finite")
    return ax
