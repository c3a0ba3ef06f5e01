"""Layer normalization as a translinear circuit: linear pairs against a common gate, squares, a root and a divider.

All channels of a token share one instance. With X_k = I_k - J_k the difference of the currents of channel k's pair and
Q = I_k + J_k their sum:

    common gate       its current is the sum of the J_k, fed by a mirror with the sum of the I_k:  sum X_k = 0
    quad of channel   tails I_k, J_k, gates of log diodes that carry I_k, J_k:                     X_k^2 / Q
    root              W = sqrt(Q S),   S = sum_k X_k^2 / Q + I_e
    divider           P = I_u W / S
    pair of channel   tail P, gates of the log diodes:                                             P X_k / Q

so that the output is I_u X_k / sqrt(sum X^2 + Q I_e). Every loop goes through gates only (source against source, gate
against gate), which leaves the slope factor out of it. Nothing is fed back from the output: one equilibrium exists.

References: Gilbert (1975), Seevinck (1988): translinear loops; Andreou and Boahen (1996): in weak inversion; common
gate: the diode-connected side of a differential pair with a mirror as its load (Gray et al. 2009, sec. 4.3.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from analogep.cells.cell import ports
from analogep.cells.layer_norm import LayerNorm
from analogep.cells.pairs import conveyor, tapped
from analogep.cells.transconductor import Degenerated, LinearInput
from analogep.cells.transistor import VDD, VSS, Transistor, root, source_voltages, stacked
from analogep.netlist._types import Array

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck

LIFT = 0.2
"""Sources of the log diodes above the lower supply (volts): room for the followers below them."""
WIDE = 3.0
"""Width of the transistors of the core over that of the input's: the deeper in weak inversion, the nearer to a root."""
RATIO = 4.0
"""Of the mirrors at the output: the output pairs then carry less than the log diodes, and their law is the same."""


GUARD = 1e-3
"""Over a tail current: what is added to every copy of a pair's currents, so that nothing runs dry where the pair is
overdriven. It cancels in the squares."""


class _Common(NamedTuple):
    """Voltages of the common gate [...] and of the two sources of every pair [..., channels]."""

    gate: Array
    one: Array
    other: Array


def common_gate(pair: Degenerated, gates: Array) -> tuple[Array, Array]:
    """Currents I, J [..., channels] of degenerated pairs whose minus sides share a diode-connected gate.

    A mirror feeds that gate with the sum of the I, so that the J add up to the same.
    """

    def flows(at: _Common, gates: Array) -> tuple[Array, ...]:
        common = jnp.broadcast_to(at.gate[..., None], gates.shape)
        found = pair.currents((at.one, at.other), (gates, common), (VDD, common))
        return *found.gaps(), found.plus, found.minus

    def gaps(at: _Common, gates: Array) -> _Common:
        one, other, plus, minus = flows(at, gates)
        return _Common(jnp.log(minus.sum(-1)) - jnp.log(plus.sum(-1)), one, other)

    def direction(at: _Common, gates: Array, rhs: _Common) -> _Common:
        """A pair acts on the common gate and on itself only: eliminated pair by pair."""
        zero = jax.tree.map(jnp.zeros_like, at)
        along = [zero._replace(**{name: jnp.ones_like(value)}) for name, value in at._asdict().items()]
        by_gate, by_one, by_other = (jax.jvp(lambda a: flows(a, gates), (at,), (v,))[1] for v in along)
        _, _, plus, minus = flows(at, gates)
        weigh = [
            d[3] / minus.sum(-1, keepdims=True) - d[2] / plus.sum(-1, keepdims=True)
            for d in (by_gate, by_one, by_other)
        ]
        found = by_one[0] * by_other[1] - by_other[0] * by_one[1]

        def inner(first: Array, second: Array) -> tuple[Array, Array]:
            return (
                (by_other[1] * first - by_other[0] * second) / found,
                (by_one[0] * second - by_one[1] * first) / found,
            )

        own, moved = inner(rhs.one, rhs.other), inner(by_gate[0], by_gate[1])
        left = rhs.gate - (weigh[1] * own[0] + weigh[2] * own[1]).sum(-1)
        gate = left / (weigh[0] - weigh[1] * moved[0] - weigh[2] * moved[1]).sum(-1)
        return _Common(gate, own[0] - moved[0] * gate[..., None], own[1] - moved[1] * gate[..., None])

    mean = gates.mean(-1)
    start = _Common(mean, *pair.start((gates, jnp.broadcast_to(mean[..., None], gates.shape))))
    at = root(gaps, direction, start, gates)
    return flows(at, gates)[2:]


