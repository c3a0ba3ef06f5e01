"""Transistor cells of the rectifying activations: ReLU and GELU, each behind a linear pair.

ReLU: the pair's current goes into the input of a current mirror, which takes one direction only; a follower supplies
the other one. Mead (1989), ch. 6 (absolute value), builds the rectifier out of an amplifier and mirrors in the same
way. GELU: x times the logistic function of 1.702 x (Hendrycks and Gimpel 2016, sec. 2), which is one quadrant of the
multiplier of Gilbert (1968): the pair's two currents feed two more pairs, steered by the same input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from analogep.cells.cell import Pointwise
from analogep.cells.pairs import conveyor, log_sum, tapped
from analogep.cells.transconductor import LinearInput
from analogep.cells.transistor import VDD, VSS, source_voltages, stacked
from analogep.netlist._types import Array

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


@dataclass(frozen=True, eq=False)
class RectifierMirror(LinearInput, Pointwise):
    """Linear pair into a current mirror: nearly ReLU.

    Parameters
    ----------
    idle : current of mirror and follower without input, in units: how round the corner is, and the output there.
    """

    idle: float = 0.05

    def supply(self, size: int) -> float:
        """With bias and follower at rest."""
        return super().supply(size) + 2 * self.idle * self.unit

    def law(self, h: Array) -> Array:
        t, it, x = self.transistor, self.tail, self.gates(h)
        plus, minus = self.pair.solve(x, jnp.zeros_like(x))
        bias = self._bias()

        def each(r: Array) -> Array:
            """Currents of the mirror's input, of the follower and of the mirror's output."""
            return t.current(it, stacked(r, VDD, VDD), stacked(r, bias, r), stacked(VSS, r, VSS))

        def gaps(at: Array, pushed: Array) -> Array:
            taken, follower, _ = each(at[0])
            return (jnp.log(taken + jnp.maximum(-pushed, 0.0)) - jnp.log(follower + jnp.maximum(pushed, 0.0)))[None]

        pushed = plus - minus
        r = source_voltages(gaps, self._start(pushed)[None], pushed)[0]
        return each(r)[2] / self.unit

    def _share(self) -> float:
        return self.idle * self.unit / self.tail

    def _bias(self) -> float:
        """Gate of the follower: two diodes in series that carry the idle current."""
        t = self.transistor
        return t.diode(self._share(), t.diode(self._share()))

    def _start(self, pushed: Array) -> Array:
        """Voltage of the mirror's input, as if both exponentials were equally steep."""
        t, quiet = self.transistor, self.idle * self.unit
        taken = jnp.arcsinh(pushed / (2 * quiet))  # logarithm of the mirror's current over the idle one
        return t.diode(self._share()) + t.ut * jnp.where(taken > 0, t.n, 1.0) * taken

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        return tapped(super().instances(deck))

    def parameters(self) -> dict[str, float]:
        return {**super().parameters(), "ib": self.idle * self.unit}

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        t = self.transistor
        body = [
            ".subckt rectifier_mirror a1 y gm=1 u=1 it=1u w=10u re=1k ib=1n",
            *t.biased("e1", "e2"),
            *self.pair.lines("dp", "dn"),
            "Vp vdd dp 0",
            "Vn vdd dn 0",
            "Fp 0 r Vp 1",
            "Fn r 0 Vn 1",
            t.line("d", "r", "r", "vss"),
            t.line("f", "vdd", "bf", "r"),
            t.line("o", "do", "r", "vss"),
            "Ib vdd bf {ib}",
            t.line("b1", "bf", "bf", "bd"),
            t.line("b2", "bd", "bd", "vss"),
            *conveyor("o", "do", "0 y"),
            ".ends",
        ]
        return "rectifier_mirror", body


@dataclass(frozen=True, eq=False)
class GatedPair(LinearInput, Pointwise):
    """Two pairs that share a linear pair's two currents, all on one input: x times a logistic function, nearly GELU.

    Parameters
    ----------
    idle : current that both upper pairs have besides, in units, so that none runs dry; it cancels in their difference.
    """

    idle: float = 0.01

    @property
    def units(self) -> float:
        return 1.702

    def law(self, h: Array) -> Array:
        t, it, pair, x = self.transistor, self.tail, self.pair, self.gates(h)
        low = np.ones((4, *(1,) * x.ndim), bool)

        def above(at: Array, x: Array) -> Array:
            """Currents of the upper pairs."""
            zero = jnp.zeros_like(x)
            sources = stacked(at[2], at[2], at[3], at[3])
            return t.current(it, jnp.full_like(sources, VDD), stacked(x, zero, x, zero), sources, low)

        def gaps(at: Array, x: Array) -> Array:
            below = pair.currents((at[0], at[1]), (x, jnp.zeros_like(x)), (at[2], at[3]))
            p1, n1, p2, n2 = above(at, x)
            idle = self.idle * self.unit
            steered = jnp.log(p1 + n1) - jnp.log(below.plus + idle), jnp.log(p2 + n2) - jnp.log(below.minus + idle)
            return jnp.stack([*below.gaps(), *steered])

        p1, _, p2, _ = above(source_voltages(gaps, self._start(x), x), x)
        return (p1 - p2) / self.unit

    def _start(self, x: Array) -> Array:
        t, zero = self.transistor, jnp.zeros_like(x)
        lower = self.pair.start((x, zero))
        shares = (jnp.exp((gate / t.n - e + self._resting()) / t.ut) for gate, e in zip((x, zero), lower, strict=True))
        return stacked(*lower, *(t.above(log_sum(x, zero, t), self.tail, share, low=True) for share in shares))

    def _resting(self) -> float:
        """Source voltage that `Transistor.above` gives to one transistor with its gate at 0 V and all of the tail."""
        t = self.transistor
        return float(VSS + (-VSS - t.vto) / t.n - t.ut * np.log(t.inversion))

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        return tapped(super().instances(deck))

    def supply(self, size: int) -> float:
        return super().supply(size) + 2 * self.idle * self.unit

    def parameters(self) -> dict[str, float]:
        return {**super().parameters(), "ib": self.idle * self.unit}

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        t = self.transistor
        body = [
            ".subckt gated_pair a1 y gm=1 u=1 it=1u w=10u re=1k ib=1n",
            *t.biased("e1", "e2"),
            *self.pair.lines("f1", "f2"),
            "I1 f1 vss {ib}",
            "I2 f2 vss {ib}",
            t.line("1", "dp", "a1", "f1", low=True),
            t.line("2", "vdd", "0", "f1", low=True),
            t.line("3", "dn", "a1", "f2", low=True),
            t.line("4", "vdd", "0", "f2", low=True),
            *conveyor("p", "dp", "0 y"),
            *conveyor("n", "dn", "y 0"),
            ".ends",
        ]
        return "gated_pair", body
