"""Resistors, capacitors, inductors and the coupling between inductors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import BOLTZMANN, GROUND, ROOM, Element, NoiseSource
from analogep.netlist.elements.terminals import TwoTerminal, live, programmed, volt

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class Resistor(TwoTerminal):
    """Linear conductance between two buses: i = g (v_a - v_b).

    Parameters
    ----------
    siemens : conductance, one for all instances or one each, or the name of a programmable array.
    kelvin : temperature of its thermal noise.
    """

    siemens: float | Array | str
    kelvin: float = ROOM

    @property
    def array(self) -> str | None:
        return self.siemens if isinstance(self.siemens, str) else None

    @property
    def shunts(self) -> str | None:
        """The bus that the resistor loads to ground, or None when it joins two buses."""
        if GROUND in (self.a, self.b) and self.a != self.b:
            return self.a if self.b == GROUND else self.b
        return None

    @property
    def mixes(self) -> int:
        return 0

    @property
    def reads(self) -> tuple[str, ...]:
        return live(self.a, self.b)

    @property
    def drives(self) -> tuple[str, ...]:
        return live(self.a, self.b)

    def conductance(self, theta: Parameters) -> Array | float:
        """Conductance in siemens."""
        return theta[self.siemens] if isinstance(self.siemens, str) else self.siemens

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return self._pair(self.conductance(theta) * (volt(v, self.a) - volt(v, self.b)))

    def noise(self, v: Voltages, theta: Parameters, frequency: Array | float) -> tuple[NoiseSource, ...]:
        """Thermal noise 4 k T g (Nyquist 1928)."""
        return (NoiseSource("thermal", self.a, self.b, 4 * BOLTZMANN * self.kelvin * self.conductance(theta)),)

    def adjoint(self) -> tuple[Element, ...]:
        return (self,)

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        return (volt(pre, self.a) - volt(pre, self.b)) * (volt(post, self.a) - volt(post, self.b))

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        siemens = programmed(self, self.siemens, buses, arrays)
        if np.any(np.asarray(siemens) < 0):
            raise self._wrong(f"negative conductance {np.min(siemens):g} S between {self.a!r} and {self.b!r}")

    def spice(self, deck: Deck) -> Iterator[str]:
        with np.errstate(divide="ignore"):
            ohms = 1.0 / np.asarray(self.conductance(deck.arrays), float)
        for line in self._lines(deck, "R", ohms):
            if not line.endswith("inf"):
                yield line


@dataclass(frozen=True, eq=False)
class Capacitor(TwoTerminal):
    """Linear capacitor.

    Parameters
    ----------
    farads : capacitance, one for all instances or one each.
    initial : voltage at t = 0 of a transient that starts from initial conditions (volts), or None.
    """

    farads: float | Array
    initial: float | None = None

    def charges(self, v: Voltages) -> Currents:
        return self._pair(self.farads * (volt(v, self.a) - volt(v, self.b)))

    def adjoint(self) -> tuple[Element, ...]:
        return (self,)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_values("capacitance", self.farads, buses)
        if np.any(np.asarray(self.farads) <= 0):
            raise self._wrong(
                f"capacitance {np.min(self.farads):g} F between {self.a!r} and {self.b!r}; it must be positive"
            )

    def spice(self, deck: Deck) -> Iterator[str]:
        yield from self._lines(deck, "C", self.farads, after=_initial(self.initial, deck))


@dataclass(frozen=True, eq=False)
class Inductor(TwoTerminal):
    """Linear inductor; its current is an unknown of its own: v_a - v_b = d(L i)/dt.

    Parameters
    ----------
    henries : inductance.
    initial : current at t = 0 of a transient that starts from initial conditions (amperes), or None.
    """

    henries: float
    initial: float | None = None

    @property
    def branch(self) -> str:
        return f"i({self.name})"

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return {**self._pair(v[self.branch]), self.branch: volt(v, self.a) - volt(v, self.b)}

    def charges(self, v: Voltages) -> Currents:
        return {self.branch: -self.henries * v[self.branch]}

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if not (math.isfinite(self.henries) and self.henries > 0):
            raise self._wrong(f"inductance {self.henries:g} H between {self.a!r} and {self.b!r}; it must be positive")

    def spice(self, deck: Deck) -> Iterator[str]:
        yield from self._lines(deck, "L", self.henries, after=_initial(self.initial, deck))


@dataclass(frozen=True, eq=False)
class Coupling(Element):
    """Magnetic coupling of two inductors, named `first` and `second`; SPICE letter K.

    Parameters
    ----------
    k : coefficient, 0 < |k| < 1.
    first_henries, second_henries : inductances of the two, filled in by the simulator.
    """

    first: str
    second: str
    k: float
    first_henries: float | None = None
    second_henries: float | None = None
    element_fields: ClassVar = ("first", "second")

    @property
    def terminals(self) -> Mapping[str, str]:
        return {}

    @property
    def unknowns(self) -> Mapping[str, str]:
        return {"first": f"i({self.first})", "second": f"i({self.second})"}

    @property
    def tied(self) -> Mapping[str, str]:
        return {"first_henries": f"{self.first}.henries", "second_henries": f"{self.second}.henries"}

    def charges(self, v: Voltages) -> Currents:
        one, two = self.unknowns.values()
        mutual = self.k * jnp.sqrt(jnp.asarray(self.first_henries) * jnp.asarray(self.second_henries))
        return {one: -mutual * v[two], two: -mutual * v[one]}

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if not 0 < abs(self.k) < 1:
            raise self._wrong(f"coefficient {self.k:g} between {self.first!r} and {self.second!r}; give 0 < |k| < 1")
        if self.first == self.second:
            raise self._wrong(f"it couples {self.first!r} to itself")

    def spice(self, deck: Deck) -> Iterator[str]:
        first, second = (deck.instance("L", name, ()) for name in (self.first, self.second))
        yield f"{deck.instance('K', self.name, ())} {first} {second} {deck.number(self.k)}"


def _initial(value: float | None, deck: Deck) -> str:
    return "" if value is None else f" IC={deck.number(value)}"
