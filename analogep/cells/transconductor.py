"""A pair with a resistor between its sources: nearly linear in its input, and what its currents can then be made into.

Its two transistors have a tail each; what flows through the resistor goes from the one side to the other:

    drain currents I (1 + s), I (1 - s),   v / (n U_T) = s I R / U_T + 2 atanh(s)   in weak inversion

Reference: Gray, Hurst, Lewis and Meyer (2009), sec. 3.5 (pairs with emitter degeneration), here in weak inversion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogep.cells.pairs import TransistorCell
from analogep.cells.transistor import VDD, VSS, Transistor, source_voltages, stacked
from analogep.netlist._types import Array


class PairCurrents(NamedTuple):
    """Currents through a degenerated pair (amperes), each shaped like the gates.

    Attributes
    ----------
    plus, minus : drains. sunk_plus, sunk_minus : tails. lost : from the plus side's source through the resistor.
    """

    plus: Array
    minus: Array
    sunk_plus: Array
    sunk_minus: Array
    lost: Array

    def gaps(self) -> tuple[Array, Array]:
        """Logarithms of what enters each source over what leaves it; each side has positive currents only."""
        ahead, back = jnp.maximum(self.lost, 0.0), jnp.maximum(-self.lost, 0.0)
        return (
            jnp.log(self.plus + back) - jnp.log(self.sunk_plus + ahead),
            jnp.log(self.minus + ahead) - jnp.log(self.sunk_minus + back),
        )


@dataclass(frozen=True)
class Degenerated:
    """A degenerated pair.

    Parameters
    ----------
    transistor : of which it and its tails are made, sized for the tail current.
    tail : current of each of the two tails (amperes).
    ohms : between the sources.
    """

    transistor: Transistor
    tail: float
    ohms: float

    def currents(
        self, sources: tuple[Array, Array], gates: tuple[Array, Array], drains: Any = (VDD, VDD)
    ) -> PairCurrents:
        """What flows at these source voltages, whether or not it adds up."""
        (one, other), t = sources, self.transistor
        each = t.current(
            self.tail,
            stacked(*drains, one, other),
            stacked(*gates, t.bias(), t.bias()),
            stacked(one, other, VSS, VSS),
        )
        return PairCurrents(each[0], each[1], each[2], each[3], (one - other) / self.ohms)

    def start(self, gates: tuple[Array, Array]) -> tuple[Array, Array]:
        """Weak-inversion estimate of the two source voltages."""
        t = self.transistor
        plus, minus = (gate / (t.n * t.ut) for gate in gates)
        a = self.tail * self.ohms / t.ut
        v = plus - minus
        inner = jnp.abs(v) < a + 2
        q = jnp.where(inner, v / (a + 2), (v - jnp.sign(v) * a) / 2)  # a tanh q + 2 q = v, with s = tanh q
        for _ in range(3):
            tangent = jnp.tanh(q)
            q = q - (a * tangent + 2 * q - v) / (a * (1 - tangent**2) + 2)
        shares = (2 * jax.nn.sigmoid(2 * q), 2 * jax.nn.sigmoid(-2 * q))
        return t.above(plus, self.tail, shares[0]), t.above(minus, self.tail, shares[1])

    def solve(self, plus: Array, minus: Array) -> tuple[Array, Array]:
        """Drain currents at these gate voltages, the drains at the supply."""

        def gaps(at: Array, gates: tuple[Array, Array]) -> Array:
            return jnp.stack(self.currents((at[0], at[1]), gates).gaps())

        gates = (plus, jnp.broadcast_to(minus, plus.shape))
        at = source_voltages(gaps, jnp.stack(self.start(gates)), gates)
        found = self.currents((at[0], at[1]), gates)
        return found.plus, found.minus

    def lines(self, plus: str, minus: str, gates: tuple[str, str] = ("a1", "0"), number: str = "") -> list[str]:
        """Its lines in a subcircuit with the parameters `w` and `re`, between drains and sources `e1`, `e2`."""
        one, other = f"e1{number}", f"e2{number}"
        return [
            self.transistor.line(f"p{number}", plus, gates[0], one),
            self.transistor.line(f"n{number}", minus, gates[1], other),
            f"Re{number} {one} {other} {{re}}",
        ]


@dataclass(frozen=True, eq=False)
class LinearInput(TransistorCell):
    """Base of the cells whose input is a degenerated pair; the difference of its currents is `unit` for one unit.

    Parameters
    ----------
    reach : units at which the pair would give all its current to one side.
    """

    reach: float = 6.0

    @property
    def units(self) -> float:
        return 2.0

    @property
    def unit(self) -> float:
        """Difference of the pair's currents at one unit (amperes)."""
        return self.siemens * self.volts * self.gain

    @property
    def tail(self) -> float:
        """Current of each tail of the pair (amperes)."""
        return self.unit * self.reach / 2

    @property
    def pair(self) -> Degenerated:
        """The pair at the input."""
        t = self.transistor
        ohms = t.ut / self.unit * (2 * self.units - 4 / self.reach)
        return Degenerated(t, self.tail, ohms)

    def supply(self, size: int) -> float:
        """Two tails and their reference."""
        return 3 * self.tail

    def check(self, buses: Any, arrays: Any) -> None:
        if not self.reach * self.units > 2:
            least = 2 / self.units
            raise self._wrong(
                f"a reach of {self.reach:g} units leaves no room for a resistor; give more than {least:g}"
            )
        super().check(buses, arrays)

    def parameters(self) -> dict[str, float]:
        return {**super().parameters(), "re": self.pair.ohms}
