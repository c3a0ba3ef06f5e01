"""Whole decks: a compiled block in ngspice at both levels, lines, and counts of primitives."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_circuits import SCALE, load, spice_op, worst

from analogep.cells import LayerNorm, Multiplier, Softmax
from analogep.compile import compile_transformer
from analogep.compile.transformer import INPUT, STATE
from analogep.models import EquilibriumTransformer
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import WIDTH, primitives, write
from analogep.netlist.subcircuit import Instance, Subcircuit
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.settle import settle
from analogep.simulate.transient import transient

TAU = SCALE.seconds
FIXED_STEP = {"method": "trap", "reltol": 1e-6, "abstol": 1e-15, "vntol": 1e-9}
"""With the default chgtol nothing but the largest step decides."""


@cache
def block(level):
    """A compiled block of 4 tokens and 8 channels with its input on the rails, and the force F(z) that it realizes."""
    model = EquilibriumTransformer(4, 8, 2, 8, 5, 1.0, attention="mixed", asymmetry=0.4, layer_norm_epsilon=0.1)
    weights = model.init(jax.random.key(0), 0.6)
    token = np.concatenate([np.eye(5)[[0, 3, 1, 4]], np.eye(4)], axis=1)
    netlist = compile_transformer(model, weights, level=level, scale=SCALE, epsilon=0.2).netlist
    netlist = netlist.replace_elements(VSource(INPUT, INPUT, SCALE.volts * token))
    return netlist, lambda z: model.force(z, jnp.asarray(token), weights)


@pytest.mark.spice
@pytest.mark.parametrize("level", ["ideal", "parasitic"])
def test_operating_point_of_a_block(level):
    netlist, force = block(level)
    circuit = Circuit(netlist, SCALE)
    at = settle(circuit, {}, circuit.theta).require(level)
    ours = {bus: np.asarray(v) for bus, v in jax.jit(circuit.voltages)(at.v, {}, circuit.theta).items()}
    assert set(ours) == set(netlist.buses)
    assert worst(ours, spice_op(netlist)) < 1e-6
    assert float(jnp.abs(jax.jit(force)(ours[STATE] / SCALE.volts)).max()) < 1e-9


@pytest.mark.spice
def test_transient_of_a_block():
    netlist, end = block("parasitic")[0], TAU
    (plot,) = run_deck(write(netlist, [f".tran {TAU / 50:g} {end:g} 0 {TAU / 200:g} uic"], options=FIXED_STEP))
    circuit = Circuit(netlist, SCALE)
    times = np.linspace(0, end, 31)[1:]
    waves = transient(circuit, times, {}, circuit.theta, rtol=1e-7)
    full = max(float(jnp.abs(wave).max()) for wave in waves.v.values())
    for bus, wave in waves.v.items():
        kept = np.asarray(wave).reshape(len(times), -1)[:, netlist.buses[bus].indices]
        for column, node in zip(kept.T, netlist.buses[bus].labels(bus), strict=True):
            found = np.interp(times, plot.data["time"], plot.data[f"v({node})"])
            assert np.abs(found - column).max() < 1e-4 * full, node


def unfold(deck):
    return deck.replace("\n+", "")


def test_long_lines_are_folded():
    size = 300
    netlist = Netlist({"z": Bus((size,)), "y": Bus((size,))}).add(
        *load("z"), *load("y"), LayerNorm("ln", ("z",), "y", 1e-5, 0.1)
    )
    deck = write(netlist, [".op"], save=["z_0", *(f"y_{k}" for k in range(size))])
    lines = deck.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert any(line.startswith("+") for line in lines)
    assert lines[0] == "* analogep netlist"
    assert lines[-1] == ".end"
    whole = unfold(deck).splitlines()
    call = next(line for line in whole if line.startswith("Xln"))
    nodes = [f"{bus}_{k}" for bus in ("z", "y") for k in range(size)]
    assert call.split() == ["Xln", *nodes, f"layer_norm_{size}", *call.split()[-3:]]
    assert f".save v(z_0) v(y_0) {' '.join(f'v(y_{k})' for k in range(1, size))}" in whole


@pytest.mark.spice
def test_folded_lines_are_read_back():
    size = 200
    z = 0.1 * np.random.default_rng(0).normal(size=size)
    netlist = Netlist({"z": Bus((size,)), "y": Bus((size,))}).add(
        VSource("z", "z", z), *load("y"), LayerNorm("ln", ("z",), "y", 1e-5, 0.1, epsilon=0.1)
    )
    expected = 0.1 * LayerNorm("ln", ("z",), "y", epsilon=0.1).law(jnp.asarray(z / 0.1))
    np.testing.assert_allclose(spice_op(netlist)["y"], expected, rtol=0, atol=1e-10)


def test_primitives_counted_by_hand():
    """2 tokens of 3 channels: a norm, scores of 2 heads of one channel... counted line by line."""
    buses = {
        "in": Bus((2, 2)),
        "z": Bus((2, 3)),
        "u": Bus((2, 3)),
        "s": Bus((1, 2, 2), np.tril(np.ones((1, 2, 2), bool))),
    }
    buses["p"] = buses["s"]
    netlist = Netlist(buses, {}, {"w": 1e-5 * np.array([[1.0, 0.0], [-1.0, 2.0], [0.0, 0.0]])}).add(
        VSource("in", "in", 0.1),  # 4
        Crossbar("x", "in", "z", "w"),  # 3 devices for each of 2 tokens: 6
        *load("z"),  # 12
        LayerNorm("ln", ("z",), "u"),  # each: Gm, Bv, By for 3 channels, Rm, Rv, Bs: 12; 24 for 2 tokens
        *load("u"),  # 12
        Multiplier("score", ("u", "u"), "s"),  # 3 pairs of tokens, 3 channels: 9
        *load("s"),  # 6
        Softmax("soft", ("s",), "p", causal=True),  # Be, Gs, By for 1 and for 2 scores, and Rs each: 4 + 7
        *load("p"),  # 6
    )
    assert primitives(netlist) == 4 + 6 + 12 + 24 + 12 + 9 + 6 + 11 + 6


def test_primitives_inside_nested_subcircuits():
    cell = Subcircuit("cell", ("i", "o"), Netlist({"i": Bus(), "o": Bus()}).add(*load("i"), *load("o")))
    pair = Netlist({"a": Bus(), "b": Bus()}).add(
        Instance("one", cell, ("a", "b")), Instance("two", cell, ("b", "a")), *load("a")
    )
    outer = Subcircuit("pair", ("a",), pair)
    netlist = Netlist({"n": Bus()}).add(
        Instance("x", outer, ("n",)), Instance("y", outer, ("n",)), VSource("v", "n", 1.0)
    )
    assert primitives(netlist) == 2 * (4 + 4 + 2) + 1


def test_numbers_and_titles():
    netlist = Netlist({"n": Bus()}, title="two\nlines").add(VSource("v", "n", 1 / 3), *load("n", 1 / 3))
    lines = write(netlist, [".op"], options={"reltol": 1e-9, "method": "trap"}).splitlines()
    assert lines[0] == "* two lines"
    assert float(next(line for line in lines if line.startswith("Vv")).split()[-1]) == 1 / 3
    assert ".options reltol=1e-09 method=trap" in lines
    assert lines[-2:] == [".op", ".end"]
    assert f"Rn.r n {GROUND} {3.0:.17g}" in lines
