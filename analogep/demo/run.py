"""What the demo computes: compile, run the phases, diagnose, compare, learn, and check against ngspice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import networkx as nx
import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from analogep.cells import Cell
from analogep.compile.stages import to_conductances
from analogep.compile.summary import summarize
from analogep.diagnostics import Panel, panel
from analogep.ep.compare import Comparison, OracleOptions, compare_circuit
from analogep.errors import MissingToolError
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases, PhaseRun
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import VSource
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import find_ngspice
from analogep.simulate.reference import (
    Overlay,
    check_operating_point,
    operating_point_deck,
    overlay_transient,
    run_transient,
    with_inputs,
)
from analogep.simulate.transient import to_dataset, transient
from analogep.spec import Spec
from analogep.training.backprop import bptt_gradient
from analogep.training.local import GradientOf, descend, settled_loss, twin_gradient
from analogep.training.problem import Problem, build

HORIZON, POINTS, RTOL = 6.0, 201, 1e-7
"""Length of the waveforms in units of tau, their samples, and the integrator's tolerance."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that the report shows.

    Attributes
    ----------
    before, after : comparison of estimators at the initial and at the locally trained weights, both at `parasitic`.
    free, plus, minus : waveforms of the free phase from 0 V and of the nudged phases from the free state.
    settled : the free state.
    learning : loss over steps, `local` and `bptt`, with validation losses and text entropies.
    overlay, settled_error : agreement with ngspice, or None without it.
    deck : SPICE text of the free phase.
    """

    spec: Spec
    problem: Problem
    summary: Mapping[str, Any]
    graph: nx.MultiDiGraph
    panel: Panel
    before: Comparison
    after: Comparison
    free: xr.Dataset
    plus: xr.Dataset
    minus: xr.Dataset
    settled: xr.Dataset
    learning: xr.Dataset
    trained: dict[str, np.ndarray]
    overlay: Overlay | None
    settled_error: float | None
    deck: str

    @property
    def numbers(self) -> dict[str, float]:
        """Key figures by name."""
        rows = {name: row.total for name, row in self.before.rows.items()}
        out = {
            **{f"{name}_cosine": total.cosine for name, total in rows.items()},
            "trained_twin_cosine": self.after.rows["twin"].total.cosine,
            "loss_before": float(self.learning["local_validation"][0]),
            "loss_local": float(self.learning["local_validation"][-1]),
            "loss_bptt": float(self.learning["bptt_validation"][-1]),
            "residual": self.before.residual,
        }
        if self.overlay is not None and self.settled_error is not None:
            out |= {"spice_transient_error": self.overlay.agreement.error, "spice_settled_error": self.settled_error}
        return out


def demonstrate(spec: Spec, console: Console) -> Results:
    """Run all parts of the demo; independent ones share the cores.

    Raises
    ------
    ConvergenceError
        If a phase does not settle.
    """
    shown = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*shown, console=console) as progress, ThreadPoolExecutor(3) as pool:
        parts = _Parts(progress, pool)
        problem = build(spec)
        compiled = problem.compiled("parasitic")
        phases = CircuitPhases(compiled, problem.settle)
        x = {name: value[0] for name, value in rails(problem.batch(), compiled.scale.volts).items()}
        theta = to_conductances(problem.weights, compiled.scale)
        circuit, beta, batch = phases.circuit, spec.phases.beta, problem.batch()
        spice = None
        if _has_ngspice():
            spice = parts.start("ngspice: the same deck", lambda: run_transient(circuit, x, theta, horizon=HORIZON))
        learning = parts.start("learning: local updates and BPTT", lambda advance: _learn(problem, advance), steps=True)
        options = OracleOptions(spec.oracle.steps, spec.oracle.dt)

        def estimate(weights: Parameters) -> Comparison:
            return compare_circuit(phases, weights, batch, beta=beta, reference=options)

        free = parts.start("free phase", lambda: phases.free(x, theta)).result()
        free.settled.require("the free phase")
        comparing = parts.start("estimators against both oracles", lambda: estimate(problem.weights))
        waves = parts.start("waveforms of the phases", lambda: _waveforms(phases, free, x, theta, beta))
        stability = parts.start("stability panel", lambda: _diagnose(phases, free, x, theta))
        netlist = with_inputs(circuit.netlist, x).with_arrays(theta)
        settled = check_operating_point(netlist, free.voltages).error if spice else None
        before, (curves, trained) = comparing.result(), learning.result()
        after = estimate(trained)
        overlay = None
        if spice:
            overlay = overlay_transient(circuit, x, theta, *spice.result(), points=POINTS, rtol=RTOL)
        return Results(
            spec, problem, summarize(compiled), block_graph(circuit), stability.result(), before, after,
            *waves.result(), _state(free), curves, trained, overlay, settled, operating_point_deck(netlist),
        )  # fmt: skip


def _has_ngspice() -> bool:
    try:
        find_ngspice()
    except MissingToolError:
        return False
    return True


class _Parts:
    """Jobs in threads (jax, LAPACK and ngspice all run outside the interpreter lock), each with a progress line."""

    def __init__(self, progress: Progress, pool: ThreadPoolExecutor) -> None:
        self.progress, self.pool = progress, pool

    def start(self, label: str, job: Callable[..., T], *, steps: bool = False) -> Future[T]:
        """Run a job; with `steps` it gets a function (done, total) to report with."""
        task = self.progress.add_task(label, total=1)

        def advance(done: int, total: int) -> None:
            self.progress.update(task, completed=done, total=total)

        def run() -> T:
            value = job(advance) if steps else job()
            total = self.progress.tasks[task].total
            self.progress.update(task, completed=total)
            return value

        return self.pool.submit(run)


def _waveforms(
    phases: CircuitPhases, free: PhaseRun, x: Voltages, theta: Parameters, beta: float
) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    times = np.linspace(0.0, HORIZON * phases.scale.seconds, POINTS)
    settling = to_dataset(transient(phases.circuit, times, x, theta, rtol=RTOL), phases.circuit)
    signed = []
    for sign in (1.0, -1.0):
        inputs = phases.nudged_inputs(free, x, sign * beta)
        waves = transient(phases.nudged_circuit, times, inputs, theta, v0=free.settled.v, rtol=1e-6 * beta)
        signed.append(to_dataset(waves, phases.nudged_circuit))
    return settling, signed[0], signed[1]


def _state(free: PhaseRun) -> xr.Dataset:
    """The settled state, labelled as waveforms are but without time."""
    values = {bus: np.asarray(v) for bus, v in free.settled.v.items()}
    return xr.Dataset({bus: ([f"{bus}_{k}" for k in range(v.ndim)], v, {"units": "V"}) for bus, v in values.items()})


def _diagnose(phases: CircuitPhases, free: PhaseRun, x: Voltages, theta: Parameters) -> Panel:
    return panel(phases.circuit, free.settled.v, x, theta, lyapunov_from=phases.circuit.zeros())


def _learn(problem: Problem, advance: Callable[[int, int], None]) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    """The same weights, batches and optimizer under local updates on the circuit and under BPTT on F(z)."""
    training = problem.spec.training
    compiled = problem.compiled(training.level)
    contenders: dict[str, tuple[GradientOf, float]] = {
        "local": (twin_gradient(compiled, problem.settle), compiled.scale.volts),
        "bptt": (bptt_gradient(problem.model, problem.spec.oracle.steps, problem.spec.oracle.dt), 1.0),
    }
    measure = settled_loss(compiled, problem.settle)
    held_out = rails(problem.batch(64, stream=1, validation=True), compiled.scale.volts)
    data: dict[str, np.ndarray] = {}
    weights: dict[str, dict[str, np.ndarray]] = {}
    marks = set(np.linspace(0, training.steps, 9).astype(int).tolist())
    total, done = len(contenders) * training.steps, 0
    for name, (gradient, volts) in contenders.items():
        batches = (rails(problem.batch(training.batch, stream=2 + k), volts) for k in range(training.steps + 1))
        losses, validation = [], np.full(training.steps + 1, np.nan)
        current: Mapping[str, Array] = problem.weights
        run = descend(gradient, problem.weights, batches, training.rate)
        for k, (step, after) in enumerate(run):  # one batch more than updates, for the loss after the last one
            losses.append(step.loss if step.converged else np.nan)
            if k in marks:
                validation[k] = float(measure(current, held_out))
            if k < training.steps:
                current = after
                advance(done + k + 1, total)
        done += training.steps
        data[name], data[f"{name}_validation"] = np.array(losses), validation
        weights[name] = {array: np.asarray(value) for array, value in current.items()}
    counts = np.bincount(problem.train, minlength=problem.model.vocabulary) / len(problem.train)
    unigram = float(-np.sum(counts[counts > 0] * np.log(counts[counts > 0])))
    attrs = {"uniform": float(np.log(problem.model.vocabulary)), "unigram": unigram, "units": "nats"}
    arrays = {name: ("step", values) for name, values in data.items()}
    return xr.Dataset(arrays, {"step": np.arange(training.steps + 1)}, attrs), weights["local"]


def block_graph(circuit: Circuit) -> nx.MultiDiGraph:
    """The netlist as plain data for the block diagram: buses with shape and kind, elements as labelled edges."""
    rails_, core = {e.a for e in circuit.netlist if isinstance(e, VSource)}, set(circuit.core)
    graph = nx.MultiDiGraph()
    for name, bus in circuit.netlist.buses.items():
        dynamic = "cell" if name in circuit.states else "driven"
        graph.add_node(name, shape=bus.shape, kind="input" if name in rails_ else "state" if name in core else dynamic)
    for source, target, key, element in circuit.netlist.graph().edges(keys=True, data="element"):
        kind = "crossbar" if isinstance(element, Crossbar) else "cell" if isinstance(element, Cell) else "source"
        graph.add_edge(source, target, key=key, label=element.name, kind=kind)
    return graph
