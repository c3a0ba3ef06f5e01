"""Four-quadrant multipliers that sum products into their output node: attention scores and weighted values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from analogep.cells.cell import Cell
from analogep.netlist._types import Array, Voltages
from analogep.netlist.couplings import Couplings

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class Multiplier(Cell):
    """Sums of products over two buses, written as an einsum.

    Buses of shape [tokens, channels] appear as [t, h, c]: `heads` splits the channels wherever an operand of the
    einsum has the head's letter `h` and its bus has two axes.

    Parameters
    ----------
    subscripts : einsum of two operands: scores "thc,shc->hts", values "hts,shc->thc", their reverse "hts,thc->shc".
    heads : number of attention heads.
    causal : leave out the products with s > t (the query's letter is t, the key's s).
    """

    subscripts: str = "thc,shc->hts"
    heads: int = 1
    causal: bool = True

    @property
    def letters(self) -> tuple[str, str, str]:
        """Index letters of the two operands and of the output."""
        operands, out = self.subscripts.split("->")
        a, b = operands.split(",")
        return a, b, out

    def _split(self, x: Array) -> Array:
        return x if x.ndim == 3 else jnp.reshape(x, (x.shape[0], self.heads, -1))

    def _contract(self, letters: tuple[str, str, str], a: Array, b: Array) -> Array:
        """einsum of the operands in (tokens, channels) or (heads, queries, keys) form, masked where it is causal."""
        operands = [self._mask(part, self._split(x)) for part, x in zip(letters, (a, b), strict=False)]
        out = self._mask(letters[2], jnp.einsum(f"{letters[0]},{letters[1]}->{letters[2]}", *operands))
        return out if letters[2] == "hts" else out.reshape(out.shape[0], -1)

    def _mask(self, letters: str, x: Array) -> Array:
        return jnp.tril(x) if self.causal and letters == "hts" else x

    def law(self, a: Array, b: Array) -> Array:
        return self._contract(self.letters, jnp.asarray(a), jnp.asarray(b))

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        # a product is linear in each factor: the transpose exchanges that factor and the output
        a, b = (jnp.asarray(x) for x in inputs)
        la, lb, out = self.letters
        return self._contract((out, lb, la), lam, b), self._contract((la, out, lb), a, lam)

    def couplings(self, v: Voltages) -> Iterator[Couplings]:
        """Each product depends on either factor by the other one."""
        buses = (*self.inputs, self.output)
        shapes = [np.shape(v[bus]) for bus in buses]
        shapes = [s if len(s) == 3 else (s[0], self.heads, s[1] // self.heads) for s in shapes]
        ends = list(zip(self.letters, shapes, strict=True))
        sizes = {letter: size for end in ends for letter, size in zip(*end, strict=True)}
        at = dict(zip(sizes, np.indices(tuple(sizes.values())).reshape(len(sizes), -1), strict=True))
        if self.causal:
            earlier = at["s"] <= at["t"]
            at = {letter: index[earlier] for letter, index in at.items()}
        nodes = [np.ravel_multi_index(tuple(at[x] for x in letters), shape) for letters, shape in ends]
        for here, other in ((0, 1), (1, 0)):
            factor = np.ravel(v[buses[other]])[nodes[other]] / self.volts
            yield Couplings(self.output, buses[here], nodes[2], nodes[here], -self.siemens * self.gain * factor)

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        return "multiplier", [".subckt multiplier a1 a2 y gm=1 u=1", "By 0 y I={gm}*v(a1)*v(a2)/{u}", ".ends"]

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        sizes: dict[str, int] = {"h": self.heads}
        names = (*self.inputs, self.output)
        for letters, bus in zip(self.letters, names, strict=True):
            shape = deck.shape(bus)
            split = shape if len(shape) == 3 else (shape[0], self.heads, shape[1] // self.heads)
            sizes.update(dict(zip(letters, split, strict=True)))
        order = "".join(dict.fromkeys("".join(self.letters)))
        for index in np.ndindex(*(sizes[x] for x in order)):
            at = dict(zip(order, index, strict=True))
            if self.causal and at["s"] > at["t"]:
                continue
            ends = zip(self.letters, names, strict=True)
            yield index, 2, [self._node(deck, bus, part, at, sizes) for part, bus in ends]

    def _node(self, deck: Deck, bus: str, letters: str, at: dict[str, int], sizes: dict[str, int]) -> str:
        if letters == "hts":
            return deck.node(bus, tuple(at[x] for x in letters))
        token, head, channel = (at[x] for x in letters)
        return deck.node(bus, (token, head * sizes[letters[2]] + channel))
