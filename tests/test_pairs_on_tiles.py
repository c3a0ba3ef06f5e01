"""Both devices of a pair as they are, away from their minimum, on tiles with wires: our law, the fold, and decks."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_tiles import DenseTile

from analogep.compile import DeviceOptions, compile_transformer
from analogep.compile.summary import summarize
from analogep.errors import NetlistError
from analogep.models import EquilibriumTransformer
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import Capacitor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import write
from analogep.netlist.wired import WiredCrossbar, fold_wires, with_devices
from analogep.netlist.wires import Wires
from analogep.simulate.circuit import Circuit
from analogep.simulate.reference import check_operating_point, with_inputs
from analogep.simulate.settle import settle
from analogep.technology import apply, preset, to_pairs
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SCALE = Scale(0.1, 1e-3, 1e-14)
WIRES = Wires(300.0, 500.0, driver_ohms=800.0, sense_ohms=400.0, sensing="both")
"""Of devices around 1 kilohm: the drop along them counts."""


def pairs(columns=4, rows=3):
    """Devices drawn alone: the lower one of a pair is nowhere near a common minimum, and one is absent."""
    g = np.random.default_rng(2).uniform(1e-4, 1e-3, size=(2, columns, rows))
    g[1, 2, 0] = 0.0
    return g


def wired(transpose=False):
    """A driven bus of two tokens, a wired crossbar of such pairs, and a loaded bus."""
    source, target = ("y", "x") if transpose else ("x", "y")
    shapes = {"x": (2, 3), "y": (2, 4)}
    drives = 0.1 * np.random.default_rng(5).normal(size=shapes[source])
    return Netlist({name: Bus(shape) for name, shape in shapes.items()}, {}, {"w": pairs()}).add(
        VSource("in", source, drives),
        WiredCrossbar("bar", "x", "y", "w", WIRES, 2e-5, transpose),
        Resistor("load", target, GROUND, 1e-3),
        Capacitor("c", target, GROUND, 1e-14),
    )


def dense():
    """Effective matrix of the pair of tiles, by dense nodal analysis of every wire."""
    plus, minus = pairs()
    return DenseTile(plus, WIRES).effective() - DenseTile(minus, WIRES).effective()


def off(found, expected):
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


def test_the_effective_matrix_is_that_of_both_tiles():
    bar = wired().elements["bar"]
    expected = dense()
    assert off(bar.effective(pairs()), expected) < 1e-12
    signed = pairs()[0] - pairs()[1]
    assert off(bar.effective(signed), expected) > 0.02  # what signed weights and one minimum would have made of it
    assert off(signed, expected) > 0.1
    theta, v = {"w": pairs()}, np.random.default_rng(1).normal(size=(2, 3))
    assert off(bar.currents({"x": v}, theta, 0.0)["y"], -v @ expected.T) < 1e-12
    (back,) = bar.adjoint()
    w = np.random.default_rng(1).normal(size=(2, 4))
    assert off(back.currents({"y": w}, theta, 0.0)["x"], -w @ expected) < 1e-12


def test_the_fold_takes_gradients_to_each_device():
    """The pullback against centred differences in either device of a pair."""
    folded = fold_wires(wired())
    assert off(folded.netlist.arrays["w.wired"], dense()) < 1e-12
    cotangent = np.random.default_rng(3).normal(size=(4, 3))
    (found,) = jax.vjp(folded.effective, {"w": jnp.asarray(pairs())})[1]({"w.wired": jnp.asarray(cotangent)})

    def slope(g):
        plus, minus = g
        return np.vdot(cotangent, DenseTile(plus, WIRES).effective() - DenseTile(minus, WIRES).effective())

    for at in ((0, 1, 2), (1, 1, 2), (1, 3, 0)):
        bump = np.zeros((2, 4, 3))
        bump[at] = 1e-8
        change = (slope(pairs() + bump) - slope(pairs() - bump)) / 2e-8
        assert float(found["w"][at]) == pytest.approx(change, rel=1e-5)


def test_conductances_may_come_at_run_time_in_either_form():
    """One circuit serves chips whose pairs differ, and signed weights as well."""
    circuit = Circuit(wired(), SCALE)
    v = circuit.zeros()
    both = circuit.current(v, {}, {"w": pairs()})["y"]
    one = circuit.current(v, {}, {"w": pairs()[0] - pairs()[1]})["y"]
    assert off(both, -circuit.netlist.elements["in"].value @ dense().T) < 1e-12
    assert off(one, both) > 0.02


@pytest.mark.spice
@pytest.mark.parametrize("transpose", [False, True])
def test_against_ngspice(transpose):
    netlist = wired(transpose)
    circuit = Circuit(fold_wires(netlist).netlist, SCALE)
    v = circuit.voltages(settle(circuit, {}, circuit.theta).require("load").v, {}, circuit.theta)
    assert check_operating_point(netlist, v).error < 1e-9


def test_what_is_no_pair_is_refused():
    netlist = wired()
    for g, message in ((np.ones((3, 4, 3)), r"pairs of devices \[2, columns, rows\]"), (-pairs(), "may be negative")):
        with pytest.raises(NetlistError, match=message):
            Circuit(replace(netlist, arrays={"w": g}), SCALE)
    with pytest.raises(NetlistError, match="has no array 'v'"):
        with_devices(netlist, {"v": pairs()})
    with pytest.raises(NetlistError, match=r"shape \(2, 3, 4\)"):
        with_devices(netlist, {"w": pairs(3, 4)})
    plain = netlist.add(Crossbar("plain", "x", "y", "g"), arrays={"g": np.ones((4, 3))})
    with pytest.raises(NetlistError, match="Crossbar 'plain' has no two devices"):
        with_devices(plain, {"g": pairs()})


# a block on one chip


@cache
def chip(transistors):
    """A small block at level device, as meant and as its devices are: badly written, coarse, drifted, some stuck."""
    model = EquilibriumTransformer(2, 4, 2, 3, 3, 1.0, activation="tanh", layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0), 0.7).items()}
    devices = preset("reram").at(levels=16, stuck=0.05)
    block = compile_transformer(
        model, weights, level="device", devices=DeviceOptions(devices, Wires(5.0, 5.0), transistors=transistors)
    )
    meant = to_pairs(block.netlist.arrays, devices)
    held = apply(devices.written(), meant, jax.random.key(7))
    return (
        block,
        devices,
        {name: np.asarray(g) for name, g in meant.items()},
        {n: np.asarray(g) for n, g in held.items()},
    )


def at_rest(netlist, scale, x):
    circuit = Circuit(fold_wires(netlist).netlist, scale)
    settled = settle(circuit, x, circuit.theta).require("the chip")
    return {bus: np.asarray(v) for bus, v in circuit.voltages(settled.v, x, circuit.theta).items()}


@pytest.mark.spice
@pytest.mark.parametrize("transistors", [(), pytest.param(("activation", "softmax"), marks=pytest.mark.slow)])
def test_a_chip_against_ngspice_on_every_node(transistors):
    """Wires folded into effective matrices in ours; every wire and both devices of every pair in the deck."""
    block, _, meant, held = chip(transistors)
    netlist = with_devices(block.netlist, held)
    rows = np.concatenate([np.eye(3)[[0, 2]], np.eye(2)], axis=1)
    x = {"token": block.scale.volts * rows}
    found = check_operating_point(with_inputs(netlist, x), at_rest(netlist, block.scale, x))
    assert found.nodes == sum(bus.nodes for bus in netlist.buses.values())
    assert found.error < 1e-9
    lower = np.concatenate([pair.min(0).ravel() for pair in held.values()])
    assert np.mean(lower > 1.05 * meant["query"].min()) > 0.2  # pairs that signed weights and a minimum cannot hold


def test_the_deck_shows_both_devices_of_every_pair():
    block, devices, _, held = chip(())
    netlist = with_devices(block.netlist, held)
    lines = [line.split() for line in write(netlist, [".op"]).splitlines() if ".devices_" in line]
    shown = np.sort([1 / float(words[3]) for words in lines])
    expected = np.sort(np.concatenate([np.tile(pair.ravel(), 2) for pair in held.values()]))  # two tokens
    np.testing.assert_allclose(shown, expected[expected > 0], rtol=1e-9)
    assert len(shown) == summarize(replace(block, netlist=netlist))["conductances"]
    assert devices.gmin < np.median(expected) < devices.gmax
