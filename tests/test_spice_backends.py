"""SPICE files in ngspice and through PySpice: closed forms, names, units, and the two backends against each other."""

import os

import numpy as np
import pytest
import xarray as xr
from spice_files import ALL, File, buses, lines, netlist

from analogep.errors import AnalogepError, ConvergenceError, MissingToolError, NetlistError
from analogep.netlist.analyses import AC, DCSweep, Noise, OperatingPoint, Transient
from analogep.netlist.elements import BSource, Capacitor, Resistor, VSource
from analogep.netlist.graph import Netlist
from analogep.netlist.spice.plots import to_plots
from analogep.netlist.spice.raw import read_raw, write_raw
from analogep.simulate import pyspice
from analogep.simulate.spice import run_file

pytestmark = pytest.mark.spice
REQUIRED = os.environ.get("ANALOGEP_REQUIRE_SPICE", "") not in ("", "0")
BACKENDS = ["ngspice", "pyspice"]
OHMS, FARADS, BOLTZMANN = 1e4, 1e-9, 1.380649e-23


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each backend; PySpice is left out with its reason, or an error where SPICE is required."""
    if request.param == "pyspice":
        require_pyspice()
    return request.param


def require_pyspice():
    try:
        pyspice.version()
    except MissingToolError as error:
        if REQUIRED:
            pytest.fail(f"ANALOGEP_REQUIRE_SPICE is set, but {error}")
        pytest.skip(f"PYSPICE TESTS LEFT OUT: {error}")


def low_pass():
    """1 V and 1 V AC behind 10 kOhm into 1 nF: tau = 10 us."""
    return Netlist(buses("in", "out"), title="low pass; not an error").add(
        VSource("v1", "in", 1.0, ac=1.0, ac_degrees=90.0), Resistor("r1", "in", "out", 1 / OHMS),
        Capacitor("c1", "out", "0", FARADS),
    )  # fmt: skip


def test_closed_forms_of_a_low_pass(backend):
    analyses = (
        OperatingPoint(), DCSweep("v1", -1.0, 1.0, 0.5), AC("dec", 5, 1e2, 1e6), Transient(1e-7, 3e-5, 0.0, 1e-8, True),
        Noise("out", "0", "v1", "dec", 3, 1e2, 1e6, 1), AC("lin", 3, 1.0, 3.0),
    )  # fmt: skip
    op, dc, ac, tran, noise, second = run_file(File(low_pass(), analyses, {"reltol": 1e-6}), backend)
    kinds = [data.attrs["analysis"] for data in (op, dc, ac, tran, noise, second)]
    assert kinds == ["op", "dc", "ac", "tran", "noise", "ac"]
    assert float(op["v(out)"]) == pytest.approx(1.0)
    np.testing.assert_allclose(dc["v(out)"], [-1, -0.5, 0, 0.5, 1], atol=1e-9)
    np.testing.assert_allclose(dc["v1"], [-1, -0.5, 0, 0.5, 1], atol=1e-12)
    s = 2j * np.pi * ac["frequency"] * OHMS * FARADS
    np.testing.assert_allclose(ac["v(out)"], 1j / (1 + s), rtol=1e-9)
    np.testing.assert_allclose(ac["i(v1)"], -1j / OHMS * s / (1 + s), rtol=1e-6, atol=1e-14)
    np.testing.assert_allclose(tran["v(out)"], 1 - np.exp(-tran["time"] / (OHMS * FARADS)), atol=3e-4)
    density = np.sqrt(4 * BOLTZMANN * 300.15 * OHMS)
    gain = 1 / np.abs(1 + 2j * np.pi * noise["frequency"] * OHMS * FARADS)
    np.testing.assert_allclose(noise["onoise_spectrum"], density * gain, rtol=1e-4)
    np.testing.assert_allclose(noise["inoise_spectrum"], density, rtol=1e-4)
    np.testing.assert_allclose(noise["onoise_r1"], noise["onoise_spectrum"], rtol=1e-12)
    np.testing.assert_allclose(second["frequency"], [1, 2, 3])


def test_units_and_coordinates(backend):
    op, dc, grid, ac, tran, noise = run_file(File(netlist(), lines(*ALL), {"reltol": 1e-6}), backend)
    assert (op["v(out)"].units, op["i(v1)"].units, op["v(out)"].dims) == ("V", "A", ())
    assert dc["v(out)"].dims == ("v1",)
    assert grid["v(coil)"].dims == ("i1", "v1")
    assert (grid["i1"].units, grid["v1"].units) == ("A", "V")
    np.testing.assert_allclose(grid["i(l1)"], -grid["i1"] + grid["v1"] / 100, atol=1e-9)
    assert (ac["frequency"].units, tran["time"].units) == ("Hz", "s")
    assert np.iscomplexobj(ac["v(out)"])
    assert noise["onoise_spectrum"].units == "V/sqrt(Hz)"
    assert noise["onoise_total"].units == "V"
    assert "onoise_xa.x1.r2_thermal" in noise


def test_nodes_and_currents_inside_instances(backend):
    """Every name that ngspice gives is one of ours: `xa.x1.m`, and the current of the source inside."""
    (op,) = run_file(File(netlist(), lines(".op")), backend)
    nodes = {"in", "out", "amp", "law", "coil", "xa.k", "xa.x1.m"}
    currents = {"v1", "l1", "e1", "b1", "xa.sense"}
    assert set(op) == {f"v({name})" for name in nodes} | {f"i({name})" for name in currents}
    assert float(op["v(xa.x1.m)"]) == pytest.approx(1 / 3)
    assert float(op["i(xa.sense)"]) == pytest.approx(1 / 3000)
    assert float(op["v(law)"]) == pytest.approx(1.0)


def test_initial_conditions_and_temperature(backend):
    start = File(netlist(), lines(".tran 1e-8 1e-7 0 1e-9 uic"), initial={"xa.x1.m": 0.2})
    (tran,) = run_file(start, backend)
    assert float(tran["v(xa.x1.m)"][0]) == pytest.approx(0.2, abs=1e-3)
    warm, cold = (
        run_file(File(low_pass(), lines(".noise v(out) v1 lin 1 1 1"), celsius=celsius), backend)[0]
        for celsius in (126.85, 26.85)
    )
    assert float((warm["onoise_spectrum"] / cold["onoise_spectrum"])[0]) == pytest.approx(np.sqrt(4 / 3), rel=1e-6)


def test_the_backends_agree():
    """One engine behind two interfaces: the same numbers, to the last digit but for the format of the file."""
    require_pyspice()
    file = File(netlist(), lines(*ALL), {"reltol": 1e-6})
    for one, other in zip(*(run_file(file, backend) for backend in BACKENDS), strict=True):
        xr.testing.assert_allclose(one, other, rtol=1e-13, atol=0)
        assert list(one.attrs) == list(other.attrs)


@pytest.mark.parametrize(
    ("circuit", "analysis"),
    [
        (Netlist(buses("n", "m")).add(Resistor("r1", "n", "m", 1.0)), ".op"),
        (Netlist(buses("n")).add(BSource("b1", "n", "0", voltage="sqrt(5n-time)")), ".tran 1n 10n"),
    ],
)
def test_failures_are_convergence_errors(backend, circuit, analysis):
    with pytest.raises(ConvergenceError) as caught:
        run_file(File(circuit, lines(analysis)), backend)
    assert "\n" not in str(caught.value)


def test_results_go_through_raw_files(tmp_path, backend):
    found = run_file(File(netlist(), lines(*ALL), {"reltol": 1e-6}), backend)
    write_raw(tmp_path / "all.raw", to_plots(found))
    plots = read_raw(tmp_path / "all.raw")
    assert [plot.name for plot in plots][-2:] == ["Noise Spectral Density Curves", "Integrated Noise"]
    np.testing.assert_array_equal(plots[3].data["v(out)"], found[3]["v(out)"])
    assert dict(plots[0].variables)["i(xa.sense)"] == "current"


def test_what_cannot_be_asked():
    with pytest.raises(NetlistError, match="ngspice, pyspice"):
        run_file(File(low_pass(), lines(".op")), "hspice")
    with pytest.raises(NetlistError, match="no analysis"):
        run_file(File(low_pass(), ()))
    assert issubclass(NetlistError, AnalogepError)
