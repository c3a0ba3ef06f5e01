"""What changes between two looks at the same thing: 1/f noise, aging, temperature.

A difference of two readings cancels what stays, not what changes meanwhile. An effect here gives the values at several
times since the first look, at which they are what they were given as.

Of 1/f noise, one-sided density K / f between f_1 and f_2, that is the structure function

    D(t) = E (x(t) - x(0))^2 = 2 (R(0) - R(t)) = 2 K (Cin(2 pi f_2 t) - Cin(2 pi f_1 t)),

with R(t) = K (Ci(2 pi f_2 t) - Ci(2 pi f_1 t)), R(0) = K ln(f_2 / f_1), the cosine integral Ci and the entire one
Cin(x) = gamma + ln x - Ci(x). It has a limit for f_1 -> 0, and grows with the logarithm of the time: waiting a thousand
times shorter makes it a few times smaller, and no more.

References: Keshner 1982, "1/f noise" (its memory); Enz and Temes 1996, "Circuit techniques for reducing the effects of
op-amp imperfections" (what a difference leaves of it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import sici

from analogep.netlist._types import Array
from analogep.technology.effect import Devices, named_key, normal, require
from analogep.technology.laws import Law
from analogep.technology.preset import Preset
from analogep.technology.storage import Drift, Leak


class Between(Protocol):
    """A frozen dataclass of numbers that can be called."""

    def __call__(self, values: Array, key: Array, seconds: Sequence[float], /) -> jax.Array:
        """Values at each time after the first look [times, *shape]; one key is one course of events."""
        ...


def structure(seconds: float | np.ndarray, high: float, low: float = 0.0) -> np.ndarray:
    """D(t) of noise with the one-sided density 1 / f between `low` and `high` (hertz)."""
    t = np.asarray(seconds, float)
    return 2 * (_cin(2 * np.pi * high * t) - _cin(2 * np.pi * low * t))


def _cin(x: np.ndarray) -> np.ndarray:
    """Integral of (1 - cos u) / u from 0 to x; by its series where the logarithm would cancel."""
    small = x < 0.1
    safe = np.where(small, 1.0, x)
    return np.where(small, x**2 / 4 - x**4 / 96 + x**6 / 4320, np.euler_gamma + np.log(safe) - sici(safe)[1])


def changes(key: Array, seconds: Sequence[float], like: Array, *, high: float, low: float = 0.0) -> jax.Array:
    """x(t) - x(0) of 1/f noise of strength 1 at some times [times, *shape]: Gaussian, with the covariance
    (D(t_i) + D(t_j) - D(t_i - t_j)) / 2."""
    t = np.asarray(seconds, float)
    alone = structure(t, high, low)
    covariance = (alone[:, None] + alone - structure(np.abs(t[:, None] - t), high, low)) / 2
    power, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.maximum(power, 0.0))
    return jnp.tensordot(root, normal(key, jnp.broadcast_to(like, (len(t), *jnp.shape(like)))), 1)


@dataclass(frozen=True)
class Wander:
    """1/f noise of devices, S_g = (Q g)^2 / f: g (1 + Q(g) (x(t) - x(0))).

    Parameters
    ----------
    strength : law of Q, such as that of `FlickerNoise`.
    high : highest frequency that counts (hertz); the noise bandwidth 1 / (4 tau) of a node with time constant tau.
    low : lowest frequency of the noise (hertz).
    """

    strength: Law
    high: float
    low: float = 0.0

    def __post_init__(self) -> None:
        require(self, 0.0, above=True, high=self.high)
        require(self, 0.0, self.high, low=self.low)

    def __call__(self, devices: Array, key: Array, seconds: Sequence[float]) -> jax.Array:
        g = jnp.asarray(devices, float)
        return g * (1.0 + self.strength(g) * changes(key, seconds, g, high=self.high, low=self.low))


@dataclass(frozen=True)
class VoltageWander:
    """1/f noise of amplifiers, S_v = volts^2 / f.

    Parameters
    ----------
    volts : root of the density at 1 Hz (V/sqrt(Hz)).
    high, low : as those of `Wander`.
    """

    volts: Array | float
    high: float
    low: float = 0.0

    def __post_init__(self) -> None:
        require(self, volts=self.volts)
        require(self, 0.0, above=True, high=self.high)
        require(self, 0.0, self.high, low=self.low)

    def __call__(self, volts: Array, key: Array, seconds: Sequence[float]) -> jax.Array:
        v = jnp.asarray(volts, float)
        return v + self.volts * changes(key, seconds, v, high=self.high, low=self.low)


@dataclass(frozen=True)
class Aging:
    """Drift or leak that goes on: each device by its own exponent or time constant, from what it holds at first.

    Parameters
    ----------
    effect : its `seconds` are those since the first look; a drift's `start` is the age at that look.
    """

    effect: Drift | Leak

    def __call__(self, devices: Array, key: Array, seconds: Sequence[float]) -> jax.Array:
        return jnp.stack([replace(self.effect, seconds=t)(devices, key) for t in seconds])


@dataclass(frozen=True)
class Warming:
    """Devices that warm up, or cool down, against what they are compared with.

    Parameters
    ----------
    rate : kelvin per second.
    coefficient : of the conductance (1/K). No preset has one: their sources measured at one temperature.
    """

    rate: Array | float
    coefficient: Array | float

    def __call__(self, devices: Array, key: Array, seconds: Sequence[float]) -> jax.Array:
        g = jnp.asarray(devices, float)
        return jnp.stack([g * (1.0 + self.coefficient * self.rate * t) for t in seconds])


def aging(device: Preset) -> tuple[Aging, ...]:
    """How devices of a kind go on changing at the age that they have."""
    out = []
    if device.drift_mean is not None and device.drift_start is not None:
        out.append(Aging(Drift(device.drift_mean, device.drift_spread, start=device.drift_start + device.seconds)))
    if device.retention is not None:
        out.append(Aging(Leak(0.0, device.retention, device.retention_spread)))
    return tuple(out)


def moments(effects: Sequence[Between], devices: Devices, key: Array, seconds: Sequence[float]) -> Devices:
    """All arrays at some times [times, ...]: what effects change, added up; each array has draws of its own."""
    out = {}
    for name, pair in devices.items():
        own = named_key(key, name)
        changes = (effect(pair, jax.random.fold_in(own, k), seconds) - pair for k, effect in enumerate(effects))
        out[name] = pair + sum(changes, start=jnp.zeros((len(seconds), *jnp.shape(pair))))
    return out
