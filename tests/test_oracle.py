"""The reference gradients against finite differences and against each other."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_blocks import block, one

from analogep.compile import compile_transformer, to_conductances
from analogep.ep import oracle
from analogep.ep.fidelity import fidelity
from analogep.learning.nudge import rails
from analogep.models.objective import cross_entropy
from analogep.simulate.circuit import Circuit

pytestmark = pytest.mark.usefixtures("quick_compilation")

KINDS = ["free", "energy", "mixed"]


def data(kind):
    batch = block(kind)[2]
    return batch.inputs, batch.targets, batch.weights


@cache
def solver(kind):
    """(z, theta, x, y, w, beta) -> the state at rest under a nudge beta, by Newton's method with forward mode."""
    model = block(kind)[0]

    def pushed(flat, theta, x, y, w, beta):
        z = flat.reshape(model.tokens, model.channels)
        direction = jnp.eye(flat.size).reshape(-1, *z.shape)
        slope = jax.vmap(lambda d: jax.jvp(lambda at: cross_entropy(model.logits(at, theta), y, w), (z,), (d,))[1])
        return model.force(z, x, theta).ravel() - jax.lax.cond(
            beta == 0, jnp.zeros_like, lambda f: beta * slope(direction), flat
        )

    @jax.jit
    def at_rest(z, theta, x, y, w, beta):
        def newton(flat, _):
            step = jnp.linalg.solve(jax.jacfwd(pushed)(flat, theta, x, y, w, beta), pushed(flat, theta, x, y, w, beta))
            return flat - step, jnp.linalg.norm(step)

        flat, moved = jax.lax.scan(newton, z.ravel(), length=8)
        z = flat.reshape(z.shape)
        return z, cross_entropy(model.logits(z, theta), y, w), moved[-1]

    return at_rest


@cache
def relaxed(kind):
    """States of both samples at rest, from a long Euler run and Newton steps."""
    model, weights, _ = block(kind)
    force = jax.jit(lambda z, x: jax.lax.fori_loop(0, 600, lambda _, y: y + 0.1 * model.force(y, x, weights), z))
    start = jnp.zeros((model.tokens, model.channels))
    return [solver(kind)(force(start, x), weights, x, y, w, 0.0)[0] for x, y, w in zip(*data(kind), strict=True)]


@cache
def implicit(kind):
    model, weights, _ = block(kind)
    return oracle.implicit(model, weights, jnp.stack(relaxed(kind)), *data(kind))


def some_entries(kind, count=2):
    rng = np.random.default_rng(3)
    shapes = block(kind)[0].weight_shapes
    chosen = {
        name: [tuple(int(rng.integers(n)) for n in shape) for _ in range(count)] for name, shape in shapes.items()
    }
    token = int(np.argmax(data(kind)[0][0, -1]))  # of a token that occurs
    return {**chosen, "embed": [(0, token), (3, token)]}


@pytest.mark.parametrize("kind", KINDS)
def test_implicit_against_finite_differences(kind):
    _, weights, _ = block(kind)

    def loss(theta):
        at = [solver(kind)(z, theta, x, y, w, 0.0) for z, x, y, w in zip(relaxed(kind), *data(kind), strict=True)]
        assert max(float(moved) for _, _, moved in at) < 1e-12
        return np.mean([value for _, value, _ in at])

    reference, entries = implicit(kind), some_entries(kind)
    assert float(reference.loss) == pytest.approx(loss(weights), rel=1e-12)
    assert float(reference.residual) < 1e-12
    found = oracle.finite_differences(loss, weights, entries)
    exact = {name: np.array([reference.gradient[name][entry] for entry in entries[name]]) for name in entries}
    scale = max(np.abs(g).max() for g in exact.values())
    for name, value in found.items():
        assert np.abs(exact[name]).max() > 0
        np.testing.assert_allclose(value, exact[name], rtol=0, atol=1e-6 * scale, err_msg=name)


@pytest.mark.parametrize("kind", ["free", "energy"])
def test_a_long_unroll_has_the_implicit_gradient(kind):
    model, weights, _ = block(kind)
    unrolled = oracle.bptt(model, weights, *data(kind), steps=600, dt=0.1)
    assert fidelity(unrolled.gradient, implicit(kind).gradient)[0].relative_error < 1e-6
    assert float(unrolled.residual) < 1e-6
    assert float(unrolled.loss) == pytest.approx(float(implicit(kind).loss), rel=1e-8)


