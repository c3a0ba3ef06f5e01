"""Circuits that output nudges cannot tell apart: dense numpy, finite differences, ngspice; and study q1."""

import sys
from functools import cache
from importlib import import_module

import numpy as np
import pytest
import xarray as xr
from dense_circuits import SCALE, spice_op
from scipy.linalg import expm

from analogep.compile.lookalike import lookalike, mirrored, resistor_and_gyrator, two_paths
from analogep.errors import SpecError
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, ISource, Resistor
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions, settle
from analogep.simulate.transient import transient
from analogep.study import load

pytestmark = pytest.mark.usefixtures("quick_compilation")

G0, VOLT, AMPERE = SCALE.siemens, SCALE.volts, SCALE.amperes
OPTIONS = SettleOptions(rtol=1e-9)


def random_matrix(seed=0, size=7):
    return 2 * np.eye(size) + np.random.default_rng(seed).normal(size=(size, size)) / 2


def test_a_lookalike_has_the_same_responses_and_any_multipliers():
    rng, g = np.random.default_rng(1), random_matrix()
    slope = np.r_[0.3, 0.0, -0.5, np.zeros(4)]
    outputs = slope != 0
    wanted = np.where(outputs, np.linalg.solve(g.T, -slope), rng.normal(size=7))
    other = lookalike(g, slope, wanted)
    np.testing.assert_allclose(np.linalg.inv(other)[:, outputs], np.linalg.inv(g)[:, outputs], atol=1e-13)
    np.testing.assert_allclose(np.linalg.solve(other.T, -slope), wanted, atol=1e-13)
    np.testing.assert_array_equal(other[~outputs], g[~outputs])
    with pytest.raises(SpecError, match="keeps lambda at the outputs"):
        lookalike(g, slope, wanted + 1.0)


@pytest.mark.parametrize("factor", [-1.0, 0.0, 0.5])
def test_a_mirrored_network_multiplies_hidden_multipliers_for_every_loss(factor):
    g, outputs = random_matrix(2), np.arange(7) < 3
    other = mirrored(g, outputs, factor)
    np.testing.assert_allclose(np.linalg.inv(other)[:, outputs], np.linalg.inv(g)[:, outputs], atol=1e-13)
    np.testing.assert_array_equal(other[~outputs], g[~outputs])
    for slope in np.eye(7)[:3]:
        lam, there = (np.linalg.solve(each.T, -slope) for each in (g, other))
        np.testing.assert_allclose(there, np.where(outputs, lam, factor * lam), atol=1e-13)


# Two nodes: a resistor, or a gyrator.


@cache
def bridges():
    """Circuits of the pair with conductances of 1; they rest at v_h = 2/3, v_o = 1/3 with G = [[2, -1], [-+1, ...]]."""
    return resistor_and_gyrator()


@cache
def circuit_of(netlist):
    return Circuit(netlist, SCALE)


def rest(netlist, push=0.0, **weights):
    """Voltages (units) of all states with a current pushed into the output."""
    circuit = circuit_of(netlist)
    theta = {name: np.asarray(weights.get(name, g / G0)) * G0 for name, g in netlist.arrays.items()}
    found = settle(circuit, {}, theta, sources={"o": np.array(push * AMPERE)}, options=OPTIONS)
    assert bool(found.converged)
    return {bus: float(v) / VOLT for bus, v in found.v.items()}


@pytest.mark.parametrize("push", [-3.0, 0.0, 1e-3, 2.0])
def test_the_bridges_answer_every_nudge_alike(push):
    """G^-1 = [[2, 1], [1, 2]] / 3 and [[1, 1], [-1, 2]] / 3: the same column of the output, in numbers."""
    for netlist in bridges():
        found = rest(netlist, push)
        assert found["h"] == pytest.approx(2 / 3 + push / 3, abs=1e-9)
        assert found["o"] == pytest.approx(1 / 3 + 2 * push / 3, abs=1e-9)


def test_the_bridges_have_opposite_gradients():
    """d v_o / dw = (1 - v_h) (G^-1)_oh, by moving w: +1/9 and -1/9."""
    slopes = [(rest(n, w=1.001)["o"] - rest(n, w=0.999)["o"]) / 0.002 for n in bridges()]
    np.testing.assert_allclose(slopes, [1 / 9, -1 / 9], rtol=1e-5)


