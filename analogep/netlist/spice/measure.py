"""`.meas` as data, and its evaluation over the results of a simulation.

Results are xarray datasets of one sweep coordinate (`time`, `frequency`, or the name of a swept source) with the
variables `v(node)` and `i(element)`; between their points values are joined by straight lines, as in ngspice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from analogep.errors import NetlistError
from analogep.netlist.spice.formula import evaluate as evaluate_formula
from analogep.netlist.spice.formula import formula

Edge = Literal["rise", "fall", "cross"]
Statistic = Literal["max", "min", "avg", "rms", "pp", "integ", "max_at", "min_at"]
LAST = -1
_SIGNAL = re.compile(r"(v|i|vm|vp|vr|vi|vdb|im|ip|ir|ii|idb)\(([^(),]+)(?:,([^(),]+))?\)")


@dataclass(frozen=True)
class Crossing:
    """Where `signal` crosses `level`, a number or another signal; or a plain place `at`.

    Parameters
    ----------
    edge, count : the crossing counted, from 1; `LAST` for the last. delay : crossings before it do not count.
    """

    signal: str = ""
    level: float | str = 0.0
    edge: Edge = "cross"
    count: int = 1
    delay: float = -math.inf
    at: float | None = None


@dataclass(frozen=True)
class Measure:
    """One `.meas`: `kind` tells which of the other fields count.

    Parameters
    ----------
    name, analysis : the result's name; "tran", "ac", "dc", "op" or "noise".
    kind : "statistic" (of `signal` between `start` and `stop`), "find" (`signal` at `when`), "when" (the place itself),
        "deriv" (slope of `signal` at `when`), "trig" (from `trigger` to `target`), or "param" (`expression` of earlier
        results).
    """

    name: str
    analysis: str
    kind: Literal["statistic", "find", "when", "deriv", "trig", "param"]
    signal: str = ""
    statistic: Statistic | None = None
    start: float = -math.inf
    stop: float = math.inf
    when: Crossing | None = None
    trigger: Crossing | None = None
    target: Crossing | None = None
    expression: str = ""


def evaluate(measures: Sequence[Measure], results: Mapping[str, xr.Dataset]) -> dict[str, float]:
    """Values of the measures whose analysis is among `results` (analysis -> dataset); NaN where nothing was found.

    Raises
    ------
    NetlistError
        For a signal that the results do not hold, and an expression of unknown names.
    """
    values: dict[str, float] = {}
    for measure in measures:
        if measure.analysis in results:
            values[measure.name] = _value(measure, results[measure.analysis], values)
    return values


def signal(dataset: xr.Dataset, text: str, what: str = "measure") -> np.ndarray:
    """Values of `v(a)`, `v(a,b)`, `i(v1)`, `vdb(a)`, `vm`, `vp`, `vr` or `vi`, one for every point.

    Phases are in radians, as ngspice has them. Complex results are taken by magnitude where the text does not say.
    """
    match = _SIGNAL.fullmatch(text)
    if match is None:
        raise NetlistError(f"{what}: {text[:60]!r} is not a signal; write v(node), v(a,b) or i(element)")
    function, first, second = match.groups()
    quantity, part = function[0], function[1:]
    values = _variable(dataset, quantity, first, what)
    if second is not None:
        values = values - _variable(dataset, quantity, second, what)
    if part == "db":
        return 20 * np.log10(np.abs(values))
    if part == "p":
        return np.angle(values)
    if part in ("r", "i"):
        return np.real(values) if part == "r" else np.imag(values)
    return np.abs(values) if part == "m" or np.iscomplexobj(values) else values


def _variable(dataset: xr.Dataset, quantity: str, name: str, what: str) -> np.ndarray:
    if quantity == "v" and name == "0":
        return np.zeros(next((len(item) for item in dataset.data_vars.values() if item.ndim), 1))
    variable = f"{quantity}({name})"
    if variable not in dataset:
        known = ", ".join(str(key) for key in list(dataset.data_vars)[:8])
        raise NetlistError(f"{what}: the results hold no {variable}; they hold {known}")
    return np.atleast_1d(dataset[variable].values)


def _value(measure: Measure, dataset: xr.Dataset, earlier: Mapping[str, float]) -> float:
    what = f"measure {measure.name!r}"
    if measure.kind == "param":
        return _parameter(measure, earlier)
    x = _sweep(dataset, what)
    if measure.kind == "trig":
        first, last = (_place(dataset, x, end, what) for end in (measure.trigger, measure.target))
        return last - first
    if measure.kind == "statistic":
        return _statistic(measure, x, signal(dataset, measure.signal, what))
    place = _place(dataset, x, measure.when, what)
    if measure.kind == "when" or math.isnan(place):
        return place
    y = signal(dataset, measure.signal, what)
    if not x[0] <= place <= x[-1]:
        return math.nan
    if measure.kind == "deriv":
        k = int(np.clip(np.searchsorted(x, place) - 1, 0, len(x) - 2))
        return float((y[k + 1] - y[k]) / (x[k + 1] - x[k]))
    return float(np.interp(place, x, y))


def _parameter(measure: Measure, earlier: Mapping[str, float]) -> float:
    def lookup(name: str) -> float:
        if name not in earlier:
            raise NetlistError(f"measure {measure.name!r}: unknown result {name!r}; an earlier .meas must define it")
        return earlier[name]

    def call(name: str, _: tuple[float, ...]) -> float:
        raise NetlistError(f"measure {measure.name!r}: unknown function {name!r}")

    return evaluate_formula(formula(measure.expression), lookup, call)


def _sweep(dataset: xr.Dataset, what: str) -> np.ndarray:
    """The coordinate, ascending."""
    if len(dataset.dims) != 1:
        raise NetlistError(f"{what}: the results have {len(dataset.dims)} axes; a measure needs one")
    x = np.asarray(dataset[next(iter(dataset.dims))].values, float)
    if len(x) < 2 or np.any(np.diff(x) < 0):
        raise NetlistError(f"{what}: the results need two points or more, in ascending order")
    return x


def _place(dataset: xr.Dataset, x: np.ndarray, where: Crossing | None, what: str) -> float:
    """Where a crossing is; NaN if it is not."""
    if where is None:
        raise NetlistError(f"{what}: no place given")
    if where.at is not None:
        return where.at
    level = signal(dataset, where.level, what) if isinstance(where.level, str) else where.level
    y = signal(dataset, where.signal, what) - level
    before, after = y[:-1], y[1:]
    rising, falling = (before < 0) & (after >= 0), (before > 0) & (after <= 0)
    found = np.flatnonzero({"rise": rising, "fall": falling, "cross": rising | falling}[where.edge])
    places = x[found] - before[found] * (x[found + 1] - x[found]) / (after[found] - before[found])
    places = places[places >= where.delay]
    if where.count == LAST:
        return float(places[-1]) if len(places) else math.nan
    return float(places[where.count - 1]) if len(places) >= where.count else math.nan


def _statistic(measure: Measure, x: np.ndarray, y: np.ndarray) -> float:
    start, stop = max(measure.start, x[0]), min(measure.stop, x[-1])
    if not start <= stop:
        return math.nan
    inside = (x > start) & (x < stop)
    places = np.concatenate([[start], x[inside], [stop]])
    values = np.concatenate([[np.interp(start, x, y)], y[inside], [np.interp(stop, x, y)]])
    steps, width = np.diff(places), stop - start
    area = float(np.sum(steps * (values[:-1] + values[1:]) / 2))
    # The square of a straight line is integrated exactly.
    square = float(np.sum(steps * (values[:-1] ** 2 + values[:-1] * values[1:] + values[1:] ** 2) / 3))
    laws = {
        "max": lambda: values.max(),
        "min": lambda: values.min(),
        "pp": lambda: values.max() - values.min(),
        "max_at": lambda: places[values.argmax()],
        "min_at": lambda: places[values.argmin()],
        "integ": lambda: area,
        "avg": lambda: area / width if width else values[0],
        "rms": lambda: math.sqrt(square / width) if width else abs(values[0]),
    }
    return float(laws[str(measure.statistic)]())
