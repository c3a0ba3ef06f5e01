"""Stabilizers against dense numpy: the bounds that they promise, the slopes that they state, and their circuits."""

import sys
from functools import cache

import jax
import numpy as np
import pytest
import scipy.linalg
import xarray as xr
from dense_circuits import SCALE
from small_networks import network as general_network

from analogep.compile.recurrent import RECURRENT, STATE, compile_recurrent
from analogep.diagnostics.lognorm import log_norm
from analogep.diagnostics.passivity import passivity
from analogep.ep.estimators import Estimators
from analogep.errors import DataError, NetlistError
from analogep.learning.cost import Quadratic
from analogep.learning.guard import reverse_mode_uses
from analogep.learning.rule import Phase
from analogep.learning.system_phases import SystemPhases
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import Summer
from analogep.netlist.graph import Bus
from analogep.simulate.circuit import Circuit
from analogep.simulate.reference import check_transient
from analogep.simulate.settle import SettleOptions, settle
from analogep.study import load
from analogep.training.stabilizers import (
    Monotone,
    abscissa,
    abscissa_gradient,
    abscissa_slope,
    asymmetry_penalty,
    log_norm_penalty,
    monotone_gradient,
    monotone_start,
    monotone_weights,
    normalize,
    normalize_product,
    passive_conductance,
    passive_network,
    project_abscissa,
    row_damping,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
RNG = np.random.default_rng(0)
SIZE, MARGIN = 7, 0.2
SLOPES = [*RNG.uniform(0, 1, (12, SIZE)), np.ones(SIZE), np.zeros(SIZE), *np.eye(SIZE)[:3]]
"""Slopes of tanh: random ones, and corners of [0, 1]^n."""


def weights(seed=1, gain=3.0):
    return gain * np.random.default_rng(seed).normal(size=(SIZE, SIZE)) / np.sqrt(SIZE)


def jacobian(w, slopes, leak=1.0):
    return w @ np.diag(slopes) - np.diag(np.broadcast_to(leak, len(w)))


def alpha(j):
    return np.linalg.eigvals(j).real.max()


def omega(j):
    return np.linalg.eigvalsh((j + j.T) / 2).max()


def difference(f, w, step=1e-6):
    """Central differences of a scalar in every weight."""
    out = np.zeros_like(w)
    for at in np.ndindex(w.shape):
        d = np.zeros_like(w)
        d[at] = step
        out[at] = (f(w + d) - f(w - d)) / (2 * step)
    return out


def monotone(seed=2, skew=20.0):
    rng = np.random.default_rng(seed)
    return Monotone(rng.normal(size=(SIZE, SIZE)), skew * rng.normal(size=(SIZE, SIZE)))


# What holds by construction


@pytest.mark.parametrize("skew", [0.0, 1.0, 100.0])
def test_monotone_weights_contract_at_every_slope(skew):
    w = np.asarray(monotone_weights(monotone(skew=skew), MARGIN))
    assert np.linalg.eigvalsh((w + w.T) / 2).max() <= 1 - MARGIN + 1e-12
    for d in SLOPES:
        j = jacobian(w, d)
        assert alpha(j) <= -MARGIN + 1e-9
        if d.min() > 0:
            assert log_norm(j, d) <= -MARGIN + 1e-9
            for t in (0.1, 1.0, 10.0):
                assert np.linalg.norm(scipy.linalg.expm(t * j), 2) <= np.sqrt(d.max() / d.min()) * (1 + 1e-9)
    if skew > 1:  # stable, and not passive: growth is bounded by the metric only
        assert max(omega(jacobian(w, d)) for d in SLOPES[:12]) > 1


def test_monotone_start_is_the_nearest_and_leaves_monotone_weights_alone():
    w = weights()
    near = np.asarray(monotone_weights(monotone_start(w, MARGIN), MARGIN))
    s = (w + w.T) / 2
    values, vectors = np.linalg.eigh(s)
    assert values.max() > 1 - MARGIN
    np.testing.assert_allclose(near, w - s + vectors * np.minimum(values, 1 - MARGIN) @ vectors.T, atol=1e-12)
    again = np.asarray(monotone_weights(monotone_start(near, MARGIN), MARGIN))
    np.testing.assert_allclose(again, near, atol=1e-7)  # the root of a rounding error
    for other in (monotone(seed) for seed in range(3)):
        assert np.linalg.norm(w - near) <= np.linalg.norm(w - np.asarray(monotone_weights(other, MARGIN)))


def test_monotone_gradient_is_the_chain_rule():
    at, target = monotone(skew=1.0), weights(5)

    def loss(p, q):
        return ((np.asarray(monotone_weights(Monotone(p, q), MARGIN)) - target) ** 2).sum() / 2

    found = monotone_gradient(at, np.asarray(monotone_weights(at, MARGIN)) - target)
    np.testing.assert_allclose(
        found.dampers, difference(lambda p: loss(p, at.gyrators), at.dampers), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        found.gyrators, difference(lambda q: loss(at.dampers, q), at.gyrators), rtol=1e-6, atol=1e-6
    )


def test_normalized_weights_are_dissipative_at_every_slope():
    w = weights()
    small = np.asarray(normalize(w, leak=1.5, margin=MARGIN))
    np.testing.assert_allclose(np.linalg.norm(small, 2), 1.5 - MARGIN)
    np.testing.assert_allclose(small / small[0, 0], w / w[0, 0])
    assert max(omega(jacobian(small, d, 1.5)) for d in SLOPES) <= -MARGIN + 1e-12
    np.testing.assert_array_equal(normalize(0.1 * w), 0.1 * w)
    value, output = weights(3), weights(4)
    v, o = normalize_product(value, output, gain=0.5)
    np.testing.assert_allclose(np.linalg.norm(np.asarray(o @ v), 2), 0.5)
    np.testing.assert_allclose(v / value, o / output)
    np.testing.assert_array_equal(normalize_product(0.01 * value, output, gain=0.5)[0], 0.01 * value)


def test_row_damping_moves_every_disc_left_of_the_margin():
    w = weights()
    leak = np.asarray(row_damping(w, margin=MARGIN))
    assert max(alpha(jacobian(w, d, leak)) for d in SLOPES) <= -MARGIN
    for d in SLOPES:  # contraction in the largest norm: its logarithmic norm
        j = jacobian(w, d, leak)
        assert (np.diag(j) + np.abs(j - np.diag(np.diag(j))).sum(1)).max() <= -MARGIN + 1e-12
    np.testing.assert_array_equal(row_damping(0.01 * w, margin=MARGIN), np.ones(SIZE))


# Slopes of penalties and of alpha


def test_log_norm_penalty_and_its_slope():
    w, d = weights(), SLOPES[0]
    value, slope = log_norm_penalty(w, d, leak=1.5, margin=MARGIN)
    np.testing.assert_allclose(value, (omega(jacobian(w, d, 1.5)) + MARGIN) ** 2 / 2)
    expected = difference(lambda at: float(log_norm_penalty(at, d, leak=1.5, margin=MARGIN)[0]), w)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-8)
    value, slope = log_norm_penalty(0.01 * w, d)
    assert float(value) == 0.0
    assert not np.any(slope)
    for bad in (np.nan, np.inf):
        assert np.isnan(log_norm_penalty(np.full_like(w, bad), d)[1]).all()


