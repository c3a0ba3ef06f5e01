"""Dot commands of decks: analyses, options, initial conditions, measures read and evaluated."""

import math

import numpy as np
import pytest
import xarray as xr

from analogep.errors import NetlistError
from analogep.netlist.analyses import AC, DCSweep, Noise, OperatingPoint, Transient
from analogep.netlist.spice import measure
from analogep.netlist.spice.measure import LAST, Crossing, Measure
from analogep.netlist.spice.read import read
from analogep.netlist.waveforms import Exp, Sin

CIRCUIT = "v1 a 0 1\ni1 a 0 1\nr1 a b 1\nr2 b 0 1\n.subckt s p\nr1 p n 1\nr2 n 0 1\n.ends\nx1 a s\n.param two=2\n"


def deck(commands: str):
    return read(f"title\n{CIRCUIT}{commands}\n.end\n")


@pytest.mark.parametrize(
    ("line", "analysis"),
    [
        (".op", OperatingPoint()),
        (".dc v1 0 {two} 0.1", DCSweep("v1", 0, 2, 0.1)),
        (".dc v1 0 1 0.1 i1 1m 2m 1m", DCSweep("v1", 0, 1, 0.1, "i1", 1e-3, 2e-3, 1e-3)),
        (".dc v1 1 0 -0.1", DCSweep("v1", 1, 0, -0.1)),
        (".AC dec 10 1 1meg", AC("dec", 10, 1, 1e6)),
        (".ac lin 1 1k 1k", AC("lin", 1, 1e3, 1e3)),
        (".tran 1n 1u", Transient(1e-9, 1e-6)),
        (".tran 1n 1u uic", Transient(1e-9, 1e-6, uic=True)),
        (".tran 1n 1u 0.5u 2n uic", Transient(1e-9, 1e-6, 5e-7, 2e-9, True)),
        (".noise v(b) v1 oct 3 1 100", Noise("b", "0", "v1", "oct", 3, 1, 100)),
        (".noise v(a, b) i1 lin 3 1 100 1", Noise("a", "b", "i1", "lin", 3, 1, 100, 1)),
    ],
)
def test_analyses_and_their_text(line, analysis):
    assert deck(line).analyses == (analysis,)
    assert deck(analysis.spice()).analyses == (analysis,)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (".dc", "write .dc"), (".dc r1 0 1 1", "'r1' is none"), (".dc v9 0 1 1", "'v9' is not an independent"),
        (".dc v1 0 1 0", "does not lead"), (".dc v1 0 1 -1", "does not lead"), (".dc v1 0 1 1 v1 0 1 1", "twice"),
        (".dc v1 0 1 1e-12", "more than"), (".dc temp 0 1 1", "'temp' is none"), (".ac foo 1 1 1", "spacing 'foo'"),
        (".ac dec 0 1 2", "0 points"), (".ac dec 1.5 1 2", "whole"), (".ac dec 1 0 2", "positive"),
        (".ac dec 1 2 1", "below"), (".tran 0 1", "positive"), (".tran 1 1 2", "between"), (".tran 1 2 0 -1",
        "positive"),
        (".tran 1 1 0 1 1", "uic"), (".tran 1 1 uic 5", "not understood"), (".noise b v1 dec 1 1 2", "write .noise"),
        (".noise v(z) v1 dec 1 1 2", "'z' is not in the circuit"), (".options foo=1", "unknown option 'foo'"),
        (".options reltol", "reltol=value"), (".temp 1\n.temp 2", "second temperature"), (".ic a=1", "write v"),
        (".ic v(zz)=1", "'zz' is not in the circuit"),
        (".ic v(a)=1\n.ic v(a)=2", "1 V in an earlier line and 2 V here"),
        (".ic v(x1.p)=1", "not in the circuit"), (".ic v(x1.)=1",
        "not in"),
        (".meas foo x max v(a)", "not an analysis"), (".meas tran x foo v(a)", "cannot measure"),
        (".meas tran x max q(a)", "not a signal"), (".meas tran x when v(a)", "level"), (".meas tran x trig v(a)=1",
        "targ"),
        (".meas tran x max v(a)\n.meas tran x min v(a)", "already"), (".meas tran x when v(a)=1 rise=0", "count"),
        (".meas tran x max v(a) at=1", "'at' is not"), (".print foo v(a)", "not an analysis"), (".print tran v(a",
        "lacks"),
        (".save @r1[i]", "not a signal"), (".op now", "not understood"), (".four 1 v(a)", "not supported"),
    ],
)  # fmt: skip
def test_errors(line, message):
    with pytest.raises(NetlistError, match=message) as caught:
        deck(line)
    assert str(caught.value).startswith(("deck:12: ", "deck:13: "))


