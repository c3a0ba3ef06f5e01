"""The words of one logical line, and a cursor that takes them as nodes, names and values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from analogep.errors import NetlistError
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.parameters import Scope, number

MAX_NAME = 500
"""Characters of a name."""
_TOKEN = re.compile(r"""\s*+(?:'(?P<quote>[^']*+)'|"(?P<double>[^"]*+)"|(?P<mark>[=(),])|(?P<word>[^\s=(),{}'"]++))""")
_NODE = re.compile(r"[a-z0-9_.:#!$+\[\]-]+", re.ASCII)
_NAME = re.compile(r"[a-z0-9_.:+-]+", re.ASCII)
_BLANKS = re.compile(r"\s*+")
_PARAMETER = re.compile(r"[a-z_][a-z_0-9]*+")
_MODES = {"quote": "expression", "double": "expression", "mark": "mark", "word": "word"}


@dataclass(frozen=True)
class Word:
    """A `word`, a `mark` (= , parentheses), or an `expression` without its braces or quotes; where it begins."""

    kind: str
    text: str
    start: int


class Words:
    """A cursor over the words of a line; every failure tells file and line."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.at = 0
        self.all = _split(line)

    def error(self, message: str) -> NetlistError:
        """What is wrong with the line."""
        return self.line.error(message)

    def peek(self, ahead: int = 0) -> Word | None:
        """A word to come, or None."""
        place = self.at + ahead
        return self.all[place] if place < len(self.all) else None

    def is_mark(self, text: str, ahead: int = 0) -> bool:
        """Whether that mark comes."""
        word = self.peek(ahead)
        return word is not None and word.kind == "mark" and word.text == text

    def skip(self, marks: str) -> None:
        """Pass over any of these marks."""
        while (word := self.peek()) is not None and word.kind == "mark" and word.text in marks:
            self.at += 1

    def next(self, what: str) -> Word:
        """The next word; `what` tells what is missing where the line ends."""
        word = self.peek()
        if word is None:
            raise self.error(f"{what} is missing")
        self.at += 1
        return word

    def name(self, what: str) -> str:
        """A name: letters, digits and a few signs."""
        word = self.next(what)
        if word.kind != "word" or len(word.text) > MAX_NAME or not _NAME.fullmatch(word.text):
            raise self.error(f"{word.text[:40]!r} cannot be {what}")
        return word.text

    def node(self, what: str = "a node") -> str:
        """A node name; `gnd` is ground."""
        self.skip("(,)")
        word = self.next(what)
        if word.kind != "word":
            raise self.error(f"{word.text[:40]!r} cannot be {what}")
        return node_name(word.text, self.line)

    def value(self, scope: Scope, what: str = "a value") -> float:
        """A number, a parameter, or an expression in braces or quotes."""
        word = self.next(what)
        if word.kind == "expression":
            return scope.value(word.text, self.line)
        if word.kind == "word":
            try:
                return number(word.text)
            except NetlistError as error:
                if _PARAMETER.fullmatch(word.text):
                    return scope.value(word.text, self.line)
                raise self.error(f"{what}: {error}") from None
        raise self.error(f"{what} is missing before {word.text!r}")

    def begins_value(self) -> bool:
        """Whether a number or an expression comes."""
        word = self.peek()
        if word is None or word.kind == "mark":
            return False
        return word.kind == "expression" or word.text[0] in "0123456789.+-"

    def values(self, scope: Scope, limit: int, what: str) -> list[float]:
        """Values up to the next word that is none, with or without parentheses around them and commas between."""
        found: list[float] = []
        self.skip("(")
        while self.begins_value() or self.is_mark(","):
            if self.is_mark(","):
                self.at += 1
                continue
            if len(found) >= limit:
                raise self.error(f"{what}: more than {limit} values")
            found.append(self.value(scope, what))
        self.skip(")")
        return found

    def settings(
        self, scope: Scope, known: tuple[str, ...], what: str, flags: tuple[str, ...] = ()
    ) -> dict[str, float]:
        """`name=value` pairs up to the end of the line; those not `known` are refused."""
        found: dict[str, float] = {}
        while self.at < len(self.all):
            self.skip(",")
            if self.peek() is None:
                break
            name = self.name(f"a setting of {what}")
            if name in found:
                raise self.error(f"{name!r} is given twice")
            if name in flags and not self.is_mark("="):
                found[name] = 1.0
                continue
            if name not in known:
                raise self.error(
                    f"{name[:40]!r} is not understood here; {what} takes {', '.join(known) or 'no settings'}"
                )
            if not self.is_mark("="):
                raise self.error(f"write {name}=value")
            self.at += 1
            found[name] = self.value(scope, name)
        return found

    def end(self) -> None:
        """Refuse anything that is left."""
        word = self.peek()
        if word is not None:
            raise self.error(f"{word.text[:40]!r} is not understood here")

    def rest(self) -> str:
        """The text from the next word on; nothing is left after it."""
        word = self.peek()
        self.at = len(self.all)
        return "" if word is None else self.line.text[word.start :]


def node_name(text: str, line: Line) -> str:
    """A node's name as decks spell it -> ours."""
    if len(text) > MAX_NAME or not _NODE.fullmatch(text):
        raise line.error(f"{text[:40]!r} cannot be a node; use letters, digits and _ . : # ! $ + - [ ]")
    return "0" if text == "gnd" else text


def _split(line: Line) -> list[Word]:
    text, words, at = line.text, [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is not None:
            kind = str(match.lastgroup)
            words.append(Word(_MODES[kind], match[kind], match.start(kind) - (kind in ("quote", "double"))))
            at = match.end()
            continue
        at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
        if at == len(text):
            break
        if text[at] != "{":
            raise line.error(f"{text[at]!r} has no partner")
        end = closing_brace(text, at, line)
        words.append(Word("expression", text[at + 1 : end], at))
        at = end + 1
    return words


def closing_brace(text: str, begin: int, line: Line) -> int:
    """Position of the brace that closes the one at `begin`."""
    depth = 0
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise line.error("'}' is missing")
