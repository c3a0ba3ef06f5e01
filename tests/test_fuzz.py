"""Any text is a netlist or a NetlistError, soon: text of SPICE fragments, mutated decks, and raw noise."""

import contextlib
import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analogep.errors import AnalogepError
from analogep.netlist.spice import hierarchy
from analogep.netlist.spice.read import read
from analogep.netlist.subcircuit import flatten

FRAGMENTS = (
    ".param", ".func", ".subckt", ".ends", ".model", ".include", ".lib", ".endl", ".end", ".ic", ".nodeset", ".options",
    ".temp", ".tran", ".ac", ".dc", ".noise", ".meas", ".print", ".save", ".global", ".op", ".control", "params:", "r1",
    "c1", "l1", "l2", "k1", "v1", "i1", "e1", "f1", "g1", "h1", "b1", "d1", "q1", "m1", "s1", "x1", "x2", "a", "b", "0",
    "gnd", "vdd", "1k", "1u", "-3", "1e-12", "1meg", "1e309", "nan", "inf", "{a*2}", "{x}", "'a+b'", "{", "}", "'", '"',
    "(", ")", "=", ",", "+", "-", "*", "/", "^", "**", "?", ":", "!", "&&", "||", "<", ">=", "v(a)", "v(a,b)", "i(v1)",
    "v=", "i=", "value=", "table", "poly(2)", "poly(1)", "pulse(0 1", "sin(", "pwl(", "exp(0 1)", "dc", "ac", "m=2",
    "ic=1", "tc=", "w=1u", "l=1u", "d(is=1e-14)", "nmos", "npn", "sw", "dm", "time", "tanh(", "f(", "x", "uic", "dec",
    "trig", "targ", "when", "find", "max", "rise=last", "at=1", "$", ";", "//", "`", "*", "\n", "\n", "\n", "\n+ ",
    "\t", " ",
    "\r", "\x00", "\x0b", "é", "٣", "İ", "~", "\\", "%", "[", "]", "#", "1.", ".5", "1e", "1e+", "1mil", "5a",
)  # fmt: skip
DECK = """fuzz
.param a=1 b={a*2} c='b^2'
.func f(x,y) {x*y+a}
.global vdd
.model dm d(is=1e-14 rs={b})
.model qm npn(bf=100)
.model mm nmos(vto=1 kp=1e-4)
.model sm sw(vt=1)
.subckt s p q params: g=1 h={g*2}
.param k={h+1}
r1 p q {k}
r2 q vdd {g}
.ends s
v1 in 0 dc 1 ac 1 sin(0 1 1k)
v2 vdd 0 pulse(0 1 0 1n 1n 5n 20n)
i1 in 0 pwl(0 0 1n 1)
r1 in a 1k tc=1m m=2
c1 a 0 1p ic=1
l1 a b 1u
l2 b 0 1u
k1 l1 l2 0.5
e1 e 0 poly(2) in 0 a 0 1 2 3
e2 e2 0 table {v(in)} = (0,0) (1,2)
g1 a 0 in 0 1m m=2
f1 a 0 v1 2
h1 h 0 v1 3
b1 bb 0 v=f(v(in),i(v1))*time+pwl(v(a),0,0,1,1)
d1 a 0 dm 2
q1 a in 0 qm
m1 a in 0 0 mm w=1u l=1u
s1 a 0 in 0 sm
x1 in a s g=3
x2 in a s g=3 m=2
.ic v(a)=1
.tran 1n 1u
.ac dec 10 1 1k
.noise v(a) v1 dec 1 1 2
.meas tran x max v(a) from=0 to=1
.meas tran y trig v(a)=1 rise=1 targ v(a)=2 fall=last
.print tran v(a)
.end
"""

fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=60).map(" ".join)
broken = st.builds(
    lambda seed, pieces: _mutated(DECK, random.Random(seed), pieces),
    st.integers(0, 2**32),
    st.lists(st.sampled_from(FRAGMENTS), max_size=6),
)


def _mutated(text: str, chance: random.Random, pieces: list[str]) -> str:
    """The deck with pieces put in, words exchanged, lines swapped or characters lost."""
    for piece in pieces:
        at = chance.randrange(len(text))
        text = text[:at] + piece + text[at + chance.choice((0, 0, 1, 5)) :]
    lines = text.split("\n")
    for _ in range(chance.randrange(3)):
        one, two = (chance.randrange(len(lines)) for _ in range(2))
        lines[one], lines[two] = lines[two], lines[one]
    return "\n".join(lines)


def survives(text: str, folder=None) -> None:
    """Reading ends with a circuit or an error of ours."""
    with contextlib.suppress(AnalogepError):
        flatten(read(f"{text}\n", folder).netlist)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(hierarchy, "MAX_ELEMENTS", 2000)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@example("t\n" + DECK)
@given(fragments.map("title\n{}".format) | broken | st.text().map("t\n{}".format))
def test_any_text_is_a_circuit_or_an_error(text):
    survives(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(fragments.map("title\n{}".format) | broken | st.text().map("t\n{}".format))
def test_any_text_is_a_circuit_or_an_error_for_long(text):
    survives(text)


def test_the_deck_that_is_mutated_is_read():
    assert len(read(DECK).netlist.elements) == 20
