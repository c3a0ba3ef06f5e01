"""`simulate` on SPICE decks: keys, files, figures, choices of analyses, refusals and exit codes."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analogep.netlist.spice.raw import read_raw

pytestmark = pytest.mark.usefixtures("quick_compilation")

DECK = """low pass
.param r=1k
V1 in 0 dc 1 ac 1 pulse(0 1 1u 10n 10n 5u 20u)
R1 in out {r}
C1 out 0 1n
.op
.ac dec 2 1k 1meg
.tran 0.1u 4u
.meas tran high max v(out)
.meas ac corner find vdb(out) at=1k
.print tran v(out)
.end
"""


@pytest.fixture
def deck(tmp_path):
    path = tmp_path / "low_pass.cir"
    path.write_text(DECK, encoding="utf-8")
    return path


@pytest.fixture
def run(command_line):
    """run(argument, ...) -> (exit code, stdout, stderr) of `analogep simulate`."""
    return partial(command_line, "simulate")


def test_own_analysis_lines(deck, run, tmp_path):
    raw, figure = tmp_path / "out.raw", tmp_path / "out.png"
    code, out, err = run(deck, "--json", "-o", raw, "--plot", figure)
    assert code == 0, err
    result = json.loads(out)
    assert {"versions", "seed", "wall_seconds", "title", "deck", "backend", "analyses", "measures"} <= set(result)
    assert [one["kind"] for one in result["analyses"]] == ["op", "ac", "tran"]
    assert result["analyses"][0]["range"]["v(out)"] == [1.0, 1.0]
    assert result["measures"]["high"] == pytest.approx(1 - np.exp(-2.995), abs=2e-3)
    assert result["measures"]["corner"] == pytest.approx(-10 * np.log10(1 + (2 * np.pi * 1e-3) ** 2), abs=1e-9)
    plots = read_raw(raw)
    assert [plot.name for plot in plots] == ["Operating Point", "AC Analysis", "Transient Analysis"]
    assert {"v(in)", "v(out)", "i(v1)"} <= set(plots[2].data)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_netcdf_has_a_group_for_each_analysis(deck, run, tmp_path):
    path = tmp_path / "out.nc"
    code, _, err = run(deck, "--op", "--ac", "-o", path)
    assert code == 0, err
    small = xr.load_dataset(path, group="ac", engine="h5netcdf")
    assert small["v(out)"].dims == ("frequency", "part")
    phasor = small["v(out)"].sel(part="real").values + 1j * small["v(out)"].sel(part="imaginary").values
    np.testing.assert_allclose(phasor, 1 / (1 + 2j * np.pi * small["frequency"].values * 1e-6), rtol=1e-12)
    assert xr.load_dataset(path, group="op", engine="h5netcdf")["v(out)"].attrs["units"] == "V"


@pytest.mark.spice
def test_both_simulators(deck, run):
    code, out, err = run(deck, "--backend", "both", "--json")
    assert code == 0, err
    spice = json.loads(out)["spice"]
    assert {"max_error", "settled_error", "speedup"} <= set(spice)
    assert spice["max_error"] <= 1e-4
    assert spice["settled_error"] <= 1e-9
    assert all(one["max_error"] <= one["limit"] for one in spice["analyses"])


def test_an_analysis_line_takes_the_place_of_the_decks_own(deck, run):
    code, out, err = run(deck, "--analysis", ".dc v1 0 1 0.5", "--json")
    assert code == 0, err
    (only,) = json.loads(out)["analyses"]
    assert (only["kind"], only["points"]) == ("dc", 3)


def test_a_deck_that_asks_for_nothing_gets_its_operating_point(deck, run):
    deck.write_text("\n".join(line for line in DECK.splitlines() if line[:3] not in (".op", ".ac", ".tr", ".me")))
    code, out, err = run(deck, "--json")
    assert code == 0, err
    assert [one["kind"] for one in json.loads(out)["analyses"]] == ["op"]


def test_a_stimulus_for_a_deck_without_one(deck, run):
    deck.write_text(DECK.replace("ac 1 ", ""), encoding="utf-8")
    code, _, err = run(deck, "--ac")
    assert code == 2
    assert "AC" in err
    code, out, err = run(deck, "--ac", "--stimulus", "v1", "--json")
    assert code == 0, err
    assert json.loads(out)["analyses"][0]["range"]["v(in)"] == pytest.approx([1.0, 1.0], rel=1e-12)


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (DECK, ("--noise",), ("no .noise line", "--analysis")),
        (DECK, ("--analysis", ".four 1k v(out)"), (".op", ".tran")),
        (DECK, ("--stimulus", "v9"), ("v9", "v1")),
        (DECK, ("--set", "seed=1"), ("--set", ".param")),
        (DECK.replace("R1 in", "Z1 in"), (), ("low_pass.cir:4", "z1")),
        (DECK.replace(".op", ".control\nshell rm -r x\n.endc"), (), ("low_pass.cir:6", ".control")),
        (DECK.replace("C1 out 0", "C1 out x"), (), ("floats",)),
        (DECK.replace(".op", '.include "/etc/passwd"'), (), ("low_pass.cir:6",)),
    ],
)
def test_bad_input(deck, run, tmp_path, text, arguments, words):
    deck.write_text(text, encoding="utf-8")
    output = tmp_path / "out.raw"
    code, out, err = run(deck, "-o", output, *arguments)
    assert code == 2
    assert not out
    assert not output.exists()
    flat = " ".join(err.split()).lower()
    for word in words:
        assert word.lower() in flat


def test_a_missing_deck(run, tmp_path):
    code, _, err = run(tmp_path / "nothing.cir")
    assert code == 2
    assert "nothing.cir" in err


def test_files_below_a_folder_may_be_included(deck, run, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "r.lib").write_text(".subckt res a b\nR1 a b 1k\n.ends\n", encoding="utf-8")
    inner = tmp_path / "decks"
    inner.mkdir()
    path = inner / "user.cir"
    text = 'user\n.include "../parts/r.lib"\nV1 a 0 1\nX1 a 0 res\n.op\n.end\n'
    path.write_text(text, encoding="utf-8")
    assert run(path)[0] == 2
    code, out, err = run(path, "--include", tmp_path, "--json")
    assert code == 0, err
    assert json.loads(out)["analyses"][0]["range"]["i(v1)"] == pytest.approx([-1e-3, -1e-3])


@pytest.mark.slow
def test_a_compiled_circuit_as_a_deck(run, tmp_path):
    text = Path(tmp_path / "text.txt")
    text.write_text("abcde abc. " * 30, encoding="utf-8")
    tiny = {"model.tokens": 2, "model.channels": 4, "model.heads": 1, "model.ffn": 4, "data.text": text}
    sets = [part for key, value in tiny.items() for part in ("--set", f"{key}={value}")]
    code, out, err = run(*sets, "--analysis", ".ac dec 1 1meg 1g", "--stimulus", "vtoken_0_0", "--json")
    assert code == 0, err
    ranges = json.loads(out)["analyses"][0]["range"]
    assert ranges["v(token_0_0)"] == pytest.approx([1.0, 1.0], rel=1e-12)
    assert ranges["v(z_1_0)"][1] > 0


def test_options_of_specs_are_refused_for_decks(deck, run):
    code, _, err = run(deck, "--points", 7)
    assert code == 2
    assert "--points are for specs" in " ".join(err.split())


@pytest.mark.spice
def test_nodes_that_are_numbers_keep_their_names_in_every_backend(run, tmp_path):
    path, figure = tmp_path / "numbered.cir", tmp_path / "n.png"
    path.write_text("numbers\nV1 1 0 1\nR1 1 2 1k\nR2 2 0 1k\n.op\n.print op v(2)\n.end\n", encoding="utf-8")
    for backend in ("jax", "ngspice", "pyspice"):
        code, out, err = run(path, "--backend", backend, "--json", "--plot", figure)
        assert code == 0, err
        assert json.loads(out)["analyses"][0]["range"]["v(2)"] == pytest.approx([0.5, 0.5])
