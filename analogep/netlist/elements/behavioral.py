"""Behavioral sources: any expression of voltages, currents and time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements.summer import Summer
from analogep.netlist.elements.terminals import TwoTerminal, live, pair, volt
from analogep.netlist.expression import Expression
from analogep.netlist.parser import parse
from analogep.netlist.transposed import Transposed

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class BSource(TwoTerminal):
    """Behavioral source on scalar nodes: a current from `a` to `b`, or a voltage of `a` above `b`; letter B.

    Parameters
    ----------
    current, voltage : one of the two, an expression of node voltages, branch currents and time in ngspice's syntax.
    constants : the expression's numbers in order of appearance, where they are not those of its text.
    """

    current: str | None = None
    voltage: str | None = None
    constants: tuple[Array | float, ...] | None = None

    @cached_property
    def expression(self) -> Expression:
        """The parsed expression."""
        texts = [text for text in (self.current, self.voltage) if text is not None]
        if len(texts) != 1:
            raise self._wrong("give one of current= and voltage=")
        return parse(texts[0])

    @property
    def terminals(self) -> Mapping[str, str]:
        reads = {f"v({n})": n for n in self.expression.nodes if not n.startswith("i(")}
        return {"a": self.a, "b": self.b} | reads

    @property
    def unknowns(self) -> Mapping[str, str]:
        reads = {f"read{k}": n for k, n in enumerate(self.expression.nodes)}
        branch = {} if self.branch is None else {"branch": self.branch}
        return {"a": self.a, "b": self.b, **branch, **reads}

    @property
    def branch(self) -> str | None:
        return None if self.voltage is None else f"i({self.name})"

    @property
    def reads(self) -> tuple[str, ...]:
        return live(*self.expression.nodes)

    @property
    def drives(self) -> tuple[str, ...]:
        return live(self.a, self.b) if self.current is not None else ()

    @property
    def forces(self) -> tuple[str, ...]:
        return (self.a,) if self.voltage is not None and self.b == GROUND else ()

    def _value(self, v: Voltages, t: Array | float) -> Array:
        read = {n: volt(v, n) for n in self.expression.nodes}
        return jnp.asarray(self.expression.evaluate(read, t, self.constants))

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        return {} if self.current is None else self._pair(self._value(v, t))

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        return self._value(v, t)

    def stamp(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        if self.branch is None:
            return self.currents(v, theta, t)
        across = volt(v, self.a) - volt(v, self.b) - self._value(v, t)
        return {**pair(self.a, self.b, v[self.branch]), self.branch: across}

    @property
    def numbers(self) -> Mapping[str, float]:
        values = self.constants or self.expression.numbers
        return {f"number{k}": value for k, value in enumerate(values)}

    def with_numbers(self, numbers: Mapping[str, Array]) -> Element:
        return replace(self, constants=tuple({**self.numbers, **numbers}.values()))

    @property
    def kind(self) -> Hashable:
        return (BSource, self.current is None, self.expression.form)

    def prototype(self) -> Element:
        reads = {n: f"i(read{k})" if n.startswith("i(") else f"read{k}" for k, n in enumerate(self.expression.nodes)}
        return self._reading(reads, name="~", a="~a", b="~b")

    def _reading(self, names: Mapping[str, str], **changes: str) -> Element:
        """The source with the unknowns that its expression reads renamed."""
        text = self.expression.renamed(names)
        changed: BSource = replace(self, **changes)  # type: ignore[arg-type]
        return replace(changed, voltage=text) if self.current is None else replace(changed, current=text)

    def renamed(
        self, name: str, buses: Mapping[str, str], arrays: Mapping[str, str], elements: Mapping[str, str]
    ) -> Element:
        branches = {f"i({old})": f"i({new})" for old, new in elements.items()}
        return self._reading({**buses, **branches}, name=name, a=buses[self.a], b=buses[self.b])

    def adjoint(self) -> tuple[Element, ...]:
        slopes = (Transposed(self.name, self),) if self.reads else ()
        return slopes if self.voltage is None else (Summer(f"{self.name}.sum", self.a, 1.0), *slopes)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        for bus in self.terminals.values():
            if bus != GROUND and bus in buses and buses[bus].shape != ():
                raise self._wrong(f"node {bus!r} is a bus of shape {buses[bus].shape}; it needs scalar nodes")

    def spice(self, deck: Deck) -> Iterator[str]:
        kind = "I" if self.current is not None else "V"
        a, b = deck.node(self.a), deck.node(self.b)
        yield f"{deck.instance('B', self.name, ())} {a} {b} {kind}={self.expression.spice()}"
