"""Transistor cells: hyperbolic tangent, softmax and multiplier out of transistors that share tail currents.

Each one's law is the DC law of the subcircuit that it writes: pairs, quads, tails and references are EKV transistors.
Ideal are the supplies, the reference current, and the conveyors that carry drain currents from the positive supply to
the output (0 V meter and current mirror, like the sense amplifiers of the tiles). Gates read the taps of their buses'
loads (`TappedLoad`), so that one unit of voltage is the wanted part of n U_T.

References: tangent: Mead (1989), ch. 5; softmax: Elfadel and Wyatt (1993); multiplier: Gilbert (1968), in weak
inversion. Their subcircuits are those of `circuits/` (tanh, softmax, gilbert) with conveyors in the place of mirrors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from analogep.cells.cell import Cell, Pointwise, ports
from analogep.cells.multiplier import Multiplier
from analogep.cells.softmax import Softmax, causal_mask
from analogep.cells.tap import tap
from analogep.cells.transistor import EKV_N, NOMINAL, VDD, VSS, Transistor, source_voltages, stacked
from analogep.netlist._types import Array, Voltages
from analogep.netlist.couplings import Couplings

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck

DIVISION = 0.25
"""Argument of a multiplier's tangents at one unit: small for linearity; the tail current is its inverse square."""


_ORDER = "htsc"
"""Axes of all products of a multiplier: head, query, key, channel."""


@dataclass(frozen=True, eq=False)
class TransistorCell(Cell):
    """What they share: a transistor, a tail current, a tap.

    Parameters
    ----------
    transistor : process, and inversion coefficient at which the cell is sized.
    """

    transistor: Transistor = NOMINAL

    @property
    def tail(self) -> float:
        """Tail current (amperes)."""
        return self.siemens * self.volts * self.gain

    def supply(self, size: int) -> float:
        """Current that an instance with `size` inputs takes from the positive supply (amperes): tail and reference."""
        return 2 * self.tail

    def widths(self, size: int) -> list[float]:
        """Channel widths of the transistors of such an instance (m)."""
        named = (re.search(r" ekv_n w={(\w+)}", line) for line in self.subcircuit(size)[1])
        return [self.parameters()[found[1]] for found in named if found]

    @property
    def units(self) -> float:
        """Gate voltage of one unit over n U_T."""
        return 1.0

    @property
    def ratio(self) -> float:
        """Part of the bus's voltage that its gates read."""
        return self.units * self.transistor.n * self.transistor.ut / self.volts

    def gates(self, x: Array) -> Array:
        """Gate voltages of dimensionless inputs."""
        return jnp.asarray(x) * (self.volts * self.ratio)

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:
        if not self.ratio < 1:
            least = self.volts * self.ratio
            raise self._wrong(f"one unit is {self.volts:g} V and its gates need {least:.3g} V; raise technology.volts")
        if not self.tail > 0:
            raise self._wrong(f"tail current {self.tail:g} A; siemens, volts and gain must be positive")
        super().check(buses, arrays)

    def parameters(self) -> Mapping[str, float]:
        return {"it": self.tail, "w": self.transistor.width(self.tail)}

    def spice(self, deck: Deck) -> Iterator[str]:
        deck.define("ekv_n", EKV_N)
        yield from super().spice(deck)


def log_sum(one: Array, other: Array, t: Transistor) -> Array:
    """Logarithm of the sum of the exponentials of two gate voltages over n U_T."""
    return jnp.logaddexp(one / (t.n * t.ut), other / (t.n * t.ut))


def tapped(instances: Iterator[tuple[tuple[int, ...], int, list[str]]]) -> Iterator[tuple]:
    """Instances whose inputs are the taps of their nodes' loads."""
    for index, size, nodes in instances:
        yield index, size, [*map(tap, nodes[:size]), *nodes[size:]]


