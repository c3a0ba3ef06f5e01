"""The nudge as circuit: error rails, the nudge cells, and the readout array's way back to the states."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analogep.cells import LayerNormTranspose, Nudge
from analogep.compile.stages import Stages
from analogep.compile.transformer import LOGITS, PREDICTION, STATE, Compiled
from analogep.models.objective import Batch
from analogep.netlist._types import Array
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND, HELD
from analogep.netlist.elements import VCCS, VSource
from analogep.netlist.graph import Bus, Netlist

TARGET, WEIGHT, BETA, ERROR = "target", "weight", "beta", "error"
"""Buses of the nudge: three input rails, and e = beta w (y - p)."""


def with_nudge(compiled: Compiled, *, return_path: bool, held: bool = False) -> Netlist:
    """The compiled circuit with its output nudge; at beta = 0 it is the free circuit.

    The current -beta dL/dv enters the logit nodes. Above `ideal` the prediction p is the live one; at `ideal` the
    logits have no dynamics in which to close that loop, so p is held at its free value on a rail. `held` does so at any
    level: a nudge out of a converter must be held, for a staircase of a live p may have no fixed point. A one-way
    readout keeps the nudge from the states, so `return_path` drives the readout array from its columns as well and
    passes the result through the final layer norm's Jacobian: the force -beta dL/dz of equilibrium propagation.
    """
    model, scale = compiled.model, compiled.scale
    unit = {"siemens": scale.siemens, "volts": scale.volts}
    ideal = Stages("ideal", scale)  # the nudge is an instrument, not part of the circuit that settles
    symbols = compiled.netlist.shape(LOGITS)  # of all tokens, or of the one that a lane settles for
    buses = {TARGET: Bus(symbols), WEIGHT: Bus(symbols[:1]), BETA: Bus(), ERROR: Bus(symbols)}
    prediction = HELD + PREDICTION if held or compiled.level == "ideal" else PREDICTION
    if prediction not in compiled.netlist.buses:
        buses[prediction] = Bus(symbols)
    inputs = [bus for bus in (TARGET, WEIGHT, BETA, prediction) if bus in buses]
    elements = [
        *(VSource(name, name, np.zeros(buses[name].shape)) for name in inputs),
        Nudge("nudge", (prediction, TARGET, WEIGHT, BETA), ERROR, **unit),
        *ideal.output(ERROR),
        VCCS("push", GROUND, LOGITS, ERROR, GROUND, scale.siemens),
    ]
    if return_path:
        buses["back"] = Bus(compiled.netlist.shape(STATE))
        elements += [
            Crossbar("readout.back", "back", ERROR, "readout", transpose=True),
            *ideal.output("back"),
            LayerNormTranspose("pull", (STATE, "back"), STATE, **unit, epsilon=model.layer_norm_epsilon),
        ]
    return compiled.netlist.add(*elements, buses=buses)


def rails(batch: Batch, volts: float) -> dict[str, Array]:
    """Voltages of the input rails for a batch: token, target and weight, leading axis samples."""
    named: Mapping[str, Array] = {"token": batch.inputs, TARGET: batch.targets, WEIGHT: batch.weights}
    return {name: np.asarray(value) * volts for name, value in named.items()}
