"""Every estimator on one network, against the dense implicit gradient, with its price."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ._q1_networks import KINDS, NODES, OUTPUTS, TARGET, at_rest, radius, slowest, split

if TYPE_CHECKING:
    from analogep.netlist.graph import Netlist

    from .q1 import Config

BETAS = (2e-3, 1e-3)
"""Nudges that are always measured: errors are quoted at the second; both together are extrapolated to 0."""
BIAS, INPUT = "bias", "x"
PRICES = ("settles", "devices", "cells", "capacitors", "wires", "switches", "stored_voltages", "stored_currents")


@dataclass(frozen=True)
class Row:
    """An estimator: its label, and what it is to show. `plain` ones know of the circuit what output nudges tell."""

    label: str
    group: str


ROWS = {
    "vector_field_ep_one_sided": Row("plain EP, one-sided", "plain"),
    "vector_field_ep": Row("plain EP, centred", "plain"),
    "holomorphic_ep": Row("holomorphic EP", "plain"),
    "energy_ep": Row("energy contrast", "plain"),
    "coupled_learning": Row("coupled learning", "plain"),
    "feedback_alignment": Row("feedback alignment", "biased"),
    "random_nodes": Row("random directions", "noisy"),
    "node_perturbation": Row("node perturbation", "exact"),
    "asym_ep": Row("AsymEP", "exact"),
    "reversed": Row("reversed couplings", "exact"),
    "gyrator_flip": Row("flipped gyrators", "exact"),
    "dyadic_ep": Row("Dyadic EP", "exact"),
    "twin": Row("transposed twin", "exact"),
}
PLAIN, EXACT = ([name for name, row in ROWS.items() if row.group == group] for group in ("plain", "exact"))
GENERAL = tuple(name for name in ROWS if name not in ("energy_ep", "coupled_learning", "gyrator_flip"))
"""Rows that a network of one-way couplings has."""


@dataclass(frozen=True)
class Instance:
    """A circuit with inputs, conductances, a start near its state at rest, and its gradient by a dense solve."""

    phases: Any
    x: dict[str, Any]
    theta: dict[str, Any]
    start: dict[str, Any]
    rest: dict[str, np.ndarray]
    conductance: np.ndarray
    exact: dict[str, np.ndarray]
    weights: Netlist
    """What of the netlist is contrasted by energy: its resistors."""


@cache
def phases() -> Any:
    """Phases of dz/dt = -z + W tanh(z) + B x; W, B and x are data, so all networks share what is compiled."""
    from analogep.compile.recurrent import STATE, compile_recurrent
    from analogep.learning.cost import Quadratic
    from analogep.netlist.arrays import Crossbar
    from analogep.netlist.elements import VSource
    from analogep.netlist.graph import Bus
    from analogep.simulate.circuit import Circuit
    from analogep.units import Scale

    scale, none = Scale(0.1, 1e-5, 1e-14), np.zeros(NODES)
    netlist = compile_recurrent(np.outer(none, none), none, scale=scale).add(
        VSource(INPUT, INPUT, none),
        Crossbar(BIAS, INPUT, STATE, BIAS),
        buses={INPUT: Bus((NODES,))},
        arrays={BIAS: np.outer(none, none)},
    )
    return built(Circuit(netlist, scale), Quadratic(STATE, TARGET, 1.0 * (np.arange(NODES) < OUTPUTS), scale))


def built(circuit: Any, cost: Any) -> Any:
    """Phases that settle tightly, and have the time that a network of margin 0.05/tau takes."""
    from analogep.learning.system_phases import SystemPhases
    from analogep.simulate.settle import SettleOptions

    return SystemPhases(circuit, cost, SettleOptions(horizon=400.0, rtol=1e-9))


def instance(conductance: np.ndarray, seed: int, inputs: np.ndarray | None = None) -> Instance:
    """The network that rests at the seed's state with a chosen conductance matrix; B is 1 unless inputs are given."""
    from analogep.compile.recurrent import RECURRENT, STATE, weights_at

    run, rest = phases(), at_rest(seed)
    scale = run.system.scale
    weights, drive = weights_at(conductance, rest)
    x = drive if inputs is None else inputs
    lam = np.linalg.solve(conductance.T, -np.where(np.arange(NODES) < OUTPUTS, rest - TARGET, 0.0))
    theta = {RECURRENT: weights * scale.siemens, BIAS: np.diag(drive / x) * scale.siemens}
    return Instance(
        run,
        {INPUT: x[None] * scale.volts},
        theta,
        {STATE: (rest + 1e-3) * scale.volts},
        {STATE: rest},
        conductance,
        {RECURRENT: -np.outer(lam, np.tanh(rest)), BIAS: -np.outer(lam, x)},
        run.netlist,
    )


def measure_ladder(config: Config, seed: int, kind: str, rho: float) -> xr.Dataset:
    """Error and cosine of every row at every beta, at beta = 0 where the row has one, and its price."""
    if kind == "passive":
        from ._q1_passive import passive

        at, rows = passive(rho, seed), config.passive
    else:
        at, rows = instance(KINDS[kind](rho, seed), seed), config.rows
    found, settled = estimates(at, rows, seed, config.draws)
    return against(at, found, settled)


