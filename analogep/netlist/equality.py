"""Whether two netlists are the same circuit: names, nodes, elements, values and subcircuits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from analogep.netlist.graph import Netlist
from analogep.netlist.subcircuit import Subcircuit

ROUNDED = frozenset({"siemens", "kelvin", "tnom"})
"""Fields that decks hold in other units (ohm, degrees Celsius), and so lose their last bit."""


def equal(one: Netlist, other: Netlist) -> bool:
    """Whether the two have the same nodes, elements and values; titles, names of subcircuits and order do not count.

    Numbers must be equal to the last bit but for conductances and temperatures, which decks hold in other units.
    """
    return next(differences(one, other), None) is None


def differences(one: Netlist, other: Netlist) -> Iterator[str]:
    """What distinguishes the two, one line each."""
    for kind in ("buses", "elements", "arrays"):
        for name in sorted(set(getattr(one, kind)) ^ set(getattr(other, kind))):
            yield f"{kind}: only one has {name!r}"
    for name in one.buses.keys() & other.buses.keys():
        if one.buses[name].shape != other.buses[name].shape:
            yield f"bus {name!r}: shapes differ"
    for name in one.elements.keys() & other.elements.keys():
        yield from _fields(name, one.elements[name], other.elements[name])
    for name in one.arrays.keys() & other.arrays.keys():
        if not np.array_equal(one.arrays[name], other.arrays[name]):
            yield f"array {name!r} differs"


def _fields(where: str, one: Any, other: Any) -> Iterator[str]:
    if type(one) is not type(other):
        yield f"{where}: {type(one).__name__} and {type(other).__name__}"
        return
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(other, field.name)
        inside = f"{where}.{field.name}"
        if isinstance(first, Subcircuit) and isinstance(second, Subcircuit):
            if first.ports != second.ports:
                yield f"{inside}: ports {first.ports} and {second.ports}"
            yield from differences(first.netlist, second.netlist)
        elif is_dataclass(first):
            yield from _fields(inside, first, second)
        elif not _same(first, second, field.name in ROUNDED):
            yield f"{inside}: {first!r} and {second!r}"


def _same(one: Any, other: Any, rounded: bool) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if rounded and isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 4e-16 * abs(one)
    return bool(one == other)
