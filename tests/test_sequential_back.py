"""The way back of a lane, last token to first: the gradient of the parallel circuit, from what gain cells hold."""

import json
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_blocks import block, one, phases, sample

from analogep.codesign.on_devices import on_devices
from analogep.compile import DeviceOptions, compile_transformer, to_conductances
from analogep.compile.schedule import compile_lane, count
from analogep.ep.compare import OracleOptions, compare_circuit
from analogep.ep.estimators import Estimators
from analogep.errors import NetlistError, SpecError
from analogep.learning.guard import reverse_mode_uses
from analogep.learning.lane import STORES, LanePhases
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases, nudge_options
from analogep.learning.readout import Readout
from analogep.learning.rule import Phase
from analogep.models.objective import cross_entropy
from analogep.netlist.element import GROUND
from analogep.netlist.elements import ISource
from analogep.netlist.wired import fold_wires
from analogep.simulate.reference import check_operating_point
from analogep.simulate.sequential import lane_rails, settle_sequence
from analogep.technology import preset

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = {"tokens": 3, "channels": 4, "ffn": 3, "activation": "tanh"}


@cache
def lane(level="parasitic"):
    """Phases of a lane of the causal block of four tokens and two heads."""
    model, weights, _ = block("free")
    return LanePhases(compile_lane(model, weights, level=level))


@cache
def compared():
    """Both samples in one batch."""
    _, weights, batch = block("free")
    return compare_circuit(lane(), weights, batch, reference=OracleOptions(steps=10))


@pytest.mark.parametrize(("name", "bound"), [("twin", 1e-11), ("reversed", 1e-9)])
def test_the_gradient_of_every_array_is_that_of_the_block_as_written(name, bound):
    """Against the implicit gradient of F(z), embedding and readout included."""
    result = compared()
    assert result.converged
    row = result.rows[name]
    assert row.local
    assert set(row.arrays) == set(block("free")[0].weight_shapes)
    for array, each in row.arrays.items():
        assert each.relative_error < bound, array


def test_it_is_the_slope_of_the_settled_loss():
    """Against centred differences of the loss of sequences that settle anew: no adjoint, no model."""
    (_, weights, batch), scale, circuit = block("free"), lane().scale, lane().circuit

    @jax.jit
    def of_window(weights, inputs, targets, weight):
        found = settle_sequence(circuit, inputs * scale.volts, to_conductances(weights, scale))
        return cross_entropy(found.v["logits"] / scale.volts, targets, weight)

    def loss(weights):
        windows = zip(batch.inputs, batch.targets, batch.weights, strict=True)
        return np.mean([float(of_window(weights, *window)) for window in windows])

    gradient = compared().rows["twin"].gradient
    for array in ("embed", "key", "value"):
        at = np.unravel_index(np.abs(gradient[array]).argmax(), weights[array].shape)
        step = np.zeros_like(weights[array])
        step[at] = 1e-4
        up, down = (loss({**weights, array: weights[array] + sign * step}) for sign in (1, -1))
        assert float(gradient[array][at]) == pytest.approx((up - down) / 2e-4, rel=1e-6)


@pytest.mark.parametrize("level", ["ideal", "parasitic"])
def test_lambda_is_the_parallel_twin_s_at_every_bus_of_every_token(level):
    x, theta = sample("free", level=level)
    whole, ours = phases("free", level), lane(level)
    parallel = whole.twin(whole.free(x, theta), x, theta).voltages
    if level == "parasitic":
        found = {bus: v[0] for bus, v in compared().runs[Phase.TWIN].voltages.items()}
    else:
        found = ours.twin(ours.free(x, theta), x, theta).voltages
    buses = set(found) & set(parallel) - {"token"}
    assert buses >= {"z", "u", "q", "k", "v", "o", "h", "a", "final", "logits"}
    for bus in buses:
        scale = np.abs(parallel[bus]).max()
        np.testing.assert_allclose(found[bus], parallel[bus], rtol=0, atol=1e-11 * scale, err_msg=bus)


@pytest.mark.slow
def test_at_level_device():
    """Transistor cells and wires, folded: against a dense transpose of the parallel circuit's conductances."""
    model, weights, batch = block("free", **TINY | {"tokens": 2, "channels": 2, "heads": 1})
    devices = DeviceOptions(
        transistors=("activation", "softmax")
    )  # multipliers and layer norms take minutes to compile
    built = [make(model, weights, level="device", devices=devices) for make in (compile_transformer, compile_lane)]
    folded = [replace(each, netlist=fold_wires(each.netlist).netlist) for each in built]
    whole, ours = CircuitPhases(folded[0]), LanePhases(folded[1])
    theta, x = whole.circuit.theta, {name: rail[0] for name, rail in rails(batch, ours.scale.volts).items()}
    free = whole.free(x, theta)
    g, push = whole.circuit.conductance(free.settled.v, x, theta), whole.output_push(free, x, theta)
    right = whole.circuit.flatten({bus: push.get(bus, jnp.zeros_like(v)) for bus, v in free.settled.v.items()})
    expected = whole.circuit.unflatten(jnp.asarray(np.linalg.solve(np.asarray(g).T, np.asarray(right))))
    found = ours.twin(ours.free(x, theta), x, theta)
    assert bool(found.settled.converged.all())
    for bus in ("z", "u", "q", "k", "v", "o", "h", "a", "logits"):
        scale = np.abs(expected[bus]).max()
        np.testing.assert_allclose(found.voltages[bus], expected[bus], rtol=0, atol=1e-9 * scale, err_msg=bus)


