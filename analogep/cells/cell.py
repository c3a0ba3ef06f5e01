"""What a nonlinear cell is: a one-way circuit that turns input voltages into an output current."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.transposed import Transposed

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class Cell(Element):
    """Base of the cells: pushes the current  siemens * volts * gain * law(v_in / volts)  into its output bus.

    The output bus carries the load (a resistor and its capacitor, or an ideal summing stage), so that with the load
    `siemens` the settled output is volts * gain * law. Inputs are ideal gates: they draw no current.

    Parameters
    ----------
    inputs : bus names, in the order of the law's arguments.
    output : bus name.
    siemens : output transconductance.
    volts : voltage of one dimensionless unit.
    gain : dimensionless factor on the output.
    """

    inputs: tuple[str, ...]
    output: str
    siemens: float = 1.0
    volts: float = 1.0
    gain: float = 1.0

    @property
    def terminals(self) -> Mapping[str, str]:
        return {f"in{k}": bus for k, bus in enumerate(self.inputs)} | {"out": self.output}

    @property
    def reads(self) -> tuple[str, ...]:
        return self.inputs

    @property
    def drives(self) -> tuple[str, ...]:
        return (self.output,)

    def renamed(
        self, name: str, buses: Mapping[str, str], arrays: Mapping[str, str], elements: Mapping[str, str]
    ) -> Element:
        return replace(self, name=name, inputs=tuple(buses[bus] for bus in self.inputs), output=buses[self.output])

    @abstractmethod
    def law(self, *inputs: Any, **_: Any) -> Array:
        """Dimensionless output of all instances; a cell names its inputs, each an array shaped like its bus."""

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        """J^T lam for each input, J the law's Jacobian there.

        The default serves one-input cells whose law is the gradient of a potential (layer norm, softmax, pointwise
        functions): J is symmetric, so the directional derivative along lam is the transpose as well.
        """
        (at,) = inputs
        return (jax.jvp(self.law, (jnp.asarray(at),), (jnp.asarray(lam),))[1],)

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        out = self.law(*(v[bus] / self.volts for bus in self.inputs))
        return {self.output: -(self.siemens * self.volts * self.gain) * out}

    def transposed(self, held: Voltages, lam: Voltages, theta: Parameters) -> Currents:
        """Currents that leave the input buses in the adjoint network, for multipliers `lam` at the output."""
        inputs = tuple(held[bus] / self.volts for bus in self.inputs)
        parts = self.transposed_law(inputs, lam[self.output])
        out: Currents = {}
        for bus, part in zip(self.inputs, parts, strict=True):
            out[bus] = out.get(bus, 0.0) - self.siemens * self.gain * part
        return out

    def adjoint(self) -> tuple[Element, ...]:
        return (Transposed(self.name, self),)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if GROUND in (*self.inputs, self.output):
            raise self._wrong(f"inputs {self.inputs} and output {self.output!r} must be buses, not ground")
        shapes = [jax.ShapeDtypeStruct(buses[bus].shape, jnp.float64) for bus in self.inputs]
        try:
            out = jax.eval_shape(self.law, *shapes).shape
        except (TypeError, ValueError, IndexError) as error:
            raise self._wrong(f"inputs {[(b, buses[b].shape) for b in self.inputs]} do not fit: {error}") from None
        if out != buses[self.output].shape:
            raise self._wrong(f"its output has shape {out} but bus {self.output!r} has {buses[self.output].shape}")

    @abstractmethod
    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        """Name and body of the SPICE subcircuit of one instance with `size` inputs.

        The body is written over the ports that `instances` names, and the parameters `gm` (siemens, gain included),
        `u` (volts per unit) and those of `parameters`. Numbers stand in it as parameters, in linear elements or as
        `literal`: ngspice rounds others in a B source to 11 digits.
        """

    def parameters(self) -> Mapping[str, float]:
        """Further parameters of the subcircuit."""
        return {}

    @abstractmethod
    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        """For each instance: its index, its size, and the nodes at its subcircuit's ports in order."""

    def spice(self, deck: Deck) -> Iterator[str]:
        for index, size, nodes in self.instances(deck):
            name, body = self.subcircuit(size)
            deck.define(name, body)
            values = {"gm": self.siemens * self.gain, "u": self.volts, **self.parameters()}
            settings = " ".join(f"{key}={deck.number(value)}" for key, value in values.items())
            yield f"{deck.instance('X', self.name, index)} {' '.join(nodes)} {name} {settings}"


class Pointwise(Cell):
    """Base of cells that act on every node of equal-shaped input buses by itself."""

    @property
    def mixes(self) -> int:
        return 0

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        for index, nodes in deck.nodes(*self.inputs, self.output):
            yield index, len(self.inputs), nodes


def ports(prefix: str, count: int) -> list[str]:
    """Port names `prefix1 ... prefixN`."""
    return [f"{prefix}{k + 1}" for k in range(count)]


def lane_nodes(deck: Deck, buses: tuple[str, ...], lane: tuple[int, ...], keep: np.ndarray) -> list[str]:
    """Nodes of the kept entries along the last axis of several buses, bus after bus."""
    return [deck.node(bus, (*lane, int(k))) for bus in buses for k in keep]
