"""Array shapes used in signatures."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Array: TypeAlias = Any
"""A jax.Array or a numpy.ndarray. Laws and solvers take either, and containers of one do not type-check as containers
of the union, so the checker is told no more than that."""
Voltages: TypeAlias = Mapping[str, Array]
"""Bus name -> voltages of that bus, shaped like the bus (volts)."""
Currents: TypeAlias = dict[str, Array]
"""Bus name -> currents, shaped like the bus (amperes); an element's count what *leaves* the node through it."""
Parameters: TypeAlias = Mapping[str, Array]
"""Programmable array name -> signed conductances (siemens)."""
