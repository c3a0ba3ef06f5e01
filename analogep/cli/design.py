"""Verbs of co-design: sweep, feasibility."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from analogep.cli.run import AsJson, Output, Run, Set, SpecFile, app, stderr, table
from analogep.errors import DataError, SpecError
from analogep.spec import read_tables


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
    measure: Annotated[
        str | None, typer.Option(metavar="NAMES", help="panel, fidelity, chip, or module:function.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes of this machine; 0 measures in this one.")] = 0,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, or its file.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Measure anew what failed or did not converge.")] = False,
) -> None:
    """Measure every combination of some knobs into one labelled dataset; goes on where it stopped.

    Exit 3 if a point failed or did not converge.
    """
    run = Run(spec, sets, as_json)
    from analogep import sweep as sweeps

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
    pareto: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for designs between least energy and least error.")
    ] = None,
    evaluations: Annotated[int, typer.Option(min=2, help="Designs that each search of --pareto tries.")] = 100,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="DIR", help="Folder for a map instead: damping, asymmetry, device.")
    ] = None,
    axis: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUES", help="Axis of --map, as for sweep; repeatable.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes of this machine for --map.")] = 0,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler for --map.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Measure anew what failed in --map.")] = False,
) -> None:
    """Would hardware do it: costs, error budget, and a verdict on the limits of the spec. Exit 1 if one fails.

    With --map the verdict at every point of a sweep, as a dataset, a figure and a page: exit 1 if no point is feasible,
    3 if a point failed or none settled.
    """
    run = Run(spec, sets, as_json)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small solves, which threads only slow down
    if map_ is not None:
        if plot is not None or pareto is not None:
            raise SpecError("--map draws a figure of its own; leave out --plot and --pareto")
        return _map(run, read_tables(spec, sets or []), map_, axis or [], output, workers, scheduler, retry)
    if axis or workers or scheduler is not None or retry:
        raise SpecError("--axis, --workers, --scheduler and --retry are for --map DIR")
    from analogep.verbs import feasibility as assess
    from analogep.verbs import pareto as search
    from analogep.verbs import prepare_pareto

    if pareto is not None:
        prepare_pareto(run.spec, pareto)
    with stderr.status("settling, counting and sharing out errors"):
        found = assess(run.spec)
    result = found.to_dict()
    if plot is not None:
        from analogep.plot.budget import save

        save(result["budget"], plot)
        result = {**result, "plot": str(plot)}
        stderr.print(f"wrote {plot}")
    tables = _feasibility_tables(result)
    if pareto is not None:

        def progress(what: str) -> None:
            stderr.print(f"designs: {what}")

        designs = search(run.spec, pareto, evaluations=evaluations, progress=progress)
        result, tables = {**result, "pareto": designs}, [*tables, *_pareto_tables(designs)]
        stderr.print(f"wrote {designs['path']} and {designs['figure']}")
    run.finish(result, tables, output)
    if not found.verdict.passed:
        raise typer.Exit(1)


def _map(
    run: Run, tables: Mapping[str, Any], folder: Path, axes: list[str], output: Path | None, workers: int,
    scheduler: str | None, retry: bool,
) -> None:  # fmt: skip
    """`feasibility --map`."""
    from analogep.plot.map import save
    from analogep.report.feasibility import by_technology, write_map
    from analogep.verbs import feasibility_map

    outcome = feasibility_map(tables, axes, folder, workers=workers, scheduler=scheduler, retry=retry)
    found = by_technology(outcome.dataset)
    figure: Path | None = folder / "map.png"
    try:
        save(outcome.dataset, folder / "map.png")
    except DataError as error:
        figure = None
        stderr.print(f"note: no figure: {error}", style="yellow", markup=False)
    page = write_map(outcome.dataset, outcome.path, folder / "report", command=f"analogep feasibility --map {folder}")
    rows = [[name, str(one["feasible"]), str(one["settled"]), str(one["points"]), one["binding"] or "-"]
            for name, one in found.items()]  # fmt: skip
    feasible = sum(one["feasible"] for one in found.values())
    result = {
        **outcome.to_dict(), "verdict": "feasible" if feasible else "not feasible",
        "feasible": {name: one["feasible"] for name, one in found.items()}, "best": found,
        "figure": figure and str(figure), "page": str(page),
    }  # fmt: skip
    columns = ["technology", "feasible", "settled", "points", "binds at the best"]
    run.finish(result, [table("feasibility map", columns, rows)], output)
    stderr.print(f"report: {page}")
    counts = outcome.counts
    if "failed" in counts or "done" not in counts:
        raise typer.Exit(3)
    if not feasible:
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


def _pareto_tables(found: Mapping[str, Any]) -> list[Table]:
    """Hypervolumes of the searches, and designs along the front of all, for people."""
    rows = []
    for name, one in found["searches"].items():
        spans = [one["hypervolume"][end] for end in ("at_equal_evaluations", "at_equal_seconds")]
        rows.append([name, *(f"{v['mean']:.3f} ({v['least']:.3f} ... {v['largest']:.3f})" for v in spans)])
    columns = ["search", f"after {found['budget']} designs", "in the gradient's time"]
    front = found["front"]
    shown = front[:: max(1, -(-len(front) // 10))]
    names = list(found["units"])
    designs = [[row["search"], *(f"{row[name]:.3g}" for name in names)] for row in shown]
    units = [f"{name.replace('_', ' ')} ({found['units'][name]})" for name in names]
    return [
        table(f"hypervolume (decades^2), {found['seeds']} starts", columns, rows),
        table(f"designs on the front, {len(shown)} of {len(front)}", ["found by", *units], designs),
    ]
