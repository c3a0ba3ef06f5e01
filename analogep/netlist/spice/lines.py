"""Logical lines of a deck: title, comments, continuations, and files that are included, inside one folder.

What ngspice 39 was seen to do: the first line of a deck, and of a deck only, is its title; `;` and `//` end a line, `$`
does so at its beginning or after a blank; a line that begins with `+` continues the last one that was no comment.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from analogep.errors import NetlistError

MAX_BYTES = 16 * 2**20
"""Bytes of a deck and all it includes."""
MAX_LINES = 200_000
"""Lines of a deck and all it includes."""
MAX_LENGTH = 200_000
"""Characters of one logical line."""
MAX_NESTING = 16
"""Files that include each other."""
_COMMENT = re.compile(r";|//|(?:(?<=[\s,])|^)\$")
_COMMAND = re.compile(r"\.(include|inc|lib|endl|end)(?=\s|$)", re.IGNORECASE)
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)"|(\S+)""")


@dataclass(frozen=True)
class Line:
    """One logical line, lower case, and where its first part stands."""

    text: str
    file: str
    number: int

    def error(self, message: str) -> NetlistError:
        """What is wrong with this line, as an error that tells where it is."""
        excerpt = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return NetlistError(f"{self.file}:{self.number}: {message} (in {excerpt!r})")


@dataclass
class Source:
    """Reads files below `folder` only (None: no files), and counts what it reads."""

    folder: Path | None
    bytes: int = 0
    lines: int = 0
    stack: list[str] = field(default_factory=list)

    def open(self, name: str, base: Path, asked: Line | None) -> tuple[str, Path]:
        """Text and path of a file that is named in a file of the folder `base`, or (`asked` None) of the deck."""

        def wrong(message: str) -> NetlistError:
            return NetlistError(f"{name}: {message}") if asked is None else asked.error(f"{name[:200]!r}: {message}")

        try:
            path = Path(os.path.normpath(base / name))
            if asked is not None:
                self._check_inside(path, wrong)
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise wrong("not a plain file")
                content = file.read(MAX_BYTES - self.bytes + 1)
        except OSError as error:
            raise wrong(f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise wrong("not a file name") from error
        self.bytes += len(content)
        if self.bytes > MAX_BYTES:
            raise wrong(f"the deck and its files hold over {MAX_BYTES} bytes")
        return content.decode("utf-8", errors="replace"), path

    def _check_inside(self, path: Path, wrong: Callable[[str], NetlistError]) -> None:
        if self.folder is None:
            raise wrong("a deck given as text includes no files; give folder= to read files below it")
        if not path.is_relative_to(self.folder):
            raise wrong(f"outside the folder {self.folder}; allow another one with --include (folder= in Python)")
        inside = path.relative_to(self.folder).parts
        if any(self.folder.joinpath(*inside[:k]).is_symlink() for k in range(1, len(inside) + 1)):
            raise wrong("a symbolic link; include the file itself")


def deck_lines(text: str, file: str, source: Source, base: Path) -> tuple[str, list[Line]]:
    """Title and logical lines of a deck, files included.

    Raises
    ------
    NetlistError
        For a file outside the folder, commands that SPICE would execute, and a deck beyond the limits.
    """
    if len(text) > MAX_BYTES:
        raise NetlistError(f"{file}: the deck holds over {MAX_BYTES} characters")
    physical = _physical(text)
    title = physical[0].strip() if physical else ""
    _refuse_commands(title, Line(title.lower(), file, 1))
    lines = list(_expanded(physical, file, source, base, first=1))
    return title, lines


def _physical(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _refuse_commands(raw: str, at: Line) -> None:
    """What ngspice would execute as its own language."""
    if raw.startswith("*#") or raw.lower().startswith("*ng_script"):
        raise at.error("lines that ngspice would execute are refused; remove it")


def _expanded(
    physical: list[str], file: str, source: Source, base: Path, first: int, section: str | None = None
) -> Iterator[Line]:
    """Logical lines with those of included files; of a library, those of one section."""
    if len(source.stack) >= MAX_NESTING or file in source.stack:
        raise NetlistError(f"{file}:1: files include each other: {' -> '.join([*source.stack, file][-4:])}")
    source.stack.append(file)
    inside, found = section is None, False
    for line, raw in _logical(physical, file, source, first):
        command = _COMMAND.match(raw)
        word = command[1].lower() if command else ""
        given = _arguments(raw[command.end() :]) if command else []
        if word == "end":
            break
        if word == "lib" and len(given) == 1:
            if section is None:
                raise line.error("a section of a library; `.lib file section` uses one")
            if inside:
                raise line.error("sections of a library cannot be nested")
            inside = given[0].lower() == section
            found = found or inside
        elif word == "endl":
            if section is None:
                raise line.error(".endl without .lib")
            inside = False
        elif not inside:
            continue
        elif word in ("include", "inc", "lib"):
            yield from _included(word, given, line, source, base)
        else:
            yield line
    if section is not None and not found:
        raise NetlistError(f"{file}: the library has no section {section[:40]!r}")
    source.stack.pop()


def _included(word: str, given: list[str], line: Line, source: Source, base: Path) -> Iterator[Line]:
    if len(given) != (2 if word == "lib" else 1):
        raise line.error("write `.lib file section`" if word == "lib" else "write `.include file`")
    text, path = source.open(given[0], base, line)
    section = given[1].lower() if word == "lib" else None
    yield from _expanded(_physical(text), str(path), source, path.parent, first=0, section=section)


def _arguments(text: str) -> list[str]:
    return [a or b or c for a, b, c in _QUOTED.findall(text)]


def _logical(physical: list[str], file: str, source: Source, first: int) -> Iterator[tuple[Line, str]]:
    """Each logical line and its text in its own case, from physical line number `first` (counted from 0) on."""
    parts: list[str] = []
    begin, length = 0, 0

    def joined() -> tuple[Line, str]:
        raw = " ".join(parts)
        return Line(raw.lower(), file, begin), raw

    for number, raw in enumerate(physical[first:], first + 1):
        source.lines += 1
        text = raw.strip()
        here = Line(text.lower(), file, number)
        if source.lines > MAX_LINES:
            raise here.error(f"the deck and its files hold over {MAX_LINES} lines")
        _refuse_commands(text, here)
        if text.startswith("*"):
            continue
        comment = _COMMENT.search(text)
        text = text[: comment.start()].rstrip() if comment else text
        if not text:
            continue
        if "`" in text:
            raise here.error("a backquote, which some shells execute; remove it")
        if text.startswith("+"):
            if not parts:
                raise here.error("nothing to continue")
            text = text[1:].strip()
        elif parts:
            yield joined()
            parts, length = [], 0
        if not parts:
            begin = number
        parts.append(text)
        length += len(text) + 1
        if length > MAX_LENGTH:
            raise here.error(f"a logical line of over {MAX_LENGTH} characters")
    if parts:
        yield joined()
