"""What happens to a stored conductance: power-law drift, leakage, stuck cells, temperature."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array
from analogep.netlist.element import BOLTZMANN, ROOM
from analogep.technology.effect import normal, require
from analogep.technology.laws import Law

ELECTRONVOLT = 1.602176634e-19
"""Joules."""


@dataclass(frozen=True)
class Drift:
    """Effect: g ((seconds + start) / start)^-nu; every device has its own nu = |mean(g) + spread(g) n|, n normal.

    The same key gives a device the same nu at every time.

    Parameters
    ----------
    mean, spread : laws of the drift exponent; without a spread all devices have the mean.
    seconds : after the first reading, which is `start` after programming.
    start : first reading after programming (seconds); 20 s for the PCM of Nandakumar 2019.

    Reference
    ---------
    Nandakumar et al. 2019; Joshi et al. 2020, "Accurate deep neural network inference using computational phase-change
    memory".
    """

    mean: Law
    spread: Law | None = None
    seconds: Array | float = 0.0
    start: float = 20.0

    def __post_init__(self) -> None:
        require(self, seconds=self.seconds)
        require(self, 0.0, above=True, start=self.start)

    def exponents(self, devices: Array, key: Array) -> jax.Array:
        """nu of every device."""
        mean = self.mean(devices)
        return jnp.abs(mean if self.spread is None else mean + self.spread(devices) * normal(key, devices))

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        g = jnp.asarray(devices, float)
        return g * ((self.seconds + self.start) / self.start) ** -self.exponents(g, key)


@dataclass(frozen=True)
class Leak:
    """Effect: a conductance set by a charge that leaks away, rest + (g - rest) exp(-seconds / tau).

    Parameters
    ----------
    seconds : since it was written.
    tau : time constant (seconds); for a capacitor, its farads over the siemens of its leak.
    spread : relative standard deviation of tau from device to device; a tau is 0.05 of the mean at least.
    rest : conductance without charge (siemens).
    """

    seconds: Array | float
    tau: Array | float
    spread: float = 0.0
    rest: float = 0.0

    def __post_init__(self) -> None:
        require(self, seconds=self.seconds, spread=self.spread, rest=self.rest)
        require(self, 0.0, above=True, tau=self.tau)

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        g = jnp.asarray(devices, float)
        tau = self.tau * jnp.maximum(1.0 + self.spread * normal(key, g), 0.05)
        return self.rest + (g - self.rest) * jnp.exp(-self.seconds / tau)


@dataclass(frozen=True)
class Stuck:
    """Effect: some cells do not answer: open or reset (at gmin), shorted or set (at gmax), or anywhere between.

    Parameters
    ----------
    gmin, gmax : range of the devices (siemens).
    low, high, anywhere : fractions of cells stuck at gmin, at gmax, and at a conductance drawn evenly between them.
    """

    gmin: float
    gmax: float
    low: Array | float = 0.0
    high: Array | float = 0.0
    anywhere: Array | float = 0.0

    def __post_init__(self) -> None:
        require(self, 0.0, 1.0, low=self.low, high=self.high, anywhere=self.anywhere)
        require(self, 0.0, 1.0, sum_of_fractions=self.low + self.high + self.anywhere)

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        g = jnp.asarray(devices, float)
        which, where = (jax.random.uniform(part, g.shape, g.dtype) for part in jax.random.split(key))
        low, high = self.low, self.low + self.high
        value = jnp.where(
            which < low, self.gmin, jnp.where(which < high, self.gmax, self.gmin + (self.gmax - self.gmin) * where)
        )
        return jnp.where(which < high + self.anywhere, value, g)


@dataclass(frozen=True)
class Temperature:
    """Effect: g (1 + coefficient (T - T0)) exp(activation / k (1 / T0 - 1 / T)).

    No preset carries numbers for it: the sources measured at room temperature.

    Parameters
    ----------
    kelvin, reference : T and T0, at which the conductances were given (300.15 K, as in SPICE).
    coefficient : of the metallic part (1/K).
    activation : energy of the part that is thermally activated (electronvolts).
    """

    kelvin: Array | float
    coefficient: float = 0.0
    activation: float = 0.0
    reference: float = ROOM

    def __post_init__(self) -> None:
        require(self, 0.0, above=True, kelvin=self.kelvin, reference=self.reference)

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        linear = 1.0 + self.coefficient * (self.kelvin - self.reference)
        return jnp.asarray(devices, float) * linear * arrhenius(self.kelvin, self.activation, self.reference)


def arrhenius(kelvin: Array | float, activation: float, reference: float = ROOM) -> jax.Array:
    """How much faster a process of that activation energy (electronvolts) runs than at the reference: what to multiply
    `seconds` by where drift or leakage is meant at another temperature."""
    return jnp.exp(activation * ELECTRONVOLT / BOLTZMANN * (1.0 / reference - 1.0 / jnp.asarray(kelvin, float)))
