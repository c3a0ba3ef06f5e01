"""Compilation time and memory over the size of the model; every size runs in a fresh process."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.bench

PROGRAM = """
import json, resource, sys, time
import jax, numpy as np
from analogep.compile import compile_transformer
from analogep.models.transformer import EquilibriumTransformer
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle

channels = int(sys.argv[1])
model = EquilibriumTransformer(8, channels, 4, 4 * channels, 100, 1.0, layer_norm_epsilon=0.1)
weights = {k: np.asarray(w) for k, w in model.init(jax.random.key(0)).items()}
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
compiled = compile_transformer(model, weights)
circuit = Circuit(compiled.netlist, compiled.scale)
seconds = time.perf_counter() - begin
x = {"token": np.zeros((8, model.inputs))}
x["token"][np.arange(8), np.arange(8)] = 0.1
v = circuit.zeros()
jax.block_until_ready(jax.jit(lambda v, theta: circuit.current(v, x, theta))(v, circuit.theta))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(int(np.size(w)) for w in weights.values())
print(json.dumps({"conductances": count, "seconds": seconds, "kilobytes": peak, "base": base}))
"""


def measure(channels: int) -> dict[str, float]:
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(channels)], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_compilation_and_memory(row, benchmark):
    sizes = [measure(channels) for channels in (96, 280, 400, 560, 800)]
    big = next(s for s in sizes if s["conductances"] >= 1e6)
    row("compile and assemble, 1e6 conductances", f"{big['seconds']:.2f} s", "< 10 s", f"{big['conductances']:.3g}")
    first, last = sizes[-3], sizes[-1]
    slope = (last["kilobytes"] - first["kilobytes"]) * 1024 / (last["conductances"] - first["conductances"])
    for size in sizes:
        per = (
            (size["kilobytes"] - sizes[0]["kilobytes"]) * 1024 / max(size["conductances"] - sizes[0]["conductances"], 1)
        )
        row(
            "peak memory",
            f"{size['kilobytes'] / 1024:.0f} MB",
            "linear",
            f"{size['conductances']:.3g}: {per:.0f} B each",
        )
    row("memory per further conductance", f"{slope:.0f} B", "constant", "")
    benchmark.pedantic(lambda: measure(96), rounds=1)
