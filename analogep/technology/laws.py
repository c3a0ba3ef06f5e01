"""Laws that depend on a device's conductance: how far it is off, how fast it drifts, and how that changes in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array
from analogep.technology.effect import normal, require

Law = Callable[[Array], jax.Array]
"""Conductances (siemens) -> a number for each."""

LEAST = 1e-7
"""Smallest relative conductance that a logarithm or a negative power is taken of, as in aihwkit."""


@dataclass(frozen=True)
class Polynomial:
    """sum_k c_k (g / reference)^k.

    Parameters
    ----------
    coefficients : c_0, c_1, ... in the unit of the result (siemens for a spread).
    reference : siemens.
    until : conductance (siemens) above which the value stays what it is there.
    """

    coefficients: tuple[float, ...]
    reference: float = 1.0
    until: float = math.inf

    def __call__(self, devices: Array) -> jax.Array:
        g = jnp.minimum(jnp.asarray(devices, float), self.until)
        return jnp.polyval(jnp.asarray(self.coefficients[::-1], float), g / self.reference)


@dataclass(frozen=True)
class Saturating:
    """amplitude (1 - exp(-g / scale)), both in siemens."""

    amplitude: float
    scale: float

    def __call__(self, devices: Array) -> jax.Array:
        return -self.amplitude * jnp.expm1(-jnp.asarray(devices, float) / self.scale)


@dataclass(frozen=True)
class ClippedLog:
    """slope ln(g / reference) + offset, kept within low ... high; with slope 0 a constant."""

    slope: float
    offset: float
    low: float
    high: float
    reference: float = 1.0

    def __call__(self, devices: Array) -> jax.Array:
        x = jnp.maximum(jnp.asarray(devices, float) / self.reference, LEAST)
        return jnp.clip(self.slope * jnp.log(x) + self.offset, self.low, self.high)


@dataclass(frozen=True)
class PowerLaw:
    """amplitude (g / reference)^-exponent, `high` at most."""

    amplitude: float
    exponent: float = 0.0
    high: float = 1.0
    reference: float = 1.0

    def __call__(self, devices: Array) -> jax.Array:
        x = jnp.maximum(jnp.asarray(devices, float) / self.reference, LEAST)
        return jnp.minimum(self.amplitude * x**-self.exponent, self.high)


def constant(value: float) -> Polynomial:
    """The same for every conductance."""
    return Polynomial((value,))


@dataclass(frozen=True)
class Blend:
    """Weighted sum of laws."""

    laws: tuple[Law, ...]
    weights: tuple[Array, ...]

    def __call__(self, devices: Array) -> jax.Array:
        return jnp.asarray(sum(weight * law(devices) for law, weight in zip(self.laws, self.weights, strict=True)))


@dataclass(frozen=True)
class ProgrammingError:
    """Effect: what a device holds after it was programmed, g + shift(g) plus a normal error; never below 0.

    Parameters
    ----------
    spread : law of the standard deviation (siemens) at the shifted conductance; negative values of a fit count as 0.
    shift : law of the mean error (siemens), or None.
    """

    spread: Law
    shift: Law | None = None

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        g = jnp.asarray(devices, float)
        mean = g if self.shift is None else g + self.shift(g)
        return jnp.maximum(mean + jnp.maximum(self.spread(mean), 0.0) * normal(key, g), 0.0)


@dataclass(frozen=True)
class Relaxation:
    """Programming errors measured at several times after programming, each around the target; one replaces the other.

    The same key keeps a device where it is within the distribution, which widens with time.

    Between the times, mean and standard deviation are interpolated linearly in ln(1 + t / 1 s) (our choice: relaxation
    and loss of charge slow down); outside them the nearest ones hold, and presets refuse to go there.

    Parameters
    ----------
    seconds : ascending.
    spreads, shifts : laws at these times; no shifts at all is a mean that stays.
    """

    seconds: tuple[float, ...]
    spreads: tuple[Law, ...]
    shifts: tuple[Law, ...] = ()

    def __post_init__(self) -> None:
        require(self, 0.0, above=True, step_of_seconds=np.diff(self.seconds) if len(self.seconds) > 1 else None)

    def at(self, seconds: Array | float) -> ProgrammingError:
        """The effect at a time after programming (seconds)."""
        knots, now = jnp.log1p(jnp.asarray(self.seconds, float)), jnp.log1p(jnp.asarray(seconds, float))
        weights = tuple(jnp.interp(now, knots, hat) for hat in jnp.eye(len(self.seconds)))
        return ProgrammingError(Blend(self.spreads, weights), Blend(self.shifts, weights) if self.shifts else None)
