"""Electrical checks of a flat netlist; every message names the element and the node, and the next step."""

from __future__ import annotations

import networkx as nx
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import VCVS, Capacitor, Resistor, Summer, TwoTerminal
from analogep.netlist.graph import Netlist, node_name
from analogep.netlist.wires import WireLines


def check(netlist: Netlist) -> None:
    """Raise NetlistError unless every element is sound and every node has an equation.

    Checked in turn: terminals exist and shapes fit; values are physical; no node is forced twice; every node carries
    a capacitor or is driven by an ideal stage; ideal summing stages see one-way elements only; every node has a DC
    path to ground.
    """
    check_elements(netlist)
    _check_explicit(netlist)
    _check_drivers(netlist)
    _check_dynamics(netlist)
    _check_paths(netlist)


def check_elements(netlist: Netlist) -> None:
    """Terminals exist, shapes fit and values are physical."""
    for element in netlist:
        for role, bus in element.terminals.items():
            if bus != GROUND and bus not in netlist.buses:
                known = ", ".join(sorted(netlist.buses)) or "none"
                raise NetlistError(
                    f"{type(element).__name__} {element.name!r}: terminal {role} names the node {bus!r}, which is "
                    f"missing; the buses are {known}"
                )
        if element.array is not None and element.array not in netlist.arrays:
            raise NetlistError(
                f"{type(element).__name__} {element.name!r}: array {element.array!r} is missing; pass it in arrays="
            )
        _check_broadcast(netlist, element)
        element.check(netlist.buses, netlist.arrays)


def _check_broadcast(netlist: Netlist, element: Element) -> None:
    """Two-terminal and controlled elements connect buses of one shape, node by node."""
    if not isinstance(element, TwoTerminal | VCVS):
        return
    buses = {bus: netlist.buses[bus] for bus in element.terminals.values() if bus != GROUND}
    listed = ", ".join(f"{name!r} {bus.shape}" for name, bus in buses.items())
    if len({bus.shape for bus in buses.values()}) > 1:
        raise NetlistError(
            f"{type(element).__name__} {element.name!r}: buses of different shapes: {listed}; a Crossbar can join them"
        )
    if len({bus.indices.tobytes() for bus in buses.values() if bus.exists is not None}) > 1 or (
        len({bus.exists is None for bus in buses.values()}) > 1
    ):
        raise NetlistError(
            f"{type(element).__name__} {element.name!r}: not the same nodes are built in the buses {listed}"
        )


def _check_explicit(netlist: Netlist) -> None:
    """Elements with equations of their own, beside those of the nodes, are for modified nodal analysis."""
    for element in netlist:
        own = set(element.unknowns.values()) - {GROUND, *element.terminals.values()}
        if element.forces:
            own.discard(str(element.branch))
        stores = type(element).charges is not Element.charges and not isinstance(element, Capacitor)
        if own or stores or (element.branch is not None and not element.forces):
            nodes = " and ".join(repr(bus) for bus in dict.fromkeys(element.terminals.values()))
            raise NetlistError(
                f"{type(element).__name__} {element.name!r} at {nodes} has an unknown current or charge of its own "
                "(an inductor, a voltage source between two nodes, a device with charge); simulate the netlist as "
                "Nodal, or let one end of a voltage source be ground"
            )


def _check_drivers(netlist: Netlist) -> None:
    forced: dict[str, str] = {}
    for element in netlist:
        stages = (element.a,) if isinstance(element, Summer) else element.forces
        for bus in stages:
            if bus == GROUND:
                raise NetlistError(f"{type(element).__name__} {element.name!r} drives ground, node {GROUND!r}")
            if bus in forced:
                raise NetlistError(
                    f"node {bus!r} is driven twice, by {forced[bus]!r} and {element.name!r}; remove one of them"
                )
            forced[bus] = element.name


def _check_dynamics(netlist: Netlist) -> None:
    stored: dict[str, np.ndarray] = {bus: np.zeros(shape.shape, bool) for bus, shape in netlist.buses.items()}
    driven: set[str] = set()
    summers: dict[str, str] = {}
    for element in netlist:
        if isinstance(element, Capacitor):
            for bus in set(element.terminals.values()) - {GROUND}:
                stored[bus] |= True
        elif isinstance(element, Summer):
            driven.add(element.a)
            summers[element.a] = element.name
        driven.update(element.forces)
    for bus, has in stored.items():
        if bus in summers and has.any():
            raise NetlistError(f"node {bus!r} has a capacitor and the ideal stage {summers[bus]!r}; keep one of them")
        if bus not in driven and not has.all() and netlist.buses[bus].nodes:
            first = np.unravel_index(netlist.buses[bus].indices[0], netlist.buses[bus].shape)
            raise NetlistError(
                f"node {node_name(bus, first)!r} has neither a capacitor nor an ideal driver, so it is not a state of "
                "an ODE; give it a Capacitor, or compile with parasitics= (level 'parasitic')"
            )
    for element in netlist:
        two_way = set(element.reads) & set(element.drives)
        for bus in two_way & set(summers):
            if not (isinstance(element, Resistor) and element.shunts):
                raise NetlistError(
                    f"{type(element).__name__} {element.name!r} loads the ideal summing stage {summers[bus]!r} at node "
                    f"{bus!r}; only one-way elements may push into it"
                )


def _check_paths(netlist: Netlist) -> None:
    """Every bus must reach ground through conductances or an ideal driver (no node floats at DC)."""
    paths = nx.Graph()
    paths.add_node(GROUND)
    for element in netlist:
        paths.add_edges_from((GROUND, bus) for bus in element.forces)
        if isinstance(element, Summer):
            paths.add_edge(GROUND, element.a)
        elif isinstance(element, Resistor):
            if np.any(np.asarray(element.conductance(netlist.arrays)) > 0):
                paths.add_edge(element.a, element.b)
        elif isinstance(element, Crossbar):
            if element.coupling == "resistive" and np.any(np.asarray(netlist.arrays[element.weights]) > 0):
                paths.add_edge(element.rows, element.columns)
        elif isinstance(element, TwoTerminal | WireLines) and set(element.reads) & set(element.drives):
            nx.add_path(paths, list(element.terminals.values())[:2])
    grounded = nx.node_connected_component(paths, GROUND)
    for bus in netlist.buses:
        if bus not in grounded:
            touching = ", ".join(repr(e.name) for e in netlist.touching(bus)) or "nothing"
            raise NetlistError(
                f"node {bus!r} has no DC path to ground (it touches {touching}); add a Resistor to ground"
            )
