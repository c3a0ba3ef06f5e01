"""The ngspice runner: answers, failures that ngspice reports in different ways, and text that is refused."""

import os
import stat
import time

import numpy as np
import pytest

from analogep.errors import ConvergenceError, MissingToolError, NetlistError
from analogep.simulate import ngspice

RC = "* rc\nV1 in 0 DC 0.1\nR1 in out 100k\nC1 out 0 10f\n"
TAU = 1e-9


def deck(body: str, *commands: str) -> str:
    return "\n".join(("* test", body, *commands, ".end", ""))


@pytest.mark.spice
def test_operating_point_and_transient_of_one_deck():
    text = RC + f"{ngspice.ACCURATE}\n.tran 1e-11 1e-8 0 1e-11 uic\n.op\n.end\n"
    plots = {plot.name: plot for plot in ngspice.run_deck(text)}
    assert set(plots) == {"Operating Point", "Transient Analysis"}
    np.testing.assert_allclose(plots["Operating Point"].data["v(out)"], [0.1], rtol=1e-12)
    times, volts = (plots["Transient Analysis"].data[name] for name in ("time", "v(out)"))
    assert 0 < times[0] <= 1e-11 / 99
    np.testing.assert_allclose(times[-1], 1e-8)
    assert np.abs(volts - 0.1 * (1 - np.exp(-times / TAU))).max() < 0.1 * 4e-6


@pytest.mark.spice
def test_every_kind_of_plot_arrives():
    text = (
        RC.replace("DC 0.1", "DC 0.1 AC 1") + ".ac dec 3 1meg 1g\n.op\n.dc V1 0 1 0.5\n.noise v(out) V1 dec 3 1k 1g\n"
    )
    plots = {plot.name: plot for plot in ngspice.run_deck(text + ".end\n")}
    assert {"AC Analysis", "Operating Point", "DC transfer characteristic"} < set(plots)
    frequency, gain = (plots["AC Analysis"].data[name] for name in ("frequency", "v(out)"))
    np.testing.assert_allclose(gain, 1 / (1 + 2j * np.pi * frequency.real * TAU), rtol=1e-9)
    np.testing.assert_allclose(plots["DC transfer characteristic"].data["v(out)"], [0, 0.5, 1], atol=1e-12)


@pytest.mark.spice
def test_version_is_a_number():
    assert int(ngspice.version().split(".")[0].split("+")[0]) >= 30


@pytest.mark.spice
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (deck("V1 1 0 1\nV2 1 0 2\nR1 1 0 1k", ".op"), "V2|v2|singular|failed"),
        (deck("I1 0 1 1m\nC1 1 0 1p", ".op"), "singular matrix"),
        (deck("V1 1 0 1\nR1 1 2 1k\nR2 3 4 1k", ".op"), "singular matrix"),
        (deck("B1 1 0 V=sqrt(5n-time)\nR1 1 0 1k", ".tran 1n 10n"), "timestep too small|out of range"),
        (deck("B1 1 0 V=foo(1)\nR1 1 0 1k", ".op"), "foo"),
        (deck("V1 1 0 1\nR1 1 0 1k"), "no raw file"),
    ],
)
def test_failures_are_errors_with_the_log(text, reason):
    with pytest.raises(ConvergenceError, match=rf"(?i){reason}") as caught:
        ngspice.run_deck(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000


@pytest.mark.spice
def test_a_singular_start_that_gmin_stepping_overcomes_is_an_answer():
    (plot,) = ngspice.run_deck(deck("I1 0 1 1m\nB1 1 0 I=v(1)^3", ".op"))
    np.testing.assert_allclose(plot.data["v(1)"], [0.1], rtol=1e-6)


@pytest.mark.spice
def test_settings_of_the_user_are_not_read(tmp_path, monkeypatch):
    (tmp_path / ".spiceinit").write_text("set filetype=ascii\nshell touch ran\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPICE_ASCIIRAWFILE", "1")
    monkeypatch.setenv("SPICE_SCRIPTS", str(tmp_path))
    (plot,) = ngspice.run_deck(RC + ".op\n.end\n")
    assert plot.data["v(out)"].shape == (1,)
    assert [path.name for path in tmp_path.iterdir()] == [".spiceinit"]


@pytest.mark.spice
def test_the_folder_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ngspice.run_deck(RC + ".op\n.end\n")
    with pytest.raises(ConvergenceError):
        ngspice.run_deck(RC + ".end\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.spice
def test_timeout_is_a_convergence_error():
    start = time.monotonic()
    with pytest.raises(ConvergenceError, match=r"0\.2 s"):
        ngspice.run_deck(RC + ".tran 1e-15 1 0 1e-15\n.end\n", timeout=0.2)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "line",
    [
        ".control",
        "  .CONTROL",
        ".include other.cir",
        ".inc other.cir",
        ".lib models.lib tt",
        ".exec rm",
        "shell rm x",
        "SHELL rm x",
        "*# shell rm x",
        "*ng_script",
        ".con\\\\",
        "R1 1 0 `id`",
        "A1 [a] [b] x\n.model x d_process(process_file=run)",
        ".csparam x=1",
        ".spiceinit",
    ],
)
def test_text_that_could_run_commands_is_refused(line, monkeypatch):
    monkeypatch.setattr(ngspice, "run_alone", lambda *_: pytest.fail("ngspice was started"))
    with pytest.raises(NetlistError, match=r"line 2|line 3"):
        ngspice.run_deck(f"* title\n{line}\nR1 1 0 1k\n.op\n.end\n")


def test_missing_tool_says_how_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (ngspice.find_ngspice, ngspice.version, lambda: ngspice.run_deck(RC + ".op\n.end\n")):
        with pytest.raises(MissingToolError, match="apt install ngspice"):
            call()


def test_a_program_that_does_not_run_is_a_missing_tool(monkeypatch, tmp_path):
    program = tmp_path / "ngspice"
    program.write_text("not a program")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep)
    with pytest.raises(MissingToolError, match="did not run"):
        ngspice.run_deck(RC + ".op\n.end\n")
