"""Dialects: what ngspice, Xyce and LTspice spell differently, in one place.

Elements and cells write ngspice's text; for another dialect every line is translated here. Xyce and LTspice cannot be
run where analogep is tested: their decks are checked as text only, and each says so in its second line.

What differs (Xyce reference guide; LTspice help, B-device and .OPTIONS):
- `^` is power in ngspice and exclusive or in the other two; ngspice's power is |a|^b;
- `log` is natural in ngspice and LTspice, to base 10 in Xyce: `ln` and `log10` are written;
- comparisons are numbers in ngspice and stand only in conditions of `if` in Xyce; LTspice has neither `==` nor `!=`;
- `u(0)` is 1/2 in ngspice, 0 in the others; `pwl` continues its end slopes in ngspice, `table` holds its end values;
- Xyce wants braces around every expression and `params:` before parameters of subcircuits; inside, `gm` is bare;
- an inductor of LTspice has 1 mOhm in series unless told otherwise;
- Xyce and LTspice run one analysis a deck; Xyce writes nothing without `.print`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

from analogep.errors import NetlistError
from analogep.netlist.expression import FUNCTIONS
from analogep.netlist.parser import parse

Dialect = Literal["ngspice", "xyce", "ltspice"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

_PARAMETER = re.compile(r"\{(\w+)\}")
_PLACE = ".parameter."
"""A parameter `{gm}` is parsed as the voltage of a node that no circuit has."""
_BEHAVIORAL = re.compile(r"(\S+ \S+ \S+) ([IV])=(.*)", re.IGNORECASE)

_OPERANDS = {"unary": 1, "binary": 2, "ternary": 3}
_ATOM, _PRODUCT, _SUM, _TRUTH = 9, 7, 6, 0
_ARITHMETIC = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT}
_SAME = (
    *("abs", "sqrt", "exp", "ln", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("asinh", "acosh", "atanh", "sgn", "floor", "ceil", "uramp", "min", "max"),
)
_CALLS = {name: name + "({})" for name in _SAME if FUNCTIONS[name][0] == 1}
_CALLS |= {name: name + "({},{})" for name in _SAME if FUNCTIONS[name][0] == 2}
_CALLS |= {
    "log": "ln({})", "u": "(0.5*(1+sgn({})))", "u2": "limit({},0,1)", "nint": "nint({})",
    "pow": "pow(abs({}),{})", "pwr": "pwrs({},{})",
}  # fmt: skip

_XYCE_OPTIONS = {
    "method": "timeint method", "reltol": "timeint reltol", "vntol": "timeint abstol", "maxord": "timeint maxord",
    "gmin": "device gmin", "temp": "device temp", "tnom": "device tnom",
}  # fmt: skip
_COMMON = frozenset(
    (
        *("abstol", "chgtol", "defad", "defas", "defl", "defw", "gmin", "gminsteps", "gshunt", "itl1"),
        *("itl2", "itl4", "itl6", "maxord", "method", "pivrel", "pivtol", "reltol", "srcsteps", "temp", "tnom"),
        *("trtol", "vntol"),
    )
)
_OPTIONS: dict[Dialect, frozenset[str]] = {
    "ngspice": _COMMON | {"itl5", "noopiter", "trytocompact", "xmu"},
    "xyce": frozenset(_XYCE_OPTIONS),
    "ltspice": _COMMON | {"noopiter"},
}
_VALUE = re.compile(r"[\w.+-]+", re.ASCII)


def known(dialect: str) -> Dialect:
    """The dialect of that name, or a NetlistError that lists them."""
    for name in DIALECTS:
        if name == dialect:
            return name
    raise NetlistError(f"unknown SPICE dialect {dialect!r}; there are {', '.join(DIALECTS)}")


def label(dialect: Dialect) -> str:
    """The deck's second line."""
    return f"* dialect: {dialect}" + ("" if dialect == "ngspice" else " (not run by analogep's tests)")


def expression(text: str, dialect: Dialect) -> str:
    """A B source's expression, given in ngspice's syntax (parameters as `{name}`), in another dialect."""
    if dialect == "ngspice":
        return text
    stack: list[tuple[str, int]] = []
    for kind, payload in parse(_PARAMETER.sub(rf"v({_PLACE}\1)", text)).program:
        count = FUNCTIONS[str(payload)][0] if kind == "call" else _OPERANDS.get(kind) or int(kind == "pwl" and payload)
        operands = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        stack.append(_emit(kind, payload, operands, dialect))
    return _number(stack[0])