@dataclass(frozen=True)
class Translinear:
    """Transistors of one size, at the bulk of all: log diodes above `VSS + LIFT`, and what their gates steer.

    Parameters
    ----------
    transistor : sized for the tail current. tail : (amperes).
    """

    transistor: Transistor
    tail: float

    def log(self, currents: Array) -> Array:
        """Gate voltages of diodes that carry these currents (amperes)."""
        t, source = self.transistor, VSS + LIFT

        def gaps(at: Array, carried: Array) -> Array:
            return jnp.log(t.current(self.tail, at, at, jnp.full_like(at, source))) - jnp.log(carried)

        share = currents / self.tail
        start = t.diode(1.0, source) + t.n * t.ut * jnp.log(share)
        return source_voltages(gaps, start[None], currents)[0]

    def split(self, plus: Array, minus: Array, tails: Array) -> tuple[Array, Array]:
        """Drain currents of pairs with those gates and tail currents."""
        t = self.transistor

        def each(source: Array, given: tuple[Array, ...]) -> Array:
            gates = stacked(given[0], given[1])
            return t.current(self.tail, jnp.full_like(gates, VDD), gates, jnp.broadcast_to(source, gates.shape))

        def gaps(at: Array, given: tuple[Array, ...]) -> Array:
            return (jnp.log(each(at[0], given).sum(0)) - jnp.log(given[2]))[None]

        given = jnp.broadcast_arrays(plus, minus, tails)
        unit = t.n * t.ut
        start = t.above(jnp.logaddexp(given[0] / unit, given[1] / unit), self.tail, given[2] / self.tail)
        one, other = each(source_voltages(gaps, start[None], tuple(given))[0], tuple(given))
        return one, other

    def root(self, total: Array, square: float) -> tuple[Array, Array]:
        """Gate voltages of the diodes of Q (`square`, amperes) and of W = sqrt(Q S), S being `total`.

        Two transistors share a source: the one with the gate of W carries S, the one with that of Q then carries W,
        which goes into the diode of W. A follower holds the source.
        """
        t, lifted = self.transistor, VSS + LIFT
        top = jnp.full_like(total, t.diode(square / self.tail, lifted))

        def flows(at: Array, top: Array) -> Array:
            """Currents of the diode, of the transistors with gates W and Q, and of the follower."""
            source, gate, held = at
            return t.current(
                self.tail,
                stacked(gate, held, VDD, source),
                stacked(gate, gate, top, held),
                stacked(lifted, source, source, VSS),
            )

        def gaps(at: Array, given: tuple[Array, Array]) -> Array:
            total, top = given
            diode, forced, free, follower = jnp.log(flows(at, top))
            return jnp.stack([forced - jnp.log(total), diode - free, follower - jnp.logaddexp(jnp.log(total), free)])

        start = self._start(top, jnp.sqrt(total / square), jnp.sqrt(total * square), total)
        _, gate, _ = source_voltages(gaps, start, (total, top))
        return top, gate

    def divide(self, top: Array, gate: Array, forced: float) -> Array:
        """Current P = I_u W / S of the transistor with the gate of Q, beside one with that of W that carries I_u."""
        t = self.transistor

        def flows(at: Array, given: tuple[Array, Array]) -> Array:
            """Currents of the transistors with gates W and Q, and of the follower."""
            source, held = at
            return t.current(
                self.tail, stacked(held, VDD, source), stacked(given[1], given[0], held), stacked(source, source, VSS)
            )

        def gaps(at: Array, given: tuple[Array, Array]) -> Array:
            one, free, follower = jnp.log(flows(at, given))
            return jnp.stack([one - jnp.log(forced), follower - jnp.logaddexp(jnp.log(forced), free)])

        ratio = jnp.exp((top - gate) / (t.n * t.ut))
        source = t.above(gate / (t.n * t.ut), self.tail, forced / self.tail)
        held = t.diode() + t.n * t.ut * jnp.log(forced * (1 + ratio) / self.tail)
        at = source_voltages(gaps, stacked(source, held), (top, gate))
        return flows(at, (top, gate))[1]

    def _start(self, top: Array, ratio: Array, root_: Array, total: Array) -> Array:
        """Weak-inversion estimates of source, gate of W, and gate of the follower."""
        t = self.transistor
        gate = top + t.n * t.ut * jnp.log(ratio)
        source = t.above(gate / (t.n * t.ut), self.tail, total / self.tail)
        held = t.diode() + t.n * t.ut * jnp.log((total + root_) / self.tail)
        return stacked(source, gate, held)


