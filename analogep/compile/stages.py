"""How a compiled circuit loads its nodes: ideal summing stages, or a conductance and a parasitic capacitor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analogep.errors import NetlistError, SpecError
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import Capacitor, Resistor, Summer
from analogep.units import Scale

Level = Literal["ideal", "parasitic", "device"]


@dataclass(frozen=True)
class Stages:
    """Output stages at one level.

    Parameters
    ----------
    level : `ideal`: cells are instantaneous; `parasitic`: every cell output is a node with its own pole; `device`: as
        `parasitic`, between nodes that devices, wires and transistors join.
    scale : physical size of one unit; each stage has the conductance `scale.siemens`.
    epsilon : time constant of a cell over that of a state, tau_cell = epsilon * tau (all but ideal).
    """

    level: Level
    scale: Scale
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        if self.level not in ("ideal", "parasitic", "device"):
            raise SpecError(f"compile.level is {self.level!r}; choose 'ideal', 'parasitic' or 'device'")
        if self.level != "ideal" and not self.epsilon > 0:
            raise SpecError(f"compile.epsilon is {self.epsilon:g}; a parasitic time constant must be positive")

    def output(self, bus: str) -> tuple[Element, ...]:
        """What a cell's or an array's output bus is loaded with."""
        if self.level == "ideal":
            return (Summer(f"{bus}.sum", bus, self.scale.siemens),)
        return (
            Resistor(f"{bus}.load", bus, GROUND, self.scale.siemens),
            Capacitor(f"{bus}.pole", bus, GROUND, self.epsilon * self.scale.farads),
        )

    def state(self, bus: str, leak: np.ndarray, loading: np.ndarray | float = 0.0) -> tuple[Element, ...]:
        """Damping capacitor and leak of a state bus.

        Parameters
        ----------
        leak : 1 + c, broadcast to the bus.
        loading : conductance that resistive arrays already hang on each node, in units of `scale.siemens`; it is
            absorbed in the leak.

        Raises
        ------
        NetlistError
            If the loading exceeds the leak.
        """
        rest = np.asarray(leak, float) - loading
        if np.any(rest < 0):
            worst = np.unravel_index(np.argmin(rest), rest.shape)
            raise NetlistError(
                f"node {bus}{list(map(int, worst))}: resistive arrays load it with sum |g| = "
                f"{np.broadcast_to(loading, rest.shape)[worst]:.3g} g0, more than its leak (1 + c) g0 = "
                f"{np.broadcast_to(leak, rest.shape)[worst]:.3g} g0; raise the damping or shrink the weights"
            )
        return (
            Capacitor(f"{bus}.damping", bus, GROUND, self.scale.farads),
            Resistor(f"{bus}.leak", bus, GROUND, rest * self.scale.siemens),
        )


def to_conductances(weights: Mapping[str, np.ndarray], scale: Scale) -> dict[str, np.ndarray]:
    """Signed conductances (siemens) that realize dimensionless weights."""
    return {name: weight * scale.siemens for name, weight in weights.items()}


def to_weights(conductances: Mapping[str, np.ndarray], scale: Scale) -> dict[str, np.ndarray]:
    """Dimensionless weights that signed conductances realize; the inverse of `to_conductances`."""
    return {name: g / scale.siemens for name, g in conductances.items()}
