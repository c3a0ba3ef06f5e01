"""Tellegen's power balance, passivity, reciprocity and gyrators, of a Circuit and of a Nodal."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from small_blocks import block

from analogep import diagnostics as dx
from analogep.compile import compile_transformer
from analogep.errors import DataError, NetlistError
from analogep.learning.nudge import rails
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import VCCS, VCVS, Capacitor, Inductor, ISource, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.read import read
from analogep.simulate.circuit import Circuit
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.settle import SettleOptions, settle
from analogep.simulate.system import ModelSystem
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SCALE = Scale(0.1, 1e-5, 1e-14)


def netlist(*elements, **buses):
    nodes = dict.fromkeys(n for e in elements for n in e.terminals.values() if n != "0")
    return Netlist({n: buses.get(n, Bus()) for n in nodes}).add(*elements)


def solved(text_or_netlist):
    nodal = Nodal(read(text_or_netlist).netlist if isinstance(text_or_netlist, str) else text_or_netlist)
    at = operating_point(nodal)
    return nodal, nodal.unpack(at.x)


# ---- power balance ---------------------------------------------------------------------------------------------------


MIXED = """* a bit of everything
V1 in 0 2
R1 in a 1k
D1 a b dd
.model dd D(IS=1e-14)
R2 b 0 2k
E1 f 0 b a 3
R3 f c 5k
R4 c 0 3k
F1 0 c V1 0.5
I1 0 b 10u
.op
.end
"""


@cache
def mixed():
    return solved(MIXED)


def test_every_element_of_a_nodal_circuit_takes_what_its_law_says():
    nodal, v = mixed()
    found = dx.power_balance(nodal, v, {}, nodal.theta)
    watts = dict(zip(found.names, found.watts, strict=True))
    volts = {name: float(value) for name, value in v.items()}
    assert found.closed
    assert found.relative < 1e-12
    assert watts["r1"] == pytest.approx((volts["in"] - volts["a"]) ** 2 / 1e3, rel=1e-12)
    assert watts["r3"] == pytest.approx((volts["f"] - volts["c"]) ** 2 / 5e3, rel=1e-12)
    assert watts["v1"] == pytest.approx(2 * volts["i(v1)"], rel=1e-12)
    assert watts["v1"] < 0
    assert watts["i1"] == pytest.approx(-10e-6 * volts["b"], rel=1e-12)
    assert watts["e1"] == pytest.approx(volts["f"] * volts["i(e1)"], rel=1e-12)
    assert watts["f1"] == pytest.approx(-volts["c"] * 0.5 * volts["i(v1)"], rel=1e-12)
    current = (volts["in"] - volts["a"]) / 1e3  # the diode is all that follows
    assert watts["d1"] == pytest.approx((volts["a"] - volts["b"]) * current, rel=1e-9)
    assert found.by_kind()["Resistor"] == pytest.approx(sum(watts[n] for n in ("r1", "r2", "r3", "r4")))
    assert found.scale == pytest.approx(np.abs(found.watts).sum() / 2)


def test_what_a_node_lacks_is_what_does_not_add_up():
    nodal, v = mixed()
    wrong = {**v, "a": v["a"] + 1e-3}
    found = dx.power_balance(nodal, wrong, {}, nodal.theta)
    assert not found.closed
    volts = {name: float(value) for name, value in wrong.items()}
    # what is missing at in, a and b, with the diode's law by hand; the other nodes do not see a but through e1
    vt = 1.38064852e-23 * 300.15 / 1.6021766208e-19
    across = volts["a"] - volts["b"]
    diode = 1e-14 * np.expm1(across / vt) + 1e-12 * across
    at_a = diode - (volts["in"] - volts["a"]) / 1e3
    at_b = volts["b"] / 2e3 - diode - 10e-6
    at_in = volts["i(v1)"] + (volts["in"] - volts["a"]) / 1e3
    lacking = volts["a"] * at_a + volts["b"] * at_b + volts["in"] * at_in
    assert found.imbalance == pytest.approx(lacking, rel=1e-6)


def test_stored_energy_changes_by_what_goes_into_capacitors_and_inductors():
    """Coupled inductors, a capacitor and resistors in motion: balance closed, and W = (C v^2 + i^T L i) / 2."""
    c, r, (l1, l2), k = 1e-9, 50.0, (1e-6, 4e-6), 0.6
    text = f"* t\nC1 a 0 {c}\nL1 a b {l1}\nR1 b 0 {r}\nL2 d 0 {l2}\nR2 d 0 {3 * r}\nK1 L1 L2 {k}\n.op\n.end\n"
    nodal = Nodal(read(text).netlist)
    # a consistent state: v_a and both currents are free, memoryless nodes follow, slopes from the equations by hand
    va, i1, i2 = 0.7, 3e-3, -2e-3
    vb, vd = r * i1, -3 * r * i2
    m = k * np.sqrt(l1 * l2)
    slopes = np.linalg.solve([[l1, m], [m, l2]], [va - vb, vd])
    state = {"a": va, "b": vb, "d": vd, "i(l1)": i1, "i(l2)": i2}
    change = {"a": -i1 / c, "b": r * slopes[0], "d": -3 * r * slopes[1], "i(l1)": slopes[0], "i(l2)": slopes[1]}
    assert set(nodal.unknowns) == set(state)
    found = dx.power_balance(nodal, state, {}, nodal.theta, rates=change)
    assert found.relative < 1e-14
    watts = dict(zip(found.names, found.watts, strict=True))
    L = np.array([[l1, m], [m, l2]])
    energy = c * va * change["a"] + np.array([i1, i2]) @ L @ slopes
    assert watts["c1"] + watts["l1"] + watts["l2"] + watts["k1"] == pytest.approx(energy, rel=1e-12)
    assert watts["r1"] + watts["r2"] == pytest.approx(-energy, rel=1e-12)
    still = dx.power_balance(nodal, state, {}, nodal.theta)
    assert not still.closed  # without the capacitor's current


@cache
def transformer(level):
    model, weights, batch = block("free")
    compiled = compile_transformer(model, weights, level=level)
    circuit = Circuit(compiled.netlist, compiled.scale)
    x = {name: value[0] for name, value in rails(batch, circuit.scale.volts).items()}
    options = SettleOptions(tolerance=1e-12)
    v = settle(circuit, x, circuit.theta, options=options).require("the block").v
    return circuit, v, x


@pytest.mark.parametrize("level", ["ideal", "parasitic"])
def test_a_settled_block_closes(level):
    circuit, v, x = transformer(level)
    found = dx.power_balance(circuit, v, x, circuit.theta)
    assert found.relative < 1e-10
    assert found.closed
    assert set(found.names) == {e.name for e in circuit.netlist}
    kinds = found.by_kind()
    assert kinds["Resistor"] > 0
    assert kinds.get("Capacitor", 0.0) == 0.0
    volts = circuit.voltages(v, x, circuit.theta)
    z = np.asarray(volts["z"])
    leaks = [e for e in circuit.netlist if isinstance(e, Resistor) and e.shunts == "z"]
    watts = dict(zip(found.names, found.watts, strict=True))
    assert sum(watts[e.name] for e in leaks) == pytest.approx(
        sum(float(np.sum(np.asarray(e.conductance(circuit.theta)) * z**2)) for e in leaks), rel=1e-12
    )
    moved = {**v, "z": v["z"] + 0.01 * circuit.scale.volts}
    away = dx.power_balance(circuit, moved, x, circuit.theta)
    assert not away.closed
    slopes = circuit.rate(moved, x, circuit.theta)
    assert dx.power_balance(circuit, moved, x, circuit.theta, rates=slopes).closed


def test_ideal_amplifiers_and_sources_carry_what_the_rest_leaves():
    g = SCALE.siemens
    circuit = Circuit(
        netlist(
            VSource("vin", "in", 0.3),
            Resistor("r1", "in", "a", g),
            Capacitor("c1", "a", "0", SCALE.farads),
            VCVS("e1", "out", "a", "0", 2.5),
            Resistor("r2", "out", "b", 2 * g),
            Resistor("r3", "b", "0", g),
            Capacitor("c2", "b", "0", SCALE.farads),
        ),
        SCALE,
    )
    v = {"a": jnp.asarray(0.3), "b": jnp.asarray(2.5 * 0.3 * 2 / 3)}
    found = dx.power_balance(circuit, v, {}, circuit.theta)
    watts = dict(zip(found.names, found.watts, strict=True))
    assert found.closed
    assert watts["e1"] == pytest.approx(-watts["r2"] - watts["r3"], rel=1e-12)
    assert watts["r3"] == pytest.approx(g * 0.5**2, rel=1e-12)
    assert watts["vin"] == pytest.approx(0.0, abs=1e-20)
    raised = dx.power_balance(circuit, v, {"in": 0.4}, circuit.theta)
    assert dict(zip(raised.names, raised.watts, strict=True))["vin"] == pytest.approx(-0.4 * g * 0.1, rel=1e-12)


def test_a_capacitor_between_nodes_in_motion():
    """Power into capacitors is the rate of v^T C v / 2, with C and dv/dt by hand."""
    f, g = SCALE.farads, SCALE.siemens
    circuit = rc(Capacitor("cab", "a", "b", 3 * f))
    C = f * np.array([[4.0, -3.0], [-3.0, 12.0]])
    G = g * np.array([[3.0, -2.0], [-2.0, 2.5]])
    v = np.array([0.2, -0.1])
    slopes = -np.linalg.solve(C, G @ v)
    names = ("a", "b")
    state, rates = (dict(zip(names, map(jnp.asarray, values), strict=True)) for values in (v, slopes))
    found = dx.power_balance(circuit, state, {}, circuit.theta, rates=rates)
    assert found.relative < 1e-14
    assert found.by_kind()["Capacitor"] == pytest.approx(v @ C @ slopes, rel=1e-12)
    assert found.by_kind()["Resistor"] == pytest.approx(v @ G @ v, rel=1e-12)


def test_a_model_as_written_has_no_elements():
    model, weights, _ = block("free")
    system = ModelSystem(model, weights)
    with pytest.raises(DataError, match="no elements"):
        dx.power_balance(system, system.zeros(), {}, system.theta)


# ---- passivity and reciprocity ---------------------------------------------------------------------------------------


def rc(*more):
    g = SCALE.siemens
    return Circuit(
        netlist(
            Resistor("ra", "a", "0", g),
            Resistor("rab", "a", "b", 2 * g),
            Resistor("rb", "b", "0", 0.5 * g),
            Capacitor("ca", "a", "0", SCALE.farads),
            Capacitor("cb", "b", "0", 9 * SCALE.farads),
            *more,
        ),
        SCALE,
    )


def judged(circuit):
    return dx.passivity(circuit, circuit.zeros(), {}, circuit.theta)


def test_resistors_gyrators_and_transistors_in_a_circuit():
    g = SCALE.siemens
    plain = judged(rc())
    assert (plain.passive, plain.reciprocal, plain.gyrators) == (True, True, ())
    Jc = np.array([[-3.0, 2 / 3], [2 / 3, -2.5 / 9]]) / SCALE.seconds
    assert plain.dissipation == pytest.approx(-np.linalg.eigvalsh(Jc)[-1], rel=1e-9)
    pair = (VCCS("up", "a", "0", "b", "0", 5 * g), VCCS("down", "b", "0", "a", "0", -5 * g))
    gyrated = judged(rc(*pair))
    assert (gyrated.passive, gyrated.reciprocal) == (True, False)
    assert gyrated.dissipation == pytest.approx(plain.dissipation, rel=1e-9)
    (gyrator,) = gyrated.gyrators
    assert (gyrator.first, gyrator.second) == ("up", "down")
    np.testing.assert_allclose(gyrator.siemens, [5 * g])
    one_way = judged(rc(VCCS("gm", "b", "0", "a", "0", 20 * g)))
    assert (one_way.passive, one_way.reciprocal, one_way.gyrators) == (False, False, ())
    assert one_way.dissipation < 0
    negative = judged(rc(VCCS("nr", "a", "0", "a", "0", -8 * g)))
    assert (negative.passive, negative.reciprocal, negative.gyrators) == (False, True, ())
    assert negative.asymmetry == 0.0


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (("a", "0", "b", "0", -1.0), True),
        (("0", "a", "b", "0", 1.0), True),  # the output turned round
        (("0", "a", "0", "b", -1.0), True),
        (("a", "0", "b", "0", 1.0), False),  # a reciprocal pair
        (("a", "0", "b", "0", -1.1), False),
        (("b", "0", "a", "0", -1.0), False),  # the same ports twice
    ],
)
def test_a_gyrator_is_known_by_its_ports_and_sign(second, found):
    a, b, c, d, value = second
    circuit = rc(VCCS("one", "b", "0", "a", "0", 3e-6), VCCS("two", a, b, c, d, 3e-6 * value))
    assert len(list(dx.gyrators(circuit, circuit.theta))) == found
    nodal = Nodal(circuit.netlist)
    assert len(list(dx.gyrators(nodal, nodal.theta))) == found


def test_gyrators_of_whole_arrays():
    """Two crossbars back to back with opposite weights: the flipped twin of a buffered array."""
    g = SCALE.siemens * np.random.default_rng(0).standard_normal((3, 4))
    buses = {"z": Bus((2, 4)), "h": Bus((2, 3))}
    loads = [
        part
        for name in buses
        for part in (Resistor(f"r{name}", name, "0", 1e-5), Capacitor(f"c{name}", name, "0", 1e-14))
    ]
    for forth, back, count in ((g, -g, 1), (g, g, 0)):
        bars = (Crossbar("up", "z", "h", "w"), Crossbar("down", "z", "h", "w2", transpose=True))
        net = Netlist(buses, arrays={"w": forth, "w2": back}).add(*loads, *bars)
        circuit = Circuit(net, SCALE)
        found = judged(circuit)
        assert len(found.gyrators) == count
        assert found.passive == bool(count)
        assert found.reciprocal == (not count)
        turned = Netlist(buses, arrays={"w": forth, "w2": back.T}).add(*loads, bars[0], Crossbar("d", "h", "z", "w2"))
        assert len(list(dx.gyrators(Circuit(turned, SCALE), dict(turned.arrays)))) == count
    pairs = (
        VCCS("one", "z", "0", "y", "0", np.arange(1.0, 9).reshape(2, 4)),
        VCCS("two", "y", "0", "z", "0", -np.arange(1.0, 9).reshape(2, 4)),
    )
    buses = {"z": Bus((2, 4)), "y": Bus((2, 4))}
    loads = [
        part
        for name in buses
        for part in (Resistor(f"r{name}", name, "0", 1e-5), Capacitor(f"c{name}", name, "0", 1e-14))
    ]
    circuit = Circuit(Netlist(buses).add(*loads, *pairs), SCALE)
    (gyrator,) = dx.gyrators(circuit, circuit.theta)
    np.testing.assert_array_equal(gyrator.siemens, np.arange(1.0, 9))


def at_rest(*elements):
    nodal = Nodal(netlist(*elements))
    return nodal, nodal.zeros()


def test_inductors_and_transformers_are_reciprocal_by_sigma():
    nodal, zero = at_rest(
        VSource("v", "in", 0.0),
        Resistor("rs", "in", "a", 1e-2),
        Capacitor("c1", "a", "0", 1e-9),
        Inductor("l1", "a", "m", 1e-6),
        Resistor("r", "m", "b", 0.1),
        Capacitor("c2", "b", "0", 2e-9),
        Resistor("load", "b", "0", 1e-2),
    )
    found = dx.passivity(nodal, zero, {}, nodal.theta)
    assert (found.passive, found.reciprocal, found.asymmetry) == (True, True, 0.0)
    assert set(found.states) == {"a", "b", "i(l1)"}
    reduced = dx.dynamics(nodal, zero, {}, nodal.theta)
    order = [reduced.names.index(name) for name in ("a", "b", "i(l1)")]
    np.testing.assert_allclose(reduced.C[order], [1e-9, 2e-9, 1e-6])
    np.testing.assert_array_equal(reduced.sigma[order], [1, 1, -1])
    G = np.array([[1e-2, 0, 1], [0, 1e-2, -1], [-1, 1, 10.0]])  # by hand: r = 10 ohm in series with the inductor
    np.testing.assert_allclose(reduced.G[np.ix_(order, order)], G, rtol=1e-12, atol=1e-15)
    text = (
        "* t\nV1 in 0 0\nR1 in a 50\nL1 a 0 1u\nL2 b 0 4u\nK1 L1 L2 0.9\nR2 b c 10\nC1 c 0 1n\nR3 c 0 1k\n.op\n.end\n"
    )
    coupled = Nodal(read(text).netlist)
    found = dx.passivity(coupled, coupled.zeros(), {}, coupled.theta)
    assert (found.passive, found.reciprocal) == (True, True)
    flipped = Nodal(read(text.replace("C1 c 0 1n", "C1 c 0 1n\nG1 c 0 a 0 1m\nG2 a 0 c 0 -1m")).netlist)
    found = dx.passivity(flipped, flipped.zeros(), {}, flipped.theta)
    assert (found.passive, found.reciprocal, len(found.gyrators)) == (True, False, 1)


def test_elimination_keeps_what_the_circuit_does():
    """Memoryless nodes, an amplifier, a capacitor between two of them: poles and responses of the full equations."""
    nodal, zero = at_rest(
        VSource("v", "in", 0.0),
        Resistor("r1", "in", "a", 1e-3),
        Capacitor("c1", "a", "b", 1e-9),
        Resistor("r2", "b", "c", 2e-3),
        Capacitor("c2", "c", "0", 3e-9),
        VCVS("e", "d", "a", "c", 3.0),
        Resistor("r3", "d", "c", 5e-4),
        Capacitor("c3", "c", "in", 1e-10),
    )
    reduced = dx.dynamics(nodal, zero, {}, nodal.theta)
    assert len(reduced.names) == 2  # two nodes share a capacitor: one mode and the node c
    poles = np.sort(np.linalg.eigvals(reduced.Jc).real)
    np.testing.assert_allclose(poles, poles_of_the_pencil(nodal, zero), rtol=1e-8)
    found = dx.passivity(nodal, zero, {}, nodal.theta)
    assert not found.reciprocal


def poles_of_the_pencil(nodal, v):
    """Poles of all equations at once: 1 / s are the eigenvalues of -G^-1 C, zeros belong to what has no memory."""
    G, C = nodal.matrices(nodal.pack(v), nodal.theta)
    inverse = np.linalg.eigvals(-np.linalg.solve(G, C))
    return np.sort((1 / inverse[np.abs(inverse) > 1e-9 * np.abs(inverse).max()]).real)


def test_transistors_are_neither_passive_nor_reciprocal_at_a_bias():
    """With Meyer's capacitances, whose rates are unknowns of their own and are eliminated as well."""
    text = (
        "* t\nV1 vdd 0 3\nV2 g0 0 1.2\nR0 g0 g 10k\n"
        ".model m1 NMOS(LEVEL=1 VTO=0.7 KP=100u LAMBDA=0.02 TOX=20n CGSO=0.2n CGDO=0.2n)\n"
        "M1 d g 0 0 m1 W=10u L=2u\nR1 vdd d 20k\nC1 d 0 1p\n.op\n.end\n"
    )
    nodal, v = solved(text)
    assert nodal.rates.sum() == 3
    reduced = dx.dynamics(nodal, v, {}, nodal.theta)
    assert reduced.names == ("g", "d")
    assert reduced.C[0, 1] == pytest.approx(-0.2e-9 * 10e-6, rel=1e-9)  # saturated: the overlap alone
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(reduced.Jc).real), poles_of_the_pencil(nodal, v), rtol=1e-9)
    found = dx.passivity(nodal, v, {}, nodal.theta)
    assert (found.passive, found.reciprocal) == (False, False)
    # currents through the capacitances count at the nodes; the rates that stand among the voltages do not
    charging = {**v, "m1#dvgs": jnp.asarray(1e9), "m1#dvgd": jnp.asarray(-4e9)}
    leaving = dict(zip(nodal.unknowns, np.asarray(nodal.stamp(nodal.pack(charging), nodal.theta)), strict=True))
    taken = sum(float(v[node]) * leaving[node] for node in ("vdd", "g0", "g", "d"))
    assert abs(leaving["g"]) > 1e-6
    assert dx.power_balance(nodal, charging, {}, nodal.theta).imbalance == pytest.approx(taken, rel=1e-9)
    off = {**v, "g": jnp.asarray(0.0), "d": jnp.asarray(3.0)}
    found = dx.passivity(nodal, off, {}, nodal.theta)  # below threshold it carries nothing
    assert (found.passive, found.reciprocal) == (True, True)


