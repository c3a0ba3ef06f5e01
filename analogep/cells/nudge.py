"""The output nudge: beta times the difference of target and prediction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from analogep.cells.cell import Cell
from analogep.netlist._types import Array

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


class Nudge(Cell):
    """e = beta w (y - p): minus beta times the gradient of the weighted cross-entropy in the logits.

    Inputs: prediction p [T, V], target y [T, V], weight w [T], beta []; the last three are input rails.
    """

    def law(self, p: Array, y: Array, w: Array, beta: Array) -> Array:
        return beta * w[..., None] * (y - p)

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        p, y, w, beta = inputs
        slope = beta * w[..., None] * lam
        return -slope, slope, (beta * (y - p) * lam).sum(-1), (w[..., None] * (y - p) * lam).sum()

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        law = "By 0 y I={gm}*v(beta)*v(w)*(v(target)-v(p))/({u}*{u})"
        return "nudge", [".subckt nudge p target w beta y gm=1 u=1", law, ".ends"]

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        p, target, weight, beta = self.inputs
        for index in np.ndindex(*deck.shape(self.output)):
            yield (
                index,
                1,
                [
                    deck.node(p, index),
                    deck.node(target, index),
                    deck.node(weight, index[:-1]),
                    deck.node(beta),
                    deck.node(self.output, index),
                ],
            )
