"""Study q4 against plain numpy: its networks are as it says, and its two targets are the gradients that it says."""

import sys
from functools import cache

import numpy as np
import pytest

from analogep.study import load

pytestmark = pytest.mark.usefixtures("quick_compilation")


@cache
def q4():
    """The study, and the module of its networks."""
    study = load("q4")
    package = sys.modules[study.parts["network"].measure.__module__]
    return study, package


@cache
def helper(part):
    """The module that measures a part of the study."""
    return sys.modules[q4()[0].parts[part].measure.__module__]


def euler_of(weights, drive, steps, dt):
    """States [steps, n] of the free phase from 0 in plain numpy, by Euler's steps."""
    z, path = np.zeros(len(drive)), []
    for _ in range(steps):
        z = z + dt * (drive - z + weights @ np.tanh(z))
        path.append(z)
    return np.array(path)


def rest_of(weights, drive, steps, dt):
    """Free phase from 0 in plain numpy, by Runge and Kutta's four stages."""
    z = np.zeros(len(drive))
    for _ in range(steps):
        a = -z + weights @ np.tanh(z) + drive
        u = z + dt / 2 * a
        b = -u + weights @ np.tanh(u) + drive
        u = z + dt / 2 * b
        c = -u + weights @ np.tanh(u) + drive
        u = z + dt * c
        z = z + dt / 6 * (a + 2 * b + 2 * c + -u + weights @ np.tanh(u) + drive)
    return z


