"""Level `device`: weights as pairs of devices on tiles with wires, and cells out of transistors.

The netlist of level `parasitic` is kept, node for node; what stands between the nodes is exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from analogep.cells import (
    Activation,
    Cell,
    GatedPair,
    GilbertMultiplier,
    LayerNorm,
    Multiplier,
    RectifierMirror,
    Softmax,
    SoftmaxTail,
    TanhPair,
    TappedLoad,
    Transistor,
    TransistorCell,
    TranslinearNorm,
)
from analogep.cells.transistor import NOMINAL
from analogep.errors import NetlistError, SpecError
from analogep.netlist._types import Array
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import Element
from analogep.netlist.elements import Resistor
from analogep.netlist.graph import Netlist
from analogep.netlist.spice.write import Deck
from analogep.netlist.wired import WiredCrossbar
from analogep.netlist.wires import Wires
from analogep.technology import Preset, largest_scale, preset, to_pairs

KINDS: dict[str, type[Cell]] = {
    "activation": Activation,
    "softmax": Softmax,
    "multiplier": Multiplier,
    "norm": LayerNorm,
}
"""Cells that have a transistor circuit."""
USUAL = ("activation", "softmax", "multiplier")
"""Those that are built of transistors unless told otherwise: with norms as well, ngspice finds no operating point of a
block whose states feed back through them, though it agrees with ours where it is given the states."""
ACTIVATIONS: dict[str, type[TransistorCell]] = {"tanh": TanhPair, "relu": RectifierMirror, "gelu": GatedPair}
CIRCUITS: dict[type[Cell], type[TransistorCell]] = {
    Softmax: SoftmaxTail,
    Multiplier: GilbertMultiplier,
    LayerNorm: TranslinearNorm,
}

RERAM = preset("reram")
ONE_OHM = Wires()
"""What a circuit is made of that is given nothing else; wires of 1 ohm a pitch."""


@dataclass(frozen=True)
class DeviceOptions:
    """What a circuit at level `device` is made of.

    Parameters
    ----------
    preset : of the memory devices, whose range gmin ... gmax the pairs have.
    wires : of every tile.
    fill : where the scale is left open, the share of the range that the largest weight takes; the rest is room to
        learn.
    transistors : which cells are transistor circuits, of `KINDS`; the others keep their behavioral ones. All but the
        norm by default.
    transistor : of those cells.
    """

    preset: Preset = RERAM
    wires: Wires = ONE_OHM
    fill: float = 0.5
    transistors: tuple[str, ...] = USUAL
    transistor: Transistor = NOMINAL

    def __post_init__(self) -> None:
        if not 0 < self.fill <= 1:
            raise SpecError(f"device fill {self.fill:g}; the largest weight takes a share in (0, 1] of the range")
        for kind in self.transistors:
            if kind not in KINDS:
                raise SpecError(f"no transistor circuit for {kind!r}; there are {', '.join(KINDS)}")

    def siemens(self, weights: Mapping[str, Array]) -> float:
        """Conductance of one unit with which the largest of these weights takes its share of the range.

        One unit serves all arrays: their currents meet at common nodes.
        """
        largest = largest_scale(weights, self.preset)
        if not math.isfinite(largest):
            raise SpecError(f"{self.preset.name!r} devices without an end, or weights that are all zero: give a scale")
        return self.fill * largest


def realize(netlist: Netlist, options: DeviceOptions) -> Netlist:
    """The same nodes with devices between them.

    Buffered crossbars become pairs of tiles with wires, cells their transistor circuits, and loads that transistor
    cells read get taps.

    Raises
    ------
    SpecError
        For a weight outside the range of a pair, naming array and index.
    NetlistError
        For resistive arrays.
    """
    to_pairs(netlist.arrays, options.preset)  # raises for a weight that no pair can hold
    elements = [_realized(element, options) for element in netlist]
    taps: dict[str, tuple[float, str]] = {}
    for cell in elements:
        if isinstance(cell, TransistorCell):
            cell.check(netlist.buses, netlist.arrays)
            for bus in cell.inputs:
                ratio, first = taps.setdefault(bus, (cell.ratio, cell.name))
                if ratio != cell.ratio:
                    raise NetlistError(f"cells {first!r} and {cell.name!r} need different taps of the node {bus!r}")
    return netlist.replace_elements(*(_tapped(element, taps) for element in elements))


def _realized(element: Element, options: DeviceOptions) -> Element:
    if isinstance(element, Crossbar):
        if element.coupling == "resistive":
            raise NetlistError(f"Crossbar {element.name!r} is resistive; level 'device' builds buffered arrays only")
        bar = element
        return WiredCrossbar(
            bar.name, bar.rows, bar.columns, bar.weights, options.wires, options.preset.gmin, bar.transpose
        )
    chosen = tuple(KINDS[kind] for kind in options.transistors)
    if not isinstance(element, chosen):
        return element
    given = {**vars(element), "transistor": options.transistor}
    if isinstance(element, Activation):
        return ACTIVATIONS[given.pop("kind")](**given)
    return next(circuit for kind, circuit in CIRCUITS.items() if isinstance(element, kind))(**given)


def _tapped(element: Element, taps: Mapping[str, tuple[float, str]]) -> Element:
    bus = element.shunts
    if not isinstance(element, Resistor) or bus not in taps:
        return element
    return TappedLoad(**{**vars(element), "ratio": taps[str(bus)][0]})


class Silicon(NamedTuple):
    """What the transistor cells of a circuit take.

    Attributes
    ----------
    transistors : references and tails included, a pair of them in every cell.
    gate_square_meters : sum of their widths times lengths.
    supply_amperes : tails and references; times the span of the supplies it is the static power.
    """

    transistors: int
    gate_square_meters: float
    supply_amperes: float


def silicon(netlist: Netlist) -> Silicon:
    """Count the transistor cells of a netlist at level `device`."""
    deck, total, area, amperes = Deck(netlist.buses, netlist.arrays), 0, 0.0, 0.0
    for cell in netlist:
        if isinstance(cell, TransistorCell):
            sizes = [size for _, size, _ in cell.instances(deck)]
            widths = {size: cell.widths(size) for size in set(sizes)}
            total += sum(len(widths[size]) for size in sizes)
            area += sum(sum(widths[size]) for size in sizes) * cell.transistor.length
            amperes += sum(cell.supply(size) for size in sizes)
    return Silicon(total, area, amperes)
