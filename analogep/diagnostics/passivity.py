"""Whether a circuit is passive and reciprocal at a state, and which of its one-way elements pair up as gyrators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from analogep.diagnostics.dynamics import dynamics
from analogep.diagnostics.growth import numerical_abscissa
from analogep.diagnostics.splitting import asymmetry_ratio, norm2, split
from analogep.netlist._types import Parameters, Voltages
from analogep.netlist.arrays import Crossbar
from analogep.netlist.elements import VCCS
from analogep.simulate.circuit import Circuit
from analogep.simulate.nodal import Nodal
from analogep.simulate.system import System

_ROUNDING = 1e-9
"""Part of the matrix below which a sign or an asymmetry is taken for rounding."""


class Gyrator(NamedTuple):
    """Two one-way elements with opposite transconductances: together they store and take no power.

    Attributes
    ----------
    first, second : names of the elements.
    siemens : gyration conductance: the current that leaves the output of `first` per volt at its control, per instance.
    """

    first: str
    second: str
    siemens: np.ndarray


class Passivity(NamedTuple):
    """Passivity and reciprocity of the linearized circuit.

    Attributes
    ----------
    passive : whether small signals only lose energy: the symmetric part of G is not negative in any direction.
    dissipation : its smallest eigenvalue in the metric of the stored energy (1/s): minus the numerical abscissa.
    reciprocal : whether Sigma G is symmetric.
    asymmetry : ||A|| / ||S|| of Sigma G in that metric; 0 for a reciprocal circuit.
    gyrators : pairs that make a circuit non-reciprocal without making it active.
    states : names of the states that G is taken over.
    """

    passive: bool
    dissipation: float
    reciprocal: bool
    asymmetry: float
    gyrators: tuple[Gyrator, ...]
    states: tuple[str, ...]


def passivity(system: System, v: Voltages, x: Voltages, theta: Parameters) -> Passivity:
    """Judge the linearized circuit C dx/dt = -G x at a state, memoryless unknowns eliminated first.

    A passive circuit may be non-reciprocal (a gyrator) and a reciprocal one active (a negative resistance). With
    inductors, x holds currents: the stored energy is that of diag(C, L), in which a passive circuit has a symmetric
    part that is not negative, and reciprocity is the symmetry of Sigma G, Sigma = +1 for voltages, -1 for currents.
    Sources of power at rest do not count: this is about small signals.

    Parameters
    ----------
    system : a Circuit, a Nodal or any System; all its states count, those of readouts included.
    v : its state by name; x : input voltages.

    Raises
    ------
    NetlistError
        As for `dynamics`.

    Reference
    ---------
    Casimir 1945 and Onsager 1931 (the signs Sigma); Tellegen 1948, "The gyrator, a new electric network element".
    """
    found = dynamics(system, v, x, theta)
    Jc = found.Jc
    size = norm2(Jc)
    signed = found.sigma[:, None] * Jc
    dissipation = -numerical_abscissa(Jc)
    return Passivity(
        passive=bool(dissipation >= -_ROUNDING * size),
        dissipation=dissipation,
        reciprocal=bool(norm2(split(signed)[1]) <= _ROUNDING * size),
        asymmetry=asymmetry_ratio(signed),
        gyrators=tuple(gyrators(system, theta)),
        states=found.names,
    )


def gyrators(system: System, theta: Parameters) -> Iterator[Gyrator]:
    """Pairs of VCCS, or of buffered crossbars, that drive each other's control with opposite transconductance."""
    if not isinstance(system, Circuit | Nodal):
        return
    waiting: dict[tuple, list[tuple[str, np.ndarray]]] = {}
    for name, out, control, matrix in _one_way(system, theta):
        if out == control:
            continue  # a conductance
        partners = waiting.get((control, out), [])
        # the current out = M v_control asks for control' = -M^T v_out
        for k, (other, theirs) in enumerate(partners):
            if theirs.shape == matrix.T.shape and np.allclose(theirs, -matrix.T, rtol=_ROUNDING, atol=0):
                yield Gyrator(other, name, theirs)
                del partners[k]
                break
        else:
            waiting.setdefault((out, control), []).append((name, matrix))


def _one_way(system: Circuit | Nodal, theta: Parameters) -> Iterator[tuple[str, tuple, tuple, np.ndarray]]:
    """Name, output port, control port and transconductance (current that leaves the output over control voltage)."""
    for element in system.netlist:
        if isinstance(element, VCCS):
            out, sign = _port(element.a, element.b)
            control, turned = _port(element.c, element.d)
            if isinstance(system, Nodal):
                g = np.asarray(system.value(f"{element.name}.siemens", theta))
            else:
                g = np.asarray(theta[element.siemens] if isinstance(element.siemens, str) else element.siemens, float)
            shape = max((system.netlist.shape(bus) for bus in element.terminals.values()), key=len)
            yield element.name, out, control, sign * turned * np.broadcast_to(g, shape).ravel()
        elif isinstance(element, Crossbar) and element.coupling == "buffered":
            g = np.asarray(theta[element.weights], float)
            matrix = -(g.T if element.transpose else g)
            yield element.name, (element.target,), (element.source,), matrix


def _port(a: str, b: str) -> tuple[tuple[str, str], float]:
    """The two nodes in a fixed order, and the sign that this costs."""
    return ((a, b), 1.0) if a <= b else ((b, a), -1.0)
