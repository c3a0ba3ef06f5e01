"""What the command line does: a spec in, a result out. Scripts may call these as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import xarray as xr

from analogep import sweep
from analogep.codesign.assess import Assessment, assess
from analogep.codesign.feasibility import Limits
from analogep.codesign.hardware import Hardware
from analogep.codesign.pareto import fronts, require_parasitic, summary
from analogep.codesign.searches import load_optuna
from analogep.diagnostics import Panel, panel
from analogep.ep.compare import Comparison, OracleOptions, compare_circuit, compare_model
from analogep.errors import DataError, NetlistError
from analogep.files import whole_file
from analogep.learning.deck import PhaseName, adjoint_reference, phase_deck
from analogep.learning.lane import LanePhases
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.netlist._types import Parameters, Voltages
from analogep.netlist.spice.write import primitives
from analogep.netlist.wired import fold_wires
from analogep.plot.pareto import draw
from analogep.simulate.circuit import Circuit
from analogep.simulate.reference import (
    SETTLED_LIMIT,
    TRANSIENT_LIMIT,
    NodeError,
    Overlay,
    check_operating_point,
    check_transient,
    operating_point_deck,
    overlay_transient,
    run_transient,
    with_inputs,
)
from analogep.simulate.settle import Settled, settle
from analogep.simulate.transient import to_dataset, transient
from analogep.spec import Spec
from analogep.technology import preset
from analogep.training.problem import Problem, build

MAP = ("model.damping=0.5:8:5:log", "model.asymmetry=0.15:0.9:4", "technology.device=reram,pcm,capacitor")
"""Axes of a feasibility map."""
POINT = "analogep.codesign.point:measure"
"""What is measured at each of its points."""


def first_sample(problem: Problem) -> dict[str, np.ndarray]:
    """Rail voltages of the first window of the spec's batch."""
    volts = problem.spec.technology.scale.volts
    return {name: value[0] for name, value in rails(problem.batch(), volts).items()}


def compare(spec: Spec, system: Literal["circuit", "model", "lane"] = "circuit") -> Comparison:
    """Every estimator against the oracles: on the compiled circuit, on F(z), or on one lane token after token."""
    problem = build(spec)
    o = spec.oracle
    options = OracleOptions(o.steps, o.dt, o.circuit, o.horizon)
    beta, batch = spec.phases.beta, problem.batch()
    if system == "model":
        return compare_model(problem.model, problem.weights, batch, beta=beta, settle=problem.settle, reference=options)
    whole = problem.compiled()
    lane = LanePhases(problem.compiled(schedule="sequential"), problem.settle) if system == "lane" else None
    phases = lane or CircuitPhases(whole, problem.settle)
    return compare_circuit(phases, problem.weights, batch, beta=beta, reference=options, whole=whole)


def diagnose(spec: Spec) -> Panel:
    """The stability panel of the compiled circuit at the operating point of its first window."""
    problem = build(spec)
    circuit, x, theta = circuit_of(problem)
    free = settle(circuit, x, theta, options=problem.settle).require("the free phase")
    return panel(circuit, free.v, x, theta, lyapunov_from=circuit.zeros())


def feasibility(spec: Spec) -> Assessment:
    """Costs, error budget and verdict of the spec's block on its devices."""
    return assess(build(spec), _hardware(spec), Limits(**spec.feasibility.limits), chips=spec.feasibility.chips)


