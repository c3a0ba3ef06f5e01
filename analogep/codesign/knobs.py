"""What a designer may turn in a compiled block: positive numbers in SI units, as one vector of logarithms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from analogep.cells import Cell
from analogep.compile import Compiled, compile_transformer
from analogep.compile.stages import to_weights
from analogep.compile.transformer import STATE
from analogep.errors import SpecError
from analogep.netlist._types import Array, Parameters
from analogep.netlist.element import Element
from analogep.netlist.elements import Capacitor, VSource
from analogep.technology import Preset, largest_scale
from analogep.units import Scale

FACTORS = {
    "damping": (0.25, 4.0), "state_farads": (0.1, 10.0), "cell_farads": (0.5, 10.0), "siemens": (0.25, 4.0),
    "cell_siemens": (0.25, 4.0),
}  # fmt: skip
"""Bounds relative to the block as it is: our choice. Cells have capacitors anyway, so theirs go down by half only."""


class Knob(NamedTuple):
    """One number: its unit, its value in the block as it is, and the range in which it may be turned."""

    name: str
    unit: str
    value: float
    low: float
    high: float


class Knobs:
    """Damping, capacitors, conductance scale and bias of a block at level `parasitic`.

    - `damping` (1): c, of the leak (1 + c) g0 of every state.
    - `state_farads`, `cell_farads` (F): damping capacitors; capacitors of all other nodes.
    - `siemens` (S): g0 of all arrays, of the stages behind them, and of the leak.
    - `cell_siemens` (S): transconductance and load of the stages of cells; their class-A bias is proportional to it.

    Voltages at rest do not depend on capacitors, g0 and the cells' transconductance.

    Parameters
    ----------
    compiled : the block as it is.
    device : of the arrays, whose range bounds `siemens`.
    bounds : knob -> lowest and highest value (SI units); the others have `FACTORS`. Equal ones hold a knob still.

    Raises
    ------
    SpecError
        For another level, a damping for each channel, an unknown knob, or bounds that are none, that leave the block
        as it is outside, or that devices cannot hold.
    """

    def __init__(
        self, compiled: Compiled, device: Preset, *, bounds: Mapping[str, tuple[float, float]] | None = None
    ) -> None:  # fmt: skip
        if compiled.level != "parasitic":
            raise SpecError(f"knobs: compile.level = {compiled.level!r}; use 'parasitic', whose nodes have capacitors")
        damping = compiled.model.damping
        if isinstance(damping, tuple):
            raise SpecError(f"knobs: model.damping lists {len(damping)} values; give one, which is turned for all")
        self.compiled, scale = compiled, compiled.scale
        self.of_cells = _of_cells(compiled)
        values = {
            "damping": damping, "state_farads": scale.farads, "cell_farads": compiled.stages.epsilon * scale.farads,
            "siemens": scale.siemens, "cell_siemens": scale.siemens,
        }  # fmt: skip
        units = {"damping": "1", "state_farads": "F", "cell_farads": "F", "siemens": "S", "cell_siemens": "S"}
        given = dict(bounds or {})
        if unknown := sorted(set(given) - set(values)):
            raise SpecError(f"knobs: there is no {unknown[0]!r}; choose of {', '.join(values)}")
        most = scale.siemens * largest_scale(compiled.netlist.arrays, device)
        self.knobs = []
        for name, value in values.items():
            low, high = given.get(name, tuple(value * factor for factor in FACTORS[name]))
            if name == "siemens" and name not in given:
                high = min(high, most)
            self._check(name, value, (low, high), units[name])
            self.knobs.append(Knob(name, units[name], value, low, high))
        if self["siemens"].high > most * (1 + 1e-9):
            raise SpecError(
                f"knobs: siemens up to {self['siemens'].high:g} S; {device.name!r} devices hold the largest weight up "
                f"to {most:.4g} S"
            )

    @staticmethod
    def _check(name: str, value: float, bounds: tuple[float, float], unit: str) -> None:
        low, high = bounds
        if not (0 < low <= high < np.inf):
            raise SpecError(f"knobs: {name} from {low:g} to {high:g} {unit} is no range; give 0 < low <= high")
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            raise SpecError(
                f"knobs: {name} = {value:g} {unit} of the block as it is lies outside {low:g} ... {high:g} {unit}"
            )

    def __getitem__(self, name: str) -> Knob:
        return next(knob for knob in self.knobs if knob.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of vectors."""
        return tuple(knob.name for knob in self.knobs)

    @property
    def start(self) -> np.ndarray:
        """The block as it is: logarithms of the values [knobs]."""
        return np.log([knob.value for knob in self.knobs])

    @property
    def box(self) -> np.ndarray:
        """Logarithms of the bounds [knobs, 2]."""
        return np.log([[knob.low, knob.high] for knob in self.knobs])

    def values(self, logs: Array) -> dict[str, Array]:
        """Knob -> value, of logarithms [..., knobs]."""
        return {name: jnp.exp(logs[..., k]) for k, name in enumerate(self.names)}

    def theta(self, values: Parameters) -> dict[str, Array]:
        """Conductances and numbers of elements at these values, for a circuit's theta; they may be traced."""
        out = {name: values["siemens"] * w for name, w in self._weights.items()}
        for element in self.compiled.netlist:
            if (name := self._conductance_of(element)) is not None:
                leak = 1.0 + values["damping"] if element.shunts == STATE else 1.0
                out[f"{element.name}.siemens"] = leak * values[name]
        return out

    def farads(self, values: Parameters) -> dict[str, Array]:
        """Capacitor of the nodes of every state bus."""
        stored = [e.a for e in self.compiled.netlist if isinstance(e, Capacitor)]
        return {bus: values["state_farads" if bus == STATE else "cell_farads"] for bus in stored}

    def built(self, values: Mapping[str, float]) -> Compiled:
        """The block compiled anew with these values in its elements, as a netlist of its own."""
        given = {name: float(value) for name, value in values.items()}
        scale = Scale(self.compiled.scale.volts, given["siemens"], given["state_farads"])
        epsilon = given["cell_farads"] / given["state_farads"]
        model = replace(self.compiled.model, damping=given["damping"])
        made = compile_transformer(model, self._weights, level="parasitic", scale=scale, epsilon=epsilon)
        biased = [
            replace(element, siemens=given["cell_siemens"])  # type: ignore[call-arg]
            for element in made.netlist
            if self._conductance_of(element) == "cell_siemens"
        ]
        return replace(made, netlist=made.netlist.replace_elements(*biased))

    @property
    def _weights(self) -> dict[str, np.ndarray]:
        return to_weights(self.compiled.netlist.arrays, self.compiled.scale)

    def _conductance_of(self, element: Element) -> str | None:
        """The knob that an element's `siemens` follows, if it has any."""
        bus = element.output if isinstance(element, Cell) else element.shunts
        if bus is None or isinstance(element, VSource):
            return None
        return "cell_siemens" if bus in self.of_cells else "siemens"


def _of_cells(compiled: Compiled) -> set[str]:
    """Buses that only cells push current into: their stages have the cells' bias, those behind arrays the arrays'."""
    drivers: dict[str, list[Element]] = {}
    for element in compiled.netlist:
        if element.shunts is None and not isinstance(element, Capacitor | VSource):
            for bus in element.drives:
                drivers.setdefault(bus, []).append(element)
    return {bus for bus, pushing in drivers.items() if all(isinstance(e, Cell) for e in pushing)}
