"""A dataset of a sweep as the data of an interactive map: axes, numbers, what became of each point, and scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from analogep.errors import DataError

BESIDE = ("status", "error")
"""Variables of a sweep that say what became of a point."""
DECADES = 2.0
"""Positive numbers over more than these decades get a logarithmic scale."""
SATURATED = 1.0
"""Margin, either way, at which colors end: what is twice the limit is as far as it needs to be told apart."""


def payload(dataset: xr.Dataset) -> dict[str, Any]:
    """Plain data for the page; numbers keep all their digits.

    Parameters
    ----------
    dataset : of a sweep over two axes or more.

    Returns
    -------
    `axes` in the order of the dataset, each with `name`, `unit`, `values`; `across` and `up`, the numbers of the two
    axes that are drawn, those with most numbers; `quantities`, each with `name`, `unit`, `scale`, `words` and `values`
    in C order, null where a point has none; `status` and `error` of every point.

    Raises
    ------
    DataError
        If it is not of a sweep, or has fewer than two axes.
    """
    if "status" not in dataset:
        raise DataError("the dataset has no variable 'status': it is not of a sweep")
    dims = [str(dim) for dim in dataset["status"].dims]
    if len(dims) < 2:
        raise DataError(f"a map needs two axes or more, and the sweep has {len(dims)}")
    axes = [_axis(dataset, dim) for dim in dims]
    drawn = sorted(range(len(axes)), key=lambda k: (not axes[k]["numeric"], -len(axes[k]["values"])))[:2]
    across, up = sorted(drawn)
    names = [str(name) for name in dataset.data_vars if name not in BESIDE]
    first = [name for name in ("margin", "binding", "feasible") if name in names]
    return {
        "axes": axes,
        "across": across,
        "up": up,
        "quantities": [_quantity(dataset[name], name) for name in [*first, *(n for n in names if n not in first)]],
        "status": [str(word) for word in dataset["status"].values.ravel()],
        "error": [str(text) for text in dataset["error"].values.ravel()] if "error" in dataset else [],
    }


def _axis(dataset: xr.Dataset, dim: str) -> dict[str, Any]:
    """One axis; keys that move together are one text for each place."""
    if dim in dataset.coords:
        values = dataset[dim].values
        numeric = bool(np.issubdtype(values.dtype, np.number))
        shown = [value.item() if numeric else str(value) for value in values]
        return {"name": dim, "unit": dataset[dim].attrs.get("units", "1"), "values": shown, "numeric": numeric}
    keys = [str(key) for key, values in dataset.coords.items() if values.dims == (dim,)]
    rows = zip(*(dataset[key].values for key in keys), strict=True)
    return {"name": ", ".join(keys) or dim, "unit": "1", "values": [", ".join(map(str, row)) for row in rows],
            "numeric": False} if keys else {"name": dim, "unit": "1", "values": list(range(dataset.sizes[dim])),
                                            "numeric": True}  # fmt: skip


def _quantity(values: xr.DataArray, name: str) -> dict[str, Any]:
    flat = np.asarray(values.values, float).ravel()
    words = values.attrs.get("flag_meanings", "").split()
    return {
        "name": name, "unit": values.attrs.get("units", "1"), "words": words,
        "scale": {"kind": "words"} if words else scale(flat, margin=name.split("_")[0] == "margin"),
        "values": [_plain(value) for value in flat],
    }  # fmt: skip


def scale(values: np.ndarray, *, margin: bool = False) -> Mapping[str, Any]:
    """Kind of color scale, and its ends: `diverging` about 0 for both signs, `log` or `linear` for one.

    Parameters
    ----------
    margin : distances to limits, whose scale ends at `SATURATED` either way.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"kind": "linear", "low": 0.0, "high": 1.0}
    low, high = float(finite.min()), float(finite.max())
    if margin:
        return {"kind": "diverging", "low": -SATURATED, "high": SATURATED}
    if low < 0 < high:
        end = max(-low, high)
        return {"kind": "diverging", "low": -end, "high": end}
    if low > 0 and high > 10**DECADES * low:
        return {"kind": "log", "low": low, "high": high}
    if low == high:
        room = 0.5 * abs(low) or 0.5
        return {"kind": "linear", "low": low - room, "high": high + room}
    return {"kind": "linear", "low": low, "high": high}


def _plain(value: float) -> float | str | None:
    """JSON has no infinity, which is a value, and no not-a-number, which is none."""
    if math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
