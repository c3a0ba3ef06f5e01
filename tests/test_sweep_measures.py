"""The built-in measures give what `diagnose` and `compare` give, though circuits share their compiled programs."""

import json

import jax
import numpy as np
import pytest
import xarray as xr

from analogep.diagnostics import panel as stability_panel
from analogep.learning.phases import CircuitPhases
from analogep.models.transformer import EquilibriumTransformer
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle
from analogep.spec import load_spec
from analogep.sweep import measures
from analogep.training import shared
from analogep.training.problem import build
from analogep.training.shared import Dialed, share
from analogep.verbs import circuit_of, compare

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = ("model.tokens=3", "model.channels=4", "model.heads=2", "model.ffn=4", "data.objective=last_token")
FIRST = ("model.asymmetry=0.3", "model.damping=0.8", "seed=3")
OTHER = ("model.asymmetry=0.7", "model.damping=2.0", "model.gain=0.7", "data.batch=1")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """spec(setting, ...): a small block over a text of few characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("abcde abc. " * 30, encoding="utf-8")
    return lambda *settings: load_spec(None, [*SMALL, f"data.text={path}", *settings])


def own(spec):
    """The circuit of a spec by itself, settled, and what it is settled with."""
    problem = build(spec)
    circuit, x, theta = circuit_of(problem)
    return circuit, settle(circuit, x, theta, options=problem.settle), x, theta


def test_circuits_that_differ_in_numbers_share_a_program(spec):
    first = share(spec(*FIRST))
    at = share(spec(*OTHER))
    assert at.circuit is first.circuit
    x = jax.tree.map(lambda rail: rail[0], dict(at.rails))
    before = settle(first.circuit, x, first.theta, options=first.problem.settle)
    programs = settle._cache_size()
    found = settle(at.circuit, x, at.theta, options=at.problem.settle)
    assert settle._cache_size() == programs
    _, settled, *_ = own(spec(*OTHER))
    for bus, volts in settled.v.items():
        np.testing.assert_allclose(found.v[bus], volts, rtol=0, atol=1e-12)
    assert np.max(np.abs(found.v["z"] - before.v["z"])) > 1e-3


@pytest.mark.parametrize("change", ["compile.epsilon=0.2", "model.ffn=8", "technology.volts=0.2", "phases.rtol=1e-5"])
def test_circuits_of_another_structure_do_not(spec, change):
    assert share(spec(*FIRST)).circuit is not share(spec(*FIRST, change)).circuit


def test_only_so_many_programs_are_kept(spec):
    for ffn in range(1, shared.KEPT + 3):
        share(spec(*FIRST, f"model.ffn={ffn}"))
    assert len(shared._kept) == shared.KEPT


@pytest.mark.parametrize(("level", "dense"), [("ideal", 400), ("parasitic", 0)], ids=["dense", "matrix-free"])
def test_the_panel_is_that_of_the_circuit_by_itself(spec, level, dense, monkeypatch):
    monkeypatch.setattr(measures, "DENSE", dense)
    measures.panel(spec(*FIRST, f"compile.level={level}"))
    found = measures.panel(spec(*OTHER, f"compile.level={level}"))
    circuit, settled, x, theta = own(spec(*OTHER, f"compile.level={level}"))
    matrix_free = level == "parasitic"
    wanted = stability_panel(circuit, settled.v, x, theta, horizon=None, matrix_free=matrix_free).to_dict()
    del wanted["lyapunov_finite_time"]
    assert found["converged"]
    assert found["settling_time"] == pytest.approx(float(settled.time), rel=1e-6)
    assert set(found) == {*wanted, "converged", "residual", "settling_time"}
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_a_circuit_that_does_not_settle_has_no_panel(spec):
    found = measures.panel(spec(*FIRST, "phases.horizon=0.01"))
    assert set(found) == {"residual", "converged"}
    assert not found["converged"]
    assert found["residual"] > 1e-3


@pytest.mark.parametrize("network", ["nudged", "output_nudged", "twin", "transposed", "reversed"])
def test_the_circuits_of_all_phases_take_the_numbers(spec, network):
    """Term by term against phases that were built for the other numbers."""
    share(spec(*FIRST))
    at, alone = share(spec(*OTHER)), CircuitPhases(build(spec(*OTHER)).compiled())
    template, wanted = (getattr(phases, f"{network}_circuit") for phases in (at.phases, alone))
    assert template is not wanted
    rng = np.random.default_rng(1)
    v = {bus: rng.uniform(-0.1, 0.1, shape.shape) for bus, shape in wanted.states.items()}
    x = {bus: rng.uniform(-0.1, 0.1, wanted.netlist.shape(bus)) for bus in wanted.inputs()}
    currents = wanted.current(v, x, wanted.theta)
    for bus, current in template.current(v, x, at.theta).items():
        np.testing.assert_allclose(current, currents[bus], rtol=1e-12, atol=1e-22, err_msg=bus)
    others = template.current(v, x, at.phases.circuit.theta)
    assert any(np.max(np.abs(others[bus] - currents[bus])) > 1e-9 for bus in currents)


@pytest.mark.slow
def test_the_fidelity_is_that_of_compare(spec):
    measures.fidelity(spec(*FIRST))
    found = measures.fidelity(spec(*OTHER))
    wanted = compare(spec(*OTHER, "oracle.circuit=false", "oracle.steps=2"))
    assert found["converged"]
    assert found["loss"] == pytest.approx(float(wanted.implicit.loss), rel=1e-12)
    names = {name.removesuffix("_cosine") for name in found if name.endswith("_cosine")}
    local = {name: row for name, row in wanted.rows.items() if row.local}
    assert names == set(local)
    for name, row in local.items():
        assert found[f"{name}_cosine"] == pytest.approx(row.total.cosine, abs=1e-7)
        assert found[f"{name}_relative_error"] == pytest.approx(row.total.relative_error, rel=1e-4, abs=1e-6)
    assert found["vector_field_ep_relative_error"] > 0.01
    assert found["twin_relative_error"] < 1e-9


@pytest.mark.parametrize("asymmetry", [0.0, 0.4, 1.0, 1.3])
@pytest.mark.parametrize("damping", [0.7, (0.5, 1.0, 2.0, 4.0)])
def test_the_dialed_model_is_the_model(asymmetry, damping):
    model = EquilibriumTransformer(3, 4, 2, 5, 7, damping, "mixed", asymmetry, layer_norm_epsilon=0.1)
    theta = model.init(jax.random.key(0))
    z, x = jax.random.normal(jax.random.key(1), (3, 4)), jax.random.normal(jax.random.key(2), (3, 10))
    dialed = Dialed.of(model)
    np.testing.assert_allclose(
        dialed.force(z, x, {**theta, **Dialed.setting(model)}), model.force(z, x, theta), rtol=1e-12, atol=1e-12
    )
    same = EquilibriumTransformer(3, 4, 2, 5, 7, 9.0, "mixed", asymmetry, layer_norm_epsilon=0.1)
    assert dialed == Dialed.of(same)
    assert hash(dialed) == hash(Dialed.of(same))


def test_theta_may_hold_numbers_of_elements(spec):
    """Against a circuit that was built with those numbers."""
    problem = build(spec(*FIRST))
    compiled = problem.compiled()
    circuit = Circuit(compiled.netlist, compiled.scale)
    leak = compiled.netlist.elements["z.leak"]
    rng = np.random.default_rng(0)
    siemens = rng.uniform(1e-5, 3e-5, leak.siemens.shape)
    changed = Circuit(compiled.netlist.replace_elements(leak.with_numbers({"siemens": siemens})), compiled.scale)
    v = {bus: rng.uniform(-0.1, 0.1, shape.shape) for bus, shape in circuit.states.items()}
    x = {"token": np.zeros(circuit.netlist.shape("token"))}
    given = circuit.current(v, x, {**circuit.theta, "z.leak.siemens": siemens})
    for bus, current in changed.current(v, x, changed.theta).items():
        np.testing.assert_allclose(given[bus], current, rtol=1e-14)
    assert circuit.numbers["z.leak.siemens"] == pytest.approx(1.8e-5)
    np.testing.assert_array_equal(changed.numbers["z.leak.siemens"], siemens)
    assert "z.damping.farads" not in circuit.numbers


def test_the_command_line(command_line, spec, tmp_path):
    settings = (*SMALL, "compile.level=ideal", f"data.text={spec().data.text}")
    small = [part for setting in settings for part in ("--set", setting)]
    path = tmp_path / "sweep.toml"
    path.write_text('[sweep.axes]\n"model.asymmetry" = [0.3, 0.7]\n')
    code, out, err = command_line(
        "sweep", path, *small, "--axis", "model.damping=0.8:3.2:3:log", "-o", tmp_path / "out", "--json"
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["path"] == str(tmp_path / "out" / "sweep.nc")
    assert (result["points"], result["done"], result["failed"], result["measured_now"]) == (6, 6, 0, 6)
    assert result["axes"] == {"model.asymmetry": 2, "model.damping": 3}
    assert result["seconds"] > 0
    assert {"versions", "seed", "wall_seconds"} <= set(result)
    with xr.open_dataset(result["path"], engine="h5netcdf") as data:
        alpha = data["spectral_abscissa"]
        assert alpha.dims == ("model.asymmetry", "model.damping")
        assert alpha.attrs["units"] == "1/tau"
        assert np.all(alpha < 0)
        assert np.all(np.diff(alpha, axis=1) < 0)  # more damping, faster decay
    assert {path.split("/")[-1] for path in result["figures"]} >= {"spectral_abscissa.png", "rho_sinv_a.png"}
    again = json.loads(command_line("sweep", path, *small, "--axis", "model.damping=0.8:3.2:3:log",
                                    "-o", tmp_path / "out", "--json")[1])  # fmt: skip
    assert again["measured_now"] == 0


def test_points_that_do_not_converge_end_in_three(command_line, tmp_path):
    axes = ("--axis", "seed=0,2", "--axis", "model.heads=2,3")
    code, out, err = command_line("sweep", *axes, "--measure", "sweep_tasks:choosy", "-o", tmp_path / "out", "--json")
    assert code == 3
    result = json.loads(out)
    assert (result["done"], result["failed"]) == (1, 3)
    assert result["status"] == {"done": 1, "unconverged": 1, "invalid": 2}
    assert "note: no measurement at seed = 0, model.heads = 3: model.heads = 3: must divide" in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "there is nothing to sweep"),
        (("--axis", "model.dampin=1,2"), "did you mean model.damping?"),
        (("--axis", "model.damping=-1,-2"), "model.damping = -1: must be a number greater than 0"),
        (("--axis", "seed=0,1", "--measure", "size"), "measure 'size' does not exist"),
        (("--axis", "seed=0,1", "--workers", "2", "--scheduler", "tcp://x:1"), "not both"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(command_line, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command_line("sweep", *options, "--json")
    assert (code, out) == (2, "")
    assert words in err
    assert err.startswith("analogep: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
