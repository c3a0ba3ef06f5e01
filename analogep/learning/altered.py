"""Systems that phases make out of a system: linearized, with nodes clamped, and with currents injected."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.system import System

Injection = Callable[[Voltages], Currents]
"""Voltages of the states -> currents into them."""


class Altered(System):
    """A system on the states of another, whose voltages it shows."""

    def __init__(self, base: System) -> None:
        self.base = base
        self.states, self.capacitance = base.states, base.capacitance
        self.theta, self.scale = base.theta, base.scale

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        return self.base.voltages(v, x, theta, t, sources)


class Linear(Altered):
    """Leaving current M (v - rest) of a fixed matrix M; `rest` is 0 when None. It shows its states alone."""

    def __init__(self, base: System, matrix: Array, rest: Voltages | None = None) -> None:
        super().__init__(base)
        self.matrix, self.rest = matrix, rest

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        away = self.flatten(v) if self.rest is None else self.flatten(v) - self.flatten(self.rest)
        pushed = self.unflatten(self.matrix @ away)
        return {bus: pushed[bus] - (sources or {}).get(bus, 0.0) for bus in self.states}

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        return dict(v)


class Clamped(Altered):
    """A system with some nodes held at given voltages: their KCL is replaced by v = clamp.

    Parameters
    ----------
    clamp : bus -> voltages.
    where : bus -> which of its nodes are held.
    """

    def __init__(self, base: System, clamp: Voltages, where: dict[str, np.ndarray]) -> None:
        super().__init__(base)
        self.clamp, self.where = clamp, where

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        leaving = dict(self.base.current(v, x, theta, t, sources))
        for bus, held in self.where.items():
            # a stiff source's conductance does not matter at rest: one unit keeps the time constant of a state
            leaving[bus] = jnp.where(held, self.scale.siemens * (v[bus] - self.clamp[bus]), leaving[bus])
        return leaving


class Injected(Altered):
    """A system with extra currents into its states that depend on their voltages."""

    def __init__(self, base: System, inject: Injection) -> None:
        super().__init__(base)
        self.inject = inject

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        leaving, pushed = self.base.current(v, x, theta, t, sources), self.inject(v)
        return {bus: leaving[bus] - pushed.get(bus, 0.0) for bus in self.states}

    def rate(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        # by the base, which knows its capacitors between live nodes
        pushed = dict(self.inject(v))
        for bus, current in (sources or {}).items():
            pushed[bus] = pushed.get(bus, 0.0) + current
        return self.base.rate(v, x, theta, t, pushed)


def correction(
    system: System, rest: Voltages, x: Voltages, theta: Parameters, *, adjoint: System, held: Voltages
) -> Injection:
    """The current +2 A (v - v*) = G (v - v*) - G^T (v - v*) into the nodes, both products about the state v*.

    With it the nudged conductance matrix is G - 2 A = S - A = G^T, for a nudge of any kind and on every node at once.

    Parameters
    ----------
    rest : the free state v*.
    adjoint, held : the system with the conductance matrix G^T, and its inputs.

    Reference
    ---------
    Scurria et al. 2026, "Equilibrium propagation for non-conservative systems".
    """
    along = jax.linearize(lambda at: system.current(at, x, theta), rest)[1]

    def inject(v: Voltages) -> Currents:
        away = {bus: v[bus] - rest[bus] for bus in rest}
        forward, back = along(away), adjoint.current(away, held, theta)
        return {bus: forward[bus] - back[bus] for bus in rest}

    return inject
