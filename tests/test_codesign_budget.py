"""The error budget: shares against closed forms of small games, and a learning step's imperfections one by one."""

import json
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_blocks import block, one, phases

from analogep.codesign.budget import error_budget
from analogep.codesign.hardware import Hardware
from analogep.codesign.learning_step import LearningStep
from analogep.compile import DeviceOptions, compile_transformer
from analogep.errors import SpecError
from analogep.learning.phases import CircuitPhases
from analogep.learning.reversal import hold
from analogep.netlist.element import HELD
from analogep.netlist.wired import fold_wires
from analogep.netlist.wires import Wires
from analogep.plot.budget import budget as bars
from analogep.plot.budget import save
from analogep.simulate.settle import settle
from analogep.technology import constant, from_pairs, preset

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = ("a", "b", "c", "d")
WEIGHTS = np.array([1.0, 2.0, -0.5, 4.0])


def additive(on, chip):
    return {"angle": 3.0 + on @ WEIGHTS + chip}


def crossed(on, chip):
    """a and b cost something only together, and more on later chips."""
    return {"angle": on[:, 0] * on[:, 1] * (1.0 + chip) + 0.0 * on.sum(1)}


def test_shares_of_an_additive_game_are_what_each_costs_alone():
    found = error_budget(NAMES, additive, chips=3)["angle"]
    np.testing.assert_allclose(found.share, WEIGHTS, atol=1e-14)
    np.testing.assert_allclose(found.alone, WEIGHTS, atol=1e-14)
    np.testing.assert_allclose(found.error, 0.0, atol=1e-14)
    assert found.none == 4.0  # chips 0, 1, 2
    assert found.total == pytest.approx(WEIGHTS.sum())


def test_partners_share_alike_and_bystanders_get_nothing():
    """Shapley value of a product: half each. An order and its reverse have one partner last each, so it is exact."""
    found = error_budget(NAMES, crossed, chips=5)["angle"]
    np.testing.assert_allclose(found.share, [1.5, 1.5, 0.0, 0.0], atol=1e-14)
    np.testing.assert_array_equal(found.alone, 0.0)
    # chips differ: 1 ... 5 is their cost, half of it a share
    assert found.error[0] == pytest.approx(np.std(np.arange(1, 6) / 2, ddof=1) / np.sqrt(5))


def test_shares_add_up_exactly_and_come_near_the_exact_value():
    table = np.random.default_rng(1).normal(size=16)

    def any_game(on, chip):
        return {"angle": table[on @ (1 << np.arange(4))]}

    exact = np.zeros(4)
    for k in range(4):
        for other in range(16):
            if not other >> k & 1:
                size = bin(other).count("1")
                weight = [1 / 4, 1 / 12, 1 / 12, 1 / 4][size]
                exact[k] += weight * (table[other | 1 << k] - table[other])
    found = error_budget(NAMES, any_game, chips=60)["angle"]
    assert found.share.sum() == pytest.approx(found.total, abs=1e-13)
    assert found.total == pytest.approx(table[15] - table[0])
    assert np.all(np.abs(found.share - exact) < 5 * found.error + 1e-12)


def test_chips_without_a_value_are_left_out_and_counted():
    def broken(on, chip):
        return {"angle": np.where((chip == 1) & on[:, 2], np.nan, on @ WEIGHTS)}

    found = error_budget(NAMES, broken, chips=4)["angle"]
    assert (found.chips, found.lost) == (3, 1)
    assert found.unsettling == ("c",)
    gone = error_budget(NAMES, lambda on, chip: {"x": np.where((chip > 0) & on[:, 2], np.nan, 0.0)}, chips=4)["x"]
    assert (gone.chips, gone.lost) == (1, 3)
    assert np.isnan(gone.total)


@pytest.mark.parametrize(("names", "chips"), [(NAMES, 1), ((), 4)])
def test_a_budget_needs_effects_and_chips(names, chips):
    with pytest.raises(SpecError, match="give an effect and 2 chips or more"):
        error_budget(names, additive, chips=chips)


@cache
def step(horizon=8.0, **changes):
    _, weights, batch = block("free")
    return LearningStep(phases("free"), weights, one(batch, 0), hardware=hardware(**changes), horizon=horizon)


