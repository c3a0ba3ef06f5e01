"""Hamiltonian echo against plain jax.grad through the same steps: lossless, damped, and with gain on the way back."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogep.ep.echo import hamiltonian_echo
from analogep.errors import SpecError
from analogep.learning.cost import Quadratic
from analogep.learning.guard import reverse_mode_uses
from analogep.models.hamiltonian import Oscillators
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

N, DT, TIME, X = 4, 0.1, 10.0, 0.2
STEPS = int(TIME / DT)
START = tuple(jnp.asarray(part) for part in np.random.default_rng(0).normal(size=(2, N)))
COST = Quadratic("q", jnp.array([0.5, -0.5, 0.0, 0.0]), jnp.array([1.0, 1.0, 0.0, 0.0]), Scale())
WEIGHTS = Oscillators(N).init(jax.random.key(0))


def run(theta, damping, steps=STEPS, dt=DT, start=START):
    """The steps written out: half a damping, kick, drift, kick, half a damping."""
    k, shrink = (theta["coupling"] + theta["coupling"].T) / 2, np.exp(-damping * dt / 2)

    def step(state, _):
        q, p = state
        p = shrink * p + dt / 2 * (X - k @ q - theta["cubic"] * q**3)
        q = q + dt * p
        return (q, shrink * (p + dt / 2 * (X - k @ q - theta["cubic"] * q**3))), None

    return jax.lax.scan(step, start, length=steps)[0]


@cache
def backpropagated(damping, steps=STEPS, dt=DT):
    def loss(theta):
        q = run(theta, damping, steps, dt)[0]
        return jnp.sum((q[:2] - jnp.array([0.5, -0.5])) ** 2) / 2

    return jax.jit(jax.value_and_grad(loss))(WEIGHTS)


def vector(gradient):
    return np.concatenate([np.ravel(gradient[name]) for name in sorted(gradient)])


def echo(damping, beta=1e-3, steps=STEPS, dt=DT, active=False):
    network = Oscillators(N, damping)
    return hamiltonian_echo(network, COST, START, WEIGHTS, x=X, steps=steps, dt=dt, beta=beta, active=active)


def error(found, reference):
    return float(np.linalg.norm(vector(found) - vector(reference)) / np.linalg.norm(vector(reference)))


def cosine(found, reference):
    a, b = vector(found), vector(reference)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# The network


def test_forces_and_slopes_are_derivatives_of_the_potential():
    network, q = Oscillators(N), START[0]
    drive = jnp.full(N, X)
    np.testing.assert_allclose(
        network.force(q, WEIGHTS, drive), -jax.jacfwd(network.potential)(q, WEIGHTS, drive), rtol=1e-13
    )
    slopes = jax.jacfwd(lambda theta: network.potential(q, theta, drive))(WEIGHTS)
    for name, slope in network.slopes(q).items():
        np.testing.assert_allclose(slope, slopes[name], rtol=1e-13)


def test_steps_keep_the_energy_and_can_be_undone():
    network, drive = Oscillators(N), jnp.full(N, X)
    begin = float(network.energy(*START, WEIGHTS, drive))
    drift = []
    for dt in (0.1, 0.05):
        q, p = run(WEIGHTS, 0.0, int(TIME / dt), dt)
        drift.append(abs(float(network.energy(q, p, WEIGHTS, drive)) - begin))
    assert drift[0] < 1e-2 * begin
    assert 3 < drift[0] / drift[1] < 5  # second order

    @jax.jit
    def steps(q, p):
        return jax.lax.fori_loop(0, STEPS, lambda _, state: network.step(*state, WEIGHTS, drive, DT), (q, p))

    q, p = steps(*START)
    np.testing.assert_allclose(q, run(WEIGHTS, 0.0)[0], rtol=1e-12)
    q, p = steps(q, -p)
    np.testing.assert_allclose(q, START[0], atol=1e-11)
    np.testing.assert_allclose(-p, START[1], atol=1e-11)


def test_a_damped_oscillator_decays_as_it_should():
    """One linear oscillator: q = exp(-gamma t / 2) cos(w t) + ..., to the second order of the step."""
    gamma, theta = 0.3, {"coupling": jnp.eye(1), "cubic": jnp.zeros(1)}
    w = np.sqrt(1 - gamma**2 / 4)
    exact = np.exp(-gamma * TIME / 2) * (np.cos(w * TIME) + gamma / (2 * w) * np.sin(w * TIME))
    far = []
    for dt in (0.1, 0.05):
        q, p = jnp.ones(1), jnp.zeros(1)
        for _ in range(int(TIME / dt)):
            q, p = Oscillators(1, gamma).step(q, p, theta, jnp.zeros(1), dt)
        far.append(abs(float(q[0]) - exact))
    assert far[0] < 1e-2
    assert 3 < far[0] / far[1] < 5


# The echo


def test_strong_nonlinearity_makes_it_break_earlier():
    """Larger swings, for longer: at gamma T = 0.1 the error is 0.4 already, where it is 0.07 above."""
    theta, start = Oscillators(N).init(jax.random.key(0), cubic=1.0), tuple(1.5 * part for part in START)

    def loss(theta, damping):
        q = run(theta, damping, 300, DT, start)[0]
        return jnp.sum((q[:2] - jnp.array([0.5, -0.5])) ** 2) / 2

    wrong = []
    for gamma_t in (0.0, 0.1):
        network = Oscillators(N, gamma_t / 30)
        found = hamiltonian_echo(network, COST, start, theta, x=X, steps=300, dt=DT, beta=1e-4)
        wrong.append(error(found.gradient, jax.grad(loss)(theta, gamma_t / 30)))
    assert wrong[0] < 1e-4
    assert wrong[1] > 0.25


def test_the_echo_is_backpropagation_when_nothing_is_lost():
    loss, reference = backpropagated(0.0)
    found = echo(0.0)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
    assert found.converged
    assert error(found.gradient, reference) < 1e-6
    errors = [error(echo(0.0, beta).gradient, reference) for beta in (0.1, 0.05)]
    assert 3.5 < errors[0] / errors[1] < 4.5
    assert found.missed < 1e-6


def test_it_is_so_at_any_step_size():
    """A symplectic step carries its own adjoint: coarse steps are another network, not a worse gradient."""
    coarse, fine = backpropagated(0.0, 20, 0.5)[1], backpropagated(0.0)[1]
    assert error(coarse, fine) > 0.03
    assert error(echo(0.0, 1e-4, 20, 0.5).gradient, coarse) < 1e-7


@pytest.mark.parametrize("gamma_t", [0.0, 0.01, 0.1, 0.3, 1.0, 2.0, 3.0])
def test_damping_times_time_is_what_breaks_it(gamma_t):
    """Measured here at gamma T = 0.01, 0.1, 0.3, 1, 2, 3: relative error 0.007, 0.067, 0.19, 0.36, 0.55, 0.67. The
    direction lasts longer: cosine 0.9993 at 0.1, 0.97 at 1, 0.86 at 3."""
    reference = backpropagated(gamma_t / TIME)[1]
    found = echo(gamma_t / TIME)
    wrong = error(found.gradient, reference)
    if gamma_t == 0:
        assert wrong < 1e-6
    elif gamma_t <= 0.3:
        assert 0.3 < wrong / gamma_t < 1
    else:
        assert wrong > 0.25
        assert 0.8 < cosine(found.gradient, reference) < 0.98
    # the echo's own sign of it, that needs no reference: it does not come back
    assert min(gamma_t, 1.0) / 2 <= float(found.missed) < max(1.5 * gamma_t, 1e-5)


def test_gain_on_the_way_back_repairs_it():
    for gamma_t in (1.0, 3.0):
        reference = backpropagated(gamma_t / TIME)[1]
        errors = [error(echo(gamma_t / TIME, beta, active=True).gradient, reference) for beta in (2e-2, 1e-2)]
        assert 3.5 < errors[0] / errors[1] < 4.5
        found = echo(gamma_t / TIME, active=True)
        assert error(found.gradient, reference) < 1e-5
        assert found.missed < 1e-5


def test_memory_does_not_grow_with_the_run():
    """No path is stored: the compiled echo needs as much scratch memory for 2000 steps as for 20."""

    def scratch(steps):
        network = Oscillators(N)
        compiled = hamiltonian_echo.lower(network, COST, START, WEIGHTS, steps=steps, dt=0.01).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert scratch(2000) < scratch(20) + 2000 * 8 * N  # less than one number per oscillator and step


def test_the_echo_goes_forward_only():
    program = lambda theta: hamiltonian_echo(Oscillators(N), COST, START, theta, steps=3).gradient  # noqa: E731
    assert reverse_mode_uses(program, WEIGHTS) == []


def test_wrong_networks_are_refused():
    with pytest.raises(SpecError, match="damping >= 0"):
        Oscillators(3, -0.1)
    with pytest.raises(SpecError, match="units >= 1"):
        Oscillators(0)
