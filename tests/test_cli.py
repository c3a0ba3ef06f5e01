"""The command line: one JSON object with the promised keys, exit codes, and refusals that leave nothing behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analogep.ep.estimators import MODEL_RULES
from analogep.spec import Spec, load_spec
from analogep.training.problem import build

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = {
    "model.tokens": 3, "model.channels": 4, "model.heads": 2, "model.ffn": 4, "compile.level": "ideal",
    "oracle.steps": 200,
}  # fmt: skip
COMMON = {"versions", "seed", "wall_seconds"}
SPICE = {"max_error", "settled_error", "speedup"}


@pytest.fixture
def text(tmp_path):
    """A text of few characters, so that the readout stays small."""
    path = tmp_path / "text.txt"
    path.write_text("abcde abc. " * 30, encoding="utf-8")
    return path


@pytest.fixture
def run(text, command_line):
    """run(verb, option, ..., key=value) -> (exit code, stdout, stderr)."""

    def call(verb, *rest, **changes):
        settings = {**TINY, "data.text": text, **{key.replace("__", "."): value for key, value in changes.items()}}
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return command_line(verb, *(sets if verb not in ("doctor", "--help") and "--help" not in rest else []), *rest)

    return call


@pytest.fixture
def ok(run):
    """The JSON object of a run that must end in 0 (or in `code`)."""

    def call(*arguments, code=0, **changes):
        found, out, err = run(*arguments, "--json", **changes)
        assert found == code, err
        result = json.loads(out)  # one object, and nothing else on stdout
        assert result.keys() >= COMMON
        assert result["wall_seconds"] > 0
        assert {"python", "jax", "diffrax"} <= set(result["versions"])
        return result

    return call


def test_doctor(ok):
    result = ok("doctor")
    assert result["checks"]["float64"]["ok"]
    assert {"jax", "ngspice", "PySpice", "GPU", "compiled numbers"} <= set(result["checks"])


def test_compile(ok, tmp_path):
    path = tmp_path / "summary.json"
    result = ok("compile", "-o", path, seed=5)
    assert result["seed"] == 5
    assert result["level"] == "ideal"
    assert {"nodes", "states", "crossbars", "cells", "conductances", "capacitors", "primitives"} <= set(result)
    assert json.loads(path.read_text()) == result


def test_a_spec_file_and_overrides(run, ok, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text('seed = 3\n[model]\ndamping = 2.5\n[compile]\nlevel = "parasitic"\n')
    result = ok("compile", path)
    assert (result["seed"], result["level"]) == (3, "ideal")  # --set comes last
    code, out, err = run("compile", path)
    assert code == 0
    assert out == ""
    assert "primitives" in err


def test_compare_on_the_circuit(ok, tmp_path):
    path = tmp_path / "compared.json"
    result = ok("compare", "-o", path)
    assert result["system"] == "circuit"
    assert {"vector_field_ep", "vector_field_ep_one_sided", "asym_ep", "twin"} <= set(result["estimators"])
    for row in result["estimators"].values():
        assert {"cosine", "relative_error", "norm_ratio", "local", "residual", "converged"} <= set(row)
    for name in ("asym_ep", "twin"):
        assert result["estimators"][name]["cosine"] >= 0.9999
        assert result["estimators"][name]["relative_error"] <= 1e-3
    assert result["estimators"]["twin"]["relative_error"] <= 1e-10
    assert result["estimators"]["twin"]["local"]
    assert not result["estimators"]["asym_ep"]["local"]  # at `ideal` lambda is known at z only, and is contracted
    assert result["estimators"]["vector_field_ep"]["relative_error"] > 0.1
    for oracle in ("bptt", "circuit_bptt"):
        assert result[oracle]["cosine"] > 0.9999
        assert result[oracle]["relative_error"] < 1e-3
    assert 0 <= result["residual"] < 1e-10
    assert json.loads(path.read_text()) == result


@pytest.mark.slow
def test_compare_on_a_conservative_model(ok):
    """F(z) itself at asymmetry 0: every estimator is right, plain EP is equilibrium propagation there."""
    changes = {"model__asymmetry": 0.0, "data__objective": "last_token"}
    result = ok("compare", "--system", "model", **changes)
    assert result["system"] == "model"
    assert set(result["estimators"]) == set(MODEL_RULES)
    assert result["estimators"]["twin"]["relative_error"] <= 1e-10
    assert all(row["relative_error"] <= 1e-3 for row in result["estimators"].values())
    assert not any(row["local"] for row in result["estimators"].values())


def test_diagnose(ok):
    result = ok("diagnose")
    numbers = {
        *("spectral_abscissa", "numerical_abscissa", "rho_sinv_a", "peak_growth", "hopf_frequency"),
        *("asymmetry_ratio", "lyapunov_finite_time", "contraction_margin"),
    }
    assert numbers <= set(result)
    assert result["spectral_abscissa"] < 0
    assert result["spectral_abscissa"] <= result["numerical_abscissa"] + 1e-9
    assert result["peak_growth"] >= 1


@pytest.mark.spice
def test_export_of_the_free_phase(ok, tmp_path):
    path = tmp_path / "free.cir"
    result = ok("export", "--check", "-o", path)
    assert set(result["spice"]) >= SPICE
    assert result["spice"]["settled_error"] <= 1e-6
    assert result["spice"]["max_error"] <= 1e-4
    assert result["spice"]["speedup"] > 0
    assert path.read_text().rstrip().endswith(".end")
    assert [entry.name for entry in tmp_path.iterdir() if "partial" in entry.name] == []


@pytest.mark.spice
def test_export_of_the_adjoint(ok):
    result = ok("export", "--phase", "adjoint", "--check")
    assert result["spice"]["settled_error"] <= 1e-6
    assert result["adjoint"]["network_error"] <= 1e-6


def test_export_prints_the_deck(run):
    code, out, _ = run("export", "--phase", "nudged")
    assert code == 0
    assert out.splitlines()[0].startswith("* equilibrium transformer")
    assert out.rstrip().endswith(".end")


@pytest.mark.spice
def test_simulate_in_both(ok, tmp_path):
    path = tmp_path / "waves.nc"
    result = ok("simulate", "--op", "--tran", "--horizon", "6", "--points", "31", "--backend", "both", "-o", path)
    assert set(result["spice"]) >= SPICE
    assert result["spice"]["settled_error"] <= 1e-6
    assert result["spice"]["max_error"] <= 1e-4
    with xr.open_dataset(path, engine="h5netcdf") as data:
        assert data.sizes["time"] == 31
        np.testing.assert_allclose(data["z"][-1], data["z_op"], rtol=0, atol=0.02 * float(np.abs(data["z_op"]).max()))


BAD = [
    (("compile", "--set", "model.chanels=4"), r"model\.chanels: unknown key; did you mean model\.channels"),
    (("compile", "--set", "modle.tokens=4"), "modle"),
    (("compile", "--set", "model.tokens=eight"), r"model\.tokens = 'eight'"),
    (("compile", "--set", "model.tokens=true"), r"model\.tokens = True"),
    (("compile", "--set", "model.tokens"), "must look like key=value"),
    (("compile", "--set", "technology.farads=-1.0"), r"technology\.farads = -1\.0: must be greater than 0"),
    (("compile", "--set", "model.heads=3"), r"model\.heads = 3: must divide"),
    (("compile", "--set", "compile.level=foundry"), r"compile\.level = 'foundry'"),
    (("compare", "--set", "model.asymmetry=0.0"), "reciprocity excludes causality"),
    (("compare", "--set", "phases.beta=0"), r"phases\.beta"),
    (("compile", "--set", "data.text=nowhere.txt"), "nowhere.txt: cannot read the text"),
    (("compile", "--set", "model.checkpoint=nowhere.npz"), "nowhere.npz: no such checkpoint"),
    (("compile", "nowhere.toml"), "nowhere.toml: cannot read the spec"),
    (("diagnose", "amplifier.cir"), r"amplifier\.cir: expected a spec in TOML"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda value: " ".join(value)[:60] if value else "")
def test_bad_input_is_refused_in_one_line(run, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # settings come before the arguments, so a bad one of these wins
    before = sorted(entry.name for entry in tmp_path.iterdir())
    code, out, err = run(*arguments, "--json", "-o", "out.json")
    assert code == 2
    assert out == ""
    assert re.search(words, err), err
    assert err.startswith("analogep: ")
    assert err.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("compile", "--colour"),
        ("transmogrify",),
        ("export", "--phase", "sideways"),
        ("export", "--dialect", "ltspice9"),
        ("simulate", "--points", "1"),
        ("simulate", "--backend", "abacus"),
        ("compare", "--system", "sun"),
    ],
    ids=" ".join,
)
def test_bad_options_are_refused(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert "Usage" in err


def test_text_outside_a_checkpoints_vocabulary(run, text, tmp_path):
    problem = build(load_spec(None, [f"{key}={value}" for key, value in {**TINY, "data.text": text}.items()]))
    path = tmp_path / "start.npz"
    problem.save(path, problem.weights)
    text.write_text("abcde abc!\n" * 30)
    code, out, err = run("compile", model__checkpoint=path)
    assert (code, out) == (2, "")
    assert "character '!' at position 9" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", [("simulate",), ("diagnose",)], ids=" ".join)
def test_what_does_not_settle_ends_in_three(run, verb, tmp_path):
    path = tmp_path / "result"
    code, out, err = run(*verb, "--json", "-o", path, phases__horizon=0.01)
    assert code == 3
    assert out == ""
    assert "did not settle: relative residual" in err
    assert "phases.horizon" in err
    assert err.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("verb", [("compile",), ("export",), ("simulate",)], ids=" ".join)
def test_a_missing_folder_is_refused_and_nothing_is_left(run, verb, tmp_path):
    path = tmp_path / "missing" / ("result.nc" if verb == ("simulate",) else "result.json")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*verb, "--json", "-o", path)
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith(f"analogep: {path}: cannot write the file")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_ngspice_is_said_in_one_line(run, ok, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "deck.cir"
    code, out, err = run("export", "--check", "--json", "-o", path)
    assert (code, out) == (2, "")
    assert err.startswith("analogep: ngspice is not installed: install it with")
    assert err.count("\n") == 1
    assert not path.exists()
    assert not ok("doctor")["checks"]["ngspice"]["ok"]  # absent, but not needed


def test_help_names_every_verb(run):
    code, out, _ = run("--help")
    assert code == 0
    for verb in ("demo", "doctor", "compile", "export", "simulate", "diagnose", "compare"):
        assert verb in out


def test_the_installed_program(tmp_path):
    """The entry point itself, in a process of its own and with a bare environment."""
    program = Path(sys.executable).with_name("analogep")
    command = [str(program)] if program.exists() else [sys.executable, "-c", "from analogep.cli import main; main()"]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    def call(*arguments):
        return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment)

    refused = call("compare", "--set", "technology.farads=-1.0", "--json")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith("analogep: technology.farads = -1.0")
    assert refused.stderr.count("\n") == 1
    done = call("compile", "--json", *(part for k, v in TINY.items() for part in ("--set", f"{k}={v}")))
    assert done.returncode == 0
    assert json.loads(done.stdout)["seed"] == Spec().seed
    assert list(tmp_path.iterdir()) == []
