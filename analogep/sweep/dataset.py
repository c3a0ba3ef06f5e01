"""Rows -> one labelled dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from analogep.environment import commit
from analogep.errors import DataError
from analogep.sweep.measure import RESERVED
from analogep.sweep.plan import Plan
from analogep.sweep.work import DONE, INVALID, Row

CHIPS = "chip.number"
"""The axis along which there is nothing but chance."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


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
    words = {name: each for measure in plan.measures.values() for name, each in measure.words.items()}
    variables: dict[str, Any] = {}
    for name, numbers in values.items():
        flags = {"flag_meanings": " ".join(words[name])} if name in words else {}  # as the CF conventions have it
        variables[name] = (dims, numbers, {"units": units.get(name, "1"), **flags})
    variables |= {"status": (dims, status.astype(str)), "error": (dims, error.astype(str))}
    variables["seconds"] = (dims, seconds, {"units": "s", "long_name": "time that measuring took"})
    coordinates = {
        key: (axis.name, labels, attributes) for axis in plan.axes for key, labels, attributes in axis.coordinates()
    }
    return xr.Dataset(variables, coordinates, _attributes(plan))


def quantiles(dataset: xr.Dataset, along: str = CHIPS, *, levels: Sequence[float] = QUANTILES) -> xr.Dataset:
    """Quantiles of every number of a sweep along one of its axes, and the share of points that are done.

    Parameters
    ----------
    dataset : of a sweep.
    along : axis; that of chips, if no other is given.
    levels : from 0 to 1.

    Returns
    -------
    The numbers over `quantile` and the other axes, of the points that have them, and `done`.

    Raises
    ------
    DataError
        If the sweep has no such axis.
    """
    if along not in dataset.dims:
        raise DataError(f"the sweep has no axis {along!r}; it has {', '.join(map(str, dataset.dims))}")
    numbers = dataset.drop_vars(RESERVED).quantile(list(levels), along, keep_attrs=True, skipna=True)
    share = (dataset["status"] == DONE).mean(along).assign_attrs(units="1", long_name="share of points that are done")
    return numbers.assign(done=share).assign_attrs({**dataset.attrs, "title": f"{dataset.attrs['title']}: quantiles"})


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
