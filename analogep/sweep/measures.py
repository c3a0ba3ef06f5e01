"""What a sweep can measure of a spec: the stability panel, and the fidelity of the local estimators."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from analogep.compile.transformer import STATE
from analogep.diagnostics import panel as stability_panel
from analogep.diagnostics.analyzed import Analyzed
from analogep.ep import oracle
from analogep.ep.estimators import Estimators
from analogep.ep.fidelity import fidelity as compare_gradients
from analogep.learning.rule import Phase
from analogep.simulate.settle import settle
from analogep.spec import Spec
from analogep.training.shared import Dialed, Shared, share

DENSE = 400
"""Most states of a panel by factorizations, which take seconds beyond; larger ones work on products with vectors."""


def panel(spec: Spec) -> dict[str, float]:
    """The stability panel at the operating point of the first window, and how the circuit settled there.

    Returns
    -------
    The keys of `analogep diagnose` but for the Lyapunov exponent (rates in 1/tau), `settling_time` (tau), `residual`
    and `converged`. Of a circuit that did not settle only the last two; a number whose iteration did not converge is
    not-a-number.
    """
    at = share(spec)
    x = jax.tree.map(lambda rail: rail[0], dict(at.rails))
    settled = settle(at.circuit, x, at.theta, options=at.problem.settle)
    out = {"residual": float(settled.residual), "converged": bool(settled.converged)}
    if not settled.converged:
        return out
    matrix_free = Analyzed(at.circuit).states > DENSE
    found = stability_panel(at.circuit, settled.v, x, at.theta, horizon=None, matrix_free=matrix_free)
    numbers = {name: value for name, value in found.to_dict().items() if name != "lyapunov_finite_time"}
    return {**out, "settling_time": float(settled.time), **numbers}


def fidelity(spec: Spec) -> dict[str, float]:
    """Every local estimator that the circuit supports, against implicit differentiation of F(z) as written.

    Returns
    -------
    `<estimator>_cosine` and `<estimator>_relative_error`, `loss` (nats), `phase_residual` (the largest of all phases)
    and `converged`. An estimator with a phase that did not settle is left out.
    """
    at = share(spec)
    estimators, beta = Estimators(at.phases), spec.phases.beta
    runs = estimators.run(estimators.available, at.rails, at.theta, beta)
    free = runs[Phase.FREE].settled
    out = {"phase_residual": float(jnp.max(free.residual)), "converged": bool(jnp.all(free.converged))}
    if not out["converged"]:
        return out
    reference = _implicit(at, np.asarray(free.v[STATE]))
    out["loss"] = float(reference.loss)
    for name in estimators.available:
        estimate = estimators.gradient(name, runs, beta)
        out["phase_residual"] = max(out["phase_residual"], float(estimate.residual))
        if not estimate.converged:
            out["converged"] = False
            continue
        siemens = at.circuit.scale.siemens
        total, _ = compare_gradients({k: g * siemens for k, g in estimate.gradient.items()}, reference.gradient)
        out |= {f"{name}_cosine": total.cosine, f"{name}_relative_error": total.relative_error}
    return out


def _implicit(at: Shared, z: np.ndarray) -> oracle.Reference:
    """Gradient of the weights at the settled voltages `z` of a batch."""
    model, batch = at.problem.model, at.batch
    theta = {**at.problem.weights, **Dialed.setting(model)}
    states = z / at.circuit.scale.volts
    found = oracle.implicit(Dialed.of(model), theta, states, batch.inputs, batch.targets, batch.weights)
    return found._replace(gradient={name: found.gradient[name] for name in at.problem.weights})
