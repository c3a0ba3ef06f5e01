"""Electrical checks: each error is a NetlistError that names the element and the node."""

import numpy as np
import pytest
from dense_circuits import SCALE, load

from analogep.cells import Activation, LayerNorm, Multiplier, Nudge, Softmax
from analogep.compile import compile_reciprocal
from analogep.errors import NetlistError
from analogep.netlist.adjoint import adjoint
from analogep.netlist.arrays import Crossbar
from analogep.netlist.checks import check
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, VCVS, BSource, Capacitor, ISource, Resistor, Summer, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import write
from analogep.netlist.subcircuit import Instance, Subcircuit, flatten
from analogep.netlist.waveforms import Pulse
from analogep.simulate.circuit import Circuit

MASK = np.tril(np.ones((2, 2), bool))


def circuit(*elements, arrays=None, **buses):
    """A sound little circuit around the node `a`, with more buses (each loaded) and elements."""
    buses = {name: shape if isinstance(shape, Bus) else Bus(shape) for name, shape in buses.items()}
    sound = (VSource("in", "in", 0.1), Resistor("feed", "in", "a", 1e-5), *load("a"))
    loads = [part for bus in buses for part in load(bus)]
    base = Netlist({"in": Bus(), "a": Bus(), **buses}, {}, arrays or {})
    return base.add(*sound, *loads, *elements)


def bare(*elements, arrays=None, **buses):
    """The same with buses that carry nothing yet."""
    buses = {name: shape if isinstance(shape, Bus) else Bus(shape) for name, shape in buses.items()}
    return circuit(*elements, arrays=arrays).add(buses=buses)


def fails(netlist, *words, build=check):
    with pytest.raises(NetlistError) as caught:
        build(netlist)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_the_base_circuit_is_sound():
    check(circuit(y=(2, 3)))


def test_missing_node():
    fails(circuit(Resistor("r7", "a", "nowhere", 1e-5)), "Resistor 'r7'", "'nowhere'", "missing", "a, in")
    fails(circuit(BSource("b7", "a", GROUND, current="V(lost)*1e-6")), "BSource 'b7'", "'lost'", "missing")
    fails(circuit(LayerNorm("ln", ("gone",), "y"), y=(3,)), "LayerNorm 'ln'", "'gone'", "missing")


@pytest.mark.parametrize("farads", [-1e-15, 0.0, np.array([1e-15, -2e-15]), np.nan, np.inf])
def test_capacitance_that_cannot_be(farads):
    netlist = circuit(Capacitor("c7", "y", GROUND, farads), y=(2,))
    fails(netlist, "Capacitor 'c7'", "'y'", "finite" if not np.all(np.isfinite(farads)) else "positive")


@pytest.mark.parametrize("siemens", [-1e-5, np.array([1e-5, -1e-5]), np.nan, "g"])
def test_conductance_of_a_resistor_that_cannot_be(siemens):
    netlist = circuit(Resistor("r7", "y", GROUND, siemens), y=(2,), arrays={"g": np.array([1e-5, -1e-6])})
    fails(netlist, "Resistor 'r7'", "'y'", "finite" if siemens is np.nan else "negative conductance")


@pytest.mark.parametrize(
    ("element", "words"),
    [
        (ISource("x7", GROUND, "a", np.nan), ("ISource 'x7'", "'a'", "not finite")),
        (VSource("x7", "v", np.inf), ("VSource 'x7'", "'v'", "not finite")),
        (VCCS("x7", "a", GROUND, "in", GROUND, np.nan), ("VCCS 'x7'", "'a'", "not finite")),
        (VCVS("x7", "v", "in", GROUND, np.nan), ("VCVS 'x7'", "'v'", "not finite")),
        (VCVS("x7", "v", "in", GROUND, 1.0, reference=0.0), ("VCVS 'x7'", "'v'", "positive")),
        (Summer("x7", "v", 0.0), ("Summer 'x7'", "'v'", "positive")),
        (Summer("x7", "v", np.nan), ("Summer 'x7'", "'v'", "not finite")),
    ],
)
def test_values_of_sources(element, words):
    fails(bare(element, v=()), *words)


def test_node_without_equation():
    fails(bare(Resistor("r7", "a", "b", 1e-5), b=()), "node 'b'", "neither a capacitor", "parasitics=")
    fails(bare(Resistor("r7", "b", GROUND, 1e-5), b=(2, 3)), "node 'b_0_0'", "parasitics=")


