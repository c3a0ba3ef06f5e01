"""Modified nodal analysis: d/dt q(x) + i(x, t) = 0 over all node voltages and branch currents x.

Any circuit has this form (Ho, Ruehli and Brennan 1975): inductors and voltage sources bring their current as an
unknown, and a node without a capacitor is an equation without a derivative. The matrices di/dx and dq/dx are values on
one sparse pattern, factorized by KLU (Davis and Palamadai Natarajan 2010).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements.sources import Source
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.subcircuit import flatten
from analogep.simulate.nodal.checks import check, islands
from analogep.simulate.nodal.sparse import Pattern
from analogep.simulate.nodal.stack import Stack, stack
from analogep.simulate.system import System
from analogep.units import Scale


class NoiseCurrents(NamedTuple):
    """One kind of noise of the elements of a stack: places of the two nodes [count], one-sided density (A^2/Hz)."""

    names: tuple[str, ...]
    kind: str
    a: np.ndarray
    b: np.ndarray
    density: Array


class Nodal(System):
    """A circuit of scalar nodes with every node voltage and branch current as an unknown.

    Parameters
    ----------
    netlist : hierarchy is flattened; buses must be scalar nodes.

    Attributes
    ----------
    unknowns : names of the unknowns in the order of the state vector: nodes, then branches `i(element)`.
    theta : numbers of all elements, `<stack>.<field>` -> values [count]; `places` tells where one element's number is.

    Raises
    ------
    NetlistError
        Where the netlist cannot have a solution: floating nodes, loops of voltage sources, missing elements.
    """

    def __init__(self, netlist: Netlist) -> None:
        netlist = flatten(netlist)
        check(netlist)
        self.netlist, self.scale = netlist, Scale()
        nodes = [*netlist.buses, *dict.fromkeys(node for e in netlist for node in e.internals)]
        branches = [e.branch for e in netlist if e.branch is not None]
        self.nodes = tuple(nodes)
        self.unknowns = (*nodes, *branches)
        self.size = len(self.unknowns)
        self.place = {name: k for k, name in enumerate(self.unknowns)} | {GROUND: self.size}
        self.stacks = stack([_tied(e, netlist) for e in netlist], self.place)
        self.theta = {f"{s.label}.{field}": values for s in self.stacks for field, values in s.numbers.items()}
        self.states = {name: Bus() for name in self.unknowns}
        self.is_node = np.arange(self.size) < len(nodes)

    @cached_property
    def at_rest(self) -> Nodal:
        """The circuit that DC analyses see: sources at their DC values."""
        sources = [e.at_rest() for e in self.netlist if isinstance(e, Source)]
        return Nodal(self.netlist.replace_elements(*sources))

    @cached_property
    def junctions(self) -> np.ndarray:
        """Positions of the two unknowns of every exponential junction, [junctions, 2]."""
        pairs = [(self.place[a], self.place[b]) for e in self.netlist for a, b in e.junctions]
        return np.array(pairs, int).reshape(-1, 2)

    @cached_property
    def references(self) -> np.ndarray:
        """Place of the unknown against which each unknown's error in time is measured: ground, but within an island of
        inductors and current sources one of its nodes, and itself for one whose error is not measured."""
        places = np.full(self.size, self.size)
        for group in islands(self.netlist):
            inside = sorted(self.place[node] for node in group)
            places[inside] = inside[0]
        rates = self.rates
        places[rates] = np.flatnonzero(rates)
        return places

    @cached_property
    def rates(self) -> np.ndarray:
        """Nodes that stand at a derivative: charge is in their equation, but none depends on them."""
        with jax.ensure_compile_time_eval():
            slopes = np.asarray(self.linearized(jnp.zeros(self.size), self.theta)[3]) != 0
        stored, storing = np.zeros(self.size, bool), np.zeros(self.size, bool)
        stored[self.pattern.rows[slopes]] = storing[self.pattern.columns[slopes]] = True
        return stored & ~storing & self.is_node

    # numbers of elements

    @cached_property
    def _owners(self) -> dict[str, list[tuple[str, int]]]:
        """`element.field` -> the entries of theta that hold it; coupled inductors share theirs with the coupling."""
        owners: dict[str, list[tuple[str, int]]] = {}
        for s in self.stacks:
            for k, name in enumerate(s.names):
                tied = self.netlist.elements[name].tied
                for field in s.numbers:
                    owners.setdefault(tied.get(field, f"{name}.{field}"), []).append((f"{s.label}.{field}", k))
        return owners

    @property
    def numbers(self) -> tuple[str, ...]:
        """All numbers that can be varied, as `element.field`."""
        return tuple(self._owners)

    def places(self, number: str) -> list[tuple[str, int]]:
        """Where theta holds a number `element.field`.

        Raises
        ------
        NetlistError
            If no element has it.
        """
        if number not in self._owners:
            element = number.partition(".")[0]
            known = [name for name in self._owners if name.startswith(element + ".")] or list(self._owners)
            raise NetlistError(f"no number {number!r} in the circuit; there are {', '.join(known[:12])}")
        return self._owners[number]

    def value(self, number: str, theta: Parameters | None = None) -> Array:
        """A number `element.field`."""
        key, k = self.places(number)[0]
        return jnp.asarray((self.theta if theta is None else theta)[key])[k]

    def with_numbers(self, theta: Parameters, values: Mapping[str, Array | float]) -> dict[str, Array]:
        """Theta with some numbers `element.field` replaced; values may be traced."""
        new = {key: jnp.asarray(value) for key, value in theta.items()}
        for number, value in values.items():
            for key, k in self.places(number):
                new[key] = new[key].at[k].set(value)
        return new

    def source_value(self, name: str) -> str:
        """The number that a DC sweep of the source `name` varies.

        Raises
        ------
        NetlistError
            If there is no such source.
        """
        element = self.netlist.elements.get(name)
        if not isinstance(element, Source):
            known = ", ".join(e.name for e in self.netlist if isinstance(e, Source)) or "none"
            raise NetlistError(f"there is no independent source {name!r} to sweep; the circuit has {known}")
        return f"{name}.value"

    # equations

    def split(self, theta: Parameters) -> list[tuple[Stack, dict[str, Array]]]:
        """Every stack with its own numbers."""
        return [(s, {field: jnp.asarray(theta[f"{s.label}.{field}"]) for field in s.numbers}) for s in self.stacks]

    def _scattered(self, parts: Sequence[tuple[Stack, Array]]) -> Array:
        total = jnp.zeros(self.size + 1)
        for s, rows in parts:
            total = total.at[s.index.T].add(rows)
        return total[: self.size]

    def stamp(self, x: Array, theta: Parameters, t: Array | float = 0.0) -> Array:
        """i(x, t): currents that leave the nodes (amperes), residuals of the branch equations (volts)."""
        full = jnp.append(x, 0.0)
        return self._scattered([(s, s.stamp(full, numbers, t)) for s, numbers in self.split(theta)])

    def charge(self, x: Array, theta: Parameters) -> Array:
        """q(x): charges at the nodes (coulombs), fluxes of the branches (webers)."""
        full = jnp.append(x, 0.0)
        return self._scattered([(s, s.charges(full, numbers)) for s, numbers in self.split(theta) if s.stores])

    def noise_currents(self, x: Array, theta: Parameters, frequency: Array | float) -> Iterator[NoiseCurrents]:
        """Noise currents of all elements at the state x."""
        full = jnp.append(x, 0.0)
        for s, numbers in self.split(theta):
            for kind, a, b, density in s.noise(full, numbers, frequency):
                yield NoiseCurrents(s.names, kind, s.index[a], s.index[b], density)

    @cached_property
    def pattern(self) -> Pattern:
        """Where di/dx and dq/dx have entries."""
        rows = [np.broadcast_to(s.index.T[:, :, None], (len(s.names), *(2 * (len(s.index),)))) for s in self.stacks]
        columns = [np.broadcast_to(s.index.T[:, None, :], r.shape) for s, r in zip(self.stacks, rows, strict=True)]
        return Pattern.of([r.ravel() for r in rows], [c.ravel() for c in columns], self.size)

    def linearized(self, x: Array, theta: Parameters, t: Array | float = 0.0) -> tuple[Array, Array, Array, Array]:
        """i(x, t) and q(x) [unknowns], and the values of di/dx and dq/dx on `pattern`, from one evaluation."""
        full = jnp.append(x, 0.0)
        parts = [s.linearized(full, numbers, t) for s, numbers in self.split(theta)]
        i, q = (self._scattered(list(zip(self.stacks, [p[k] for p in parts], strict=True))) for k in (0, 1))
        di, dq = (jnp.concatenate([jnp.zeros(0), *(p[k].ravel() for p in parts)]) for k in (2, 3))
        return i, q, self.pattern.gather(di), self.pattern.gather(dq)

    # the System that diagnostics see

    @cached_property
    def capacitance(self) -> Mapping[str, Array]:  # type: ignore[override]
        raise NetlistError("a nodal system has a capacitance matrix, singular in general: use matrices")

    def pack(self, v: Voltages) -> Array:
        return jnp.stack([jnp.asarray(v[name], float) for name in self.unknowns])

    def unpack(self, vector: Array) -> dict[str, Array]:
        return {name: vector[..., k] for k, name in enumerate(self.unknowns)}

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        leaving = self.unpack(self.stamp(self.pack(v), theta, t))
        return {name: i - (sources or {}).get(name, 0.0) for name, i in leaving.items()}

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        return dict(v)

    def matrices(self, x: Array, theta: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """Dense G = di/dx and C = dq/dx at the state x, for diagnostics of small circuits."""
        _, _, di, dq = linearized(self, jnp.asarray(x), theta)
        return self.pattern.dense(di), self.pattern.dense(dq)


stamp = jax.jit(Nodal.stamp, static_argnums=0)
linearized = jax.jit(Nodal.linearized, static_argnums=0)


def _tied(element: Element, netlist: Netlist) -> Element:
    """The element with the numbers that it shares with others filled in."""
    values = {}
    for field, number in element.tied.items():
        owner, _, name = number.rpartition(".")
        values[field] = netlist.elements[owner].numbers[name]
    return replace(element, **values) if values else element
