"""Learning on devices: readings, converters, repeats and pulses, each against its own law.

Most laws are of what happens to signals after phases have settled: they are tested on made-up signals of one array,
with dense numpy beside. What needs a circuit runs on the small block at level `ideal`.
"""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_blocks import block, one, phases, sample
from small_networks import network, setting

from analogep.codesign.on_devices import measured_gradients, on_devices
from analogep.codesign.repeats import (
    cosine_law,
    cosines_with_repeats,
    read_error,
    repeats_for,
    white_noise_to_signal,
)
from analogep.compile.transformer import PREDICTION
from analogep.ep import oracle
from analogep.ep.estimators import RULES, Estimators
from analogep.errors import DataError, SpecError
from analogep.learning.guard import reverse_mode_uses
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases, PhaseRun, over_samples
from analogep.learning.readout import Readout, contrasted, cut_off, node_noise
from analogep.learning.rule import Phase
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import BOLTZMANN, HELD
from analogep.netlist.elements import VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.plot.repeats import cosine_against_repeats
from analogep.simulate.settle import Settled, SettleOptions, settle
from analogep.simulate.transient import transient
from analogep.technology import (
    Amplifier,
    PulseResponse,
    ReadNoise,
    VoltageNoise,
    VoltageWander,
    constant,
    preset,
    structure,
)
from analogep.training.device import PulsedPairs, descend_on_devices
from analogep.training.local import twin_gradient

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(5)
TOKENS, ROWS, COLUMNS, SAMPLES = 12, 25, 24, 4
BETA, UNIT = 1e-3, 2.0
EP, TWIN = RULES["vector_field_ep"], RULES["twin"]


def unit_noise(volts):
    return VoltageNoise(volts, 1.0)


# One array between a row bus and a column bus, and signals out of a random generator


@cache
def array():
    """Phases of one array that nothing settles: what `Estimators` needs of them."""
    buses = {"a": Bus((TOKENS, ROWS)), "b": Bus((TOKENS, COLUMNS))}
    elements = [VSource("a", "a", np.zeros((TOKENS, ROWS))), Crossbar("w", "a", "b", "w")]
    netlist = Netlist(buses, {e.name: e for e in elements}, {"w": np.ones((COLUMNS, ROWS))})
    supported = frozenset({Phase.FREE, Phase.NUDGED_PLUS, Phase.NUDGED_MINUS, Phase.TWIN})
    return _Phases(netlist=netlist, return_netlist=netlist, supported=supported, unit=UNIT)


class _Phases(SimpleNamespace):
    __hash__ = object.__hash__


@cache
def signals(beta=BETA):
    """Drives of about 1 V at the rows; at the columns a rest of about 1 V and displacements of about beta volts."""
    rng = np.random.default_rng(0)
    a, b, lam = (rng.normal(size=(SAMPLES, TOKENS, n)) for n in (ROWS, COLUMNS, COLUMNS))
    none = jnp.zeros(SAMPLES)
    settled = Settled({}, none, none == 0, none, none)
    volts = {Phase.FREE: b, Phase.NUDGED_PLUS: b + beta * lam, Phase.NUDGED_MINUS: b - beta * lam, Phase.TWIN: lam}
    return (
        {phase: PhaseRun({"a": jnp.asarray(a), "b": jnp.asarray(v)}, settled) for phase, v in volts.items()},
        a,
        b,
        lam,
    )


def dense(a, lam):
    """Gradient by hand, -sum of lambda times drive (the array pushes into its columns), mean over samples."""
    return -np.einsum("stc,str->cr", lam, a) / UNIT / SAMPLES


def measured(readout, rule=EP, count=1, beta=BETA, repeats=None, chip=None):
    """Gradients [count, columns, rows] of the array."""
    runs = {phase: signals(beta)[0][phase] for phase in rule.phases | {Phase.FREE}}
    keys = jax.random.split(KEY, count)
    repeats = readout.repeats if repeats is None else repeats
    return np.asarray(
        measured_gradients(array(), rule.name, readout, runs=runs, keys=keys, beta=beta, repeats=repeats, chip=chip)[
            "w"
        ]
    )


