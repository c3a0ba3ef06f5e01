"""Reading `.meas`, and the lists of signals of `.print` and `.save`."""

from __future__ import annotations

import math
from typing import cast, get_args

from analogep.netlist.spice.formula import formula
from analogep.netlist.spice.measure import LAST, Crossing, Edge, Measure, Statistic
from analogep.netlist.spice.parameters import Scope
from analogep.netlist.spice.words import Words

FUNCTIONS = ("v", "i", "vm", "vp", "vr", "vi", "vdb", "im", "ip", "ir", "ii", "idb")
BARE = frozenset({"all", "allv", "alli", "inoise_spectrum", "onoise_spectrum", "inoise_total", "onoise_total"})
ANALYSES = ("tran", "ac", "dc", "op", "noise")
ALIASES = {"integral": "integ", "average": "avg", "derivative": "deriv"}


def signals(words: Words) -> tuple[str, ...]:
    """Signals up to the end of the line."""
    found = []
    while words.peek() is not None:
        words.skip(",")
        word = words.peek()
        if word is None:
            break
        if word.kind == "word" and word.text in BARE and not words.is_mark("(", 1):
            words.at += 1
            found.append(word.text)
        else:
            found.append(signal(words))
    return tuple(found)


def signal(words: Words) -> str:
    """`v(a)`, `v(a,b)`, `i(v1)`, `vdb(a)`: as one text without blanks."""
    function = words.next("a signal")
    if function.kind != "word" or function.text not in FUNCTIONS or not words.is_mark("("):
        raise words.error(f"{function.text[:40]!r} is not a signal; write v(node), v(a,b), i(element) or vdb(node)")
    names = [words.node()]
    if words.is_mark(","):
        names.append(words.node())
    if not words.is_mark(")"):
        raise words.error("a signal lacks its ')'")
    words.at += 1
    return f"{function.text}({','.join(names)})"


def measure(words: Words, scope: Scope) -> Measure:
    """A `.meas` line after its first word."""
    analysis = words.name("an analysis")
    if analysis not in ANALYSES:
        raise words.error(f"{analysis[:40]!r} is not an analysis; known are {', '.join(ANALYSES)}")
    name = words.name("a measure")
    kind = words.name("what to measure")
    kind = ALIASES.get(kind, kind)
    if kind == "param":
        words.skip("=")
        text = words.next("an expression").text
        formula(text)
        return Measure(name, analysis, "param", expression=text)
    if kind == "trig":
        trigger = _crossing(words, scope)
        if words.next("targ").text != "targ":
            raise words.error("TRIG needs TARG")
        return Measure(name, analysis, "trig", trigger=trigger, target=_crossing(words, scope))
    if kind in get_args(Statistic):
        text, limits = signal(words), _limits(words, scope)
        return Measure(name, analysis, "statistic", text, cast("Statistic", kind), *limits)
    if kind == "when":
        return Measure(name, analysis, "when", when=_crossing(words, scope))
    if kind in ("find", "deriv"):
        text = signal(words)
        word = words.next("AT or WHEN").text
        if word not in ("at", "when"):
            raise words.error(f"{kind.upper()} needs AT=place or WHEN signal=value")
        place = _at(words, scope) if word == "at" else _crossing(words, scope)
        return Measure(name, analysis, "find" if kind == "find" else "deriv", text, when=place)
    known = ", ".join(["find", "when", "deriv", "trig", "param", *get_args(Statistic)])
    raise words.error(f"cannot measure {kind[:40]!r}; known are {known}")


def _at(words: Words, scope: Scope) -> Crossing:
    words.skip("=")
    return Crossing(at=words.value(scope, "at"))


def _limits(words: Words, scope: Scope) -> tuple[float, float]:
    found = words.settings(scope, ("from", "to"), "a measure")
    return found.get("from", -math.inf), found.get("to", math.inf)


def _crossing(words: Words, scope: Scope) -> Crossing:
    """`v(a)=1 rise=2`, `v(a)=v(b)`, `v(a) val=1 td=1n cross=last` or `at=1n`."""
    word = words.peek()
    if word is not None and word.text == "at":
        words.at += 1
        return _at(words, scope)
    text = signal(words)
    level: float | str | None = None
    if words.is_mark("="):
        words.at += 1
        level = signal(words) if words.is_mark("(", 1) else words.value(scope, "the level")
    edge, count, delay = "cross", 1, -math.inf
    while (word := words.peek()) is not None and word.text != "targ":
        name = words.name("a setting")
        words.skip("=")
        if name in ("rise", "fall", "cross"):
            edge, count = name, _count(words, scope)
        elif name == "td":
            delay = words.value(scope, name)
        elif name == "val" and level is None:
            level = words.value(scope, name)
        else:
            raise words.error(f"{name[:40]!r} is not understood here; known are val, td, rise, fall, cross")
    if level is None:
        raise words.error("a crossing needs a level, such as v(a)=0.5 or val=0.5")
    return Crossing(text, level, cast("Edge", edge), count, delay)


def _count(words: Words, scope: Scope) -> int:
    word = words.peek()
    if word is not None and word.text == "last":
        words.at += 1
        return LAST
    value = words.value(scope, "a count")
    if value != math.floor(value) or not 1 <= value <= 1e9:
        raise words.error("a count must be 1, 2, 3, ... or LAST")
    return int(value)
