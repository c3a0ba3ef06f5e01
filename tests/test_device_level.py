"""Level `device`: pairs on wired tiles and transistor cells, against ngspice, equations and the block as meant."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.optimize import root as solve

from analogep.cells import (
    Activation,
    GatedPair,
    GilbertMultiplier,
    LayerNorm,
    RectifierMirror,
    SoftmaxTail,
    TanhPair,
    TappedLoad,
    Transistor,
    TranslinearNorm,
)
from analogep.cells.transistor import EKV_N, VDD, VSS
from analogep.compile import DeviceOptions, compile_reciprocal, compile_transformer
from analogep.compile.device import KINDS, realize, silicon
from analogep.compile.device_calibration import calibrate
from analogep.compile.schedule import compile_lane, count
from analogep.compile.summary import summarize
from analogep.errors import NetlistError, SpecError
from analogep.learning.phases import CircuitPhases
from analogep.learning.rule import Phase
from analogep.models import EquilibriumTransformer
from analogep.netlist.couplings import couplings
from analogep.netlist.element import GROUND
from analogep.netlist.elements import ISource, Resistor, VSource
from analogep.netlist.spice.read import read
from analogep.netlist.spice.write import write
from analogep.netlist.transposed import small_signal
from analogep.netlist.wired import WiredCrossbar, fold_wires
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.nodal.run import FileRun
from analogep.simulate.reference import OPTIONS, check_operating_point, node_table, operating_point_deck, with_inputs
from analogep.simulate.sequential import settle_sequence
from analogep.simulate.settle import settle
from analogep.simulate.spice import run_file
from analogep.technology import preset
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

UNIT = {"siemens": 1e-5, "volts": 0.1}
SMALL, WHOLE = (2, 4, 2, 3, 3), (4, 8, 2, 12, 11)
"""Tokens, channels, heads, FFN and vocabulary of the block of most tests, and of the one of the acceptance."""


@cache
def model(size=SMALL, **changes):
    fields = dict(zip(("tokens", "channels", "heads", "ffn", "vocabulary"), size, strict=True))
    return EquilibriumTransformer(**fields, damping=1.0, layer_norm_epsilon=0.1, **({"activation": "tanh"} | changes))


@cache
def weights(size=SMALL, **changes):
    return {name: np.asarray(w) for name, w in model(size, **changes).init(jax.random.key(0), 0.7).items()}


@cache
def compiled(level="device", size=SMALL):
    """The block; at other levels with the scale of level `device`."""
    scale = None if level == "device" else compiled("device", size).scale
    return compile_transformer(model(size), weights(size), level=level, scale=scale)


def tokens(size=SMALL, scale=None, seed=0):
    """Input rails of a random window."""
    count, vocabulary = size[0], size[-1]
    drawn = np.random.default_rng(seed).integers(vocabulary, size=count)
    rows = np.concatenate([np.eye(vocabulary)[drawn], np.eye(count)], axis=1)
    return {"token": (scale or compiled("device", size).scale).volts * rows}


@cache
def at_rest(level="device", size=SMALL):
    """Voltages of all buses of the settled block, wires folded."""
    block = compiled(level, size)
    circuit, x = Circuit(fold_wires(block.netlist).netlist, block.scale), tokens(size)
    settled = settle(circuit, x, circuit.theta).require(level)
    return {bus: np.asarray(v) for bus, v in circuit.voltages(settled.v, x, circuit.theta).items()}


# transistors and their cells


def test_the_transistor_is_that_of_the_library():
    text = (Path(__file__).parents[1] / "circuits" / "ekv.lib").read_text().replace("\n+ ", "")
    lines = [line for line in text.splitlines() if not line.startswith("*")]
    assert lines[: lines.index(".ends ekv_n") + 1] == EKV_N


def drain(t, tail, d, g, s, low=False):
    """Drain current, written out (Enz, Krummenacher and Vittoz 1995)."""
    pinch = (g - VSS - (t.low if low else t.vto)) / t.n
    forward, reverse = (np.logaddexp(0, (pinch - (v - VSS)) / (2 * t.ut)) ** 2 for v in (s, d))
    return tail / t.inversion * (1 + t.modulation * abs(d - s)) * (forward - reverse)


def biased(t, tail):
    """Gate voltage of the reference: a diode that carries the tail current."""
    return brentq(lambda g: drain(t, tail, g, g, VSS) - tail, VSS + 0.01, VSS + 2, xtol=1e-15)


def shared(t, tail, gates, sunk, low=False):
    """Source voltage at which transistors with drains at the supply draw the current `sunk(voltage)`."""
    return brentq(lambda e: sum(drain(t, tail, VDD, g, e, low) for g in gates) - sunk(e), VSS + 0.05, 2.0, xtol=1e-15)


def split(cell, gates):
    """Shares of the tail of transistors with those gates, by bisection."""
    t, it = cell.transistor, cell.tail
    bias = biased(t, it)
    e = shared(t, it, gates, lambda e: drain(t, it, e, bias, VSS))
    return np.array([drain(t, it, VDD, g, e) for g in gates]) / it


def gilbert(cell, x, y):
    """Output of the multiplier, by nested bisections."""
    t, it, step = cell.transistor, cell.tail, cell.volts * cell.ratio
    bias, top = biased(t, it), (step * x, 0.0)

    def sides(e):
        """What the two sides of the lower pair carry, with the source voltage of the quad's pair above each."""
        for gate in (step * y, 0.0):
            source = shared(t, it, top, lambda e1, gate=gate: drain(t, it, e1, gate, e), low=True)
            yield drain(t, it, source, gate, e), source

    e = brentq(lambda e: sum(i for i, _ in sides(e)) - drain(t, it, e, bias, VSS), -1.5, -0.6, xtol=1e-15)
    (_, e1), (_, e2) = sides(e)
    plus, minus = ([drain(t, it, VDD, g, at, low=True) for g in top] for at in (e1, e2))
    return ((plus[0] - plus[1]) - (minus[0] - minus[1])) / (cell.siemens * cell.volts * cell.gain)


