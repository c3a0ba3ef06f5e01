"""Expressions of behavioral (B) sources in ngspice's syntax, parsed by precedence and evaluated in JAX.

What ngspice 39 was seen to do, and this module follows:
- `^`, `**` and `pow(a, b)` all mean |a|^b: (-2)^3 is +8. `pwr(a, b)` is sign(a) |a|^b.
- Powers group to the left (2^3^2 = 64) and bind tighter than a minus on their left: -2^2 = -4, 2^-3^2 = 2^-9.
- `log` and `ln` are both natural; `u(0)` is 1/2; comparisons give 1 or 0; any number but 0 is true.
- A division by zero is one by 1e-32 (2/0 = 2e32): at 0 V, where solvers start, ratios such as v(a)/v(b) stay numbers.
- `pwl(x, x0, y0, x1, y1, ...)` joins its points by straight lines, and goes on straight beyond the first and the last.
What it does and this module does not:
- It stops at sqrt or log of a negative number, where this module gives nan; it clips overflow at 1e99.
- It rounds every number written in a B source to 11 significant digits. `literal` writes one that survives; so does a
  subcircuit parameter, `{gm}`.
"""

import functools
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from analogep.errors import NetlistError

MAX_DEPTH = 200
MAX_POINTS = 2000
"""Points of one `pwl`."""
GROUND = frozenset({"0", "gnd"})
CONSTANTS = {"pi": math.pi, "e": math.e}
SUFFIXES = {
    "t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "mil": 25.4e-6, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15,
}  # fmt: skip


def _power(base: ArrayLike, exponent: ArrayLike) -> jax.Array:
    return jnp.power(jnp.abs(base), exponent)


def _divide(a: ArrayLike, b: ArrayLike) -> jax.Array:
    nothing = jnp.asarray(b) == 0
    # without slope there, or a solver's first step from 0 V would be 1e32 long
    return jnp.where(nothing, jax.lax.stop_gradient(jnp.asarray(a) / 1e-32), a / jnp.where(nothing, 1.0, b))


def _truth(condition: ArrayLike) -> jax.Array:
    return jnp.asarray(condition, dtype=float)


# name -> (number of arguments, law)
FUNCTIONS: dict[str, tuple[int, Callable[..., ArrayLike]]] = {
    "abs": (1, jnp.abs), "sqrt": (1, jnp.sqrt), "exp": (1, jnp.exp), "ln": (1, jnp.log), "log": (1, jnp.log),
    "log10": (1, jnp.log10), "sin": (1, jnp.sin), "cos": (1, jnp.cos), "tan": (1, jnp.tan), "asin": (1, jnp.arcsin),
    "acos": (1, jnp.arccos), "atan": (1, jnp.arctan), "sinh": (1, jnp.sinh), "cosh": (1, jnp.cosh),
    "tanh": (1, jnp.tanh), "asinh": (1, jnp.arcsinh), "acosh": (1, jnp.arccosh), "atanh": (1, jnp.arctanh),
    "sgn": (1, jnp.sign), "floor": (1, jnp.floor), "ceil": (1, jnp.ceil),
    "u": (1, lambda x: jnp.heaviside(x, 0.5)), "u2": (1, lambda x: jnp.clip(x, 0.0, 1.0)),
    "uramp": (1, lambda x: jnp.maximum(x, 0.0)), "min": (2, jnp.minimum), "max": (2, jnp.maximum), "pow": (2, _power),
    "pwr": (2, lambda a, b: jnp.sign(a) * _power(a, b)), "nint": (1, jnp.rint),
    "ternary_fcn": (3, lambda a, b, c: jnp.where(jnp.asarray(a) != 0, b, c)),
}  # fmt: skip
REFUSED = {
    "temper": "write the temperature as a number", "hertz": "sources that depend on the frequency are not supported",
    "ddt": "use a capacitor", "idt": "use a capacitor", "limit": "it draws random numbers; use min and max",
    "table": "write pwl(x, x0, y0, ...), or an E or G with TABLE",
}  # fmt: skip
"""Names that some SPICE knows -> what to do instead."""

