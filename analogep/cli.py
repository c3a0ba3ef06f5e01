"""The command line: `analogep VERB [SPEC.toml] [--set key=value ...] [-o PATH] [--json]`.

Human text goes to stderr, one JSON object to stdout with --json. Exit codes: 0 done, 1 a verdict failed, 2 bad input,
3 a solve did not converge. Heavy imports wait until the spec has been read, so bad input is refused at once.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analogep.environment import versions
from analogep.errors import AnalogepError, SpecError
from analogep.files import whole_file
from analogep.spec import Spec, load_spec

app = typer.Typer(
    help="Transformers as analog circuits that learn by local updates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True, highlight=False)
SHOWN = 40
"""Signals of an analysis that a table lists."""
DECKS = frozenset({".cir", ".ckt", ".net", ".sp", ".spi", ".spice"})
"""File names that are taken for SPICE decks."""

SpecFile = Annotated[Path | None, typer.Argument(metavar="[SPEC.toml]", help="Spec; the built-in small one if absent.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; repeatable.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="PATH", help="Where to write the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


class Run:
    """One invocation: its spec, its clock, and how it reports."""

    def __init__(self, path: Path | None, overrides: list[str] | None, as_json: bool) -> None:
        self.begin, self.as_json = time.perf_counter(), as_json
        if path is not None and path.suffix.lower() not in (".toml", ""):
            raise SpecError(f"{path}: expected a spec in TOML (simulate also takes decks: {', '.join(sorted(DECKS))})")
        self.spec: Spec = load_spec(path, overrides or [])

    def finish(self, result: Mapping[str, Any], tables: list[Table], output: Path | None = None) -> None:
        """Print tables on stderr, and the JSON object to stdout and to `output` where asked for."""
        seconds = time.perf_counter() - self.begin
        whole = {"seed": self.spec.seed, **result, "versions": versions(), "wall_seconds": seconds}
        text = json.dumps(_plain(whole), indent=2, allow_nan=False)
        for table in tables:
            stderr.print(table)
        if output is not None:
            with whole_file(output) as partial:
                partial.write_text(text + "\n", encoding="utf-8")
            stderr.print(f"wrote {output}")
        if self.as_json:
            print(text)


def _plain(value: Any) -> Any:
    """Data as JSON has it: plain numbers, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | str | int):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    number = float(value)
    return number if math.isfinite(number) else None


