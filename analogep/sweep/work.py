"""Measuring a group of points, wherever that happens: what goes in and what comes back is plain data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from analogep.environment import versions
from analogep.errors import AnalogepError, ConvergenceError, DataError
from analogep.spec import Spec, parse_spec
from analogep.sweep.measure import RESERVED, Measure, function

DONE, UNCONVERGED, FAILED, INVALID = "done", "unconverged", "failed", "invalid"
"""What became of a point."""


@dataclass(frozen=True)
class Task:
    """Points to be measured at a time.

    Attributes
    ----------
    digests : of the points.
    specs : their specs as plain data.
    measures : what to measure.
    versions : of the packages in the process that asks.
    """

    digests: tuple[str, ...]
    specs: tuple[Mapping[str, Any], ...]
    measures: tuple[Measure, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """What a point gave.

    Attributes
    ----------
    status : `done`, `unconverged`, `failed` or `invalid`.
    error : the message, if there is one.
    seconds : time that measuring took; an equal share for points that were measured together.
    values : name -> number.
    """

    digest: str
    status: str
    error: str = ""
    seconds: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def measure(task: Task) -> list[Row]:
    """Measure the points of a task; what goes wrong at a point is its row.

    Raises
    ------
    DataError
        If this process has other versions than the one that asks, so that its numbers would not belong to the sweep.
    SpecError
        If a measure cannot be imported here.
    """
    here = versions()
    others = [
        f"{name} {here.get(name)} here, {was} there" for name, was in task.versions.items() if here.get(name) != was
    ]
    if others:
        raise DataError(f"a worker of the sweep has other versions than the process that asked it: {', '.join(others)}")
    specs = [parse_spec(spec) for spec in task.specs]
    begin = time.perf_counter()
    found = [_apply(each, specs) for each in task.measures]
    seconds = (time.perf_counter() - begin) / len(specs)
    return [_row(digest, [each[k] for each in found], seconds) for k, digest in enumerate(task.digests)]


def lost(task: Task, message: str) -> list[Row]:
    """Rows of a task whose worker died each time that it was tried."""
    return [Row(digest, FAILED, message) for digest in task.digests]


def _apply(measure: Measure, specs: Sequence[Spec]) -> list[Mapping[str, float] | Exception]:
    """One measure at all points: together if it can, each by itself where that fails as a whole."""
    one = function(measure.one)
    if measure.many is not None:
        try:
            found = list(function(measure.many)(specs))
        except Exception:  # whichever point it is shows when they are taken one by one
            found = []
        if len(found) == len(specs):
            return found
    alone: list[Mapping[str, float] | Exception] = []
    for spec in specs:
        try:
            alone.append(one(spec))
        except Exception as error:  # a sweep goes on; the row says what happened
            alone.append(error)
    return alone


def _row(digest: str, found: Sequence[Mapping[str, float] | Exception], seconds: float) -> Row:
    """The row of a point: all its numbers, and the first thing that went wrong."""
    values: dict[str, float] = {}
    status, message = DONE, ""
    for part in found:
        if isinstance(part, Exception):
            worse = UNCONVERGED if isinstance(part, ConvergenceError) else FAILED
            status, message = (status, message) if status == FAILED else (worse, message or _said(part))
            continue
        try:
            numbers = {name: float(value) for name, value in part.items() if name != "converged"}
        except (TypeError, ValueError) as error:
            return Row(digest, FAILED, f"a measure gives something that is no number: {_said(error)}", seconds)
        if taken := sorted(set(numbers) & {*values, *RESERVED}):
            return Row(digest, FAILED, f"two measures give {taken[0]!r}, or the dataset needs that name", seconds)
        values |= numbers
        if not part.get("converged", True) and status == DONE:
            status, message = UNCONVERGED, "a solve did not converge"
    return Row(digest, status, message, seconds, values)


def _said(error: Exception) -> str:
    """One line for an exception."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, AnalogepError) else f"{type(error).__name__}: {text}"