@pytest.mark.parametrize("difference", ["correlated", "separate"])
@pytest.mark.parametrize("name", ["vector_field_ep", "vector_field_ep_one_sided", "twin", "energy_ep"])
def test_an_exact_readout_changes_nothing(name, difference):
    runs, a, _, lam = signals()
    found = measured(Readout(bits=None, difference=difference), RULES[name])[0]
    clean = Estimators(array()).gradient(name, runs, BETA).gradient["w"]
    np.testing.assert_allclose(found, clean, rtol=1e-9, atol=1e-12)
    if name != "energy_ep":
        np.testing.assert_allclose(found, dense(a, lam), rtol=1e-9, atol=1e-11)


def test_which_difference_a_rule_reads():
    named = {name: contrasted(rule) for name, rule in RULES.items()}
    assert named.pop("twin") is None
    assert named.pop("holomorphic_ep") is None
    assert named["vector_field_ep_one_sided"] == (Phase.NUDGED_PLUS, Phase.FREE)
    assert named["coupled_learning"] == (Phase.CLAMPED, Phase.FREE)
    for plus, minus in (pair for name, pair in named.items() if not name.endswith(("sided", "learning"))):
        assert (plus.value[:-1], plus.value[-1], minus.value[-1]) == (minus.value[:-1], "+", "-")


# Converters


def adc_power(bits, difference, beta):
    """Expected squared error of all entries: uniform errors of drives, and of the converted or subtracted sinks."""
    _, a, b, lam = signals(beta)
    top, displaced = 2 ** (bits - 1) - 1, 2 * beta * np.abs(lam)
    drive = (np.abs(a).max() / top) ** 2 / 12
    if difference == "correlated":
        sink = np.full(lam.shape, (displaced.max() / top) ** 2 / 12)
    else:  # two codes of nearly equal voltages differ by one step or none: their difference is a coin
        step = np.abs(b - beta * lam).max() / top
        part = displaced / step % 1.0
        sink = step**2 * part * (1 - part)
    entries = (a**2).sum(2) * sink.sum(2) + ROWS * (displaced**2).sum(2) * drive
    return entries.sum() / (2 * beta * UNIT * SAMPLES) ** 2


@pytest.mark.parametrize("bits", [6, 8])
@pytest.mark.parametrize("difference", ["correlated", "separate"])
def test_conversion_costs_a_gradient_step_squared_over_twelve(bits, difference):
    beta = 0.02  # displacements near a step: at smaller ones few codes differ, and their number is left to chance
    _, a, _, lam = signals(beta)
    error = measured(Readout(bits=bits, difference=difference), beta=beta)[0] - dense(a, lam)
    assert (error**2).sum() == pytest.approx(adc_power(bits, difference, beta), rel=0.15)


def test_one_conversion_of_the_difference_is_worth_hundreds_of_two():
    """At beta = 1e-3 and 8 bits: power of the error falls by the ratio of the laws, tens of thousands; the cosine of
    two conversions is near nothing, and that of one is near 1."""
    _, a, _, lam = signals()
    truth = dense(a, lam)
    cosines, powers = {}, {}
    for difference in ("correlated", "separate"):
        found = measured(Readout(bits=8, difference=difference))[0]
        cosines[difference] = (found * truth).sum() / np.linalg.norm(found) / np.linalg.norm(truth)
        powers[difference] = ((found - truth) ** 2).sum()
    expected = adc_power(8, "separate", BETA) / adc_power(8, "correlated", BETA)
    assert powers["separate"] / powers["correlated"] == pytest.approx(expected, rel=0.5)  # some 60 codes differ
    assert expected > 5_000
    assert cosines["correlated"] > 0.999
    assert cosines["separate"] < 0.5


def test_given_ranges_clip_and_set_the_step():
    """A converter of 2 bits has the codes -1, 0, 1."""
    _, a, _, lam = signals()
    scale = 0.3 * BETA
    found = measured(Readout(bits=2, full_scale=0.5, difference_scale=scale))[0]
    drive = 0.5 * np.clip(np.round(a / 0.5), -1, 1)
    sink = scale * np.clip(np.round(2 * BETA * lam / scale), -1, 1) / (2 * BETA)
    np.testing.assert_allclose(found, dense(drive, sink), rtol=1e-9, atol=1e-12)


