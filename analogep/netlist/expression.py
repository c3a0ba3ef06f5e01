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
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from analogep.errors import NetlistError

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
                    raise NetlistError(f"expression {excerpt(self.text)} needs {missing}, which is not given")
                stack.append(jnp.asarray(voltages[payload]))
            elif kind == "pwl":
                count = int(payload)
                stack[-count:] = [_straight_lines(*stack[-count:])]
            else:
                count, law = _LAWS[kind, payload]
                stack[-count:] = [law(*stack[-count:])]
        return jnp.asarray(stack[0], dtype=jnp.result_type(stack[0], float))

    def renamed(self, names: Mapping[str, str]) -> str:
        """Text of the same expression of other nodes: each one in `names` replaced, the others kept."""
        return self._rewritten(lambda item: names.get(item) if isinstance(item, str) else None)

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


def excerpt(text: str) -> str:
    """The text as messages quote it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
