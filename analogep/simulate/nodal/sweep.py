"""DC sweeps of one or two sources: operating points, each found from its neighbor."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array, Parameters
from analogep.simulate.nodal.failures import KLU_ERRORS, is_singular, settled
from analogep.simulate.nodal.operating_point import find, operating_point
from analogep.simulate.nodal.system import Nodal


@partial(jax.jit, static_argnames=("nodal", "numbers"))
def _walk(
    nodal: Nodal, theta: Parameters, numbers: tuple[str, ...], points: Array, guess: Array
) -> tuple[Array, Array]:
    """Newton at each point from the last converged one."""

    def step(x, point):
        root = find(nodal, nodal.with_numbers(theta, dict(zip(numbers, point, strict=True))), x)
        return jnp.where(root.converged, root.x, x), (root.x, root.converged)

    return jax.lax.scan(step, guess, points)[1]


def dc_sweep(nodal: Nodal, numbers: tuple[str, ...], points: np.ndarray, theta: Parameters | None = None) -> np.ndarray:
    """States over sweep points, [points, unknowns].

    Parameters
    ----------
    numbers : what is swept, `element.field`.
    points : values, [points, len(numbers)], in the order in which they are visited.

    Raises
    ------
    ConvergenceError
        If a point has no operating point even by continuation.
    NetlistError
        If the circuit is singular at a point.
    """
    theta = nodal.theta if theta is None else theta

    def settings(point: np.ndarray) -> dict[str, Array]:
        return nodal.with_numbers(theta, dict(zip(numbers, point, strict=True)))

    first = operating_point(nodal, settings(points[0])).x
    xs, converged = _walked(nodal, theta, numbers, points, first)
    while not converged.all():  # continuation takes the point that Newton missed, and the walk goes on from there
        k = int(np.argmin(converged))
        xs[k] = operating_point(nodal, settings(points[k]), guess=xs[k - 1] if k else None).x
        converged[k] = True
        if left := len(points) - k - 1:
            # filled up with the last point, so that a walk of this length is compiled already
            rest = np.concatenate([points[k + 1 :], np.repeat(points[-1:], k + 1, axis=0)])
            again, fine = _walked(nodal, theta, numbers, rest, xs[k])
            xs[k + 1 :], converged[k + 1 :] = again[:left], fine[:left]
    return xs


def _walked(
    nodal: Nodal, theta: Parameters, numbers: tuple[str, ...], points: np.ndarray, guess: Array
) -> tuple[np.ndarray, np.ndarray]:
    """States and whether each is one; none is where a matrix on the way was singular."""
    try:
        xs, converged = settled(_walk(nodal, theta, numbers, jnp.asarray(points), jnp.asarray(guess)))
        return np.array(xs), np.array(converged)
    except KLU_ERRORS as error:
        if not is_singular(error):
            raise
        return np.tile(np.asarray(guess), (len(points), 1)), np.zeros(len(points), bool)
