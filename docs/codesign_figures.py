"""The figures of the page on co-design; docs/figures.py draws them with the others.

They are drawn from results that were measured before: the error budget from the page's own table, the map from
`examples/feasibility_map.csv`, which `analogep feasibility --map` gave.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analogep.plot.budget import budget
from analogep.plot.map import feasibility_map
from analogep.plot.style import new_figure

HERE = Path(__file__).parent
AXES = ("model.damping", "model.asymmetry", "technology.device")


def budget_table() -> dict[str, dict]:
    """The error budget of the page, measure -> what `Budget.to_dict` gives of it."""
    text = (HERE / "codesign.md").read_text(encoding="utf-8")
    found = re.search(r"^\| effect \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    measures = {}
    for measure, alone, share in (("angle", 1, 2), ("loss", 3, 4)):
        effects = {}
        for row in rows:
            if row[0] != "all":
                mean, error = (float(part) for part in row[share].split("±"))
                effects[row[0]] = {"alone": float(row[alone]), "share": mean, "error": error}
        total = next(float(row[share]) for row in rows if row[0] == "all")
        measures[measure] = {"effects": effects, "total": total}
    return measures


def error_budget() -> Figure:
    """Shares and costs alone of every imperfection, in both measures."""
    measures = budget_table()
    tall = 1.1 + 0.34 * max(len(one["effects"]) for one in measures.values())
    figure = new_figure((12.4, tall))
    for k, (name, one) in enumerate(measures.items()):
        budget(one, figure.add_subplot(1, 2, k + 1), what=name)
    return figure


def measured_map() -> xr.Dataset:
    """The map of the page."""
    with (HERE / "examples" / "feasibility_map.csv").open(encoding="utf-8") as file:
        words, rows = next(file).removeprefix("#").strip(), list(csv.DictReader(file))
    values = {axis: list(dict.fromkeys(row[axis] for row in rows)) for axis in AXES}
    shape = tuple(len(each) for each in values.values())

    def over_axes(name: str) -> np.ndarray:
        out = np.full(shape, "", object)
        for row in rows:
            out[tuple(values[axis].index(row[axis]) for axis in AXES)] = row[name]
        return out

    numbers = {name: np.where(over_axes(name) == "", "nan", over_axes(name)).astype(float)
               for name in ("margin", "binding")}  # fmt: skip
    coordinates = {axis: [float(x) for x in values[axis]] for axis in AXES[:2]} | {AXES[2]: values[AXES[2]]}
    data = xr.Dataset(
        {**{name: (AXES, each) for name, each in numbers.items()}, "status": (AXES, over_axes("status").astype(str))},
        coordinates,
    )
    data[AXES[0]].attrs["units"] = "g0"
    data["binding"].attrs["flag_meanings"] = words
    return data


def margins() -> Figure:
    """The feasibility map."""
    return feasibility_map(measured_map())


FIGURES = {"error_budget": error_budget, "feasibility_map": margins}
