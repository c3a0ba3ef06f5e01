"""Named axes over spec keys: lists, ranges, and keys that move together."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analogep.errors import SpecError
from analogep.spec import set_key, toml_value

JOINED = "+"
"""Between keys that move together along one axis."""
UNITS = {
    "model.damping": "g0", "technology.volts": "V", "technology.siemens": "S", "technology.farads": "F",
    "compile.epsilon": "tau", "phases.horizon": "tau", "oracle.dt": "tau", "oracle.horizon": "tau",
    "data.batch": "windows", "training.batch": "windows",
}  # fmt: skip
"""Units of spec keys; the others have none."""
_RANGE = {"from", "to", "points", "scale"}
_SCALES = {"lin": "linear", "linear": "linear", "log": "log"}


@dataclass(frozen=True)
class Axis:
    """One axis of a sweep.

    Parameters
    ----------
    keys : spec keys that it sets; several of them move together.
    values : one tuple for each place along the axis, with a value for each key.

    Raises
    ------
    SpecError
        If a value is missing or appears twice, or a key belongs to the sweep itself.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        for key in self.keys:
            if not all(key.split(".")) or key.split(".")[0] == "sweep":
                raise SpecError(f"axis {self.name}: {key!r} is no spec key to sweep over")
        if len(set(self.keys)) < len(self.keys):
            raise SpecError(f"axis {self.name}: joins a key to itself")
        if not self.values:
            raise SpecError(f"axis {self.name}: has no values")
        for value in self.values:
            if len(value) != len(self.keys):
                raise SpecError(f"axis {self.name}: {list(value)} must hold {len(self.keys)} values, one for each key")
        for place, value in enumerate(self.values):
            if value in self.values[:place]:
                raise SpecError(f"axis {self.name}: the value {_shown(value)} appears twice")

    @property
    def name(self) -> str:
        """Name of its dimension: the key, or the keys joined by `+`."""
        return JOINED.join(self.keys)

    def set(self, tables: dict[str, Any], place: int) -> None:
        """Set its keys in spec tables to the values at `place`, in place."""
        for key, value in zip(self.keys, self.values[place], strict=True):
            set_key(tables, key, value, what=f"axis {self.name}")

    def coordinates(self) -> Iterator[tuple[str, np.ndarray, dict[str, str]]]:
        """Key, labels along the axis, and attributes; a value that is no plain number or word is written as JSON."""
        for k, key in enumerate(self.keys):
            column = [value[k] for value in self.values]
            numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
            labels = column if numbers else [v if isinstance(v, str) else json.dumps(v) for v in column]
            yield key, np.array(labels), {"units": UNITS.get(key, "1")} if numbers else {}

    def plain(self) -> dict[str, Any]:
        """Keys and values as plain data."""
        return {"keys": list(self.keys), "values": [list(value) for value in self.values]}


def read_axes(axes: Mapping[str, Any]) -> list[Axis]:
    """Axes from the table `[sweep.axes]`.

    Parameters
    ----------
    axes : name -> list of values, or a range `{from, to, points, scale}`. The name is a spec key, or several joined
        by `+` whose values are lists with one entry for each.

    Raises
    ------
    SpecError
        For a range that is none, and as `Axis`.
    """
    return [_axis(name, value) for name, value in axes.items()]


def parse_axis(text: str) -> Axis:
    """An axis from `key=a,b,c`, `key=from:to:points`, `key=from:to:points:log`, or `key=[...]` in TOML.

    Raises
    ------
    SpecError
        If it is none of these.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not name or not equals or not values:
        raise SpecError(f"--axis {text}: must look like key=a,b,c or key=from:to:points or key=from:to:points:log")
    if values[0] in "[{":
        value = toml_value(values)
        if isinstance(value, str):
            raise SpecError(f"--axis {text}: {values} is not a list in TOML")
        return _axis(name, value)
    if values.count(":") in (2, 3) and "," not in values:
        start, stop, points, *scale = (toml_value(part) for part in values.split(":"))
        return _axis(name, {"from": start, "to": stop, "points": points, "scale": (scale or ["linear"])[0]})
    return _axis(name, [toml_value(part.strip()) for part in values.split(",")])


def _end(name: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"axis {name}: {key} = {value!r} must be a number")
    return value


def _shown(value: tuple[Any, ...]) -> str:
    return repr(value[0] if len(value) == 1 else list(value))


def _axis(name: str, values: Any) -> Axis:
    keys = tuple(key.strip() for key in name.split(JOINED))
    if isinstance(values, Mapping):
        values = _range(name, values)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise SpecError(f"axis {name}: give a list of values, or a range with from, to and points")
    if len(keys) == 1:
        return Axis(keys, tuple((value,) for value in values))
    for value in values:
        if not isinstance(value, list | tuple):
            raise SpecError(f"axis {name}: {value!r} must be a list with one value for each of its {len(keys)} keys")
    return Axis(keys, tuple(tuple(value) for value in values))


def _range(name: str, given: Mapping[str, Any]) -> list[float] | list[int]:
    """The values of a range; whole numbers where both ends are and every step falls on one."""
    unknown, scale = sorted(set(given) - _RANGE), _SCALES.get(given.get("scale", "linear"))
    if unknown:
        raise SpecError(f"axis {name}: a range has from, to, points and scale, not {unknown[0]!r}")
    if scale is None:
        raise SpecError(f"axis {name}: scale {given['scale']!r} must be linear or log")
    start, stop = (_end(name, key, given.get(key)) for key in ("from", "to"))
    points = given.get("points")
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise SpecError(f"axis {name}: points = {points!r} must be a whole number, 2 or more")
    if scale == "log" and not (start > 0 and stop > 0):
        raise SpecError(f"axis {name}: a logarithmic range must lie above 0")
    values = (np.geomspace if scale == "log" else np.linspace)(start, stop, points)
    whole = np.round(values)
    if isinstance(start, int) and isinstance(stop, int) and np.allclose(values, whole, rtol=0, atol=1e-9):
        return [int(value) for value in whole]
    return [float(value) for value in values]
