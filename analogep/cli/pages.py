"""Verbs that end in a page: demo, study, report."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from analogep.cli.run import AsJson, Output, Run, Set, app, stderr, table


@app.command()
def demo(sets: Set = None, output: Output = None, as_json: AsJson = False) -> None:
    """The main job on real text, end to end, with an HTML report."""
    run = Run(None, sets, as_json)
    folder = output or Path("demo-report")
    # several jobs share the cores, and BLAS threads that fight over them are far slower than one each
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from analogep.report.folder import check_folder

    check_folder(folder)  # now rather than after the work
    from analogep.demo import demonstrate, write_report

    results = demonstrate(run.spec, stderr)
    command = " ".join(["analogep demo", *(f"--set {override}" for override in sets or [])])
    page = write_report(results, folder, time.perf_counter() - run.begin, command)
    stderr.print(f"report: {page}")
    rows = [[key.replace("_", " "), f"{value:.5g}"] for key, value in results.numbers.items()]
    run.finish({**results.numbers, "report": str(page)}, [table("demo", ["quantity", "value"], rows)])


@app.command()
def study(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of a study, or its script x.py.")] = None,
    sets: Set = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of results.")] = Path("results"),
    as_json: AsJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="The quick profile: half a minute instead of minutes.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what is there already.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the studies.")] = False,
) -> None:
    """Run a study: prediction, measurement, verdict, page; goes on where it stopped. Exit 1 if the verdict failed."""
    run = Run(None, None, as_json)
    from analogep.study import available, load
    from analogep.study import run as measure
    from analogep.study.page import write_page

    if list_ or name is None:
        found = [load(path) for path in available().values()]
        rows = [[one.name, one.title, one.question] for one in found]
        listed = [{"name": one.name, "title": one.title, "question": one.question} for one in found]
        return run.finish({"studies": listed}, [table("studies", ["name", "title", "question"], rows)])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small solves, which threads only slow down
    chosen = load(name)
    outcome = measure(
        chosen, chosen.profile("quick" if quick else "full", sets or []), output, fresh=fresh, console=stderr
    )
    options = [*(["--quick"] if quick else []), *(f"--set {override}" for override in sets or [])]
    seconds, command = time.perf_counter() - run.begin, " ".join(["analogep study", name, *options])
    page = write_page(outcome, outcome.file.path.with_suffix(""), seconds=seconds, command=command)
    verdict = outcome.verdict
    rows = [
        [
            kind,
            check.claim,
            f"{check.value:.3g} {check.relation} {check.limit:g}{check.unit and f' ({check.unit})'}",
            _decision(check),
        ]
        for kind in ("prediction", "falsifier", "source")
        for check in getattr(verdict, kind)
    ]
    title = f"study {chosen.name}, {outcome.profile} profile: {verdict.word}"
    run.finish({**outcome.to_dict(), "report": str(page)}, [table(title, ["", "claim", "measured", "true"], rows)])
    stderr.print(f"report: {page}")
    if not verdict.passed:
        raise typer.Exit(1)


def _decision(check: Any) -> str:
    return "not decided" if not check.decided else "yes" if check.true else "no"


@app.command()
def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Results of studies or sweeps (.nc), or JSON.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder.")] = Path("results/report"),
    as_json: AsJson = False,
    script: Annotated[Path | None, typer.Option(metavar="x.py", help="Script of a study outside studies/.")] = None,
) -> None:
    """Put results into one static HTML folder; verdicts are made anew from the files, nothing is measured."""
    run = Run(None, None, as_json)
    from analogep.report.folder import check_folder
    from analogep.report.sweep import is_sweep, read_sweep
    from analogep.study import reopen
    from analogep.study.page import read_object, write_pages

    check_folder(output)
    datasets = [path for path in dict.fromkeys(results) if path.suffix == ".nc"]
    sweeps = {path: read_sweep(path) for path in datasets if is_sweep(path)}
    outcomes = [reopen(path, script) for path in datasets if path not in sweeps]
    others = [path for path in dict.fromkeys(results) if path.suffix != ".nc"]
    once = len({path.stem for path in others}) == len(others)
    objects = {path.stem if once else str(path): read_object(path) for path in others}
    command = " ".join(["analogep report", *map(str, results)])
    page = write_pages(outcomes, objects, output, sweeps=sweeps, command=command)
    verdicts = {one.file.path.stem: one.verdict.word for one in outcomes}
    rows = [[name, word] for name, word in verdicts.items()] + [[str(name), "-"] for name in [*sweeps, *objects]]
    run.finish({"verdicts": verdicts, "report": str(page)}, [table("report", ["result", "verdict"], rows)])
    stderr.print(f"report: {page}")