def test_a_silent_bus_converts_to_nothing():
    runs, *_ = signals()
    still = {phase: run._replace(voltages={**run.voltages, "b": 0 * run.voltages["b"]}) for phase, run in runs.items()}
    out = Readout(bits=8)(EP, array().netlist, still, key=KEY)
    assert not np.any(out[Phase.NUDGED_PLUS].voltages["b"])


# Noise and repeats


@pytest.mark.parametrize("name", ["vector_field_ep", "vector_field_ep_one_sided", "twin"])
def test_white_noise_in_closed_form(name):
    """n sigma^2 / |g|^2 over 60 measurements; and by hand for two sampled phases."""
    runs, a, _, lam = signals()
    volts = 0.02 if name == "twin" else 2e-4
    rho = white_noise_to_signal(array(), name, runs, volts=volts, beta=BETA)
    found = measured(Readout(noise=unit_noise(volts), bits=None), RULES[name], count=60)
    truth = Estimators(array()).gradient(name, runs, BETA).gradient["w"]
    power = ((found - truth) ** 2).sum() / 60
    assert power / (truth**2).sum() == pytest.approx(rho, rel=0.03)
    if name == "vector_field_ep":
        by_hand = COLUMNS * (a**2 + volts**2).sum() * 2 * volts**2 + ROWS * (4 * BETA**2 * lam**2).sum() * volts**2
        assert rho == pytest.approx(by_hand / (2 * BETA * UNIT * SAMPLES) ** 2 / float((truth**2).sum()), rel=1e-9)


@pytest.mark.parametrize("bits", [None, 12])
def test_repeats_average_as_one_over_root_r(bits):
    _, a, _, lam = signals()
    readout, errors = Readout(noise=unit_noise(2e-4), bits=bits), {}
    for repeats in (1, 16, 64):
        error = measured(readout, count=12, repeats=repeats) - dense(a, lam)
        errors[repeats] = np.sqrt((error**2).mean())
    assert errors[1] / errors[16] == pytest.approx(4, rel=0.06)
    assert errors[1] / errors[64] == pytest.approx(8, rel=0.06)


def test_without_noise_repeats_buy_nothing_and_noise_smears_steps():
    """A converter gives the same code every time; noise of half a step averages its steps away."""
    _, a, _, lam = signals()
    coarse = Readout(bits=4, full_scale=6.0, difference_scale=10 * BETA)
    np.testing.assert_allclose(measured(coarse), measured(coarse, repeats=50), rtol=1e-9, atol=1e-10)
    # the drives' steps are far wider than the noise, and stay: they are put into the expectation
    expected = dense(6 / 7 * np.clip(np.round(a * 7 / 6), -7, 7), lam)
    dithered = replace(coarse, noise=unit_noise(0.5 * 10 * BETA / 7))
    errors = [((measured(readout, repeats=400)[0] - expected) ** 2).sum() for readout in (coarse, dithered)]
    assert errors[1] < 0.05 * errors[0]


def test_offsets_cancel_in_a_difference_but_not_in_a_voltage():
    _, a, _, lam = signals()
    offset = Readout(amplifier=Amplifier(offset=0.1), bits=None)
    for difference in ("correlated", "separate"):
        found = measured(replace(offset, difference=difference), chip=KEY)[0]
        drawn = np.asarray(Amplifier(offset=0.1)(jnp.zeros((TOKENS, ROWS + COLUMNS)).ravel(), KEY))
        rows = drawn[: TOKENS * ROWS].reshape(TOKENS, ROWS)  # bus a is first
        np.testing.assert_allclose(found, dense(a + rows, lam), rtol=1e-8, atol=1e-11)
    twin = measured(offset, TWIN, chip=KEY)[0]
    assert np.linalg.norm(twin - dense(a + rows, lam)) > 0.01 * np.linalg.norm(twin)
    with pytest.raises(SpecError, match="chip"):
        measured(offset)


