"""Feedback alignment: the output error goes back to every node through a fixed random array."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from analogep.ep.task import Multipliers, Task
from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Voltages
from analogep.simulate.system import System

Feedback = Mapping[str, Mapping[str, Array]]
"""Output bus -> bus -> weights [nodes of that bus, nodes of the output bus], dimensionless."""


def random_feedback(
    system: System, key: Array, output: str, *, observed: Array | None = None, spread: float = 1.0
) -> dict[str, dict[str, Array]]:
    """Fixed random weights from the errors of an output bus to all states.

    Parameters
    ----------
    output : the bus whose error goes back.
    observed : which of its nodes have an error [bus shape, bool]; all by default. These keep their own error.
    spread : standard deviation times the root of the number of observed nodes; 1 gives a signal as large as the error.

    Raises
    ------
    NetlistError
        If the output is no state.
    """
    if output not in system.states:
        raise NetlistError(f"the error of {output!r} cannot go back: states are {', '.join(system.states)}")
    size = system.states[output].size
    seen = np.ones(size, bool) if observed is None else np.broadcast_to(observed, system.states[output].shape).ravel()
    out = {}
    for bus, stream in zip(system.states, jax.random.split(key, len(system.states)), strict=True):
        weights = spread / np.sqrt(seen.sum()) * jax.random.normal(stream, (system.states[bus].size, size)) * seen
        out[bus] = jnp.where(seen[:, None], jnp.eye(size), weights) if bus == output else weights
    return {output: out}


def fed_back(system: System, push: Voltages, feedback: Feedback) -> Currents:
    """Currents into the states that the errors `push` make through the feedback."""
    out = system.zeros()
    for output, arrays in feedback.items():
        error = jnp.ravel(push[output])
        out = {bus: now + (arrays[bus] @ error).reshape(now.shape) for bus, now in out.items()}
    return out


def feedback_alignment(task: Task, feedback: Feedback) -> Multipliers:
    """lambda replaced by the output error through a fixed random array, over the reference conductance g0.

    It knows nothing of the circuit: at random weights its angle to the gradient is near 90 degrees at nodes that the
    loss does not look at; learning may align the circuit with it. Biased, without variance for a given array. The price
    is one settle, no nudged phase, one stored voltage for each state and an array from the n_out outputs to the others.

    Parameters
    ----------
    feedback : of `random_feedback`.

    Raises
    ------
    NetlistError
        If the loss is of nodes that are no states.

    Reference
    ---------
    Lillicrap et al. 2016, "Random synaptic feedback weights support error backpropagation for deep learning";
    Nøkland 2016, "Direct feedback alignment provides learning in deep neural networks" (straight to every node).
    """
    free, system = task.free, task.system
    signal = fed_back(system, task.push(free.settled.v), feedback)
    lam = {bus: current / system.scale.siemens for bus, current in signal.items()}
    return Multipliers(lam, free.voltages, 1, free.settled.residual, free.settled.converged)
