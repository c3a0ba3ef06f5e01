"""Calibration of a device-level circuit: a gain and an offset for each output node, measured with probes.

What hardware does, one stage after another: drive the stage's inputs with probe voltages from a test converter, read
its output node, and fit the line that takes what was read to what was wanted. The slope is written into the node's load
(a trimmed resistor: output over gain), the intercept into a trimmed current source at the node. Nothing inside a tile
or a cell is measured or changed. It takes away IR drop that scales a row, mismatch of amplifiers and tails, and the
mean gain of a cell over the range of the probes; curvature is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Voltages
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import ISource, Resistor
from analogep.netlist.graph import Netlist

Floats = np.ndarray


@dataclass(frozen=True)
class Trim:
    """What one stage was given, and what that did.

    Attributes
    ----------
    gain : factor on each node of the bus. offset : volts added at each node.
    before, after : rms error of the nodes over the probes, relative to the rms of what was wanted.
    """

    gain: Floats
    offset: Floats
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A trimmed netlist, and the trims by bus."""

    netlist: Netlist
    trims: Mapping[str, Trim]


def calibrate(
    netlist: Netlist, wanted: Netlist, probes: Voltages, *, range: tuple[float, float] = (0.5, 2.0)
) -> Calibrated:
    """Trim every output stage of `netlist` toward the same stage of `wanted`.

    Parameters
    ----------
    netlist : flat, wires folded (`fold_wires`) or not, with the nodes of `wanted`.
    wanted : the circuit as meant, such as the same block compiled at level `parasitic` with the same scale.
    probes : bus -> voltages [samples, *shape] with which stages are driven, in the range at which they operate: settled
        voltages of `wanted` for some inputs.
    range : smallest and largest gain that a trim can make.

    Returns
    -------
    The trimmed circuit. Stages are the buses that only one-way elements push into, damped states among them.

    Raises
    ------
    NetlistError
        If the two differ in their nodes, or a probe is missing.
    """
    changed: list[Element] = []
    added: list[Element] = []
    trims: dict[str, Trim] = {}
    for bus in wanted.buses:
        mine, meant = _drivers(netlist, bus), _drivers(wanted, bus)
        loads = [e for e in netlist.touching(bus) if isinstance(e, Resistor) and e.shunts == bus]
        if not meant or len(loads) != 1 or any(bus in e.reads for e in meant):
            continue
        keep = wanted.buses[bus].indices
        load = np.broadcast_to(np.asarray(loads[0].conductance(netlist.arrays), float), netlist.shape(bus))
        reference = next(e for e in wanted.touching(bus) if isinstance(e, Resistor) and e.shunts == bus)
        read = _output(netlist, mine, bus, probes, load)
        target = _output(wanted, meant, bus, probes, np.asarray(reference.conductance(wanted.arrays), float))
        gain, offset = _line(read, target, range)
        left = gain * read + offset - target
        size = np.sqrt(np.mean(target[..., :].reshape(len(target), -1)[:, keep] ** 2))

        def rms(x: Floats, size: float = size, keep: Floats = keep) -> float:
            return float(np.sqrt(np.mean(x.reshape(len(x), -1)[:, keep] ** 2)) / max(size, 1e-300))

        trims[bus] = Trim(gain, offset, rms(read - target), rms(left))
        changed.append(replace(loads[0], siemens=load / gain))
        trimmed, amperes = netlist.elements.get(f"{bus}.offset"), offset * load / gain
        if isinstance(trimmed, ISource):  # calibrated before: what it pushes has passed the new gain already
            changed.append(replace(trimmed, value=np.asarray(trimmed.value) + amperes))
        elif np.any(offset):
            added.append(ISource(f"{bus}.offset", GROUND, bus, amperes))
    return Calibrated(netlist.replace_elements(*changed).add(*added), trims)


def _drivers(netlist: Netlist, bus: str) -> list[Element]:
    """Elements that push current into the bus, its load and its capacitor left out."""
    if bus not in netlist.buses:
        raise NetlistError(f"the circuit to calibrate has no node {bus!r}; compile both from one model")
    return [e for e in netlist if bus in e.drives and e.shunts != bus]


def _output(netlist: Netlist, drivers: list[Element], bus: str, probes: Voltages, load: Array) -> Floats:
    """Voltages of the bus at rest, [samples, *shape], with the stage's inputs at the probes."""
    missing = {source for e in drivers for source in e.reads} - set(probes)
    if missing:
        raise NetlistError(f"no probe voltages for the node {min(missing)!r}, which the stage {bus!r} reads")
    theta = {name: jnp.asarray(g) for name, g in netlist.arrays.items()}
    inputs = {source: jnp.asarray(probes[source]) for e in drivers for source in e.reads}

    def one(v: Voltages) -> Array:
        return sum(-e.currents(v, theta, 0.0)[bus] for e in drivers) / load

    return np.asarray(jax.jit(jax.vmap(one))(inputs))


def _line(read: Floats, target: Floats, limits: tuple[float, float]) -> tuple[Floats, Floats]:
    """Least-squares gain and offset of each node; a node that hardly moves gets the gain alone."""
    spread = read - read.mean(0)
    moves = (spread**2).mean(0) > 1e-3 * (read**2).mean(0) + 1e-300
    slope = (spread * target).mean(0) / np.where(moves, (spread**2).mean(0), 1.0)
    through = (read * target).mean(0) / np.maximum((read**2).mean(0), 1e-300)
    still = (read**2).mean(0) < 1e-300
    gain = np.clip(np.where(still, 1.0, np.where(moves, slope, through)), *limits)
    return gain, np.where(moves, target.mean(0) - gain * read.mean(0), 0.0)
