"""Decks for Xyce and LTspice as text: neither can be run here. Expressions are evaluated by rules of our own."""

import math
import re

import numpy as np
import pytest
from dense_circuits import load
from hypothesis import given, settings
from hypothesis import strategies as st
from spice_files import ALL, File, buses, divider, lines, netlist

from analogep.cells import Activation, LayerNorm, Multiplier, Softmax
from analogep.errors import NetlistError
from analogep.netlist import expression as expressions
from analogep.netlist.elements import BSource, Inductor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.parser import parse
from analogep.netlist.spice.dialect import DIALECTS, expression, line, options
from analogep.netlist.spice.write import Deck, vectors, write, write_file
from analogep.netlist.subcircuit import Instance

OTHERS = DIALECTS[1:]
FUNCTIONS = {
    "abs": abs, "sqrt": math.sqrt, "exp": math.exp, "ln": math.log, "log10": math.log10, "sin": math.sin,
    "cos": math.cos, "tanh": math.tanh, "atan": math.atan, "min": min, "max": max, "floor": math.floor,
    "pow": lambda x, y: x**y, "pwrs": lambda x, y: math.copysign(abs(x) ** y, x) if x else 0.0,
    "limit": lambda x, low, high: sorted((x, low, high))[1], "sgn": lambda x: (x > 0) - (x < 0),
    "uramp": lambda x: max(x, 0.0), "table": lambda x, *points: float(np.interp(x, points[::2], points[1::2])),
    "if_": lambda test, yes, no: yes if _condition(test) else no,
}  # fmt: skip


def _condition(value):
    """Neither simulator takes a plain number for a condition without a rule of its own."""
    assert isinstance(value, bool), value
    return value


def evaluate(text, dialect, values):
    """Value of a translated expression, from the documented meaning of its operators."""
    assert "^" not in text
    assert "log(" not in text
    if dialect == "ltspice":
        assert not re.search(r"==|!=|~|\?|&&|\|\|", text)
    else:
        assert not re.search(r"!(?!=)|\?|&&|\|\|", text)
    text = re.sub(r"\bif\(", "if_(", text)
    text = text.replace("~", " not ") if dialect == "xyce" else re.sub(r"!(?!=)", " not ", text)
    text = text.replace("&", " and ").replace("|", " or ")
    voltages = {"v": lambda name: values[name], "time": values["time"], "a": "a", "b": "b"}
    return float(eval(text, {"__builtins__": {}}, FUNCTIONS | voltages))


names = st.sampled_from(["v(a)", "v(b)", "time", "v(a,b)"])
atoms = st.one_of(names, st.floats(0.001, 99, allow_nan=False).map(lambda x: f"{x:.3g}"), st.sampled_from(["2k", "pi"]))


FORMS = (
    *("{0}+{1}", "{0}-{1}", "{0}*{1}", "-{0}", "!({0})", "({0})^2", "({0})-({1})", "({0})*({1})", "{0}/(1+abs({1}))"),
    *("({0})>({1})", "({0})<={1}", "({0})==({1})", "({0})!={1}", "({0})&&({1})", "({0})||({1})"),
    *("abs({0})", "sin({0})", "tanh({0})", "u({0})", "u2({0})", "uramp({0})", "sgn({0})", "log(1+abs({0}))"),
    *("min({0},{1})", "max({0},{1})", "pwr({0},3)", "({0}) ? ({1}) : ({2})"),
    "ternary_fcn({0},{1},{2})",
)


def grow(inner):
    return st.tuples(st.sampled_from(FORMS), inner, inner, inner).map(lambda x: x[0].format(*x[1:]))


@pytest.mark.parametrize("dialect", OTHERS)
@settings(max_examples=150, deadline=None)
@given(
    text=st.recursive(atoms, grow, max_leaves=20), a=st.sampled_from([-1.5, 0.0, 0.25]), b=st.sampled_from([0.25, 2.0])
)
def test_expressions_keep_their_value(dialect, text, a, b):
    expected = float(parse(text).evaluate({"a": a, "b": b}, 0.5))
    if not abs(expected) < 1e200:
        return
    found = evaluate(expression(text, dialect), dialect, {"a": a, "b": b, "time": 0.5})
    assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9), expression(text, dialect)


@pytest.mark.parametrize(
    ("text", "xyce", "ltspice"),
    [
        ("v(a)^2", "pow(abs(v(a)),2)", "pow(abs(v(a)),2)"),
        ("{gm}*v(a1)/{u}", "gm*v(a1)/u", "({gm})*v(a1)/({u})"),
        ("log(v(a))", "ln(v(a))", "ln(v(a))"),
        ("2*(v(a)>1)", "2*if((v(a)>1),1,0)", "2*if((v(a)>1),1,0)"),
        ("v(a)==1 ? 2 : 3", "if((v(a)==1),2,3)", "if(((v(a)>=1)&(v(a)<=1)),2,3)"),
        ("v(a) ? 2 : 3", "if((v(a)!=0),2,3)", "if(((v(a)>0)|(v(a)<0)),2,3)"),
        ("1meg*v(a,b)", "1e+06*(v(a)-v(b))", "1e+06*(v(a)-v(b))"),
        ("u(v(a))", "(0.5*(1+sgn(v(a))))", "(0.5*(1+sgn(v(a))))"),
    ],
)
def test_expressions_as_text(text, xyce, ltspice):
    assert expression(text, "ngspice") == text
    assert expression(text, "xyce") == xyce
    assert expression(text, "ltspice") == ltspice