def test_asymmetry_penalty_its_slope_and_its_mean():
    w, d, u = weights(), SLOPES[0], RNG.normal(size=SIZE)
    value, slope = asymmetry_penalty(w, d, u)
    j = jacobian(w, d)
    np.testing.assert_allclose(value, np.sum(((j - j.T) @ u) ** 2) / 2)
    expected = difference(lambda at: float(asymmetry_penalty(at, d, u)[0]), w)
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)
    probes = np.sqrt(SIZE) * np.linalg.qr(RNG.normal(size=(SIZE, SIZE)))[0]  # unit covariance without drawing many
    values = [float(asymmetry_penalty(w, d, probe)[0]) for probe in probes]
    np.testing.assert_allclose(np.mean(values), np.linalg.norm(j - j.T) ** 2 / 2)
    for _ in range(300):
        w = w - 0.01 * np.mean([asymmetry_penalty(w, d, probe)[1] for probe in probes], 0)
    j = jacobian(w, d)
    assert np.linalg.norm(j - j.T) < 0.2 * np.linalg.norm(jacobian(weights(), d) - jacobian(weights(), d).T)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_slope_of_the_abscissa(seed):
    w, d = weights(seed), SLOPES[seed]
    value, slope = abscissa_gradient(w, d, leak=1.5)
    np.testing.assert_allclose(value, alpha(jacobian(w, d, 1.5)))
    np.testing.assert_allclose(slope, difference(lambda at: alpha(jacobian(at, d, 1.5)), w), rtol=1e-5, atol=1e-7)


