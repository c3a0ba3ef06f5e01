"""A system and its adjoints: as a network beside it, with its couplings turned round, or as a dense transpose."""

from __future__ import annotations

from functools import cached_property

from analogep.errors import NetlistError
from analogep.learning.altered import Linear
from analogep.learning.doubled import Doubled
from analogep.learning.phases import PhaseRun
from analogep.learning.reversal import flipped, reversed_network
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import HELD
from analogep.netlist.graph import Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System


class Adjoints:
    """What phases make of a system's transpose, all forward-only.

    Parameters
    ----------
    system : a Circuit, or another System, whose transposed products are then dense.

    Raises
    ------
    NetlistError
        Where a network is asked for of a system that is no circuit.
    """

    def __init__(self, system: System) -> None:
        if isinstance(system, Circuit) and not system.forward_only:
            system = Circuit(system.netlist, system.scale, forward_only=True)
        self.system = system

    def _circuit(self, what: str) -> Circuit:
        if not isinstance(self.system, Circuit):
            raise NetlistError(
                f"{what}: {type(self.system).__name__} is no circuit; compile it, or read `displacement` of its states"
            )
        return self.system

    def _built(self, netlist: Netlist) -> Circuit:
        return Circuit(netlist, self.system.scale, forward_only=True)

    @cached_property
    def transposed_circuit(self) -> Circuit:
        """The whole adjoint network of a circuit."""
        return self._built(adjoint(self._circuit("adjoint network").netlist))

    @cached_property
    def reversed_circuit(self) -> Circuit:
        """The circuit with every one-way coupling turned round."""
        return self._built(reversed_network(self._circuit("reversed couplings").netlist))

    @cached_property
    def flipped_circuit(self) -> Circuit:
        """The circuit with its gyrators flipped."""
        return self._built(flipped(self._circuit("flipped gyrators").netlist))

    def held(self, voltages: Voltages) -> dict[str, Array]:
        """Operating-point voltages on the held rails of an adjoint network."""
        return {HELD + bus: value for bus, value in voltages.items()}

    def adjoint_system(self, free: PhaseRun, x: Voltages, theta: Parameters) -> tuple[System, dict[str, Array]]:
        """The adjoint about the free state, and its inputs: a network of its own, or a dense transpose."""
        if isinstance(self.system, Circuit):
            return self.transposed_circuit, self.held(free.voltages)
        return Linear(self.system, self.system.conductance(free.settled.v, x, theta).T), {}

    def transposed(self, at: Voltages, w: Voltages, x: Voltages, theta: Parameters) -> Currents:
        """G^T w about the live state `at`, by the adjoint network or by a dense transpose."""
        if isinstance(self.system, Circuit):
            held = self.held(self.system.voltages(at, x, theta))
            return self.transposed_circuit.current(w, held, theta)
        matrix = self.system.conductance(at, x, theta)
        return self.system.unflatten(matrix.T @ self.system.flatten(w))

    def doubled(self) -> Doubled:
        """The two coupled copies of the DYADIC phase."""
        return Doubled(self.system, self.transposed)
