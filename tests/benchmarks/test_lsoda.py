"""Transients of stiff blocks against SciPy's LSODA at equal achieved accuracy, both measured against a tight solve.

LSODA gets the same rate, jitted. Where errors differ, LSODA's time is compared with ours at the loosest of our
tolerances that is at least as accurate, so the ratio is never in our favor by accuracy.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from analogep.compile import compile_transformer
from analogep.models import EquilibriumTransformer
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import packed_rate
from analogep.simulate.transient import transient

pytestmark = pytest.mark.bench

SPAN, ROUNDS = 20.0, 5
SIZES = {"small": (2, 4, 4), "middle": (4, 8, 16), "large": (8, 16, 32)}


def block(tokens, channels, ffn, epsilon):
    model = EquilibriumTransformer(tokens, channels, 2, ffn, 5, 1.0, layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0)).items()}
    compiled = compile_transformer(model, weights, epsilon=epsilon)
    token = np.zeros((tokens, model.inputs))
    token[np.arange(tokens), np.arange(tokens) % 5] = 0.1
    return Circuit(compiled.netlist, compiled.scale), {"token": jnp.asarray(token)}


def fastest(job, rounds=ROUNDS):
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        value = job()
        times.append(time.perf_counter() - begin)
    return min(times), value


@pytest.mark.parametrize("epsilon", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("size", SIZES)
def test_against_lsoda(size, epsilon, row):
    circuit, x = block(*SIZES[size], epsilon)
    theta, tau, count = circuit.theta, circuit.scale.seconds, len(circuit.labels)
    times = np.linspace(0.0, SPAN * tau, 41)

    def ours(rtol):
        return jax.block_until_ready(transient(circuit, times, x, theta, rtol=rtol).v)

    flat = jax.vmap(circuit.flatten)
    exact = flat(ours(1e-11))
    full = np.abs(exact).max()
    term = packed_rate(circuit)

    @jax.jit
    def rate(y):
        return circuit.flatten(circuit.unpack(term.vf(0.0, circuit.pack(circuit.unflatten(y)), (x, theta, None))))

    def theirs():
        start = np.zeros(count)
        return solve_ivp(
            lambda t, y: np.asarray(rate(y)), (0, SPAN), start, "LSODA", t_eval=times / tau, rtol=1e-6, atol=1e-7
        )

    np.asarray(rate(np.zeros(count)))  # compile
    reference, solution = fastest(theirs, 1 if count > 1000 else 2)
    wanted = np.abs(solution.y.T - exact).max() / full
    for rtol in (1e-5, 1e-6, 1e-7, 1e-8):
        error = np.abs(flat(ours(rtol)) - exact).max() / full
        if error <= wanted:
            break
    mine, _ = fastest(lambda: ours(rtol))
    row(
        f"transient against LSODA, {count} states, eps {epsilon:g}",
        f"{reference / mine:.0f}x",
        ">= 5x" if count >= 1024 else ">= 1x",
        f"{mine * 1e3:.1f} ms at error {error:.0e}, {reference:.2f} s at {wanted:.0e} ({solution.nfev} rates)",
    )
