"""Benchmarks print one table of ratios at the end; they judge nothing by themselves."""

import jax
import pytest

jax.config.update("jax_enable_compilation_cache", False)  # compiling is part of what some of them measure

ROWS: list[tuple[str, str, str, str]] = []


@pytest.fixture
def row():
    """Adds (what, measured, target, note) to the table."""

    def add(what: str, measured: str, target: str, note: str = "") -> None:
        ROWS.append((what, measured, target, note))

    return add


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    head = ("what", "measured", "target", "note")
    widths = [max(len(line[k]) for line in [head, *ROWS]) for k in range(4)]
    terminalreporter.section("analogep benchmarks")
    for line in [head, *ROWS]:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