def test_node_without_a_path_to_ground():
    alone = Capacitor("c7", "b", GROUND, 1e-14)
    fails(bare(alone, ISource("i7", GROUND, "b", 1e-6), b=()), "node 'b'", "no DC path", "'c7', 'i7'")
    fails(bare(alone, Resistor("r7", "b", GROUND, 0.0), b=()), "node 'b'", "no DC path", "'r7'")
    pair = (Resistor("r7", "b", "c", 1e-5), alone, Capacitor("c8", "c", GROUND, 1e-14))
    fails(bare(*pair, b=(), c=()), "node 'b'", "no DC path", "'r7'")
    fails(bare(alone, Crossbar("x7", "b", "b", "w"), b=(2,), arrays={"w": np.eye(2)}), "node 'b'", "no DC path", "'x7'")
    check(bare(alone, VCCS("self", "b", GROUND, "b", GROUND, 1e-5), b=()))  # a transconductor may be a resistor


def test_node_driven_twice():
    fails(circuit(VSource("v7", "in", 0.2)), "node 'in'", "driven twice", "'in' and 'v7'")
    fails(
        bare(VCVS("e7", "b", "a", GROUND, 1.0), Summer("s7", "b", 1e-5), b=()), "'b'", "driven twice", "'e7' and 's7'"
    )
    fails(circuit(VCVS("e7", GROUND, "a", GROUND, 1.0)), "VCVS 'e7'", "ground", "'0'")


def test_capacitor_on_an_ideal_stage():
    fails(circuit(Summer("s7", "a", 1e-5)), "node 'a'", "capacitor", "ideal stage 's7'")


def test_two_way_element_on_an_ideal_stage():
    words = ("loads the ideal summing stage 's7'", "'b'")
    fails(bare(Summer("s7", "b", 1e-5), Resistor("r7", "a", "b", 1e-5), b=()), "Resistor 'r7'", *words)
    bar = Crossbar("x7", "b", "y", "w", "resistive")
    wide = bare(Summer("s7", "b", 1e-5), bar, *load("y"), b=(2,), y=(2,), arrays={"w": np.eye(2) * 1e-5})
    fails(wide, "Crossbar 'x7'", *words)
    source = BSource("b7", "b", GROUND, current="1e-6*V(b)")
    fails(bare(Summer("s7", "b", 1e-5), source, b=()), "BSource 'b7'", *words)
    check(bare(Summer("s7", "b", 1e-5), Resistor("r7", "b", GROUND, 1e-5), b=()))


@pytest.mark.parametrize(
    ("element", "words"),
    [
        (Resistor("x7", "y", "z", 1e-5), ("different shapes", "'y' (2, 3)", "'z' (2, 2)")),
        (Capacitor("x7", "y", "a", 1e-15), ("different shapes", "'y' (2, 3)", "'a' ()")),
        (ISource("x7", "a", "y", 1e-6), ("different shapes", "'a' ()")),
        (VCCS("x7", "y", GROUND, "a", GROUND, 1e-5), ("different shapes", "'a' ()")),
        (VCVS("x7", "e", "y", GROUND, 1e-5), ("different shapes", "'e' ()")),
        (Resistor("x7", "y", GROUND, np.ones(2)), ("shape (2,)", "'y'", "(2, 3)")),
        (Resistor("x7", "y", GROUND, "w"), ("'w'", "(3, 3)", "(2, 3)")),
        (VCCS("x7", "y", GROUND, "y", GROUND, "w"), ("'w'", "(3, 3)", "(2, 3)")),
        (Capacitor("x7", "y", GROUND, np.ones((2, 2))), ("shape (2, 2)", "'y'")),
        (Crossbar("x7", "y", "z", "w"), ("'w' of shape (3, 3)", "'y' (2, 3)", "'z' (2, 2)", "[columns, rows]")),
        (Crossbar("x7", "a", "y", "w"), ("'w'", "'a' ()")),
        (Crossbar("x7", GROUND, "y", "w"), ("'0'", "ground")),
        (LayerNorm("x7", ("y",), "z"), ("output has shape (2, 3)", "'z'", "(2, 2)")),
        (Activation("x7", (GROUND,), "z"), ("ground",)),
        (Multiplier("x7", ("y", "z"), "z", heads=1), ("'y'", "'z'", "do not fit")),
        (Multiplier("x7", ("y", "y"), "z", heads=2), ("'y'", "do not fit")),
        (Nudge("x7", ("y", "z", "a", "a"), "y"), ("'y'", "'z'", "do not fit")),
        (Softmax("x7", ("y",), "y", causal=True), ("'y'", "do not fit")),
        (Resistor("x7", "full", "half", 1e-5), ("not the same nodes", "'full'", "'half'")),
        (BSource("x7", "y", GROUND, current="1e-6"), ("'y'", "scalar nodes")),
        (BSource("x7", "a", "e", voltage="V(a)"), ("'a'", "'e'", "ground")),
        (BSource("x7", "a", GROUND), ("current= and voltage=",)),
        (BSource("x7", "a", GROUND, current="1", voltage="2"), ("current= and voltage=",)),
    ],
)
def test_shapes_that_do_not_fit(element, words):
    netlist = circuit(element, y=(2, 3), z=(2, 2), e=(), full=(2, 2), half=Bus((2, 2), MASK), arrays={"w": np.eye(3)})
    fails(netlist, f"{type(element).__name__} 'x7'", *words)


