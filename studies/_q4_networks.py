"""Recurrent networks as circuits of one crossbar, whose conductance matrix at rest is chosen; measured and trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from analogep.errors import DataError

from ._q4_phases import BETA, compared, multipliers, nudged_steps, relax, stopped

if TYPE_CHECKING:
    from .q4 import Config


@cache
def circuit(nodes: int) -> Any:
    """The network's circuit; weights and drive are given when it runs, so all networks share what is compiled."""
    from analogep.compile.recurrent import compile_recurrent
    from analogep.simulate.circuit import Circuit
    from analogep.units import Scale

    scale = Scale(0.1, 1e-5, 1e-14)
    return Circuit(compile_recurrent(np.zeros((nodes, nodes)), np.zeros(nodes), scale=scale), scale, forward_only=True)


def force(z: Any, weights: Any, drive: Any) -> Any:
    """F(z) of the circuit, dimensionless."""
    from analogep.compile.recurrent import RECURRENT, STATE

    net = circuit(len(drive))
    theta, pushed = {RECURRENT: weights * net.scale.siemens}, {STATE: drive * net.scale.amperes}
    return -net.current({STATE: z * net.scale.volts}, {}, theta, 0.0, pushed)[STATE] / net.scale.amperes


def push(z: Any, target: Any) -> Any:
    """-dL/dz of L = |z - target|^2 / 2 over the first two nodes."""
    from analogep.compile.recurrent import STATE
    from analogep.learning.cost import Quadratic

    scale = circuit(len(z)).scale
    cost = Quadratic(STATE, target, np.arange(len(z)) < 2, scale)
    return cost.force({STATE: z * scale.volts}, {})[STATE] / scale.amperes


def local(lam: Any, z: Any) -> Any:
    """dL/dW by the local rule: lambda at the sink of each weight, the stopped state's voltage at its source."""
    from analogep.compile.recurrent import RECURRENT, STATE
    from analogep.ep.estimators import TWIN
    from analogep.learning.rule import Phase, local_gradient

    net = circuit(len(z))
    theta = {RECURRENT: np.zeros((len(z), len(z)))}
    free = net.voltages({STATE: z * net.scale.volts}, {}, theta)
    signals = {Phase.FREE: free, Phase.TWIN: {**free, STATE: lam * net.scale.volts}}
    unit = net.scale.amperes * net.scale.volts
    return local_gradient(TWIN, net.netlist, signals, 1.0, unit)[RECURRENT] * net.scale.siemens


@cache
def programs(steps: int, dt: float) -> tuple[Callable, Callable]:
    """Compiled: the free phase from 0 V with its sensitivities and residuals; all estimates at stopped states."""
    import jax
    import jax.numpy as jnp

    def free(weights: Any, drive: Any) -> Any:
        def ahead(z: Any, _: Any) -> tuple[Any, Any]:
            z = relax(lambda at: force(at, weights, drive), z, 1, dt)
            return z, z

        return jax.lax.scan(ahead, jnp.zeros_like(drive), length=steps)[1]

    def estimates(weights: Any, drive: Any, target: Any, z: Any, count: Any, beta: Any) -> dict[str, Any]:
        found = multipliers(lambda at: force(at, weights, drive), lambda at: push(at, target), z, count, beta, dt)
        return {name: local(lam, z) for name, lam in found.items()}

    over_betas = jax.vmap(estimates, (None, None, None, None, None, 0))
    over_stops = jax.vmap(over_betas, (None, None, None, 0, 0, None))

    def whole(weights: Any, drive: Any) -> tuple[Any, Any, Any]:
        states = free(weights, drive)
        left = jnp.linalg.norm(jax.vmap(lambda z: force(z, weights, drive))(states), axis=1)
        # forward mode through every step: RTRL's influence matrix, whose contraction is BPTT(T) for every T at once
        return states, jax.jacfwd(free)(weights, drive), left / jnp.linalg.norm(states, axis=1)

    return jax.jit(whole), jax.jit(over_stops)


