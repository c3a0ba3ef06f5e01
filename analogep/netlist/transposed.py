"""The adjoint of a nonlinear element: its small-signal conductances, transposed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import HELD, Element

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class Transposed(Element):
    """The adjoint of a one-way nonlinear element: its small-signal conductances with their ports exchanged."""

    of: Element
    ignored: tuple[str, ...] = ()
    """Buses into which `of` pushes current to no effect, because an ideal source drives them."""

    @property
    def _outputs(self) -> tuple[str, ...]:
        return tuple(bus for bus in (*self.of.drives, *self.of.forces) if bus not in self.ignored)

    @property
    def terminals(self) -> Mapping[str, str]:
        outputs = {f"lambda{k}": bus for k, bus in enumerate(self._outputs)}
        return outputs | {f"at{k}": bus for k, bus in enumerate(self.drives)}

    @property
    def held(self) -> tuple[str, ...]:
        """Buses of the circuit whose operating-point voltages set the conductances."""
        return tuple(dict.fromkeys(self.of.reads))

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self._outputs, *(HELD + bus for bus in self.held))

    @property
    def drives(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.of.reads))

    @property
    def numbers(self) -> Mapping[str, Any]:
        return self.of.numbers

    def with_numbers(self, numbers: Mapping[str, Array]) -> Element:
        return replace(self, of=self.of.with_numbers(numbers))

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        held = {bus: v[HELD + bus] for bus in self.held}
        own = getattr(self.of, "transposed", None)
        if own is not None:
            return own(held, v, theta)
        slopes = small_signal(self.of, held, theta)
        out: Currents = {}
        for (target, source), slope in slopes.items():
            if target in self.ignored:
                continue
            part = jnp.tensordot(v[target], slope, axes=jnp.ndim(v[target]))
            out[source] = out.get(source, 0.0) + part
        return out

    def spice(self, deck: Deck) -> Iterator[str]:
        missing = [bus for bus in self.held if bus not in deck.held]
        if missing:
            raise self._wrong(f"the adjoint deck needs the operating point of bus {missing[0]!r}: pass held=")
        slopes = small_signal(self.of, deck.held, deck.arrays)
        for pair, ((target, source), slope) in enumerate(slopes.items()):
            if source not in deck.buses or target not in deck.buses or target in self.ignored:
                continue
            slope = np.asarray(slope)
            rank = len(deck.shape(target))
            for flat in map(tuple, np.argwhere(slope)):
                at, to = flat[:rank], flat[rank:]
                if not (deck.exists(target, at) and deck.exists(source, to)):
                    continue
                # current slope * lambda leaves the input's node
                name = deck.instance("G", f"{self.name}.{pair}", (*at, *to))
                yield (f"{name} {deck.node(source, to)} 0 {deck.node(target, at)} 0 {deck.number(slope[flat])}")


def small_signal(element: Element, v: Voltages, theta: Parameters) -> dict[tuple[str, str], Array]:
    """Conductances d i_target / d v_source of one element, by forward mode.

    Returns
    -------
    (target bus, source bus) -> array [*target shape, *source shape] in siemens; a forced voltage counts with the
    reference conductance 1 S, as the residual v_target - f(v).
    """
    sources = tuple(dict.fromkeys(element.reads))

    def leaving(*at: Array) -> Currents:
        local = dict(zip(sources, at, strict=True))
        if element.forces:
            return {bus: -element.forced(local, theta, 0.0) for bus in element.forces}
        return element.currents(local, theta, 0.0)

    at = [jnp.asarray(v[bus], float) for bus in sources]
    rows = jax.jacfwd(leaving, argnums=tuple(range(len(sources))))(*at)
    return {(target, source): slope for target, row in rows.items() for source, slope in zip(sources, row, strict=True)}
