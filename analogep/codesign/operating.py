"""A compiled circuit at rest, how it got there, and what its nudge moves: what costs and margins are read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from analogep.compile import Compiled
from analogep.errors import ConvergenceError
from analogep.learning.phases import CircuitPhases
from analogep.learning.rule import Phase
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.circuit import Circuit
from analogep.simulate.system import System
from analogep.simulate.transient import transient

POINTS = 400
"""Samples of a waveform in which the end of settling is looked for."""


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A circuit at rest with the first sample of a batch.

    Attributes
    ----------
    x : rails of that sample (volts).
    voltages : of all buses (volts).
    displacement : v+ - v- of all buses between the nudges +beta and -beta of the reversed circuit (volts).
    """

    compiled: Compiled
    circuit: Circuit
    x: Voltages
    theta: Parameters
    voltages: Voltages
    displacement: Voltages


def operating_point(
    phases: CircuitPhases, rails: Mapping[str, Array], theta: Parameters, beta: float
) -> OperatingPoint:
    """Settle the free phase and the reversed circuit's nudged phases for the first sample of a batch.

    Parameters
    ----------
    rails : input voltages, leading axis samples.
    theta : conductances (siemens).
    beta : nudging strength.

    Raises
    ------
    ConvergenceError
        If a phase does not settle.
    """
    first = {name: np.asarray(value)[:1] for name, value in rails.items()}
    wanted = frozenset({Phase.REVERSED_PLUS, Phase.REVERSED_MINUS})
    runs = phases.run(first, theta, wanted, beta)
    for phase, run in runs.items():
        run.settled.require(f"the phase {phase.value}")
    free, plus, minus = (
        {bus: np.asarray(v)[0] for bus, v in runs[phase].voltages.items()}
        for phase in (Phase.FREE, Phase.REVERSED_PLUS, Phase.REVERSED_MINUS)
    )
    moved = {bus: plus[bus] - minus[bus] for bus in plus if bus in free}
    x = {name: value[0] for name, value in first.items()}
    return OperatingPoint(phases.compiled, phases.circuit, x, dict(theta), free, moved)


def settling_seconds(
    system: System, x: Mapping[str, Array], theta: Parameters, final: Mapping[str, Array], tolerance: float,
    *, horizon: float = 60.0,
) -> float:  # fmt: skip
    """Time after which every state of a transient from 0 V stays within `tolerance` volts of `final`.

    Parameters
    ----------
    final : voltages at rest, of all states.
    tolerance : volts; half an LSB.
    horizon : longest time, in units of tau.

    Raises
    ------
    ConvergenceError
        If it is not there by the end of the horizon.
    """
    tau = system.scale.seconds
    times = np.concatenate([[0.0], np.geomspace(1e-2, horizon, POINTS)]) * tau
    waves = transient(system, times, dict(x), theta)
    away = np.max(
        [
            np.max(np.abs(np.asarray(waves.v[bus]) - np.asarray(final[bus])).reshape(len(times), -1), axis=1)
            for bus in system.states
        ],
        axis=0,
    )
    return last_crossing(times, away, tolerance, f"{horizon:g} tau")


def last_crossing(times: np.ndarray, away: np.ndarray, tolerance: float, until: str) -> float:
    """Time from which on a sampled distance stays within `tolerance`, straight between samples."""
    outside = np.flatnonzero(~(away <= tolerance))
    if not outside.size:
        return float(times[0])
    k = int(outside[-1])
    if k + 1 == len(times):
        raise ConvergenceError(
            f"the circuit is {away[-1]:.3g} V from rest after {until}, more than {tolerance:.3g} V; raise "
            "model.damping, or give fewer adc_bits"
        )
    return float(times[k] + (times[k + 1] - times[k]) * (away[k] - tolerance) / (away[k] - away[k + 1]))


def full_scale(point: OperatingPoint) -> Array:
    """Largest voltage of any state (volts): the range that readings need."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(point.voltages[bus])) for bus in point.circuit.states]))


def node_farads(point: OperatingPoint) -> dict[str, Array]:
    """Capacitance of every node of every state bus (farads)."""
    circuit = point.circuit
    return {bus: jnp.broadcast_to(circuit.capacitance[bus], circuit.states[bus].shape) for bus in circuit.states}
