"""Costs against hand counts on tiny circuits, and against energies that were integrated."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import trapezoid
from small_blocks import block, one, phases, sample

from analogep.cells import Cell, TransistorCell
from analogep.codesign.cost import array_power, charging_energy, costs, static_power
from analogep.codesign.digital import bptt_step, comparison, forward_work
from analogep.codesign.hardware import Hardware
from analogep.codesign.operating import OperatingPoint, last_crossing, operating_point, settling_seconds
from analogep.compile import compile_transformer
from analogep.compile.device import silicon
from analogep.errors import ConvergenceError, SpecError
from analogep.learning.nudge import rails
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import Capacitor, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.wired import fold_wires
from analogep.simulate.circuit import Circuit
from analogep.simulate.transient import transient
from analogep.technology import preset
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")


def rc(ohms=1e5, farads=1e-14, volts=0.2):
    netlist = Netlist({"in": Bus(), "out": Bus()}).add(
        VSource("V", "in", np.asarray(volts)), Resistor("R", "in", "out", 1 / ohms), Capacitor("C", "out", "0", farads)
    )
    return Circuit(netlist, Scale(0.1, 1 / ohms, farads))


def test_charging_an_rc_takes_c_v_squared_from_its_source():
    circuit = rc()
    times = np.linspace(0, 20e-9, 4001)
    v = np.asarray(transient(circuit, times, {}, {}, rtol=1e-9).v["out"])
    drawn = trapezoid(0.2 * (0.2 - v) / 1e5, times)
    assert charging_energy(1e-14, np.array(0.2)) == pytest.approx(drawn, rel=1e-5)


def test_settling_of_an_rc_is_its_logarithm():
    circuit = rc()
    found = settling_seconds(circuit, {}, {}, {"out": np.asarray(0.2)}, 0.2 / 256)
    assert found == pytest.approx(1e-9 * np.log(256), rel=1e-3)  # straight between samples
    with pytest.raises(ConvergenceError, match="from rest after 1 tau"):
        settling_seconds(circuit, {}, {}, {"out": np.asarray(0.2)}, 0.2 / 256, horizon=1.0)


def test_last_crossing_is_the_last_one():
    times = np.arange(5.0)
    assert last_crossing(times, np.array([4.0, 0.5, 2.0, 0.0, 0.1]), 1.0, "") == pytest.approx(2.5)
    assert last_crossing(times, np.zeros(5), 1.0, "") == 0.0


def test_an_array_of_pairs_by_hand():
    """[[3, -1], [0, 2]] uS with gmin 1 uS: rows carry (3+0+4) and (1+2+4) uS at 0.1 and 0.2 V."""
    g = np.array([[3.0, -1.0], [0.0, 2.0]]) * 1e-6
    by_hand = 7e-6 * 0.01 + 7e-6 * 0.04
    assert array_power(g, np.array([[0.1, 0.2]]), 1e-6) == pytest.approx(by_hand)
    assert array_power(g, np.array([[0.1, 0.2]] * 3), 1e-6) == pytest.approx(3 * by_hand)


def test_static_power_of_two_pairs_and_a_load_by_hand():
    netlist = Netlist({"in": Bus((2,)), "out": Bus((1,))}).add(
        VSource("V", "in", np.zeros(2)),
        Crossbar("A", "in", "out", "w"),
        Resistor("L", "out", "0", 1e-5),
        Capacitor("C", "out", "0", 1e-14),
        arrays={"w": np.array([[2e-6, -1e-6]])},
    )
    circuit = Circuit(netlist, Scale(0.1, 1e-5, 1e-14))
    v = {"in": np.array([0.1, 0.1]), "out": np.array([0.01])}
    compiled = SimpleNamespace(netlist=netlist, scale=circuit.scale)
    point = OperatingPoint(compiled, circuit, {"in": v["in"]}, circuit.theta, v, v)
    found = static_power(point, Hardware(device=preset("reram"), supply=2.0))
    assert found.arrays == pytest.approx((2e-6 + 2e-6 + 1e-6 + 2e-6) * 0.01)
    assert found.loads == pytest.approx(1e-5 * 1e-4)
    assert found.cells == 0
    # class A: one output stage for 0.1 uA, two row drivers for 0.4 uA, at 2 V
    assert found.stages == pytest.approx(2.0 * (1e-7 + 2 * 4e-7))
    assert found.total == pytest.approx(found.arrays + found.loads + found.stages)


def test_cells_of_transistors_take_what_their_supplies_deliver():
    """At level `device`: supply currents of all transistor cells at 5 V; arrays, folded, as at `parasitic`."""
    model, weights, _ = block("free", tokens=2, channels=4, heads=2, ffn=3, activation="tanh")
    compiled = compile_transformer(model, weights, level="device")
    folded = fold_wires(compiled.netlist)
    rng, buses = np.random.default_rng(0), compiled.netlist.buses
    v = {name: 0.1 * rng.normal(size=bus.shape) for name, bus in buses.items()}
    theta = folded.effective(compiled.netlist.arrays)
    circuit = Circuit(folded.netlist, compiled.scale)
    point = OperatingPoint(replace(compiled, netlist=folded.netlist), circuit, {"token": v["token"]}, theta, v, v)
    found = static_power(point, Hardware())
    amperes = silicon(folded.netlist).supply_amperes
    assert amperes > 0
    norms = [e for e in folded.netlist if isinstance(e, Cell) and not isinstance(e, TransistorCell)]
    class_a = sum(e.siemens * np.abs(v[e.output]).max() * buses[e.output].nodes for e in norms)
    assert float(found.cells) == pytest.approx(5.0 * amperes + Hardware().supply * class_a)
    by_hand = sum(
        np.sum((np.abs(g) + 2 * 1e-6).sum(0) * v[e.reads[0]].reshape(-1, g.shape[1]) ** 2)
        for e in folded.netlist
        if isinstance(e, Crossbar)
        for g in [np.asarray(theta[e.weights])]
    )
    assert float(found.arrays) == pytest.approx(by_hand)


@cache
def counted(**changes):
    return costs(at_rest(), Hardware(**changes), alpha=-0.7)


@cache
def at_rest():
    _, _, batch = block("free")
    _, theta = sample("free")
    return operating_point(phases("free"), rails(one(batch, 0), phases("free").scale.volts), theta, 1.0)


def test_every_cost_has_a_unit_and_a_source():
    found = counted().to_dict()
    for name, entry in found.items():
        if name != "left_out":
            assert np.isfinite(entry["value"])
            assert entry["unit"]
            assert len(entry["source"]) > 10
    assert any("behavioral" in line for line in found["left_out"])


def test_power_of_the_block_by_hand():
    point, found = at_rest(), counted()
    g, u, leak = point.theta["query"], point.voltages["u"], 2.0 * phases("free").scale.siemens
    assert array_power(g, u, 1e-6) == pytest.approx(np.sum((np.abs(g) + 2e-6)[None] * u[:, None, :] ** 2))
    assert found["power_loads"] > np.sum(leak * point.voltages["z"] ** 2)
    farads = phases("free").scale.farads
    stored = farads * np.sum(point.voltages["z"] ** 2)
    assert stored < found["energy_charging"] < 20 * stored
    assert found["energy_per_settle"] == pytest.approx(
        found["power"] * found["settling_time"] + found["energy_charging"] + found["energy_wires"]
    )


def test_converters_follow_the_cost_model():
    """8 bits at 1 V: 800 fF + 65.536 fF; the anchor has 3.1 mW / 1.2 GS/s = 2.6 pJ and 0.0015 mm^2."""
    hardware = Hardware()
    assert hardware.adc_joules == pytest.approx(865.536e-15)
    assert hardware.dac_joules == pytest.approx(400e-15)
    assert hardware.adc_seconds(128) == pytest.approx(8 * (0.00653 * 128 + 0.640) * 1e-9)
    assert 0.3 < hardware.adc_area / 0.0015e-6 < 3


def test_sequential_trades_area_for_time():
    parallel, sequential = counted(), counted(schedule="sequential")
    tokens = phases("free").compiled.model.tokens
    assert sequential["area_devices"] == pytest.approx(parallel["area_devices"] / tokens)
    assert sequential["area_adcs"] == parallel["area_adcs"]
    assert sequential["area_held"] > 0
    assert sequential["latency_per_token"] > parallel["latency_per_token"]
    assert sequential["latency_per_token"] == pytest.approx(
        sequential["settling_time"] + Hardware().adc_seconds(15), rel=1e-9
    )


def test_repeats_cost_readings_and_buy_margin():
    one_, four = counted(repeats=1), counted(repeats=4)
    assert four["nudge_to_noise"] == pytest.approx(2 * one_["nudge_to_noise"])
    assert four["energy_per_step"] > one_["energy_per_step"]
    assert four["energy_per_token"] == one_["energy_per_token"]


def test_devices_without_a_known_pulse_are_named():
    assert counted(device=preset("reram")).left_out[0].startswith("area")
    assert "no source for 'pcm'" in counted(device=preset("pcm")).left_out[0]


def test_a_digital_step_by_hand():
    model = block("free")[0]
    t, d, f, v = model.tokens, model.channels, model.ffn, model.vocabulary
    inside = 4 * d * d + 2 * d * f
    macs, weights, _ = forward_work(model)
    assert weights == inside
    assert macs == t * inside + 2 * (t * (t + 1) // 2) * d
    found = bptt_step(model, 10.0, 0.5)
    assert found["macs"].value == 3 * (20 * macs + t * (d * (v + t) + v * d))
    arithmetic = found["macs"].value * 4.6e-12
    assert found["energy_per_step"].value == pytest.approx(arithmetic + found["words"].value * 5e-12)
    rival = comparison(model, 10.0, 1e-9, 0.5)
    assert rival["advantage"]["value"] == pytest.approx(found["energy_per_token"].value / 1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adc_bits": 1}, "give 2 to 16 bits"),
        ({"repeats": 0}, "give 1 or more"),
        ({"supply": 0.0}, "above 0"),
        ({"schedule": "both"}, "choose 'parallel' or 'sequential'"),
    ],
)
def test_hardware_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        Hardware(**changes)
