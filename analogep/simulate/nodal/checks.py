"""What makes a circuit unsolvable, found on its graph, with the element or the node by name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import networkx as nx

from analogep.errors import NetlistError
from analogep.netlist.checks import check_elements
from analogep.netlist.devices.device import Device
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import CCCS, VCCS, Capacitor, Coupling, Inductor, ISource
from analogep.netlist.elements.behavioral import BSource
from analogep.netlist.graph import Netlist


def check(netlist: Netlist) -> None:
    """Raise NetlistError for what no solver can help.

    Checked in turn: elements are sound and refer to elements that exist; no loop of voltage-defined branches, in which
    currents are undetermined; every node has a path to ground that direct current can take.
    """
    if not netlist.buses:
        raise NetlistError("the circuit has no node but ground; there is nothing to simulate")
    check_elements(netlist)
    branches = {e.branch for e in netlist if e.branch is not None}
    for element in netlist:
        _check_scalar(netlist, element)
        _check_references(netlist, element, branches)
    _check_loops(netlist)
    _check_paths(netlist)


def _check_scalar(netlist: Netlist, element: Element) -> None:
    for bus in element.terminals.values():
        if bus != GROUND and netlist.buses[bus].shape != ():
            raise element._wrong(
                f"node {bus!r} is a bus of shape {netlist.buses[bus].shape}; nodal analysis takes scalar nodes: write "
                "the netlist as a deck and read it back, or simulate it as Circuit"
            )


def _check_references(netlist: Netlist, element: Element, branches: set[str]) -> None:
    for field in element.element_fields:
        name = getattr(element, field)
        other = netlist.elements.get(name)
        wanted = "inductor" if isinstance(element, Coupling) else "voltage source"
        if other is None:
            raise element._wrong(f"it refers to the {wanted} {name!r}, which is missing")
        if isinstance(element, Coupling) and not isinstance(other, Inductor):
            raise element._wrong(f"it couples {name!r}, which is a {type(other).__name__}, not an inductor")
        if other.branch is None:
            raise element._wrong(f"it reads the current of {name!r}, a {type(other).__name__}; name a voltage source")
    for unknown in element.unknowns.values():
        if unknown.startswith("i(") and unknown not in branches:
            raise element._wrong(f"it reads {unknown}, but no voltage source or inductor has that name")


def _ends(element: Element) -> tuple[str, str]:
    return getattr(element, "a"), getattr(element, "b")  # noqa: B009 - only elements with these two are asked


def _check_loops(netlist: Netlist) -> None:
    """Voltage-defined elements (sources, inductors at DC) must form no loop: its current would be anything."""
    forest, groups = nx.Graph(), nx.utils.UnionFind()
    for element in netlist:
        if element.branch is None:
            continue
        a, b = _ends(element)
        if groups[a] == groups[b]:
            path = nx.shortest_path(forest, a, b) if a != b else [a]
            others = [forest.edges[edge]["name"] for edge in pairwise(path)]
            loop = ", ".join(repr(name) for name in dict.fromkeys([element.name, *others]))
            raise NetlistError(
                f"loop of voltage sources and inductors: {loop} (nodes {', '.join(dict.fromkeys([*path, a, b]))}); put "
                "a resistor in series with one of them"
            )
        groups.union(a, b)
        forest.add_edge(a, b, name=element.name)


def _joined(element: Element) -> Iterator[tuple[str, str]]:
    """Pairs of nodes between which the element lets direct current pass."""
    if isinstance(element, VCCS):
        if {element.a, element.b} & {element.c, element.d}:
            yield element.a, element.b
        return
    if isinstance(element, Capacitor | ISource | CCCS | Coupling):
        return
    if isinstance(element, BSource):
        if element.voltage is not None or {element.a, element.b} & set(element.expression.nodes):
            yield element.a, element.b
        return
    ends = _conducting(element)
    yield from pairwise(ends)


def _conducting(element: Element) -> list[str]:
    """Terminals joined by conduction; a gate and the controlling nodes of a source are not."""
    insulated = {"c", "d", "gate"}
    return [bus for role, bus in element.unknowns.items() if role not in insulated and not bus.startswith("i(")]


def _check_paths(netlist: Netlist) -> None:
    paths = nx.Graph()
    paths.add_nodes_from([GROUND, *netlist.buses])
    for element in netlist:
        paths.add_edges_from(_joined(element))
    grounded = nx.node_connected_component(paths, GROUND)
    for bus in netlist.buses:
        if bus not in grounded:
            touching = ", ".join(repr(e.name) for e in netlist.touching(bus)) or "nothing"
            raise NetlistError(
                f"node {bus!r} floats: no direct current can reach ground from it (it touches {touching}); add a "
                "resistor to ground"
            )


def islands(netlist: Netlist) -> list[set[str]]:
    """Groups of nodes that only inductors and current sources join to the rest, ground left out of the account.

    The common voltage of such a group is no function of what is stored, but follows from derivatives of currents
    (index 2: Estevez Schwarz and Tischendorf 2000, LI cutsets): it may jump where a current has a corner.
    """
    joined = nx.Graph()
    joined.add_nodes_from([GROUND, *netlist.buses])
    for element in netlist:
        if isinstance(element, Capacitor):
            joined.add_edge(element.a, element.b)
        elif isinstance(element, Device):
            nx.add_path(joined, element.unknowns.values())
        elif not isinstance(element, Inductor):
            joined.add_edges_from(_joined(element))
    return [group for group in nx.connected_components(joined) if GROUND not in group]