@pytest.mark.parametrize("difference", ["correlated", "separate"])
def test_of_slow_noise_a_difference_keeps_its_structure_function(difference):
    """Amplifiers with 1/f noise: of v+ - v- the variance D(gap) is left, readings of a phase do not average it, and
    the drives of the first phase are as they were."""
    _, a, _, lam = signals()
    gap, volts, high = 1e-6, 2e-6, 2.5e8
    readout = Readout(slow=VoltageWander(volts, high), gap=gap, bits=None, repeats=5, difference=difference)
    error = measured(readout, count=60) - dense(a, lam)
    variance = volts**2 * float(structure(gap, high))
    expected = COLUMNS * (a**2).sum() * variance / (2 * BETA * UNIT * SAMPLES) ** 2
    assert (error**2).sum() / 60 == pytest.approx(expected, rel=0.1)
    white = measured(Readout(noise=unit_noise(volts), bits=None, repeats=5), count=60) - dense(a, lam)
    assert (white**2).sum() < 0.2 * (error**2).sum()


def test_tokens_that_take_turns_share_what_their_amplifier_does():
    """One offset and one course of slow noise for each node of a token, white noise for each reading."""
    runs, *_ = signals()
    shared = Readout(slow=VoltageWander(1e-3, 2.5e8), gap=1e-6, amplifier=Amplifier(offset=0.1), bits=None, turns=1)
    out = shared(TWIN, array().netlist, {p: runs[p] for p in (Phase.FREE, Phase.TWIN)}, key=KEY, chip=KEY)
    moved = np.asarray(out[Phase.TWIN].voltages["b"] - runs[Phase.TWIN].voltages["b"])
    assert np.ptp(moved, axis=1).max() < 1e-12
    assert np.ptp(moved, axis=0).min() > 1e-5  # samples are measured at other times
    assert np.std(moved[0, 0]) == pytest.approx(0.1, rel=0.5)


def test_buses_that_are_known_are_not_read():
    runs, a, _, lam = signals()
    readout = Readout(noise=unit_noise(1.0), bits=3, known=("a",))
    out = readout(TWIN, array().netlist, {p: runs[p] for p in (Phase.FREE, Phase.TWIN)}, key=KEY)
    np.testing.assert_array_equal(out[Phase.FREE].voltages["a"], a)
    assert np.abs(out[Phase.TWIN].voltages["b"] - lam).max() > 0.5


def test_nodes_have_the_noise_of_their_own_capacitors():
    on_circuit = network("parasitic")
    effects = node_noise(on_circuit.system, 300.0)
    assert set(effects) == set(on_circuit.system.states)
    for bus, effect in effects.items():
        farads = float(np.ravel(on_circuit.system.capacitance[bus])[0])
        assert effect.farads == pytest.approx(farads)
    readout = Readout(nodes={"b": effects["z"]}, bits=None)
    runs = {phase: signals()[0][phase] for phase in (Phase.FREE, Phase.TWIN)}
    out = readout(TWIN, array().netlist, runs, key=KEY)
    np.testing.assert_array_equal(out[Phase.TWIN].voltages["a"], runs[Phase.TWIN].voltages["a"])
    spread = np.std(out[Phase.TWIN].voltages["b"] - runs[Phase.TWIN].voltages["b"])
    assert spread == pytest.approx(np.sqrt(BOLTZMANN * 300.0 / effects["z"].farads), rel=0.06)


def test_wrong_readouts_are_refused():
    with pytest.raises(SpecError, match="'both'"):
        Readout(difference="both")
    with pytest.raises(SpecError, match="bits"):
        Readout(bits=1)
    with pytest.raises(SpecError, match="repeats"):
        Readout(repeats=0)
    with pytest.raises(SpecError, match="full_scale"):
        Readout(full_scale=0.0)
    with pytest.raises(SpecError, match="above 0"):
        cut_off(0.0)


# What repeats cost


@cache
def made_up():
    """Measurements of a gradient of 3,000 entries: bias at an angle of 0.3 rad, noise of rho = 25."""
    rng = np.random.default_rng(1)
    truth, other = np.linalg.qr(rng.normal(size=(3000, 2)))[0].T
    mean = 2.0 * (np.cos(0.3) * truth + np.sin(0.3) * other)
    return mean + rng.normal(size=(200, 3000)) * np.sqrt(25 * 4 / 3000), 7.0 * truth


