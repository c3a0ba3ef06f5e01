"""What each estimator costs a given circuit, counted on the netlists that its phases are built of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from analogep.cells import Cell
from analogep.ep.estimators import (
    ASYM_EP,
    DYADIC_EP,
    GYRATOR_FLIP,
    HOLOMORPHIC_EP,
    REVERSED,
    RULES,
    TWIN,
)
from analogep.errors import SpecError
from analogep.learning.reversal import gyrators
from analogep.learning.rule import Phase, Rule
from analogep.netlist.adjoint import adjoint
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND, HELD, Element
from analogep.netlist.elements import Capacitor, Summer, VSource
from analogep.netlist.graph import Netlist
from analogep.netlist.spice.write import Deck
from analogep.netlist.transposed import Transposed


@dataclass(frozen=True)
class Price:
    """What an estimator asks for besides the circuit and its output nudge, which all of them need.

    Attributes
    ----------
    settles : relaxations for one sample and one gradient, those counted that must follow one another.
    devices : programmable conductances added, copies for tokens counted.
    cells : nonlinear cells, or their small-signal stand-ins, added.
    capacitors : nodes added that have a pole of their own.
    wires : lines added: the nodes at the terminals of every added element.
    switches : lines that must be switched between the free phase and the others.
    stored_voltages : voltages that must be remembered from one phase to a later one.
    stored_currents : currents that must be held through a phase.
    """

    settles: int
    devices: int = 0
    cells: int = 0
    capacitors: int = 0
    wires: int = 0
    switches: int = 0
    stored_voltages: int = 0
    stored_currents: int = 0

    def to_dict(self) -> dict[str, int]:
        """Plain numbers by name."""
        return asdict(self)


def price(name: str, netlist: Netlist, *, points: int = 4) -> Price:
    """The price of one estimator on one circuit.

    How it is counted:

    - `twin` and `dyadic_ep`: every element of the adjoint network. The first settles after the circuit; the second with
      it, from 0 V, and nothing is stored, because both halves are there at once. (Dyadic EP is counted as mean and
      difference; as two copies it has as many elements again as the circuit, and the couplings A between them.)
    - `asym_ep`: 2 A (v - v*) is G (v - v*) less G^T (v - v*): the small-signal conductances of every one-way element,
      and those of its transpose. Two-way elements cancel. v* is stored at every node.
    - `reversed`: nothing is added; both ports of each one-way element are switched, a held current keeps v* at rest at
      every node, and the voltages that set small-signal conductances are stored.
    - `gyrator_flip`: two lines of one port of each gyrator are crossed; a held current at every node of a gyrator.
    - `holomorphic_ep`: N complex nudges. A circuit has real voltages: this is the price of a simulation, or of a
      substrate with two quadratures.
    - `coupled_learning`: the outputs' clamps are its nudge.

    Signals that a rule compares across phases are stored at the terminals of every programmable element: each phase but
    the last holds what the rule reads of it.

    Parameters
    ----------
    name : of a rule in `RULES`.
    netlist : the flat circuit.
    points : N of the holomorphic circle.

    Raises
    ------
    SpecError
        For an unknown estimator.
    NetlistError
        For `gyrator_flip` on a circuit that is not made of gyrators and reciprocal elements.
    """
    if name not in RULES:
        raise SpecError(f"estimator {name!r} has no price here; known: {', '.join(RULES)}")
    rule = RULES[name]
    turned, settles = adjoint(netlist), len(rule.phases)
    parts = [e for e in turned if not isinstance(e, VSource)]
    one_way = [e for e in parts if not set(e.reads) & set(e.drives) and not isinstance(e, Capacitor | Summer)]
    free = set(netlist.buses) - {e.a for e in netlist if isinstance(e, VSource)}
    if rule is TWIN:
        return Price(settles, **_count(netlist, parts))
    if rule is DYADIC_EP:
        return Price(1, **_count(netlist, parts))
    if rule is ASYM_EP:
        pair = {what: 2 * number for what, number in _count(netlist, one_way).items()}
        return Price(settles, **pair, stored_voltages=_stored(rule, netlist, free))
    if rule is REVERSED:
        held = {bus for e in one_way if isinstance(e, Transposed) for bus in e.held}
        switches = _count(netlist, one_way)["wires"]
        stored = _stored(rule, netlist, held)
        return Price(settles, switches=switches, stored_voltages=stored, stored_currents=_nodes(netlist, free))
    stored = _stored(rule, netlist)
    if rule is GYRATOR_FLIP:
        pairs = gyrators(netlist)
        ports = {bus for pair in pairs for e in pair for bus in e.drives}
        crossed = sum(2 * _nodes(netlist, one.drives) for one, _ in pairs)
        return Price(settles, switches=crossed, stored_voltages=stored, stored_currents=_nodes(netlist, ports))
    if rule is HOLOMORPHIC_EP:
        # two quadratures are summed at each weight's sink while the circle is gone round
        return Price(points + 1, stored_voltages=stored + 2 * _nodes(netlist, _terminals(netlist, "drives")))
    return Price(settles, stored_voltages=stored)


def _nodes(netlist: Netlist, buses: Iterable[str]) -> int:
    return sum(netlist.buses[bus].nodes for bus in buses if bus != GROUND)


def _terminals(netlist: Netlist, side: str) -> set[str]:
    """Buses at one side of the programmable elements."""
    return {bus for e in netlist if e.array is not None for bus in getattr(e, side)}


def _stored(rule: Rule, netlist: Netlist, held: Iterable[str] = ()) -> int:
    """Voltages that every phase but the last leaves behind: at the weights' terminals, and the free ones of `held`."""
    phases = sorted(rule.phases, key=list(Phase).index)
    read: dict[Phase, set[str]] = {phase: set() for phase in phases}
    read[Phase.FREE] = set(held)
    for term in rule.terms:
        both_ends = ("reads", "drives") if term.form == "energy" else ("reads",)
        read[term.pre] |= set().union(*(_terminals(netlist, side) for side in both_ends))
        read[term.post] |= _terminals(netlist, "drives")
    return sum(_nodes(netlist, buses) for phase, buses in read.items() if phase != phases[-1])


def _count(netlist: Netlist, elements: Iterable[Element]) -> dict[str, int]:
    """Devices, cells, capacitors and wires of elements over the netlist's buses."""
    deck = Deck(netlist.buses, netlist.arrays)
    devices = cells = capacitors = wires = 0
    for element in elements:
        lines = [bus for bus in element.terminals.values() if not bus.startswith(HELD)]
        wires += _nodes(netlist, lines)
        inner = element.of if isinstance(element, Transposed) else element
        if isinstance(inner, Cell):
            cells += sum(1 for _ in inner.instances(deck))
        elif isinstance(element, Crossbar):
            copies = int(np.prod(netlist.shape(element.rows)[:-1], dtype=int))
            devices += copies * int(np.count_nonzero(netlist.arrays[element.weights]))
        elif element.array is not None:
            devices += max(_nodes(netlist, [bus]) for bus in lines)
        elif isinstance(element, Capacitor):
            capacitors += _nodes(netlist, [element.a])
    return {"devices": devices, "cells": cells, "capacitors": capacitors, "wires": wires}
