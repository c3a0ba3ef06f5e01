"""Static HTML reports from figures and numbers; nothing here imports jax."""

from analogep.report.content import Card, Cell, Section
from analogep.report.report import Report

__all__ = ["Card", "Cell", "Report", "Section"]
