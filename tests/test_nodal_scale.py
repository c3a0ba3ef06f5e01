"""A grid of thousands of nodes stays sparse, and takes seconds."""

import time

import numpy as np
import pytest

from analogep.netlist.elements import Capacitor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.waveforms import Pulse
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal import transient as transients
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.nodal.small_signal import ac
from analogep.simulate.nodal.transient import TransientOptions, transient

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROWS, COLUMNS = 50, 100


def grid():
    """RC grid of 5,000 nodes, driven along its first column."""
    name = lambda i, j: f"n{i}_{j}"  # noqa: E731
    buses = {name(i, j): Bus() for i in range(ROWS) for j in range(COLUMNS)} | {"in": Bus()}
    elements = [VSource("v", "in", Pulse(0.0, 1.0, 1e-9, 1e-9, 1e-9, 1.0, 2.0), ac=1.0)]
    for i in range(ROWS):
        for j in range(COLUMNS):
            elements.append(Resistor(f"r{i}_{j}", name(i, j), name(i, j - 1) if j else "in", 1e-3))
            elements.append(Capacitor(f"c{i}_{j}", name(i, j), "0", 1e-13))
            if i:
                elements.append(Resistor(f"s{i}_{j}", name(i, j), name(i - 1, j), 1e-3))
    return Netlist(buses).add(*elements)


def test_a_grid_of_5000_nodes():
    """Rows are alike, so that each column's voltage is that of a line of 100 sections, which is solved densely here."""
    begin = time.perf_counter()
    nodal = Nodal(grid())
    assert nodal.size == ROWS * COLUMNS + 2
    assert len(nodal.pattern.rows) < 8 * nodal.size
    still = operating_point(nodal)
    assert np.abs(still.x).max() < 1e-12
    line = 1e-3 * (2 * np.eye(COLUMNS) - np.eye(COLUMNS, k=1) - np.eye(COLUMNS, k=-1))
    line[-1, -1] = 1e-3
    drive = 1e-3 * np.eye(COLUMNS)[0]
    frequencies = np.array([1e5, 1e7])
    phasors = np.asarray(ac(nodal, still.x, nodal.theta, frequencies))
    for f, found in zip(frequencies, phasors, strict=True):
        exact = np.linalg.solve(line + 2j * np.pi * f * 1e-13 * np.eye(COLUMNS), drive)
        last = found[[nodal.place[f"n{ROWS - 1}_{j}"] for j in range(COLUMNS)]]
        assert np.abs(last - exact).max() < 1e-9
    waves = transient(nodal, 1e-8, x0=still.x, options=TransientOptions(rtol=1e-4, volts=1e-5))
    rates, modes = np.linalg.eigh(line / 1e-13)
    weight = modes.T @ (drive / 1e-13)

    def response(t):
        """Of the modes to a ramp of 1 V/ns from t = 0: weight ((rate t - 1) + exp(-rate t)) / rate^2 / 1 ns."""
        t = np.maximum(t, 0.0)
        return modes @ (weight * (rates * t + np.expm1(-rates * t)) / rates**2) / 1e-9

    exact = response(1e-8 - 1e-9) - response(1e-8 - 2e-9)
    found = waves.x[-1, [nodal.place[f"n7_{j}"] for j in range(COLUMNS)]]
    assert np.abs(found - exact).max() < 1e-4
    assert time.perf_counter() - begin < 120


def test_a_chunk_of_a_large_circuit_fits_into_memory():
    assert transients.chunk(10) == transients.CHUNK
    assert transients.chunk(5_000) * 5_000 <= transients.NUMBERS
    assert transients.chunk(10**7) >= 1
