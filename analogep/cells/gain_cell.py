"""Gain cells: capacitors that hold keys and values of earlier tokens, read without being emptied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax.numpy as jnp

from analogep.cells.cell import Cell
from analogep.netlist._types import Array

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class GainCells(Cell):
    """A store of one row for each token: y_s = held_s + select_s (own - held_s).

    Inputs are the held rows [tokens, channels], the row of the token that settles [1, channels], and the switch
    `select` [tokens] that connects one row of the store to it, 1 or 0.

    Reference: Leroux et al. (2025), gain cells for attention.
    """

    def law(self, held: Array, own: Array, select: Array) -> Array:
        return held + jnp.asarray(select)[:, None] * (own - held)

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        held, own, select = (jnp.asarray(x) for x in inputs)
        through = select[:, None] * lam
        return lam - through, through.sum(0, keepdims=True), (lam * (own - held)).sum(1)

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        body = [
            ".subckt gain_cell a1 a2 a3 y gm=1 u=1",
            "By 0 y I={gm}*(v(a1)+v(a3)/{u}*(v(a2)-v(a1)))",
            ".ends",
        ]
        return "gain_cell", body

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        held, own, select = self.inputs
        for (row, channel), (there, out) in deck.nodes(held, self.output):
            nodes = [there, deck.node(own, (0, channel)), deck.node(select, (row,)), out]
            yield (row, channel), 3, nodes
