"""Finite time against an unroll that is differentiated by plain jax.grad, closed forms, and statistics over keys."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from recurrent_task import (
    EPSILON,
    SCALE,
    SEEN,
    TARGET,
    N,
    error,
    full_matrices,
    multipliers,
    numbers,
    of_weights,
    plain_bptt,
    task,
)
from small_blocks import block

from analogep.compile import compile_transformer
from analogep.ep import oracle
from analogep.ep.baselines import jacobian_free, phantom, unrolled
from analogep.ep.feedback_alignment import random_feedback
from analogep.ep.task import Task, weight_gradient
from analogep.ep.timescales import two_timescales
from analogep.ep.traces import eligibility, forward_random, uoro
from analogep.ep.trajectory import Run, rtrl
from analogep.ep.truncated import nudged_steps, truncated_nudge, truncated_nudge_in_time
from analogep.errors import NetlistError
from analogep.learning.altered import Injected
from analogep.learning.cost import Quadratic
from analogep.learning.guard import reverse_mode_uses
from analogep.learning.system_phases import SystemPhases
from analogep.netlist.elements import Capacitor
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions
from analogep.simulate.system import ModelSystem

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEPS, DT = 40, 0.05
WHEN = np.linspace(0, 1, STEPS) ** 2


def full_multipliers():
    """lambda at (z, hidden) of the parasitic network."""
    push = np.concatenate([-SEEN * (numbers()[1] - TARGET), np.zeros(N)])
    return np.linalg.solve(full_matrices()[1].T, push)


def lam_of(path, k):
    return np.concatenate([path.lam[bus][k] for bus in ("z", "hidden")]) / SCALE.volts


# The corrected nudge after K steps


def test_truncated_nudge_has_its_closed_form():
    """(1 - (1 - dt C^-1 G^T)^K) lambda, with the plain nudge's G^T -> G, up to order beta^2."""
    (c, g), lam, push = full_matrices(), full_multipliers(), full_matrices()[1].T @ full_multipliers()
    for corrected, matrix in ((True, g.T), (False, g)):
        path = truncated_nudge(task(), 200, dt=DT, beta=1e-4, corrected=corrected)
        assert path.converged
        limit = np.linalg.solve(matrix, push)
        for k in (0, 1, 7, 60, 200):
            left = np.linalg.matrix_power(np.eye(2 * N) - DT * matrix / c[:, None], k)
            np.testing.assert_allclose(lam_of(path, k), limit - left @ limit, atol=1e-6 * np.abs(lam).max())


def test_its_error_is_of_order_beta_squared():
    (c, g), lam = full_matrices(), full_multipliers()
    exact = lam - np.linalg.matrix_power(np.eye(2 * N) - DT * g.T / c[:, None], 60) @ lam
    errors = [error(lam_of(truncated_nudge(task(), 60, dt=DT, beta=b), 60), exact) for b in (0.1, 0.05, 0.025)]
    assert errors[0] > 1e-4
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4, rtol=0.1)


def test_capacitors_between_live_nodes_take_part():
    at, bridge, (_, g), lam = task(), 0.3, full_matrices(), full_multipliers()
    netlist = at.system.netlist.add(Capacitor("bridge", "z", "hidden", bridge * SCALE.farads))
    path = truncated_nudge(Task(SystemPhases(Circuit(netlist, SCALE), at.phases.cost)), 40, dt=DT, beta=1e-4)
    c = np.kron([[1, 0], [0, EPSILON]], np.eye(N)) + bridge * np.kron([[1, -1], [-1, 1]], np.eye(N))
    left = np.linalg.matrix_power(np.eye(2 * N) - DT * np.linalg.solve(c, g.T), 40)
    np.testing.assert_allclose(lam_of(path, 40), lam - left @ lam, atol=1e-6 * np.abs(lam).max())


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_it_is_truncated_backpropagation_at_any_asymmetry(steps):
    """K corrected steps from rest give the gradient of the last K steps of an unroll that rests."""
    _, z, w, _ = numbers()
    rest = np.concatenate([z, np.tanh(z)])
    reference = plain_bptt(w, steps, DT, start=rest)[1]
    free = task().free
    errors = []
    for corrected in (True, False):
        path = truncated_nudge(task(), steps, dt=DT, beta=1e-4, corrected=corrected)
        lam = {bus: values[-1] for bus, values in path.lam.items()}
        errors.append(error(of_weights(weight_gradient(task().system, free.voltages, lam)), reference))
    assert errors[0] < 1e-6
    if steps > 10:  # by then the nudge has been around, and the asymmetry tells
        assert errors[1] > 1e-2


