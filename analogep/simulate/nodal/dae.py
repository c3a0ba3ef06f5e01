"""A diffrax solver for d/dt q(x) + i(x, t) = 0 with singular dq/dx: the circuit's equations as they are.

A singly diagonally implicit Runge-Kutta method of order 4(3), stage order 2, L-stable and stiffly accurate (the implicit
half of ARK4(3)6L[2]SA: Kennedy and Carpenter 2003). Its stages are formed in charges, so charge is conserved, and every
stage satisfies the equations of memoryless nodes exactly (index 1: Hairer and Wanner 1996, sec. VI.1). The error
estimate, a charge, is turned into volts with the step's own matrix, which also damps its stiff part.
"""

from __future__ import annotations

from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist._types import Array
from analogep.simulate.nodal.newton import differentiable, newton
from analogep.simulate.nodal.system import Nodal

_TABLEAU = diffrax.KenCarp4.tableau.tableaus[1]
_STAGES = len(_TABLEAU.b_sol)
_GAMMA = float(np.asarray(_TABLEAU.a_diagonal)[-1])
_LOWER = np.stack([np.pad(row, (0, _STAGES - len(row))) for row in (np.zeros(0), *_TABLEAU.a_lower)])
_C = np.concatenate([[0.0], _TABLEAU.c])


class StageInterpolation(diffrax.AbstractLocalInterpolation):
    """The parabola through the values at the start, at the middle stage and at the end of a step."""

    t0: Any
    t1: Any
    y0: Array
    middle: Array
    y1: Array

    def evaluate(self, t0: Array, t1: Array | None = None, left: bool = True) -> Array:
        if t1 is not None:
            return self.evaluate(t1) - self.evaluate(t0)
        s = jnp.where(self.t1 == self.t0, 0.0, (t0 - self.t0) / jnp.where(self.t1 == self.t0, 1.0, self.t1 - self.t0))
        # in this form both ends are met exactly
        bend = 2 * (self.y0 + self.y1) - 4 * self.middle
        return self.y0 * (1 - s) + self.y1 * s - bend * s * (1 - s)


class Implicit(diffrax.AbstractAdaptiveSolver):
    """Order 4(3) for nodal systems; `args` of the solve are theta, and the term's vector field is never called."""

    nodal: Nodal
    clock: float
    """Seconds in one unit of the solve's time."""
    tolerance: Any
    """Newton steps of each unknown that count as zero (volts or amperes)."""
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = StageInterpolation

    def order(self, terms: Any) -> int:
        return 4

    def init(self, terms, t0, t1, y0, args):
        return None

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        nodal, h = self.nodal, (t1 - t0) * self.clock
        start = t0 * self.clock
        gain = 1.0 / (h * _GAMMA)
        algebraic = _without_charge(nodal)
        lower, c = jnp.asarray(_LOWER), jnp.asarray(_C)
        first = jnp.where(algebraic, 0.0, -nodal.stamp(y0, args, start))
        q0 = nodal.charge(y0, args)

        def matrix(x: Array, t: Array) -> Array:
            di, dq = nodal.slopes(x, args, t)
            return di + gain * dq

        def stage(n, state):
            xs, slopes, ok = state
            known = q0 + h * (lower[n] @ slopes)
            t = start + c[n] * h

            def residual(x: Array) -> Array:
                return gain * (nodal.charge(x, args) - known) + nodal.stamp(x, args, t)

            def solve(x: Array, rhs: Array) -> Array:
                return nodal.pattern.solve(matrix(x, t), rhs)

            root = newton(
                residual, solve, jax.lax.stop_gradient(xs[n - 1]), absolute=self.tolerance, most=12, damped=False
            )
            x = differentiable(root.x, residual, solve)
            slope = gain * (nodal.charge(x, args) - known)
            return xs.at[n].set(x), slopes.at[n].set(slope), ok & root.converged

        xs = jnp.zeros((_STAGES, *y0.shape)).at[0].set(y0)
        slopes = jnp.zeros((_STAGES, *y0.shape)).at[0].set(first)
        xs, slopes, ok = jax.lax.fori_loop(1, _STAGES, stage, (xs, slopes, jnp.asarray(True)))
        lacking = h * (jnp.asarray(_TABLEAU.b_error) @ slopes)
        error = nodal.pattern.solve(matrix(xs[-1], start + h), gain * lacking)
        ok = ok & jnp.all(jnp.isfinite(error))
        error = jnp.where(ok, jax.lax.stop_gradient(error), jnp.inf)  # a stage without a solution: a smaller step
        dense = {"y0": y0, "middle": xs[1], "y1": xs[-1]}
        return xs[-1], error, dense, None, diffrax.RESULTS.successful


def _without_charge(nodal: Nodal) -> np.ndarray:
    """Equations without a derivative."""
    has = np.zeros(nodal.size + 1, bool)
    for s in nodal.stacks:
        if s.stores:
            has[s.index.ravel()] = True
    return ~has[: nodal.size]
