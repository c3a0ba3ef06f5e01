"""Newton's method on a nodal system, damped by the natural monotonicity test, and its derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array

Residual = Callable[[Array], Array]
Step = Callable[[Array, Array], Array]
"""(state, residual) -> J(state)^-1 residual."""


class Root(NamedTuple):
    """A solved system.

    Attributes
    ----------
    x : the state.
    converged : whether the last Newton step was within tolerance.
    iterations : Newton steps taken.
    step : size of the last one over what counts as small (below 1: converged).
    """

    x: jax.Array
    converged: jax.Array
    iterations: jax.Array
    step: jax.Array


def newton(
    residual: Residual,
    solve: Step,
    guess: Array,
    *,
    absolute: Array | np.ndarray | float,
    relative: float = 1e-9,
    most: int = 100,
    damped: bool = True,
) -> Root:
    """Solve residual(x) = 0.

    A step is halved until the next simplified Newton correction, taken with the same matrix, is smaller than it by the
    factor that its length promises (natural monotonicity test: Deuflhard 2004, sec. 3.3), which does not depend on the
    units of the equations.

    Parameters
    ----------
    absolute : size of each unknown below which a step counts as zero (volts or amperes).
    relative : the same, over the unknown itself.
    damped : False takes full steps only.
    """

    def size(dx: Array, x: Array) -> Array:
        return jnp.max(jnp.abs(dx) / (absolute + relative * jnp.abs(x)), initial=0.0)

    def again(state: tuple[Array, Array, Array, Array]) -> Array:
        _, step, count, stuck = state
        return (step > 1.0) & (count < most) & ~stuck

    def body(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        x, _, count, _ = state
        dx = -solve(x, residual(x))
        length, ok = _length(x, dx) if damped else (jnp.ones(()), jnp.asarray(True))
        x = jnp.where(jnp.all(jnp.isfinite(dx)), x + length * dx, x)
        step = jnp.where(length == 1.0, size(dx, x), jnp.maximum(size(dx, x), 2.0))
        return x, jnp.where(jnp.isfinite(step), step, jnp.inf), count + 1, ~ok | ~jnp.all(jnp.isfinite(dx))

    def _length(x: Array, dx: Array) -> tuple[Array, Array]:
        before = jnp.linalg.norm(dx / (absolute + relative * jnp.abs(x)))

        def fails(length: Array) -> Array:
            after = solve(x, residual(x + length * dx))
            grown = jnp.linalg.norm(after / (absolute + relative * jnp.abs(x))) > (1 - length / 4) * before
            return (grown | ~jnp.all(jnp.isfinite(after))) & (before > 1e-3)

        length = jax.lax.while_loop(lambda a: fails(a) & (a > 1e-6), lambda a: a / 2, jnp.ones(()))
        return length, length > 1e-6

    start = (jnp.asarray(guess, float), jnp.asarray(jnp.inf), jnp.asarray(0), jnp.asarray(False))
    x, step, count, stuck = jax.lax.while_loop(again, body, start)
    return Root(x, (step <= 1.0) & ~stuck, count, step)


def differentiable(x: Array, residual: Residual, solve: Step) -> Array:
    """A root as a function of whatever the residual depends on: one Newton step from it, whose matrix is constant.

    The step moves nothing, and its derivative is -J^-1 (d residual), that of the implicit function, in forward and in
    reverse mode (first order only).
    """
    fixed = jax.lax.stop_gradient(x)
    return fixed - solve(fixed, residual(fixed))
