"""Gains held below the leak: spectral normalization of what closes the loop, and a leak for each channel.

Slopes of tanh lie between 0 and 1, so ||W D|| <= ||W||: both bounds hold at every state.
"""

from __future__ import annotations

import jax.numpy as jnp

from analogep.netlist._types import Array


def normalize(weights: Array, *, leak: float = 1.0, margin: float = 0.1) -> Array:
    """W scaled down to ||W||_2 <= leak - margin; left alone where it is that small already.

    Then omega(J) <= -margin in the C metric at every state: contraction, and no transient growth. What it gives up is
    every W with a larger norm, rotations among them, which would not have been unstable.

    Parameters
    ----------
    weights : W [n, n].
    leak : of every node (1/tau).
    margin : below the leak (1/tau).

    Reference
    ---------
    Miyato, Kataoka, Koyama & Yoshida 2018, "Spectral normalization for generative adversarial networks".
    """
    bound = leak - margin
    return weights * (bound / jnp.maximum(jnp.linalg.norm(weights, 2), bound))


def normalize_product(value: Array, output: Array, *, gain: float) -> tuple[Array, Array]:
    """Value and output arrays scaled down by one factor each, so that ||output value||_2 <= gain.

    Parameters
    ----------
    value : [k, n], what reads the state.
    output : [n, k], what pushes back into it. Their product closes the loop.
    gain : largest loop gain.
    """
    factor = jnp.sqrt(gain / jnp.maximum(jnp.linalg.norm(output @ value, 2), gain))
    return factor * value, factor * output


def row_damping(weights: Array, *, margin: float = 0.1, least: float = 1.0) -> Array:
    """Leak of each node [n] = max(least, sum_j |W_ij| + margin).

    Every Gershgorin disc of J then lies left of -margin at every state, and the network contracts in the largest norm:
    alpha <= -margin and one state at rest. omega in the C metric may still be positive.

    Parameters
    ----------
    weights : W [n, n].
    margin : (1/tau).
    least : leak that a node has anyway (1/tau).

    Reference
    ---------
    Gershgorin 1931; Fang & Kincaid 1996, "Stability analysis of dynamical neural networks".
    """
    return jnp.maximum(least, jnp.sum(jnp.abs(weights), -1) + margin)
