"""Converters between volts and codes: what inputs, readings and nudges lose in them."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array
from analogep.technology.effect import require

BITS = 8
"""Default of inputs and readings: 254 steps in aihwkit's `StandardHWATrainingPreset` (Rasch et al. 2023)."""


@dataclass(frozen=True)
class Converter:
    """Effect on volts: a DAC or an ADC, mid-tread: code 0 is 0 V, codes -(2^(bits-1) - 1) ... 2^(bits-1) - 1.

    Parameters
    ----------
    bits : 2 or more.
    full_scale : volts of the largest code; what is beyond is clipped.

    Notes
    -----
    Within full scale the error of a busy signal is uniform: standard deviation step / sqrt(12).
    """

    bits: int
    full_scale: Array | float

    def __post_init__(self) -> None:
        require(self, 2, 32, bits=self.bits)
        require(self, 0.0, above=True, full_scale=self.full_scale)

    @property
    def top(self) -> int:
        """The largest code."""
        return 2 ** (self.bits - 1) - 1

    @property
    def step(self) -> Array | float:
        """Volts from code to code."""
        return self.full_scale / self.top

    def codes(self, volts: Array) -> jax.Array:
        """Codes (whole numbers as floats) of voltages."""
        return jnp.clip(jnp.round(jnp.asarray(volts, float) / self.step), -self.top, self.top)

    def __call__(self, volts: Array, key: Array) -> jax.Array:
        return self.codes(volts) * self.step


def nudge_dac(bits: int, beta: Array | float, unit: Array | float = 1.0) -> Converter:
    """The converter of a nudge beta (onehot - p) at the logits, whose entries are between -beta and beta.

    Parameters
    ----------
    bits : of the converter.
    beta : nudging strength; full scale follows it, as a programmable gain does, so that a small nudge is as finely cut
        as a large one. A converter with a fixed range is `Converter(bits, full_scale)`.
    unit : volts or amperes of one unit of nudge.
    """
    return Converter(bits, abs(beta) * unit)
