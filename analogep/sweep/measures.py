"""What a sweep can measure of a spec: the stability panel, fidelity of the local estimators, chips with errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from analogep.compile.transformer import STATE
from analogep.diagnostics import panel as stability_panel
from analogep.diagnostics.analyzed import Analyzed
from analogep.ep import oracle
from analogep.ep.estimators import Estimate, Estimators
from analogep.ep.fidelity import fidelity as compare_gradients
from analogep.errors import AnalogepError, ConvergenceError
from analogep.learning.phases import CircuitPhases, PhaseRun
from analogep.learning.rule import Phase
from analogep.netlist._types import Array, Voltages
from analogep.simulate.settle import settle
from analogep.spec import Chip, Spec, parse_spec
from analogep.sweep.chips import Chips, Errors, Found
from analogep.technology import named_key, preset, to_pairs
from analogep.training.shared import KEPT, Dialed, Shared, fingerprint, share

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
    for name, estimate in _estimates(at.phases, estimators.available, runs, beta).items():
        out["phase_residual"] = max(out["phase_residual"], float(estimate.residual))
        if not estimate.converged:
            out["converged"] = False
            continue
        siemens = at.circuit.scale.siemens
        total, _ = compare_gradients({k: g * siemens for k, g in estimate.gradient.items()}, reference.gradient)
        out |= {f"{name}_cosine": total.cosine, f"{name}_relative_error": total.relative_error}
    return out


@partial(jax.jit, static_argnames=("phases", "names"))
def _estimates(
    phases: CircuitPhases, names: tuple[str, ...], runs: dict[Phase, PhaseRun], beta: float
) -> dict[str, Estimate]:
    """The estimates of several rules from the same phases, in one program."""
    return {name: Estimators(phases).gradient(name, runs, beta) for name in names}


def _implicit(at: Shared, z: np.ndarray) -> oracle.Reference:
    """Gradient of the weights at the settled voltages `z` of a batch."""
    model, batch = at.problem.model, at.batch
    theta = {**at.problem.weights, **Dialed.setting(model)}
    states = z / at.circuit.scale.volts
    found = oracle.implicit(Dialed.of(model), theta, states, batch.inputs, batch.targets, batch.weights)
    return found._replace(gradient={name: found.gradient[name] for name in at.problem.weights})


def chip(spec: Spec) -> dict[str, float]:
    """One chip with the errors of `[chip]`, at its own conductances, on the batch of the spec.

    Returns
    -------
    `reversed_cosine` and `reversed_relative_error` of its gradient by the reversed estimator, whose cells are copies,
    against its exact one; `loss` (nats), and `loss_change` from the circuit as it was meant; `settling_time` and
    `nudged_settling_time` (tau); `residual` and `converged`. Of a chip that did not settle only the last two.
    """
    (found,) = chips([spec])
    if isinstance(found, Exception):
        raise found
    return found


def chips(specs: Sequence[Spec]) -> list[dict[str, float] | Exception]:
    """`chip` of each, or why there is none."""
    out: list[dict[str, float] | Exception] = [{} for _ in specs]
    lanes: dict[Chips, list[tuple[int, _Meant, Errors]]] = {}
    for k, spec in enumerate(specs):
        try:
            meant = _meant(*fingerprint(spec.model_copy(update={"chip": Chip()})))
            lanes.setdefault(meant.program, []).append((k, meant, meant.draw(spec)))
        except AnalogepError as error:
            out[k] = error
    for program, some in lanes.items():
        found = program.run([m.x for _, m, _ in some], [m.at.theta for _, m, _ in some], [e for *_, e in some])
        for (k, meant, _), one in zip(some, found, strict=True):
            out[k] = _of_chip(one, meant.loss)
    return out


def _of_chip(found: Found, meant: float) -> dict[str, float]:
    """The numbers of a chip; `meant` is the loss of the circuit without errors."""
    out = {"residual": float(found.residual), "converged": bool(found.settled)}
    if not out["converged"]:
        return out
    out |= {"settling_time": float(found.times[0]), "nudged_settling_time": float(found.times[1])}
    out |= {"loss": float(found.loss), "loss_change": float(found.loss) - meant}
    total, _ = compare_gradients(found.measured, found.exact)
    return {**out, "reversed_cosine": total.cosine, "reversed_relative_error": total.relative_error}


@dataclass(frozen=True, eq=False)
class _Meant:
    """A circuit without errors, of which chips are made."""

    at: Shared
    program: Chips
    arrays: dict[str, Array]
    x: Voltages
    loss: float

    def draw(self, spec: Spec) -> Errors:
        """Errors of the chip that a spec names."""
        chip, devices = spec.chip, spec.technology
        kind = preset(devices.device).at(**devices.settings) if chip.devices else preset("ideal")
        key = jax.random.fold_in(named_key(jax.random.key(spec.seed), "chip"), chip.number)
        return self.program.draw(key, to_pairs(self.arrays, kind), chip.mismatch, chip.offset, kind=kind)


@lru_cache(maxsize=KEPT)
def _program(phases: CircuitPhases) -> Chips:
    return Chips(phases)


@lru_cache(maxsize=KEPT)
def _meant(spec: str, files: tuple) -> _Meant:
    """The circuit of a spec in JSON, whose files are as they were."""
    at = share(parse_spec(json.loads(spec)))
    program, x = _program(at.phases), jax.tree.map(jnp.asarray, dict(at.rails))
    arrays = {name: at.theta[name] for name in at.problem.weights}
    (found,) = program.run([x], [at.theta], [program.meant(arrays)])
    if not found.settled:
        raise ConvergenceError(
            "the circuit without errors did not settle, so that chips of it are nothing to compare with; raise "
            "model.damping or phases.horizon"
        )
    return _Meant(at, program, arrays, x, float(found.loss))
