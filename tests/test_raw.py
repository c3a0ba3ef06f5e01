"""Raw files: round trips in every form, ngspice's own layout, and truncated or malformed files."""

import contextlib
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analogep.errors import DataError, NetlistError
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


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "x.raw"
    write_raw(path, [real_plot()])
    before = path.read_bytes()
    broken = Plot("* t", "n", ("real",), (("v(1)", "voltage"), ("v(2)", "voltage")), {"v(1)": TIME, "v(2)": TIME[1:]})
    with pytest.raises(NetlistError, match="one length"):
        write_raw(path, [real_plot(), broken])
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["x.raw"]
    with pytest.raises(DataError, match="cannot write"):
        write_raw(tmp_path / "none" / "x.raw", [real_plot()])


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (Plot("* t\nFlags: x", "n", ("real",), (("v", "voltage"),), {"v": TIME}), "cannot stand on a line"),
        (Plot("* t", "n", ("real",), (), {}), "no variable"),
        (Plot("* t", "n", ("real",), (("a b", "voltage"),), {"a b": TIME}), "use one word"),
        (Plot("* t", "n", ("real",), (("a", "voltage"),), {"a": TIME * 1j}), "complex values"),
        (Plot("* t", "n", ("real",), (("a", "voltage"), ("a", "voltage")), {"a": TIME}), "names of their own"),
    ],
)
def test_plots_that_no_reader_would_take(tmp_path, plot, message):
    with pytest.raises(NetlistError, match=message):
        write_raw(tmp_path / "x.raw", [plot])


def written(binary):
    with tempfile.TemporaryDirectory() as folder:
        write_raw(Path(folder) / "x.raw", [complex_plot(), real_plot()], binary=binary)
        return (Path(folder) / "x.raw").read_bytes()


GOOD = {binary: written(binary) for binary in (True, False)}


@settings(max_examples=300, deadline=None)
@given(
    binary=st.booleans(),
    edits=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=4),
)
def test_damaged_files_raise_only_what_is_documented(tmp_path_factory, binary, edits):
    """Any piece cut out and any other put in: plots of the announced size, or a NetlistError; memory stays small."""
    path = tmp_path_factory.getbasetemp() / "damaged.raw"
    content = GOOD[binary]
    for at, cut, new in edits:
        content = content[:at] + new + content[at + cut :]
    path.write_bytes(content)
    plots = []
    tracemalloc.start()
    with contextlib.suppress(NetlistError):
        plots = read_raw(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(values.shape == (plot.points,) for plot in plots for values in plot.data.values())
    assert peak < 2_000_000


@pytest.mark.parametrize("key", ["No. Points", "No. Variables"])
@pytest.mark.parametrize("count", ["0", "7", "999999999999999999", "1e3", "-1", "\u0663", "1_0"])
@pytest.mark.parametrize("binary", [True, False])
def test_counts_that_lie(tmp_path, key, count, binary):
    path = tmp_path / "x.raw"
    whole = GOOD[binary].decode("latin-1")
    number = {"No. Points": "5", "No. Variables": "2"}[key]
    path.write_text(whole.replace(f"{key}: {number}", f"{key}: {count}", 1), encoding="utf-8")
    with pytest.raises(NetlistError):
        read_raw(path)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.raw"
    path.write_bytes(b"Title: x\n" + content)
    with pytest.raises(NetlistError):
        read_raw(path)
