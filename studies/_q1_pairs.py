"""Circuits that output nudges cannot tell apart: compared node by node, and what every estimator says of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ._q1_ladder import BETAS, BIAS, INPUT, Instance, built, estimates, instance
from ._q1_networks import NODES, OUTPUTS, STABLE, definite, pair, radius, slowest

if TYPE_CHECKING:
    from analogep.netlist.graph import Netlist

    from .q1 import Config

SHARED = ("state", "responses", "weights")
"""What both circuits of a pair have in common: v*, G^-1 at the outputs' columns, all weights into hidden nodes."""
CIRCUITS = ("J", "J'")
HIDDEN = np.arange(NODES) >= OUTPUTS
SIZES = (-2.0, -0.3, 0.01, 0.3, 2.0)
"""Output nudges of the explicit circuits (units of current)."""


def measure_pair(config: Config, seed: int, rho: float) -> xr.Dataset:
    """A recurrent network at a rho and its mirrored lookalike, both settled as circuits."""
    from analogep.compile.recurrent import RECURRENT
    from analogep.ep.fidelity import fidelity

    first, second = pair(rho, seed)
    one = instance(first, seed)
    both = [one, instance(second, seed, one.x[INPUT][0] / one.phases.system.scale.volts)]
    rows = [row for row in config.rows if row != "random_nodes"]  # what is drawn at random says nothing definite
    states, responses = zip(*(simulated(at) for at in both), strict=True)
    weights = [np.hstack([at.theta[RECURRENT], at.theta[BIAS]])[HIDDEN] for at in both]
    shared = [apart(*values) for values in (states, responses, weights)]
    said, exact = [], [hidden(at.exact) for at in both]
    for at in both:
        found, settled = estimates(at, tuple(rows), seed, 1)
        said.append([hidden(found[name][BETAS[-1]][0]) if settled[name] else None for name in rows])
    cosine, same = np.full((len(rows), 2), np.nan), np.full(len(rows), np.nan)
    for k, (of_one, of_other) in enumerate(zip(*said, strict=True)):
        if of_one is not None and of_other is not None:
            cosine[k] = [fidelity(g, true)[0].cosine for g, true in zip((of_one, of_other), exact, strict=True)]
            same[k] = fidelity(of_other, of_one)[0].relative_error
    return xr.Dataset(
        {
            "shared": ("thing", shared, {"long_name": "difference of J and J' over the size of J"}),
            "opposed": fidelity(exact[1], exact[0])[0].cosine,
            "cosine": (("said", "circuit"), cosine, {"long_name": "cosine with the gradient at hidden weights"}),
            "same": ("said", same, {"long_name": "difference of what is said of J and J'"}),
            "found_rho": ("circuit", [radius(at.conductance) for at in both]),
            "slowest": ("circuit", [slowest(at.conductance) for at in both]),
        },
        {"thing": list(SHARED), "said": rows, "circuit": list(CIRCUITS)},
    )


