"""Block elimination of a crossbar's wires: the exact effective matrix of a tile, and its gradient.

A tile of m blocks (say, rows) of n crossings: in block r a *ladder* (the word line) feeds the n crossings, and n
*chains* (the bit lines) join the blocks. Everything is kept in a form in which no resistance is divided by, so ideal
wires, ideal drivers and absent devices are exact cases and not limits:

- the ladder seen from the chains is an n-port of admittance S_r = D - D H D, where D holds the conductances d and H is
  the inverse of the ladder's own (tridiagonal) nodal matrix, known in closed form from the ladder's looking-in
  impedances: H_ij = h_min exp(-|c_i - c_j|) with the logarithm c of the voltage transfer along the line;
- block Thomas over the chains, as a chain of Norton equivalents: with R the series resistance after block r,

      X_r = S_r + Q_(r-1),    P_r = (1 + R X_r)^-1,    Q_r = P_r X_r,      x_r = P_r (x_(r+1) + R y_r),

  in which X is the admittance of all that is above, y_r the current sources above, and x_r the chains' voltages. The
  matrix 1 + R X is symmetric positive definite and near the identity for good wires: one Cholesky factor a block.

The chains' voltages x_r with 1 V at the sense amplifiers and the drivers grounded give, by reciprocity, the current
collected per volt at driver r: M[:, r] = x_r^T q_r, with q_r the ladder's short-circuit currents per volt. The
gradient for a conductance is minus the product of the device's voltage in this field and in the field that the
cotangent drives (Director and Rohrer 1969), both from the same factors.

Count, for n <= m: m n^3 (1/3 + 2) flops for the factors and 2 m n^3 for the field, 1.2 Gflop at 128 x 128: 20 ms at
60 Gflop/s, 44 ms measured on two cores; the gradient 8 m n^3 more (91 ms with the matrix). Memory: the factors P_r are
kept, 8 m n^2 bytes (17 MB at 128 x 128), and the sources of the gradient as much again; above `STACK_BYTES` only every
k-th block is kept, k near sqrt(m), and the factors between are computed again, twice the work for the memory of
2 sqrt(m) blocks. Blocks of the shorter side: 64 x 256 takes 16 ms, and over 100 with the longer one. Cholesky was the
fastest of the ways tried (LU, an explicit inverse, admittances made ahead, an unrolled scan), with one BLAS thread;
OpenBLAS with two threads takes twice to three times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogep.netlist._types import Array
from analogep.netlist.wires import Line, Wires

STACK_BYTES = 1 << 28
"""Factors of a tile are all kept up to this size, and partly computed again above it."""


class Blocks(NamedTuple):
    """What each block contributes, [blocks, crossings] unless said otherwise.

    d : conductances. h, c : diagonal of H and logarithm of the voltage transfer from the ladder's first node.
    t : ladder voltages per volt at its driver with the chains grounded. ohms : [blocks], resistance after each block.
    """

    d: Array
    h: Array
    c: Array
    t: Array
    ohms: Array


class Lines(NamedTuple):
    """Numbers of a ladder and its chains that may change without a new compilation."""

    ladder_ohms: Array
    ladder_lead: Array
    chain_ohms: Array
    chain_lead: Array

    @classmethod
    def of(cls, ladder: Line, chain: Line) -> Lines:
        return cls(*map(float, (ladder.ohms, ladder.lead_ohms, chain.ohms, chain.lead_ohms)))


class Layout(NamedTuple):
    """What is fixed when a tile's elimination is compiled."""

    ladder_both: bool
    chain_both: bool
    segment: int
    """Blocks whose factors are held at a time."""


def effective_matrix(conductances: Array, wires: Wires) -> jax.Array:
    """Currents collected at the bit lines' ends per volt at the word lines' drivers.

    Differentiable in the conductances (reverse mode, not in the wires), and works under jit and vmap, in float64.

    Parameters
    ----------
    conductances : [..., columns, rows], not negative (siemens); 0 is an absent device. Leading axes are tiles, taken
        one after another: on two cores 2.5 times as fast as vmap, whose batched products XLA does slowly.
    wires : of every tile.

    Returns
    -------
    Matrices [..., columns, rows] in siemens. Driving the columns at their amplifiers' terminals and collecting at the
    drivers' reads the exact transpose, because the network is reciprocal.
    """
    g = jnp.asarray(conductances, float)
    if g.size == 0:
        return g
    d, ladder, chain, flipped = oriented(g, wires)
    lines, layout = Lines.of(ladder, chain), layout_of(d.shape[-2:], ladder, chain)
    if g.ndim == 2:
        matrix = _compiled(d, lines, layout)
    else:
        matrix = _one_by_one(d.reshape(-1, *d.shape[-2:]), lines, layout).reshape(*g.shape[:-2], *d.shape[:-3:-1])
    return matrix[..., ::-1, ::-1].mT if flipped else matrix


