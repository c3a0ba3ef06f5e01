"""Gradients from perturbations of currents and weights, against a dense solve, and their variance against theory."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from recurrent_task import SCALE, SEEN, N, error, multipliers, numbers, of_weights, task
from small_blocks import block

from analogep.compile import compile_transformer
from analogep.compile.recurrent import compile_recurrent
from analogep.ep.feedback_alignment import feedback_alignment, random_feedback
from analogep.ep.perturbation import node_perturbation, random_nodes, random_weights
from analogep.ep.task import Task, weight_gradient
from analogep.errors import NetlistError, SpecError
from analogep.learning.cost import Quadratic
from analogep.learning.guard import reverse_mode_uses
from analogep.learning.system_phases import SystemPhases
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import SettleOptions
from analogep.simulate.system import ModelSystem

pytestmark = pytest.mark.usefixtures("quick_compilation")


def dense_gradient():
    """-lambda_post tanh(z_pre), as dL/dW of the recurrent network."""
    return -np.outer(multipliers(), np.tanh(numbers()[1]))


@pytest.mark.parametrize("level", ["ideal", "parasitic"])
def test_node_perturbation_is_the_implicit_gradient(level):
    found = node_perturbation(task(level))
    assert found.converged
    assert found.settles == 1 + 2 * (N if level == "ideal" else 2 * N)
    assert error(found.lam["z"] / SCALE.volts, multipliers()) < 1e-5
    if level == "parasitic":  # lambda at a cell's output is what its columns carry back
        assert error(found.lam["hidden"] / SCALE.volts, numbers()[2].T @ multipliers()) < 1e-5
    gradient = weight_gradient(task(level).system, found.free, found.lam)
    assert error(of_weights(gradient), dense_gradient()) < 1e-5


def test_its_error_falls_with_the_square_of_the_current():
    found = [node_perturbation(task("ideal"), strength=strength).lam["z"] for strength in (0.1, 0.05)]
    errors = [error(lam / SCALE.volts, multipliers()) for lam in found]
    assert errors[0] > 1e-4
    np.testing.assert_allclose(errors[0] / errors[1], 4, rtol=0.1)


def test_a_subset_of_nodes_costs_as_many_settles():
    found = node_perturbation(task("ideal"), nodes=("z_1", "z_4"))
    assert found.settles == 5
    np.testing.assert_allclose(found.lam["z"][jnp.array([1, 4])] / SCALE.volts, multipliers()[[1, 4]], rtol=1e-4)
    assert np.count_nonzero(found.lam["z"]) == 2


def test_driven_nodes_have_a_lambda_too():
    """On an `ideal` transformer block weights push into driven nodes; the loss falls as their gradient says."""
    model, weights, batch = block("free", tokens=2, channels=4, ffn=4)
    compiled = compile_transformer(model, weights, level="ideal")
    circuit = Circuit(compiled.netlist, compiled.scale)
    target = np.linspace(-0.5, 0.5, 8).reshape(2, 4)
    x = {"token": batch.inputs[0][:2] * compiled.scale.volts}
    cost = Quadratic("z", target, 1.0, compiled.scale)
    at = Task(SystemPhases(circuit, cost), x)
    found = node_perturbation(at)
    assert set(circuit.driven) & set(found.lam)
    gradient = weight_gradient(at.system, found.free, found.lam)
    direction = {name: np.random.default_rng(1).normal(size=np.shape(g)) for name, g in circuit.theta.items()}
    by = 1e-4 * compiled.scale.siemens
    ends = []
    for sign in (1, -1):
        theta = {name: g + sign * by * direction[name] for name, g in circuit.theta.items()}
        moved = Task(at.phases, x, theta)
        ends.append(float(moved.loss(moved.free.settled.v, moved.theta)))
    along = sum(np.sum(gradient[name] * direction[name]) for name in gradient)
    assert found.converged
    np.testing.assert_allclose(along, (ends[0] - ends[1]) / (2 * by), rtol=1e-4)


def test_any_system_will_do():
    """F(z) as written, which has no netlist: lambda against a dense solve with its Jacobian."""
    model, weights, batch = block("free", tokens=2, channels=4, ffn=4)
    system = ModelSystem(model, weights, forward_only=True)
    target = np.linspace(-0.5, 0.5, 8).reshape(2, 4)
    at = Task(SystemPhases(system, Quadratic("z", target, 1.0, system.scale)), {"token": batch.inputs[0][:2]})
    found = node_perturbation(at)
    z = found.free["z"]
    g = np.asarray(jax.jacfwd(lambda z: -model.force(z, at.x["token"], weights))(z)).reshape(8, 8)
    assert error(np.ravel(found.lam["z"]), np.linalg.solve(g.T, -np.ravel(z - target))) < 1e-5


def test_noise_of_the_loss_reaches_lambda_as_stated():
    at, noise, strength = task("ideal"), 1e-4, 1e-2
    exact = node_perturbation(at, strength=strength).lam["z"]
    drawn = [
        node_perturbation(at, strength=strength, noise=noise, key=key).lam["z"] - exact
        for key in jax.random.split(jax.random.key(0), 60)
    ]
    spread = np.std(drawn) / SCALE.volts
    stated = noise / (np.sqrt(2) * strength)
    assert abs(spread / stated - 1) < 4 / np.sqrt(2 * 60 * N)  # four standard errors of a standard deviation


@cache
def many(directions, keys):
    at = task("ideal")
    found = [random_nodes(at, key, directions=directions) for key in jax.random.split(jax.random.key(directions), keys)]
    assert all(bool(each.converged) and each.settles == 2 * directions + 1 for each in found)
    return np.stack([np.asarray(each.lam["z"]) for each in found]) / SCALE.volts


@pytest.mark.parametrize(("directions", "keys"), [(1, 200), (8, 50)])
def test_random_directions_are_unbiased_with_variance_n(directions, keys):
    drawn, exact = many(directions, keys), multipliers()
    standard_error = drawn.std(0) / np.sqrt(keys)
    assert np.all(np.abs(drawn.mean(0) - exact) < 4 * standard_error + 1e-6)
    squares = np.sum((drawn - exact) ** 2, axis=1) / np.sum(exact**2)
    stated = (N - 1) / directions
    assert abs(squares.mean() - stated) < 4 * squares.std() / np.sqrt(keys)
    # the test can tell N - 1 from half of it
    assert 4 * squares.std() / np.sqrt(keys) < stated / 2


def test_random_weights_are_unbiased_with_variance_p():
    exact, p, keys = dense_gradient(), N * N, 40
    at, directions = task("ideal"), 10
    found = [random_weights(at, key, directions=directions) for key in jax.random.split(jax.random.key(3), keys)]
    drawn = np.stack([of_weights(each.gradient) for each in found])
    assert all(bool(each.converged) and each.settles == 2 * directions + 1 for each in found)
    assert np.all(np.abs(drawn.mean(0) - exact) < 4.5 * drawn.std(0) / np.sqrt(keys) + 1e-6)
    squares = np.sum((drawn - exact) ** 2, axis=(1, 2)) / np.sum(exact**2)
    assert abs(squares.mean() - (p - 1) / directions) < 4 * squares.std() / np.sqrt(keys)


def test_feedback_alignment_is_the_error_through_a_fixed_array():
    at = task()
    feedback = random_feedback(at.system, jax.random.key(0), "z", observed=SEEN > 0, spread=2.0)
    found = feedback_alignment(at, feedback)
    error_ = -SEEN * (numbers()[1] - [0.3, -0.2, 0, 0, 0])
    lam = np.asarray(found.lam["z"]) / SCALE.volts
    np.testing.assert_allclose(lam[:2], error_[:2], rtol=1e-8)  # outputs keep their own error
    np.testing.assert_allclose(lam, feedback["z"]["z"] @ error_, rtol=1e-8)
    np.testing.assert_array_equal(feedback["z"]["z"][:, 2:], 0)
    assert found.settles == 1
    drawn = np.concatenate(
        [
            random_feedback(at.system, key, "z", spread=2.0)["z"]["hidden"]
            for key in jax.random.split(jax.random.key(1), 99)
        ]
    )
    assert abs(drawn.std() * np.sqrt(N) / 2 - 1) < 4 / np.sqrt(2 * drawn.size)


def test_a_task_starts_where_it_is_told_to():
    """dz/dt = -z + 2 tanh(z) rests at 0, where it is unstable, and at two other places; lambda is that of each."""
    netlist = compile_recurrent(np.array([[2.0]]), np.zeros(1))
    phases = SystemPhases(Circuit(netlist, SCALE), Quadratic("z", 0.5, 1.0, SCALE))
    up = scipy.optimize.brentq(lambda z: 2 * np.tanh(z) - z, 1.0, 3.0)
    for place in (-up, up):
        at = Task(phases, v0={"z": jnp.array([0.3 * np.sign(place) * SCALE.volts])})
        np.testing.assert_allclose(at.free.settled.v["z"] / SCALE.volts, [place], rtol=1e-8)
        lam = -(place - 0.5) / (1 - 2 / np.cosh(place) ** 2)
        np.testing.assert_allclose(node_perturbation(at).lam["z"] / SCALE.volts, [lam], rtol=1e-5)
        # the free phase of another task is taken as it is
        np.testing.assert_array_equal(
            node_perturbation(Task(phases, rest=at.free)).lam["z"], node_perturbation(at).lam["z"]
        )
    np.testing.assert_array_equal(Task(phases).free.settled.v["z"], 0.0)


def test_a_phase_that_does_not_settle_is_flagged():
    at = task("ideal")
    hurried = Task(SystemPhases(at.system, at.phases.cost, SettleOptions(horizon=0.1)))
    for found in (node_perturbation(hurried), random_weights(hurried, jax.random.key(0))):
        assert not found.converged


def test_what_cannot_be_is_refused():
    at = task("ideal")
    with pytest.raises(NetlistError, match="nodes: z"):
        node_perturbation(at, buses=("y",))
    with pytest.raises(NetlistError, match="no node 'z_9'"):
        node_perturbation(at, nodes=("z_9",))
    with pytest.raises(SpecError, match="key"):
        node_perturbation(at, noise=1.0)
    with pytest.raises(NetlistError, match="'hidden' cannot go back"):
        random_feedback(at.system, jax.random.key(0), "hidden")
    with pytest.raises(NetlistError, match="'hidden', which is no state"):
        feedback_alignment(Task(SystemPhases(at.system, Quadratic("hidden", 0.0, 1.0, SCALE))), {})
    with pytest.raises(NetlistError, match="weights push current into 'z'"):
        weight_gradient(at.system, at.free.voltages, {"hidden": jnp.zeros(N)})


def test_they_go_forward_only():
    at = task("ideal").at_rest
    assert reverse_mode_uses(lambda task: node_perturbation(task).lam, at) == []
    assert reverse_mode_uses(lambda task: random_weights(task, jax.random.key(0)).gradient, at) == []