@pytest.mark.parametrize(("rho", "margin"), [(0.0, 0.05), (1.0, 0.5), (3.0, 0.05)])
def test_networks_have_the_rho_and_margin_that_they_are_called_by(rho, margin):
    study, networks = q4()
    weights, drive, rest, _ = networks.network(study.full, 0, rho, margin, networks.settling_draw(study.full, 0))
    np.testing.assert_allclose(-rest + weights @ np.tanh(rest) + drive, 0, atol=1e-13)
    conductance = np.eye(len(rest)) - weights * (1 - np.tanh(rest) ** 2)
    s, a = (conductance + conductance.T) / 2, (conductance - conductance.T) / 2
    assert np.linalg.eigvalsh(s).min() == pytest.approx(margin, rel=1e-9)
    assert np.abs(np.linalg.eigvals(np.linalg.solve(s, a))).max() == pytest.approx(rho, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(rest_of(weights, drive, 3000, 0.1), rest, atol=1e-3)


def test_the_finite_time_target_is_the_gradient_of_the_loss_at_that_time():
    """Finite differences of a plain simulation, against the influence matrix that the study contracts."""
    study, networks = q4()
    weights, drive, _, target = networks.network(study.full, 0, 1.0, 0.5, networks.settling_draw(study.full, 0))
    free, _ = networks.programs(60, 0.1)
    states, influence, _ = (np.asarray(part) for part in free(weights, drive))
    for stop in (9, 59):
        found = np.tensordot(-np.asarray(networks.push(states[stop], target)), influence[stop], 1)

        def loss(shift, stop=stop):
            return ((rest_of(weights + shift, drive, stop + 1, 0.1) - target)[:2] ** 2).sum() / 2

        for entry in ((0, 0), (1, 5), (6, 2)):
            step = np.zeros_like(weights)
            step[entry] = 1e-5
            assert found[entry] == pytest.approx((loss(step) - loss(-step)) / 2e-5, rel=1e-6, abs=1e-9)


def test_the_local_rule_has_the_implicit_gradient_from_the_right_lambda():
    """Against finite differences of the loss at rest."""
    study, networks = q4()
    weights, drive, rest, target = networks.network(study.full, 0, 1.0, 0.5, networks.settling_draw(study.full, 0))
    conductance = np.eye(len(rest)) - weights * (1 - np.tanh(rest) ** 2)
    lam = np.linalg.solve(conductance.T, np.asarray(networks.push(rest, target)))
    found = np.asarray(networks.local(lam, rest))

    def loss(shift):
        return ((rest_of(weights + shift, drive, 800, 0.1) - target)[:2] ** 2).sum() / 2

    for entry in ((0, 0), (4, 1)):
        step = np.zeros_like(weights)
        step[entry] = 1e-5
        assert found[entry] == pytest.approx((loss(step) - loss(-step)) / 2e-5, rel=1e-6)


def test_what_is_carried_along_is_the_gradient_at_that_time():
    """RTRL on the circuit with its drive on a rail, and the study's own target, against finite differences."""
    study, networks = q4()
    online = helper("online")
    weights, drive, _, target = networks.network(study.full, 0, 1.0, 0.5, networks.settling_draw(study.full, 0))
    states, _, influence = (np.asarray(part) for part in online.programs(8, 40)[0](weights, drive))
    np.testing.assert_allclose(states, euler_of(weights, drive, 40, online.STEP), atol=1e-12)
    own = online.finite_gradients(states[-1:], influence[-1:], target)[0]
    carried = np.asarray(online.carried("rtrl", online.task_of(weights, drive, target), None, 40, online.STEP))
    np.testing.assert_allclose(carried, own, rtol=1e-10, atol=1e-14)

    def loss(shift):
        return ((euler_of(weights + shift, drive, 40, online.STEP)[-1] - target)[:2] ** 2).sum() / 2

    for entry in ((0, 0), (1, 5), (6, 2)):
        step = np.zeros_like(weights)
        step[entry] = 1e-5
        assert own[entry] == pytest.approx((loss(step) - loss(-step)) / 2e-5, rel=1e-6, abs=1e-9)


def test_nudges_of_k_steps_at_rest_have_their_closed_form():
    """(1 - (1 - dt G^T)^K) lambda, in plain numpy, times tanh(z)."""
    study, networks = q4()
    online = helper("online")
    weights, drive, rest, target = networks.network(study.full, 0, 1.0, 0.5, networks.settling_draw(study.full, 0))
    found = np.asarray(online.short_nudge(online.task_of(weights, drive, target), rest, 30, online.STEP))
    g = np.eye(8) - weights * (1 - np.tanh(rest) ** 2)
    lam = np.linalg.solve(g.T, np.where(np.arange(8) < 2, target - rest, 0.0))
    for k in (1, 10, 30):
        left = np.linalg.matrix_power(np.eye(8) - online.STEP * g.T, k)
        np.testing.assert_allclose(found[k - 1], -np.outer(lam - left @ lam, np.tanh(rest)), rtol=1e-4, atol=1e-6)


def test_weights_that_never_wait_lag_by_one_over_their_time():
    config = q4()[0].full.changed(["drift_times=[20.0, 40.0]"])
    errors = helper("drift").measure_drift(config, 0, rho=1.0, margin=0.5).error.values
    assert errors[0] < 0.2
    assert 1.7 < errors[0] / errors[1] < 2.3


def test_networks_past_the_hopf_point_cycle():
    """The pair that has crossed the axis, and a plain simulation that comes back after a period and never rests."""
    module = helper("cycle")
    for seed in (0, 3):
        weights, drive, rest, _, period = module.oscillator(8, seed)
        np.testing.assert_allclose(drive - rest + weights @ np.tanh(rest), 0, atol=1e-12)
        growth = np.linalg.eigvals(weights * (1 - np.tanh(rest) ** 2) - np.eye(8))
        first = growth[np.argmax(growth.real)]
        assert first.real > 0.1
        assert abs(first.imag) > 0.5
        z = euler_of(weights, drive, 2400, 0.05)[1200:]
        back = round(float(period) / 0.05)
        swing = np.ptp(z, axis=0).max()
        assert np.abs(z[back:] - z[:-back]).max() < 0.25 * swing
        residual = np.linalg.norm(drive - z + np.tanh(z) @ weights.T, axis=1) / np.linalg.norm(z, axis=1)
        assert residual.min() > 0.1


def test_a_reservoirs_readout_learns_by_error_times_state():
    """Against gradient descent on R alone in plain numpy."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(8, 8)) / np.sqrt(8)
    drives, targets = rng.normal(size=(6, 8)), rng.uniform(-1, 1, size=(6, 8))[:, :2]
    z, r, losses = np.array([rest_of(weights, drive, 10, 0.1) for drive in drives]), np.eye(2, 8), []
    for _ in range(6):
        error = z @ r.T - targets
        losses.append((error**2).sum(1).mean() / 2)
        r = r - 0.2 / 6 * sum(np.outer(e, at) for e, at in zip(error, z, strict=True))
    train = helper("training").trainer(8, steps=10, updates=5, rate=0.2, dt=0.1)
    found, _ = train(weights, drives, np.hstack([targets, np.zeros((6, 6))]), 0, "reservoir")
    np.testing.assert_allclose(found, losses, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["free", "energy"])
def test_blocks_agree_when_settled(attention):
    study, _ = q4()
    config = study.full.changed(["block_residuals=[1e-6]"])
    data = study.parts["block"].measure(config, 0, attention=attention).sel(residual=1e-6, beta=1e-3)
    assert float(data.gap) < 1e-3
    for row in ("asym_ep", "twin"):
        assert float(data.error.sel(row=row, target="implicit")) < 1e-3
    plain = float(data.error.sel(row="vector_field_ep", target="implicit"))
    assert plain < 1e-3 if attention == "energy" else plain > 0.1
