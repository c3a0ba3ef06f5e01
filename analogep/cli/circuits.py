"""Verbs on circuits: doctor, compile, export, simulate, diagnose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from analogep.cli.run import DECKS, AsJson, Output, Run, Set, SpecFile, app, stderr, table
from analogep.errors import SpecError
from analogep.files import whole_file

SHOWN = 40
"""Signals of an analysis that a table lists."""


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check versions, float64, the jax miscompilation, ngspice, PySpice and the GPU."""
    from analogep.doctor import examine

    run = Run(None, None, as_json)
    checks = examine()
    rows = [[c.name, "ok" if c.ok else ("FAIL" if c.needed else "absent"), c.detail] for c in checks]
    result = {"checks": {c.name: {"ok": bool(c.ok), "detail": c.detail} for c in checks}}
    run.finish(result, [table("doctor", ["check", "", "detail"], rows)])
    if not all(c.ok for c in checks if c.needed):
        raise typer.Exit(1)


@app.command("compile")
def compile_(spec: SpecFile = None, sets: Set = None, output: Output = None, as_json: AsJson = False) -> None:
    """Compile a spec into a netlist and summarize it."""
    run = Run(spec, sets, as_json)
    from analogep.compile.summary import summarize
    from analogep.training.problem import build

    summary = summarize(build(run.spec).compiled())
    rows = [
        [key.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value)]
        for key, value in summary.items()
    ]
    run.finish(summary, [table("netlist", ["quantity", "value"], rows)], output)


@app.command()
def export(
    spec: SpecFile = None,
    sets: Set = None,
    output: Output = None,
    as_json: AsJson = False,
    phase: Annotated[Literal["free", "nudged", "adjoint"], typer.Option(help="Which circuit to write.")] = "free",
    dialect: Annotated[Literal["ngspice", "xyce", "ltspice"], typer.Option(help="SPICE dialect.")] = "ngspice",
    check: Annotated[bool, typer.Option("--check", help="Run the deck in ngspice and compare every node.")] = False,
) -> None:
    """Write a SPICE deck of a phase; with --check, verify it against ngspice."""
    run = Run(spec, sets, as_json)
    from analogep.verbs import export_phase

    with stderr.status(f"settling the {phase} phase"):
        exported = export_phase(run.spec, phase, dialect=dialect, check=check)
    result: dict[str, Any] = {"phase": phase, "dialect": dialect, **exported.summary}
    if output is not None:
        with whole_file(output) as partial:
            partial.write_text(exported.deck, encoding="utf-8")
        result["deck"] = str(output)
        stderr.print(f"wrote {output}")
    elif not as_json and not check:
        print(exported.deck, end="")
    rows = [[key, f"{value:.3g}" if isinstance(value, float) else str(value)] for key, value in exported.rows]
    run.finish(result, [table(f"deck of the {phase} phase", ["quantity", "value"], rows)])
    if not exported.passed:
        raise typer.Exit(1)