def test_existence_mask_of_another_shape():
    with pytest.raises(NetlistError, match=r"\(2, 3\).*mask.*\(2, 2\)"):
        Bus((2, 3), MASK)


def test_arrays():
    bar = Crossbar("x7", "y", "z", "w")
    fails(circuit(bar, y=(2,), z=(2,)), "Crossbar 'x7'", "array 'w' is missing")
    fails(circuit(Resistor("r7", "a", GROUND, "w")), "Resistor 'r7'", "array 'w' is missing")
    for bad in (np.nan, np.inf):
        fails(circuit(bar, y=(2,), z=(2,), arrays={"w": np.array([[1, 0], [bad, 1]])}), "'x7'", "'w'", "not finite")
    plain = Crossbar("x7", "y", "z", "w", "resistive")
    fails(circuit(plain, y=(2,), z=(2,), arrays={"w": np.array([[1, -2], [0, 1]])}), "'x7'", "-2 S", "g >= 0")
    sound = circuit(bar, y=(2,), z=(2,), arrays={"w": np.eye(2)})
    with pytest.raises(NetlistError, match=r"no array 'other'.*w"):
        sound.with_arrays({"other": np.eye(2)})
    with pytest.raises(NetlistError, match=r"'w' has shape \(2, 2\), not \(3, 3\)"):
        sound.with_arrays({"w": np.eye(3)})


def test_duplicate_names():
    with pytest.raises(NetlistError, match="element 'feed' is already"):
        circuit(Resistor("feed", "a", GROUND, 1e-5))
    with pytest.raises(NetlistError, match="element 'x' is already"):
        Netlist().add(VSource("x", "a", 1.0), VSource("x", "b", 1.0))
    with pytest.raises(NetlistError, match="bus 'a' is already"):
        circuit().add(buses={"a": Bus()})
    with pytest.raises(NetlistError, match="array 'w' is already"):
        circuit(arrays={"w": np.eye(2)}).add(arrays={"w": np.eye(2)})
    with pytest.raises(NetlistError, match="no element 'none'"):
        circuit().replace_elements(VSource("none", "in", 1.0))


def test_names_that_collide_in_a_deck():
    def op(netlist):
        return write(netlist, [".op"])

    fails(circuit(y=(2,), y_0=()), "'y'", "'y_0'", "rename", build=op)
    fails(circuit(A=()), "'a'", "'A'", "rename", build=op)
    fails(circuit(gnd=()), "'gnd'", "ground", build=op)
    fails(circuit(**{"y z": ()}), "'y z'", build=op)
    twice = circuit(Resistor("s", "y", GROUND, 1e-5), Resistor("S_1", "a", GROUND, 1e-5), y=(2,))
    fails(twice, "'rs_1'", "rename", build=op)


def test_an_array_on_nodes_that_are_not_built():
    netlist = circuit(Crossbar("x7", "y", "z", "w"), y=(2, 2), z=Bus((2, 2), MASK), arrays={"w": np.eye(2)})
    fails(netlist, "node 'z_0_1'", "not built", build=lambda n: write(n, [".op"]))


def test_algebraic_loop():
    stages = (Summer("sp", "p", 1e-5), Summer("sq", "q", 1e-5))
    bars = (Crossbar("x", "p", "q", "w"), Crossbar("y", "q", "p", "w"))
    netlist = bare(*stages, *bars, p=(2,), q=(2,), arrays={"w": np.eye(2) * 1e-6})
    fails(netlist, "algebraic loop", "p", "q", "parasitic", build=lambda n: Circuit(n, SCALE))


