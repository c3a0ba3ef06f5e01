"""Parameters and functions of a deck: `.param`, `.func`, and the scopes in which their names are looked up.

A subcircuit sees its own parameters, then those of whoever uses it, and the deck's own last, as ngspice does (names are
looked up where a subcircuit is used, not where it is written). Definitions of one scope may come in any order.
"""

from __future__ import annotations

import graphlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from analogep.errors import NetlistError
from analogep.netlist.spice.formula import FUNCTIONS, Formula, evaluate, formula
from analogep.netlist.spice.formula import number as number
from analogep.netlist.spice.lines import Line

MAX_STEPS = 4_000_000
"""Evaluations of one deck."""
MAX_CALLS = 30
"""Functions that call each other."""
_NAME = re.compile(r"[a-z_][a-z_0-9]*+")
_DEFINITION = re.compile(r"(?<![a-z_0-9])([a-z_][a-z_0-9]*+)\s*+(\([a-z_0-9,\s]*+\))?\s*+=(?!=)")
_OPENING = {"{": "}", "(": ")", "[": "]"}


@dataclass(frozen=True)
class Definition:
    """`name = text`, and where it stands."""

    name: str
    text: str
    line: Line


@dataclass(frozen=True)
class Function:
    """`.func name(arguments) {text}`."""

    name: str
    arguments: tuple[str, ...]
    text: str
    line: Line


@dataclass
class Budget:
    """What is left of the evaluations that a deck may ask for."""

    steps: int = MAX_STEPS

    def spend(self, steps: int, line: Line) -> None:
        """Count, and stop a deck that never ends."""
        self.steps -= steps
        if self.steps < 0:
            raise line.error(f"parameters take over {MAX_STEPS} evaluations")


@dataclass
class Scope:
    """Parameters and functions that are visible somewhere; `outside` collects what was read from the parents.

    `owner` is the block of lines whose scope it is.
    """

    budget: Budget
    parent: Scope | None = None
    functions: Mapping[str, Function] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    outside: dict[str, float | None] = field(default_factory=dict)
    owner: object = None

    def find(self, name: str) -> float | None:
        """Value of a parameter, or None."""
        if name in self.values:
            return self.values[name]
        if self.parent is None:
            return None
        self.outside[name] = found = self.parent.find(name)
        return found

    def define(self, definitions: Iterable[Definition]) -> None:
        """Evaluate definitions in the order that they need; of two with one name the later counts."""
        table = {item.name: item for item in definitions}
        needs = {item.name: self._needs(item) & table.keys() for item in table.values()}
        try:
            order = list(graphlib.TopologicalSorter(needs).static_order())
        except graphlib.CycleError as error:
            cycle = error.args[1]
            raise table[cycle[0]].line.error(f"parameters need each other: {' <- '.join(cycle[:6])}") from None
        for name in order:
            self.values[name] = self.value(table[name].text, table[name].line)

    def _needs(self, item: Definition) -> frozenset[str]:
        """Parameters that a definition reads, those of the functions it calls included."""
        parsed = _parsed(item.text, item.line)
        names, calls, seen = set(parsed.names), list(parsed.calls), set(parsed.calls)
        while calls:
            function = self.functions.get(calls.pop())
            if function is None:
                continue
            body = _parsed(function.text, function.line)
            names |= body.names - set(function.arguments)
            calls += body.calls - seen
            seen |= body.calls
        return frozenset(names)

    def value(self, text: str, line: Line) -> float:
        """Value of an expression without its braces."""
        value = self._evaluate(_parsed(text, line), {}, line, 0)
        if not math.isfinite(value):
            raise line.error(f"the expression {text[:60]!r} has no finite value")
        return value

    def _evaluate(self, parsed: Formula, arguments: Mapping[str, float], line: Line, depth: int) -> float:
        self.budget.spend(len(parsed.program), line)

        def lookup(name: str) -> float:
            found = arguments[name] if name in arguments else self.find(name)
            if found is None:
                raise line.error(f"unknown parameter {name[:40]!r}")
            return found

        def call(name: str, values: tuple[float, ...]) -> float:
            function = self.functions.get(name)
            if function is None:
                raise line.error(f"unknown function {name[:40]!r}")
            if len(values) != len(function.arguments):
                raise line.error(f"function {name[:40]!r} takes {len(function.arguments)} arguments, not {len(values)}")
            if depth >= MAX_CALLS:
                raise line.error(f"function {name[:40]!r} is nested deeper than {MAX_CALLS} calls, or calls itself")
            given = dict(zip(function.arguments, values, strict=True))
            return self._evaluate(_parsed(function.text, function.line), given, line, depth + 1)

        return evaluate(parsed, lookup, call)


def _parsed(text: str, line: Line) -> Formula:
    try:
        return formula(text.replace("{", "(").replace("}", ")").replace("'", " "))
    except NetlistError as error:
        raise line.error(str(error)) from None


def definitions(text: str, line: Line) -> tuple[list[Definition], list[Function]]:
    """What `a=1 b = {a+1} f(x)='x*a'` defines: parameters, and functions."""
    outer = _outer(text, line)
    marks = [match for match in _DEFINITION.finditer(outer) if text[match.start() : match.end()] == match[0]]
    begin = marks[0].start() if marks else len(text)
    if text[:begin].strip(" ,\t"):
        raise line.error(f"expected name=value, found {text[:begin].strip()[:40]!r}")
    parameters, functions = [], []
    for k, match in enumerate(marks):
        end = marks[k + 1].start() if k + 1 < len(marks) else len(text)
        body = text[match.end() : end].strip(" \t").rstrip(", \t")
        if match[2] is None:
            parameters.append(Definition(match[1], _bare(body, line), line))
        else:
            functions.append(function(match[1], match[2], body, line))
    return parameters, functions


def function(name: str, arguments: str, body: str, line: Line) -> Function:
    """A function definition from its parts: name, `(x, y)` and the body."""
    if name in FUNCTIONS or name in ("v", "i", "pwl"):
        raise line.error(f"function {name!r} is built in; choose another name")
    inside = arguments.strip()[1:-1]
    names = tuple(part.strip() for part in inside.split(",")) if inside.strip() else ()
    for argument in names:
        if not _NAME.fullmatch(argument):
            raise line.error(f"{argument[:40]!r} cannot be the name of an argument")
    if len(set(names)) != len(names):
        raise line.error("an argument is listed twice")
    return Function(name, names, _bare(body, line), line)


def _bare(body: str, line: Line) -> str:
    """An expression without the braces or quotes around all of it."""
    body = body.strip()
    if len(body) >= 2 and body[0] in "'\"" and body[-1] == body[0] and body[0] not in body[1:-1]:
        body = body[1:-1].strip()
    if not body:
        raise line.error("a value is missing")
    return body


def _outer(text: str, line: Line) -> str:
    """The text with what stands in braces, brackets or quotes blanked, but for arguments of a definition."""
    out = list(text)
    closing: list[str] = []
    for k, char in enumerate(text):
        hidden = bool(closing) and closing != [")"]
        if closing and char == closing[-1]:
            closing.pop()
        elif char in "'\"" and (not closing or closing[-1] not in "'\""):
            closing.append(char)
        elif char in _OPENING and (not closing or closing[-1] not in "'\""):
            closing.append(_OPENING[char])
        if hidden or (closing and (closing != [")"] or char == "=")):
            out[k] = "~"
    if closing:
        raise line.error(f"{closing[-1]!r} is missing")
    return "".join(out)
