"""Meyer's gate capacitances of the MOSFET, with the interpolation around threshold that SPICE 3 uses."""

from __future__ import annotations

import jax.numpy as jnp

from analogep.netlist._types import Array

_SMALLEST = 0.025
"""Least saturation voltage in the partition between source and drain (volts), as ngspice has it."""


def meyer(drive: Array, vds: Array, phi: Array, oxide: Array | float) -> tuple[Array, Array, Array]:
    """Capacitances from the gate to the source end, the drain end and the bulk (farads).

    Parameters
    ----------
    drive : gate voltage above threshold at the source end (volts). vds : at least 0 (volts).
    phi : surface potential (volts). oxide : capacitance of the gate oxide (farads).

    Notes
    -----
    Accumulation has all of it to the bulk; below threshold that falls linearly while, from drive = -phi/2, two thirds
    rise at the channel. With y = drive - vds and x = drive at the two ends of a channel that is not saturated, the
    channel's 2/3 are split as 1 - y^2/(x + y)^2 and 1 - x^2/(x + y)^2.

    References
    ----------
    Meyer, MOS models and circuit simulation, RCA Review 32 (1971) 42.
    """
    body = oxide * jnp.clip(-drive / phi, 0.0, 1.0)
    total = oxide * 2 / 3 * jnp.clip(1 + 2 * drive / phi, 0.0, 1.0)
    x = jnp.maximum(drive, _SMALLEST)
    y = jnp.maximum(x - vds, 0.0)
    near, far = 1 - (y / (x + y)) ** 2, 1 - (x / (x + y)) ** 2
    return total * near, total * far, body
