"""Figures from data: every function takes data and `ax=`, and returns the axes. Nothing here imports jax or pyplot."""

from analogep.plot.circuit import block_diagram
from analogep.plot.fidelity import estimator_bars, scatter
from analogep.plot.learning import learning_curves
from analogep.plot.stability import eigenvalues, growth_curve
from analogep.plot.waveforms import nudged, overlay, waveforms

__all__ = [
    "block_diagram",
    "eigenvalues",
    "estimator_bars",
    "growth_curve",
    "learning_curves",
    "nudged",
    "overlay",
    "scatter",
    "waveforms",
]
