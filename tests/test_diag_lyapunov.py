"""Lyapunov spectra: linear systems, the mean divergence, and the published exponents of the Lorenz system."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from analogep import diagnostics as dx
from analogep.errors import ConvergenceError
from analogep.netlist.graph import Bus
from analogep.simulate.system import System
from analogep.units import Scale


class Flow(System):
    """dv/dt = f(v) over unit capacitors, dimensionless."""

    def __init__(self, f, n, scale=None):
        self.f, self.states, self.theta = f, {"v": Bus((n,))}, {}
        self.scale = scale or Scale()
        self.capacitance = {"v": np.full(n, self.scale.farads)}

    def current(self, v, x, theta, t=0.0, sources=None):
        return {"v": -self.scale.amperes * self.f(v["v"] / self.scale.volts)}

    def voltages(self, v, x, theta, t=0.0, sources=None):
        return dict(v)


def lorenz(v):
    x, y, z = v
    return jnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


@cache
def attractor(horizon):
    return dx.lyapunov_spectrum(Flow(lorenz, 3), {"v": np.array([1.0, 1.0, 20.0])}, {}, {}, horizon)


def test_a_linear_system_has_the_real_parts_of_its_eigenvalues():
    """A spiral, a slow direction and one that shrinks by e^-40 a tau, in oblique coordinates."""
    rng = np.random.default_rng(3)
    blocks = np.zeros((4, 4))
    blocks[:2, :2] = [[-0.3, 2.0], [-2.0, -0.3]]
    blocks[2, 2], blocks[3, 3] = -1.1, -40.0
    T = np.eye(4) + 0.3 * rng.standard_normal((4, 4))
    J = T @ blocks @ np.linalg.inv(T)
    system = Flow(lambda v: jnp.asarray(J) @ v, 4, Scale(0.1, 1e-5, 1e-14))
    found = dx.lyapunov_spectrum(system, {"v": 0.1 * np.ones(4)}, {}, {}, 400.0)
    real = np.sort(np.linalg.eigvals(J).real)[::-1]
    # over a whole number of turns a spiral's two exponents are equal; a part of a turn is left over
    np.testing.assert_allclose(found.exponents, real, atol=5e-3)
    assert found.exponents.sum() == pytest.approx(np.trace(J), rel=1e-6)
    assert np.all(found.error < 2e-2)
    assert found.running.shape == (len(found.times), 4)
    np.testing.assert_array_equal(found.running[-1], found.exponents)
    leading = dx.finite_time_lyapunov(system, {"v": 0.1 * np.ones(4)}, {}, {}, 400.0)
    assert leading == pytest.approx(found.exponents[0], abs=5e-3)


def test_exponents_add_up_to_the_mean_divergence():
    """A forced nonlinear flow; its divergence averaged along the same path by another integrator."""

    def f(v, xp=jnp):
        x, y, z = v
        return xp.stack([y - 0.4 * x**3, -x - 0.2 * y + 0.3 * z**2, -0.5 * z + 0.1 * xp.sin(x)])

    start, horizon = np.array([1.5, -0.5, 0.8]), 30.0
    found = dx.lyapunov_spectrum(Flow(f, 3), {"v": start}, {}, {}, horizon, align=0.0)

    def extended(_, w):
        return [*f(w[:3], np), -1.2 * w[0] ** 2 - 0.2 - 0.5]

    path = solve_ivp(extended, (0, horizon), [*start, 0.0], rtol=1e-10, atol=1e-12)
    assert found.exponents.sum() == pytest.approx(path.y[3, -1] / horizon, abs=1e-6)
    assert np.all(np.diff(found.exponents) <= 0)


def test_fewer_vectors_find_the_leading_exponents():
    rates = np.array([-0.2, -0.7, -1.5])
    system = Flow(lambda v: jnp.asarray(rates) * v, 3)
    found = dx.lyapunov_spectrum(system, {"v": np.ones(3)}, {}, {}, 60.0, vectors=2)
    np.testing.assert_allclose(found.exponents, rates[:2], atol=1e-3)


def test_lorenz():
    """Sprott 2003, "Chaos and Time-Series Analysis": 0.9056, 0, -14.5723 for sigma = 10, r = 28, b = 8/3."""
    found = attractor(2000.0)
    np.testing.assert_allclose(found.exponents, [0.9056, 0.0, -14.5723], atol=1e-2)
    assert found.exponents.sum() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-5)
    assert np.all(found.error < 2e-2)
    assert found.error[0] > 1e-5  # chaos: a finite run is never exact


@pytest.mark.slow
def test_lorenz_in_a_long_run():
    found = attractor(40_000.0)
    np.testing.assert_allclose(found.exponents, [0.9056, 0.0, -14.5723], atol=2e-3)
    assert abs(found.exponents[1]) < 5e-4


def test_what_runs_away_is_an_error():
    with pytest.raises(ConvergenceError, match="runs away or is stiff"):
        dx.lyapunov_spectrum(Flow(lambda v: v**2, 1), {"v": np.ones(1)}, {}, {}, 10.0)
