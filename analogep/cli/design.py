"""Verbs of co-design: sweep, feasibility."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from analogep.cli.run import AsJson, Output, Run, Set, SpecFile, app, stderr, table


@app.command()
def sweep(
    spec: SpecFile = None,
    sets: Set = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder of the sweep.")] = None,
    as_json: AsJson = False,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUES", help="a,b,c or from:to:points[:log]; repeatable; comes after [sweep.axes]."),
    ] = None,
    measure: Annotated[str | None, typer.Option(metavar="NAMES", help="panel, fidelity, or module:function.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes of this machine; 0 measures in this one.")] = 0,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, or its file.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Measure anew what failed or did not converge.")] = False,
) -> None:
    """Measure every combination of some knobs into one labelled dataset; goes on where it stopped.

    Exit 3 if a point failed or did not converge.
    """
    run = Run(spec, sets, as_json)
    from analogep import sweep as sweeps
    from analogep.spec import read_tables

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small solves, which threads only slow down
    given = [*sweeps.read_axes(run.spec.sweep.axes), *(sweeps.parse_axis(text) for text in axis or [])]
    axes = list({one.name: one for one in given}.values())  # --axis replaces the spec's axis of that name
    names = [name.strip() for name in measure.split(",")] if measure else run.spec.sweep.measures
    plan = sweeps.make_plan(read_tables(spec, sets or []), axes, names)
    for point in plan.refused[:1]:
        more = f" (and {len(plan.refused) - 1} more)" if len(plan.refused) > 1 else ""
        stderr.print(f"note: no measurement at {point.label}: {point.error}{more}", style="yellow", markup=False)
    folder = output or Path("results") / f"sweep-{plan.digest}"
    outcome = sweeps.run(plan, folder, workers=workers, scheduler=scheduler, retry=retry, progress=True)
    from analogep.plot.sweep import draw

    figures = [str(path) for path in draw(outcome.dataset, folder)]
    rows = [[status, str(count)] for status, count in sorted(outcome.counts.items())]
    run.finish({**outcome.to_dict(), "figures": figures}, [table("sweep", ["points", "count"], rows)])
    stderr.print(f"wrote {outcome.path}")
    if not outcome.converged:
        raise typer.Exit(3)


@app.command()
def feasibility(
    spec: SpecFile = None,
    sets: Set = None,
    output: Output = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Where to draw the error budget; .pdf, .svg.")
    ] = None,
) -> None:
    """Would hardware do it: costs, error budget, and a verdict on the limits of the spec. Exit 1 if one fails."""
    run = Run(spec, sets, as_json)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small solves, which threads only slow down
    from analogep.verbs import feasibility as assess

    with stderr.status("settling, counting and sharing out errors"):
        found = assess(run.spec)
    result = found.to_dict()
    if plot is not None:
        from analogep.plot.budget import save

        save(result["budget"], plot)
        result = {**result, "plot": str(plot)}
        stderr.print(f"wrote {plot}")
    run.finish(result, _feasibility_tables(result), output)
    if not found.verdict.passed:
        raise typer.Exit(1)


def _feasibility_tables(result: Mapping[str, Any]) -> list[Table]:
    """Verdict, error budget, costs and capacitor for people."""
    checks = [
        [name, f"{c['value']:.3g} {c['unit']}", f"{c['relation']} {c['limit']:.3g}", f"{c['margin']:+.0%}",
         "pass" if c["passed"] else "FAIL", c["reason"]]
        for name, c in result["specs"].items()
    ]  # fmt: skip
    angle, loss = (result["budget"][measure] for measure in ("angle", "loss"))
    effects = []
    for name, row in angle["effects"].items():
        other = loss["effects"][name]
        shares = [f"{each['share']:.2g} ± {each['error']:.1g}" for each in (row, other)]
        effects.append([name, f"{row['alone']:.2g}", shares[0], f"{other['alone']:.2g}", shares[1]])
    effects.append(["all", "", f"{angle['total']:.3g}", "", f"{loss['total']:.3g}"])
    costs = [
        [name.replace("_", " "), f"{entry['value']:.3g} {entry['unit']}", entry["source"]]
        for name, entry in result["costs"].items()
        if name != "left_out"
    ]
    binding, capacitor = result["binding"]["spec"], result["smallest_capacitor"]
    tables = [
        table(f"{result['verdict']}: {binding} binds", ["limit", "found", "wanted", "margin", "", "why"], checks),
        table("error budget", ["effect", "1 - cos alone", "share", "loss alone", "share"], effects),
        table("costs", ["quantity", "value", "source"], costs),
    ]
    if capacitor is not None:
        size = "none" if capacitor["farads"] is None else f"{capacitor['farads']:.3g} F"
        tables.append(table("smallest safe damping capacitor", ["farads", "why"], [[size, capacitor["reason"]]]))
    return tables
