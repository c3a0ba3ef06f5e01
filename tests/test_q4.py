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
