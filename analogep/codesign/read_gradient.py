"""What reading a gradient adds to it: thermal noise of the nodes and steps of the converter, in closed form."""

from __future__ import annotations

import jax.numpy as jnp

from analogep.codesign.hardware import Hardware
from analogep.codesign.repeats import products_noise
from analogep.netlist._types import Array, Voltages
from analogep.netlist.element import BOLTZMANN
from analogep.netlist.graph import Netlist

HARMONICS = 32
"""Of the error that rounding makes over a step."""


def gradient_variance(
    netlist: Netlist, voltages: Voltages, contrast: Voltages, farads: Voltages, hardware: Hardware
) -> Array:
    """Summed variance of the entries of a gradient of one sample, products of drives and contrasts (volts^4).

    Both are means of `hardware.repeats` readings. Of the contrast each nudged phase is sampled and their difference
    converted once; input rails are known without reading.

    Parameters
    ----------
    voltages : of all buses at rest.
    contrast : v+ - v- of all state buses.
    farads : capacitor of each node of a state bus.
    """
    thermal = {bus: BOLTZMANN * hardware.device.kelvin / farads[bus] for bus in contrast}
    of_drive = {b: _variance(v, thermal[b], hardware) if b in thermal else 0.0 for b, v in voltages.items()}
    of_contrast = {bus: _variance(d, 2 * thermal[bus], hardware) for bus, d in contrast.items()}
    return products_noise(netlist, voltages, contrast, of_drive, of_contrast)


def _variance(signal: Array, noise: Array, hardware: Hardware) -> Array:
    """Of the mean reading of a bus, in a range that holds its largest voltage and noise."""
    top = 2 ** (hardware.adc_bits - 1) - 1
    step = (jnp.max(jnp.abs(signal)) + 4 * jnp.sqrt(noise)) / top
    return reading_variance(noise, step, hardware.repeats)


def reading_variance(noise: Array, step: Array, repeats: Array | int) -> Array:
    """Variance of the mean of readings of a steady voltage, each with white noise and rounded to multiples of `step`.

    Rounding errs alike each time as far as the noise does not smear it: the harmonics of its mean error over the step
    are damped as exp(-2 (pi k sigma / step)^2). The mean is over where in the step the voltage is.

    Parameters
    ----------
    noise : variance of the white noise (volts^2).
    step : of the converter (volts).

    Reference
    ---------
    Carbone and Petri 1994, "Effect of additive dither on the resolution of ideal quantizers".
    """
    k = jnp.arange(1, HARMONICS + 1)
    alike = step**2 * jnp.sum(jnp.exp(-4 * (jnp.pi * k) ** 2 * noise / step**2) / (2 * (jnp.pi * k) ** 2))
    return alike + (noise + step**2 / 12 - alike) / repeats
