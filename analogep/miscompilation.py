"""The check that this jax computes right numbers on CPU: jax 0.10.2 did not.

Reference: jax issue 39103. In a jitted, vmapped matrix-vector product that is squared and summed, the last row of a
batch of 2^14 + 1 gets the result of another row: 267911424 = 16368^2 in the issue, 266342400 = 16320^2 where this file
was run with jax 0.10.2, instead of 16384^2 = 2^28. jax 0.10.1 gives 2^28.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

BATCH = 2**14 + 1
EXACT = float(2**28)


class Outcome(NamedTuple):
    """What the reproducer gave; all three are whole numbers, exact in floating point."""

    compiled: float
    eager: float
    exact: float

    @property
    def correct(self) -> bool:
        return self.compiled == self.exact and self.eager == self.exact


def measure() -> Outcome:
    """Square of the last of `BATCH` vectors (n, 0, 0), n = 0 ... 2^14, sent through the identity: (2^14)^2 = 2^28."""

    def squared_norms(rows: jax.Array, matrix: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)

    with jax.default_device(jax.devices("cpu")[0]):
        identity = jnp.eye(3, dtype=float)
        rows = jnp.zeros((BATCH, 3), dtype=float).at[:, 0].set(jnp.arange(BATCH, dtype=float))
        compiled = jax.jit(lambda x: squared_norms(x, identity))(rows)
        eager = squared_norms(rows, identity)
    return Outcome(float(compiled[-1]), float(eager[-1]), EXACT)


def check() -> bool:
    """True when jit and eager evaluation both give exactly 2^28."""
    return measure().correct
