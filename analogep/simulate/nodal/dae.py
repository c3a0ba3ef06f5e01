"""A diffrax solver for d/dt q(x) + i(x, t) = 0 with singular dq/dx: the circuit's equations as they are.

A singly diagonally implicit Runge-Kutta method of order 4(3), stage order 2, L-stable and stiffly accurate (the
implicit half of ARK4(3)6L[2]SA: Kennedy and Carpenter 2003). Its stages are formed in charges, so charge is conserved,
and every stage satisfies the equations of memoryless nodes exactly (index 1: Hairer and Wanner 1996, sec. VI.1). The
error estimate, a charge, is turned into volts with the step's own matrix, which also damps its stiff part.
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

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
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
    differentiated: bool = False
    """Whether the states can be differentiated (forward mode); it costs one more evaluation a stage."""
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = StageInterpolation

    def order(self, terms: Any) -> int:
        return 4

    def init(self, terms, t0, t1, y0, args):
        """Charges at the start, and their slopes: -i, and nothing where an equation has no derivative."""
        leaving = self.nodal.stamp(y0, args, t0 * self.clock)
        return self.nodal.charge(y0, args), jnp.where(_without_charge(self.nodal), 0.0, -leaving)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        nodal, pattern, h = self.nodal, self.nodal.pattern, (t1 - t0) * self.clock
        start, gain = t0 * self.clock, 1.0 / (h * _GAMMA)
        lower, c = jnp.asarray(_LOWER), jnp.asarray(_C)
        q0, first = solver_state  # waveforms have corners but no jumps, so the slope at t0 is the last one

        def stage(n, state):
            xs, slopes, _, _, ok = state
            known = q0 + h * (lower[n] @ slopes)
            t = start + c[n] * h

            def equations(x: Array) -> tuple[Array, Array]:
                i, q, di, dq = nodal.linearized(x, jax.lax.stop_gradient(args), t)
                return gain * (q - jax.lax.stop_gradient(known)) + i, di + gain * dq

            def residual(x: Array) -> Array:
                return gain * (nodal.charge(x, args) - known) + nodal.stamp(x, args, t)

            guess = jax.lax.stop_gradient(xs[n - 1])
            root = newton(equations, pattern, guess, absolute=self.tolerance, most=12, damped=False)
            x = differentiable(root, residual, pattern) if self.differentiated else root.x
            q = nodal.charge(x, args)
            return xs.at[n].set(x), slopes.at[n].set(gain * (q - known)), q, root.values, ok & root.converged

        xs = jnp.zeros((_STAGES, *y0.shape)).at[0].set(y0)
        slopes = jnp.zeros((_STAGES, *y0.shape)).at[0].set(first)
        empty = jnp.zeros(len(pattern.rows))
        xs, slopes, q1, values, ok = jax.lax.fori_loop(1, _STAGES, stage, (xs, slopes, q0, empty, jnp.asarray(True)))
        lacking = gain * h * (jnp.asarray(_TABLEAU.b_error) @ slopes)
        safe = jnp.where(ok, values, jnp.asarray(pattern.rows == pattern.columns, float))
        error = pattern.solve(*jax.lax.stop_gradient((safe, jnp.where(ok, lacking, 0.0))))
        error = error - jnp.append(error, 0.0)[self.nodal.references]
        error = jnp.where(ok & jnp.all(jnp.isfinite(error)), error, jnp.inf)  # without a solution, a smaller step
        dense = {"y0": y0, "middle": xs[1], "y1": xs[-1]}
        return xs[-1], error, dense, (q1, slopes[-1]), diffrax.RESULTS.successful


def _without_charge(nodal: Nodal) -> np.ndarray:
    """Equations without a derivative."""
    has = np.zeros(nodal.size + 1, bool)
    for s in nodal.stacks:
        if s.stores:
            has[s.index.ravel()] = True
    return ~has[: nodal.size]
