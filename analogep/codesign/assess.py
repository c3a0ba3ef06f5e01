"""From a problem, its hardware and its limits to a verdict: the whole way, once.

At level `parasitic` devices, wires and cells' errors are effects of the budget on a circuit without them. At `device`
the circuit has its wires (folded into effective arrays, exact at rest) and its transistors: the verdict, the costs, the
margins and the budget are all of that circuit, and its gradient is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from analogep.codesign.budget import Budget, Evaluate, error_budget
from analogep.codesign.capacitor import Choice, damping_margins, search
from analogep.codesign.cost import Costs, costs
from analogep.codesign.digital import comparison
from analogep.codesign.feasibility import Limits, Verdict, judge, refuse_contradictions
from analogep.codesign.hardware import Hardware
from analogep.codesign.learning_step import RESIDUAL, LearningStep
from analogep.codesign.operating import OperatingPoint, operating_point
from analogep.compile import Compiled, DeviceOptions, compile_transformer, to_conductances
from analogep.diagnostics import panel
from analogep.diagnostics.analyzed import Analyzed
from analogep.errors import SpecError
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.netlist.wired import Folded, fold_wires
from analogep.spec import Level
from analogep.training.problem import Problem
from analogep.units import Scale

DENSE = 400
"""Most states of a stability panel by factorizations; larger ones work on products with vectors."""
SPAN = (1 / 30, 100.0)
"""Range of damping capacitors that is searched, relative to the spec's."""
FILL = 0.5
"""Part of the devices' range that the largest weight takes where the scale is left open: the rest is room to learn."""

LEFT_OUT = {
    "device": (
        "finite settling: phases settle before they are read (their time is in the costs)",
        "wires as an effect: they are in the circuit",
    )
}
"""What is not in the error budget of a level, and why."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """Everything that was found.

    Attributes
    ----------
    budgets : `angle` (1 - cosine) and `loss` (nats).
    stability : numbers of the panel (units of tau).
    digital : a BPTT step of the same model.
    capacitor : smallest safe damping capacitor; None if it was not asked for.
    scale : units of the circuit.
    level : of the circuit that all of this was found on.
    """

    verdict: Verdict
    costs: Costs
    budgets: dict[str, Budget]
    stability: dict[str, float]
    digital: dict[str, Any]
    capacitor: Choice | None
    scale: Scale
    hardware: Hardware
    level: Level = "parasitic"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `analogep feasibility`."""
        device = self.hardware.device
        return {
            **self.verdict.to_dict(),
            "level": self.level,
            "budget_left_out": list(LEFT_OUT.get(self.level, ())),
            "budget": {measure: budget.to_dict() for measure, budget in self.budgets.items()},
            "costs": self.costs.to_dict(),
            "digital": self.digital,
            "stability": self.stability,
            "smallest_capacitor": None if self.capacitor is None else self.capacitor.to_dict(),
            "scale": {"volts": self.scale.volts, "siemens": self.scale.siemens, "farads": self.scale.farads},
            "device": {"name": device.name, **device.table(), "sources": dict(device.sources)},
        }


def fitted_scale(problem: Problem, hardware: Hardware) -> Scale:
    """The spec's scale; siemens left open become those at which the largest weight takes `FILL` of the range."""
    technology = problem.spec.technology
    if technology.siemens is not None or not np.isfinite(hardware.device.gmax):
        return technology.scale
    largest = max(float(np.max(np.abs(w))) for w in problem.weights.values())
    return Scale(technology.volts, FILL * hardware.device.span / largest, technology.farads)