@pytest.mark.parametrize(
    ("text", "xyce", "ltspice"),
    [
        ("X1 a b cell gm=1 u=2", "X1 a b cell params: gm=1 u=2", "X1 a b cell gm=1 u=2"),
        ("X1 a b cell", "X1 a b cell", "X1 a b cell"),
        (".subckt cell a b gm=1", ".subckt cell a b params: gm=1", ".subckt cell a b gm=1"),
        ("B1 a 0 I={gm}*v(a)", "B1 a 0 I={gm*v(a)}", "B1 a 0 I=({gm})*v(a)"),
        ("L1 a b 0.001", "L1 a b 0.001", "L1 a b 0.001 Rser=0"),
        ("Gy 0 y a1 0 {gm}", "Gy 0 y a1 0 {gm}", "Gy 0 y a1 0 {gm}"),
        (".model s sw(vt=1 ron=1)", ".model s vswitch(von=1.000001 voff=0.999999 ron=1)", ".model s sw(vt=1 ron=1)"),
        (".model d D(is=1e-14)", ".model d D(is=1e-14)", ".model d D(is=1e-14)"),
    ],
)  # fmt: skip
def test_lines(text, xyce, ltspice):
    assert line(text, "ngspice") == text
    assert line(text, "xyce") == xyce
    assert line(text, "ltspice") == ltspice


def test_what_a_dialect_cannot_say():
    with pytest.raises(NetlistError, match="no switch with hysteresis"):
        line(".model s sw(vt=1 vh=0.1)", "xyce")
    with pytest.raises(NetlistError, match="ngspice, xyce, ltspice"):
        write(Netlist(), [], dialect="hspice")
    with pytest.raises(NetlistError, match="no name for xyce"):
        write(Netlist(buses("x1:n")).add(*load("x1:n")), [".op"], dialect="xyce")
    with pytest.raises(NetlistError, match="not one word"):
        list(options({"temp": "27\n.include x"}, "ngspice"))


def test_options_of_each_dialect():
    given_options = {"method": "gear", "reltol": 1e-6, "vntol": 1e-9, "chgtol": 1e-18, "filetype": "ascii"}
    assert list(options(given_options, "ngspice")) == [
        ".options method=gear reltol=1e-06 vntol=1e-09 chgtol=1e-18",
        "* options that ngspice does not share: filetype=ascii",
    ]
    assert list(options(given_options, "xyce")) == [
        ".options timeint method=gear", ".options timeint reltol=1e-06", ".options timeint abstol=1e-09",
        "* options that xyce does not share: chgtol=1e-18 filetype=ascii",
    ]  # fmt: skip
    assert list(options({}, "ltspice")) == [".options plotwinsize=0 numdgt=15"]
    assert list(options({}, "ngspice")) == []


@pytest.mark.parametrize("dialect", OTHERS)
def test_one_analysis_a_deck(dialect):
    circuit = netlist()
    deck = write(circuit, [".op", ".tran 1n 1u uic", ".ac dec 3 1 10"], save=["out"], dialect=dialect).splitlines()
    assert deck[:2] == ["* probe", f"* dialect: {dialect} (not run by analogep's tests)"]
    active = [text for text in deck if text.startswith((".op", ".tran", ".ac"))]
    assert [text.split()[0] for text in active if not text.startswith(".options")] == [".tran"]
    assert "* one analysis a deck; another: .ac dec 3 1 10" in deck
    assert (".print tran v(out)" if dialect == "xyce" else ".save v(out)") in deck
    alone = write(circuit, [".op"], dialect=dialect)
    assert ".op\n" in alone
    assert (".print dc v(*) i(*)" in alone) == (dialect == "xyce")


@pytest.mark.parametrize("dialect", OTHERS)
def test_cells_are_translated_whole(dialect):
    """No braces inside an expression of Xyce, no power sign, every parameter behind `params:`."""
    shape = {name: Bus((2, 3)) for name in ("z", "n", "g", "p")} | {
        "s": Bus((1, 2, 2), np.tril(np.ones((1, 2, 2), bool)))
    }
    cells = [
        LayerNorm("ln", ("z",), "n"), Activation("act", ("n",), "g"), Multiplier("m", ("n", "n"), "s"),
        Softmax("soft", ("g",), "p"),
    ]  # fmt: skip
    deck = write(Netlist(shape).add(*cells, *(x for name in shape for x in load(name))), [".op"], dialect=dialect)
    sources = [text for text in deck.replace("\n+", "").splitlines() if text[0] == "B"]
    assert sources
    for text in sources:
        body = text.split("=", 1)[1]
        assert "^" not in body
        if dialect == "xyce":
            assert re.fullmatch(r"\{[^{}]*\}", body), text
    calls = [text for text in deck.replace("\n+", "").splitlines() if text[0] == "X"]
    assert calls
    assert all((" params: " in text) == (dialect == "xyce") for text in calls)


