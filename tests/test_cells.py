"""The cell library: headers, ports, and every cell's deviation from its ideal function in ngspice."""

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
    "softmax_bjt_4": 0.006, "softmax_mos_4": 0.005, "normalizer_bjt_4": 0.006, "layer_norm_bjt_4": 0.004,
    "tanh_bjt": 0.01, "tanh_mos": 0.015, "rectifier_diode": 0.6, "rectifier_super": 2e-4, "gilbert_bjt": 0.01,
    "gilbert_mos": 0.05, "transconductor_bjt": 0.01, "ota_mos": 0.07, "opamp, follower": 2e-5,
    "opamp, open-loop gain": 2e-3, "opamp, step of the follower": 5e-4, "mirror_bjt": 0.02,
    "mirror_mos_cascode": 1e-4, "damping, step": 1e-5, "damping, impedance": 1e-9, "memristor_sinh": 0.03,
    "memristor_cubic": 0.03, "cell_1t1r": 0.06, "wta_mos_4": 0.005, "wta_ekv_4": 0.001, "ekv_n": 1e-8, "ekv_p": 1e-8,
    "relu_mos": 0.052, "gelu_mos": 0.04,
}  # fmt: skip
AGREEMENT = {"dc": 1e-6, "ac": 1e-6, "tran": 1e-4}
"""Largest difference of the two simulators, over the largest value of an output."""
STATED = {
    "softmax_bjt_4": ("softmax_bjt_4 |v_ak| <= 0.15 V", -0.15, 0.15),
    "softmax_mos_4": ("softmax_mos_4 |v_ak| <= 0.195 V", -0.195, 0.195),
    "normalizer_bjt_4": ("0.1u <= i_ak <= 100u", 1e-7, 1e-4),
    "layer_norm_bjt_4": ("|v_ak| <= 0.4 V", -0.4, 0.4),
    "tanh_bjt": ("tanh_bjt |v_p - v_n| <= 0.2 V", -0.2, 0.2),
    "tanh_mos": ("tanh_mos |v_p - v_n| <= 0.26 V", -0.26, 0.26),
    "relu_mos": ("relu_mos |v_in| <= 0.269 V", -0.269, 0.269),
    "gelu_mos": ("gelu_mos |v_in| <= 0.229 V", -0.229, 0.229),
    "rectifier_diode": ("|v_in| <= 1 V", -1, 1),
    "rectifier_super": ("|v_in| <= 1 V", -1, 1),
    "gilbert_bjt": ("gilbert_bjt |v_x|, |v_y| <= 0.1 V", -0.1, 0.1),
    "gilbert_mos": ("gilbert_mos |v_x|, |v_y| <= 0.1 V", -0.1, 0.1),
    "transconductor_bjt": ("it / gm (1 V with the values given)", -1, 1),
    "ota_mos": ("sqrt(it / beta) (0.22 V with the values given)", -0.22, 0.22),
    "opamp, follower": ("vss + 2 drop <= v_out <= vdd - 2 drop", -2.3, 2.3),
    "mirror_bjt": ("mirror_bjt 10n <= i_in <= 1m and v_out >= 0.3 V", 1e-8, 1e-3),
    "mirror_mos_cascode": ("mirror_mos_cascode 1u <= i_in <= 100u", 1e-6, 1e-4),
    "memristor_sinh": ("|v| <= 0.2 V", -0.2, 0.2),
    "memristor_cubic": ("|v| <= 0.2 V", -0.2, 0.2),
    "cell_1t1r": ("|v| <= 0.2 V", -0.2, 0.2),
    "wta_mos_4": ("wta_mos_4 1u <= i_ak <= 50u", 1e-6, 50e-6),
    "wta_ekv_4": ("wta_ekv_4 1n <= i_ak <= 50n", 1e-9, 50e-9),
}
"""What a header's Range says, and what its bench has to reach."""

