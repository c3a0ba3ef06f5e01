"""The circuit turned into its own adjoint: one-way couplings reversed in place, or gyrators flipped.

Both keep the nodes, the capacitors and everything two-way. What is turned round pushes other currents than before, so a
current held at each node keeps the operating point v* at rest; then displacements obey G^T (v - v*) = nudge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import VCCS, BSource, ISource, VSource
from analogep.netlist.graph import Netlist
from analogep.netlist.gyrators import Gyrator, gyrators
from analogep.netlist.transposed import Transposed
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


@dataclass(frozen=True, eq=False)
class Copied(Transposed):
    """A reversed cell whose small-signal conductances are copies, each output's off by its factor in theta.

    Factors are `<name>.copies`, in the shape of the output bus; without them the copies are exact.
    """

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        factors = theta.get(f"{self.name}.copies", 1.0)
        return super().currents({**v, **{bus: v[bus] * factors for bus in self._outputs}}, theta, t)


def copied_network(netlist: Netlist) -> tuple[Netlist, dict[str, str]]:
    """The reversed network with cells of unequal copies, and the output bus of each of them by name."""
    turned = reversed_network(netlist)
    copied = [Copied(e.name, e.of, e.ignored) for e in turned if isinstance(e, Transposed)]
    return turned.replace_elements(*copied), {e.name: e.of.drives[0] for e in copied}


def all_gyrators(netlist: Netlist) -> list[Gyrator]:
    """The gyrators of a circuit in which everything else is reciprocal.

    Raises
    ------
    NetlistError
        If an element is neither half of a gyrator nor reciprocal, so that flipping would not give the transpose.
    """
    pairs = gyrators(netlist)
    halves = {name for pair in pairs for name in (pair.first, pair.second)}
    for element in netlist:
        if element.name in halves or _reciprocal(element):
            continue
        if isinstance(element, VCCS):
            raise NetlistError(
                f"VCCS {element.name!r} is no half of a gyrator, so the circuit has no transpose by flipping gyrators; "
                "use estimator reversed"
            )
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
        As `all_gyrators`.
    """
    halves = [netlist.elements[name] for pair in all_gyrators(netlist) for name in (pair.first, pair.second)]
    return replace(netlist.replace_elements(*(e for half in halves for e in half.adjoint())), title="gyrators flipped")


def hold(circuit: Circuit, rest: Voltages, x: Voltages, theta: Parameters) -> Currents:
    """Currents into the nodes (states and ideal stages) of an altered circuit at which the voltages `rest` stay."""
    full = circuit.full
    return full({bus: rest[bus] for bus in full.unknowns}, x, theta)[1]


def _reciprocal(element: Element) -> bool:
    """Whether an element is its own adjoint: two-way, a source at rest, or a one-port that reads itself alone."""
    if isinstance(element, ISource | VSource) or element.adjoint() == (element,):
        return True
    if isinstance(element, VCCS):  # one that is controlled by its own port is a conductance
        return {element.a, element.b} == {element.c, element.d}
    return isinstance(element, BSource) and element.current is not None and _one_port(element)


def _one_port(element: BSource) -> bool:
    return GROUND in (element.a, element.b) and set(element.reads) <= {element.a, element.b}
