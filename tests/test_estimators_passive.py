"""Estimators on passive networks: flipped gyrators, energy contrast and coupled learning, against dense numpy."""

from functools import cache

import jax
import numpy as np
import pytest
from dense_circuits import SCALE
from small_networks import network, radius_of

from analogep.diagnostics.passivity import gyrators as found_at
from analogep.ep.estimators import Estimators
from analogep.ep.fidelity import fidelity
from analogep.errors import NetlistError
from analogep.learning.cost import Cost, Quadratic
from analogep.learning.model_phases import CrossEntropy, ModelPhases
from analogep.learning.reversal import flipped
from analogep.learning.rule import Phase
from analogep.learning.system_phases import SystemPhases
from analogep.models import EquilibriumTransformer
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, BSource, Capacitor, ISource, Resistor
from analogep.netlist.graph import Bus, Netlist
from analogep.netlist.gyrators import gyrator, gyrators
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions

pytestmark = pytest.mark.usefixtures("quick_compilation")

BETA = 1e-3


# Passive networks: resistors, one-ports that bend, and gyrators.

NODES = ("a", "b", "c", "d")
OUT = np.array([0.4, -0.7])


def passive(gyration):
    """Every pair joined by a programmable resistor, a one-port at each node, and programmable gyrators."""
    rng, g0, elements, arrays = np.random.default_rng(5), SCALE.siemens, [], {}
    for k, node in enumerate(NODES):
        elements += [Capacitor(f"c{k}", node, GROUND, SCALE.farads), Resistor(f"l{k}", node, GROUND, 0.5 * g0)]
        elements += [ISource(f"i{k}", GROUND, node, (0.8 - 0.5 * k) * SCALE.amperes)]
        elements += [BSource(f"b{k}", node, GROUND, current=f"{0.4 * SCALE.amperes}*tanh(v({node})/{SCALE.volts})")]
    for i, one in enumerate(NODES):
        for j, other in enumerate(NODES[:i]):
            arrays[f"r{i}{j}"] = np.array(g0 * rng.uniform(0.2, 1.0))
            elements.append(Resistor(f"r{i}{j}", one, other, f"r{i}{j}"))
            arrays[f"y{i}{j}"] = np.array(g0 * gyration * rng.normal())
            elements += gyrator(f"y{i}{j}", one, other, f"y{i}{j}")
    return Netlist({node: Bus() for node in NODES}, {}, arrays).add(*elements)


class Both(Cost):
    """The squared errors of two scalar nodes."""

    def loss(self, v, x, theta=None):
        return sum((v[n] / SCALE.volts - t) ** 2 for n, t in zip(("a", "d"), OUT, strict=True)) / 2

    def force(self, v, x, theta=None):
        return {n: -SCALE.amperes * (v[n] / SCALE.volts - t) for n, t in zip(("a", "d"), OUT, strict=True)}


@cache
def gyrating():
    """Phases of one passive network; other conductances run through the same programs."""
    return SystemPhases(Circuit(passive(1.0), SCALE), Both(), SettleOptions(rtol=1e-9))


def dense(theta):
    """G (units of g0) at rest and dL/dg (units) of a passive network, by Newton's method in numpy."""
    g0, z = SCALE.siemens, np.zeros(4)
    linear, drive = np.zeros((4, 4)), np.array([0.8 - 0.5 * k for k in range(4)])
    for k in range(4):
        linear[k, k] += 0.5
    for name, value in theta.items():
        i, j, g = int(name[1]), int(name[2]), float(value) / g0
        if name[0] == "r":
            linear[[i, j], [i, j]] += g
            linear[[i, j], [j, i]] -= g
        else:
            linear[i, j] += g
            linear[j, i] -= g
    for _ in range(60):
        conductance = linear + np.diag(0.4 / np.cosh(z) ** 2)
        z = z - np.linalg.solve(conductance, linear @ z + 0.4 * np.tanh(z) - drive)
    slope = np.array([z[0] - OUT[0], 0.0, 0.0, z[3] - OUT[1]])
    lam, exact = np.linalg.solve(conductance.T, -slope), {}
    for name in theta:
        i, j = int(name[1]), int(name[2])
        exact[name] = (lam[i] - lam[j]) * (z[i] - z[j]) if name[0] == "r" else lam[i] * z[j] - lam[j] * z[i]
    return conductance, exact