def test_noise_and_ceiling_are_found_without_bias():
    found, truth = made_up()
    error = read_error(found, truth)
    assert error.noise_to_signal == pytest.approx(25, rel=0.05)
    assert error.ceiling == pytest.approx(np.cos(0.3), abs=4 * error.ceiling_error)
    assert error.ceiling_error < 0.02
    with pytest.raises(SpecError, match="2 or more"):
        read_error(found[:1], truth)
    with pytest.raises(SpecError, match="noise"):
        read_error(np.random.default_rng(2).normal(size=(4, 3000)), truth)


def test_the_law_is_the_cosine_of_averages():
    found, truth = made_up()
    for repeats in (1, 4, 25):
        averages = found.reshape(-1, repeats, 3000).mean(1)
        cosines = averages @ truth / np.linalg.norm(averages, axis=1) / np.linalg.norm(truth)
        assert cosines.mean() == pytest.approx(cosine_law(repeats, 25, np.cos(0.3)), abs=0.02)


def test_repeats_for_a_cosine_invert_the_law():
    for rho in (0.5, 25.0, 1e6):
        for cosine in (0.3, 0.9, 0.949):
            count = repeats_for(cosine, rho, 0.95)
            assert cosine_law(count, rho, 0.95) >= cosine * (1 - 1e-12)
            assert count == 1 or cosine_law(count - 1, rho, 0.95) < cosine
    assert repeats_for(0.5**0.5, 64.0) == 64  # 1 / sqrt(1 + 64 / 64)


def test_a_cosine_beyond_the_ceiling_is_refused_with_the_reason():
    with pytest.raises(SpecError, match=r"0\.96 is out of reach.*0\.95.*do not average"):
        repeats_for(0.96, 25.0, 0.95)
    with pytest.raises(SpecError, match="between 0 and 1"):
        repeats_for(1.0, 25.0)


# The small block


@cache
def ideal():
    """One sample of the causal block at `ideal`: phases, conductances, batch, and rails."""
    _, weights, batch = block("free")
    circuits, batch = phases("free", "ideal"), one(batch, 0)
    return circuits, weights, batch, rails(batch, circuits.scale.volts), sample("free", level="ideal")[1]


KEYS = jax.random.split(jax.random.key(0), 3)


@cache
def chips():
    circuits, weights, batch, *_ = ideal()
    device = preset("reram")
    return on_devices(circuits, weights, batch, device, keys=KEYS, written=device.written(), estimators=["twin"])


@pytest.mark.slow
def test_badly_written_devices_do_not_spoil_learning_in_place():
    """Programming errors change the loss; the gradient at what was written is as exact as ever."""
    there = chips()["converged"].values[0]
    assert there.sum() >= 2
    np.testing.assert_allclose(chips()["relative_error"].values[0][there], 0.0, atol=1e-9)
    assert np.all(np.abs(chips()["loss_change"].values[there]) > 1e-3)
    before = chips()["loss"] - chips()["loss_change"]
    np.testing.assert_allclose(before.values[there], chips().attrs["nominal_loss"])


def test_a_chip_that_does_not_settle_is_a_row_without_numbers():
    """The first chip: errors of ReRAM have made its block unstable."""
    lost = ~chips()["converged"].values[0]
    assert lost.tolist() == [True, False, False]
    for name in ("cosine", "relative_error", "norm_ratio"):
        np.testing.assert_array_equal(np.isnan(chips()[name].values[0]), lost)
    np.testing.assert_array_equal(np.isnan(chips()["loss_change"].values), lost)


def test_devices_that_change_between_phases_do_spoil_it():
    circuits, weights, batch, *_ = ideal()
    noise = {"reading": ReadNoise(constant(0.4e-6)), "estimators": ["twin"]}
    found = on_devices(circuits, weights, batch, preset("reram"), keys=KEYS[:1], **noise)
    assert found["converged"].values.all()
    assert 0.3 < found["cosine"].values[0, 0] < 0.999
    np.testing.assert_allclose(found["loss_change"], 0.0, atol=1e-9)


