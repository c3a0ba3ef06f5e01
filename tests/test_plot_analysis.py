"""Figures of a deck's analyses: axes, units and curves; what cannot be drawn is refused."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogep.errors import DataError
from analogep.plot.analysis import draw
from analogep.plot.signals import COUNT, traces

TIMES = np.linspace(0, 5e-9, 60)
FREQUENCIES = np.geomspace(10, 1e7, 31)


def made(kind: str, variables: dict, coords: dict | None = None, **attrs: str) -> xr.Dataset:
    """A dataset as the simulators make it."""
    coords = coords or {}
    units = {"time": "s", "frequency": "Hz"}

    def unit(name: str) -> str:
        return "V/sqrt(Hz)" if name[1:].startswith("noise") and "total" not in name else {"i": "A"}.get(name[0], "V")

    return xr.Dataset(
        {n: (tuple(coords) if np.ndim(v) else (), v, {"units": unit(n)}) for n, v in variables.items()},
        {n: (n, v, {"units": units.get(n, unit(n))}) for n, v in coords.items()},
        {"analysis": kind, "title": "A circuit", "simulator": "analogep", **attrs},
    )


def op(scale: float = 1.0) -> xr.Dataset:
    return made("op", {"v(vdd)": 1.8 * scale, "v(out)": -0.02 * scale, "v(a)": 0.0, "i(v1)": 3e-6 * scale})


def dc(scale: float = 1.0) -> xr.Dataset:
    x = np.linspace(-0.1, 0.1, 21)
    return made("dc", {"v(in)": x, "v(out)": scale * np.tanh(30 * x), "v(vdd)": np.full(21, 1.8)}, {"vin": x})


def family(outer: int = 5, scale: float = 1.0) -> xr.Dataset:
    x, y = np.linspace(0, 5, 26), np.linspace(1, 2, outer)
    current = scale * 1e-3 * y[:, None] * np.tanh(x)
    return made("dc", {"i(vd)": current, "v(g)": np.broadcast_to(y[:, None], current.shape)}, {"vg": y, "vo": x})


def ac(scale: float = 1.0) -> xr.Dataset:
    out = scale * 10 / (1 + 1j * FREQUENCIES / 1e4) ** 3
    return made("ac", {"v(in)": np.ones(31, complex), "v(out)": out, "i(v1)": 1e-3 * out}, {"frequency": FREQUENCIES})


def tran(scale: float = 1.0) -> xr.Dataset:
    wave = scale * 0.1 * np.sin(TIMES / 5e-10)
    return made("tran", {"v(vdd)": np.full(60, 1.8), "v(out)": wave, "i(l1)": 1e-3 * wave}, {"time": TIMES})


def noise(scale: float = 1.0) -> xr.Dataset:
    white, pink = np.full(31, 3e-9 * scale), 1e-7 / np.sqrt(FREQUENCIES)
    total = np.hypot(white, pink)
    parts = {"onoise_r_1": white, "onoise_r_1_thermal": white, "onoise_q1": pink, "onoise_q1_flicker": pink}
    spectra = {"onoise_spectrum": total, "inoise_spectrum": total / 10, "onoise_total": 1e-5, **parts}
    return made("noise", spectra, {"frequency": FREQUENCIES})


EACH = {"op": op, "dc": dc, "family": family, "ac": ac, "tran": tran, "noise": noise}
LABELS = {
    "op": ["voltage (V)"],
    "dc": ["vin (mV)", "voltage (V)"],
    "family": ["i(vd) (mA)", "vo (V)"],
    "ac": ["frequency (Hz)", "magnitude (dB re 1 V)", "phase (°)"],
    "tran": ["time (ns)", "voltage (mV)"],
    "noise": ["frequency (Hz)", "input noise\n(V/√Hz)", "output noise\n(V/√Hz)"],
}
SIGNALS = {"family": ["i(vd)"]}


def rendered(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def labels(figure: Figure) -> list[str]:
    return sorted(label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel()) if label)


def names(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [text.get_text() for text in found.get_texts()] if found else []


def curves(ax: Axes) -> int:
    return sum(item.get_linestyle() not in ("", "None") for item in ax.get_lines())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", EACH)
def test_labels_and_units(kind: str) -> None:
    assert labels(rendered(draw([EACH[kind]()], signals=SIGNALS.get(kind, ())))) == LABELS[kind]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", EACH)
def test_a_reference_is_marked_and_its_difference_said(kind: str) -> None:
    ours, theirs = EACH[kind](), EACH[kind](scale=1 + 1e-6).assign_attrs(simulator="ngspice")
    figure = rendered(draw([ours], [theirs], SIGNALS.get(kind, ())))
    assert len(figure.axes) == len(draw([ours], signals=SIGNALS.get(kind, ())).axes) + 1
    assert any(item.get_marker() == "o" for item in figure.axes[0].get_lines())
    below = figure.axes[-1]
    assert "difference" in below.get_ylabel() + below.get_xlabel()
    said = below.get_title(loc="right")
    assert said.startswith("largest")
    assert float(said.split()[1]) == pytest.approx(1e-6, rel=0.6)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["analogep", "ngspice"]
    same = draw([ours], [EACH[kind]()], SIGNALS.get(kind, ())).axes[-1]
    assert "no difference" in [text.get_text() for text in same.texts]


@pytest.mark.filterwarnings("error")
def test_every_analysis_in_one_figure_without_text_on_text() -> None:
    every = [make() for make in EACH.values()]
    figure = rendered(draw(every, [make(scale=1.001) for make in EACH.values()], title="All of them"))
    assert figure.get_suptitle() == "All of them"
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    assert titles == [
        "Operating point",
        "DC sweep of vin",
        "DC sweep of vo and vg",
        "AC response",
        "Transient",
        "Noise",
    ]
    renderer = figure.canvas.get_renderer()
    boxes = []
    for ax in figure.axes:
        legend = [ax.get_legend()] if ax.get_legend() else []
        for text in (ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title, ax._right_title, *ax.texts, *legend):
            box = text.get_window_extent(renderer)
            if box.width > 1 and getattr(text, "get_text", lambda: "legend")():
                boxes.append(box.padded(-1))
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]
    assert all(figure.bbox.x0 <= b.x0 and b.x1 <= figure.bbox.x1 for b in boxes)


def test_largest_voltage_first_and_the_rest_counted() -> None:
    ax = draw([op()]).axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["v(vdd)", "v(out)", "v(a)"]
    assert [text.get_text() for text in ax.texts] == ["1.8 V", "−20 mV", "0 V"]
    many = made("op", {f"v(n{k})": 0.1 * k for k in range(40)})
    ax = draw([many.assign({"v(n0)": np.nan})]).axes[0]
    assert ax.texts[0].get_text() == "not finite"
    ax = draw([many]).axes[0]
    assert len(ax.get_yticklabels()) == 16
    assert ax.get_title(loc="right") == "24 more nodes, none above 2.3 V"


def test_signals_of_the_deck() -> None:
    prints = (
        ("ac", ("vdb(out)", "vp(out)", "i(V1)")),
        ("tran", ("v(out,vdd)", "i(l1)")),
        ("noise", ("onoise_spectrum",)),
    )
    figure = draw([ac(), tran(), op()], signals=prints)
    magnitude, current, phase, wave, inductor, _ = figure.axes
    assert names(magnitude) == ["v(out)", "v(in) = 1 V"]
    assert names(current) == ["i(v1)"]
    assert current.get_ylabel() == "magnitude (dB re 1 A)"
    assert curves(phase) == 2
    assert names(wave) == ["v(out,vdd)"]
    assert inductor.get_ylabel() == "current (µA)"
    plain = draw([ac(), tran()], signals=["v(out)", "i(l1)"])
    assert [names(ax) for ax in plain.axes] == [["v(out)", "v(in) = 1 V"], [], ["v(out)"], ["i(l1)"]]


def test_without_signals_what_moves_is_drawn() -> None:
    assert [t.name for t in traces(tran(), ())[0]] == ["v(out)"]
    assert [t.name for t in traces(dc(), ())[0]] == ["v(out)"]
    assert [t.name for t in traces(ac(), ())[0]] == ["v(out)"]
    x = np.linspace(0, 1, 5)
    grid = np.broadcast_to(x, (3, 5))
    follows = {"v(a)": 3 + grid, "v(b)": grid**2, "v(g)": np.broadcast_to([[1.0], [2.0], [3.0]], (3, 5))}
    assert [t.name for t in traces(made("dc", follows, {"vg": np.arange(3.0), "vd": x}), ())[0]] == ["v(b)"]
    still = made("tran", {"v(vdd)": np.full(60, 1.8), "v(a)": np.zeros(60)}, {"time": TIMES})
    assert curves(draw([still]).axes[0]) == 2
    crowd = made("tran", {f"v(n{k})": (1 + k) * np.sin(TIMES / 1e-9) for k in range(20)}, {"time": TIMES})
    ax = draw([crowd]).axes[0]
    assert names(ax) == [f"v(n{k})" for k in range(12, 20)]
    assert curves(ax) == COUNT
    assert ax.get_title(loc="right") == "12 more moving nodes not shown"


def test_phase_has_no_jumps_and_falls_to_minus_270() -> None:
    phase = draw([ac()]).axes[1].get_lines()[0].get_ydata()
    assert np.all(np.diff(phase) < 0)
    assert phase[-1] == pytest.approx(-270, abs=1)


def test_noise_by_element_and_its_total() -> None:
    ax = draw([noise()]).axes[0]
    assert names(ax) == ["r_1", "q1", "total"]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_title(loc="right") == "10 µV rms at the output"


@pytest.mark.filterwarnings("error")
def test_a_family_has_a_legend_or_a_color_scale() -> None:
    ax = draw([family()], signals=["i(vd)"]).axes[0]
    assert names(ax) == ["1 V", "1.25 V", "1.5 V", "1.75 V", "2 V"]
    assert ax.get_legend().get_title().get_text() == "vg"
    figure = rendered(draw([family(21)], [family(21, 1.01)], ["i(vd)"]))
    assert not names(figure.axes[0])
    assert "vg (V)" in labels(figure)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["dc", "ac", "tran", "noise"])
def test_single_points_and_gaps_are_drawn(kind: str) -> None:
    whole = EACH[kind]()
    axis = next(iter(whole.sizes))
    rendered(draw([whole.isel({axis: slice(0, 1)})], [whole.isel({axis: slice(0, 1)})]))
    name = "onoise_spectrum" if kind == "noise" else "v(out)"
    broken = whole.copy(deep=True)
    broken[name][3:5] = np.nan
    figure = rendered(draw([broken], [whole]))
    assert "1 of 1 curves are not finite" in "".join(text.get_text() for text in figure.axes[0].texts)


@pytest.mark.filterwarnings("error")
def test_odd_data_are_drawn() -> None:
    rendered(draw([made("op", {"v(a)": np.nan, "v(b)": 1.0}), made("op", {"v(a)": 0.0})]))
    rendered(draw([dc().isel(vin=slice(None, None, -1))], [dc().isel(vin=slice(None, None, -2))]))
    rendered(draw([tran()], [tran().isel(time=slice(0, 60, 7))]))
    rendered(draw([made("ac", {"v(a)": np.zeros(31, complex)}, {"frequency": FREQUENCIES})]))
    rendered(draw([made("ac", {"v(a)": np.zeros(31, complex)}, {"frequency": np.linspace(0, 1e3, 31)})]))
    rendered(
        draw([made("tran", {f"v({'x1.' * 20}{k})": TIMES * k for k in range(9)}, {"time": TIMES})], title="t " * 99)
    )


def test_bad_data_are_refused() -> None:
    with pytest.raises(DataError, match="no datasets"):
        draw([])
    with pytest.raises(DataError, match="holds no variables"):
        draw([made("op", {})])
    with pytest.raises(DataError, match="holds no points along time"):
        draw([tran().isel(time=slice(0, 0))])
    with pytest.raises(DataError, match="'analysis' is ''"):
        draw([xr.Dataset({"v(a)": 1.0})])
    with pytest.raises(DataError, match="dimensions"):
        draw([tran().assign_attrs(analysis="op")])
    with pytest.raises(DataError, match="no onoise_spectrum"):
        draw([tran().assign_attrs(analysis="noise")])
    with pytest.raises(DataError, match=r"no v\(node\)"):
        draw([made("op", {"power": 1.0})])
    with pytest.raises(DataError, match="2 references do not fit 1 datasets"):
        draw([op()], [op(), op()])
    with pytest.raises(DataError, match="reference of the op dataset is of tran"):
        draw([op()], [tran()])
    with pytest.raises(DataError, match="family at other points"):
        draw([family()], [family(3)], ["i(vd)"])
    with pytest.raises(DataError, match=r"no dataset holds the signal 'v\(q\)'"):
        draw([op(), tran()], signals=["v(q)"])
    with pytest.raises(DataError, match="is not a signal"):
        draw([op()], signals=["out"])
