"""What elements between two buses share: their terminals, and how a current or a voltage between them enters KCL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analogep.netlist._types import Array, Currents, Voltages
from analogep.netlist.element import GROUND, Element

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


def volt(v: Voltages, bus: str) -> Array:
    """Voltage of a bus; ground stands at 0 V."""
    return np.zeros(()) if bus == GROUND else v[bus]


def live(*buses: str) -> tuple[str, ...]:
    """The buses that are not ground, each once."""
    return tuple(dict.fromkeys(b for b in buses if b != GROUND))


@dataclass(frozen=True, eq=False)
class TwoTerminal(Element):
    """Base of elements between buses `a` and `b` (ground: `0`), one instance per node of the bus."""

    a: str
    b: str

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b}

    def _pair(self, quantity: Array) -> Currents:
        """What leaves `a` and enters `b`."""
        return pair(self.a, self.b, quantity)

    def _lines(
        self, deck: Deck, letter: str, values: Array | float, *, before: str = "", after: str = ""
    ) -> Iterator[str]:
        for index, nodes in deck.nodes(self.a, self.b):
            value = deck.at(values, index, deck.shape(self.a, self.b))
            yield f"{deck.instance(letter, self.name, index)} {nodes[0]} {nodes[1]} {before}{deck.number(value)}{after}"


def pair(a: str, b: str, quantity: Array) -> Currents:
    """A current or a charge that leaves bus `a` and enters bus `b`; ground keeps no account."""
    out: Currents = {}
    if a != GROUND:
        out[a] = quantity
    if b != GROUND:
        out[b] = -quantity + out.get(b, 0.0)
    return out


def programmed(
    element: Element, siemens: float | Array | str, buses: Mapping[str, Bus], arrays: Mapping[str, Array]
) -> Array | float:
    """Conductances of an element, those of its programmable array if it names one, checked."""
    values = arrays[siemens] if isinstance(siemens, str) else siemens
    shape = max((buses[bus].shape for bus in element.terminals.values() if bus != GROUND), key=len, default=())
    if isinstance(siemens, str) and np.shape(values) != shape:
        raise element._wrong(f"array {siemens!r} of shape {np.shape(values)} between buses of shape {shape}")
    element._check_values("conductance", values, buses)
    return values
