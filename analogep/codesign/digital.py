"""The digital rival: energy of a BPTT step of the same model over the same horizon, operation by operation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analogep.codesign.hardware import Sourced
from analogep.models.transformer import EquilibriumTransformer

HOROWITZ = "Horowitz 2014 (ISSCC), 45 nm"
MULTIPLY = Sourced(3.7e-12, "J", f"{HOROWITZ}: fp32 multiply 3.7 pJ")
ADD = Sourced(0.9e-12, "J", f"{HOROWITZ}: fp32 add 0.9 pJ")
CACHE = Sourced(5e-12, "J", f"{HOROWITZ}: 10 pJ for 64 bits of an 8 kB cache, half of it for a 32-bit word")
SYSTEMS = "HERMES (analog in-memory, inference): 205 and 806 fJ a multiply-accumulate, 1- and 4-phase reads"
BACKWARD = 2
"""Work of a backward step over that of a forward one: products with the transposed matrix, and for the gradient."""


def forward_work(model: EquilibriumTransformer) -> tuple[int, int, int]:
    """Multiply-accumulates of one evaluation of F(z) for all tokens; the weights read; the activations written.

    Embedding and readout are not in it: they are used once, not at every step. Cheaper parts (norms, softmax) are left
    out, in favor of the digital machine.
    """
    shapes = {name: int(np.prod(shape)) for name, shape in model.weight_shapes.items()}
    inside = {name: size for name, size in shapes.items() if name not in ("embed", "readout")}
    twice = sum(size for name, size in inside.items() if name.startswith("energy") or name == "memory")
    weights = sum(inside.values())
    pairs = model.tokens * (model.tokens + 1) // 2 if model.asymmetry == 1 else model.tokens**2
    attention = 2 * pairs * model.channels
    states = model.tokens * (7 * model.channels + 2 * model.ffn) + 2 * model.heads * pairs
    return model.tokens * (weights + twice) + attention, weights + twice, states


def bptt_step(model: EquilibriumTransformer, horizon: float, dt: float = 0.2) -> dict[str, Sourced]:
    """Energy of one step of backpropagation through time on one window.

    Parameters
    ----------
    horizon : time that is unrolled (units of tau).
    dt : Euler step.

    Returns
    -------
    Multiply-accumulates, words moved, and energies of a step and of a token.
    """
    steps = math.ceil(horizon / dt)
    macs, weights, states = forward_work(model)
    ends = model.tokens * sum(int(np.prod(model.weight_shapes[name])) for name in ("embed", "readout"))
    total = (1 + BACKWARD) * (steps * macs + ends)
    # weights once a step for all tokens, forward and twice backward; activations written, read, and their errors too
    words = steps * ((1 + BACKWARD) * weights + 4 * states)
    joules = total * (MULTIPLY.value + ADD.value) + words * CACHE.value
    how = f"{steps} Euler steps of {dt:g} tau, backward {BACKWARD} times forward"
    return {
        "macs": Sourced(float(total), "1", f"counted: {how}"),
        "words": Sourced(float(words), "1", "counted: weights once a step for all tokens, activations kept"),
        "energy_per_step": Sourced(joules, "J", f"{MULTIPLY.source}; {ADD.source}; {CACHE.source}"),
        "energy_per_token": Sourced(joules / model.tokens, "J", "energy of a step over its tokens"),
    }


def comparison(model: EquilibriumTransformer, horizon: float, learned_token: float, dt: float = 0.2) -> dict[str, Any]:
    """A digital BPTT step beside an analog learning step of `learned_token` joules a token."""
    digital = bptt_step(model, horizon, dt)
    return {
        **{name: entry.to_dict() for name, entry in digital.items()},
        "advantage": Sourced(
            digital["energy_per_token"].value / learned_token, "1", "digital over analog energy of a learned token"
        ).to_dict(),
        "anchor": SYSTEMS,
    }
