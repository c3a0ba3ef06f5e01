"""Other roads to a gradient: carried along with the run, nudges of K steps, and weights that never wait.

Everything here takes Euler steps, as `analogep.ep` does for finite times, and so do its targets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ._q4_networks import circuit, force, network, push, settling_draw
from ._q4_phases import BETA, relax, stopped

if TYPE_CHECKING:
    from .q4 import Config

STEP = 0.05
"""Euler's step (tau)."""
CARRIED = {
    "rtrl": "RTRL",
    "forward_random": "random direction, one draw",
    "uoro": "random rank one (UORO), one draw",
    "eligibility": "eligibility traces",
    "eligibility_random": "traces, random feedback",
}
"""Gradients of a run that are ready when it ends."""
RANDOM = ("forward_random", "uoro")


@cache
def driven(nodes: int) -> Any:
    """The network with its drive on an input rail, so that one compiled program serves every network."""
    from analogep.compile.recurrent import STATE
    from analogep.netlist.element import GROUND
    from analogep.netlist.elements import VCCS, VSource
    from analogep.netlist.graph import Bus
    from analogep.simulate.circuit import Circuit

    plain = circuit(nodes)
    rail, into = VSource("rail", "drive_in", 0.0), VCCS("into", GROUND, STATE, "drive_in", GROUND, plain.scale.siemens)
    netlist = plain.netlist.add(rail, into, buses={"drive_in": Bus((nodes,))})
    return Circuit(netlist, plain.scale, forward_only=True)


def task_of(weights: Any, drive: Any, target: Any) -> Any:
    """The network and its loss as a Task."""
    from analogep.compile.recurrent import RECURRENT, STATE
    from analogep.ep.task import Task
    from analogep.learning.cost import Quadratic
    from analogep.learning.system_phases import SystemPhases

    net = driven(len(drive))
    cost = Quadratic(STATE, target, np.arange(len(drive)) < 2, net.scale)
    theta = {RECURRENT: weights * net.scale.siemens}
    return Task(SystemPhases(net, cost), {"drive_in": drive * net.scale.volts}, theta)


def held(task: Any, z: Any) -> Any:
    """The task with a free phase that was stopped at z; that it was stopped is not the concern of what follows."""
    from dataclasses import replace

    import jax.numpy as jnp

    from analogep.compile.recurrent import STATE
    from analogep.learning.phases import PhaseRun
    from analogep.simulate.settle import Settled

    v, zero = {STATE: z * task.system.scale.volts}, jnp.zeros(())
    settled = Settled(v, zero, jnp.array(True), zero, zero)
    return replace(task, rest=PhaseRun(task.system.voltages(v, task.x, task.theta), settled))


def carried(rule: str, task: Any, key: Any, steps: int, dt: float, when: Any = None) -> Any:
    """dL/dW of a run by one of CARRIED."""
    import jax

    from analogep.compile.recurrent import RECURRENT, STATE
    from analogep.ep.feedback_alignment import random_feedback
    from analogep.ep.traces import eligibility, forward_random, uoro
    from analogep.ep.trajectory import Run, rtrl

    run = Run(task, steps, dt, when)
    if rule in RANDOM:
        found = (uoro if rule == "uoro" else forward_random)(run, key)
    elif rule == "rtrl":
        found = rtrl(run)
    else:
        seen = np.arange(task.system.states[STATE].size) < 2
        fed = random_feedback(task.system, jax.random.key(4), STATE, observed=seen)
        found = eligibility(run, feedback=fed if rule == "eligibility_random" else None)
    return found.gradient[RECURRENT] * task.system.scale.siemens


def short_nudge(task: Any, z: Any, steps: int, dt: float, *, corrected: bool = True) -> Any:
    """dL/dW after each of `steps` steps of the (corrected) nudged phase from the stopped state z [steps, n, n]."""
    import jax

    from analogep.compile.recurrent import RECURRENT
    from analogep.ep.task import weight_gradient
    from analogep.ep.truncated import truncated_nudge

    task, system = held(task, z), task.system
    lam = truncated_nudge(task, steps, dt=dt, beta=BETA, corrected=corrected).lam
    found = jax.vmap(lambda lam: weight_gradient(system, task.free.voltages, lam)[RECURRENT])(lam)
    return found[1:] * system.scale.siemens


