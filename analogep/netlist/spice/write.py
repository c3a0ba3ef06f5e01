"""Netlist -> SPICE deck: buses become scalar nodes, arrays and cells their primitives and subcircuits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Voltages
from analogep.netlist.element import GROUND
from analogep.netlist.graph import Bus, Netlist, node_name
from analogep.netlist.spice import dialect as dialects
from analogep.netlist.subcircuit import Instance

if TYPE_CHECKING:
    from analogep.netlist.analyses import Analysis
    from analogep.netlist.spice.deck import SpiceFile

_NAME = re.compile(r"[\w.:+\-#/\[\]<>!%~|]+", re.ASCII)
_PORTABLE = re.compile(r"[\w.+-]+", re.ASCII)
"""Names that mean the same to Xyce and LTspice; both read `x1:n` as node n of instance x1."""
WIDTH = 1000
"""Longest line before a continuation; ngspice reads far longer ones, people do not."""


@dataclass
class Deck:
    """What elements need to write themselves: node names, numbers, subcircuit definitions."""

    buses: Mapping[str, Bus]
    arrays: Mapping[str, Array]
    held: Voltages = field(default_factory=dict)
    definitions: dict[str, list[str]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def inside(self, netlist: Netlist) -> Deck:
        """The same deck seen from inside a subcircuit: its nodes and arrays, shared definitions."""
        return Deck(netlist.buses, netlist.arrays, self.held, self.definitions, self.models)

    def shape(self, *buses: str) -> tuple[int, ...]:
        """Common shape of buses; ground and scalar nodes join any."""
        shapes = [self.buses[bus].shape for bus in buses if bus != GROUND]
        return max(shapes, key=len, default=())

    def exists(self, bus: str, index: tuple[int, ...]) -> bool:
        """Whether that node is built."""
        return self.buses[bus].has(tuple(int(i) for i in index))

    def node(self, bus: str, index: tuple[int, ...] = ()) -> str:
        """Scalar node name."""
        if bus == GROUND:
            return GROUND
        if self.buses[bus].exists is not None and not self.exists(bus, index):
            raise NetlistError(f"node {node_name(bus, index)!r} is not built, yet an element is connected to it")
        return node_name(bus, index)

    def nodes(self, *buses: str) -> Iterator[tuple[tuple[int, ...], list[str]]]:
        """For each instance over equal-shaped buses (scalars joining all): index, and the nodes in order."""
        shape = self.shape(*buses)
        full = [bus for bus in buses if bus != GROUND and self.buses[bus].shape == shape]
        for index in np.ndindex(shape):
            if all(self.exists(bus, index) for bus in full):
                yield index, [self.node(bus, index if bus in full else ()) for bus in buses]

    def at(self, values: Array | float, index: tuple[int, ...], shape: tuple[int, ...]) -> float:
        """Entry of `values`, broadcast to the instances' shape."""
        array = np.asarray(values)
        return float(array) if array.ndim == 0 else float(np.broadcast_to(array, shape)[index])

    def instance(self, letter: str, name: str, index: tuple[int, ...]) -> str:
        """Instance name of one primitive: it begins with the letter of its kind."""
        named = len(name) > 1 and name[0].lower() == letter.lower()
        return node_name(name if named else letter + name, index)

    def number(self, value: float) -> str:
        """A float with 17 significant digits, so that it reads back to the same double."""
        return f"{float(value):.17g}"

    def define(self, name: str, lines: list[str]) -> None:
        """Add a subcircuit definition once; two different ones under one name are an error."""
        if self.definitions.setdefault(name, lines) != lines:
            raise NetlistError(f"two different subcircuits are called {name!r}; rename one of them")

    def model(self, name: str, card: str) -> str:
        """Add a model card such as `D(is=1e-14)`, and return the name to refer to it by.

        Cards stand outside all subcircuits. Where two different ones have one name, as two subcircuits' own models may,
        the later one gets a number.
        """
        chosen, count = name.lower(), 1
        while self.models.setdefault(chosen, card) != card:
            count += 1
            chosen = f"{name.lower()}_{count}"
        return chosen


