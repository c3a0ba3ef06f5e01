"""Noise in the time domain: C dx = -i dt + dW, integrated by the implicit midpoint rule."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from analogep.netlist._types import Array, Parameters
from analogep.simulate.nodal.newton import newton
from analogep.simulate.nodal.operating_point import tolerances
from analogep.simulate.nodal.system import Nodal


@partial(jax.jit, static_argnames=("nodal", "steps", "every"))
def noisy_path(
    nodal: Nodal,
    theta: Parameters,
    x0: Array,
    key: Array,
    *,
    step: float,
    steps: int,
    every: int = 1,
    frequency: float = 1.0,
) -> Array:
    """One sample path with white noise currents of the densities that the elements have at each moment.

    A noise of one-sided density S is the current sqrt(S / (2 h)) times a normal number during a step of length h. The
    midpoint rule gives a linear circuit its stationary covariance exactly, whatever the step (it maps the Lyapunov
    equation of the circuit onto that of the recursion), so the variance of an RC node is kT/C.

    Parameters
    ----------
    x0 : state at t = 0.
    key : random key; batch paths by vmap.
    step : seconds. Nodes without a capacitor see the noise band-limited by it.
    steps, every : number of steps, and which of them are kept.
    frequency : hertz at which densities are taken; flicker noise is therefore white here.

    Returns
    -------
    States [steps / every, unknowns].
    """
    tolerance = 1e3 * tolerances(nodal)

    def push(x: Array, key: Array) -> Array:
        """Noise currents into the nodes during one step."""
        total = jnp.zeros(nodal.size + 1)
        for noise in nodal.noise_currents(x, theta, frequency):
            key, own = jax.random.split(key)
            current = jnp.sqrt(noise.density / (2 * step)) * jax.random.normal(own, noise.density.shape)
            total = total.at[noise.a].add(-current).at[noise.b].add(current)
        return total[: nodal.size]

    def one(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
        x, t = carry
        noise, q0 = push(x, key), nodal.charge(x, theta)

        def equations(y: Array) -> tuple[Array, Array]:
            _, q, _, dq = nodal.linearized(y, theta, t)
            i, _, di, _ = nodal.linearized((x + y) / 2, theta, t + step / 2)
            return (q - q0) / step + i - noise, dq / step + di / 2

        root = newton(equations, nodal.pattern, x, absolute=tolerance, most=20, damped=False)
        return (jnp.where(root.converged, root.x, jnp.nan), t + step), None

    def kept(carry: tuple[Array, Array], keys: Array) -> tuple[tuple[Array, Array], Array]:
        carry, _ = jax.lax.scan(one, carry, keys)
        return carry, carry[0]

    keys = jax.random.split(key, (steps // every, every))
    return jax.lax.scan(kept, (jnp.asarray(x0, float), jnp.zeros(())), keys)[1]


def node_variance(nodal: Nodal, x: Array, theta: Parameters) -> np.ndarray:
    """Stationary covariance of the linearized circuit, from its Lyapunov equation, [unknowns, unknowns] (V^2).

    Memoryless unknowns are eliminated first; only what the capacitors hold has a finite variance, and the rest is nan.

    Returns
    -------
    P with G P C^T + C P G^T = S / 2 on the states, S the densities of the noise currents.
    """
    g, c = nodal.matrices(x, theta)
    alive = np.abs(c).sum(0) + np.abs(c).sum(1) > 0
    held, still = np.flatnonzero(alive), np.flatnonzero(~alive)
    # Schur complement: what pushes into the memoryless unknowns arrives at the others through `down`
    down = np.zeros((len(held), nodal.size))
    down[:, held] = np.eye(len(held))
    down[:, still] = -np.linalg.solve(g[np.ix_(still, still)].T, g[np.ix_(held, still)].T).T
    inverse = np.linalg.inv(c[np.ix_(held, held)])
    drive = inverse @ down @ _density_matrix(nodal, x, theta) @ down.T @ inverse.T / 2
    covariance = np.full(g.shape, np.nan)
    covariance[np.ix_(held, held)] = scipy.linalg.solve_continuous_lyapunov(inverse @ (down @ g)[:, held], drive)
    return covariance


def _density_matrix(nodal: Nodal, x: Array, theta: Parameters) -> np.ndarray:
    """Cross densities of the noise currents into the unknowns (A^2/Hz)."""
    total = np.zeros((nodal.size + 1,) * 2)
    for noise in nodal.noise_currents(jnp.asarray(x), theta, 1.0):
        for i, j, d in zip(noise.a, noise.b, np.asarray(noise.density), strict=True):
            for row, column, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                total[row, column] += sign * d
    return total[:-1, :-1]
