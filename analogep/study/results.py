"""The result file: one netCDF that grows point by point, and from which a study goes on where it stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analogep.errors import DataError
from analogep.files import whole_file
from analogep.study.study import Point, Scalar

FORMAT = 1
OF_POINT = ("commit", "wall_seconds")
"""What is kept with every point beside its measurements."""


@dataclass
class ResultFile:
    """Measurements of a study, in a group for each part, along the dimension `point`.

    The file is rewritten whole with every point, so it can be read at any time, and what was measured stays after an
    interruption.

    Attributes
    ----------
    path : of the file.
    attributes : texts of the study, configuration and versions, as plain text and numbers.
    parts : part -> measurements along `point`, whose coordinates are the cell and the seed.
    axes : part -> names of its axes.
    """

    path: Path
    attributes: dict[str, Any]
    parts: dict[str, xr.Dataset] = field(default_factory=dict)
    axes: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> ResultFile:
        """Read a file.

        Raises
        ------
        DataError
            If it cannot be read, or is no result of a study.
        """
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        try:
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                whole = tree.load()
                attributes = {str(name): value for name, value in whole.attrs.items()}
                parts = {name: node.to_dataset().drop_encoding() for name, node in whole.children.items()}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: cannot be read as netCDF: {error}") from None
        if attributes.get("format") != FORMAT or "study" not in attributes:
            raise DataError(f"{path}: not the result of a study (or of another version of this format)")
        axes = json.loads(attributes["axes"])
        return cls(path, attributes, parts, axes)

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration that was measured, as plain data."""
        return json.loads(self.attributes["configuration"])

    @property
    def versions(self) -> dict[str, str]:
        """Package -> version that it was measured with."""
        return json.loads(self.attributes["versions"])

    @property
    def commits(self) -> list[str]:
        """Commits at which points were measured."""
        return sorted({str(c) for part in self.parts.values() for c in part["commit"].values})

    @property
    def seconds(self) -> float:
        """Time that measuring took, all points together."""
        return math.fsum(float(part["wall_seconds"].sum()) for part in self.parts.values())

    def done(self, part: str) -> set[tuple[Scalar, ...]]:
        """Keys of the points that a part holds."""
        if part not in self.parts:
            return set()
        data = self.parts[part]
        columns = [data[name].values for name in (*self.axes[part], "seed")]
        return {tuple(_plain(value) for value in row) for row in zip(*columns, strict=True)}

    def add(self, point: Point, measured: xr.Dataset, *, seconds: float, commit: str) -> None:
        """Append a point and write the file.

        Raises
        ------
        DataError
            If the measurement uses a name that the file needs, or the file cannot be written.
        """
        taken = {"point", "seed", *OF_POINT, *point.cell} & {*measured.variables, *measured.dims}
        if taken:
            raise DataError(f"{point}: the measurement may not be called {sorted(map(str, taken))[0]!r}")
        if not measured.data_vars:
            raise DataError(f"{point}: nothing was measured")
        named = {**point.cell, "seed": point.seed}
        row = measured.expand_dims("point").assign_coords({name: ("point", [value]) for name, value in named.items()})
        row = row.assign(commit=("point", [commit]), wall_seconds=("point", [seconds], {"units": "s"}))
        before = self.parts.get(point.part)
        if before is None:
            self.parts[point.part], self.axes[point.part] = row, list(point.cell)
        else:
            self.parts[point.part] = xr.concat(
                [before, row], "point", data_vars="all", coords="minimal", compat="override", join="outer"
            )
        self.write()

    def write(self) -> None:
        """Write the file, all or nothing."""
        attributes = {**self.attributes, "axes": json.dumps(self.axes)}
        nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=attributes), **self.parts}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.path.parent}: cannot make the folder: {error.strerror}") from None
        with whole_file(self.path) as partial:
            xr.DataTree.from_dict(nodes).to_netcdf(partial, engine="h5netcdf")

    def grid(self, part: str, axes: Mapping[str, Sequence[Scalar]], seeds: Sequence[int]) -> xr.Dataset:
        """A part over its axes and `seed`, in their order; a point that is missing is NaN there."""
        data, names = self.parts[part].drop_vars(OF_POINT), [*axes, "seed"]
        labelled = data.set_index(point=names).unstack("point") if axes else data.swap_dims(point="seed")
        return labelled.reindex({**{name: list(values) for name, values in axes.items()}, "seed": list(seeds)})


def _plain(value: Any) -> Scalar:
    """A label as Python has it."""
    return value.item() if isinstance(value, np.generic) else value
