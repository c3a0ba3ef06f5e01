"""Figures: labels and units everywhere, degenerate data drawn or refused, no text on text, no jax."""

import subprocess
import sys
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from analogep.errors import DataError
from analogep.plot import circuit, fidelity, learning, stability, waveforms
from analogep.plot.layout import layers
from analogep.plot.learning import smoothed
from analogep.plot.style import engineering

TIMES = np.linspace(0, 5e-9, 40)
RNG = np.random.default_rng(0)
ESTIMATORS = {
    "vector_field_ep": {"cosine": 0.7, "relative_error": 0.8, "norm_ratio": 1.3},
    "asym_ep": {"cosine": 1 - 1e-9, "relative_error": 2e-5, "norm_ratio": 1.0},
    "energy_ep": {"cosine": -0.2, "relative_error": 1.2, "norm_ratio": 0.5},
    "twin": {"cosine": 1.0, "relative_error": 0.0, "norm_ratio": 1.0},
}


def dataset(values: np.ndarray, times: np.ndarray = TIMES) -> xr.Dataset:
    return xr.Dataset(
        {"z": (("time", "z_0", "z_1"), values, {"units": "V"})}, coords={"time": ("time", times, {"units": "s"})}
    )


def settling(final: np.ndarray) -> xr.Dataset:
    return dataset(final * (1 - np.exp(-TIMES / 1e-9))[:, None, None])


def losses(steps: int = 60) -> xr.Dataset:
    loss = 2.6 + np.exp(-np.arange(steps) / 20)
    sparse = np.where(np.arange(steps) % 20 == 0, loss + 0.1, np.nan)
    return xr.Dataset(
        {"local": ("step", loss), "bptt": ("step", loss - 0.01), "local_validation": ("step", sparse)},
        coords={"step": np.arange(steps)},
        attrs={"uniform": 3.47, "unigram": 2.9},
    )


def transformer(*, energy: bool = False) -> nx.MultiDiGraph:
    """The buses of a compiled block."""
    graph = nx.MultiDiGraph()

    def bus(name: str, kind: str = "cell") -> None:
        graph.add_node(name, shape=(8, 16), kind=kind)

    def edge(label: str, kind: str, *path: str) -> None:
        *sources, target = path
        if target not in graph:
            bus(target)
        for source in sources:
            graph.add_edge(source, target, key=label, label=label, kind=kind)

    bus("token", "input")
    bus("z", "state")
    bus("prediction", "driven")
    edge("embed", "crossbar", "token", "z")
    edge("norm", "cell", "z", "u")
    for array, target in (("query", "q"), ("key", "k"), ("value", "v"), ("ffn_in", "h")):
        edge(array, "crossbar", "u", target)
    edge("score", "cell", "q", "k", "s")
    edge("softmax", "cell", "s", "p")
    edge("mix", "cell", "p", "v", "o")
    edge("act", "cell", "h", "a")
    edge("output", "crossbar", "o", "z")
    edge("ffn_out", "crossbar", "a", "z")
    if energy:
        for array, target in (("energy_query", "eq"), ("energy_key", "ek"), ("memory", "m")):
            edge(array, "crossbar", "u", target)
        edge("escore", "cell", "eq", "ek", "es")
        edge("esoftmax", "cell", "es", "ep")
        edge("eread", "cell", "ep", "ek", "eqr")
        edge("ewrite", "cell", "ep", "eq", "ekr")
        edge("recall", "cell", "m", "r")
        for array, source in (("energy_query", "eqr"), ("energy_key", "ekr"), ("memory", "r")):
            edge(f"{array}.back", "crossbar", source, "field")
        edge("chain", "cell", "z", "field", "z")
    edge("final_norm", "cell", "z", "final")
    edge("readout", "crossbar", "final", "logits")
    edge("predict", "cell", "logits", "prediction")
    return graph


