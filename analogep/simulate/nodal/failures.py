"""What went wrong, with the element or the node by name: singular matrices, and laws that give no number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Parameters

if TYPE_CHECKING:
    from analogep.simulate.nodal.system import Nodal

Answer = TypeVar("Answer")
LARGEST = 2000
"""Unknowns up to which a dense decomposition tells which of them a singular matrix leaves open."""


KLU_ERRORS = (jax.errors.JaxRuntimeError, ValueError)
"""What a failure of KLU comes as, depending on where jax waits for it."""


def is_singular(error: Exception) -> bool:
    """Whether KLU found no pivot."""
    return "klu_factor" in str(error)


@contextmanager
def singular_named(what: str, nodal: Nodal, x: Array | None = None, theta: Parameters | None = None) -> Iterator[None]:
    """Turn KLU's error into one that names the undetermined unknowns; results must be `settled` inside.

    Parameters
    ----------
    what : the analysis, for the message.
    x : state near which the matrix was singular; 0 V when None.
    """
    try:
        yield
    except KLU_ERRORS as error:
        if not is_singular(error):
            raise
        raise singular(what, nodal, x, theta) from None


def singular(what: str, nodal: Nodal, x: Array | None = None, theta: Parameters | None = None) -> NetlistError:
    """The error for a singular matrix."""
    return NetlistError(
        f"{what}: the circuit's matrix is singular ({_undetermined(nodal, x, theta)}); look for a node without a path "
        "to ground, an amplifier whose feedback cancels its input, or sources or initial conditions in contradiction"
    )


def settled(result: Answer) -> Answer:
    """The result, waited for, so that errors of its computation appear here; traced values pass."""
    leaves = jax.tree.leaves(result)
    return result if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) else jax.block_until_ready(result)


def _undetermined(nodal: Nodal, x: Array | None, theta: Parameters | None) -> str:
    """Unknowns that a singular matrix leaves open: where its last right singular vector is large."""
    if nodal.size > LARGEST:
        return f"{nodal.size} unknowns"
    state = jnp.zeros(nodal.size) if x is None else jnp.asarray(x)
    dense, _ = nodal.matrices(state, nodal.theta if theta is None else theta)
    if not np.isfinite(dense).all():
        return "entries that are not finite"
    _, sizes, vt = np.linalg.svd(dense / (np.abs(dense).max(1, keepdims=True) + 1e-300))
    if sizes[-1] > 1e-9:
        return "at a state on the way"
    open_ = np.abs(vt[sizes < 1e-9]).max(0)
    names = [name for name, part in zip(nodal.unknowns, open_, strict=True) if part > 0.1 * open_.max()]
    return "undetermined: " + ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def without_number(nodal: Nodal, x: Array, theta: Parameters, t: float = 0.0) -> str:
    """Names of elements whose law gives no finite number at the state x, "" if all do."""
    full, names = jnp.append(jnp.asarray(x), 0.0), []
    for s, numbers in nodal.split(theta):
        parts = [np.asarray(part).reshape(len(s.names), -1) for part in s.linearized(full, numbers, t)]
        values = np.concatenate(parts, axis=1)
        names += [repr(name) for name, row in zip(s.names, values, strict=True) if not np.isfinite(row).all()]
    return ", ".join(names[:5])