def leaked(g, key, seconds):
    """Made up: devices lose half of what they hold in a millionth of a second."""
    return jnp.stack([g * 0.5 ** (t / 1e-6) for t in seconds])


def test_every_estimator_meets_devices_that_leak_between_phases():
    """The phases run with what devices hold then, the free one as written: the twin against its own dense solve."""
    circuits, weights, batch, x, theta = ideal()
    names = ("vector_field_ep", "twin", "reversed")
    args = (circuits, weights, batch, preset("reram"))
    still = on_devices(*args, keys=KEYS[:1], estimators=names, between=[leaked], gap=0.0)
    np.testing.assert_allclose(still["cosine"].values[1:, 0], 1.0, atol=1e-6)
    found = on_devices(*args, keys=KEYS[:1], estimators=names, between=[leaked], gap=2e-7)
    assert (found["relative_error"].values > 0.02).all()
    free = over_samples(circuits.free, (x,), theta)
    later = {name: g * 0.5**0.2 for name, g in theta.items()}
    runs = circuits.run(x, later, frozenset({Phase.TWIN}), 1e-3, free=free)
    by_hand = Estimators(circuits).gradient("twin", runs, 1e-3).gradient
    z = free.settled.v["z"] / circuits.scale.volts
    truth = oracle.implicit(circuits.compiled.model, weights, z, batch.inputs, batch.targets, batch.weights).gradient
    ours = np.concatenate([np.ravel(by_hand[name]) for name in sorted(truth)])
    wanted = np.concatenate([np.ravel(truth[name]) for name in sorted(truth)])
    cosine = ours @ wanted / np.linalg.norm(ours) / np.linalg.norm(wanted)
    assert float(found["cosine"].sel(estimator="twin")[0]) == pytest.approx(cosine, abs=1e-9)


def test_measured_cosines_follow_the_law_of_repeats():
    """rho in closed form against 24 measurements of a settled block."""
    circuits, weights, batch, x, theta = ideal()
    runs = Estimators(circuits).run(("twin",), x, theta, BETA)
    z = runs[Phase.FREE].settled.v["z"] / circuits.scale.volts
    truth = oracle.implicit(circuits.compiled.model, weights, z, batch.inputs, batch.targets, batch.weights)
    volts = 0.01
    rho = white_noise_to_signal(circuits, "twin", runs, volts=volts, beta=BETA)
    found = cosines_with_repeats(
        circuits,
        "twin",
        x,
        theta,
        truth.gradient,
        readout=Readout(noise=unit_noise(volts), bits=None),
        betas=[BETA],
        repeats=[1, 16, 64],
        keys=jax.random.split(KEY, 24),
    )
    assert float(found["noise_to_signal"][0]) == pytest.approx(rho, rel=0.15)
    assert found["converged"].values.tolist() == [True]
    assert float(found["ceiling"][0]) == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(found["cosine"].mean("measurement")[0], cosine_law([1, 16, 64], rho), atol=0.03)
    ax = cosine_against_repeats(found, wanted=0.9)
    assert "cosine" in ax.get_ylabel()
    assert any("0.001" in text.get_text() for text in ax.get_legend().get_texts())
    lost = cosine_against_repeats(found.assign(converged=("beta", [False])))
    assert any("did not settle" in text.get_text() for text in lost.texts)
    with pytest.raises(DataError, match="repeats"):
        cosine_against_repeats(found.drop_vars("cosine"))


def test_the_nudge_of_a_converter_is_the_rounded_error():
    """What is pushed into the logits at `parasitic`: w (y - p) rounded to codes, wherever the state goes meanwhile."""
    compiled = phases("free").compiled
    coarse = CircuitPhases(compiled, nudge_bits=4)
    x, theta = sample("free")
    volts = compiled.scale.volts
    rng = np.random.default_rng(0)
    logits = rng.normal(size=x["target"].shape)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    shapes = {bus: jnp.zeros(b.shape) for bus, b in compiled.netlist.buses.items()}
    for other in (0.0, 1.0):
        state = {bus: other * volts * jnp.ones(b.shape) for bus, b in coarse.circuit.states.items()}
        none = jnp.asarray(0.0)
        at = PhaseRun({**shapes, PREDICTION: p * volts}, Settled(state, none, none == 0, none, none))
        pushed = coarse.output_push(at, x, theta)["logits"] / compiled.scale.amperes
        error = x["target"] / volts - p
        rounded = np.sign(error) * np.floor(np.abs(error) * 7 + 0.5) / 7
        np.testing.assert_allclose(pushed, (x["weight"] / volts)[:, None] * rounded, atol=1e-12)
    assert HELD + PREDICTION in coarse.return_netlist.buses
    assert HELD + PREDICTION not in phases("free").return_netlist.buses


