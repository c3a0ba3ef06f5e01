"""Newton's method on a nodal system, damped by the natural monotonicity test, and its derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array
from analogep.simulate.nodal.sparse import Pattern

JUNCTION_KNEE, JUNCTION_STEP = 0.5, 0.2
"""Volts: below the knee a junction hardly conducts; a step multiplies its current by some thousands at most."""

Linearized = Callable[[Array], tuple[Array, Array]]
"""state -> what its equations lack, and the values of their derivative on the pattern."""


class Root(NamedTuple):
    """A solved system.

    Attributes
    ----------
    x : the state.
    values : its matrix, at the last state but one.
    converged : whether the last Newton step was within tolerance.
    iterations : evaluations of the equations.
    """

    x: jax.Array
    values: jax.Array
    converged: jax.Array
    iterations: jax.Array


class _Search(NamedTuple):
    """State of the iteration: a point, its matrix, the Newton step from it, and how much of that is tried next."""

    x: Array
    values: Array
    dx: Array
    length: Array
    step: Array
    count: Array


def newton(
    equations: Linearized,
    pattern: Pattern,
    guess: Array,
    *,
    absolute: Array | np.ndarray | float,
    relative: float = 1e-9,
    junctions: np.ndarray | None = None,
    most: int = 100,
    damped: bool = True,
) -> Root:
    """Solve equations(x)[0] = 0.

    A step is quartered until the next correction with the same matrix is smaller than it by the factor that its length
    promises (natural monotonicity test: Deuflhard 2004, sec. 3.3); the test does not depend on the equations' units.

    Parameters
    ----------
    absolute : size of each unknown below which a step counts as zero (volts or amperes).
    relative : the same, over the unknown itself.
    junctions : pairs of unknowns [count, 2] whose difference drives an exponential; a step is shortened so that none
        rises by more than JUNCTION_STEP beyond JUNCTION_KNEE (the purpose of SPICE's voltage limiting: Nagel 1975).
    damped : False takes full steps only.
    """

    def size(dx: Array, x: Array) -> Array:
        return jnp.max(jnp.abs(dx) / (absolute + relative * jnp.abs(x)), initial=0.0)

    def longest(x: Array, dx: Array) -> Array:
        if junctions is None or not len(junctions):
            return jnp.ones(())
        now, rise = (jnp.append(u, 0.0)[junctions] @ jnp.asarray([1.0, -1.0]) for u in (x, dx))
        room = jnp.maximum(JUNCTION_KNEE - now, 0.0) + JUNCTION_STEP
        return jnp.min(jnp.where(rise > room, room / jnp.maximum(rise, room), 1.0))

    def again(s: _Search) -> Array:
        return (s.step > 1.0) & (s.count < most) & (s.length > 1e-7)

    def body(s: _Search) -> _Search:
        trial = s.x + s.length * s.dx
        lacking, values = equations(trial)
        fine = jnp.all(jnp.isfinite(lacking)) & jnp.all(jnp.isfinite(values))
        values = jnp.where(fine, values, s.values)
        dx = -pattern.solve(values, lacking)
        fine = fine & jnp.all(jnp.isfinite(dx))
        if damped:
            weight = absolute + relative * jnp.abs(s.x)
            before = jnp.linalg.norm(s.dx / weight)
            after = jnp.linalg.norm(pattern.solve(s.values, lacking) / weight)
            # at rounding level the test says nothing
            fine = fine & ((after <= (1 - s.length / 4) * before) | (before < 1e-2) | (s.count == 0))
        length = jnp.minimum(4 * s.length, longest(trial, dx)) if damped else jnp.ones(())
        taken = _Search(trial, values, dx, length, size(dx, trial), s.count + 1)
        refused = s._replace(length=s.length / (4 if damped else jnp.inf), count=s.count + 1)
        return jax.tree.map(lambda new, old: jnp.where(fine, new, old), taken, refused)

    diagonal = jnp.asarray(pattern.rows == pattern.columns, float)
    x0 = jnp.asarray(guess, float)
    start = _Search(x0, diagonal, jnp.zeros_like(x0), jnp.ones(()), jnp.asarray(jnp.inf), jnp.asarray(0))
    end = jax.lax.while_loop(again, body, start)
    converged = end.step <= 1.0
    # the last correction is known and costs nothing
    return Root(jnp.where(converged, end.x + end.dx, end.x), end.values, converged, end.count)


def differentiable(root: Root, residual: Callable[[Array], Array], pattern: Pattern) -> Array:
    """A root as a function of whatever the residual depends on: one Newton step from it, whose matrix is constant.

    The step moves nothing, and its derivative is -J^-1 (d residual), that of the implicit function, in forward and in
    reverse mode (first order only).
    """
    fixed, values = jax.lax.stop_gradient((root.x, root.values))
    return fixed - pattern.solve(values, residual(fixed))
