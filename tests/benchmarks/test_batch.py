"""Settling a batch: with common steps, under vmap, and one sample at a time."""

import statistics
import time

import jax
import numpy as np
import pytest

from analogep.learning.nudge import rails
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle, settle_batch
from analogep.spec import load_spec
from analogep.training.problem import build

pytestmark = pytest.mark.bench

SAMPLES, ROUNDS = 64, 5


def seconds(job):
    begin = time.perf_counter()
    jax.block_until_ready(job())
    return time.perf_counter() - begin


@pytest.mark.parametrize("epsilon", [1e-1, 1e-3])
def test_a_batch_of_64(epsilon, row):
    problem = build(load_spec(None, [f"compile.epsilon={epsilon}", f"data.batch={SAMPLES}"]))
    compiled = problem.compiled()
    circuit = Circuit(compiled.netlist, compiled.scale)
    inputs = circuit.inputs()
    x = {name: v for name, v in rails(problem.batch(), compiled.scale.volts).items() if name in inputs}
    theta = circuit.theta
    single = [{name: v[k] for name, v in x.items()} for k in range(SAMPLES)]
    mapped = jax.jit(jax.vmap(lambda x: settle(circuit, x, theta)))

    contenders = {
        "one": lambda: [settle(circuit, x, theta).v for x in single],
        "vmap": lambda: mapped(x),
        "batch": lambda: settle_batch(circuit, x, theta),
    }
    together, alone = settle_batch(circuit, x, theta), settle(circuit, single[3], theta)
    assert bool(together.converged.all())
    difference = max(float(abs(np.asarray(together.v[bus][3] - alone.v[bus])).max()) for bus in alone.v)
    for job in contenders.values():
        seconds(job)  # compile
    taken = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, job in contenders.items():
            taken[name].append(seconds(job))
    one, vmapped, batch = (statistics.median(taken[name]) for name in contenders)
    row(
        f"settle a batch of {SAMPLES}, eps {epsilon:g}",
        f"{one / batch:.2f}x",
        ">= 3x",
        f"{batch / SAMPLES * 1e3:.2f} ms a sample, alone {one / SAMPLES * 1e3:.2f} ms, vmap {one / vmapped:.2f}x; "
        f"differs by {difference:.0e} V",
    )