def test_settings():
    file = deck(
        ".options reltol=1e-4 noacct, gmin=1e-13\n.option method=gear\n.temp 50\n.ic v(a)={two} v(x1.n) = 1\n"
        ".nodeset v(b)=3\n.print tran v(a) v(a,b) i(v1)\n.plot ac vdb(b)\n.save all v(x1.n)\n"
        ".print noise onoise_spectrum"
    )
    assert file.options == {"reltol": 1e-4, "noacct": 1.0, "gmin": 1e-13, "method": "gear"}
    assert file.celsius == 50
    assert file.netlist.elements["r1"].kelvin == 323.15
    assert file.initial == {"a": 2.0, "x1.n": 1.0}
    assert file.nodesets == {"b": 3.0}
    assert file.prints == (
        ("tran", ("v(a)", "v(a,b)", "i(v1)")), ("ac", ("vdb(b)",)), ("noise", ("onoise_spectrum",)),
    )  # fmt: skip
    assert file.saves == ("all", "v(x1.n)")
    assert deck(".options temp=40").celsius == 40
    assert deck("").celsius == 27


def test_measures_are_data():
    file = deck(
        ".meas tran a max v(a) from=1 to={two}\n.measure tran b trig v(a) val=0.5 td=1n rise=2 "
        "targ v(b)=v(a) fall=last\n"
        ".meas tran c find v(b) when v(a)=0.3 cross=1\n.meas tran d find i(v1) at=1u\n.meas tran e param='a+d*2'\n"
        ".meas ac f when vdb(b)=-3\n.meas tran g trig at=1 targ at=2"
    )
    assert file.measures == (
        Measure("a", "tran", "statistic", "v(a)", "max", 1, 2),
        Measure(
            "b", "tran", "trig",
            trigger=Crossing("v(a)", 0.5, "rise", 2, 1e-9), target=Crossing("v(b)", "v(a)", "fall", LAST),
        ),
        Measure("c", "tran", "find", "v(b)", when=Crossing("v(a)", 0.3)),
        Measure("d", "tran", "find", "i(v1)", when=Crossing(at=1e-6)),
        Measure("e", "tran", "param", expression="a+d*2"),
        Measure("f", "ac", "when", when=Crossing("vdb(b)", -3.0)),
        Measure("g", "tran", "trig", trigger=Crossing(at=1.0), target=Crossing(at=2.0)),
    )  # fmt: skip


