"""Small compiled blocks on which the estimators, the oracle and the guard are tested, each set up once."""

from functools import cache

import jax
import numpy as np

from analogep.compile import compile_transformer, to_conductances
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.models import EquilibriumTransformer, make_batch

T, D, H, F, V = 4, 8, 2, 12, 11
OBJECTIVE = {"free": "next_token", "energy": "last_token", "mixed": "masked"}


@cache
def block(kind, **changes):
    """A model, its weights, and a batch of two samples of its objective."""
    fields = {"tokens": T, "channels": D, "heads": H, "ffn": F, "vocabulary": V, "damping": 1.0, "attention": kind}
    model = EquilibriumTransformer(**(fields | {"layer_norm_epsilon": 0.1} | changes))
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(0)).items()}
    rng = np.random.default_rng(0)
    windows = rng.integers(V, size=(2, model.tokens + 1))
    return model, weights, make_batch(windows, OBJECTIVE[kind], V, rng)


@cache
def phases(kind, level="parasitic"):
    """The phases of the compiled block."""
    model, weights, _ = block(kind)
    return CircuitPhases(compile_transformer(model, weights, level=level))


def sample(kind, which=0, level="parasitic"):
    """Rails of one sample, and the conductances."""
    _, weights, batch = block(kind)
    scale = phases(kind, level).scale
    x = {name: value[which] for name, value in rails(batch, scale.volts).items()}
    return x, to_conductances(weights, scale)


def one(batch, which):
    """A batch of one of the samples."""
    return type(batch)(*(part[which : which + 1] for part in (batch.inputs, batch.targets, batch.weights)))
