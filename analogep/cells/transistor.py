"""The transistor of the transistor cells, its bias, and the node of a shared tail: what their laws are made of.

The law of a cell in `cells/pairs.py` is the DC law of its subcircuit: EKV transistors (`circuits/ekv.lib`, moderate
inversion and channel-length modulation included) whose sources meet at a tail. The tail's voltage is the root of a
scalar equation, found by Newton's method in the logarithm of the currents, where it is almost a straight line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from analogep.errors import NetlistError
from analogep.netlist._types import Array

VDD, VSS = 2.5, -2.5
"""Supplies of every transistor cell (volts); its bulk is at VSS."""

NEAR, STRIDE, MOST = 1e-9, 0.1, 60
"""Newton's method ends with a step below NEAR (volts): the error is then its square over U_T, which is rounding. A step
is cut at STRIDE (volts), and there are at most MOST; three or four do from the estimate of weak inversion."""

EKV_N = [
    ".subckt ekv_n d g s b w=10u l=1u kp=200u vto=0.5 n=1.3 lambda=0 ut=25.865m cg=1f",
    "Bf f 0 V=((v(g,b)-{vto})/{n}-v(s,b))/({2*ut})",
    "Br r 0 V=((v(g,b)-{vto})/{n}-v(d,b))/({2*ut})",
    "Bd d s I={2*n*kp*w/l*ut*ut}*(1+{lambda}*abs(v(d,s)))"
    "*(pow(max(v(f),0)+ln(1+exp(-abs(v(f)))),2)-pow(max(v(r),0)+ln(1+exp(-abs(v(r)))),2))",
    "Cgs g s {cg}",
    "Cgd g d {cg}",
    ".ends ekv_n",
]
"""The n-channel transistor of `circuits/ekv.lib`, line by line."""


@dataclass(frozen=True)
class Transistor:
    """An n-channel EKV transistor, and how large a cell makes it.

    Parameters
    ----------
    inversion : tail current of a cell over the specific current of its transistors, which sizes them; below 0.1 they
        are in weak inversion.
    length : channel (m).
    kp : A/V^2. vto : threshold at the bulk (V). low : threshold of a multiplier's quad (V), which has to stand above
        its lower pair. n : slope factor. modulation : of the channel's length (1/V). ut : thermal voltage (V).
    farads : capacitance of the gate to source and to drain, each. It is in the deck only.

    References
    ----------
    Enz, Krummenacher and Vittoz (1995), eqs. 29 and 34.
    """

    inversion: float = 0.1
    length: float = 1e-6
    kp: float = 2e-4
    vto: float = 0.6
    low: float = 0.2
    n: float = 1.3
    modulation: float = 0.01
    ut: float = 25.865e-3
    farads: float = 1e-15

    def __post_init__(self) -> None:
        for name in ("inversion", "length", "kp", "n", "ut"):
            if not getattr(self, name) > 0:
                raise NetlistError(f"Transistor: {name} = {getattr(self, name):g}; it must be positive")
        if self.inversion > 1:
            raise NetlistError(
                f"Transistor: inversion = {self.inversion:g} is strong inversion, whose law is no exponential; give at "
                "most 1 (wider transistors)"
            )

    def specific(self, tail: float) -> float:
        """Specific current 2 n beta U_T^2 of the transistors of a cell with that tail current (amperes)."""
        return tail / self.inversion

    def width(self, tail: float) -> float:
        """Their channel width (m)."""
        return self.specific(tail) / (2 * self.n * self.kp * self.ut**2) * self.length

    def current(self, tail: float, d: Array, g: Array, s: Array, low: Array | bool = False) -> Array:
        """Drain currents (amperes) of some of them, at voltages against ground with the drain above the source.

        `low` marks those of the low threshold.
        """
        pinch = (g - VSS - jnp.where(jnp.asarray(low), self.low, self.vto)) / self.n
        x = (pinch - (jnp.stack([s, d]) - VSS)) / (2 * self.ut)
        forward, reverse = (jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))) ** 2
        return self.specific(tail) * (1 + self.modulation * (d - s)) * (forward - reverse)

    def diode(self, share: float = 1.0, source: float = VSS) -> float:
        """Gate voltage of a diode (its drain at its gate) with that source that carries `share` of the tail current."""
        return _diode(self, float(share), float(source))

    def bias(self) -> float:
        """Gate voltage of the diode that carries the reference current, which is the tail current."""
        return self.diode()

    def above(self, gates: Array, tail: float, share: Array | float = 1.0, low: bool = False) -> Array:
        """Weak-inversion estimate of the source voltage shared by transistors whose exponentials of gate / (n U_T) add
        up to exp(gates), and which carry `share` of the tail current together."""
        threshold = self.low if low else self.vto
        lift = (-VSS - threshold) / self.n
        return VSS + lift + self.ut * (gates - jnp.log(self.inversion * share))

    def line(self, name: str, d: str, g: str, s: str, low: bool = False, *, width: str = "w") -> str:
        """Its line in a subcircuit that has the parameter `width`."""
        values = {
            "l": self.length, "kp": self.kp, "vto": self.low if low else self.vto, "n": self.n,
            "lambda": self.modulation, "ut": self.ut, "cg": self.farads,
        }  # fmt: skip
        return f"X{name} {d} {g} {s} vss ekv_n w={{{width}}} " + " ".join(f"{k}={v:.17g}" for k, v in values.items())

    def biased(self, *tails: str) -> list[str]:
        """Supplies, reference and tails (node `e` unless named) of a subcircuit with the parameters `it` and `w`."""
        supplies = [f"Vdd vdd 0 {VDD:.17g}", f"Vss vss 0 {VSS:.17g}"]
        named = {f"t{k}" if tails else "t": e for k, e in enumerate(tails or ("e",), 1)}
        sunk = [self.line(name, e, "b", "vss") for name, e in named.items()]
        return [*supplies, "Iref vdd b {it}", self.line("r", "b", "b", "vss"), *sunk]


NOMINAL = Transistor()
"""The transistor of cells that are given no other."""


@cache
def _diode(transistor: Transistor, share: float, source: float) -> float:
    low = source - VSS

    def lacking(g: float) -> float:
        pinch = (g - transistor.vto) / transistor.n
        forward, reverse = (np.logaddexp(0.0, (pinch - v) / (2 * transistor.ut)) ** 2 for v in (low, g))
        carried = (1 + transistor.modulation * (g - low)) * (forward - reverse) / transistor.inversion
        return float(np.log(carried / share))

    highest = transistor.n * low + transistor.vto + 1.5
    return VSS + float(brentq(lacking, low + 1e-3, highest, xtol=1e-15, rtol=1e-15))


Gaps = Callable[[Array, Any], Array]


def stacked(*values: Array | float) -> Array:
    """Values of one shape on a new first axis: transistors that are evaluated together."""
    return jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(value) for value in values)))


def source_voltages(gaps: Gaps, start: Array, given: Any) -> Array:
    """Voltages [nodes, ...] of the inner nodes of a cell, elementwise: the root of gaps(voltages, given).

    Parameters
    ----------
    gaps : [nodes, ...], logarithm of the current drawn from each node less that of the current sunk there. Few nodes:
        they are eliminated by hand, in their order and without pivoting.
    start : estimates.
    given : whatever else the equations depend on; derivatives by it are those of the implicit function.
    """
    return root(gaps, partial(_direction, gaps), start, given)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def root(gaps: Callable[[Any, Any], Any], direction: Callable[[Any, Any, Any], Any], start: Any, given: Any) -> Any:
    """Root of gaps(at, given) by Newton's method from `start`; voltages and gaps may be trees of arrays.

    `direction(at, given, rhs)` solves (derivative of the gaps by `at`) x = rhs. Forward mode differentiates the
    implicit function, not the iteration.
    """

    def unfinished(carry: tuple) -> Array:
        _, moved, count = carry
        return (moved > NEAR) & (count < MOST)

    def step(carry: tuple) -> tuple:
        at, _, count = carry
        along = jax.tree.map(lambda x: jnp.clip(x, -STRIDE, STRIDE), direction(at, given, gaps(at, given)))
        moved = jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(along)]))
        return jax.tree.map(jnp.subtract, at, along), moved, count + 1

    return jax.lax.while_loop(unfinished, step, (start, jnp.asarray(jnp.inf), 0))[0]


@root.defjvp
def _root_jvp(gaps: Callable, direction: Callable, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    start, given = primals
    at = root(gaps, direction, start, given)
    _, moved = jax.jvp(lambda g: gaps(at, g), (given,), (tangents[1],))
    return at, jax.tree.map(jnp.negative, direction(at, given, moved))


def _direction(gaps: Gaps, at: Array, given: Any, rhs: Array) -> Array:
    """Solution of (derivative of the gaps by the voltages) x = rhs: Gaussian elimination, node by node."""
    nodes = range(len(at))
    unit = jnp.eye(len(at)).reshape(len(at), len(at), *(1,) * (at.ndim - 1))
    by = jax.vmap(lambda along: jax.jvp(lambda e: gaps(e, given), (at,), (jnp.broadcast_to(along, at.shape),))[1])(unit)
    rows = [[by[k, row] for k in nodes] + [rhs[row]] for row in nodes]
    for k in nodes:
        for row in nodes[k + 1 :]:
            ratio = rows[row][k] / rows[k][k]
            rows[row] = [a - ratio * b for a, b in zip(rows[row], rows[k], strict=True)]
    x: list[Array] = []
    for row in reversed(nodes):
        known = sum((rows[row][k] * value for k, value in zip(reversed(nodes), x, strict=False)), jnp.zeros(()))
        x.append((rows[row][-1] - known) / rows[row][row])
    return jnp.stack(x[::-1])
