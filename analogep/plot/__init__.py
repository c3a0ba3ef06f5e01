"""Figures from data: every function takes data and `ax=`, and returns the axes. Nothing here imports jax or pyplot."""

from analogep.plot import (
    analysis,
    budget,
    circuit,
    exponents,
    fidelity,
    learning,
    pareto,
    power,
    pseudospectra,
    repeats,
    response,
    stability,
    sweep,
    waveforms,
)

__all__ = [
    "analysis",
    "budget",
    "circuit",
    "exponents",
    "fidelity",
    "learning",
    "pareto",
    "power",
    "pseudospectra",
    "repeats",
    "response",
    "stability",
    "sweep",
    "waveforms",
]