def oriented(g: Array, wires: Wires) -> tuple[Array, Line, Line, bool]:
    """Conductances [blocks, crossings] with the shorter side inside the blocks, ladder, chains, and whether they are
    the bit and the word lines, seen from the far corner, rather than the word and the bit lines."""
    word, bit = wires.word.lumped, wires.bit.lumped
    return (g.mT, word, bit, False) if g.shape[-2] <= g.shape[-1] else (g[..., ::-1, ::-1], bit, word, True)


def layout_of(shape: tuple[int, ...], ladder: Line, chain: Line) -> Layout:
    """How a tile of that many blocks and crossings is eliminated."""
    m, n = shape
    segment = m if 8 * m * n * n <= STACK_BYTES else math.isqrt(m - 1) + 1
    return Layout(ladder.both, chain.both, segment)


def blocks_of(d: Array, lines: Lines, layout: Layout) -> Blocks:
    """Ladders of all blocks: looking-in impedances from both sides, by recursions without a difference in them."""
    m = len(d)
    ohms, lead = lines.ladder_ohms, lines.ladder_lead
    columns = d.T

    def leftward(y: Array, d: Array) -> tuple[Array, Array]:
        y = d + y / (1 + ohms * y)
        return y, y

    def rightward(z: Array, d: Array) -> tuple[Array, Array]:
        return ohms + z / (1 + d * z), z

    last = columns[-1] + (1 / lead if layout.ladder_both else 0.0)
    y = jnp.concatenate([lax.scan(leftward, last, columns[:-1], reverse=True)[1], last[None]])
    z = lax.scan(rightward, jnp.full(m, lead, d.dtype), columns)[1]
    h = z / (1 + y * z)
    c = -jnp.cumsum(jnp.log1p(ohms * y).at[0].set(0.0), axis=0)
    t = jnp.exp(c) / (1 + y[0] * lead)
    if layout.ladder_both:
        t = t + h * jnp.exp(c[-1] - c) / lead
    after = jnp.full(m, lines.chain_ohms, d.dtype).at[-1].set(lines.chain_lead)
    return Blocks(d, h.T, c.T, t.T, after)


def ladder_inverse(block: Blocks) -> Array:
    """H of one block [n, n]."""
    k = jnp.arange(block.c.shape[0])
    nearer = jnp.where(k[:, None] <= k, block.h[:, None], block.h)
    return nearer * jnp.exp(-jnp.abs(block.c[:, None] - block.c))


def admittance(block: Blocks) -> Array:
    """S of one block [n, n]."""
    return jnp.diag(block.d) - block.d[:, None] * ladder_inverse(block) * block.d


def factors(blocks: Blocks, above: Array) -> tuple[Array, Array]:
    """Block Thomas from the admittance `above` [n, n]: that seen at the end, and all P [blocks, n, n]."""
    one = jnp.eye(above.shape[0], dtype=above.dtype)

    def step(above: Array, block: Blocks) -> tuple[Array, Array]:
        x = admittance(block) + above
        root = lax.linalg.cholesky(one + block.ohms * x, symmetrize_input=False)
        half = lax.linalg.triangular_solve(root, x, left_side=True, lower=True)
        q = lax.linalg.triangular_solve(root, half, left_side=True, lower=True, transpose_a=True)
        return q, one - block.ohms * q

    return lax.scan(step, above, blocks)


def descend(p: Array, sources: Array, inject: Callable[[Any], Array], items: Any) -> tuple[Array, Array]:
    """Norton currents through the factors: those behind the last block, and the sources y of all [blocks, n, k]."""

    def step(sources: Array, block: tuple[Array, Any]) -> tuple[Array, Array]:
        sources = sources + inject(block[1])
        return block[0] @ sources, sources

    return lax.scan(step, sources, (p, items))


def ascend(p: Array, sources: Array, ohms: Array, end: Array, read: Callable, items: Any) -> tuple[Array, Any]:
    """Chains' voltages back from those behind the last block; of each block what `read(item, x)` makes of them.

    Sources narrower than x are those of its last columns.
    """

    def step(x: Array, block: tuple[Array, Array, Array, Any]) -> tuple[Array, Any]:
        p, y, ohms, item = block
        x = p @ (x + ohms * _widen(y, x.shape[1]))
        return x, read(item, x)

    return lax.scan(step, end, (p, sources, ohms, items), reverse=True)


def above_first(d: Array, lines: Lines, layout: Layout) -> Array:
    """Admittance above the first block: nothing, or the amplifiers at the far end [n, n]."""
    one = jnp.eye(d.shape[1], dtype=d.dtype)
    return one / lines.chain_lead if layout.chain_both else jnp.zeros_like(one)


