"""Initial conditions and guesses against what the circuit's own sources fix."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import networkx as nx

from analogep.errors import NetlistError
from analogep.netlist._types import Parameters
from analogep.netlist.element import GROUND
from analogep.netlist.elements import Capacitor, VSource
from analogep.netlist.graph import Netlist
from analogep.netlist.waveforms import Waveform

if TYPE_CHECKING:
    from analogep.simulate.nodal.system import Nodal

SAME = 1e-9
"""Relative difference of voltages that count as equal, beside as many volts."""


def free_conditions(
    nodal: Nodal, values: Mapping[str, float], theta: Parameters, t: float, *, strict: bool = True
) -> dict[str, float]:
    """Those of some node voltages that voltage sources leave free, one for each group of nodes that sources join.

    Parameters
    ----------
    values : node -> volts.
    strict : whether a voltage that contradicts a source is an error; otherwise it is dropped, as a guess.

    Raises
    ------
    NetlistError
        For an unknown node, and for a contradiction.
    """
    joined, volts = nx.Graph(), {}
    for e in nodal.netlist:
        if isinstance(e, VSource):
            wave = isinstance(e.value, Waveform)
            volts[e.name] = float(e.at(t)) if wave else float(nodal.value(f"{e.name}.value", theta))
            joined.add_edge(e.a, e.b, name=e.name, upper=e.a)
    free: dict[str, float] = {}
    anchors = {GROUND: 0.0}
    for node, value in values.items():
        if node not in nodal.nodes:
            raise NetlistError(f"initial condition for node {node!r}, which is not in the circuit")
        above = _above(joined, node, anchors, volts)
        if above is None:
            free[node] = anchors[node] = value
        elif strict and not _same(above[0], value):
            raise NetlistError(
                f"initial condition of {value:g} V on node {node!r}; {above[1]} fixes it at {above[0]:g} V; drop one"
            )
    return free


def _above(
    joined: nx.Graph, node: str, anchors: Mapping[str, float], volts: Mapping[str, float]
) -> tuple[float, str] | None:
    """Voltage that sources give a node above what is known, and what gives it; None if they leave it free."""
    if node in anchors:
        return anchors[node], "another condition"
    if node not in joined:
        return None
    for anchor, known in anchors.items():
        if anchor in joined and nx.has_path(joined, anchor, node):
            path, names = nx.shortest_path(joined, anchor, node), []
            for lower, upper in pairwise(path):
                edge = joined.edges[lower, upper]
                known += volts[edge["name"]] * (1 if edge["upper"] == upper else -1)
                names.append(repr(edge["name"]))
            return known, ", ".join(names)
    return None


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * (1 + abs(a) + abs(b))


def check_capacitors(netlist: Netlist, conditions: Mapping[str, float]) -> None:
    """Raise NetlistError where initial voltages of capacitors contradict each other or initial conditions of nodes."""
    groups = nx.Graph()
    known = [(node, GROUND, volts, f"the condition on node {node!r}") for node, volts in conditions.items()]
    known += [
        (e.a, e.b, e.initial, repr(e.name)) for e in netlist if isinstance(e, Capacitor) and e.initial is not None
    ]
    for a, b, volts, name in known:
        if a in groups and b in groups and nx.has_path(groups, b, a):
            path = nx.shortest_path(groups, b, a)
            edges = [(groups.edges[pair], pair[1]) for pair in pairwise(path)]
            around = sum(edge["volts"] * (1 if edge["upper"] == end else -1) for edge, end in edges)
            if not _same(around, volts):
                others = ", ".join(edge["name"] for edge, _ in edges)
                raise NetlistError(
                    f"initial voltages in contradiction: {name} starts at {volts:g} V, but {others} make that "
                    f"{around:g} V; leave one out"
                )
        else:
            groups.add_edge(a, b, volts=volts, upper=a, name=name)