def dual_rail() -> nx.MultiDiGraph:
    """Two states that couple to each other and to themselves."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(["zp", "zn"], shape=(8,), kind="state")
    graph.add_edges_from([(a, b, {"label": f"w.{a}{b}", "kind": "crossbar"}) for a in graph for b in graph])
    return graph


FINAL = 0.1 * RNG.normal(size=(4, 6))
FREE = settling(FINAL)
SPECTRUM = -2 + RNG.normal(size=30) + 1j * RNG.normal(size=30)
DRAWN = {
    "waveforms": (lambda ax: waveforms.waveforms(FREE, "z", ax=ax), ["time (ns)", "voltage (mV)"]),
    "nudged": (
        lambda ax: waveforms.nudged(
            FREE, dataset(FREE.z.values + 1e-6), dataset(FREE.z.values - 1e-6), "z", ax=ax, beta=1e-3
        ),
        ["time (ns)", "displacement (mV)"],
    ),
    "overlay": (
        lambda ax: waveforms.overlay(TIMES, FREE.z[:, 0, 0], FREE.z[:, 0, 0] + 1e-7, "z_0_0", ax),
        ["voltage (mV)", "time (ns)", "|error| (V)"],
    ),
    "eigenvalues": (lambda ax: stability.eigenvalues(SPECTRUM, ax=ax), ["real part (1/τ)", "imaginary part (1/τ)"]),
    "growth_curve": (
        lambda ax: stability.growth_curve(np.geomspace(1e-2, 10, 50), np.exp(-np.geomspace(1e-2, 10, 50)), ax=ax),
        ["time (τ)", "‖exp(tJ)‖ in the C norm (1)"],
    ),
    "estimator_bars": (
        lambda ax: fidelity.estimator_bars(ESTIMATORS, ax=ax),
        ["cosine with the oracle (1)", "relative error (1)"],
    ),
    "scatter": (
        lambda ax: fidelity.scatter({"twin": FINAL, "plain": 0.7 * FINAL}, FINAL, ax=ax),
        ["oracle (nats per unit weight)", "local estimate (nats per unit weight)"],
    ),
    "learning_curves": (
        lambda ax: learning.learning_curves(losses(), ax=ax),
        ["training step (1)", "cross-entropy per token (nats)"],
    ),
}


def rendered(ax: Axes) -> Figure:
    """The figure of the axes, drawn; every warning of matplotlib is an error."""
    figure = ax.get_figure(root=True)
    figure.canvas.draw()
    return figure


def said(ax: Axes) -> str:
    """All text in the axes' figure."""
    figure = ax.get_figure(root=True)
    texts = [t.get_text() for axes in figure.axes for t in (*axes.texts, axes.title, axes._left_title)]
    legends = [t.get_text() for axes in figure.axes if axes.get_legend() for t in axes.get_legend().get_texts()]
    return "\n".join(texts + legends)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("given", ["none", "grid", "free"])
def test_labels_and_units(name: str, given: str) -> None:
    draw, labels = DRAWN[name]
    figure = Figure(figsize=(12, 8))
    ax = {"none": lambda: None, "grid": lambda: figure.subplots(2, 2)[0, 1], "free": figure.add_subplot}[given]()
    if given == "free":
        ax.remove()
        ax = figure.add_axes((0.1, 0.1, 0.6, 0.6))
    drawn = draw(ax)
    assert given == "none" or drawn is ax
    shown = [label for axes in rendered(drawn).axes for label in (axes.get_xlabel(), axes.get_ylabel()) if label]
    assert sorted(shown) == sorted(labels)
    assert drawn.get_title(loc="left")


def test_degenerate_waveforms() -> None:
    ax = waveforms.waveforms(FREE.isel(time=slice(0, 1)), "z")
    rendered(ax)
    constant = dataset(np.zeros((40, 4, 6)))
    rendered(waveforms.waveforms(constant, "z"))
    rendered(waveforms.nudged(constant, constant, constant, "z"))
    scalar = xr.Dataset({"out": ("time", np.ones(3))}, coords={"time": [0.0, 1.0, 2.0]})
    rendered(waveforms.waveforms(scalar, "out"))
    broken = FREE.copy(deep=True)
    broken.z[5:, 0, 0] = np.nan
    assert "1 of 24 nodes are not finite" in said(waveforms.waveforms(broken, "z"))
    assert "1 of 24 nodes are not finite" in said(waveforms.nudged(FREE, broken, FREE, "z"))
    rendered(waveforms.waveforms(dataset(np.full((40, 4, 6), np.nan)), "z"))
    rendered(waveforms.nudged(FREE, dataset(np.full((40, 4, 6), np.nan)), FREE, "z"))