@cache
def programs(nodes: int, steps: int) -> tuple[Callable, Callable]:
    """Compiled: free phase of a run, residuals and influence of the weights; gradients carried along it."""
    import jax
    import jax.numpy as jnp

    driven(nodes)  # before anything is traced

    def free(weights: Any, drive: Any) -> Any:
        def ahead(z: Any, _: Any) -> tuple[Any, Any]:
            z = relax(lambda at: force(at, weights, drive), z, 1, STEP, euler=True)
            return z, z

        return jax.lax.scan(ahead, jnp.zeros(nodes), length=steps)[1]

    def run(weights: Any, drive: Any) -> tuple[Any, Any, Any]:
        states = free(weights, drive)
        left = jnp.linalg.norm(jax.vmap(lambda z: force(z, weights, drive))(states), axis=1)
        return states, left / jnp.linalg.norm(states, axis=1), jax.jacfwd(free)(weights, drive)

    def along(weights: Any, drive: Any, target: Any, stops: Any, keys: Any) -> dict[str, Any]:
        """Row -> gradients [stop, draw, n, n]: the same run, with the loss read at one of the stops."""
        task = task_of(weights, drive, target)

        def one(rule: str) -> Any:
            draws = keys if rule in RANDOM else keys[:1]
            read = jax.nn.one_hot(stops, steps)
            over_draws = jax.vmap(lambda when, key: carried(rule, task, key, steps, STEP, when), (None, 0))
            return jax.vmap(over_draws, (0, None))(read, draws)

        return {rule: one(rule) for rule in CARRIED}

    return jax.jit(run), jax.jit(along)


@cache
def nudges(nodes: int, longest: int) -> Callable:
    """Compiled: nudges of up to `longest` steps from stopped states."""
    import jax

    driven(nodes)

    @jax.jit
    def nudged(weights: Any, drive: Any, target: Any, z: Any) -> Any:
        return jax.vmap(lambda at: short_nudge(task_of(weights, drive, target), at, longest, STEP))(z)

    return nudged