def results() -> dict[str, xr.Dataset]:
    time = np.linspace(0, 2, 20001)
    frequency = np.logspace(0, 3, 301)
    response = 1 / (1 + 1j * frequency / 100)
    return {
        "tran": xr.Dataset(
            {"v(a)": ("time", np.sin(2 * np.pi * time)), "v(b)": ("time", time), "i(v1)": ("time", 2 - time)},
            {"time": time},
        ),
        "ac": xr.Dataset({"v(b)": ("frequency", response)}, {"frequency": frequency}),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tran x max v(a)", 1), ("tran x min v(a)", -1), ("tran x pp v(a)", 2), ("tran x max_at v(a) to=1", 0.25),
        ("tran x min_at v(a) to=1", 0.75), ("tran x avg v(b)", 1), ("tran x avg v(b) from=1 to=2", 1.5),
        ("tran x rms v(a) to=1", math.sqrt(0.5)), ("tran x rms v(b)", math.sqrt(4 / 3)),
        ("tran x integ v(b) to=1", 0.5),
        ("tran x integ v(a) to=0.5", 1 / math.pi), ("tran x max v(b) to=0.50005", 0.50005),
        ("tran x find v(b) at=0.123", 0.123), ("tran x find v(b) when v(a)=0.5", 1 / 12),
        ("tran x find v(b) when v(a)=0.5 rise=2", 1 + 1 / 12), ("tran x when v(a)=0.5 fall=1", 5 / 12),
        ("tran x when v(a)=0.5 cross=last", 1 + 5 / 12), ("tran x when v(a)=0.5 rise=last", 1 + 1 / 12),
        ("tran x when v(b)=i(v1)", None), ("tran x when v(b)=1 td=0.5", 1),
        ("tran x when v(a)=0.5 td=0.5 cross=1", 1 + 1 / 12),
        ("tran x trig v(a) val=0.5 rise=1 targ v(a) val=0.5 fall=1", 1 / 3),
        ("tran x trig at=0.5 targ v(b)=0.75", 0.25),
        ("tran x deriv v(b) at=0.5", 1), ("tran x deriv i(v1) when v(b)=1", -1), ("tran x find v(a,b) at=0.25", 0.75),
        ("ac x when vdb(b)=-3.0102999566", 100), ("ac x find vp(b) at=100", -np.pi / 4),
        ("ac x max vm(b)", 1 / abs(1 + 0.01j)),
        ("ac x find vr(b) at=100", 0.5), ("ac x find vi(b) at=100", -0.5), ("ac x find v(b) at=100", math.sqrt(0.5)),
        ("tran x when v(a)=5", math.nan), ("tran x when v(a)=0.5 rise=9", math.nan),
        ("tran x find v(a) at=9", math.nan),
        ("tran x max v(a) from=1 to=0.5", math.nan), ("tran x param='2^-1+1'", 1.5),
    ],
)  # fmt: skip
def test_values_of_measures_against_closed_forms(text, expected):
    body = f".meas {text.replace('v(b)=i(v1)', 'v(b)=v(a) rise=last td=0.1')}" if expected is None else f".meas {text}"
    found = measure.evaluate(deck(body).measures, results())["x"]
    if expected is None:
        # v(b) crosses v(a) from below near 0.5: sin(2 pi t) = t
        assert abs(math.sin(2 * math.pi * found) - found) < 1e-6
    else:
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-7)


def test_measures_of_measures_and_missing_results():
    file = deck(
        ".meas tran a max v(b)\n.meas tran b param='a*3'\n.meas dc c max v(b)\n.meas tran d param='b+c'\n"
        ".meas tran e max v(z)"
    )
    assert measure.evaluate(file.measures[:3], results()) == {"a": 2.0, "b": 6.0}
    with pytest.raises(NetlistError, match="unknown result 'c'"):
        measure.evaluate(file.measures[:4], results())
    with pytest.raises(NetlistError, match=r"no v\(z\)"):
        measure.evaluate(file.measures[4:], results())


def test_waveforms_sin_and_exp():
    sin, times = Sin(1, 2, 50, 0.01, 3, 30), np.array([0.0, 0.005, 0.01, 0.017])
    since = np.maximum(times - 0.01, 0)
    expected = 1 + 2 * np.sin(2 * np.pi * 50 * since + np.pi / 6) * np.exp(-3 * since)
    np.testing.assert_allclose(sin.at(times), expected, rtol=1e-14)
    assert sin.breakpoints(1) == (0.01,)
    assert sin.spice().startswith("SIN(1 2 50 ")
    exp, times = Exp(1, 3, 0.1, 0.2, 0.5, 0.4), np.array([0.0, 0.3, 0.9])
    np.testing.assert_allclose(
        exp.at(times),
        [1, 1 + 2 * (1 - math.exp(-1)), 1 + 2 * (1 - math.exp(-4)) - 2 * (1 - math.exp(-1))],
        rtol=1e-14,
    )
    assert exp.breakpoints(0.4) == (0.1,)
    for wrong in (
        lambda: Sin(0, 1, 0),
        lambda: Exp(0, 1, 2, 1, 1, 1),
        lambda: Exp(0, 1, 0, 0, 1, 1),
        lambda: Sin(0, math.inf, 1),
    ):
        with pytest.raises(NetlistError):
            wrong()