def test_bad_waveforms_are_refused() -> None:
    with pytest.raises(DataError, match="no bus 'q'; they have z"):
        waveforms.waveforms(FREE, "q")
    with pytest.raises(DataError, match="no samples"):
        waveforms.waveforms(FREE.isel(time=slice(0, 0)), "z")
    with pytest.raises(DataError, match="different shapes"):
        waveforms.nudged(FREE.isel(z_0=slice(0, 2)), FREE, FREE, "z")
    with pytest.raises(DataError, match="do not fit together"):
        waveforms.overlay(TIMES, TIMES, TIMES[1:], "z")
    with pytest.raises(DataError, match="do not fit together"):
        waveforms.overlay(TIMES, np.zeros((40, 2)), np.zeros((40, 2)), "z")


def test_overlay_says_its_largest_error_or_that_there_is_none() -> None:
    ours = FREE.z.values[:, 0, :2]
    theirs = ours.copy()
    theirs[3, 1] += 2e-6
    ax = waveforms.overlay(TIMES, ours, theirs, ["a", "b"])
    assert ax.figure.axes[1].get_title(loc="right") == "largest 2.0e-06 V"
    assert "no difference" in said(waveforms.overlay(TIMES, ours, ours, ["a", "b"]))
    assert "not finite" in said(waveforms.overlay(TIMES, ours, np.where(ours > 0.01, np.nan, ours), ["a", "b"]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values", [[-1.0], [0.0], [0.5], [-1.0, -2.0, -3.0], [-0.3 + 2j, -0.3 - 2j], [-1e4, -1e-3, -1.0]]
)
def test_degenerate_spectra(values: list[complex]) -> None:
    rendered(stability.eigenvalues(values))


def test_rightmost_eigenvalue_is_marked() -> None:
    ax = stability.eigenvalues([-100.0, -0.31 + 0.8j, -0.31 - 0.8j, np.nan])
    assert ax.get_xscale() == "symlog"
    assert "rightmost: (−0.31 ± 0.8i)/τ" in said(ax)
    assert "1 of 4 eigenvalues are not finite" in said(ax)
    assert "does not decay (1)" in said(stability.eigenvalues([-1.0, 0.2]))
    with pytest.raises(DataError, match="no eigenvalues"):
        stability.eigenvalues([])
    rendered(stability.eigenvalues([np.nan]))


def test_growth_states_its_peak() -> None:
    times = np.geomspace(0.01, 10, 200)
    assert "peak 1.47 at 1 τ" in said(stability.growth_curve(times, 4 * times * np.exp(-times)))
    assert "none" in said(stability.growth_curve([0.0, 1.0], [1.0, 0.5]))
    assert "still rising" in said(stability.growth_curve(times, np.exp(times)))
    assert "not finite" in said(stability.growth_curve(times, np.where(times > 5, np.inf, 1.0)))
    with pytest.raises(DataError, match="positive times"):
        stability.growth_curve([0.0], [1.0])
    with pytest.raises(DataError, match="2 times and 1 norms"):
        stability.growth_curve([1.0, 2.0], [1.0])


def test_estimators_that_failed_are_flagged() -> None:
    ax = fidelity.estimator_bars({**ESTIMATORS, "diverged": {"cosine": float("nan"), "relative_error": float("inf")}})
    rendered(ax)
    assert said(ax).count("not finite") == 2  # in both panels
    assert "1 − 1e-09" in said(ax)
    rendered(fidelity.estimator_bars({"only": {"cosine": float("nan")}}))
    rendered(fidelity.estimator_bars({"exact": {"cosine": 1.0, "relative_error": 0.0, "norm_ratio": 1.0}}))
    with pytest.raises(DataError, match="no estimators"):
        fidelity.estimator_bars({})


def test_scatter() -> None:
    rendered(fidelity.scatter({"a": [0.0]}, [0.0]))
    rendered(fidelity.scatter({}, []))
    assert "1 values are not finite" in said(fidelity.scatter({"a": [1.0, np.nan]}, [1.0, 2.0]))
    with pytest.raises(DataError, match="'a' has 1 values, the reference 2"):
        fidelity.scatter({"a": [1.0]}, [1.0, 2.0])


def test_learning_curves() -> None:
    text = said(learning.learning_curves(losses(), labels={"local": "TWIN"}))
    for expected in ("TWIN", "bptt", "TWIN, validation", "uniform guess, ln V = 3.47", "unigram entropy = 2.90"):
        assert expected in text
    rendered(learning.learning_curves(losses().isel(step=slice(0, 1))))
    diverged = losses()
    diverged["bptt"][30:] = np.inf
    assert "not finite at some steps: bptt" in said(learning.learning_curves(diverged))
    with pytest.raises(DataError, match="dimension 'step'"):
        learning.learning_curves(xr.Dataset())


def test_smoothing_keeps_constants_and_ignores_nan() -> None:
    np.testing.assert_allclose(smoothed(np.full(11, 3.0), 5), 3.0)
    np.testing.assert_allclose(smoothed(np.array([1.0, np.nan, 3.0]), 3), [1.0, np.nan, 3.0])
    np.testing.assert_allclose(smoothed(np.arange(9.0), 3)[1:-1], np.arange(1, 8))


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [([3e-9], "s", "ns"), ([0.2], "V", "mV"), ([-5], "V", "V"), ([2e4], "Hz", "kHz"), ([0], "s", "s"), ([9], "τ", "τ")],
)
def test_engineering_units(values: list[float], unit: str, expected: str) -> None:
    factor, shown = engineering(values, unit)
    assert shown == expected
    assert unit == "τ" or values == [0] or 1 <= abs(values[0] * factor) < 1000


