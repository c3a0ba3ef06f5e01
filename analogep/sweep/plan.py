"""A sweep before anything runs: every point a validated spec with a hash, or the reason why it is none."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analogep.environment import versions
from analogep.errors import SpecError
from analogep.spec import Spec, parse_spec
from analogep.sweep.axes import Axis
from analogep.sweep.measure import Measure, find_measure

_FILES = (("data", "text"), ("model", "checkpoint"))


@dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes
    ----------
    place : index along every axis.
    label : keys and values, for messages.
    spec : the resolved spec as plain data; None where the combination is refused.
    error : why it is refused.
    digest : sixteen hexadecimal digits of everything that its numbers follow from.
    """

    place: tuple[int, ...]
    label: str
    spec: Mapping[str, Any] | None
    error: str
    digest: str


@dataclass(frozen=True)
class Plan:
    """All points of a sweep, the last axis fastest.

    Parameters
    ----------
    tables : spec tables that all points share.
    axes : what is varied.
    measures : name -> measure.
    """

    tables: Mapping[str, Any]
    axes: tuple[Axis, ...]
    measures: Mapping[str, Measure]
    points: tuple[Point, ...]

    @property
    def together(self) -> int:
        """Points that are measured at a time, the same whatever is done already."""
        return max(measure.together for measure in self.measures.values())

    @cached_property
    def groups(self) -> list[list[Point]]:
        """The points that can be measured, in groups that are measured at a time."""
        valid = [point for point in self.points if point.spec is not None]
        return [valid[k : k + self.together] for k in range(0, len(valid), self.together)]

    @property
    def refused(self) -> list[Point]:
        """The points whose combination is no valid spec."""
        return [point for point in self.points if point.spec is None]

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """All that the dataset follows from, as plain data."""
        return {
            "axes": [axis.plain() for axis in self.axes],
            "measures": list(self.measures),
            "spec": json.loads(_canonical(self.tables)),
            "versions": versions(),
            "points": _hash([point.digest for point in self.points]),
        }

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any knob, and with the contents of the files that specs name."""
        same = {key: value for key, value in self.configuration.items() if key != "versions"}
        return _hash(same)[:8]


def make_plan(tables: Mapping[str, Any], axes: Sequence[Axis], measures: Sequence[str]) -> Plan:
    """Validate every point of a sweep.

    A combination that is refused at some points only becomes a row with its message.

    Parameters
    ----------
    tables : spec tables as `analogep.spec.read_tables` gives them.
    axes : axes; their product is swept.
    measures : names in `MEASURES`, or `module:function`.

    Raises
    ------
    SpecError
        If there is no axis, a key is turned by two axes, a measure does not exist, or every point is refused: then the
        message is that of the first.
    """
    shared = {key: value for key, value in tables.items() if key != "sweep"}
    chosen = {name: find_measure(name) for name in dict.fromkeys(measures)}
    if not axes:
        raise SpecError("there is nothing to sweep: give --axis key=values, or [sweep.axes] in the spec")
    keys = [key for axis in axes for key in axis.keys]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise SpecError(f"axis {twice}: two axes turn the same key")
    files: dict[str, str] = {}
    places = itertools.product(*(range(len(axis.values)) for axis in axes))
    points = tuple(_point(shared, axes, place, list(chosen), files) for place in places)
    if all(point.spec is None for point in points):
        raise SpecError(f"no point can be measured; {points[0].error} (at {points[0].label})")
    return Plan(shared, tuple(axes), chosen, points)


def _point(
    shared: Mapping[str, Any], axes: Sequence[Axis], place: tuple[int, ...], measures: list[str], files: dict[str, str]
) -> Point:
    tables = copy.deepcopy(dict(shared))
    named = []
    for axis, at in zip(axes, place, strict=True):
        axis.set(tables, at)
        named += [f"{key} = {value}" for key, value in zip(axis.keys, axis.values[at], strict=True)]
    label = ", ".join(named)
    try:
        spec = parse_spec(tables)
    except SpecError as error:
        return Point(place, label, None, str(error), _hash({"refused": tables})[:16])
    plain = spec.model_dump(mode="json", exclude={"sweep"})
    followed = {"spec": _by_content(plain, spec, files), "measures": measures, "analogep": versions()["analogep"]}
    return Point(place, label, plain, "", _hash(followed)[:16])


def _by_content(plain: Mapping[str, Any], spec: Spec, files: dict[str, str]) -> dict[str, Any]:
    """The spec with the contents of its files in the place of their paths; one that cannot be read keeps its path."""
    out = copy.deepcopy(dict(plain))
    for table, key in _FILES:
        path: Path | None = getattr(getattr(spec, table), key)
        if path is None:
            continue
        if str(path) not in files:
            try:
                files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError:
                files[str(path)] = str(path)
        out[table][key] = files[str(path)]
    return out


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _hash(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()
