"""The suite notices wrong signs: one is flipped in a copy of the package, and tests that ran must fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import analogep

TESTS = Path(__file__).parent
PROBE = "import analogep, pathlib; print(pathlib.Path(analogep.__file__).resolve())"

MUTATIONS = {
    "cell: layer norm's variance": (
        "cells/layer_norm.py",
        "jnp.sqrt((centered**2).mean(-1, keepdims=True) + epsilon)",
        "jnp.sqrt((centered**2).mean(-1, keepdims=True) - epsilon)",
        ["test_compile.py::test_ideal_current_is_minus_the_force[free]"],
    ),
    "adjoint: transposed cells": (
        "cells/cell.py",
        "out[bus] = out.get(bus, 0.0) - self.siemens * self.gain * part",
        "out[bus] = out.get(bus, 0.0) + self.siemens * self.gain * part",
        ["test_conformance.py::test_adjoint_is_the_transpose[layer_norm]"],
    ),
    "adjoint: one direction of an array": (
        "netlist/arrays.py",
        "self.weights, transpose=not self.transpose),)",
        "self.weights, transpose=self.transpose),)",
        ["test_conformance.py::test_adjoint_is_the_transpose[crossbar_buffered]"],
    ),
    "exporter: polarity of an array's devices": (
        "netlist/arrays.py",
        'out, sign = (f"0 {target}", "p") if value > 0 else (f"{target} 0", "n")',
        'out, sign = (f"{target} 0", "p") if value > 0 else (f"{target} 0", "n")',
        ["test_conformance.py::test_law_against_ngspice[crossbar_buffered]"],
    ),
    "rules: sign of a term": (
        "learning/rule.py",
        "total[name] = total.get(name, 0.0) + term.sign * product",
        "total[name] = total.get(name, 0.0) - term.sign * product",
        ["test_rules.py::test_a_crossbar_sums_outer_products_over_its_copies"],
    ),
    "condensation: sign of what a token adds": (
        "diagnostics/condensation.py",
        "touched[first] : touched[-1] + 1] -= part",
        "touched[first] : touched[-1] + 1] += part",
        ["test_condensation.py::test_what_joins_lanes_is_the_smallest_cover"],
    ),
    "noise: the network instead of its adjoint": (
        "simulate/nodal/small_signal.py",
        "lam = nodal.pattern.transposed_solve(",
        "lam = nodal.pattern.solve(",
        ["test_nodal_noise.py::test_the_spectrum_integrates_to_the_variance[active]"],
    ),
    "AC: direction of a current source": (
        "simulate/nodal/small_signal.py",
        "unit[nodal.place[source.a]] -= 1.0",
        "unit[nodal.place[source.a]] += 1.0",
        ["test_nodal_physics.py::test_phasors_of_floating_sources"],
    ),
    "inductors: square root of the coupling": (
        "netlist/elements/passive.py",
        "self.k * jnp.sqrt(jnp.asarray(self.first_henries) * jnp.asarray(self.second_henries))",
        "self.k * jnp.asarray(self.first_henries) * jnp.asarray(self.second_henries)",
        ["test_nodal_physics.py::test_mutual_inductance"],
    ),
    "transient: row of the stages": (
        "simulate/nodal/dae.py",
        "lower[n] @ slopes",
        "lower[n - 1] @ slopes",
        ["test_nodal_physics.py::test_a_tank_keeps_its_energy"],
    ),
    "transient: corners of waveforms": (
        "simulate/nodal/transient.py",
        "wave.breakpoints(stop)], stop)",
        "wave.breakpoints(0.0)], stop)",
        ["test_nodal_physics.py::test_steps_end_at_the_corners_of_a_pulse"],
    ),
    "continuation: sign of its conductance": (
        "simulate/nodal/operating_point.py",
        "* off + homotopy.gmin * nodes",
        "* off - homotopy.gmin * nodes",
        ["test_nodal_physics.py::test_what_continuations_add"],
    ),
    "tile: sources above a block": (
        "netlist/elimination.py",
        "x = p @ (x + ohms * _widen(",
        "x = p @ (x - ohms * _widen(",
        ["test_tile.py::test_effective_matrix_is_the_dense_solution[shape0-both sides]"],
    ),
    "AsymEP: the transpose in its correction": (
        "learning/altered.py",
        "forward[bus] - back[bus] for bus in rest",
        "forward[bus] + back[bus] for bus in rest",
        ["test_ernoult.py::test_every_nudged_step_is_a_step_of_backpropagation[symmetric-True]"],
    ),
    "calibration: direction of a trim": (
        "learning/calibration.py",
        "np.where(stable, trims - step,",
        "np.where(stable, trims + step,",
        ["test_calibration.py::test_a_probe_projects_on_the_trims_that_explain_it"],
    ),
    "raw file: imaginary part": (
        "netlist/spice/raw.py",
        "complex(*numbers) if is_complex",
        "complex(*numbers).conjugate() if is_complex",
        ["test_raw.py::test_layout_of_ngspice_ascii"],
    ),
}


ALWAYS = 1
"""Mutations of the default suite; the others run with `-m slow`."""


def marked(name):
    """A mutation with its marks."""
    marks = [pytest.mark.spice] if "exporter" in name else []
    return pytest.param(name, marks=marks + [pytest.mark.slow] * (list(MUTATIONS).index(name) >= ALWAYS))


@pytest.fixture
def copied(tmp_path):
    """A copy of the package that a process started with it finds first."""
    package = tmp_path / "analogep"
    shutil.copytree(Path(analogep.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def run_in(package, *arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    # away from the checkout, whose own package would be found first
    return subprocess.run(command, capture_output=True, text=True, cwd=package.parent, env=environment, check=False)


def suite(package, nodes):
    options = ("-p", "no:cacheprovider", "-q", "--rootdir", str(TESTS.parent))
    config = ("-c", str(TESTS.parent / "pyproject.toml"))
    return run_in(package, "-m", "pytest", *options, *config, *(str(TESTS / node) for node in nodes))


def flip(package, name):
    """Exchange the one place; a mutation whose text is gone, or stands there twice, is no test."""
    file, text, wrong, _ = MUTATIONS[name]
    path = package / file
    source = path.read_text(encoding="utf-8")
    assert source.count(text) == 1, f"{file} must hold exactly once: {text}"
    path.write_text(source.replace(text, wrong), encoding="utf-8")


@pytest.mark.spice
def test_the_copy_is_used_and_passes(copied):
    assert run_in(copied, "-c", PROBE).stdout.strip() == str((copied / "__init__.py").resolve())
    nodes = sorted({node for *_, chosen in MUTATIONS.values() for node in chosen})
    done = suite(copied, nodes)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert f"{len(nodes)} passed" in done.stdout


@pytest.mark.parametrize("name", [marked(name) for name in MUTATIONS])
def test_a_flipped_sign_is_noticed(copied, name):
    flip(copied, name)
    nodes = MUTATIONS[name][3]
    done = suite(copied, nodes)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-1000:]  # 1: tests ran, and some failed
    assert f"{len(nodes)} failed" in done.stdout
    assert "AssertionError" in done.stdout
