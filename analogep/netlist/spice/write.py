"""Netlist -> SPICE deck: buses become scalar nodes, arrays and cells their primitives and subcircuits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Voltages
from analogep.netlist.element import GROUND
from analogep.netlist.graph import Bus, Netlist, node_name

_NAME = re.compile(r"[\w.:+-]+", re.ASCII)
WIDTH = 1000
"""Longest line before a continuation; ngspice reads far longer ones, people do not."""


@dataclass
class Deck:
    """What elements need to write themselves: node names, numbers, subcircuit definitions."""

    buses: Mapping[str, Bus]
    arrays: Mapping[str, Array]
    held: Voltages = field(default_factory=dict)
    definitions: dict[str, list[str]] = field(default_factory=dict)

    def inside(self, netlist: Netlist) -> Deck:
        """The same deck seen from inside a subcircuit: its nodes and arrays, shared definitions."""
        return Deck(netlist.buses, netlist.arrays, self.held, self.definitions)

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
        return node_name(name if name[:1].lower() == letter.lower() else letter + name, index)

    def number(self, value: float) -> str:
        """A float with 17 significant digits, so that it reads back to the same double."""
        return f"{float(value):.17g}"

    def define(self, name: str, lines: list[str]) -> None:
        """Add a subcircuit definition once; two different ones under one name are an error."""
        if self.definitions.setdefault(name, lines) != lines:
            raise NetlistError(f"two different subcircuits are called {name!r}; rename one of them")


def body(netlist: Netlist, held: Voltages | None = None) -> tuple[list[str], list[str]]:
    """Subcircuit definitions and element lines of a netlist.

    Raises
    ------
    NetlistError
        If two nodes or two primitives get one name (SPICE ignores case), a name is not one that SPICE reads, or an
        adjoint network comes without its operating point.
    """
    _check_names(netlist)
    deck = Deck(netlist.buses, netlist.arrays, {k: np.asarray(v) for k, v in (held or {}).items()})
    lines = [line for element in netlist for line in element.spice(deck)]
    _check_instances(lines)
    return [line for definition in deck.definitions.values() for line in definition], lines


def write(
    netlist: Netlist,
    analyses: list[str],
    *,
    held: Voltages | None = None,
    save: list[str] | None = None,
    options: Mapping[str, str | float] | None = None,
) -> str:
    """A complete ngspice deck.

    Parameters
    ----------
    netlist : what to write; sources carry the input values.
    analyses : analysis lines such as `.op` or `.tran 1n 1u 0 1n uic`.
    held : operating point (bus -> volts) of the circuit whose adjoint the netlist is.
    save : node names to keep; all when None.
    options : simulator options.

    Returns
    -------
    The deck's text, title first and `.end` last.
    """
    definitions, lines = body(netlist, held)
    settings = " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in (options or {}).items())
    saves = [f".save {' '.join(f'v({name})' for name in save)}"] if save is not None else []
    parts = [
        f"* {' '.join(netlist.title.split())}",
        *definitions,
        *lines,
        *([f".options {settings}"] if settings else []),
    ]
    return "\n".join(folded for line in [*parts, *saves, *analyses, ".end"] for folded in _fold(line)) + "\n"


def primitives(netlist: Netlist, held: Voltages | None = None) -> int:
    """Number of primitive elements in the deck, those inside subcircuit instances included."""
    definitions, lines = body(netlist, held)
    sizes: dict[str, int] = {}

    def size(line: str) -> int:
        if line[0] != "X":
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


def _fold(line: str) -> Iterator[str]:
    """Break a long line at spaces into continuations."""
    while len(line) > WIDTH:
        cut = line.rfind(" ", 2, WIDTH)
        if cut < 0:
            break
        yield line[:cut]
        line = "+" + line[cut:]
    yield line