def compiled_for(problem: Problem, hardware: Hardware, scale: Scale) -> tuple[Compiled, Folded]:
    """The circuit of a problem on its hardware, at the level of its spec; wires are folded into effective arrays.

    Raises
    ------
    SpecError
        For level `ideal`, whose nodes have no capacitors, and for weights that do not fit the devices.
    NetlistError
        At level `device`, for a model that cannot be built of transistor cells.
    """
    options = problem.spec.compile
    if options.level == "ideal":
        raise SpecError(
            "feasibility: compile.level = 'ideal' has no capacitors at its cells; use 'parasitic', or "
            "'device' for wires and transistors"
        )
    compiled = compile_transformer(
        problem.model, problem.weights, level=options.level, scale=scale, epsilon=options.epsilon,
        devices=DeviceOptions(hardware.device, hardware.wires),
    )  # fmt: skip
    folded = fold_wires(compiled.netlist)
    return replace(compiled, netlist=folded.netlist), folded


def assess(
    problem: Problem, hardware: Hardware, limits: Limits, *, chips: int = 6, capacitor: bool = True
) -> Assessment:  # fmt: skip
    """Settle, cost, budget and judge the block of a problem with its first batch.

    Parameters
    ----------
    chips : of the error budget.
    capacitor : whether to look for the smallest safe damping capacitor.

    Raises
    ------
    SpecError
        For contradictory limits, weights that do not fit the devices, or level `ideal`.
    ConvergenceError
        If the circuit does not settle.
    """
    rows = max(shape[1] for shape in problem.model.weight_shapes.values())
    refuse_contradictions(limits, hardware, rows=rows, tokens=problem.model.tokens)
    scale = fitted_scale(problem, hardware)
    compiled, folded = compiled_for(problem, hardware, scale)
    phases, batch = CircuitPhases(compiled, problem.settle), problem.batch()
    theta = folded.effective(to_conductances(problem.weights, scale))
    point = operating_point(phases, rails(batch, scale.volts), theta, hardware.beta)
    stability = _stability(point)
    counted = costs(point, hardware, alpha=stability["spectral_abscissa"])
    given = hardware.settle_seconds or counted["settling_time"]
    # cutting phases off would compile two more solvers of all transistors, minutes for what is a small share
    horizon = None if folded.tiles else given / scale.seconds
    step = LearningStep(
        phases, problem.weights, batch, hardware=replace(hardware, settle_seconds=given), horizon=horizon,
        tiles=folded.tiles,
    )  # fmt: skip
    budgets = error_budget(step.names, _evaluator(step, problem.spec.seed, chips), chips=chips, seed=problem.spec.seed)
    choice = None
    if capacitor:
        margins = damping_margins(
            point, hardware,
            settling=limits.settling_time or float("inf"),
            decay=limits.decay or 1e-3,
            nudge_to_noise=limits.nudge_to_noise or 1e-9,
        )  # fmt: skip
        choice = search(margins, *(scale.farads * factor for factor in SPAN))
    verdict = judge(limits, counted, budgets, stability=stability, hardware=hardware)
    rival = comparison(
        problem.model, counted["settling_time"] / scale.seconds, counted["energy_per_learned_token"],
        problem.spec.oracle.dt,
    )  # fmt: skip
    level = problem.spec.compile.level
    return Assessment(verdict, counted, budgets, stability, rival, choice, scale, hardware, level)


def _evaluator(step: LearningStep, seed: int, chips: int) -> Evaluate:
    keys = jax.random.split(jax.random.key(seed), chips)

    def evaluate(switches: np.ndarray, chip: np.ndarray) -> dict[str, np.ndarray]:
        found = step.evaluate(switches, keys[chip])
        settled = np.asarray(found.residual) <= RESIDUAL
        return {name: np.where(settled, np.asarray(getattr(found, name)), np.nan) for name in ("angle", "loss")}

    return evaluate


def _stability(point: OperatingPoint) -> dict[str, float]:
    v = {bus: point.voltages[bus] for bus in point.circuit.states}
    large = Analyzed(point.circuit).states > DENSE
    found = panel(point.circuit, v, dict(point.x), point.theta, horizon=None, matrix_free=large)
    wanted = ("spectral_abscissa", "numerical_abscissa", "peak_growth", "rho_sinv_a", "hopf_frequency")
    return {name: value for name, value in found.to_dict().items() if name in wanted}
