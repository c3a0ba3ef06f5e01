"""Circuits that no experiment at the outputs tells apart, although their gradients differ: why output nudges are not
enough for a circuit that is not known to be reciprocal.

At rest a nudge e at the outputs moves all nodes by G^-1 e, while the gradient is made of lambda = -G^-T dL/dv. The
first fixes columns of G^-1, the second needs its rows.
"""

from __future__ import annotations

import numpy as np

from analogep.errors import SpecError
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS, Capacitor, ISource, Resistor, VSource
from analogep.netlist.graph import Bus, Netlist
from analogep.units import Scale

DEFAULT = Scale(0.1, 1e-5, 1e-14)
HIDDEN, OUTPUT, INPUT = "h", "o", "x"
"""Nodes of the two pairs of circuits; the second pair has `h1` and `h2`."""


def lookalike(conductance: np.ndarray, slope: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """G' with the responses of G to every nudge of the outputs, and other multipliers.

    G' = (I - a m^T) G, where m is the change of lambda and a = lambda_o / |lambda_o|^2 at the outputs, 0 elsewhere.
    Since m vanishes at the outputs, (I - a m^T)^-1 = I + a m^T leaves every column of G^-1 there, and
    lambda' = lambda + m. Only rows of outputs differ: whatever flows into another node is the same.

    Parameters
    ----------
    conductance : G [n, n].
    slope : dL/dv [n]; the outputs are where it is not 0.
    multipliers : lambda' [n], which must be lambda = -G^-T dL/dv at the outputs.

    Raises
    ------
    SpecError
        If lambda' differs from lambda at an output: there the responses themselves tell lambda.
    """
    g, outputs = np.asarray(conductance, float), np.asarray(slope) != 0
    lam = np.linalg.solve(g.T, -np.asarray(slope, float))
    change, scale = multipliers - lam, np.abs(lam).max()
    if np.any(np.abs(change[outputs]) > 1e-9 * scale):
        raise SpecError("a lookalike keeps lambda at the outputs, where responses tell it; change it elsewhere only")
    change = np.where(outputs, 0.0, change)
    at_outputs = np.where(outputs, lam, 0.0)
    return g - np.outer(at_outputs / (at_outputs @ at_outputs), change @ g)


def mirrored(conductance: np.ndarray, outputs: np.ndarray, factor: float = -1.0) -> np.ndarray:
    """G' with the responses of G to every nudge of the outputs, and `factor` times lambda at every other node.

    What the outputs read of the others is multiplied by the factor, G'_oh = f G_oh, and their own conductance makes up
    for it: G'_oo = G_oo - (1 - f) G_oh G_hh^-1 G_ho. It holds for any loss of the outputs. Rows of other nodes stay.

    Parameters
    ----------
    conductance : G [n, n].
    outputs : which nodes are outputs [n, bool].
    factor : f; the mirror at -1. Whether G' is stable is for the caller to check.
    """
    g, o = np.array(conductance, float), np.asarray(outputs, bool)
    seen = g[np.ix_(o, ~o)]
    g[np.ix_(o, o)] -= (1 - factor) * seen @ np.linalg.solve(g[np.ix_(~o, ~o)], g[np.ix_(~o, o)])
    g[np.ix_(o, ~o)] = factor * seen
    return g


def resistor_and_gyrator(
    weight: float = 1.0, bridge: float = 1.0, load: float = 1.0, *, scale: Scale = DEFAULT
) -> tuple[Netlist, Netlist]:
    """The smallest pair: a resistor or a gyrator between a hidden node and the output, both passive.

    The rail `x` (one volt unit) feeds the hidden node `h` through the programmable resistor `w`. In the first circuit a
    resistor joins `h` to the output `o`, which is loaded; in the second a gyrator does, with `h` loaded by what the
    resistor took there and `o` by what makes its responses the same. A current source sets the same rest. The second is
    `mirrored` of the first, so that dL/dw has the opposite sign for every loss of `o`.

    Parameters
    ----------
    weight, bridge, load : conductances (units of scale.siemens) of x-h, h-o, and o to ground.

    Raises
    ------
    SpecError
        If the second circuit's load would be negative, so that it were not passive.
    """
    g0, i0 = scale.siemens, scale.amperes
    second = load + bridge - 2 * bridge**2 / (weight + bridge)
    if second < 0:
        raise SpecError(f"bridge {bridge:g} needs a negative load in the lookalike; raise load or weight")
    det = (weight + bridge) * (load + bridge) - bridge**2
    hidden, output = weight * (load + bridge) / det, weight * bridge / det
    common = (
        VSource("x", INPUT, scale.volts),
        Resistor("w", INPUT, HIDDEN, "w"),
        Capacitor("c.h", HIDDEN, GROUND, scale.farads),
        Capacitor("c.o", OUTPUT, GROUND, scale.farads),
    )
    empty = Netlist({INPUT: Bus(), HIDDEN: Bus(), OUTPUT: Bus()}, {}, {"w": np.array(weight * g0)}).add(*common)
    one = empty.add(Resistor("bridge", HIDDEN, OUTPUT, bridge * g0), Resistor("load", OUTPUT, GROUND, load * g0))
    other = empty.add(
        Resistor("shunt", HIDDEN, GROUND, bridge * g0),
        VCCS("gyrator.forward", OUTPUT, GROUND, HIDDEN, GROUND, bridge * g0),
        VCCS("gyrator.back", GROUND, HIDDEN, OUTPUT, GROUND, bridge * g0),
        Resistor("load", OUTPUT, GROUND, second * g0),
        ISource("bias", GROUND, OUTPUT, (second * output + bridge * hidden) * i0),
    )
    return one, other


def two_paths(
    first: float, second: float, *, weight: float = 1.0, back: float = 0.5, scale: Scale = DEFAULT
) -> Netlist:
    """A circuit with two hidden nodes that always agree; only the sum of what the output reads of them shows outside.

    The rail `x` feeds `h1` and `h2` through equal programmable resistors `w1` and `w2`, and the output `o` drives both
    alike. So v_h1 = v_h2 in every experiment with the output, the rail, or both, of any size and at any time, and
    circuits with equal `first + second` are the same to it; yet dL/dw1 is proportional to `first`.

    Parameters
    ----------
    first, second : transconductances from h1 and h2 into o (units of scale.siemens).
    weight, back : conductance x-h, and transconductance from o into h.
    """
    g0 = scale.siemens
    netlist = Netlist({INPUT: Bus(), OUTPUT: Bus()}, {}, {}).add(
        VSource("x", INPUT, scale.volts),
        Resistor("load", OUTPUT, GROUND, 2 * g0),
        Capacitor("c.o", OUTPUT, GROUND, scale.farads),
    )
    for k, forward in ((1, first), (2, second)):
        node, array = f"{HIDDEN}{k}", f"w{k}"
        netlist = netlist.add(
            Resistor(array, INPUT, node, array),
            Resistor(f"leak{k}", node, GROUND, g0),
            Capacitor(f"c.{node}", node, GROUND, scale.farads),
            VCCS(f"back{k}", GROUND, node, OUTPUT, GROUND, back * g0),
            VCCS(f"forward{k}", GROUND, OUTPUT, node, GROUND, forward * g0),
            buses={node: Bus()},
            arrays={array: np.array(weight * g0)},
        )
    return netlist