def test_feedback_into_the_state_is_broken() -> None:
    found = layers(transformer(energy=True))
    assert {edge[2] for edge in found.feedback} == {"output", "ffn_out", "chain"}
    order = {item: k for k, column in enumerate(found.columns) for item in column}
    assert order["token"] + 1 == order["z"]
    assert all(order[a] + 1 == order[b] for a, b in found.links)
    ring = nx.MultiDiGraph([("a", "b"), ("b", "c"), ("c", "a")])
    assert len(layers(ring).feedback) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "graph", [transformer(), transformer(energy=True), dual_rail()], ids=["free", "mixed", "rails"]
)
def test_diagram_text_does_not_overlap(graph: nx.MultiDiGraph) -> None:
    ax = circuit.block_diagram(graph, title="circuit")
    figure = rendered(ax)
    renderer = figure.canvas.get_renderer()
    labels = {data["label"] for *_, data in graph.edges(data=True)}
    texts = [text for text in ax.texts if text.get_text()]
    assert labels | set(graph) <= {text.get_text() for text in texts}
    extents = [(text.get_text(), text.get_window_extent(renderer).padded(-1)) for text in texts]
    extents.append(("legend", ax.get_legend().get_window_extent(renderer)))
    clashes = [(a, b) for (a, ea), (b, eb) in combinations(extents, 2) if ea.overlaps(eb)]
    assert not clashes
    assert all(figure.bbox.padded(1).containsx(e.x0) and figure.bbox.padded(1).containsx(e.x1) for _, e in extents)
    boxes = [patch.get_window_extent(renderer) for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == len(graph)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.filterwarnings("error")
def test_degenerate_diagrams() -> None:
    rendered(circuit.block_diagram(nx.MultiDiGraph()))
    lonely = nx.MultiDiGraph()
    lonely.add_node("z", shape=(), kind="state")
    assert "1 node" in said(circuit.block_diagram(lonely))
    ax = Figure(figsize=(4, 3)).subplots()
    assert circuit.block_diagram(transformer(), ax=ax) is ax


def test_reading_and_plotting_imports_no_jax_and_no_pyplot() -> None:
    code = (
        "import sys, analogep.plot, analogep.report\n"
        "banned = {'jax', 'jaxlib', 'equinox', 'diffrax', 'matplotlib.pyplot'}\n"
        "sys.exit(', '.join(sorted(banned & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
