"""Sparse matrices of one pattern, and their solves by KLU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import klujax
import numpy as np

from analogep.netlist._types import Array


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows and columns of the entries of a square matrix, each pair once.

    Attributes
    ----------
    rows, columns : int32 [entries]; the diagonal is always among them.
    slot : entry to which each raw contribution adds; contributions of ground go to the one past the end.
    """

    size: int
    rows: np.ndarray
    columns: np.ndarray
    slot: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[np.ndarray], columns: Sequence[np.ndarray], size: int) -> Pattern:
        """Pattern of contributions in the given order; row or column `size` stands for ground."""
        r, c = (np.concatenate([np.zeros(0, int), *parts]) for parts in (rows, columns))
        live = (r < size) & (c < size)
        diagonal = np.arange(size) * (size + 1)
        keys, place = np.unique(np.concatenate([diagonal, r[live] * size + c[live]]), return_inverse=True)
        slot = np.full(len(r), len(keys))
        slot[live] = place[size:]
        return cls(size, (keys // size).astype(np.int32), (keys % size).astype(np.int32), slot)

    def gather(self, contributions: Array) -> Array:
        """Values of the entries: the sum of their contributions."""
        return jnp.zeros(len(self.rows) + 1).at[self.slot].add(contributions)[:-1]

    @cached_property
    def diagonal(self) -> np.ndarray:
        """Positions of the diagonal entries."""
        return np.flatnonzero(self.rows == self.columns)

    @cached_property
    def _transposed_order(self) -> np.ndarray:
        """Entries in the row order of the transpose."""
        return np.lexsort((self.rows, self.columns))

    @cached_property
    def _symbol(self) -> Any:
        with jax.ensure_compile_time_eval():  # the first solve may be inside jit
            return klujax.analyze(self.rows, self.columns, self.size)

    @cached_property
    def _transposed_symbol(self) -> Any:
        order = self._transposed_order
        with jax.ensure_compile_time_eval():
            return klujax.analyze(self.columns[order], self.rows[order], self.size)

    def solve(self, values: Array, rhs: Array) -> Array:
        """x with A x = rhs, for `rhs` of shape [size], real or complex."""
        return _klu(self.rows, self.columns, values, rhs, self._symbol)

    def transposed_solve(self, values: Array, rhs: Array) -> Array:
        """x with A^T x = rhs."""
        order = self._transposed_order
        return _klu(self.columns[order], self.rows[order], values[order], rhs, self._transposed_symbol)

    def dense(self, values: Array) -> np.ndarray:
        """The matrix, [size, size]."""
        full = np.zeros((self.size, self.size), np.asarray(values).dtype)
        full[self.rows, self.columns] = np.asarray(values)
        return full


def _klu(rows: np.ndarray, columns: np.ndarray, values: Array, rhs: Array, symbol: Any) -> Array:
    """Factorize and solve; entries must be in row order.

    klujax's own `solve_with_symbol` sorts the entries in every call, which at 1e5 of them costs more than the solve;
    its primitive takes them as they are.
    """
    is_complex = jnp.iscomplexobj(values) or jnp.iscomplexobj(rhs)
    primitive = klujax.solve_with_symbol_c128 if is_complex else klujax.solve_with_symbol_f64
    kind = jnp.complex128 if is_complex else jnp.float64
    entries, right = jnp.asarray(values, kind), jnp.asarray(rhs, kind)
    handle = jnp.asarray(symbol.raw, jnp.uint64)
    return primitive.bind(jnp.asarray(rows), jnp.asarray(columns), entries[None], right[None, :, None], handle)[0, :, 0]
