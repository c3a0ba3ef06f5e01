"""Penalties on the Jacobian J = -leak + W D, each with its slope in W written out.

The slopes D of tanh count as given: how they move when W moves is left out, as it is by a circuit that measures J at
the state in which it rests.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array


@jax.custom_batching.sequential_vmap
def _leading(symmetric: Array) -> tuple[Array, Array]:
    """Largest eigenvalue and its vector, one matrix after another.

    Batched LAPACK calls beside matrix products have been seen to lock each other out for good on a CPU.
    """
    values, vectors = jnp.linalg.eigh(symmetric)
    return values[-1], vectors[:, -1]


def log_norm_penalty(
    weights: Array, slopes: Array, *, leak: Array | float = 1.0, margin: float = 0.1
) -> tuple[Array, Array]:
    """max(0, omega(J) + margin)^2 / 2 and its slope in W.

    With u the leading unit eigenvector of the symmetric part, d omega / dW = u (D u)^T: where J grows most, at the sink
    of each weight and, through its cell, at the source. It is smooth where that eigenvalue is simple.

    Parameters
    ----------
    weights : W [n, n].
    slopes : D, 1 - tanh(z)^2 [n].
    leak : (1/tau), broadcast to [n].
    margin : wanted below zero (1/tau).

    Returns
    -------
    penalty and its slope [n, n]; NaN where a weight is not finite.

    Reference
    ---------
    Soderlind 2006, "The logarithmic norm. History and modern theory".
    """
    n = weights.shape[-1]
    jacobian = weights * slopes - jnp.broadcast_to(jnp.asarray(leak), (n,)) * jnp.eye(n)
    omega, u = _leading((jacobian + jacobian.T) / 2)
    over = jnp.maximum(omega + margin, 0.0)
    return over**2 / 2, over * jnp.outer(u, slopes * u)


def asymmetry_penalty(weights: Array, slopes: Array, probe: Array) -> tuple[Array, Array]:
    """Jacobian homeostasis: |(J - J^T) u|^2 / 2 for a probe u, and its slope in W.

    J u is the circuit's response to the probe, J^T u the twin's; both are read at the nodes. For probes of unit
    covariance the mean is ||J - J^T||_F^2 / 2. It draws J toward reciprocity, which makes plain EP better; it is no
    bound on anything that makes a state unstable.

    Parameters
    ----------
    weights : W [n, n].
    slopes : D, 1 - tanh(z)^2 [n].
    probe : u [n].

    Returns
    -------
    penalty and its slope [n, n].

    Reference
    ---------
    Laborieux & Zenke 2023, "Improving equilibrium propagation without weight symmetry through Jacobian homeostasis".
    """
    off = weights @ (slopes * probe) - slopes * (weights.T @ probe)  # the diagonal leak drops out
    return off @ off / 2, (jnp.outer(off, probe) - jnp.outer(probe, off)) * slopes
