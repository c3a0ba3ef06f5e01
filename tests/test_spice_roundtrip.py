"""Random circuits of every scalar element, written and read back: the same structure, the same numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analogep.netlist.devices import (
    BJT,
    MOSFET,
    BJTModel,
    Diode,
    DiodeModel,
    MOSFETModel,
    Switch,
    SwitchModel,
)
from analogep.netlist.elements import (
    CCCS,
    CCVS,
    VCCS,
    VCVS,
    BSource,
    Capacitor,
    Coupling,
    Inductor,
    ISource,
    Resistor,
    VSource,
)
from analogep.netlist.equality import differences, equal
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.read import read
from analogep.netlist.spice.write import write
from analogep.netlist.subcircuit import Instance, Subcircuit, flatten
from analogep.netlist.waveforms import PWL, Exp, Pulse, Sin

NODES = ("a", "b", "n1", "n2", "out", "x.y")
positive = st.floats(1e-15, 1e12, allow_subnormal=False)
real = st.floats(-1e12, 1e12, allow_subnormal=False)
size = st.floats(1e-7, 1e-4)


@st.composite
def waveforms(draw):
    kind = draw(st.sampled_from(["number", "pulse", "sin", "exp", "pwl"]))
    if kind == "pulse":
        rise, fall, width = (draw(size) for _ in range(3))
        return Pulse(draw(real), draw(real), draw(size), rise, fall, width, 2 * (rise + fall + width))
    if kind == "sin":
        return Sin(draw(real), draw(real), draw(positive), draw(size), draw(real), draw(real))
    if kind == "exp":
        begin = draw(size)
        return Exp(draw(real), draw(real), begin, draw(positive), begin + draw(size), draw(positive))
    if kind == "pwl":
        times = sorted(draw(st.sets(size, min_size=2, max_size=5)))
        return PWL(times, [draw(real) for _ in times])
    return draw(real)


@st.composite
def elements(draw, name, letter, nodes):
    """One element; those that refer to others name v0, l0 and l1, which are always there."""
    node = st.sampled_from(nodes)
    a, b, c, d = (draw(node) for _ in range(4))
    initial = draw(st.none() | real)
    makers = {
        "r": lambda: Resistor(name, a, b, draw(positive)),
        "c": lambda: Capacitor(name, a, b, draw(positive), initial),
        "l": lambda: Inductor(name, a, b, draw(positive), initial),
        "k": lambda: Coupling(name, "l0", "l1", draw(st.floats(0.01, 0.99))),
        "v": lambda: VSource(name, a, draw(waveforms()), b, *_phasor(draw)),
        "i": lambda: ISource(name, a, b, draw(waveforms()), *_phasor(draw)),
        "e": lambda: VCVS(name, a, c, d, draw(real), b),
        "g": lambda: VCCS(name, a, b, c, d, draw(real)),
        "f": lambda: CCCS(name, a, b, "v0", draw(real)),
        "h": lambda: CCVS(name, a, b, "v0", draw(real)),
        "b": lambda: _behavioral(draw, name, a, b, c, d),
        "d": lambda: Diode(name, a, b, DiodeModel(is_=draw(size), rs=draw(size)), draw(positive), m=draw(positive)),
        "q": lambda: BJT(name, a, b, c, BJTModel(bf=draw(positive)), d, m=draw(positive)),
        "m": lambda: MOSFET(
            name, a, b, c, d, MOSFETModel(kind=draw(st.sampled_from(["nmos",
            "pmos"])), vto=draw(size), kp=draw(positive)),
            draw(size), draw(size), ad=draw(size), m=draw(positive),
        ),
        "s": lambda: Switch(name, a, b, c, d, SwitchModel(draw(real), 0.0, draw(positive), draw(positive))),
    }  # fmt: skip
    return makers[letter]()


def _phasor(draw):
    ac = draw(st.sampled_from([0.0, 1.0, 2.5]))
    return ac, draw(real) if ac else 0.0


def _behavioral(draw, name, a, b, c, d):
    node = c if c != "0" else NODES[0]
    text = draw(
        st.sampled_from([f"v({node},{d})*2+i(v0)", f"tanh(v({node}))^2*time", f"pwl(v({node}),0,1,2,3)", "1.5"])
    )
    return BSource(name, a, b, current=text) if draw(st.booleans()) else BSource(name, a, b, voltage=text)


@st.composite
def netlists(draw, depth=2, ports=()):
    """A connected circuit: a resistor from every node to ground, then anything."""
    nodes = (*ports, *NODES)
    found = [Resistor(f"rg{k}", node, "0", draw(positive)) for k, node in enumerate(nodes)]
    found += [VSource("v0", "a", 1.0, "b"), Inductor("l0", "a", "b", 1e-6), Inductor("l1", "b", "n1", 1e-6)]
    letters = draw(st.lists(st.sampled_from("rclkviegfhbdqms"), max_size=8))
    for k, letter in enumerate(letters):
        found.append(draw(elements(f"{letter}x{k}", letter, (*nodes, "0"))))
    if depth:
        inner = draw(st.lists(netlists(depth - 1, ports=("p", "q")), max_size=2))
        subcircuits = [
            Subcircuit(f"s{depth}_{draw(st.integers(0, 10**9))}_{k}", ("p", "q"), n) for k, n in enumerate(inner)
        ]
        for k, subcircuit in enumerate(subcircuits):
            connected = (draw(st.sampled_from(nodes)), draw(st.sampled_from((*nodes, "0"))))
            found.append(Instance(f"x{k}", subcircuit, connected))
            found.append(Instance(f"xx{k}", subcircuit, connected[::-1]))
    return Netlist({node: Bus() for node in nodes}, {element.name: element for element in found})


def check(netlist: Netlist) -> None:
    text = write(netlist, [".op"])
    again = read(text).netlist
    assert list(differences(netlist, again)) == []
    assert equal(flatten(netlist), flatten(again))
    assert write(again, [".op"]).splitlines()[2:] == text.splitlines()[2:]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(netlists(depth=1))
def test_what_is_written_reads_back(netlist):
    check(netlist)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(netlists())
def test_what_is_written_reads_back_many_times(netlist):
    check(netlist)


def test_differences_are_found():
    one = read("t\nr1 a 0 1\nx1 a s\n.subckt s p\nc1 p 0 1\n.ends\n").netlist
    for text in (
        "t\nr1 a 0 2\nx1 a s\n.subckt s p\nc1 p 0 1\n.ends\n", "t\nr1 a 0 1\nx1 a s\n.subckt s p\nc1 p 0 2\n.ends\n",
        "t\nr1 b 0 1\nx1 b s\n.subckt s p\nc1 p 0 1\n.ends\n", "t\nr1 a 0 1\nr2 a 0 1\n",
        "t\nr1 a 0 1\nx1 a s\n.subckt s p\nl1 p 0 1\n.ends\n",
        "t\ng1 a 0 a 0 1\nx1 a s\n.subckt s q\nc1 q 0 1\n.ends\n",
    ):  # fmt: skip
        assert not equal(one, read(text).netlist)
    assert equal(one, one)


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.parent.glob("circuits/*.lib")), ids=lambda path: path.stem
)
def test_the_cell_library_is_read(path):
    file = read(f"t\n.include {path.name}\nr1 a 0 1\n", path.parent)
    assert "r1" in file.netlist.elements


def test_how_close_numbers_must_be():
    """A conductance, which decks hold in ohms, may lose its last bit; a capacitance may not, nor either one more."""
    one = read("t\nr1 a 0 3\nc1 a 0 1.5\n").netlist
    r1, c1 = one.elements["r1"], one.elements["c1"]
    assert equal(one, one.replace_elements(replace(r1, siemens=r1.siemens * (1 + 2.3e-16))))
    assert not equal(one, one.replace_elements(replace(r1, siemens=r1.siemens * (1 + 1e-14))))
    assert not equal(one, one.replace_elements(replace(c1, farads=c1.farads * (1 + 2.3e-16))))
