"""Reading SPICE decks: text in ngspice's dialect -> a netlist with its hierarchy, and what to simulate.

A deck is data: nothing in it is executed, files are read below one folder only, and whatever is not understood is an
error with file and line. The reader never hands text to a simulator.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from analogep.errors import NetlistError
from analogep.netlist.elements import ISource, VSource
from analogep.netlist.graph import Netlist
from analogep.netlist.spice.commands import Commands
from analogep.netlist.spice.deck import SpiceFile
from analogep.netlist.spice.elements import read_element
from analogep.netlist.spice.hierarchy import Block, Circuit, Library, blocks
from analogep.netlist.spice.lines import Line, Source, deck_lines
from analogep.netlist.spice.parameters import Scope
from analogep.netlist.subcircuit import Instance

ANALYSES = (".op", ".dc", ".ac", ".tran", ".noise")
"""Commands that ask for an analysis."""


def read(
    deck: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None, *, analyses: Sequence[str] = ()
) -> SpiceFile:
    """Read a deck.

    Parameters
    ----------
    deck : path of a file; or the deck's text, if it is a str of more than one line.
    folder : files are included from below it only; the deck's own folder by default, none for text.
    analyses : analysis lines such as `.ac dec 10 1k 1meg`; where given, they stand in the place of the deck's own.

    Returns
    -------
    The circuit, one `Subcircuit` for each set of parameters (`name`, or `name__1`, ... where parameters are not those
    of the definition), and the deck's commands.

    Raises
    ------
    NetlistError
        For anything that is not understood, with file and line.
    """
    if isinstance(deck, str) and "\n" in deck:
        text, file, path = deck, "deck", None
        source = Source(None if folder is None else _real(folder))
        base = source.folder or Path()
    else:
        file = path = os.fspath(deck)
        real = _real(path)
        base = real.parent
        source = Source(base if folder is None else _real(folder))
        text, _ = source.open(str(real), base, None)
    title, lines = deck_lines(text, file, source, base)
    top = blocks(lines, Line(title.lower(), file, 1))
    if analyses:
        asked = [Line(text.strip().lower(), "analysis", k) for k, text in enumerate(analyses, start=1)]
        for line in asked:
            if line.text.split(maxsplit=1)[:1] not in [[command] for command in ANALYSES]:
                raise line.error(f"not an analysis; give one of {', '.join(ANALYSES)}")
        top.commands[:] = [c for c in top.commands if c.text.split(maxsplit=1)[0] not in ANALYSES] + asked
    return _assembled(top, title.lstrip("* \t"), path)


def _real(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise NetlistError(f"{os.fspath(path)[:200]!r} cannot be read: {error}") from error


def _assembled(top: Block, title: str, path: str | None) -> SpiceFile:
    library = Library(read_element)
    scope = Scope(library.budget, None, top.functions, owner=top)
    scope.define(top.parameters)
    commands = Commands(scope)
    for line in top.commands:
        commands.read(line)
    transient = commands.transient()
    library.shared = frozenset(commands.shared - {"0"})
    library.options = commands.options
    library.celsius = commands.temperature()
    if transient is not None:
        library.step, library.stop = transient.step, transient.stop
    circuit = Circuit(top, scope, library)
    for line in top.elements:
        read_element(circuit, line)
    netlist = circuit.netlist(title or "SPICE deck")
    _check_commands(netlist, commands)
    _note_what_is_idle(top, commands, library.notes)
    return SpiceFile(
        netlist,
        tuple(commands.analyses),
        commands.options,
        library.celsius,
        commands.initial,
        commands.nodesets,
        tuple(commands.measures.values()),
        tuple(commands.prints),
        tuple(commands.saves),
        tuple(library.notes),
        path,
    )


def _check_commands(netlist: Netlist, commands: Commands) -> None:
    """Sources and nodes that commands name must be there."""
    for name, line in commands.sources:
        if not isinstance(netlist.elements.get(name), VSource | ISource):
            raise line.error(f"{name[:40]!r} is not an independent source of the deck")
    for name, line in commands.nodes:
        if name != "0" and not _has_node(netlist, name):
            raise line.error(f"node {name[:40]!r} is not in the circuit; inside an instance x1 it is called x1.node")


def _note_what_is_idle(top: Block, commands: Commands, notes: list[str]) -> None:
    """Say what the deck holds to no effect."""
    asked = {analysis.spice().split()[0].removeprefix(".") for analysis in commands.analyses}
    for item in commands.measures.values():
        if item.analysis not in asked:
            notes.append(f".meas {item.name} needs a .{item.analysis} line, and the deck has none")
    if _ELEMENT.match(top.line.text):
        notes.append(f"the first line is the title, as in SPICE, and reads like an element: {top.line.text[:60]!r}")


_ELEMENT = re.compile(r"[rclvidqmx]\d+ +\S+ +\S+ +\S")


def _has_node(netlist: Netlist, name: str) -> bool:
    """Whether a flattened circuit has that node: its own, or one inside an instance that is no port."""
    while name not in netlist.buses:
        prefix, dot, rest = name.partition(".")
        while dot and not isinstance(netlist.elements.get(prefix), Instance):
            more, dot, rest = rest.partition(".")
            prefix = f"{prefix}.{more}"
        instance = netlist.elements.get(prefix)
        if not dot or not isinstance(instance, Instance) or rest in instance.subcircuit.ports:
            return False
        netlist, name = instance.subcircuit.netlist, rest
    return True