def body(netlist: Netlist, held: Voltages | None = None) -> tuple[list[str], list[str]]:
    """Subcircuit definitions and element lines of a netlist, in ngspice's syntax.

    Raises
    ------
    NetlistError
        If two nodes or two primitives get one name (SPICE ignores case), a name is not one that SPICE reads, or an
        adjoint network comes without its operating point.
    """
    deck, lines = _built(netlist, held)
    return [line for definition in deck.definitions.values() for line in definition], lines


def _built(netlist: Netlist, held: Voltages | None) -> tuple[Deck, list[str]]:
    _check_names(netlist)
    deck = Deck(netlist.buses, netlist.arrays, {k: np.asarray(v) for k, v in (held or {}).items()})
    lines = [line for element in netlist for line in element.spice(deck)]
    _check_instances(lines)
    return deck, lines


def write(
    netlist: Netlist,
    analyses: Sequence[str | Analysis],
    *,
    held: Voltages | None = None,
    save: list[str] | None = None,
    options: Mapping[str, str | float] | None = None,
    dialect: str = "ngspice",
    settings: Sequence[str] = (),
) -> str:
    """A complete deck.

    Parameters
    ----------
    netlist : what to write; sources carry the input values.
    analyses : analyses, or their lines such as `.op` or `.tran 1n 1u 0 1n uic`. Xyce and LTspice run one a deck: the
        first that is not an operating point; the others become comments.
    held : operating point (bus -> volts) of the circuit whose adjoint the netlist is.
    save : node names to keep; all when None.
    options : simulator options under ngspice's names.
    dialect : ngspice, xyce or ltspice.
    settings : further lines that all dialects share, such as `.ic v(a)=1`.

    Returns
    -------
    The deck's text: title, dialect, circuit, analyses, and `.end`.

    Raises
    ------
    NetlistError
        For an unknown dialect, a circuit that it cannot express, and what `body` refuses.
    """
    target = dialects.known(dialect)
    deck, lines = _built(netlist, held)
    if target != "ngspice":
        _check_portable(netlist, target)
    if any(isinstance(element, Instance) for element in netlist):
        vectors(netlist)
    circuit = [line for definition in deck.definitions.values() for line in definition]
    circuit += [f".model {name} {card}" for name, card in deck.models.items()] + lines
    runs = [item if isinstance(item, str) else item.spice() for item in analyses]
    parts = [
        f"* {_plain(netlist.title)}",
        dialects.label(target),
        *(dialects.line(line, target) for line in circuit),
        *dialects.options(options or {}, target),
        *settings,
        *dialects.analyses(runs, save, target),
        ".end",
    ]
    return "\n".join(folded for line in parts for folded in _fold(line)) + "\n"


def write_file(file: SpiceFile, dialect: str = "ngspice", analyses: Sequence[Analysis] | None = None) -> str:
    """The deck of a SPICE file that was read, in our own words: hierarchy kept, parameters evaluated.

    Parameters
    ----------
    file : what the reader made of a deck.
    dialect : ngspice, xyce or ltspice.
    analyses : some of the file's analyses; all when None.

    Raises
    ------
    NetlistError
        As `write`.
    """
    target = dialects.known(dialect)
    names = vectors(file.netlist)
    nodes = {ours: theirs for theirs, ours in names.nodes.items()}
    devices = {ours: theirs for theirs, ours in names.devices.items()}
    settings = [dialects.temperature(file.celsius, target)]
    for command, values in ((".ic", file.initial), (".nodeset", file.nodesets)):
        if values:
            pairs = (f"v({dialects.node(nodes.get(name, name), target)})={v:.17g}" for name, v in values.items())
            settings.append(f"{command} {' '.join(pairs)}")
    runs = [_renamed(run.spice(), nodes, devices) for run in (file.analyses if analyses is None else analyses)]
    return write(file.netlist, runs, options=file.options, dialect=dialect, settings=settings)


def _renamed(analysis: str, nodes: Mapping[str, str], devices: Mapping[str, str]) -> str:
    """An analysis line whose sources and nodes bear the names that they have in the deck."""
    words = analysis.split()
    places = {".dc": (1, 5), ".noise": (2,)}.get(words[0].lower(), ())
    for place in places:
        if place < len(words):
            words[place] = devices.get(words[place], words[place])
    if words[0].lower() == ".noise":
        pair = words[1][2:-1].split(",")
        words[1] = f"v({','.join(nodes.get(node, node) for node in pair)})"
    return " ".join(words)


