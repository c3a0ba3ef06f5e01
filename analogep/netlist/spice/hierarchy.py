"""From lines to circuits: subcircuit definitions, and one Subcircuit for every distinct set of parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from analogep.netlist.element import Element
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.parameters import Budget, Definition, Function, Scope, definitions, function
from analogep.netlist.spice.words import Words
from analogep.netlist.subcircuit import Instance, Subcircuit

MAX_ELEMENTS = 200_000
"""Elements of a flattened circuit."""
MAX_DEPTH = 30
"""Subcircuits inside each other."""
VARIANT_STEPS = 100
"""What building one variant of a subcircuit costs, as evaluations."""
_PARAMS = re.compile(r"(?<!\S)params:")


@dataclass
class Block:
    """The lines of one subcircuit definition, or of the deck itself (which has no name)."""

    name: str
    line: Line
    ports: tuple[str, ...] = ()
    formals: list[Definition] = field(default_factory=list)
    outer: Block | None = None
    parameters: list[Definition] = field(default_factory=list)
    functions: dict[str, Function] = field(default_factory=dict)
    models: dict[str, Line] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    elements: list[Line] = field(default_factory=list)
    commands: list[Line] = field(default_factory=list)

    def find_model(self, name: str) -> tuple[Block, Line] | None:
        """The model card of that name that is visible here, and the block that holds it."""
        block: Block | None = self
        while block is not None:
            if name in block.models:
                return block, block.models[name]
            block = block.outer
        return None

    def find_block(self, name: str) -> Block | None:
        """The subcircuit definition of that name that is visible here."""
        block: Block | None = self
        while block is not None:
            if name in block.blocks:
                return block.blocks[name]
            block = block.outer
        return None

    def visible(self, what: Literal["models", "blocks"]) -> str:
        """Names of the models or subcircuits that are visible here, for messages."""
        names: dict[str, None] = {}
        block: Block | None = self
        while block is not None:
            names |= dict.fromkeys(getattr(block, what))
            block = block.outer
        shown = ", ".join(sorted(names)[:12]) + (", ..." if len(names) > 12 else "")
        return f"defined are {shown or 'none'}; is its .include or .lib line there?"

    @cached_property
    def visible_functions(self) -> dict[str, Function]:
        """Functions of this block and those around it; to be asked for once all lines are in."""
        return {**(self.outer.visible_functions if self.outer is not None else {}), **self.functions}


@dataclass
class Built:
    """A subcircuit made of a block with certain parameters, and what it read from the scopes around it."""

    outside: dict[str, float | None]
    subcircuit: Subcircuit
    shared: tuple[str, ...]
    size: int


@dataclass
class Circuit:
    """A circuit while it is built: its elements, nodes in order of appearance, and what must hold in the end."""

    block: Block
    scope: Scope
    library: Library
    times: float = 1.0
    elements: dict[str, Element] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    nodes: dict[str, None] = field(default_factory=dict)
    cards: dict[str, tuple[str, dict[str, float]]] = field(default_factory=dict)
    pending: list[Callable[[], None]] = field(default_factory=list)
    size: int = 0

    def add(self, element: Element, line: Line, size: int = 1) -> None:
        """Add an element; its name must be new."""
        if element.name in self.elements:
            raise line.error(f"element {element.name!r} is already defined on line {self.lines[element.name].number}")
        self.size += size
        if self.size > MAX_ELEMENTS:
            raise line.error(f"the flattened circuit holds over {MAX_ELEMENTS} elements")
        self.elements[element.name] = element
        self.lines[element.name] = line

    def multiplied(self, own: float, line: Line) -> float:
        """Number of copies in parallel: the element's own `m=` or that of the instance around it."""
        if own <= 0:
            raise line.error("m= must be positive")
        if own != 1 and self.times != 1:
            raise line.error(
                "m= inside an instance with m=: some SPICE takes the product and ngspice 39 the outer one; write one"
            )
        return own * self.times

    def node(self, words: Words, what: str = "a node") -> str:
        """The next word as a node to which an element is connected."""
        name = words.node(what)
        self.connect(name)
        return name

    def connect(self, name: str) -> None:
        """Note that a node is there."""
        if name != "0":
            self.nodes.setdefault(name)

    def netlist(self, title: str) -> Netlist:
        """The finished circuit."""
        for check in self.pending:
            check()
        return Netlist(buses={name: Bus() for name in self.nodes}, elements=self.elements, title=title)