# operator -> (binding power, law); all group to the left
BINARY: dict[str, tuple[int, Callable[..., ArrayLike]]] = {
    "||": (2, lambda a, b: _truth((a != 0) | (b != 0))), "&&": (3, lambda a, b: _truth((a != 0) & (b != 0))),
    "==": (4, lambda a, b: _truth(a == b)), "!=": (4, lambda a, b: _truth(a != b)),
    "<>": (4, lambda a, b: _truth(a != b)), ">": (5, lambda a, b: _truth(a > b)), "<": (5, lambda a, b: _truth(a < b)),
    ">=": (5, lambda a, b: _truth(a >= b)), "<=": (5, lambda a, b: _truth(a <= b)),
    "+": (6, lambda a, b: a + b), "-": (6, lambda a, b: a - b), "*": (7, lambda a, b: a * b),
    "/": (7, _divide), "^": (9, _power), "**": (9, _power),
}  # fmt: skip
TERNARY_POWER, UNARY_POWER = 1, 8
UNARY: dict[str, Callable[[ArrayLike], ArrayLike]] = {
    "-": jnp.negative, "+": lambda a: a, "!": lambda a: _truth(jnp.asarray(a) == 0),
}  # fmt: skip

# What a program step means; steps hold names only, so that expressions can be pickled and compared.
_LAWS: dict[tuple[str, str], tuple[int, Callable[..., ArrayLike]]] = (
    {("call", name): entry for name, entry in FUNCTIONS.items()}
    | {("binary", name): (2, law) for name, (_, law) in BINARY.items()}
    | {("unary", name): (1, law) for name, law in UNARY.items()}
    | {("ternary", "?"): (3, lambda a, b, c: jnp.where(jnp.asarray(a) != 0, b, c))}
)

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?P<unit>[a-z]*)"
    r"|(?P<name>[a-z_]\w*)|(?P<operator>\*\*|&&|\|\||==|!=|<>|<=|>=|[-+*/^<>!?:(),]))",
    re.IGNORECASE | re.ASCII,
)
_BLANKS = re.compile(r"\s*")
_NODE = re.compile(r"\s*([A-Za-z0-9_.:#!$+\[\]-]+)", re.ASCII)


