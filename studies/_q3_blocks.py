"""Transformer blocks with every cell output a node: adjoint paths whose copies lag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ._blocks import random_block
from ._q3_networks import with_lag

if TYPE_CHECKING:
    from .q3 import Config

LAGGING = ("injection", "reversed")


def measure_block(config: Config, seed: int, attention: str) -> xr.Dataset:
    """Abscissa (1/tau) of a compiled block with random weights, and of its injection and its reversal over the lag."""
    from analogep.compile import compile_transformer, to_conductances
    from analogep.learning.nudge import rails
    from analogep.learning.phases import CircuitPhases

    model, weights, batch = random_block(attention, seed, 36)
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
