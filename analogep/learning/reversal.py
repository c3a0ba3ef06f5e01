"""The circuit turned into its own adjoint: one-way couplings reversed in place, or gyrators flipped.

Both keep the nodes, the capacitors and everything two-way. What is turned round pushes other currents than before, so a
current held at each node keeps the operating point v* at rest; then displacements obey G^T (v - v*) = nudge.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import VCCS, BSource, ISource, VSource
from analogep.netlist.graph import Netlist
from analogep.simulate.circuit import Circuit


def reversed_network(netlist: Netlist) -> Netlist:
    """The circuit with each one-way coupling disconnected and its small-signal transpose connected in its place.

    Resistors, capacitors and sources stay. Elements that drive a bus ideally become summing stages, as in the adjoint
    network. Nothing is cancelled, so no bandwidth of an injected current can destabilize it.

    Parameters
    ----------
    netlist : a flat netlist.

    Returns
    -------
    A netlist over the circuit's own buses and the rails `free.<bus>`, on which the operating point is held.
    """
    turned = adjoint(netlist)
    kept = {name: e for name, e in turned.elements.items() if not name.startswith("rest.")}
    sources = {e.name: e for e in netlist if isinstance(e, ISource) or (isinstance(e, VSource) and e.a in turned.buses)}
    title = f"{netlist.title}, couplings reversed"
    return replace(turned, elements={**kept, **sources}, title=title)


def gyrator(name: str, one: str, other: str, siemens: float | Array | str) -> tuple[VCCS, VCCS]:
    """Lossless two-port between two nodes and ground: i_one = g v_other, i_other = -g v_one (Tellegen 1948).

    Parameters
    ----------
    siemens : gyration conductance, or the name of a programmable array that both halves share.
    """
    return (
        VCCS(f"{name}.forward", one, GROUND, other, GROUND, siemens),
        VCCS(f"{name}.back", GROUND, other, one, GROUND, siemens),
    )


def gyrators(netlist: Netlist) -> list[tuple[VCCS, VCCS]]:
    """Pairs of controlled sources that are gyrators.

    Raises
    ------
    NetlistError
        If an element is neither half of a gyrator nor reciprocal, so that flipping would not give the transpose.
    """
    left = {e.name: e for e in netlist if isinstance(e, VCCS)}
    pairs = []
    while left:
        first = left.pop(next(iter(left)))
        partner = next((e for e in left.values() if _antisymmetric(first, e)), None)
        if partner is None:
            raise NetlistError(
                f"VCCS {first.name!r} is no half of a gyrator, so the circuit has no transpose by flipping gyrators; "
                "use estimator reversed"
            )
        del left[partner.name]
        pairs.append((first, partner))
    for element in netlist:
        if not isinstance(element, VCCS) and not _reciprocal(element):
            raise NetlistError(
                f"{type(element).__name__} {element.name!r} is a one-way coupling; flipping gyrators would leave it as "
                "it is: use estimator reversed"
            )
    return pairs


def flipped(netlist: Netlist) -> Netlist:
    """The netlist with the two wires of one port of each gyrator crossed: G becomes G^T.

    Raises
    ------
    NetlistError
        As `gyrators`.
    """
    halves = [half for pair in gyrators(netlist) for half in pair]
    return replace(netlist.replace_elements(*(e for half in halves for e in half.adjoint())), title="gyrators flipped")


def hold(circuit: Circuit, rest: Voltages, x: Voltages, theta: Parameters) -> Currents:
    """Currents into the nodes (states and ideal stages) of an altered circuit at which the voltages `rest` stay."""
    full = circuit.full
    return full({bus: rest[bus] for bus in full.unknowns}, x, theta)[1]


def _antisymmetric(one: VCCS, other: VCCS) -> bool:
    """Whether `other` carries at the control port of `one` the negative of what `one` reads there."""
    if (other.a, other.b, other.c, other.d) in ((one.d, one.c, one.a, one.b), (one.c, one.d, one.b, one.a)):
        return bool(one.siemens is other.siemens or _equal(one.siemens, other.siemens))
    return (other.a, other.b, other.c, other.d) == (one.c, one.d, one.a, one.b) and _equal(
        one.siemens, other.siemens, -1
    )


def _equal(one: float | Array | str, other: float | Array | str, sign: int = 1) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return sign > 0 and isinstance(one, str) and one == other
    return bool(np.all(np.asarray(one) == sign * np.asarray(other)))


def _reciprocal(element: Element) -> bool:
    """Whether an element is its own adjoint: two-way, a source at rest, or a one-port that reads itself alone."""
    if isinstance(element, ISource | VSource) or element.adjoint() == (element,):
        return True
    return isinstance(element, BSource) and element.current is not None and _one_port(element)


def _one_port(element: BSource) -> bool:
    return GROUND in (element.a, element.b) and set(element.reads) <= {element.a, element.b}