@dataclass(frozen=True, eq=False)
class TanhPair(TransistorCell, Pointwise):
    """Differential pair: nearly tanh of the input."""

    @property
    def units(self) -> float:
        return 2.0

    def law(self, h: Array) -> Array:
        plus, t, it = self.gates(h), self.transistor, self.tail

        def each(at: Array, plus: Array) -> Array:
            """Currents of the two transistors of the pair, and of the tail."""
            return t.current(
                it,
                stacked(VDD, VDD, at[0]),
                stacked(plus, jnp.zeros_like(plus), t.bias()),
                stacked(at[0], at[0], VSS),
            )

        def gaps(at: Array, plus: Array) -> Array:
            one, other, sunk = each(at, plus)
            return (jnp.log(one + other) - jnp.log(sunk))[None]

        start = t.above(log_sum(plus, jnp.zeros_like(plus), t), it)[None]
        one, other, _ = each(source_voltages(gaps, start, plus), plus)
        return (one - other) / it

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        return tapped(super().instances(deck))

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        t = self.transistor
        body = [
            ".subckt tanh_pair a1 y gm=1 u=1 it=1u w=10u",
            *t.biased(),
            t.line("p", "dp", "a1", "e"),
            t.line("n", "dn", "0", "e"),
            *conveyor("p", "dp", "0 y"),
            *conveyor("n", "dn", "y 0"),
            ".ends",
        ]
        return "tanh_pair", body


@dataclass(frozen=True, eq=False)
class SoftmaxTail(TransistorCell, Softmax):
    """N transistors on one tail: nearly softmax of the inputs."""

    def law(self, s: Array) -> Array:
        s = jnp.asarray(s)
        return self._lanes(s, self._built(s))

    def _built(self, s: Array) -> Array:
        """1 where an input exists, 0 where causality leaves it out."""
        return jnp.broadcast_to(jnp.asarray(causal_mask(s.shape[-1]) if self.causal else 1.0, s.dtype), s.shape)

    def _lanes(self, s: Array, built: Array) -> Array:
        t, it = self.transistor, self.tail
        g = built * self.gates(s)

        def each(e: Array, given: tuple[Array, Array]) -> Array:
            return given[1] * t.current(it, jnp.full_like(given[0], VDD), given[0], e[..., None] + 0 * given[0])

        def gaps(at: Array, given: tuple[Array, Array]) -> Array:
            (e,) = at
            sunk = t.current(it, e, jnp.full_like(e, t.bias()), jnp.full_like(e, VSS))
            return (jnp.log(each(e, given).sum(-1)) - jnp.log(sunk))[None]

        total = jax.nn.logsumexp(g / (t.n * t.ut), axis=-1, b=built)
        (e,) = source_voltages(gaps, t.above(total, it)[None], (g, built))
        return each(e, (g, built)) / it

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        # channel-length modulation makes the Jacobian a little unsymmetric: transpose it, lane by lane
        (s,) = (jnp.asarray(x) for x in inputs)
        lanes = (x.reshape(-1, s.shape[-1]) for x in (s, self._built(s), jnp.asarray(lam)))
        part = jax.vmap(lambda s, m, y: y @ jax.jacfwd(lambda s: self._lanes(s, m))(s))(*lanes)
        return (part.reshape(s.shape),)

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        return tapped(super().instances(deck))

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        t, numbers = self.transistor, range(1, size + 1)
        body = [
            f".subckt softmax_tail_{size} {' '.join(ports('a', size) + ports('y', size))} gm=1 u=1 it=1u w=10u",
            *t.biased(),
            *(t.line(f"{k}", f"d{k}", f"a{k}", "e") for k in numbers),
            *(line for k in numbers for line in conveyor(f"{k}", f"d{k}", f"0 y{k}")),
            ".ends",
        ]
        return f"softmax_tail_{size}", body


