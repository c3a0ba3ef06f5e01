"""Thermal noise: kT/C by spectrum, by Lyapunov equation and by sample paths."""

import jax
import numpy as np
import pytest
import scipy.linalg

from analogep.netlist.element import BOLTZMANN, ROOM
from analogep.netlist.elements import VCCS, Capacitor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.nodal.run import band_power
from analogep.simulate.nodal.small_signal import noise
from analogep.simulate.nodal.thermal import node_variance, noisy_path

pytestmark = pytest.mark.usefixtures("quick_compilation")
KT = BOLTZMANN * ROOM


def circuit(*elements):
    nodes = dict.fromkeys(n for e in elements for n in e.terminals.values() if n != "0")
    return Nodal(Netlist({n: Bus() for n in nodes}).add(*elements))


def rc():
    return circuit(VSource("v", "in", 0.0), Resistor("r", "in", "a", 1e-4), Capacitor("c", "a", "0", 1e-12))


def coupled():
    """Two nodes with capacitors, and one without between resistors: equipartition, whatever joins them."""
    return circuit(
        Capacitor("c1", "a", "0", 1e-12),
        Capacitor("c2", "b", "0", 2e-12),
        Resistor("r1", "a", "0", 1e-4),
        Resistor("r2", "a", "m", 3e-4),
        Resistor("r3", "m", "b", 1e-4),
    )


def active():
    """A one-way amplifier between two RC nodes: no equilibrium, so only the Lyapunov equation holds."""
    return circuit(
        Capacitor("c1", "a", "0", 1e-12),
        Capacitor("c2", "b", "0", 2e-12),
        Resistor("r1", "a", "0", 1e-4),
        Resistor("r2", "b", "0", 1e-4),
        VCCS("g", "b", "0", "a", "0", 3e-4),
    )


def test_equipartition():
    variance = node_variance(rc(), np.zeros(3), rc().theta)
    assert variance[1, 1] == pytest.approx(KT / 1e-12, rel=1e-12, abs=0)
    nodal = coupled()
    variance = node_variance(nodal, np.zeros(nodal.size), nodal.theta)
    a, b = nodal.place["a"], nodal.place["b"]
    np.testing.assert_allclose(variance[np.ix_([a, b], [a, b])], np.diag([KT / 1e-12, KT / 2e-12]), atol=1e-22)


def lyapunov():
    """C P G^T + G P C^T = 2 k T diag(g) written out for `active`."""
    c = np.diag([1e-12, 2e-12])
    g = np.array([[1e-4, 0.0], [3e-4, 1e-4]])
    rate = np.linalg.solve(c, g)
    drive = np.linalg.solve(c, np.linalg.solve(c, 2 * KT * 1e-4 * np.eye(2)).T)
    return scipy.linalg.solve_continuous_lyapunov(rate, drive)


def test_an_active_node_obeys_the_lyapunov_equation():
    nodal = active()
    variance = node_variance(nodal, np.zeros(nodal.size), nodal.theta)
    np.testing.assert_allclose(variance, lyapunov(), rtol=1e-10)
    assert variance[1, 1] > 2 * KT / 2e-12


@pytest.mark.parametrize(("build", "step"), [(rc, 2e-9), (coupled, 2e-9), (active, 2e-9)])
def test_variance_of_sample_paths(build, step):
    """Within 5 %: 400 paths, 40 samples of each, further apart than the time constants."""
    nodal = build()
    keys = jax.random.split(jax.random.key(1), 400)
    paths = jax.vmap(
        lambda key: noisy_path(nodal, nodal.theta, np.zeros(nodal.size), key, step=step, steps=800, every=20)
    )(keys)
    settled = np.asarray(paths)[:, 5:].reshape(-1, nodal.size)
    expected = node_variance(nodal, np.zeros(nodal.size), nodal.theta)
    for name in ("a", "b"):
        if name in nodal.nodes:
            k = nodal.place[name]
            assert settled[:, k].var() == pytest.approx(expected[k, k], rel=0.05)
    if build is active:
        covariance = np.cov(settled.T)[0, 1]
        assert covariance == pytest.approx(expected[0, 1], rel=0.05)


@pytest.mark.parametrize("build", [rc, active])
def test_the_spectrum_integrates_to_the_variance(build):
    nodal = build()
    node, source = ("a", "v") if build is rc else ("b", "v")
    if build is active:
        nodal = Nodal(nodal.netlist.add(VSource("v", "x", 0.0), Resistor("rx", "x", "0", 1.0), buses={"x": Bus()}))
    x = operating_point(nodal).x
    frequencies = np.geomspace(1e2, 1e12, 2001)
    spectrum = noise(nodal, x, nodal.theta, frequencies, output=node, source=source)
    total = band_power(frequencies, spectrum.output)
    expected = node_variance(nodal, x, nodal.theta)[(nodal.place[node],) * 2]
    assert total == pytest.approx(expected, rel=1e-3)


def test_nyquist_between_two_nodes():
    """The noise of a passive network between any two nodes is 4 k T times the resistance that is seen there."""
    nodal = circuit(
        VSource("v", "in", 0.0),
        Resistor("r1", "in", "a", 1e-4),
        Resistor("r2", "a", "b", 2e-4),
        Resistor("r3", "b", "0", 5e-5),
        Capacitor("c1", "a", "0", 1e-12),
        Capacitor("c2", "a", "b", 2e-12),
    )
    frequencies = np.array([1e5, 1e7, 1e8])
    spectrum = noise(nodal, np.zeros(nodal.size), nodal.theta, frequencies, output="a", reference="b", source="v")
    g, c = np.array([[3e-4, -2e-4], [-2e-4, 2.5e-4]]), np.array([[3e-12, -2e-12], [-2e-12, 2e-12]])
    ends = np.array([1.0, -1.0])
    seen = np.array([ends @ np.linalg.inv(g + 2j * np.pi * f * c) for f in frequencies])
    np.testing.assert_allclose(spectrum.output, 4 * KT * (seen @ ends).real, rtol=1e-10)
    np.testing.assert_allclose(spectrum.gain, np.abs(seen @ [1e-4, 0.0]), rtol=1e-10)
    np.testing.assert_allclose(sum(spectrum.parts.values()), spectrum.output, rtol=1e-12)
