"""Array shapes used in signatures."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from jax import Array as JaxArray

Array: TypeAlias = JaxArray | np.ndarray
Voltages: TypeAlias = Mapping[str, Array]
"""Bus name -> voltages of that bus, shaped like the bus (volts)."""
Currents: TypeAlias = dict[str, Array]
"""Bus name -> currents, shaped like the bus (amperes); an element's count what *leaves* the node through it."""
Parameters: TypeAlias = Mapping[str, Array]
"""Programmable array name -> signed conductances (siemens)."""