@dataclass(frozen=True, eq=False)
class GilbertMultiplier(TransistorCell, Multiplier):
    """A pair steers the tail into a cross-coupled quad: nearly tanh x tanh, a product for small inputs."""

    @property
    def units(self) -> float:
        return 2 * DIVISION

    @property
    def tail(self) -> float:
        return super().tail / DIVISION**2

    def product(self, x: Array, y: Array) -> Array:
        """Dimensionless output of one cell for dimensionless inputs, elementwise."""
        t, it = self.transistor, self.tail
        gx, gy = jnp.broadcast_arrays(self.gates(x), self.gates(y))
        given = (gx, gy)
        low = np.array([0, 0, 1, 1, 1, 1, 0], bool).reshape(7, *(1,) * given[0].ndim)

        def each(at: Array, given: tuple[Array, Array]) -> Array:
            """Currents of the lower pair, of the quad's two pairs, and of the tail."""
            (e, e1, e2), (x, y) = at, given
            zero = jnp.zeros_like(e)
            drains = stacked(e1, e2, VDD, VDD, VDD, VDD, e)
            gates = stacked(y, zero, x, zero, x, zero, t.bias())
            return t.current(it, drains, gates, stacked(e, e, e1, e1, e2, e2, VSS), low)

        def gaps(at: Array, given: tuple[Array, Array]) -> Array:
            below1, below2, p1, n1, p2, n2, sunk = each(at, given)
            drawn, carried = stacked(below1 + below2, p1 + n1, p2 + n2), stacked(sunk, below1, below2)
            return jnp.log(drawn) - jnp.log(carried)

        _, _, p1, n1, p2, n2, _ = each(source_voltages(gaps, self._start(*given), given), given)
        return ((p1 - n1) - (p2 - n2)) / (self.siemens * self.volts * self.gain)

    def _slopes(self, x: Array, y: Array) -> list[Array]:
        """Derivatives of the product by its two factors."""
        one, none = jnp.ones_like(x), jnp.zeros_like(x)
        return [jax.jvp(self.product, (x, y), along)[1] for along in ((one, none), (none, one))]

    def couplings(self, v: Voltages) -> Iterator[Couplings]:
        """Each product's slopes by its two factors, at their voltages."""
        ends = list(super().couplings(v))
        x, y = (np.ravel(v[end.source])[end.columns] / self.volts for end in ends)
        for end, slope in zip(ends, jax.jit(self._slopes)(x, y), strict=True):
            yield end._replace(siemens=-self.siemens * self.gain * np.asarray(slope))

    def _start(self, x: Array, y: Array) -> Array:
        """Weak-inversion estimates of the three source voltages."""
        t, it, zero = self.transistor, self.tail, jnp.zeros_like(x)
        upper, below = log_sum(x, zero, t), log_sum(y, zero, t)
        shares = (jnp.exp(y / (t.n * t.ut) - below), jnp.exp(-below))
        return stacked(t.above(below, it), *(t.above(upper, it, share, low=True) for share in shares))

    def _expanded(self, letters: str, x: Array) -> Array:
        """An operand (tokens, heads, channels) or (heads, queries, keys) with its axes in the place of its letters."""
        x = self._split(jnp.asarray(x))
        kept = [letter for letter in _ORDER if letter in letters]
        x = jnp.transpose(x, [letters.index(letter) for letter in kept])
        return jnp.expand_dims(x, [k for k, letter in enumerate(_ORDER) if letter not in letters])

    def _collected(self, letters: str, full: Array) -> Array:
        """Sum over all letters but these, in their order, with heads and channels joined."""
        if self.causal:
            t, s = _ORDER.index("t"), _ORDER.index("s")
            keep = causal_mask(full.shape[t])  # [t, s], t before s in every order
            full = full * jnp.expand_dims(keep, [k for k in range(full.ndim) if k not in (t, s)])
        out = full.sum([k for k, letter in enumerate(_ORDER) if letter not in letters])
        kept = [letter for letter in _ORDER if letter in letters]
        out = jnp.transpose(out, [kept.index(letter) for letter in letters])
        return out if letters == "hts" else out.reshape(out.shape[0], -1)

    def law(self, a: Array, b: Array) -> Array:
        la, lb, out = self.letters
        x, y = self._expanded(la, a), self._expanded(lb, b)
        return self._collected(out, self.product(x, y))

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        la, lb, out = self.letters
        x, y = (self._expanded(part, v) for part, v in zip((la, lb), inputs, strict=True))
        x, y = jnp.broadcast_arrays(x, y)
        weight = self._expanded(out, lam)
        return tuple(
            self._collected(part, weight * slope).reshape(jnp.shape(v))
            for part, slope, v in zip((la, lb), self._slopes(x, y), inputs, strict=True)
        )

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        return tapped(super().instances(deck))

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        t = self.transistor
        body = [
            ".subckt gilbert_weak a1 a2 y gm=1 u=1 it=1u w=10u",
            *t.biased(),
            t.line("5", "e1", "a2", "e"),
            t.line("6", "e2", "0", "e"),
            t.line("1", "dp", "a1", "e1", low=True),
            t.line("2", "dn", "0", "e1", low=True),
            t.line("3", "dn", "a1", "e2", low=True),
            t.line("4", "dp", "0", "e2", low=True),
            *conveyor("p", "dp", "0 y"),
            *conveyor("n", "dn", "y 0"),
            ".ends",
        ]
        return "gilbert_weak", body


def conveyor(name: str, drain: str, ends: str, ratio: float = 1.0) -> list[str]:
    """Lines that hold a drain at the supply and push `ratio` times its current between `ends`."""
    return [f"V{name} vdd {drain} 0", f"F{name} {ends} V{name} {ratio:.17g}"]
