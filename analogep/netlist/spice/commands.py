"""Dot commands of a deck: analyses, options, initial conditions, measures and what to print."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from analogep.errors import NetlistError
from analogep.netlist.analyses import AC, Analysis, DCSweep, Noise, OperatingPoint, Spacing, Transient
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.measure import Measure
from analogep.netlist.spice.measures import measure, signals
from analogep.netlist.spice.parameters import Scope
from analogep.netlist.spice.words import Words

_FLAGS = (
    "acct list nomod nopage node noacct opts noinit norefvalue keepopinfo savecurrents interp noopiter "
    "trytocompact badmos3 xmu_flag autostop seedinfo klu sparse"
)
FLAGS = frozenset(_FLAGS.split())
_NUMBERS = (
    "abstol reltol vntol chgtol gmin pivtol pivrel trtol maxord xmu method itl1 itl2 itl3 itl4 itl5 itl6 temp "
    "tnom gminsteps srcsteps ramptime minbreak defl defw defad defas bypass numdgt ingold limpts "
    "cptime lvltim diagac convstep convabsstep convlimit noopalter maxevtiter maxopalter epsmin"
)
NUMBERS = frozenset(_NUMBERS.split())
REFUSED = {
    ".control": "scripts of ngspice are not run; say what to simulate by .op, .dc, .ac, .tran or .noise",
    ".endc": "scripts of ngspice are not run",
    ".shell": "commands for a shell are not run",
    ".four": "use the transient's result",
    **dict.fromkeys((".pz", ".sens", ".tf", ".disto"), "it is not built"),
    **dict.fromkeys((".if", ".else", ".elseif", ".endif"), "conditional netlists are not built"),
    ".alter": "vary parameters with a sweep", ".data": "vary parameters with a sweep", ".step": "use .dc, or a sweep",
    ".probe": "use .save", ".csparam": "scripts of ngspice are not run", ".backanno": "it is LTspice's own",
}  # fmt: skip
KINDS = ("op", "dc", "ac", "tran", "noise")


@dataclass
class Commands:
    """What the commands say, collected line by line; `pending` holds lines that need the finished circuit."""

    scope: Scope
    analyses: list[Analysis] = field(default_factory=list)
    sources: list[tuple[str, Line]] = field(default_factory=list)
    nodes: list[tuple[str, Line]] = field(default_factory=list)
    options: dict[str, float | str] = field(default_factory=dict)
    celsius: float | None = None
    initial: dict[str, float] = field(default_factory=dict)
    nodesets: dict[str, float] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    measures: dict[str, Measure] = field(default_factory=dict)
    prints: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)

    def read(self, line: Line) -> None:
        """Read one command."""
        words = Words(line)
        name = words.next("a command").text
        if name in REFUSED:
            raise line.error(f"{name} is not supported: {REFUSED[name]}")
        reader = READERS.get(name)
        if reader is None:
            raise line.error(f"unknown command {name[:40]!r}")
        try:
            reader(self, words)
        except NetlistError as error:
            if str(error).startswith(f"{line.file}:"):
                raise
            raise line.error(str(error)) from None
        words.end()

    def temperature(self) -> float:
        """Temperature in degrees Celsius: `.temp`, or the option, or 27."""
        option = self.options.get("temp")
        return self.celsius if self.celsius is not None else option if isinstance(option, float) else 27.0

    def transient(self) -> Transient | None:
        """The first transient analysis, on which sources' defaults depend."""
        return next((item for item in self.analyses if isinstance(item, Transient)), None)


def _whole(words: Words, scope: Scope, what: str) -> int:
    value = words.value(scope, what)
    if value != math.floor(value) or abs(value) > 1e9:
        raise words.error(f"{what} must be a whole number, not {value:g}")
    return int(value)


def _op(commands: Commands, words: Words) -> None:
    commands.analyses.append(OperatingPoint())


def _dc(commands: Commands, words: Words) -> None:
    sweeps: list[tuple[str, float, float, float]] = []
    while words.peek() is not None and len(sweeps) < 2:
        source = words.name("a source")
        if source[0] not in "vi":
            raise words.error(f".dc sweeps sources; {source[:40]!r} is none")
        commands.sources.append((source, words.line))
        start, stop, step = (words.value(commands.scope, what) for what in ("start", "stop", "step"))
        sweeps.append((source, start, stop, step))
    if not sweeps:
        raise words.error("write .dc source start stop step")
    commands.analyses.append(DCSweep(*sweeps[0], *(sweeps[1] if len(sweeps) > 1 else ())))


def _frequencies(commands: Commands, words: Words) -> tuple[Spacing, int, float, float]:
    spacing = words.name("dec, oct or lin")
    points = _whole(words, commands.scope, "the number of points")
    start = words.value(commands.scope, "the start frequency")
    return cast("Spacing", spacing), points, start, words.value(commands.scope, "the stop frequency")


