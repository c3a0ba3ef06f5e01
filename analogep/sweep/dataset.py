"""Rows -> one labelled dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from analogep.environment import commit
from analogep.sweep.plan import Plan
from analogep.sweep.work import INVALID, Row


def to_dataset(plan: Plan, rows: Mapping[str, Row]) -> xr.Dataset:
    """All points of a sweep over its axes.

    Parameters
    ----------
    rows : by digest; a point that has none is left as missing.

    Returns
    -------
    A variable for every number that was measured (not-a-number where a point has none), and `status`, `error` and
    `seconds`. Everything but `seconds` follows from the plan alone.
    """
    shape = tuple(len(axis.values) for axis in plan.axes)
    names = sorted({name for row in rows.values() for name in row.values})
    values = {name: np.full(shape, np.nan) for name in names}
    status, error, seconds = np.full(shape, "missing", object), np.full(shape, "", object), np.full(shape, np.nan)
    for point in plan.points:
        row = rows.get(point.digest)
        if point.spec is None:
            row = Row(point.digest, INVALID, point.error)
        if row is None:
            continue
        status[point.place], error[point.place], seconds[point.place] = row.status, row.error, row.seconds
        for name, value in row.values.items():
            values[name][point.place] = value
    dims = [axis.name for axis in plan.axes]
    units = {name: unit for measure in plan.measures.values() for name, unit in measure.units.items()}
    variables: dict[str, Any] = {name: (dims, value, {"units": units.get(name, "1")}) for name, value in values.items()}
    variables |= {"status": (dims, status.astype(str)), "error": (dims, error.astype(str))}
    variables["seconds"] = (dims, seconds, {"units": "s", "long_name": "time that measuring took"})
    coordinates = {
        key: (axis.name, labels, attributes) for axis in plan.axes for key, labels, attributes in axis.coordinates()
    }
    return xr.Dataset(variables, coordinates, _attributes(plan))


def _attributes(plan: Plan) -> dict[str, str]:
    """Where the numbers come from."""
    configuration = plan.configuration
    return {
        "title": f"sweep over {', '.join(axis.name for axis in plan.axes)}",
        "measures": ", ".join(plan.measures),
        "spec": json.dumps(configuration["spec"]),
        "configuration_hash": plan.digest,
        "versions": json.dumps(configuration["versions"]),
        "commit": commit(),
    }
