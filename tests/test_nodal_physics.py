"""Laws of circuits that need no other simulator: Kirchhoff, Tellegen, conservation, closed forms, order."""

import jax.numpy as jnp
import numpy as np
import pytest

from analogep.errors import NetlistError
from analogep.netlist.analyses import AC
from analogep.netlist.elements import VCVS, BSource, Capacitor, Coupling, Inductor, ISource, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.read import read
from analogep.netlist.waveforms import Pulse, Sin
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal import operating_point as rest
from analogep.simulate.nodal.operating_point import Homotopy, find, operating_point
from analogep.simulate.nodal.run import grid
from analogep.simulate.nodal.small_signal import ac
from analogep.simulate.nodal.transient import TransientOptions, initial_state, sampled, transient

pytestmark = pytest.mark.usefixtures("quick_compilation")


def circuit(*elements):
    nodes = dict.fromkeys(n for e in elements for n in e.terminals.values() if n != "0")
    return Nodal(Netlist({n: Bus() for n in nodes}).add(*elements))


def column(nodal, waves, name):
    return np.asarray(waves.x)[:, nodal.place[name]]


MIXED = """* a bit of everything
V1 in 0 2
R1 in a 1k
D1 a b dd
.model dd D(IS=1e-14)
R2 b 0 2k
Q1 c a e qn
.model qn NPN(IS=1e-16 BF=100 RB=20)
Rc in c 3k
Re e 0 1k
E1 f 0 b e 3
R3 f c 5k
I1 0 e 10u
.op
.end
"""


def test_kirchhoff_and_tellegen():
    """Currents at each node sum to nothing; sources deliver what the other elements take."""
    nodal = Nodal(read(MIXED).netlist)
    at = operating_point(nodal)
    v = dict(zip(nodal.unknowns, np.asarray(at.x), strict=True)) | {"0": 0.0}
    total, power = dict.fromkeys(nodal.nodes, 0.0), {}
    for e in nodal.netlist:
        leaving = {n: float(i) for n, i in e.stamp(v, {}, 0.0).items() if n != e.branch}
        power[e.name] = sum(v[n] * i for n, i in leaving.items())
        for n, i in leaving.items():
            total[n] += i
    assert max(map(abs, total.values())) < 1e-15
    assert at.residual < 1e-15
    supplied = -power["v1"] - power["i1"] - power["e1"]
    taken = sum(p for name, p in power.items() if name not in ("v1", "i1", "e1"))
    assert supplied == pytest.approx(taken, rel=1e-10)
    assert power["r1"] == pytest.approx((v["in"] - v["a"]) ** 2 / 1e3, rel=1e-12)
    assert all(power[name] > 0 for name in ("r1", "r2", "rc", "re", "r3", "d1", "q1"))


def test_a_tank_keeps_its_energy():
    """An LC tank over forty periods: the integrator takes no more than its tolerance a period, and keeps the phase."""
    nodal = circuit(Capacitor("c", "a", "0", 1e-9, 1.0), Inductor("l", "a", "0", 1e-6))
    omega = 1 / np.sqrt(1e-15)
    period = 2 * np.pi / omega
    x0 = initial_state(nodal, nodal.theta, {}, 1e-6 * period)
    options = TransientOptions(rtol=1e-7, volts=1e-9, amperes=1e-11, max_step=period / 20)
    waves = transient(nodal, 40 * period, x0=x0, options=options)
    v, i = column(nodal, waves, "a"), column(nodal, waves, "i(l)")
    energy = (1e-9 * v**2 + 1e-6 * i**2) / 2
    assert np.abs(energy / 0.5e-9 - 1).max() < 1e-4
    assert np.abs(v - np.cos(omega * waves.times)).max() < 1e-3


def test_charge_is_conserved():
    """A nonlinear current between two capacitors that nothing else touches."""
    nodal = circuit(
        Capacitor("c1", "a", "0", 1e-9, 1.0),
        Capacitor("c2", "b", "0", 3e-9, -0.5),
        BSource("g", "a", "b", current="1m*tanh(3*v(a,b))*(1+v(a)*v(a))"),
        Resistor("leak", "a", "0", 1e-24),
        Resistor("leak2", "b", "0", 1e-24),
    )
    x0 = initial_state(nodal, nodal.theta, {}, 1e-15)
    waves = transient(nodal, 2e-5, x0=x0)
    charge = 1e-9 * column(nodal, waves, "a") + 3e-9 * column(nodal, waves, "b")
    assert np.abs(charge - (1e-9 - 1.5e-9)).max() < 1e-12 * 2.5e-9
    assert abs(column(nodal, waves, "a")[-1] + 0.125) < 1e-6