@pytest.mark.parametrize(
    "transistor", [Transistor(), Transistor(inversion=0.6, modulation=0.05)], ids=["weak", "moderate"]
)
def test_cells_obey_kcl_at_their_shared_sources(transistor):
    given = {**UNIT, "transistor": transistor}
    h = np.array([-4.0, -0.7, 0.0, 0.3, 3.0])
    pair = TanhPair("t", ("h",), "a", **given, gain=1.3)
    expected = [np.subtract(*split(pair, (pair.volts * pair.ratio * v, 0.0))) for v in h]
    np.testing.assert_allclose(pair.law(h), expected, rtol=0, atol=1e-10)

    s = np.array([[2.0, -1.0, 0.5], [-3.0, 3.0, 0.0]])
    tail = SoftmaxTail("s", ("s",), "p", **given)
    expected = [split(tail, tail.volts * tail.ratio * row) for row in s]
    np.testing.assert_allclose(tail.law(s), expected, rtol=0, atol=1e-10)

    x, y = np.array([-3.0, 0.4, 2.0]), np.array([1.0, -0.6, 3.0])
    cell = GilbertMultiplier("m", ("q", "k"), "s", **given, gain=0.5)
    expected = [gilbert(cell, *at) for at in zip(x, y, strict=True)]
    np.testing.assert_allclose(cell.product(jnp.asarray(x), jnp.asarray(y)), expected, rtol=0, atol=1e-9)


def degenerated(cell, plus, minus=0.0):
    """What flows through the resistor of a linear pair, and its two drain currents, by nested bisections."""
    t, it, pair = cell.transistor, cell.tail, cell.pair
    bias = biased(t, it)

    def sources(lost):
        return (
            shared(t, it, (gate,), lambda e, i=i: drain(t, it, e, bias, VSS) + i)
            for gate, i in ((plus, lost), (minus, -lost))
        )

    def lacking(lost):
        one, other = sources(lost)
        return (one - other) / pair.ohms - lost

    one, other = sources(brentq(lacking, -0.999 * it, 0.999 * it, xtol=1e-20))
    return drain(t, it, VDD, plus, one), drain(t, it, VDD, minus, other)


