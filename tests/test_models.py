"""The specification F(z): energies, symmetry, causality, and agreement with loops written by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogep.errors import SpecError
from analogep.models import EquilibriumTransformer
from analogep.models import layers as model_layers

jax.config.update("jax_enable_x64", True)

ACTIVATIONS = ("gelu", "relu", "tanh")
T, D, H, F, V = 4, 6, 2, 9, 5
SOFT = 0.1  # a layer-norm epsilon that keeps energy models mild enough for Euler steps


def make(attention="free", **changes):
    fields = {"tokens": T, "channels": D, "heads": H, "ffn": F, "vocabulary": V, "damping": 1.0}
    return EquilibriumTransformer(**(fields | {"attention": attention} | changes))


def sample(seed=0, tokens=(0, 3, 1, 4)):
    """A state and a one-hot input."""
    z = jnp.asarray(np.random.default_rng(seed).normal(size=(T, D)))
    return z, jnp.asarray(np.concatenate([np.eye(V)[list(tokens)], np.eye(T)], axis=1))


def all_weights(seed=0, gain=1.0):
    """Weights of both parts, so that every variant can be fed the same ones."""
    return make("mixed", asymmetry=0.5).init(jax.random.key(seed), gain)


def settle(model, x, theta, steps=1500, dt=0.05):
    """Relax from zero by Euler steps."""
    force = jax.jit(model.force)
    step = jax.jit(lambda z: jax.lax.fori_loop(0, steps, lambda _, y: y + dt * force(y, x, theta), z))
    z = step(jnp.zeros((T, D)))
    assert float(jnp.abs(force(z, x, theta)).max()) < 1e-9
    return z


def token_jacobian(model, z, x, theta):
    return np.asarray(jax.jacfwd(model.force)(z, x, theta))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("damping", [0.0, tuple(0.2 * i for i in range(D))])
def test_energy_force_is_the_negative_gradient(activation, damping):
    model = make("energy", activation=activation, damping=damping)
    (z, x), theta = sample(), model.init(jax.random.key(1), gain=1.5)
    expected = -jax.grad(model.energy)(z, x, theta)
    np.testing.assert_allclose(model.force(z, x, theta), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_energy_jacobian_is_symmetric(activation):
    model = make("energy", activation=activation)
    (z, x), theta = sample(), model.init(jax.random.key(2), gain=1.5)
    jacobian = token_jacobian(model, z, x, theta).reshape(T * D, T * D)
    assert np.abs(jacobian - jacobian.T).max() < 1e-12 * np.abs(jacobian).max()
    free = token_jacobian(make(activation=activation), z, x, all_weights()).reshape(T * D, T * D)
    assert np.abs(free - free.T).max() > 0.1 * np.abs(free).max()


def test_energy_falls_along_a_settle():
    model = make("energy", layer_norm_epsilon=SOFT)
    (z, x), theta = sample(), model.init(jax.random.key(3))
    energies = []
    for _ in range(50):
        energies.append(float(model.energy(z, x, theta)))
        z = z + 0.02 * model.force(z, x, theta)
    assert np.all(np.diff(energies) < 0)


@pytest.mark.parametrize("asymmetry", [0.05, 0.5, 1.0, 1.5])
def test_energy_is_refused_when_the_force_is_no_gradient(asymmetry):
    model = make("mixed", asymmetry=asymmetry)
    z, x = sample()
    with pytest.raises(SpecError, match=r"model\.asymmetry"):
        model.energy(z, x, all_weights())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mixed_ends_are_the_pure_variants(activation):
    (z, x), theta = sample(), all_weights()
    for asymmetry, name in ((0.0, "energy"), (1.0, "free")):
        pure = make(name, activation=activation)
        mixed = make("mixed", asymmetry=asymmetry, activation=activation)
        np.testing.assert_array_equal(mixed.force(z, x, theta), pure.force(z, x, theta))
        assert mixed.weight_shapes == pure.weight_shapes


@pytest.mark.parametrize("asymmetry", [0.3, 1.7])
def test_mixed_is_the_affine_mix(asymmetry):
    (z, x), theta = sample(), all_weights()
    energy, free = (make(name).force(z, x, theta) for name in ("energy", "free"))
    mixed = make("mixed", asymmetry=asymmetry).force(z, x, theta)
    np.testing.assert_allclose(mixed, (1 - asymmetry) * energy + asymmetry * free, rtol=0, atol=1e-13)


def test_only_the_free_jacobian_is_block_triangular_over_tokens():
    (z, x), theta = sample(), all_weights()
    later = np.triu(np.ones((T, T), dtype=bool), k=1)
    upper = {}
    for name, model in {"free": make(), "energy": make("energy"), "mixed": make("mixed", asymmetry=1.3)}.items():
        blocks = np.linalg.norm(token_jacobian(model, z, x, theta), axis=(1, 3))
        upper[name] = blocks[later]
        assert blocks[later.T].min() > 1e-3
        assert model.causal == (name == "free")
    assert upper["free"].max() == 0
    assert upper["energy"].min() > 1e-3
    assert upper["mixed"].min() > 1e-4


def test_a_later_token_reaches_earlier_states_only_through_the_energy():
    theta = all_weights(seed=4)
    z, x = sample(tokens=(0, 3, 1, 4))
    _, changed = sample(tokens=(0, 3, 1, 2))
    for name in ("free", "energy"):
        model = make(name, layer_norm_epsilon=SOFT)
        # x enters F token by token, so a leak into earlier tokens needs the states to move first.
        gap = jnp.abs(model.force(z, x, theta) - model.force(z, changed, theta)).max(axis=1)
        assert gap[:-1].max() == 0
        assert gap[-1] > 1e-3
        settled = jnp.abs(settle(model, x, theta) - settle(model, changed, theta)).max(axis=1)
        assert settled[-1] > 1e-2
        if name == "free":
            assert settled[:-1].max() < 1e-14
        else:
            assert settled[:-1].min() > 1e-5


def test_a_small_epsilon_makes_settled_energy_models_stiff():
    """Documents the warning at `layer_norm_epsilon`: the fixed point itself is stiff, whatever the solver."""
    (_, x), theta = sample(), all_weights(seed=4)
    rates = {}
    for epsilon, dt in ((SOFT, 0.05), (1e-5, 1e-3)):
        model = make("energy", layer_norm_epsilon=epsilon)
        jacobian = token_jacobian(model, settle(model, x, theta, 20000, dt), x, theta).reshape(T * D, T * D)
        rates[epsilon] = np.linalg.eigvalsh((jacobian + jacobian.T) / 2)
        assert rates[epsilon].max() < 0
    assert -rates[SOFT].min() < 30
    assert -rates[1e-5].min() > 300


def test_a_later_state_moves_earlier_forces_only_through_the_energy():
    (z, x), theta = sample(), all_weights()
    moved = z.at[-1, 0].add(0.5)  # one channel: layer norm ignores a shift of all
    gaps = {
        name: jnp.abs(make(name).force(z, x, theta) - make(name).force(moved, x, theta))[:-1].max()
        for name in ("free", "energy")
    }
    assert gaps["free"] == 0
    assert gaps["energy"] > 1e-3


def loop_layer_norm(z, epsilon):
    u = np.zeros_like(z)
    for t in range(T):
        mean = sum(z[t]) / D
        variance = sum((value - mean) ** 2 for value in z[t]) / D
        for i in range(D):
            u[t, i] = (z[t, i] - mean) / np.sqrt(variance + epsilon)
    return u


def loop_shares(q, k, head, t):
    """Softmax of one query over its past, channel by channel."""
    width = D // H
    scores = []
    for s in range(t + 1):
        scores.append(sum(k[s, head * width + i] * q[t, head * width + i] for i in range(width)) / np.sqrt(width))
    top = max(scores)
    return np.exp(np.array(scores) - top) / sum(np.exp(score - top) for score in scores), scores


def loop_gelu(h):
    return 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))


def test_free_force_matches_loops():
    damping = (0.5, 0.0, 1.0, 2.0, 0.1, 0.3)
    model = make(damping=damping, layer_norm_epsilon=1e-3)
    (z, x), theta = sample(), all_weights()
    weights = {name: np.asarray(value) for name, value in theta.items()}
    z, x = np.asarray(z), np.asarray(x)
    u = loop_layer_norm(z, 1e-3)
    np.testing.assert_allclose(model_layers.layer_norm(jnp.asarray(z), 1e-3)[0], u, atol=1e-14)
    q, k, v = (np.array([weights[name] @ row for row in u]) for name in ("query", "key", "value"))
    width = D // H
    expected = np.zeros((T, D))
    for t in range(T):
        attended = np.zeros(D)
        for head in range(H):
            shares, _ = loop_shares(q, k, head, t)
            for s in range(t + 1):
                for i in range(head * width, (head + 1) * width):
                    attended[i] += shares[s] * v[s, i]
        ffn = weights["ffn_out"] @ np.array([loop_gelu(h) for h in weights["ffn_in"] @ u[t]])
        for i in range(D):
            leak = (1 + damping[i]) * z[t, i]
            expected[t, i] = weights["embed"][i] @ x[t] - leak + weights["output"][i] @ attended + ffn[i]
    np.testing.assert_allclose(model.force(z, x, theta), expected, rtol=0, atol=1e-12)
    readout = np.array([weights["readout"] @ row for row in u])
    np.testing.assert_allclose(model.logits(z, theta), readout, rtol=0, atol=1e-12)


def test_energy_matches_loops():
    model = make("energy", activation="tanh")
    (z, x), theta = sample(), all_weights()
    weights = {name: np.asarray(value) for name, value in theta.items()}
    z, x = np.asarray(z), np.asarray(x)
    u = loop_layer_norm(z, 1e-5)
    q, k = (np.array([weights[name] @ row for row in u]) for name in ("energy_query", "energy_key"))
    expected = 0.0
    for t in range(T):
        expected += sum(0.5 * 2.0 * z[t, i] ** 2 - (weights["embed"][i] @ x[t]) * z[t, i] for i in range(D))
        for head in range(H):
            _, scores = loop_shares(q, k, head, t)
            expected -= np.sqrt(D // H) * np.log(sum(np.exp(score) for score in scores))
        expected -= sum(np.log(np.cosh(weights["memory"][m] @ u[t])) for m in range(F))
    np.testing.assert_allclose(model.energy(z, x, theta), expected, rtol=1e-13)


def test_gelu_integral_matches_composite_quadrature():
    nodes, weights = np.polynomial.legendre.leggauss(30)
    for h in np.concatenate([np.linspace(-10, 10, 41), [-30.0, 25.0]]):
        edges = np.linspace(0, h, 81)
        middles, halves = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
        exact = np.sum(halves * (loop_gelu(middles[:, None] + halves[:, None] * nodes) @ weights))
        found = float(model_layers.gelu_integral(jnp.asarray(h)))
        assert abs(found - exact) < 1e-12 * max(1.0, abs(exact))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_integrals_start_at_zero_and_stay_finite(activation):
    function, integral = model_layers.ACTIVATIONS[activation]
    h = jnp.array([-800.0, -9.0, -1.0, 0.0, 1e-3, 2.0, 9.0, 800.0])
    assert float(integral(jnp.array(0.0))) == 0
    np.testing.assert_allclose(jax.vmap(jax.grad(integral))(h), function(h), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("attention", ["free", "energy", "mixed"])
def test_init_follows_the_declared_shapes_and_scale(attention):
    model = make(attention, channels=64, ffn=256, vocabulary=60)
    theta = model.init(jax.random.key(0), gain=2.0)
    assert {name: weight.shape for name, weight in theta.items()} == model.weight_shapes
    assert theta["embed"].shape == (64, model.inputs)
    for name, weight in theta.items():
        fan_in = 2 if name == "embed" else weight.shape[1]
        assert weight.dtype == jnp.float64
        # an array used in both directions acts twice, so it starts at half the gain
        gain = 1.0 if name in ("energy_query", "energy_key", "memory") else 2.0
        assert float(weight.std()) == pytest.approx(gain / np.sqrt(fan_in), rel=0.06)


def test_variants_share_weights_drawn_from_one_key():
    mixed = all_weights(seed=7)
    for name in ("free", "energy"):
        for weight, value in make(name).init(jax.random.key(7)).items():
            np.testing.assert_array_equal(value, mixed[weight])


def test_defaults_and_static_use():
    assert make("free").asymmetry == 1
    assert make("energy").asymmetry == 0
    assert make("mixed").asymmetry == 0.5
    assert make("mixed", asymmetry=1.5).energy_share == -0.5
    np.testing.assert_array_equal(make(damping=-0.5).leak, np.full(D, 0.5))
    np.testing.assert_array_equal(make(damping=[0.0] * D).leak, np.ones(D))
    model = make(damping=np.arange(D))
    assert hash(model) == hash(dataclasses.replace(model))
    (z, x), theta = sample(), all_weights()
    jitted = jax.jit(EquilibriumTransformer.force, static_argnums=0)
    np.testing.assert_allclose(jitted(model, z, x, theta), model.force(z, x, theta), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("key", "attention", "changes"),
    [
        ("heads", "free", {"heads": 4}),
        ("heads", "free", {"heads": 0}),
        ("tokens", "free", {"tokens": 2.5}),
        ("ffn", "free", {"ffn": True}),
        ("damping", "free", {"damping": (1.0, 2.0)}),
        ("damping", "free", {"damping": -1.0}),
        ("damping", "free", {"damping": (1.0,) * (D - 1) + (-1.5,)}),
        ("damping", "free", {"damping": float("nan")}),
        ("damping", "free", {"damping": "1"}),
        ("asymmetry", "mixed", {"asymmetry": -0.1}),
        ("asymmetry", "mixed", {"asymmetry": 2.1}),
        ("asymmetry", "mixed", {"asymmetry": float("nan")}),
        ("asymmetry", "free", {"asymmetry": 0.5}),
        ("asymmetry", "energy", {"asymmetry": 1.0}),
        ("attention", "linear", {}),
        ("activation", "free", {"activation": "selu"}),
        ("layer_norm_epsilon", "free", {"layer_norm_epsilon": 0.0}),
    ],
)
def test_bad_arguments_name_the_key(key, attention, changes):
    with pytest.raises(SpecError, match=rf"^model\.{key}"):
        make(attention, **changes)


def test_wrong_shapes_are_refused_rather_than_broadcast():
    (z, x), theta = sample(), all_weights()
    for bad_z, bad_x in ((z[:1], x), (z, x[:1]), (z[None], x), (z, x[:, :-1])):
        with pytest.raises(SpecError, match="vmap"):
            make().force(bad_z, bad_x, theta)
