"""Controlled and behavioral sources: E, F, G, H with POLY, VALUE and TABLE, and B."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analogep.netlist.elements import CCCS, CCVS, VCCS, VCVS, BSource, VSource
from analogep.netlist.expression import Expression, literal
from analogep.netlist.spice.behavior import behavior
from analogep.netlist.spice.hierarchy import Circuit
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.words import Words

MAX_INPUTS = 20
MAX_TERMS = 1000
MAX_POINTS = 2000
_TRANSFER = re.compile(r"\b(laplace|freq|chebyshev)\s*[={]")
_OF_CURRENT = re.compile(r"\b(value|table|vol|cur)\s*[={(]")
_SETTING = re.compile(r"(?<![a-z0-9_.])(m|tc1|tc2|tc|temp|dtemp|reciproctc|reciprocm)\s*+=(?!=)")


def voltage_controlled(circuit: Circuit, words: Words, name: str) -> None:
    """An E or G line after its name."""
    line = words.line
    if form := _TRANSFER.search(line.text):
        raise line.error(f"{form[1].upper()} is not supported; build the transfer function from R, L, C and gains")
    a, b = circuit.node(words), circuit.node(words)
    words.skip("),")
    word = words.peek()
    keyword = word.text if word is not None and word.kind == "word" else ""
    if keyword in ("value", "vol", "cur"):
        words.at += 1
        words.skip("=")
        _behavioral(circuit, name, a, b, words.rest(), line)
    elif keyword == "table":
        words.at += 1
        _behavioral(circuit, name, a, b, _table(circuit, words), line)
    elif keyword == "poly" and words.is_mark("(", 1):
        words.at += 1
        inputs = []
        for _ in range(_dimension(words)):
            c, d = words.node(), words.node()
            inputs.append(f"v({c},{d})")
        words.skip("),")
        _behavioral(circuit, name, a, b, _polynomial(circuit, words, inputs), line)
    else:
        c, d = circuit.node(words, "a controlling node"), circuit.node(words, "a controlling node")
        words.skip("),")
        factor = words.value(circuit.scope, "the gain")
        if name[0] == "e":
            words.end()
            circuit.add(VCVS(name, a, c, d, factor, b), line)
        else:
            times = circuit.multiplied(words.settings(circuit.scope, ("m",), "G").get("m", 1.0), line)
            circuit.add(VCCS(name, a, b, c, d, factor * times), line)


def current_controlled(circuit: Circuit, words: Words, name: str) -> None:
    """An F or H line after its name."""
    line = words.line
    if form := _OF_CURRENT.search(line.text):
        raise line.error(f"{form[1].upper()} is not a form of F and H; write a B source of i(...), or POLY")
    refuse_multiple(circuit, line)
    a, b = circuit.node(words), circuit.node(words)
    words.skip("),")
    if words.is_mark("(", 1):
        word = words.next("POLY")
        if word.text != "poly":
            raise line.error(f"{word.text[:40]!r} is not understood here")
        controls = [_control(circuit, words) for _ in range(_dimension(words))]
        words.skip("),")
        expression = _polynomial(circuit, words, [f"i({control})" for control in controls])
        _behavioral(circuit, name, a, b, expression, line)
        return
    control = _control(circuit, words)
    factor = words.value(circuit.scope, "the gain")
    if name[0] == "f":
        times = words.settings(circuit.scope, ("m",), "F").get("m", 1.0)
        circuit.add(CCCS(name, a, b, control, factor * times), line)
    else:
        words.end()
        circuit.add(CCVS(name, a, b, control, factor), line)


def behavioral(circuit: Circuit, words: Words, name: str) -> None:
    """A B line after its name."""
    line = words.line
    a, b = circuit.node(words), circuit.node(words)
    words.skip("),")
    kind = words.name("v= or i=")
    if kind not in ("v", "i") or not words.is_mark("="):
        raise line.error("write v=expression or i=expression")
    words.at += 1
    text, times = words.rest(), 1.0
    setting = _SETTING.search(text)
    if setting is not None:
        text, settings = text[: setting.start()], text[setting.start() :]
        rest = Words(Line(settings, line.file, line.number))
        times = rest.settings(circuit.scope, ("m",) if kind == "i" else (), "B").get("m", 1.0)
    expression = behavior(text, circuit.scope, line)
    if times != 1:
        expression = behavior(f"({expression.text})*{literal(times)}", circuit.scope, line)
    _add(circuit, name, kind, a, b, expression, line)


def refuse_multiple(circuit: Circuit, line: Line) -> None:
    """Elements that a multiplier of the instance around them does not describe."""
    if circuit.times != 1:
        raise line.error(
            "inside an instance with m=, whose copies SPICE does not model for this element; write the copies out"
        )


def needs_source(circuit: Circuit, control: str, line: Line) -> None:
    """Check, once all is read, that `control` is a voltage source beside the element."""

    def check() -> None:
        if not isinstance(circuit.elements.get(control), VSource):
            raise line.error(f"{control[:40]!r} is not a voltage source of the same circuit")

    circuit.pending.append(check)


def _control(circuit: Circuit, words: Words) -> str:
    words.skip("(,)")
    control = words.name("a voltage source")
    needs_source(circuit, control, words.line)
    return control


def _dimension(words: Words) -> int:
    """The n of POLY(n)."""
    words.skip("(")
    word = words.next("n of POLY(n)")
    if not (word.kind == "word" and word.text.isascii() and word.text.isdigit() and len(word.text) <= 4):
        raise words.error("POLY(n) needs a whole number")
    if not 1 <= int(word.text) <= MAX_INPUTS:
        raise words.error(f"POLY takes 1 to {MAX_INPUTS} inputs")
    if not words.is_mark(")"):
        raise words.error("POLY(n) lacks its ')'")
    words.at += 1
    return int(word.text)


def _polynomial(circuit: Circuit, words: Words, inputs: Sequence[str]) -> str:
    """p0 + p1 x1 + ... + pn xn + x1^2, x1 x2, ..., x2^2, ... : products in order of degree, then lexicographically."""
    coefficients = words.values(circuit.scope, MAX_TERMS, "POLY")
    words.end()
    if not coefficients:
        raise words.error("POLY has no coefficients")
    terms: list[tuple[int, ...]] = [()]
    degree: list[tuple[int, ...]] = [()]
    while len(terms) < len(coefficients):
        longer = []
        for product in degree:
            for factor in range(product[-1] if product else 0, len(inputs)):
                longer.append((*product, factor))
            if len(terms) + len(longer) >= len(coefficients):
                break
        degree = longer
        terms += degree
    parts = [
        "*".join([literal(value), *(inputs[factor] for factor in product)])
        for value, product in zip(coefficients, terms, strict=False)
        if value != 0
    ]
    return "+".join(parts) or "0"


def _table(circuit: Circuit, words: Words) -> str:
    """`{x} = (x0, y0) (x1, y1) ...`: straight lines, constant outside."""
    word = words.next("an expression")
    if word.kind != "expression":
        raise words.error("write TABLE {expression} = (x, y) (x, y) ...")
    words.skip("=")
    numbers: list[float] = []
    while words.peek() is not None:
        words.skip("(,)")
        if words.peek() is None:
            break
        if len(numbers) >= 2 * MAX_POINTS:
            raise words.error(f"TABLE has more than {MAX_POINTS} points")
        numbers.append(words.value(circuit.scope, "a value of TABLE"))
    if len(numbers) < 4 or len(numbers) % 2:
        raise words.error("TABLE needs at least two points (x, y)")
    first, last = literal(numbers[0]), literal(numbers[-2])
    clipped = f"min(max({word.text},{first}),{last})"
    return f"pwl({clipped},{','.join(map(literal, numbers))})"


def _behavioral(circuit: Circuit, name: str, a: str, b: str, text: str, line: Line) -> None:
    _add(circuit, name, "v" if name[0] in "eh" else "i", a, b, behavior(text, circuit.scope, line), line)


def _add(circuit: Circuit, name: str, kind: str, a: str, b: str, expression: Expression, line: Line) -> None:
    if kind == "i":
        refuse_multiple(circuit, line)
    for read in expression.nodes:
        if read.startswith("i("):
            refuse_multiple(circuit, line)
            needs_source(circuit, read[2:-1], line)
        elif read in circuit.library.shared:
            circuit.connect(read)

    def check() -> None:
        for read in expression.nodes:
            if not read.startswith("i(") and read not in circuit.nodes:
                raise line.error(f"v({read[:40]}) reads a node to which nothing is connected")

    circuit.pending.append(check)
    text = expression.text
    source = BSource(name, a, b, current=text) if kind == "i" else BSource(name, a, b, voltage=text)
    circuit.add(source, line)
