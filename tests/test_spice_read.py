"""Reading decks: every construct as fields and values, errors with file and line, files, hierarchy, limits."""

import math
import os
import time

import pytest

from analogep.errors import NetlistError
from analogep.netlist.devices import BJT, MOSFET, Diode, Switch
from analogep.netlist.elements import CCCS, CCVS, VCCS, VCVS, BSource, Capacitor, Coupling, Inductor
from analogep.netlist.spice import hierarchy, lines
from analogep.netlist.spice.read import read
from analogep.netlist.subcircuit import Instance, flatten
from analogep.netlist.waveforms import DC, PWL, Exp, Pulse, Sin


def deck(body: str, folder=None):
    return read(f"title\n{body}\n.end\n", folder)


def one(body: str, name: str):
    return deck(body).netlist.elements[name]


def value(expression: str, before: str = "") -> float:
    """Value of a parameter expression."""
    return one(f"{before}\nv1 a 0 {{{expression}}}\n", "v1").value


def fails(body: str, message: str, line: int | None = None, folder=None) -> None:
    with pytest.raises(NetlistError, match=message) as caught:
        deck(body, folder)
    if line is not None:
        assert str(caught.value).startswith(f"deck:{line}: "), str(caught.value)
    assert "\n" not in str(caught.value)


# lines


