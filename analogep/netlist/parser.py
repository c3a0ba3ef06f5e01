"""The syntax of expressions: text to a stack program, by precedence climbing over one token of look-ahead."""

import functools
import itertools
import math
import re

import jax

from analogep.errors import NetlistError
from analogep.netlist.expression import (
    BINARY,
    CONSTANTS,
    FUNCTIONS,
    GROUND,
    REFUSED,
    SUFFIXES,
    TERNARY_POWER,
    UNARY,
    UNARY_POWER,
    Expression,
    excerpt,
)

MAX_DEPTH = 200
MAX_POINTS = 2000
"""Points of one `pwl`."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?P<unit>[a-z]*)"
    r"|(?P<name>[a-z_]\w*)|(?P<operator>\*\*|&&|\|\||==|!=|<>|<=|>=|[-+*/^<>!?:(),]))",
    re.IGNORECASE | re.ASCII,
)
_BLANKS = re.compile(r"\s*")
_NODE = re.compile(r"\s*([A-Za-z0-9_.:#!$+\[\]-]+)", re.ASCII)


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Parse `text`; NetlistError, with the position (from 1) and on one line, for anything that is not understood."""
    parser = _Parser(text)
    parser.expression(0)
    if parser.kind != "end":
        raise parser.error(f"expected an operator, found {parser.token!r}")
    return Expression(text, tuple(dict.fromkeys(parser.nodes)), tuple(parser.program), tuple(parser.spans))


def _after_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return at if match is None else match.end()


