"""The cell library: headers, ports, and every cell's deviation from its ideal function in ngspice."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
CIRCUITS = ROOT / "circuits"
LIBRARIES = sorted(CIRCUITS.glob("*.lib"))
# Largest deviation over the stated range (shares of full scale or of the value); docs/cells.md has the measured ones.
ALLOWED = {
    "tanh": 0.01, "softmax": 0.006, "layer_norm": 0.004, "gilbert": 0.05, "transconductor": 0.07, "opamp": 2e-5,
    "opamp_ac": 2e-3, "rectifier": 0.6, "mirror": 0.01, "damping": 1e-5, "damping_ac": 1e-9, "memristor": 0.06,
    "wta": 0.005,
}  # fmt: skip

_spec = importlib.util.spec_from_file_location("cell_figures", ROOT / "docs" / "cell_figures.py")
assert _spec is not None
assert _spec.loader is not None
figures = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = figures
_spec.loader.exec_module(figures)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_a_library_says_what_it_is(library):
    text = library.read_text()
    header = text[: text.lower().index(".subckt")]
    for entry in ("Function", "Equation", "Ports", "Parameters", "Range", "Ideal", "Deviation", "Reference"):
        assert re.search(rf"^\* {entry} *:", header, re.MULTILINE), f"{library.name} does not state {entry}"
    assert re.search(r"\(\d{4}\)", header), "the reference has no year"
    opened, closed = (re.findall(rf"^\.{word} (\w+)", text, re.MULTILINE) for word in ("subckt", "ends"))
    assert opened == closed
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_every_subcircuit_is_used_by_its_bench(library):
    bench = library.with_suffix(".cir")
    assert bench.exists(), f"{library.name} has no test bench"
    used = bench.read_text() + library.read_text()
    for name in re.findall(r"^\.subckt (\w+)", library.read_text(), re.MULTILINE):
        assert re.search(rf"^X.* {name}\b", used, re.MULTILINE), f"nothing instantiates {name}"


def test_ideal_functions_have_the_properties_of_their_names():
    data = {f"v(a{k})": np.linspace(-0.1, 0.1, 5) * k for k in range(1, 5)}
    ideal = figures.ideal_functions()
    shares = np.stack([curve.ideal(data) for curve in ideal.BENCHES["softmax"].curves[:4]])
    np.testing.assert_allclose(shares.sum(axis=0), 10e-6, rtol=1e-12)
    normed = np.stack([curve.ideal(data) for curve in ideal.BENCHES["layer_norm"].curves])
    np.testing.assert_allclose(normed.sum(axis=0), 0, atol=1e-18)
    assert (np.abs(normed) < 5e-6 * np.sqrt(3) + 1e-12).all()  # |LN| <= sqrt(N - 1)


@pytest.mark.spice
@pytest.mark.parametrize("name", figures.BENCHES)
def test_deviation_from_the_ideal_function(name):
    for label, deviation in figures.measure(name, figures.run_ngspice).items():
        assert np.isfinite(deviation).all()
        assert np.abs(deviation).max() < ALLOWED[name], label


def test_libraries_can_be_included_together():
    """No subcircuit is defined twice."""
    names = [n for path in LIBRARIES for n in re.findall(r"^\.subckt (\w+)", path.read_text(), re.MULTILINE)]
    assert len(names) == len(set(names))


def test_a_figure_is_drawn_from_any_simulator():
    """The figure code takes vectors from whatever ran the bench."""
    x = np.linspace(-0.2, 0.2, 21)
    drawn = figures.figure("tanh", lambda deck, analysis: {"v(p)": x, "sweep": x, "i(vy)": 1e-5 * np.tanh(x / 0.05)})
    assert len(drawn.axes) == 2
    assert len(drawn.axes[1].lines) == 1
