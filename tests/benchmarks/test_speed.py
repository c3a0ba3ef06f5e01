"""A free phase against ngspice on our own deck: same span, same relative tolerance, contenders interleaved."""

import statistics
import time

import jax
import numpy as np
import pytest

from analogep.netlist.spice.write import primitives, write
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.reference import node_table, with_inputs
from analogep.simulate.settle import settle
from analogep.simulate.transient import transient
from analogep.spec import load_spec
from analogep.training.problem import build
from analogep.verbs import first_sample

pytestmark = [pytest.mark.bench, pytest.mark.spice]

SPAN, RTOL, ROUNDS = 20.0, 1e-6, 3

LARGER = ("model.tokens=12", "model.channels=24", "model.ffn=48")

CASES = [
    ("ideal", 0.1, 1000, ()),
    ("parasitic", 1e-2, 300, ()),
    ("parasitic", 1e-3, 100, ()),
    ("parasitic", 1e-4, 100, ()),
    ("parasitic", 1e-3, 100, LARGER),
]


def seconds(job) -> tuple[float, object]:
    begin = time.perf_counter()
    value = job()
    return time.perf_counter() - begin, value


@pytest.mark.parametrize(("level", "epsilon", "target", "model"), CASES)
def test_free_phase_against_ngspice(level, epsilon, target, model, row, benchmark):
    problem = build(load_spec(None, [f"compile.level={level}", f"compile.epsilon={epsilon}", *model]))
    compiled = problem.compiled()
    circuit = Circuit(compiled.netlist, compiled.scale)
    x, theta, tau = first_sample(problem), circuit.theta, compiled.scale.seconds
    netlist = with_inputs(compiled.netlist, x)
    # ngspice's own tolerances, scaled to this circuit: charges of femtocoulombs, currents of microamperes
    options = {"reltol": RTOL, "abstol": 1e-16, "vntol": 1e-10, "chgtol": 1e-22}
    deck = write(netlist, [f".tran {0.1 * tau:.3g} {SPAN * tau:.3g} 0 uic"], options=options)
    times = np.linspace(0.0, SPAN * tau, 201)

    def waveforms():
        return jax.block_until_ready(transient(circuit, times, x, theta, rtol=RTOL).v)

    def at_rest():
        return jax.block_until_ready(settle(circuit, x, theta))

    waveforms(), at_rest()  # compile
    ratios, rest, ours, theirs = [], [], [], []
    for _ in range(1 if model else ROUNDS):
        reference, plots = seconds(lambda: run_deck(deck))
        mine = statistics.median(seconds(waveforms)[0] for _ in range(5))
        ratios.append(reference / mine)
        rest.append(reference / statistics.median(seconds(at_rest)[0] for _ in range(5)))
        ours.append(mine)
        theirs.append(reference)
    benchmark.pedantic(waveforms, rounds=5)
    exact = transient(circuit, times[[0, -1]], x, theta, rtol=1e-10).v
    names, last = node_table(netlist, circuit.voltages({b: v[-1] for b, v in exact.items()}, x, theta))
    spice = np.array([plots[0].data[f"v({name.lower()})"][-1] for name in names])
    _, own = node_table(netlist, circuit.voltages({b: v[-1] for b, v in waveforms().items()}, x, theta))
    scale = np.abs(last).max()
    row(
        f"waveform of {SPAN:g} tau, {level}, eps {epsilon:g}, {primitives(netlist)} elements",
        f"{statistics.median(ratios):.0f}x",
        f">= {target}x",
        f"{statistics.median(ours) * 1e3:.1f} ms against {statistics.median(theirs):.1f} s; end error "
        f"{np.abs(own - last).max() / scale:.0e} and {np.abs(spice - last).max() / scale:.0e}",
    )
    row(
        f"free phase to rest, {level}, eps {epsilon:g}, {primitives(netlist)} elements",
        f"{statistics.median(rest):.0f}x",
        f">= {target}x",
        "",
    )
