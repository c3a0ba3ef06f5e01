"""One invocation of the command line: its options, its clock, and how it reports."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analogep.environment import versions
from analogep.errors import SpecError
from analogep.files import whole_file
from analogep.spec import Spec, load_spec

app = typer.Typer(
    help="Transformers as analog circuits that learn by local updates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True, highlight=False)
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
        for each in tables:
            stderr.print(each)
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


def table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    """A table for people; columns of numbers stand to the right."""
    made = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        numbers = k > 0 and all(row[k][:1] in "+-.0123456789" for row in rows)
        made.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(cell) for cell in row))
    return made