def _emit(kind: str, payload: str | float, operands: list[tuple[str, int]], dialect: Dialect) -> tuple[str, int]:
    """Text of one step of an expression, and how tightly it binds."""
    if isinstance(payload, float):
        return _digits(payload), _ATOM
    if kind == "time":
        return "time", _ATOM
    if kind == "node":
        return _voltage(payload, dialect), _ATOM
    if kind == "pwl":
        return _table([_number(x) for x in operands])
    if kind == "ternary" or payload == "ternary_fcn":
        condition, yes, no = operands
        return f"if({_truth(condition, dialect)},{_number(yes)},{_number(no)})", _ATOM
    if kind == "call":
        return _call(payload, [_number(x) for x in operands], dialect), _ATOM
    if payload in _ARITHMETIC:
        return _arithmetic(payload, operands)
    if payload in ("^", "**"):
        return _call("pow", [_number(x) for x in operands], dialect), _ATOM
    return _condition(payload, operands, dialect), _TRUTH


def _voltage(name: str, dialect: Dialect) -> str:
    if name.startswith(_PLACE):
        parameter = name.removeprefix(_PLACE)
        return parameter if dialect == "xyce" else f"({{{parameter}}})"
    return name if name.startswith("i(") else f"v({name})"


def _arithmetic(operator: str, operands: list[tuple[str, int]]) -> tuple[str, int]:
    if len(operands) == 1:
        return f"{'-' if operator == '-' else ''}{_number(operands[0], _PRODUCT)}", _SUM
    power = _ARITHMETIC[operator]
    left, right = _number(operands[0], power), _number(operands[1], power + 1)
    return f"{left}{operator}{right}", power


def _number(operand: tuple[str, int], power: int = _SUM) -> str:
    """A numeric operand, in parentheses if it binds less tightly than `power`; a condition becomes 1 or 0."""
    text, own = operand
    if own == _TRUTH:
        return f"if({text},1,0)"
    return text if own >= power else f"({text})"


def _truth(operand: tuple[str, int], dialect: Dialect) -> str:
    """An operand as a condition: any number but 0 is true."""
    text, own = operand
    if own == _TRUTH:
        return text
    return _unequal(text, "0", dialect)


def _unequal(a: str, b: str, dialect: Dialect) -> str:
    return f"({a}!={b})" if dialect == "xyce" else f"(({a}>{b})|({a}<{b}))"


def _condition(operator: str, operands: list[tuple[str, int]], dialect: Dialect) -> str:
    if operator == "!":
        return f"({'~' if dialect == 'xyce' else '!'}{_truth(operands[0], dialect)})"
    if operator in ("&&", "||"):
        a, b = (_truth(x, dialect) for x in operands)
        return f"({a}{operator[0]}{b})"
    a, b = (_number(x) for x in operands)
    if operator in ("!=", "<>"):
        return _unequal(a, b, dialect)
    if operator == "==" and dialect == "ltspice":
        return f"(({a}>={b})&({a}<={b}))"
    return f"({a}{operator}{b})"


def _call(name: str, arguments: list[str], dialect: Dialect) -> str:
    if name == "nint" and dialect == "ltspice":
        return f"round({arguments[0]})"
    return _CALLS[name].format(*arguments)


def _table(arguments: list[str]) -> tuple[str, int]:
    """`pwl(x, x0,y0, ...)` by `table`, which holds the end values where ngspice continues the end slopes."""
    x, *points = arguments
    numbers = [float(parse(point).evaluate({})) for point in points]
    at, values = numbers[0::2], numbers[1::2]
    text = f"table({x},{','.join(map(_digits, numbers))})"
    first, last = ((values[i + 1] - values[i]) / (at[i + 1] - at[i]) for i in (0, len(at) - 2))
    if first:
        text += f"+({_digits(first)})*min({x}-({_digits(at[0])}),0)"
    if last:
        text += f"+({_digits(last)})*max({x}-({_digits(at[-1])}),0)"
    return text, _SUM if first or last else _ATOM


