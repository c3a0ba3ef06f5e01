"""A SPICE deck as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analogep.netlist.analyses import Analysis
from analogep.netlist.graph import Netlist

if TYPE_CHECKING:
    from analogep.netlist.spice.measure import Measure


@dataclass(frozen=True, eq=False)
class SpiceFile:
    """What a deck holds.

    Parameters
    ----------
    netlist : the circuit, hierarchy kept; `flatten` resolves it.
    analyses : what it asks for, in order.
    options : `.options`, name -> value; a flag is 1.
    celsius : temperature of the simulation, from `.temp` or `.options temp`.
    initial, nodesets : `.ic` and `.nodeset`: node, inside instances `x1.n` -> volts.
    measures : `.meas`, for `measure.evaluate`.
    prints : `.print` and `.plot`: analysis ("op", "dc", "ac", "tran", "noise") and signals.
    saves : signals of `.save`; empty for all.
    notes : what the reader changed as SPICE does, such as a resistor of 0 ohm.
    path : the file, or None for text.
    """

    netlist: Netlist
    analyses: tuple[Analysis, ...] = ()
    options: Mapping[str, float | str] = field(default_factory=dict)
    celsius: float = 27.0
    initial: Mapping[str, float] = field(default_factory=dict)
    nodesets: Mapping[str, float] = field(default_factory=dict)
    measures: tuple[Measure, ...] = ()
    prints: tuple[tuple[str, tuple[str, ...]], ...] = ()
    saves: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    path: str | None = None
