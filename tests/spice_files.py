"""Circuits and analyses for the tests of decks and backends, written as a reader of SPICE would make them."""

from dataclasses import dataclass, field

from analogep.netlist.elements import (
    VCVS,
    BSource,
    Capacitor,
    Inductor,
    ISource,
    Resistor,
    VSource,
)  # fmt: skip
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.subcircuit import Instance, Subcircuit
from analogep.netlist.waveforms import Pulse


@dataclass
class Line:
    """An analysis of which only its SPICE line matters."""

    text: str

    def spice(self):
        return self.text


@dataclass
class File:
    """What `write_file` and `run_file` read of a SPICE file."""

    netlist: Netlist
    analyses: tuple
    options: dict = field(default_factory=dict)
    celsius: float = 27.0
    initial: dict = field(default_factory=dict)
    nodesets: dict = field(default_factory=dict)


def lines(*texts):
    return tuple(Line(text) for text in texts)


def buses(*names):
    return {name: Bus() for name in names}


def divider():
    """A nested subcircuit: `sense` reads the current of an RC half whose inner node is `m`."""
    half = Netlist(buses("p", "m")).add(
        Resistor("r1", "p", "m", 1e-3), Capacitor("c1", "m", "0", 1e-9), Resistor("r2", "m", "0", 1e-3)
    )
    probed = Netlist(buses("q", "k")).add(
        VSource("sense", "q", 0.0, "k"), Instance("x1", Subcircuit("half", ("p",), half), ("k",))
    )
    return Subcircuit("probed", ("q",), probed)


def netlist():
    """1 V behind 1 kOhm on two halves in a row, an inductor, an amplifier and a behavioral source."""
    step = Pulse(0.0, 1.0, 0.0, 1e-9, 1e-9, 1.0, 2.0)
    return Netlist(buses("in", "out", "amp", "law", "coil"), title="* probe").add(
        VSource("v1", "in", step, ac=1.0, dc=1.0),
        ISource("i1", "0", "coil", 0.0),
        Resistor("r1", "in", "out", 1e-3),
        Instance("xa", divider(), ("out",)),
        Inductor("l1", "in", "coil", 1e-3),
        Resistor("r2", "coil", "0", 1e-2),
        VCVS("e1", "amp", "out", "0", 10.0),
        Resistor("r3", "amp", "0", 1e-3),
        BSource("b1", "law", "0", voltage="(v(out)>0.2)*v(in)^2"),
        Resistor("r4", "law", "0", 1e-3),
    )  # fmt: skip


ALL = (
    ".op", ".dc v1 0 1 0.25", ".dc v1 0 1 0.5 i1 0 2e-3 1e-3", ".ac dec 3 1k 1meg", ".tran 1e-7 1e-5 0 1e-8",
    ".noise v(out) v1 dec 2 1k 1meg 1",
)  # fmt: skip
