"""Tellegen's power balance of a solved circuit: what every element takes, and that it adds up to nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import DataError
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import Capacitor
from analogep.netlist.graph import Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.nodal import Nodal
from analogep.simulate.system import System

CLOSED = 1e-10
"""Share of the power scale up to which a balance counts as closed."""


class PowerBalance(NamedTuple):
    """Power that every element absorbs (watts): its voltages times the currents that enter it, summed.

    Attributes
    ----------
    names, kinds : of the elements, in netlist order, and their classes.
    watts : absorbed power [elements]; sources that deliver, and one-way elements that drive a load, are negative.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    watts: np.ndarray

    @property
    def scale(self) -> float:
        """Half the sum of the magnitudes: the power that goes round (watts)."""
        return float(np.abs(self.watts).sum() / 2)

    @property
    def imbalance(self) -> float:
        """Sum over all elements (watts), 0 for a solved circuit (Tellegen 1952)."""
        return float(self.watts.sum())

    @property
    def relative(self) -> float:
        """|imbalance| over the scale; 0 where nothing flows."""
        return abs(self.imbalance) / self.scale if self.scale else 0.0

    @property
    def closed(self) -> bool:
        """Whether the relative imbalance is at most `CLOSED`."""
        return self.relative <= CLOSED

    def by_kind(self) -> dict[str, float]:
        """Absorbed power of each class of elements (watts)."""
        out: dict[str, float] = {}
        for kind, power in zip(self.kinds, self.watts, strict=True):
            out[kind] = out.get(kind, 0.0) + float(power)
        return out


def power_balance(
    system: System,
    v: Voltages,
    x: Voltages,
    theta: Parameters,
    *,
    rates: Voltages | None = None,
    t: float = 0.0,
) -> PowerBalance:
    """The power that each element of a circuit absorbs at one instant.

    The node voltages obey Kirchhoff's voltage law by themselves; the sum vanishes where the currents obey his current
    law. So the imbalance measures how well the state is solved, and a missing or wrong stamp shows.

    Parameters
    ----------
    system : a Circuit or a Nodal.
    v : its state: voltages, and for a Nodal branch currents, by name.
    x : input voltages of a Circuit; a Nodal has none.
    rates : dv/dt of the state (V/s, A/s), for the currents of capacitors and other charges; at rest (None) there are
        none. Inductors need no rates: their voltages are in the state.
    t : time, for sources with a waveform (seconds).

    Raises
    ------
    DataError
        If the system has no elements (a model as written).

    Reference
    ---------
    Tellegen 1952, "A general network theorem, with applications"; Penfield, Spence & Duinker 1970.
    """
    if isinstance(system, Nodal):
        stacks = _of_nodal(system, dict(v), dict(theta), None if rates is None else dict(rates), t)
        each = {name: p for s in system.stacks for name, p in zip(s.names, np.asarray(stacks[s.label]), strict=True)}
        return _balance(system.netlist, [each[e.name] for e in system.netlist])
    if isinstance(system, Circuit):
        powers = _of_circuit(system, dict(v), dict(x), dict(theta), None if rates is None else dict(rates), t)
        return _balance(system.netlist, powers)
    raise DataError(f"{type(system).__name__} has no elements; compile it to a Circuit for its power balance")


@partial(jax.jit, static_argnames="nodal")
def _of_nodal(nodal: Nodal, v: Voltages, theta: Parameters, rates: Voltages | None, t: float) -> dict[str, Array]:
    """By stacks: stamp and charge of every element at its own unknowns, times their voltages; stack -> [count]."""
    full = jnp.append(nodal.pack(v), 0.0)
    along = jnp.zeros_like(full) if rates is None else jnp.append(nodal.pack(rates), 0.0)
    # a branch's own equation is no current, and a rate kept by a device is no voltage
    node = np.append(nodal.is_node & ~nodal.rates, False)
    out = {}
    for s, numbers in nodal.split(theta):
        currents = s.stamp(full, numbers, t)
        if s.stores and rates is not None:
            currents = currents + jax.jvp(lambda at, s=s, n=numbers: s.charges(at, n), (full,), (along,))[1]
        out[s.label] = jnp.where(node[s.index.T], full[s.index.T] * currents, 0.0).sum(axis=1)
    return out


@partial(jax.jit, static_argnames="circuit")
def _of_circuit(
    circuit: Circuit, v: Voltages, x: Voltages, theta: Parameters, rates: Voltages | None, t: float
) -> list[Array]:
    """Bus by bus; what holds a bus at a voltage carries whatever current the others leave there."""
    netlist = circuit.netlist
    volts = circuit.voltages(v, x, theta, t)
    exists = {bus: _mask(netlist, bus) for bus in netlist.buses}
    at_bus = {bus: jnp.zeros(netlist.shape(bus)) for bus in netlist.buses}

    def power(bus: str, current: Array) -> Array:
        return jnp.sum(jnp.where(exists[bus], volts[bus] * current, 0.0))

    found: dict[str, Array] = {}
    for element in netlist:
        found[element.name] = jnp.zeros(())
        for bus, current in _currents(element, volts, theta, rates, t).items():
            at_bus[bus] = at_bus[bus] + current
            found[element.name] += power(bus, jnp.broadcast_to(current, netlist.shape(bus)))
    for element in netlist:
        for bus in element.forces:
            found[element.name] -= power(bus, at_bus[bus])
    return list(found.values())


def _currents(
    element: Element, volts: Voltages, theta: Parameters, rates: Voltages | None, t: float
) -> Mapping[str, Array]:
    """Currents that leave each bus through an element; none yet for one that forces a voltage."""
    if isinstance(element, Capacitor):
        # only buses that move are in `rates`
        slopes = {} if rates is None else rates
        change = slopes.get(element.a, 0.0) - slopes.get(element.b, 0.0)
        leaving = {element.a: element.farads * change, element.b: -element.farads * change}
        return {bus: i for bus, i in leaving.items() if bus != GROUND}
    shunted = element.shunts
    if shunted is not None:
        return {shunted: element.conductance(theta) * volts[shunted]}
    return element.currents(volts, theta, t)


def _mask(netlist: Netlist, bus: str) -> np.ndarray:
    exists = netlist.buses[bus].exists
    return np.ones(netlist.shape(bus), bool) if exists is None else exists


def _balance(netlist: Netlist, watts: Sequence[Array]) -> PowerBalance:
    elements = list(netlist)
    kinds = tuple(type(e).__name__ for e in elements)
    return PowerBalance(tuple(e.name for e in elements), kinds, np.array([float(p) for p in watts]))
