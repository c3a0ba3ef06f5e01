"""The phases of F(z) as written: no circuit, so lambda is known at z only, and transposed products are dense."""

from __future__ import annotations

import jax

from analogep.learning.cost import Cost
from analogep.learning.system_phases import SystemPhases
from analogep.models import layers
from analogep.models.objective import cross_entropy
from analogep.models.transformer import EquilibriumTransformer
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.settle import SettleOptions
from analogep.simulate.system import ModelSystem


class CrossEntropy(Cost):
    """Weighted cross-entropy behind the final layer norm and the readout; inputs `target` and `weight`."""

    def __init__(self, model: EquilibriumTransformer) -> None:
        self.model = model

    def loss(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Array:
        assert theta is not None, "the readout is a weight"
        return cross_entropy(self.model.logits(v["z"], theta), x["target"], x["weight"])

    def force(self, v: Voltages, x: Voltages, theta: Parameters | None = None) -> Currents:
        """-dL/dz = J_LN^T W^T w (y - p), written out."""
        assert theta is not None, "the readout is a weight"
        u, sigma = layers.layer_norm(v["z"], self.model.layer_norm_epsilon)
        error = x["weight"][:, None] * (x["target"] - jax.nn.softmax(u @ theta["readout"].T))
        return {"z": layers.layer_norm_transpose(error @ theta["readout"], u, sigma)}


class ModelPhases(SystemPhases):
    """Phases of an EquilibriumTransformer's F(z); inputs are `token`, `target` and `weight`, dimensionless."""

    def __init__(
        self, model: EquilibriumTransformer, weights: Parameters, options: SettleOptions | None = None
    ) -> None:
        super().__init__(ModelSystem(model, weights, forward_only=True), CrossEntropy(model), options)
