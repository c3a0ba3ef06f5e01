"""The part of a system that stability is about: the states on a feedback loop."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np

from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System


class Analyzed:
    """The buses of a system that diagnostics look at, and vectors over them.

    Attributes
    ----------
    buses : states on a feedback loop. A pure readout cannot act back on them and would only add its own poles. With
        capacitors between live nodes, through which anything may act back, all states are taken.
    moving : `buses` and the states that act on them: all that has to be integrated to know the loops' motion.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        names: tuple[str, ...] = tuple(system.states)
        moving = set(names)
        if isinstance(system, Circuit) and not system.floating:
            names = system.loops
            graph = system.netlist.graph()
            moving = {*names, *(bus for name in names for bus in nx.ancestors(graph, name))}
        self.buses = {name: system.states[name] for name in names}
        self.moving = tuple(name for name in system.states if name in moving)

    @property
    def states(self) -> int:
        """Number of states looked at."""
        return sum(bus.nodes for bus in self.buses.values())

    def flatten(self, v: Voltages) -> Array:
        """Vector of the nodes that are looked at, in the order of `System.flatten`."""
        return jnp.concatenate([jnp.ravel(v[name])[bus.indices] for name, bus in self.buses.items()])

    def place(self, vector: Array, v: Voltages) -> dict[str, Array]:
        """The voltages `v` with the nodes that are looked at set to `vector`."""
        out, start = dict(v), 0
        for name, bus in self.buses.items():
            part = vector[start : start + bus.nodes]
            out[name] = jnp.ravel(jnp.asarray(v[name])).at[bus.indices].set(part).reshape(bus.shape)
            start += bus.nodes
        return out

    @property
    def capacitance(self) -> np.ndarray:
        """Capacitances [n] (farads), or the matrix [n, n] where capacitors join two live nodes."""
        if isinstance(self.system, Circuit) and self.system.floating:
            return self.system.capacitance_matrix
        full = ((self.system.capacitance[name], bus) for name, bus in self.buses.items())
        return np.concatenate([np.broadcast_to(farads, bus.shape).ravel()[bus.indices] for farads, bus in full])

    def conductance(self, v: Voltages, x: Voltages, theta: Parameters) -> np.ndarray:
        """G = di/dv over these states [n, n] (siemens), by forward mode."""
        return np.asarray(_conductance(self.system, dict(v), dict(x), dict(theta)))


@partial(jax.jit, static_argnames="system")
def _conductance(system: System, v: Voltages, x: Voltages, theta: Parameters) -> Array:
    part = Analyzed(system)

    def leaving(flat: Array) -> Array:
        return part.flatten(system.current(part.place(flat, v), x, theta))

    return jax.jacfwd(leaving)(part.flatten(v))