def test_title_comments_and_continuations():
    file = read(
        "v1 is no element here\n* comment\n  R1 A gnd 1k ; first\nr2 a b $ second\n*\n\n+ 2\n+ // third\n.END\nx\n"
    )
    assert file.netlist.title == "v1 is no element here"
    assert list(file.netlist.buses) == ["a", "b"]
    assert (file.netlist.elements["r1"].a, file.netlist.elements["r1"].b) == ("a", "0")
    assert file.netlist.elements["r2"].siemens == 0.5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (".control\nrun\n.endc", r"\.control is not supported"), ("*# shell ls", "would execute"),
        ("*ng_script\n", "would execute"), ("shell ls", "shell"), ("r1 a 0 `ls`", "backquote"),
        (".shell ls", "not run"), (".if (1)", "conditional"), (".foo", "unknown command '.foo'"),
        ("a1 a b model", "element letter 'A'"), ("w1 a b v1 sw", "element letter 'W'"), ("+ 1", "nothing to continue"),
        ("r1 a 0 1k extra", "'extra' is not understood"), ("r1 a 0 4k7", "'4k7' is not a number"),
        ("r1 a 0 1 2", "not understood|is not a"),
        ("r1 a 0 1a", "atto"), ("r1 a 0", "a value is missing"), ("r1 a", "a node is missing"), ("r a b 1", "name"),
        ("r1 a 0 {x}", "unknown parameter 'x'"), ("r1 a 0 {1+}", "expected a value"), ("r1 a 0 {1", "'}' is missing"),
        ("r1 a 0 'x", "no partner"), ("r1 a é 1", "cannot be a node"),
        ("r1 a 0 1\nr1 a 0 1", "already defined on line 2"),
        ("r1 a 0 1 ac=3", "'ac' is not understood"), ("c1 a 0 1 off", "'off' is not understood"),
        ("r1 a 0 1e400", "too large"), ("r1 a 0 {1/0}", "no finite value"), ("r1 a 0 {sqrt(-1)}", "no finite value"),
        ("r1 a 0 {10mil}", "mil"), ("r1 a 0 {agauss(1,2,3)}", "random"), ("r1 a 0 {foo(1)}", "unknown function"),
        ("r1 a 0 {sin(1,2)}", "takes 1 arg"), ("d1 a 0 dx", "unknown model 'dx'"),
        ("q1 c b e qx", "unknown model 'qx'"),
        (".model dx d(foo=1)\nd1 a 0 dx", "unknown parameter 'foo'"), (".model dx z(x=1)\nd1 a 0 dx", "model type 'z'"),
        (".model dx npn\nd1 a 0 dx", "is of type npn"), (".model dx d is\nd1 a 0 dx", "write is=value"),
        ("f1 a 0 vx 2\nr1 a 0 1", "'vx' is not a voltage source"), ("k1 l1 l2 0.5", "is not an inductor"),
        ("b1 a 0 v=v(zz)", r"v\(zz\) reads a node"), ("b1 a 0 v=temper", "temper"), ("b1 a 0 v=foo(1)", "foo"),
        ("b1 a 0 x=1", "write v=expression"), ("b1 a 0 v=bar", "unknown parameter 'bar'"),
        ("b1 a 0 v=1 m=2", "'m' is not understood"), ("e1 a 0 poly(99) b 0 1", "inputs"), ("e1 a 0 b 0 1 m=2", "'m'"),
        ("e1 a 0 table {time} = (0,0)", "two points"), ("e1 a 0 table {time} = (1,0) (0,1)", "increase"),
        ("v1 a 0 pulse(1)", "takes 2 to 7"), ("v1 a 0 foo", "'foo' is not understood"), ("v1 a 0 sffm(1 2)", "SFFM"),
        ("v1 a 0 pwl(0 1 1)", "takes 4"), ("v1 a 0 pwl(0 1 1 2 1)", "pairs"), ("v1 a 0 pwl(0 1 0 2)", "increase"),
        ("v1 a 0 pwl(0 1 1 2) r=0", "PWL is not supported"),
        ("e1 a 0 laplace {v(b)} = {1/(1+s)}", "LAPLACE is not supported; build"),
        ("g1 a 0 b 0 laplace={1/(1+s)}", "LAPLACE is not supported"),
        ("f1 a 0 value={v(b)}", "VALUE is not a form of F"),
        ("v1 a 0 dc 1 dc 2", "twice"),
        ("x1 a s", "unknown subcircuit 's'"), (".subckt s a\n.ends\nx1 a b s", "2 nodes for the 1 ports"),
        (".subckt s a\n.ends\nx1 a s p=1", "'p' is not understood"), (".subckt s a", "has no .ends"),
        (".ends", r"\.ends without"), (".subckt s a\n.ends t", "closes"),
        (".subckt s a\n.op\n.ends", "inside the subcircuit .s. of line 2"),
        (".subckt s a\nx1 a s\n.ends\nx1 a s", "contains itself"), (".subckt s a a\n.ends", "twice"),
        (".subckt s a\n.ends\n.subckt s a\n.ends", "already defined"),
        (".param a={b} b={a}\nr1 a 0 1", "need each other"),
        (".param a=a\n", "need each other"), (".func f(x) {f(x)}\nr1 a 0 {f(1)}", "calls itself"),
        (".func f(x) {f(x)}\nb1 a 0 v=f(1)", "calls itself"), (".func f(x) {x}\nr1 a 0 {f(1,2)}", "takes 1 arg"),
        (".func f {x}", "write `.func"), (".param 3=4", "expected name=value"), (".param a=", "value is missing"),
        (".func sin(x) {x}", "built in"), ("s1 a 0 b 0 sx", "unknown model"), ("m1 d g s b mx", "unknown model"),
        (".model mx nmos level=8\nm1 d g s b mx", "level 8"), ("r1 a 0 1 temp=-300", "temperature"),
        ("l1 a 0 1 m=0", "must be positive"), (".include x.cir", "given as text"), (".lib x.lib tt", "given as text"),
    ],
)  # fmt: skip
def test_errors_name_file_and_line(body, message):
    fails(body, message)


def test_error_lines_are_those_of_the_element():
    fails("r1 a 0 1\n* x\nr2 a 0\n+ bad\nr3 a 0 1", "unknown parameter 'bad'", 4)
    fails(".subckt s a\nr1 a 0 {zz}\n.ends\nr2 b 0 1\nx1 b s", "unknown parameter 'zz'", 3)
    fails(".func f(x) {y}\nr1 a 0 {f(1)}", "unknown parameter 'y'", 3)
    with pytest.raises(NetlistError, match=r"^deck:1: "):
        read("*ng_script\nr1 a 0 1\n")