def test_the_bridges_are_passive():
    """Resistors of positive conductance and a pair of sources whose powers cancel; the second needs load enough."""
    one, other = bridges()
    assert not [e for e in one if isinstance(e, VCCS)]
    forward, back = (e for e in other if isinstance(e, VCCS))
    at = {"h": 0.3, "o": -0.7, "x": 0.1, GROUND: 0.0}
    power = sum(v * at[bus] for e in (forward, back) for bus, v in e.currents(at, {}, 0.0).items())
    assert abs(power) < 1e-12 * G0
    assert all(e.siemens > 0 for n in (one, other) for e in n if isinstance(e, Resistor) and e.array is None)
    with pytest.raises(SpecError, match="negative load"):
        resistor_and_gyrator(weight=0.1, load=0.1)


@pytest.mark.spice
def test_the_bridges_in_ngspice():
    for push in (0.0, -1.0, 0.4):
        first, second = (spice_op(n.add(ISource("nudge", GROUND, "o", push * AMPERE))) for n in bridges())
        for bus, expected in (("h", 2 / 3 + push / 3), ("o", 1 / 3 + 2 * push / 3)):
            np.testing.assert_allclose([first[bus] / VOLT, second[bus] / VOLT], expected, atol=1e-9)


# Three nodes: two paths that always agree.


@cache
def paths():
    """Two circuits whose output reads 1.2 of both hidden nodes together."""
    return two_paths(1.0, 0.2), two_paths(-0.6, 1.8)


@pytest.mark.parametrize("push", [0.3, -5.0])
def test_two_paths_are_the_same_in_time_too(push):
    """A step of current into the output, against the matrix exponential of the third circuit's own G."""
    g = np.array([[2.0, 0.0, -0.5], [0.0, 2.0, -0.5], [-1.0, -0.2, 2.0]])  # h1, h2, o
    start, times = np.linalg.solve(g, [1.0, 1.0, 0.0]), np.array([0.1, 0.5, 1.0, 4.0])
    away = np.linalg.solve(g, [0.0, 0.0, push])
    expected = np.array([start + away - expm(-g * t) @ away for t in times]).T
    for netlist in paths():
        circuit, buses = circuit_of(netlist), ("h1", "h2", "o")
        v0 = {bus: np.array(v * VOLT) for bus, v in zip(buses, start, strict=True)}
        pushed = {"o": np.array(push * AMPERE)}
        found = transient(circuit, times * SCALE.seconds, {}, dict(netlist.arrays), v0=v0, sources=pushed, rtol=1e-9).v
        np.testing.assert_allclose([np.asarray(found[bus]) / VOLT for bus in buses], expected, atol=1e-7 * abs(push))


def test_two_paths_have_gradients_of_either_sign():
    """d v_o / d w1 is (1 - v_h) times the share of the first path, by moving w1."""
    slopes = [(rest(n, w1=1.001)["o"] - rest(n, w1=0.999)["o"]) / 0.002 for n in paths()]
    assert slopes[0] > 0.01
    np.testing.assert_allclose(slopes[1] / slopes[0], -0.6, rtol=1e-4)


# Study q1.


@cache
def q1(part="ladder"):
    """The study, and the module in which a part is measured."""
    study = load("q1")
    return study, sys.modules[study.parts[part].measure.__module__]


@pytest.mark.parametrize("rho", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("kind", ["definite", "indefinite"])
def test_networks_are_what_they_are_called(kind, rho):
    _, ladder = q1()
    for seed in range(3):
        g = ladder.KINDS[kind](rho, seed)
        s, a = (g + g.T) / 2, (g - g.T) / 2
        assert np.abs(np.linalg.eigvals(np.linalg.solve(s, a))).max() == pytest.approx(rho, rel=1e-6)
        assert int((np.linalg.eigvalsh(s) < 0).sum()) == (0 if kind == "definite" else 2)
        assert np.linalg.eigvals(g).real.min() > 0.04


def test_the_gradient_of_passive_networks_by_finite_differences():
    """Of the loss at rest, by Newton's method in numpy on the circuit's conductances."""
    module = import_module(q1()[1].__name__.replace("_ladder", "_passive"))
    at = module.passive(2.0, 0)
    inputs = np.array([float(at.x[f"x{node}"][0]) for node in module.NODES]) / VOLT

    def loss(theta):
        linear, v = (module.LEAK + module.FEED) * np.eye(4), np.zeros(4)
        for name, g in theta.items():
            i, j = (module.NODES.index(node) for node in name[1:])
            if name[0] == "r":
                linear[[i, j], [i, j]] += g
                linear[[i, j], [j, i]] -= g
            else:
                linear[i, j] += g
                linear[j, i] -= g
        for _ in range(50):
            left = linear @ v + module.BEND * np.tanh(v) - module.FEED * inputs
            v = v - np.linalg.solve(linear + np.diag(module.BEND / np.cosh(v) ** 2), left)
        return (v[0] - module.TARGET) ** 2 / 2

    theta = {name: float(g) / G0 for name, g in at.theta.items()}
    for name, exact in at.exact.items():
        ends = [loss(theta | {name: theta[name] + by}) for by in (1e-5, -1e-5)]
        assert float(exact) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-9), name