def rectified(cell, x):
    """Output of the ReLU cell."""
    t, it, idle = cell.transistor, cell.tail, cell.idle * cell.unit
    plus, minus = degenerated(cell, cell.volts * cell.ratio * x)
    low = brentq(lambda g: drain(t, it, g, g, VSS) - idle, VSS + 0.01, 0.0, xtol=1e-15)
    gate = brentq(lambda g: drain(t, it, g, g, low) - idle, low + 0.01, 1.0, xtol=1e-15)

    def lacking(r):
        return drain(t, it, r, r, VSS) - drain(t, it, VDD, gate, r) - (plus - minus)

    r = brentq(lacking, VSS + 1e-3, 0.0, xtol=1e-15)
    return drain(t, it, VDD, r, VSS) / cell.unit


def gated(cell, x):
    """Output of the GELU cell, whose four source voltages are found together."""
    t, it, gate = cell.transistor, cell.tail, cell.volts * cell.ratio * x
    bias, idle = biased(t, it), cell.idle * cell.unit

    def upper(f):
        return [drain(t, it, VDD, g, f, low=True) for g in (gate, 0.0)]

    def lacking(at):
        e1, e2, f1, f2 = at
        below = drain(t, it, f1, gate, e1), drain(t, it, f2, 0.0, e2)
        lost = (e1 - e2) / cell.pair.ohms
        return [
            (below[0] - drain(t, it, e1, bias, VSS) - lost) / it,
            (below[1] - drain(t, it, e2, bias, VSS) + lost) / it,
            (sum(upper(f1)) - below[0] - idle) / it,
            (sum(upper(f2)) - below[1] - idle) / it,
        ]

    found = solve(lacking, [-1 + 0.5 * gate, -1, -0.7 + max(0.7 * gate, 0), -0.7 + max(0.7 * gate, 0)], tol=1e-13)
    assert np.abs(lacking(found.x)).max() < 1e-9
    return (upper(found.x[2])[0] - upper(found.x[3])[0]) / cell.unit


@pytest.mark.parametrize(
    "transistor", [Transistor(), Transistor(inversion=0.6, modulation=0.05)], ids=["weak", "moderate"]
)
def test_rectifying_cells_obey_kcl_at_their_inner_nodes(transistor):
    given, h = {**UNIT, "transistor": transistor, "gain": 1.3}, np.array([-3.0, -0.6, 0.0, 0.4, 2.5])
    for kind, alone in ((RectifierMirror, rectified), (GatedPair, gated)):
        cell = kind("a", ("h",), "a", **given)
        np.testing.assert_allclose(jax.jit(cell.law)(h), [alone(cell, x) for x in h], rtol=0, atol=1e-8)


def test_rectifying_cells_are_near_what_they_stand_for():
    """Shares of 4 units, full scale: as they are, and with the gain and the offset that calibration gives."""
    h = np.linspace(-4, 4, 81)
    for kind, law, raw, trimmed in (
        (RectifierMirror, jax.nn.relu, 0.015, 0.012),
        (GatedPair, jax.nn.gelu, 0.065, 0.01),
    ):
        found, meant = np.asarray(jax.jit(kind("a", ("h",), "a", **UNIT).law)(h)), np.asarray(law(h))
        assert np.abs(found - meant).max() < raw * 4
        line = np.stack([found, np.ones_like(h)], axis=1)
        assert np.abs(line @ np.linalg.lstsq(line, meant, rcond=None)[0] - meant).max() < trimmed * 4
        assert found[0] < 0.1 * found[-1]


def test_the_translinear_norm_normalizes():
    """Deep in weak inversion it is the layer norm; as built, one gain away from it; a common voltage does nothing."""
    z = np.random.default_rng(0).normal(size=(20, 8))
    given = {**UNIT, "epsilon": 0.1}
    meant = np.asarray(LayerNorm("n", ("z",), "u", **given).law(z))
    deep = TranslinearNorm("n", ("z",), "u", **given, transistor=Transistor(inversion=1e-3, modulation=0.0, vto=0.8))
    assert np.abs(jax.jit(deep.law)(z) - meant).max() < 0.04
    law = jax.jit(TranslinearNorm("n", ("z",), "u", **given).law)
    built = np.asarray(law(z))
    gain = (built * meant).sum() / (built**2).sum()
    assert 0.88 < gain < 1.0
    assert np.sqrt(np.mean((gain * built - meant) ** 2)) < 0.02
    assert np.abs(law(z + 1.0) - built).max() < 0.02
    np.testing.assert_allclose(law(np.zeros((20, 8))), 0, atol=1e-9)
    overdriven = np.asarray(law(8 * z))
    assert np.isfinite(overdriven).all()
    assert np.abs(overdriven).max() < 3


