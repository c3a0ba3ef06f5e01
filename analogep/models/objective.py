"""What is predicted: next token, last token or masked tokens, as one-hot batches and a weighted cross-entropy."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from analogep.errors import DataError, SpecError
from analogep.models.transformer import EquilibriumTransformer

Objective = Literal["next_token", "last_token", "masked"]
OBJECTIVES: tuple[Objective, ...] = ("next_token", "last_token", "masked")
NO_TOKEN = -1  # an input id that stands for "token withheld": its one-hot part is all zero


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples ready for a model, numpy float64.

    Attributes:
        inputs: [B, T, V + T], one-hot(token) beside one-hot(position).
        targets: [B, T, V], one-hot.
        weights: [B, T], of sum 1 over T for each sample; 0 where nothing is predicted.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def encode(tokens_in: np.ndarray, targets: np.ndarray, weights: np.ndarray, vocabulary: int) -> Batch:
    """Turn token ids into one-hot rows.

    Args:
        tokens_in: Ids [B, T] in 0 ... V - 1, or `NO_TOKEN` where the token is withheld (its position stays).
        targets: Ids [B, T] in 0 ... V - 1.
        weights: Loss weights, broadcast to [B, T].
        vocabulary: Number of classes V.

    Returns:
        The batch.

    Raises:
        DataError: Shapes differ, an id is outside the vocabulary, or weights are negative or do not sum to 1.
    """
    tokens_in, targets = _ids("tokens_in", tokens_in), _ids("targets", targets)
    if tokens_in.shape != targets.shape:
        raise DataError(f"tokens_in {tokens_in.shape} and targets {targets.shape} differ in shape")
    if tokens_in.min() < NO_TOKEN or targets.min() < 0 or max(tokens_in.max(), targets.max()) >= vocabulary:
        raise DataError(f"a token id is outside the vocabulary 0 ... {vocabulary - 1}")
    samples, length = tokens_in.shape
    try:
        weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), (samples, length)).copy()
    except ValueError as error:
        raise DataError(f"weights {np.shape(weights)} do not fit tokens {tokens_in.shape}") from error
    if not (weights.min() >= 0 and np.allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-9)):
        raise DataError("the weights of a sample must be non-negative and sum to 1")
    # A comparison gives the all-zero row of NO_TOKEN for free; indexing an identity would wrap -1 to the last class.
    classes = np.arange(vocabulary)
    token_part = (tokens_in[..., None] == classes).astype(np.float64)
    position_part = np.broadcast_to(np.eye(length), (samples, length, length))
    one_hot = (targets[..., None] == classes).astype(np.float64)
    return Batch(np.concatenate([token_part, position_part], axis=-1), one_hot, weights)


def make_batch(
    windows: np.ndarray,
    objective: Objective,
    vocabulary: int,
    rng: np.random.Generator | None = None,
    mask_fraction: float = 0.15,
) -> Batch:
    """Cut windows of text into inputs, targets and weights.

    Args:
        windows: Ids [B, T + 1], consecutive tokens.
        objective: "next_token" (every position predicts its successor, weights 1 / T), "last_token" (only the last
            position has weight) or "masked" (positions whose token is withheld predict that token; the last id of
            each window is unused).
        vocabulary: Number of classes V.
        rng: Chooses the masked positions; required for "masked", unused otherwise.
        mask_fraction: Probability in (0, 1] that a position is masked; a sample always has at least one.

    Returns:
        The batch, T positions a sample.

    Raises:
        SpecError: Unknown objective, "masked" without rng, or mask_fraction out of range.
        DataError: Windows too short or ids outside the vocabulary.
    """
    _check_name(objective)
    windows = _ids("windows", windows)
    if windows.shape[1] < 2:
        raise DataError(f"a window needs at least 2 tokens, got {windows.shape[1]}")
    inputs = windows[:, :-1]
    samples, length = inputs.shape
    if objective == "next_token":
        return encode(inputs, windows[:, 1:], np.full(length, 1.0 / length), vocabulary)
    if objective == "last_token":
        return encode(inputs, windows[:, 1:], np.arange(length) == length - 1, vocabulary)
    if rng is None:
        raise SpecError("data.objective: masked chooses positions at random and needs rng (a numpy Generator)")
    if not 0 < mask_fraction <= 1:
        raise SpecError(f"data.mask_fraction: {mask_fraction} is outside (0, 1]")
    masked = rng.random((samples, length)) < mask_fraction
    spare = rng.integers(length, size=samples)  # the position masked where chance chose none
    masked[np.arange(samples), spare] |= ~masked.any(axis=1)
    weights = masked / masked.sum(axis=1, keepdims=True)
    return encode(np.where(masked, NO_TOKEN, inputs), inputs, weights, vocabulary)


def check_objective(model: EquilibriumTransformer, objective: Objective) -> None:
    """Refuse an objective whose answer the model could read from its own input.

    Args:
        model: The model to train.
        objective: "next_token", "last_token" or "masked"; the last two suit every model.

    Raises:
        SpecError: Unknown objective, or "next_token" for a model that is not causal.
    """
    _check_name(objective)
    if objective == "next_token" and not model.causal:
        raise SpecError(
            f"data.objective: next_token needs a causal model, but attention = {model.attention!r} with asymmetry = "
            f"{model.asymmetry:g} has an energy part. Reciprocity excludes causality: a symmetric Jacobian lets a "
            "token feel its future, so a next-token loss at every position would read the answer. "
            "Use last_token or masked."
        )


def cross_entropy(logits: Array, targets: Array, weights: Array) -> Array:
    """Weighted cross-entropy sum_t w_t (logsumexp(logits_t) - targets_t . logits_t), in nats.

    Args:
        logits: [T, V].
        targets: One-hot [T, V].
        weights: [T].

    Returns:
        The loss of one sample, a scalar.
    """
    surprise = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(targets * logits, axis=-1)
    return jnp.sum(weights * surprise)


def _check_name(objective: str) -> None:
    if objective not in OBJECTIVES:
        raise SpecError(f"data.objective: {objective!r} is not one of {', '.join(OBJECTIVES)}")


def _ids(name: str, ids: np.ndarray) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(f"{name} must be a non-empty integer array of two axes, got {ids.dtype} {ids.shape}")
    return ids.astype(np.int64)
