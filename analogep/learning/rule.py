"""Local learning rules as data, and the one engine that runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import jax
import jax.numpy as jnp

from analogep.errors import NetlistError
from analogep.netlist._types import Array, Voltages
from analogep.netlist.arrays import Crossbar
from analogep.netlist.element import Element
from analogep.netlist.elements import Resistor, VSource
from analogep.netlist.graph import Netlist


class Phase(StrEnum):
    """States of the hardware between which signals are compared."""

    FREE = "free"
    NUDGED_PLUS = "nudged+"
    NUDGED_MINUS = "nudged-"
    CORRECTED_PLUS = "corrected+"
    CORRECTED_MINUS = "corrected-"
    TWIN = "twin"
    REVERSED_PLUS = "reversed+"
    REVERSED_MINUS = "reversed-"
    GYRATOR_PLUS = "gyrator+"
    GYRATOR_MINUS = "gyrator-"
    DYADIC_PLUS = "dyadic+"
    DYADIC_MINUS = "dyadic-"
    HOLOMORPHIC = "holomorphic"
    CLAMPED = "clamped"


Signals = Mapping[Phase, Voltages]
"""Phase -> voltages of all buses in that phase."""


@dataclass(frozen=True)
class Term:
    """One signed product of two signals at a weight's own terminals.

    Parameters
    ----------
    sign : factor of the product.
    pre, post : phases in which the two signals are read.
    form : `product`: drive side in `pre` times sink side in `post`, as lambda^T di/dg has them; `energy`: the
        derivative of the element's energy, row drive times column drive of an array used in both directions, or half
        the squared voltage across a resistor, all in phase `pre`.
    """

    sign: float
    pre: Phase
    post: Phase
    form: Literal["product", "energy"] = "product"


@dataclass(frozen=True)
class Rule:
    """dL/dg = (1 / (nudges * beta)) * sum of terms; `nudges` is 0 for signals that beta does not scale."""

    name: str
    terms: tuple[Term, ...]
    nudges: float = 0.0

    @property
    def phases(self) -> frozenset[Phase]:
        """Phases that the rule reads."""
        return frozenset(phase for term in self.terms for phase in (term.pre, term.post))


def local_gradient(
    rule: Rule, netlist: Netlist, signals: Signals, beta: float | Array, unit: float
) -> dict[str, Array]:
    """Gradient of the loss for every programmable array, from signals at its own terminals (1/siemens).

    Parameters
    ----------
    netlist : the circuit in which the weights sit; for `energy` terms with the arrays' return paths.
    signals : voltages of each phase that the rule reads.
    beta : nudging strength of those phases.
    unit : current per unit of dL/dv that the nudge injects at beta = 1 (amperes * volts).
    """
    scale = 1.0 / (unit * (rule.nudges * beta if rule.nudges else 1.0))
    total: dict[str, Array] = {}
    for term in rule.terms:
        pre, post = signals[term.pre], signals[term.post]
        for name, product in _products(term, netlist, pre, post).items():
            total[name] = total.get(name, 0.0) + term.sign * product
    return jax.tree.map(lambda g: g * scale, total)


def displacement(rule: Rule, signals: Signals, beta: float | Array) -> dict[str, Array]:
    """What the rule takes for lambda at each bus: its post signals, summed and scaled (volts).

    Raises
    ------
    NetlistError
        If the rule has `energy` terms, which compare products and read no lambda.
    """
    if any(term.form == "energy" for term in rule.terms):
        raise NetlistError(f"rule {rule.name!r} contrasts energies and reads no multiplier; use its gradient")
    scale = 1.0 / (rule.nudges * beta) if rule.nudges else 1.0
    # a term's drive side is held or common to both nudges, so that the sum over terms is the post side's contrast
    buses = set.intersection(*(set(signals[term.post]) for term in rule.terms))
    return {bus: sum(t.sign * signals[t.post][bus] for t in rule.terms) * scale for bus in buses}


def _users(netlist: Netlist) -> dict[str, list[Element]]:
    """Elements of each programmable array."""
    users: dict[str, list[Element]] = {}
    for element in netlist:
        if element.array is not None:
            users.setdefault(element.array, []).append(element)
    return users


def _products(term: Term, netlist: Netlist, pre: Voltages, post: Voltages) -> dict[str, Array]:
    users = _users(netlist)
    if term.form == "energy":
        return {name: _energy(netlist, name, elements, pre) for name, elements in users.items()}
    return {name: sum(e.local_product(pre, post) for e in elements) for name, elements in users.items()}


def _energy(netlist: Netlist, name: str, elements: list[Element], v: Voltages) -> Array:
    """Derivative of the circuit's energy with respect to an array: its drives from both sides."""
    if _resistive(elements):
        return sum(0.5 * e.local_product(v, v) for e in elements)
    row, column = energy_drives(netlist, name)
    return -jnp.einsum("...c,...r->cr", v[column], v[row])


def _resistive(elements: list[Element]) -> bool:
    """Whether an array is plain resistors, whose energy is the squared voltage across them."""
    return all(isinstance(e, Resistor) or (isinstance(e, Crossbar) and e.coupling == "resistive") for e in elements)


def energy_drives(netlist: Netlist, array: str) -> tuple[str, str]:
    """Buses that drive an array from its rows and from its columns.

    An array between an input rail and a state has the state itself as its column drive.

    Raises
    ------
    NetlistError
        If the array is driven from one side only, so that no energy belongs to it.
    """
    users = [e for e in netlist if isinstance(e, Crossbar) and e.array == array]
    forward = [e for e in users if not e.transpose]
    backward = [e for e in users if e.transpose]
    if len(forward) == 1 and len(backward) == 1:
        return forward[0].source, backward[0].source
    rails = {e.a for e in netlist if isinstance(e, VSource)}
    if len(forward) == 1 and forward[0].source in rails:
        return forward[0].source, forward[0].target
    raise NetlistError(
        f"array {array!r} is not used in both directions, so it has no energy to contrast; "
        "estimator energy_ep needs model.attention=energy"
    )


def has_energy(netlist: Netlist) -> bool:
    """Whether every array is plain resistors or driven from both sides, as `energy` terms need."""
    try:
        for name, elements in _users(netlist).items():
            if not _resistive(elements):
                energy_drives(netlist, name)
    except NetlistError:
        return False
    return True
