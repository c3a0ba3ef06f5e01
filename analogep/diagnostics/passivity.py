"""Whether a circuit is passive and reciprocal at a state, and which of its one-way elements pair up as gyrators."""

from __future__ import annotations

from typing import NamedTuple

from analogep.diagnostics.dynamics import dynamics
from analogep.diagnostics.growth import numerical_abscissa
from analogep.diagnostics.splitting import asymmetry_ratio, norm2, split
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.elements import VCCS
from analogep.netlist.gyrators import Gyrator, OneWay, as_built
from analogep.netlist.gyrators import gyrators as find_gyrators
from analogep.simulate.circuit import Circuit
from analogep.simulate.nodal import Nodal
from analogep.simulate.system import System

_ROUNDING = 1e-9
"""Part of the matrix below which a sign or an asymmetry is taken for rounding."""


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


def gyrators(system: System, theta: Parameters) -> list[Gyrator]:
    """Pairs of VCCS, or of buffered crossbars, that drive each other's control with opposite transconductance.

    Parameters
    ----------
    system : a Circuit or a Nodal; another has no elements, and so no gyrators.
    theta : conductances at which the two are compared.
    """
    if not isinstance(system, Circuit | Nodal):
        return []

    def at_present(element: OneWay) -> Array:
        if isinstance(system, Nodal) and isinstance(element, VCCS):
            return system.value(f"{element.name}.siemens", theta)
        given = element.given(theta)
        assert isinstance(given, OneWay)
        g = as_built(given)
        return theta[g] if isinstance(g, str) else g

    return find_gyrators(system.netlist, at_present)