# parameters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2^3^2", 64), ("-2^2", -4), ("(-2)^3", 8), ("2^-3^2", 2**-6), ("2*-3^2", 18), ("1+-3^2", 10), ("2^-2^-2", 16),
        ("-2^-2", -0.25), ("-(-2)^2", -4), ("1?-2^2:3", 4), ("!1+1", 1), ("-1&&1", 1), ("5%3*2", 4), ("2*5%3", 1),
        ("7\\2*2", 6), ("pow(-2,3)", -8), ("pwr(-2,2)", 4), ("nint(2.5)", 2), ("nint(3.5)", 4), ("int(-2.7)", -2),
        ("1<2<3", 1), ("1<>2", 1), ("2==2", 1), ("1>0?5:6+1", 5), ("sqr(-3)", 9), ("arctan(1)", math.atan(1)),
        ("ternary_fcn(0,2,3)", 3), ("3!=3!=0", 0), ("1e3k", 1e6), ("1kohm", 1e3), ("2MEG", 2e6), ("3.3u", 3.3e-6),
        ("--3", 3), ("2--3", 5), ("min(3,1)+max(1,2)", 3), ("0**-1?2:3", 2), ("log(2)", math.log(2)),
    ],
)  # fmt: skip
def test_parameter_expressions_as_ngspice_evaluates_them(text, expected):
    assert value(text) == pytest.approx(expected, rel=1e-15, abs=0)


def test_parameters_in_any_order_and_all_spellings():
    before = (
        ".param a=b*2 b={c+1}\n.param c='d'\n.param d = 2 * 3 g(y)='y+a', e=1\n.func f(x) {x*x+a}\n.func h() = {7}\n"
        ".param dup=1\n.param dup=2"
    )
    assert [value(name, before) for name in "abcde"] == [14, 7, 6, 6, 1]
    assert value("f(2)+g(1)+h()", before) == 18 + 15 + 7
    assert value("dup", before) == 2
    assert one(f"{before}\nr1 x 0 b", "r1").siemens == 1 / 7  # a bare name is a parameter


@pytest.mark.parametrize(
    ("text", "ohms"),
    [("1k", 1e3), ("1K5x", None), ("1.5MEGohm", 1.5e6), ("10mil", 254e-6), ("1e3", 1e3), (".5", 0.5),
     ("3ohm", 3), ("2g", 2e9)],
)  # fmt: skip
def test_numbers(text, ohms):
    if ohms is None:
        return fails(f"r1 a 0 {text}", "not a number")
    assert one(f"r1 a 0 {text}", "r1").siemens == pytest.approx(1 / ohms, rel=1e-15, abs=0)
    return None


# elements


def test_passive_elements():
    element = one("r1 a b 3 tc=0.1 0.01 temp=37", "r1")
    assert (element.a, element.b) == ("a", "b")
    assert element.siemens == pytest.approx(1 / 9, rel=1e-12)
    assert element.kelvin == 310.15
    assert one("r1 a b r=13 m=2", "r1").siemens == pytest.approx(2 / 13)
    assert one("r1 a 0 5 scale=2", "r1").siemens == 0.1
    assert one(".model rm r(r=3 tc1=0.1)\nr1 a 0 rm tc1=0.5 temp=37", "r1").siemens == pytest.approx(1 / 18)
    assert one(".model rm r(r=3)\nr1 a 0 12 rm", "r1").siemens == pytest.approx(1 / 12)
    assert one("r1 a 0 3 tc1=1\n.temp 28", "r1").siemens == pytest.approx(1 / 6)
    assert one("r1 a 0 3 tc1=1\n.options tnom=26", "r1").siemens == pytest.approx(1 / 6)
    assert one("c1 a 0 1p ic=2 m=3", "c1").farads == pytest.approx(3e-12, abs=0)
    assert isinstance(one("c1 a 0 1p", "c1"), Capacitor)
    assert one("c1 a 0 1p ic={1+1}", "c1").initial == 2.0
    coils = deck("l1 a 0 1u ic=1\nl2 b 0 4u m=2\nk1 l1 l2 0.5").netlist.elements
    assert isinstance(coils["l1"], Inductor)
    assert (coils["l1"].henries, coils["l1"].initial, coils["l2"].henries) == (1e-6, 1.0, 2e-6)
    coupling = coils["k1"]
    assert isinstance(coupling, Coupling)
    assert (coupling.first, coupling.second, coupling.k) == ("l1", "l2", 0.5)


def test_zero_ohm_is_noted():
    file = deck("r1 a 0 0")
    assert file.netlist.elements["r1"].siemens == 1000
    assert "deck:2" in file.notes[0]


