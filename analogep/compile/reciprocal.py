"""A reciprocal linear network out of plain resistors: dz/dt = x - (1 + c) z + W z with symmetric signed W."""

from __future__ import annotations

import numpy as np

from analogep.compile.stages import Stages
from analogep.errors import NetlistError
from analogep.netlist.arrays import signed_resistive
from analogep.netlist.checks import check
from analogep.netlist.element import GROUND
from analogep.netlist.elements import ISource
from analogep.netlist.graph import Bus, Netlist
from analogep.units import Scale


def compile_reciprocal(
    weights: np.ndarray, drive: np.ndarray, *, damping: float | np.ndarray = 1.0, scale: Scale | None = None
) -> Netlist:
    """Compile W and the input x onto dual-rail nodes `zp` (at +z) and `zn` (at -z), resistors between them.

    Parameters
    ----------
    weights : symmetric signed W [n, n] with zero diagonal, dimensionless.
    drive : input x [n].
    damping : c; the arrays' loading sum_j |W_ij| is taken out of the leak 1 + c.

    Raises
    ------
    NetlistError
        If W is not symmetric with a zero diagonal, or if the loading exceeds the leak.
    """
    scale = scale or Scale(0.1, 1e-5, 1e-14)
    weights, drive = np.asarray(weights, float), np.asarray(drive, float)
    if weights.shape != (len(drive), len(drive)) or not np.allclose(weights, weights.T) or np.any(np.diag(weights)):
        raise NetlistError("resistors couple reciprocally: weights must be symmetric [n, n] with a zero diagonal")
    stages = Stages("parasitic", scale)
    loading = np.abs(weights).sum(1)
    leak = np.broadcast_to(1.0 + np.asarray(damping, float), drive.shape)
    # each resistor joins two nodes: the strict triangle holds every pair once
    bars, arrays = signed_resistive("w", ("zp", "zn"), ("zp", "zn"), np.tril(weights, -1) * scale.siemens)
    current = drive * scale.amperes
    netlist = Netlist({"zp": Bus(drive.shape), "zn": Bus(drive.shape)}, {}, arrays, "reciprocal resistive network").add(
        *stages.state("zp", leak, loading),
        *stages.state("zn", leak, loading),
        ISource("xp", GROUND, "zp", current),
        ISource("xn", "zn", GROUND, current),
        *bars,
    )
    check(netlist)
    return netlist
