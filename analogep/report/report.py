"""A static HTML report: one folder without external resources."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analogep.errors import DataError
from analogep.report.content import Cards, Explorer, Picture, Section, Table
from analogep.report.folder import MARKER, replace_folder
from analogep.report.text import jsonable, markup, shown

DPI = 200
"""Twice the 100 pixels to the inch at which figures are shown."""
_PACKAGES = ("analogep", "jax", "diffrax", "numpy", "scipy", "networkx", "xarray", "matplotlib")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass
class Report:
    """A report that grows section by section and is written at the end.

    Parameters
    ----------
    title : heading.
    subtitle : one line below it.
    lead : first paragraph, marked up as in `Section.paragraph`.
    versions : package -> version; those that are installed when None.
    seed : seed of the run, for the footer.
    wall_seconds : wall time of the run, for the footer.
    command : command line that made it, for the footer.
    """

    title: str
    subtitle: str = ""
    lead: str = ""
    versions: Mapping[str, str] | None = None
    seed: int | None = None
    wall_seconds: float | None = None
    command: str = ""
    sections: list[Section] = field(default_factory=list)
    attachments: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def section(self, heading: str) -> Section:
        """Add a section and return it, to be filled."""
        section = Section(heading)
        self.sections.append(section)
        return section

    def attach(self, name: str, content: str | bytes | Path, note: str = "") -> None:
        """Put a file beside the page and list it for download.

        Parameters
        ----------
        name : file name without folders.
        content : text, bytes, or the path of a file to copy.
        note : what it is.

        Raises
        ------
        DataError
            If the name is not a plain one, or is taken.
        """
        if not _FILE.fullmatch(name) or name in ("index.html", "numbers.json", MARKER) or name in self.attachments:
            raise DataError(f"{name!r} cannot name a file of the report: not a plain file name, or taken")
        if isinstance(content, Path):
            content = content.read_bytes()
        self.attachments[name] = (content.encode() if isinstance(content, str) else content, note)

    def numbers(self) -> dict[str, Any]:
        """All tables and cards as plain data: what `numbers.json` holds."""
        blocks = [block for section in self.sections for block in section.blocks]
        tables = [block for block in blocks if isinstance(block, Table)]
        cards = [card for block in blocks if isinstance(block, Cards) for card in block.cards]
        names = _unique([table.name for table in tables])
        return {
            "title": self.title,
            "tables": {name: table.numbers() for name, table in zip(names, tables, strict=True)},
            "cards": [
                {"label": c.label, "value": c.cell.value, "unit": c.unit, "verdict": c.cell.verdict} for c in cards
            ],
            "versions": dict(self._versions()),
            "seed": self.seed,
            "wall_seconds": self.wall_seconds,
        }

    def write(self, folder: str | Path) -> Path:
        """Write index.html, figures, numbers.json and attachments, all at once.

        Parameters
        ----------
        folder : where; an earlier report there is replaced when the new one is complete.

        Returns
        -------
        Path of index.html.

        Raises
        ------
        DataError
            If the folder holds something that is not an earlier report, or cannot be written.
        """
        folder = Path(folder)
        replace_folder(folder, self._fill)
        return folder / "index.html"

    def _fill(self, folder: Path) -> None:
        """Write all files into a fresh folder."""
        pictures = [b for section in self.sections for b in section.blocks if isinstance(b, Picture)]
        images: dict[int, dict[str, Any]] = {}
        for picture, name in zip(pictures, _unique([p.name for p in pictures]), strict=True):
            png, width, height = _png(picture)
            if f"{name}.png" in self.attachments:
                raise DataError(f"attachment {name}.png has the name of a figure; give one of them another name")
            (folder / f"{name}.png").write_bytes(png)
            images[id(picture)] = {"file": f"{name}.png", "width": width // 2, "height": height // 2}
        for name, (content, _) in self.attachments.items():
            (folder / name).write_bytes(content)
        numbers = json.dumps(jsonable(self.numbers()), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "numbers.json").write_text(numbers + "\n", encoding="utf-8")
        (folder / "index.html").write_text(self._page(images), encoding="utf-8")

    def _page(self, images: Mapping[int, Mapping[str, Any]]) -> str:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"markup": markup, "shown": shown}
        template = environment.get_template("report.html.j2")
        return template.render(
            report=self,
            anchors=_unique([section.anchor for section in self.sections]),
            image=lambda block: images[id(block)],
            number={"picture": _counter(), "table": _counter(), "explorer": _counter()},
            explorers=any(isinstance(block, Explorer) for section in self.sections for block in section.blocks),
            versions=self._versions(),
            written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            sizes={name: _size(len(content)) for name, (content, _) in self.attachments.items()},
        )

    def _versions(self) -> Mapping[str, str]:
        if self.versions is not None:
            return self.versions
        found = {"python": platform.python_version()}
        for package in _PACKAGES:
            try:
                found[package] = version(package)  # reads metadata, imports nothing
            except PackageNotFoundError:
                continue
        return found


def _png(picture: Picture) -> tuple[bytes, int, int]:
    """The figure as PNG at twice the shown resolution, with its width and height in pixels."""
    buffer = BytesIO()
    FigureCanvasAgg(picture.figure)
    picture.figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    data = buffer.getvalue()
    return data, int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _size(count: int) -> str:
    """A number of bytes as a reader wants it."""
    return (
        f"{count} B" if count < 1024 else f"{count / 1024:.0f} KiB" if count < 1 << 20 else f"{count / 2**20:.1f} MiB"
    )


def _unique(names: list[str]) -> list[str]:
    """The same names, with -2, -3, ... where one comes again."""
    out: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in out:
            count += 1
            candidate = f"{name}-{count}"
        out.append(candidate)
    return out


def _counter() -> Callable[[], int]:
    """Counts 1, 2, 3, ... at each call."""
    numbers = iter(range(1, 10**6))
    return lambda: next(numbers)