def test_closed_forms():
    """RC to 1e-6, and an RLC that rings, both from initial conditions."""
    nodal = circuit(
        Capacitor("c", "a", "0", 1e-9, 1.0),
        Resistor("r", "a", "0", 1e-3),
        Capacitor("c2", "b", "0", 1e-10, 1.0),
        Inductor("l2", "b", "m", 1e-5),
        Resistor("r2", "m", "0", 1 / 50),
    )
    x0 = initial_state(nodal, nodal.theta, {}, 1e-16)
    waves = transient(nodal, 5e-6, x0=x0)
    assert np.abs(column(nodal, waves, "a") - np.exp(-waves.times / 1e-6)).max() < 3e-6
    decay = 50 / (2 * 1e-5)
    omega = np.sqrt(1 / (1e-5 * 1e-10) - decay**2)
    t = waves.times
    exact = np.exp(-decay * t) * (np.cos(omega * t) + decay / omega * np.sin(omega * t))
    assert np.abs(column(nodal, waves, "b") - exact).max() < 3e-5


def test_samples_lie_on_the_curve():
    """`sampled` ends steps at the samples, the one at t = 0 included, and `stops` do so in a transient."""
    nodal = circuit(Capacitor("c", "a", "0", 1e-9), Resistor("r", "a", "0", 1e-3))
    times = np.array([0.0, 1e-7, 3.3e-7, 2e-6])
    x0 = jnp.array([1.0])
    xs, fine = sampled(nodal, times, nodal.theta, x0, differentiated=False)
    assert bool(fine)
    np.testing.assert_allclose(np.asarray(xs)[:, 0], np.exp(-times / 1e-6), atol=2e-6)
    waves = transient(nodal, 2e-6, x0=x0, stops=times)
    assert np.abs(waves.times[:, None] - times).min(axis=0).max() < 1e-20


def test_order_of_the_method():
    """Halving the step divides the error by 16 at a capacitor, and at a node that has none and follows it."""
    nodal = circuit(
        VSource("s", "in", Sin(0.0, 1.0, 1e6)),
        Resistor("r", "in", "a", 1e-3),
        Capacitor("c", "a", "0", 1e-10),
        BSource("g", "a", "0", current="2m*v(a)*v(a)*v(a)"),
        Resistor("up", "a", "m", 1e-3),
        BSource("load", "m", "0", current="1m*v(m)+1m*v(m)*v(m)*v(m)"),
        ISource("bias", "0", "m", 1e-4),
    )
    ends = []
    x0 = operating_point(nodal).x
    for steps in (40, 80, 640):
        options = TransientOptions(rtol=1e9, volts=1e-9, max_step=1e-6 / steps)
        waves = transient(nodal, 1e-6, x0=x0, first_step=1e-6 / steps, options=options)
        assert steps <= waves.steps <= steps + 2
        ends.append([waves.x[-1, nodal.place[n]] for n in ("a", "m")])
    errors = np.abs(np.array(ends[:2]) - ends[2])
    slopes = np.log2(errors[0] / errors[1])
    assert (slopes > 3.5).all(), slopes
    assert (slopes < 5).all(), slopes


def test_steps_end_at_the_corners_of_a_pulse():
    """A pulse much shorter than the longest step, between two nodes."""
    nodal = circuit(
        VSource("s", "in", Pulse(0.0, 1.0, 0.33e-6, 1e-9, 2e-9, 7e-9, 0.5e-6)),
        Resistor("r", "in", "a", 1e-3),
        Capacitor("c", "a", "0", 1e-9),
    )
    waves = transient(nodal, 1e-6, x0=jnp.zeros(nodal.size), options=TransientOptions(rtol=1e-3, volts=1e-3))
    first = np.array([0.33e-6, 0.331e-6, 0.338e-6, 0.34e-6])
    corners = np.concatenate([first, first + 0.5e-6])
    assert np.abs(waves.times[:, None] - corners).min(axis=0).max() < 1e-18


def test_phasors_of_floating_sources():
    """A current source of 2 A at 30 degrees from one node to another, and an amplifier whose output floats."""
    nodal = circuit(
        ISource("i", "a", "b", 0.0, ac=2.0, ac_degrees=30.0),
        Resistor("ra", "a", "0", 1e-3),
        Capacitor("cb", "b", "0", 1e-9),
        Resistor("rb", "b", "0", 1e-12),
        VCVS("e", "p", "a", "0", 3.0, "m"),
        Resistor("rp", "p", "0", 1e-2),
        Resistor("rm", "m", "0", 1 / 300),
    )
    found = ac(nodal, np.zeros(nodal.size), nodal.theta, np.array([1e5]))[0]
    current = 2.0 * np.exp(1j * np.pi / 6)
    expected = {
        "a": -current * 1e3,
        "b": current / (2j * np.pi * 1e5 * 1e-9 + 1e-12),
        "p": -3 * current * 1e3 * 100 / 400,
        "m": 3 * current * 1e3 * 300 / 400,
    }
    for node, phasor in expected.items():
        assert complex(found[nodal.place[node]]) == pytest.approx(phasor, rel=1e-10), node


