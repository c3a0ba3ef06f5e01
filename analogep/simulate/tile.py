"""Voltages inside a crossbar tile with wires, and a report on its effective matrix: KCL, power, condition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array
from analogep.netlist.elimination import (
    Blocks,
    Layout,
    Lines,
    above_first,
    ascend,
    blocks_of,
    descend,
    effective_matrix,
    factors,
    ladder_inverse,
    oriented,
)
from analogep.netlist.wires import Line, Wires

CHUNK = 32
"""Drives whose voltages at all crossings are held at a time."""


@dataclass(frozen=True)
class TileReport:
    """What a tile with wires does, and how well its equations are solved.

    Attributes
    ----------
    matrix : effective matrix [columns, rows] (siemens).
    kcl : largest sum of the currents at a crossing's two nodes, over every crossing and with 1 V at each driver in
        turn, relative to that driver's current. In double precision it cannot be below about 1e-16 V / (ohms x
        current), the rounding of a wire's voltage difference. An ideal wire (0 ohms) is one node.
    mismatch : largest difference of the currents collected in those solutions from `matrix`, relative to its largest
        entry: the drivers' fields against the amplifiers' fields (reciprocity).
    power : power that the drivers deliver less what devices and wires dissipate, relative, with 1 V at every driver.
    condition : of the nodal conductance matrix, in the 1-norm, exact (an M-matrix: its inverse is positive, so one
        solve with a unit current into every node gives its norm). Infinite with an ideal wire, for a nodal solver;
        the elimination divides by no resistance.
    loss : largest difference of `matrix` from the conductances themselves, relative to the largest of them.
    """

    matrix: np.ndarray
    kcl: float
    mismatch: float
    power: float
    condition: float
    loss: float


@dataclass(frozen=True)
class NodeVoltages:
    """Voltages of all crossings [drives, rows, columns] (volts)."""

    word: np.ndarray
    bit: np.ndarray


def node_voltages(conductances: Array, wires: Wires, drives: Array) -> NodeVoltages:
    """Voltages of all crossings for voltages at the drivers, with the amplifiers at virtual ground.

    Parameters
    ----------
    conductances : [columns, rows], not negative (siemens).
    drives : [..., rows] (volts).
    """
    tile = _Tile.of(conductances, wires)
    drives = jnp.atleast_2d(jnp.asarray(drives, float)).reshape(-1, np.shape(conductances)[1])
    return tile.unoriented(*(np.asarray(x) for x in tile.solve(*tile.terminals(drives))))


def report(conductances: Array, wires: Wires) -> TileReport:
    """Effective matrix of a tile, checked at every node. All factors are held: 8 rows columns^2 bytes.

    Parameters
    ----------
    conductances : [columns, rows], not negative (siemens).
    """
    g = np.asarray(conductances, float)
    tile = _Tile.of(g, wires)
    rows = g.shape[1]
    matrix = np.asarray(effective_matrix(g, wires))
    kcl = mismatch = 0.0
    for begin in range(0, rows, CHUNK):
        drives = jnp.eye(rows)[begin : begin + CHUNK]
        volts = tile.terminals(drives)
        ladders, chains = tile.solve(*volts)
        supplied, collected = tile.at_terminals(ladders, chains)
        worst = tile.violations(ladders, chains, *volts)
        kcl = max(kcl, float(jnp.max(worst / jnp.maximum(jnp.sum(supplied * drives, axis=1), 1e-300))))
        mismatch = max(mismatch, float(np.abs(collected.T - matrix[:, begin : begin + CHUNK]).max()))
    return TileReport(
        matrix=matrix,
        kcl=kcl,
        mismatch=mismatch / max(np.abs(matrix).max(), 1e-300),
        power=tile.power_error(rows),
        condition=tile.condition(),
        loss=float(np.abs(matrix - g).max() / max(g.max(), 1e-300)),
    )


@dataclass(frozen=True)
class _Tile:
    """A tile as it is eliminated: ladders (with the longer side's index first) and chains."""

    ladder: Line
    chain: Line
    flipped: bool
    d: Array
    lines: Lines
    blocks: Blocks
    p: Array

    @classmethod
    def of(cls, conductances: Array, wires: Wires) -> _Tile:
        d, ladder, chain, flipped = oriented(jnp.asarray(conductances, float), wires)
        lines, layout = Lines.of(ladder, chain), Layout(ladder.both, chain.both, len(d))
        return cls(ladder, chain, flipped, d, lines, *_factored(d, lines, layout))

    def terminals(self, drives: Array) -> tuple[Array, Array]:
        """Voltages [k, blocks] of the ladders' and [k, crossings] of the chains' terminals from those of drivers."""
        m, n = self.d.shape
        zero = jnp.zeros((len(drives), m if self.flipped else n))
        return (zero, drives[:, ::-1]) if self.flipped else (drives, zero)

    def unoriented(self, ladders: np.ndarray, chains: np.ndarray) -> NodeVoltages:
        """As the tile was given, [k, rows, columns]."""
        if not self.flipped:
            return NodeVoltages(ladders, chains)
        return NodeVoltages(chains[:, ::-1, ::-1].transpose(0, 2, 1), ladders[:, ::-1, ::-1].transpose(0, 2, 1))

    def solve(self, ladder: Array, chain: Array, amperes: float = 0.0) -> tuple[Array, Array]:
        """Voltages of ladders and chains [k, blocks, crossings]; `amperes` flow into every node as well."""
        return _solve(self.blocks, self.p, self.lines, self.chain.both, ladder, chain, amperes)

    def device_currents(self, ladders: Array, chains: Array) -> Array:
        return self.d * (ladders - chains)

    def at_terminals(self, ladders: Array, chains: Array) -> tuple[Array, Array]:
        """Currents out of the drivers [k, rows], and into the amplifiers [k, columns]."""
        i = self.device_currents(ladders, chains)
        if self.flipped:
            return -i.sum(1)[:, ::-1], -i.sum(2)[:, ::-1]
        return i.sum(2), i.sum(1)

    def violations(self, ladders: Array, chains: Array, ladder: Array, chain: Array) -> Array:
        """Largest sum of currents at a node [k]."""
        i = self.device_currents(ladders, chains)
        one = _line_kcl(self.ladder, False, ladders, i, ladder)
        other = _line_kcl(self.chain, True, chains.swapaxes(1, 2), -i.swapaxes(1, 2), chain)
        return jnp.maximum(jnp.abs(one).max((1, 2)), jnp.abs(other).max((1, 2)))

    def power_error(self, rows: int) -> float:
        """Tellegen's theorem with 1 V at every driver."""
        drives = jnp.ones((1, rows))
        volts = self.terminals(drives)
        ladders, chains = self.solve(*volts)
        delivered = self.at_terminals(ladders, chains)[0].sum()
        burnt = (self.device_currents(ladders, chains) * (ladders - chains)).sum()
        burnt += _line_power(self.ladder, False, ladders, volts[0])
        burnt += _line_power(self.chain, True, chains.swapaxes(1, 2), volts[1])
        return float(abs(delivered - burnt) / jnp.maximum(delivered, 1e-300))

    def condition(self) -> float:
        """1-norm condition number of the nodal matrix of all crossings."""
        if 0.0 in (self.ladder.ohms, self.chain.ohms, self.ladder.lead_ohms, self.chain.lead_ohms):
            return float("inf")
        m, n = self.d.shape
        rise = max(float(x.max()) for x in self.solve(jnp.zeros((1, m)), jnp.zeros((1, n)), 1.0))
        return rise * max(_column_sums(self.ladder, False, self.d), _column_sums(self.chain, True, self.d.T))


@partial(jax.jit, static_argnums=2)
def _factored(d: Array, lines: Lines, layout: Layout) -> tuple[Blocks, Array]:
    blocks = blocks_of(d, lines, layout)
    return blocks, factors(blocks, above_first(d, lines, layout))[1]


@partial(jax.jit, static_argnums=3)
def _solve(
    blocks: Blocks, p: Array, lines: Lines, both: bool, ladder: Array, chain: Array, amperes: Array
) -> tuple[Array, Array]:
    def open_ladder(block: Blocks, volts: Array) -> Array:
        """Ladder voltages with the chains grounded [n, k]."""
        return jnp.outer(block.t, volts) + (ladder_inverse(block).sum(1) * amperes)[:, None]

    def inject(item: tuple[Blocks, Array]) -> Array:
        return item[0].d[:, None] * open_ladder(*item) + amperes

    def read(item: tuple[Blocks, Array], x: Array) -> tuple[Array, Array]:
        block = item[0]
        return open_ladder(*item) + ladder_inverse(block) @ (block.d[:, None] * x), x

    items = (blocks, ladder.T)
    first = chain.T / lines.chain_lead if both else jnp.zeros_like(chain.T)
    _, sources = descend(p, first, inject, items)
    _, (ladders, chains) = ascend(p, sources, blocks.ohms, chain.T, read, items)
    return jnp.moveaxis(ladders, -1, 0), jnp.moveaxis(chains, -1, 0)


def _leads(line: Line, last: bool) -> tuple[int, ...]:
    return (0, -1) if line.both else (-1,) if last else (0,)


def _line_kcl(line: Line, last: bool, x: Array, leaving: Array, terminal: Array) -> Array:
    """Sum of the currents that leave the nodes of lines [k, lines, nodes]; an ideal line is one node."""
    leads = [(k, (x[..., k] - terminal) / line.lead_ohms) for k in _leads(line, last)] if line.lead_ohms else []
    if line.ohms == 0:
        total = leaving.sum(-1) + sum(current for _, current in leads)
        return total[..., None] if leads else jnp.zeros_like(x)
    along = jnp.pad((x[..., :-1] - x[..., 1:]) / line.ohms, ((0, 0), (0, 0), (1, 1)))
    out = leaving + along[..., 1:] - along[..., :-1]
    for k, current in leads:
        out = out.at[..., k].add(current)
    return out


def _line_power(line: Line, last: bool, x: Array, terminal: Array) -> Array:
    along = ((x[..., :-1] - x[..., 1:]) ** 2).sum() / line.ohms if line.ohms else 0.0
    if not line.lead_ohms:
        return along
    return along + sum(((x[..., k] - terminal) ** 2).sum() for k in _leads(line, last)) / line.lead_ohms


def _column_sums(line: Line, last: bool, d: Array) -> float:
    """Largest sum of the magnitudes in a column of the nodal matrix, over the nodes of these lines."""
    wire = np.full(d.shape[1], 2 / line.ohms)
    wire[0] -= 1 / line.ohms
    wire[-1] -= 1 / line.ohms
    lead = np.zeros(d.shape[1])
    for k in _leads(line, last):
        lead[k] += 1 / line.lead_ohms
    return float(np.max(2 * np.asarray(d) + 2 * wire + lead))