def hardware(**changes):
    """ReRAM with some 1/f noise and a leak, that warms up as it is used."""
    device = replace(preset("reram").at(stuck=0.1, levels=64), flicker=(constant(3e-3), 250e-9), retention=1e6)
    slow = {"flicker": 1e-5, "warming": 2e5, "tempco": 1e-3}
    return Hardware(**({"device": device, "repeats": 4, "beta": 0.5} | slow | changes))


@cache
def cases():
    """Without anything, with each alone, and with all, on one chip."""
    at = step()
    n = len(at.names)
    on = np.concatenate([np.zeros((1, n), bool), np.eye(n, dtype=bool), np.ones((1, n), bool)])
    found = at.evaluate(on, jax.random.split(jax.random.key(2), 1)[np.zeros(n + 2, int)])
    return dict(zip(("none", *at.names, "all"), np.asarray(found.angle), strict=True)), dict(
        zip(("none", *at.names, "all"), np.asarray(found.loss), strict=True)
    )


def test_a_step_without_imperfections_is_exact():
    angle, _ = cases()
    assert abs(angle["none"]) < 1e-9


def test_what_is_wrong_when_written_costs_loss_and_no_cosine():
    """Learning in place follows the conductances as they are."""
    angle, loss = cases()
    for name in ("quantization", "programming", "stuck cells", "retention"):
        assert abs(angle[name]) < 1e-9
        assert abs(loss[name] - loss["none"]) > (1e-4 if name != "retention" else 1e-9)


def test_what_is_wrong_when_measured_costs_cosine_and_no_loss():
    angle, loss = cases()
    slow = ("1/f between phases", "warming")
    for name in ("adjoint mismatch", "nudge DAC", "amplifiers", "thermal noise", "ADC", *slow):
        assert angle[name] > 1e-7
        assert loss[name] == loss["none"]
    # a leak of days does in a microsecond what nobody sees
    assert abs(angle["drift between phases"]) < 1e-9
    assert angle["read noise"] > 1e-4
    assert angle["finite settling"] > 1e-9
    assert abs(loss["wires"] - loss["none"]) > 1e-7


def test_a_phase_on_other_conductances_keeps_the_currents_that_held_the_free_one():
    """Kirchhoff's current law at every node, with the held currents of the free phase and those of the nudge; and so
    a change of all conductances by a thousandth moves far more than a thousandth of the nudge does."""
    at = step()
    run, x = at.nominal()
    first, theta = {bus: v[0] for bus, v in x.items()}, at._signed({}, at.pairs)
    free = {bus: v[0] for bus, v in run.voltages.items()}
    now = {name: 1.001 * g for name, g in theta.items()}
    off = dict.fromkeys(at.names, jnp.asarray(False))
    nudge = jax.jit(lambda now, sign: at._nudged(free, first, theta, now, sign, off))
    moved = {}
    for what, then in (("same", theta), ("changed", now)):
        found = nudge(then, 1.0)
        inputs = {**first, **{HELD + bus: v for bus, v in free.items()}}
        held = hold(at.turned, free, inputs, theta)
        pushed = {**held, "logits": held["logits"] + at._push(off, free, first)}
        left = at.turned.current({bus: found[bus] for bus in at.turned.states}, inputs, then, 0.0, pushed)
        largest = max(float(jnp.abs(i).max()) for i in left.values())
        assert largest < 1e-9 * at.scale.amperes
        moved[what] = np.concatenate([np.ravel(found[bus] - free[bus]) for bus in at.turned.states])
    assert np.linalg.norm(moved["changed"] - moved["same"]) > 3e-3 * np.linalg.norm(moved["same"])


def test_phases_come_as_far_apart_as_settling_and_reading_take():
    """8 tau of 1 ns, and 4 readings of 4 tokens with 8 bits on the longest column, 15 rows."""
    assert step().gap == pytest.approx(8e-9 + 4 * 4 * 8 * (0.00653e-9 * 15 + 0.640e-9))


@pytest.mark.slow
def test_thermal_noise_falls_with_beta_and_repeats():
    """1 - cosine is nearly sigma^2 n / (2 R |g|^2), and g is measured as beta g."""
    key = jax.random.split(jax.random.key(0), 8)
    angles = []
    for changes in ({}, {"repeats": 16, "beta": 1.0}):
        at = step(None, mismatch=0.0, wires=Wires(0, 0), **changes)
        on = np.tile(np.array([name == "thermal noise" for name in at.names]), (8, 1))
        angles.append(np.asarray(at.evaluate(on, key).angle).mean())
    assert angles[0] / angles[1] == pytest.approx(4.0 * 4.0, rel=0.35)