def test_independent_sources():
    source = one("v1 (a b) 5 ac 1 90 sin(0 2 1k 1u 3 45)", "v1")
    assert (source.a, source.b, source.ac, source.ac_degrees, source.dc) == ("a", "b", 1.0, 90.0, 5.0)
    assert source.value == Sin(0, 2, 1e3, 1e-6, 3, 45)
    assert one("v1 a 0", "v1").value == 0
    assert one("v1 a 0 dc=6, ac=2", "v1").ac == 2
    assert one("v1 a 0 ac", "v1").ac == 1
    assert one("i1 a 0 {1+2} m=2", "i1").value == 6
    assert one("v1 a 0 dc 1 pwl 0 0, 1 2 ac 3", "v1").value == PWL((0, 1), (0, 2))
    assert one("v1 a 0 exp(0 1 1n 2n 3n 4n)", "v1").value == Exp(0, 1, 1e-9, 2e-9, 3e-9, 4e-9)
    assert one("v1 a 0 pulse(0 1 0 1n 1n 2n 5n)", "v1").value == Pulse(0, 1, 0, 1e-9, 1e-9, 2e-9, 5e-9)


def test_defaults_of_waveforms_depend_on_the_transient():
    tran = ".tran 1n 1u"
    assert one(f"v1 a 0 pulse(0 1)\n{tran}", "v1").value == Pulse(0, 1, 0, 1e-9, 1e-9, 1e-6, 1e-9 + 1e-6 + 1e-9)
    assert one(f"v1 a 0 pulse(0 1 0 0 0 1n 10n)\n{tran}", "v1").value == Pulse(0, 1, 0, 1e-9, 1e-9, 1e-9, 1e-8)
    assert one(f"v1 a 0 sin(0 1)\n{tran}", "v1").value.frequency == 1e6
    assert one(f"v1 a 0 exp(0 1)\n{tran}", "v1").value == Exp(0, 1, 1e-9, 1e-9, 2e-9, 1e-9)
    file = deck("v1 a 0 pulse(3 1)")
    assert file.netlist.elements["v1"].value == DC(3)
    assert "PULSE" in file.notes[0]


def test_controlled_sources_and_the_order_of_their_nodes():
    netlist = deck(
        "v1 c d 1\ne1 a b c d 2\ng1 a b c d 3 m=2\nf1 a b v1 4\nh1 x y v1 5\nr1 a 0 1\nr2 c 0 1\nr3 x y 1"
    ).netlist.elements
    e, g, f, h = (netlist[name] for name in ("e1", "g1", "f1", "h1"))
    assert isinstance(e, VCVS)
    assert (e.a, e.b, e.c, e.d, e.gain) == ("a", "b", "c", "d", 2)
    assert isinstance(g, VCCS)
    assert (g.a, g.b, g.c, g.d, g.siemens) == ("a", "b", "c", "d", 6)
    assert isinstance(f, CCCS)
    assert (f.a, f.b, f.control, f.gain) == ("a", "b", "v1", 4)
    assert isinstance(h, CCVS)
    assert (h.a, h.b, h.control, h.ohms) == ("x", "y", "v1", 5)


