"""Resistors, capacitors and gyrators: a circuit with the states at rest of monotone weights that cannot grow.

A state at rest of dz/dt = -z + W tanh(z) + drive is one of h = tanh(z) in

    C dh/dt = -(atanh(h) - h) - (1 - W) h + drive,   1 - W = m + P^T P - (Q - Q^T).

The first term is a resistor whose slope h^2 / (1 - h^2) is not negative (a clamp that keeps |h| < 1); m is a leak; the
antisymmetric part is gyrators between the nodes; P^T P is gyrators P to nodes that unit resistors load, where P h
stands. So the symmetric part of G is at least m at every state: omega <= -m in the C metric, ||exp(t J)|| <= 1 at any
asymmetry. The loads may have capacitors of any size: the circuit stays passive, since every element is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analogep.netlist._types import Array
from analogep.netlist.checks import check
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import VCCS, BSource, Capacitor, ISource, Resistor
from analogep.netlist.expression import literal
from analogep.netlist.graph import Bus, Netlist
from analogep.training.stabilizers.monotone import Monotone, monotone_weights
from analogep.units import Scale


def passive_conductance(at: Monotone, margin: float = 0.1) -> Array:
    """1 - W [n, n] = m + P^T P - (Q - Q^T): the conductance matrix of the linear part, in units of g0.

    Parameters
    ----------
    at : P, Q, any values.
    margin : m, the smallest eigenvalue that its symmetric part can have.

    Reference
    ---------
    Tellegen 1948, "The gyrator, a new electric network element".
    """
    w = monotone_weights(at, margin)
    return np.eye(len(w)) - w


def passive_network(
    at: Monotone,
    drive: np.ndarray,
    *,
    margin: float = 0.1,
    clamped: bool = True,
    epsilon: float = 0.1,
    scale: Scale | None = None,
) -> Netlist:
    """The circuit of scalar nodes `h0`, `h1`, ... and, for each row of P that is not zero, a loaded node `w0`, ...

    Parameters
    ----------
    at : P [k, n] and Q [n, n].
    drive : constant input [n].
    margin : leak of every node, in units of g0; positive.
    clamped : with the resistors atanh(h) - h; without them the circuit is linear.
    epsilon : capacitor of the loaded nodes over that of the others.
    scale : physical size of one unit.
    """
    scale = scale or Scale(0.1, 1e-5, 1e-14)
    dampers, skew = np.asarray(at.dampers, float), np.asarray(at.gyrators - at.gyrators.T, float)
    dampers = dampers[np.abs(dampers).max(1) > 0]
    nodes, loaded = [f"h{k}" for k in range(len(skew))], [f"w{k}" for k in range(len(dampers))]

    def elements() -> Iterator[Element]:
        for k, node in enumerate(nodes):
            yield Capacitor(f"c.{node}", node, GROUND, scale.farads)
            yield Resistor(f"r.{node}", node, GROUND, margin * scale.siemens)
            yield ISource(f"i.{node}", GROUND, node, float(drive[k]) * scale.amperes)
            if clamped:
                u, amperes = literal(scale.volts), literal(scale.amperes)
                yield BSource(f"b.{node}", node, GROUND, current=f"{amperes}*(atanh(v({node})/{u})-v({node})/{u})")
        for w in loaded:
            yield Capacitor(f"c.{w}", w, GROUND, epsilon * scale.farads)
            yield Resistor(f"r.{w}", w, GROUND, scale.siemens)
        for r, w in enumerate(loaded):
            for k, node in enumerate(nodes):
                yield from _gyrator(w, node, dampers[r, k] * scale.siemens)
        for a, b in zip(*np.triu_indices(len(nodes), 1), strict=True):
            yield from _gyrator(nodes[a], nodes[b], skew[a, b] * scale.siemens)

    buses = {name: Bus(()) for name in (*nodes, *loaded)}
    netlist = Netlist(buses, {}, {}, "passive RC and gyrator network").add(*elements())
    check(netlist)
    return netlist


def _gyrator(into: str, back: str, siemens: float) -> Iterator[Element]:
    """Pushes g v_back into one node and draws g v_into from the other: no power is stored or taken."""
    if siemens:
        name = f"{into}.{back}"
        yield VCCS(f"g.{name}", GROUND, into, back, GROUND, float(siemens))
        yield VCCS(f"k.{name}", back, GROUND, into, GROUND, float(siemens))
