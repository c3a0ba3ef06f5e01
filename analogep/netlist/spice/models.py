"""`.model` cards: found where they are visible, evaluated in the scope that holds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from analogep.errors import NetlistError
from analogep.netlist.devices import bjt, diode, mosfet_model, switch
from analogep.netlist.spice.hierarchy import Block, Circuit
from analogep.netlist.spice.lines import Line
from analogep.netlist.spice.parameters import Scope
from analogep.netlist.spice.words import Words

_NAMES = re.compile(r"[a-z_][a-z_0-9]*+")
PASSIVE = {
    "r": ("r", "res", "tc1", "tc2", "tnom"),
    "res": ("r", "res", "tc1", "tc2", "tnom"),
    "c": ("cap", "tc1", "tc2", "tnom"),
    "cap": ("cap", "tc1", "tc2", "tnom"),
    "l": ("ind", "tc1", "tc2", "tnom"),
    "ind": ("ind", "tc1", "tc2", "tnom"),
}
CARDS: Mapping[str, Callable[[str, Mapping[str, float]], Any]] = {
    "d": diode.from_card,
    "npn": bjt.from_card,
    "pnp": bjt.from_card,
    "nmos": mosfet_model.from_card,
    "pmos": mosfet_model.from_card,
    "sw": switch.from_card,
}


def passive(circuit: Circuit, name: str, kinds: tuple[str, ...], line: Line) -> dict[str, float]:
    """Parameters of a model of a resistor, capacitor or inductor."""
    kind, parameters, _ = _card(circuit, name, kinds, line)
    for parameter in parameters:
        if parameter not in PASSIVE[kind]:
            raise line.error(f"model {name!r}: unknown parameter {parameter!r}; known are {', '.join(PASSIVE[kind])}")
    return parameters


def device(circuit: Circuit, name: str, kinds: tuple[str, ...], line: Line) -> Any:
    """Model of a semiconductor device or a switch."""
    kind, parameters, card = _card(circuit, name, kinds, line)
    tnom = circuit.library.options.get("tnom")
    if isinstance(tnom, float) and kind != "sw":
        parameters.setdefault("tnom", tnom)
    key = (kind, tuple(parameters.items()))
    known = circuit.library.models
    if key not in known:
        try:
            known[key] = CARDS[kind](kind, parameters)
        except NetlistError as error:
            raise card.error(str(error)) from None
    return known[key]


def is_model(circuit: Circuit, name: str) -> bool:
    """Whether a model of that name is visible."""
    return circuit.block.find_model(name) is not None


def _card(circuit: Circuit, name: str, kinds: tuple[str, ...], line: Line) -> tuple[str, dict[str, float], Line]:
    found = circuit.block.find_model(name)
    if found is None:
        raise line.error(f"unknown model {name[:40]!r}; {circuit.block.visible('models')}")
    block, card = found
    if name not in circuit.cards:
        circuit.cards[name] = _evaluated(circuit, block, card)
    kind, parameters = circuit.cards[name]
    if kind not in kinds:
        raise line.error(f"model {name!r} is of type {kind}; this element needs {' or '.join(kinds)}")
    return kind, dict(parameters), card


def _evaluated(circuit: Circuit, block: Block, card: Line) -> tuple[str, dict[str, float]]:
    """Type and parameters of a card."""
    words = Words(card)
    circuit.library.budget.spend(len(words.all), card)
    words.at = 2
    kind = words.name("a model type")
    if kind not in CARDS and kind not in PASSIVE:
        raise card.error(f"model type {kind[:40]!r} is not supported; known are {', '.join([*CARDS, 'r', 'c', 'l'])}")
    words.skip("(")
    if words.all and words.is_mark(")", len(words.all) - 1 - words.at):
        words.all.pop()
    scope = _scope(circuit.scope, block, words)
    parameters: dict[str, float] = {}
    while words.peek() is not None:
        words.skip(",")
        if words.peek() is None:
            break
        parameter = words.name("a parameter of the model")
        if not words.is_mark("="):
            raise card.error(f"write {parameter}=value")
        words.at += 1
        if parameter in parameters:
            raise card.error(f"{parameter!r} is given twice")
        parameters[parameter] = words.value(scope, parameter)
    return kind, parameters


def _scope(scope: Scope, holder: Block, words: Words) -> Scope:
    """The scope of the block that holds the card; scopes on the way note what the card reads."""
    passed: list[Scope] = []
    place: Scope | None = scope
    while place is not None and place.owner is not holder:
        passed.append(place)
        place = place.parent
    if place is None:
        raise words.error("the model's subcircuit is not in use here")
    if place.parent is not None:
        names = set(_NAMES.findall(words.line.text))
        for between in passed:
            between.outside.update({name: place.find(name) for name in names if place.find(name) is not None})
    return place