ElementReader = Callable[[Circuit, Line], None]


@dataclass
class Library:
    """What all circuits of a deck share."""

    read_element: ElementReader
    budget: Budget = field(default_factory=Budget)
    shared: frozenset[str] = frozenset()
    options: Mapping[str, float | str] = field(default_factory=dict)
    celsius: float = 27.0
    step: float | None = None
    stop: float | None = None
    notes: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    built: dict[tuple[object, ...], list[Built]] = field(default_factory=dict)
    models: dict[tuple[object, ...], object] = field(default_factory=dict)
    building: list[Block] = field(default_factory=list)
    elements: int = 0

    def instance(self, circuit: Circuit, words: Words, name: str) -> None:
        """An X line after its name: nodes, subcircuit, `params:` and parameters."""
        line = words.line
        given: list[str] = []
        while (word := words.peek()) is not None and not words.is_mark("=", 1) and word.text != "params:":
            given.append(words.node("a node or subcircuit") if word.kind == "word" else words.node())
        if not given:
            raise line.error("the subcircuit's name is missing")
        block = circuit.block.find_block(given[-1])
        if block is None:
            raise line.error(f"unknown subcircuit {given[-1][:40]!r}; {circuit.block.visible('blocks')}")
        nodes = tuple(given[:-1])
        if len(nodes) != len(block.ports):
            raise line.error(f"{len(nodes)} nodes for the {len(block.ports)} ports of {block.name!r}")
        for node in nodes:
            circuit.connect(node)
        times, overrides = self._overrides(circuit, words, block)
        made = self.build(block, circuit.scope, overrides, circuit.multiplied(times, line), line)
        for node in made.shared:
            circuit.connect(node)
        instance = Instance(name, subcircuit=made.subcircuit, nodes=(*nodes, *made.shared))
        circuit.add(instance, line, made.size)

    def _overrides(self, circuit: Circuit, words: Words, block: Block) -> tuple[float, dict[str, float]]:
        formals = {formal.name for formal in block.formals}
        word = words.peek()
        if word is not None and word.text == "params:":
            words.at += 1
        known = tuple(formals | {"m"})
        overrides = words.settings(circuit.scope, known, f"subcircuit {block.name!r}")
        times = overrides.pop("m", 1.0) if "m" not in formals else 1.0
        return times, overrides

    def build(self, block: Block, caller: Scope, given: dict[str, float], times: float, line: Line) -> Built:
        """The subcircuit of a block with these parameters, made once."""
        if block in self.building or len(self.building) >= MAX_DEPTH:
            raise line.error(f"subcircuit {block.name!r} contains itself, or is nested deeper than {MAX_DEPTH}")
        scope = Scope(self.budget, caller, block.visible_functions, dict(given), owner=block)
        missing = [item for item in block.formals if item.name not in given]
        scope.define([*missing, *block.parameters])
        self.budget.spend(1 + len(scope.values), line)
        made = self.built.setdefault((id(block), times, frozenset(scope.values.items())), [])
        for old in made:
            self.budget.spend(1 + len(old.outside), line)
            if all(caller.find(name) == value for name, value in old.outside.items()):
                return old
        self.budget.spend(VARIANT_STEPS, line)
        self.building.append(block)
        circuit = Circuit(block, scope, self, times)
        for port in block.ports:
            circuit.connect(port)
        for element in block.elements:
            self.read_element(circuit, element)
            self.elements += 1
            if self.elements > MAX_ELEMENTS:
                raise element.error(f"the deck's subcircuits hold over {MAX_ELEMENTS} elements in all their variants")
        self.building.pop()
        shared = tuple(node for node in circuit.nodes if node in self.shared and node not in block.ports)
        plain = not given and times == 1 and block.name not in self.names
        name = block.name if plain else self._numbered(block.name)
        self.names.add(name)
        subcircuit = Subcircuit(name, (*block.ports, *shared), circuit.netlist(name))
        result = Built(dict(scope.outside), subcircuit, shared, circuit.size)
        made.append(result)
        return result

    def _numbered(self, name: str) -> str:
        count = self.counts.get(name, 0) + 1
        while f"{name}__{count}" in self.names:
            count += 1
        self.counts[name] = count
        return f"{name}__{count}"