def test_in_continuous_time_it_is_an_exponential():
    (c, g), lam = full_matrices(), full_multipliers()
    path = truncated_nudge_in_time(task(), [0.3, 1.0, 25.0], beta=1e-3)
    for k, t in enumerate([0.3, 1.0, 25.0]):
        exact = lam - scipy.linalg.expm(-t * g.T / c[:, None]) @ lam
        np.testing.assert_allclose(lam_of(path, k), exact, atol=2e-5 * np.abs(lam).max())
    assert path.converged
    np.testing.assert_allclose(path.lam["z"][-1] / SCALE.volts, multipliers(), atol=1e-5)


def test_a_nudge_from_an_unsettled_state_is_flagged():
    at = task("ideal")
    hurried = Task(SystemPhases(at.system, at.phases.cost, SettleOptions(horizon=0.1)))
    assert not truncated_nudge(hurried, 2).converged


# Gradients carried forward


@pytest.mark.parametrize("level", ["ideal", "parasitic"])
@pytest.mark.parametrize("when", [None, WHEN])
def test_rtrl_is_bptt(level, when):
    loss, reference = plain_bptt(numbers()[2], STEPS, DT, level=level, when=when)
    found = rtrl(Run(task(level), STEPS, DT, when))
    assert found.converged
    np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
    assert error(of_weights(found.gradient), reference) < 1e-10
    assert found.stored == N * N * N * (2 if level == "parasitic" else 1)
    digital = unrolled(Run(task(level), STEPS, DT, when))
    assert error(of_weights(digital.gradient), reference) < 1e-10
    np.testing.assert_allclose(digital.residual, found.residual, rtol=1e-8)


def test_rtrl_tends_to_the_implicit_gradient():
    exact = -np.outer(multipliers(), np.tanh(numbers()[1]))
    found = [rtrl(Run(task("ideal"), steps)) for steps in (50, 150, 450)]
    errors = [error(of_weights(each.gradient), exact) for each in found]
    assert errors[0] > 1e-2
    assert errors[2] < 1e-7
    assert found[0].residual > 1e-3
    assert found[2].residual < 1e-8


def test_rtrl_of_a_transformer_with_inputs():
    """A parasitic block, against finite differences of Euler steps written with the circuit's own rate."""
    model, weights, batch = block("free", tokens=2, channels=4, ffn=4)
    compiled = compile_transformer(model, weights, epsilon=0.5)
    circuit = Circuit(compiled.netlist, compiled.scale, forward_only=True)
    x = {"token": batch.inputs[0][:2] * compiled.scale.volts}
    cost = Quadratic("z", np.linspace(-0.5, 0.5, 8).reshape(2, 4), 1.0, compiled.scale)
    found = rtrl(Run(Task(SystemPhases(circuit, cost), x), 6, 0.2))

    @jax.jit
    def loss(theta):
        v = circuit.zeros()
        for _ in range(6):
            rate = circuit.rate(v, x, theta)
            v = {bus: v[bus] + 0.2 * compiled.scale.seconds * rate[bus] for bus in v}
        return cost.loss(v, x)

    chosen = {name: [(0, 0), (2, 1)] for name in ("embed", "query", "output", "ffn_out")}
    numeric = oracle.finite_differences(loss, dict(circuit.theta), chosen, step=1e-3 * compiled.scale.siemens)
    for name, entries in chosen.items():
        exact = [found.gradient[name][entry] for entry in entries]
        np.testing.assert_allclose(exact, numeric[name], rtol=1e-4, atol=1e-8 / compiled.scale.siemens)


@cache
def sampled(method, level, keys, steps=10):
    """Gradients of many keys [keys, N, N], of a loss that is read along the way, and RTRL's."""
    run = Run(task(level), steps, 0.2, jnp.linspace(0.2, 1, steps))
    drawn = jax.vmap(lambda key: method(run, key).gradient)(jax.random.split(jax.random.key(7), keys))
    return of_weights(drawn), of_weights(rtrl(run).gradient)


@pytest.mark.parametrize(
    ("method", "level"),
    [(forward_random, "ideal"), (uoro, "ideal"), (uoro, "parasitic")],
    ids=["one", "rank1", "cells"],
)
def test_random_accumulation_is_unbiased(method, level):
    keys = 4000
    drawn, exact = sampled(method, level, keys)
    standard_error = drawn.std(0) / np.sqrt(keys)
    assert np.all(np.abs(drawn.mean(0) - exact) < 4.5 * standard_error + 1e-12)
    # sharp enough to see a bias: the mean of all keys is far closer than one key
    assert error(drawn.mean(0), exact) < 0.3
    assert np.median([error(each, exact) for each in drawn[:200]]) > 1


