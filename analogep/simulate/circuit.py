"""Netlist -> System: one evaluation order, found once, in which every bus follows from the states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

import jax.numpy as jnp
import networkx as nx
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.checks import check
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import Capacitor, Summer, VSource
from analogep.netlist.graph import Netlist
from analogep.netlist.subcircuit import flatten as flatten_instances
from analogep.netlist.waveforms import PWL, Pulse
from analogep.simulate.forward_only import forward_only as forward_only_barrier
from analogep.simulate.system import System
from analogep.units import Scale

OutputStage = Callable[[str, Array, Array], Array]


def at_rest(bus: str, inflow: Array, load: Array) -> Array:
    """Voltage of an output stage at rest."""
    return inflow / load


def _no_barrier(tree):
    return tree


class Evaluation:
    """The circuit with a chosen set of buses as unknowns; the others follow in topological order.

    A bus that only one-way elements push into, loaded by a conductance to ground, stands at injected current over
    conductance when it is at rest. So the same walk serves the ODE (unknowns: the buses with capacitors; the ideal
    stages follow), the full equations (all buses unknown) and the settled circuit reduced to its feedback buses.
    """

    def __init__(self, netlist: Netlist, unknowns: Iterable[str], barrier: Callable = _no_barrier) -> None:
        self.unknowns = tuple(unknowns)
        self.barrier = barrier
        self.sources = {e.a: e for e in netlist if isinstance(e, VSource)}
        self.shunts: dict[str, list[Element]] = {}
        self.shapes = {name: bus.shape for name, bus in netlist.buses.items()}
        active: list[Element] = []
        for element in netlist:
            shunted = element.shunts
            if shunted is not None and shunted not in self.sources:
                self.shunts.setdefault(shunted, []).append(element)
            elif not isinstance(element, VSource | Capacitor):
                active.append(element)
        self.steps = self._order(netlist, active)

    def _order(self, netlist: Netlist, active: list[Element]) -> list[Element | str]:
        """Elements and dependent buses in an order in which everything that is read is already known."""
        known = {*self.unknowns, *self.sources}
        flow = nx.DiGraph()
        flow.add_nodes_from(active)
        dependent = [bus for bus in netlist.buses if bus not in known]
        flow.add_nodes_from(dependent)
        forced = {bus for element in active for bus in element.forces}
        for element in active:
            flow.add_edges_from((bus, element) for bus in element.reads if bus not in known)
            # current into an ideally driven bus does not move it
            outputs = (*(bus for bus in element.drives if bus not in forced), *element.forces)
            flow.add_edges_from((element, bus) for bus in outputs if bus != GROUND and bus not in known)
        rank = {item: k for k, item in enumerate([*active, *dependent])}
        try:
            return list(nx.lexicographical_topological_sort(flow, key=rank.__getitem__))
        except nx.NetworkXUnfeasible:
            loop = [item for item, _ in nx.find_cycle(flow) if isinstance(item, str)]
            raise NetlistError(
                f"algebraic loop through the nodes {', '.join(loop)}: ideal stages feed back on themselves without a "
                "capacitor; compile at level 'parasitic' or give one of them a Capacitor"
            ) from None

    def load(self, bus: str, theta: Parameters) -> Array | float:
        """Conductance to ground of a bus (siemens)."""
        return sum((element.given(theta).conductance(theta) for element in self.shunts.get(bus, ())), start=0.0)

    def __call__(
        self,
        unknowns: Voltages,
        x: Voltages,
        theta: Parameters,
        t: Array | float = 0.0,
        sources: Voltages | None = None,
        stage: OutputStage = at_rest,
    ) -> tuple[dict[str, Array], Currents]:
        """Voltages of all buses, and the currents that leave the unknown ones.

        `stage` gives the voltage of a dependent bus from its name, the current into it and its conductance to ground.
        """
        unknowns, x, theta, pushed = self.barrier((dict(unknowns), dict(x), dict(theta), dict(sources or {})))
        v: dict[str, Array] = {
            bus: x[bus] if bus in x else jnp.broadcast_to(e.forced({}, theta, t), self.shapes[bus])
            for bus, e in self.sources.items()
        }
        v.update(unknowns)
        leaving: Currents = {}
        for step in self.steps:
            if isinstance(step, str):
                if step not in v:  # not forced: an output stage at rest
                    inflow = pushed.get(step, 0.0) - leaving.pop(step, 0.0)
                    v[step] = jnp.broadcast_to(stage(step, inflow, self.load(step, theta)), self.shapes[step])
                continue
            element = step.given(theta)
            for bus in element.forces:
                v[bus] = jnp.broadcast_to(element.forced(v, theta, t), self.shapes[bus])
            for bus, current in element.currents(v, theta, t).items():
                leaving[bus] = leaving[bus] + current if bus in leaving else current
        out = {}
        for bus in self.unknowns:
            total = leaving.get(bus, 0.0) - pushed.get(bus, 0.0)
            if bus in self.shunts:
                total = total + self.load(bus, theta) * v[bus]
            out[bus] = jnp.broadcast_to(total, self.shapes[bus])
        return v, out


def _check_coupling(capacitor: Capacitor, fixed: Mapping[str, Element]) -> None:
    """A capacitor between a state and a driven node that moves would carry a current that is not modelled."""
    for driven, other in ((capacitor.a, capacitor.b), (capacitor.b, capacitor.a)):
        source = fixed.get(driven)
        still = isinstance(source, VSource) and not isinstance(source.value, Pulse | PWL)
        if source is not None and not still and other != GROUND and other not in fixed:
            raise NetlistError(
                f"Capacitor {capacitor.name!r} couples the node {other!r} to {driven!r}, which {source.name!r} drives "
                "ideally and which moves; put a Resistor and a Capacitor to ground between them"
            )


class Circuit(System):
    """A flat netlist as a System. Buses with capacitors are states; input rails may be set at run time.

    Beside the programmable arrays theta may hold `numbers` of elements, which then take the place of those that the
    circuit was built with: circuits that differ in numbers only share one compiled program.

    Parameters
    ----------
    forward_only : refuse reverse-mode differentiation of the circuit; every path of local learning sets it.

    Raises
    ------
    NetlistError
        Where the electrical checks fail, at an algebraic loop, and for capacitors between two live nodes whose
        capacitance matrix is singular.
    """

    def __init__(self, netlist: Netlist, scale: Scale, *, forward_only: bool = False) -> None:
        netlist = flatten_instances(netlist)
        check(netlist)
        self.netlist, self.scale = netlist, scale
        self.theta = dict(netlist.arrays)
        capacitors = [e for e in netlist if isinstance(e, Capacitor)]
        fixed = {bus: e for e in netlist for bus in e.forces}
        self.floating = [e for e in capacitors if not {e.a, e.b} & {GROUND, *fixed}]
        for element in capacitors:
            _check_coupling(element, fixed)
        stored: dict[str, np.ndarray] = {}
        for element in capacitors:
            for bus in {element.a, element.b} - {GROUND}:
                full = np.broadcast_to(np.asarray(element.farads, float), netlist.shape(bus))
                stored[bus] = stored.get(bus, np.zeros(netlist.shape(bus))) + full
        self.capacitance = {bus: stored[bus] for bus in netlist.buses if bus in stored and bus not in fixed}
        self.states = {bus: netlist.buses[bus] for bus in self.capacitance}
        self.forward_only = forward_only
        self._barrier = forward_only_barrier if forward_only else _no_barrier
        self._evaluate = self._evaluation(self.states)

    def _evaluation(self, unknowns: Iterable[str]) -> Evaluation:
        return Evaluation(self.netlist, unknowns, self._barrier)

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        return self._evaluate(v, x, theta, t, sources)[1]

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        return self._evaluate(v, x, theta, t, sources)[0]

    def rate(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        if not self.floating:
            return super().rate(v, x, theta, t, sources)
        i = self.flatten(self.current(v, x, theta, t, sources))
        return self.unflatten(-(self._inverse_capacitance @ i))

    @cached_property
    def capacitance_matrix(self) -> np.ndarray:
        """C over the state nodes [n, n] (farads), capacitors between live nodes included."""
        matrix = np.diag(self.capacitances).astype(float)
        position = {label: k for k, label in enumerate(self.labels)}
        for element in self.floating:
            bus = self.netlist.buses[element.a]
            farads = np.broadcast_to(np.asarray(element.farads, float), bus.shape).ravel()[bus.indices]
            pairs = zip(bus.labels(element.a), self.netlist.buses[element.b].labels(element.b), farads, strict=True)
            for a, b, value in pairs:
                if a in position and b in position:
                    matrix[position[a], position[b]] -= value
                    matrix[position[b], position[a]] -= value
        return matrix

    @cached_property
    def _inverse_capacitance(self) -> np.ndarray:
        if np.linalg.matrix_rank(self.capacitance_matrix) < len(self.labels):
            names = ", ".join(repr(e.name) for e in self.floating)
            raise NetlistError(
                f"the capacitance matrix is singular: {names} join nodes without a capacitor to ground; add one"
            )
        return np.linalg.inv(self.capacitance_matrix)

    @cached_property
    def driven(self) -> dict[str, Array]:
        """Buses that follow ideally from the states, with the reference conductance of each (siemens)."""
        references = {e.a: e.siemens for e in self.netlist if isinstance(e, Summer)}
        amplifiers = [e for e in self.netlist if e.forces and not isinstance(e, VSource)]
        return {**references, **{bus: getattr(e, "reference", 1.0) for e in amplifiers for bus in e.forces}}

    @cached_property
    def full(self) -> Evaluation:
        """All buses unknown: KCL at states and at ideal summing stages alike (equations of the adjoint network)."""
        return self._evaluation([*self.states, *(e.a for e in self.netlist if isinstance(e, Summer))])

    @cached_property
    def core(self) -> tuple[str, ...]:
        """Feedback buses: with these as unknowns every other bus of the settled circuit follows.

        The slowest bus of each loop is taken, so a compiled block reduces to its damped states.
        """
        one_way = nx.DiGraph()
        held: set[str] = set()
        forced = {bus for element in self.netlist for bus in element.forces}
        for element in self.netlist:
            if isinstance(element, VSource | Capacitor | Summer) or element.shunts:
                continue
            held |= set(element.reads) & set(element.drives)
            outputs = {*element.drives} - forced | {*element.forces}
            one_way.add_edges_from((a, b) for a in element.reads for b in outputs if GROUND not in (a, b))
        shunted = {e.shunts for e in self.netlist if e.shunts}
        core = {bus for bus in self.states if bus in held or bus not in shunted}
        one_way.remove_nodes_from(core)
        slowness = {bus: float(np.max(self.capacitance[bus])) for bus in self.states}
        while True:
            try:
                loop = [a for a, _ in nx.find_cycle(one_way)]
            except nx.NetworkXNoCycle:
                return tuple(bus for bus in self.states if bus in core)
            slowest = max((bus for bus in loop if bus in slowness), key=slowness.__getitem__)
            core.add(slowest)
            one_way.remove_node(slowest)

    @cached_property
    def settled(self) -> Evaluation:
        """The circuit at rest with only the feedback buses `core` as unknowns."""
        return self._evaluation(self.core)

    @cached_property
    def loops(self) -> tuple[str, ...]:
        """States on some feedback loop; the others, such as the readout, cannot act back on the rest."""
        graph = nx.DiGraph(self.netlist.graph())
        cyclic = {
            bus
            for part in nx.strongly_connected_components(graph)
            if len(part) > 1 or any(graph.has_edge(bus, bus) for bus in part)
            for bus in part
        }
        return tuple(bus for bus in self.states if bus in cyclic) or tuple(self.states)

    @cached_property
    def acting(self) -> Circuit:
        """The part on feedback loops, and what drives it; the rest, such as the readout, only follows."""
        graph = nx.DiGraph(self.netlist.graph())
        acting = set(self.loops).union(*(nx.ancestors(graph, bus) for bus in self.loops))
        if self.floating or acting.issuperset(self.states):
            return self
        kept = {e.name: e for e in self.netlist if acting.issuperset({*e.terminals.values()} - {GROUND})}
        buses = {name: bus for name, bus in self.netlist.buses.items() if name in acting}
        netlist = replace(self.netlist, buses=buses, elements=kept)
        return Circuit(netlist, self.scale, forward_only=self.forward_only)

    @cached_property
    def has_corners(self) -> bool:
        """Whether a source's waveform has corners in time."""
        return any(isinstance(getattr(e, "value", None), Pulse | PWL) for e in self.netlist)

    @property
    def numbers(self) -> dict[str, Array]:
        """Numbers of its elements that theta may hold, as `element.field`; capacitances and sources are fixed.

        One that is the same at all nodes of a bus is a scalar.
        """
        found = {}
        for element in self.netlist:
            if not isinstance(element, Capacitor | VSource):
                for field, value in element.numbers.items():
                    value = np.asarray(value, float)
                    same = value.size and np.all(value == value.flat[0])
                    found[f"{element.name}.{field}"] = value.flat[0] if same else value
        return found

    def inputs(self) -> Mapping[str, VSource]:
        """Input rails by bus name."""
        return {e.a: e for e in self.netlist if isinstance(e, VSource)}