def pareto(
    spec: Spec, folder: Path, *, evaluations: int = 100, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Designs of the spec's block between least energy and least gradient error, by gradient and by optuna.

    Parameters
    ----------
    folder : gets `pareto.nc` and `pareto.png`.
    evaluations : of each search.

    Returns
    -------
    A JSON-ready summary with the paths.
    """
    prepare_pareto(spec, folder)
    limits = Limits(**spec.feasibility.limits)
    data = fronts(build(spec), _hardware(spec), limits, budget=evaluations, progress=progress)
    path = folder / "pareto.nc"
    with whole_file(path) as partial:
        data.to_netcdf(partial, engine="h5netcdf")
    figure = draw(data, folder / "pareto.png")
    return {**summary(data), "path": str(path), "figure": str(figure)}


def prepare_pareto(spec: Spec, folder: Path) -> None:
    """Make the folder, and find out before minutes of work what `pareto` would refuse.

    Raises
    ------
    SpecError
        For another level than `parasitic`.
    MissingToolError
        If optuna is not installed.
    DataError
        If the folder cannot be made.
    """
    require_parasitic(spec)
    load_optuna()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot make the folder: {error.strerror or error}") from None


def _hardware(spec: Spec) -> Hardware:
    device = preset(spec.technology.device).at(**spec.technology.settings)
    return Hardware(device=device, **spec.feasibility.hardware)


def feasibility_map(
    tables: Mapping[str, Any], axes: Sequence[str], folder: Path, *, workers: int = 0, scheduler: str | None = None,
    retry: bool = False,
) -> sweep.Outcome:  # fmt: skip
    """The verdict over damping, asymmetry and technology, as a sweep that can be resumed.

    Parameters
    ----------
    tables : of the spec. `data.objective` is `last_token` where it is left out, because only that and `masked` may be
        asked of a block that is not causal.
    axes : as `--axis` takes them; one takes the place of that of the same name in `MAP`, others are added.
    folder, workers, scheduler, retry : as `sweep.run` has them.
    """
    given = dict(tables)
    given["data"] = {"objective": "last_token", **given.get("data", {})}
    named = {axis.name: axis for axis in map(sweep.parse_axis, [*MAP, *axes])}
    plan = sweep.make_plan(given, list(named.values()), [POINT])
    return sweep.run(plan, folder, workers=workers, scheduler=scheduler, retry=retry, progress=True)


def circuit_of(problem: Problem) -> tuple[Circuit, Voltages, Parameters]:
    """The compiled circuit, wires folded, the inputs of its first window and its conductances."""
    compiled = problem.compiled()
    circuit = Circuit(fold_wires(compiled.netlist).netlist, compiled.scale)
    return circuit, first_sample(problem), circuit.theta


@dataclass(frozen=True, eq=False)
class Export:
    """A deck and, if it was checked, how it agrees."""

    deck: str
    summary: dict[str, Any]
    passed: bool

    @property
    def rows(self) -> list[tuple[str, Any]]:
        """The summary's numbers, flat."""
        inner = [(f"{group}.{k}", v) for group in ("spice", "adjoint") for k, v in self.summary.get(group, {}).items()]
        return [(k, v) for k, v in self.summary.items() if not isinstance(v, dict)] + inner


def export_phase(spec: Spec, phase: PhaseName, *, dialect: str = "ngspice", check: bool = False) -> Export:
    """Deck of a phase; `check` runs it in ngspice and compares every node, in waveforms too for the free phase.

    The adjoint deck is compared with -G^-T dL/dv from a dense solve of the circuit's own equations. Decks of other
    dialects than ngspice's cannot be checked.
    """
    if check and dialect != "ngspice":
        raise NetlistError(f"a deck for {dialect} cannot be checked here; leave out --check, or check ngspice's")
    problem = build(spec)
    phases = CircuitPhases(problem.compiled(), problem.settle)
    x, theta = first_sample(problem), phases.circuit.theta
    deck = phase_deck(phases, phase, x, theta, spec.phases.beta)
    text = operating_point_deck(deck.netlist, held=deck.held, dialect=dialect)
    summary: dict[str, Any] = {"level": phases.compiled.level, "primitives": primitives(deck.netlist, deck.held)}
    if not check:
        return Export(text, summary, True)
    expected = deck.voltages
    if phase == "adjoint":
        expected = {**deck.voltages, **adjoint_reference(phases, x, theta, deck)}
        scale = max(float(np.abs(expected[bus]).max()) for bus in deck.netlist.buses if bus in expected)
        ours = max(float(np.abs(expected[bus] - deck.voltages[bus]).max()) for bus in phases.twin_circuit.states)
        summary["adjoint"] = {"network_error": ours / scale}
    settled = check_operating_point(deck.netlist, expected, held=deck.held)
    spice = _agreement(settled)
    if phase == "free":
        spice |= _transient_agreement(check_transient(deck.system, deck.x, theta).agreement)
    summary["spice"] = spice
    return Export(text, summary, spice["settled_error"] <= SETTLED_LIMIT and spice["max_error"] <= TRANSIENT_LIMIT)


def _agreement(settled: NodeError) -> dict[str, Any]:
    return {
        "max_error": settled.error,
        "settled_error": settled.error,
        "settled_node": settled.node,
        "nodes": settled.nodes,
        "full_scale_volts": settled.full_scale,
        "ngspice_seconds": settled.reference_seconds,
        "speedup": None,
    }


def _transient_agreement(waves: NodeError) -> dict[str, Any]:
    return {
        "max_error": waves.error,
        "max_node": waves.node,
        "ngspice_seconds": waves.reference_seconds,
        "analogep_seconds": waves.seconds,
        "speedup": waves.speedup,
    }


def simulate(
    spec: Spec, analyses: list[str], backend: Literal["jax", "ngspice", "both"], *, horizon: float, points: int
) -> tuple[dict[str, Any], xr.Dataset]:
    """Operating point (`op`) and transient (`tran`) of the first window.

    Returns
    -------
    A JSON-ready summary, and a dataset with a variable `<bus>` (volts) over time for a transient, and `<bus>_op` for
    the operating point. With backend `ngspice` the transient is ngspice's.
    """
    problem = build(spec)
    circuit, x, theta = circuit_of(problem)
    settled = settle(circuit, x, theta, options=problem.settle).require("the operating point")
    voltages = circuit.voltages(settled.v, x, theta)
    result: dict[str, Any] = {
        "analyses": analyses,
        "backend": backend,
        "residual": float(settled.residual),
        "settling_time_tau": float(settled.time),
        "range_volts": {bus: [float(np.min(v)), float(np.max(v))] for bus, v in voltages.items()},
    }
    data = _op_dataset(circuit, settled, voltages) if "op" in analyses else xr.Dataset()
    spice: dict[str, Any] = {}
    built = circuit
    if backend != "jax":  # ngspice has every wire
        built = Circuit(problem.compiled().netlist, circuit.scale)
        spice |= _agreement(check_operating_point(with_inputs(built.netlist, x), voltages))
    if "tran" in analyses:
        overlay = None
        if backend != "jax":
            plot, seconds = run_transient(built, x, built.theta, horizon=horizon)
            overlay = overlay_transient(circuit, x, theta, plot, seconds, points=points, rtol=1e-7)
            spice |= _transient_agreement(overlay.agreement)
        waves = overlay_dataset(overlay, "ngspice") if overlay and backend == "ngspice" else None
        if waves is None:
            times = np.linspace(0.0, horizon * circuit.scale.seconds, points)
            begin = time.perf_counter()
            run = transient(circuit, times, x, theta, rtol=problem.settle.rtol, progress=True)
            jax.block_until_ready(run.v)
            result["transient_seconds"] = time.perf_counter() - begin
            waves = to_dataset(run, circuit)
        data = xr.merge([data, waves], combine_attrs="drop_conflicts")
    if spice:
        result["spice"] = spice
    return result, data


def _op_dataset(circuit: Circuit, settled: Settled, voltages: Voltages) -> xr.Dataset:
    arrays = {
        f"{bus}_op": ([f"{bus}_{k}" for k in range(np.ndim(v))], np.asarray(v), {"units": "V"})
        for bus, v in voltages.items()
    }
    return xr.Dataset(arrays, attrs={"residual": float(settled.residual)})


def overlay_dataset(overlay: Overlay, simulator: Literal["ngspice", "analogep"]) -> xr.Dataset:
    """One variable `v` (time, node) from one of the two simulators of an overlay."""
    values = overlay.theirs if simulator == "ngspice" else overlay.ours
    coords = {"time": ("time", overlay.times, {"units": "s"}), "node": overlay.names}
    return xr.Dataset({"v": (("time", "node"), values, {"units": "V"})}, coords=coords, attrs={"simulator": simulator})