def behavior(line: str, before: str = "", **voltages: float) -> float:
    """Value of a behavioral source at node voltages `n1`, ... and the current `i1` of v1."""
    given = {name.replace("n", ""): v for name, v in voltages.items() if name != "i1"}
    nodes = "".join(f"rn{node} {node} 0 1\n" for node in ("1", "2"))
    source = one(f"{before}\n{nodes}v1 1 0 0\nv2 2 0 0\n{line}", line.split()[0].lower())
    assert isinstance(source, BSource)
    read = {**given, "i(v1)": voltages.get("i1", 0.0), "i(v2)": 7.0}
    return float(source.expression.evaluate({n: read[n] for n in source.expression.nodes}, 0.25))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("e1 a 0 poly(2) 1 0 2 0 10 1 1 1 1 1", 34), ("e1 a 0 poly(1) (1,0) 0 2 3", 16), ("e1 a 0 poly(1) 1 0 7", 7),
        ("e1 a 0 poly(2) (1,0) (2,0) 0 0 0 0 1", 6), ("e1 a 0 poly(2) 1 0 1 0 1 2 3 4 5 6 7 8 9 10", 343),
        ("e1 a 0 value={v(1)*v(2)+5}", 11), ("e1 a 0 value = 'v(1)'", 2), ("g1 a 0 cur='v(1)*3'", 6),
        ("e1 a 0 vol='v(1)*g'", 6), ("e1 a 0 table {v(1)} = (0,0) (1,10) (4,40)", 20),
        ("e1 a 0 table {v(1)} (0,0) (1,10)", 10), ("g1 a 0 table {-v(1)} = 0,3 1,10", 3),
        ("f1 a 0 poly(1) v1 1 2", 9), ("h1 a 0 poly(2) v1 v2 1 2 3", 30),
        ("b1 a 0 v=g*v(1)", 6), ("b1 a 0 v={g}*v(1)", 6), ("b1 a 0 v={g*v(1)}", 6), ("b1 a 0 v=ff(v(1),2)", 7),
        ("b1 a 0 v='v(1)*g'", 6), ("b1 a 0 v=i(v1)", 4), ("b1 a 0 v = v(1) * 2 + v(1)", 6),
        ("b1 a 0 v={-2^2+pow(-2,3)}", 4), ("b1 a 0 v={2^-3^2}", 2**-9), ("b1 a 0 v=10mil", 254e-6),
        ("b1 a 0 v=pwl(v(1),0,0,1,10)", 20), ("b1 a 0 v=pwl(-v(1),0,0,1,10)", -20),
        ("b1 a 0 v=pwl(v(1), 0,0, 1,10, 1.5,40)", 70), ("b1 a 0 v=nint(2.5)", 2), 
        ("b1 a 0 v=ternary_fcn(v(1)>1,2,3)", 2), ("b1 a 0 i=v(1) m=3", 6), ("b1 a 0 v=vv(1,2)", -1),
        ("b1 a 0 v=time", 0.25),
        ("b1 a 0 v=e+pi", math.e + math.pi), ("b1 a 0 v=ff(ff(v(1),1),g)", 5 * 3 + 3), ("b1 a 0 v=v(1,2)", -1),
        ("B1 a 0 V=V(1,GND)", 2),
    ],
)  # fmt: skip
def test_behavioral_sources_as_ngspice_evaluates_them(line, expected):
    before = ".param g=3\n.func ff(x,y) {x*y+g}\n.func vv(p,q) {v(p,q)}"
    assert behavior(line, before, n1=2.0, n2=3.0, i1=4.0) == pytest.approx(expected, rel=1e-14, abs=0)


def test_devices():
    netlist = deck(
        ".model dm d(is=1e-15 rs=2)\n.model qn npn bf=50\n.model mp pmos level=1 vto=-0.5\n.model sw sw(vt=1 ron=2)\n"
        "d1 a b dm 3 m=2 temp=37\nd2 a b dm area=4\nq1 c b e qn\nq2 c b e s qn 2\nm1 d g s 0 mp w=2u l=1u ad=1p\n"
        "s1 a 0 c e sw\n.options gmin=1e-13"
    ).netlist.elements
    d = netlist["d1"]
    assert isinstance(d, Diode)
    assert (d.a, d.b, d.area, d.m, d.kelvin, d.gmin) == ("a", "b", 3.0, 2.0, 310.15, 1e-13)
    assert (d.model.is_, d.model.rs) == (1e-15, 2.0)
    assert netlist["d2"].area == 4
    q = netlist["q2"]
    assert isinstance(q, BJT)
    assert (q.collector, q.base, q.emitter, q.substrate, q.area, q.model.bf) == ("c", "b", "e", "s", 2.0, 50.0)
    assert netlist["q1"].substrate == "0"
    m = netlist["m1"]
    assert isinstance(m, MOSFET)
    assert (m.drain, m.gate, m.source, m.bulk, m.width, m.length, m.ad) == ("d", "g", "s", "0", 2e-6, 1e-6, 1e-12)
    assert (m.model.kind, m.model.vto) == ("pmos", -0.5)
    s = netlist["s1"]
    assert isinstance(s, Switch)
    assert (s.a, s.b, s.c, s.d, s.model.threshold, s.model.on) == ("a", "0", "c", "e", 1.0, 2.0)


# hierarchy

