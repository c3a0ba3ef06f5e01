"""The textbook elements: R, C, independent and controlled sources, behavioral sources, the ideal summing stage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.expression import Expression, parse
from analogep.netlist.transposed import Transposed
from analogep.netlist.waveforms import DC, PWL, Pulse

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck

Waveform = DC | Pulse | PWL


def _volt(v: Voltages, bus: str) -> Array:
    return np.zeros(()) if bus == GROUND else v[bus]


def _live(*buses: str) -> tuple[str, ...]:
    """The buses that are not ground, each once."""
    return tuple(dict.fromkeys(b for b in buses if b != GROUND))


@dataclass(frozen=True, eq=False)
class TwoTerminal(Element):
    """Base of elements between buses `a` and `b` (ground: `0`), one instance per node of the bus."""

    a: str
    b: str

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b}

    def _pair(self, current: Array) -> Currents:
        """The current leaves `a` and enters `b`."""
        out: Currents = {}
        if self.a != GROUND:
            out[self.a] = current
        if self.b != GROUND:
            out[self.b] = -current + out.get(self.b, 0.0)
        return out

    def _lines(self, deck: Deck, letter: str, values: Array | float) -> Iterator[str]:
        for index, nodes in deck.nodes(self.a, self.b):
            value = deck.at(values, index, deck.shape(self.a, self.b))
            yield f"{letter}{deck.instance(self.name, index)} {nodes[0]} {nodes[1]} {deck.number(value)}"


@dataclass(frozen=True, eq=False)
class Resistor(TwoTerminal):
    """Linear conductance between two buses: i = g (v_a - v_b).

    Parameters
    ----------
    siemens : conductance, one for all instances or one each, or the name of a programmable array.
    """

    siemens: float | Array | str

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
    def reads(self) -> tuple[str, ...]:
        return _live(self.a, self.b)

    @property
    def drives(self) -> tuple[str, ...]:
        return _live(self.a, self.b)

    def conductance(self, theta: Parameters) -> Array | float:
        """Conductance in siemens."""
        return theta[self.siemens] if isinstance(self.siemens, str) else self.siemens

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return self._pair(self.conductance(theta) * (_volt(v, self.a) - _volt(v, self.b)))

    def adjoint(self) -> tuple[Element, ...]:
        return (self,)

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        return (_volt(pre, self.a) - _volt(pre, self.b)) * (_volt(post, self.a) - _volt(post, self.b))

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        siemens = _programmed(self, self.siemens, buses, arrays)
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
    """Linear capacitor, `farads` for all instances or one each."""

    farads: float | Array

    def adjoint(self) -> tuple[Element, ...]:
        return (self,)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_values("capacitance", self.farads, buses)
        if np.any(np.asarray(self.farads) <= 0):
            raise self._wrong(
                f"capacitance {np.min(self.farads):g} F between {self.a!r} and {self.b!r}; it must be positive"
            )

    def spice(self, deck: Deck) -> Iterator[str]:
        yield from self._lines(deck, "C", self.farads)


@dataclass(frozen=True, eq=False)
class ISource(TwoTerminal):
    """Independent current source: `value` (amperes, an array or a waveform) flows from `a` through it to `b`."""

    value: float | Array | Waveform

    @property
    def drives(self) -> tuple[str, ...]:
        return _live(self.a, self.b)

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return self._pair(jnp.asarray(self.value.at(t) if isinstance(self.value, Waveform) else self.value))

    def adjoint(self) -> tuple[Element, ...]:
        return ()

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if not isinstance(self.value, Waveform):
            self._check_values("current", self.value, buses)

    def spice(self, deck: Deck) -> Iterator[str]:
        yield from _source_lines(self, deck, "I", self.a, self.b)


@dataclass(frozen=True, eq=False)
class VSource(Element):
    """Independent voltage source from bus `a` to ground: `value` in volts (array or waveform).

    The bus is an input: a run may give it other voltages than `value`.
    """

    a: str
    value: float | Array | Waveform

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a}

    @property
    def forces(self) -> tuple[str, ...]:
        return (self.a,)

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        return jnp.asarray(self.value.at(t) if isinstance(self.value, Waveform) else self.value)

    def adjoint(self) -> tuple[Element, ...]:
        return ()  # a source at rest is a short: the adjoint bus is ground

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if not isinstance(self.value, Waveform):
            self._check_values("voltage", self.value, buses)

    def spice(self, deck: Deck) -> Iterator[str]:
        yield from _source_lines(self, deck, "V", self.a, GROUND)


def _programmed(
    element: Element, siemens: float | Array | str, buses: Mapping[str, Bus], arrays: Mapping[str, Array]
) -> Array | float:
    """Conductances of an element, those of its programmable array if it names one, checked."""
    values = arrays[siemens] if isinstance(siemens, str) else siemens
    shape = max((buses[bus].shape for bus in element.terminals.values() if bus != GROUND), key=len, default=())
    if isinstance(siemens, str) and np.shape(values) != shape:
        raise element._wrong(f"array {siemens!r} of shape {np.shape(values)} between buses of shape {shape}")
    element._check_values("conductance", values, buses)
    return values


def _source_lines(source: ISource | VSource, deck: Deck, letter: str, a: str, b: str) -> Iterator[str]:
    for index, nodes in deck.nodes(a, b):
        if isinstance(source.value, Waveform):
            value = source.value.spice()
        else:
            value = f"DC {deck.number(deck.at(source.value, index, deck.shape(a, b)))}"
        yield f"{letter}{deck.instance(source.name, index)} {nodes[0]} {nodes[1]} {value}"


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
        return _live(self.c, self.d)

    @property
    def drives(self) -> tuple[str, ...]:
        return _live(self.a, self.b)

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        g = theta[self.siemens] if isinstance(self.siemens, str) else self.siemens
        return self._pair(g * (_volt(v, self.c) - _volt(v, self.d)))

    def adjoint(self) -> tuple[Element, ...]:
        return (VCCS(self.name, self.c, self.d, self.a, self.b, self.siemens),)  # ports exchanged

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        return (_volt(pre, self.c) - _volt(pre, self.d)) * (_volt(post, self.a) - _volt(post, self.b))

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        _programmed(self, self.siemens, buses, arrays)

    def spice(self, deck: Deck) -> Iterator[str]:
        g = deck.arrays[self.siemens] if isinstance(self.siemens, str) else self.siemens
        for index, nodes in deck.nodes(self.a, self.b, self.c, self.d):
            value = deck.at(g, index, deck.shape(self.a, self.b, self.c, self.d))
            yield f"G{deck.instance(self.name, index)} {' '.join(nodes)} {deck.number(value)}"


@dataclass(frozen=True, eq=False)
class VCVS(Element):
    """Ideal voltage amplifier: forces bus `a` to gain (v_c - v_d) above ground; SPICE letter E.

    `reference` (siemens) only sets the unit of the multiplier at the driven bus.
    """

    a: str
    c: str
    d: str
    gain: float | Array
    reference: float = 1.0

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a, "c": self.c, "d": self.d}

    @property
    def reads(self) -> tuple[str, ...]:
        return _live(self.c, self.d)

    @property
    def forces(self) -> tuple[str, ...]:
        return (self.a,)

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        return self.gain * (_volt(v, self.c) - _volt(v, self.d))

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
        for index, nodes in deck.nodes(self.a, GROUND, self.c, self.d):
            value = deck.at(self.gain, index, deck.shape(self.a, self.c, self.d))
            yield f"E{deck.instance(self.name, index)} {' '.join(nodes)} {deck.number(value)}"


@dataclass(frozen=True, eq=False)
class Summer(Element):
    """Ideal summing stage (transimpedance 1/siemens): the bus stands at the current pushed into it over `siemens`.

    Only one-way elements may push into it, so it is evaluated in topological order and is not a state. In a deck it
    is the resistor that the memoryless node then amounts to.
    """

    a: str
    siemens: float | Array

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a}

    @property
    def shunts(self) -> str:
        """The bus that the stage loads with its reference conductance."""
        return self.a

    def conductance(self, theta: Parameters) -> Array | float:
        """Reference conductance in siemens."""
        return self.siemens

    def adjoint(self) -> tuple[Element, ...]:
        return (self,)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        self._check_values("reference conductance", self.siemens, buses)
        if np.any(np.asarray(self.siemens) <= 0):
            raise self._wrong(f"reference conductance {np.min(self.siemens):g} S at {self.a!r}; it must be positive")

    def spice(self, deck: Deck) -> Iterator[str]:
        ohms = 1.0 / np.asarray(self.siemens, float)
        for index, nodes in deck.nodes(self.a):
            value = deck.at(ohms, index, deck.shape(self.a))
            yield f"R{deck.instance(self.name, index)} {nodes[0]} 0 {deck.number(value)}"


@dataclass(frozen=True, eq=False)
class BSource(TwoTerminal):
    """Behavioral source on scalar nodes: a current from `a` to `b`, or a voltage of `a` above ground.

    Parameters
    ----------
    current, voltage : one of the two, an expression of node voltages and time in ngspice's syntax.
    """

    current: str | None = None
    voltage: str | None = None

    @cached_property
    def expression(self) -> Expression:
        """The parsed expression."""
        texts = [text for text in (self.current, self.voltage) if text is not None]
        if len(texts) != 1:
            raise self._wrong("give one of current= and voltage=")
        return parse(texts[0])

    @property
    def terminals(self) -> Mapping[str, str]:
        return {"a": self.a, "b": self.b} | {f"v({n})": n for n in self.expression.nodes}

    @property
    def reads(self) -> tuple[str, ...]:
        return _live(*self.expression.nodes)

    @property
    def drives(self) -> tuple[str, ...]:
        return _live(self.a, self.b) if self.current is not None else ()

    @property
    def forces(self) -> tuple[str, ...]:
        return (self.a,) if self.voltage is not None else ()

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        if self.current is None:
            return {}
        return self._pair(jnp.asarray(self.expression.evaluate({n: _volt(v, n) for n in self.expression.nodes}, t)))

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        return jnp.asarray(self.expression.evaluate({n: _volt(v, n) for n in self.expression.nodes}, t))

    def adjoint(self) -> tuple[Element, ...]:
        slopes = (Transposed(self.name, self),) if self.reads else ()
        return slopes if self.voltage is None else (Summer(f"{self.name}.sum", self.a, 1.0), *slopes)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if self.voltage is not None and self.b != GROUND:
            raise self._wrong(f"a voltage between {self.a!r} and {self.b!r}; the second node must be ground")
        for bus in self.terminals.values():
            if bus != GROUND and bus in buses and buses[bus].shape != ():
                raise self._wrong(f"node {bus!r} is a bus of shape {buses[bus].shape}; it needs scalar nodes")

    def spice(self, deck: Deck) -> Iterator[str]:
        kind = "I" if self.current is not None else "V"
        a, b = deck.node(self.a), deck.node(self.b)
        yield f"B{deck.instance(self.name, ())} {a} {b} {kind}={self.expression.spice()}"