@pytest.mark.parametrize("gyration", [0.2, 2.0, 8.0])
def test_flipping_gyrators_is_exact(gyration):
    estimators, theta = Estimators(gyrating()), dict(passive(gyration).arrays)
    assert "gyrator_flip" in estimators.available
    g, exact = dense(theta)
    rho = radius_of(g)
    errors = []
    for beta in (4 * BETA, 2 * BETA):
        found = estimators.run(("gyrator_flip",), {}, theta, beta)
        estimate = estimators.gradient("gyrator_flip", found, beta)
        assert bool(estimate.converged)
        gradient = {name: value * SCALE.siemens for name, value in estimate.gradient.items()}
        errors.append(fidelity(gradient, exact)[0].relative_error)
    assert errors[-1] <= 1e-3, f"rho {rho:.2f}: {errors}"
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05), f"rho {rho:.2f}: {errors}"


def test_flipping_transposes_and_needs_gyrators():
    netlist = passive(2.0)
    at = {node: np.array(0.03 * k) for k, node in enumerate(NODES)}
    g, turned = (Circuit(n, SCALE).conductance(at, {}, netlist.arrays) for n in (netlist, flipped(netlist)))
    np.testing.assert_allclose(turned, np.asarray(g).T, rtol=0, atol=1e-18)
    lone = netlist.add(VCCS("lone", "a", GROUND, "b", GROUND, SCALE.siemens))
    with pytest.raises(NetlistError, match="VCCS 'lone' is no half of a gyrator"):
        flipped(lone)
    phases = network()
    assert "gyrator_flip" not in Estimators(phases).available
    with pytest.raises(NetlistError, match="one-way coupling"):
        flipped(phases.netlist)


def test_gyrators_by_name_and_by_number():
    """Halves of one array are a gyrator at any conductance; those of two arrays, and numbers, if they are opposite."""
    g, nodes = SCALE.siemens, {"a": Bus(), "b": Bus()}
    loads = [Capacitor(f"c{node}", node, GROUND, SCALE.farads) for node in nodes]
    loads += [Resistor(f"r{node}", node, GROUND, g) for node in nodes]
    shared = Netlist(nodes, {}, {"y": np.array(g)}).add(*loads, *gyrator("y", "a", "b", "y"))
    assert gyrators(shared) == [("y.forward", "y.back", "y")]
    two = Netlist(nodes, {}, {"up": np.array(g), "down": np.array(-g)}).add(
        *loads, VCCS("up", "a", GROUND, "b", GROUND, "up"), VCCS("down", "b", GROUND, "a", GROUND, "down")
    )
    assert gyrators(two) == []
    circuit = Circuit(two, SCALE)
    assert [pair[:2] for pair in found_at(circuit, circuit.theta)] == [("up", "down")]
    assert found_at(circuit, {**circuit.theta, "down": np.array(g)}) == []
    fixed = Circuit(Netlist(nodes).add(*loads, *gyrator("y", "a", "b", g)), SCALE)
    assert len(found_at(fixed, {})) == 1
    assert found_at(fixed, {"y.back.siemens": 2 * g}) == []  # theta may hold numbers of elements as well
    with pytest.raises(NetlistError, match="VCCS 'up' is no half of a gyrator"):
        flipped(two)
    # a source that its own port controls is a conductance, which flipping leaves as it is
    own = shared.add(VCCS("own", GROUND, "a", GROUND, "a", 3 * g))
    at = {node: np.array(0.0) for node in nodes}
    before, after = (np.asarray(Circuit(n, SCALE).conductance(at, {}, n.arrays)) for n in (own, flipped(own)))
    np.testing.assert_allclose(before / g, [[4, 1], [-1, 1]], atol=1e-12)
    np.testing.assert_allclose(after, before.T, atol=1e-18)


# Plain resistors: coupled learning, and the energy contrast.

DRIVE, WANTED = np.array([0.8, 0.3, -0.2, -0.7]), np.array([0.4, 0.0, 0.0, -0.7])


