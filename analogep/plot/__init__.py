"""Figures from data: every function takes data and `ax=`, and returns the axes. Nothing here imports jax or pyplot."""

from analogep.plot import (
    analysis,
    circuit,
    exponents,
    fidelity,
    learning,
    power,
    pseudospectra,
    response,
    stability,
    waveforms,
)

__all__ = [
    "analysis",
    "circuit",
    "exponents",
    "fidelity",
    "learning",
    "power",
    "pseudospectra",
    "response",
    "stability",
    "waveforms",
]
