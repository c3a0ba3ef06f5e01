"""Losses of a system's states, each with the current that a nudge of strength one injects, written out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.units import Scale


class Cost(ABC):
    """A loss L of the states. It is never differentiated on a local path: `force` states the derivative.

    `theta` matters only to a loss behind a readout that is no part of the system, as that of F(z) as written.
    """

    @abstractmethod
    def loss(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Array:
        """L (dimensionless) at the state voltages `v` and the inputs `x`."""

    @abstractmethod
    def force(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Currents:
        """-dL/dv times one ampere unit and one volt unit of the system's scale: currents into the states (amperes)."""


@dataclass(frozen=True, eq=False)
class Quadratic(Cost):
    """L = sum weight (v / volts - target)^2 / 2 over one bus.

    Parameters
    ----------
    bus : the output nodes' bus.
    target, weight : broadcast to the bus; a weight of 0 leaves a node free.
    scale : of the system.
    """

    bus: str
    target: Array
    weight: Array | float
    scale: Scale

    def _error(self, v: Voltages) -> Array:
        return jnp.asarray(v[self.bus]) / self.scale.volts - self.target

    def loss(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Array:
        return jnp.sum(self.weight * self._error(v) ** 2) / 2

    def force(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Currents:
        return {self.bus: -self.scale.amperes * self.weight * self._error(v)}


@dataclass(frozen=True, eq=False)
class LogitCrossEntropy(Cost):
    """L = -sum weight target . log softmax(v / volts), over a bus of logits that are states.

    Inputs `target` [..., classes] and `weight` [...] are rails: voltages of `scale.volts` a unit.

    Parameters
    ----------
    bus : the logits' bus.
    scale : of the system.
    """

    bus: str
    scale: Scale

    def loss(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Array:
        volts = self.scale.volts
        surprise = -jnp.sum(x["target"] / volts * jax.nn.log_softmax(v[self.bus] / volts), -1)
        return jnp.sum(x["weight"] / volts * surprise)

    def force(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Currents:
        volts = self.scale.volts
        error = x["target"] / volts - jax.nn.softmax(v[self.bus] / volts)
        return {self.bus: self.scale.amperes * (x["weight"] / volts)[..., None] * error}