def test_one_random_direction_has_variance_p():
    drawn, exact = sampled(forward_random, "ideal", 4000)
    squares = np.sum((drawn - exact) ** 2, axis=(1, 2)) / np.sum(exact**2)
    assert abs(squares.mean() - (N * N - 1)) < 4 * squares.std() / np.sqrt(len(squares))


def test_uoro_of_a_system_without_terminals_agrees():
    """The same keys on the same equations, once by local products and once by the dense derivative of the step."""
    at, key = task(), jax.random.key(0)
    no_netlist = Injected(at.system, lambda v: {})
    tasks = (Task(SystemPhases(system, at.phases.cost)) for system in (at.system, no_netlist))
    local, dense = (uoro(Run(each, 8, 0.05), key).gradient for each in tasks)
    assert error(of_weights(dense), of_weights(local)) < 1e-10


def test_eligibility_is_exact_without_coupling_and_biased_with_it():
    errors = {}
    for weight in (0.0, 0.1, 0.5, 1.0):
        run = Run(task("ideal", weight), STEPS, DT)
        errors[weight] = error(of_weights(eligibility(run).gradient), of_weights(rtrl(run).gradient))
    assert errors[0.0] < 1e-12
    assert 1e-3 < errors[0.1] < errors[0.5] < errors[1.0] < 1


def test_feedback_brings_a_signal_to_nodes_without_a_loss():
    at = task("ideal")
    run = Run(at, STEPS, DT)
    alone = of_weights(eligibility(run).gradient)
    feedback = random_feedback(at.system, jax.random.key(0), "z", observed=SEEN > 0)
    fed = of_weights(eligibility(run, feedback=feedback).gradient)
    np.testing.assert_array_equal(alone[2:], 0)
    assert np.all(np.linalg.norm(fed[2:], axis=1) > 0)
    np.testing.assert_allclose(fed[:2], alone[:2], rtol=1e-12)
    # through a feedback of ones to one node, that node gets the sum of all errors, and its own leaking trace
    ones = {"z": {"z": jnp.zeros((N, N)).at[4].set(1.0)}}
    total = of_weights(eligibility(run, feedback=ones).gradient)
    z, trace = plain_states(STEPS, DT), np.zeros(N)
    for now in z[:STEPS]:
        own = 1 - DT + DT * numbers()[2][4, 4] * (1 - np.tanh(now[4]) ** 2)
        trace = own * trace + DT * np.tanh(now)
    np.testing.assert_allclose(total[4], np.sum(SEEN * (z[STEPS] - TARGET)) * trace, rtol=1e-10)


def plain_states(steps, dt):
    """States [steps + 1, N] of the ideal network from 0."""
    _, _, w, drive = numbers()
    z = [np.zeros(N)]
    for _ in range(steps):
        z.append(z[-1] + dt * (drive - z[-1] + w @ np.tanh(z[-1])))
    return np.array(z)


# Slow weights


def test_slow_weights_follow_gradient_flow():
    """Against gradient flow by dense solves, the distance halves when the weights are twice as slow."""
    at, (_, z, w, drive) = task(), numbers()

    def slope(w, z):
        for _ in range(30):
            force = drive - z + w @ np.tanh(z)
            z = z + np.linalg.solve(np.eye(N) - w * (1 - np.tanh(z) ** 2), force)
        g = np.eye(N) - w * (1 - np.tanh(z) ** 2)
        return -np.outer(np.linalg.solve(g.T, -SEEN * (z - TARGET)), np.tanh(z)), z

    end, at_rest, span, parts = w, z, 1.0, 100
    for _ in range(parts):  # the midpoint rule
        first, at_rest = slope(end, at_rest)
        middle, at_rest = slope(end - span / parts / 2 * first, at_rest)
        end = end - span / parts * middle
    far = []
    for slowness in (50.0, 100.0):
        drift = two_timescales(at, int(span * slowness / 0.05), slowness=slowness, dt=0.05)
        assert drift.converged
        far.append(np.linalg.norm(np.asarray(drift.theta["recurrent"]) / SCALE.siemens - end))
    assert far[0] < 0.2 * np.linalg.norm(end - w)
    assert 1.7 < far[0] / far[1] < 2.3
    assert drift.loss[-1] < 0.8 * drift.loss[0]


