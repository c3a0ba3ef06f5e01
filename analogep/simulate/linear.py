"""Solves with the linearized circuit: G dv = di at an operating point, without ever forming the full G."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.circuit import Circuit, Evaluation
from analogep.simulate.forward_only import transpose_in_advance
from analogep.simulate.system import System

DENSE_LIMIT = 2048
"""Largest reduced matrix that is factorized for many right-hand sides; above it GMRES works on products."""

NEWTON_LIMIT = 64
"""The same for the one right-hand side of a Newton step."""

Solve = Callable[[Currents], dict[str, jax.Array]]


class Reduced:
    """A circuit at rest seen from its feedback buses: every other state follows from them in one walk.

    The reduced matrix has the size of the damped states however many cells there are, because the cells form a
    cascade: eliminating them in topological order is exact.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.core = system.core if isinstance(system, Circuit) else tuple(system.states)
        self.buses = {name: system.states[name] for name in self.core}

    def evaluate(
        self, core: Voltages, x: Voltages, theta: Parameters, sources: Voltages | None = None
    ) -> tuple[dict[str, Array], Currents]:
        """All states and the currents that leave the feedback buses; `sources` are currents into any bus."""
        if isinstance(self.system, Circuit):
            walk: Evaluation = self.system.settled
            v, leaving = walk(core, x, theta, 0.0, sources)
            return {name: v[name] for name in self.system.states}, leaving
        return dict(core), self.system.current(core, x, theta, 0.0, sources)

    def flatten(self, values: Voltages) -> jax.Array:
        """Vector over the feedback buses (empty where the circuit is a cascade without feedback)."""
        return jnp.concatenate([jnp.zeros(0), *(jnp.ravel(values[name]) for name in self.core)])

    def unflatten(self, vector: jax.Array) -> dict[str, jax.Array]:
        """Inverse of `flatten`."""
        out, start = {}, 0
        for name, bus in self.buses.items():
            out[name] = vector[start : start + bus.size].reshape(bus.shape)
            start += bus.size
        return out

    def newton(
        self, core: Array, x: Voltages, theta: Parameters, sources: Voltages | None = None
    ) -> tuple[Array, Array]:
        """Currents that leave the feedback buses at `core` (a vector of `flatten`), and the Newton step there."""

        def leaving(flat: Array) -> Array:
            return self.flatten(self.evaluate(self.unflatten(flat), x, theta, sources)[1])

        now, along = jax.linearize(leaving, core)
        return now, -self.inverse(along, limit=NEWTON_LIMIT, tolerance=1e-4)(now)

    def inverse(
        self, along: Callable[[Array], Array], *, limit: int = DENSE_LIMIT, tolerance: float = 1e-12
    ) -> Callable[[Array], Array]:
        """vector -> G_reduced^-1 vector, for G_reduced given by its products `along`.

        A dense factorization, or GMRES to the relative `tolerance` for more than `limit` states.
        """
        scale, size = self.system.scale.siemens, sum(bus.size for bus in self.buses.values())
        if not size:
            return lambda rhs: rhs
        if size <= limit:
            factors = jax.scipy.linalg.lu_factor(jax.vmap(along, out_axes=1)(jnp.eye(size)) / scale)
            return lambda rhs: jax.scipy.linalg.lu_solve(factors, rhs / scale)

        def scaled(rhs: Array) -> Array:
            return along(rhs) / scale

        options = {"tol": tolerance, "restart": 30, "maxiter": 80, "solve_method": "incremental"}

        def solve(rhs: Array) -> Array:
            with transpose_in_advance():
                return jax.scipy.sparse.linalg.gmres(scaled, rhs / scale, **options)[0]

        return solve


def linear_response(system: System, v: Voltages, x: Voltages, theta: Parameters) -> Solve:
    """A function that solves G dv = di for the settled state `v`.

    Parameters
    ----------
    v : state voltages at rest (the solve is exact only there).

    Returns
    -------
    currents into the states (a missing bus is 0) -> voltages of all states.
    """
    reduced = Reduced(system)
    core = reduced.flatten({name: v[name] for name in reduced.core})
    rest = {name: jnp.zeros(bus.shape) for name, bus in system.states.items()}

    def at_rest(flat: Array, pushed: Currents) -> tuple[dict[str, Array], Array]:
        states, leaving = reduced.evaluate(reduced.unflatten(flat), x, theta, pushed)
        return states, reduced.flatten(leaving)

    _, along = jax.linearize(at_rest, core, rest)
    inverse = reduced.inverse(lambda moved: along(moved, rest)[1])

    def solve(pushed: Currents) -> dict[str, jax.Array]:
        pushed = {name: jnp.asarray(pushed.get(name, zero)) for name, zero in rest.items()}
        # first what the pushed currents do with the feedback buses held, then how far those must move
        _, leaving = along(jnp.zeros_like(core), pushed)
        return along(-inverse(leaving), pushed)[0]

    return solve