AMPLIFIER = """
.subckt amp i o params: g=2 h={g*2}
g1 o 0 i 0 {g}
r1 o n {h}
r2 n 0 1
.ends amp
"""


def test_one_subcircuit_for_each_set_of_parameters():
    netlist = deck(
        f"{AMPLIFIER}x1 a b amp\nx2 a b amp g=5\nx3 b a amp params: g=5 h={{1+1}}\nx4 a b amp g = 5\n"
    ).netlist
    made = {name: netlist.elements[name].subcircuit for name in ("x1", "x2", "x3", "x4")}
    assert [made[name].name for name in made] == ["amp", "amp__1", "amp__2", "amp__1"]
    assert made["x2"] is made["x4"]
    assert netlist.elements["x3"].nodes == ("b", "a")
    flat = flatten(netlist)
    assert flat.elements["x2.g1"].siemens == 5
    assert flat.elements["x2.r1"].siemens == 0.1
    assert flat.elements["x1.r1"].b == "x1.n"
    assert isinstance(netlist.elements["x1"], Instance)


def test_names_are_looked_up_where_a_subcircuit_is_used():
    flat = flatten(
        deck(
            ".param loc=1000\n.subckt inner p\nr1 p 0 {g+loc}\n.ends\n.subckt outer p loc=5\n.param g=100\nx1 p inner\n"
            ".ends\nxo a outer loc=7\nxp a outer"
        ).netlist
    )
    assert flat.elements["xo.x1.r1"].siemens == pytest.approx(1 / 107)
    assert flat.elements["xp.x1.r1"].siemens == pytest.approx(1 / 105)


def test_overrides_see_the_caller_and_defaults_the_subcircuit():
    flat = flatten(
        deck(
            ".param w=50\n.subckt s p w=1 l={w*2} params: z=3\nr1 p 0 {l+z}\n.ends\nxo a s w={w+1} z=4\nxb a s"
        ).netlist
    )
    assert flat.elements["xo.r1"].siemens == pytest.approx(1 / 106)
    assert flat.elements["xb.r1"].siemens == pytest.approx(1 / 5)


def test_definitions_and_models_are_visible_inside_their_block():
    flat = flatten(
        deck(
            ".model rm r(r=5)\n.subckt u a\nr1 a 0 1\n.ends\n"
            ".subckt s a p=7\n.model rm r(r={p})\n.subckt u b\nr1 b 0 rm\n.ends\nx1 a u\nr2 a 0 rm\n.ends\n"
            "x1 a s\nx2 a u\nx3 a s p=9\nr3 a 0 rm"
        ).netlist
    )
    ohms = {name: 1 / element.siemens for name, element in flat.elements.items()}
    assert ohms == pytest.approx({"x1.x1.r1": 7, "x1.r2": 7, "x2.r1": 1, "x3.x1.r1": 9, "x3.r2": 9, "r3": 5})


def test_global_nodes_pass_through_all_levels():
    flat = flatten(
        deck(".global vdd\nv1 vdd 0 1\n.subckt s a\nr1 a vdd 1\n.ends\n.subckt t b\nx1 b s\n.ends\nx1 c t").netlist
    )
    assert (flat.elements["x1.x1.r1"].a, flat.elements["x1.x1.r1"].b) == ("c", "vdd")


def test_a_port_hides_a_global_node():
    flat = flatten(deck(".global vdd\nv1 vdd 0 1\n.subckt s vdd\nr1 vdd 0 1\n.ends\nx1 b s").netlist)
    assert flat.elements["x1.r1"].a == "b"


def test_multiplier_of_an_instance():
    flat = flatten(
        deck(
            ".subckt u a\nr1 a 0 1\nc1 a 0 1\nl1 a 0 6\ni1 a 0 1\n.ends\n.subckt s a\nx1 a u\n.ends\nx1 b s m=6"
        ).netlist
    )
    assert flat.elements["x1.x1.r1"].siemens == 6
    assert flat.elements["x1.x1.c1"].farads == 6
    assert flat.elements["x1.x1.l1"].henries == 1
    assert flat.elements["x1.x1.i1"].value == 6
    fails(".subckt s a\nr1 a 0 1 m=2\n.ends\nx1 a s m=2", "takes the product", 3)
    plain = flatten(deck(".subckt s a m=5\nr1 a 0 {m}\n.ends\nx1 b s m=4").netlist)
    assert plain.elements["x1.r1"].siemens == 0.25  # a parameter of that name is a parameter
    fails(".subckt s a\nb1 a 0 i=1\n.ends\nx1 a s m=2", "copies", 3)