def test_the_floor_is_the_least_error_of_one_estimate_for_two_gradients():
    _, pairs = q1(part="pair")
    data = pairs.measure_floor(None, 0, 0.05)
    low, high = float(data.low), float(data.high)
    assert 0 < low < 1 < high
    guesses = np.linspace(low, high, 20001)
    worse = np.maximum(np.abs(guesses / low - 1), np.abs(guesses / high - 1))
    assert float(data.floor) == pytest.approx(worse.min(), rel=1e-3)
    assert float(pairs.measure_floor(None, 0, 1.0).floor) == 1.0


def results(study, **changed):
    """Results in which all is as predicted, but for what is changed."""
    ladder, config = q1()[1], study.quick
    rows, betas, seeds = list(ladder.ROWS), list(ladder.BETAS), [0, 1]
    rho, plain = np.array(config.rhos), changed.get("plain")
    error = np.full((len(rows), len(betas), len(rho), 2, len(seeds)), 1e-6)
    for k, name in enumerate(rows):
        if name not in ladder.EXACT:
            error[k] = (rho if plain is None or name != "vector_field_ep" else 0 * rho + plain)[:, None, None]
    dims = ("row", "beta", "rho", "kind", "seed")
    at = {"row": rows, "beta": betas, "rho": rho, "kind": list(config.kinds), "seed": seeds}
    one = xr.DataArray(error, at, dims)
    asym = one.isel(beta=0) * 0 + changed.get("limit", 1e-11)
    price = one.isel(beta=0) * 0 + xr.DataArray(np.ones(len(ladder.PRICES)), {"what": list(ladder.PRICES)}, ("what",))
    said = [row for row in config.rows if row != "random_nodes"]
    tells = np.isin(said, ladder.EXACT)
    agree = xr.DataArray(np.where(tells, 1.0, -1.0), {"said": said}, ("said",))
    over = xr.DataArray(np.ones((2, 2)), {"rho": list(config.pair_rhos), "seed": seeds}, ("rho", "seed"))
    shared = over * xr.DataArray(np.full(3, changed.get("shared", 1e-15)), {"thing": list("abc")}, ("thing",))
    pairs = xr.Dataset({"shared": shared, "opposed": -over, "cosine": over * agree, "same": over * (1 + agree)})
    pairs["cosine"] = pairs.cosine * xr.DataArray(np.ones(2), {"circuit": ["J", "J'"]}, ("circuit",))
    floor = xr.DataArray([[0.1, 0.1], [0.5, 0.5], [1.0, 1.0]], {"rho": list(config.floor_rhos), "seed": seeds},
                         ("rho", "seed"))  # fmt: skip
    return {
        "ladder": xr.Dataset({"error": one, "cosine": one * 0, "limit": asym, "price": price}),
        "pair": pairs,
        "floor": floor.to_dataset(name="floor"),
    }


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "holds"),
        ({"plain": 1e-4}, "falsified"),
        ({"limit": 1e-3}, "falsified"),
        ({"limit": np.nan}, "undecided"),
        ({"shared": 1e-3}, "not supported"),
        ({"plain": 0.5}, "undecided"),  # an error that is the same at every rho has no correlation with it
    ],
)
def test_the_verdict_is_what_the_numbers_say(changed, word):
    study, _ = q1()
    assert study.verdict(results(study, **changed)).word == word
