"""Softmax over the last axis, causal or over all entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from analogep.cells.cell import Cell, lane_nodes, ports
from analogep.netlist._types import Array

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


def causal_mask(tokens: int) -> np.ndarray:
    """Lower-triangular [queries, keys] mask: a token attends to itself and to earlier ones."""
    return np.tril(np.ones((tokens, tokens), bool))


@dataclass(frozen=True, eq=False)
class Softmax(Cell):
    """p = exp(s) / sum exp(s) along the last axis, the gradient of log-sum-exp.

    `causal` (input [..., queries, keys]) leaves out the later keys: those scores do not exist and p is 0 there.
    """

    causal: bool = False

    @property
    def mixes(self) -> int:
        return 1

    def law(self, s: Array) -> Array:
        if not self.causal:
            return jax.nn.softmax(s, axis=-1)
        mask = causal_mask(s.shape[-1])
        # jax.nn.softmax's `where` still differentiates masked entries; a finite floor keeps every derivative finite
        return jnp.where(mask, jax.nn.softmax(jnp.where(mask, s, -1e30), axis=-1), 0.0)

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        numbers = range(1, size + 1)
        body = [
            f".subckt softmax_{size} {' '.join(ports('a', size) + ports('y', size))} gm=1 u=1",
            *(f"Be{k} e{k} 0 V=exp(v(a{k})/{{u}})" for k in numbers),
            *(f"Gs{k} 0 sum e{k} 0 1" for k in numbers),
            "Rs sum 0 1",
            *(f"By{k} 0 y{k} I={{gm}}*{{u}}*v(e{k})/v(sum)" for k in numbers),
            ".ends",
        ]
        return f"softmax_{size}", body

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        *lanes, size = deck.shape(self.output)
        for lane in np.ndindex(*lanes):
            count = lane[-1] + 1 if self.causal else size
            yield lane, count, lane_nodes(deck, (*self.inputs, self.output), lane, np.arange(count))
