"""Waveforms and settling: closed forms, ngspice, solvers against each other, and failures that are said."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_circuits import EXACT, SCALE, load

from analogep.cells import Activation
from analogep.compile import compile_transformer
from analogep.compile.transformer import INPUT
from analogep.errors import ConvergenceError, NetlistError
from analogep.models import EquilibriumTransformer
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import Capacitor, ISource, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import write
from analogep.netlist.waveforms import Pulse
from analogep.simulate.cascade import STAGES, solver
from analogep.simulate.circuit import Circuit
from analogep.simulate.collocation import radau
from analogep.simulate.ngspice import run_deck
from analogep.simulate.settle import GROUP, SettleOptions, settle, settle_batch
from analogep.simulate.transient import breakpoints, dense_transient, to_dataset, transient

TAU = SCALE.seconds


def step_response(source=0.1):
    return Netlist({"in": Bus(), "y": Bus()}).add(
        VSource("in", "in", source), Resistor("r", "in", "y", 1e-5), Capacitor("c", "y", GROUND, 1e-14)
    )


def run(netlist, times, **options):
    circuit = Circuit(netlist, SCALE)
    return circuit, transient(circuit, times, {}, circuit.theta, **options)


@cache
def block(epsilon=0.02):
    """A compiled block, its circuit and an input."""
    model = EquilibriumTransformer(2, 4, 2, 4, 3, 1.0, layer_norm_epsilon=0.1)
    weights = model.init(jax.random.key(1))
    compiled = compile_transformer(model, weights, scale=SCALE, epsilon=epsilon)
    token = np.concatenate([np.eye(3)[[0, 2]], np.eye(2)], axis=1)
    return Circuit(compiled.netlist, SCALE), {INPUT: SCALE.volts * token}


@pytest.mark.parametrize("solver", ["tsit5", "kvaerno3"])
def test_step_response(solver):
    times = np.linspace(0.0, 5 * TAU, 51)
    _, waves = run(step_response(), times, solver=solver, rtol=1e-8)
    np.testing.assert_allclose(waves.v["y"], 0.1 * (1 - np.exp(-times / TAU)), rtol=0, atol=1e-7 * 0.1)


def test_cascade_on_a_chain_of_poles():
    """One slow pole, then two fast ones behind buffers of gain 2: the closed form of a linear cascade."""
    buses = {name: Bus((1,)) for name in ("in", "z", "p", "q")}
    arrays = {"w": np.array([[2e-5]]), "one": np.array([[1e-5]])}
    netlist = (
        Netlist(buses, {}, arrays)
        .add(
            VSource("in", "in", 0.1),
            Crossbar("feed", "in", "z", "one"),
            Crossbar("a", "z", "p", "w"),
            Crossbar("b", "p", "q", "w"),
            Crossbar("hold", "z", "z", "none"),  # feedback, so that z is a core bus
            *load("z"),
            *load("p", farads=2e-16),
            *load("q", farads=1e-16),
        )
        .add(arrays={"none": np.zeros((1, 1))})
    )
    times = np.linspace(0.1 * TAU, 5 * TAU, 50)
    circuit, waves = run(netlist, times, solver="cascade", rtol=1e-9)
    assert circuit.core == ("z",)
    rates = np.array([1.0, 50.0, 100.0])
    for bus, gain, count in (("z", 1, 1), ("p", 2, 2), ("q", 4, 3)):
        poles = rates[:count]
        residues = [np.prod(np.delete(poles, k) / (np.delete(poles, k) - pole)) for k, pole in enumerate(poles)]
        exact = 0.1 * gain * (1 - sum(r * np.exp(-pole * times / TAU) for r, pole in zip(residues, poles, strict=True)))
        np.testing.assert_allclose(waves.v[bus][:, 0], exact, rtol=0, atol=1e-7 * 0.4)


def test_cascade_against_tight_tsit5_and_settling():
    circuit, x = block()
    times = np.linspace(0, 6 * TAU, 25)
    tight = transient(circuit, times, x, circuit.theta, solver="tsit5", rtol=1e-10)
    cascade = transient(circuit, [*times, 40 * TAU], x, circuit.theta, solver="cascade", rtol=1e-7)
    assert set(cascade.v) == set(circuit.states)
    at_rest = settle(circuit, x, circuit.theta).require("the block")
    for bus, wave in tight.v.items():
        np.testing.assert_allclose(cascade.v[bus][:-1], wave, rtol=0, atol=1e-5 * SCALE.volts)
        np.testing.assert_allclose(cascade.v[bus][-1], at_rest.v[bus], rtol=0, atol=1e-6 * SCALE.volts)
    assert int(cascade.steps) < int(tight.steps)


def test_cascade_refuses_floating_capacitors():
    netlist = Netlist({"y": Bus(), "z": Bus()}).add(*load("y"), *load("z"), Capacitor("c", "y", "z", 1e-14))
    with pytest.raises(NetlistError, match="cascade"):
        run(netlist, [TAU], solver="cascade")


def test_corners_of_a_pulse_are_met():
    """A pulse so short that steps chosen without its corners would jump over it."""
    pulse = Pulse(0.0, 0.1, 20 * TAU, 1e-3 * TAU, 1e-3 * TAU, 0.05 * TAU, 100 * TAU)
    netlist = step_response(pulse)
    times = np.linspace(19 * TAU, 22 * TAU, 31)
    circuit, waves = run(netlist, times, rtol=1e-8)
    corners = 20 * TAU + TAU * np.array([0, 1e-3, 0.051, 0.052])
    np.testing.assert_allclose(breakpoints(circuit, times[-1]), corners, rtol=1e-12)
    t = times[-1]
    ramp = [0.1 * (corner - t) / (1e-3 * TAU) for corner in corners]  # sum of four ramps, each integrated exactly
    tail = [0.1 * TAU / (1e-3 * TAU) * np.exp((corner - t) / TAU) for corner in corners]
    expected = sum(s * (-r - 0.1e3 + e) for s, r, e in zip((1, -1, -1, 1), ramp, tail, strict=True))
    np.testing.assert_allclose(waves.v["y"][-1], expected, rtol=0, atol=1e-7 * 0.1)
    assert float(jnp.abs(waves.v["y"][:10]).max()) == 0
    assert float(waves.v["y"].max()) > 0.04 * 0.1


@pytest.mark.spice
def test_floating_capacitors_against_ngspice():
    netlist = Netlist({"in": Bus((3,)), "y": Bus((3,)), "z": Bus((3,)), "s": Bus((3,))}).add(
        VSource("in", "in", np.array([0.1, -0.05, 0.02])),
        Resistor("r", "in", "y", 1e-5),
        Capacitor("yz", "y", "z", np.array([1e-14, 3e-14, 5e-15])),
        Capacitor("sz", "s", "z", 2e-14),  # s has no capacitor to ground
        Resistor("ys", "y", "s", 2e-5),
        *load("y"),
        *load("z", 0.5e-5),
        Resistor("sr", "s", GROUND, 1e-5),
    )
    times = np.linspace(0, 5 * TAU, 101)[1:]
    circuit, waves = run(netlist, times, rtol=1e-9)
    assert len(circuit.floating) == 2
    c = circuit.capacitance_matrix
    np.testing.assert_array_equal(c, c.T)
    np.testing.assert_allclose(c.sum(1), [1e-14] * 6 + [0.0] * 3, rtol=0, atol=1e-28)
    (plot,) = run_deck(write(netlist, [f".tran {TAU / 100:g} {5 * TAU:g} 0 {TAU / 200:g} uic"], options=EXACT))
    for bus, wave in waves.v.items():
        for k in range(3):
            found = np.interp(times, plot.data["time"], plot.data[f"v({bus}_{k})"])
            assert np.abs(found - wave[:, k]).max() < 1e-4 * 0.1


def test_dataset_has_labels_and_units():
    netlist = Netlist({"y": Bus((2, 3)), "s": Bus()}).add(
        *load("y"), *load("s"), ISource("i", GROUND, "y", 1e-6 * np.arange(6).reshape(2, 3))
    )
    times = np.array([0.0, 0.5, 1.0]) * TAU
    circuit, waves = run(netlist, times)
    data = to_dataset(waves, circuit)
    assert data["y"].dims == ("time", "y_0", "y_1")
    assert data["s"].dims == ("time",)
    assert data["y"].attrs["units"] == data["s"].attrs["units"] == "V"
    assert data["time"].attrs["units"] == "s"
    assert data.attrs["steps"] == int(waves.steps) > 0
    np.testing.assert_array_equal(data["time"], times)
    np.testing.assert_array_equal(data["y"], waves.v["y"])


def test_giving_up_is_an_error():
    with pytest.raises(ConvergenceError, match=r"gave up after 3 steps before 5e-08 s"):
        run(step_response(), [50 * TAU], max_steps=3, rtol=1e-10)


def saturating(gain=0.5):
    """Two nodes that drive each other through tanh; beyond gain 1 they have several states."""
    buses = {"in": Bus((2,)), "z": Bus((2,)), "a": Bus((2,))}
    arrays = {"w": gain * 1e-5 * np.array([[0, 1.0], [1, 0]]), "x": 1e-5 * np.eye(2)}
    act = Activation("act", ("z",), "a", 1e-5, 0.1, kind="tanh")
    elements = (VSource("in", "in", 0.0), Crossbar("x", "in", "z", "x"), act, Crossbar("w", "a", "z", "w"))
    return Netlist(buses, {}, arrays).add(*elements, *load("z"), *load("a", farads=1e-15))


def test_settled_says_how_well():
    circuit = Circuit(saturating(), SCALE)
    x = {"in": jnp.array([0.1, -0.02])}
    good = settle(circuit, x, circuit.theta)
    assert bool(good.converged)
    assert float(good.residual) < 1e-12
    assert 0 < float(good.time) < 60
    assert int(good.steps) > 0
    z = np.asarray(good.v["z"]) / 0.1
    np.testing.assert_allclose(z, np.array([1.0, -0.2]) + 0.5 * np.tanh(z)[::-1], rtol=0, atol=1e-12)
    assert good.require("it") is good


def test_a_short_horizon_is_not_convergence():
    circuit = Circuit(saturating(), SCALE)
    short = settle(circuit, {"in": jnp.array([0.1, -0.02])}, circuit.theta, options=SettleOptions(horizon=0.3))
    assert not bool(short.converged)
    with pytest.raises(ConvergenceError, match=r"the free phase did not settle: relative residual .* after 0\.3 time"):
        short.require("the free phase")


def test_waveforms_stand_still_at_their_start_while_settling():
    circuit = Circuit(step_response(Pulse(0.03, 0.1, TAU, TAU, TAU, TAU, 5 * TAU)), SCALE)
    at = settle(circuit, {}, circuit.theta).require("the circuit")
    np.testing.assert_allclose(at.v["y"], 0.03, rtol=1e-12)


def test_batches_are_the_same_as_one_by_one():
    circuit = Circuit(saturating(), SCALE)
    inputs = 0.1 * jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    batch = jax.vmap(lambda x: settle(circuit, {"in": x}, circuit.theta))(inputs)
    assert batch.converged.shape == (3,)
    assert batch.require("the batch") is batch
    for k, x in enumerate(inputs):
        one = settle(circuit, {"in": x}, circuit.theta)
        for bus in one.v:
            np.testing.assert_allclose(batch.v[bus][k], one.v[bus], rtol=0, atol=1e-12)
        np.testing.assert_allclose(batch.time[k], one.time, rtol=1e-9)
        assert int(batch.steps[k]) == int(one.steps)


def test_settling_a_batch_with_common_steps():
    """Groups of unequal filling, extra currents, starts; each sample as if it were alone."""
    circuit = Circuit(saturating(), SCALE)
    rng = np.random.default_rng(0)
    count = GROUP + 3
    inputs, pushed = 0.1 * rng.normal(size=(count, 2)), 1e-7 * rng.normal(size=(count, 2))
    start = {"z": 0.05 * rng.normal(size=(count, 2))}
    batch = settle_batch(circuit, {"in": inputs}, circuit.theta, sources={"a": pushed}, v0=start)
    assert batch.residual.shape == batch.converged.shape == batch.steps.shape == (count,)
    assert batch.require("the batch") is batch
    for k in range(count):
        given = {"sources": {"a": pushed[k]}, "v0": {"z": start["z"][k]}}
        one = settle(circuit, {"in": inputs[k]}, circuit.theta, **given)
        for bus in one.v:
            np.testing.assert_allclose(batch.v[bus][k], one.v[bus], rtol=0, atol=1e-12)
    short = settle_batch(circuit, {"in": inputs}, circuit.theta, options=SettleOptions(horizon=0.3))
    assert not bool(short.converged.any())
    with pytest.raises(ValueError, match="same leading axis"):
        settle_batch(circuit, {"in": inputs}, circuit.theta, sources={"a": pushed[:2]})


def test_cascade_with_a_pole_of_its_own_for_every_node():
    """Unequal time constants on buses as wide as the method has stages, in the cells and in the states."""
    rng = np.random.default_rng(1)
    buses = {name: Bus((STAGES,)) for name in ("in", "z", "a")}
    arrays = {"w": 2e-6 * rng.normal(size=(STAGES, STAGES)), "x": 1e-5 * np.eye(STAGES)}
    netlist = Netlist(buses, {}, arrays).add(
        VSource("in", "in", 0.1 * rng.normal(size=STAGES)),
        Crossbar("x", "in", "z", "x"),
        Activation("act", ("z",), "a", 1e-5, 0.1, kind="tanh"),
        Crossbar("w", "a", "z", "w"),
        *load("z", 1e-5 * np.linspace(1, 2, STAGES)),
        *load("a", farads=1e-14 * np.geomspace(1e-3, 1e-1, STAGES)),
    )
    times = np.geomspace(1e-3, 5, 40) * TAU
    _, tight = run(netlist, times, solver="tsit5", rtol=1e-10)
    circuit, waves = run(netlist, times, solver="cascade", rtol=1e-8)
    assert circuit.core == ("z",)
    for bus, wave in tight.v.items():
        np.testing.assert_allclose(waves.v[bus], wave, rtol=0, atol=1e-7 * 0.1)


def test_dense_output_anywhere_between_the_steps():
    circuit = Circuit(step_response(), SCALE)
    waves = dense_transient(circuit, 5 * TAU, {}, circuit.theta, rtol=1e-8)
    for t in np.random.default_rng(0).uniform(0.0, 5 * TAU, 20):
        assert float(waves(t)["y"]) == pytest.approx(0.1 * (1 - np.exp(-t / TAU)), abs=1e-7)
    with pytest.raises(ConvergenceError, match="gave up"):
        dense_transient(circuit, 5 * TAU, {}, circuit.theta, rtol=1e-8, max_steps=4)


def test_no_dense_jacobian_above_a_few_thousand_states():
    wide = Netlist({"a": Bus((5000,))}).add(Resistor("r", "a", GROUND, 1e-5), Capacitor("c", "a", GROUND, 1e-14))
    with pytest.raises(NetlistError, match="5000 states"):
        solver("kvaerno3", Circuit(wide, SCALE), rtol=1e-6)


def test_radau_with_three_stages():
    """Nodes, weights and the real eigenvalue of A^-1 as Hairer and Wanner (1996, sections IV.5, IV.8) give them."""
    method, root = radau(3), np.sqrt(6)
    np.testing.assert_allclose(method.nodes, [(4 - root) / 10, (4 + root) / 10, 1.0], rtol=1e-14)
    np.testing.assert_allclose(method.weights[-1], [(16 - root) / 36, (16 + root) / 36, 1 / 9], rtol=1e-13)
    assert method.damping == pytest.approx((6 + 81 ** (1 / 3) - 9 ** (1 / 3)) / 30, rel=1e-12)
    for kappa in (0.3, 20.0):
        powers = kappa ** np.arange(4)
        inverse = np.einsum("kij,k->ij", method.numerator, powers[:3]) / (method.denominator @ powers)
        np.testing.assert_allclose(inverse, np.linalg.inv(np.eye(3) + kappa * method.weights), rtol=1e-11)
