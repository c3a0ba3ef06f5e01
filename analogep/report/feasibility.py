"""The page of a feasibility map: what is feasible on which technology, the map as a figure, and every point of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analogep.errors import DataError
from analogep.plot.map import feasibility_map
from analogep.report.content import Cell
from analogep.report.report import Report
from analogep.report.sweep import write_sweep

TECHNOLOGY = "technology.device"
LEAD = (
    "Limits are those of `[feasibility]`; a margin is the distance to a limit over that limit, and the smallest binds. "
    "Every point has all imperfections of its devices at once; `analogep feasibility` shares them out at a single one."
)


def by_technology(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """What is feasible on each technology; one entry `all` where the map has no such axis.

    Returns
    -------
    Name -> `points`, `settled`, `feasible`, and of the best point its `margin`, what binds there, and `where` it is.
    """
    if TECHNOLOGY not in dataset.dims:
        return {"all": _summary(dataset)}
    return {str(name): _summary(dataset.sel({TECHNOLOGY: name})) for name in dataset[TECHNOLOGY].values}


def _summary(part: xr.Dataset) -> dict[str, Any]:
    out = {"points": part["status"].size, "settled": int(np.sum(part["status"].values == "done")), "feasible": 0}
    if "margin" not in part or not np.isfinite(part["margin"].values).any():
        return {**out, "margin": None, "binding": None, "where": {}}
    margin = part["margin"]
    place = np.unravel_index(int(np.nanargmax(margin.values)), margin.shape)
    best = part.isel(dict(zip(margin.dims, place, strict=True)))
    words = part["binding"].attrs.get("flag_meanings", "").split()
    number = int(best["binding"])
    where = {str(dim): best[dim].item() for dim in margin.dims if dim in best.coords}
    return {
        **out, "feasible": int(np.sum(margin.values >= 0)), "margin": float(best["margin"]),
        "binding": words[number] if number < len(words) else str(number), "where": where,
    }  # fmt: skip


def write_map(dataset: xr.Dataset, path: Path, folder: Path, *, command: str = "") -> Path:
    """Write the page; returns the path of index.html.

    Parameters
    ----------
    path : of the dataset, which is put beside the page.
    """
    report = Report("Feasibility map", lead=LEAD, command=command)
    section = report.section("Feasible?")
    rows = []
    for name, one in by_technology(dataset).items():
        where = ", ".join(f"{key} = {value:.3g}" if isinstance(value, float) else f"{key} = {value}"
                          for key, value in one["where"].items())  # fmt: skip
        count = Cell(one["feasible"], "good" if one["feasible"] else "bad")
        rows.append({"technology": name, "feasible": count, "settled": one["settled"], "points": one["points"],
                     "best margin": one["margin"], "binds there": one["binding"], "where": where})  # fmt: skip
    section.table(rows, caption="Points at which all limits hold, and the one with most room.", name="feasible")
    try:
        figure = feasibility_map(dataset)
    except DataError as error:
        section.paragraph(f"There is no figure: {error}")
    else:
        section.figure(
            figure, "Smallest margin of all limits, and the limit that it belongs to.", name="map",
            alt="heat maps of the smallest margin over damping and asymmetry, one for each technology",
        )  # fmt: skip
    return write_sweep(dataset, path, folder, report=report)
