"""Estimators as programs of phases, reference gradients, and how close the two are."""
