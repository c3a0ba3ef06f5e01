"""Gyrators: lossless one-way couplings, built of two controlled sources, and found in a circuit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from analogep.netlist._types import Array
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import GROUND
from analogep.netlist.elements import VCCS
from analogep.netlist.graph import Netlist

_ROUNDING = 1e-9
"""Relative difference of two transconductances that is taken for rounding."""


class Gyrator(NamedTuple):
    """Two one-way elements with opposite transconductances: together they store and take no power.

    Attributes
    ----------
    first, second : names of the elements.
    siemens : gyration conductance: the current that leaves the output of `first` per volt at its control, per instance;
        the name of the array where both halves share a programmable one.
    """

    first: str
    second: str
    siemens: np.ndarray | str


def gyrator(name: str, one: str, other: str, siemens: float | Array | str) -> tuple[VCCS, VCCS]:
    """Lossless two-port between two nodes and ground: i_one = g v_other, i_other = -g v_one (Tellegen 1948).

    Parameters
    ----------
    siemens : gyration conductance, or the name of a programmable array that both halves share.
    """
    return (
        VCCS(f"{name}.forward", one, GROUND, other, GROUND, siemens),
        VCCS(f"{name}.back", GROUND, other, one, GROUND, siemens),
    )


OneWay = VCCS | Crossbar
Conductances = Callable[[OneWay], "Array | str"]


def as_built(element: OneWay) -> Array | str:
    """Conductances of a one-way element (siemens), or the name of its programmable array."""
    return element.weights if isinstance(element, Crossbar) else element.siemens


def gyrators(netlist: Netlist, conductances: Conductances = as_built) -> list[Gyrator]:
    """Pairs of VCCS, or of buffered crossbars, that drive each other's control with opposite transconductance.

    Parameters
    ----------
    netlist : a flat netlist.
    conductances : of one such element (siemens). By default a programmable array counts by its name: two halves that
        share it are a gyrator at any conductance, and two arrays never are.
    """
    found, waiting = [], dict[tuple, list[_Half]]()
    for half in _halves(netlist, conductances):
        partners = waiting.get((half.control, half.out), [])
        for k, partner in enumerate(partners):
            if _opposite(partner, half):
                siemens = partner.siemens if isinstance(partner.siemens, str) else partner.sign * partner.siemens
                found.append(Gyrator(partner.name, half.name, siemens))
                del partners[k]
                break
        else:
            waiting.setdefault((half.out, half.control), []).append(half)
    return found


class _Half(NamedTuple):
    """A one-way element: the current sign * siemens leaves the port `out` per volt at the port `control`."""

    name: str
    out: tuple[str, ...]
    control: tuple[str, ...]
    sign: float
    siemens: np.ndarray | str


def _halves(netlist: Netlist, conductances: Conductances) -> Iterator[_Half]:
    for element in netlist:
        if isinstance(element, VCCS):
            (out, sign), (control, turned) = _port(element.a, element.b), _port(element.c, element.d)
            if out == control:
                continue  # a conductance
            g = conductances(element)
            if not isinstance(g, str):
                shape = max((netlist.shape(bus) for bus in element.terminals.values()), key=len)
                g = np.broadcast_to(np.asarray(g, float), shape).ravel()
            yield _Half(element.name, out, control, sign * turned, g)
        elif isinstance(element, Crossbar) and element.coupling == "buffered":
            g = conductances(element)
            if not isinstance(g, str):
                g = np.asarray(g, float).T if element.transpose else np.asarray(g, float)
            yield _Half(element.name, (element.target,), (element.source,), -1.0, g)


def _port(a: str, b: str) -> tuple[tuple[str, str], float]:
    """The two nodes in a fixed order, and the sign that this costs."""
    return ((a, b), 1.0) if a <= b else ((b, a), -1.0)


def _opposite(one: _Half, other: _Half) -> bool:
    """Whether the current out = M v_control of one meets control' = -M^T v_out of the other."""
    if isinstance(one.siemens, str) or isinstance(other.siemens, str):
        return one.sign == -other.sign and isinstance(one.siemens, str) and one.siemens == other.siemens
    turned = -one.sign * other.sign * other.siemens.T
    return one.siemens.shape == turned.shape and np.allclose(one.siemens, turned, rtol=_ROUNDING, atol=0)
