"""The page of a sweep: an interactive map of it, what became of its points, and where its numbers come from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr

from analogep.errors import DataError
from analogep.plot.sweep import line
from analogep.report.content import Cell, Section
from analogep.report.explorer import BESIDE, payload
from analogep.report.report import Report

MEANING = {
    "done": "measured", "unconverged": "a solve did not converge: hatched",
    "failed": "the measure raised an error: crossed", "invalid": "no valid spec", "missing": "not measured",
}  # fmt: skip
SHOWN = 20
"""Messages that the page lists."""


def is_sweep(path: Path) -> bool:
    """Whether a file is the dataset of a sweep.

    Raises
    ------
    DataError
        If it cannot be read as netCDF.
    """
    return {"configuration_hash", "measures"} <= set(_opened(path).attrs)


def read_sweep(path: Path) -> xr.Dataset:
    """The dataset of a sweep, in memory.

    Raises
    ------
    DataError
        If it cannot be read, or is not of a sweep.
    """
    dataset = _opened(path)
    if "status" not in dataset or "measures" not in dataset.attrs:
        raise DataError(f"{path}: not the dataset of a sweep")
    return dataset


def add_sweep(report: Report, dataset: xr.Dataset, prefix: str = "") -> None:
    """Append the sections of a sweep; `prefix` tells several results apart."""
    dims = [str(dim) for dim in dataset["status"].dims]
    section = report.section(f"{prefix}{'Map' if len(dims) > 1 else 'Curves'}")
    if len(dims) > 1:
        section.explorer(
            payload(dataset),
            f"Every point of the {title(dataset)}. Point at a cell, or move with the arrow keys, for all that was "
            "measured there; a click, Enter or Space pins it, Escape lets it go.",
        )
    else:
        _lines(section, dataset)
    _points(report.section(f"{prefix}Points"), dataset)
    _sources(report.section(f"{prefix}Configuration"), dataset)


def write_sweep(dataset: xr.Dataset, path: Path, folder: Path, *, report: Report | None = None) -> Path:
    """Write the page of one sweep.

    Parameters
    ----------
    path : of the dataset, which is put beside the page.
    report : to which the sections are appended; a new one when None.

    Returns
    -------
    Path of index.html.
    """
    report = report or Report(title(dataset).capitalize(), versions=_attribute(dataset, "versions"))
    add_sweep(report, dataset)
    report.attach(path.name, path, "every number, as netCDF")
    return report.write(folder)


def title(dataset: xr.Dataset) -> str:
    """What it is, in words."""
    return str(dataset.attrs.get("title", "sweep"))


def _opened(path: Path) -> xr.Dataset:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            return opened.load()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as netCDF: {error}") from None


def _lines(section: Section, dataset: xr.Dataset) -> None:
    """A curve of every number over the one axis."""
    dim = str(dataset["status"].dims[0])
    for name in map(str, dataset.data_vars):
        if name not in (*BESIDE, "seconds") and np.isfinite(dataset[name].values.astype(float)).any():
            words = name.replace("_", " ")
            section.figure(line(dataset, name), f"`{name}` over `{dim}`.", alt=f"{words} over {dim}", name=name)


def _points(section: Section, dataset: xr.Dataset) -> None:
    """How many points there are of each status, and what went wrong at those that are not done."""
    counts = Counter(map(str, dataset["status"].values.ravel()))
    rows = [
        {"status": Cell(status, "good" if status == "done" else None), "points": counts[status], "meaning": meaning}
        for status, meaning in MEANING.items()
        if counts[status]
    ]
    section.table(rows, caption="What became of the points.", name="status")
    errors = Counter(str(text) for text in dataset["error"].values.ravel() if str(text))
    if errors:
        listed = [{"message": text, "points": count} for text, count in errors.most_common(SHOWN)]
        section.table(listed, caption="Messages, the most frequent first.", name="errors")


def _sources(section: Section, dataset: xr.Dataset) -> None:
    """Measures, spec and versions."""
    kept = {key: dataset.attrs.get(key, "") for key in ("measures", "spec", "configuration_hash", "commit")}
    section.table([{"key": key, "value": str(value)} for key, value in kept.items()], name="configuration",
                  caption="What was measured, and by which code; the spec is what was set.")  # fmt: skip


def _attribute(dataset: xr.Dataset, name: str) -> dict[str, str] | None:
    try:
        found = json.loads(dataset.attrs[name])
    except (KeyError, ValueError):
        return None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) and found else None
