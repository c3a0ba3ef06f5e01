"""Subcircuit definitions, their instances, and flattening."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from analogep.errors import NetlistError
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import BSource
from analogep.netlist.graph import Netlist


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

    def spice(self, deck) -> Iterator[str]:
        inner = deck.inside(self.subcircuit.netlist)
        ports = " ".join(inner.node(port) for port in self.subcircuit.ports)
        body = [line for element in self.subcircuit.netlist for line in element.spice(inner)]
        deck.define(self.subcircuit.name, [f".subckt {self.subcircuit.name} {ports}", *body, ".ends"])
        nodes = " ".join(deck.node(node) for node in self.nodes)
        yield f"X{deck.instance(self.name, ())} {nodes} {self.subcircuit.name}"


def flatten(netlist: Netlist) -> Netlist:
    """The same circuit with every instance replaced by its elements, inner names prefixed `instance.`.

    Raises
    ------
    NetlistError
        If names collide or subcircuits contain themselves.
    """
    flat = replace(netlist, elements={e.name: e for e in netlist if not isinstance(e, Instance)})
    for instance in (e for e in netlist if isinstance(e, Instance)):
        inner = flatten(instance.subcircuit.netlist)
        names = {bus: f"{instance.name}.{bus}" for bus in inner.buses} | dict(instance.terminals) | {GROUND: GROUND}
        arrays = {array: f"{instance.name}.{array}" for array in inner.arrays}
        flat = flat.add(
            *(_renamed(element, f"{instance.name}.{element.name}", names, arrays) for element in inner),
            buses={names[bus]: value for bus, value in inner.buses.items() if bus not in instance.subcircuit.ports},
            arrays={arrays[array]: value for array, value in inner.arrays.items()},
        )
    return flat


def _renamed(element: Element, name: str, buses: Mapping[str, str], arrays: Mapping[str, str]) -> Element:
    """The element under another name, on other buses and arrays."""
    if isinstance(element, BSource):
        expression = element.expression.renamed(buses)
        key = "current" if element.current is not None else "voltage"
        return replace(element, name=name, a=buses[element.a], b=buses[element.b], **{key: expression.text})
    changes: dict[str, object] = {"name": name}
    for field in fields(element):
        value = getattr(element, field.name)
        if field.name in ("a", "b", "c", "d", "rows", "columns", "output"):
            changes[field.name] = buses[value]
        elif field.name == "inputs":
            changes[field.name] = tuple(buses[bus] for bus in value)
        elif field.name in ("weights", "siemens") and isinstance(value, str):
            changes[field.name] = arrays[value]
    return replace(element, **changes)
