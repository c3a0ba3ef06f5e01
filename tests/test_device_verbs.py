"""Verbs at level `device`: what they simulate has its wires folded, what they write has every wire."""

import json
from functools import partial

import numpy as np
import pytest
from scipy.linalg import eigvals, eigvalsh

from analogep.compile import DeviceOptions
from analogep.decks import deck_of
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import Resistor
from analogep.netlist.wired import WiredCrossbar
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle
from analogep.spec import load_spec
from analogep.training.problem import build
from analogep.verbs import circuit_of

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = [
    "model.tokens=2", "model.channels=4", "model.ffn=3", "model.activation=tanh", "compile.level=device",
    "technology.siemens=5e-6",
]  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcde abc. " * 30, encoding="utf-8")
    return [*SMALL, f"data.text={path}"]


def test_verbs_simulate_the_folded_circuit(settings):
    """The same currents as with wires eliminated at every evaluation; all other elements are the same ones."""
    problem = build(load_spec(None, settings))
    circuit, _, theta = circuit_of(problem)
    compiled = problem.compiled().netlist
    assert set(circuit.netlist.elements) == set(compiled.elements)
    rng, bars = np.random.default_rng(0), 0
    v = {bus: 0.05 * rng.normal(size=compiled.shape(bus)) for bus in compiled.buses}
    for name, element in compiled.elements.items():
        ours = circuit.netlist.elements[name]
        if not isinstance(element, WiredCrossbar):
            assert type(ours) is type(element)
            continue
        bars += 1
        assert isinstance(ours, Crossbar)
        (found,), (expected,) = (e.currents(v, t, 0.0).values() for e, t in ((ours, theta), (element, compiled.arrays)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=name)
    assert bars == len(problem.weights)


def test_decks_of_a_spec_have_every_wire(settings):
    file = deck_of(load_spec(None, settings), [".op"], set(), horizon=1.0, points=2)
    wires = [e for e in file.netlist if isinstance(e, Resistor) and ".words" in e.name]
    assert len(wires) > 100


@pytest.mark.slow
def test_diagnose_agrees_with_the_circuit_that_is_not_folded(settings, command_line, monkeypatch):
    """Abscissas of a dense Jacobian of the circuit with its wires, in numpy; behavioral cells, which compile fast."""
    monkeypatch.setattr("analogep.training.problem.DeviceOptions", partial(DeviceOptions, transistors=()))
    sets = [part for setting in settings for part in ("--set", setting)]
    code, out, err = command_line("diagnose", *sets, "--json")
    assert code == 0, err
    found = json.loads(out)
    problem = build(load_spec(None, settings))
    circuit, x, theta = circuit_of(problem)
    rest = settle(circuit, x, theta, options=problem.settle).require("the free phase")
    compiled = problem.compiled()
    raw = Circuit(compiled.netlist, compiled.scale)
    g = np.asarray(raw.conductance(rest.v, x, raw.theta))
    root = np.sqrt(raw.capacitances)
    looped = [k for k, label in enumerate(raw.labels) if not label.startswith(("final", "logits", "prediction"))]
    jacobian = (-g / root[:, None] / root * raw.scale.seconds)[np.ix_(looped, looped)]  # readout follows, no more
    assert found["spectral_abscissa"] == pytest.approx(eigvals(jacobian).real.max(), rel=1e-6)
    assert found["numerical_abscissa"] == pytest.approx(eigvalsh((jacobian + jacobian.T) / 2).max(), rel=1e-6)