def network(config: Config, seed: int, rho: float, margin: float, draw: int) -> tuple[np.ndarray, ...]:
    """Weights, drive, state at rest and target of a network with S > 0, lambda_min(S) = margin, rho(S^-1 A) = rho.

    One draw has one state, one target, and one S but for its margin, whatever rho.
    """
    from analogep.compile.recurrent import weights_at

    nodes, rng = config.nodes, np.random.default_rng([seed, 4, draw])
    turn = np.linalg.qr(rng.normal(size=(nodes, nodes)))[0]
    values = np.concatenate([[margin], rng.uniform(0.5, 1.5, nodes - 1)])
    skew = rng.normal(size=(nodes, nodes))
    skew -= skew.T
    root = turn * np.sqrt(values) @ turn.T
    s, a = root @ root, root @ (skew / np.abs(np.linalg.eigvals(skew)).max()) @ root  # S^-1 A is similar to skew
    rest = rng.uniform(-0.5, 0.5, nodes)
    weights, drive = weights_at(s + rho * a, rest)
    return weights, drive, rest, rest + rng.normal(size=nodes)


@cache
def settling_draw(config: Config, seed: int) -> int:
    """The seed's first draw whose networks, at every rho and margin, come from 0 V to rest where they were built.

    Networks with several states at rest may go to another one, whose rho nobody chose.
    """
    for draw in range(100):
        grid = [network(config, seed, rho, margin, draw) for rho in config.rhos for margin in config.margins]
        weights, drive, rest, _ = (np.stack(part) for part in zip(*grid, strict=True))
        z, dt = np.zeros_like(rest), config.dt

        def rate(z: np.ndarray, weights: np.ndarray = weights, drive: np.ndarray = drive) -> np.ndarray:
            return -z + np.einsum("kij,kj->ki", weights, np.tanh(z)) + drive

        for _ in range(int(12 / min(config.margins) / dt)):
            a = rate(z)
            b = rate(z + dt / 2 * a)
            c = rate(z + dt / 2 * b)
            z = z + dt / 6 * (a + 2 * b + 2 * c + rate(z + dt * c))
        if np.allclose(z, rest, atol=1e-3):
            return draw
    raise DataError(f"no network of seed {seed} settles where it was built; lower rhos or raise margins")


def measure_network(config: Config, seed: int, rho: float, margin: float, nudge: float) -> xr.Dataset:
    """Errors of every row against both targets, over the residual at which the free phase stops and over beta."""
    draw = settling_draw(config, seed)
    weights, drive, rest, target = network(config, seed, rho, margin, draw)
    free, estimates = programs(int(np.ceil(25 / margin / config.dt)), config.dt)
    states, influence, residual = (np.asarray(part) for part in free(weights, drive))
    stops, reached = stopped(residual, config.stops)
    z, lengths, betas = states[stops], nudged_steps(nudge, stops), np.array(sorted({*config.betas, BETA}))
    found = {name: np.asarray(g) for name, g in estimates(weights, drive, target, z, lengths, betas).items()}
    slopes = -np.stack([np.asarray(push(at, target)) for at in z])
    finite = np.einsum("ki,kijl->kjl", slopes, influence[stops])
    conductance = np.eye(config.nodes) - weights * (1 - np.tanh(rest) ** 2)
    lam = np.linalg.solve(conductance.T, np.asarray(push(rest, target)))
    reached &= np.allclose(states[-1], rest, atol=1e-6)
    data = compared(found, -np.outer(lam, np.tanh(rest)), finite, config.stops, betas, reached)
    return data.assign(
        time=("residual", (stops + 1) * config.dt, {"units": "tau"}),
        distance=("residual", np.linalg.norm(z - rest, axis=1) / np.linalg.norm(rest)),
        abscissa=float(np.linalg.eigvals(-conductance).real.max()),
        draw=draw,
    )