def blocks(lines: Sequence[Line], top: Line) -> Block:
    """The tree of subcircuit definitions with the lines of each."""
    block = Block("", top)
    for line in lines:
        word = line.text.split(maxsplit=1)[0]
        if word == ".subckt":
            block = _open(line, block)
        elif word == ".ends":
            words = Words(line)
            words.next(".ends")
            named = words.name("a subcircuit") if words.peek() is not None else block.name
            if block.outer is None:
                raise line.error(".ends without .subckt")
            if named != block.name:
                raise line.error(f".ends {named[:40]} closes .subckt {block.name}")
            block = block.outer
        elif word in (".param", ".params", ".parameter"):
            parameters, functions = definitions(line.text[len(word) :], line)
            block.parameters += parameters
            block.functions.update({item.name: item for item in functions})
        elif word == ".func":
            item = _func(line)
            block.functions[item.name] = item
        elif word == ".model":
            words = Words(line)
            words.next(".model")
            name = words.name("a model")
            if name in block.models:
                raise line.error(f"model {name!r} is already defined on line {block.models[name].number}")
            block.models[name] = line
        elif word.startswith("."):
            if block.outer is not None:
                raise line.error(
                    f"{word[:40]} inside the subcircuit {block.name!r} of line {block.line.number}: move it out, or "
                    "end the subcircuit before it"
                )
            block.commands.append(line)
        else:
            block.elements.append(line)
    if block.outer is not None:
        raise block.line.error(f"subcircuit {block.name!r} has no .ends")
    return block


def _open(line: Line, outer: Block) -> Block:
    """The block of a `.subckt` line."""
    words = Words(line)
    words.next(".subckt")
    name = words.name("a subcircuit")
    if name in outer.blocks:
        raise line.error(f"subcircuit {name!r} is already defined on line {outer.blocks[name].line.number}")
    depth, around = 0, outer.outer
    while around is not None:
        depth, around = depth + 1, around.outer
    if depth > MAX_DEPTH:
        raise line.error(f"subcircuits are nested deeper than {MAX_DEPTH}")
    ports = []
    while (word := words.peek()) is not None and not words.is_mark("=", 1) and word.text != "params:":
        ports.append(words.node("a port"))
    if "0" in ports or len(set(ports)) < len(ports):
        raise line.error("a port is ground, or listed twice")
    if word is not None and word.text == "params:":
        words.at += 1
    formals, functions = definitions(_PARAMS.sub(" ", words.rest()), line)
    if functions:
        raise line.error("a function among the parameters; use .func")
    block = Block(name, line, tuple(ports), formals, outer)
    outer.blocks[name] = block
    return block


def _func(line: Line) -> Function:
    text = line.text.partition(" ")[2].strip()
    opening, closing = text.find("("), text.find(")")
    if not 0 < opening < closing:
        raise line.error("write `.func name(x, y) {expression}`")
    name, body = text[:opening].strip(), text[closing + 1 :].strip()
    if not name.isidentifier():
        raise line.error(f"{name[:40]!r} cannot be the name of a function")
    return function(name, text[opening : closing + 1], body.removeprefix("=").strip(), line)
