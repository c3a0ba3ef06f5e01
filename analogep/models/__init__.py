"""The specification: F(z) of the equilibrium transformer in plain JAX, and the objectives it is trained on."""

from analogep.models.objective import Batch, check_objective, cross_entropy, encode, make_batch
from analogep.models.transformer import EquilibriumTransformer

__all__ = ["Batch", "EquilibriumTransformer", "check_objective", "cross_entropy", "encode", "make_batch"]