def test_far_in_weak_inversion_the_cells_are_exponentials():
    """Without channel-length modulation: tanh, softmax and the product of tangents, all of one unit."""
    given = {**UNIT, "transistor": Transistor(inversion=1e-8, modulation=0.0, vto=1.0, low=0.5)}
    h = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(TanhPair("t", ("h",), "a", **given).law(h), np.tanh(h), atol=2e-4)
    np.testing.assert_allclose(SoftmaxTail("s", ("s",), "p", **given).law(h), jax.nn.softmax(h), atol=2e-4)
    product = GilbertMultiplier("m", ("q", "k"), "s", **given).product(jnp.asarray(h), jnp.asarray(h[::-1]))
    np.testing.assert_allclose(product, 16 * np.tanh(h / 4) * np.tanh(h[::-1] / 4), atol=2e-3)


def test_couplings_of_the_multiplier_are_its_slopes():
    cell = GilbertMultiplier("m", ("q", "k"), "s", **UNIT, heads=2)
    rng = np.random.default_rng(1)
    v = {bus: 0.1 * rng.normal(size=(2, 4)) for bus in ("q", "k")} | {"s": np.zeros((2, 2, 2))}
    for (target, source), slope in jax.jit(lambda v: small_signal(cell, v, {}))(v).items():
        found = np.zeros(np.shape(slope))
        for part in couplings(cell, v, {}):
            if part.source == source:
                flat = found.reshape(v[target].size, -1)
                np.add.at(flat, (part.rows, part.columns), part.siemens)
        np.testing.assert_allclose(found, slope, atol=1e-12 * np.abs(slope).max())


# weights as pairs


def test_every_device_of_the_deck_is_in_range_and_paired():
    devices = preset("reram")
    block = compiled()
    built = [line.split() for line in write(block.netlist, [".op"]).splitlines() if ".devices_" in line]
    g = np.array([1 / float(words[3]) for words in built])
    assert len(g) == summarize(block)["conductances"] == 2 * 2 * sum(w.size for w in weights().values())
    assert g.min() == pytest.approx(devices.gmin, rel=1e-12)
    largest = max(np.abs(w).max() for w in weights().values())
    assert block.scale.siemens == pytest.approx(0.5 * devices.span / largest, rel=1e-12)
    assert g.max() == pytest.approx(devices.gmin + 0.5 * devices.span, rel=1e-12)


def test_a_weight_out_of_range_is_named():
    scale = Scale(0.1, 1.01 * DeviceOptions(fill=1.0).siemens(weights()), 1e-14)
    name, w = max(weights().items(), key=lambda item: np.abs(item[1]).max())
    index = [int(k) for k in np.unravel_index(np.abs(w).argmax(), w.shape)]
    with pytest.raises(SpecError) as error:
        compile_transformer(model(), weights(), level="device", scale=scale)
    assert f"array '{name}'" in str(error.value)
    assert str(index) in str(error.value)
    compile_transformer(model(), weights(), level="device", devices=DeviceOptions(fill=1.0))


