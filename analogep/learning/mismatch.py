"""Adjoint paths as built: each copied conductance and cell gain is off by its own factor 1 + sigma n.

A circuit about a state is a sum of small-signal conductances, each from one node to another: its *stamps*. The twin
copies all of them with the ports exchanged; the 2A injection copies every one-way coupling twice, once to cancel it and
once the other way round. Copies are never equal to what they copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from analogep.cells.cell import Pointwise
from analogep.errors import NetlistError
from analogep.netlist._types import Parameters, Voltages
from analogep.netlist.arrays import Crossbar
from analogep.netlist.couplings import couplings
from analogep.netlist.element import GROUND, Element
from analogep.netlist.elements import Capacitor, ISource, Resistor, Summer, VSource
from analogep.netlist.graph import Netlist


@dataclass(frozen=True)
class Stamps:
    """Small-signal conductances from node to node: `siemens[k]` times the voltage of `reads[k]` leaves `drives[k]`.

    Parameters
    ----------
    drives, reads : node numbers [K].
    siemens : values [..., K]; leading axes are circuits of one structure.
    nodes : number n of nodes.
    """

    drives: np.ndarray
    reads: np.ndarray
    siemens: np.ndarray
    nodes: int

    @property
    def one_way(self) -> np.ndarray:
        """Which couple a node to another one [K]; the others load their own node and are two-way."""
        return self.drives != self.reads

    @property
    def transposed(self) -> Stamps:
        """The same conductances with their ports exchanged."""
        return replace(self, drives=self.reads, reads=self.drives)

    def scaled(self, factor: np.ndarray | float) -> Stamps:
        """The same stamps with every conductance multiplied."""
        return replace(self, siemens=self.siemens * factor)

    def matrix(self) -> np.ndarray:
        """Conductance matrix [..., n, n]."""
        lead, n = self.siemens.shape[:-1], self.nodes
        entries = np.zeros((n * n, int(np.prod(lead, dtype=int))))
        np.add.at(entries, self.drives * n + self.reads, self.siemens.reshape(-1, len(self.drives)).T)
        return entries.T.reshape(*lead, n, n)


def stamps(netlist: Netlist, voltages: Voltages, theta: Parameters) -> Stamps:
    """Stamps of a circuit about a state, nodes numbered bus after bus, conductances element after element.

    Parameters
    ----------
    netlist : a flat netlist in which every bus is free (level `parasitic`, no input rails).
    voltages : the state (volts), all buses.
    theta : conductances of its programmable arrays (siemens).

    Raises
    ------
    NetlistError
        If a bus is driven ideally, or a resistor joins two live nodes, which is one device with four stamps.
    """
    start, nodes = {}, 0
    for bus, shape in netlist.buses.items():
        start[bus], nodes = nodes, nodes + shape.nodes
    drives, reads, siemens = [], [], []
    for element in _coupling(netlist):
        for found in couplings(element, voltages, theta):
            there = np.flatnonzero(found.siemens)
            there = there[np.lexsort((found.columns[there], found.rows[there]))]
            drives.append(start[found.target] + found.rows[there])
            reads.append(start[found.source] + found.columns[there])
            siemens.append(found.siemens[there])
    return Stamps(np.concatenate(drives), np.concatenate(reads), np.concatenate(siemens), nodes)


def with_factors(netlist: Netlist, factors: np.ndarray) -> Netlist:
    """A copy of a circuit whose conductances and cell gains are off by `factors` [K], in the order of `stamps`.

    Its adjoint network, held at the voltages of the circuit itself, is the mismatched twin as a netlist.

    Raises
    ------
    NetlistError
        As `stamps`; for a cell of several inputs or an array that is no plain one-dimensional crossbar; if there are
        more or fewer factors than conductances.
    """
    elements: list[Element] = []
    arrays, used = dict(netlist.arrays), 0

    def take(count: int) -> np.ndarray:
        nonlocal used
        used += count
        return factors[used - count : used]

    for element in _coupling(netlist):
        if isinstance(element, Resistor | Pointwise) and len(element.reads) == 1 and element.array is None:
            size = netlist.buses[element.reads[0]].nodes
            if used + size > len(factors):
                break
            elements.append(element.with_numbers({"siemens": element.numbers["siemens"] * take(size)}))
        elif isinstance(element, Crossbar) and not element.transpose and len(netlist.shape(element.rows)) == 1:
            weights = np.array(arrays[element.weights], float)
            there = weights != 0
            if used + there.sum() > len(factors):
                break
            weights[there] *= take(int(there.sum()))
            arrays[element.weights] = weights
        else:
            raise NetlistError(f"{type(element).__name__} {element.name!r} has no mismatched copy here")
    else:
        if used == len(factors):
            return netlist.replace_elements(*elements).with_arrays(arrays)
    raise NetlistError(f"{len(factors)} factors do not fit the conductances of {netlist.title!r}")


def _coupling(netlist: Netlist) -> Iterator[Element]:
    """Elements with small-signal conductances."""
    for element in netlist:
        if isinstance(element, VSource | Summer) or element.forces:
            raise NetlistError(
                f"{element.name!r} drives a bus ideally, which has no current law of its own; compile at level "
                "'parasitic' without input rails"
            )
        joins = isinstance(element, Resistor) and GROUND not in (element.a, element.b)
        if joins or (isinstance(element, Crossbar) and element.coupling != "buffered"):
            raise NetlistError(f"{element.name!r}: a resistor between two live nodes is one device with four stamps")
        if not isinstance(element, Capacitor | ISource):
            yield element


@dataclass(frozen=True)
class Path:
    """An adjoint path, whose conductance matrix should be G^T: copies beside what is there anyway.

    Parameters
    ----------
    copies : as they are built, mismatch included.
    present : conductance matrix [..., n, n] of what is no copy; 0 for a twin, the circuit itself for an injection.
    """

    copies: Stamps
    present: np.ndarray | float = 0.0

    def matrix(self, trims: np.ndarray | float = 1.0) -> np.ndarray:
        """Conductance matrix [..., n, n] with every copy multiplied by its trim."""
        return self.present + self.copies.scaled(trims).matrix()


def unequal(shape: tuple[int, ...], spread: float, rng: np.random.Generator) -> np.ndarray:
    """Factors 1 + spread n, n normal; a conductance does not change its sign (factors are 0.05 at least).

    Reference
    ---------
    Pelgrom, Duinmaijer and Welbers 1989, "Matching properties of MOS transistors": independent normal errors whose
    spread falls with the square root of the area.
    """
    return np.maximum(1.0 + spread * rng.normal(size=shape), 0.05)


def twin_path(circuit: Stamps, spread: float, rng: np.random.Generator) -> Path:
    """A twin: all conductances copied, ports exchanged."""
    return Path(circuit.transposed.scaled(unequal(circuit.siemens.shape, spread, rng)))


def injection_path(circuit: Stamps, spread: float, rng: np.random.Generator) -> Path:
    """The circuit with 2A (v - v*) injected: each one-way coupling copied to cancel it, and again ports exchanged."""
    some = circuit.one_way
    there = Stamps(circuit.drives[some], circuit.reads[some], circuit.siemens[..., some], circuit.nodes)
    copies = Stamps(
        np.concatenate([there.drives, there.reads]),
        np.concatenate([there.reads, there.drives]),
        np.concatenate([-there.siemens, there.siemens], axis=-1),
        circuit.nodes,
    )
    return Path(copies.scaled(unequal(copies.siemens.shape, spread, rng)), circuit.matrix())


def reversed_path(circuit: Stamps, spread: float, rng: np.random.Generator, *, arrays: np.ndarray) -> Path:
    """Couplings reversed in place: arrays are the same devices read from their other side, cell gains are copies.

    Parameters
    ----------
    arrays : which stamps [K] are devices of a crossbar, or two-way; the others get mismatch.
    """
    factor = np.where(arrays, 1.0, unequal(circuit.siemens.shape, spread, rng))
    return Path(circuit.transposed.scaled(factor))


def settles(matrix: np.ndarray, capacitance: np.ndarray) -> np.ndarray:
    """Whether C dv/dt = -G v decays, for matrices [..., n, n]."""
    return abscissa(matrix, capacitance) < 0


def abscissa(matrix: np.ndarray, capacitance: np.ndarray) -> np.ndarray:
    """Spectral abscissa of -C^-1 G, for matrices [..., n, n]."""
    return np.linalg.eigvals(-matrix / capacitance[:, None]).real.max(-1)
