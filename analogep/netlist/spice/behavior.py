"""Expressions of behavioral sources: parameters and functions of the deck put in, ready for `expression.parse`.

In a B source ngspice reads braces as parentheses, functions are expanded as text, and a bare name is a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from analogep.errors import NetlistError
from analogep.netlist.expression import CONSTANTS, FUNCTIONS, REFUSED, Expression, literal
from analogep.netlist.parser import parse
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.parameters import MAX_CALLS, Function, Scope
from analogep.netlist.spice.words import node_name

MAX_LENGTH = 50_000
"""Characters of an expression with its functions expanded."""
_PIECE = re.compile(
    r"(?P<number>(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[+-]?[0-9]++)?[a-z_0-9]*+)|(?P<name>[a-z_][a-z_0-9]*+)"
    r"|(?P<other>\s++|.)"
)
_READS = re.compile(r"\s*+\(([^()]*+)\)")
_CALL = re.compile(r"\s*+\(")


@dataclass
class _Room:
    """How much may still be written."""

    left: int = MAX_LENGTH


def behavior(text: str, scope: Scope, line: Line) -> Expression:
    """The expression `text` (lower case) with numbers in the place of parameters.

    Raises
    ------
    NetlistError
        For unknown names and functions, and expressions that grow beyond the limit.
    """
    plain = text.replace("{", "(").replace("}", ")").replace("'", " ").replace('"', " ").strip()
    expanded = _expand(plain, scope, line, {}, 0, _Room())
    try:
        return parse(expanded)
    except NetlistError as error:
        raise line.error(str(error)) from None


def _expand(
    text: str, scope: Scope, line: Line, arguments: Mapping[str, tuple[str, str]], depth: int, room: _Room
) -> str:
    """`arguments` of the function whose body this is: name -> what was written for it, and that expanded."""
    out: list[str] = []
    at = 0
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:
            raise line.error(f"unexpected character {text[at]!r} in an expression")
        piece, at = match[0], match.end()
        if match.lastgroup == "name":
            call = _CALL.match(text, at)
            if call is not None and piece in ("v", "i"):
                piece, at = _read(piece, text, at, line, arguments)
            elif call is not None and piece in scope.functions:
                given, at = _given(text, call.end(), line)
                piece = _called(scope.functions[piece], given, scope, line, arguments, depth, room)
            elif call is None:
                piece = _named(piece, scope, line, arguments)
        room.left -= len(piece)
        scope.budget.spend(3 * len(piece), line)
        if room.left < 0:
            raise line.error(f"the expression grows beyond {MAX_LENGTH} characters")
        out.append(piece)
    return "".join(out)


def _named(name: str, scope: Scope, line: Line, arguments: Mapping[str, tuple[str, str]]) -> str:
    if name in arguments:
        return f"({arguments[name][1]})"
    value = scope.find(name)
    if value is not None:
        return literal(value)
    if name == "time" or name in CONSTANTS or name in FUNCTIONS or name in REFUSED:
        return name
    raise line.error(f"unknown parameter {name[:40]!r}")


def _read(kind: str, text: str, at: int, line: Line, arguments: Mapping[str, tuple[str, str]]) -> tuple[str, int]:
    """`v(a, b)` or `i(v1)`, whose names may be arguments of a function."""
    match = _READS.match(text, at)
    if match is None:
        raise line.error(f"{kind}(...) names {'nodes' if kind == 'v' else 'a voltage source'} and nothing else")
    names = [part.strip() for part in match[1].split(",")]
    names = [arguments[name][0].strip() if name in arguments else name for name in names]
    return f"{kind}({','.join(node_name(name, line) for name in names)})", match.end()


def _given(text: str, at: int, line: Line) -> tuple[list[str], int]:
    """What is written between the parentheses of a call, split at its commas; the position after it."""
    parts, depth, begin = [], 0, at
    for end in range(at, len(text)):
        char = text[end]
        if char in ",)" and depth == 0:
            parts.append(text[begin:end])
            begin = end + 1
            if char == ")":
                return ([] if len(parts) == 1 and not parts[0].strip() else parts), end + 1
        depth += {"(": 1, ")": -1}.get(char, 0)
    raise line.error("')' is missing")


def _called(
    function: Function,
    given: list[str],
    scope: Scope,
    line: Line,
    arguments: Mapping[str, tuple[str, str]],
    depth: int,
    room: _Room,
) -> str:
    name = function.name[:40]
    if len(given) != len(function.arguments):
        raise line.error(f"function {name!r} takes {len(function.arguments)} arguments, not {len(given)}")
    if depth >= MAX_CALLS:
        raise line.error(f"function {name!r} is nested deeper than {MAX_CALLS} calls, or calls itself")
    inner = {}
    for argument, text in zip(function.arguments, given, strict=True):
        written = text.strip()
        written = arguments[written][0] if written in arguments else written
        inner[argument] = (written, _argument(text, scope, line, arguments, depth, room))
    body = function.text.replace("{", "(").replace("}", ")").replace("'", " ").replace('"', " ")
    return f"({_expand(body, scope, function.line, inner, depth + 1, room)})"


def _argument(
    text: str, scope: Scope, line: Line, arguments: Mapping[str, tuple[str, str]], depth: int, room: _Room
) -> str:
    """The argument expanded, or a name that only `v(...)` can read, kept as it is."""
    name = text.strip()
    alone = name.isidentifier() and name not in arguments and scope.find(name) is None
    return name if alone else _expand(text, scope, line, arguments, depth + 1, room)
