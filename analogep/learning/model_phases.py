"""The same phases on F(z) as written: no circuit, so lambda is known at z only.

The adjoint is the transpose of the Jacobian that forward mode gives, dense; for circuits it is a network instead
(`learning.phases`).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from analogep.learning.phases import Injected, PhaseRun, nudge_options, over_samples
from analogep.learning.rule import Phase
from analogep.models import layers
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import SettleOptions, settle_near
from analogep.simulate.system import ModelSystem, System


class Linear(System):
    """Leaving current M v of a fixed matrix M, on the states of another system."""

    def __init__(self, base: System, matrix: Array) -> None:
        self.matrix = matrix
        self.states, self.capacitance = base.states, base.capacitance
        self.theta, self.scale = base.theta, base.scale

    def current(self, v, x, theta, t=0.0, sources=None) -> Currents:
        pushed = self.unflatten(self.matrix @ self.flatten(v))
        return {bus: pushed[bus] - (sources or {}).get(bus, 0.0) for bus in self.states}

    def voltages(self, v, x, theta, t=0.0, sources=None) -> dict[str, Array]:
        return dict(v)


class ModelPhases:
    """Phases of an EquilibriumTransformer's F(z); inputs are `token`, `target` and `weight`, dimensionless."""

    def __init__(
        self, model: EquilibriumTransformer, weights: Parameters, options: SettleOptions | None = None
    ) -> None:
        self.model, self.options = model, options or SettleOptions()
        self.system = ModelSystem(model, weights, forward_only=True)

    def output_force(self, z: Array, x: Voltages, theta: Parameters) -> Array:
        """-dL/dz = J_LN^T W^T w (y - p), written out."""
        u, sigma = layers.layer_norm(z, self.model.layer_norm_epsilon)
        error = x["weight"][:, None] * (x["target"] - jax.nn.softmax(u @ theta["readout"].T))
        return layers.layer_norm_transpose(error @ theta["readout"], u, sigma)

    def _nudged(self, free: PhaseRun, x, theta, beta, options, transposed: bool) -> PhaseRun:
        rest = free.settled.v
        matrix = self.system.conductance(rest, x, theta)
        twice_a = matrix - matrix.T

        def inject(v: Voltages) -> Currents:
            push = {"z": beta * self.output_force(v["z"], x, theta)}
            if transposed:
                away = self.system.flatten(v) - self.system.flatten(rest)
                push["z"] = push["z"] + self.system.unflatten(twice_a @ away)["z"]
            return push

        system = Injected(self.system, inject)
        nearby = Linear(self.system, matrix.T if transposed else matrix)
        near = linear_response(nearby, rest, x, theta)
        settled = settle_near(system, x, theta, v0=rest, inverse=near, options=options)
        return PhaseRun(system.voltages(settled.v, x, theta), settled)

    @partial(jax.jit, static_argnames=("self", "beta"))
    def run(self, x: Voltages, theta: Parameters, beta: float) -> dict[Phase, PhaseRun]:
        """All phases for one sample."""
        settled = settle_near(self.system, x, theta, options=self.options)
        free = PhaseRun(self.system.voltages(settled.v, x, theta), settled)
        runs, near = {Phase.FREE: free}, nudge_options(self.options, beta)
        for transposed, plus, minus in (
            (False, Phase.NUDGED_PLUS, Phase.NUDGED_MINUS),
            (True, Phase.CORRECTED_PLUS, Phase.CORRECTED_MINUS),
        ):
            both = jax.lax.map(
                lambda b, t=transposed: self._nudged(free, x, theta, b, near, t), jnp.array([beta, -beta])
            )
            runs[plus], runs[minus] = (jax.tree.map(lambda leaf, k=k: leaf[k], both) for k in (0, 1))
        twin = Linear(self.system, self.system.conductance(settled.v, x, theta).T)
        push = {"z": self.output_force(settled.v["z"], x, theta)}
        reached = settle_near(twin, x, theta, sources=push, options=self.options)
        runs[Phase.TWIN] = PhaseRun(twin.voltages(reached.v, x, theta), reached)
        return runs

    def run_batch(self, x: Voltages, theta: Parameters, beta: float) -> dict[Phase, PhaseRun]:
        """`run` for every sample of a batch (leading axis of x)."""
        return over_samples(lambda one: self.run(one, theta, beta), x)

    def multipliers(self, name: str, runs: dict[Phase, PhaseRun], beta: float) -> Array:
        """lambda at z by one estimator, from (batched) runs: displacement over beta, or the twin's state."""
        z = {phase: run.settled.v["z"] for phase, run in runs.items()}
        return {
            "vector_field_ep": lambda: (z[Phase.NUDGED_PLUS] - z[Phase.NUDGED_MINUS]) / (2 * beta),
            "vector_field_ep_one_sided": lambda: (z[Phase.NUDGED_PLUS] - z[Phase.FREE]) / beta,
            "asym_ep": lambda: (z[Phase.CORRECTED_PLUS] - z[Phase.CORRECTED_MINUS]) / (2 * beta),
            "twin": lambda: z[Phase.TWIN],
        }[name]()
