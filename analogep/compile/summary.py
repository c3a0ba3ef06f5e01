"""What a compiled circuit consists of."""

from __future__ import annotations

import numpy as np

from analogep.cells import Cell
from analogep.compile.transformer import Compiled
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import Capacitor
from analogep.netlist.spice.write import Deck, primitives
from analogep.netlist.wired import WiredCrossbar


def summarize(compiled: Compiled) -> dict[str, int | float | str]:
    """Counts of a compiled circuit.

    Returns
    -------
    `level`; `buses`, `nodes`, `states`; `crossbars` (array copies for all tokens), `cells` (instances), `conductances`
    (devices that are not zero, copies counted; both of each pair at `device`), `programmable` (weights), `capacitors`,
    `primitives` (elements of the deck); `tau_seconds`, `tau_cell_seconds`.
    """
    netlist, scale = compiled.netlist, compiled.scale
    bars = [e for e in netlist if isinstance(e, Crossbar | WiredCrossbar)]
    copies = {bar.name: int(np.prod(netlist.shape(bar.rows)[:-1])) for bar in bars}
    capacitors = [e for e in netlist if isinstance(e, Capacitor)]
    stored = {e.a for e in capacitors}
    return {
        "title": netlist.title,
        "level": compiled.level,
        "buses": len(netlist.buses),
        "nodes": sum(bus.nodes for bus in netlist.buses.values()),
        "states": sum(netlist.buses[bus].nodes for bus in stored),
        "crossbars": sum(copies.values()),
        "cells": _cells(compiled),
        "conductances": sum(_devices(b, netlist.arrays[b.weights]) * copies[b.name] for b in bars),
        "programmable": sum(int(np.size(array)) for array in netlist.arrays.values()),
        "capacitors": sum(netlist.buses[e.a].nodes for e in capacitors),
        "primitives": primitives(netlist),
        "tau_seconds": scale.seconds,
        "tau_cell_seconds": scale.seconds * compiled.stages.epsilon if compiled.level != "ideal" else 0.0,
    }


def _devices(bar: Crossbar | WiredCrossbar, weights: np.ndarray) -> int:
    """Devices of one copy of an array."""
    devices = bar.devices(weights) if isinstance(bar, WiredCrossbar) else weights
    return int(np.count_nonzero(devices))


def _cells(compiled: Compiled) -> int:
    """Instances of nonlinear cells."""
    deck = Deck(compiled.netlist.buses, compiled.netlist.arrays)
    return sum(sum(1 for _ in e.instances(deck)) for e in compiled.netlist if isinstance(e, Cell))
