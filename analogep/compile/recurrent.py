"""A recurrent network as a circuit: the smallest netlist whose states can have any conductance matrix.

dz/dt = -leak z + W tanh(z) + drive, one buffered crossbar around n nodes.
"""

from __future__ import annotations

import numpy as np

from analogep.cells import Activation
from analogep.compile.stages import Level, Stages
from analogep.netlist.arrays import Crossbar
from analogep.netlist.checks import check
from analogep.netlist.element import GROUND
from analogep.netlist.elements import ISource
from analogep.netlist.graph import Bus, Netlist
from analogep.units import Scale

STATE, HIDDEN, RECURRENT = "z", "hidden", "recurrent"
"""State bus, bus of tanh(z), and the programmable array W."""


def compile_recurrent(
    weights: np.ndarray,
    drive: np.ndarray,
    *,
    leak: np.ndarray | float = 1.0,
    level: Level = "ideal",
    scale: Scale | None = None,
    epsilon: float = 0.1,
) -> Netlist:
    """Compile W and its drive onto nodes `z`.

    Parameters
    ----------
    weights : W [n, n], signed, dimensionless.
    drive : constant input [n].
    leak : broadcast to [n], positive.
    level, scale, epsilon : as for `compile_transformer`.
    """
    scale = scale or Scale(0.1, 1e-5, 1e-14)
    drive = np.asarray(drive, float)
    stages, nodes = Stages(level, scale, epsilon), Bus(drive.shape)
    arrays = {RECURRENT: np.asarray(weights, float) * scale.siemens}
    netlist = Netlist({STATE: nodes, HIDDEN: nodes}, {}, arrays, "recurrent network").add(
        *stages.state(STATE, np.broadcast_to(leak, drive.shape)),
        ISource("drive", GROUND, STATE, drive * scale.amperes),
        Activation("tanh", (STATE,), HIDDEN, scale.siemens, scale.volts, kind="tanh"),
        *stages.output(HIDDEN),
        Crossbar(RECURRENT, HIDDEN, STATE, RECURRENT),
    )
    check(netlist)
    return netlist


def weights_at(
    conductance: np.ndarray, state: np.ndarray, *, leak: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """W and drive of the network that rests at a chosen state with a chosen conductance matrix.

    Parameters
    ----------
    conductance : G [n, n] = leak - W diag(1 - tanh(z)^2), any matrix, dimensionless.
    state : z [n] at rest; |z| of a few at most, because the slope of tanh is divided by.
    """
    state = np.asarray(state, float)
    leaks = np.broadcast_to(np.asarray(leak, float), state.shape)
    weights = (np.diag(leaks) - np.asarray(conductance, float)) / (1 - np.tanh(state) ** 2)
    return weights, leaks * state - weights @ np.tanh(state)