@dataclass(frozen=True)
class Vectors:
    """What ngspice calls a netlist's nodes and primitives, and what we call them.

    Attributes
    ----------
    nodes : ngspice's node name -> ours; `x1.n` inside an instance.
    devices : ngspice's device name -> ours; `r.x1.r2` inside an instance, for us `x1.r2`.
    """

    nodes: dict[str, str]
    devices: dict[str, str]


def vectors(netlist: Netlist) -> Vectors:
    """Names of all nodes and primitives, those inside instances included.

    Raises
    ------
    NetlistError
        If a node bears the name that ngspice gives to one inside an instance: it would take them for one node.
    """
    found = Vectors({}, {})
    _collect(netlist, Deck(netlist.buses, netlist.arrays), (), (), (), found)
    return found


def _collect(
    netlist: Netlist, deck: Deck, ports: Sequence[str], theirs: tuple[str, ...], ours: tuple[str, ...], found: Vectors
) -> None:
    for name, bus in netlist.buses.items():
        for text in () if name in ports else bus.labels(name):
            full = ".".join((*theirs, text)).lower()
            if full in found.nodes:
                raise NetlistError(f"two nodes are called {full!r} in SPICE; rename the outer one")
            found.nodes[full] = ".".join((*ours, text))
    for element in netlist:
        words = [line.split(maxsplit=1)[0].lower() for line in element.spice(deck)]
        if isinstance(element, Instance):
            inner = element.subcircuit
            path = (*theirs, words[0]), (*ours, element.name)
            _collect(inner.netlist, deck.inside(inner.netlist), inner.ports, *path, found)
        for word in words:
            full = ".".join((word[0], *theirs, word)) if theirs else word
            found.devices[full] = ".".join((*ours, element.name if len(words) == 1 else word))


def primitives(netlist: Netlist, held: Voltages | None = None) -> int:
    """Number of primitive elements in the deck, those inside subcircuit instances included."""
    definitions, lines = body(netlist, held)
    sizes: dict[str, int] = {}

    def size(line: str) -> int:
        if line[0] not in "xX":
            return 1
        return sizes[next(word for word in reversed(line.split()) if "=" not in word)]

    name = ""
    for line in definitions:  # an inner subcircuit is defined before the one that uses it
        word = line.split()
        if word[0] == ".subckt":
            name, sizes[word[1]] = word[1], 0
        elif word[0] != ".ends":
            sizes[name] += size(line)
    return sum(map(size, lines))


def _check_names(netlist: Netlist) -> None:
    seen: dict[str, str] = {}
    for name in (*netlist.buses, *netlist.elements):
        if not _NAME.fullmatch(name):
            raise NetlistError(f"{name!r} cannot be a name in a SPICE deck; use letters, digits, '_', '.', ':'")
    for name, bus in netlist.buses.items():
        if name.lower() in ("0", "gnd"):
            raise NetlistError(f"bus {name!r} would be ground in a SPICE deck; rename it")
        for label in bus.labels(name):
            other = seen.setdefault(label.lower(), name)
            if other != name:
                raise NetlistError(f"buses {other!r} and {name!r} both have a node {label!r} in SPICE; rename one")


def _check_instances(lines: list[str]) -> None:
    """Every primitive has its own name."""
    seen: set[str] = set()
    for line in lines:
        name = line.split(maxsplit=1)[0].lower()
        if name in seen:
            raise NetlistError(f"two primitives are called {name!r} in SPICE; rename an element")
        seen.add(name)


def _check_portable(netlist: Netlist, dialect: str) -> None:
    for name in (*netlist.buses, *netlist.elements):
        if not _PORTABLE.fullmatch(name):
            raise NetlistError(f"{name!r} is no name for {dialect}; use letters, digits, '_', '.', '+', '-'")
    for element in netlist:
        if isinstance(element, Instance):
            _check_portable(element.subcircuit.netlist, dialect)


def _plain(title: str) -> str:
    """A title on one line, without what ngspice would take for a command."""
    return re.sub(r"[`\\]", "", " ".join(title.split())).lstrip("*# ")


def _fold(line: str) -> Iterator[str]:
    """Break a long line at spaces into continuations."""
    while len(line) > WIDTH:
        cut = line.rfind(" ", 2, WIDTH)
        if cut < 0:
            break
        yield line[:cut]
        line = "+" + line[cut:]
    yield line
