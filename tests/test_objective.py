"""Objectives: what the input hides, what the loss weighs, and which model may be asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogep.errors import DataError, SpecError
from analogep.models import EquilibriumTransformer, check_objective, cross_entropy, encode, make_batch

jax.config.update("jax_enable_x64", True)

V, T, B = 7, 5, 40
WINDOWS = np.random.default_rng(0).integers(V, size=(B, T + 1))


def model_of(attention, asymmetry=None):
    return EquilibriumTransformer(T, 4, 2, 8, V, 1.0, attention=attention, asymmetry=asymmetry)


def masked_batch(seed=0, mask_fraction=0.15, windows=WINDOWS):
    return make_batch(windows, "masked", V, rng=np.random.default_rng(seed), mask_fraction=mask_fraction)


@pytest.mark.parametrize("objective", ["next_token", "last_token"])
def test_prediction_batches(objective):
    batch = make_batch(WINDOWS, objective, V)
    assert batch.inputs.shape == (B, T, V + T)
    assert batch.inputs.dtype == np.float64
    np.testing.assert_array_equal(batch.inputs[..., :V].argmax(-1), WINDOWS[:, :T])
    np.testing.assert_array_equal(batch.inputs[..., V:], np.broadcast_to(np.eye(T), (B, T, T)))
    np.testing.assert_array_equal(batch.targets.argmax(-1), WINDOWS[:, 1:])
    assert np.all(batch.inputs.sum(-1) == 2)
    assert np.all(batch.targets.sum(-1) == 1)
    expected = np.full(T, 1 / T) if objective == "next_token" else np.eye(T)[-1]
    np.testing.assert_array_equal(batch.weights, np.broadcast_to(expected, (B, T)))


def test_masked_inputs_lack_the_token_and_only_those_positions_count():
    batch = masked_batch()
    masked = batch.weights > 0
    assert masked.any(axis=1).all()
    assert not masked.all()
    assert np.all(batch.inputs[masked][:, :V] == 0)
    assert np.all(batch.inputs[~masked][:, :V].sum(-1) == 1)
    np.testing.assert_array_equal(batch.inputs[..., V:], np.broadcast_to(np.eye(T), (B, T, T)))
    np.testing.assert_array_equal(batch.targets.argmax(-1), WINDOWS[:, :T])
    np.testing.assert_allclose(batch.weights.sum(axis=1), 1, rtol=1e-15)


def test_masked_input_does_not_depend_on_the_hidden_token():
    changed = np.where(np.pad(masked_batch().weights > 0, ((0, 0), (0, 1))), (WINDOWS + 1) % V, WINDOWS)
    np.testing.assert_array_equal(masked_batch(windows=changed).inputs, masked_batch().inputs)
    assert not np.array_equal(masked_batch(windows=changed).targets, masked_batch().targets)


def test_masking_is_seeded_and_follows_its_fraction():
    np.testing.assert_array_equal(masked_batch(3).weights, masked_batch(3).weights)
    assert not np.array_equal(masked_batch(3).weights, masked_batch(4).weights)
    assert np.all((masked_batch(mask_fraction=1e-9).weights > 0).sum(axis=1) == 1)
    assert np.all(masked_batch(mask_fraction=1.0).weights > 0)
    many = np.zeros((4000, T + 1), dtype=np.uint8)
    assert (masked_batch(mask_fraction=0.6, windows=many).weights > 0).mean() == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(("attention", "asymmetry"), [("energy", None), ("mixed", 0.0), ("mixed", 0.9), ("mixed", 1.5)])
def test_next_token_is_refused_without_causality(attention, asymmetry):
    model = model_of(attention, asymmetry)
    with pytest.raises(SpecError, match="Reciprocity excludes causality") as caught:
        check_objective(model, "next_token")
    for word in ("data.objective", "future", "read the answer", "last_token", "masked"):
        assert word in str(caught.value)
    check_objective(model, "last_token")
    check_objective(model, "masked")


@pytest.mark.parametrize("objective", ["next_token", "last_token", "masked"])
def test_causal_models_take_every_objective(objective):
    check_objective(model_of("free"), objective)
    check_objective(model_of("mixed", 1.0), objective)


def test_cross_entropy_matches_log_softmax_and_ignores_weightless_positions():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(T, V))
    batch = make_batch(WINDOWS, "next_token", V)
    targets, weights = batch.targets[0], np.array([0.0, 0.5, 0.0, 0.25, 0.25])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -sum(weights[t] * np.log(shares[t, WINDOWS[0, t + 1]]) for t in range(T))
    assert float(cross_entropy(jnp.asarray(logits), targets, weights)) == pytest.approx(expected, rel=1e-13)
    slope = jax.grad(cross_entropy)(jnp.asarray(logits), targets, weights)
    np.testing.assert_allclose(slope, weights[:, None] * (shares - targets), atol=1e-14)
    assert float(cross_entropy(jnp.full((T, V), 1e4), targets, weights)) == pytest.approx(np.log(V))


@pytest.mark.parametrize(
    ("tokens_in", "targets", "weights", "words"),
    [
        ([[0, V]], [[0, 1]], [0.5, 0.5], "vocabulary"),
        ([[0, -2]], [[0, 1]], [0.5, 0.5], "vocabulary"),
        ([[0, 1]], [[0, -1]], [0.5, 0.5], "vocabulary"),
        ([[0, 1]], [[0, 1, 2]], [0.5, 0.5], "shape"),
        ([[0, 1]], [[0, 1]], [0.5, 0.6], "sum to 1"),
        ([[0, 1]], [[0, 1]], [1.5, -0.5], "non-negative"),
        ([[0, 1]], [[0, 1]], [1.0, 0.0, 0.0], "fit"),
        ([[0.0, 1.0]], [[0, 1]], [0.5, 0.5], "integer"),
    ],
)
def test_bad_data_is_refused(tokens_in, targets, weights, words):
    with pytest.raises(DataError, match=words):
        encode(np.array(tokens_in), np.array(targets), np.array(weights), V)


def test_bad_batches_are_refused():
    with pytest.raises(SpecError, match=r"data\.objective"):
        make_batch(WINDOWS, "previous_token", V)
    with pytest.raises(SpecError, match=r"data\.objective"):
        check_objective(model_of("free"), "previous_token")
    with pytest.raises(SpecError, match="rng"):
        make_batch(WINDOWS, "masked", V)
    with pytest.raises(SpecError, match=r"data\.mask_fraction"):
        masked_batch(mask_fraction=0.0)
    with pytest.raises(DataError, match="at least 2"):
        make_batch(WINDOWS[:, :1], "next_token", V)
