"""Compilation time, settling time and memory over the size of the model; every size runs in a fresh process."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.bench

PROGRAM = """
import json, re, sys, time
from pathlib import Path
import jax, numpy as np
from analogep.compile import compile_transformer
from analogep.models.transformer import EquilibriumTransformer
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle

def peak():  # kilobytes; ru_maxrss would begin at the size of the process that started this one
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

tokens, channels, settling = map(int, sys.argv[1:])
model = EquilibriumTransformer(tokens, channels, 4, 4 * channels, 100, 1.0, layer_norm_epsilon=0.1)
weights = {k: np.asarray(w) for k, w in model.init(jax.random.key(0)).items()}
begin = time.perf_counter()
compiled = compile_transformer(model, weights)
circuit = Circuit(compiled.netlist, compiled.scale)
seconds = time.perf_counter() - begin
x = {"token": np.zeros((tokens, model.inputs))}
x["token"][np.arange(tokens), np.arange(tokens)] = 0.1
theta = jax.tree.map(jax.numpy.asarray, circuit.theta)
out = {"conductances": sum(int(np.size(w)) for w in weights.values()), "seconds": seconds}
if settling:
    settled = jax.block_until_ready(settle(circuit, x, theta)).require("the block")  # compile
    begin = time.perf_counter()
    jax.block_until_ready(settle(circuit, x, theta))
    out |= {"settle": time.perf_counter() - begin, "steps": int(settled.steps), "residual": float(settled.residual)}
else:
    v = circuit.zeros()
    jax.block_until_ready(jax.jit(lambda v, theta: circuit.current(v, x, theta))(v, theta))
out["kilobytes"] = peak()
print(json.dumps(out))
"""


def measure(tokens: int, channels: int, *, settling: bool = False) -> dict[str, float]:
    sizes = (str(tokens), str(channels), str(int(settling)))
    run = subprocess.run([sys.executable, "-c", PROGRAM, *sizes], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_compilation_and_memory(row, benchmark):
    sizes = [measure(8, channels) for channels in (96, 280, 400, 560, 800)]
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
    benchmark.pedantic(lambda: measure(8, 96), rounds=1)


def test_settling_over_size(row):
    sizes = [measure(64, channels, settling=True) for channels in (80, 280, 900)]
    per = [size["settle"] / size["conductances"] for size in sizes]
    for size, each in zip(sizes, per, strict=True):
        row(
            f"settle 64 tokens, {size['conductances']:.2g} conductances",
            f"{each * 1e6:.2f} us each",
            "flat within 2x",
            f"{size['settle']:.2f} s, {size['steps']} steps, residual {size['residual']:.0e}, "
            f"{size['kilobytes'] / 1024:.0f} MB",
        )
    row("settle time per conductance, largest over smallest", f"{max(per) / min(per):.2f}x", "<= 2x", "")
    grown = (sizes[-1]["kilobytes"] - sizes[-2]["kilobytes"]) * 1024
    row(
        "memory per further conductance, settling",
        f"{grown / (sizes[-1]['conductances'] - sizes[-2]['conductances']):.0f} B",
        "constant",
    )
