"""Local estimators beside the oracle, on a compiled circuit or on F(z) as written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from analogep.compile.stages import to_conductances
from analogep.compile.transformer import STATE, Compiled
from analogep.ep import oracle
from analogep.ep.estimators import ASYM_EP, ENERGY_EP, MODEL_RULES, RULES, Estimators
from analogep.ep.fidelity import Fidelity, fidelity
from analogep.learning.model_phases import ModelPhases
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases, PhaseRun
from analogep.learning.rule import Phase, displacement
from analogep.models.objective import Batch
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array, Parameters
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import Settled, SettleOptions


@dataclass(frozen=True)
class Row:
    """One estimator against the implicit oracle.

    Attributes
    ----------
    gradient : its estimate, for dimensionless weights.
    total, arrays : fidelity in all and for each array.
    local : whether every update used only signals at the weight's own terminals.
    residual, converged : of the phases behind it.
    """

    gradient: dict[str, Array]
    total: Fidelity
    arrays: dict[str, Fidelity]
    local: bool
    residual: float
    converged: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **self.total.to_dict(),
            "local": self.local,
            "residual": self.residual,
            "converged": self.converged,
            "arrays": {name: each.to_dict() for name, each in self.arrays.items()},
        }


@dataclass(frozen=True)
class Comparison:
    """All estimators and both kinds of reference.

    Attributes
    ----------
    rows : estimator name -> Row.
    implicit : the oracle that rows are measured against.
    bptt : BPTT of F(z), and its fidelity; `circuit_bptt` alike through the circuit's solver, or None.
    residual : relative residual of the free phase.
    runs : voltages of every phase (leading axis: samples); None for a model.
    """

    rows: dict[str, Row]
    implicit: oracle.Reference
    bptt: tuple[oracle.Reference, Fidelity]
    circuit_bptt: tuple[oracle.Reference, Fidelity] | None
    residual: float
    runs: dict[Phase, PhaseRun] | None = None

    @property
    def converged(self) -> bool:
        """Whether every phase of every estimator settled."""
        return all(row.converged for row in self.rows.values())

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `analogep compare`."""
        out: dict[str, Any] = {
            "estimators": {name: row.to_dict() for name, row in self.rows.items()},
            "loss": float(self.implicit.loss),
            "residual": self.residual,
        }
        for key, pair in (("bptt", self.bptt), ("circuit_bptt", self.circuit_bptt)):
            if pair is not None:
                reference, total = pair
                out[key] = {**total.to_dict(), "residual": float(reference.residual), "loss": float(reference.loss)}
        return out


@dataclass(frozen=True)
class OracleOptions:
    """BPTT: Euler `steps` of `dt`; `circuit` adds BPTT through the circuit's solver over `horizon` tau."""

    steps: int = 150
    dt: float = 0.2
    circuit: bool = False
    horizon: float = 30.0


def _references(
    model: EquilibriumTransformer, weights: Parameters, z: Array, batch: Batch, options: OracleOptions
) -> tuple[oracle.Reference, tuple[oracle.Reference, Fidelity]]:
    data = (batch.inputs, batch.targets, batch.weights)
    implicit = oracle.implicit(model, weights, z, *data)
    unrolled = oracle.bptt(model, weights, *data, steps=options.steps, dt=options.dt)
    return implicit, (unrolled, fidelity(unrolled.gradient, implicit.gradient)[0])


