"""The example decks: what they cover, and that ngspice still gives the golden results of tests/golden."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from analogep.netlist.spice.measure import evaluate
from analogep.netlist.spice.read import read
from analogep.simulate.nodal.run import FileRun

HERE = Path(__file__).parent
DECKS = sorted((HERE.parent / "netlists").glob("*.cir"))
ELEMENTS = set("rclkviefghbdqmsx")

_spec = importlib.util.spec_from_file_location("golden_make", HERE / "golden" / "make.py")
assert _spec is not None
assert _spec.loader is not None
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def numbers(values) -> np.ndarray:
    """A stored vector: a list, or real and imaginary parts."""
    if isinstance(values, dict):
        return np.asarray(values["re"]) + 1j * np.asarray(values["im"])
    return np.asarray(values)


def stored(deck: Path) -> dict:
    return json.loads((HERE / "golden" / f"{deck.stem}.json").read_text())


def test_decks_cover_every_element_analysis_and_waveform():
    lines = [line.lower() for deck in DECKS for line in make.statements(deck.read_text())]
    assert {line[0] for line in lines} >= ELEMENTS | {"."}
    analyses = {make.kind_of(line) for line in lines}
    assert analyses >= {"op", "dc", "ac", "tran", "noise"}
    assert any(line.startswith(".dc") and len(line.split()) == 9 for line in lines)
    for waveform in ("pulse", "pwl", "sin", "exp"):
        assert any(re.match(rf"[vi]\w* .*\b{waveform}\(", line) for line in lines), waveform


@pytest.mark.parametrize("deck", DECKS, ids=lambda deck: deck.stem)
def test_every_analysis_has_a_golden_result(deck):
    golden = stored(deck)
    asked = [line for line in make.statements(deck.read_text()) if make.kind_of(line)]
    assert asked == [part["analysis"] for part in golden["analyses"]]
    assert (HERE / "golden" / f"{deck.stem}.json").stat().st_size < 20_000
    for part in golden["analyses"]:
        assert part["vectors"]
        for values in part["vectors"].values():
            assert np.isfinite(numbers(values)).all()
            assert numbers(values).size == len(part.get("points", [0]))


@pytest.mark.spice
@pytest.mark.parametrize("deck", DECKS, ids=lambda deck: deck.stem)
def test_ngspice_gives_the_golden_results(deck):
    again = make.golden(deck)
    for old, new in zip(stored(deck)["analyses"], again["analyses"], strict=True):
        for name, values in old["vectors"].items():
            expected = numbers(values)
            error = 10 * old.get("uncertainty", {}).get(name, 0.0)
            tolerance = error + 1e-6 * np.abs(expected).max() + 1e-15
            np.testing.assert_allclose(numbers(new["vectors"][name]), expected, rtol=0, atol=tolerance, err_msg=name)
        for name, value in old.get("measures", {}).items():
            error = 10 * old["measure_uncertainty"][name]
            assert new["measures"][name] == pytest.approx(value, rel=1e-5, abs=error)


def points(deck: Path, kind: str) -> tuple[float, ...]:
    """Times at which golden waveforms are kept."""
    return tuple(next(part for part in stored(deck)["analyses"] if part["kind"] == kind).get("points", ()))


def kept(name: str, results, part: dict) -> np.ndarray:
    """A vector of our results where the golden one is kept."""
    if name.endswith("noise_spectrum"):
        values = results[name].values
    else:
        inner = name[2:-1].split(",")
        values = [results[f"{name[0]}({one})"].values for one in inner]
        values = values[0] - values[1] if len(values) > 1 else values[0]
    values = np.atleast_1d(values).ravel()
    return values if "index" not in part else values[part["index"]]


LIMITS = {"op": 1e-6, "dc": 1e-6, "ac": 1e-6, "tran": 1e-4}


# decks whose programs take more than ten seconds to compile
LONG = {
    "attention_block", "bjt_amplifier", "bridge_rectifier", "cmos_inverter_chain", "controlled_sources", "diode_clamp",
    "gilbert_cell", "ring_oscillator", "softmax_cell",
}  # fmt: skip


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize(
    "deck", [pytest.param(deck, id=deck.stem, marks=[pytest.mark.slow] * (deck.stem in LONG)) for deck in DECKS]
)
def test_our_simulator_gives_the_golden_results(deck):
    """Voltages and currents to 1e-6, waveforms to 1e-4 of full scale, noise to 1 %; measures like their analysis."""
    file = read(deck)
    run = FileRun(file)
    for analysis, part in zip(file.analyses, stored(deck)["analyses"], strict=True):
        kind = part["kind"]
        results = run.waves(analysis, points(deck, kind)) if kind == "tran" else run.run(analysis)
        sampled = results.sel(time=part["points"], method="nearest") if kind == "tran" else results
        for name, values in part["vectors"].items():
            expected, found = numbers(values), kept(name, sampled, part)
            if kind == "noise":
                np.testing.assert_allclose(found, expected, rtol=1e-2, err_msg=name)
                continue
            known = 10 * part.get("uncertainty", {}).get(name, 0.0) + 1e-15
            limit = LIMITS[kind] * np.abs(expected).max() + known
            np.testing.assert_allclose(found, expected, rtol=0, atol=limit, err_msg=name)
        measured = evaluate(file.measures, {kind: results})
        for name, value in part.get("measures", {}).items():
            uncertain = 10 * part["measure_uncertainty"][name] + 1e-6 * abs(value)
            assert measured[name] == pytest.approx(value, rel=LIMITS[kind], abs=uncertain), name


def test_ringing_has_the_closed_form():
    """Series RLC, 50 ohm, 10 uH, 100 pF: overshoot and period of the step response."""
    transient = next(
        part for part in stored(HERE.parent / "netlists" / "rlc.cir")["analyses"] if part["kind"] == "tran"
    )
    decay, square = 50 / (2 * 10e-6), 1 / (10e-6 * 100e-12)
    omega = np.sqrt(square - decay**2)
    assert transient["measures"]["overshoot"] == pytest.approx(1 + np.exp(-np.pi * decay / omega), rel=1e-4)
    assert transient["measures"]["period"] == pytest.approx(2 * np.pi / omega, rel=1e-4)


def test_the_butterworth_corner_is_at_ten_kilohertz():
    ac = stored(HERE.parent / "netlists" / "opamp_filter.cir")["analyses"][0]
    assert ac["measures"]["corner"] == pytest.approx(10e3, rel=1e-3)


def test_the_crossbar_with_wires_is_a_linear_system():
    """Operating point of the crossbar deck against a dense nodal analysis of its R and V lines."""
    deck = HERE.parent / "netlists" / "crossbar_wires_8x8.cir"
    lines = [line.lower().split() for line in make.statements(deck.read_text())]
    resistors = [(w[1], w[2], 10.0 if w[3] == "{rw}" else float(w[3])) for w in lines if w[0][0] == "r"]
    held = {w[1]: float(w[4] if w[3] == "dc" else w[3]) for w in lines if w[0][0] == "v"}
    nodes = sorted({n for a, b, _ in resistors for n in (a, b)})
    place = {n: k for k, n in enumerate(nodes)}
    laplacian = np.zeros((len(nodes), len(nodes)))
    for a, b, ohms in resistors:
        i, j = place[a], place[b]
        laplacian[[i, j, i, j], [i, j, j, i]] += np.array([1, 1, -1, -1]) / ohms
    v = np.array([held.get(n, 0.0) for n in nodes])
    free = np.array([n not in held for n in nodes])
    v[free] = np.linalg.solve(laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, ~free)] @ v[~free])
    currents = -laplacian @ v  # into each node from the network, hence through its source to ground
    op = stored(deck)["analyses"][0]
    for column in range(1, 9):
        got = numbers(op["vectors"][f"i(vc{column})"])[0]
        assert got == pytest.approx(currents[place[f"c{column}_9"]], rel=1e-7, abs=1e-12)
