"""What a report is made of: paragraphs, figures, tables, cards and code, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogep.errors import DataError
from analogep.report.text import plain, shown, slug

Value = str | int | float | bool | None
Verdict = Literal["good", "bad"] | None

SHORT = 28
"""Characters up to which a table cell stays on one line."""


@dataclass(frozen=True)
class Cell:
    """A table cell with a verdict.

    Parameters
    ----------
    value : what `numbers.json` holds.
    verdict : `good`, `bad` or None; a number that is not finite is always bad.
    text : what is shown; the formatted value when None.
    """

    value: Value
    verdict: Verdict = None
    text: str | None = None

    def __post_init__(self) -> None:
        value = plain(self.value)
        object.__setattr__(self, "value", value)
        if isinstance(value, float) and not math.isfinite(value):
            object.__setattr__(self, "verdict", "bad")

    @property
    def shown(self) -> str:
        """Text of the cell."""
        return shown(self.value) if self.text is None else self.text

    @property
    def numeric(self) -> bool:
        """Whether it is aligned as a number."""
        return isinstance(self.value, (int, float)) and not isinstance(self.value, bool)


@dataclass(frozen=True)
class Card:
    """A key number.

    Parameters
    ----------
    label : what it is.
    value : number or word.
    unit : unit, if any.
    note : one short line below.
    verdict : `good`, `bad` or None.
    """

    label: str
    value: Value
    unit: str = ""
    note: str = ""
    verdict: Verdict = None

    @property
    def cell(self) -> Cell:
        """The value with its verdict, as a table cell would have them."""
        return Cell(self.value, self.verdict)


@dataclass(frozen=True)
class Paragraph:
    """Text with `code`, **bold**, *italic* and [links](https://...)."""

    text: str
    kind: str = "paragraph"


@dataclass(frozen=True)
class Code:
    """A block of code or a command line, shown as it is."""

    text: str
    caption: str = ""
    kind: str = "code"


@dataclass(frozen=True)
class Picture:
    """A figure with its caption and the text that replaces it where it cannot be seen."""

    figure: Figure
    caption: str
    alt: str
    name: str
    kind: str = "picture"


@dataclass(frozen=True)
class Table:
    """Rows of cells below named columns."""

    columns: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    name: str
    kind: str = "table"

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers, which are set flush right."""
        return [any(row[k].numeric for row in self.rows) for k in range(len(self.columns))]

    @property
    def short(self) -> list[bool]:
        """Whether each column holds a few words at most, which are kept on one line."""
        return [all(len(row[k].shown) <= SHORT for row in self.rows) for k in range(len(self.columns))]

    def numbers(self) -> dict[str, Any]:
        """Columns, units and rows as plain data."""
        rows = [dict(zip(self.columns, (cell.value for cell in row), strict=True)) for row in self.rows]
        bad = [
            [k, column]
            for k, row in enumerate(self.rows)
            for column, cell in zip(self.columns, row, strict=True)
            if cell.verdict == "bad"
        ]
        units = {column: unit for column, unit in zip(self.columns, self.units, strict=True) if unit}
        return {"caption": self.caption, "units": units, "rows": rows, "bad": bad}


@dataclass(frozen=True)
class Cards:
    """A row of key numbers."""

    cards: tuple[Card, ...]
    kind: str = "cards"


@dataclass(frozen=True)
class Explorer:
    """An interactive map, as `analogep.report.explorer.payload` makes its data."""

    payload: Mapping[str, Any]
    caption: str
    kind: str = "explorer"


Block = Paragraph | Code | Picture | Table | Cards | Explorer


@dataclass
class Section:
    """A heading and what stands below it; every method adds a block and returns the section."""

    heading: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Fragment of its address."""
        return slug(self.heading)

    def paragraph(self, text: str) -> Section:
        """Add text; blank lines separate paragraphs, `code`, **bold**, *italic* and [links](https://...) are known."""
        self.blocks += [Paragraph(" ".join(part.split())) for part in text.split("\n\n") if part.strip()]
        return self

    def figure(self, figure: Figure | Axes, caption: str, *, alt: str, name: str | None = None) -> Section:
        """Add a figure.

        Parameters
        ----------
        figure : the figure, or any of its axes.
        caption : text below it, marked up as a paragraph.
        alt : what it shows, in words.
        name : file name without extension; made from the caption when None.
        """
        whole = figure.get_figure(root=True) if isinstance(figure, Axes) else figure
        if not isinstance(whole, Figure):
            raise DataError(f"the figure {caption!r} is no matplotlib figure")
        if not alt.strip():
            raise DataError(f"the figure {caption!r} needs an alt text")
        self.blocks.append(Picture(whole, caption, alt, slug(name or caption)))
        return self

    def table(
        self,
        rows: Sequence[Mapping[str, Any]] | Sequence[Sequence[Any]],
        *,
        columns: Sequence[str] | None = None,
        units: Mapping[str, str] | None = None,
        caption: str = "",
        name: str | None = None,
    ) -> Section:
        """Add a table.

        Parameters
        ----------
        rows : mappings from column to value, or sequences in the order of `columns`. A `Cell` carries a verdict.
        columns : names and order; those of the mappings, in order of appearance, when None.
        units : column -> unit.
        caption : text above it, marked up as a paragraph.
        name : its key in `numbers.json`; made from the caption or the heading when None.

        Raises
        ------
        DataError
            If there are neither rows nor columns, if a row does not fit the columns, or a unit has no column.
        """
        mappings = [row for row in rows if isinstance(row, Mapping)]
        if columns is None:
            columns = list(dict.fromkeys(key for row in mappings for key in row))
        if not columns or len(mappings) not in (0, len(rows)):
            raise DataError("a table needs columns, and either mappings or sequences as rows")
        unknown = sorted({*(units or {}), *(key for row in mappings for key in row)} - set(columns))
        if unknown:
            raise DataError(f"table {caption!r} has no column {unknown[0]!r}; it has {', '.join(columns)}")
        cells = []
        for row in rows:
            values = [row.get(column) for column in columns] if isinstance(row, Mapping) else list(row)
            if len(values) != len(columns):
                raise DataError(f"a row of table {caption!r} has {len(values)} cells for {len(columns)} columns")
            cells.append(tuple(value if isinstance(value, Cell) else Cell(value) for value in values))
        kept = tuple((units or {}).get(column, "") for column in columns)
        self.blocks.append(Table(tuple(columns), kept, tuple(cells), caption, slug(name or caption or self.heading)))
        return self

    def cards(self, *cards: Card) -> Section:
        """Add a row of key numbers."""
        self.blocks.append(Cards(cards))
        return self

    def explorer(self, payload: Mapping[str, Any], caption: str) -> Section:
        """Add an interactive map; the page then has a script, which loads nothing."""
        self.blocks.append(Explorer(payload, caption))
        return self

    def code(self, text: str, caption: str = "") -> Section:
        """Add code or a command line."""
        self.blocks.append(Code(text.strip("\n"), caption))
        return self