def against(found: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative error and cosine over the last two axes."""
    size, scale = (np.linalg.norm(each, axis=(-2, -1)) for each in (found, target))
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.linalg.norm(found - target, axis=(-2, -1)) / scale
        return away, np.sum(found * target, axis=(-2, -1)) / (size * scale)


def judged(found: dict[str, np.ndarray], implicit: np.ndarray, finite: np.ndarray, ok: np.ndarray) -> xr.Dataset:
    """Errors of carried gradients [stop, draw, n, n] against both targets; NaN where a stop was not reached.

    `error` and `cosine` are of one draw (root mean square and mean), `mean_error` is of the mean of all draws.
    """
    targets = {"implicit": np.broadcast_to(implicit, finite.shape), "finite_time": finite}
    shape = (len(CARRIED), len(targets), len(finite))
    error, cosine, mean_error = (np.full(shape, np.nan) for _ in range(3))
    for i, row in enumerate(CARRIED):
        for j, target in enumerate(targets.values()):
            each, along = against(found[row], target[:, None])
            error[i, j], cosine[i, j] = np.sqrt(np.mean(each**2, axis=1)), along.mean(axis=1)
            mean_error[i, j] = against(found[row].mean(axis=1), target)[0]
    dims = ("carried", "target", "stop")
    values = {"error": error, "cosine": cosine, "mean_error": mean_error}
    data = {name: (dims, np.where(ok, each, np.nan)) for name, each in values.items()}
    gap = np.where(ok, against(finite, targets["implicit"])[0], np.nan)
    return xr.Dataset({**data, "gap": ("stop", gap)}, {"carried": list(CARRIED), "target": list(targets)})


def conductance_at(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """G = 1 - W diag(1 - tanh(z)^2)."""
    return np.eye(len(z)) - weights * (1 - np.tanh(z) ** 2)


def implicit_gradient(z: np.ndarray, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
    """dL/dW of the state z at rest, by a dense solve."""
    return -np.outer(np.linalg.solve(conductance_at(z, weights).T, np.asarray(push(z, target))), np.tanh(z))


def finite_gradients(states: np.ndarray, influence: np.ndarray, target: np.ndarray) -> np.ndarray:
    """dL/dW of the states reached [stop, n, n]: what BPTT through the steps so far gives."""
    slopes = -np.stack([np.asarray(push(z, target)) for z in states])
    return np.einsum("ki,kijl->kjl", slopes, influence)


def measure_online(config: Config, seed: int, rho: float, margin: float) -> xr.Dataset:
    """Carried gradients, a readout's, and nudges of K steps, over the residual at which the run is stopped."""
    import jax

    weights, drive, rest, target = network(config, seed, rho, margin, settling_draw(config, seed))
    lengths = np.rint(np.array(config.nudge_times) / STEP).astype(int)
    run, along = programs(config.nodes, int(np.ceil(12 / margin / STEP)))
    states, residual, influence = (np.asarray(part) for part in run(weights, drive))
    levels = sorted(config.online_residuals, reverse=True)
    stops, reached = stopped(residual, levels)
    z, implicit = states[stops], implicit_gradient(rest, weights, target)
    finite = finite_gradients(z, influence[stops], target)
    keys = jax.random.split(jax.random.key(seed), config.draws)
    found = {name: np.asarray(g) for name, g in along(weights, drive, target, stops, keys).items()}
    data = judged(found, implicit, finite, reached).rename(stop="residual")
    short = np.asarray(nudges(config.nodes, int(lengths.max()))(weights, drive, target, z))[:, lengths - 1]
    targets = {"implicit": implicit[None, None], "finite_time": finite[:, None]}
    errors = np.stack([against(short, each)[0] for each in targets.values()])
    # a readout R z of the stopped state, R the identity at first: its local gradient is error x state
    by_state = [np.outer((at - target)[:2], at) for at in (*z, rest)]
    return data.assign(
        nudge_error=(("target", "residual", "nudge_time"), np.where(reached[:, None], errors, np.nan)),
        readout=("residual", np.where(reached, against(np.stack(by_state[:-1]), by_state[-1])[0], np.nan)),
        time=("residual", (stops + 1) * STEP, {"units": "tau"}),
    ).assign_coords(residual=levels, nudge_time=list(config.nudge_times))


# Two timescales: the weights move while circuit and twin relax.

MOVED = 0.25
"""How far the weights go, over the contraction margin, so that the network contracts all the way."""


@cache
def drifting(nodes: int, steps: int) -> Callable:
    """Compiled: `steps` steps of circuit, twin and weights from rest."""
    import jax

    from analogep.compile.recurrent import RECURRENT
    from analogep.ep.timescales import two_timescales

    driven(nodes)

    @jax.jit
    def drift(weights: Any, drive: Any, target: Any, rest: Any, slowness: Any) -> tuple[Any, ...]:
        task = task_of(weights, drive, target)
        found = two_timescales(held(task, rest), steps, slowness=slowness, dt=STEP)
        return found.theta[RECURRENT] / task.system.scale.siemens, found.residual.max(), found.converged

    return drift


def measure_drift(config: Config, seed: int, rho: float, margin: float) -> xr.Dataset:
    """Weights that moved for a duration (tau) against gradient flow on the implicit gradient over the same way."""
    weights, drive, rest, target = network(config, seed, rho, margin, settling_draw(config, seed))
    span = MOVED * margin / np.linalg.norm(implicit_gradient(rest, weights, target))
    led, durations = flow(weights, drive, rest, target, span) - weights, np.array(config.drift_times)
    error, cosine, lag = (np.full(len(durations), np.nan) for _ in range(3))
    for k, duration in enumerate(durations):
        drift = drifting(config.nodes, round(duration / STEP))
        moved, late, converged = (np.asarray(part) for part in drift(weights, drive, target, rest, duration / span))
        if converged:
            (error[k], cosine[k]), lag[k] = against(moved - weights, led), late
    data = {"error": error, "cosine": cosine, "lag": lag, "slowness": durations / span}
    return xr.Dataset({name: ("duration", values) for name, values in data.items()}, {"duration": durations})


def flow(weights: np.ndarray, drive: np.ndarray, rest: np.ndarray, target: np.ndarray, span: float) -> np.ndarray:
    """Weights after gradient flow over `span`, by the midpoint rule; Newton's steps follow the state at rest."""

    def slope(w: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(5):
            z = z + np.linalg.solve(conductance_at(z, w), drive - z + w @ np.tanh(z))
        lam = np.linalg.solve(conductance_at(z, w).T, np.where(np.arange(len(z)) < 2, target - z, 0.0))
        return -np.outer(lam, np.tanh(z)), z

    w, z, step = weights, rest, span / 20
    for _ in range(20):
        first, z = slope(w, z)
        middle, z = slope(w - step / 2 * first, z)
        w = w - step * middle
    return w