def test_a_step_needs_the_parasitic_level():
    _, weights, batch = block("free")
    with pytest.raises(SpecError, match=r"needs compile.level = 'parasitic', not 'ideal'"):
        LearningStep(phases("free", "ideal"), weights, batch, hardware=Hardware(), horizon=None)


DEVICE = {"tokens": 2, "channels": 4, "heads": 2, "ffn": 3, "activation": "tanh"}


@cache
def on_silicon():
    """A learning step of a tiny block at level `device`, its circuit, and the map from weights to its arrays."""
    model, weights, batch = block("free", **DEVICE)
    hardware = Hardware(device=preset("reram"), repeats=4, settle_seconds=2e-8)
    # one kind of transistor cell, as each takes a minute to compile in every phase
    devices = DeviceOptions(hardware.device, hardware.wires, transistors=("softmax",))
    whole = compile_transformer(model, weights, level="device", devices=devices)
    folded = fold_wires(whole.netlist)
    compiled = replace(whole, netlist=folded.netlist)
    step = LearningStep(
        CircuitPhases(compiled), weights, one(batch, 0), hardware=hardware, horizon=None, tiles=folded.tiles
    )
    return step, folded


@pytest.mark.slow
def test_the_reference_at_level_device_is_the_slope_of_the_settled_circuits_loss():
    """Of weights behind wires, by settling anew: the exact softmax of the logits of a circuit of transistors."""
    step, folded = on_silicon()
    circuit, volts = step.phases.circuit, step.scale.volts
    run, x = step.nominal()
    signed = from_pairs(step.pairs)
    exact = step._exact({bus: v[0] for bus, v in run.settled.v.items()}, {k: v[0] for k, v in x.items()},
                        folded.effective(signed))  # fmt: skip
    first, labels = {k: v[0] for k, v in x.items()}, np.asarray(step.batch.targets[0])

    def loss(theta):
        found = settle(circuit, first, folded.effective(theta)).require("the block")
        logits = np.asarray(circuit.voltages(found.v, first, folded.effective(theta))["logits"]) / volts
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return -float(step.batch.weights[0] @ (labels * log_p).sum(-1))

    for name in ("query", "ffn_out", "readout", "embed"):
        where = tuple(np.unravel_index(np.argmax(np.abs(exact[f"{name}.wired"])), signed[name].shape))
        change = 1e-3 * np.abs(signed[name]).max()
        up, down = (loss({**signed, name: signed[name].at[where].add(s * change)}) for s in (1, -1))
        # a weight moves its own effective conductance, and its neighbors' by parts in a thousand
        assert (up - down) / (2 * change) == pytest.approx(float(exact[f"{name}.wired"][where]), rel=5e-3)


@pytest.mark.slow
def test_a_budget_of_the_device_level_has_wires_and_transistors_in_its_circuit():
    step, _ = on_silicon()
    assert not {"wires", "finite settling"} & set(step.names)
    n = len(step.names)
    on = np.concatenate([np.zeros((1, n), bool), np.eye(n, dtype=bool)])
    found = step.evaluate(on, jax.random.split(jax.random.key(2), 1)[np.zeros(n + 1, int)])
    angle = dict(zip(("none", *step.names), np.asarray(found.angle), strict=True))
    assert np.all(np.asarray(found.residual) < 1e-6)
    # the nudge is made by a pair-softmax that is not quite one
    assert 1e-9 < angle["none"] < 0.01
    assert abs(angle["programming"] - angle["none"]) < 0.01
    assert angle["read noise"] > angle["none"]
    assert angle["adjoint mismatch"] != angle["none"]


def test_the_figure_shows_every_share(tmp_path):
    data = error_budget(NAMES, additive, chips=3)["angle"].to_dict()
    ax = bars(json.loads(json.dumps(data)))
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(sorted(WEIGHTS))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["c", "a", "b", "d"]
    save({"angle": data, "loss": data}, tmp_path / "budget.png")
    assert (tmp_path / "budget.png").stat().st_size > 10_000
