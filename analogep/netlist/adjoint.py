"""The adjoint network of a netlist (Director and Rohrer 1969), itself a netlist.

Same resistors and capacitors, every controlled source with its ports exchanged, independent sources at rest. Its node
voltages are the multipliers lambda: with the currents -dL/dv injected, G^T lambda = -dL/dv.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist.element import GROUND, HELD, Element
from analogep.netlist.elements import VCCS, Capacitor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.transposed import Transposed

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class HeldRail(VSource):
    """A rail that holds voltages of the circuit for its adjoint; a deck has small-signal conductances instead."""

    def spice(self, deck: Deck) -> Iterator[str]:
        return iter(())


def adjoint(netlist: Netlist, outputs: tuple[str, ...] | None = None) -> Netlist:
    """The adjoint network of `netlist` about the operating point that its held rails carry.

    Parameters
    ----------
    netlist : a flat netlist.
    outputs : buses where currents will be injected; elements that these cannot reach are left out. None keeps all.

    Returns
    -------
    A netlist over buses of the same names (voltages there are lambda) and rails `free.<bus>`, inputs on which the
    circuit's own operating-point voltages are held.

    Raises
    ------
    NetlistError
        If an output is not a bus of the netlist.
    """
    fixed = {e.a for e in netlist if isinstance(e, VSource)}
    driven = {bus for e in netlist for bus in e.forces} - fixed
    for bus in outputs or ():
        if bus not in netlist.buses or bus in fixed:
            raise NetlistError(f"output {bus!r} is not a free bus of the netlist, so no current can be injected there")
    parts = [part for element in netlist for part in _parts(element, driven) if not _idle(part, fixed)]
    if outputs is not None:
        parts = _reached(parts, outputs)
    held = dict.fromkeys(bus for part in parts if isinstance(part, Transposed) for bus in part.held)
    live = {bus for part in parts for bus in part.terminals.values()} - {GROUND}
    live |= {bus for part in parts for bus in part.drives}
    rest = [VSource(f"rest.{bus}", bus, np.zeros(netlist.shape(bus))) for bus in netlist.buses if bus in fixed & live]
    rails = [HeldRail(HELD + bus, HELD + bus, np.zeros(netlist.shape(bus))) for bus in held]
    buses: dict[str, Bus] = {name: bus for name, bus in netlist.buses.items() if name in live}
    used = {part.array for part in parts}
    empty = Netlist(buses, {}, {n: g for n, g in netlist.arrays.items() if n in used}, f"adjoint of {netlist.title}")
    return empty.add(*parts, *rest, *rails, buses={HELD + bus: netlist.buses[bus] for bus in held})


def _parts(element: Element, driven: set[str]) -> tuple[Element, ...]:
    """The element's adjoint, where it need be without its rows at ideally driven nodes.

    Such a node takes any current without moving, so what an element pushes there is no term of an equation; what the
    node's voltage pushes elsewhere through the element is.
    """
    ends = [bus for bus in dict.fromkeys(element.terminals.values()) if bus in driven]
    if isinstance(element, Capacitor) and ends:
        free = [bus for bus in (element.a, element.b) if bus not in driven and bus != GROUND]
        return (replace(element, a=free[0], b=GROUND),) if free else ()
    deaf = tuple(bus for bus in element.drives if bus in driven)
    if not deaf:
        return element.adjoint()
    if element.array is not None:
        raise element._wrong(
            f"a programmable element pushes current into the ideally driven node {deaf[0]!r}, so its terminals do not "
            "show its gradient; put a Buffer and a state between them"
        )
    if isinstance(element, Resistor):
        free = [bus for bus in element.drives if bus not in driven]
        parts = (Resistor(element.name, bus, GROUND, element.siemens) for bus in free)
        push = (VCCS(f"{element.name}.drive", GROUND, deaf[0], bus, GROUND, element.siemens) for bus in free)
        return (*parts, *push)
    slopes = Transposed(element.name, element, deaf)
    return (slopes,) if slopes._outputs and slopes.drives and element.adjoint() else ()


def _idle(part: Element, fixed: set[str]) -> bool:
    """Whether a one-way part only pushes current into, or only listens to, nodes that rest at ground."""
    two_way = set(part.reads) & set(part.drives)
    if two_way or not part.drives or part.forces:
        return False
    listens = [bus for bus in part.reads if not bus.startswith(HELD)]
    return set(part.drives) <= fixed or (bool(listens) and set(listens) <= fixed)


def _reached(parts: list[Element], outputs: tuple[str, ...]) -> list[Element]:
    """The parts with a terminal on a bus that currents injected at `outputs` can move."""
    flow = nx.DiGraph()
    flow.add_nodes_from(outputs)
    for part in parts:
        flow.add_edges_from((a, b) for a in part.reads for b in part.drives)
    moved = set(outputs).union(*(nx.descendants(flow, bus) for bus in outputs))

    def kept(part: Element) -> bool:
        listens = [bus for bus in part.reads if not bus.startswith(HELD)]
        return bool(moved & set(listens)) if listens else bool(moved & set(part.terminals.values()))

    return [replace(part) for part in parts if kept(part)]
