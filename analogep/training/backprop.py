"""The digital reference for training: the same model, batches and optimizer under BPTT."""

from __future__ import annotations

import jax.numpy as jnp

from analogep.ep import oracle
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array
from analogep.training.local import GradientOf, Weights


def bptt_gradient(model: EquilibriumTransformer, steps: int, dt: float) -> GradientOf:
    """Loss and gradient of a batch by backpropagation through `steps` Euler steps of F(z)."""

    def batch(weights: Weights, x: dict[str, Array]) -> tuple[Array, dict[str, Array], Array]:
        found = oracle.bptt(model, weights, x["token"], x["target"], x["weight"], steps=steps, dt=dt)
        return found.loss, found.gradient, jnp.asarray(True)

    return batch
