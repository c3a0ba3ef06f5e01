"""AC analysis and noise: the linearized circuit (G + j w C) x = b at an operating point."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Parameters
from analogep.netlist.element import GROUND
from analogep.netlist.elements import ISource
from analogep.netlist.elements.sources import Source
from analogep.simulate.nodal.failures import settled, singular_named
from analogep.simulate.nodal.system import Nodal


def stimulus(nodal: Nodal) -> np.ndarray:
    """Right-hand side of the phasors of all sources, [unknowns] complex."""
    total = np.zeros(nodal.size + 1, complex)
    for element in nodal.netlist:
        if isinstance(element, Source) and element.ac:
            total += element.phasor * unit_stimulus(nodal, element)
    return total[:-1]


def unit_stimulus(nodal: Nodal, source: Source) -> np.ndarray:
    """Right-hand side of 1 V or 1 A from one source, ground appended."""
    unit = np.zeros(nodal.size + 1)
    if isinstance(source, ISource):
        unit[nodal.place[source.a]] -= 1.0
        unit[nodal.place[source.b]] += 1.0
    else:
        unit[nodal.place[str(source.branch)]] = 1.0
    return unit


def ac(nodal: Nodal, x: Array, theta: Parameters, frequencies: Array) -> Array:
    """Phasors of all unknowns, [frequencies, unknowns].

    Parameters
    ----------
    x : operating point.
    frequencies : hertz.

    Raises
    ------
    NetlistError
        If the circuit is singular at one of them.
    """
    with singular_named("AC analysis", nodal, x, theta):
        return settled(_phasors(nodal, jnp.asarray(x), theta, jnp.asarray(frequencies, float)))


@partial(jax.jit, static_argnames=("nodal",))
def _phasors(nodal: Nodal, x: Array, theta: Parameters, frequencies: Array) -> Array:
    rhs = jnp.asarray(stimulus(nodal))
    _, _, di, dq = nodal.linearized(x, theta)

    def at(frequency: Array) -> Array:
        return nodal.pattern.solve(di + 2j * jnp.pi * frequency * dq, rhs)

    return jax.lax.map(at, frequencies)


class NoiseSpectrum(NamedTuple):
    """Noise at an output.

    Attributes
    ----------
    output : power density at the output, [frequencies] (V^2/Hz).
    gain : |transfer| from the input source to the output, [frequencies].
    parts : (element, kind) -> its share of `output`.
    """

    output: np.ndarray
    gain: np.ndarray
    parts: dict[tuple[str, str], np.ndarray]


def noise(
    nodal: Nodal, x: Array, theta: Parameters, frequencies: Array, *, output: str, reference: str = GROUND, source: str
) -> NoiseSpectrum:
    """Noise of every element at the voltage between two nodes, by one adjoint solve a frequency.

    A noise current from node a to node b moves the output by lambda_b - lambda_a, with lambda the voltages of the
    adjoint network driven at the output (Rohrer, Nagel, Meyer and Weber 1971).

    Raises
    ------
    NetlistError
        If a node or the source is missing, or the circuit is singular.
    """
    for node in (output, reference):
        if node != GROUND and node not in nodal.nodes:
            raise NetlistError(f"noise output {node!r} is not a node of the circuit")
    driver = nodal.netlist.elements.get(source)
    if not isinstance(driver, Source):
        raise NetlistError(f"noise input {source!r} is not an independent source of the circuit")
    grid = jnp.asarray(frequencies, float)
    with singular_named("noise analysis", nodal, x, theta):
        across, gain, densities = settled(_spectra(nodal, jnp.asarray(x), theta, grid, output, reference, source))
    parts: dict[tuple[str, str], np.ndarray] = {}
    total = np.zeros(len(grid))
    for noises, one, density in zip(nodal.noise_currents(x, theta, 1.0), across, densities, strict=True):
        share = np.asarray(one) * np.asarray(density)
        total += share.sum(1)
        for k, name in enumerate(noises.names):
            parts[name, noises.kind] = parts.get((name, noises.kind), 0.0) + share[:, k]
    return NoiseSpectrum(total, np.asarray(gain), parts)


@partial(jax.jit, static_argnames=("nodal", "output", "reference", "source"))
def _spectra(nodal, x, theta, frequencies, output, reference, source):
    """|lambda|^2 across every noise current, the input's gain, and densities, over frequency."""
    _, _, di, dq = nodal.linearized(x, theta)
    pick = jnp.zeros(nodal.size + 1, complex).at[nodal.place[output]].add(1.0).at[nodal.place[reference]].add(-1.0)
    drive = jnp.asarray(unit_stimulus(nodal, nodal.netlist.elements[source])[:-1])

    def at(frequency):
        lam = nodal.pattern.transposed_solve(di + 2j * jnp.pi * frequency * dq, pick[:-1])
        ends = jnp.append(lam, 0.0)
        noises = list(nodal.noise_currents(x, theta, frequency))
        across = [jnp.abs(ends[n.a] - ends[n.b]) ** 2 for n in noises]
        return across, jnp.abs(lam @ drive), [n.density for n in noises]

    return jax.lax.map(at, frequencies)