def test_settlings_and_held_voltages_are_those_that_are_counted():
    x, theta = sample("free")
    counted = count(block("free")[0], "sequential")
    free = jax.eval_shape(lane().free, x, theta)
    back = jax.eval_shape(lane().twin, free, x, theta)
    assert free.settled.converged.size == counted.settlings
    assert free.settled.converged.size + back.settled.converged.size == counted.settlings_with_adjoint
    memory = jax.eval_shape(lane().memory, free)
    assert sum(leaf.size for leaf in jax.tree.leaves(memory.charges)) == counted.stored
    assert sum(leaf.size for leaf in jax.tree.leaves(memory)) == counted.stored_with_adjoint


def test_the_way_back_goes_forward_only():
    x, theta = sample("free")
    free, near = jax.eval_shape(lane().free, x, theta), nudge_options(lane().options, 1e-3)
    assert reverse_mode_uses(lane().free, x, theta) == []
    assert reverse_mode_uses(lane().twin, free, x, theta) == []
    assert reverse_mode_uses(lambda *at: lane().turned(*at, jnp.asarray(1e-3), near), free, x, theta) == []


@pytest.mark.spice
def test_the_adjoint_lane_is_a_circuit():
    """One token's way back in ngspice: the same multipliers, those that the stores' amplifiers collect among them."""
    model, weights, batch = block("free", **TINY)
    ours = LanePhases(compile_lane(model, weights))
    x, theta = ({name: rail[0] for name, rail in rails(batch, ours.scale.volts).items()}, ours.circuit.theta)
    free, place = ours.free(x, theta), 1
    rail = lane_rails(ours.circuit, place, x["token"][place], {bus: free.voltages[bus] for bus in STORES})
    stood = ours.circuit.settled({"z": free.voltages["z"][place][None]}, rail, theta)[0]
    rng, unit = np.random.default_rng(0), ours.scale.amperes
    pushed = {bus: unit * rng.normal(size=ours.circuit.netlist.shape(bus)) for bus in ("logits", *STORES)}
    inputs = {f"free.{bus}": v for bus, v in stood.items()}
    twin = ours.twin_circuit
    dense = np.linalg.solve(
        np.asarray(twin.conductance(twin.zeros(), inputs, theta)),
        np.asarray(twin.flatten({bus: pushed.get(bus, jnp.zeros(b.shape)) for bus, b in twin.states.items()})),
    )
    expected = twin.voltages(twin.unflatten(jnp.asarray(dense)), inputs, theta, 0.0, pushed)
    netlist = twin.netlist.add(*(ISource(f"push.{bus}", GROUND, bus, i) for bus, i in pushed.items()))
    found = check_operating_point(netlist, expected, held={bus: np.asarray(v) for bus, v in stood.items()})
    assert np.abs(expected["k.held"][:place]).max() > 1e-3 * ours.scale.volts
    assert found.error < 1e-9


@pytest.mark.slow
def test_a_lane_learns_on_devices_as_the_parallel_circuit_does():
    """Badly written devices, a converter that reads and one that nudges: the same gradient, rounding and all."""
    model, weights, batch = block("free", **TINY)
    devices, found = preset("reram"), []
    scale = replace(lane().scale, siemens=DeviceOptions(devices).siemens(weights))
    for make, kind in ((compile_lane, LanePhases), (compile_transformer, CircuitPhases)):
        measured = on_devices(
            kind(make(model, weights, scale=scale, level="ideal"), nudge_bits=4), weights, one(batch, 0), devices,
            keys=jax.random.split(jax.random.key(0), 1), written=devices.written(), readout=Readout(bits=8),
            estimators=("twin",),
        )  # fmt: skip
        assert bool(measured.converged.all())
        found.append(
            [float(measured[name][..., 0].squeeze()) for name in ("cosine", "norm_ratio", "loss", "loss_change")]
        )
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert 0.9 < found[0][0] < 1 - 1e-4
    assert abs(found[0][-1]) > 1e-6


def test_what_a_lane_cannot_do_is_refused():
    x, theta = sample("free")
    with pytest.raises(NetlistError, match="compile it with compile_lane"):
        LanePhases(phases("free").compiled)
    with pytest.raises(NetlistError, match="leave out v0"):
        lane().free(x, theta, {"z": jnp.zeros((1, 8))})
    with pytest.raises(SpecError, match="asym_ep"):
        Estimators(lane()).run(("asym_ep",), x, theta, 1e-3)


@pytest.mark.slow
def test_compare_on_a_lane(command_line, tmp_path):
    """The verb; BPTT goes through the circuit of all tokens."""
    text = tmp_path / "text.txt"
    text.write_text("abcde abc. " * 30, encoding="utf-8")
    settings = ["model.tokens=3", "model.channels=4", "model.ffn=3", "compile.level=ideal", "oracle.horizon=15.0"]
    sets = [part for setting in [*settings, f"data.text={text}"] for part in ("--set", setting)]
    code, out, err = command_line("compare", "--system", "lane", *sets, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert set(result["estimators"]) == {"twin", "reversed"}
    assert all(row["relative_error"] < 1e-8 for row in result["estimators"].values())
    assert result["circuit_bptt"]["relative_error"] < 1e-2
    energy = ["--set", "model.attention=energy", "--set", "data.objective=last_token"]
    code, _, err = command_line("compare", "--system", "lane", *sets, *energy)
    assert code == 2
    assert "feel later ones" in err