def against(at: Instance, found: dict[str, dict[float, list[dict[str, Any]]]], settled: dict[str, bool]) -> xr.Dataset:
    """Fidelity of all estimates; NaN in rows that were not measured, or that did not settle."""
    from analogep.ep.fidelity import fidelity

    shape = (len(ROWS), len(BETAS))
    error, cosine, limit = np.full(shape, np.nan), np.full(shape, np.nan), np.full(len(ROWS), np.nan)
    price = np.full((len(ROWS), len(PRICES)), np.nan)
    for k, name in enumerate(ROWS):
        if name not in found or not settled[name]:
            continue
        for b, beta in enumerate(BETAS):
            each = [fidelity(one, {key: at.exact[key] for key in one})[0] for one in found[name][beta]]
            error[k, b] = np.sqrt(np.mean([one.relative_error**2 for one in each]))
            cosine[k, b] = np.mean([one.cosine for one in each])
        if name in EXACT:  # errors of order beta^2 cancel, what is left is of order beta^4
            (first,), (second,) = (found[name][beta] for beta in BETAS)
            at_zero = {key: (4 * second[key] - first[key]) / 3 for key in first}
            limit[k] = fidelity(at_zero, at.exact)[0].relative_error
        price[k] = [getattr(priced(name, at), what) for what in PRICES]
    s, a = split(at.conductance)
    return xr.Dataset(
        {
            "error": (("row", "beta"), error, {"long_name": "relative error against the implicit gradient"}),
            "cosine": (("row", "beta"), cosine, {"long_name": "cosine with the implicit gradient"}),
            "limit": ("row", limit, {"long_name": "relative error extrapolated to beta = 0"}),
            "price": (("row", "what"), price),
            "found_rho": radius(at.conductance),
            "slowest": slowest(at.conductance),
            "norm": float(np.linalg.norm(np.linalg.solve(s, a), 2)),
            "least_s": float(np.linalg.eigvalsh(s).min()),
        },
        {"row": list(ROWS), "beta": list(BETAS), "what": list(PRICES)},
    )


def estimates(at: Instance, rows: tuple[str, ...], seed: int, draws: int) -> tuple[dict[str, Any], dict[str, bool]]:
    """Row -> beta -> gradients (one each; as many as draws where they are random), and row -> whether all settled."""
    import jax

    from analogep.ep.estimators import RULES, Estimators
    from analogep.ep.feedback_alignment import feedback_alignment, random_feedback
    from analogep.ep.perturbation import node_perturbation, random_nodes
    from analogep.ep.task import Task, weight_gradient
    from analogep.learning.rule import Phase, local_gradient

    run, scale = at.phases, at.phases.system.scale
    wanted = frozenset(phase for name in rows if name in RULES for phase in RULES[name].phases)
    sample = {name: value[0] for name, value in at.x.items()}
    found: dict[str, Any] = {name: {} for name in rows}
    settled = dict.fromkeys(rows, True)
    for beta in BETAS:
        runs = run.run(at.x, at.theta, wanted, beta, at.start)
        free = jax.tree.map(lambda leaf: leaf[0], runs[Phase.FREE])
        there = all(np.allclose(free.voltages[bus] / scale.volts, z, rtol=0, atol=1e-6) for bus, z in at.rest.items())
        task = Task(run, sample, at.theta, rest=free)

        def gradient(lam: Any, task: Any = task, free: Any = free) -> dict[str, np.ndarray]:
            return units(weight_gradient(task.system, free.voltages, lam), scale)

        for name in rows:
            keys = jax.random.split(jax.random.key(seed), draws)
            if name in ("energy_ep", "coupled_learning"):  # of the resistors alone: gyrators have no energy to contrast
                signals = {phase: jax.tree.map(lambda v: v[0], r.voltages) for phase, r in runs.items()}
                raw = local_gradient(RULES[name], at.weights, signals, beta, run.unit)
                gradients, ok = [units(raw, scale)], all(runs[p].settled.converged.all() for p in RULES[name].phases)
            elif name in RULES:
                estimate = Estimators(run).gradient(name, runs, beta)
                gradients, ok = [units(estimate.gradient, scale)], bool(estimate.converged)
            elif name == "node_perturbation":
                each = [node_perturbation(task, strength=beta)]
                gradients, ok = [gradient(one.lam) for one in each], all(bool(one.converged) for one in each)
            elif name == "random_nodes":
                nodes = at.conductance.shape[0]  # all at once: less current into each, so that the sum stays small
                each = [random_nodes(task, key, directions=nodes, strength=beta / nodes) for key in keys]
                gradients, ok = [gradient(one.lam) for one in each], all(bool(one.converged) for one in each)
            else:
                bus, outputs = observed(at)
                arrays = [random_feedback(run.system, key, bus, observed=outputs) for key in keys]
                each = [feedback_alignment(task, array) for array in arrays]
                gradients, ok = [gradient(one.lam) for one in each], True
            found[name][beta], settled[name] = gradients, bool(settled[name] and ok and there)
    return found, settled


def units(gradient: dict[str, Any], scale: Any) -> dict[str, np.ndarray]:
    """dL/dg in units of the scale."""
    return {name: np.asarray(g) * scale.siemens for name, g in gradient.items()}


def observed(at: Instance) -> tuple[str, np.ndarray]:
    """The outputs' bus, and which of its nodes are outputs: all of a bus of one node."""
    bus, shape = next(iter(at.phases.system.states.items()))
    return bus, np.ones((), bool) if shape.shape == () else np.arange(shape.size) < OUTPUTS


def priced(name: str, at: Instance) -> Any:
    """The price of a row on this circuit; random directions are as many as nodes, and cost as much."""
    from analogep.ep.price import price

    seen, nodes = int(observed(at)[1].sum()), at.conductance.shape[0]
    return price(name, at.phases.netlist.with_arrays(at.theta), directions=nodes, outputs=seen)
