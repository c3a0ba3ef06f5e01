"""Parameter expressions, `{...}` or '...', as ngspice's numparam evaluates them: plain numbers, no voltages.

What ngspice 39 was seen to do, and this module follows:
- `^` and `**` mean |a|^b and group to the left; `pow(a, b)` is the plain power, `pwr(a, b)` is |a|^b.
- A minus at the beginning, after `(` or a comma is looser than a power (-2^2 = -4); after an operator it is tighter
  (2*-3^2 = 18, 2^-3^2 = 2^-6). In B sources it is always looser.
- `%` is the remainder, `\\` divides without fraction; comparisons give 1 or 0; `log` and `ln` are natural.
- `sqr`, `int` (towards zero), `nint` (half to even), `arctan` and `ternary_fcn` exist; `pi`, `e`, `u` do not.
It reads `1mil` as 1 milli there and as 25.4 micro elsewhere, and takes `1k5` for 1k: both are refused.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from analogep.errors import NetlistError

MAX_DEPTH = 100
MAX_NUMBER = 60
SUFFIXES = {
    "t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "mil": 25.4e-6, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15,
}  # fmt: skip
_NUMBER = re.compile(r"([+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[+-]?[0-9]++)?)([a-z]*+)")
_TOKEN = re.compile(
    r"\s*+(?:(?P<number>(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[+-]?[0-9]++)?[a-z_0-9]*+)"
    r"|(?P<name>[a-z_][a-z_0-9]*+)|(?P<mark>\*\*|&&|\|\||==|!=|<>|<=|>=|[-+*/\\%^<>!?:(),])|(?P<end>$))"
)


def number(text: str) -> float:
    """Value of a SPICE number such as `1.5k`, `10MEG`, `3mil`, `2pF`; letters after the suffix are a unit.

    Raises
    ------
    NetlistError
        For anything else.
    """
    lower = text.lower()
    match = _NUMBER.fullmatch(lower) if len(lower) <= MAX_NUMBER else None
    if match is None:
        raise NetlistError(f"{text[:40]!r} is not a number")
    digits, unit = match.groups()
    if unit.startswith("a"):
        raise NetlistError(f"suffix 'a' of {text[:40]!r} is atto for some SPICE and a unit for others; write e-18")
    suffix = next((s for s in ("meg", "mil", unit[:1]) if s in SUFFIXES and unit.startswith(s)), None)
    value = scaled(digits, suffix)
    if not math.isfinite(value):
        raise NetlistError(f"number {text[:40]!r} is too large")
    return value


_EXPONENTS = {"t": 12, "g": 9, "meg": 6, "k": 3, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}


def scaled(digits: str, suffix: str | None) -> float:
    """The decimal number, rounded once: 3.3u is 3.3e-6."""
    if suffix is None:
        return float(digits)
    if suffix == "mil":
        return float(digits) * 25.4e-6
    mantissa, _, exponent = digits.partition("e")
    return float(f"{mantissa}e{max(min(int(exponent or 0), 9999), -9999) + _EXPONENTS[suffix]}")


def _power(base: float, exponent: float) -> float:
    return math.pow(abs(base), exponent)


def _truth(value: bool) -> float:
    return 1.0 if value else 0.0


def _sign(x: float) -> float:
    return float((x > 0) - (x < 0))


FUNCTIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "abs": (1, abs), "sqrt": (1, math.sqrt), "sqr": (1, lambda x: x * x), "exp": (1, math.exp), "ln": (1, math.log),
    "log": (1, math.log), "log10": (1, math.log10), "sin": (1, math.sin), "cos": (1, math.cos), "tan": (1, math.tan),
    "asin": (1, math.asin), "acos": (1, math.acos), "atan": (1, math.atan), "arctan": (1, math.atan),
    "sinh": (1, math.sinh), "cosh": (1, math.cosh), "tanh": (1, math.tanh), "asinh": (1, math.asinh),
    "acosh": (1, math.acosh), "atanh": (1, math.atanh), "sgn": (1, _sign), "int": (1, math.trunc),
    "floor": (1, math.floor), "ceil": (1, math.ceil), "nint": (1, round), "min": (2, min), "max": (2, max),
    "pow": (2, math.pow), "pwr": (2, _power), "ternary_fcn": (3, lambda a, b, c: b if a != 0 else c),
}  # fmt: skip
RANDOM = frozenset({"agauss", "gauss", "aunif", "unif", "limit"})

# operator -> (binding power, law); all group to the left
BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "||": (2, lambda a, b: _truth(a != 0 or b != 0)), "&&": (3, lambda a, b: _truth(a != 0 and b != 0)),
    "==": (4, lambda a, b: _truth(a == b)), "!=": (4, lambda a, b: _truth(a != b)),
    "<>": (4, lambda a, b: _truth(a != b)), ">": (5, lambda a, b: _truth(a > b)), "<": (5, lambda a, b: _truth(a < b)),
    ">=": (5, lambda a, b: _truth(a >= b)), "<=": (5, lambda a, b: _truth(a <= b)),
    "+": (6, lambda a, b: a + b), "-": (6, lambda a, b: a - b), "*": (7, lambda a, b: a * b),
    "/": (7, lambda a, b: a / b), "\\": (7, lambda a, b: math.trunc(a / b)), "%": (7, math.fmod),
    "^": (9, _power), "**": (9, _power),
}  # fmt: skip
TERNARY, LOOSE, TIGHT = 1, 7, 10
UNARY: dict[str, Callable[[float], float]] = {
    "-": lambda a: -a, "+": lambda a: a, "!": lambda a: _truth(a == 0),
}  # fmt: skip

Step = tuple[str, str | float, int]


@dataclass(frozen=True)
class Formula:
    """A parsed parameter expression: stack program of (kind, name or number, count), and the names it needs."""

    text: str
    program: tuple[Step, ...]
    names: frozenset[str]
    calls: frozenset[str]


@functools.lru_cache(maxsize=4096)
def formula(text: str) -> Formula:
    """Parse lower-case text without its braces; NetlistError with the position for anything that is not understood."""
    parser = _Parser(text)
    parser.expression(0, loose=True)
    if parser.kind != "end":
        raise parser.error(f"expected an operator, found {parser.token[:40]!r}")
    program = tuple(parser.program)
    names = frozenset(str(name) for kind, name, _ in program if kind == "name")
    calls = frozenset(str(name) for kind, name, _ in program if kind == "call" and name not in FUNCTIONS)
    return Formula(text, program, names, calls)


def evaluate(of: Formula, lookup: Callable[[str], float], call: Callable[[str, tuple[float, ...]], float]) -> float:
    """Value; `lookup` gives parameters, `call` functions that the deck defines. NaN or infinity where it has none."""
    stack: list[float] = []
    for kind, payload, count in of.program:
        if kind == "number":
            stack.append(float(payload))
            continue
        if kind == "name":
            stack.append(lookup(str(payload)))
            continue
        values = tuple(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        name = str(payload)
        if kind == "call" and name not in FUNCTIONS:
            stack.append(call(name, values))
        else:
            stack.append(_apply(kind, name, values))
    return stack[0]


def _apply(kind: str, name: str, values: tuple[float, ...]) -> float:
    if kind == "ternary":
        return values[1] if values[0] != 0 else values[2]
    law: Callable[..., float] = {"call": FUNCTIONS, "binary": BINARY}[kind][name][1] if kind != "unary" else UNARY[name]
    try:
        return float(law(*values))
    except OverflowError:
        return math.inf
    except (ValueError, ZeroDivisionError):
        return math.nan


class _Parser:
    """One token of look-ahead over `text`; writes `program` in postfix order."""

    def __init__(self, text: str) -> None:
        self.text, self.depth, self.end = text, 0, 0
        self.program: list[Step] = []
        self.advance()

    def error(self, what: str) -> NetlistError:
        excerpt = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return NetlistError(f"expression {excerpt!r}, position {self.start + 1}: {what}")

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.end)
        if match is None:
            self.start = self.end
            raise self.error(f"unexpected character {self.text[self.end :].lstrip()[:1]!r}")
        self.kind, self.end = str(match.lastgroup), match.end()
        self.token = match[match.lastgroup or 0] if self.kind != "end" else "the end"
        self.start = match.start(self.kind)

    def expect(self, token: str) -> None:
        if self.token != token:
            raise self.error(f"expected {token!r}, found {self.token[:40]!r}")
        self.advance()

    def expression(self, power: int, *, loose: bool = False) -> None:
        """An operand, then every operator that binds tighter than `power`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH}")
        self.operand(loose)
        while self.kind == "mark":
            operator = self.token
            if operator == "?" and power < TERNARY:
                self.advance()
                self.expression(0)
                self.expect(":")
                self.expression(0)
                self.program.append(("ternary", operator, 3))
            elif operator in BINARY and BINARY[operator][0] > power:
                self.advance()
                self.expression(BINARY[operator][0])
                self.program.append(("binary", operator, 2))
            else:
                break
        self.depth -= 1

    def operand(self, loose: bool) -> None:
        token = self.token
        if self.kind == "number":
            self.program.append(("number", self.number(), 0))
            self.advance()
        elif self.kind == "name":
            self.named(token)
        elif self.kind == "mark" and token == "(":
            self.advance()
            self.expression(0, loose=True)
            self.expect(")")
        elif self.kind == "mark" and token in UNARY:
            self.advance()
            self.expression(LOOSE if loose and token != "!" else TIGHT)
            self.program.append(("unary", token, 1))
        else:
            raise self.error(f"expected a value, found {token[:40]!r}")

    def number(self) -> float:
        try:
            value = number(self.token)
        except NetlistError as error:
            raise self.error(str(error)) from None
        if "mil" in self.token:
            raise self.error("'mil' is 1e-3 in ngspice's expressions and 25.4e-6 elsewhere; write the number out")
        return value

    def named(self, name: str) -> None:
        """A parameter or a call."""
        start = self.start
        self.advance()
        if self.token != "(":
            self.program.append(("name", name, 0))
            return
        count = 0
        self.advance()
        while self.token != ")" or self.kind != "mark":
            if count:
                self.expect(",")
            self.expression(0, loose=True)
            count += 1
        self.advance()
        if name in RANDOM:
            self.start = start
            raise self.error(f"{name!r} draws random numbers; vary parameters with a Monte Carlo run instead")
        if name in FUNCTIONS and FUNCTIONS[name][0] != count:
            self.start = start
            raise self.error(f"{name!r} takes {FUNCTIONS[name][0]} arguments, not {count}")
        self.program.append(("call", name, count))
