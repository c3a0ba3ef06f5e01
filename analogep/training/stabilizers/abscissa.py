"""Projection on alpha(J) <= -margin after an update, for J = -leak + W D at given slopes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import DataError
from analogep.netlist._types import Array


class Projected(NamedTuple):
    """Projected weights.

    Attributes
    ----------
    weights : W [n, n].
    abscissa : alpha of the worst state with them (1/tau).
    steps : eigenvector steps taken.
    shrunk : whether W had to be scaled down after them, because they did not get there.
    """

    weights: Array
    abscissa: Array
    steps: Array
    shrunk: Array


def _jacobian(weights: Array, slopes: Array, leak: Array | float) -> Array:
    n = weights.shape[-1]
    return weights * slopes[..., None, :] - jnp.broadcast_to(jnp.asarray(leak), (n,)) * jnp.eye(n)


def abscissa(weights: Array, slopes: Array, *, leak: Array | float = 1.0) -> Array:
    """alpha(J), the largest real part of the eigenvalues (1/tau), at each state.

    Parameters
    ----------
    weights : W [n, n].
    slopes : D, 1 - tanh(z)^2, [n] or [states, n].
    leak : (1/tau), broadcast to [n].
    """
    return jnp.linalg.eigvals(_jacobian(weights, slopes, leak)).real.max(-1)


def abscissa_gradient(weights: Array, slopes: Array, *, leak: Array | float = 1.0) -> tuple[Array, Array]:
    """alpha(J) at one state and d alpha / dW = Re(conj(y) (D x)^T) / (y^H x), with x and y its right and left vectors.

    x is the mode that rings in the circuit, y the one that rings in its twin. The slopes D count as given.

    Parameters
    ----------
    weights, slopes, leak : as for `abscissa`, slopes [n].

    Returns
    -------
    alpha, and its slope [n, n]; not finite where the eigenvalue is defective.

    Reference
    ---------
    Magnus 1985, "On differentiating eigenvalues and eigenvectors".
    """
    values, vectors = jnp.linalg.eig(_jacobian(weights, slopes, leak))
    k = jnp.argmax(values.real)
    # rows of the inverse are the left vectors, scaled to y^H x = 1
    left = jnp.linalg.solve(vectors.T, jnp.eye(len(slopes), dtype=vectors.dtype)[k])
    return values[k].real, jnp.outer(left, slopes * vectors[:, k]).real


def project_abscissa(
    weights: Array,
    slopes: Array,
    *,
    leak: Array | float = 1.0,
    margin: float = 0.1,
    steps: int = 20,
    tolerance: float = 1e-6,
) -> Projected:
    """W moved along d alpha / dW, the worst state first, until alpha <= -margin at all of them; else scaled down.

    Each step is the shortest that reaches the boundary to first order, -(alpha + margin) g / |g|^2; W is left alone
    where the bound holds. Where `steps` do not suffice, W is scaled by the largest factor that bisection finds.

    Parameters
    ----------
    weights, slopes, leak : as for `abscissa`.
    margin : (1/tau), smaller than every leak, so that W = 0 is always allowed.
    steps : largest number of steps along eigenvectors.
    tolerance : by which alpha may exceed -margin (1/tau).

    Raises
    ------
    DataError
        If the margin is not below the smallest leak, or shapes do not fit; only of values that are known, not traced.
    """
    slopes = jnp.atleast_2d(jnp.asarray(slopes))
    if weights.shape != (slopes.shape[-1],) * 2:
        raise DataError(f"weights {weights.shape} need slopes [{weights.shape[-1]}] at each state, not {slopes.shape}")
    if not isinstance(leak, jax.core.Tracer) and margin >= (least := float(np.min(leak))):
        raise DataError(f"a margin of {margin:g} needs a larger leak than {least:g}")
    return _project(weights, slopes, jnp.asarray(leak, float), margin, steps, tolerance)


@partial(jax.jit, static_argnames=("steps",))
def _project(weights: Array, slopes: Array, leak: Array, margin: float, steps: int, tolerance: float) -> Projected:
    bound = tolerance - margin

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        w, each, k = state
        value, slope = abscissa_gradient(w, slopes[jnp.argmax(each)], leak=leak)
        moved = w - (value + margin) * slope / jnp.sum(slope**2)
        w = jnp.where(jnp.all(jnp.isfinite(moved)), moved, w)
        return w, abscissa(w, slopes, leak=leak), k + 1

    def outside(state: tuple[Array, Array, Array]) -> Array:
        return (state[1].max() > bound) & (state[2] < steps)

    w, each, taken = jax.lax.while_loop(outside, step, (weights, abscissa(weights, slopes, leak=leak), jnp.asarray(0)))
    failed = ~(each.max() <= bound)
    # eigenvector steps that went nowhere useful are not kept: the weights that came in are scaled down

    def halve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, k = state
        middle = (low + high) / 2
        fits = abscissa(middle * weights, slopes, leak=leak).max() <= -margin
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle), k + 1

    start = (jnp.asarray(0.0), jnp.asarray(1.0), jnp.asarray(0))
    factor = jax.lax.while_loop(lambda state: failed & (state[2] < 30), halve, start)[0]
    w = jnp.where(failed, factor * weights, w)
    final = jnp.where(failed, abscissa(w, slopes, leak=leak).max(), each.max())
    return Projected(w, final, taken, failed)