sys.path.insert(0, str(ROOT / "docs"))
import cell_benches as benches  # noqa: E402
import cell_figures as figures  # noqa: E402


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
    data = {f"v({n}{k})": np.linspace(-0.1, 0.1, 5) * k for k in range(1, 5) for n in "ab"}
    cells = {cell.name: cell for bench in benches.BENCHES.values() for cell in bench.cells}
    for name, tail in (("softmax_bjt_4", 10e-6), ("softmax_mos_4", 10e-9), ("normalizer_bjt_4", 10e-6)):
        shares = np.stack([curve.ideal(data) for curve in cells[name].curves])
        np.testing.assert_allclose(shares.sum(axis=0), tail, rtol=1e-12)
    normed = np.stack([curve.ideal(data) for curve in cells["layer_norm_bjt_4"].curves[:4]])
    np.testing.assert_allclose(normed.sum(axis=0), 0, atol=1e-18)
    assert (np.abs(normed) < 5e-6 * np.sqrt(3) + 1e-12).all()  # |LN| <= sqrt(N - 1)


def test_every_analysis_of_every_bench_is_measured():
    asked = {
        (path.name, kind)
        for path in CIRCUITS.glob("*.cir")
        for kind in re.findall(r"^\.(op|dc|ac|tran|noise)\b", path.read_text(), re.MULTILINE)
    }
    assert asked == {(bench.deck, bench.analysis) for bench in benches.BENCHES.values()}


def bounded(name, data):
    """Every deviation is within its bound; a cell's curves share it."""
    for label, deviation in benches.deviations(name, data).items():
        assert np.isfinite(deviation).all()
        cell = next(cell.name for cell in benches.BENCHES[name].cells if label.startswith(cell.name))
        assert np.abs(deviation).max() < ALLOWED[cell], label


@pytest.mark.spice
@pytest.mark.parametrize("name", benches.BENCHES)
def test_deviation_from_the_ideal_function_in_ngspice(name):
    bench = benches.BENCHES[name]
    bounded(name, benches.run_ngspice(CIRCUITS / bench.deck, bench.analysis))


@pytest.mark.parametrize("name", benches.BENCHES)
def test_deviation_from_the_ideal_function_and_agreement_with_ngspice(name, quick_compilation):
    """Without ngspice only the deviation is looked at."""
    ours, reference = benches.measured(name)
    bounded(name, ours)
    if reference is None:
        return
    for cell in benches.BENCHES[name].cells:
        apart = benches.difference(name, cell.name, ours, reference)
        assert apart < AGREEMENT[benches.BENCHES[name].analysis], cell.name


def test_libraries_can_be_included_together():
    """No subcircuit is defined twice."""
    names = [n for path in LIBRARIES for n in re.findall(r"^\.subckt (\w+)", path.read_text(), re.MULTILINE)]
    assert len(names) == len(set(names))


@pytest.mark.spice
@pytest.mark.parametrize("name", [name for name, bench in benches.BENCHES.items() if bench.analysis == "dc"])
def test_a_bench_sweeps_the_range_that_its_header_states(name):
    bench = benches.BENCHES[name]
    said = figures.header(CIRCUITS / bench.deck.replace(".cir", ".lib"))["Range"]
    data = benches.run_ngspice(CIRCUITS / bench.deck, bench.analysis)
    for cell in bench.cells:
        if name != "ekv":  # whose range is in words
            text, low, high = STATED[cell.name]
            assert text in said, cell.name
            x = cell.x(data)[cell.kept(data)]
            assert x.min() == pytest.approx(low, rel=1e-4), cell.name
            assert x.max() == pytest.approx(high, rel=1e-4), cell.name


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_facts_are_a_table_of_the_header(library):
    table = figures.facts(library)
    rows = table.splitlines()[2:]
    assert {row.split("**")[1] for row in rows} >= {"Ports", "Parameters", "Range", "Deviation", "Reference"}
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_a_figure_is_drawn_from_any_simulator():
    """The figure code takes vectors from whatever ran the bench, with and without a second simulator."""
    x, zero = np.linspace(-0.2, 0.2, 21), np.zeros(21)
    data = {"v(p)": x, "v(q)": 1.3 * x, "v(c)": zero, "sweep": x}
    data |= {"i(vy)": 1e-5 * np.tanh(x / 0.05), "i(vym)": 1e-8 * np.tanh(x / 0.05)}
    for reference in (None, data):
        drawn = figures.figure("tanh", (data, reference))
        assert len(drawn.axes) == 4
        assert [len(ax.lines) for ax in drawn.axes] == [2 + (reference is not None), 1] * 2