def test_what_cannot_be_built_is_refused():
    kept = DeviceOptions(transistors=("softmax",))
    gelu = compile_transformer(model(activation="gelu"), weights(activation="gelu"), level="device", devices=kept)
    assert isinstance(gelu.netlist.elements["act"], Activation)
    with pytest.raises(NetlistError, match=r"raise technology\.volts"):
        compile_transformer(model(), weights(), level="device", scale=Scale(0.05, 1e-5, 1e-14))
    with pytest.raises(NetlistError, match="resistive"):
        realize(compile_reciprocal(0.1 * (1 - np.eye(2)), np.zeros(2)), DeviceOptions())
    with pytest.raises(SpecError, match="fill"):
        DeviceOptions(fill=1.5)
    with pytest.raises(SpecError, match="no transistor circuit for 'mirror'"):
        DeviceOptions(transistors=("mirror",))
    with pytest.raises(SpecError, match="give a scale"):
        compile_transformer(model(), weights(), level="device", devices=DeviceOptions(preset=preset("ideal")))
    with pytest.raises(NetlistError, match="strong inversion"):
        Transistor(inversion=2.0)
    shared_bus = compile_transformer(model(), weights()).netlist.add(TanhPair("more", ("s",), "p", **UNIT))
    with pytest.raises(NetlistError, match="different taps of the node 's'"):
        realize(shared_bus, DeviceOptions())


def test_level_device_keeps_the_nodes_and_exchanges_what_joins_them():
    block, meant = compiled(), compiled("parasitic")
    assert set(block.netlist.buses) == set(meant.netlist.buses)
    assert set(block.netlist.elements) == set(meant.netlist.elements)
    kinds = {name: type(e) for name, e in block.netlist.elements.items()}
    assert (kinds["act"], kinds["score"], kinds["mix"]) == (TanhPair, GilbertMultiplier, GilbertMultiplier)
    assert (kinds["softmax"], kinds["predict"], kinds["query"]) == (SoftmaxTail, SoftmaxTail, WiredCrossbar)
    assert (kinds["h.load"], kinds["o.load"]) == (TappedLoad, Resistor)
    assert {Phase.CORRECTED_PLUS, Phase.TWIN} <= CircuitPhases(block).supported


# both simulators


@pytest.mark.spice
def test_settled_block_against_ngspice_on_every_node():
    """Our walk with folded wires and the cells' laws; ngspice with every wire and transistor."""
    found = check_operating_point(with_inputs(compiled().netlist, tokens()), at_rest())
    assert found.nodes == sum(bus.nodes for bus in compiled().netlist.buses.values())
    assert found.error < 1e-9


ALL = DeviceOptions(transistors=tuple(KINDS))


@pytest.mark.spice
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_every_stage_against_ngspice_with_all_its_inputs_held(activation):
    """Norms out of transistors as well: at any voltages of all nodes, what leaves each of them.

    ngspice finds no operating point of a block whose states feed back through these norms, so every bus is held.
    """
    block = compile_transformer(
        model(activation=activation), weights(activation=activation), level="device", devices=ALL
    )
    assert isinstance(block.netlist.elements["norm"], TranslinearNorm)
    rng, inputs = np.random.default_rng(5), tokens(scale=block.scale)
    buses = {name: bus for name, bus in block.netlist.buses.items() if name not in inputs}
    v = {
        name: np.where(bus.exists if bus.exists is not None else True, 0.05 * rng.normal(size=bus.shape), 0)
        for name, bus in buses.items()
    }
    held = with_inputs(block.netlist, inputs).add(*(VSource(f"hold.{name}", name, v[name]) for name in buses))
    (plot,) = run_deck(write(held, [".op"], options=OPTIONS))
    flat = fold_wires(block.netlist).netlist

    def leaving(v):
        parts = [e.currents(v, flat.arrays, 0.0) for e in flat]
        return {name: sum(part.get(name, 0.0) for part in parts) for name in buses}

    found = jax.jit(leaving)(v | inputs)
    for name, bus in buses.items():
        ours = np.broadcast_to(np.asarray(found[name]), bus.shape).ravel()[bus.indices]
        theirs = [-plot.data[f"i(vhold.{label.lower()})"][-1] for label in bus.labels(name)]
        assert np.abs(ours - theirs).max() < 1e-9 * block.scale.amperes, name


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_settled_block_of_each_activation_against_ngspice(activation):
    block = compile_transformer(model(activation=activation), weights(activation=activation), level="device")
    circuit, x = Circuit(fold_wires(block.netlist).netlist, block.scale), tokens(scale=block.scale)
    settled = settle(circuit, x, circuit.theta).require(activation)
    assert (
        check_operating_point(with_inputs(block.netlist, x), circuit.voltages(settled.v, x, circuit.theta)).error < 1e-9
    )


