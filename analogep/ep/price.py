"""What each estimator costs a given circuit, counted on the netlists that its phases are built of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

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
from analogep.ep.task import pushable
from analogep.errors import SpecError
from analogep.learning.reversal import all_gyrators
from analogep.learning.rule import Phase, Rule
from analogep.models.hamiltonian import Oscillators
from analogep.netlist.adjoint import adjoint
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND, HELD, Element
from analogep.netlist.elements import Capacitor, Summer, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import Deck
from analogep.netlist.transposed import Transposed
from analogep.simulate.circuit import Circuit
from analogep.units import Scale


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
    runs : passes of a given length, which do not wait for rest; those counted that must follow one another.
    stored_numbers : other numbers that must be kept, beside the gradient itself: signs, traces, a factor, a state.
    """

    settles: int
    devices: int = 0
    cells: int = 0
    capacitors: int = 0
    wires: int = 0
    switches: int = 0
    stored_voltages: int = 0
    stored_currents: int = 0
    runs: int = 0
    stored_numbers: int = 0

    def to_dict(self) -> dict[str, int]:
        """Plain numbers by name."""
        return asdict(self)


OTHERS = (
    *("node_perturbation", "random_nodes", "random_weights", "feedback_alignment", "truncated_nudge"),
    *("rtrl", "forward_random", "uoro", "eligibility", "two_timescales"),
)
"""Estimators that are no rules, by the names of their functions. A Hamiltonian echo's price is `echo_price`."""


def price(name: str, netlist: Netlist, *, points: int = 4, directions: int = 1, outputs: int = 0) -> Price:
    """The price of one estimator on one circuit.

    How rules are counted:

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

    How the others are counted, with P weights (programmable conductances that are not 0, copies for tokens apart):

    - `node_perturbation`, `random_nodes`: a line for a current into every node that takes one, where lambda is stored
      (for `random_nodes` if it is a mean over directions, and a sign); the free phase comes last. `random_weights`: a
      sign for each weight.
    - `feedback_alignment`: an array from the outputs to all other states, and a voltage stored at each state.
      `eligibility`: one trace for each programmable device, and the same array where there are `outputs`.
    - `truncated_nudge`: as `asym_ep`, with two short nudged phases that do not settle.
    - `rtrl`, `forward_random`, `uoro`: P, one and one linearized copies of the circuit, counted like its adjoint, on
      whose capacitors the influences are; a sign or a factor for each weight in the latter two, and in `uoro` a line
      for a random sign into every state.
    - `two_timescales`: the elements of the twin; nothing is stored.

    Parameters
    ----------
    name : of a rule in `RULES`, or one of `OTHERS`.
    netlist : the flat circuit.
    points : N of the holomorphic circle.
    directions : of `random_nodes` and `random_weights`.
    outputs : nodes whose errors a fixed array takes to the other states, for `feedback_alignment` and `eligibility`.

    Raises
    ------
    SpecError
        For an unknown estimator.
    NetlistError
        For `gyrator_flip` on a circuit that is not made of gyrators and reciprocal elements.
    """
    if name in RULES:
        return _of_rule(RULES[name], netlist, points)
    if name not in OTHERS:
        raise SpecError(f"estimator {name!r} has no price here; known: {', '.join((*RULES, *OTHERS))}")
    circuit, weights = Circuit(netlist, Scale()), int(sum(np.count_nonzero(g) for g in netlist.arrays.values()))
    nodes, states = _nodes(netlist, pushable(circuit)), _nodes(netlist, circuit.states)
    match name:
        case "node_perturbation":
            return Price(2 * nodes + 1, wires=nodes, stored_voltages=nodes)
        case "random_nodes":
            stored = nodes if directions > 1 else 0
            return Price(2 * directions + 1, wires=nodes, stored_voltages=stored, stored_numbers=nodes)
        case "random_weights":
            return Price(2 * directions + 1, stored_numbers=weights)
        case "feedback_alignment":
            return Price(1, **_feedback(outputs, states), stored_voltages=states)
        case "eligibility":
            traces = _count(netlist, [e for e in netlist if e.array is not None])["devices"]
            return Price(0, **_feedback(outputs, states), runs=1, stored_numbers=traces)
        case "truncated_nudge":
            return replace(_of_rule(ASYM_EP, netlist, 0), settles=1, runs=2)
    linearized = _count(netlist, _adjoint_parts(netlist))
    if name == "rtrl":
        return Price(0, **{what: weights * number for what, number in linearized.items()}, runs=1)
    if name == "two_timescales":
        return Price(1, **linearized, runs=1)
    if name == "uoro":
        linearized["wires"] += states
    return Price(0, **linearized, runs=1, stored_numbers=weights)


def echo_price(network: Oscillators, *, active: bool = False) -> Price:
    """The price of `hamiltonian_echo`: a forward run and two echoes, and the wires of every capacitor crossed at once.

    Flux and charge of every oscillator at the turn are kept for the second echo (a fourth run would find them again).
    An `active` echo needs an amplifier at each damped node.
    """
    amplifiers = network.units if active and network.damping > 0 else 0
    units = network.units
    return Price(0, cells=amplifiers, wires=amplifiers, switches=2 * units, runs=3, stored_numbers=2 * units)


def _of_rule(rule: Rule, netlist: Netlist, points: int) -> Price:
    settles, parts = len(rule.phases), _adjoint_parts(netlist)
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
        pairs = [[netlist.elements[half] for half in (pair.first, pair.second)] for pair in all_gyrators(netlist)]
        ports = {bus for pair in pairs for e in pair for bus in e.drives}
        crossed = sum(2 * _nodes(netlist, one.drives) for one, _ in pairs)
        return Price(settles, switches=crossed, stored_voltages=stored, stored_currents=_nodes(netlist, ports))
    if rule is HOLOMORPHIC_EP:
        # two quadratures are summed at each weight's sink while the circle is gone round
        return Price(points + 1, stored_voltages=stored + 2 * _nodes(netlist, _terminals(netlist, "drives")))
    return Price(settles, stored_voltages=stored)


def _adjoint_parts(netlist: Netlist) -> list[Element]:
    """Elements of the adjoint network, its rails apart; the linearized circuit itself has as many."""
    return [e for e in adjoint(netlist) if not isinstance(e, VSource)]


def _feedback(outputs: int, states: int) -> dict[str, int]:
    """Parts of a fixed array from the errors of some states to all others."""
    buses = {"error": Bus((outputs,)), "others": Bus((states - outputs,))}
    array = Crossbar("feedback", "error", "others", "feedback")
    return _count(Netlist(buses, {}, {"feedback": np.ones((states - outputs, outputs))}), [array] if outputs else [])


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
