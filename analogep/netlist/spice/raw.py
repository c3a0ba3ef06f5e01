"""Reader and writer of ngspice raw files: binary and ASCII, real and complex, several plots in one file."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analogep.errors import NetlistError
from analogep.files import whole_file


@dataclass(frozen=True)
class Plot:
    """One analysis: its vectors by variable name, each of shape [points].

    `name` is ngspice's plot name ("Operating Point", "Transient Analysis", "AC Analysis"), `variables` lists (name,
    type) in file order. With "complex" in `flags` every vector is complex128, the frequency too; otherwise float64.
    """

    title: str
    name: str
    flags: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    data: dict[str, np.ndarray] = field(repr=False)

    @property
    def points(self) -> int:
        """Length of every vector."""
        return len(next(iter(self.data.values()), ()))


class _Reader:
    """A cursor over the bytes of one file; every failure names the file, the plot and what is missing."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            with open(path, "rb") as file:
                self.content = file.read()
        except OSError as error:
            raise NetlistError(f"raw file {self.path}: cannot be read: {error.strerror}") from error
        self.offset = 0
        self.plot = 0

    def fail(self, what: str) -> NetlistError:
        return NetlistError(f"raw file {self.path}, plot {self.plot}: {what}")

    def at_end(self) -> bool:
        """Skip blank lines; True when nothing is left."""
        while self.offset < len(self.content) and self.content[self.offset] in b"\r\n\t ":
            self.offset += 1
        return self.offset >= len(self.content)

    def line(self, wanted: str) -> str:
        """The next line without its end; `wanted` says what a file that stops here lacks."""
        if self.offset >= len(self.content):
            raise self.fail(f"the file ends before {wanted}")
        stop = self.content.find(b"\n", self.offset)
        stop = len(self.content) if stop < 0 else stop
        text = self.content[self.offset : stop].decode("utf-8", errors="replace")
        self.offset = stop + 1
        return text.rstrip("\r")

    def count(self, header: dict[str, str], key: str) -> int:
        text = header.get(key)
        if text is None:
            raise self.fail(f"the header has no '{key}:'")
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise self.fail(f"'{key}:' is not a count: {text[:40]!r}")
        return int(text)


def read_raw(path: str | os.PathLike[str]) -> list[Plot]:
    """All plots of a raw file, in file order (ngspice writes AC first, then operating point, then transient).

    Raises NetlistError when the file is truncated or malformed, saying what is missing.
    """
    reader = _Reader(path)
    plots = []
    while not reader.at_end():
        reader.plot += 1
        plots.append(_plot(reader))
    if not plots:
        raise NetlistError(f"raw file {reader.path}: holds no plot")
    return plots


def _plot(reader: _Reader) -> Plot:
    header: dict[str, str] = {}
    while True:
        key, colon, value = reader.line("'Variables:'").partition(":")
        if not colon or (not header and key != "Title"):
            raise reader.fail(f"expected a header line such as 'Title: ...', found {key[:40]!r}")
        if key == "Variables":
            break
        header[key] = value.strip()
    flags = tuple(header.get("Flags", "").split())
    if "real" not in flags and "complex" not in flags:
        raise reader.fail("'Flags:' says neither real nor complex")
    if "unpadded" in flags:
        raise reader.fail("vectors of unequal length ('unpadded') are not supported")
    if "Plotname" not in header:
        raise reader.fail("the header has no 'Plotname:'")
    points, width = reader.count(header, "No. Points"), reader.count(header, "No. Variables")
    variables = tuple(_variable(reader, index, value if index == 0 else "") for index in range(width))
    names = [name for name, _ in variables]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice or not names:
        raise reader.fail(f"a variable is listed twice: {twice[0]}" if twice else "no variable is listed")
    kind = reader.line("'Binary:' or 'Values:'").strip()
    if kind not in ("Binary:", "Values:"):
        raise reader.fail(f"expected 'Binary:' or 'Values:', found {kind[:40]!r}")
    table = (_binary if kind == "Binary:" else _ascii)(reader, points, width, "complex" in flags)
    data = {name: np.ascontiguousarray(table[:, column]) for column, name in enumerate(names)}
    return Plot(header["Title"], header["Plotname"], flags, variables, data)


