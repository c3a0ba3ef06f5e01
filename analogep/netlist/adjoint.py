"""The adjoint network of a netlist (Director and Rohrer 1969), itself a netlist.

Same resistors and capacitors, every controlled source with its ports exchanged, independent sources at rest. Its node
voltages are the multipliers lambda: with the currents -dL/dv injected, G^T lambda = -dL/dv.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, HELD, Element
from analogep.netlist.elements import VCCS, Capacitor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class HeldRail(VSource):
    """A rail that holds voltages of the circuit for its adjoint; a deck has small-signal conductances instead."""

    def spice(self, deck: Deck) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True, eq=False)
class Transposed(Element):
    """The adjoint of a one-way nonlinear element: its small-signal conductances with their ports exchanged."""

    of: Element
    ignored: tuple[str, ...] = ()
    """Buses into which `of` pushes current to no effect, because an ideal source drives them."""

    @property
    def _outputs(self) -> tuple[str, ...]:
        return tuple(bus for bus in (*self.of.drives, *self.of.forces) if bus not in self.ignored)

    @property
    def terminals(self) -> Mapping[str, str]:
        outputs = {f"lambda{k}": bus for k, bus in enumerate(self._outputs)}
        return outputs | {f"at{k}": bus for k, bus in enumerate(self.drives)}

    @property
    def held(self) -> tuple[str, ...]:
        """Buses of the circuit whose operating-point voltages set the conductances."""
        return tuple(dict.fromkeys(self.of.reads))

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self._outputs, *(HELD + bus for bus in self.held))

    @property
    def drives(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.of.reads))

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        held = {bus: v[HELD + bus] for bus in self.held}
        own = getattr(self.of, "transposed", None)
        if own is not None:
            return own(held, v, theta)
        slopes = small_signal(self.of, held, theta)
        out: Currents = {}
        for (target, source), slope in slopes.items():
            if target in self.ignored:
                continue
            part = jnp.tensordot(v[target], slope, axes=jnp.ndim(v[target]))
            out[source] = out.get(source, 0.0) + part
        return out

    def spice(self, deck: Deck) -> Iterator[str]:
        missing = [bus for bus in self.held if bus not in deck.held]
        if missing:
            raise self._wrong(f"the adjoint deck needs the operating point of bus {missing[0]!r}: pass held=")
        slopes = small_signal(self.of, deck.held, deck.arrays)
        for pair, ((target, source), slope) in enumerate(slopes.items()):
            if source not in deck.buses or target not in deck.buses or target in self.ignored:
                continue
            slope = np.asarray(slope)
            rank = len(deck.shape(target))
            for flat in map(tuple, np.argwhere(slope)):
                at, to = flat[:rank], flat[rank:]
                if not (deck.exists(target, at) and deck.exists(source, to)):
                    continue
                # current slope * lambda leaves the input's node
                name = deck.instance(f"{self.name}.{pair}", (*at, *to))
                yield (f"G{name} {deck.node(source, to)} 0 {deck.node(target, at)} 0 {deck.number(slope[flat])}")


def small_signal(element: Element, v: Voltages, theta: Parameters) -> dict[tuple[str, str], Array]:
    """Conductances d i_target / d v_source of one element, by forward mode.

    Returns
    -------
    (target bus, source bus) -> array [*target shape, *source shape] in siemens; a forced voltage counts with the
    reference conductance 1 S, as the residual v_target - f(v).
    """
    sources = tuple(dict.fromkeys(element.reads))

    def leaving(*at: Array) -> Currents:
        local = dict(zip(sources, at, strict=True))
        if element.forces:
            return {bus: -element.forced(local, theta, 0.0) for bus in element.forces}
        return element.currents(local, theta, 0.0)

    at = [jnp.asarray(v[bus], float) for bus in sources]
    rows = jax.jacfwd(leaving, argnums=tuple(range(len(sources))))(*at)
    return {(target, source): slope for target, row in rows.items() for source, slope in zip(sources, row, strict=True)}


def adjoint(netlist: Netlist, outputs: tuple[str, ...] | None = None) -> Netlist:
    """The adjoint network of `netlist` about the operating point that its held rails carry.

    Parameters
    ----------
    netlist : a flat netlist.
    outputs : buses where currents will be injected; elements that these cannot reach are left out. None keeps all.

    Returns
    -------
    A netlist over buses of the same names (voltages there are lambda) and rails `free.<bus>`, inputs on which the
    circuit's own operating-point voltages are held.

    Raises
    ------
    NetlistError
        If an output is not a bus of the netlist.
    """
    fixed = {e.a for e in netlist if isinstance(e, VSource)}
    driven = {bus for e in netlist for bus in e.forces} - fixed
    for bus in outputs or ():
        if bus not in netlist.buses or bus in fixed:
            raise NetlistError(f"output {bus!r} is not a free bus of the netlist, so no current can be injected there")
    parts = [part for element in netlist for part in _parts(element, driven) if not _idle(part, fixed)]
    if outputs is not None:
        parts = _reached(parts, outputs)
    held = dict.fromkeys(bus for part in parts if isinstance(part, Transposed) for bus in part.held)
    live = {bus for part in parts for bus in part.terminals.values()} - {GROUND}
    live |= {bus for part in parts for bus in part.drives}
    rest = [VSource(f"rest.{bus}", bus, np.zeros(netlist.shape(bus))) for bus in netlist.buses if bus in fixed & live]
    rails = [HeldRail(HELD + bus, HELD + bus, np.zeros(netlist.shape(bus))) for bus in held]
    buses: dict[str, Bus] = {name: bus for name, bus in netlist.buses.items() if name in live}
    used = {part.array for part in parts}
    empty = Netlist(buses, {}, {n: g for n, g in netlist.arrays.items() if n in used}, f"adjoint of {netlist.title}")
    return empty.add(*parts, *rest, *rails, buses={HELD + bus: netlist.buses[bus] for bus in held})


def _parts(element: Element, driven: set[str]) -> tuple[Element, ...]:
    """The element's adjoint, where it need be without its rows at ideally driven nodes.

    Such a node takes any current without moving, so what an element pushes there is no term of an equation; what the
    node's voltage pushes elsewhere through the element is.
    """
    ends = [bus for bus in dict.fromkeys(element.terminals.values()) if bus in driven]
    if isinstance(element, Capacitor) and ends:
        free = [bus for bus in (element.a, element.b) if bus not in driven and bus != GROUND]
        return (replace(element, a=free[0], b=GROUND),) if free else ()
    deaf = tuple(bus for bus in element.drives if bus in driven)
    if not deaf:
        return element.adjoint()
    if element.array is not None:
        raise element._wrong(
            f"a programmable element pushes current into the ideally driven node {deaf[0]!r}, so its terminals do not "
            "show its gradient; put a Buffer and a state between them"
        )
    if isinstance(element, Resistor):
        free = [bus for bus in element.drives if bus not in driven]
        parts = (Resistor(element.name, bus, GROUND, element.siemens) for bus in free)
        push = (VCCS(f"{element.name}.drive", GROUND, deaf[0], bus, GROUND, element.siemens) for bus in free)
        return (*parts, *push)
    slopes = Transposed(element.name, element, deaf)
    return (slopes,) if slopes._outputs and slopes.drives and element.adjoint() else ()


def _idle(part: Element, fixed: set[str]) -> bool:
    """Whether a one-way part only pushes current into, or only listens to, nodes that rest at ground."""
    two_way = set(part.reads) & set(part.drives)
    if two_way or not part.drives or part.forces:
        return False
    listens = [bus for bus in part.reads if not bus.startswith(HELD)]
    return set(part.drives) <= fixed or (bool(listens) and set(listens) <= fixed)


def _reached(parts: list[Element], outputs: tuple[str, ...]) -> list[Element]:
    """The parts with a terminal on a bus that currents injected at `outputs` can move."""
    flow = nx.DiGraph()
    flow.add_nodes_from(outputs)
    for part in parts:
        flow.add_edges_from((a, b) for a in part.reads for b in part.drives)
    moved = set(outputs).union(*(nx.descendants(flow, bus) for bus in outputs))

    def kept(part: Element) -> bool:
        listens = [bus for bus in part.reads if not bus.startswith(HELD)]
        return bool(moved & set(listens)) if listens else bool(moved & set(part.terminals.values()))

    return [replace(part) for part in parts if kept(part)]
