"""The ideal summing stage of compiled circuits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import Element

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class Summer(Element):
    """Ideal summing stage (transimpedance 1/siemens): the bus stands at the current pushed into it over `siemens`.

    Only one-way elements may push into it, so it is evaluated in topological order and is not a state. In a deck it
    is the resistor that the memoryless node then amounts to.
    """

    a: str
    siemens: float | Array

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a}

    @property
    def shunts(self) -> str:
        """The bus that the stage loads with its reference conductance."""
        return self.a

    def conductance(self, theta: Parameters) -> Array | float:
        """Reference conductance in siemens."""
        return self.siemens

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return {self.a: self.siemens * v[self.a]}

    def adjoint(self) -> tuple[Element, ...]:
        return (self,)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_values("reference conductance", self.siemens, buses)
        if np.any(np.asarray(self.siemens) <= 0):
            raise self._wrong(f"reference conductance {np.min(self.siemens):g} S at {self.a!r}; it must be positive")

    def spice(self, deck: Deck) -> Iterator[str]:
        ohms = 1.0 / np.asarray(self.siemens, float)
        for index, nodes in deck.nodes(self.a):
            value = deck.at(ohms, index, deck.shape(self.a))
            yield f"{deck.instance('R', self.name, index)} {nodes[0]} 0 {deck.number(value)}"
