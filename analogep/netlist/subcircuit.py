"""Subcircuit definitions, their instances, and flattening."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from analogep.errors import NetlistError
from analogep.netlist._types import Array
from analogep.netlist.element import GROUND, Element
from analogep.netlist.graph import Bus, Netlist

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class Subcircuit:
    """A named circuit with ports: scalar buses of its netlist that an instance connects."""

    name: str
    ports: tuple[str, ...]
    netlist: Netlist

    def __post_init__(self) -> None:
        for port in self.ports:
            if port not in self.netlist.buses:
                raise NetlistError(f"subcircuit {self.name!r}: port {port!r} is not one of its nodes")
            if self.netlist.buses[port].shape != ():
                raise NetlistError(f"subcircuit {self.name!r}: port {port!r} is a bus; ports must be scalar nodes")


@dataclass(frozen=True, eq=False)
class Instance(Element):
    """One use of a subcircuit: `nodes` are connected to its ports in order; SPICE letter X."""

    subcircuit: Subcircuit
    nodes: tuple[str, ...]

    @property
    def terminals(self) -> Mapping[str, str]:
        if len(self.nodes) != len(self.subcircuit.ports):
            raise self._wrong(
                f"{len(self.nodes)} nodes for the {len(self.subcircuit.ports)} ports of {self.subcircuit.name!r}"
            )
        return dict(zip(self.subcircuit.ports, self.nodes, strict=True))

    def spice(self, deck: Deck) -> Iterator[str]:
        inner = deck.inside(self.subcircuit.netlist)
        ports = " ".join(inner.node(port) for port in self.subcircuit.ports)
        body = [line for element in self.subcircuit.netlist for line in element.spice(inner)]
        deck.define(self.subcircuit.name, [f".subckt {self.subcircuit.name} {ports}", *body, ".ends"])
        nodes = " ".join(deck.node(node) for node in self.nodes)
        yield f"{deck.instance('X', self.name, ())} {nodes} {self.subcircuit.name}"


def flatten(netlist: Netlist) -> Netlist:
    """The same circuit with every instance replaced by its elements, inner names prefixed `instance.`.

    Raises
    ------
    NetlistError
        If names collide or subcircuits contain themselves.
    """
    elements: list[Element] = []
    buses: dict[str, Bus] = {}
    arrays: dict[str, Array] = {}
    flattened: dict[int, Netlist] = {}
    instances = [e for e in netlist if isinstance(e, Instance)]
    for instance in instances:
        definition = instance.subcircuit
        if id(definition) not in flattened:
            flattened[id(definition)] = flatten(definition.netlist)
        inner = flattened[id(definition)]
        _check_instance(netlist, instance, inner)
        nodes = {bus: f"{instance.name}.{bus}" for bus in inner.buses} | dict(instance.terminals) | {GROUND: GROUND}
        shared = {array: f"{instance.name}.{array}" for array in inner.arrays}
        names = {element: f"{instance.name}.{element}" for element in inner.elements}
        elements += [element.renamed(names[element.name], nodes, shared, names) for element in inner]
        _join(buses, {nodes[bus]: value for bus, value in inner.buses.items() if bus not in definition.ports})
        _join(arrays, {shared[array]: value for array, value in inner.arrays.items()})
    own = replace(netlist, elements={e.name: e for e in netlist if not isinstance(e, Instance)})
    return own.add(*elements, buses=buses, arrays=arrays) if instances else own


def _join(known: dict[str, Any], more: Mapping[str, Any]) -> None:
    taken = known.keys() & more.keys()
    if taken:
        raise NetlistError(f"two instances both have an inner {min(taken)!r}; rename one of them")
    known.update(more)


def _check_instance(netlist: Netlist, instance: Instance, inner: Netlist) -> None:
    """Scalar nodes outside, and inside no element that names a missing node."""
    for port, node in instance.terminals.items():
        if node in netlist.buses and netlist.shape(node) != ():
            raise instance._wrong(
                f"port {port!r} is connected to the bus {node!r} of shape {netlist.shape(node)}; it needs a scalar node"
            )
    for element in inner:
        inside = f"inside {instance.subcircuit.name!r}, {element.name!r} names the"
        missing = set(element.terminals.values()) - set(inner.buses) - {GROUND}
        if missing:
            raise instance._wrong(f"{inside} node {min(missing)!r}, which is missing")
        if element.array is not None and element.array not in inner.arrays:
            raise instance._wrong(f"{inside} array {element.array!r}, which is missing")