@pytest.mark.slow
def test_a_block_with_norms_of_transistors_settles_near_the_one_meant():
    block = compile_transformer(model(), weights(), level="device", devices=ALL)
    circuit, x = Circuit(fold_wires(block.netlist).netlist, block.scale), tokens(scale=block.scale)
    settled = settle(circuit, x, circuit.theta).require("norms of transistors")
    meant, z = at_rest("parasitic")["z"], np.asarray(settled.v["z"])
    assert np.sqrt(np.mean((z - meant) ** 2) / np.mean(meant**2)) < 0.2


@pytest.mark.slow
@pytest.mark.spice
def test_whole_block_against_ngspice_on_every_node():
    found = check_operating_point(
        with_inputs(compiled("device", WHOLE).netlist, tokens(WHOLE)), at_rest("device", WHOLE)
    )
    assert found.nodes == sum(bus.nodes for bus in compiled("device", WHOLE).netlist.buses.values())
    assert found.error < 1e-9


@pytest.mark.slow
@pytest.mark.spice
def test_inside_tiles_and_cells_nodal_analysis_agrees_with_ngspice():
    """Every crossing and every node inside a cell, from the deck that both read; and the buses with our walk."""
    netlist = with_inputs(compiled().netlist, tokens())
    file = read(operating_point_deck(netlist))
    ours, theirs = FileRun(file).run(file.analyses[0]), run_file(file)[0]
    nodes = [str(name) for name in theirs.data_vars if str(name).startswith("v(")]
    assert len(nodes) > 1500
    assert max(abs(float(ours[name]) - float(theirs[name])) for name in nodes) < 1e-9
    labels, walked = node_table(netlist, at_rest())
    nodal = np.array([float(ours[f"v({label.lower()})"]) for label in labels])
    assert np.abs(nodal - walked).max() < 1e-9 * np.abs(walked).max()


# calibration


def probes(seed, samples=24):
    """Voltages of all buses in about the range at which the block operates."""
    rng, meant, volts = np.random.default_rng(seed), compiled("parasitic"), compiled().scale.volts
    drawn = {}
    for name, bus in meant.netlist.buses.items():
        full = volts * rng.normal(size=(samples, *bus.shape))
        if name in ("p", "prediction"):
            shares = np.exp(full / volts) * (1 if bus.exists is None else bus.exists)
            full = volts * shares / shares.sum(-1, keepdims=True)
        drawn[name] = full if bus.exists is None else full * bus.exists
    return drawn


def test_calibration_finds_planted_gains_and_offsets():
    meant = compiled("parasitic").netlist
    rng = np.random.default_rng(3)
    gain, offset = rng.uniform(0.7, 1.4, size=meant.shape("q")), 1e-2 * rng.normal(size=meant.shape("q"))
    load = compiled("parasitic").scale.siemens
    wrong = meant.replace_elements(Resistor("q.load", "q", GROUND, load * gain))
    wrong = wrong.add(ISource("planted", GROUND, "q", -offset * load))
    done = calibrate(wrong, meant, probes(1))
    np.testing.assert_allclose(done.trims["q"].gain, gain, rtol=1e-9)
    np.testing.assert_allclose(done.trims["q"].offset, offset, rtol=1e-9)
    assert done.trims["q"].before > 0.1
    assert done.trims["q"].after < 1e-12
    assert all(trim.after < 1e-12 and trim.before < 1e-12 for bus, trim in done.trims.items() if bus != "q")
    again = calibrate(done.netlist, meant, probes(2))
    assert again.trims["q"].before < 1e-9


def test_calibration_takes_away_what_is_linear_in_transistor_cells():
    """Judged on other probes than those that it was made with."""
    meant, folded = compiled("parasitic").netlist, fold_wires(compiled().netlist).netlist
    done = calibrate(folded, meant, probes(1))
    held_out = calibrate(done.netlist, meant, probes(2))
    for bus, share in (("s", 0.5), ("o", 0.5), ("a", 0.8), ("z", 0.5), ("logits", 0.5)):
        assert held_out.trims[bus].before < share * done.trims[bus].before, bus
    with pytest.raises(NetlistError, match="no probe voltages"):
        calibrate(folded, meant, {"token": probes(1)["token"]})