def compare_circuit(
    phases: CircuitPhases,
    weights: Parameters,
    batch: Batch,
    *,
    beta: float = 1e-3,
    reference: OracleOptions = OracleOptions(),
    whole: Compiled | None = None,
) -> Comparison:
    """Every estimator that the circuit supports, from signals at its nodes, against the gradient of F(z) as written.

    The oracle shares no code with the circuit: it differentiates the model, and its gradient is scaled to weights by
    dL/dw = g0 dL/dg.

    Parameters
    ----------
    phases : of the compiled circuit; calling again with other weights compiles nothing anew.
    weights : dimensionless.
    whole : circuit of all tokens, through which BPTT goes if it is asked for; that of the phases when None. Phases of
        a lane need it.

    Raises
    ------
    ConvergenceError
        If the free phase does not settle, so that there is nothing to compare.
    """
    compiled = phases.compiled
    estimators = Estimators(phases)
    theta = to_conductances(weights, compiled.scale)
    x = rails(batch, compiled.scale.volts)
    names = estimators.available
    runs = estimators.run(names, x, theta, beta)
    contracted = compiled.level == "ideal" and Phase.NUDGED_PLUS in phases.supported
    if contracted:
        runs |= phases.run(x, theta, frozenset(ASYM_EP.phases), beta)
    free = runs[Phase.FREE].settled.require("the free phase")
    z = free.v[STATE] / compiled.scale.volts
    implicit, unrolled = _references(compiled.model, weights, z, batch, reference)
    rows = {}
    for name in names:
        estimate = estimators.gradient(name, runs, beta)
        gradient = {array: g * compiled.scale.siemens for array, g in estimate.gradient.items()}
        rows[name] = _row(gradient, implicit, True, float(estimate.residual), bool(estimate.converged))
    if contracted:  # AsymEP knows lambda at the states only; what is behind them must be differentiated
        plus, minus = (runs[p].settled for p in (Phase.CORRECTED_PLUS, Phase.CORRECTED_MINUS))
        lam = (plus.v[STATE] - minus.v[STATE]) / (2 * beta * compiled.scale.volts)
        gradient = oracle.contract(compiled.model, weights, z, lam, batch.inputs, batch.targets, batch.weights)
        rows[ASYM_EP.name] = _phase_row(gradient, implicit, [free, plus, minus])
    through = None
    if reference.circuit:
        unrolled_circuit = Circuit((whole or compiled).netlist, compiled.scale)
        found = oracle.circuit_bptt(unrolled_circuit, theta, x, horizon=reference.horizon)
        gradient = {array: g * compiled.scale.siemens for array, g in found.gradient.items()}
        through = (found, fidelity(gradient, implicit.gradient)[0])
    return Comparison(rows, implicit, unrolled, through, float(jnp.max(free.residual)), runs)


def compare_model(
    model: EquilibriumTransformer,
    weights: Parameters,
    batch: Batch,
    *,
    beta: float = 1e-3,
    settle: SettleOptions | None = None,
    reference: OracleOptions = OracleOptions(),
) -> Comparison:
    """The estimators on F(z): lambda at z from phases, then the contraction lambda^T dF/dtheta, which is not local."""
    phases = ModelPhases(model, weights, settle)
    x = {"token": batch.inputs, "target": batch.targets, "weight": batch.weights}
    runs = phases.run(x, weights, frozenset(p for name in MODEL_RULES for p in RULES[name].phases), beta)
    states = {phase: run.settled.v for phase, run in runs.items()}
    free = runs[Phase.FREE].settled.require("the free phase")
    data = (batch.inputs, batch.targets, batch.weights)
    z = free.v["z"]
    implicit, unrolled = _references(model, weights, z, batch, reference)
    rows = {}
    for name in MODEL_RULES:
        used = {Phase.FREE} | RULES[name].phases
        if name == ENERGY_EP.name:
            if model.free_share != 0:
                continue
            plus, minus = (runs[p].settled.v["z"] for p in (Phase.NUDGED_PLUS, Phase.NUDGED_MINUS))
            gradient = oracle.energy_contrast(model, weights, plus, minus, beta, data)
        else:
            gradient = oracle.contract(model, weights, z, displacement(RULES[name], states, beta)["z"], *data)
        rows[name] = _phase_row(gradient, implicit, [runs[p].settled for p in used])
    return Comparison(rows, implicit, unrolled, None, float(jnp.max(free.residual)))


def _row(gradient: dict[str, Array], implicit: oracle.Reference, local: bool, residual: float, converged: bool) -> Row:
    total, arrays = fidelity(gradient, implicit.gradient)
    return Row(gradient, total, arrays, local, residual, converged)


def _phase_row(gradient: dict[str, Array], implicit: oracle.Reference, settled: list[Settled]) -> Row:
    """A row whose gradient was contracted with dF/dtheta: not local."""
    residual = max(float(jnp.max(s.residual)) for s in settled)
    return _row(gradient, implicit, False, residual, all(bool(jnp.all(s.converged)) for s in settled))
