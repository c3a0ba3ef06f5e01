"""Wires of a crossbar tile: resistance and capacitance of word and bit lines, and the tile as an explicit netlist."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import Capacitor, Resistor
from analogep.netlist.elements.terminals import live, volt
from analogep.netlist.graph import Bus, Netlist

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck

Ends = Literal["one", "both"]


@dataclass(frozen=True)
class Line:
    """One family of parallel wires: equal resistors between neighboring crossings, and the way out at the ends.

    Parameters
    ----------
    ohms : resistance between neighboring crossings, and from the last crossing to the edge of the tile.
    end_ohms : resistance from the edge of the tile to the terminal (a driver's output, a sense amplifier's input).
    both : whether the wire meets its terminal at both ends; otherwise only at its near end.
    """

    ohms: float
    end_ohms: float
    both: bool

    @property
    def lead_ohms(self) -> float:
        """Resistance from a connected end's crossing to the terminal."""
        return self.ohms + self.end_ohms

    @property
    def lumped(self) -> Line:
        """The same line where it has no resistance along it: one node, so two ends are one end of half the ohms."""
        return replace(self, end_ohms=self.end_ohms / 2, both=False) if self.both and self.ohms == 0 else self


@dataclass(frozen=True)
class Wires:
    """Word and bit lines of a tile of rows x columns crossings.

    Word line r meets its driver at column 0 (and beyond the last column), bit line c its sense amplifier beyond the
    last row (and before row 0): the first crossing from a driver and the last one before an amplifier are one pitch of
    wire away from the edge, as in badcrossbar.

    Parameters
    ----------
    word_ohms, bit_ohms : wire resistance of one pitch (ohms); 0 is an ideal wire.
    word_farads, bit_farads : wire capacitance to ground at each crossing (farads), for transients.
    driver_ohms, sense_ohms : output resistance of a driver, and input resistance of a sense amplifier at virtual
        ground (ohms); of each one where a line has two.
    drivers, sensing : whether word lines are driven, and bit lines sensed, at `one` end or at `both`. The currents of
        both ends are added.
    """

    word_ohms: float = 1.0
    bit_ohms: float = 1.0
    word_farads: float = 0.0
    bit_farads: float = 0.0
    driver_ohms: float = 0.0
    sense_ohms: float = 0.0
    drivers: Ends = "one"
    sensing: Ends = "one"

    def __post_init__(self) -> None:
        for name in ("word_ohms", "bit_ohms", "word_farads", "bit_farads", "driver_ohms", "sense_ohms"):
            value = float(getattr(self, name))
            if not (math.isfinite(value) and value >= 0):
                raise NetlistError(f"Wires: {name} = {value:g}; give a finite number that is not negative")
            object.__setattr__(self, name, value)
        for name in ("drivers", "sensing"):
            if getattr(self, name) not in ("one", "both"):
                raise NetlistError(f"Wires: {name} = {getattr(self, name)!r}; give 'one' or 'both'")

    @property
    def word(self) -> Line:
        """The word lines."""
        return Line(self.word_ohms, self.driver_ohms, self.drivers == "both")

    @property
    def bit(self) -> Line:
        """The bit lines."""
        return Line(self.bit_ohms, self.sense_ohms, self.sensing == "both")


