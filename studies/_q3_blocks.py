"""Transformer blocks with every cell output a node: adjoint paths whose copies lag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ._q3_networks import with_lag

if TYPE_CHECKING:
    from .q3 import Config

SIZES = {"tokens": 4, "channels": 8, "heads": 2, "ffn": 12, "vocabulary": 11}
LAGGING = ("injection", "reversed")
OBJECTIVE = {"free": "next_token", "energy": "last_token", "mixed": "masked"}


def measure_block(config: Config, seed: int, attention: str) -> xr.Dataset:
    """Abscissa (1/tau) of a compiled block with random weights, and of its injection and its reversal over the lag."""
    import jax

    from analogep.compile import compile_transformer, to_conductances
    from analogep.learning.nudge import rails
    from analogep.learning.phases import CircuitPhases
    from analogep.models import EquilibriumTransformer, make_batch

    model = EquilibriumTransformer(**SIZES, damping=1.0, attention=attention, layer_norm_epsilon=0.1)
    weights = {name: np.asarray(w) for name, w in model.init(jax.random.key(seed)).items()}
    rng = np.random.default_rng([seed, 36])
    windows = rng.integers(SIZES["vocabulary"], size=(1, SIZES["tokens"] + 1))
    batch = make_batch(windows, OBJECTIVE[attention], SIZES["vocabulary"], rng)
    phases = CircuitPhases(compile_transformer(model, weights, epsilon=config.lag_epsilon))
    circuit, scale = phases.circuit, phases.scale
    x = {name: value[0] for name, value in rails(batch, scale.volts).items()}
    theta = to_conductances(weights, scale)
    free = phases.free(x, theta)
    g = np.asarray(circuit.conductance(free.settled.v, x, theta)) / scale.siemens
    c = circuit.capacitances / scale.farads
    loads = np.diag(np.diag(g))  # what a node's own voltage pulls from it is two-way
    parts = {"injection": (g, g.T - g), "reversed": (loads, g.T - loads)}
    lags = np.array(config.block_ratios) * config.lag_epsilon
    whole = {name: [with_lag(*parts[name], c, lag) for lag in lags] for name in LAGGING}
    alpha = [[np.linalg.eigvals(matrix).real.max() for matrix in whole[name]] for name in LAGGING]
    settled = bool(free.settled.converged)
    return xr.Dataset(
        {
            "alpha": (("path", "ratio"), np.where(settled, alpha, np.nan), {"units": "1/tau"}),
            "own": np.linalg.eigvals(-g / c[:, None]).real.max() if settled else np.nan,
        },
        {"path": list(LAGGING), "ratio": list(config.block_ratios)},
    )
