"""Compiled circuits against the model they realize: currents, settled states, scaling; and reciprocal networks."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_circuits import spice_op, worst

from analogep.compile import compile_reciprocal, compile_transformer, to_conductances, to_weights
from analogep.compile.transformer import FINAL, INPUT, LOGITS, PREDICTION, STATE
from analogep.errors import SpecError
from analogep.models import EquilibriumTransformer
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, D, H, F, V = 3, 4, 2, 5, 4
SCALE = Scale(0.1, 1e-5, 1e-14)
KINDS = {
    "free": {"attention": "free"},
    "energy": {"attention": "energy"},
    "mixed 0": {"attention": "mixed", "asymmetry": 0.0},
    "mixed 0.3": {"attention": "mixed", "asymmetry": 0.3, "activation": "tanh"},
    "mixed 1": {"attention": "mixed", "asymmetry": 1.0, "activation": "relu"},
    "mixed 1.5": {"attention": "mixed", "asymmetry": 1.5},
    "damping": {"attention": "mixed", "asymmetry": 0.3, "damping": (0.5, 1.0, 1.5, 2.0)},
}


def make(kind, **changes):
    fields = {"tokens": T, "channels": D, "heads": H, "ffn": F, "vocabulary": V, "damping": 1.0}
    return EquilibriumTransformer(**(fields | {"layer_norm_epsilon": 0.1} | KINDS[kind] | changes))


@cache
def problem(kind, gain=1.0):
    """A model, its weights, and an input."""
    model = make(kind)
    theta = model.init(jax.random.key(3), gain)
    token = jnp.asarray(np.concatenate([np.eye(V)[[0, 3, 1]], np.eye(T)], axis=1))
    return model, theta, token


@pytest.mark.parametrize("kind", KINDS)
def test_ideal_current_is_minus_the_force(kind):
    model, theta, token = problem(kind)
    compiled = compile_transformer(model, theta, level="ideal", scale=SCALE)
    circuit = Circuit(compiled.netlist, SCALE)
    assert list(circuit.states) == [STATE]
    x = {INPUT: SCALE.volts * token}
    current = jax.jit(jax.vmap(lambda z: circuit.current({STATE: SCALE.volts * z}, x, circuit.theta)[STATE]))
    force = jax.jit(jax.vmap(lambda z: model.force(z, token, theta)))
    z = jnp.asarray(np.random.default_rng(5).normal(size=(8, T, D)))
    expected = -SCALE.amperes * force(z)
    np.testing.assert_allclose(current(z), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def at_rest(kind, level):
    """The compiled circuit's settled states and the voltages of all its buses."""
    model, theta, token = problem(kind, gain=0.7)
    compiled = compile_transformer(model, theta, level=level, scale=SCALE, epsilon=0.02)
    assert compiled.level == level
    circuit, x = Circuit(compiled.netlist, SCALE), {INPUT: SCALE.volts * token}
    at = settle(circuit, x, circuit.theta).require(level)
    return jax.jit(circuit.voltages)(at.v, x, circuit.theta)


def test_settled_states_are_fixed_points_of_the_model():
    """Each level finds one by itself, with per-channel damping, free and energy parts; test_deck has a larger block."""
    model, theta, token = problem("damping", gain=0.7)
    ideal, parasitic = at_rest("damping", "ideal"), at_rest("damping", "parasitic")
    for voltages in (ideal, parasitic):
        z = voltages[STATE] / SCALE.volts
        assert float(jnp.abs(model.force(z, token, theta)).max()) < 1e-9
        logits = model.logits(z, theta)
        np.testing.assert_allclose(voltages[LOGITS] / SCALE.volts, logits, rtol=0, atol=1e-11)
        shares = jax.nn.softmax(logits, axis=-1)
        np.testing.assert_allclose(voltages[PREDICTION] / SCALE.volts, shares, rtol=0, atol=1e-11)


def test_weights_and_conductances_round_trip():
    model, theta, _ = problem("mixed 0.3")
    weights = {name: np.asarray(w) for name, w in theta.items()}
    netlist = compile_transformer(model, theta, scale=SCALE).netlist
    assert set(netlist.arrays) == set(model.weight_shapes)
    for name, back in to_weights(netlist.arrays, SCALE).items():
        np.testing.assert_allclose(back, weights[name], rtol=2.3e-16, atol=0)
    binary = Scale(0.125, 2.0**-17, 2.0**-46)  # powers of two: exact to the last bit
    for name, back in to_weights(to_conductances(weights, binary), binary).items():
        np.testing.assert_array_equal(back, weights[name])


