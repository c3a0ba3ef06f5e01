"""The physics that diodes and transistors share: pn junctions, their charge, and how both depend on temperature.

Every function broadcasts, is finite at any voltage and has a continuous first derivative, so that Newton's method and
forward mode may be used anywhere: exponents above `LARGEST` are continued along their tangent.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from analogep.netlist._types import Array

CHARGE = 1.6021766208e-19
"""Elementary charge that ngspice 39's devices use (coulombs, CODATA 2014)."""
BOLTZMANN = 1.38064852e-23
"""Boltzmann constant of ngspice 39's devices (joules per kelvin); since 2019 k/q is larger by 3.4e-7, and a diode's
current at 0.7 V smaller by 9e-6."""
REFERENCE = 300.15
"""Temperature at which SPICE's built-in formulas are anchored, and default TNOM (kelvin)."""
LARGEST = 80.0
"""Largest exponent; beyond it the exponential continues as a straight line. exp(80) 1e-14 A is 5e20 A."""
SILICON = 1.1150877
"""Band gap at the reference temperature that SPICE's formulas are anchored at (eV)."""


def thermal_voltage(kelvin: Array | float) -> Array | float:
    """Thermal voltage k T / q."""
    return BOLTZMANN / CHARGE * kelvin


def limited_exp(x: Array) -> Array:
    """Exponential up to `LARGEST`, its tangent above."""
    safe = jnp.minimum(x, LARGEST)
    return jnp.exp(safe) * (1 + jnp.maximum(x - LARGEST, 0.0))


def reciprocal(x: Array | float) -> Array:
    """1/x, and 0 where x is 0: SPICE writes "infinite" as 0 for knee currents and Early voltages."""
    x = jnp.asarray(x)
    return jnp.where(x == 0, 0.0, 1 / jnp.where(x == 0, 1.0, x))


def junction_current(v: Array, saturation: Array | float, emission: Array | float) -> Array:
    """Current of a junction as SPICE 3 has it.

    Parameters
    ----------
    v : junction voltage (volts).
    saturation : saturation current (amperes).
    emission : emission coefficient times thermal voltage (volts).

    Returns
    -------
    Shockley's law above -3 `emission`; below, -I_S (1 + (3 emission / (e v))^3), which meets it with equal value.
    """
    forward = v >= -3 * emission
    ratio = 3 * emission / (math.e * jnp.where(forward, -3 * emission, v))
    return saturation * jnp.where(forward, limited_exp(v / emission) - 1, -1 - ratio**3)


def depletion_charge(
    v: Array, farads: Array | float, potential: Array | float, grading: Array | float, fc: Array | float
) -> Array:
    """Charge of a depletion layer (coulombs); its capacitance is linear above `fc` times the built-in potential."""
    edge = fc * potential
    below = v < edge
    x = jnp.where(below, 1 - v / potential, 1.0)
    power = potential * (1 - x ** (1 - grading)) / (1 - grading)
    start = potential * (1 - (1 - fc) ** (1 - grading)) / (1 - grading)
    slope = (1 - fc * (1 + grading)) * (v - edge) + grading / (2 * potential) * (v * v - edge * edge)
    return farads * jnp.where(below, power, start + slope * (1 - fc) ** (-1 - grading))


def band_gap(kelvin: Array | float) -> Array | float:
    """Band gap of silicon as SPICE has it (eV)."""
    return 1.16 - 7.02e-4 * kelvin * kelvin / (kelvin + 1108)


def _potential_shift(kelvin: Array | float) -> Array:
    """What temperature adds to a built-in potential beside its proportion (volts)."""
    vt = thermal_voltage(kelvin)
    exponent = SILICON / (2 * thermal_voltage(REFERENCE)) - band_gap(kelvin) / (2 * vt)
    return -2 * vt * (1.5 * jnp.log(kelvin / REFERENCE) + exponent)


def potential_at(potential: Array | float, nominal: Array | float, kelvin: Array | float) -> tuple[Array, Array]:
    """Built-in potential at a temperature, and what it was at the reference temperature (volts)."""
    anchored = (potential - _potential_shift(nominal)) / (nominal / REFERENCE)
    return _potential_shift(kelvin) + kelvin / REFERENCE * anchored, anchored


def capacitance_factor(
    potential: Array | float, grading: Array | float, nominal: Array | float, kelvin: Array | float
) -> Array:
    """Depletion capacitance at a temperature over that at the nominal one."""
    now, anchored = potential_at(potential, nominal, kelvin)
    new = 1 + grading * (4e-4 * (kelvin - REFERENCE) - (now - anchored) / anchored)
    return new / (1 + grading * (4e-4 * (nominal - REFERENCE) - (potential - anchored) / anchored))
