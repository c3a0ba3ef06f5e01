"""Curves of repeated measurements: the median over seeds as a line, and all seeds as a band."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from analogep.errors import DataError
from analogep.plot.style import dressed


def spread(data: xr.DataArray, over: str, ax: Axes | None = None, *, label: str = "", **style: Any) -> Axes:
    """The median over `seed`, and the range of all seeds behind it.

    Parameters
    ----------
    data : over `seed` and one more dimension; values that are not finite are left out.
    over : that dimension, the horizontal axis.
    ax : axes to draw in; a new figure when None.
    label : name in the legend.
    style : of the line, as for `Axes.plot`; the band takes its color.

    Raises
    ------
    DataError
        If the array has other dimensions.
    """
    if set(data.dims) != {"seed", over}:
        raise DataError(f"a spread needs the dimensions seed and {over}, not {', '.join(map(str, data.dims))}")
    ax = dressed(None) if ax is None else ax
    values = np.asarray(data.transpose(over, "seed"), float)
    values = np.where(np.isfinite(values), values, np.nan)
    some = ~np.isnan(values).all(axis=1)
    x, values = np.asarray(data[over], float)[some], values[some]
    if not x.size:
        return ax
    order = np.argsort(x)
    x, values = x[order], values[order]
    look = {"marker": "o", "markersize": 4, "linewidth": 1.6, **style}
    (line,) = ax.plot(x, np.nanmedian(values, axis=1), label=label or None, **look)
    low, high = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.13, linewidth=0, zorder=1)
    return ax