@cache
def resistors(outputs):
    """Phases of four nodes on one bus, joined by an array of resistors; the loss looks at `outputs`."""
    w = np.random.default_rng(6).uniform(0.2, 1.0, (4, 4)) * SCALE.siemens
    netlist = Netlist({"v": Bus((4,))}, {}, {"w": w}).add(
        Capacitor("c", "v", GROUND, SCALE.farads),
        Resistor("l", "v", GROUND, 0.9 * SCALE.siemens),
        ISource("i", GROUND, "v", DRIVE * SCALE.amperes),
        Crossbar("w", "v", "v", "w", "resistive"),
    )
    looked = np.isin(np.arange(4), outputs) * 1.0
    return SystemPhases(Circuit(netlist, SCALE), Quadratic("v", WANTED, looked, SCALE), SettleOptions(rtol=1e-9))


def on_resistors(name, outputs, beta):
    """An estimate; the gradient of half the squared error; that of e^T H e / 2 with H, seen from the outputs, held."""
    phases, seen = resistors(outputs), list(outputs)
    estimators, theta = Estimators(phases), phases.netlist.arrays
    assert {"coupled_learning", "energy_ep", "vector_field_ep"} <= set(estimators.available)
    estimate = estimators.gradient(name, estimators.run((name,), {}, theta, beta), beta)
    assert bool(estimate.converged)
    w = np.asarray(theta["w"]) / SCALE.siemens
    g = 0.9 * np.eye(4) + np.diag(w.sum(0) + w.sum(1)) - w - w.T
    z, inverse, error, push = np.linalg.solve(g, DRIVE), np.linalg.inv(g), np.zeros(4), np.zeros(4)
    error[seen] = (WANTED - z)[seen]
    push[seen] = np.linalg.solve(inverse[np.ix_(seen, seen)], error[seen])
    gradients = [np.subtract.outer(lam, lam) * np.subtract.outer(z, z) for lam in (inverse @ error, inverse @ push)]
    return {"w": estimate.gradient["w"] * SCALE.siemens}, *({"w": gradient} for gradient in gradients)


def test_the_energy_contrast_on_resistors():
    found, squared, _ = on_resistors("energy_ep", (0, 3), BETA)
    assert fidelity(found, squared)[0].relative_error <= 1e-6


def test_coupled_learning_descends_its_own_contrast():
    """Its error falls as eta; for one output it points along the gradient of the squared error, for two it does not."""
    errors = []
    for eta in (2e-3, 1e-3):
        found, squared, own = on_resistors("coupled_learning", (0, 3), eta)
        errors.append(fidelity(found, own)[0].relative_error)
    assert errors[-1] < 1e-2
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)
    assert fidelity(own, squared)[0].cosine < 0.999
    found, squared, own = on_resistors("coupled_learning", (2,), 1e-4)
    assert fidelity(own, squared)[0].cosine == pytest.approx(1.0, abs=1e-12)
    assert fidelity(found, squared)[0].cosine > 0.99999


def test_clamping_needs_targets():
    phases = resistors((0, 3))
    assert Phase.CLAMPED in phases.supported
    cost = CrossEntropy(EquilibriumTransformer(2, 4, 1, 4, 3, 1.0))
    assert Phase.CLAMPED not in SystemPhases(phases.system, cost).supported


def test_phases_that_a_system_lacks_are_refused():
    """F(z) itself has neither gyrators nor terminals."""
    model = EquilibriumTransformer(2, 4, 1, 4, 3, 1.0)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0)).items()}
    phases = ModelPhases(model, weights)
    assert not {Phase.GYRATOR_PLUS, Phase.CLAMPED} & phases.supported
    x = {"token": np.zeros((1, 2, 5)), "target": np.ones((1, 2, 3)) / 3, "weight": np.ones((1, 2)) / 2}
    with pytest.raises(NetlistError, match="flipped gyrators: ModelSystem is no circuit"):
        phases.run(x, weights, frozenset({Phase.GYRATOR_PLUS}), BETA)
    with pytest.raises(NetlistError, match="clamps outputs to targets, which a Quadratic loss has"):
        phases.run(x, weights, frozenset({Phase.CLAMPED}), BETA)
    with pytest.raises(NetlistError, match="local gradients: ModelSystem is no circuit"):
        _ = Estimators(phases).available
