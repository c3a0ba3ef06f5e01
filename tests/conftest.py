"""Shared set-up of the tests: float64, and SPICE tests that are never left out silently."""

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)
# Modules and workers compile thousands of small programs that are the same: one finds what another has compiled.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

HAS_NGSPICE = shutil.which("ngspice") is not None
REQUIRE_SPICE = os.environ.get("ANALOGEP_REQUIRE_SPICE", "") not in ("", "0")
LEFT_OUT = "ngspice is not installed"


@pytest.fixture(scope="module", autouse=True)
def forgotten_programs() -> Iterator[None]:
    """Compiled programs are dropped with their module: thousands of them exhaust the memory maps that a process may
    have (65,530 on Linux), and XLA then ends in a segmentation fault."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """XLA without its costlier optimizations, for tests whose time goes into compiling programs that run once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """command_line(argument, ...) -> (exit code, stdout, stderr) of `analogep`, in this process."""
    from analogep.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["analogep", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def pytest_configure(config: pytest.Config) -> None:
    if REQUIRE_SPICE and not HAS_NGSPICE:
        raise pytest.UsageError("ANALOGEP_REQUIRE_SPICE is set, but ngspice is not on PATH: install it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if HAS_NGSPICE:
        return
    for item in items:
        if item.get_closest_marker("spice"):
            item.add_marker(pytest.mark.skip(reason=LEFT_OUT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if HAS_NGSPICE:
        return
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(LEFT_OUT in str(report.longrepr) for report in skipped)
    terminalreporter.write_sep("*", "SPICE TESTS LEFT OUT", red=True, bold=True)
    for line in (
        f"ngspice is not on PATH: {count} tests that compare this package with SPICE did not run.",
        "The result above says nothing about agreement with SPICE.",
        "Install ngspice (Debian, Ubuntu: sudo apt-get install ngspice) and run again;",
        "ANALOGEP_REQUIRE_SPICE=1 turns this warning into an error.",
    ):
        terminalreporter.write_line(f"*** {line}", red=True, bold=True)
    terminalreporter.write_sep("*", red=True, bold=True)
