"""Transformer blocks with random weights, as studies q3 and q4 measure them."""

from __future__ import annotations

from typing import Any

import numpy as np

SIZES = {"tokens": 4, "channels": 8, "heads": 2, "ffn": 12, "vocabulary": 11}
OBJECTIVE = {"free": "next_token", "energy": "last_token", "mixed": "masked"}


def random_block(attention: str, seed: int, stream: int) -> tuple[Any, dict[str, np.ndarray], Any]:
    """A block, random weights of the seed, and a batch of one random window; `stream` tells the studies apart."""
    import jax

    from analogep.models import EquilibriumTransformer, make_batch

    model = EquilibriumTransformer(**SIZES, damping=1.0, attention=attention, layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(seed)).items()}
    rng = np.random.default_rng([seed, stream])
    window = rng.integers(SIZES["vocabulary"], size=(1, SIZES["tokens"] + 1))
    return model, weights, make_batch(window, OBJECTIVE[attention], SIZES["vocabulary"], rng)