# Digital baselines on F(z)


@cache
def settled_block():
    """A block at rest: model, weights, states, batch, and of each sample G and -dL/dz."""
    model, weights, batch = block("free", tokens=2, channels=4, ffn=4)
    data, states = (batch.inputs, batch.targets, batch.weights), (model.tokens, model.channels)
    force = jax.vmap(lambda z, x: model.force(z, x, weights))
    relaxed = jax.jit(lambda z: jax.lax.fori_loop(0, 400, lambda _, z: z + 0.2 * force(z, batch.inputs), z))
    z, n = relaxed(jnp.zeros((2, *states))), np.prod(states)

    @jax.vmap
    def linearized(z, x, y, w):
        def loss(z):
            logits = model.logits(z, weights)
            return jnp.sum(w * (jax.nn.logsumexp(logits, -1) - jnp.sum(y * logits, -1)))

        return -jax.jacfwd(lambda z: model.force(z, x, weights))(z).reshape(n, n), -jax.jacfwd(loss)(z).ravel()

    return model, weights, z, data, [np.asarray(part) for part in linearized(z, *data)]


def contracted(lam):
    """The gradient that lambda at z stands for."""
    model, weights, z, data, _ = settled_block()
    return oracle.contract(model, weights, z, jnp.reshape(jnp.asarray(lam), z.shape), *data)


def distance(found, expected):
    """Relative distance of two gradients."""
    return error(*(np.concatenate([np.ravel(side[name]) for name in sorted(expected)]) for side in (found, expected)))


@pytest.mark.parametrize(("steps", "damping"), [(1, 1.0), (4, 0.5)])
def test_phantom_gradients_are_a_cut_series(steps, damping):
    """lambda = sum_k (1 - D)^k damping / (1 + c) (-dL/dz), contracted with dF/dtheta; c is 1."""
    model, weights, z, data, (g, push) = settled_block()
    eta, lam = damping / 2, np.zeros_like(push)
    for _ in range(steps):
        lam = lam + eta * (push - np.einsum("sij,si->sj", g, lam))
    found = phantom(model, weights, z, *data, steps=steps, damping=damping).gradient
    assert distance(found, contracted(lam)) < 1e-9
    if steps == 1:
        assert distance(jacobian_free(model, weights, z, *data).gradient, found) == 0


def test_a_long_phantom_gradient_is_the_implicit_one():
    model, weights, z, data, (g, push) = settled_block()
    exact = contracted([np.linalg.solve(one.T, p) for one, p in zip(g, push, strict=True)])
    errors = [distance(phantom(model, weights, z, *data, steps=k, damping=0.8).gradient, exact) for k in (1, 3, 80)]
    assert errors[0] > errors[1] > 1e-2
    assert errors[2] < 1e-6


# What is refused, and that nothing goes backward


def test_what_cannot_be_is_refused():
    at = task("ideal")
    of_driven = Task(SystemPhases(at.system, Quadratic("hidden", 0.0, 1.0, SCALE)))
    for attempt in (
        lambda: truncated_nudge(of_driven, 2),
        lambda: uoro(Run(of_driven, 2), jax.random.key(0)),
        lambda: eligibility(Run(of_driven, 2)),
    ):
        with pytest.raises(NetlistError, match="'hidden', which is no state"):
            attempt()
    with pytest.raises(ValueError, match="3 steps"):
        rtrl(Run(at, 3, when=jnp.ones(2)))
    model, weights, _ = block("free")
    system = ModelSystem(model, weights)
    no_circuit = Task(SystemPhases(system, Quadratic("z", 0.0, 1.0, system.scale)))
    for attempt in (lambda: two_timescales(no_circuit, 2, slowness=10.0), lambda: nudged_steps(no_circuit, 2)):
        with pytest.raises(NetlistError, match="no weights with terminals"):
            attempt()


def test_growing_steps_are_flagged():
    assert not rtrl(Run(task(), 600, 3 * EPSILON)).converged


def test_they_go_forward_only():
    key = jax.random.key(0)
    for program in (
        lambda t: truncated_nudge(t, 2).lam,
        lambda t: nudged_steps(t, 2, corrected=True),
        lambda t: rtrl(Run(t, 2)).gradient,
        lambda t: forward_random(Run(t, 2), key).gradient,
        lambda t: uoro(Run(t, 2), key).gradient,
        lambda t: eligibility(Run(t, 2)).gradient,
        lambda t: two_timescales(t, 2, slowness=10.0).theta,
    ):
        assert reverse_mode_uses(program, task().at_rest) == []