# files


def test_includes_and_sections_of_libraries(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Inner.inc").write_text("r1 a 0 {x}\n.end\nnonsense")
    (tmp_path / "sub" / "outer.inc").write_text(".include 'Inner.inc'\n")
    (tmp_path / "models.lib").write_text(
        "* corners\n.lib tt\n.param x=1\n.endl tt\n.lib FF\n.param x=2\n.endl\nrubbish\n"
    )
    (tmp_path / "deck.cir").write_text('t\n.lib models.lib ff\n.include "sub/outer.inc"\nr2 a 0 1\n.end\n')
    file = read(tmp_path / "deck.cir")
    assert file.netlist.elements["r1"].siemens == 0.5
    assert list(file.netlist.elements) == ["r1", "r2"]
    assert file.path == str(tmp_path / "deck.cir")
    text = (tmp_path / "deck.cir").read_text()
    assert list(read(text, tmp_path).netlist.elements) == ["r1", "r2"]


def test_files_outside_the_folder_and_links_are_refused(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret").write_text("r1 a 0 1")
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "bad.inc").write_text("r1 a 0\n")
    os.mkfifo(inside / "pipe")
    for name, message in [
        ("../secret", "outside the folder"), (str(tmp_path / "secret"), "outside"), ("/etc/passwd", "outside"),
        ("link", "symbolic link"), ("folder/secret", "symbolic link"), ("pipe", "plain file"), ("missing", "cannot be"),
        (".", "cannot be read|plain"), ("x" * 5000, "cannot be read"), ("a\0b", "not a file name|cannot"),
    ]:  # fmt: skip
        fails(f".include '{name}'", message, 2, inside)
    with pytest.raises(NetlistError, match=r"bad\.inc:1: a value is missing"):
        deck(".include bad.inc", inside)
    with pytest.raises(NetlistError, match="cannot be read"):
        read(tmp_path / "nothing.cir")
    with pytest.raises(NetlistError):
        read("\0")


def test_files_that_include_each_other(tmp_path):
    (tmp_path / "a").write_text(".include b\n")
    (tmp_path / "b").write_text(".include a\n")
    (tmp_path / "twice").write_text("* nothing\n")
    with pytest.raises(NetlistError, match="include each other"):
        deck(".include a", tmp_path)
    deck(".include twice\n.include twice", tmp_path)
    fails(".lib twice tt", "no section 'tt'", None, tmp_path)


# limits

DOUBLING = "\n".join([*(f".func f{k}(x) {{f{k + 1}(x)+f{k + 1}(x)}}" for k in range(29)), ".func f29(x) {x}"])
VARIANTS = "\n".join(
    [
        *(f".subckt s{k} a p=1\nx1 a s{k + 1} p={{2*p}}\nx2 a s{k + 1} p={{2*p+1}}\n.ends" for k in range(25)),
        ".subckt s25 a p=1\nr1 a 0 {p}\n.ends\nx1 a s0",
    ]
)


@pytest.mark.parametrize(
    "body",
    [
        "r1 a 0 {" + "(" * 20_000 + "1", "r1 a 0 {" + "(" * 20_000 + "1" + ")" * 20_000 + "}",
        "r1 a 0 " + "1" * 100_000,
        "r1 a 0 {" + "-" * 90_000 + "1}", "r1 " + "a" * 100_000 + " 0 1", "b1 a 0 v=" + "(" * 90_000,
        "b1 a 0 v=" + "sin(" * 20_000, ".param " + "a" * 90_000, ".param " + "a(" * 45_000, ".param " + "a=" * 45_000,
        "r1 a 0 " + "{" * 90_000, "r1 a 0 " + "{}" * 45_000, "v1 a 0 pwl(" + "1 " * 90_000, "+ " * 100_000,
        ".func f(x) {f(x)*f(x)}\nr1 a 0 {f(1)}", ".ic v(" + "x1." * 30_000 + "a)=1\nr1 a 0 1",
        pytest.param(f"{DOUBLING}\nr1 a 0 {{f0(1)}}", marks=pytest.mark.slow),
        f"{DOUBLING}\nb1 a 0 v=f0(1)",
        "\n".join(f".subckt s{k} a\nx1 a s{k + 1}\nx2 a s{k + 1}\n.ends" for k in range(25))
        + "\n.subckt s25 a\nr1 a 0 1\n.ends\nx1 a s0",
        "\n".join(f".subckt s{k} a" for k in range(100)), "e1 a 0 poly(20) " + "b 0 " * 20 + "1 " * 2000,
        pytest.param(VARIANTS, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_hostile_decks_end_soon(body):
    start = time.process_time()
    with pytest.raises(NetlistError) as caught:
        deck(body)
    assert time.process_time() - start < 20
    assert len(str(caught.value)) < 500


def test_sizes_are_limited(monkeypatch, tmp_path):
    monkeypatch.setattr(lines, "MAX_LINES", 100)
    fails("* x\n" * 200, "over 100 lines")
    monkeypatch.setattr(lines, "MAX_BYTES", 3000)
    (tmp_path / "big").write_text("*" + "x" * 2000)
    fails(".include big\n.include big", "over 3000 bytes", None, tmp_path)
    monkeypatch.setattr(hierarchy, "MAX_ELEMENTS", 10)
    fails("\n".join(f"r{k} a 0 1" for k in range(20)), "over 10 elements")


def test_many_variants_are_read_in_linear_time():
    body = ".subckt s a p=1\nr1 a 0 {p}\n.ends\n" + "\n".join(f"x{k} a s p={k + 1}" for k in range(3000))
    start = time.process_time()
    assert len(deck(body).netlist.elements) == 3000
    assert time.process_time() - start < 20


def test_waveforms_in_parallel():
    """m multiplies values, and neither times nor frequencies."""
    for wave, expected in (
        ("pulse(1 2 3 4 5 6 20)", Pulse(3, 6, 3, 4, 5, 6, 20)),
        ("sin(1 2 3 4 5 6)", Sin(3, 6, 3, 4, 5, 6)),
        ("exp(1 2 3 4 5 6)", Exp(3, 6, 3, 4, 5, 6)),
        ("pwl(1 2 3 4)", PWL((1, 3), (6, 12))),
    ):
        source = one(f"i1 a 0 dc 1 ac 2 30 {wave} m=3", "i1")
        assert (source.value, source.dc, source.ac, source.ac_degrees) == (expected, 3.0, 6.0, 30.0)


def test_an_argument_hides_a_parameter_of_its_name():
    before = ".param x=100 y=200 g=3\n.func inner(y) {x*y}\n.func f(x, z) {x*z+g+inner(z)}"
    assert value("f(2, 7)", before) == 2 * 7 + 3 + 100 * 7


def test_what_has_no_effect_is_noted():
    first = "r1 a 0 1k\nv1 b 0 1\nr2 b 0 1k\n.op\n.meas tran top max v(b)\n.end\n"
    notes = read(first).notes
    assert any(".meas top needs a .tran line" in note for note in notes)
    assert any("the first line is the title" in note and "r1 a 0 1k" in note for note in notes)
    assert not read("rc ladder of 3 sections\nv1 b 0 1\nr2 b 0 1k\n.op\n.end\n").notes


def test_messages_say_what_is_there():
    for text, message in (
        ("d1 a 0 dx\n.model dy d", "unknown model 'dx'; defined are dy; is its .include"),
        ("x1 a 0 sub\n.subckt other p q\nr1 p q 1\n.ends", "unknown subcircuit 'sub'; defined are other"),
        ("d1 a 0 dx\n.model dx d(iss=1)", r"unknown parameter 'iss'; known are .*\bis\b(?!_)"),
        ("r1 a 0 1\n.print tran v(b)", r"deck:\d+: node 'b' is not in the circuit"),
        ("r1 a 0 1\n.subckt s p\nr1 p 0 1\n.op", "inside the subcircuit 's' of line 3: move it out, or end"),
    ):
        with pytest.raises(NetlistError, match=message):
            read(f"title\n{text}\n.end\n")
