"""G and J of large circuits as sparse matrices, listed element by element."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from analogep.diagnostics.analyzed import Analyzed
from analogep.errors import NetlistError
from analogep.netlist._types import Parameters, Voltages
from analogep.netlist.couplings import couplings, listable
from analogep.simulate.circuit import Circuit


def sparse_conductance(circuit: Circuit, v: Voltages, x: Voltages, theta: Parameters) -> scipy.sparse.csr_array | None:
    """G over the states on feedback loops [n, n] (siemens), element by element; None where they do not give it.

    They do not at level `ideal`, where currents pass through nodes that are no states.
    """
    part, at = Analyzed(circuit), circuit.voltages(v, x, theta)
    known = {*circuit.states, *circuit.inputs()}
    place, first = {}, 0
    for name, bus in part.buses.items():
        place[name] = np.full(bus.size, -1)
        place[name][bus.indices] = first + np.arange(bus.nodes)
        first += bus.nodes
    entries = []
    for element in circuit.netlist:
        if not {*element.drives} & {*place}:
            continue
        if element.forces or not {*element.reads} <= known or not listable(element, at):
            return None
        for found in couplings(element, at, theta):
            if found.target in place and found.source in place:
                entries.append((place[found.target][found.rows], place[found.source][found.columns], found.siemens))
    rows, columns, siemens = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    built = (rows >= 0) & (columns >= 0) & (siemens != 0)
    return scipy.sparse.csr_array((siemens[built], (rows[built], columns[built])), shape=(first, first))


def sparse_jacobian(circuit: Circuit, v: Voltages, x: Voltages, theta: Parameters) -> scipy.sparse.csr_array:
    """J = -C^-1 G in the C metric over the states on feedback loops, sparse [n, n] (1/tau).

    For `departure_bounds` and `smallest_singular` of circuits too large for dense matrices.

    Raises
    ------
    NetlistError
        For a circuit whose conductances cannot be listed (level `ideal`), or with capacitors between live nodes.
    """
    G = None if circuit.floating else sparse_conductance(circuit, v, x, theta)
    if G is None:
        raise NetlistError(
            "the conductances between states cannot be listed: driven nodes or capacitors join them; compile at level "
            "'parasitic', or use the dense Analyzed.conductance"
        )
    root = scipy.sparse.diags_array(1 / np.sqrt(Analyzed(circuit).capacitance / circuit.scale.farads))
    return (-root @ (G / circuit.scale.siemens) @ root).tocsr()