# schedules


@pytest.mark.parametrize("level", ["ideal", "parasitic", pytest.param("device", marks=pytest.mark.slow)])
def test_sequential_fixed_point_is_the_parallel_one(level):
    size = (3, 4, 2, 5, 4)
    lane = compile_lane(model(size), weights(size), level=level)
    whole = compile_transformer(model(size), weights(size), level=level)
    x = tokens(size, lane.scale)
    circuit = Circuit(fold_wires(lane.netlist).netlist, lane.scale)
    found = settle_sequence(circuit, x["token"], circuit.theta)
    assert bool(found.converged.all())
    parallel = Circuit(fold_wires(whole.netlist).netlist, whole.scale)
    settled = settle(parallel, x, parallel.theta).require("parallel")
    v = parallel.voltages(settled.v, x, parallel.theta)
    for bus in ("z", "q", "k", "v", "o", "logits", "prediction"):
        scale = np.abs(v[bus]).max()
        np.testing.assert_allclose(found.v[bus], v[bus], rtol=0, atol=1e-9 * scale, err_msg=bus)
    written = found.v["z"][-1], v["z"][0]
    assert np.abs(written[0] - written[1]).max() > 1e-3 * np.abs(v["z"]).max()  # tokens differ


def test_a_model_that_is_not_causal_is_refused():
    mixed = {"attention": "mixed", "asymmetry": 0.5}
    with pytest.raises(SpecError, match="feel later ones"):
        compile_lane(model(**mixed), weights(**mixed))
    with pytest.raises(SpecError, match="feel later ones"):
        count(model(**mixed), "sequential")
    with pytest.raises(SpecError, match="choose 'parallel' or 'sequential'"):
        count(model(), "serial")


def test_counts_are_those_of_the_circuits():
    """Instances in the two decks against the formulas."""
    for schedule, block in (("parallel", compiled()), ("sequential", compile_lane(model(), weights(), level="device"))):
        counted, found = count(model(), schedule), summarize(block)
        assert counted.devices == found["conductances"]
        lines = write(block.netlist, [".op"]).splitlines()
        for kind, number in (
            ("gilbert_weak", counted.multipliers),
            ("tanh_pair", counted.activations),
            ("gain_cell", counted.gain_cells),
        ):
            assert sum(line.startswith("X") and f" {kind} " in line for line in lines) == number, kind
        inputs = [line.split() for line in lines if line.startswith("X") and " softmax_tail_" in line]
        assert (
            sum(int(next(w for w in words if "softmax_tail_" in w)[13:]) for words in inputs) == counted.softmax_inputs
        )
        norms = [e for e in block.netlist if e.name in ("norm", "final_norm")]
        assert sum(block.netlist.buses[e.output].nodes for e in norms) == counted.norms
    one, other = count(model()), count(model(), "sequential")
    built, heads, rows = silicon(compiled().netlist), SMALL[2], SMALL[0]
    lanes = heads * rows + rows  # softmax lanes: attention, prediction
    assert built.transistors == 8 * one.multipliers + 4 * one.activations + one.softmax_inputs + 2 * lanes
    every = silicon(realize(compiled("parasitic").netlist, ALL))
    norms = 2 * rows  # of each 45 transistors less than a channel's 12, and those that all its channels share
    assert every.transistors - built.transistors == norms * (12 * SMALL[1] + 9)
    unit = compiled().scale.amperes
    gain = 0.5 * (model().channels // heads) ** -0.5 + 0.5  # half of the multipliers are scores, half weigh values
    tails = unit * (one.multipliers * gain * 16 + one.activations + lanes)
    assert built.supply_amperes == pytest.approx(2 * tails, rel=1e-12)
    assert (one.settlings, other.settlings, other.settlings_with_adjoint) == (1, SMALL[0], 2 * SMALL[0])
    assert other.devices * SMALL[0] == one.devices
    assert other.seconds(1e-9) == pytest.approx(SMALL[0] * 1e-9)
