"""Amplifiers, and transistors that should be equal and are not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array
from analogep.netlist.element import BOLTZMANN, ROOM
from analogep.technology.effect import normal, require

ELEMENTARY_CHARGE = 1.602176634e-19
"""Coulombs (exact since 2019)."""
A_VT = 3.9e-9
"""Threshold mismatch of one n-channel transistor, 3.9 mV um (volts times meters; pairs differ by sqrt(2) more):
`sg13g2_lv_nmos_delvto_mm` of the 130 nm process SG13G2 in the IHP Open PDK, as of late 2025 (2.2 mV um for p-channel
ones)."""
A_BETA = 5e-9
"""Mismatch of one n-channel transistor's gain factor, 0.5 % um (meters): `sg13g2_lv_nmos_factuo_mm`, same file."""
SLOPE_FACTOR = 1.3
"""Subthreshold slope factor n: that of circuits/ekv.lib (our choice)."""


@dataclass(frozen=True)
class Amplifier:
    """Effect on volts: finite loop gain, offset, gain error and incomplete settling of each channel's amplifier.

        out = (v + offset n_1) (1 + gain_error n_2) L / (1 + L) (1 - exp(-2 pi f t))

    Parameters
    ----------
    loop_gain : L at rest; infinite is an ideal amplifier.
    offset : standard deviation (volts) from amplifier to amplifier, at the input.
    gain_error : relative standard deviation of the gain.
    hertz : closed-loop bandwidth f.
    seconds : time t given to settle from 0 V.
    shared : leading axes of the signal (tokens that take turns, readings) that go through the same amplifier.
    """

    loop_gain: Array | float = math.inf
    offset: Array | float = 0.0
    gain_error: Array | float = 0.0
    hertz: Array | float = math.inf
    seconds: Array | float = math.inf
    shared: int = 0

    def __post_init__(self) -> None:
        require(self, 0.0, above=True, loop_gain=self.loop_gain, hertz=self.hertz, seconds=self.seconds)
        require(self, offset=self.offset, gain_error=self.gain_error, shared=self.shared)

    def __call__(self, volts: Array, key: Array) -> jax.Array:
        v = jnp.asarray(volts, float)
        offset, gain = (normal(part, v[(0,) * self.shared]) for part in jax.random.split(key))
        settled = -jnp.expm1(-2 * jnp.pi * jnp.asarray(self.hertz, float) * self.seconds)
        gains = settled * (1.0 + self.gain_error * gain) / (1.0 + 1.0 / jnp.asarray(self.loop_gain, float))
        return (v + self.offset * offset) * gains


@dataclass(frozen=True)
class Mismatch:
    """Effect: every current or transconductance is off by its own factor exp(spread n), n normal.

    That is exact for threshold errors in weak inversion, where currents are exponential, and 1 + spread n otherwise.
    """

    spread: Array | float

    def __post_init__(self) -> None:
        require(self, spread=self.spread)

    def __call__(self, values: Array, key: Array) -> jax.Array:
        values = jnp.asarray(values, float)
        return values * jnp.exp(self.spread * normal(key, values))


def threshold_spread(width: Array | float, length: Array | float, a_vt: float = A_VT) -> jax.Array:
    """Standard deviation of one transistor's threshold (volts), a_vt / sqrt(width length).

    Parameters
    ----------
    width, length : of the channel (meters).
    a_vt : volts times meters, of a single transistor.

    Reference
    ---------
    Pelgrom, Duinmaijer and Welbers 1989, "Matching properties of MOS transistors".
    """
    return a_vt / jnp.sqrt(jnp.asarray(width * length, float))


def current_spread(
    width: Array | float,
    length: Array | float,
    *,
    overdrive: Array | float | None = None,
    kelvin: Array | float = ROOM,
    slope: float = SLOPE_FACTOR,
    a_vt: float = A_VT,
    a_beta: float = A_BETA,
) -> jax.Array:
    """Relative standard deviation of one transistor's current from threshold and gain factor.

    Parameters
    ----------
    width, length : of the channel (meters).
    overdrive : gate voltage above threshold (volts) in strong inversion, where g_m / I = 2 / overdrive; None is weak
        inversion, g_m / I = q / (slope k T).
    kelvin : T.
    """
    thermal = slope * BOLTZMANN / ELEMENTARY_CHARGE * jnp.asarray(kelvin, float)
    per_volt = 1.0 / thermal if overdrive is None else 2.0 / jnp.asarray(overdrive, float)
    return jnp.hypot(per_volt * threshold_spread(width, length, a_vt), threshold_spread(width, length, a_beta))
