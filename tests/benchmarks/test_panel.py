"""The stability panel without matrices over the size of a block, and a batch of small panels in one call."""

import itertools
import json
import statistics
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from analogep import diagnostics as dx

pytestmark = pytest.mark.bench

PROGRAM = """
import json, re, sys, time
from pathlib import Path
import jax, numpy as np
from analogep import diagnostics as dx
from analogep.compile import compile_transformer
from analogep.models.transformer import EquilibriumTransformer
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle

tokens, channels, damping, gain, epsilon = (float(a) if "." in a else int(a) for a in sys.argv[1:])
model = EquilibriumTransformer(tokens, channels, 4, 4 * channels, 20, damping, layer_norm_epsilon=epsilon)
weights = {k: np.asarray(w) for k, w in model.init(jax.random.key(0), gain).items()}
compiled = compile_transformer(model, weights)
circuit = Circuit(compiled.netlist, compiled.scale)
x = {"token": np.zeros((tokens, model.inputs))}
x["token"][np.arange(tokens), np.random.default_rng(0).integers(20, size=tokens)] = 0.1
x["token"][np.arange(tokens), 20 + np.arange(tokens)] = 0.1
theta = jax.tree.map(jax.numpy.asarray, circuit.theta)
settled = jax.block_until_ready(settle(circuit, x, theta)).require("the block")

def peak():  # kilobytes; ru_maxrss would begin at the size of the process that started this one
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

base, begin = peak(), time.perf_counter()
found = dx.panel(circuit, settled.v, x, theta, horizon=None, matrix_free=True)
out = {"seconds": time.perf_counter() - begin, "base": base, "kilobytes": peak(), "n": found.states}
out |= {"numbers": found.to_dict(), "unconverged": found.unconverged, "peak_time": found.peak_time}
out |= {"products": sum(estimate.products for estimate in found.accuracy.values())}
print(json.dumps(out))
"""
SIZES = ((16, 40), (32, 60), (64, 96))
"""Tokens and channels of blocks with about 1e4, 3e4 and 1e5 states on feedback loops."""
BLOCKS = {"strong coupling": ("1.0", "1.0", "0.1"), "weak coupling": ("4.0", "0.4", "1.0")}
"""Damping, gain of the weights, layer norm epsilon. With strong coupling (the defaults) S is indefinite and has
eigenvalues all around 0, so that it is factorized; with weak coupling S is definite and conjugate gradients do."""


def measure(tokens, channels, *block):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tokens), str(channels), *block], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_panel_over_size(kind, row):
    sizes = [measure(*size, *BLOCKS[kind]) for size in SIZES]
    for size in sizes:
        numbers = size["numbers"]
        row(
            f"matrix-free panel, {kind}, n = {size['n']}",
            f"{size['seconds']:.0f} s",
            "< 120 s at 1e5",
            f"alpha {numbers['spectral_abscissa']:.3f}, omega {numbers['numerical_abscissa']:.2f}, rho "
            f"{numbers['rho_sinv_a']:.3g}, peak {numbers['peak_growth']:.3f} at {size['peak_time']:.2g} tau; "
            f"unconverged: {', '.join(size['unconverged']) or 'none'}; {size['products']} products, "
            f"{(size['kilobytes'] - size['base']) * 1024 / size['n']:.0f} B a state beyond settling",
        )
    for below, above in itertools.pairwise(sizes):
        grown = (above["kilobytes"] - below["kilobytes"]) * 1024 / (above["n"] - below["n"])
        row(f"memory per further state, {kind}", f"{grown:.0f} B", "constant", f"{below['n']} to {above['n']}")


def test_a_batch_of_64(row):
    rng, n = np.random.default_rng(0), 200
    fixed = np.diag(np.linspace(2, 4, n)) - 2.2 * np.eye(n, k=1)
    G = rng.standard_normal((64, n, n)) / np.sqrt(n) * rng.uniform(0.1, 0.35, (64, 1, 1)) + fixed

    def one_at_a_time():
        out = []
        for matrix in G:
            values, peak = dx.eigenvalues(-matrix), dx.growth_peak(-matrix)
            out.append((values[0].real, dx.numerical_abscissa(-matrix), dx.rho_sinv_a(matrix), peak.norm))
        return np.array(out)

    found = jax.block_until_ready(dx.panels(G))  # compile
    ratios, each = [], []
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(dx.panels(G))
        batch = time.perf_counter() - begin
        begin = time.perf_counter()
        alone = one_at_a_time()
        ratios.append((time.perf_counter() - begin) / batch)
        each.append(batch)
    ours = np.stack([found.spectral_abscissa, found.numerical_abscissa, found.rho_sinv_a, found.peak_growth], axis=1)
    difference = np.max(np.abs(ours / alone - 1))
    row(
        "64 panels of n = 200 in one call",
        f"{statistics.median(each):.1f} s",
        "",
        f"{statistics.median(ratios):.2f}x faster than one at a time; largest relative difference {difference:.0e}, "
        f"converged {int(np.sum(found.converged))}",
    )
