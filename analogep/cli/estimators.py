"""The verb on local learning: compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from analogep.cli.run import AsJson, Output, Run, Set, SpecFile, app, stderr, table


@app.command()
def compare(
    spec: SpecFile = None,
    sets: Set = None,
    output: Output = None,
    as_json: AsJson = False,
    system: Annotated[
        Literal["circuit", "model", "lane"],
        typer.Option(help="The compiled circuit, F(z) itself, or one lane token after token."),
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
    run.finish(result, [table(title, ["estimator", "cosine", "relative error", "norm ratio", "local"], rows)], output)
    if not comparison.converged:
        failed = [name for name, row in comparison.rows.items() if not row.converged]
        stderr.print(f"not converged: {', '.join(failed)}", style="red")
        raise typer.Exit(3)


def _locality(row: Mapping[str, Any]) -> str:
    return "oracle" if "local" not in row else "yes" if row["local"] else "no"
