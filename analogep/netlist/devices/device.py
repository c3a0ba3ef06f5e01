"""What the semiconductor devices share: their nodes, their model cards and how both are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements.terminals import live, volt

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck

GMIN = 1e-12
"""Conductance that SPICE puts across every junction (siemens)."""
KELVIN = 273.15
"""Zero degrees Celsius (kelvin)."""
Card = TypeVar("Card")


@dataclass(frozen=True, eq=False)
class Device(Element):
    """Base of elements with a law between several scalar nodes, some of them inside.

    A class lists the fields of its terminals in SPICE's order, and its inner fields with their suffix:
    `collector_inner` with "collector" is the node `q1#collector`, as ngspice calls it. Which inner nodes there are is
    decided when the device is made: a field is None where its resistance is zero, and stays so.
    """

    terminal_fields: ClassVar[tuple[str, ...]] = ()
    inner_fields: ClassVar[Mapping[str, str]] = {}

    @property
    def terminals(self) -> Mapping[str, str]:
        return {field: getattr(self, field) for field in self.terminal_fields}

    @property
    def unknowns(self) -> Mapping[str, str]:
        inner = {field: getattr(self, field) for field in self.inner_fields}
        return {**self.terminals, **{field: node for field, node in inner.items() if node is not None}}

    @property
    def internals(self) -> tuple[str, ...]:
        return tuple(node for field in self.inner_fields if (node := getattr(self, field)) is not None)

    @property
    def reads(self) -> tuple[str, ...]:
        return live(*self.terminals.values())

    @property
    def drives(self) -> tuple[str, ...]:
        return live(*self.terminals.values())

    def _name_inner(self, field: str, wanted: bool) -> None:
        """Give an inner node its name, unless it has one; to be used while the device is made."""
        if wanted and getattr(self, field) is None:
            object.__setattr__(self, field, f"{self.name}#{self.inner_fields[field]}")

    def renamed(
        self, name: str, buses: Mapping[str, str], arrays: Mapping[str, str], elements: Mapping[str, str]
    ) -> Element:
        inner = {
            node: f"{name}#{suffix}"
            for field, suffix in self.inner_fields.items()
            if (node := getattr(self, field)) is not None
        }
        return super().renamed(name, {**inner, **buses}, arrays, elements)

    def adjoint(self) -> tuple[Element, ...]:
        raise self._wrong("the adjoint network of a semiconductor device is not built; use the linearized circuit")

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        for name, value in self.numbers.items():
            self._check_values(name, value, buses)

    def _instances(self, deck: Deck, letter: str, card: str, values: Mapping[str, Array | float]) -> Iterator[str]:
        """One line an instance: nodes, model, and `name=value` for every value."""
        names = tuple(self.terminals.values())
        for index, nodes in deck.nodes(*names):
            at = {key: deck.at(value, index, deck.shape(*names)) for key, value in values.items()}
            words = [f"{key}={deck.number(value)}" for key, value in at.items()]
            yield " ".join([deck.instance(letter, self.name, index), *nodes, card, *words])


def accumulate(*parts: tuple[str | None, Array]) -> Currents:
    """Sum of (node, quantity): ground and absent nodes keep no account."""
    out: Currents = {}
    for node, quantity in parts:
        if node is not None and node != GROUND:
            out[node] = out[node] + quantity if node in out else quantity
    return out


def between(v: Voltages, a: str, b: str) -> Array:
    """Voltage between two nodes."""
    return volt(v, a) - volt(v, b)


def write_card(deck: Deck, letter: str, kind: str, parameters: Mapping[str, float]) -> str:
    """Name of the `.model` card that holds these parameters; it is added to the deck once."""
    settings = " ".join(f"{key}={deck.number(value)}" for key, value in parameters.items())
    return deck.model(f"{letter}model", f"{kind}({settings})")


def differing(model: Any, ignored: tuple[str, ...] = ()) -> dict[str, float]:
    """Fields of a model card that differ from their defaults, by name; the kind of device is left out."""
    values = {f.name: (getattr(model, f.name), f.default) for f in fields(model) if f.name not in ignored}
    return {name: value for name, (value, default) in values.items() if value is not None and value != default}


def read_card(
    card: type[Card], kind: str, parameters: Mapping[str, float], aliases: Mapping[str, str], refused: Mapping[str, str]
) -> dict[str, Any]:
    """Keyword arguments of a model card from SPICE's parameters.

    Parameters
    ----------
    card : the dataclass; its numeric fields are the known parameters, but for aliases.
    kind : SPICE's type word, for messages.
    parameters : SPICE name (any case) -> value, in SPICE's units.
    aliases : other SPICE names -> field.
    refused : names that are known and not supported -> why, or what to do.

    Raises
    ------
    NetlistError
        For an unknown, refused, doubled or infinite parameter, by its name.
    """
    known = {f.name for f in fields(card) if "float" in str(f.type)}  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for raw, value in parameters.items():
        name = raw.lower()
        if name in refused:
            raise NetlistError(f".model {kind}: parameter {raw!r} is not supported: {refused[name]}")
        field = aliases.get(name, name)
        if field not in known:
            names = sorted({*aliases, *(name for name in known if not name.endswith("_"))})  # is_, lambda_ are ours
            raise NetlistError(f".model {kind}: unknown parameter {raw!r}; known are {', '.join(names)}")
        if field in found:
            raise NetlistError(f".model {kind}: parameter {raw!r} is given twice")
        if not np.isfinite(value):
            raise NetlistError(f".model {kind}: parameter {raw!r} is not a finite number")
        found[field] = float(value) + KELVIN if field == "tnom" else float(value)
    return found


def check_range(kind: str, values: Mapping[str, Any], *, positive: tuple[str, ...], grading: tuple[str, ...]) -> None:
    """Raise NetlistError for parameters that the laws divide by zero at."""
    for name in positive:
        if name in values and values[name] is not None and not values[name] > 0:
            raise NetlistError(f".model {kind}: {name} = {values[name]:g} must be positive")
    for name in grading:
        if name in values and not 0 <= values[name] < 1:
            raise NetlistError(f".model {kind}: {name} = {values[name]:g} must be at least 0 and below 1")
