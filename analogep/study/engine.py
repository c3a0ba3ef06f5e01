"""The engine: measures what a result file lacks, point by point, and hands the whole to the study's verdict."""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from analogep.environment import versions
from analogep.errors import DataError
from analogep.study.discover import load
from analogep.study.provenance import commit, script_digest
from analogep.study.results import FORMAT, ResultFile
from analogep.study.study import Configuration, Point, Results, Study
from analogep.study.verdict import Verdict


@dataclass(frozen=True)
class Outcome:
    """A study with its results.

    Attributes
    ----------
    configuration : what was measured.
    file : the result file.
    measured : points that this run added; the others were there.
    """

    study: Study
    configuration: Configuration
    file: ResultFile
    measured: int = 0

    @cached_property
    def points(self) -> list[Point]:
        """All points of the configuration."""
        return list(self.study.points(self.configuration))

    @cached_property
    def missing(self) -> list[Point]:
        """Points that were not measured yet."""
        done = {part: self.file.done(part) for part in self.study.parts}
        return [point for point in self.points if point.key not in done[point.part]]

    @cached_property
    def results(self) -> Results:
        """Part -> measurements over its axes and seeds.

        Raises
        ------
        DataError
            If points are missing.
        """
        if self.missing:
            raise DataError(
                f"{self.file.path}: {len(self.missing)} of {len(self.points)} points are missing; run "
                f"`analogep study {self.study.name}` again to measure them"
            )
        return {
            name: self.file.grid(name, part.axes(self.configuration), self.configuration.seeds)
            for name, part in self.study.parts.items()
            if name in self.file.parts
        }

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict, from the results alone."""
        return self.study.verdict(self.results)

    @property
    def profile(self) -> str:
        """`quick` or `full` if the configuration is that profile's, else `changed`."""
        for name, locked in (("full", self.study.full), ("quick", self.study.quick)):
            if self.configuration == locked:
                return name
        return "changed"

    @property
    def script_changed(self) -> bool:
        """Whether the script is another than the one that measured."""
        return self.file.attributes["script"] != script_digest(self.study.path)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `analogep study`, but for versions and wall time."""
        return {
            "study": self.study.name,
            "profile": self.profile,
            "verdict": self.verdict.to_dict(),
            "numbers": {table.name: table.plain() for table in self.study.tables(self.results)},
            "configuration": self.configuration.plain(),
            "configuration_hash": self.study.digest(self.configuration),
            "commits": self.file.commits,
            "script_changed": self.script_changed,
            "points": len(self.points),
            "measured_now": self.measured,
            "measured_seconds": self.file.seconds,
            "result": str(self.file.path),
            "seed": list(self.configuration.seeds),
        }


def run(
    study: Study, configuration: Configuration, folder: Path, *, fresh: bool = False, console: Console | None = None
) -> Outcome:
    """Measure all points that the result file in `folder` does not hold yet.

    The file is called NAME-HASH.nc after the configuration, so a changed configuration starts a file of its own.

    Parameters
    ----------
    fresh : measure everything anew; the first point replaces an earlier file of this configuration.
    console : where progress is shown; nowhere if None.

    Raises
    ------
    DataError
        If an unfinished file was begun by another script or with other versions, so that going on would mix two
        measurements in one file; or if a file cannot be read or written.
    """
    path = Path(folder) / f"{study.name}-{study.digest(configuration)}.nc"
    out = console or Console(quiet=True)
    if path.exists() and not fresh:
        file = ResultFile.open(path)
        _check_configuration(study, configuration, file)
    else:
        file = ResultFile(path, _attributes(study, configuration))
    outcome = Outcome(study, configuration, file)
    todo, total = outcome.missing, len(outcome.points)
    if file.parts:
        _report_found(outcome, out)
    if todo:
        importlib.import_module("analogep.netlist")  # sets float64 before a study's first jax array
    at, shown = commit(), (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*shown, TimeElapsedColumn(), console=out, transient=True) as progress:
        task = progress.add_task(study.name, total=total, completed=total - len(todo))
        for point in todo:
            progress.update(task, description=f"{study.name}: {point}")
            begin = time.perf_counter()
            measured = study.parts[point.part].measure(configuration, point.seed, **point.cell)
            file.add(point, measured, seconds=time.perf_counter() - begin, commit=at)
            progress.advance(task)
    return Outcome(study, configuration, file, len(todo))


def reopen(path: Path, script: Path | None = None) -> Outcome:
    """The outcome of a result file, by the study's present script; nothing is measured.

    Parameters
    ----------
    script : of the study; found by its name if None. A file is data: it does not say what code to run.

    Raises
    ------
    DataError
        If the file cannot be read, or its configuration is none of the study as it is now.
    SpecError
        If its study cannot be found.
    """
    file = ResultFile.open(path)
    study = load(script or str(file.attributes["study"]))
    try:
        configuration = type(study.full).model_validate(file.configuration)
    except ValueError as error:
        raise DataError(
            f"{path}: its configuration does not fit the study {study.name} as it is now: {error}"
        ) from None
    return Outcome(study, configuration, file)


def _attributes(study: Study, configuration: Configuration) -> dict[str, Any]:
    """What a new file says of itself; the statements are written down before the first point is measured."""
    return {
        "format": FORMAT,
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "prediction": study.prediction,
        "falsifier": study.falsifier,
        "configuration": json.dumps(configuration.plain()),
        "configuration_hash": study.digest(configuration),
        "versions": json.dumps(versions()),
        "script": script_digest(study.path),
        "created": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def _check_configuration(study: Study, configuration: Configuration, file: ResultFile) -> None:
    if file.configuration != configuration.plain() or file.attributes["study"] != study.name:
        raise DataError(
            f"{file.path}: holds study {file.attributes['study']} with another configuration than its name says; "
            "move it away, or measure anew with --fresh"
        )


def _report_found(outcome: Outcome, out: Console) -> None:
    """Say what an existing file holds, and refuse to go on with one that another script or environment began."""
    file, missing, total = outcome.file, len(outcome.missing), len(outcome.points)
    now = versions()
    others = [f"{name} {was} then, {now.get(name)} now" for name, was in file.versions.items() if now.get(name) != was]
    if outcome.script_changed:
        others.insert(0, "the study's script was changed")
    if missing and others:
        raise DataError(
            f"{file.path}: {total - missing} of {total} points are there, but going on would mix two measurements "
            f"({'; '.join(others)}); measure anew with --fresh"
        )
    if missing:
        out.print(f"{file.path}: going on where it stopped, {total - missing} of {total} points are there")
        return
    out.print(f"{file.path}: all {total} points are there, nothing is measured again (--fresh does)")
    if others:
        out.print(f"note: measured before a change ({'; '.join(others)}); the verdict is by the present script")
