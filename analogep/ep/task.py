"""One sample for the phases of a system, and what estimators hand back: multipliers, or a gradient with its price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogep.ep.estimators import TWIN
from analogep.errors import NetlistError
from analogep.learning.phases import PhaseRun
from analogep.learning.rule import Phase, local_gradient
from analogep.learning.system_phases import SystemPhases
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.element import GROUND
from analogep.netlist.graph import Bus
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System


class Multipliers(NamedTuple):
    """Estimated multipliers lambda, with G^T lambda = -dL/dv (times one ampere and one volt unit).

    Attributes
    ----------
    lam : bus -> lambda (volts), shaped like the bus.
    free : voltages of all buses in the free phase.
    settles : phases that were settled for it, the free one included.
    residual : largest relative residual of these phases.
    converged : whether all of them settled.
    """

    lam: dict[str, Array]
    free: dict[str, Array]
    settles: int
    residual: Array
    converged: Array


class Gradient(NamedTuple):
    """An estimated gradient.

    Attributes
    ----------
    gradient : array name -> dL/dg (1/siemens).
    loss : the loss at the state (or along the path) that it belongs to.
    residual : largest relative residual of the phases behind it; for a finite time, that of the state reached.
    converged : whether the phases settled; for a finite time, whether all numbers stayed finite.
    settles : phases that were settled; 0 for a finite time.
    stored : numbers that the method holds besides the state, the weights and the gradient.
    """

    gradient: dict[str, Array]
    loss: Array
    residual: Array
    converged: Array
    settles: int | Array
    stored: int | Array


@partial(jax.tree_util.register_dataclass, data_fields=["x", "theta", "v0", "rest"], meta_fields=["phases"])
@dataclass(frozen=True, eq=False)
class Task:
    """One sample for the phases of a system: its inputs, its conductances, and where it starts.

    All but the phases are leaves of a pytree: estimators compile once for the phases.

    Parameters
    ----------
    phases : of the system with its loss; they say how everything settles.
    x : input voltages of one sample.
    theta : conductances (siemens); those that the system was built with when empty.
    v0 : where the free phase, or a run, starts (volts); states that it leaves out start from 0 V.
    rest : the free phase, if it has been run already; None runs it.
    """

    phases: SystemPhases
    x: Voltages = field(default_factory=dict)
    theta: Parameters = field(default_factory=dict)
    v0: Voltages = field(default_factory=dict)
    rest: PhaseRun | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "theta", {**self.system.theta, **self.theta})

    @property
    def system(self) -> System:
        """The system, which refuses reverse mode if it is a circuit."""
        return self.phases.system

    @cached_property
    def free(self) -> PhaseRun:
        """The free phase. It is kept, but does not go into a jitted function with the task: pass `at_rest` there."""
        return self.phases.free(self.x, self.theta, self.v0) if self.rest is None else self.rest

    @property
    def at_rest(self) -> Task:
        """The same task with its free phase run."""
        return replace(self, rest=self.free)

    def loss(self, v: Voltages, theta: Parameters, sources: Voltages | None = None) -> Array:
        """The loss at state voltages `v`."""
        return self.phases.cost.loss(self.system.voltages(v, self.x, theta, 0.0, sources), self.x, theta)

    def push(self, v: Voltages, theta: Parameters | None = None) -> Currents:
        """Current -dL/dv into every state (amperes), 0 where the loss does not look.

        Raises
        ------
        NetlistError
            If the loss is of nodes that are no states.
        """
        theta = self.theta if theta is None else theta
        force = self.phases.force(self.system.voltages(v, self.x, theta), self.x, theta)
        return {
            name: jnp.asarray(force.get(name, 0.0)) + jnp.zeros(bus.shape) for name, bus in self.system.states.items()
        }


def pushed_by_weights(circuit: Circuit) -> tuple[str, ...]:
    """Buses whose lambda the weights' gradients need: those that programmable elements push current into."""
    rails = circuit.inputs()
    weighted = (bus for e in circuit.netlist if e.array is not None for bus in e.drives)
    return tuple(bus for bus in dict.fromkeys(weighted) if bus != GROUND and bus not in rails)


def pushable(system: System) -> dict[str, Bus]:
    """All nodes into which current may be pushed: the states, and driven buses that weights push into."""
    buses = dict(system.states)
    if isinstance(system, Circuit):
        buses |= {bus: system.netlist.buses[bus] for bus in pushed_by_weights(system)}
    return buses


def weight_gradient(
    circuit: Circuit, free: Voltages, lam: Mapping[str, Array], *, unit: float | None = None
) -> dict[str, Array]:
    """Gradient of every programmable array from lambda at its own terminals (1/siemens).

    Parameters
    ----------
    free : voltages of all buses in the free phase.
    lam : bus -> lambda (volts); input rails have none.
    unit : current times voltage of a unit of loss; that of the circuit's scale by default.

    Raises
    ------
    NetlistError
        If a programmable element pushes into a bus whose lambda is missing.
    """
    for bus in pushed_by_weights(circuit):
        if bus not in lam:
            raise NetlistError(
                f"weights push current into {bus!r}, but only lambda at {', '.join(lam)} is known; compile at level "
                "'parasitic', where every node is a state, or use node perturbation or the twin"
            )
    signals = {
        Phase.FREE: free,
        Phase.TWIN: {**{bus: jnp.zeros(shape.shape) for bus, shape in circuit.netlist.buses.items()}, **lam},
    }
    scale = circuit.scale
    return local_gradient(TWIN, circuit.netlist, signals, 1.0, scale.amperes * scale.volts if unit is None else unit)
