"""Noise of a reading: white, 1/f and thermal. Every reading gets a new key."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array
from analogep.netlist.element import BOLTZMANN, ROOM
from analogep.technology.effect import normal, require
from analogep.technology.laws import Law


@dataclass(frozen=True)
class ReadNoise:
    """Effect: white noise on a conductance as it is read; what is read may be negative.

    Parameters
    ----------
    spread : law of the standard deviation (siemens) in the bandwidth of the source.
    widening : bandwidth of this reading over that of the source; white noise grows with its square root.
    """

    spread: Law
    widening: Array | float = 1.0

    def __post_init__(self) -> None:
        require(self, widening=self.widening)

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        g = jnp.asarray(devices, float)
        return g + jnp.maximum(self.spread(g), 0.0) * jnp.sqrt(self.widening) * normal(key, g)


@dataclass(frozen=True)
class JohnsonNoise:
    """Effect: thermal current noise of the device itself, sqrt(4 k T g B) over the read voltage, as a conductance.

    Parameters
    ----------
    volts : read voltage.
    hertz : noise bandwidth B of the reading; of one pole of bandwidth f, pi/2 f.
    kelvin : T.

    Reference
    ---------
    Nyquist 1928.
    """

    volts: Array | float
    hertz: Array | float
    kelvin: Array | float = ROOM

    def __post_init__(self) -> None:
        require(self, 0.0, above=True, volts=self.volts)
        require(self, hertz=self.hertz, kelvin=self.kelvin)

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        g = jnp.asarray(devices, float)
        # the root of the absolute value would have no derivative at g = 0; there the noise is 0
        spread = jnp.sqrt(4 * BOLTZMANN * self.kelvin * self.hertz * jnp.where(g > 0, g, 1.0)) / self.volts
        return g + jnp.where(g > 0, spread, 0.0) * normal(key, g)


@dataclass(frozen=True)
class FlickerNoise:
    """Effect: 1/f noise, spectrum S_g / g^2 = Q^2 / f, as the standard deviation of one reading,

        sigma / g = Q sqrt(ln((seconds + read) / (2 read))),

    which is the spectrum's integral from 1 / (seconds + read) to 1 / (2 read).

    Parameters
    ----------
    strength : law of Q.
    seconds : since programming.
    read : duration of a reading (seconds); 250 ns for the PCM of Nandakumar 2019.

    Reference
    ---------
    Nandakumar et al. 2019, as in aihwkit's `PCMLikeNoiseModel`. There Q is taken at the conductance before drift; here
    at the one that is read.
    """

    strength: Law
    seconds: Array | float
    read: float = 250e-9

    def __post_init__(self) -> None:
        require(self, seconds=self.seconds)
        require(self, 0.0, above=True, read=self.read)

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        g = jnp.asarray(devices, float)
        times = jnp.maximum((self.seconds + self.read) / (2 * self.read), 1.0)
        return g * (1.0 + self.strength(g) * jnp.sqrt(jnp.log(times)) * normal(key, g))

    def series(self, devices: Array, key: Array, *, count: int, interval: float) -> jax.Array:
        """The same devices read `count` times, `interval` seconds apart [count, ...]: readings that remember."""
        g = jnp.asarray(devices, float)
        noise = flicker_series(key, count, interval, shape=g.shape)
        return g * (1.0 + self.strength(g) * jnp.moveaxis(noise, -1, 0))


def flicker_series(
    key: Array, count: int, interval: float, *, shape: tuple[int, ...] = (), exponent: float = 1.0
) -> jax.Array:
    """Samples [*shape, count] of a process with the one-sided spectral density f^-exponent (1/Hz at 1 Hz).

    Made in the frequency domain: it repeats after count * interval, holds the frequencies from the inverse of that to
    half the sampling rate, and has mean zero.

    Reference
    ---------
    Timmer and König 1995, "On generating power law noise".
    """
    frequencies = np.fft.rfftfreq(count, interval)[1:]
    density = np.concatenate([[0.0], frequencies**-exponent])
    real, imaginary = jax.random.normal(key, (2, *shape, len(density)), float)
    # a one-sided density S is E|X|^2 = S count / (2 interval); the component at half the rate is real
    at_half = (np.arange(len(density)) == count / 2) * 1.0
    parts = jnp.where(at_half, real * np.sqrt(2.0), real) + 1j * jnp.where(at_half, 0.0, imaginary)
    return jnp.fft.irfft(parts * np.sqrt(density * count / (4 * interval)), count)


@dataclass(frozen=True)
class ThermalNoise:
    """Effect on volts: sqrt(k T / C) on a node's capacitor, whatever resistance it is charged through.

    Parameters
    ----------
    farads : C; a number, or one for each node.
    kelvin : T.
    """

    farads: Array | float
    kelvin: Array | float = ROOM

    def __post_init__(self) -> None:
        require(self, 0.0, above=True, farads=self.farads)
        require(self, kelvin=self.kelvin)

    def __call__(self, volts: Array, key: Array) -> jax.Array:
        v = jnp.asarray(volts, float)
        return v + jnp.sqrt(BOLTZMANN * self.kelvin / jnp.asarray(self.farads, float)) * normal(key, v)


@dataclass(frozen=True)
class VoltageNoise:
    """Effect on volts: white noise of a density (V/sqrt(Hz)) in a noise bandwidth (hertz)."""

    density: Array | float
    hertz: Array | float

    def __post_init__(self) -> None:
        require(self, density=self.density, hertz=self.hertz)

    def __call__(self, volts: Array, key: Array) -> jax.Array:
        v = jnp.asarray(volts, float)
        return v + self.density * jnp.sqrt(self.hertz) * normal(key, v)
