"""Decks of the phases: the free circuit, the nudged one, and the adjoint network, each with its inputs set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

from analogep.compile.transformer import LOGITS
from analogep.learning.phases import CircuitPhases, nudge_options
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.element import GROUND
from analogep.netlist.elements import ISource
from analogep.netlist.graph import Netlist
from analogep.simulate.circuit import Circuit
from analogep.simulate.reference import with_inputs

PhaseName = Literal["free", "nudged", "adjoint"]


@dataclass(frozen=True, eq=False)
class PhaseDeck:
    """A phase of one sample, ready to be written or checked.

    Attributes
    ----------
    netlist : with inputs set and conductances in place.
    voltages : settled voltages of all its buses, by analogep.
    held : operating point for an adjoint network, else None.
    system, x : the System of the phase and its inputs, for waveforms.
    """

    netlist: Netlist
    voltages: dict[str, Array]
    held: dict[str, Array] | None
    system: Circuit
    x: dict[str, Array]


def phase_deck(phases: CircuitPhases, phase: PhaseName, x: Voltages, theta: Parameters, beta: float) -> PhaseDeck:
    """Settle a phase of one sample and set up its netlist.

    Raises
    ------
    ConvergenceError
        If the phase does not settle.
    """
    free = phases.free(x, theta)
    free.settled.require("the free phase")
    if phase == "free":
        netlist = with_inputs(phases.circuit.netlist, x)
        return PhaseDeck(netlist.with_arrays(theta), free.voltages, None, phases.circuit, dict(x))
    if phase == "nudged":
        inputs = phases.nudged_inputs(free, x, beta)
        near = nudge_options(phases.options, beta)
        run = phases.nudged(free, x, theta, np.asarray(beta), near)
        run.settled.require("the nudged phase")
        netlist = with_inputs(phases.nudged_circuit.netlist, inputs)
        return PhaseDeck(netlist.with_arrays(theta), run.voltages, None, phases.nudged_circuit, inputs)
    run = phases.twin(free, x, theta)
    run.settled.require("the adjoint phase")
    push = np.asarray(phases.output_push(free, x, theta)[LOGITS])
    twin = phases.twin_circuit
    netlist = twin.netlist.add(ISource("push", GROUND, LOGITS, push))
    arrays = {name: theta[name] for name in netlist.arrays}
    held = {bus: np.asarray(value) for bus, value in free.voltages.items()}
    return PhaseDeck(netlist.with_arrays(arrays), run.voltages, held, twin, phases.held(free))


def adjoint_reference(phases: CircuitPhases, x: Voltages, theta: Parameters, deck: PhaseDeck) -> dict[str, np.ndarray]:
    """-G^-T dL/dv of the full equations by a dense solve: what the adjoint deck must show, driven nodes included.

    G is the Jacobian of KCL at every node, states and ideal stages alike, by forward mode on the *circuit*; no part of
    the adjoint network enters.
    """
    assert deck.held is not None
    full = phases.circuit.full
    shapes = {bus: phases.circuit.netlist.buses[bus] for bus in full.unknowns}
    at = {bus: jax.numpy.asarray(deck.held[bus]) for bus in full.unknowns}

    def flat(values: Voltages) -> Array:
        return jax.numpy.concatenate([jax.numpy.ravel(values[b])[shape.indices] for b, shape in shapes.items()])

    def leaving(vector: Array) -> Array:
        out, start = {}, 0
        for bus, shape in shapes.items():
            part = vector[start : start + shape.nodes]
            out[bus] = jax.numpy.zeros(shape.size).at[shape.indices].set(part).reshape(shape.shape)
            start += shape.nodes
        return flat(full(out, x, theta)[1])

    conductance = np.asarray(jax.jit(jax.jacfwd(leaving))(flat(at)))
    pushed = {bus: np.zeros(shape.shape) for bus, shape in shapes.items()}
    push = deck.netlist.elements["push"]
    assert isinstance(push, ISource)
    pushed[LOGITS] = np.asarray(push.value)
    scale = phases.scale.siemens
    lam = np.linalg.solve(conductance.T / scale, np.asarray(flat(pushed)) / scale)
    out, start = {}, 0
    for bus, shape in shapes.items():
        values = np.zeros(shape.size)
        values[shape.indices] = lam[start : start + shape.nodes]
        out[bus], start = values.reshape(shape.shape), start + shape.nodes
    return out
