"""Crossbar tiles with wires: effective matrix, its gradient, the explicit netlist, the element, the fold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_circuits import EXACT, SCALE, load
from dense_tiles import DenseTile

from analogep.errors import NetlistError
from analogep.netlist import elimination
from analogep.netlist.adjoint import adjoint
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import Resistor, VSource
from analogep.netlist.elimination import effective_matrix
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.spice.write import write
from analogep.netlist.wired import WiredCrossbar, fold_wires
from analogep.netlist.wires import Wires, tile
from analogep.simulate.circuit import Circuit
from analogep.simulate.ngspice import run_deck
from analogep.simulate.settle import settle
from analogep.simulate.tile import node_voltages, report
from analogep.simulate.transient import transient

SHAPES = [(5, 7), (7, 5), (6, 6), (1, 5), (5, 1), (1, 1)]
WIRES = {
    "wires": Wires(2.5, 1.3),
    "ends": Wires(2.5, 1.3, driver_ohms=100.0, sense_ohms=37.0),
    "both drivers": Wires(0.7, 2.0, driver_ohms=30.0, drivers="both"),
    "both sides": Wires(2.0, 3.0, driver_ohms=10.0, sense_ohms=20.0, drivers="both", sensing="both"),
    "both amplifiers": Wires(0.7, 2.0, sensing="both"),
    "ideal words": Wires(0.0, 5.0, sense_ohms=3.0),
    "ideal bits": Wires(5.0, 0.0, drivers="both"),
    "ends only": Wires(0.0, 0.0, driver_ohms=50.0, sense_ohms=20.0, drivers="both", sensing="both"),
    "bad wires": Wires(1e4, 3e4, driver_ohms=1e3),
}
every_wires = pytest.mark.parametrize("wires", WIRES.values(), ids=WIRES.keys())

pytestmark = pytest.mark.usefixtures("quick_compilation")


def devices(columns, rows, seed=0, low=1e-5, high=1e-3, absent=0.2):
    """Conductances with a wide range, a fifth of them absent."""
    rng = np.random.default_rng([seed, columns, rows])
    g = np.exp(rng.uniform(np.log(low), np.log(high), (columns, rows)))
    return g * (rng.uniform(size=g.shape) >= absent) if g.size > 1 else g


def off(found, expected):
    scale = np.abs(expected).max()
    return np.abs(np.asarray(found) - expected).max() / (scale if scale else 1.0)


@every_wires
@pytest.mark.parametrize("shape", SHAPES)
def test_effective_matrix_is_the_dense_solution(shape, wires):
    g = devices(*shape)
    assert off(effective_matrix(g, wires), DenseTile(g, wires).effective()) < 1e-11


@pytest.mark.parametrize("bytes_held", [0, 1 << 28])
@every_wires
def test_gradient_against_finite_differences(wires, bytes_held, monkeypatch):
    """Also with the factors computed again by segments, as for tiles above 256 MiB of them."""
    monkeypatch.setattr(elimination, "STACK_BYTES", bytes_held)
    for shape in [(4, 6), (6, 4)]:
        g = devices(*shape, low=1e-4, high=1e-2)
        cotangent = np.random.default_rng(1).normal(size=shape)
        expected = np.zeros(shape)
        for at in np.ndindex(shape):
            step = np.zeros(shape)
            step[at] = 1e-5 * max(g[at], 1e-3)
            ends = [DenseTile(g + k * step, wires).effective() for k in (1, 2, 0)]
            change = ends[0] * 4 - ends[1] - 3 * ends[2]  # one-sided: an absent device cannot be less
            expected[at] = np.sum(cotangent * change) / (2 * step[at])
        found = jax.grad(lambda g: jnp.sum(cotangent * effective_matrix(g, wires)))(jnp.asarray(g))  # noqa: B023
        assert off(found, expected) < 1e-6


@every_wires
def test_exchanging_the_sides_transposes(wires):
    """Reciprocity: words and bits exchanged, and seen from the far corner, the same tile read the other way."""
    g = devices(4, 9)
    other = Wires(
        wires.bit_ohms, wires.word_ohms, driver_ohms=wires.sense_ohms, sense_ohms=wires.driver_ohms,
        drivers=wires.sensing, sensing=wires.drivers,
    )  # fmt: skip
    exchanged = effective_matrix(g.T[::-1, ::-1], other)
    assert off(exchanged, np.asarray(effective_matrix(g, wires)).T[::-1, ::-1]) < 1e-12


def test_single_row_is_a_ladder():
    """n devices on one word line over ideal bit lines, and on one bit line: a continued fraction from the far end."""
    g, ohms = np.array([1e-3, 2e-3, 0.5e-3, 3e-3]), 40.0
    beyond, steps = 0.0, []
    for conductance in g[::-1]:
        steps.append(1 / (1 + ohms * (conductance + beyond)))
        beyond = (conductance + beyond) * steps[-1]
    per_volt = g * np.cumprod(steps[::-1])
    assert off(effective_matrix(g[:, None], Wires(ohms, 0.0))[:, 0], per_volt) < 1e-15
    # the far end of a bit line is row 0
    assert off(effective_matrix(g[None, ::-1], Wires(0.0, ohms))[0], per_volt[::-1]) < 1e-15


def test_uniform_ladder_in_closed_form():
    """n equal devices: v_k = cosh((n - k + 1/2) a) / cosh((n + 1/2) a), k = 1 ... n, with 2 sinh(a / 2) = sqrt(r g)."""
    n, ohms, g = 50, 5.0, 2e-3
    a = 2 * np.arcsinh(np.sqrt(ohms * g) / 2)
    k = np.arange(1, n + 1)
    volts = np.cosh((n - k + 0.5) * a) / np.cosh((n + 0.5) * a)
    found = effective_matrix(np.full((n, 1), g), Wires(ohms, 0.0))[:, 0]
    assert off(found, g * volts) < 1e-13


def test_ideal_wires_are_exact_and_a_limit():
    g = devices(6, 9)
    np.testing.assert_array_equal(effective_matrix(g, Wires(0.0, 0.0)), g)
    errors = [off(effective_matrix(g, Wires(r, r)), g) for r in (1e-3, 1e-6, 1e-9)]
    assert errors[0] < 1e-4
    assert errors[1] == pytest.approx(1e-3 * errors[0], rel=1e-3)
    assert errors[2] == pytest.approx(1e-6 * errors[0], rel=1e-3)  # no digits are lost to small resistances
    nothing = np.zeros((3, 4))
    np.testing.assert_array_equal(effective_matrix(nothing, Wires()), nothing)


def test_ends_add_their_resistance():
    """One device between a driver and an amplifier: all in series."""
    wires = Wires(3.0, 5.0, driver_ohms=7.0, sense_ohms=11.0)
    assert effective_matrix(np.array([[0.1]]), wires)[0, 0] == pytest.approx(1 / (3 + 5 + 7 + 11 + 10), rel=1e-14)


def test_under_jit_and_vmap():
    wires, batch = WIRES["both sides"], np.stack([devices(5, 7, seed) for seed in range(3)])
    each = np.stack([effective_matrix(g, wires) for g in batch])
    together = jax.jit(jax.vmap(lambda g: effective_matrix(g, wires)))(batch)
    for shape in [(3, 5, 7), (3, 1, 5, 7)]:
        assert off(effective_matrix(batch.reshape(shape), wires), each.reshape(shape)) < 1e-14
    assert off(effective_matrix(batch.mT, wires)[1], np.asarray(effective_matrix(batch[1].T, wires))) < 1e-14
    assert together.dtype == jnp.float64
    assert off(together, each) < 1e-14
    slopes = jax.vmap(jax.grad(lambda g: effective_matrix(g, wires)[2, 3]))(batch)
    alone = jax.grad(lambda g: effective_matrix(g, wires)[2, 3])(batch[1])
    assert off(slopes[1], np.asarray(alone)) < 1e-13


@every_wires
def test_report_and_node_voltages(wires):
    shape = (5, 7) if wires.drivers == wires.sensing else (7, 5)
    g = devices(*shape, absent=0.0)
    found, dense = report(g, wires), DenseTile(g, wires)
    assert found.kcl < 1e-9
    assert found.mismatch < 1e-11
    assert found.power < 1e-11
    drives = np.random.default_rng(4).normal(size=shape[1])
    volts = node_voltages(g, wires, drives)
    word, bit = dense.voltages(drives)
    assert max(np.abs(volts.word[0] - word).max(), np.abs(volts.bit[0] - bit).max()) < 1e-11
    if 0.0 in (wires.word_ohms, wires.bit_ohms):
        assert found.condition == np.inf
    else:
        inner = dense.inner()
        assert found.condition == pytest.approx(np.linalg.cond(dense.matrix[np.ix_(inner, inner)], 1), rel=1e-9)


def test_wrong_wires_are_refused():
    with pytest.raises(NetlistError, match="word_ohms"):
        Wires(-1.0)
    with pytest.raises(NetlistError, match="drivers"):
        Wires(drivers="three")
    with pytest.raises(NetlistError, match="conductances"):
        tile("t", "r", "c", np.array([[-1.0]]), Wires())


def explicit(g, wires, drives, columns="0"):
    """A tile between voltage sources and virtual ground."""
    piece = tile("t", "in", columns, g, wires)
    netlist = Netlist({"in": Bus((g.shape[1],))}).add(VSource("in", "in", drives))
    return netlist.add(*piece, buses=piece.buses, arrays=piece.arrays)


@pytest.mark.spice
@pytest.mark.parametrize("size", [8, 16, 32, pytest.param(64, marks=pytest.mark.slow)])
def test_effective_matrix_against_ngspice(size):
    """Operating points of the explicit wires, collected in 0 V sources: TARGETS ask for 1e-6."""
    wires = Wires(1.0, 1.5, driver_ohms=20.0, sense_ohms=10.0, drivers="both" if size == 16 else "one")
    g = devices(size, size, low=1e-6, high=1e-4)
    matrix = np.asarray(effective_matrix(g, wires))
    drives = np.random.default_rng(size).uniform(-0.2, 0.2, size)
    netlist = explicit(g, wires, drives, "out")
    netlist = netlist.add(VSource("sense", "out", np.zeros(size)), buses={"out": Bus((size,))})
    (plot,) = run_deck(write(netlist, [".op"], options=EXACT))
    found = np.array([plot.data[f"i(vsense_{c})"][0] for c in range(size)])
    assert off(matrix @ drives, found) < 1e-6
    volts = node_voltages(g, wires, drives)
    for family, ours in (("word", volts.word), ("bit", volts.bit)):
        theirs = np.array([plot.data[f"v(t.{family}_{r}_{c})"][0] for r, c in np.ndindex(size, size)])
        assert np.abs(theirs - ours.ravel()).max() < 1e-6 * 0.2


def wired(transpose=False, wires=WIRES["ends"], minimum=2e-5):
    """A driven bus of two tokens, a wired crossbar, and a loaded bus."""
    shapes = {"x": (2, 3), "y": (2, 4)}
    source, target = ("y", "x") if transpose else ("x", "y")
    weights = 1e-3 * np.random.default_rng(3).normal(size=(4, 3))
    drives = np.random.default_rng(5).normal(size=shapes[source]) * 0.1
    return Netlist({name: Bus(shape) for name, shape in shapes.items()}, {}, {"w": weights}).add(
        VSource("in", source, drives),
        WiredCrossbar("bar", "x", "y", "w", wires, minimum, transpose),
        *load(target, siemens=1e-3),
    )


@pytest.mark.spice
@every_wires
def test_element_against_ngspice(wires):
    """Explicit wires, buffers and mirrors, in both directions, against plain crossbars of the effective matrices."""
    for transpose in (False, True):
        netlist = wired(transpose, wires)
        target = "x" if transpose else "y"
        (plot,) = run_deck(write(netlist, [".op"], options=EXACT))
        folded = fold_wires(netlist).netlist
        v = {"x": np.zeros((2, 3)), "y": np.zeros((2, 4))} | {netlist.elements["in"].a: netlist.elements["in"].value}
        expected = -folded.elements["bar"].currents(v, folded.arrays, 0.0)[target] / 1e-3
        found = [plot.data[f"v({node})"][0] for node in netlist.buses[target].labels(target)]
        assert off(np.reshape(found, expected.shape), np.asarray(expected)) < 1e-7


def test_fold_gives_plain_crossbars_that_share_arrays():
    netlist = wired()
    both = netlist.add(
        WiredCrossbar("back", "x", "y", "w", WIRES["ends"], 2e-5, transpose=True),
        WiredCrossbar("other", "x", "y", "w", WIRES["wires"]),
        Crossbar("plain", "x", "y", "g"),
        arrays={"g": np.ones((4, 3))},
    )
    folded = fold_wires(both)
    assert set(folded.netlist.arrays) == {"g", "w.wired", "w.wired2"}
    assert [e.array for e in folded.netlist if isinstance(e, Crossbar)] == ["w.wired", "w.wired", "w.wired2", "g"]
    theta = folded.effective(both.arrays)
    assert set(theta) == set(folded.netlist.arrays)
    for name, g in folded.netlist.arrays.items():
        np.testing.assert_allclose(theta[name], g, rtol=1e-12)
    plus, minus = np.maximum(both.arrays["w"], 0) + 2e-5, np.maximum(-both.arrays["w"], 0) + 2e-5
    dense = DenseTile(plus, WIRES["ends"]).effective() - DenseTile(minus, WIRES["ends"]).effective()
    assert off(theta["w.wired"], dense) < 1e-12


def test_element_evaluated_without_folding_is_the_same():
    netlist = wired()
    raw, folded = Circuit(netlist, SCALE), Circuit(fold_wires(netlist).netlist, SCALE)
    v = raw.zeros()
    assert off(folded.current(v, {}, folded.theta)["y"], np.asarray(raw.current(v, {}, raw.theta)["y"])) < 1e-13
    bar = netlist.elements["bar"]
    with pytest.raises(NetlistError, match="fold_wires"):
        bar.local_product({}, {})


def test_adjoint_reads_the_tiles_backwards():
    (back,) = wired().elements["bar"].adjoint()
    assert back.transpose
    theta = {"w": np.random.default_rng(3).normal(size=(4, 3)) * 1e-3}
    pushed = {"y": np.random.default_rng(6).normal(size=(2, 4))}
    forward = jax.jacfwd(lambda x: wired().elements["bar"].currents({"x": x}, theta, 0.0)["y"])(jnp.zeros((2, 3)))
    found = back.currents(pushed, theta, 0.0)["x"]
    assert off(found, np.einsum("tcsr,tc->sr", np.asarray(forward), pushed["y"])) < 1e-12


def test_gradient_through_the_fold_is_that_of_the_weights():
    """A local product for the effective matrix, pulled back, against finite differences of the settled circuit."""
    netlist = wired()
    folded = fold_wires(netlist)
    circuit = Circuit(folded.netlist, SCALE)
    slope = np.random.default_rng(8).normal(size=(2, 4))

    def loss(weights):
        v = netlist.elements["in"].value @ folded.effective({"w": weights})["w.wired"].T / 1e-3
        return jnp.sum(slope * v)

    weights = jnp.asarray(netlist.arrays["w"])
    lam = {"y": -slope / 1e-3, "x": 0.0}
    local = folded.netlist.elements["bar"].local_product({"x": netlist.elements["in"].value}, lam)
    _, pullback = jax.vjp(folded.effective, {"w": weights})
    (found,) = pullback({"w.wired": jnp.asarray(local)})
    assert off(found["w"], np.asarray(jax.grad(loss)(weights))) < 1e-12
    step = 1e-7
    bump = np.zeros((4, 3))
    bump[1, 2] = step
    change = (loss(weights + bump) - loss(weights - bump)) / (2 * step)
    assert found["w"][1, 2] == pytest.approx(float(change), rel=1e-6)
    assert set(adjoint(circuit.netlist).elements)


def transient_tile():
    g = devices(4, 3, low=2e-5, high=2e-4, absent=0.1)
    wires = Wires(500.0, 800.0, 2e-15, 3e-15, driver_ohms=1e3, sense_ohms=500.0)
    return explicit(g, wires, np.array([0.2, -0.1, 0.15])), g, wires


@pytest.mark.spice
def test_transient_with_wire_capacitance_against_ngspice():
    netlist, _, _ = transient_tile()
    end = 2e-10
    (plot,) = run_deck(write(netlist, [f".tran {end / 500:g} {end:g} 0 {end / 2000:g} uic"], options=EXACT))
    times = np.linspace(0, end, 101)[1:]
    circuit = Circuit(netlist, SCALE)
    waves = transient(circuit, times, {}, circuit.theta, rtol=1e-9).v
    for bus, wave in waves.items():
        for column, node in zip(np.asarray(wave).reshape(100, -1).T, netlist.buses[bus].labels(bus), strict=True):
            found = np.interp(times, plot.data["time"], plot.data[f"v({node})"])
            assert np.abs(found - column).max() < 1e-4 * 0.2


def test_transient_ends_at_the_tile_s_voltages():
    netlist, g, wires = transient_tile()
    circuit = Circuit(netlist, SCALE)
    last = settle(circuit, {}, circuit.theta).v
    expected = node_voltages(g, wires, netlist.elements["in"].value)
    assert off(last["t.word"], expected.word[0]) < 1e-8
    assert off(last["t.bit"], expected.bit[0]) < 1e-8


def test_ideal_wires_cannot_be_integrated():
    netlist = explicit(devices(2, 2), Wires(0.0, 1.0, 1e-15, 1e-15), 0.1)
    circuit = Circuit(netlist, SCALE)
    with pytest.raises(NetlistError, match="fold_wires"):
        circuit.current(circuit.zeros(), {}, circuit.theta)


def test_shapes_of_wires_are_checked():
    piece = tile("t", "in", "0", devices(2, 3), Wires(1.0, 1.0, 1e-15, 1e-15))
    netlist = Netlist({"in": Bus((4,))}).add(VSource("in", "in", 0.1), *piece, buses=piece.buses, arrays=piece.arrays)
    with pytest.raises(NetlistError, match="crossings"):
        Circuit(netlist, SCALE)
    assert isinstance(netlist.elements["t.devices"], Resistor)
