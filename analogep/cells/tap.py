"""Loads with a tap: how a cell reads a part of its input's voltage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analogep.netlist._types import Array
from analogep.netlist.elements import Resistor

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


def tap(node: str) -> str:
    """Name of the tap of a node's load."""
    return f"{node}.tap"


@dataclass(frozen=True, eq=False)
class TappedLoad(Resistor):
    """A load to ground made of two resistors, whose middle stands at `ratio` times the bus's voltage.

    Gates draw no current, so for the bus it is the load `siemens`. The middle exists in decks only, as `<node>.tap`.

    Parameters
    ----------
    ratio : between 0 and 1.
    """

    ratio: float = 0.5

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        super().check(buses, arrays)
        if self.shunts is None or not 0 < self.ratio < 1:
            raise self._wrong(
                f"a tap at {self.ratio:g} between {self.a!r} and {self.b!r}; give 0 < ratio < 1 to ground"
            )

    def spice(self, deck: Deck) -> Iterator[str]:
        bus = str(self.shunts)
        siemens = np.asarray(self.conductance(deck.arrays), float)
        for index, (node,) in deck.nodes(bus):
            ohms = 1 / deck.at(siemens, index, deck.shape(bus))
            upper, lower = (deck.instance("R", f"{self.name}.{end}", index) for end in ("upper", "lower"))
            yield f"{upper} {node} {tap(node)} {deck.number(ohms * (1 - self.ratio))}"
            yield f"{lower} {tap(node)} 0 {deck.number(ohms * self.ratio)}"