def simulated(at: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Voltages of all nodes at rest, and their responses to a small current into each output, by the circuit."""
    import jax

    from analogep.compile.recurrent import STATE
    from analogep.learning.rule import Phase
    from analogep.simulate.linear import linear_response

    run, scale = at.phases, at.phases.system.scale
    free = jax.tree.map(lambda leaf: leaf[0], run.run(at.x, at.theta, frozenset(), 0.0, at.start)[Phase.FREE])
    sample = {name: value[0] for name, value in at.x.items()}
    solve = linear_response(run.system, free.settled.v, sample, at.theta)
    moved = [solve({STATE: scale.amperes * np.eye(NODES)[k]})[STATE] for k in range(OUTPUTS)]
    everywhere = np.concatenate([np.ravel(v) for v in free.voltages.values()])
    return everywhere / scale.volts, np.array(moved) / scale.volts


def hidden(gradient: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradient at weights into hidden nodes."""
    return {name: g[HIDDEN] for name, g in gradient.items()}


def apart(one: Any, other: Any) -> float:
    """Difference of two arrays over the size of the first."""
    return float(np.linalg.norm(np.asarray(one) - other) / np.linalg.norm(one))


# How large an error no rule avoids: a reciprocal network and its lookalikes f times mirrored.


def measure_floor(config: Config, seed: int, rho: float) -> xr.Dataset:
    """The least error of a rule of output nudges on the worse of two networks, none more asymmetric than rho.

    The two have gradients f1 g and f2 g at hidden weights, and all else in common. One estimate for both errs by
    (f2 - f1) / (f2 + f1) of the gradient on one of them at least, by all of it if f1 <= 0.
    """
    from analogep.compile.lookalike import mirrored

    outputs = np.arange(NODES) < OUTPUTS
    reciprocal = definite(0.0, seed) + np.diag(1.0 * outputs)

    def reach(step: float) -> float:
        factor = 1.0
        while -1.0 <= factor + step <= 3.0:
            g = mirrored(reciprocal, outputs, factor + step)
            if radius(g) > rho or slowest(g) < STABLE:
                break
            factor += step
        return factor

    low, high = reach(-0.002), reach(0.002)
    return xr.Dataset({"floor": 1.0 if low <= 0 else (high - low) / (high + low), "low": low, "high": high})


# The two smallest pairs, element by element.


def measure_circuits(config: Config, seed: int, circuits: str) -> xr.Dataset:
    """An explicit pair, element by element, with values of the seed."""
    from analogep.compile.lookalike import resistor_and_gyrator, two_paths

    rng = np.random.default_rng([seed, 6])
    weight, bridge = rng.uniform(0.8, 1.5, 2)
    if circuits == "bridge":
        both, array = resistor_and_gyrator(weight, bridge, rng.uniform(1.5, 2.0)), "w"
    else:
        both, array = (two_paths(1.0, 0.2, weight=weight), two_paths(-0.6, 1.8, weight=weight)), "w1"
    one, other = (circuit(netlist, array) for netlist in both)
    return xr.Dataset(
        {
            **{f"{what}_apart": apart(one[what], other[what]) for what in ("state", "responses", "waves")},
            "gradient": (("circuit", "by"), [list(each["gradient"].values()) for each in (one, other)]),
            "weight": weight,
        },
        {"circuit": list(CIRCUITS), "by": list(one["gradient"])},
    )


def circuit(netlist: Netlist, array: str) -> dict[str, Any]:
    """State, responses to nudges of all sizes and to a step in time (units), and dL/dw by the twin and by plain EP."""
    from analogep.compile.lookalike import DEFAULT as SCALE
    from analogep.compile.lookalike import OUTPUT
    from analogep.ep.estimators import Estimators
    from analogep.learning.cost import Quadratic
    from analogep.simulate.circuit import Circuit
    from analogep.simulate.settle import settle
    from analogep.simulate.transient import transient

    phases = built(Circuit(netlist, SCALE), Quadratic(OUTPUT, np.array(1.0), 1.0, SCALE))
    system, theta, buses = phases.system, dict(netlist.arrays), sorted(phases.system.states)

    def rest(push: float) -> np.ndarray:
        pushed = {OUTPUT: np.array(push * SCALE.amperes)}
        found = settle(system, {}, theta, sources=pushed, options=phases.options).v
        return np.array([found[bus] for bus in buses]) / SCALE.volts

    state, times = rest(0.0), np.linspace(0.2, 6.0, 16) * SCALE.seconds
    v0 = dict(zip(buses, state * SCALE.volts, strict=True))
    path = transient(system, times, {}, theta, v0=v0, sources={OUTPUT: np.array(SCALE.amperes)}, rtol=1e-9).v
    estimators, rows = Estimators(phases), ("twin", "vector_field_ep")
    runs = estimators.run(rows, {}, theta, BETAS[-1])
    found = {name: estimators.gradient(name, runs, BETAS[-1]) for name in rows}
    return {
        "state": state,
        "responses": [rest(push) - state for push in SIZES],
        "waves": [np.asarray(path[bus]) / SCALE.volts for bus in buses],
        "gradient": {
            name: float(one.gradient[array]) * SCALE.siemens if bool(one.converged) else np.nan
            for name, one in found.items()
        },
    }
