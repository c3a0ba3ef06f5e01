"""A small recurrent network with a loss at some nodes, as a task and as plain equations to check it by."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from analogep.compile.recurrent import compile_recurrent, weights_at
from analogep.ep.task import Task
from analogep.learning.cost import Quadratic
from analogep.learning.system_phases import SystemPhases
from analogep.simulate.circuit import Circuit
from analogep.units import Scale

N, EPSILON = 5, 0.1
SCALE = Scale(0.1, 1e-5, 1e-14)
SEEN = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
TARGET = np.array([0.3, -0.2, 0.0, 0.0, 0.0])


@cache
def numbers():
    """G (non-symmetric, stable), state at rest, W and drive."""
    rng = np.random.default_rng(0)
    g = 1.5 * np.eye(N) + 0.4 * rng.normal(size=(N, N))
    z = 0.5 * rng.normal(size=N)
    assert np.linalg.eigvals(g).real.min() > 0.4
    return g, z, *weights_at(g, z)


@cache
def task(level="parasitic", weight=1.0):
    """The network as a circuit with the loss sum SEEN (z - TARGET)^2 / 2; `weight` scales W."""
    _, _, w, drive = numbers()
    netlist = compile_recurrent(weight * w, drive, level=level, epsilon=EPSILON)
    cost = Quadratic("z", TARGET, SEEN, SCALE)
    return Task(SystemPhases(Circuit(netlist, SCALE), cost))


def multipliers():
    """lambda at z by a dense solve, G^T lambda = -dL/dz."""
    g, z, _, _ = numbers()
    return np.linalg.solve(g.T, -SEEN * (z - TARGET))


def full_matrices():
    """C and G of the parasitic circuit over (z, hidden), dimensionless."""
    _, z, w, _ = numbers()
    g = np.block([[np.eye(N), -w], [-np.diag(1 - np.tanh(z) ** 2), np.eye(N)]])
    return np.concatenate([np.ones(N), np.full(N, EPSILON)]), g


def plain_bptt(weights, steps, dt, *, level="parasitic", start=None, when=None):
    """Loss and dL/dW of Euler steps written out, by jax.grad through their unroll."""
    drive = numbers()[3]
    start = np.zeros(2 * N) if start is None else start

    def run(w):
        z, h, total = jnp.asarray(start[:N]), jnp.asarray(start[N:]), 0.0
        for k in range(steps):
            pushed = jnp.tanh(z) if level == "ideal" else h
            z, h = z + dt * (drive - z + w @ pushed), h + dt / EPSILON * (jnp.tanh(z) - h)
            share = float(k == steps - 1) if when is None else when[k]
            total = total + share * jnp.sum(SEEN * (z - TARGET) ** 2) / 2
        return total

    return jax.value_and_grad(run)(jnp.asarray(weights))


def of_weights(gradient):
    """dL/dW from dL/dg."""
    return np.asarray(gradient["recurrent"]) * SCALE.siemens


def error(estimate, reference):
    """Relative error in the Frobenius norm."""
    return float(np.linalg.norm(np.asarray(estimate) - reference) / np.linalg.norm(reference))
