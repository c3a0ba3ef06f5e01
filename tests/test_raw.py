"""Raw files: round trips in every form, ngspice's own layout, and truncated or malformed files."""

import numpy as np
import pytest

from analogep.errors import NetlistError
from analogep.netlist.spice.raw import Plot, read_raw, write_raw

RNG = np.random.default_rng(0)
TIME = np.sort(RNG.random(5)) * 1e-9


def real_plot() -> Plot:
    variables = (("time", "time"), ("v(z_1_2)", "voltage"), ("i(v1)", "current"))
    data = {"time": TIME, "v(z_1_2)": RNG.normal(size=5), "i(v1)": RNG.normal(size=5) * 1e-9}
    return Plot("* a title: with colon", "Transient Analysis", ("real",), variables, data)


def complex_plot() -> Plot:
    variables = (("frequency", "frequency"), ("v(2)", "voltage"))
    data = {"frequency": TIME.astype(complex), "v(2)": RNG.normal(size=5) + 1j * RNG.normal(size=5)}
    return Plot("* ac", "AC Analysis", ("complex",), variables, data)


def empty_plot() -> Plot:
    return Plot("* none", "Operating Point", ("real",), (("v(1)", "voltage"),), {"v(1)": np.empty(0)})


@pytest.mark.parametrize("binary", [True, False])
def test_round_trip_of_several_plots(tmp_path, binary):
    plots = [complex_plot(), real_plot(), empty_plot(), real_plot()]
    write_raw(tmp_path / "x.raw", plots, binary=binary)
    read = read_raw(tmp_path / "x.raw")
    assert len(read) == len(plots)
    for before, after in zip(plots, read, strict=True):
        for name in ("title", "name", "flags", "variables", "points"):
            assert getattr(after, name) == getattr(before, name)
        for name, values in before.data.items():
            assert after.data[name].dtype == values.dtype
            np.testing.assert_array_equal(after.data[name], values)


def test_layout_of_ngspice_ascii(tmp_path):
    text = (
        "Title: * t\nDate: Sat Nov 21 21:20:07  2026\nPlotname: AC Analysis\nFlags: complex\nNo. Variables: 2\n"
        "No. Points: 2       \nVariables:\n\t0\tfrequency\tfrequency\tgrid=3\n\t1\tv(a)\tvoltage\nValues:\n"
        "0\t\t1.0e+00,0.0\n\t9.1e-01,-2.0\n\n1\t\t2.0e+00,0.0\n\t1.0,3.0\n\n"
    )
    (tmp_path / "x.raw").write_text(text)
    (plot,) = read_raw(tmp_path / "x.raw")
    assert plot.variables == (("frequency", "frequency"), ("v(a)", "voltage"))
    np.testing.assert_array_equal(plot.data["v(a)"], [0.91 - 2j, 1 + 3j])


@pytest.mark.parametrize("binary", [True, False])
def test_every_truncation_is_noticed(tmp_path, binary):
    path = tmp_path / "x.raw"
    write_raw(path, [real_plot()], binary=binary)
    whole = path.read_bytes()
    # The last line of an ASCII file may lose its end; cut inside the last number at the latest.
    for length in range(len(whole) - (1 if binary else 25)):
        path.write_bytes(whole[:length])
        with pytest.raises(NetlistError, match="raw file"):
            read_raw(path)


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ("No. Points: 5", "No. Points: 6", "truncated: 144 bytes announced, 120 present"),
        ("No. Points: 5", "No. Points: -5", "not a count"),
        ("No. Points: 5", "No. Points: 99999999999999", "truncated"),
        ("No. Points: 5\n", "", "no 'No. Points:'"),
        ("No. Points: 5", "No. Points: 4", "expected a header line"),
        ("Flags: real", "Flags: odd", "neither real nor complex"),
        ("Flags: real", "Flags: real unpadded", "unequal length"),
        ("Plotname: Transient Analysis\n", "", "no 'Plotname:'"),
        ("Title:", "Tittle:", "expected a header line"),
        ("Binary:", "Bin:", "expected 'Binary:' or 'Values:'"),
        ("\t1\tv(z_1_2)\tvoltage", "\t7\tv(z_1_2)\tvoltage", "variable 1 is not listed"),
        ("\t1\tv(z_1_2)\tvoltage", "\t1\ttime\tvoltage", "listed twice: time"),
    ],
)
def test_malformed_files_name_what_is_wrong(tmp_path, before, after, missing):
    path = tmp_path / "x.raw"
    write_raw(path, [real_plot()])
    whole = path.read_bytes()
    assert before.encode() in whole
    path.write_bytes(whole.replace(before.encode(), after.encode()))
    with pytest.raises(NetlistError) as caught:
        read_raw(path)
    assert missing in str(caught.value)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(NetlistError, match="cannot be read"):
        read_raw(tmp_path / "none.raw")
    (tmp_path / "x.raw").write_bytes(b"\n")
    with pytest.raises(NetlistError, match="holds no plot"):
        read_raw(tmp_path / "x.raw")