def test_singular_capacitance():
    nodes = (Resistor("rp", "p", GROUND, 1e-5), Resistor("rq", "q", GROUND, 1e-5), Capacitor("c7", "p", "q", 1e-14))
    netlist = bare(*nodes, p=(), q=())

    def run(n):
        system = Circuit(n, SCALE)
        system.rate(system.zeros(), {}, system.theta)

    fails(netlist, "singular", "'c7'", "capacitor to ground", build=run)


def test_capacitor_to_a_driven_node_that_moves():
    pulse = VSource("v7", "p", Pulse(0, 0.1, 0, 1e-10, 1e-10, 1e-9, 4e-9))
    for driver in (pulse, VCVS("e7", "p", "a", GROUND, 1.0)):
        netlist = bare(driver, Capacitor("c7", "a", "p", 1e-14), p=())
        fails(netlist, "Capacitor 'c7'", "'a'", "'p'", repr(driver.name), build=lambda n: Circuit(n, SCALE))
    Circuit(circuit(Capacitor("c7", "a", "in", 1e-14)), SCALE)


def test_reciprocal_networks_that_cannot_be_built():
    x = np.ones(2)
    with pytest.raises(NetlistError, match="symmetric"):
        compile_reciprocal(np.array([[0, 0.2], [0.3, 0]]), x)
    with pytest.raises(NetlistError, match="zero diagonal"):
        compile_reciprocal(np.eye(2), x)
    with pytest.raises(NetlistError, match=r"node zp\[1\].*2\.5 g0.*leak.*2 g0.*raise the damping"):
        compile_reciprocal(np.array([[0, 0.5, 0], [0.5, 0, -2.0], [0, -2.0, 0]]), np.ones(3), damping=[3.0, 1.0, 3.0])


def test_subcircuits():
    inner = Netlist({"i": Bus(), "o": Bus(), "w": Bus((2,))})
    with pytest.raises(NetlistError, match="subcircuit 'cell': port 'x'"):
        Subcircuit("cell", ("i", "x"), inner)
    with pytest.raises(NetlistError, match="subcircuit 'cell': port 'w' is a bus"):
        Subcircuit("cell", ("i", "w"), inner)
    cell = Subcircuit("cell", ("i", "o"), inner.add(Resistor("r", "i", "o", 1e-5)))
    fails(circuit(Instance("x7", cell, ("a",))), "Instance 'x7'", "1 nodes", "2 ports", "'cell'", build=flatten)
    fails(circuit(Instance("x7", cell, ("a", "y")), y=(2,)), "Instance 'x7'", "'o'", "'y'", "scalar", build=flatten)
    fails(
        circuit(Instance("x7", cell, ("a", "lost"))), "'x7.r'", "'lost'", "missing", build=lambda n: Circuit(n, SCALE)
    )
    broken = Subcircuit("broken", ("i",), inner.add(Resistor("r", "i", "gone", 1e-5)))
    fails(circuit(Instance("x7", broken, ("a",))), "Instance 'x7'", "'broken'", "'r'", "'gone'", build=flatten)
    other = Subcircuit("cell", ("i", "o"), inner.add(Resistor("r", "i", "o", 2e-5)))
    both = circuit(Instance("x7", cell, ("a", "in")), Instance("x8", other, ("a", "in")))
    fails(both, "two different subcircuits", "'cell'", build=lambda n: write(n, []))


def test_adjoint_networks_that_cannot_be_built():
    fails(circuit(), "'in'", "free bus", build=lambda n: adjoint(n, outputs=("in",)))
    cell = Subcircuit("cell", ("i",), Netlist({"i": Bus()}))
    fails(circuit(Instance("x7", cell, ("a",))), "'x7'", "Instance", "flatten", build=adjoint)
    driven = bare(VCVS("e7", "e", "a", GROUND, 1.0), Resistor("r7", "e", "a", "g"), e=(), arrays={"g": np.array(1e-5)})
    fails(driven, "Resistor 'r7'", "'e'", "Buffer", build=adjoint)
    square = circuit(BSource("b7", "a", GROUND, current="1e-6*V(a)^2"))
    fails(square, "Transposed 'b7'", "'a'", "held=", build=lambda n: write(adjoint(n), [".op"]))