def test_phases_can_be_cut_off():
    """A small recurrent circuit after one time constant, against its transient; it does not count as settled."""
    circuits, (x, theta, _) = network(), setting(np.eye(8))
    first = {bus: rail[0] for bus, rail in x.items()}
    system = circuits.system
    found = settle(system, first, theta, options=cut_off(1.0, SettleOptions(rtol=1e-9)))
    waves = transient(system, np.array([0.0, system.scale.seconds]), first, theta, rtol=1e-10)
    np.testing.assert_allclose(found.v["z"], waves.v["z"][-1], rtol=1e-6)
    assert not bool(found.converged)
    assert float(found.time) == pytest.approx(1.0)


# Pulses on pairs

DEVICE = replace(preset("reram"), pulses=PulseResponse(0.002, 0.002, bend_up=0.5, bend_down=0.5))
WANTED = jnp.full((60, 50), 1.3e-6)


@pytest.mark.parametrize("split", ["both", "one_way"])
def test_the_mean_change_of_many_pairs_in_closed_form(split):
    """Half a wanted change is a number of nominal steps, rounded by chance; a device with bend b at y moves by
    1 + b (1 - 2 y) of a step up, 1 - b (1 - 2 y) down."""
    pairs = PulsedPairs(DEVICE, split)
    signed = 4e-6
    devices = pairs.start({"w": jnp.full(WANTED.shape, signed)})
    moved = pairs(devices, {"w": WANTED}, key=KEY, chip=None)
    change = np.asarray(moved.devices["w"] - devices["w"])
    y = (np.asarray(devices["w"][:, 0, 0]) - DEVICE.gmin) / DEVICE.span
    if split == "both":
        expected = [0.65e-6 * (1 + 0.5 * (1 - 2 * y[0])), -0.65e-6 * (1 - 0.5 * (1 - 2 * y[1]))]
    else:
        expected = [1.3e-6 * (1 + 0.5 * (1 - 2 * y[0])), 0.0]
    # later pulses of a train find a device that has moved: by half the change, on average
    assert change[0].mean() == pytest.approx(expected[0], rel=0.03)
    assert change[1].mean() == pytest.approx(expected[1], rel=0.03, abs=1e-12)
    counts = 1.3e-6 / (0.002 * DEVICE.span)
    assert float(moved.pulses["w"]) == pytest.approx(counts * WANTED.size, rel=0.01)


def test_a_train_is_no_longer_than_allowed():
    pairs = PulsedPairs(DEVICE, most=7)
    moved = pairs(pairs.start({"w": jnp.zeros((3, 2))}), {"w": jnp.full((3, 2), 1e-3)}, key=KEY, chip=None)
    assert float(moved.pulses["w"]) == 2 * 3 * 2 * 7
    with pytest.raises(SpecError, match="most"):
        PulsedPairs(DEVICE, most=0)


def test_an_ideal_pair_takes_the_change_as_it_is():
    pairs = PulsedPairs(preset("ideal").at(gmax=40e-6))
    devices = pairs.start({"w": jnp.full((3, 2), -5e-6)})
    moved = pairs(devices, {"w": jnp.full((3, 2), 2e-6)}, key=KEY, chip=None)
    np.testing.assert_allclose(moved.devices["w"][0] - moved.devices["w"][1], -3e-6)
    assert float(moved.pulses["w"]) == 0


