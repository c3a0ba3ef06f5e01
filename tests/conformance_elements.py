"""Cases of the conformance suite: elements, arrays, wires and subcircuits."""

import numpy as np
from conformance import case, fed, netlist_of, scalars, volts
from dense_circuits import load, weights

from analogep.netlist.arrays import Crossbar, signed_resistive
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, VCVS, BSource, Capacitor, ISource, Resistor, Summer, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.subcircuit import Instance, Subcircuit
from analogep.netlist.waveforms import PWL, Pulse
from analogep.netlist.wired import WiredCrossbar
from analogep.netlist.wires import Wires, tile


@case
def resistor():
    return Netlist({"in": Bus((3,)), "y": Bus((3,)), "z": Bus((3,))}, {}, {"g": np.array([1e-5, 0.0, 3e-5])}).add(
        VSource("in", "in", volts(3)),
        Resistor("series", "in", "y", "g"),
        Resistor("bridge", "y", "z", np.array([2e-5, 1e-5, 0.0])),
        *load("y"),
        *load("z"),
    )


@case
def resistor_scalar():
    return Netlist(scalars("in", "y"), {}, {"g": np.array(2e-5), "leak": np.array(1e-5)}).add(
        VSource("in", "in", 0.1),
        Resistor("series", "y", "in", "g"),
        Resistor("leak", GROUND, "y", "leak"),
        Capacitor("c", "y", GROUND, 1e-14),
    )


@case
def capacitor_floating():
    return Netlist({"in": Bus((2,)), "y": Bus((2,)), "z": Bus((2,))}).add(
        VSource("in", "in", volts(2)),
        Resistor("series", "in", "y", 1e-5),
        Capacitor("couple", "y", "z", np.array([1e-14, 5e-15])),
        *load("y"),
        *load("z"),
    )


@case
def isource_dc():
    return Netlist({"y": Bus((2, 2)), "z": Bus((2, 2))}).add(
        ISource("i", "y", "z", 1e-6 * np.arange(1.0, 5.0).reshape(2, 2)),
        ISource("one", GROUND, "z", 2e-7),
        *load("y"),
        *load("z"),
    )


@case
def vsource_dc():
    """One value for a whole bus, read by an array."""
    return Netlist({"in": Bus((3,)), "y": Bus((2,))}, {}, {"w": weights((2, 3))}).add(
        VSource("in", "in", 0.1), Crossbar("x", "in", "y", "w"), *load("y")
    )


@case
def waveforms():
    """Every waveform on both kinds of source; at rest they stand at their value at t = 0."""
    pulse = Pulse(1e-7, 1.1e-6, 0.5e-9, 0.2e-9, 0.3e-9, 1e-9, 4e-9)
    return Netlist(scalars("p", "q") | {"pulse": Bus((2,)), "ramp": Bus(), "y": Bus((2,)), "z": Bus()}).add(
        ISource("i", GROUND, "p", pulse),
        ISource("j", "q", GROUND, PWL((0.0, 1e-9, 2e-9), (1e-7, 1e-6, 0.0))),
        VSource("pulse", "pulse", Pulse(0.03, 0.11, 0.5e-9, 0.2e-9, 0.3e-9, 1e-9, 4e-9)),
        VSource("ramp", "ramp", PWL((0.0, 1e-9, 2.5e-9), (0.07, -0.04, 0.05))),
        Resistor("ry", "pulse", "y", np.array([1e-5, 2e-5])),
        Resistor("rz", "ramp", "z", 1e-5),
        *(part for bus in ("p", "q", "y", "z") for part in load(bus)),
    )


@case
def vccs():
    parts = [fed("c", (3,), 1), fed("d", (3,), 2)]
    netlist = netlist_of(
        parts,
        VCCS("gm", "a", "b", "c", "d", "gm"),
        VCCS("back", GROUND, "c", "a", GROUND, 0.4e-5),
        VCCS("single", "b", GROUND, "c", GROUND, np.array([1e-5, -1e-5, 2e-5])),
        a=(3,),
        b=(3,),
    )
    return netlist.add(arrays={"gm": np.array([1e-5, -2e-5, 0.7e-5])})


@case
def vcvs():
    """A differential amplifier, loaded by a resistor, by a pushed current and by an array."""
    parts = [fed("c", (2,), 1), fed("d", (2,), 2)]
    netlist = netlist_of(
        parts,
        VCVS("e", "e", "c", "d", np.array([2.5, -1.5]), reference=2e-5),
        VCVS("follow", "f", "y", GROUND, 0.5),
        Resistor("drive", "e", "y", 1e-5),
        Resistor("between", "e", "f", 1e-5),
        ISource("lost", GROUND, "e", 1e-6),
        VCCS("half", "e", "c", "f", GROUND, 0.6e-5),
        Crossbar("x", "e", "y", "w"),
        y=(2,),
    )
    return netlist.add(buses={"e": Bus((2,)), "f": Bus((2,))}, arrays={"w": weights((2, 2))})


@case
def bsource_current():
    return Netlist(scalars("in", "a", "b"), {}, {"g": np.array(1e-5)}).add(
        VSource("in", "in", 0.1),
        Resistor("r", "in", "a", "g"),
        BSource("diode", "a", GROUND, current="2e-6*tanh(V(a)/0.0512345678901234)"),
        BSource("mul", "a", "b", current="1e-4*v(a)*(v(in)-v(b)) + 1.23456789012345678e-7"),
        BSource("time", GROUND, "b", current="3e-7*cos(time)"),
        *load("a"),
        *load("b"),
    )