def _digits(value: float) -> str:
    """Few digits where they are exact, or else those that give the same double."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def line(text: str, dialect: Dialect) -> str:
    """One line of a deck (element, `.subckt`, `.model`), given in ngspice's syntax, in another dialect."""
    letter = text[:1].upper()
    if dialect == "ngspice" or not text:
        return text
    if letter == "B" and (found := _BEHAVIORAL.fullmatch(text)):
        head, kind, source = found.groups()
        source = expression(source, dialect)
        return f"{head} {kind}={{{source}}}" if dialect == "xyce" else f"{head} {kind}={source}"
    if letter == "L" and dialect == "ltspice":
        return f"{text} Rser=0"
    if dialect == "xyce":
        if letter == "X" or text.lower().startswith(".subckt"):
            return _params(text)
        if text.lower().startswith(".model"):
            return _xyce_model(text)
    return text


def _params(text: str) -> str:
    words = text.split()
    first = next((k for k, word in enumerate(words) if "=" in word), None)
    return text if first is None else " ".join([*words[:first], "params:", *words[first:]])


def _xyce_model(text: str) -> str:
    """Xyce's switch goes smoothly from `voff` to `von` and has no hysteresis."""
    found = re.fullmatch(r"(\.model \S+) (c?sw)\s*\(?(.*?)\)?", text, re.IGNORECASE)
    if found is None:
        return text
    values = dict(pair.lower().split("=") for pair in found[3].split())
    by = "i" if found[2].lower() == "csw" else "v"
    if float(values.get(f"{by}h", 0)):
        raise NetlistError(f"{text.split()[1]!r}: Xyce has no switch with hysteresis; set it to 0")
    at = float(values.get(f"{by}t", 0))
    near = 1e-6 * max(1.0, abs(at))
    kind = "iswitch" if by == "i" else "vswitch"
    rest = [f"{key}={values[key]}" for key in ("ron", "roff") if key in values]
    return f"{found[1]} {kind}({by}on={at + near!r} {by}off={at - near!r} {' '.join(rest)})"


def node(name: str, dialect: Dialect) -> str:
    """A node inside an instance, `x1.n` in ngspice."""
    return name if dialect == "ngspice" else name.replace(".", ":")


def options(settings: Mapping[str, str | float | bool], dialect: Dialect) -> Iterator[str]:
    """`.options` lines; what a dialect has no counterpart for is named in a comment."""
    texts = {key.lower(): _option(key, value) for key, value in settings.items()}
    kept = {key: text for key, text in texts.items() if key in _OPTIONS[dialect]}
    if dialect == "xyce":
        yield from (f".options {_XYCE_OPTIONS[key]}{text}" for key, text in kept.items())
    else:
        # LTspice's waveforms as computed: not compressed, in double precision
        extra = {"plotwinsize": "=0", "numdgt": "=15"} if dialect == "ltspice" else {}
        if kept or extra:
            yield f".options {' '.join(key + text for key, text in (kept | extra).items())}"
    left = [key + text for key, text in texts.items() if key not in kept]
    if left:
        yield f"* options that {dialect} does not share: {' '.join(left)}"


def _option(key: str, value: str | float | bool) -> str:
    """`=value`, or nothing for a flag."""
    if value is True or value is None:
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if not (_VALUE.fullmatch(text) and _VALUE.fullmatch(key)):
        raise NetlistError(f"option {key}={text!r}: its value is not one word")
    return f"={text}"


def temperature(celsius: float, dialect: Dialect) -> str:
    """The line that sets the circuit's temperature."""
    return f".options device temp={celsius:.17g}" if dialect == "xyce" else f".temp {celsius:.17g}"


def analyses(lines: Sequence[str], save: Sequence[str] | None, dialect: Dialect) -> Iterator[str]:
    """Analysis and output lines. Xyce and LTspice run one analysis a deck: the others follow as comments."""
    saves = None if save is None else " ".join(f"v({name})" for name in save)
    if dialect != "xyce" and saves is not None:
        yield f".save {saves}"
    if dialect == "ngspice":
        yield from lines
        return
    main = next((text for text in lines if text.split()[0].lower() != ".op"), lines[0] if lines else None)
    for text in lines:
        if text is not main:
            yield f"* one analysis a deck; another: {text}"
    if main is not None:
        yield from _analysis(main, saves, dialect)


def _analysis(text: str, saves: str | None, dialect: Dialect) -> Iterator[str]:
    words = text.split()
    kind = words[0].lower().removeprefix(".")
    yield " ".join(words[:7]) if kind == "noise" else text  # the points per summary are ngspice's own
    if dialect == "xyce":
        printed = "onoise inoise" if kind == "noise" else (saves or "v(*) i(*)")
        yield f".print {'dc' if kind == 'op' else kind} {printed}"