@app.command()
def simulate(
    spec: SpecFile = None,
    sets: Set = None,
    output: Output = None,
    as_json: AsJson = False,
    op: Annotated[bool, typer.Option("--op", help="Operating point (the default for a spec).")] = False,
    dc: Annotated[bool, typer.Option("--dc", help="The deck's .dc lines.")] = False,
    ac: Annotated[bool, typer.Option("--ac", help="The deck's .ac lines.")] = False,
    tran: Annotated[bool, typer.Option("--tran", help="The deck's .tran lines; a spec's transient from 0 V.")] = False,
    noise: Annotated[bool, typer.Option("--noise", help="The deck's .noise lines.")] = False,
    analysis: Annotated[
        list[str] | None, typer.Option(metavar="LINE", help="Analysis such as '.ac dec 10 1k 1meg'; repeatable.")
    ] = None,
    stimulus: Annotated[str | None, typer.Option(metavar="SOURCE", help="Source to give the AC value 1.")] = None,
    include: Annotated[Path | None, typer.Option(help="Folder from below which a deck may include files.")] = None,
    horizon: Annotated[
        float | None, typer.Option(min=1e-6, help="End of a spec's transient, in units of tau (10).")
    ] = None,
    points: Annotated[int | None, typer.Option(min=2, help="Samples of a spec's transient (201).")] = None,
    backend: Annotated[Literal["jax", "ngspice", "pyspice", "both"], typer.Option(help="Simulator.")] = "jax",
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Where to draw the result; .pdf, .svg.")] = None,
) -> None:
    """Simulate the circuit of a spec, or a SPICE deck as its own lines ask; -o writes .nc, or .raw for viewers."""
    chosen = {name for name, asked in {"op": op, "dc": dc, "ac": ac, "tran": tran, "noise": noise}.items() if asked}
    deck = spec if spec is not None and spec.suffix.lower() in DECKS else None
    run = Run(None if deck else spec, sets, as_json)
    if deck and sets:
        raise SpecError(f"{spec}: --set changes a spec; a deck has .param lines")
    if deck and (horizon or points):
        raise SpecError(f"{spec}: --horizon and --points are for specs; a deck has .tran lines, or take --analysis")
    horizon, points = horizon or 10.0, points or 201
    from analogep import decks, verbs

    with stderr.status("simulating"):
        if deck is not None or analysis or backend == "pyspice":
            if deck is not None:
                file = decks.read_deck(deck, include, analysis or [], chosen)
            else:
                file = decks.deck_of(run.spec, analysis or [], chosen, horizon=horizon, points=points)
            if stimulus is not None:
                file = decks.stimulated(file, stimulus)
            result, simulated = decks.simulate_deck(file, backend)
            datasets, drawn = simulated.datasets, (simulated.references, file.prints, file.netlist.title)
            tables = [_deck_table(result)]
        else:
            unknown = sorted(chosen - {"op", "tran"})
            if unknown:
                raise SpecError(f"--{unknown[0]} needs its range: give --analysis '.{unknown[0]} ...' instead")
            asked = sorted(chosen) or ["op"]
            result, dataset = verbs.simulate(run.spec, asked, backend, horizon=horizon, points=points)
            datasets, drawn = [dataset], ([], (), "compiled circuit")
            rows = [[bus, f"{low:.4g}", f"{high:.4g}"] for bus, (low, high) in result["range_volts"].items()]
            tables = [table("settled voltages", ["bus", "lowest V", "highest V"], rows)]
    if output is not None:
        decks.save(datasets, output)
        stderr.print(f"wrote {output}")
    if plot is not None:
        decks.draw(plot, [one for data in datasets for one in decks.scalars(data)], *drawn)
        result = {**result, "plot": str(plot)}
        stderr.print(f"wrote {plot}")
    for note in result.get("notes", ()):
        stderr.print(f"note: {escape(note)}", style="yellow")
    if "spice" in result:
        tables.append(_agreement_table(result["spice"]))
    run.finish(result, tables)
    if not result.get("spice", {}).get("agrees", True):
        raise typer.Exit(1)


def _agreement_table(spice: Mapping[str, Any]) -> Table:
    """How a deck's analyses, or a compiled circuit, agree with ngspice."""
    if "analyses" not in spice:
        shown = [[key, f"{value:.3g}"] for key, value in spice.items() if isinstance(value, float)]
        return table("against ngspice", ["quantity", "value"], shown)
    rows = [
        [
            one["analysis"], f"{one['max_error']:.2g}", f"{one['limit']:g}", one["variable"],
            f"{one['current_error']:.2g}", "agree" if one["agrees"] else "DIFFER",
        ]
        for one in spice["analyses"]
    ]  # fmt: skip
    title = f"against ngspice ({spice['speedup']:.3g} times as fast): largest differences over the largest value"
    return table(title, ["analysis", "voltages", "limit", "largest at", "currents", ""], rows)


def _deck_table(result: Mapping[str, Any]) -> Table:
    """What each analysis of a deck gave."""
    rows = []
    for one in result["analyses"]:
        rows.append([one["analysis"], str(one["points"]), ""])
        shown = list(one["range"].items())[:SHOWN]
        for name, (low, high) in shown:
            rows.append([f"  {name}", "", f"{low:.5g}" if low == high else f"{low:.5g} ... {high:.5g}"])
        if len(one["range"]) > SHOWN:
            rows.append([f"  and {len(one['range']) - SHOWN} more (--json)", "", ""])
    rows += [[f".meas {name}", "", f"{value:.6g}"] for name, value in result["measures"].items()]
    return table(result["title"], ["analysis", "points", "range"], rows)


@app.command()
def diagnose(spec: SpecFile = None, sets: Set = None, output: Output = None, as_json: AsJson = False) -> None:
    """The stability panel of the circuit at its operating point."""
    run = Run(spec, sets, as_json)
    from analogep.verbs import diagnose as run_diagnosis

    with stderr.status("settling and taking the circuit apart"):
        panel = run_diagnosis(run.spec)
    result = panel.to_dict()
    rows = [[key.replace("_", " "), f"{value:.5g}"] for key, value in result.items() if isinstance(value, float | int)]
    run.finish(result, [table("stability panel (rates per tau)", ["quantity", "value"], rows)], output)
