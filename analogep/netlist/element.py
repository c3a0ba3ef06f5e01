"""What every element of a netlist is: terminals, and one view for each use that is made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages

if TYPE_CHECKING:
    from analogep.netlist.graph import Bus
    from analogep.netlist.spice.write import Deck

GROUND = "0"
HELD = "free."
"""Prefix of the rails on which an adjoint network holds the operating-point voltages of the circuit it belongs to."""


@dataclass(frozen=True, eq=False)
class Element(ABC):
    """Base of all elements. Bus-valued fields connect whole buses; an element is its class's array of instances.

    A class states its terminals, which of them it reads (its current depends on their voltage), drives (it pushes
    current there) and forces (it fixes their voltage), and then its views: law in JAX, SPICE text, adjoint, and local
    update if it is programmable.
    """

    name: str

    @property
    @abstractmethod
    def terminals(self) -> Mapping[str, str]:
        """Terminal role -> bus name."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Buses whose voltages the element's current or forced voltage depends on."""
        return ()

    @property
    def drives(self) -> tuple[str, ...]:
        """Buses into which, or out of which, the element carries current."""
        return ()

    @property
    def forces(self) -> tuple[str, ...]:
        """Buses whose voltage the element fixes ideally (no loading): they are not states."""
        return ()

    @property
    def shunts(self) -> str | None:
        """The bus that the element loads with a conductance to ground and does nothing else to, or None."""
        return None

    def conductance(self, theta: Parameters) -> Array | float:
        """Conductance of an element that shunts a bus (siemens)."""
        raise TypeError(f"{type(self).__name__} {self.name!r} has no conductance")

    def currents(self, v: Voltages, theta: Parameters, t: Array | float) -> Currents:
        """Current that leaves each driven bus through the element (amperes), shaped like that bus."""
        return {}

    def forced(self, v: Voltages, theta: Parameters, t: Array | float) -> Array:
        """Voltage of the forced bus (volts)."""
        raise TypeError(f"{type(self).__name__} forces no voltage")

    def adjoint(self) -> tuple[Element, ...]:
        """The elements that stand for this one in the adjoint network (Director and Rohrer 1969).

        They read and drive buses of the same names, whose voltages there are the multipliers lambda; voltages of the
        circuit itself are read from the held rails `free.<bus>`.
        """
        raise NetlistError(f"element {self.name!r}: {type(self).__name__} has no adjoint; flatten the netlist first")

    @property
    def array(self) -> str | None:
        """Name of the programmable array that the element uses, or None."""
        return None

    def local_product(self, pre: Voltages, post: Voltages) -> Array:
        """Product of two signals at the element's own terminals, bilinear in (pre, post), shaped like its array.

        With pre the free voltages and post the multipliers lambda it equals lambda^T di/dg, the local gradient.
        """
        raise TypeError(f"{type(self).__name__} {self.name!r} is not programmable")

    def check(self, buses: Mapping[str, Bus], arrays: Mapping[str, Array]) -> None:  # noqa: B027
        """Raise NetlistError where values or shapes of this element cannot be; by default none is refused."""

    @abstractmethod
    def spice(self, deck: Deck) -> Iterator[str]:
        """SPICE lines of all instances, scalar nodes named by `deck.node`."""

    def _check_values(self, what: str, values: Array | float, buses: Mapping[str, Bus]) -> None:
        """Raise NetlistError unless `values` are finite numbers, one for all instances or one each."""
        nodes = " and ".join(repr(bus) for bus in dict.fromkeys(self.terminals.values()))
        if not np.all(np.isfinite(np.asarray(values, float))):
            raise self._wrong(f"a {what} at {nodes} is not finite")
        shape = max((buses[bus].shape for bus in self.terminals.values() if bus != GROUND), key=len, default=())
        if np.ndim(values) and np.shape(values) != shape:
            raise self._wrong(f"{what} of shape {np.shape(values)} at {nodes} of shape {shape}; give one, or one each")

    def _wrong(self, message: str) -> NetlistError:
        return NetlistError(f"{type(self).__name__} {self.name!r}: {message}")
