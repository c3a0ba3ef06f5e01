"""Phases of a circuit, and local rules as data with the one engine that runs them."""