@cache
def parasitic():
    """A circuit with cells' poles, far from rest on purpose: the slope is of the matrix at any state."""
    rng = np.random.default_rng(4)
    netlist = compile_recurrent(1.5 * rng.normal(size=(4, 4)), np.zeros(4), level="parasitic", scale=SCALE)
    v = {"z": 0.05 * rng.normal(size=4), "hidden": 0.05 * rng.normal(size=4)}
    return Circuit(netlist, SCALE), v


def test_slope_of_the_abscissa_of_a_circuit_is_a_product_of_two_modes():
    circuit, v = parasitic()
    theta = {RECURRENT: np.asarray(circuit.theta[RECURRENT])}

    def of(conductance):
        g = np.asarray(circuit.conductance(v, {}, {RECURRENT: conductance}))
        return alpha(-g / circuit.capacitances[:, None])

    value, slopes = abscissa_slope(circuit, v, {}, theta)
    np.testing.assert_allclose(value, of(theta[RECURRENT]))
    expected = difference(of, theta[RECURRENT], step=1e-6 * SCALE.siemens)
    np.testing.assert_allclose(slopes[RECURRENT], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_slope_of_the_abscissa_names_driven_nodes():
    netlist = compile_recurrent(np.eye(2), np.zeros(2), scale=SCALE)
    circuit = Circuit(netlist, SCALE)
    value, slopes = abscissa_slope(circuit, circuit.zeros(), {}, circuit.theta)
    np.testing.assert_allclose(value, 0.0, atol=1e-3 / SCALE.seconds)  # -1 + 1: states are pushed, cells are driven
    assert slopes[RECURRENT].shape == (2, 2)
    driven = netlist.add(
        Crossbar("out", STATE, "y", "out"), Summer("y.sum", "y", SCALE.siemens),
        buses={"y": Bus((2,))}, arrays={"out": np.eye(2)},
    )  # fmt: skip
    circuit = Circuit(driven, SCALE)
    with pytest.raises(NetlistError, match=r"array 'out' pushes into 'y', which is no state"):
        abscissa_slope(circuit, circuit.zeros(), {}, circuit.theta)


@pytest.mark.parametrize(
    "program",
    [
        lambda w: log_norm_penalty(w, SLOPES[0])[1],
        lambda w: asymmetry_penalty(w, SLOPES[0], SLOPES[1])[1],
        lambda w: abscissa_gradient(w, SLOPES[0])[1],
        lambda w: project_abscissa(w, SLOPES[0]).weights,
        lambda w: monotone_gradient(monotone_start(w), w),
    ],
)
def test_nothing_is_differentiated_backward(program):
    assert not reverse_mode_uses(program, weights())


# Projection


@pytest.mark.parametrize("states", [1, 4])
def test_projection_lands_on_the_boundary_and_stays(states):
    w, slopes = weights(), np.stack(SLOPES[:states])
    assert alpha(jacobian(w, slopes[0])) > 0
    done = project_abscissa(w, slopes, margin=MARGIN)
    after = max(alpha(jacobian(np.asarray(done.weights), d)) for d in slopes)
    np.testing.assert_allclose(after, done.abscissa, atol=1e-12)
    assert -MARGIN - 2e-3 <= after <= -MARGIN + 1e-6  # the last step may go a little farther
    assert not done.shrunk
    again = project_abscissa(done.weights, slopes, margin=MARGIN)
    np.testing.assert_array_equal(again.weights, done.weights)
    assert int(again.steps) == 0
    moved = np.linalg.norm(np.asarray(done.weights) - w)
    factors = np.linspace(0, 1, 2001)
    scaled = max(f for f in factors if max(alpha(jacobian(f * w, d)) for d in slopes) <= -MARGIN)
    assert moved < 0.7 * (1 - scaled) * np.linalg.norm(w)  # scaling down all weights goes farther


def test_a_small_projection_is_the_shortest_move():
    w, d = weights(), SLOPES[0]
    leak = 3.0 + alpha(jacobian(w, d))  # alpha = -2
    margin = 1e-3 - alpha(jacobian(w, d, leak))
    slope = difference(lambda at: alpha(jacobian(at, d, leak)), w)
    done = project_abscissa(w, d, leak=leak, margin=margin, tolerance=1e-10)
    np.testing.assert_allclose(np.asarray(done.weights) - w, -1e-3 * slope / np.sum(slope**2), atol=2e-5)


def test_projection_scales_down_where_eigenvectors_do_not_lead():
    w = np.diag(np.full(SIZE - 1, 5.0), 1) + 2 * np.eye(SIZE)  # a Jordan block: no left vector meets its right one
    done = project_abscissa(w, np.ones(SIZE), margin=MARGIN, steps=3)
    assert done.shrunk
    np.testing.assert_allclose(done.weights, (1 - MARGIN) / 2 * w, rtol=1e-6)
    assert float(done.abscissa) <= -MARGIN
    stopped = project_abscissa(weights(), np.stack(SLOPES[:4]), margin=MARGIN, steps=0)
    assert stopped.shrunk
    assert float(abscissa(stopped.weights, np.stack(SLOPES[:4])).max()) <= -MARGIN


def test_projection_of_a_batch_and_bad_input():
    batch = np.stack([weights(k) for k in range(3)])
    slopes = np.stack(SLOPES[:6]).reshape(3, 2, SIZE)
    done = jax.vmap(lambda w, d: project_abscissa(w, d, margin=MARGIN).weights)(batch, slopes)
    for k in range(3):
        np.testing.assert_allclose(done[k], project_abscissa(batch[k], slopes[k], margin=MARGIN).weights, atol=1e-9)
    with pytest.raises(DataError, match="needs a larger leak than 1"):
        project_abscissa(batch[0], slopes[0], margin=1.0)
    with pytest.raises(DataError, match="need slopes"):
        project_abscissa(batch[0], np.ones(3))


# The passive circuit


@cache
def passive(epsilon=0.1):
    """A circuit of four nodes at rest: states h, W, netlist, circuit."""
    rng = np.random.default_rng(6)
    at = Monotone(rng.normal(size=(2, 4)), 3.0 * rng.normal(size=(4, 4)))
    w, h = np.asarray(monotone_weights(at, MARGIN)), rng.uniform(-0.6, 0.6, 4)
    drive = np.arctanh(h) - w @ h
    netlist = passive_network(at, drive, margin=MARGIN, epsilon=epsilon, scale=SCALE)
    return at, h, w, drive, Circuit(netlist, SCALE)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 10.0])