class _Parser:
    """One token of look-ahead over `text`; writes `program` in postfix order."""

    def __init__(self, text: str) -> None:
        self.text, self.depth, self.end = text, 0, 0
        self.nodes: list[str] = []
        self.program: list[tuple[str, str | float]] = []
        self.spans: list[tuple[int, int, str | float]] = []
        self.advance()

    def error(self, what: str) -> NetlistError:
        return NetlistError(f"expression {excerpt(self.text)}, position {self.start + 1}: {what}")

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.end)
        self.start = _after_blanks(self.text, self.end)
        if match is None:
            self.kind, self.token = "end", "the end"
            if self.start < len(self.text):
                raise self.error(f"unexpected character {self.text[self.start]!r}")
            return
        self.kind = "number" if match["number"] else str(match.lastgroup)
        self.token, self.match, self.end = match[0].strip(), match, match.end()

    def expect(self, token: str) -> None:
        if self.token != token:
            raise self.error(f"expected {token!r}, found {self.token!r}")
        self.advance()

    def expression(self, power: int) -> None:
        """An operand, then every operator that binds tighter than `power`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH}")
        self.operand()
        while self.kind == "operator":
            operator = self.token
            if operator == "?" and power < TERNARY_POWER:
                self.advance()
                self.expression(0)
                self.expect(":")
                self.expression(0)
                self.program.append(("ternary", operator))
            elif operator in BINARY and BINARY[operator][0] > power:
                self.advance()
                self.expression(BINARY[operator][0])
                self.program.append(("binary", operator))
            else:
                break
        self.depth -= 1

    def operand(self) -> None:
        kind, token = self.kind, self.token
        if kind == "number":
            self.program.append(("number", self.number()))
            self.advance()
        elif kind == "name":
            self.named(token.lower())
        elif token == "(" and kind == "operator":
            self.advance()
            self.expression(0)
            self.expect(")")
        elif kind == "operator" and token in UNARY:
            self.advance()
            self.expression(UNARY_POWER - 1)
            self.program.append(("unary", token))
        else:
            raise self.error(f"expected a value, found {token!r}")

    def number(self) -> float:
        """The value of a number token: letters after the suffix are units, and are ignored as in SPICE."""
        unit = self.match["unit"].lower()
        if unit.startswith("a"):
            raise self.error(f"suffix 'a' of {self.token[:40]!r} is not understood by every SPICE; write e-18")
        suffix = next((s for s in ("meg", "mil", unit[:1]) if s in SUFFIXES and unit.startswith(s)), None)
        value = float(self.match["number"]) * (SUFFIXES[suffix] if suffix else 1.0)
        if not math.isfinite(value):
            raise self.error(f"number {self.token[:40]!r} is too large")
        self.spans.append((self.start, self.end, value))
        return value

    def named(self, name: str) -> None:
        """A constant, `time`, a node voltage or a function call."""
        before = self.start
        is_call = self.text.startswith("(", _after_blanks(self.text, self.end))
        if is_call and (name in FUNCTIONS or name in ("v", "i", "pwl")):
            self.advance()
            special = {"v": self.voltage, "i": lambda: self.current(before), "pwl": self.straight_lines}
            return special[name]() if name in special else self.call(name)
        if not is_call and name == "time":
            self.program.append(("time", ""))
        elif not is_call and name in CONSTANTS:
            self.program.append(("number", CONSTANTS[name]))
        else:
            self.start = before
            if name in REFUSED:
                raise self.error(f"{name!r} is not supported: {REFUSED[name]}")
            raise self.error(f"unknown {'function' if is_call else 'name'} {name[:40]!r}")
        return self.advance()

    def call(self, name: str) -> None:
        for index in range(FUNCTIONS[name][0]):
            self.expect("," if index else "(")
            self.expression(0)
        self.expect(")")
        self.program.append(("call", name))

    def straight_lines(self) -> None:
        """`pwl(x, x0, y0, x1, y1, ...)` with at least two points, constant and in order."""
        self.expect("(")
        self.expression(0)
        points: list[float] = []
        while self.token == ",":
            if len(points) >= 2 * MAX_POINTS:
                raise self.error(f"pwl has more than {MAX_POINTS} points")
            self.advance()
            begin = len(self.program)
            self.expression(0)
            points.append(self.constant(begin))
        if len(points) < 4 or len(points) % 2:
            raise self.error("pwl needs at least two points x, y after its argument")
        if any(b <= a for a, b in itertools.pairwise(points[::2])):
            raise self.error("the x of pwl's points must increase strictly")
        self.expect(")")
        self.program.append(("pwl", str(len(points) + 1)))

    def constant(self, begin: int) -> float:
        """Value of the program from `begin` on, which must read nothing."""
        program = tuple(self.program[begin:])
        if any(kind in ("node", "time") for kind, _ in program):
            raise self.error("pwl's points must be constants")
        with jax.ensure_compile_time_eval():  # an element may be parsed first while its law is traced
            value = float(Expression("", (), program, ()).evaluate({})) if len(program) > 1 else float(program[0][1])
        if not math.isfinite(value):
            raise self.error("pwl's points must be finite")
        return value

    def current(self, start: int) -> None:
        """`I(v1)`: the current through a voltage source."""
        match = _NODE.match(self.text, self.end)
        if match is None:
            self.start = self.end
            raise self.error("expected the name of a voltage source in I(...)")
        self.end = match.end()
        self.advance()
        name = f"i({match[1]})"
        self.program.append(("node", name))
        self.nodes.append(name)
        self.spans.append((start, self.end, name))
        self.expect(")")

    def voltage(self) -> None:
        """`V(a)` or `V(a, b)`: node names have their own spelling, so they are read from the text directly."""
        for index in range(2):
            match = _NODE.match(self.text, self.end)
            if match is None:
                self.start = self.end
                raise self.error("expected a node name in V(...)")
            node, self.end = match[1], match.end()
            ground = node.lower() in GROUND
            self.program.append(("number", 0.0) if ground else ("node", node))
            self.nodes += [] if ground else [node]
            self.spans.append((*match.span(1), node))
            self.advance()
            if index == 1:
                self.program.append(("binary", "-"))
            elif self.token != ",":
                break
        self.expect(")")
