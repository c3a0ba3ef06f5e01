"""Independent voltage and current sources."""

from __future__ import annotations

import cmath
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements.terminals import TwoTerminal, live, pair, volt
from analogep.netlist.waveforms import Waveform

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


class Source(Element):
    """What both kinds share: a value (a number, an array or a waveform), and a phasor for small-signal analysis."""

    value: float | Array | Waveform
    ac: float
    ac_degrees: float
    dc: float | None

    def at(self, t: Array | float) -> Array:
        """Value at time `t` (seconds)."""
        return jnp.asarray(self.value.at(t) if isinstance(self.value, Waveform) else self.value)

    @property
    def phasor(self) -> complex:
        """Small-signal amplitude."""
        return cmath.rect(self.ac, math.radians(self.ac_degrees))

    def at_rest(self) -> Source:
        """The source that operating point, DC sweep and AC see: its DC value, or else its waveform at t = 0."""
        value = self.dc
        if value is None and isinstance(self.value, Waveform):
            value = float(self.value.at(0.0))
        return self if value is None else self._constant(value)

    @abstractmethod
    def _constant(self, value: float) -> Source:
        """The same source with a constant value."""

    def _check_source(self, what: str, buses: Mapping[str, Bus]) -> None:
        if not isinstance(self.value, Waveform):
            self._check_values(what, self.value, buses)
        for number in (self.ac, self.ac_degrees, self.dc or 0.0):
            self._check_values(what, number, buses)

    def _source_lines(self, deck: Deck, letter: str, a: str, b: str) -> Iterator[str]:
        phasor = f" AC {deck.number(self.ac)} {deck.number(self.ac_degrees)}" if self.ac else ""
        for index, nodes in deck.nodes(a, b):
            if isinstance(self.value, Waveform):
                constant = "" if self.dc is None else f"DC {deck.number(self.dc)} "
                value = f"{constant}{self.value.spice()}"
            else:
                value = f"DC {deck.number(deck.at(self.value, index, deck.shape(a, b)))}"
            yield f"{deck.instance(letter, self.name, index)} {nodes[0]} {nodes[1]} {value}{phasor}"


@dataclass(frozen=True, eq=False)
class ISource(Source, TwoTerminal):
    """Independent current source: `value` (amperes, an array or a waveform) flows from `a` through it to `b`.

    Parameters
    ----------
    ac, ac_degrees : magnitude (amperes) and phase of its phasor in AC analysis.
    dc : value at DC where it is not the waveform's at t = 0.
    """

    value: float | Array | Waveform
    ac: float = 0.0
    ac_degrees: float = 0.0
    dc: float | None = None

    @property
    def drives(self) -> tuple[str, ...]:
        return live(self.a, self.b)

    def _constant(self, value: float) -> Source:
        return replace(self, value=value, dc=None)

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return self._pair(self.at(t))

    def adjoint(self) -> tuple[Element, ...]:
        return ()

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_source("current", buses)

    def spice(self, deck: Deck) -> Iterator[str]:
        yield from self._source_lines(deck, "I", self.a, self.b)


@dataclass(frozen=True, eq=False)
class VSource(Source):
    """Independent voltage source: bus `a` stands `value` (volts, an array or a waveform) above bus `b`.

    From a bus to ground it makes an input: a run may give the bus other voltages than `value`.

    Parameters
    ----------
    b : ground, or a node for a floating source, whose circuit is simulated as `Nodal`.
    ac, ac_degrees : magnitude (volts) and phase of its phasor in AC analysis.
    dc : value at DC where it is not the waveform's at t = 0.
    """

    a: str
    value: float | Array | Waveform
    b: str = GROUND
    ac: float = 0.0
    ac_degrees: float = 0.0
    dc: float | None = None

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a} if self.b == GROUND else {"a": self.a, "b": self.b}

    @property
    def unknowns(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b, "branch": self.branch}

    @property
    def branch(self) -> str:
        return f"i({self.name})"

    @property
    def forces(self) -> tuple[str, ...]:
        return (self.a,) if self.b == GROUND else ()

    def _constant(self, value: float) -> Source:
        return replace(self, value=value, dc=None)

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        return self.at(t)

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        through = v[self.branch]
        return {**pair(self.a, self.b, through), self.branch: volt(v, self.a) - volt(v, self.b) - self.at(t)}

    def adjoint(self) -> tuple[Element, ...]:
        return ()  # a source at rest is a short: the adjoint bus is ground

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_source("voltage", buses)

    def spice(self, deck: Deck) -> Iterator[str]:
        yield from self._source_lines(deck, "V", self.a, self.b)