def test_the_passive_circuit_is_passive_with_its_poles(epsilon):
    at, h, w, _, circuit = passive(epsilon)
    np.testing.assert_allclose(passive_conductance(at, MARGIN), np.eye(4) - w)
    v = {f"h{k}": h[k] * SCALE.volts for k in range(4)}
    v |= {f"w{k}": (at.dampers @ h)[k] * SCALE.volts for k in range(2)}
    current = circuit.current(v, {}, {})
    np.testing.assert_allclose(list(current.values()), 0, atol=1e-12 * SCALE.amperes)  # the same state at rest
    found = passivity(circuit, v, {}, {})
    assert found.passive
    assert not found.reciprocal
    assert len(found.gyrators) == 6 + 2 * 4
    assert found.dissipation * SCALE.seconds >= min(MARGIN, 1 / epsilon) * (1 - 1e-9)
    g = np.asarray(circuit.conductance(v, {}, {})) / SCALE.siemens
    inner = g[:4, :4] - g[:4, 4:] @ np.linalg.solve(g[4:, 4:], g[4:, :4])
    np.testing.assert_allclose(inner, np.diag(1 / (1 - h**2)) - w, atol=1e-9)


def test_it_settles_where_the_monotone_network_does():
    _, h, w, drive, circuit = passive()
    done = settle(circuit, {}, {})
    assert bool(done.converged)
    found = np.array([float(done.v[f"h{k}"]) for k in range(4)]) / SCALE.volts
    np.testing.assert_allclose(found, h, atol=1e-8)
    z = np.zeros(4)
    for _ in range(4000):
        z = z + 0.02 * (-z + w @ np.tanh(z) + drive)
    np.testing.assert_allclose(np.tanh(z), h, atol=1e-8)


