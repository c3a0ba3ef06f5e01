"""What a study is: texts, a locked configuration in two profiles, grids of measurements, and what is made of them."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator

from analogep.errors import DataError, SpecError
from analogep.report.content import Cell, Picture
from analogep.spec import apply_override
from analogep.study.verdict import Verdict

Scalar = str | int | float | bool
Results = Mapping[str, xr.Dataset]
"""Part -> its measurements, over its axes, `seed`, and the dimensions that one measurement has of its own."""

SEEDS = 3
"""Seeds that a full profile has at least."""

Self = TypeVar("Self", bound="Configuration")


class Configuration(BaseModel):
    """Every knob of a study, locked; subclass it with typed fields and defaults.

    `seeds` are the seeds over which every cell is repeated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seeds: Annotated[tuple[StrictInt, ...], Field(min_length=1)] = (0, 1, 2)

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("must be different numbers from 0 up")
        return seeds

    def changed(self: Self, overrides: Sequence[str]) -> Self:
        """The same configuration with some `key=value` replaced; values are TOML.

        Raises
        ------
        SpecError
            One line for the first key or value that is wrong.
        """
        tables = self.model_dump()
        for override in overrides:
            apply_override(tables, override)
        try:
            return type(self).model_validate(tables)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(map(str, problem["loc"]))
            if problem["type"] == "extra_forbidden":
                raise SpecError(f"{key}: unknown key; this study has {', '.join(type(self).model_fields)}") from None
            raise SpecError(f"{key} = {problem['input']!r}: {problem['msg']}") from None

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class Point:
    """One cell of a part's grid with one seed."""

    part: str
    cell: Mapping[str, Scalar]
    seed: int

    @property
    def key(self) -> tuple[Scalar, ...]:
        """What tells it from the other points of its part."""
        return (*self.cell.values(), self.seed)

    def __str__(self) -> str:
        named = [
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in self.cell.items()
        ]
        return ", ".join([self.part, *named, f"seed {self.seed}"])


@dataclass(frozen=True)
class Part:
    """A grid of measurements.

    Parameters
    ----------
    axes : configuration -> the grid's named axes, each a sequence of numbers or words; their product is measured, an
        empty axis leaves the part out.
    measure : called as measure(configuration, seed, **cell), returns a Dataset. What it draws at random follows from
        the seed. A solve that did not converge is a flag or NaN in the Dataset, not an exception.
    """

    axes: Callable[[Any], Mapping[str, Sequence[Scalar]]]
    measure: Callable[..., xr.Dataset]


@dataclass(frozen=True)
class Rows:
    """A table of results.

    Parameters
    ----------
    name : its key in the JSON object.
    caption : one sentence.
    rows : column -> value, a row each; a `report.Cell` carries a mark.
    units : column -> unit.
    """

    name: str
    caption: str
    rows: Sequence[Mapping[str, Any]]
    units: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> list[dict[str, Any]]:
        """The rows without their marks."""
        return [{key: v.value if isinstance(v, Cell) else v for key, v in row.items()} for row in self.rows]


@dataclass(frozen=True)
class Study:
    """A question that a measurement answers. A script in `studies/` ends with `STUDY = Study(...)`.

    Parameters
    ----------
    title : a few words.
    question, prediction, falsifier : stated before anything is measured.
    quick, full : the two profiles, of the same class; full has three seeds or more.
    parts : name -> grid of measurements.
    verdict, tables, figures : made from the results alone.
    name, path : of the script; set when it is loaded.

    Raises
    ------
    SpecError
        If a text is empty, or the profiles are not as above.
    """

    title: str
    question: str
    prediction: str
    falsifier: str
    quick: Configuration
    full: Configuration
    parts: Mapping[str, Part]
    verdict: Callable[[Results], Verdict]
    tables: Callable[[Results], Sequence[Rows]]
    figures: Callable[[Results], Sequence[Picture]]
    name: str = "study"
    path: Path | None = None

    def __post_init__(self) -> None:
        for text in ("title", "question", "prediction", "falsifier"):
            if not getattr(self, text).strip():
                raise SpecError(f"study {self.name}: its {text} must be stated first")
        if type(self.quick) is not type(self.full):
            raise SpecError(f"study {self.name}: quick and full must be configurations of one class")
        if len(self.full.seeds) < SEEDS:
            raise SpecError(f"study {self.name}: the full profile needs {SEEDS} seeds, not {len(self.full.seeds)}")
        if not self.parts or any("/" in part or part == "point" for part in self.parts):
            raise SpecError(f"study {self.name}: parts need plain names, and one at least")

    def profile(self, profile: Literal["quick", "full"], overrides: Sequence[str] = ()) -> Configuration:
        """A profile's configuration, changed where `key=value` overrides say so."""
        return (self.quick if profile == "quick" else self.full).changed(overrides)

    def points(self, configuration: Configuration) -> Iterator[Point]:
        """All points, part after part, all cells of one seed before the next."""
        for name, part in self.parts.items():
            axes = part.axes(configuration)
            if bad := {"point", "seed", "commit", "wall_seconds"} & set(axes):
                raise DataError(f"study {self.name}: no axis of part {name!r} may be called {bad.pop()!r}")
            for seed in configuration.seeds:
                for values in itertools.product(*axes.values()):
                    yield Point(name, dict(zip(axes, values, strict=True)), seed)

    def digest(self, configuration: Configuration) -> str:
        """Eight hexadecimal digits that change with any knob."""
        text = json.dumps({"study": self.name, **configuration.plain()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]
