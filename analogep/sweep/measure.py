"""What is measured at a point: functions from a spec to named numbers, known by where they are found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analogep.errors import SpecError

RESERVED = ("status", "error", "seconds")
"""Variables of a dataset that no measure may be called."""


@dataclass(frozen=True)
class Measure:
    """A measure, as plain data that other processes and machines can be sent.

    Parameters
    ----------
    one : `module:function`, called as function(spec); returns name -> number. A number that does not exist at a point
        is left out or not-a-number; a key `converged` says whether the solves behind the others did.
    many : `module:function` for several specs at once, or None; returns one such mapping, or an exception, for each.
        The numbers of a point may not depend on which other points it is measured with by more than rounding.
    together : points that `many` is handed at a time.
    units : name -> unit.
    words : name -> what its whole numbers 0, 1, ... stand for, each one word; `function.words` gives them.
    """

    one: str
    many: str | None = None
    together: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_PER_TAU = ("spectral_abscissa", "numerical_abscissa", "contraction_margin")

MEASURES: dict[str, Measure] = {
    "panel": Measure(
        "analogep.sweep.measures:panel",
        units={**dict.fromkeys(_PER_TAU, "1/tau"), "hopf_frequency": "cycles/tau", "settling_time": "tau"},
    ),
    "fidelity": Measure("analogep.sweep.measures:fidelity", units={"loss": "nats"}),
    "chip": Measure(
        "analogep.sweep.measures:chip",
        "analogep.sweep.measures:chips",
        40,
        {"loss": "nats", "loss_change": "nats", "settling_time": "tau", "nudged_settling_time": "tau"},
    ),
}
"""Measures by the names that `--measure` takes."""


def find_measure(name: str) -> Measure:
    """The measure called `name`, or that of a function `module:function` of one's own.

    Raises
    ------
    SpecError
        If there is none.
    """
    if name in MEASURES:
        return MEASURES[name]
    if ":" not in name:
        raise SpecError(f"measure {name!r} does not exist; known are {', '.join(MEASURES)}, or give module:function")
    found = function(name)
    return Measure(name, units=getattr(found, "units", {}), words=getattr(found, "words", {}))


def function(reference: str) -> Callable[..., Any]:
    """The function at `module:name`.

    Raises
    ------
    SpecError
        If it cannot be imported.
    """
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError(f"measure {reference!r} cannot be imported: {error}") from None
    if not callable(found):
        raise SpecError(f"measure {reference!r} is no function")
    return found