def sources_above(d: Array, lines: Lines, layout: Layout) -> Array:
    """Norton currents above the first block with 1 V at the amplifiers [n, 0 or n]."""
    return above_first(d, lines, layout) if layout.chain_both else jnp.zeros((d.shape[1], 0), d.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transfer(d: Array, lines: Lines, layout: Layout) -> Array:
    return _forward(d, lines, layout)[0]


def _forward(d: Array, lines: Lines, layout: Layout) -> tuple[Array, tuple]:
    """Effective matrix [chains, blocks]; for the gradient the admittances where segments start, and the factors if
    all of them are held."""
    segments = _cut(blocks_of(d, lines, layout), layout)

    def down(state: tuple[Array, Array], blocks: Blocks) -> tuple:
        above, p = factors(blocks, state[0])
        sources, y = descend(p, state[1], lambda _: 0.0, None)
        return (above, sources), (p, y)

    def up(x: Array, segment: tuple) -> tuple[Array, tuple]:
        blocks, state = segment
        p, y = down(state, blocks)[1]
        x, rows = ascend(p, y, blocks.ohms, x, lambda block, x: (block.d * block.t) @ x, blocks)
        return x, (rows, p if layout.segment >= len(d) else None)

    starts = _starts(down, (above_first(d, lines, layout), sources_above(d, lines, layout)), segments)
    _, (rows, p) = lax.scan(up, jnp.eye(d.shape[1], dtype=d.dtype), (segments, starts), reverse=True)
    return _join(rows, d).T, (d, lines, starts[0], p)


def _backward(layout: Layout, kept: tuple, cotangent: Array) -> tuple[Array, Lines]:
    """Minus the products of all devices' voltages in the amplifiers' field and in that of the cotangent's drive."""
    d, lines, above, p = kept
    segments = _cut(blocks_of(d, lines, layout), layout)
    n = d.shape[1]
    start = jnp.concatenate([sources_above(d, lines, layout), jnp.zeros((n, n), d.dtype)], axis=1)

    def inject(item: tuple[Blocks, Array]) -> Array:
        block, drive = item
        return _widen(jnp.outer(block.d * block.t, drive), start.shape[1])

    def down(sources: Array, segment: tuple) -> tuple:
        blocks, drive, above, p = segment
        p = factors(blocks, above)[1] if p is None else p
        sources, y = descend(p, sources, inject, (blocks, drive))
        return sources, (p, y)

    def products(item: tuple[Blocks, Array], x: Array) -> Array:
        block, drive = item
        across = ladder_inverse(block) @ (block.d[:, None] * x) - x
        return -jnp.sum(across[:, :n] * (across[:, n:] + jnp.outer(block.t, drive)), axis=1)

    def up(x: Array, segment: tuple) -> tuple[Array, Array]:
        (blocks, drive, _, _), sources = segment
        p, y = down(sources, segment[0])[1]
        return ascend(p, y, blocks.ohms, x, products, (blocks, drive))

    items = (segments, _cut(cotangent.T, layout), above, p)
    end = jnp.eye(n, 2 * n, dtype=d.dtype)  # 1 V at each amplifier; the drive's field has them grounded
    _, gradient = lax.scan(up, end, (items, _starts(down, start, items)), reverse=True)
    return _join(gradient, d), jax.tree.map(jnp.zeros_like, lines)


_transfer.defvjp(_forward, _backward)
_compiled = jax.jit(_transfer, static_argnums=2)


@partial(jax.jit, static_argnums=2)
def _one_by_one(d: Array, lines: Lines, layout: Layout) -> Array:
    return lax.map(lambda one: _transfer(one, lines, layout), d)


def _starts(down: Callable, start: Any, items: Any) -> Any:
    """States at the starts of all segments; `down` runs through one."""
    if len(jax.tree.leaves(items)[0]) == 1:
        return jax.tree.map(lambda x: x[None], start)
    return lax.scan(lambda state, item: (down(state, item)[0], state), start, items)[1]


def _cut(blocks: Any, layout: Layout) -> Any:
    """[blocks, ...] -> [segments, segment, ...], padded in front with blocks that hold nothing."""

    def cut(x: Array) -> Array:
        count = -(-len(x) // layout.segment)
        x = jnp.pad(x, [(count * layout.segment - len(x), 0)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(count, layout.segment, *x.shape[1:])

    return jax.tree.map(cut, blocks)


def _join(x: Array, d: Array) -> Array:
    """[segments, segment, n] -> [blocks, n], without the padding."""
    x = x.reshape(-1, x.shape[-1])
    return x[len(x) - len(d) :]


def _widen(x: Array, width: int) -> Array:
    """Zero columns in front, up to `width`."""
    return jnp.pad(x, ((0, 0), (width - x.shape[1], 0)))
