"""A device-level block (4 tokens, 8 channels, 2 heads), wires and transistor cells: settled by us and by ngspice.

Ours walks the same netlist with the wires folded into effective matrices (once, timed apart) and the cells' laws;
ngspice solves every crossing and transistor. Two comparisons: our whole settling from 0 V in time against ngspice's
operating point, which is the harder one for us, and both again where ngspice starts from our solution (`.nodeset`).
"""

import statistics
import time

import jax
import numpy as np
import pytest

from analogep.compile import compile_transformer
from analogep.models import EquilibriumTransformer
from analogep.netlist.spice.write import primitives, write
from analogep.netlist.wired import fold_wires
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.reference import OPTIONS, node_table, operating_point_deck, with_inputs
from analogep.simulate.settle import settle

pytestmark = [pytest.mark.bench, pytest.mark.spice]

ROUNDS = 3
T, VOCABULARY = 4, 11


def seconds(job) -> tuple[float, object]:
    begin = time.perf_counter()
    value = job()
    return time.perf_counter() - begin, value


def test_device_block_settled_against_ngspice(row, benchmark):
    model = EquilibriumTransformer(T, 8, 2, 12, VOCABULARY, 1.0, "free", None, "tanh", 0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0), 0.7).items()}
    compiled = compile_transformer(model, weights, level="device")
    drawn = np.random.default_rng(0).integers(VOCABULARY, size=T)
    x = {"token": compiled.scale.volts * np.concatenate([np.eye(VOCABULARY)[drawn], np.eye(T)], axis=1)}
    fold_wires(compiled.netlist)  # compile
    folding, folded = seconds(lambda: fold_wires(compiled.netlist))
    circuit = Circuit(folded.netlist, compiled.scale)

    def at_rest():
        return jax.block_until_ready(settle(circuit, x, circuit.theta))

    compiling, settled = seconds(at_rest)
    settled.require("the device-level block")
    netlist = with_inputs(compiled.netlist, x)
    names, ours = node_table(netlist, circuit.voltages(settled.v, x, circuit.theta))
    hints = " ".join(f"v({name})={volts:.9g}" for name, volts in zip(names, ours, strict=True))
    hinted = write(netlist, [".op"], options=OPTIONS, settings=[f".nodeset {hints}"])
    plain = operating_point_deck(netlist)
    ratios: dict[str, list[float]] = {"from 0 V": [], "from our solution": []}
    mine, theirs, errors = [], [], []
    for _ in range(ROUNDS):
        own = statistics.median(seconds(at_rest)[0] for _ in range(5))
        mine.append(own)
        for start, deck in zip(ratios, (plain, hinted), strict=True):
            reference, plots = seconds(lambda deck=deck: run_deck(deck))
            spice = np.array([plots[0].data[f"v({name.lower()})"][-1] for name in names])
            errors.append(np.abs(spice - ours).max() / np.abs(spice).max())
            ratios[start].append(reference / own)
            theirs.append(reference)
    benchmark.pedantic(at_rest, rounds=5)
    note = (
        f"worst of {len(names)} nodes {max(errors):.0e}; wires folded in {folding:.2f} s, compiled in {compiling:.0f} s"
    )
    for start, values in ratios.items():
        row(
            f"device-level block at rest, {primitives(netlist)} elements, ngspice {start}",
            f"{statistics.median(values):.0f}x",
            ">= 20x",
            f"{statistics.median(mine) * 1e3:.0f} ms; {note}",
        )
    assert max(errors) < 1e-4