@case
def bsource_voltage():
    """An amplifier that saturates, a constant rail and a feedback through them."""
    return Netlist(scalars("in", "a", "p", "q"), {}, {"g": np.array(1e-5), "k": np.array(2e-5)}).add(
        VSource("in", "in", 0.1),
        Resistor("r", "in", "a", "g"),
        BSource("amp", "p", GROUND, voltage="0.1*tanh(v(a)*4.3456789012345678)-v(in)/3"),
        BSource("rail", "q", GROUND, voltage="0.0123456789012345678"),
        VCCS("back", GROUND, "a", "p", "q", "k"),
        Resistor("load", "p", GROUND, 1e-5),
        *load("a"),
    )


@case
def summer():
    netlist = netlist_of([fed("z", (2, 3), 1)])
    return netlist.add(
        Crossbar("in", "z", "s", "a"),
        VCCS("direct", "s", GROUND, "z", GROUND, 0.3e-5),
        Summer("s", "s", np.array([[1e-5, 2e-5, 1e-5]] * 2)),
        Resistor("more", "s", GROUND, 0.5e-5),
        Crossbar("out", "s", "z", "b"),
        buses={"s": Bus((2, 3))},
        arrays={"a": weights((3, 3), 2), "b": weights((3, 3), 3, 0.5)},
    )


@case
def crossbar_buffered():
    netlist = netlist_of([fed("z", (2, 3), 1)], Crossbar("x", "z", "y", "w"), y=(2, 4))
    return netlist.add(Crossbar("fb", "y", "z", "fb"), arrays={"w": weights((4, 3), 3), "fb": weights((3, 4), 4, 0.4)})


@case
def crossbar_transposed():
    """One array in both directions."""
    netlist = netlist_of([fed("z", (2, 3), 1)], Crossbar("x", "z", "y", "w"), y=(2, 4))
    return netlist.add(Crossbar("x.back", "z", "y", "w", transpose=True), arrays={"w": weights((4, 3), 3, 0.3)})


@case
def crossbar_resistive():
    netlist = netlist_of([fed("z", (2, 3), 1)], Crossbar("x", "z", "y", "w", "resistive"), y=(2, 4))
    return netlist.add(arrays={"w": np.abs(weights((4, 3), 3)) * (np.arange(12).reshape(4, 3) % 5 > 0)})


@case
def crossbar_resistive_self():
    """An array that joins a bus to itself."""
    netlist = netlist_of([fed("z", (3,), 1)], Crossbar("x", "z", "z", "w", "resistive"))
    return netlist.add(arrays={"w": np.abs(weights((3, 3), 3))})


@case
def crossbar_signed():
    bars, arrays = signed_resistive("w", ("zp", "zn"), ("yp", "yn"), weights((2, 3), 3))
    netlist = netlist_of([fed("zp", (3,), 1), fed("zn", (3,), 2)], *bars, yp=(2,), yn=(2,))
    return netlist.add(arrays=arrays)


@case
def tile_with_wires():
    """Explicit wires, driven and sensed at both ends, into an amplifier's input resistance."""
    piece = tile("t", "in", "y", np.abs(weights((2, 3), 3)), Wires(3e4, 5e4, 1e-15, 2e-15, 1e3, 2e3, "both", "both"))
    netlist = Netlist({"in": Bus((3,)), "y": Bus((2,))}).add(VSource("in", "in", volts(3)), *load("y"))
    return netlist.add(*piece, buses=piece.buses, arrays=piece.arrays)


@case
def crossbar_wired():
    """In both directions over wires; solved with the wires folded into effective matrices."""
    wires = Wires(2e3, 3e3, driver_ohms=1e3, sense_ohms=2e3, sensing="both")
    netlist = netlist_of([fed("z", (2, 3), 1)], WiredCrossbar("x", "z", "y", "w", wires, 1e-6), y=(2, 4))
    back = WiredCrossbar("x.back", "z", "y", "w", wires, 1e-6, transpose=True)
    return netlist.add(back, arrays={"w": weights((4, 3), 3, 0.3)})


@case
def instances():
    """A subcircuit used twice, with another one inside."""
    cell = Netlist(scalars("i", "o"), {}, {"g": np.array(0.5e-5)}).add(
        VCCS("gm", GROUND, "o", "i", GROUND, "g"),
        BSource("sat", "o", GROUND, current="1e-5*v(o)*v(o)/0.1-1e-6*tanh(v(i)/0.1)"),
        Resistor("r", "o", GROUND, 1e-5),
        Capacitor("c", "o", GROUND, 2e-15),
    )
    inner = Subcircuit("cell", ("i", "o"), cell)
    pair = Netlist(scalars("a", "m", "b")).add(
        Instance("first", inner, ("a", "m")),
        Instance("second", inner, ("m", "b")),
        VCVS("amp", "amp", "m", "a", 2.0),
        Resistor("ramp", "amp", "b", 1e-5),
        buses=scalars("amp"),
    )
    outer = Subcircuit("pair", ("a", "b"), pair)
    return Netlist(scalars("in", "y", "z"), title="two levels").add(
        VSource("in", "in", 0.1), Instance("one", outer, ("in", "y")), Instance("two", outer, ("y", "z"))
    )
