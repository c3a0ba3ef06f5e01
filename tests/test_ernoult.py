"""Step by step: what a nudged phase writes at step k is what backpropagation gives to step k from the end."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_circuits import SCALE
from small_networks import LOOK, REST, TARGET, implicit_gradient, network, setting, split

from analogep.compile.recurrent import RECURRENT, weights_at
from analogep.ep.task import Task
from analogep.ep.truncated import nudged_steps

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEPS, DT = 12, 0.2


@cache
def task(kind):
    x, theta, v0 = setting(conductance(kind))
    at = Task(network(), {name: value[0] for name, value in x.items()}, theta, v0).at_rest
    at.free.settled.require("the free phase")
    return at


def conductance(kind):
    s, a = split(1.0, True)
    return s if kind == "symmetric" else s + a


@cache
def backpropagated(kind):
    """dL/dW and dL/dB of each of the last Euler steps at rest, the last one first."""
    weights, drive = weights_at(conductance(kind), REST)
    copies = jnp.broadcast_to(weights, (STEPS, *weights.shape)), jnp.broadcast_to(np.eye(len(drive)), (STEPS, 8, 8))

    def loss(w, b):
        z = jnp.asarray(REST)
        for k in range(STEPS):
            z = z + DT * (-z + w[k] @ jnp.tanh(z) + b[k] @ drive)
        return jnp.sum(LOOK * (z - TARGET) ** 2) / 2

    w, b = jax.grad(loss, (0, 1))(*copies)
    return {RECURRENT: np.asarray(w)[::-1], "bias": np.asarray(b)[::-1]}


def updates(kind, beta, corrected=False, steps=STEPS):
    found = nudged_steps(task(kind), steps, dt=DT, beta=beta, corrected=corrected)
    return {name: np.asarray(g) * SCALE.siemens for name, g in found.items()}


def errors(kind, beta, corrected=False):
    """Relative error of every update, over both arrays."""
    found, exact = updates(kind, beta, corrected), backpropagated(kind)
    miss, size = (
        np.sqrt(sum(np.sum(part**2, (1, 2)) for part in parts))
        for parts in ([found[name] - exact[name] for name in exact], list(exact.values()))
    )
    return miss / size


@pytest.mark.parametrize(("kind", "corrected"), [("symmetric", False), ("symmetric", True), ("asymmetric", True)])
def test_every_nudged_step_is_a_step_of_backpropagation(kind, corrected):
    """Ernoult's property for a symmetric system; with the corrected nudge for any."""
    small, smaller = errors(kind, 1e-4, corrected), errors(kind, 1e-6, corrected)
    assert smaller.max() < 1e-5
    np.testing.assert_allclose(small[1:] / smaller[1:], 100.0, rtol=0.05)  # one-sided: an error of order beta


def test_without_symmetry_the_first_step_alone_agrees():
    found = errors("asymmetric", 1e-6)
    assert found[0] < 1e-6
    assert found[1:].min() > 0.1


@pytest.mark.parametrize(("kind", "corrected"), [("symmetric", False), ("asymmetric", True)])
def test_the_steps_add_up_to_the_implicit_gradient(kind, corrected):
    total = {name: part.sum(0) for name, part in updates(kind, 1e-6, corrected, steps=400).items()}
    for name, exact in implicit_gradient(conductance(kind)).items():
        np.testing.assert_allclose(total[name], exact, rtol=0, atol=1e-5 * np.abs(exact).max())
