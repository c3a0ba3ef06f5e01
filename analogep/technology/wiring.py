"""The wires of a tile as an effect on its devices: exact, by elimination."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from analogep.netlist._types import Array
from analogep.netlist.elimination import effective_matrix
from analogep.netlist.wires import Wires

WIRES = Wires(word_ohms=1.0, bit_ohms=1.0, word_farads=0.05e-15, bit_farads=0.05e-15)
"""Wires of one cell of pitch unless told otherwise: 1 ohm and 0.05 fF (our choice, near the 0.35 ohm that aihwkit
counts with)."""


@dataclass(frozen=True)
class WireResistance:
    """Effect: what a tile with wires conducts from driver to amplifier, instead of its devices [..., columns, rows].

    Plus and minus devices are two tiles. Works under jit and in reverse mode (not forward mode); vmap is slower than
    leading axes, which are taken one after another. Capacitance matters to transients only: those take the tile as a
    netlist (`analogep.netlist.wires.tile`).

    Parameters
    ----------
    wires : resistances and ends of word and bit lines.
    """

    wires: Wires = WIRES

    def __call__(self, devices: Array, key: Array) -> jax.Array:
        return effective_matrix(devices, self.wires)
