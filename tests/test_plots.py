"""Datasets as raw files: what a viewer finds in them."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analogep.errors import NetlistError
from analogep.netlist.spice.plots import to_plots
from analogep.netlist.spice.raw import read_raw, write_raw

VOLTS, AMPERES = {"units": "V"}, {"units": "A"}


def wave(**attrs):
    time = ("time", np.array([0.0, 1e-9, 3e-9]), {"units": "s"})
    data = {"v(a)": ("time", np.arange(3.0), VOLTS), "i(v1)": ("time", -np.arange(3.0), AMPERES)}
    return xr.Dataset(data, {"time": time}, attrs)


def test_a_transient():
    (plot,) = to_plots(wave(title="step\nresponse"))
    assert (plot.title, plot.name, plot.flags) == ("* step response", "Transient Analysis", ("real",))
    assert plot.variables == (("time", "time"), ("v(a)", "voltage"), ("i(v1)", "current"))
    np.testing.assert_array_equal(plot.data["time"], [0.0, 1e-9, 3e-9])


def test_complex_amplitudes_make_the_frequency_complex():
    frequency = ("frequency", [1.0, 10.0], {"units": "Hz"})
    data = xr.Dataset({"v(a)": ("frequency", np.array([1 + 2j, 3j]), VOLTS)}, {"frequency": frequency})
    (plot,) = to_plots(data)
    assert (plot.name, plot.flags) == ("AC Analysis", ("complex",))
    assert plot.variables[0] == ("frequency", "frequency")
    assert all(values.dtype == complex for values in plot.data.values())


def test_operating_point_sweeps_and_noise_with_totals():
    op = xr.Dataset({"v(a)": ((), 1.0, VOLTS)})
    grid = np.arange(6.0).reshape(2, 3)
    dc = xr.Dataset({"v(a)": (("v2", "v1"), grid, VOLTS)}, {"v1": [0.0, 0.5, 1.0], "v2": ("v2", [7.0, 8.0], VOLTS)})
    noise = xr.Dataset(
        {"onoise_spectrum": ("frequency", [1e-9, 2e-9], {"units": "V/sqrt(Hz)"}), "onoise_total": ((), 5e-6, VOLTS)},
        {"frequency": [1.0, 10.0]},
        {"analysis": "noise"},
    )
    plots = to_plots([op, dc, noise.assign_attrs(title="third")])
    assert [plot.name for plot in plots] == [
        "Operating Point", "DC transfer characteristic", "Noise Spectral Density Curves", "Integrated Noise",
    ]  # fmt: skip
    assert [plot.title for plot in plots] == ["* analogep", "* analogep", "* third", "* third"]
    assert plots[0].points == 1
    np.testing.assert_array_equal(plots[1].data["v1-sweep"], [0, 0.5, 1, 0, 0.5, 1])
    np.testing.assert_array_equal(plots[1].data["v2-sweep"], [7, 7, 7, 8, 8, 8])
    np.testing.assert_array_equal(plots[1].data["v(a)"], np.arange(6.0))
    assert dict(plots[2].variables)["onoise_spectrum"] == "voltage-density"
    np.testing.assert_array_equal(plots[3].data["v(onoise_total)"], [5e-6])


def test_buses_become_scalar_nodes():
    z = np.arange(12.0).reshape(2, 3, 2)
    data = xr.Dataset(
        {"z": (("z_0", "time", "z_1"), z, VOLTS), "v": (("time", "node"), z[0], VOLTS)},
        {"time": [0.0, 1.0, 2.0], "node": ["q_1", "q_2"]},
    )
    (plot,) = to_plots(data)
    np.testing.assert_array_equal(plot.data["v(z_1_0)"], z[1, :, 0])
    np.testing.assert_array_equal(plot.data["v(q_2)"], z[0, :, 1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (xr.Dataset(), "makes no plot"),
        (xr.Dataset({"v(a)": ("v1", [1.0])}, {"v1": [0.0], "v2": [1.0, 2.0]}), "needs all of"),
    ],
)
def test_what_makes_no_plot(data, message):
    with pytest.raises(NetlistError, match=message):
        to_plots(data)


numbers = st.floats(allow_nan=False, allow_infinity=True)


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=numbers),
    imaginary=st.booleans(),
    binary=st.booleans(),
)
def test_datasets_survive_the_file(tmp_path_factory, values, imaginary, binary):
    path = tmp_path_factory.mktemp("raw") / "x.raw"
    values = values + 1j * values[::-1] if imaginary and np.isfinite(values).all() else values
    swept = "frequency" if np.iscomplexobj(values) else "time"
    data = xr.Dataset(
        {f"v(n{k})": (swept, row, VOLTS) for k, row in enumerate(values)}, {swept: np.arange(float(values.shape[1]))}
    )
    write_raw(path, to_plots([data, data]), binary=binary)
    plots = read_raw(path)
    assert len(plots) == 2
    for plot in plots:
        for name, variable in data.data_vars.items():
            np.testing.assert_array_equal(plot.data[name], variable.values)


def test_the_axis_that_goes_fastest_is_the_first_vector():
    """A viewer draws over the first vector, which within each curve must be the one that moves."""
    axes = {"outer": [7.0, 8.0], "inner": [0.0, 0.5, 1.0]}
    (plot,) = to_plots(xr.Dataset({"v(a)": (("outer", "inner"), np.arange(6.0).reshape(2, 3), VOLTS)}, axes))
    assert [name for name, _ in plot.variables] == ["inner-sweep", "outer-sweep", "v(a)"]