@pytest.mark.spice
def test_it_rings_in_ngspice_as_here():
    _, h, _, _, circuit = passive()
    seen = check_transient(circuit, {}, {}, horizon=20.0, points=300, step=0.002)
    assert seen.agreement.error < 1e-4
    away = seen.theirs[:, seen.names.index("h0")] / SCALE.volts - h[0]
    large = away[np.abs(away) > 1e-3 * np.abs(away).max()]
    assert np.sum(large[1:] * large[:-1] < 0) >= 3


# Study q5


@cache
def q5():
    """The study, and the module of its networks."""
    study = load("q5")
    return study, sys.modules[study.parts["training"].measure.__module__]


@cache
def task():
    """Weights [8, 8], drive [8] and target of a network of the study, and z at rest."""
    study, networks = q5()
    config = study.full.changed(["nodes=8", "networks=1", "patterns=1", "gain=0.8", "outputs=3"])
    w, drives, targets = (part[0] for part in networks.tasks(config, 3))
    return w, drives[0], targets[0], rest(w, drives[0])


def rest(w, drive):
    z = np.zeros(len(drive))
    for _ in range(100):
        z = z + np.linalg.solve(-jacobian(w, 1 - np.tanh(z) ** 2), -z + w @ np.tanh(z) + drive)
    np.testing.assert_allclose(-z + w @ np.tanh(z) + drive, 0, atol=1e-12)
    return z


def test_the_study_descends_its_loss():
    networks = q5()[1]
    w, drive, target, z = task()
    loss, slope = networks.loss_and_gradient(z[None], w, np.ones(8), target[None])

    def of(at):
        return ((np.tanh(rest(at, drive))[:3] - target) ** 2).sum() / 2

    np.testing.assert_allclose(loss, of(w))
    np.testing.assert_allclose(slope, difference(of, w), rtol=1e-5, atol=1e-8)


def test_the_study_learns_by_the_twin():
    networks = q5()[1]
    w, drive, target, z = task()
    slope = np.asarray(networks.loss_and_gradient(z[None], w, np.ones(8), target[None])[1])
    outputs = np.arange(8) < 3
    cost = Quadratic("hidden", np.pad(target, (0, 5)), outputs.astype(float), SCALE)
    phases = SystemPhases(general_network("parasitic").system, cost, SettleOptions(rtol=1e-9))
    theta = {RECURRENT: w * SCALE.siemens, "bias": np.eye(8) * SCALE.siemens}
    estimators = Estimators(phases)
    runs = estimators.run(("twin",), {"x": drive[None] * SCALE.volts}, theta, 1e-3)
    found = estimators.gradient("twin", runs, 1e-3)
    assert bool(found.converged)
    np.testing.assert_allclose(np.asarray(runs[Phase.FREE].voltages[STATE][0]) / SCALE.volts, z, atol=1e-9)
    scale = np.abs(slope).max()
    np.testing.assert_allclose(found.gradient[RECURRENT] * SCALE.siemens, slope, atol=1e-8 * scale)


def test_projection_in_training_keeps_states_that_decay():
    """The study's projection where free weights lose their state at rest: it is kept at every update."""
    study, networks = q5()
    config = study.quick.changed(["networks=6", "updates=30", "rate=1.0", "gain=2.5"])
    free, held = (networks.measure_training(config, 1, row) for row in ("none", "projection"))
    assert int(free.diverged.sum()) >= 1
    assert int(held.diverged.sum()) == 0
    assert float(held.alpha.max()) < 0


def test_diverged_counts_each_kind():
    study, networks = q5()
    z = np.zeros((1, 8))
    unstable = networks.panel(2 * np.eye(8), np.ones(8), z, passive=False)
    assert unstable["alpha"] == 1.0
    assert unstable["growth"] == np.inf
    broken = networks.panel(np.full((8, 8), np.nan), np.ones(8), z, passive=True)
    assert np.isnan(broken["alpha"])
    costs = sys.modules[study.verdict.__module__].cost
    losses = xr.DataArray([[[2.0, 8.0, 9.0]], [[3.0, 8.0, 1.0]]], dims=("stabilizer", "update", "network"))
    data = xr.Dataset(
        {"loss": losses, "diverged": (("stabilizer", "network"), [[0, 0, 1], [0, 0, 0]])},
        {"stabilizer": ["none", "monotone"]},
    )
    expected = {name: pytest.approx(value) for name, value in (("mean", 0.1), ("median", 0.25), ("worse", 0.25))}
    assert costs(data, "monotone") == expected