@pytest.mark.parametrize("split", ["both", "one_way"])
def test_pairs_stay_in_range_and_a_refresh_keeps_the_weight(split):
    pairs = PulsedPairs(DEVICE, split, most=1000)
    full = jnp.array([[0.9, 0.5, 0.9, 0.1], [0.8, 0.4, 0.1, 0.05]]).reshape(2, 1, 4) * DEVICE.span + DEVICE.gmin
    saturated = [True, False, False, split == "both"]
    moved = pairs({"w": full}, {"w": jnp.zeros((1, 4))}, key=KEY, chip=None)
    np.testing.assert_array_equal(pairs.saturated(full)[0], saturated)
    assert int(moved.refreshed["w"]) == sum(saturated)
    np.testing.assert_allclose(moved.devices["w"][0] - moved.devices["w"][1], full[0] - full[1], atol=1e-18)
    assert not np.any(pairs.saturated(moved.devices["w"]))
    devices = pairs.start({"w": jnp.zeros((30, 30))})
    total = 0
    for step in range(12):
        key = jax.random.fold_in(KEY, step)
        moved = pairs(devices, {"w": 2e-5 * jax.random.normal(key, (30, 30))}, key=key, chip=KEY)
        devices, total = moved.devices, total + int(moved.refreshed["w"])
        assert float(devices["w"].min()) >= DEVICE.gmin * (1 - 1e-12)
        assert float(devices["w"].max()) <= DEVICE.gmax * (1 + 1e-12)
    assert split == "both" or total > 0


def test_devices_without_pulses_or_an_end_are_refused():
    with pytest.raises(SpecError, match="pcm"):
        PulsedPairs(preset("pcm"))
    with pytest.raises(SpecError, match="gmax"):
        PulsedPairs(preset("ideal"))
    with pytest.raises(SpecError, match="'up'"):
        PulsedPairs(DEVICE, "up")
    with pytest.raises(SpecError, match="does not fit"):
        PulsedPairs(DEVICE).start({"w": np.full((2, 2), 1e-3)})


def bowl(weights, x):
    """Squared distance from x["aim"], its gradient written out."""
    away = {name: w - x["aim"] for name, w in weights.items()}
    return sum(jnp.sum(d**2) for d in away.values()) / 2, away, jnp.asarray(True)


def test_descent_by_pulses_reaches_the_bottom_of_a_bowl_up_to_a_step():
    pairs = PulsedPairs(DEVICE)
    devices = pairs.start({"w": jnp.zeros((10, 10))})
    steps = list(
        descend_on_devices(
            bowl, devices, [{"aim": jnp.asarray(0.7)}] * 25, pairs=pairs, rate=0.4, siemens=1e-5, key=KEY
        )
    )
    losses = [step.loss for step, _ in steps]
    assert losses[0] == pytest.approx(100 * 0.7**2 / 2)
    pulse = 0.002 * DEVICE.span / 1e-5
    assert losses[-1] < 100 * pulse**2
    assert steps[0][0].pulses > steps[-1][0].pulses
    assert steps[-1][0].converged
    assert set(steps[0][0].refreshed) == {"w"}


def test_measuring_and_updating_go_forward_only():
    runs, *_ = signals()
    readout = Readout(noise=unit_noise(1e-4), repeats=3)

    def gradient(key):
        return measured_gradients(
            array(), "vector_field_ep", readout, runs=runs, keys=key[None], beta=BETA, repeats=3, chip=None
        )

    assert reverse_mode_uses(gradient, KEY) == []
    pairs = PulsedPairs(DEVICE)
    devices = pairs.start({"w": jnp.zeros((4, 3))})
    assert reverse_mode_uses(lambda d, g: pairs(d, {"w": g}, key=KEY, chip=KEY), devices, jnp.ones((4, 3))) == []


@pytest.mark.slow
def test_the_small_block_learns_by_pulses():
    circuits, weights, _, x, _ = ideal()
    gradient = twin_gradient(circuits.compiled, SettleOptions())
    siemens = circuits.scale.siemens
    pairs = PulsedPairs(replace(DEVICE, pulses=PulseResponse(0.002, 0.002)))
    devices = pairs.start({name: w * siemens for name, w in weights.items()})
    steps = descend_on_devices(gradient, devices, [x] * 12, pairs=pairs, rate=0.3, siemens=siemens, key=KEY, chip=KEY)
    losses = [step.loss for step, _ in steps]
    assert losses[-1] < 0.6 * losses[0]
