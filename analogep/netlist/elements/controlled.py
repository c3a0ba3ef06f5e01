"""The four linear controlled sources: G, E, F and H."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements.summer import Summer
from analogep.netlist.elements.terminals import TwoTerminal, live, pair, programmed, volt

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class VCCS(TwoTerminal):
    """Transconductance: the current g (v_c - v_d) leaves bus `a` and enters `b`; SPICE letter G."""

    c: str
    d: str
    siemens: float | Array | str

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b, "c": self.c, "d": self.d}

    @property
    def array(self) -> str | None:
        return self.siemens if isinstance(self.siemens, str) else None

    @property
    def reads(self) -> tuple[str, ...]:
        return live(self.c, self.d)

    @property
    def drives(self) -> tuple[str, ...]:
        return live(self.a, self.b)

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        g = theta[self.siemens] if isinstance(self.siemens, str) else self.siemens
        return self._pair(g * (volt(v, self.c) - volt(v, self.d)))

    def adjoint(self) -> tuple[Element, ...]:
        return (VCCS(self.name, self.c, self.d, self.a, self.b, self.siemens),)  # ports exchanged

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        return (volt(pre, self.c) - volt(pre, self.d)) * (volt(post, self.a) - volt(post, self.b))

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        programmed(self, self.siemens, buses, arrays)

    def spice(self, deck: Deck) -> Iterator[str]:
        g = deck.arrays[self.siemens] if isinstance(self.siemens, str) else self.siemens
        for index, nodes in deck.nodes(self.a, self.b, self.c, self.d):
            value = deck.at(g, index, deck.shape(self.a, self.b, self.c, self.d))
            yield f"{deck.instance('G', self.name, index)} {' '.join(nodes)} {deck.number(value)}"


@dataclass(frozen=True, eq=False)
class VCVS(Element):
    """Ideal voltage amplifier: bus `a` stands gain (v_c - v_d) above bus `b`; SPICE letter E.

    Parameters
    ----------
    b : ground, or a node for a floating output, whose circuit is simulated as `Nodal`.
    reference : sets the unit of the multiplier at a driven bus, and nothing else (siemens).
    """

    a: str
    c: str
    d: str
    gain: float | Array
    b: str = GROUND
    reference: float = 1.0

    @property
    def terminals(self) -> Mapping[str, str]:
        output = {"a": self.a} if self.b == GROUND else {"a": self.a, "b": self.b}
        return {**output, "c": self.c, "d": self.d}

    @property
    def unknowns(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b, "c": self.c, "d": self.d, "branch": self.branch}

    @property
    def branch(self) -> str:
        return f"i({self.name})"

    @property
    def reads(self) -> tuple[str, ...]:
        return live(self.c, self.d)

    @property
    def forces(self) -> tuple[str, ...]:
        return (self.a,) if self.b == GROUND else ()

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        return self.gain * (volt(v, self.c) - volt(v, self.d))

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        across = volt(v, self.a) - volt(v, self.b) - self.forced(v, theta, t)
        return {**pair(self.a, self.b, v[self.branch]), self.branch: across}

    def adjoint(self) -> tuple[Element, ...]:
        # The multiplier of v_a = gain (v_c - v_d) is the adjoint's branch current; over `reference` it is a voltage.
        g = np.asarray(self.gain) * self.reference
        return (
            Summer(f"{self.name}.sum", self.a, self.reference),
            VCCS(self.name, self.d, self.c, self.a, GROUND, g),
        )

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_values("gain", self.gain, buses)
        if not (math.isfinite(self.reference) and self.reference > 0):
            raise self._wrong(f"reference conductance {self.reference:g} S at {self.a!r}; it must be positive")

    def spice(self, deck: Deck) -> Iterator[str]:
        for index, nodes in deck.nodes(self.a, self.b, self.c, self.d):
            value = deck.at(self.gain, index, deck.shape(self.a, self.b, self.c, self.d))
            yield f"{deck.instance('E', self.name, index)} {' '.join(nodes)} {deck.number(value)}"


@dataclass(frozen=True, eq=False)
class CCCS(TwoTerminal):
    """Current amplifier: `gain` times the current through voltage source `control` leaves `a`, enters `b`; letter F."""

    control: str
    gain: float
    element_fields: ClassVar = ("control",)

    @property
    def unknowns(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b, "control": f"i({self.control})"}

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return self._pair(self.gain * v[f"i({self.control})"])

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_values("gain", self.gain, buses)

    def spice(self, deck: Deck) -> Iterator[str]:
        control = deck.instance("V", self.control, ())
        yield from self._lines(deck, "F", self.gain, before=f"{control} ")


@dataclass(frozen=True, eq=False)
class CCVS(TwoTerminal):
    """Transresistance: `a` stands `ohms` times the current through the voltage source `control` above `b`; letter H."""

    control: str
    ohms: float
    element_fields: ClassVar = ("control",)

    @property
    def branch(self) -> str:
        return f"i({self.name})"

    @property
    def unknowns(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b, "branch": self.branch, "control": f"i({self.control})"}

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        across = volt(v, self.a) - volt(v, self.b) - self.ohms * v[f"i({self.control})"]
        return {**self._pair(v[self.branch]), self.branch: across}

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_values("transresistance", self.ohms, buses)

    def spice(self, deck: Deck) -> Iterator[str]:
        control = deck.instance("V", self.control, ())
        yield from self._lines(deck, "H", self.ohms, before=f"{control} ")
