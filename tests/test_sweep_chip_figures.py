"""Figures of sweeps over chips: a histogram of chips alone, a band over another axis."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread

from analogep.errors import DataError
from analogep.plot.sweep import band, draw, histogram


def chips(*other):
    """A made-up sweep over 200 chips, after other axes: loss is normal, and one chip has none."""
    shape = (*(3 for _ in other), 200)
    loss = np.random.default_rng(0).normal(4.0, 0.5, shape)
    loss[..., 7] = np.nan
    dims = (*other, "chip.number")
    status = np.where(np.isfinite(loss), "done", "unconverged")
    return xr.Dataset(
        {"loss": (dims, loss, {"units": "nats"}), "status": (dims, status), "seconds": (dims, np.ones(shape))},
        {"chip.number": range(200), **{name: [1.0, 2.0, 4.0] for name in other}},
    )


def test_a_histogram_counts_every_chip_and_marks_the_quantiles():
    data = chips()
    ax = histogram(data, "loss")
    assert sum(patch.get_height() for patch in ax.patches) == 199
    marks = sorted(line.get_xdata()[0] for line in ax.lines)
    np.testing.assert_allclose(marks, np.nanquantile(data["loss"], [0.05, 0.5, 0.95]))
    assert ax.get_xlabel() == "loss (nats)"
    assert [text.get_text() for text in ax.texts] == ["no finite value on 1 of 200 chips"]


def test_a_band_shows_the_median_over_the_other_axis():
    data = chips("model.damping")
    for given in (data, data.transpose("chip.number", "model.damping")):
        ax = band(given, "loss")
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1.0, 2.0, 4.0])
        np.testing.assert_allclose(ax.lines[0].get_ydata(), np.nanmedian(data["loss"], axis=1))
        edge = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert edge.min() == pytest.approx(np.nanquantile(data["loss"], 0.05, axis=1).min())
        assert ax.get_xlabel() == "model.damping"
        assert [text.get_text() for text in ax.texts] == ["no finite value at 3 of 600 points"]


@pytest.mark.parametrize("other", [(), ("model.damping",)])
def test_the_figures_of_a_sweep_over_chips(other, tmp_path):
    (path,) = draw(chips(*other), tmp_path)
    assert path.name == "loss.png"
    assert np.ptp(imread(path)) > 0.5


def test_other_sweeps_are_refused():
    with pytest.raises(DataError, match=r"a histogram needs a sweep over chip\.number, not over seed"):
        histogram(chips().rename({"chip.number": "seed"}), "loss")
    with pytest.raises(DataError, match=r"a band needs an axis chip\.number, and the sweep has model.damping and seed"):
        band(chips("model.damping").rename({"chip.number": "seed"}), "loss")
