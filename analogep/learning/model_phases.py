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

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        pushed = self.unflatten(self.matrix @ self.flatten(v))
        return {bus: pushed[bus] - (sources or {}).get(bus, 0.0) for bus in self.states}

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
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

    @partial(jax.jit, static_argnames=("self", "options", "transposed"))
    def _nudged(
        self,
        free: PhaseRun,
        x: Voltages,
        theta: Parameters,
        beta: Array,
        options: SettleOptions,
        transposed: bool,
    ) -> PhaseRun:
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

    @partial(jax.jit, static_argnames=("self",))
    def _free(self, x: Voltages, theta: Parameters) -> PhaseRun:
        settled = settle_near(self.system, x, theta, options=self.options)
        return PhaseRun(self.system.voltages(settled.v, x, theta), settled)

    @partial(jax.jit, static_argnames=("self",))
    def _twin(self, free: PhaseRun, x: Voltages, theta: Parameters) -> PhaseRun:
        rest = free.settled.v
        twin = Linear(self.system, self.system.conductance(rest, x, theta).T)
        push = {"z": self.output_force(rest["z"], x, theta)}
        settled = settle_near(twin, x, theta, sources=push, options=self.options)
        return PhaseRun(twin.voltages(settled.v, x, theta), settled)

    def run(self, x: Voltages, theta: Parameters, beta: float) -> dict[Phase, PhaseRun]:
        """All phases for a batch of inputs (leading axis of x: samples)."""
        free = over_samples(self._free, (x,), theta)
        runs, near = {Phase.FREE: free}, nudge_options(self.options, beta)
        for phase, strength, transposed in (
            (Phase.NUDGED_PLUS, beta, False),
            (Phase.NUDGED_MINUS, -beta, False),
            (Phase.CORRECTED_PLUS, beta, True),
            (Phase.CORRECTED_MINUS, -beta, True),
        ):
            runs[phase] = over_samples(self._nudged, (free, x), theta, jnp.asarray(strength), near, transposed)
        runs[Phase.TWIN] = over_samples(self._twin, (free, x), theta)
        return runs

    def multipliers(self, name: str, runs: dict[Phase, PhaseRun], beta: float) -> Array:
        """lambda at z by one estimator, from (batched) runs: displacement over beta, or the twin's state."""
        z = {phase: run.settled.v["z"] for phase, run in runs.items()}
        return {
            "vector_field_ep": lambda: (z[Phase.NUDGED_PLUS] - z[Phase.NUDGED_MINUS]) / (2 * beta),
            "vector_field_ep_one_sided": lambda: (z[Phase.NUDGED_PLUS] - z[Phase.FREE]) / beta,
            "asym_ep": lambda: (z[Phase.CORRECTED_PLUS] - z[Phase.CORRECTED_MINUS]) / (2 * beta),
            "twin": lambda: z[Phase.TWIN],
        }[name]()