def test_what_has_no_energy_or_no_solution_is_refused(monkeypatch):
    nodal, zero = at_rest(ISource("i", "0", "a", 1e-3), Resistor("r", "a", "0", 1e-3))
    with pytest.raises(NetlistError, match="stores no energy"):
        dx.passivity(nodal, zero, {}, nodal.theta)
    nodal, zero = at_rest(
        VSource("v", "a", 1.0, b="b"),
        Resistor("r", "b", "0", 1e-3),
        Capacitor("c", "a", "b", 1e-9),
        Capacitor("c2", "b", "0", 1e-9),
    )
    with pytest.raises(NetlistError, match="not grounded"):
        dx.passivity(nodal, zero, {}, nodal.theta)
    # as bipolar transistors have them: a charge that the other junction's voltage moves, and not the other way round
    monkeypatch.setattr(Nodal, "matrices", lambda *_: (np.eye(2), np.array([[1e-9, 1e-10], [0.0, 1e-9]])))
    nodal, zero = at_rest(Resistor("ra", "a", "0", 1.0), Resistor("rb", "b", "0", 1.0))
    with pytest.raises(NetlistError, match="one direction only"):
        dx.passivity(nodal, zero, {}, nodal.theta)


def test_the_block_is_active_and_non_reciprocal():
    circuit, v, x = transformer("parasitic")
    found = dx.passivity(circuit, v, x, circuit.theta)
    assert (found.passive, found.reciprocal) == (False, False)
    assert found.gyrators == ()
    assert len(found.states) == len(circuit.labels)