def _ac(commands: Commands, words: Words) -> None:
    commands.analyses.append(AC(*_frequencies(commands, words)))


def _tran(commands: Commands, words: Words) -> None:
    scope = commands.scope
    step, stop = words.value(scope, "the step"), words.value(scope, "the stop time")
    given: list[float] = []
    while (word := words.peek()) is not None and word.text != "uic" and len(given) < 2:
        given.append(words.value(scope, "the start time"))
    uic = words.peek() is not None
    if uic and words.next("uic").text != "uic":
        raise words.error("write .tran step stop start longest-step uic")
    start = given[0] if given else 0.0
    commands.analyses.append(Transient(step, stop, start, given[1] if len(given) > 1 else None, uic))


def _noise(commands: Commands, words: Words) -> None:
    if words.next("v(output)").text != "v" or not words.is_mark("("):
        raise words.error("write .noise v(output,reference) source dec points start stop")
    words.at += 1
    output = words.node()
    reference = "0"
    if words.is_mark(","):
        reference = words.node()
    words.skip(")")
    source = words.name("a source")
    frequencies = _frequencies(commands, words)
    summary = _whole(words, commands.scope, "points per summary") if words.peek() is not None else None
    commands.nodes += [(output, words.line), (reference, words.line)]
    commands.sources.append((source, words.line))
    commands.analyses.append(Noise(output, reference, source, *frequencies, summary))


def _options(commands: Commands, words: Words) -> None:
    while words.peek() is not None:
        words.skip(",")
        if words.peek() is None:
            break
        name = words.name("an option")
        if name not in FLAGS and name not in NUMBERS:
            raise words.error(f"unknown option {name[:40]!r}")
        value: float | str = 1.0
        if words.is_mark("="):
            words.at += 1
            word = words.peek()
            if name == "method" and word is not None and word.text in ("gear", "trap", "trapezoidal"):
                words.at += 1
                value = word.text
            else:
                value = words.value(commands.scope, name)
        elif name in NUMBERS:
            raise words.error(f"write {name}=value")
        commands.options[name] = value


def _temp(commands: Commands, words: Words) -> None:
    if commands.celsius is not None:
        raise words.error("a second temperature; one deck is simulated at one")
    words.skip("=")
    commands.celsius = words.value(commands.scope, "the temperature")


def _conditions(which: Literal["initial", "nodesets"]) -> Callable[[Commands, Words], None]:
    def read(commands: Commands, words: Words) -> None:
        found: dict[str, float] = getattr(commands, which)
        while words.peek() is not None:
            words.skip(",")
            if words.peek() is None:
                break
            if words.next("v(node)").text != "v" or not words.is_mark("("):
                raise words.error("write v(node)=value")
            words.at += 1
            node = words.node()
            words.skip(")")
            if not words.is_mark("="):
                raise words.error("write v(node)=value")
            words.at += 1
            commands.nodes.append((node, words.line))
            volts = words.value(commands.scope, f"v({node})")
            if found.setdefault(node, volts) != volts:
                raise words.error(f"v({node}) is {found[node]:g} V in an earlier line and {volts:g} V here; keep one")

    return read


def _global(commands: Commands, words: Words) -> None:
    while words.peek() is not None:
        commands.shared.add(words.node())
        words.skip(",")


def _meas(commands: Commands, words: Words) -> None:
    item = measure(words, commands.scope)
    if item.name in commands.measures:
        raise words.error(f"measure {item.name!r} is already defined")
    commands.measures[item.name] = item


def _print(commands: Commands, words: Words) -> None:
    analysis = words.name("an analysis")
    if analysis not in KINDS:
        raise words.error(f"{analysis[:40]!r} is not an analysis; known are {', '.join(KINDS)}")
    shown = signals(words)
    commands.prints.append((analysis, shown))
    named = [node for text in shown if text.startswith("v") for node in text[text.index("(") + 1 : -1].split(",")]
    commands.nodes += [(node, words.line) for node in named if "#" not in node]  # q1#base is a node inside q1


def _save(commands: Commands, words: Words) -> None:
    commands.saves += signals(words)


READERS: Mapping[str, Callable[[Commands, Words], None]] = {
    ".op": _op, ".dc": _dc, ".ac": _ac, ".tran": _tran, ".noise": _noise, ".options": _options, ".option": _options,
    ".opt": _options, ".temp": _temp, ".ic": _conditions("initial"), ".nodeset": _conditions("nodesets"),
    ".global": _global, ".meas": _meas, ".measure": _meas, ".print": _print, ".plot": _print, ".save": _save,
}  # fmt: skip