@dataclass(frozen=True, eq=False)
class WireLines(Element):
    """All word lines, or all bit lines, of a tile: chains of resistors along one axis of a bus of crossings.

    Parameters
    ----------
    nodes : bus of crossings [..., rows, columns].
    ends : bus of the terminals, [..., rows] for word lines and [..., columns] for bit lines; or ground.
    family : `word` lines run along the columns, from their terminal at column 0; `bit` lines along the rows, to their
        terminal at the last row.
    line : resistances. Ideal wires (0 ohms) become shorts, 0 V sources, in a deck; they have no law of currents.
    """

    nodes: str
    ends: str
    family: Literal["word", "bit"]
    line: Line

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"nodes": self.nodes, "ends": self.ends}

    @property
    def reads(self) -> tuple[str, ...]:
        return live(self.nodes, self.ends)

    @property
    def drives(self) -> tuple[str, ...]:
        return live(self.nodes, self.ends)

    @property
    def _leads(self) -> tuple[int, ...]:
        """Positions along the line of the crossings that are joined to the terminal."""
        near = 0 if self.family == "word" else -1
        return (near, -1 - near) if self.line.lumped.both else (near,)

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        if self.line.lead_ohms == 0 or self.line.ohms == 0:
            raise self._wrong("ideal wires (0 ohms) have no law of currents; fold them with fold_wires, or give ohms")
        axis = -1 if self.family == "word" else -2
        x, end = jnp.moveaxis(jnp.asarray(v[self.nodes]), axis, -1), volt(v, self.ends)
        along = (x[..., :-1] - x[..., 1:]) / self.line.ohms
        none = jnp.zeros_like(x[..., :1])
        leaving = jnp.concatenate([along, none], -1) - jnp.concatenate([none, along], -1)
        out: Currents = {}
        for k in self._leads:
            lead = (x[..., k] - end) / self.line.lead_ohms
            leaving = leaving.at[..., k].add(lead)
            out[self.ends] = out.get(self.ends, 0.0) - lead
        out.pop(GROUND, None)
        return {**out, self.nodes: jnp.moveaxis(leaving, -1, axis)}

    def adjoint(self) -> tuple[Element, ...]:
        return (self,)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        shape = buses[self.nodes].shape
        ends = (*shape[:-2], shape[-2 if self.family == "word" else -1]) if len(shape) > 1 else None
        if ends is None or (self.ends != GROUND and buses[self.ends].shape != ends):
            given = "ground" if self.ends == GROUND else f"{self.ends!r} {buses[self.ends].shape}"
            raise self._wrong(
                f"crossings {self.nodes!r} of shape {shape} and ends {given}; crossings are [..., rows, columns], ends "
                f"[..., {'rows' if self.family == 'word' else 'columns'}]"
            )

    def spice(self, deck: Deck) -> Iterator[str]:
        line, shape = self.line.lumped, deck.shape(self.nodes)
        axis = len(shape) - (1 if self.family == "word" else 2)
        for index in np.ndindex(shape):
            if index[axis] + 1 < shape[axis]:
                after = (*index[:axis], index[axis] + 1, *index[axis + 1 :])
                yield self._resistor(deck, self.name, index, deck.node(self.nodes, after), line.ohms)
        for side, k in zip(("near", "far"), self._leads, strict=False):
            for wire in np.ndindex(*shape[:axis], *shape[axis + 1 :]):
                index = (*wire[:axis], k % shape[axis], *wire[axis:])
                end = deck.node(self.ends, wire)
                yield self._resistor(deck, f"{self.name}.{side}", index, end, line.lead_ohms)

    def _resistor(self, deck: Deck, name: str, index: tuple[int, ...], to: str, ohms: float) -> str:
        node = deck.node(self.nodes, index)
        return f"{deck.instance('R' if ohms else 'V', name, index)} {node} {to} {deck.number(ohms)}"


def tile(
    name: str, rows: str, columns: str, conductances: Array, wires: Wires, *, copies: tuple[int, ...] = ()
) -> Netlist:
    """A tile as a piece of netlist: every crossing a node, every piece of wire a resistor.

    Parameters
    ----------
    name : prefix of what is added.
    rows, columns : buses of the drivers' outputs [*copies, rows] and of the amplifiers' inputs [*copies, columns], or
        ground for amplifiers at virtual ground; they belong to the netlist that the piece is added to.
    conductances : [columns, rows] (siemens), not negative; 0 is an absent device.
    copies : leading axes of the buses.

    Returns
    -------
    Buses `<name>.word` and `<name>.bit` [*copies, rows, columns], the devices `<name>.devices` between them (without
    copies a programmable array `<name>.g` [rows, columns]), the wires `<name>.words` and `<name>.bits`, and their
    capacitors to ground where the wires have farads. Add it with
    `netlist.add(*piece, buses=piece.buses, arrays=piece.arrays)`.
    """
    g = np.asarray(conductances, float).T
    if g.ndim != 2 or not np.all(np.isfinite(g)) or np.any(g < 0):
        raise NetlistError(f"tile {name!r}: conductances of shape {g.T.shape} must be finite, >= 0, [columns, rows]")
    word, bit, array = f"{name}.word", f"{name}.bit", f"{name}.g"
    siemens = np.broadcast_to(g, (*copies, *g.shape)) if copies else array
    farads = ((word, wires.word_farads), (bit, wires.bit_farads))
    return Netlist({word: Bus((*copies, *g.shape)), bit: Bus((*copies, *g.shape))}, title=f"tile {name}").add(
        WireLines(f"{name}.words", word, rows, "word", wires.word),
        WireLines(f"{name}.bits", bit, columns, "bit", wires.bit),
        Resistor(f"{name}.devices", word, bit, siemens),
        *(Capacitor(f"{bus}.farads", bus, GROUND, value) for bus, value in farads if value),
        arrays={} if copies else {array: g},
    )