def _table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        numbers = k > 0 and all(row[k][:1] in "+-.0123456789" for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check versions, float64, the jax miscompilation, ngspice, PySpice and the GPU."""
    from analogep.doctor import examine

    run = Run(None, None, as_json)
    checks = examine()
    rows = [[c.name, "ok" if c.ok else ("FAIL" if c.needed else "absent"), c.detail] for c in checks]
    result = {"checks": {c.name: {"ok": bool(c.ok), "detail": c.detail} for c in checks}}
    run.finish(result, [_table("doctor", ["check", "", "detail"], rows)])
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
    run.finish(summary, [_table("netlist", ["quantity", "value"], rows)], output)


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
    run.finish(result, [_table(f"deck of the {phase} phase", ["quantity", "value"], rows)])
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
            tables = [_table("settled voltages", ["bus", "lowest V", "highest V"], rows)]
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
        return _table("against ngspice", ["quantity", "value"], shown)
    rows = [
        [
            one["analysis"], f"{one['max_error']:.2g}", f"{one['limit']:g}", one["variable"],
            f"{one['current_error']:.2g}", "agree" if one["agrees"] else "DIFFER",
        ]
        for one in spice["analyses"]
    ]  # fmt: skip
    title = f"against ngspice ({spice['speedup']:.3g} times as fast): largest differences over the largest value"
    return _table(title, ["analysis", "voltages", "limit", "largest at", "currents", ""], rows)


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
    return _table(result["title"], ["analysis", "points", "range"], rows)


@app.command()
def diagnose(spec: SpecFile = None, sets: Set = None, output: Output = None, as_json: AsJson = False) -> None:
    """The stability panel of the circuit at its operating point."""
    run = Run(spec, sets, as_json)
    from analogep.verbs import diagnose as run_diagnosis

    with stderr.status("settling and taking the circuit apart"):
        panel = run_diagnosis(run.spec)
    result = panel.to_dict()
    rows = [[key.replace("_", " "), f"{value:.5g}"] for key, value in result.items() if isinstance(value, float | int)]
    run.finish(result, [_table("stability panel (rates per tau)", ["quantity", "value"], rows)], output)


@app.command()
def compare(
    spec: SpecFile = None,
    sets: Set = None,
    output: Output = None,
    as_json: AsJson = False,
    system: Annotated[
        Literal["circuit", "model"], typer.Option(help="The compiled circuit, or F(z) itself.")
    ] = "circuit",
) -> None:
    """Local estimators against the implicit and BPTT oracles."""
    run = Run(spec, sets, as_json)
    from analogep.verbs import compare as run_comparison

    with stderr.status("running the phases and the oracles"):
        comparison = run_comparison(run.spec, system)
    result = {"system": system, **comparison.to_dict()}
    named = list(result["estimators"].items()) + [(k, result[k]) for k in ("bptt", "circuit_bptt") if k in result]
    rows = [
        [name, f"{row['cosine']:.8f}", f"{row['relative_error']:.2e}", f"{row['norm_ratio']:.5f}", _locality(row)]
        for name, row in named
    ]
    title = f"gradient against the implicit oracle (loss {result['loss']:.4f} nats)"
    run.finish(result, [_table(title, ["estimator", "cosine", "relative error", "norm ratio", "local"], rows)], output)
    if not comparison.converged:
        failed = [name for name, row in comparison.rows.items() if not row.converged]
        stderr.print(f"not converged: {', '.join(failed)}", style="red")
        raise typer.Exit(3)


def _locality(row: Mapping[str, Any]) -> str:
    return "oracle" if "local" not in row else "yes" if row["local"] else "no"


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
    run.finish({**outcome.to_dict(), "figures": figures}, [_table("sweep", ["points", "count"], rows)])
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
    """Would hardware do it: costs, error budget, and a verdict on the limits of [feasibility]. Exit 1 if one fails."""
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
        _table(f"{result['verdict']}: {binding} binds", ["limit", "found", "wanted", "margin", "", "why"], checks),
        _table("error budget", ["effect", "1 - cos alone", "share", "loss alone", "share"], effects),
        _table("costs", ["quantity", "value", "source"], costs),
    ]
    if capacitor is not None:
        size = "none" if capacitor["farads"] is None else f"{capacitor['farads']:.3g} F"
        tables.append(_table("smallest safe damping capacitor", ["farads", "why"], [[size, capacitor["reason"]]]))
    return tables


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
    run.finish({**results.numbers, "report": str(page)}, [_table("demo", ["quantity", "value"], rows)])


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
        return run.finish({"studies": listed}, [_table("studies", ["name", "title", "question"], rows)])
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
    run.finish({**outcome.to_dict(), "report": str(page)}, [_table(title, ["", "claim", "measured", "true"], rows)])
    stderr.print(f"report: {page}")
    if not verdict.passed:
        raise typer.Exit(1)


def _decision(check: Any) -> str:
    return "not decided" if not check.decided else "yes" if check.true else "no"


@app.command()
def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Results of studies (.nc) or JSON objects.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder.")] = Path("results/report"),
    as_json: AsJson = False,
    script: Annotated[Path | None, typer.Option(metavar="x.py", help="Script of a study outside studies/.")] = None,
) -> None:
    """Put results into one static HTML folder; verdicts are made anew from the files, nothing is measured."""
    run = Run(None, None, as_json)
    from analogep.report.folder import check_folder
    from analogep.study import reopen
    from analogep.study.page import read_object, write_pages

    check_folder(output)
    outcomes = [reopen(path, script) for path in dict.fromkeys(results) if path.suffix == ".nc"]
    others = [path for path in dict.fromkeys(results) if path.suffix != ".nc"]
    once = len({path.stem for path in others}) == len(others)
    objects = {path.stem if once else str(path): read_object(path) for path in others}
    page = write_pages(outcomes, objects, output, command=" ".join(["analogep report", *map(str, results)]))
    verdicts = {one.file.path.stem: one.verdict.word for one in outcomes}
    rows = [[name, word] for name, word in verdicts.items()] + [[name, "-"] for name in objects]
    run.finish({"verdicts": verdicts, "report": str(page)}, [_table("report", ["result", "verdict"], rows)])
    stderr.print(f"report: {page}")


def main() -> None:
    """Entry point: deliberate errors become one line on stderr and their exit code."""
    try:
        app()
    except AnalogepError as error:
        stderr.print(f"analogep: {error}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(error.exit_code) from None
