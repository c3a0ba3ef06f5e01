"""Systems that phases make out of a system: linearized, and with nodes clamped."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.system import System


class Linear(System):
    """Leaving current M (v - rest) of a fixed matrix M, on the states of another system; `rest` is 0 when None."""

    def __init__(self, base: System, matrix: Array, rest: Voltages | None = None) -> None:
        self.matrix, self.rest = matrix, rest
        self.states, self.capacitance = base.states, base.capacitance
        self.theta, self.scale = base.theta, base.scale

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


class Clamped(System):
    """A system with some nodes held at given voltages: their KCL is replaced by v = clamp.

    Parameters
    ----------
    clamp : bus -> voltages.
    where : bus -> which of its nodes are held.
    """

    def __init__(self, base: System, clamp: Voltages, where: dict[str, np.ndarray]) -> None:
        self.base, self.clamp, self.where = base, clamp, where
        self.states, self.capacitance = base.states, base.capacitance
        self.theta, self.scale = base.theta, base.scale

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        leaving = dict(self.base.current(v, x, theta, t, sources))
        for bus, held in self.where.items():
            # a stiff source's conductance does not matter at rest: one unit keeps the time constant of a state
            leaving[bus] = jnp.where(held, self.scale.siemens * (v[bus] - self.clamp[bus]), leaving[bus])
        return leaving

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        return self.base.voltages(v, x, theta, t, sources)
