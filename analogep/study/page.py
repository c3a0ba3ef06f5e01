"""The page of a study: verdict, statements, figures, numbers, and how to get them again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import xarray as xr

from analogep.environment import versions
from analogep.errors import DataError
from analogep.report import Card, Cell, Report
from analogep.report.content import Picture, Section
from analogep.report.sweep import add_sweep
from analogep.report.text import shown
from analogep.study.discover import available
from analogep.study.engine import Outcome
from analogep.study.glossary import words
from analogep.study.provenance import sources
from analogep.study.verdict import Check

MEANING = {
    "holds": "all that was predicted was found, and nothing that would falsify it",
    "not supported": "part of the prediction is false, but the falsifier was not seen",
    "falsified": "what was to falsify the prediction was seen",
    "undecided": "a number that decides is missing",
}
"""Word of a verdict -> what it says."""


def write_page(outcome: Outcome, folder: Path, *, seconds: float | None = None, command: str = "") -> Path:
    """Write the offline HTML folder of one study; returns the path of its index.html."""
    study = outcome.study
    report = Report(
        f"Study {study.name}: {study.title}",
        lead=study.question,
        versions=outcome.file.versions,
        wall_seconds=seconds,
        command=command,
    )
    add_study(report, outcome)
    words(report)
    return report.write(folder)


def write_pages(
    outcomes: Sequence[Outcome],
    objects: Mapping[str, Mapping[str, Any]],
    folder: Path,
    *,
    sweeps: Mapping[Path, xr.Dataset] | None = None,
    command: str = "",
) -> Path:
    """One HTML folder of several results.

    Parameters
    ----------
    outcomes : of studies.
    objects : name -> JSON object of another verb, shown as a table of its numbers.
    sweeps : file -> dataset of a sweep, shown as an interactive map.
    """
    sweeps = sweeps or {}
    if len(outcomes) == 1 and not objects and not sweeps:
        return write_page(outcomes[0], folder, command=command)
    report = Report("analogep report", versions=versions(), command=command)
    if outcomes:
        rows = [
            {
                "result": outcome.file.path.stem,
                "title": outcome.study.title,
                "verdict": Cell(outcome.verdict.word, "good" if outcome.verdict.passed else "bad"),
                "profile": outcome.profile,
                "points": len(outcome.points),
                "measuring": outcome.file.seconds,
            }
            for outcome in outcomes
        ]
        text = (
            "The studies below. A verdict counts in the full profile; `measuring` is the time of all points together."
        )
        report.section("Verdicts").table(rows, units={"measuring": "s"}, caption=text, name="verdicts")
    for outcome in outcomes:
        add_study(report, outcome, f"{outcome.file.path.stem}: ")
    for k, (path, dataset) in enumerate(sweeps.items()):
        several = len(sweeps) + len(outcomes) + len(objects) > 1
        add_sweep(report, dataset, f"{path.parent.name or path.stem}: " if several else "")
        report.attach(path.name if len(sweeps) == 1 else f"{k + 1}-{path.name}", path, "every number, as netCDF")
    for name, found in objects.items():
        rows = [{"quantity": key, "value": value} for key, value in flat(found)]
        report.section(name).table(rows, caption=f"Numbers of `{name}`.", name=name)
    words(report)
    return report.write(folder)


def add_study(report: Report, outcome: Outcome, prefix: str = "") -> None:
    """Append the sections of a study; `prefix` tells several studies apart."""
    study, verdict = outcome.study, outcome.verdict
    section = report.section(f"{prefix}Verdict")
    seeds = len(outcome.configuration.seeds)
    section.cards(
        Card("Verdict", verdict.word, note=MEANING[verdict.word], verdict="good" if verdict.passed else "bad"),
        Card("Prediction", "holds" if verdict.holds else "does not hold", note=_count(verdict.prediction)),
        Card("Falsifier", "seen" if verdict.falsified else "not seen", note=_count(verdict.falsifier)),
        Card("Points", len(outcome.points), note=f"{seeds} seed{'s' * (seeds > 1)}, profile: {outcome.profile}"),
    )
    if outcome.profile != "full":
        section.paragraph(
            "**Not the full profile.** Fewer networks, seeds or values may meet a limit, or miss it, by chance. Where "
            "the two differ the full profile counts."
        )
    section.paragraph(f"**Question.** {study.question}" if prefix else "")
    section.paragraph(f"**Prediction.** {study.prediction}\n\n**Falsified if.** {study.falsifier}")
    for heading, text in (
        ("Fundamental or engineering?", verdict.answer.fundamental),
        ("Realizable on a relaxation substrate, and at what cost?", verdict.answer.realizable),
        ("The cheapest experiment that would falsify this.", verdict.answer.experiment),
    ):
        section.paragraph(f"**{heading}** {text}")
    section = report.section(f"{prefix}Checks")
    _checks(section, "prediction", "The prediction holds if all of these are true.", verdict.prediction)
    _checks(section, "falsifier", "It is falsified if one of these is true.", verdict.falsifier)
    if verdict.source:
        caption = "Claims that others made beforehand, put as checks; they do not decide the verdict."
        _checks(section, "source", caption, verdict.source)
    section = report.section(f"{prefix}Figures")
    for picture in study.figures(outcome.results):
        section.blocks.append(picture)
        report.attach(f"{prefix_of(prefix)}{picture.name}.svg", svg(picture), f"figure `{picture.name}` as a drawing")
    section = report.section(f"{prefix}Numbers")
    for table in study.tables(outcome.results):
        section.table(table.rows, units=table.units, caption=table.caption, name=f"{prefix_of(prefix)}{table.name}")
    _provenance(report, outcome, prefix)


def prefix_of(prefix: str) -> str:
    """A heading's prefix as the beginning of a file name."""
    return f"{prefix.removesuffix(': ')}-" if prefix else ""