def test_buses_and_states():
    model, theta, _ = problem("free")
    compiled = compile_transformer(model, theta, level="parasitic", scale=SCALE, epsilon=0.05)
    netlist = compiled.netlist
    lanes, scores = (T, D), (H, T, T)
    shapes = {INPUT: (T, V + T), STATE: lanes, "u": lanes, "q": lanes, "k": lanes, "v": lanes, "s": scores, "p": scores}
    shapes |= {"o": lanes, "h": (T, F), "a": (T, F), FINAL: lanes, LOGITS: (T, V), PREDICTION: (T, V)}
    assert {name: bus.shape for name, bus in netlist.buses.items()} == shapes
    circuit = Circuit(netlist, SCALE)
    built = H * T * (T + 1) // 2
    assert len(circuit.labels) == 7 * T * D + 2 * built + 2 * T * F + 2 * T * V
    assert circuit.core == (STATE,)
    farads = {name: float(np.max(c)) for name, c in circuit.capacitance.items()}
    assert farads[STATE] == SCALE.farads
    assert {farads[bus] for bus in farads if bus != STATE} == {0.05 * SCALE.farads}
    ideal = Circuit(compile_transformer(model, theta, level="ideal", scale=SCALE).netlist, SCALE)
    assert len(ideal.labels) == T * D
    assert set(ideal.driven) == set(shapes) - {INPUT, STATE}


def test_masked_scores_are_not_built():
    model, theta, _ = problem("mixed 0.3")
    netlist = compile_transformer(model, theta, scale=SCALE).netlist
    for name in ("s", "p", "es", "ep"):
        labels = netlist.buses[name].labels(name)
        assert len(labels) == H * T * (T + 1) // 2
        assert f"{name}_0_2_1" in labels
        assert f"{name}_0_1_2" not in labels


def test_shares_of_zero_build_nothing():
    assert "eq" not in compile_transformer(*problem("mixed 1")[:2]).netlist.buses
    assert "q" not in compile_transformer(*problem("mixed 0")[:2]).netlist.buses


def test_levels_and_time_constants_are_checked():
    model, theta, _ = problem("free")
    with pytest.raises(SpecError, match=r"compile\.level is 'exact'"):
        compile_transformer(model, theta, level="exact")
    with pytest.raises(SpecError, match=r"compile\.epsilon is 0"):
        compile_transformer(model, theta, level="parasitic", epsilon=0.0)


def reciprocal():
    rng = np.random.default_rng(2)
    w = rng.normal(size=(5, 5)) * 0.3
    w = np.triu(w, 1) + np.triu(w, 1).T
    x, damping = rng.normal(size=5), np.array([1.0, 1.5, 2.0, 0.8, 1.2])
    return w, x, damping, compile_reciprocal(w, x, damping=damping, scale=SCALE)


def test_reciprocal_network_is_symmetric():
    circuit = Circuit(reciprocal()[3], SCALE)

    def leaving(flat):
        return circuit.flatten(circuit.current(circuit.unflatten(flat), {}, circuit.theta))

    g = np.asarray(jax.jacfwd(leaving)(jnp.zeros(10)))
    assert np.abs(g - g.T).max() <= 1e-15 * np.abs(g).max()
    assert np.linalg.eigvalsh(g).min() > 0


def test_reciprocal_dynamics():
    w, x, damping, netlist = reciprocal()
    circuit = Circuit(netlist, SCALE)
    for z in np.random.default_rng(4).normal(size=(3, 5)):
        rate = circuit.rate({"zp": SCALE.volts * z, "zn": -SCALE.volts * z}, {}, circuit.theta)
        expected = (x - (1 + damping) * z + w @ z) * SCALE.volts / SCALE.seconds
        np.testing.assert_allclose(rate["zp"], expected, rtol=0, atol=1e-14 * np.abs(expected).max())
        np.testing.assert_allclose(rate["zn"], -expected, rtol=0, atol=1e-14 * np.abs(expected).max())


@pytest.mark.spice
def test_reciprocal_network_against_ngspice():
    w, x, damping, netlist = reciprocal()
    circuit = Circuit(netlist, SCALE)
    at = settle(circuit, {}, circuit.theta).require("the network")
    z = SCALE.volts * np.linalg.solve(np.diag(1 + damping) - w, x)
    np.testing.assert_allclose(at.v["zp"], z, rtol=0, atol=1e-12 * np.abs(z).max())
    np.testing.assert_allclose(at.v["zn"], -z, rtol=0, atol=1e-12 * np.abs(z).max())
    assert worst({bus: np.asarray(v) for bus, v in at.v.items()}, spice_op(netlist)) < 1e-9