def test_bptt_differentiates_the_finite_unroll():
    """Against finite differences of a loop in numpy, far from rest; the implicit gradient is another one there."""
    model, weights, _ = block("free")
    force, logits = jax.jit(model.force), jax.jit(model.logits)
    steps, dt = 6, 0.2

    def run(theta):
        losses = []
        for x, y, w in zip(*data("free"), strict=True):
            z = np.zeros((model.tokens, model.channels))
            for _ in range(steps):
                z = z + dt * np.asarray(force(z, x, theta))
            scores = np.asarray(logits(z, theta))
            surprise = np.log(np.exp(scores).sum(1)) - (y * scores).sum(1)
            losses.append(w @ surprise)
        return np.mean(losses)

    reference, entries = oracle.bptt(model, weights, *data("free"), steps=steps, dt=dt), some_entries("free")
    assert float(reference.loss) == pytest.approx(run(weights), rel=1e-12)
    assert float(reference.residual) > 0.05
    found = oracle.finite_differences(run, weights, entries)
    exact = {name: np.array([reference.gradient[name][entry] for entry in entries[name]]) for name in entries}
    scale = max(np.abs(g).max() for g in exact.values())
    for name, value in found.items():
        np.testing.assert_allclose(value, exact[name], rtol=0, atol=1e-6 * scale, err_msg=name)
    assert fidelity(reference.gradient, implicit("free").gradient)[0].relative_error > 0.01


@pytest.mark.slow
def test_backpropagation_through_the_circuits_solver():
    model, weights, batch = block("free")
    chosen = one(batch, 0)
    compiled = compile_transformer(model, weights)
    circuit = Circuit(compiled.netlist, compiled.scale)
    theta, x = to_conductances(weights, compiled.scale), rails(chosen, compiled.scale.volts)
    found = oracle.circuit_bptt(circuit, theta, x)
    z = relaxed("free")[0][None]
    reference = oracle.implicit(model, weights, z, chosen.inputs, chosen.targets, chosen.weights)
    gradient = {name: g * compiled.scale.siemens for name, g in found.gradient.items()}
    assert fidelity(gradient, reference.gradient)[0].relative_error < 1e-4
    assert 0 < float(found.residual) < 1e-3
    assert float(found.loss) == pytest.approx(float(reference.loss), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_contraction_with_the_exact_multiplier(kind):
    """G^T lambda = -dL/dz with G = -dF/dz: the sign that phases read off a settled nudge."""
    model, weights, _ = block(kind)
    z = jnp.stack(relaxed(kind))
    size = z[0].size

    @jax.jit
    def multiplier(z, x, y, w):
        g = -jax.jacfwd(model.force)(z, x, weights).reshape(size, size)
        slope = jax.jacfwd(lambda z: cross_entropy(model.logits(z, weights), y, w))(z).ravel()
        return jnp.linalg.solve(g.T, -slope).reshape(z.shape)

    lam = jnp.stack([multiplier(*sample) for sample in zip(z, *data(kind), strict=True)])
    right = oracle.contract(model, weights, z, lam, *data(kind))
    wrong = oracle.contract(model, weights, z, -lam, *data(kind))
    assert fidelity(right, implicit(kind).gradient)[0].relative_error < 1e-10
    assert fidelity(wrong, implicit(kind).gradient)[0].relative_error > 0.5


def test_the_energy_contrast_on_the_model():
    """Nudged states found apart, by Newton's method: energy EP is exact up to the square of beta."""
    model, weights, _ = block("energy")
    errors = []
    for beta in (0.02, 0.01):
        plus, minus = (
            jnp.stack(
                [
                    solver("energy")(z, weights, *sample, b)[0]
                    for z, sample in zip(relaxed("energy"), zip(*data("energy"), strict=True), strict=True)
                ]
            )
            for b in (beta, -beta)
        )
        found = oracle.energy_contrast(model, weights, plus, minus, beta, data("energy"))
        errors.append(fidelity(found, implicit("energy").gradient)[0].relative_error)
    assert errors[1] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)


def test_finite_differences_change_one_entry_at_a_time():
    theta = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((1, 2))}
    found = oracle.finite_differences(
        lambda w: (w["a"] ** 2).sum() + 3 * w["b"][0, 1], theta, {"a": [(0, 1), (1, 2)], "b": [(0, 0), (0, 1)]}
    )
    np.testing.assert_allclose(found["a"], [2.0, 10.0], rtol=1e-9)
    np.testing.assert_allclose(found["b"], [0.0, 3.0], atol=1e-9)
    assert theta["a"][0, 1] == 1.0


def test_fidelity_of_known_vectors():
    reference = {"a": np.array([3.0, 0.0]), "b": np.array([[0.0, 4.0]])}
    total, each = fidelity({"a": np.array([6.0, 0.0]), "b": np.array([[0.0, 0.0]])}, reference)
    assert (total.cosine, total.norm_ratio) == pytest.approx((0.6, 6 / 5))
    assert total.relative_error == pytest.approx(1.0)
    assert each["a"].to_dict() == {"cosine": 1.0, "relative_error": 1.0, "norm_ratio": 2.0}
    assert (each["b"].cosine, each["b"].relative_error, each["b"].norm_ratio) == (0.0, 1.0, 0.0)
    nothing = {"a": np.zeros(2)}
    assert fidelity(nothing, nothing)[0].to_dict() == {"cosine": 1.0, "relative_error": 0.0, "norm_ratio": 1.0}
    assert fidelity({"a": np.ones(2)}, nothing)[0].relative_error == float("inf")
