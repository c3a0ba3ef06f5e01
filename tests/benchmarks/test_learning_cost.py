"""Time and memory of a local learning step and of BPTT over the same number of Euler steps."""

import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from analogep.compile.transformer import LOGITS
from analogep.ep.estimators import ASYM_EP, TWIN
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.learning.rule import Phase, local_gradient
from analogep.models.objective import cross_entropy
from analogep.simulate.circuit import Circuit
from analogep.spec import load_spec
from analogep.training.problem import build

pytestmark = pytest.mark.bench

HORIZONS, ROUNDS, STEP, BETA = (10, 100, 1000, 10_000), 7, 0.05, 1e-3
FIGURE = Path(".benchmarks/learning_cost.png")


def contenders(compiled, sample):
    """name -> (steps -> program of theta), each a gradient by Euler steps of STEP tau, one sample."""
    phases, plain = CircuitPhases(compiled), Circuit(compiled.netlist, compiled.scale)
    scale, dt, volts = compiled.scale, STEP * compiled.scale.seconds, compiled.scale.volts
    x = {name: jnp.asarray(value) for name, value in sample.items()}

    def relax(rate, start, steps):
        def step(_, v):
            slopes = rate(v)
            return {bus: v[bus] + dt * slopes[bus] for bus in v}

        return jax.lax.fori_loop(0, steps, step, start)

    def free(theta, steps):
        v = relax(lambda v: phases.circuit.rate(v, x, theta), phases.circuit.zeros(), steps)
        return v, phases.circuit.voltages(v, x, theta)

    class Rest:
        """What the phases read of a free run."""

        def __init__(self, v, voltages):
            self.settled, self.voltages = type("Settled", (), {"v": v}), voltages

    def twin(steps):
        def gradient(theta):
            v, voltages = free(theta, steps)
            rest = Rest(v, voltages)
            held, push = phases.held(rest), phases.output_push(rest, x, theta)
            circuit = phases.twin_circuit
            lam = relax(lambda lam: circuit.rate(lam, held, theta, 0.0, push), circuit.zeros(), steps)
            signals = {Phase.FREE: voltages, Phase.TWIN: circuit.voltages(lam, held, theta, 0.0, push)}
            return local_gradient(TWIN, compiled.netlist, signals, 1.0, phases.unit)

        return gradient

    def asym(steps):
        """Centred: two corrected phases, each with the circuit, its response and its transpose in every step."""
        nudged = phases.output_nudged_circuit

        def gradient(theta):
            v, voltages = free(theta, steps)
            rest = Rest(v, voltages)
            held = phases.held(rest)

            def phase(beta):
                inputs = phases.nudged_inputs(rest, x, beta)

                def rate(u):
                    away = {bus: u[bus] - v[bus] for bus in v}
                    along = jax.jvp(lambda at: phases.circuit.current(at, x, theta), (v,), (away,))[1]
                    back = phases.transposed_circuit.current(away, held, theta)
                    return nudged.rate(u, inputs, theta, 0.0, {bus: along[bus] - back[bus] for bus in v})

                return nudged.voltages(relax(rate, v, steps), inputs, theta)

            signals = {Phase.FREE: voltages, Phase.CORRECTED_PLUS: phase(BETA), Phase.CORRECTED_MINUS: phase(-BETA)}
            return local_gradient(ASYM_EP, compiled.netlist, signals, BETA, phases.unit)

        return gradient

    def bptt(steps):
        def loss(theta):
            def step(v, _):
                slopes = plain.rate(v, x, theta)
                return {bus: v[bus] + dt * slopes[bus] for bus in v}, None

            v, _ = jax.lax.scan(step, plain.zeros(), length=steps)
            logits = plain.voltages(v, x, theta)[LOGITS]
            return cross_entropy(logits / volts, x["target"] / volts, x["weight"] / volts)

        return jax.grad(loss)

    assert scale.amperes * scale.volts == phases.unit
    return {"twin": twin, "asym_ep": asym, "bptt": bptt}


def taken(program, theta):
    begin = time.perf_counter()
    jax.block_until_ready(program(theta))
    return time.perf_counter() - begin


@pytest.mark.parametrize("level", ["ideal", "parasitic"])
def test_a_local_step_against_bptt(level, row):
    problem = build(load_spec(None, [f"compile.level={level}"]))
    compiled = problem.compiled()
    sample = {name: value[0] for name, value in rails(problem.batch(), compiled.scale.volts).items()}
    makers = contenders(compiled, sample)
    if level == "ideal":
        del makers["asym_ep"]  # it knows lambda at the states only there
    theta = {name: jnp.asarray(g) for name, g in Circuit(compiled.netlist, compiled.scale).theta.items()}
    seconds, memory = {name: [] for name in makers}, {name: [] for name in makers}
    for steps in HORIZONS:
        programs = {name: jax.jit(make(steps)).lower(theta).compile() for name, make in makers.items()}
        found = {name: program(theta) for name, program in programs.items()}
        times = {name: [] for name in programs}
        for _ in range(ROUNDS if steps < 10_000 else 3):
            for name, program in programs.items():
                times[name].append(taken(program, theta))
        for name, program in programs.items():
            seconds[name].append(statistics.median(times[name]))
            memory[name].append(program.memory_analysis().temp_size_in_bytes)
        ratios = {
            name: statistics.median(a / b for a, b in zip(times[name], times["bptt"], strict=True)) for name in programs
        }
        flat = {name: np.concatenate([np.ravel(g) for g in gradient.values()]) for name, gradient in found.items()}
        cosine = flat["twin"] @ flat["bptt"] / np.linalg.norm(flat["twin"]) / np.linalg.norm(flat["bptt"])
        asym = f"centred AsymEP {ratios['asym_ep']:.2f}x; " if "asym_ep" in ratios else ""
        row(
            f"free phase, twin and update over BPTT, {level}, {steps} steps",
            f"{ratios['twin']:.2f}x",
            "<= 1.5x",
            f"{asym}{seconds['twin'][-1] * 1e3:.2f} ms against {seconds['bptt'][-1] * 1e3:.2f} ms; "
            f"{memory['twin'][-1] / 1e6:.2f} MB against {memory['bptt'][-1] / 1e6:.2f} MB; cosine {cosine:.6f}",
        )
    grown = memory["twin"][-1] / memory["twin"][0]
    row(f"memory of the local step, {HORIZONS[-1]} over {HORIZONS[0]} steps, {level}", f"{grown:.2f}x", "1x", "")
    draw(seconds, memory, FIGURE.with_stem(f"learning_cost_{level}"))


def draw(seconds, memory, path):
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in seconds:
        left.loglog(HORIZONS, np.array(seconds[name]) * 1e3, "o-", label=name)
        right.loglog(HORIZONS, np.array(memory[name]) / 1e6, "o-", label=name)
    left.set(xlabel="Euler steps of each phase", ylabel="time of a learning step (ms)")
    right.set(xlabel="Euler steps of each phase", ylabel="working memory (MB)")
    left.legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