def test_hierarchy_and_conditions_of_a_file():
    file = File(netlist(), lines(*ALL), {"reltol": 1e-6}, 85.0, {"xa.x1.m": 0.5}, {"out": 0.25})
    deck = write_file(file)
    assert deck.splitlines()[:2] == ["* probe", "* dialect: ngspice"]
    assert ".ic v(xa.x1.m)=0.5\n" in deck
    assert ".nodeset v(out)=0.25\n" in deck
    assert ".temp 85\n" in deck
    assert deck.count(".subckt") == 2
    assert ".ic v(xa:x1:m)=0.5\n" in write_file(file, "xyce")
    assert ".options device temp=85\n" in write_file(file, "xyce")
    only = write_file(file, "ngspice", lines(".op"))
    assert only.splitlines()[-2:] == [".op", ".end"]


def test_names_inside_instances():
    found = vectors(netlist())
    assert found.nodes["xa.x1.m"] == "xa.x1.m"
    assert found.devices["v.xa.vsense"] == "xa.sense"
    assert found.devices["r.xa.x1.r2"] == "xa.x1.r2"
    inside = Netlist(buses("n", "xa.k")).add(Instance("xa", divider(), ("n",)), Resistor("r", "xa.k", "0", 1.0))
    with pytest.raises(NetlistError, match=r"two nodes are called 'xa\.k'"):
        write(inside, [".op"])


def test_model_cards_of_one_name():
    deck = Deck({}, {})
    assert deck.model("DM", "D(is=1)") == "dm"
    assert deck.inside(Netlist()).model("dm", "D(is=2)") == "dm_2"
    assert deck.model("dm", "D(is=1)") == "dm"
    assert deck.models == {"dm": "D(is=1)", "dm_2": "D(is=2)"}


def test_titles_cannot_command():
    deck = write(Netlist(buses("n"), title="*# shell `rm` \\\\").add(*load("n")), [".op"])
    assert deck.splitlines()[0] == "* shell rm "


def test_inductors_and_sources_in_ltspice():
    circuit = Netlist(buses("a")).add(
        VSource("v1", "a", 1.0), Inductor("l1", "a", "0", 1e-3), BSource("b1", "a", "0", current="v(a)**3")
    )
    deck = write(circuit, [".op"], dialect="ltspice")
    assert "l1 a 0 0.001 Rser=0\n" in deck
    assert "b1 a 0 I=pow(abs(v(a)),3)\n" in deck


@pytest.mark.parametrize("dialect", OTHERS)
def test_every_function_has_a_translation(dialect):
    for name, (count, _) in expressions.FUNCTIONS.items():
        arguments = ",".join(f"0.{k + 3}" for k in range(count))
        text = expression(f"{name}({arguments})", dialect)
        assert (name in text) or name in ("log", "u", "u2", "pow", "nint", "ternary_fcn")


@pytest.mark.parametrize("dialect", OTHERS)
@pytest.mark.parametrize("x", [-3.0, 0.0, 0.4, 1.0, 2.5, 9.0])
@pytest.mark.parametrize("points", ["0,1, 1,1, 2,2k/1k", "-1,-2, 0.5,3, 2,3", "0,0, 1,-1"])
def test_straight_lines_go_on(dialect, x, points):
    text = f"2*pwl(v(a), {points})"
    found = evaluate(expression(text, dialect), dialect, {"a": x, "time": 0.0})
    assert math.isclose(found, float(parse(text).evaluate({"a": x})), rel_tol=1e-12, abs_tol=1e-12)


def test_currents_are_read_by_the_name_of_the_source():
    circuit = Netlist(buses("a", "y")).add(
        VSource("sense", "a", 1.0), *load("a"), BSource("b1", "y", "0", voltage="2*i(sense)")
    )
    for dialect in DIALECTS:
        assert "2*i(vsense)" in write(circuit, [".op"], dialect=dialect)


def test_sources_and_nodes_of_analyses_bear_the_deck_s_names():
    circuit = Netlist(buses("n")).add(VSource("drive", "n", 1.0), Instance("one", divider(), ("n",)))
    file = File(circuit, lines(".dc drive 0 1 1", ".noise v(one.k,one.x1.m) drive dec 1 1 10"))
    deck = write_file(file)
    assert ".dc vdrive 0 1 1\n" in deck
    assert ".noise v(xone.k,xone.x1.m) vdrive dec 1 1 10\n" in deck
