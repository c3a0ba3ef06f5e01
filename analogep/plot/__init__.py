"""Figures from data: every function takes data and `ax=`, and returns the axes. Nothing here imports jax or pyplot."""

from analogep.plot import analysis, circuit, fidelity, learning, stability, waveforms

__all__ = ["analysis", "circuit", "fidelity", "learning", "stability", "waveforms"]