@dataclass(frozen=True)
class Expression:
    """A parsed expression: `text` as given, the `nodes` it reads in order of appearance, and a stack program.

    The current of the voltage source v1, `i(v1)`, is listed among the nodes under that name, in lower case but for the
    name inside. Node names keep their case; ground ("0", "gnd") reads as 0 V and is not listed. `spans` tells where the
    text names a node (a str) or holds a number (a float): first and last position, and which.
    """

    text: str
    nodes: tuple[str, ...] = field(compare=False)
    program: tuple[tuple[str, str | float], ...] = field(compare=False, repr=False)
    spans: tuple[tuple[int, int, str | float], ...] = field(compare=False, repr=False)

    @functools.cached_property
    def numbers(self) -> tuple[float, ...]:
        """The numbers of the program in its order."""
        return tuple(payload for _, payload in self.program if isinstance(payload, float))

    @functools.cached_property
    def form(self) -> tuple[tuple[str, str | int], ...]:
        """The program without its numbers, nodes by their place in `nodes`: equal for expressions of one law."""
        place = {node: k for k, node in enumerate(self.nodes)}
        return tuple(
            (kind, "" if isinstance(payload, float) else place[payload] if kind == "node" else payload)
            for kind, payload in self.program
        )

    def evaluate(
        self,
        voltages: Mapping[str, ArrayLike],
        time: ArrayLike = 0.0,
        numbers: Sequence[ArrayLike] | None = None,
    ) -> jax.Array:
        """Value at the node `voltages` (volts; arrays broadcast) and `time` (seconds); differentiable by JAX.

        `numbers` stand in the place of those of the text, in order. Both arms of `a ? b : c` are computed: reverse mode
        spreads a nan of the arm not taken, forward mode does not.
        """
        stack: list[ArrayLike] = []
        values = iter(self.numbers if numbers is None else numbers)
        for kind, payload in self.program:
            if isinstance(payload, float):
                stack.append(next(values))
            elif kind == "time":
                stack.append(jnp.asarray(time) * 1.0)
            elif kind == "node":
                if payload not in voltages:
                    missing = payload if payload.startswith("i(") else f"V({payload})"
                    raise NetlistError(f"expression {_excerpt(self.text)} needs {missing}, which is not given")
                stack.append(jnp.asarray(voltages[payload]))
            elif kind == "pwl":
                count = int(payload)
                stack[-count:] = [_straight_lines(*stack[-count:])]
            else:
                count, law = _LAWS[kind, payload]
                stack[-count:] = [law(*stack[-count:])]
        return jnp.asarray(stack[0], dtype=jnp.result_type(stack[0], float))

    def renamed(self, names: Mapping[str, str]) -> "Expression":
        """The same expression of other nodes: each one in `names` replaced, the others kept."""
        return parse(self._rewritten(lambda item: names.get(item) if isinstance(item, str) else None))

    def spice(self) -> str:
        """The text for a B source, with numbers of more than 11 digits written so that ngspice keeps them."""
        return self._rewritten(lambda item: _lasting(item) if isinstance(item, float) else _current(item))

    def _rewritten(self, change: Callable[[str | float], str | None]) -> str:
        parts, done = [], 0
        for start, end, item in self.spans:
            new = change(item)
            parts += [self.text[done:start], self.text[start:end] if new is None else new]
            done = end
        return "".join(parts) + self.text[done:]


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Parse `text`; NetlistError, with the position (from 1) and on one line, for anything that is not understood."""
    parser = _Parser(text)
    parser.expression(0)
    if parser.kind != "end":
        raise parser.error(f"expected an operator, found {parser.token!r}")
    return Expression(text, tuple(dict.fromkeys(parser.nodes)), tuple(parser.program), tuple(parser.spans))


def literal(value: float) -> str:
    """`value` as text that ngspice reads at full precision in a B source, where one number keeps only 11 digits."""
    head = f"{value:.10e}"
    rest = value - float(head)
    return f"({value!r})" if rest == 0 else f"({head}{rest:+.10e})"


def _lasting(value: float) -> str | None:
    """The literal of a number that ngspice would round, or None where its own text will do."""
    return None if float(f"{value:.10e}") == value else literal(value)


def _current(item: str) -> str | None:
    """`i(name)` with the name that a voltage source gets in a deck, or None for a node."""
    if not item.startswith("i("):
        return None
    name = item[2:-1]
    return item if name[0].lower() == "v" and len(name) > 1 else f"i(v{name})"


def _straight_lines(x: ArrayLike, *points: ArrayLike) -> jax.Array:
    """Straight lines through the points x0, y0, x1, y1, ..., the first and the last without end."""
    x, *flat = jnp.broadcast_arrays(*(jnp.asarray(part, dtype=float) for part in (x, *points)))
    xs, ys = jnp.stack(flat[::2], -1), jnp.stack(flat[1::2], -1)
    left = jnp.sum(x[..., None] >= xs[..., 1:-1], -1, dtype=int)[..., None]
    x0, x1, y0, y1 = (jnp.take_along_axis(a, left + k, -1)[..., 0] for a in (xs, ys) for k in (0, 1))
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0))


def _after_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return at if match is None else match.end()


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Parser:
    """One token of look-ahead over `text`; writes `program` in postfix order."""

    def __init__(self, text: str) -> None:
        self.text, self.depth, self.end = text, 0, 0
        self.nodes: list[str] = []
        self.program: list[tuple[str, str | float]] = []
        self.spans: list[tuple[int, int, str | float]] = []
        self.advance()

    def error(self, what: str) -> NetlistError:
        return NetlistError(f"expression {_excerpt(self.text)}, position {self.start + 1}: {what}")

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
