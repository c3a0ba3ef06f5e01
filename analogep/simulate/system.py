"""System, the waist of the hourglass: what settling, phases, estimators and diagnostics see of a model or a circuit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.graph import Bus
from analogep.simulate.forward_only import forward_only as forward_only_barrier
from analogep.units import Scale


class System(ABC):
    """C dv/dt = -i(v, x; theta), with the current i counted as it leaves a node.

    Attributes
    ----------
    states : name -> Bus of the voltages that are integrated.
    capacitance : name -> farads, broadcast to the bus.
    theta : programmable conductances (siemens) as built.
    scale : units; `scale.seconds` is the time unit tau of reports and tolerances.
    """

    states: Mapping[str, Bus]
    capacitance: Mapping[str, Array]
    theta: Parameters
    scale: Scale

    @abstractmethod
    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        """Currents that leave the states (amperes).

        Parameters
        ----------
        v : state voltages.
        x : voltages of the inputs that differ from the values they were built with.
        t : time (seconds), for sources with a waveform.
        sources : extra currents *into* buses (states or driven ones).
        """

    @abstractmethod
    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        """Voltages of all buses, driven ones and inputs included, at the given states."""

    def rate(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        """dv/dt = -i / C (volts per second)."""
        i = self.current(v, x, theta, t, sources)
        return {bus: -i[bus] / self.capacitance[bus] for bus in self.states}

    def zeros(self) -> dict[str, Array]:
        """All states at 0 V."""
        return {name: jnp.zeros(bus.shape) for name, bus in self.states.items()}

    def pack(self, v: Voltages) -> Array:
        """One vector of all entries of all states, built or not: what integrators step."""
        return jnp.concatenate([jnp.ravel(v[name]) for name in self.states])

    def unpack(self, vector: Array) -> dict[str, Array]:
        """Buses from the vector of `pack`."""
        out, start = {}, 0
        for name, bus in self.states.items():
            out[name] = vector[start : start + bus.size].reshape(bus.shape)
            start += bus.size
        return out

    def residual(self, i: Array, v: Array) -> Array:
        """Size of packed currents relative to the packed state: rms(i) over g0 rms(v), with g0 = `scale.siemens`."""
        # the floor keeps an all-zero state from dividing by zero; it is 1e-12 of one unit
        return jnp.linalg.norm(i) / (self.scale.siemens * jnp.linalg.norm(v) + 1e-12 * self.scale.amperes)

    @cached_property
    def labels(self) -> list[str]:
        """Scalar node names in the order of `flatten`."""
        return [label for name, bus in self.states.items() for label in bus.labels(name)]

    def flatten(self, v: Voltages) -> Array:
        """Vector of all state nodes that exist."""
        return jnp.concatenate([jnp.ravel(v[name])[..., bus.indices] for name, bus in self.states.items()])

    def unflatten(self, vector: Array) -> dict[str, Array]:
        """Buses from the vector of `flatten`; nodes that do not exist are 0."""
        out, start = {}, 0
        for name, bus in self.states.items():
            part = vector[start : start + bus.nodes]
            out[name] = jnp.zeros(bus.size, vector.dtype).at[bus.indices].set(part).reshape(bus.shape)
            start += bus.nodes
        return out

    @cached_property
    def capacitances(self) -> np.ndarray:
        """Capacitance of every node of `flatten` (farads)."""
        full = [np.broadcast_to(self.capacitance[n], b.shape).ravel()[b.indices] for n, b in self.states.items()]
        return np.concatenate(full)

    def conductance(self, v: Voltages, x: Voltages, theta: Parameters) -> Array:
        """G = di/dv, dense [n, n] (siemens), by forward mode."""
        return jax.jacfwd(lambda flat: self.flatten(self.current(self.unflatten(flat), x, theta)))(self.flatten(v))


class ModelSystem(System):
    """F(z) as written: i = -F(z), dimensionless; state `z`, input `token`, unit capacitors.

    `forward_only` refuses reverse-mode differentiation, as for a Circuit.
    """

    def __init__(self, model: EquilibriumTransformer, weights: Parameters, *, forward_only: bool = False) -> None:
        self.model = model
        self._barrier = forward_only_barrier if forward_only else (lambda tree: tree)
        self.states = {"z": Bus((model.tokens, model.channels))}
        self.capacitance = {"z": np.ones(())}
        self.theta = dict(weights)
        self.scale = Scale()

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        z, token, weights = self._barrier((v["z"], x["token"], dict(theta)))
        pushed = 0.0 if sources is None else sources.get("z", 0.0)
        return {"z": -self.model.force(z, token, weights) - pushed}

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        z, weights = self._barrier((v["z"], dict(theta)))
        return {**v, **x, "logits": self.model.logits(z, weights)}
