"""Monotone weights: W = (1 - m) 1 - P^T P + Q - Q^T, so that the network has one state at rest, whatever it learns.

The symmetric part of W is at most 1 - m, for any P and Q. With the slopes D between 0 and 1, J = -1 + W D is similar to
-1 + D^1/2 W D^1/2, whose symmetric part is at most -min(m, 1). Hence, in the circuit of one buffered crossbar:

- alpha(J) <= -min(m, 1) at every state, at any asymmetry Q - Q^T;
- ||exp(t J)||_D <= exp(-min(m, 1) t) in the metric D of that state, so growth in the C metric is at most sqrt(cond D)
  and omega may be positive: the circuit is stable, but not passive. `passive_network` is the circuit with the same
  states at rest that is;
- one state at rest, which every start reaches (Lyapunov function sum of the integrals of tanh(z_i) - tanh(z*_i)).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from analogep.netlist._types import Array


class Monotone(NamedTuple):
    """Free parameters of monotone weights: dampers P [k, n] and gyrators Q [n, n], both of any value."""

    dampers: Array
    gyrators: Array


def monotone_weights(at: Monotone, margin: float = 0.1) -> Array:
    """W [n, n] = (1 - m) 1 - P^T P + Q - Q^T, for a leak of 1.

    Parameters
    ----------
    at : P and Q.
    margin : m, smallest eigenvalue of the symmetric part of 1 - W (1/tau).

    Reference
    ---------
    Winston & Kolter 2020, "Monotone operator equilibrium networks", eq. 8; Forti & Tesi 1995, "New conditions for
    global stability of neural networks", for the time course.
    """
    p, q = at
    return (1 - margin) * jnp.eye(q.shape[-1]) - p.T @ p + q - q.T


def monotone_start(weights: Array, margin: float = 0.1) -> Monotone:
    """P and Q of the monotone weights nearest to W in the Frobenius norm.

    Parameters
    ----------
    weights : W [n, n], any matrix; it is given back exactly where it is monotone already.
    margin : m (1/tau).
    """
    values, vectors = jnp.linalg.eigh((weights + weights.T) / 2)
    room = jnp.maximum(1 - margin - values, 0.0)  # eigenvalues above 1 - m are cut off there
    return Monotone(jnp.sqrt(room)[:, None] * vectors.T, weights / 2)


def monotone_gradient(at: Monotone, gradient: Array) -> Monotone:
    """dL/dP = -P (dL/dW + dL/dW^T) and dL/dQ = dL/dW - dL/dW^T, from dL/dW [n, n].

    Both are sums of dL/dW over the places in which a parameter sits: the local products of W, added up.
    """
    return Monotone(-at.dampers @ (gradient + gradient.T), gradient - gradient.T)