def test_mutual_inductance():
    """Fluxes of two coupled inductors, also where one inductance has changed since: M = k sqrt(L1 L2)."""
    nodal = circuit(
        Inductor("l1", "a", "0", 1e-6),
        Inductor("l2", "b", "0", 4e-6),
        Coupling("k", "l1", "l2", 0.5),
        Resistor("ra", "a", "0", 1.0),
        Resistor("rb", "b", "0", 1.0),
    )
    k = [nodal.place["i(l1)"], nodal.place["i(l2)"]]
    for henries, mutual in ((1e-6, 1e-6), (9e-6, 3e-6)):
        theta = nodal.with_numbers(nodal.theta, {"l1.henries": henries})
        fluxes = -nodal.matrices(np.zeros(nodal.size), theta)[1][np.ix_(k, k)]
        np.testing.assert_allclose(fluxes, [[henries, mutual], [mutual, 4e-6]], rtol=1e-14)


def test_what_continuations_add():
    """1 mA into 1 kOhm: less of the source, and a conductance to ground or to another voltage."""
    nodal = circuit(ISource("i", "0", "a", 1e-3), Resistor("r", "a", "0", 1e-3))
    for homotopy, volts in (
        (Homotopy(), 1.0),
        (Homotopy(sources=0.25), 0.25),
        (Homotopy(gmin=3e-3), 0.25),
        (Homotopy(gmin=1e-3, anchor=2.0), 1.5),
    ):
        root = find(nodal, nodal.theta, jnp.zeros(1), homotopy=homotopy)
        assert bool(root.converged)
        assert float(root.x[0]) == pytest.approx(volts, rel=1e-12)


@pytest.mark.parametrize("method", [rest._gmin_stepping, rest._source_stepping, rest._pseudo_transient])
def test_every_continuation_ends_at_the_circuit_itself(method):
    nodal = Nodal(read("* diode\nV1 a 0 5\nR1 a b 1k\nD1 b 0 dd\n.model dd D(IS=1e-14)\n.op\n.end\n").netlist)
    root, _ = method(nodal, nodal.theta, jnp.zeros(nodal.size), 0.0, None)
    assert bool(root.converged)
    np.testing.assert_allclose(root.x, operating_point(nodal).x, rtol=1e-8, atol=1e-15)


def test_frequencies_are_spaced_as_in_spice():
    np.testing.assert_allclose(grid(AC("oct", 2, 100.0, 400.0)), [100.0, 100 * 2**0.5, 200.0, 200 * 2**0.5, 400.0])
    np.testing.assert_allclose(grid(AC("dec", 2, 1.0, 50.0)), [1.0, 10**0.5, 10.0, 10**1.5])
    np.testing.assert_allclose(grid(AC("lin", 3, 1.0, 4.0)), [1.0, 2.5, 4.0])


@pytest.mark.parametrize("ends", [("a", "b"), ("b", "a")])
def test_a_capacitor_with_its_own_voltage_on_a_node_with_another(ends):
    """1.5 V across it above, or below, a node that starts at 0.5 V on a capacitor of its own."""
    sign = 1.0 if ends == ("a", "b") else -1.0
    nodal = circuit(
        Capacitor("c1", *ends, 2e-9, sign * 1.5),
        Capacitor("c2", "b", "0", 1e-9),
        Resistor("ra", "a", "0", 1e-3),
        Resistor("rb", "b", "0", 1e-3),
    )
    x = initial_state(nodal, nodal.theta, {"b": 0.5}, 1e-18)
    np.testing.assert_allclose(x, [2.0, 0.5] if nodal.unknowns == ("a", "b") else [0.5, 2.0], rtol=1e-8)


@pytest.mark.parametrize("second", [("b", "a", 2.0), ("a", "b", -2.0)])
def test_voltages_of_capacitors_around_a_loop(second):
    """1 V and 2 V are 3 V, whichever way round the second one stands."""
    *ends, volts = second

    def start(around):
        nodal = circuit(
            Capacitor("c1", "a", "0", 1e-9, 1.0),
            Capacitor("c2", *ends, 2e-9, volts),
            Capacitor("c3", "b", "0", 3e-9, around),
            Resistor("ra", "a", "0", 1e-3),
            Resistor("rb", "b", "0", 1e-3),
        )
        x = initial_state(nodal, nodal.theta, {}, 1e-18)
        return [float(x[nodal.place[node]]) for node in ("a", "b")]

    np.testing.assert_allclose(start(3.0), [1.0, 3.0], rtol=1e-8)
    with pytest.raises(NetlistError, match="make that 3 V"):
        start(2.9)