@dataclass(frozen=True, eq=False)
class TranslinearNorm(LinearInput, LayerNorm):
    """Layer norm out of transistors, one instance for each token: nearly (z - mean z) / sqrt(var z + epsilon)."""

    @property
    def unit(self) -> float:
        return self.siemens * self.volts

    def check(self, buses: Any, arrays: Any) -> None:
        if not self.gain > 0:
            raise self._wrong(f"gain {self.gain:g}; a current unit must be positive")
        super().check(buses, arrays)

    def supply(self, size: int) -> float:
        """At unit variance, with all copies."""
        square = 2 * self.tail
        total = size * self.unit**2 * (1 + self.epsilon) / square
        rooted = (square * total) ** 0.5
        forced = self.parameters()["iu"] * size**0.5
        divided = forced * rooted / total
        common = self.tail + square + 2 * total + 2 * rooted + forced + divided
        return common + size * (3 * square + (1 + RATIO) * divided)

    def law(self, z: Array) -> Array:
        z = jnp.asarray(z)
        size, given = z.shape[-1], self.parameters()
        core, square = Translinear(self.transistor, self.tail * WIDE), 2 * self.tail
        currents = jnp.stack(common_gate(self.pair, self.gates(z))) + GUARD * self.tail
        plus, minus = core.log(currents)
        (pp, mp), (pm, mm) = core.split(plus, minus, currents)
        total = (pp - pm - mp + mm).sum(-1) + given["ie"] * size
        top, gate = core.root(total, square)
        divided = core.divide(top, gate, given["iu"] * size**0.5)
        up, down = core.split(plus, minus, divided[..., None])
        return RATIO * (up - down) / (self.unit * self.gain)

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        (z,) = (jnp.asarray(x) for x in inputs)
        lanes = (x.reshape(-1, z.shape[-1]) for x in (z, jnp.asarray(lam)))
        part = jax.vmap(lambda z, y: y @ jax.jacfwd(self.law)(z))(*lanes)
        return (part.reshape(z.shape),)

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        return tapped(super().instances(deck))

    def parameters(self) -> dict[str, float]:
        """With the regularizer `ie` and the divider's current `iu`, both for one channel, and the core's width `wc`."""
        regularizer = self.epsilon * self.unit**2 / (2 * self.tail)
        wide = WIDE * self.transistor.width(self.tail)
        return {**super().parameters(), "wc": wide, "ie": regularizer, "iu": self.unit * self.gain / RATIO}

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        t, numbers = self.transistor, range(1, size + 1)
        name = f"translinear_norm_{size}"
        pins = " ".join(ports("a", size) + ports("y", size))
        body = [
            f".subckt {name} {pins} gm=1 u=1 it=1u w=10u re=1k wc=10u ie=1n iu=1u",
            *t.biased(*(f"e{side}_{k}" for k in numbers for side in (1, 2))),
            f"Vl lift 0 {VSS + LIFT:.17g}",
            *(line for k in numbers for line in self._channel(f"_{k}", f"a{k}", f"y{k}")),
            "Vsp vdd sp 0", "Vsm vdd sm 0", "Fsp 0 da Vsp 1", "Fsm da 0 Vsm 1", f"Ie vdd da {{ie*{size}}}",
            self._core("a", "da", "gw", "ea"), self._core("b", "db", "gq", "ea"), self._core("f", "ea", "da", "vss"),
            "Vb vdd db 0", "Fw 0 gw Vb 1", self._core("w", "gw", "gw", "lift"),
            "Iq vdd gq {2*it}", self._core("q", "gq", "gq", "lift"),
            f"Iu vdd dc {{iu*{size**0.5:.17g}}}",
            self._core("c", "dc", "gw", "ec"), self._core("d", "dd", "gq", "ec"), self._core("g", "ec", "dc", "vss"),
            "Vd vdd dd 0",
            ".ends",
        ]  # fmt: skip
        return name, body

    def _channel(self, k: str, tap: str, output: str) -> list[str]:
        """Lines of one channel: pair, log diodes, quad, output pair."""
        return [
            *self.pair.lines(f"di{k}", f"dj{k}", (tap, "c"), k),
            f"Vi{k} vdd di{k} 0", f"Vj{k} c dj{k} 0", f"Fc{k} 0 c Vi{k} 1",
            f"Fgp{k} 0 gp{k} Vi{k} 1", f"Igp{k} vdd gp{k} {{{GUARD:.17g}*it}}",
            self._core(f"gp{k}", f"gp{k}", f"gp{k}", "lift"),
            f"Fgm{k} 0 gm{k} Vj{k} 1", f"Igm{k} vdd gm{k} {{{GUARD:.17g}*it}}",
            self._core(f"gm{k}", f"gm{k}", f"gm{k}", "lift"),
            f"Fi{k} i{k} 0 Vi{k} 1", f"Ii{k} i{k} vss {{{GUARD:.17g}*it}}",
            f"Fj{k} j{k} 0 Vj{k} 1", f"Ij{k} j{k} vss {{{GUARD:.17g}*it}}",
            self._core(f"q1{k}", "sp", f"gp{k}", f"i{k}"), self._core(f"q2{k}", "sm", f"gm{k}", f"i{k}"),
            self._core(f"q3{k}", "sm", f"gp{k}", f"j{k}"), self._core(f"q4{k}", "sp", f"gm{k}", f"j{k}"),
            f"Fo{k} o{k} 0 Vd 1", self._core(f"u{k}", f"u{k}", f"gp{k}", f"o{k}"),
            self._core(f"v{k}", f"v{k}", f"gm{k}", f"o{k}"),
            *conveyor(f"u{k}", f"u{k}", f"0 {output}", RATIO), *conveyor(f"v{k}", f"v{k}", f"{output} 0", RATIO),
        ]  # fmt: skip

    def _core(self, name: str, d: str, g: str, s: str) -> str:
        return self.transistor.line(name, d, g, s, width="wc")