def _count(checks: Sequence[Check]) -> str:
    """How many checks are true."""
    return f"{sum(check.true for check in checks)} of {len(checks)} checks true"


def _checks(section: Section, name: str, caption: str, checks: Sequence[Check]) -> None:
    rows = [
        {
            "claim": check.claim,
            "measured": check.value,
            "limit": f"{'≤' if check.relation == '<=' else '≥'} {shown(check.limit)}",
            **({"unit": check.unit} if any(other.unit for other in checks) else {}),
            "true": Cell("not decided" if not check.decided else "yes" if check.true else "no", _mark(name, check)),
        }
        for check in checks
    ]
    section.table(rows, caption=caption, name=name)


def _mark(name: str, check: Check) -> Any:
    """Green for what supports the prediction, red for what is against it; no color for claims of others."""
    if name == "source":
        return None
    return "good" if check.decided and check.true == (name == "prediction") else "bad"


def _provenance(report: Report, outcome: Outcome, prefix: str) -> None:
    study, file, configuration = outcome.study, outcome.file, outcome.configuration
    section = report.section(f"{prefix}Configuration")
    profile = study.profile("quick" if outcome.profile == "quick" else "full").plain()
    section.code(_again(outcome, profile), "This measures it again.")
    rows = [
        {"key": key, "value": json.dumps(value), "locked": Cell(value == profile[key], None)}
        for key, value in configuration.plain().items()
    ]
    section.table(
        rows,
        caption=f"Configuration {study.digest(configuration)}; `locked` where it is the profile's own value.",
        name=f"{prefix_of(prefix)}configuration",
    )
    seconds = f"{file.seconds:.3g} s of measuring"
    section.paragraph(
        f"Stated and begun {file.attributes['created']}, {seconds}, at commit {', '.join(file.commits)}."
        + (" **The script was changed since; the verdict is by the present one.**" if outcome.script_changed else "")
    )
    report.attach(file.path.name, file.path, "every measurement, as netCDF")
    for source in sources(study.path):
        if source.name not in report.attachments:
            report.attach(source.name, source, "the study's script" if source == study.path else "its helper")


def _again(outcome: Outcome, profile: Mapping[str, Any]) -> str:
    """The command that measures the same configuration."""
    study, quick = outcome.study, " --quick" if outcome.profile == "quick" else ""
    known = study.path in [path.resolve() for path in available().values()]
    lines = [f"analogep study {study.name if known or study.path is None else study.path}{quick}"]
    for key, value in outcome.configuration.plain().items():
        if value != profile[key]:
            lines.append(f"    --set {shlex.quote(f'{key}={json.dumps(value)}')}")
    return " \\\n".join(lines)


def svg(picture: Picture) -> bytes:
    """A figure as SVG."""
    buffer = BytesIO()
    picture.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def flat(found: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Numbers and words of a JSON object by dotted key; lists are left out."""
    rows: list[tuple[str, Any]] = []
    for key, value in found.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            rows += flat(value, name)
        elif not isinstance(value, list):
            rows.append((name, value))
    return rows


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a verb wrote.

    Raises
    ------
    DataError
        If the file cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected one JSON object, as `--json` prints it")
    return found