def _variable(reader: _Reader, index: int, same_line: str) -> tuple[str, str]:
    """One `index name type` line; the first may share the line of `Variables:`."""
    parts = (same_line if same_line.strip() else reader.line(f"variable {index}")).split()
    if len(parts) < 3 or parts[0] != str(index):
        raise reader.fail(f"variable {index} is not listed as 'index name type': {' '.join(parts)[:60]!r}")
    return parts[1], parts[2]


def _binary(reader: _Reader, points: int, width: int, is_complex: bool) -> np.ndarray:
    kind = np.dtype("<c16" if is_complex else "<f8")
    needed, left = points * width * kind.itemsize, len(reader.content) - reader.offset
    if left < needed:
        raise reader.fail(f"binary data is truncated: {needed} bytes announced, {max(left, 0)} present")
    table = np.frombuffer(reader.content, dtype=kind, count=points * width, offset=reader.offset)
    reader.offset += needed
    return table.reshape(points, width).astype(complex if is_complex else float)


def _ascii(reader: _Reader, points: int, width: int, is_complex: bool) -> np.ndarray:
    if points * width > len(reader.content):
        raise reader.fail(f"data is truncated: {points} points of {width} values announced")
    table = np.empty((points, width), dtype=complex if is_complex else float)
    for row in range(points):
        for column in range(width):
            if reader.at_end():
                raise reader.fail(f"the file ends before value {column} of point {row}")
            parts = reader.line("a value").split()
            if len(parts) != (2 if column == 0 else 1) or (column == 0 and parts[0] != str(row)):
                raise reader.fail(f"value {column} of point {row} is malformed: {' '.join(parts)[:60]!r}")
            try:
                numbers = [float(part) for part in parts[-1].split(",")]
                table[row, column] = complex(*numbers) if is_complex else float(*numbers)
            except (TypeError, ValueError):
                raise reader.fail(f"value {column} of point {row} is no number: {parts[-1][:40]!r}") from None
    return table


def write_raw(path: str | os.PathLike[str], plots: Sequence[Plot], binary: bool = True) -> None:
    """Write `plots` as ngspice would; ASCII keeps 17 significant digits, so both forms read back equal.

    The file is whole or not there. Raises NetlistError for a plot that no reader would take, DataError where the file
    cannot be written.
    """
    for plot in plots:
        _check_writable(plot)
    with whole_file(Path(path)) as partial, open(partial, "wb") as file:
        for plot in plots:
            is_complex = "complex" in plot.flags
            listing = "".join(f"\t{i}\t{name}\t{kind}\n" for i, (name, kind) in enumerate(plot.variables))
            header = (
                f"Title: {plot.title}\nPlotname: {plot.name}\nFlags: {' '.join(plot.flags)}\n"
                f"No. Variables: {len(plot.variables)}\nNo. Points: {plot.points}\nVariables:\n{listing}"
                f"{'Binary:' if binary else 'Values:'}\n"
            )
            file.write(header.encode())
            table = np.stack([np.asarray(plot.data[name]) for name, _ in plot.variables], axis=1)
            if binary:
                file.write(table.astype("<c16" if is_complex else "<f8").tobytes())
                continue
            for row, point in enumerate(table):
                texts = [f"{x.real:.17g},{x.imag:.17g}" if is_complex else f"{x:.17g}" for x in point]
                file.write((f"{row}\t" + "".join(f"\t{text}\n" for text in texts) + "\n").encode())


def _check_writable(plot: Plot) -> None:
    """One line for the title and the name, one word for every variable and its type, vectors of one length."""
    for text in (plot.title, plot.name):
        if text.strip() != text or not text.isprintable():
            raise NetlistError(f"plot {plot.name[:40]!r}: {text[:40]!r} cannot stand on a line of a raw file")
    if not plot.variables:
        raise NetlistError(f"plot {plot.name!r}: it holds no variable")
    for word in (word for variable in plot.variables for word in variable):
        if len(word.split()) != 1 or word.strip() != word or not word.isprintable():
            raise NetlistError(f"plot {plot.name!r}: {word[:40]!r} cannot name a variable in a raw file; use one word")
    names = [name for name, _ in plot.variables]
    if len(set(names)) != len(names) or any(np.shape(plot.data[name]) != (plot.points,) for name in names):
        raise NetlistError(f"plot {plot.name!r}: its variables need names of their own and vectors of one length")
    if "complex" not in plot.flags and any(np.iscomplexobj(plot.data[name]) for name in names):
        raise NetlistError(f"plot {plot.name!r}: complex values under the flags {plot.flags}")
