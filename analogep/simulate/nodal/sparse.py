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
    def _symbol(self) -> Any:
        with jax.ensure_compile_time_eval():  # the first solve may be inside jit
            return klujax.analyze(self.rows, self.columns, self.size)

    @cached_property
    def _transposed_symbol(self) -> Any:
        with jax.ensure_compile_time_eval():
            return klujax.analyze(self.columns, self.rows, self.size)

    def solve(self, values: Array, rhs: Array) -> Array:
        """x with A x = rhs, for `rhs` of shape [size] or [size, many], real or complex."""
        return klujax.solve_with_symbol(self.rows, self.columns, values, rhs, self._symbol)

    def transposed_solve(self, values: Array, rhs: Array) -> Array:
        """x with A^T x = rhs."""
        return klujax.solve_with_symbol(self.columns, self.rows, values, rhs, self._transposed_symbol)

    def times(self, values: Array, x: Array) -> Array:
        """A x."""
        return jnp.zeros(self.size, jnp.result_type(values, x)).at[self.rows].add(values * x[self.columns])

    def dense(self, values: Array) -> np.ndarray:
        """The matrix, [size, size]."""
        full = np.zeros((self.size, self.size), np.asarray(values).dtype)
        full[self.rows, self.columns] = np.asarray(values)
        return full
